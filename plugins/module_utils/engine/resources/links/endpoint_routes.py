# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of endpoints, in the sandbox that this thread is in."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace
from ipaddress import ip_interface
from typing import Collection, Dict, Iterable, Iterator, List, Optional, Sequence

from ...diff import Change
from ...kernel import rtnetlink
from ...kernel.links import doing, forgiving
from ...kernel.rtnetlink import RT_SCOPE_UNIVERSE, RTPROT_BOOT, RTPROT_KERNEL, RTPROT_STATIC, RouteInfo
from ...kernel.rtnetlink_changes import Rtnetlink
from ...state import Endpoint, Route

# Of routes that the kernel makes for addresses.
_IPV6_PRIORITY, _SCOPE_LINK = 256, 253
_ROUTES_DEPEND_ON = ("routes", "addresses", "ipv6")


def with_networks(endpoint: Endpoint) -> Endpoint:
    """The same endpoint, with the routes to its networks, which the kernel makes for its addresses."""
    networks = dict.fromkeys(ip_interface(address).network for address in endpoint.addresses)
    # Such as 192.0.2.1/32 have no network.
    routes = [Route(str(network)) for network in networks if network.prefixlen < network.max_prefixlen]
    return replace(endpoint, routes=(*routes, *endpoint.routes))


def declared_routes(wanted: Collection[Route], found: Iterable[RouteInfo]) -> Iterator[Route]:
    """Of the routes by gateways those that an administrator added; of those without a gateway the wanted ones, and
    those to further subnets of a network.

    Routes that routers and DHCP clients add have other protocols. Routes without a gateway may be the kernel's own.
    """
    for info in found:
        route = _route_of(info)
        if info.gateway:
            given = info.protocol in (RTPROT_BOOT, RTPROT_STATIC)
        else:
            given = info.protocol == RTPROT_STATIC or route in wanted
        if given:
            yield route


def _route_of(info: RouteInfo) -> Route:
    return Route(info.destination, info.gateway, info.details)


def remove_routes(before: Optional[Endpoint], after: Endpoint) -> None:
    """Remove what is wanted no more, and what led to a subnet in which the endpoint gets an address: the kernel makes a
    route there itself.
    """
    if before is None or (before.routes, before.addresses) == (after.routes, after.addresses):
        return
    gone, own = {*before.routes}.difference(after.routes), _networks(after)
    for info in _by(after.interface, rtnetlink.routes()):
        is_double = info.protocol == RTPROT_STATIC and not info.gateway and info.destination in own
        if is_double or _route_of(info) in gone:
            with (
                doing(f"endpoint {after.name}: deleting the route to {info.destination}"),
                # A route with several next hops is listed once for each, and the first deletion deletes it.
                forgiving(errno.ESRCH),
            ):
                rtnetlink.delete_route(info)


def add_routes(netlink: Rtnetlink, before: Optional[Endpoint], after: Endpoint) -> None:
    """Add the routes that are missing: new ones, and those that the kernel dropped as addresses or links changed."""
    if before and not any(field in Change(before, after).fields for field in _ROUTES_DEPEND_ON):
        return
    found = rtnetlink.routes(netlink)
    own = _by(after.interface, found)
    there = {*declared_routes(after.routes, own)}
    others = {info.destination for info in found if info not in own}
    for route in after.routes:
        if route not in there:
            # Several interfaces may be on one network, such as that of link-local addresses.
            beside = route.destination in others and not route.gateway
            with doing(f"endpoint {after.name}: adding the route {route}"):
                _add(netlink, after, route, beside)


def _by(interface: str, routes: Sequence[RouteInfo]) -> List[RouteInfo]:
    """The routes whose next hops are all at this interface."""
    index = socket.if_nametoindex(interface)
    return [info for info in routes if {*info.indexes} == {index}]


def _add(netlink: Rtnetlink, endpoint: Endpoint, route: Route, beside: bool) -> None:
    """Add a route. One to the network of an address is the same as the kernel makes: root in the container may have
    deleted that.
    """
    index = socket.if_nametoindex(endpoint.interface)
    own = _networks(endpoint)
    if route.gateway:
        netlink.add_route(route.destination, index, route.gateway)
    elif route.destination not in own:
        scope = RT_SCOPE_UNIVERSE if ":" in route.destination else _SCOPE_LINK
        netlink.add_route(route.destination, index, scope=scope)
    elif ":" in route.destination:
        netlink.add_route(route.destination, index, beside=beside, protocol=RTPROT_KERNEL, priority=_IPV6_PRIORITY)
    else:
        source = own[route.destination]
        netlink.add_route(
            route.destination, index, beside=beside, protocol=RTPROT_KERNEL, scope=_SCOPE_LINK, source=source
        )


def _networks(endpoint: Endpoint) -> Dict[str, str]:
    """The networks of its addresses, each with the address there."""
    return {str(address.network): str(address.ip) for address in map(ip_interface, endpoint.addresses)}
