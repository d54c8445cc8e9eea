# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `driver_opts` of a network whose driver is `bridge`, and those that other drivers share with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Tuple

from ..errors import ProblemCollector
from . import beside_host
from . import section as read
from .beside_host import BRIDGE_OPTION
from .drivers import LEAST_IPV6_MTU, BridgeDriver
from .model import GATEWAY_MODES, ISOLATED, NAT, Network, PerFamily
from .parse_ports import host_ip
from .parse_rates import take_rates
from .parse_vlans import take_vlans
from .section import Section, wrong

UPLINK = "uplink"
MTU_OPTION = "com.docker.network.driver.mtu"
_PREFIX_OPTION = "com.docker.network.container_iface_prefix"


def take_masquerade(extension: Section, default: bool) -> PerFamily[bool]:
    """The `masquerade` of an `x-wharf`; the default for a family that is left out."""
    families = extension.inner("masquerade")
    found = PerFamily(families.take("ipv4", read.flag, default), families.take("ipv6", read.flag, default))
    families.finish()
    return found


def parse_bridge(network: Network, options: Section, extension: Section, problems: ProblemCollector) -> Network:
    """The network with the settings of its `driver_opts`, and of its `x-wharf` those of a bridge."""
    driver = BridgeDriver(_uplink(network, options, extension))
    options.refuse_blank(BRIDGE_OPTION + "enable_icc", BRIDGE_OPTION + "host_binding_ipv4")
    masquerade = options.take(BRIDGE_OPTION + "enable_ip_masquerade", read.flag, True)
    shaped = replace(
        network,
        driver=driver,
        bridge=options.take(BRIDGE_OPTION + "name", read.interface_name, network.bridge),
        icc=options.take(BRIDGE_OPTION + "enable_icc", read.flag, True),
        gateway_modes=PerFamily(
            options.take(BRIDGE_OPTION + "gateway_mode_ipv4", _gateway_mode, NAT),
            options.take(BRIDGE_OPTION + "gateway_mode_ipv6", _gateway_mode, NAT),
        ),
        host_addresses=PerFamily(
            options.take_optional("com.docker.network.host_ipv4", _own_address(4)),
            options.take_optional("com.docker.network.host_ipv6", _own_address(6)),
        ),
        trusted_interfaces=options.take_all(BRIDGE_OPTION + "trusted_host_interfaces", _interfaces),
        inhibit_ipv4=options.take(BRIDGE_OPTION + "inhibit_ipv4", read.flag, False),
        masquerades=take_masquerade(extension, masquerade),
        host_binding=options.take_optional(BRIDGE_OPTION + "host_binding_ipv4", host_ip),
        rates=take_rates(extension),
        vlans=take_vlans(extension),
    )
    shaped = shared_options(shaped, options, problems)
    for version in (4, 6):
        if shaped.gateway_mode(version) == ISOLATED and not shaped.internal:
            problems.add(
                option_path(network, f"{BRIDGE_OPTION}gateway_mode_ipv{version}"),
                f'"isolated": leaves the containers without a gateway: set {network.path}.internal: true',
            )
    return shaped


def _uplink(network: Network, options: Section, extension: Section) -> str:
    """The link of the host that becomes a port of the bridge; empty for none."""
    extension.refuse_blank(UPLINK, why="has no value: name a link of this host, or leave the key out")
    uplink = extension.take_optional(UPLINK, read.interface_name)
    if uplink:
        # What the host says of all its networks is not meant of this one.
        options.leave_out(network.defaults.intersection(beside_host.OPTIONS))
        unseen = f"containers and the LAN behind the uplink {uplink} reach each other beside this host's rules"
        beside_host.refuse(options, extension, unseen, "a bridge with an uplink")
    return uplink or ""


def shared_options(network: Network, options: Section, problems: ProblemCollector) -> Network:
    """The network with the settings that networks of all drivers have in their `driver_opts`."""
    shaped = replace(
        network,
        mtu=options.take_optional(MTU_OPTION, read.mtu),
        interface_prefix=options.take(_PREFIX_OPTION, _interface_prefix, "eth"),
    )
    with problems.collect():
        check_mtu(shaped, option_path(network, MTU_OPTION))
    return shaped


def option_path(network: Network, option: str) -> str:
    """The path at which a driver option of a network is declared: its own, or that of the host's defaults."""
    if option in network.defaults:
        return f"{network.defaults_path}.{option}"
    return f"{network.path}.driver_opts.{option}"


def _gateway_mode(value: Any, path: str) -> str:
    if value not in GATEWAY_MODES:
        raise wrong(path, value, f"must be one of {', '.join(GATEWAY_MODES)}")
    return str(value)


def _own_address(version: int) -> read.Parser[read.Address]:
    """A parser of addresses that the host's packets can have as source."""

    def parse(value: Any, path: str) -> read.Address:
        found = read.address_of(version)(value, path)
        if found.is_unspecified or found.is_loopback or found.is_multicast:
            raise wrong(path, value, "must be an address of the host that other hosts can reach")
        return found

    return parse


def _interfaces(value: Any, path: str) -> Tuple[str, ...]:
    """Names of links, separated by colons."""
    names = filter(None, read.text(value, path).split(":"))
    return tuple(dict.fromkeys(read.interface_name(name, path) for name in names))


def _interface_prefix(value: Any, path: str) -> str:
    prefix = read.interface_name(value, path)
    if len(prefix.encode()) > 13:
        raise wrong(path, value, "must have at most 13 bytes: a number follows, and a name has at most 15")
    return prefix


def check_mtu(network: Network, path: str) -> None:
    if network.has(6) and network.mtu and network.mtu < LEAST_IPV6_MTU:
        raise wrong(path, network.mtu, f"IPv6 needs an MTU of at least {LEAST_IPV6_MTU} bytes (RFC 8200)")
