# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of dnsmasq's configuration for leases, router advertisement and network boot on a network."""

from __future__ import annotations

import re
from typing import Iterator, List, Tuple
from urllib.parse import quote

from ..declaration.model import Network
from ..declaration.section import Address, unusable_addresses
from ..declaration.services import ARCHITECTURES, SLAAC, STATEFUL, STATELESS, AddressRange, Boot, Dhcp, Services
from .allotments import PoolAllotment
from .plan import Plan

# The interval of router advertisements, and the lifetime of the default router that they announce, in seconds
# (RFC 4861).
_RA_INTERVAL, _ROUTER_LIFETIME = 600, 1800

# In a `dhcp-host` line dnsmasq takes these words for the lease time or for `ignore`, instead of for a name.
_LEASE_WORD = re.compile(r"ignore|infinite|\d+[smhdwSMHDW]?")


def lease_lines(plan: Plan, network: Network, lease_path: str, hosts_path: str) -> Iterator[str]:
    services = network.services
    yield f"domain={_domain(network)}"
    yield "dhcp-authoritative"
    # A DHCP client with the name `wpad` would become the web proxy of others on the network (proxy auto-discovery).
    yield "dhcp-name-match=set:proxy,wpad"
    yield "dhcp-ignore-names=tag:proxy"
    yield f"dhcp-leasefile={lease_path}"
    if services.dhcp:
        yield f"dhcp-hostsfile={hosts_path}"
    if services.dhcp and network.has(4):
        yield from _ipv4_lines(plan, network, services.dhcp)
    if network.has(6):
        yield from _ipv6_lines(plan, network, services)
    yield from option_lines(network)
    yield from boot_lines(network)


def option_lines(network: Network) -> List[str]:
    """The lines that declared options of DHCP become."""
    options = network.services.dhcp.options if network.services.dhcp else ()
    return [f"dhcp-option={','.join([_option(name), *map(quoted, values)])}" for name, values in options]


def boot_lines(network: Network) -> List[str]:
    """The lines that declared network boot becomes, but for those of IPv6, which have nothing that dnsmasq refuses."""
    return list(_boot_lines(network, network.services.boot)) if network.services.boot else []


def _domain(network: Network) -> str:
    return network.services.names.domain or network.name


def _ipv4_lines(plan: Plan, network: Network, dhcp: Dhcp) -> Iterator[str]:
    for pool in plan.allotted.pools(network.name, 4):
        ranges = _ranges(dhcp, pool)
        for each in ranges:
            first, last = _usable(each, pool)
            yield f"dhcp-range={first},{last},{pool.subnet.netmask},{dhcp.lease_time}"
        if not ranges:
            yield f"dhcp-range={pool.subnet.network_address},static,{pool.subnet.netmask},{dhcp.lease_time}"
    yield f"dhcp-option=option:mtu,{plan.mtu(network)}"
    yield f"dhcp-option=option:domain-search,{_domain(network)}"
    if network.internal:
        yield "dhcp-option=option:router"


def _ipv6_lines(plan: Plan, network: Network, services: Services) -> Iterator[str]:
    """DHCPv6 where a range is declared, and router advertisements, which tell hosts whether to use DHCPv6."""
    dhcp, pools = services.dhcp, plan.allotted.pools(network.name, 6)
    time = dhcp.lease_time if dhcp else "1h"
    # With ra-names, the name that a client has by DHCPv4 is answered with its SLAAC address, too.
    named = ",ra-names" if dhcp and network.has(4) and services.ra != STATEFUL else ""
    by_prefix = f",slaac{named}" if services.ra in (SLAAC, STATELESS) else ""
    ranges = {pool: _ranges(dhcp, pool) if dhcp else [] for pool in pools}
    for pool in pools:
        length = pool.subnet.prefixlen
        for each in ranges[pool]:
            yield f"dhcp-range={each.first},{each.last}{by_prefix},{length},{time}"
        if not ranges[pool] and services.ra:
            mode = {SLAAC: "ra-only", STATELESS: "ra-stateless", STATEFUL: "static"}[services.ra]
            yield f"dhcp-range={pool.subnet.network_address},{mode}{named},{length},{time}"
    if services.ra:
        lifetime = 0 if network.internal else _ROUTER_LIFETIME
        yield "enable-ra"
        yield f"ra-param={network.bridge},mtu:{plan.mtu(network)},{_RA_INTERVAL},{lifetime}"
    if any(ranges.values()) or services.ra:
        yield f"dhcp-option=option6:domain-search,{_domain(network)}"
        if services.boot and services.boot.tftp_root and not services.boot.server:
            yield from _ipv6_boot_lines(services.boot, pools[0].gateway)


