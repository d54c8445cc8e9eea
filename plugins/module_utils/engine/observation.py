# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that there is to see of a host's networks, as plain data: the kernel's state in the model's words."""

from __future__ import annotations

from typing import Any, Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Union

from . import history
from .declaration.drivers import BRIDGE_MODE, OverlayDriver, SublinkDriver
from .declaration.model import Container, Network
from .errors import ApplyError, ConflictError, ProblemCollector, is_within
from .facts_reader import read_facts
from .kernel.link_speed import link_speed
from .layers import BRIDGE, DOCKER_CHAINS, FORWARDING, LAYERS, VETH, Layer
from .ledger import Ledger
from .planning.declared_plan import make_sound_plan
from .planning.facts import ThirdPartyBridge
from .planning.overlays import link_to_others
from .planning.plan import Plan
from .planning.publications import Publication
from .preflight.third_party_drops import read_third_party_drops
from .report import changes_as_data, publication_as_data, published_as_data
from .resources.links.marks import is_managed_ifb, is_managed_port
from .resources.links.stacks import HostStack, StackReader
from .rules.translations import translations
from .state import Bridge, Endpoint, Rules, Shaper, State, Tunnel, Vlans, WireGuard
from .third_party.drops import ThirdPartyDrop
from .transaction import Part
from .trouble import current, trouble, unconnected

_UP = {True: "up", False: "down"}


def observe() -> Dict[str, Any]:
    """What is declared, and what of it exists. Changes nothing, and takes no lock.

    Keys: which parts are `declared`, `networks` and `containers` by name, `published` ports, the host's `interfaces`,
    the `allotted` addresses (to be pinned, say), third-party rules that drop what those of wharf.network accept
    (`foreign`), files that were `edited` and are left alone, what is `pending` since its container does not run now,
    `drift`: by layer, the changes that would make the host what is declared, changes that nobody has confirmed
    (`unconfirmed`, `reverted`), the `last_change`, and `trouble`: what of all this an admin has to see first, in
    sentences.

    Raises:
        ConflictError: not all of it can be seen.
    """
    problems = ProblemCollector()
    seen = observe_what_can_be(problems)
    problems.raise_if_any(ConflictError)
    return seen


def observe_what_can_be(problems: ProblemCollector) -> Dict[str, Any]:
    """The same; what keeps anything from being seen is noted as a problem, and the rest is seen all the same."""
    ledger = Ledger()
    with problems.collect():
        ledger = Ledger.load_known()
    stacks = StackReader()
    plan, unsound = make_sound_plan(ledger.declared, read_facts(ledger, stacks.host), ledger.allotted)
    problems.problems += unsound
    is_declared = not ledger.declared.is_empty
    reverted = ledger.reverted if ledger.reverted and ledger.reverted.is_news else None
    parts = {layer.name: [*_parts(layer, ledger, stacks, plan, problems)] for layer in LAYERS}
    drops = _third_party_drops(plan, problems) if is_declared else []
    existing = {name: current(each) for name, each in parts.items()}
    links = {**existing[BRIDGE.name], **existing[FORWARDING.name]}
    endpoints = [thing for thing in existing[VETH.name].values() if isinstance(thing, Endpoint)]
    pending = sorted(name for each in parts.values() for part in each for _kind, name in part.observation.pending)
    networks = plan.model.networks.values() if is_declared else []
    containers = plan.model.containers.values()
    drift = {name: changes for name, each in parts.items() for changes in [_drift(each)] if changes}
    return {
        "declared": ledger.declared.parts,
        "networks": {network.name: _network(plan, network, links, endpoints) for network in networks},
        "containers": {
            container.name: {
                **_container(plan, container, endpoints),
                "unconnected": unconnected(plan, parts, container),
            }
            for container in containers
        },
        "published": published_as_data(_published(plan, existing[DOCKER_CHAINS.name], pending)),
        "interfaces": _interfaces(stacks.host),
        "allotted": plan.allotted.as_data() if is_declared else {},
        "foreign": [vars(drop) for drop in drops],
        "edited": sorted(name for each in parts.values() for part in each for _kind, name in part.left_alone),
        "pending": pending,
        "drift": drift,
        "unconfirmed": ledger.unconfirmed.as_data() if ledger.unconfirmed else None,
        "reverted": reverted.as_data() if reverted else None,
        "last_change": _last_change(problems),
        "trouble": [
            *(str(each) for each in (ledger.unconfirmed, reverted) if each),
            *(trouble(plan, parts, bool(problems.problems)) if is_declared or (drift and not ledger.is_new) else []),
            *map(str, drops),
        ],
    }


