# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What joins the hosts of overlay networks: tunnels and routes, and what is wrong with them on this host.

Each network in clear text has a tunnel of its own. All encrypted ones have one link of WireGuard together, in which the
addresses say of which network a packet is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Iterator, List, Mapping, Tuple

from ..declaration.drivers import Member, OverlayDriver
from ..declaration.model import Model, Network
from ..declaration.section import Address, Subnet, link_name
from ..declaration.slices import stand_in
from ..errors import Problem, ProblemCollector
from ..state import Forward, HostRoute, Object, PeerRoute, PermanentNeighbour, Tunnel, WireGuard, WireGuardPeer
from .allotments import Allotments
from .facts import Facts
from .ingress import leads_elsewhere, return_routes, return_rules, tunnel_addresses
from .ipam import stable_mac
from .wireguard_names import KEY_FILE, WIREGUARD_LINK

if TYPE_CHECKING:
    from .plan import Plan

# Seconds, as WireGuard's manual advises: few NATs forget a flow before. So a peer that lives has a session, too.
KEEPALIVE = 25


def overlays(model: Model) -> Iterator[Tuple[Network, OverlayDriver]]:
    """The overlay networks of a host."""
    for network in model.networks.values():
        if isinstance(network.driver, OverlayDriver):
            yield network, network.driver


def tunnel_name(network: str) -> str:
    return link_name("vx-", network)


def has_tunnel(network: Network) -> bool:
    """Whether its packets go by a tunnel of its own, in clear text."""
    return isinstance(network.driver, OverlayDriver) and network.driver.has_tunnel


def link_to_others(network: Network) -> str:
    """The link by which an overlay network's packets go to other hosts; empty where those are plain routes."""
    if isinstance(network.driver, OverlayDriver) and network.driver.encrypted:
        return WIREGUARD_LINK
    return tunnel_name(network.name) if has_tunnel(network) else ""


def tunnels(model: Model) -> Iterator[Tuple[Network, OverlayDriver, str]]:
    """The overlay networks whose packets go by a tunnel of their own, with the name of its link."""
    for network, driver in overlays(model):
        if has_tunnel(network):
            yield network, driver, tunnel_name(network.name)


def encrypted(model: Model) -> List[Tuple[Network, OverlayDriver]]:
    return [(network, driver) for network, driver in overlays(model) if driver.encrypted]


def tunnels_and_routes(plan: Plan) -> List[Object]:
    objects: List[Object] = [_tunnel(plan, *each) for each in tunnels(plan.model)]
    for network, driver in overlays(plan.model):
        for subnet in driver.subnets:
            # No slice that nobody has, or that is behind a tunnel that is down, is sent to the host's default gateway.
            objects.append(HostRoute(str(subnet), place=network.path))
        for peer in driver.peers if driver.direct else ():
            for each in peer.slices:
                gateway = str(peer.address)
                objects.append(HostRoute(str(each), gateway, _source(plan, network, each.version), place=network.path))
    return [*objects, *return_rules(plan)]


def _source(plan: Plan, network: Network, version: int) -> str:
    """The address that the host's own packets to other slices have: that of its bridge, which is in its own slice."""
    return str(plan.allotted.pools(network.name, version)[0].gateway)


def _route(plan: Plan, network: Network, slice_: Subnet, gateway: str = "") -> PeerRoute:
    return PeerRoute(str(slice_), gateway, _source(plan, network, slice_.version), place=network.path)


