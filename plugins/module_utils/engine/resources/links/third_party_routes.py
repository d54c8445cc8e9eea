# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of the host's main table that are on no link of wharf.network, and third-party ones among them in the way.

The planner refuses a network of which a third-party route leads a part elsewhere. What is left are routes by which the
kernel refuses packets.
"""

from __future__ import annotations

from typing import List, Mapping

from ...errors import ConflictError, Problem
from ...kernel.rtnetlink import RTPROT_WHARF, RouteInfo
from .marks import is_managed
from .stacks import HostStack


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
        if route.destination in places and route.protocol != RTPROT_WHARF and not _is_told_apart(route)
    ]
    if problems:
        raise ConflictError(*problems)


def _is_told_apart(route: RouteInfo) -> bool:
    """Whether the kernel allows another route of the same destination beside this one, as by another metric."""
    return route.priority not in (0, 1024) or any(each.startswith(("from", "tos")) for each in route.details)
