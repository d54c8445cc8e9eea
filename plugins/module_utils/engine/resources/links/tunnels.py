# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes the VXLAN links of overlay networks, and what they have of each other host: a route for each of
its slices, the MAC that stands for it, and the address that this MAC is behind. Nothing is learned from packets.
"""

from __future__ import annotations

import errno
import socket
from collections import defaultdict
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ...diff import Change
from ...errors import ConflictError, Problem
from ...kernel import proc_sys, rtnetlink
from ...kernel.links import (
    DONE,
    UNDONE_BRIDGES,
    declared_addresses,
    doing,
    forgiving,
    in_order_of,
    opened,
    require_pyroute2,
    set_addresses,
)
from ...kernel.rtnetlink import RTPROT_WHARF, AddressInfo, LinkInfo, NeighbourInfo, RouteInfo, VxlanInfo
from ...kernel.rtnetlink_changes import Rtnetlink
from ...state import Forward, HostRoute, Key, PermanentNeighbour, State, Tunnel, state_of
from ..resource import Observation
from .host_routes import host_routes, peer_routes, refuse_third_party_routes, set_peer_routes
from .link_resource import HostLinks, LinkResource, third_party_link
from .marks import MARK, is_managed_tunnel, marked_for

_UNKNOWN_VXLAN = VxlanInfo(vni=0, local="", port=0, learning=True)


class Tunnels(HostLinks[Tunnel]):
    """Observes and changes the VXLAN links whose alias is `wharf:NETWORK`."""

    kinds = frozenset(["tunnel"])
    goes_first = True
    type = Tunnel
    made_with = frozenset(["vni", "local", "port"])
    # Where the links of the host do not show who is in the way.
    remedies = {
        errno.EEXIST: "a link in another network namespace has its VNI, as those of Docker Swarm: "
        "give the network another one by com.docker.network.driver.overlay.vxlanid_list",
        errno.EADDRINUSE: "a third party has its UDP port: give the network another x-wharf.data_path_port",
    }
    _ip: Any = None

    def require(self, new: State) -> None:
        require_pyroute2()

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        wanted = {thing.name: thing for thing in desired.values() if isinstance(thing, Tunnel)}
        links = self._stacks.host.links
        taken = {(tunnel.vni, tunnel.port) for tunnel in wanted.values()}
        problems = [
            _problem(link, wanted)
            for link in links
            if not is_managed_tunnel(link) and (link.name in wanted or _identity(link) in taken)
        ]
        if problems:
            raise ConflictError(*problems)
        routes = (route for tunnel in wanted.values() for route in tunnel.routes if not route.table)
        refuse_third_party_routes(self._stacks.host, {route.destination: route.place for route in routes})
        managed = [link for link in links if is_managed_tunnel(link)]
        known = rtnetlink.routes_of_all_tables() if managed else []
        addresses = self._stacks.host.addresses if managed else []
        current = state_of([_observed(link, known, addresses, wanted.get(link.name)) for link in managed])
        return Observation(current, desired, partial=frozenset(current.keys() - desired.keys()))

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        with opened() as self._ip:
            return super().apply(changes)

    def _make(self, netlink: Rtnetlink, before: Optional[Tunnel], after: Tunnel) -> None:
        _update(self._ip, netlink, before or _create(self._ip, after), after)


class HostRoutes(LinkResource):
    """Observes and changes the routes of the main table that say by their protocol that wharf.network made them, and
    that are on no link of it.
    """

    kinds = frozenset(["route"])

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        wanted = {thing.name: thing for thing in desired.values() if isinstance(thing, HostRoute)}
        refuse_third_party_routes(self._stacks.host, {name: route.place for name, route in wanted.items()})
        managed = [route for route in host_routes(self._stacks.host) if route.protocol == RTPROT_WHARF]
        current = state_of([HostRoute(each.destination, each.gateway, each.source) for each in managed])
        return Observation(current, desired)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        existing: Dict[str, List[RouteInfo]] = defaultdict(list)
        for route in host_routes(self._stacks.host):
            if route.protocol == RTPROT_WHARF:
                existing[route.destination].append(route)
        self._stacks.forget()
        with Rtnetlink() as netlink:
            for change in changes:
                with doing(change.subject.title):
                    _change_route(netlink, change, existing[change.subject.name])
        return {}


def _identity(link: LinkInfo) -> Optional[Tuple[int, int]]:
    """The VNI and the port of a VXLAN link, which only one link can have; None of another link."""
    return (link.vxlan.vni, link.vxlan.port) if link.vxlan else None


def _problem(link: LinkInfo, wanted: Mapping[str, Tunnel]) -> Problem:
    if link.name in wanted:
        return third_party_link(link.name, wanted[link.name].place, "remove it")
    same = next(each for each in wanted.values() if link.vxlan and each.vni == link.vxlan.vni)
    option = "com.docker.network.driver.overlay.vxlanid_list"
    remedy = f"give the network another VNI than {same.vni}, which that one has, by {option}"
    return third_party_link(link.name, same.place, remedy)


def _observed(
    link: LinkInfo, routes: Sequence[RouteInfo], addresses: Sequence[AddressInfo], wanted: Optional[Tunnel]
) -> Tunnel:
    vxlan = link.vxlan or _UNKNOWN_VXLAN
    known = rtnetlink.neighbours(link.index)
    declared = wanted or Tunnel(link.name, "", 0, "", 0, 0, "")
    return Tunnel(
        link.name,
        network="" if link.group == UNDONE_BRIDGES else marked_for(link),
        vni=vxlan.vni,
        # A link that learns is made anew, since then anybody's packet could say which host has an address.
        local="" if vxlan.learning else vxlan.local,
        port=vxlan.port,
        mtu=link.mtu,
        mac=link.mac,
        routes=in_order_of(declared.routes, peer_routes(link.index, routes)),
        neighbours=in_order_of(declared.neighbours, _neighbours(known)),
        forwards=in_order_of(declared.forwards, _forwards(known)),
        up=link.up,
        sysctls=in_order_of(declared.sysctls, proc_sys.observe(declared.sysctls, link.name)),
        addresses=declared_addresses(declared.addresses, _lasting(addresses, link.index)),
    )


def _lasting(addresses: Sequence[AddressInfo], index: int) -> List[AddressInfo]:
    """Those of a link that nobody else made, and that do not run out."""
    return [each for each in addresses if each.index == index and not (each.by_kernel or each.link_local6)]


def _neighbours(known: Sequence[NeighbourInfo]) -> List[PermanentNeighbour]:
    return [
        PermanentNeighbour(each.address, each.mac)
        for each in known
        if each.permanent and each.family != socket.AF_BRIDGE
    ]


def _forwards(known: Sequence[NeighbourInfo]) -> List[Forward]:
    return [Forward(each.mac, each.address) for each in known if each.family == socket.AF_BRIDGE]


def _create(ip: Any, tunnel: Tunnel) -> Tunnel:
    """Make the link, and return what it is before `_update`. Made without `mtu`, it would have that of Ethernet."""
    local = {"vxlan_local6" if ":" in tunnel.local else "vxlan_local": tunnel.local}
    ip.link(
        "add", kind="vxlan", ifname=tunnel.name, group=UNDONE_BRIDGES, address=tunnel.mac, mtu=tunnel.mtu,
        vxlan_id=tunnel.vni, vxlan_port=tunnel.port, vxlan_learning=0, **local,
    )  # fmt: skip
    return Tunnel(tunnel.name, "", tunnel.vni, tunnel.local, tunnel.port, tunnel.mtu, tunnel.mac, up=False)


def _update(ip: Any, netlink: Rtnetlink, before: Tunnel, after: Tunnel) -> None:
    """The peers come last: the kernel drops them with the link, and IPv6 ones where the MTU was too small for it."""
    index = socket.if_nametoindex(after.name)
    changed = Change(before, after).fields
    if "mtu" in changed or "mac" in changed:
        ip.link("set", index=index, mtu=after.mtu, address=after.mac)
    proc_sys.apply((each for each in after.sysctls if each not in before.sysctls), after.name)
    if before.up != after.up:
        ip.link("set", index=index, state="up" if after.up else "down")
    # Read anew, since the kernel may have dropped some.
    existing = declared_addresses(after.addresses, _lasting(rtnetlink.addresses(), index))
    set_addresses(netlink, after.name, index, existing, after.addresses)
    _set_peers(netlink, index, after)
    if before.network != after.network:
        # Marked last: what a killed run leaves is whole, or shows by its group that it is not.
        ip.link("set", index=index, ifalias=MARK + after.network, group=DONE)


def _set_peers(netlink: Rtnetlink, index: int, after: Tunnel) -> None:
    """Make these the only peers. What is there already is read anew, since the kernel may have dropped some."""
    known = rtnetlink.neighbours(index)
    forwards, neighbours = _forwards(known), _neighbours(known)
    for forward in after.forwards:
        if forward not in forwards:
            netlink.replace_forward(index, forward.mac, forward.address)
    for neighbour in after.neighbours:
        if neighbour not in neighbours:
            netlink.replace_neighbour(index, neighbour.address, neighbour.mac)
    set_peer_routes(netlink, index, after.routes)
    addresses = {each.address for each in after.neighbours}
    for neighbour in neighbours:
        if neighbour.address not in addresses:
            with forgiving(errno.ENOENT):
                netlink.delete_neighbour(index, neighbour.address)
    macs = {each.mac for each in after.forwards}
    for forward in forwards:
        if forward.mac not in macs:
            with forgiving(errno.ENOENT):
                netlink.delete_forward(index, forward.mac, forward.address)


def _change_route(netlink: Rtnetlink, change: Change, existing: Sequence[RouteInfo]) -> None:
    after = change.after
    if isinstance(after, HostRoute):
        netlink.add_route(after.name, 0, after.gateway, protocol=RTPROT_WHARF, source=after.source)
    for route in existing:
        # The kernel keeps two routes of IPv6 to one destination where their kinds differ. A message to delete one by
        # the same gateway would match the new one.
        if not isinstance(after, HostRoute) or (":" in after.name and route.gateway != after.gateway):
            with forgiving(errno.ESRCH):
                rtnetlink.delete_route(route)
