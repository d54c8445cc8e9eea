# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose's `ipam` of a network -> its address pools, at least one for each IP family."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

from ..errors import ModelError
from . import section as read
from .model import Pool
from .section import Section, whole_section, wrong

# Of `aux_addresses`, the one that the host has on a network without a bridge.
HOST_NAME = "host"

DHCP = "dhcp"


def parse_ipam(section: Section, versions: List[int], path: str) -> Tuple[str, Tuple[Pool, ...]]:
    """The driver, and the pools. With the driver `dhcp` nothing is known of the only one."""
    driver = section.take("driver", read.one_of("default", DHCP), "default")
    if driver == DHCP:
        section.refuse(["config"], "the DHCP server of the LAN says which subnet and addresses there are: leave it out")
    pools = section.take("config", _pools(versions), tuple(Pool(path, version) for version in versions))
    section.finish(passed_over=("options",), extensible=True)
    return driver, pools


def _pools(versions: List[int]) -> read.Parser[Tuple[Pool, ...]]:
    """A parser of `ipam.config`. An IP family of the network for which nothing is declared has one pool, too."""

    def parse(value: Any, path: str) -> Tuple[Pool, ...]:
        given: Dict[int, List[Pool]] = {}
        for index, pool in enumerate(read.list_of(_pool)(value, path)):
            if pool.version not in versions:
                remedy = "set enable_ipv6: true" if pool.version == 6 else "leave out enable_ipv4: false"
                raise wrong(
                    f"{path}[{index}].subnet",
                    str(pool.subnet),
                    f"the network has no IPv{pool.version}: {remedy}",
                )
            given.setdefault(pool.version, []).append(pool)
        return tuple(pool for version in versions for pool in given.get(version, [Pool(path, version)]))

    return parse


def _pool(value: Any, path: str) -> Pool:
    with whole_section(value, path, extensible=True) as section:
        subnet = section.take_optional("subnet", read.subnet)
        ip_range = section.take_optional("ip_range", read.subnet)
        gateway = section.take_optional("gateway", read.address)
        named = section.take_all("aux_addresses", _aux_addresses)
    reserved = tuple(address for _name, address in named)
    if subnet is None:
        raise ModelError.at(path, "subnet is missing: IPAM settings belong to a subnet")
    check_usable(subnet, f"{path}.subnet")
    check_inside(subnet, path, ip_range=ip_range, gateway=gateway)
    for other in reserved:
        check_inside(subnet, path, aux_addresses=other)
    if gateway:
        check_gateway(subnet, gateway, reserved, f"{path}.gateway")
    return Pool(path, subnet.version, subnet, ip_range, gateway, reserved, dict(named).get(HOST_NAME))


def check_usable(subnet: read.Subnet, path: str) -> None:
    unusable = subnet.is_loopback or subnet.is_multicast or subnet.is_reserved or subnet.network_address.is_unspecified
    if not subnet.prefixlen or unusable:
        raise wrong(path, str(subnet), "no host of a network has an address there: choose a private subnet")


def check_inside(subnet: read.Subnet, path: str, **parts: Any) -> None:
    for key, part in parts.items():
        if part is None:
            continue
        if not (read.is_within(part, subnet) if hasattr(part, "prefixlen") else part in subnet):
            raise wrong(f"{path}.{key}", str(part), f"lies outside the subnet {subnet}")


def check_gateway(subnet: read.Subnet, gateway: read.Address, reserved: Tuple[read.Address, ...], path: str) -> None:
    if gateway in reserved:
        raise wrong(path, str(gateway), "is also one of aux_addresses: give another address to one of them")
    if gateway in read.unusable_addresses(subnet):
        raise wrong(path, str(gateway), f"is the first or last address of {subnet}, which no host can have")


def _aux_addresses(value: Any, path: str) -> Tuple[Tuple[str, read.Address], ...]:
    given: Mapping[str, Any] = read.mapping(value, path)
    return tuple((key, read.address(item, f"{path}.{key}")) for key, item in given.items())