def _last_change(problems: ProblemCollector) -> Optional[Dict[str, Any]]:
    with problems.collect():
        runs = history.read()
        if runs:
            last = runs[0].as_data()
            return {key: last[key] for key in ("at", "time", "origin", "by", "objects")}
    return None


def _parts(layer: Layer, ledger: Ledger, stacks: StackReader, plan: Plan, problems: ProblemCollector) -> Iterator[Part]:
    """Where a third-party object is in the place of a desired one, that is a problem, and all others are observed."""
    planned = layer.desired(plan)
    for resource in layer.resources(ledger, stacks):
        found = ProblemCollector()
        with found.collect():
            yield Part.observed(layer, resource, planned, ledger)
        if found.problems:
            problems.problems += found.problems
            blocked = [problem.path for problem in found.problems]
            rest = [thing for thing in planned if not any(is_within(path, thing.place) for path in blocked)]
            with found.collect():
                yield Part.observed(layer, resource, rest, ledger)


def _drift(parts: Iterable[Part]) -> List[Dict[str, Any]]:
    return changes_as_data(change for part in parts for change in part.changes)


def _third_party_drops(plan: Plan, problems: ProblemCollector) -> List[ThirdPartyDrop]:
    try:
        return read_third_party_drops(plan)
    except ApplyError as error:
        problems.add(
            "third-party rules",
            f"they could not be read, so it is not known whether they drop what the networks need: {error}",
        )
        return []


def _network(plan: Plan, network: Network, bridges: State, endpoints: List[Endpoint]) -> Dict[str, Any]:
    if network.sublinks:
        return _network_on_parent(plan, network, network.sublinks, endpoints)
    bridge = _bridge(plan, network, bridges)
    stands = bridge is not None
    return {
        "driver": network.driver.name,
        "bridge": network.bridge,
        "external": network.external,
        "state": _UP[bridge.up] if bridge else "absent",
        "mtu": bridge.mtu if bridge else plan.mtu(network),
        "mac": bridge.mac if bridge else None,
        "uplink": network.uplink or None,
        "gateways": _gateways(plan, network) if network.uplink else [*map(str, bridge.addresses if bridge else ())],
        "subnets": [str(pool.subnet) for pool in plan.allotted.networks[network.name]],
        "internal": network.internal,
        "icc": network.icc,
        "gateway_modes": {f"ipv{version}": network.gateway_mode(version) for version in network.versions}
        if not network.uplink
        else {},
        "masquerade": any(map(network.masquerade, network.versions)),
        "endpoints": sorted(e.name for e in endpoints if stands and e.port.bridge == network.bridge),
        **(
            _overlay(network, network.driver, bridges, plan.allotted.peer_keys)
            if isinstance(network.driver, OverlayDriver)
            else {}
        ),
    }


def _gateways(plan: Plan, network: Network) -> List[str]:
    """The declared ones, as the routers of a LAN are."""
    declared = {pool.gateway for pool in network.pools}
    return [str(pool.gateway) for pool in plan.allotted.networks[network.name] if pool.gateway in declared]


def _overlay(network: Network, driver: OverlayDriver, links: State, keys: Mapping[str, str]) -> Dict[str, Any]:
    """The other hosts that the network spans, and the tunnel to them, as it is."""
    name = link_to_others(network)
    link = links.get(("wireguard" if driver.encrypted else "tunnel", name))
    state = _UP[link.up] if isinstance(link, (Tunnel, WireGuard)) else "absent"
    tunnel: Dict[str, Any] = {"name": name, "state": state, "port": driver.port}
    if driver.encrypted:
        tunnel["public_key"] = link.public_key if isinstance(link, WireGuard) else None
    else:
        tunnel["vni"] = driver.vni
    return {
        "whole_subnets": [str(each) for each in driver.subnets],
        "host": driver.own.name,
        "peers": {
            peer.name: {
                "address": str(peer.address),
                "slices": [str(each) for each in peer.slices],
                "ingress": [vars(port) for port in peer.ingress],
                **({"public_key": keys.get(peer.name)} if driver.encrypted else {}),
            }
            for peer in driver.peers
        },
        "tunnel": tunnel if name else None,
    }


