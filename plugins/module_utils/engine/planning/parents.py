# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks with a parent, which is a link of the host: one that their containers have links on, or the uplink of their
bridge. They take their MTU from it, and leave the host its addresses.

A parent that is not there is made, where its name says how: `eth0.100` is VLAN 100 on eth0.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Dict, Iterable, Iterator, List, Optional, Tuple

from ..declaration.model import Model, Network
from ..declaration.parse_bridge import MTU_OPTION, option_path
from ..declaration.parse_sublink import parent_path
from ..declaration.parse_vlans import LAST_VLAN
from ..declaration.section import Address, link_name
from ..errors import ProblemCollector
from ..state import Parent, Shim, Sublink, Uplink
from .facts import Facts, HostLink
from .ipam import on_lan, stable_mac

if TYPE_CHECKING:
    from .plan import Plan

# Of links that are made on other ones, and cannot have links of their own.
_SUBLINKS = ("macvlan", "macvtap", "ipvlan", "ipvtap")


def on_parents(model: Model, facts: Facts, problems: ProblemCollector) -> Model:
    """The model in which networks with a parent have the MTU of that, where it exists.

    Addresses of the host and of its nameservers are reserved on them.

    It is a problem if the parent is a link on which the kernel makes none for containers, or which can be no port of
    their bridge; or if the MTU is larger than the parent's.
    """
    made = {network.bridge for network in model.bridged if not network.external}
    for network in model.uplinked:
        if network.uplink in made:
            why = "is the bridge of a network, which wharf.network makes: name a link of the host"
            problems.add(parent_path(network), f'"{network.uplink}": {why}')
    networks = {
        name: _on_parent(network, facts, problems) if network.bypasses_host else network
        for name, network in model.networks.items()
    }
    return replace(model, networks=networks)


def made_parent(network: Network, facts: Facts) -> Optional[Parent]:
    """The parent of a network, if wharf.network makes it."""
    if _is_isolated(network):
        return Parent(network.parent, place=network.path)
    lower, vlan = _vlan(network.parent)
    link = facts.link(network.parent)
    if not vlan or (link and not link.managed):
        return None
    return Parent(network.parent, lower, vlan, place=parent_path(network))


def made_parents(plan: Plan) -> List[Parent]:
    """Those that wharf.network makes, one for all networks that have it."""
    made = (made_parent(network, plan.facts) for network in plan.model.networks.values())
    return [*{parent.name: parent for parent in made if parent}.values()]


def sublink_of(network: Network, facts: Facts) -> Sublink:
    """What each link on the network's parent is; none of a network with a bridge."""
    driver = network.sublinks
    if driver is None:
        return Sublink()
    return Sublink(driver.name, driver.parent, driver.mode, driver.flag, _is_made(network, facts))


def uplinks(plan: Plan) -> Iterator[Uplink]:
    for network in plan.model.uplinked:
        is_made = _is_made(network, plan.facts)
        yield Uplink(network.uplink, network.bridge, is_made, place=parent_path(network))


def useless_addresses(plan: Plan) -> Iterator[str]:
    """Addresses that uplinks have got since they became ports."""
    for network in plan.model.uplinked:
        link = plan.facts.link(network.uplink)
        own = ", ".join(str(each) for each in link.addresses) if link and link.master == network.bridge else ""
        if own:
            yield (
                f"{parent_path(network)}: {network.uplink} has addresses of this host ({own}), which get no answers "
                f"while it is a port of {network.bridge}: have what gave them leave that link alone"
            )


def shims(plan: Plan) -> Iterator[Shim]:
    """The host's own links on parents: with its addresses there, and a route to each container.

    It answers for these addresses only: by its own, the LAN would find the host at two MACs.
    """
    shared = {name: network for name, network in plan.model.networks.items() if _has_host(network)}
    containers: Dict[str, List[Address]] = {name: [] for name in shared}
    for (_container, on), endpoint in plan.allotted.endpoints.items():
        if on in containers:
            containers[on].extend(endpoint.addresses)
    for name, network in shared.items():
        own = plan.allotted.hosts.get(name, ())
        versions = {address.version for address in own}
        if own:
            yield Shim(
                link_name("host-", name),
                name,
                sublink_of(network, plan.facts),
                plan.mtu(network),
                _shims_mac(network, plan.facts),
                _singles(own),
                _singles(address for address in containers[name] if address.version in versions),
                (
                    ("ipv4.arp_announce", "2"),
                    ("ipv4.arp_ignore", "1"),
                    ("ipv6.accept_dad", "0"),
                    ("ipv6.accept_ra", "0"),
                    ("ipv6.disable_ipv6", "0" if network.has(6) else "1"),
                ),
                place=network.path,
            )


def _shims_mac(network: Network, facts: Facts) -> str:
    shares = network.sublinks is not None and network.sublinks.shares_mac
    return "" if shares else stable_mac(f"host on {network.name}{on_lan(network, facts)}")


def _has_host(network: Network) -> bool:
    return network.sublinks is not None and network.sublinks.host_access


def _singles(addresses: Iterable[Address]) -> Tuple[str, ...]:
    return tuple(sorted(f"{address}/{address.max_prefixlen}" for address in addresses))


def _is_isolated(network: Network) -> bool:
    return network.sublinks is not None and network.sublinks.is_isolated


