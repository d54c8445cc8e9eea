# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the declared routes and kernel parameters of containers against their networks and interfaces."""

from __future__ import annotations

import re
from typing import Dict, Iterator, Tuple

from ..declaration.model import ENDPOINT_SYSCTLS, SWITCHES_IPV6_OFF, Attachment, Container, Model, StaticRoute, is_off
from ..declaration.section import Address, Subnet
from ..errors import Problem, ProblemCollector
from .allotments import Allotments
from .publications import gateway_attachment


def check_routes_and_sysctls(model: Model, allotted: Allotments, problems: ProblemCollector) -> None:
    """Report the routes and parameters that a container cannot have, given its networks and their settings."""
    for container in model.containers.values():
        for check in (_unreachable_gateways, _conflicting_routes, _unknown_interfaces, _conflicting_sysctls):
            problems.problems += check(model, allotted, container)


def interface_parameter(name: str) -> Tuple[str, str]:
    """`net.ipv4.conf.eth0.log_martians` -> `eth0`, `ipv4.log_martians`; two empty texts for any other parameter."""
    match = re.fullmatch(r"net\.(ipv[46])\.conf\.([^.]+)\.(\w+)", name)
    return (match[2].replace("/", "."), f"{match[1]}.{match[3]}") if match else ("", "")


def _subnets(model: Model, allotted: Allotments, container: Container) -> Iterator[Tuple[Attachment, Subnet]]:
    for attachment in container.attachments:
        for pool in allotted.networks[attachment.network]:
            if container.has(model.networks[attachment.network], pool.version):
                yield attachment, pool.subnet


def _own_addresses(allotted: Allotments, container: Container) -> Iterator[Address]:
    for attachment in container.attachments:
        yield from allotted.endpoints[container.name, attachment.network].addresses


def _unreachable_gateways(model: Model, allotted: Allotments, container: Container) -> Iterator[Problem]:
    reachable = [subnet for _attachment, subnet in _subnets(model, allotted, container)]
    own = set(_own_addresses(allotted, container))
    for route in container.routes:
        if not any(route.via in subnet for subnet in reachable) and not container.lacks_lease:
            subnets = ", ".join(str(subnet) for subnet in reachable) or "none"
            message = f"is on none of the container's networks; their subnets are: {subnets}"
            yield Problem(f"{route.path}.via", f'"{route.via}": {message}')
        elif route.via in own:
            yield Problem(f"{route.path}.via", f'"{route.via}": is the container\'s own address: name that of a router')


def _conflicting_routes(model: Model, allotted: Allotments, container: Container) -> Iterator[Problem]:
    """A network namespace has one route to each destination, whether it follows from a network or is declared."""
    taken = {
        subnet: f"is the subnet of network {attachment.network}, on which the container is itself: leave the route out"
        for attachment, subnet in _subnets(model, allotted, container)
    }
    first: Dict[Subnet, StaticRoute] = {}
    for route in container.routes:
        chosen = None if route.to.prefixlen else gateway_attachment(model, container, route.to.version)
        message = taken.get(route.to, "")
        if chosen:
            remedy = "choose another network by gw_priority, or give the route the networks that are meant"
            message = f"is the default route, which is that of network {chosen.network}: {remedy}"
        elif first.setdefault(route.to, route) is not route:
            message = f"is also that of {first[route.to].path}: leave one of them out"
        if message:
            yield Problem(f"{route.path}.to", f'"{route.to}": {message}')


def _unknown_interfaces(_model: Model, allotted: Allotments, container: Container) -> Iterator[Problem]:
    own = [allotted.endpoints[container.name, attachment.network].interface for attachment in container.attachments]
    for name, _value in container.sysctls:
        interface = interface_parameter(name)[0]
        is_open = container.lacks_lease or not container.sandbox.is_managed
        if interface not in ("", "all", "default", "lo", *own) and not is_open:
            there = ", ".join(own) or "none but lo"
            message = f"the container has no interface {interface}; there are: {there}"
            yield Problem(f"{container.path}.sysctls.{name}", message)


def _conflicting_sysctls(_model: Model, allotted: Allotments, container: Container) -> Iterator[Problem]:
    """Parameters of an interface that the container and its attachment set differently, or that would enable IPv6
    again on a container that disables it.
    """
    for attachment in container.attachments:
        interface = allotted.endpoints[container.name, attachment.network].interface
        given = [(*interface_parameter(name), name, value) for name, value in container.sysctls]
        places = {
            key: (f"{container.path}.sysctls.{name}", value) for named, key, name, value in given if named == interface
        }
        for key, value in attachment.sysctls:
            path, other = places.setdefault(key, (f"{attachment.path}.driver_opts.{ENDPOINT_SYSCTLS}", value))
            if other != value:
                message = f'is "{other}", and "{value}" in {attachment.path}.driver_opts: leave one of them out'
                yield Problem(path, message)
        path, value = places.get("ipv6.disable_ipv6", ("", ""))
        if path and is_off(value) and container.is_without_ipv6:
            yield Problem(path, f"{SWITCHES_IPV6_OFF} switches IPv6 off on all interfaces: leave one of the two out")
