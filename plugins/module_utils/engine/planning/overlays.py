# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What joins the hosts of overlay networks: tunnels and routes, and what is wrong with them on this host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Iterator, List, Tuple

from ..declaration.drivers import Member, OverlayDriver
from ..declaration.model import Model, Network
from ..declaration.section import Address, link_name
from ..declaration.slices import stand_in
from ..errors import Problem, ProblemCollector
from ..state import Forward, HostRoute, Object, PeerRoute, PermanentNeighbour, Tunnel
from .allotments import Allotments
from .facts import Facts
from .ingress import leads_elsewhere, return_routes, return_rules, tunnel_addresses
from .ipam import stable_mac

if TYPE_CHECKING:
    from .plan import Plan


def overlays(model: Model) -> Iterator[Tuple[Network, OverlayDriver]]:
    """The overlay networks of a host."""
    for network in model.networks.values():
        if isinstance(network.driver, OverlayDriver):
            yield network, network.driver


def tunnel_name(network: str) -> str:
    return link_name("vx-", network)


def has_tunnel(network: Network) -> bool:
    return isinstance(network.driver, OverlayDriver) and not network.driver.direct


def tunnels(model: Model) -> Iterator[Tuple[Network, OverlayDriver, str]]:
    """The overlay networks whose packets go by a tunnel, with the name of its link."""
    for network, driver in overlays(model):
        if not driver.direct:
            yield network, driver, tunnel_name(network.name)


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


def _tunnel(plan: Plan, network: Network, driver: OverlayDriver, name: str) -> Tunnel:
    macs = {peer.name: tunnel_mac(network, peer) for peer in driver.peers}
    slices = [(peer, each) for peer in driver.peers for each in peer.slices]
    return Tunnel(
        name,
        network.name,
        vni=driver.vni,
        local=str(driver.own.address),
        port=driver.port,
        mtu=plan.mtu(network),
        mac=tunnel_mac(network, driver.own),
        routes=(
            *(PeerRoute(str(each), stand_in(each), _source(plan, network, each.version)) for _peer, each in slices),
            *return_routes(plan, network),
        ),
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
            ("ipv6.disable_ipv6", "0" if network.ipv6 else "1"),
        ),
        addresses=tuple(tunnel_addresses(plan, network, driver)),
        place=network.path,
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


def check_overlays(model: Model, problems: ProblemCollector) -> None:
    """Whether no two tunnels share an identifier, and none has the name of a bridge."""
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
