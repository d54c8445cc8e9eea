# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the declared DHCP, router advertisement and network boot against the subnets and addresses of the plan."""

from __future__ import annotations

from typing import Mapping

from ..declaration.model import Model, Network
from ..declaration.services import AddressRange
from ..errors import ProblemCollector
from .allotments import Pools, subnets_of


def check_leases(model: Model, allotted: Mapping[str, Pools], problems: ProblemCollector) -> None:
    """Report what dnsmasq could not do as it is declared: ranges outside their subnet or across addresses that are in
    use, services that lack an IP family, services on a bridge where dnsmasq has no address or is not alone.
    """
    for network in model.networks.values():
        pools = allotted.get(network.name, ())
        path = f"{network.path}.x-wharf"
        services = network.services
        ranges = services.dhcp.ranges if services.dhcp else ()
        for index, leased in enumerate(ranges):
            _check_range(model, network, leased, pools, problems)
            for other in ranges[:index]:
                if leased.first in other or other.first in leased:
                    problems.add(leased.path, f'"{leased}": overlaps {other.path}: leave one of them out')
        if services.ra and not network.has(6):
            problems.add(f"{path}.ra", "the network has no IPv6: set enable_ipv6: true on it")
        for pool in pools if services.ra else ():
            if pool.version == 6 and pool.subnet.prefixlen != 64:
                problems.add(
                    f"{path}.ra", f"hosts make addresses of their own in a /64 only, and {pool.subnet} is none"
                )
        if services.boot and (not services.dhcp or not network.has(4)):
            problems.add(f"{path}.boot", "clients get the boot file by DHCP: set dhcp on the network, and give it IPv4")
        for version in network.versions:
            if services.leases and not network.has_gateway(version):
                problems.add(path, f"the bridge has no IPv{version} address to serve by: leave dhcp, ra and boot out")
        if services.leases and network.external:
            problems.add(path, "leases on an adopted bridge are left to its owner: leave dhcp, ra and boot out")


def _check_range(
    model: Model,
    network: Network,
    leased: AddressRange,
    pools: Pools,
    problems: ProblemCollector,
) -> None:
    of_family = [pool for pool in pools if pool.version == leased.version]
    if not of_family:
        problems.add(leased.path, f'"{leased}": the network has no IPv{leased.version}')
        return
    if not any(leased.first in pool.subnet and leased.last in pool.subnet for pool in of_family):
        problems.add(leased.path, f'"{leased}": lies outside {subnets_of(network.name, of_family)}')
    for gateway in (pool.gateway for pool in of_family if pool.gateway in leased):
        problems.add(leased.path, f'"{leased}": includes the network\'s gateway {gateway}: leave that out')
    for _container, attachment in model.attachments:
        static = attachment.static(leased.version)
        if attachment.network == network.name and static and static in leased:
            problems.add(
                leased.path,
                f'"{leased}": includes {static}, which is the address of {attachment.path}: move one of them',
            )