def _is_made(network: Network, facts: Facts) -> bool:
    """Whether wharf.network makes the parent, and it is there once a run is through that makes it."""
    parent = made_parent(network, facts)
    lower = facts.link(parent.lower) if parent else None
    return parent is not None and (not parent.lower or facts.links is None or (lower is not None and lower.up))


def _vlan(name: str) -> Tuple[str, int]:
    """The link and the number that the name of a VLAN says; none where it says none."""
    lower, _dot, number = name.rpartition(".")
    is_vlan = lower and re.fullmatch(r"[1-9][0-9]{0,3}", number) and int(number) <= LAST_VLAN
    return (lower, int(number)) if is_vlan else ("", 0)


def _on_parent(network: Network, facts: Facts, problems: ProblemCollector) -> Network:
    made = made_parent(network, facts)
    parent = facts.link(made.lower if made else network.parent)
    if parent is None or _is_isolated(network):
        return network
    if made and not parent.mac:
        problems.add(
            parent_path(network),
            f'"{made.name}": {parent.name} is no Ethernet link, and has no VLANs: name another one',
        )
    for why in () if made else _unfit(parent, network, facts):
        problems.add(parent_path(network), f'"{parent.name}": {why}')
    if network.mtu and network.mtu > parent.mtu:
        problems.add(
            option_path(network, MTU_OPTION),
            f"{network.mtu}: is larger than {parent.mtu}, the MTU of {parent.name}: leave this out, or say less",
        )
    own = [address.ip for link in facts.links or () if not link.managed for address in link.addresses]
    others = [taken.network_address for taken, _what in facts.taken_subnets if taken.prefixlen == taken.max_prefixlen]
    for pool in network.pools if network.sublinks else ():
        if pool.gateway in own:
            problems.add(
                f"{pool.path}.gateway",
                f'"{pool.gateway}": is an address of this host, which containers on links of {parent.name} do not '
                "reach: name another router of their network, or leave this out",
            )
    taken = [*own, *others]
    pools = tuple(
        replace(pool, reserved=(*pool.reserved, *(each for each in taken if pool.subnet and each in pool.subnet)))
        for pool in network.pools
    )
    return replace(network, mtu=network.mtu or parent.mtu, pools=pools)


def _unfit(parent: HostLink, network: Network, facts: Facts) -> Iterator[str]:
    return _no_uplink(parent, facts) if network.uplink else _no_parent(parent, network, facts)


def _is_plugged(link: HostLink, facts: Facts) -> bool:
    """Whether it is the uplink of a network. If it is to be anything else, it is free before that."""
    master = facts.link(link.master)
    return master is not None and master.managed


def _no_parent(parent: HostLink, network: Network, facts: Facts) -> Iterator[str]:
    what = f"the kernel makes no {network.driver.name} on such a link"
    if _is_plugged(parent, facts):
        return
    if parent.master and parent.master_kind == "bridge":
        yield f"is a port of the bridge {parent.master}, and {what}: name {parent.master}, or another link"
    elif parent.master and parent.master_kind != "vrf":
        yield f"belongs to {parent.master}, and {what}: name {parent.master}, or another link"
    elif parent.kind in _SUBLINKS:
        yield f"is itself a link of {parent.kind}: name {parent.lower or 'the link that it is made on'}"
    elif not parent.mac:
        yield f"is no Ethernet link, and {what}: name another one"
    elif network.sublinks and network.sublinks.is_exclusive and parent.addresses:
        yield "has addresses of this host, which passthru would cut off: choose another macvlan_mode, or another link"
    elif parent.managed:
        yield "is a link that wharf.network made for another network: put the containers on that network"


def _no_uplink(link: HostLink, facts: Facts) -> Iterator[str]:
    """Why a link of the host can be no port of a network's bridge, or must not."""
    if _is_plugged(link, facts):
        return
    made_on_it = [each for each in facts.links or () if each.lower == link.name and each.kind in _SUBLINKS]
    third_party = next((each for each in made_on_it if not each.managed), None)
    if link.kind == "bridge":
        yield "is a bridge itself, and no port of another one: adopt it by external: true, or name another link"
    elif link.managed:
        yield "is a link that wharf.network made for another network: put the containers on that network"
    elif link.master and link.master_kind == "bridge":
        yield f"is a port of the bridge {link.master}: adopt that by external: true, or name another link"
    elif link.master:
        yield f"belongs to {link.master}, and can be no port of a bridge: name {link.master}, or another link"
    elif link.kind in _SUBLINKS:
        yield f"is itself a link of {link.kind}: name {link.lower or 'the link that it is made on'}"
    elif not link.mac:
        yield "is no Ethernet link, and can be no port of a bridge: name another one"
    elif third_party:
        yield (
            f"{third_party.name} is a link of {third_party.kind} on it, and no such link can be a port of a bridge, too"
            f": delete {third_party.name}, or name another link"
        )
    elif link.addresses or link.name == facts.default_interface:
        yield (
            "has addresses of this host, which get no answers while it is a port of a bridge: make a bridge by the "
            f"host's own configuration, with {link.name} as a port and these addresses on the bridge, and adopt that "
            f"by external: true; or name a VLAN of it, as {link.name}.100, or another link"
        )
