# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes the host's own links on parents, by which it reaches containers that have links there."""

from __future__ import annotations

import errno
import socket
from typing import FrozenSet, Iterator, List, Mapping, Optional, Sequence

from ...diff import Change
from ...kernel import proc_sys, rtnetlink
from ...kernel.links import (
    DONE,
    UNDONE_SHIMS,
    declared_addresses,
    forgiving,
    in_order_of,
    set_addresses,
)
from ...kernel.rtnetlink import (
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RTPROT_STATIC,
    AddressInfo,
    LinkInfo,
    RouteInfo,
    SublinkInfo,
)
from ...kernel.rtnetlink_changes import LinkEnd, Rtnetlink
from ...state import Key, Shim, State, Sublink, state_of
from ..resource import Observation
from . import sublinks
from .link_resource import HostLinks
from .marks import MARK, is_managed_shim, marked_for

Links = Mapping[str, LinkInfo]


class Shims(HostLinks[Shim]):
    """Observes and changes shims: the links of macvlan and ipvlan on the host whose alias is `wharf:NETWORK`.

    One whose parent is not there, or is down, is pending.
    """

    kinds = frozenset(["shim"])
    type = Shim
    made_with = frozenset(["network"])
    goes_first = True

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        wanted = {thing.name: thing for thing in desired.values() if isinstance(thing, Shim)}
        links = {link.name: link for link in self._stacks.host.links}
        self._refuse_third_party(wanted, is_managed_shim, "delete it, or rename it")
        managed = [link for link in links.values() if is_managed_shim(link)]
        host = self._stacks.host
        addresses, routes = (host.addresses, host.routes) if managed else ([], [])
        names = {link.index: link.name for link in links.values()}
        current = state_of([_observed(link, names, addresses, routes, wanted.get(link.name)) for link in managed])
        pending = {shim.key: why for shim in wanted.values() for why in [_lacks_parent(shim, links)] if why}
        rest = {key: thing for key, thing in desired.items() if key not in pending}
        return Observation(current, rest, partial=frozenset(current.keys() - rest.keys()), pending=pending)

    def _is_to_go(self, before: Shim, change: Change) -> bool:
        is_anew = isinstance(change.after, Shim) and sublinks.is_made_anew(before.sublink, change.after.sublink)
        return is_anew or super()._is_to_go(before, change)

    def _make(self, netlink: Rtnetlink, before: Optional[Shim], after: Shim) -> None:
        if before is None:
            sublinks.add(netlink, after.sublink, LinkEnd(after.name, after.mac), after.mtu, UNDONE_SHIMS)
        index = socket.if_nametoindex(after.name)
        if before and before.sublink != after.sublink:
            sublinks.set_mode(netlink, after.sublink, index)
        netlink.set_link(index, mtu=after.mtu, mac=after.mac, alias=MARK + after.network, group=DONE)
        proc_sys.apply(after.sysctls, after.name)
        netlink.set_link(index, up=True)
        set_addresses(netlink, after.name, index, before.addresses if before else (), after.addresses)
        _set_routes(netlink, index, after)


def _lacks_parent(shim: Shim, links: Links) -> str:
    parent = links.get(shim.sublink.parent)
    if shim.sublink.made or (parent and (parent.up or shim.name in links)):
        return ""
    lacks = "is down: set it up" if parent else "is not on this host: it is made as soon as that is there"
    return f"{shim.name} is pending: its parent {shim.sublink.parent} {lacks}"


def _observed(
    link: LinkInfo,
    names: Mapping[int, str],
    addresses: Sequence[AddressInfo],
    routes: Sequence[RouteInfo],
    wanted: Optional[Shim],
) -> Shim:
    info = link.sublink or SublinkInfo("")
    declared = wanted or Shim(link.name, "", Sublink(), 0, "", ())
    own = (info for info in addresses if info.index == link.index)
    given = (each for each in routes if each.index == link.index and each.protocol == RTPROT_STATIC)
    return Shim(
        link.name,
        network="" if link.group == UNDONE_SHIMS else marked_for(link),
        sublink=Sublink(link.kind, names.get(link.link, ""), info.mode, info.flag),
        mtu=link.mtu,
        mac=link.mac if declared.mac else "",
        addresses=declared_addresses(declared.addresses, own),
        routes=in_order_of(declared.routes, (each.destination for each in given)),
        sysctls=in_order_of(declared.sysctls, proc_sys.observe(declared.sysctls, link.name)),
        up=link.up,
    )


def _set_routes(netlink: Rtnetlink, index: int, shim: Shim) -> None:
    """Those of IPv4 have the shim's address as source. Of IPv6 the kernel takes it by itself."""
    there = {each.destination: each for each in rtnetlink.routes(netlink) if _is_own(each, index)}
    for destination, route in there.items():
        if destination not in shim.routes:
            with forgiving(errno.ESRCH):
                rtnetlink.delete_route(route)
    for destination in (each for each in shim.routes if each not in there):
        version = 6 if ":" in destination else 4
        source = next(_plain(each) for each in shim.addresses if (":" in each) == (version == 6))
        scope = RT_SCOPE_UNIVERSE if version == 6 else RT_SCOPE_LINK
        netlink.add_route(destination, index, scope=scope, source=source)


def _is_own(route: RouteInfo, index: int) -> bool:
    return route.index == index and route.protocol == RTPROT_STATIC


def _plain(address: str) -> str:
    return address.partition("/")[0]


def marked_shims() -> Iterator[LinkInfo]:
    links: List[LinkInfo] = rtnetlink.links()
    return (link for link in links if is_managed_shim(link) and marked_for(link))