def _tunnel(plan: Plan, network: Network, driver: OverlayDriver, name: str) -> Tunnel:
    macs = {peer.name: tunnel_mac(network, peer) for peer in driver.peers}
    slices = [(peer, each) for peer in driver.peers for each in peer.slices]
    routes = (_route(plan, network, each, stand_in(each)) for _peer, each in slices)
    return Tunnel(
        name,
        network.name,
        vni=driver.vni,
        local=str(driver.own.address),
        port=driver.port,
        mtu=plan.mtu(network),
        mac=tunnel_mac(network, driver.own),
        routes=(*routes, *return_routes(plan, network)),
        neighbours=tuple(PermanentNeighbour(stand_in(each), macs[peer.name]) for peer, each in slices),
        forwards=tuple(Forward(macs[peer.name], str(peer.address)) for peer in driver.peers),
        sysctls=(
            # The host's loopback sends by it to ports that are published for other hosts.
            ("ipv4.route_localnet", "1" if leads_elsewhere(plan, network) else "0"),
            # The loose check of sources, since clients of other hosts are not reached by the tunnel. The kernel takes
            # the higher one of this link's and of all links': 1 is the strict one.
            ("ipv4.rp_filter", "2"),
            ("ipv6.accept_dad", "0"),
            ("ipv6.accept_ra", "0"),
            ("ipv6.disable_ipv6", "0" if network.has(6) else "1"),
        ),
        addresses=tuple(tunnel_addresses(plan, network, driver)),
        place=network.path,
    )


def wireguard_links(plan: Plan) -> List[Object]:
    """The link of all encrypted networks, if there are any. It comes after the rules: nothing passes before them.

    What is for a host whose key is not known is sent nowhere: there is no route to its slices, and no peer.
    """
    networks = encrypted(plan.model)
    if not networks:
        return []
    place, port = networks[0][0].path, networks[0][1].port
    slices: Dict[str, List[str]] = {}
    ends: Dict[str, Address] = {}
    routes = []
    for network, driver in networks:
        for peer in (each for each in driver.peers if each.name in plan.allotted.peer_keys):
            ends[peer.name] = peer.address
            slices.setdefault(peer.name, []).extend(map(str, peer.slices))
            routes += [_route(plan, network, each) for each in peer.slices]
    keys = plan.allotted.peer_keys
    link = WireGuard(
        WIREGUARD_LINK,
        port=port,
        mtu=max(plan.mtu(network) for network, _driver in networks),
        peers=tuple(
            WireGuardPeer(keys[name], str(ends[name]), port, tuple(sorted(slices[name])), KEEPALIVE)
            for name in sorted(slices)
        ),
        routes=tuple(routes),
        sysctls=(
            ("ipv6.accept_ra", "0"),
            ("ipv6.disable_ipv6", "0" if any(network.has(6) for network, _driver in networks) else "1"),
        ),
        place=place,
    )
    return [link]


def peer_keys(model: Model, known: Mapping[str, str]) -> Dict[str, str]:
    """The public keys of the hosts of encrypted networks, as far as they are declared or known, by their names."""
    members = [each for _network, driver in encrypted(model) for each in (driver.own, *driver.peers)]
    keys = {each.name: known[each.name] for each in members if each.name in known}
    return {**keys, **{each.name: each.public_key for each in members if each.public_key}}


def without_key(model: Model, allotted: Allotments) -> Iterator[str]:
    """A warning for each encrypted network with hosts whose keys are unknown."""
    for network, driver in encrypted(model):
        missing = [peer.name for peer in driver.peers if peer.name not in allotted.peer_keys]
        if missing:
            yield (
                f"{network.path}: nothing is sent to {', '.join(missing)}, of which no public key is known yet: once a "
                "play reaches this host and those together, they are joined"
            )


def tunnel_mac(network: Network, member: Member) -> str:
    return stable_mac(f"tunnel {network.name} {member.slices[0]}")


def missing_addresses(model: Model, facts: Facts) -> Iterator[Problem]:
    """The addresses that this host is to send from, and does not have. When it boots, they may come later."""
    for network, driver in overlays(model):
        if facts.addresses is not None and str(driver.own.address) not in facts.addresses:
            own = f'"{driver.own.address}": is no address of this host, from which it could send'
            remedy = f"set wharf_overlay.address of {driver.own.name} to one that it has"
            yield Problem(f"{network.path}.x-wharf.members.{driver.own.name}.address", f"{own}: {remedy}")


