# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry of Compose's top-level `networks` -> a network."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, List, Mapping, Optional, Tuple, TypeVar

from ..errors import ProblemCollector
from ..state import DEFAULT_NETWORK
from . import section as read
from .model import GATEWAY_MODES, ISOLATED, NAT, Host, Network, PerFamily
from .parse_pools import parse_ipam
from .parse_ports import host_ip
from .parse_services import parse_services
from .places import SOURCE
from .section import Section, whole_section, wrong
from .vocabulary import EXTENSION, NETWORK_KEYS_PASSED_OVER

T = TypeVar("T")

UNSUPPORTED_DRIVERS = ("host", "ipvlan", "macvlan", "none", "overlay")

_BRIDGE_OPTION = "com.docker.network.bridge."
_MTU_OPTION = "com.docker.network.driver.mtu"
_PREFIX_OPTION = "com.docker.network.container_iface_prefix"


def per_family(section: Section, key: str, parse: read.Parser[T], default: T) -> PerFamily[T]:
    """`KEY: {ipv4: …, ipv6: …}`; the default for a family that is left out."""
    families = section.inner(key)
    found = PerFamily(families.take("ipv4", parse, default), families.take("ipv6", parse, default))
    families.finish()
    return found


def is_external(raw: Any) -> bool:
    """Whether a network's entry says `external: true`, or has a mapping there, as in files before Compose 3.5.

    Interpolation leaves a text where a boolean is meant.
    """
    external = raw.get("external") if isinstance(raw, Mapping) else None
    return isinstance(external, Mapping) or str(external).lower() == "true"


def network_name(key: str, raw: Any) -> str:
    """The name on the host of the network that is declared by this key."""
    if not isinstance(raw, Mapping):
        return key
    external = raw.get("external")
    return str(raw.get("name") or (isinstance(external, Mapping) and external.get("name")) or key)


def parse_network(key: str, value: Any, path: str, host: Host, problems: ProblemCollector) -> List[Network]:
    """The network, in a list; an empty list if its entry has problems."""
    before = len(problems.problems)
    section = Section(value, path, problems)
    external = section.take_optional("external", _external)
    name = section.take("name", read.object_name, "") or external or key
    with problems.collect():
        _check_name(name, path, host)
    driver = section.take("driver", read.text, "bridge")
    with problems.collect():
        _check_driver(driver, f"{path}.driver")
    if external is not None:
        section.refuse(["internal"], "cannot be where others are on the bridge, too: leave it out")
    versions = _versions(section, problems)
    section.refuse_blank("internal")
    internal = section.take("internal", read.flag, False)
    pools = parse_ipam(section.inner("ipam"), versions, path)
    given = section.take_all("driver_opts", read.pairs("="))
    # The options of an unsupported driver are not checked.
    defaults = dict(() if external is not None else host.default_network_opts)
    own = dict(given if driver == "bridge" else ())
    options = Section({**defaults, **own}, f"{path}.driver_opts", problems)
    extension = section.inner(EXTENSION)
    network = Network(name, path, _bridge_name(name), pools, internal, frozenset(defaults.keys() - own.keys()))
    network = replace(network, defaults_path=f"{host.path}.default-network-opts.bridge")
    network = with_options(network, options, extension, problems)
    network = _with_extension(network, extension, problems)
    if external is not None:
        is_named = (_BRIDGE_OPTION + "name", network.bridge) in given
        network = replace(network, adopts=(network.bridge,) if is_named else (name, network.bridge))
    section.finish(passed_over=NETWORK_KEYS_PASSED_OVER, extensible=True)
    return [network] if len(problems.problems) == before else []


def check_reference(value: Any, path: str, declared: str, problems: ProblemCollector) -> None:
    """Check an external entry for a network that is declared at the path `declared`: it can have a name only."""
    section = Section(value, path, problems)
    section.take_optional("external", _external)
    section.take_optional("name", read.object_name)
    others = [key for key in value if key not in ("external", "name") and key != SOURCE]
    section.refuse(others, f"belongs to {declared}, where the network is declared: say it there")


def _external(value: Any, path: str) -> Optional[str]:
    """None if the network is not external; else the name that files before Compose 3.5 give here, or an empty one."""
    if not isinstance(value, dict):
        return "" if read.flag(value, path) else None
    with whole_section(value, path, extensible=True) as section:
        name = section.take("name", read.object_name, "")
    return name


