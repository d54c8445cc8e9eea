# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of the host: those to other hosts on managed links, those of the main table on other links, and third-party
routes to the same destinations.

The planner refuses a network of which a third-party route leads a part elsewhere. What is left are routes by which the
kernel refuses packets.
"""

from __future__ import annotations

import errno
from typing import Dict, Iterable, List, Mapping, Sequence

from ...errors import ConflictError, Problem
from ...kernel import rtnetlink
from ...kernel.links import forgiving
from ...kernel.rtnetlink import RT_SCOPE_LINK, RT_SCOPE_UNIVERSE, RT_TABLE_MAIN, RTPROT_WHARF, RouteInfo
from ...kernel.rtnetlink_changes import Rtnetlink
from ...state import PeerRoute
from .marks import is_managed
from .stacks import HostStack


def peer_routes(index: int, routes: Iterable[RouteInfo]) -> Dict[PeerRoute, RouteInfo]:
    """Those of the routes that wharf.network has made on the link of this index."""
    found: Dict[PeerRoute, RouteInfo] = {}
    for route in routes:
        if route.index == index and route.protocol == RTPROT_WHARF:
            table = 0 if route.table == RT_TABLE_MAIN else route.table
            found[PeerRoute(route.destination, route.gateway, route.source, table)] = route
    return found


def set_peer_routes(netlink: Rtnetlink, index: int, wanted: Sequence[PeerRoute]) -> None:
    """Make these the only routes to other hosts on a link.

    The existing routes are read anew, since the kernel drops some when the link changes.
    """
    existing = peer_routes(index, rtnetlink.routes_of_all_tables())
    for route in (each for each in wanted if each not in existing):
        is_on_link = not route.gateway and ":" not in route.destination
        netlink.add_route(
            route.destination, index, route.gateway, protocol=RTPROT_WHARF, source=route.source,
            scope=RT_SCOPE_LINK if is_on_link else RT_SCOPE_UNIVERSE, onlink=bool(route.gateway),
            table=route.table or RT_TABLE_MAIN,
        )  # fmt: skip
    kept = {(route.destination, route.table) for route in wanted}
    for route, info in existing.items():
        if (route.destination, route.table) not in kept:
            with forgiving(errno.ESRCH):
                rtnetlink.delete_route(info)


def host_routes(host: HostStack) -> List[RouteInfo]:
    managed = {link.index for link in host.links if is_managed(link)}
    return [route for route in [*host.refusing_routes, *host.routes] if route.index not in managed]


def refuse_third_party_routes(host: HostStack, places: Mapping[str, str]) -> None:
    """See that the routes to be made replace no third-party one. `places` say by destination where they are declared.

    Raises:
        ConflictError: a third party has a route to such a destination.
    """
    problems = [
        Problem(places[route.destination], f"the host has a route to {route.destination} already: remove it")
        for route in (host_routes(host) if places else ())
        if route.destination in places and route.protocol != RTPROT_WHARF and not _allows_another(route)
    ]
    if problems:
        raise ConflictError(*problems)


def _allows_another(route: RouteInfo) -> bool:
    """Whether the kernel allows another route of the same destination beside this one, as by another metric."""
    return route.priority not in (0, 1024) or any(each.startswith(("from", "tos")) for each in route.details)