def check_overlays(model: Model, allotted: Allotments, before: Allotments, problems: ProblemCollector) -> None:
    """Whether no two tunnels share an identifier, none has the name of a bridge, all encrypted networks can go by one
    link, and none changes its subnet while containers may be on it.
    """
    _check_encrypted(model, allotted, problems)
    _check_subnets(model, before, problems)
    taken: Dict[Tuple[int, int], Network] = {}
    for network, driver, tunnel in tunnels(model):
        other = taken.setdefault((driver.vni, driver.port), network)
        if other is not network:
            option = "com.docker.network.driver.overlay.vxlanid_list"
            problems.add(
                network.path,
                f"its VXLAN network identifier {driver.vni} is also that of {other.path}: give one of them another "
                f"by {option}, on all hosts",
            )
        for bridged in (each for each in model.networks.values() if each.bridge == tunnel):
            problems.add(
                bridged.path,
                f"its bridge {tunnel} has the name of the tunnel of {network.path}: name another one by "
                "com.docker.network.bridge.name",
            )


def _check_encrypted(model: Model, allotted: Allotments, problems: ProblemCollector) -> None:
    networks = encrypted(model)
    addresses: Dict[str, Tuple[Address, Network]] = {}
    for network, driver in networks:
        first, of_first = networks[0]
        if driver.port != of_first.port:
            problems.add(
                f"{network.path}.x-wharf.data_path_port",
                f"{driver.port}: that of {first.path} is {of_first.port}, and all encrypted networks of a host go by "
                "one link: give them one port",
            )
        for peer in driver.peers:
            address, other = addresses.setdefault(peer.name, (peer.address, network))
            if address != peer.address:
                problems.add(
                    f"{network.path}.x-wharf.members.{peer.name}.address",
                    f'"{peer.address}": is {address} in {other.path}, and all encrypted networks of a host go by one '
                    "link: give it one address",
                )
    holders: Dict[str, str] = {}
    for name, key in allotted.peer_keys.items():
        if key and holders.setdefault(key, name) != name:
            problems.add(
                networks[0][0].path,
                f"{holders[key]} and {name} have the same public key, as copies of a machine do: remove "
                f"{KEY_FILE} on one of them, and let a play reach both",
            )
    for network in model.networks.values() if networks else ():
        if network.bridge == WIREGUARD_LINK:
            problems.add(
                network.path,
                f"its bridge {WIREGUARD_LINK} has the name of the link of encrypted networks: name another one by "
                "com.docker.network.bridge.name",
            )


def _check_subnets(model: Model, before: Allotments, problems: ProblemCollector) -> None:
    """Until a container has its new address, it sends to the former subnet, which no rule knows any more as one that is
    to be encrypted.
    """
    for network, driver in encrypted(model):
        for gone in (pool.subnet for version in (4, 6) for pool in before.pools(network.name, version)):
            if any(gone[0] in subnet and gone[-1] in subnet for subnet in driver.subnets):
                continue
            problems.add(
                f"{network.path}.ipam.config",
                f"the network is encrypted, and had the slice {gone}, which is in none of these subnets: packets to it "
                "could leave in clear text while the network changes: remove the network in a run of its own first",
            )


def underlay_mtus(model: Model, facts: Facts, before: Allotments) -> Dict[str, int]:
    """The MTU of each link by which the host reaches others, in bytes, by its address there; the last one that was
    known while the host has no such address.
    """
    known = {**before.underlay_mtus, **dict(facts.mtus)}
    own = [str(driver.own.address) for _network, driver in overlays(model)]
    return {address: known[address] for address in own if address in known}


def underlay_link(driver: OverlayDriver, facts: Facts) -> str:
    """The link of the host by which it reaches the others; empty where that is not known."""
    own = driver.own.address
    return next((link.name for link in facts.links or () if any(own == each.ip for each in link.addresses)), "")


def peer_addresses(driver: OverlayDriver) -> Tuple[Address, ...]:
    return tuple(sorted(peer.address for peer in driver.peers))