def _check_driver(driver: str, path: str) -> None:
    if driver != "bridge":
        why = "is not supported yet" if driver in UNSUPPORTED_DRIVERS else "is no driver that is known here"
        raise wrong(path, driver, f"{why}: leave it out, or say bridge")


def _versions(section: Section, problems: ProblemCollector) -> List[int]:
    """The IP families that a network has."""
    ipv4, ipv6 = section.take("enable_ipv4", read.flag, True), section.take("enable_ipv6", read.flag, False)
    if not ipv4 and not ipv6:
        problems.add(section.path, "enable_ipv4 and enable_ipv6 are both false: a network needs one of them")
    return [version for version, wanted in ((4, ipv4), (6, ipv6)) if wanted]


def with_options(network: Network, options: Section, extension: Section, problems: ProblemCollector) -> Network:
    """The network with the settings of its `driver_opts`, and of `x-wharf.masquerade`."""
    options.refuse_blank(_BRIDGE_OPTION + "enable_icc", _BRIDGE_OPTION + "host_binding_ipv4")
    masquerade = options.take(_BRIDGE_OPTION + "enable_ip_masquerade", read.flag, True)
    shaped = replace(
        network,
        bridge=options.take(_BRIDGE_OPTION + "name", read.interface_name, network.bridge),
        icc=options.take(_BRIDGE_OPTION + "enable_icc", read.flag, True),
        gateway_modes=PerFamily(
            options.take(_BRIDGE_OPTION + "gateway_mode_ipv4", _gateway_mode, NAT),
            options.take(_BRIDGE_OPTION + "gateway_mode_ipv6", _gateway_mode, NAT),
        ),
        host_addresses=PerFamily(
            options.take_optional("com.docker.network.host_ipv4", _own_address(4)),
            options.take_optional("com.docker.network.host_ipv6", _own_address(6)),
        ),
        trusted_interfaces=options.take_all(_BRIDGE_OPTION + "trusted_host_interfaces", _interfaces),
        inhibit_ipv4=options.take(_BRIDGE_OPTION + "inhibit_ipv4", read.flag, False),
        masquerades=per_family(extension, "masquerade", read.flag, masquerade),
        mtu=options.take_optional(_MTU_OPTION, read.mtu),
        host_binding=options.take_optional(_BRIDGE_OPTION + "host_binding_ipv4", host_ip),
        interface_prefix=options.take(_PREFIX_OPTION, _interface_prefix, "eth"),
    )
    options.finish()
    with problems.collect():
        check_mtu(shaped, option_path(network, _MTU_OPTION))
    for version in (4, 6):
        if shaped.gateway_mode(version) == ISOLATED and not shaped.internal:
            problems.add(
                option_path(network, f"{_BRIDGE_OPTION}gateway_mode_ipv{version}"),
                f'"isolated": leaves the containers without a gateway: set {network.path}.internal: true',
            )
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


def _with_extension(network: Network, extension: Section, problems: ProblemCollector) -> Network:
    """The network with the other settings of its `x-wharf`."""
    shaped = replace(
        network,
        icmp=extension.take("icmp", read.flag, False),
        mss_clamp=extension.take("mss_clamp", read.flag, False),
        services=parse_services(extension),
    )
    extension.finish()
    if shaped.icmp and shaped.internal:
        problems.add(
            f"{extension.path}.icmp", "true: an internal network cannot be reached from outside: leave one out"
        )
    return shaped


def _own_address(version: int) -> read.Parser[read.Address]:
    """A parser of addresses that the host's packets can have as source."""

    def parse(value: Any, path: str) -> read.Address:
        found = read.address_of(version)(value, path)
        if found.is_unspecified or found.is_loopback or found.is_multicast:
            raise wrong(path, value, "must be an address of the host by which others can answer")
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
    if network.ipv6 and network.mtu and network.mtu < 1280:
        raise wrong(path, network.mtu, "IPv6 needs an MTU of at least 1280 bytes (RFC 8200)")


def _check_name(name: str, path: str, host: Host) -> None:
    read.object_name(name, path)
    if name in (DEFAULT_NETWORK, "host", "none", "default"):
        raise wrong(path, name, f"is the name of a default network; {host.path} shapes those")


def _bridge_name(network: str) -> str:
    """`br-NAME` where that fits an interface's name, else `br-` and 12 digits of a hash."""
    name = f"br-{network}"
    return name if len(name) <= 15 else f"br-{hashlib.sha256(network.encode()).hexdigest()[:12]}"
