# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry of Compose's top-level `networks` -> a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Iterator, List, Mapping, Optional

from ..errors import ProblemCollector
from ..state import DEFAULT_NETWORK
from . import section as read
from .beside_host import BRIDGE_OPTION
from .model import Host, Network
from .parse_bridge import UPLINK
from .parse_driver import DEFAULT_DRIVER, DriverParser, belonging_to_others, driver_parser
from .parse_pools import DHCP, parse_ipam
from .parse_services import parse_services
from .places import SOURCE
from .section import Section, whole_section, wrong
from .vocabulary import EXTENSION, NETWORK_KEYS_PASSED_OVER

_NO_VRF = (
    "is not supported (docs/adr/0030-no-vrf.md): give networks subnets that do not overlap, by ipam.config or "
    "default-address-pools; to keep a network apart, say internal: true"
)


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
    driver = section.take("driver", read.text, DEFAULT_DRIVER)
    extension = section.inner(EXTENSION)
    parse_driver: Optional[DriverParser] = None
    with problems.collect():
        parse_driver = driver_parser(driver, f"{path}.driver")
    if external is not None:
        if driver != DEFAULT_DRIVER:
            problems.add(f"{path}.driver", f'"{driver}": cannot be adopted, as a bridge can: leave it or external out')
        section.refuse(["internal"], "cannot be enforced on a bridge that other machines use: leave it out")
        extension.refuse([UPLINK], "ports of an adopted bridge are left to its owner: leave this or external out")
    versions = _versions(section, problems)
    section.refuse_blank("internal")
    internal = section.take("internal", read.flag, False)
    ipam_driver, pools = parse_ipam(section.inner("ipam"), versions, path)
    given = section.take_all("driver_opts", read.pairs("="))
    defaults = dict(host.default_network_opts if driver == DEFAULT_DRIVER and external is None else ())
    options = Section({**defaults, **dict(given)}, f"{path}.driver_opts", problems)
    network = Network(
        name,
        path,
        read.link_name("br-", name),
        pools,
        internal=internal,
        defaults=frozenset(defaults.keys() - dict(given).keys()),
        defaults_path=f"{host.path}.default-network-opts.bridge",
        leased=ipam_driver == DHCP,
    )
    if parse_driver is not None:
        network = parse_driver(network, options, extension, problems)
        options.finish(elsewhere=belonging_to_others(driver))
        extension.refuse(["vrf"], _NO_VRF)
    network = _with_extension(network, driver, extension, problems)
    for why in _no_leases(network, versions) if network.leased else ():
        problems.add(f"{path}.ipam.driver", f'"{DHCP}": {why}')
    if external is not None:
        is_named = (BRIDGE_OPTION + "name", network.bridge) in given
        network = replace(network, adopts=(network.bridge,) if is_named else (name, network.bridge))
    section.finish(passed_over=NETWORK_KEYS_PASSED_OVER, extensible=True)
    return [network] if len(problems.problems) == before else []


def _no_leases(network: Network, versions: List[int]) -> Iterator[str]:
    """Why the containers of a network cannot have leases from a LAN."""
    sublinks = network.sublinks
    if not network.bypasses_host or (sublinks and sublinks.is_isolated):
        yield (
            "containers have leases where they are on a LAN: say driver: macvlan and driver_opts.parent, or "
            "x-wharf.uplink"
        )
    elif sublinks and sublinks.shares_mac:
        yield "DHCP servers tell clients by their MACs, and on ipvlan all have that of the parent: say driver: macvlan"
    elif sublinks and sublinks.host_access:
        yield "the host has no lease: leave x-wharf.host_access out, or give ipam.config a subnet and an aux_address"
    if versions != [4]:
        yield "leases are of IPv4, and of nothing else: leave enable_ipv4 and enable_ipv6 out"


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


def _versions(section: Section, problems: ProblemCollector) -> List[int]:
    """The IP families that a network has."""
    ipv4, ipv6 = section.take("enable_ipv4", read.flag, True), section.take("enable_ipv6", read.flag, False)
    if not ipv4 and not ipv6:
        problems.add(section.path, "enable_ipv4 and enable_ipv6 are both false: a network needs one of them")
    return [version for version, wanted in ((4, ipv4), (6, ipv6)) if wanted]


def _with_extension(network: Network, driver: str, extension: Section, problems: ProblemCollector) -> Network:
    """The network with the other settings of its `x-wharf`."""
    shaped = replace(
        network,
        icmp=extension.take("icmp", read.flag, False),
        mss_clamp=extension.take("mss_clamp", read.flag, False),
        services=parse_services(extension),
    )
    extension.finish(elsewhere=belonging_to_others(driver))
    if shaped.icmp and shaped.internal:
        problems.add(
            f"{extension.path}.icmp", "true: an internal network cannot be reached from outside: leave one out"
        )
    return shaped


def _check_name(name: str, path: str, host: Host) -> None:
    read.object_name(name, path)
    if name in (DEFAULT_NETWORK, "host", "none", "default"):
        raise wrong(path, name, f"is the name of a default network; {host.path} shapes those")