def _network_on_parent(
    plan: Plan, network: Network, driver: SublinkDriver, endpoints: List[Endpoint]
) -> Dict[str, Any]:
    """A network without a bridge, of which its parent is all that there is on the host."""
    parent = plan.facts.link(driver.parent)
    pools = plan.allotted.networks[network.name]
    return {
        "driver": driver.name,
        "parent": driver.parent,
        "mode": driver.mode,
        "flag": driver.flag or None,
        "bridge": None,
        "external": False,
        "state": _UP[parent.up] if parent else "absent",
        "mtu": plan.mtu(network),
        "mac": parent.mac if parent else None,
        "gateways": _gateways(plan, network) if driver.has_next_hop else [],
        "subnets": [str(pool.subnet) for pool in pools],
        "host": [*map(str, plan.allotted.hosts.get(network.name, ()))],
        "internal": network.internal,
        "icc": driver.among == BRIDGE_MODE,
        "gateway_modes": {},
        "masquerade": False,
        "endpoints": sorted(e.name for e in endpoints if e.network == network.name and e.sublink and e.is_whole),
    }


def _bridge(plan: Plan, network: Network, bridges: State) -> Union[Bridge, ThirdPartyBridge, None]:
    if network.external:
        return next((each for each in plan.facts.third_party_bridges or () if each.name == network.bridge), None)
    found = bridges.get(("bridge", network.bridge))
    return found if isinstance(found, Bridge) else None


def _container(plan: Plan, container: Container, endpoints: List[Endpoint]) -> Dict[str, Any]:
    own = [endpoint for endpoint in endpoints if endpoint.container == container.name]
    return {
        "sandbox": str(container.sandbox),
        "mode": container.mode,
        "shares": container.shares or None,
        "hostname": plan.model.owner_of_stack(container).effective_hostname,
        "endpoints": {endpoint.network: _endpoint(endpoint) for endpoint in own},
        "ports": [publication_as_data(p) for p in plan.publications if p.container == container.name],
    }


def _endpoint(endpoint: Endpoint) -> Dict[str, Any]:
    return {
        "interface": endpoint.interface,
        "host_interface": endpoint.host_interface or None,
        "bridge": endpoint.port.bridge or None,
        "parent": endpoint.sublink.parent or None,
        "mac": endpoint.mac,
        "mtu": endpoint.mtu,
        "addresses": list(endpoint.addresses),
        "routes": [{"to": route.destination, "via": route.gateway} for route in endpoint.routes if route.gateway],
        "vlan": _vlans(endpoint.port.vlans),
        "rate": {"ingress": _rate(endpoint.ingress), "egress": _rate(endpoint.egress)},
    }


def _vlans(vlans: Optional[Vlans]) -> Optional[Dict[str, Any]]:
    """None where the port has those of any new port."""
    return {"untagged": vlans.untagged or None, "tagged": list(vlans.tagged)} if vlans else None


def _rate(shaper: Shaper) -> Optional[Dict[str, int]]:
    """Bits a second, and the burst in bytes; None without a limit."""
    return {"rate": shaper.rate, "burst": shaper.burst} if shaper.rate else None


def _published(plan: Plan, rules: State, pending: Collection[str]) -> Iterator[Publication]:
    """The declared publications whose translation is in the kernel, and which lead to a container that is there."""
    existing = {
        (thing.container, translation)
        for thing in rules.values()
        if isinstance(thing, Rules)
        for translation in translations(thing)
    }
    for publication in plan.publications:
        owner = plan.model.owner_of_stack(plan.model.containers[publication.container])
        if (publication.container, publication.translation) in existing and str(owner.sandbox) not in pending:
            yield publication


def _interfaces(own: HostStack) -> List[Dict[str, Any]]:
    """The host's links, but for the veths of containers, with their speed in megabits a second."""
    addresses: Dict[int, List[str]] = {}
    for address in own.addresses:
        addresses.setdefault(address.index, []).append(address.address)
    names = {link.index: link.name for link in own.links}
    return [
        {
            "name": link.name,
            "kind": link.kind or "device",
            "state": _UP[link.up],
            "mtu": link.mtu,
            "mac": link.mac,
            "speed": link_speed(link.name),
            "master": names.get(link.master),
            "alias": link.alias,
            "addresses": addresses.get(link.index, []),
        }
        for link in own.links
        if not (is_managed_port(link) or is_managed_ifb(link))
    ]
