# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the declared DHCP, router advertisement and network boot against the subnets and addresses of the plan."""

from __future__ import annotations

from typing import Mapping

from ..declaration.model import Model, Network
from ..declaration.services import AddressRange
from ..errors import ProblemCollector
from .allotments import PoolAllotment


def check_leases(model: Model, allotted: Mapping[str, Mapping[int, PoolAllotment]], problems: ProblemCollector) -> None:
    """Report what dnsmasq could not do as it is declared: ranges outside their subnet or across addresses that are in
    use, services that lack an IP family, services on a bridge where dnsmasq has no address or is not alone.
    """
    for network in model.networks.values():
        pools = allotted.get(network.name, {})
        path = f"{network.path}.x-wharf"
        services = network.services
        ranges = services.dhcp.ranges if services.dhcp else ()
        for index, leased in enumerate(ranges):
            _check_range(model, network, leased, pools, problems)
            for other in ranges[:index]:
                if leased.first in other or other.first in leased:
                    problems.add(leased.path, f'"{leased}": overlaps {other.path}: leave one of them out')
        if services.ra and 6 not in pools:
            problems.add(f"{path}.ra", "the network has no IPv6: set enable_ipv6: true on it")
        elif services.ra and pools[6].subnet.prefixlen != 64:
            problems.add(
                f"{path}.ra", f"hosts make addresses of their own in a /64 only, and {pools[6].subnet} is none"
            )
        if services.boot and (not services.dhcp or 4 not in pools):
            problems.add(
                f"{path}.boot", "clients learn by DHCP what to boot: set dhcp on the network, and give it IPv4"
            )
        for version in (4, 6):
            if services.leases and version in pools and not network.has_gateway(version):
                problems.add(path, f"the bridge has no IPv{version} address to serve by: leave dhcp, ra and boot out")
        if services.leases and network.external:
            problems.add(path, "who made this bridge gives leases on it, if anybody: leave dhcp, ra and boot out")


def _check_range(
    model: Model,
    network: Network,
    leased: AddressRange,
    pools: Mapping[int, PoolAllotment],
    problems: ProblemCollector,
) -> None:
    if leased.version not in pools:
        problems.add(leased.path, f'"{leased}": the network has no IPv{leased.version}')
        return
    pool = pools[leased.version]
    if leased.first not in pool.subnet or leased.last not in pool.subnet:
        problems.add(leased.path, f'"{leased}": lies outside {pool.subnet}, the subnet of network {network.name}')
    if pool.gateway in leased:
        problems.add(leased.path, f'"{leased}": includes the network\'s gateway {pool.gateway}: leave that out')
    for container in model.containers.values():
        for attachment in container.attachments:
            static = attachment.static(leased.version)
            if attachment.network == network.name and static and static in leased:
                problems.add(
                    leased.path,
                    f'"{leased}": includes {static}, which is the address of {attachment.path}: move one of them',
                )
