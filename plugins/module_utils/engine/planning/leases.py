# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared of leases and router advertisement, held against the networks' subnets and containers."""

from __future__ import annotations

from typing import Mapping

from ..declaration.model import Model, Network
from ..declaration.services import AddressRange
from ..errors import ProblemCollector
from .allotments import PoolAllotment


def check_leases(model: Model, allotted: Mapping[str, Mapping[int, PoolAllotment]], problems: ProblemCollector) -> None:
    """It is a problem if leases could not be given as is declared, or to who has not been given them otherwise."""
    for network in model.networks.values():
        pools = allotted.get(network.name, {})
        path = f"{network.path}.x-wharf"
        services = network.services
        for each in services.dhcp.ranges if services.dhcp else ():
            _check_range(model, network, each, pools, problems)
        for index, one in enumerate(services.dhcp.ranges if services.dhcp else ()):
            for other in services.dhcp.ranges[:index] if services.dhcp else ():
                if one.first in other or other.first in one:
                    problems.add(one.path, f'"{one}": overlaps {other.path}: leave one of them out')
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