def _usable(leased: AddressRange, pool: PoolAllotment) -> Tuple[Address, Address]:
    """The first and last address of a range, without the subnet's own address and the broadcast address."""
    unusable = unusable_addresses(pool.subnet)
    first = leased.first + 1 if leased.first in unusable else leased.first
    return first, leased.last - 1 if leased.last in unusable else leased.last


def _ranges(dhcp: Dhcp, pool: PoolAllotment) -> List[AddressRange]:
    return [each for each in dhcp.ranges if each.first in pool.subnet]


def _option(name: str) -> str:
    return name if name.isdigit() or ":" in name else f"option:{name}"


def quoted(text: str) -> str:
    """A value as dnsmasq reads it back unchanged: quoted where it has quotes, `#`, or space at an end."""
    if not re.search(r'"|#|^\s|\s$', text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _boot_lines(network: Network, boot: Boot) -> Iterator[str]:
    if boot.tftp_root:
        yield f"enable-tftp={network.bridge}"
        yield f"tftp-root={quoted(boot.tftp_root)}"
    server = f",,{boot.server}" if boot.server else ""
    for architecture, file in boot.files:
        for number in ARCHITECTURES[architecture]:
            yield f"dhcp-match=set:{architecture},option:client-arch,{number}"
        yield f"dhcp-boot=tag:{architecture},{quoted(file)}{server}"
        if architecture.startswith("http_"):
            # A client that boots by HTTP ignores offers without this option (UEFI 2.10, 24.7.3).
            yield f"dhcp-option-force=tag:{architecture},option:vendor-class,HTTPClient"
    if boot.file:
        others = "".join(f"tag:!{architecture}," for architecture, _file in boot.files)
        yield f"dhcp-boot={others}{quoted(boot.file)}{server}"


def _ipv6_boot_lines(boot: Boot, server: Address) -> Iterator[str]:
    """DHCPv6 names the boot file by a URL (RFC 5970), for the same client architectures as DHCPv4."""
    files = [(each, file) for each, file in boot.files if not each.startswith("http_")]
    for architecture, file in files:
        for number in ARCHITECTURES[architecture]:
            yield f"dhcp-match=set:{architecture},option6:61,{number}"
        yield f"dhcp-option=tag:{architecture},option6:bootfile-url,{_url(server, file)}"
    if boot.file:
        others = "".join(f"tag:!{architecture}," for architecture, _file in files)
        yield f"dhcp-option={others}option6:bootfile-url,{_url(server, boot.file)}"


def _url(server: Address, file: str) -> str:
    return f"tftp://[{server}]/{quote(file.lstrip('/'))}"


def dhcp_hosts(plan: Plan, network: Network) -> Iterator[str]:
    """Reservations: each container's own address, by the MAC of its endpoint."""
    for container, attachment in plan.model.attachments:
        if attachment.network == network.name:
            endpoint = plan.allotted.endpoints[container.name, network.name]
            ipv4 = [str(endpoint.ipv4)] if endpoint.ipv4 else []
            ipv6 = [f"[{endpoint.ipv6}]"] if endpoint.ipv6 else []
            name = container.effective_hostname.partition(".")[0]
            if _LEASE_WORD.fullmatch(name):
                name = f"{name}.{_domain(network)}"
            yield ",".join([endpoint.mac, *ipv4, *ipv6, name]) + "\n"
