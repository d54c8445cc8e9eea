# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of dockerd's `daemon.json` and of Compose's top-level `networks` -> typed values."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, List, Mapping, Optional, Tuple, TypeVar

from ..errors import ModelError, ProblemCollector
from ..state import DEFAULT_NETWORK
from . import section as read
from .model import (
    GATEWAY_MODES,
    IPTABLES,
    ISOLATED,
    NAT,
    NFTABLES,
    AddressPool,
    FirewallMark,
    Host,
    Network,
    PerFamily,
    Pool,
)
from .parse_ports import host_ip
from .parse_services import parse_services
from .places import SOURCE
from .section import Words, wrong
from .vocabulary import DAEMON_KEYS_PASSED_OVER, EXTENSION, NETWORK_KEYS_PASSED_OVER

T = TypeVar("T")

DEFAULT_BRIDGE = "docker0"

_DRIVERS_NOT_YET = ("host", "ipvlan", "macvlan", "none", "overlay")

_BRIDGE_OPTION = "com.docker.network.bridge."
_MTU_OPTION = "com.docker.network.driver.mtu"
_PREFIX_OPTION = "com.docker.network.container_iface_prefix"


def parse_host(value: Any, path: str, problems: ProblemCollector) -> Host:
    words = Words(value, path, problems)
    words.refuse_blank("icc", "ip")
    words.take("userland-proxy", _only(False, read.flag), False)
    ip_masq = words.take("ip-masq", read.flag, True)
    extension = words.inner(EXTENSION)
    bridge = words.take("bridge", _default_bridge, _Named(DEFAULT_BRIDGE)).name
    if bridge not in (None, DEFAULT_BRIDGE):
        words.refuse(("bip", "bip6"), f"cannot stand beside bridge: the addresses of {bridge} are what they are")
    host = Host(
        bridge=bridge,
        bip=words.take_optional("bip", read.interface_of(4)),
        bip6=words.take_optional("bip6", read.interface_of(6)),
        fixed_cidr=words.take_optional("fixed-cidr", read.subnet_of(4)),
        fixed_cidr_v6=words.take_optional("fixed-cidr-v6", read.subnet_of(6)),
        default_gateways=tuple(
            gateway
            for gateway in (
                words.take_optional("default-gateway", read.address_of(4)),
                words.take_optional("default-gateway-v6", read.address_of(6)),
            )
            if gateway
        ),
        default_address_pools=words.take_all("default-address-pools", read.list_of(_address_pool)),
        mtu=words.take_optional("mtu", read.mtu),
        icc=words.take("icc", read.flag, True),
        ip=words.take_optional("ip", host_ip),
        ip_forward=words.take("ip-forward", read.flag, True),
        ip_forward_no_drop=words.take("ip-forward-no-drop", read.flag, False),
        ip_masq=_per_family(extension, "masquerade", read.flag, ip_masq),
        ipv6=words.take("ipv6", read.flag, False),
        dns=words.take_all("dns", read.list_of(read.address)),
        dns_search=words.take_all("dns-search", read.list_of(read.one_line)),
        dns_opts=words.take_all("dns-opts", read.list_of(read.one_line)),
        host_gateway_ips=(
            *words.take_all("host-gateway-ips", read.list_of(read.address)),
            *words.take_all("host-gateway-ip", read.list_of(read.address)),
        ),
        default_network_opts=words.take_all("default-network-opts", _default_network_opts),
        accept_in_iptables_forward=extension.take("accept-in-iptables-forward", read.flag, False),
        firewall_backend=words.take("firewall-backend", _firewall_backend, NFTABLES),
        iptables=words.take("iptables", read.flag, True),
        ip6tables=words.take("ip6tables", read.flag, True),
        allow_direct_routing=words.take("allow-direct-routing", read.flag, False),
        bridge_accept_fwmark=words.take_optional("bridge-accept-fwmark", _firewall_mark),
        path=path,
    )
    if host.accept_in_iptables_forward and host.firewall_backend != NFTABLES:
        problems.add(
            f"{extension.path}.accept-in-iptables-forward",
            "true: is for firewall-backend nftables; the rules by iptables stand in FORWARD anyhow: leave one out",
        )
    extension.finish()
    words.finish(passed_over=DAEMON_KEYS_PASSED_OVER, extensible=True)
    return host


class _Named:
    """A name, or none: told apart from a key that is not given."""

    def __init__(self, name: Optional[str]) -> None:
        self.name = name


def _default_bridge(value: Any, path: str) -> _Named:
    name = read.interface_name(value, path)
    return _Named(None if name == "none" else name)


def _only(supported: Any, parse: read.Parser[Any]) -> read.Parser[Any]:
    """A setting of which one value is built so far."""

    def parse_only(value: Any, path: str) -> Any:
        if parse(value, path) != supported:
            raise wrong(path, value, f"is not supported yet: leave it out, or say {str(supported).lower()}")
        return supported

    return parse_only


def _firewall_backend(value: Any, path: str) -> str:
    backend = read.text(value, path)
    if backend not in (NFTABLES, IPTABLES):
        raise wrong(path, backend, f"must be {NFTABLES} or {IPTABLES}")
    return backend


def _firewall_mark(value: Any, path: str) -> FirewallMark:
    """`MARK` or `MARK/MASK`, in any of the ways that numbers are written, as `0x2/0x3`."""
    mark, slash, mask = read.text(value, path).partition("/")
    try:
        # Of bytes, Python takes ASCII digits only.
        numbers = int(mark.encode(), 0), int(mask.encode(), 0) if slash else 0xFFFFFFFF
    except ValueError:
        raise wrong(path, value, "must be a mark, or a mark and a mask, such as 0x1/0x3") from None
    if not all(0 <= number <= 0xFFFFFFFF for number in numbers):
        raise wrong(path, value, "a mark and its mask have 32 bits")
    return FirewallMark(*numbers)


def _per_family(words: Words, key: str, parse: read.Parser[T], default: T) -> PerFamily[T]:
    """`KEY: {ipv4: …, ipv6: …}`; the default for a family that is left out."""
    families = words.inner(key)
    found = PerFamily(families.take("ipv4", parse, default), families.take("ipv6", parse, default))
    families.finish()
    return found


def _address_pool(value: Any, path: str) -> AddressPool:
    problems = ProblemCollector()
    words = Words(value, path, problems)
    base = words.take_optional("base", read.subnet)
    size = words.take_optional("size", read.number)
    words.finish()
    problems.raise_if_any()
    if base is None or size is None:
        raise ModelError.at(path, "needs base (a subnet) and size (the prefix length of each network cut from it)")
    _check_usable(base, f"{path}.base")
    if base.version == 6 and base.is_link_local:
        raise wrong(
            f"{path}.base", str(base), "every interface has an address of its own there: choose a private subnet"
        )
    if not base.prefixlen <= size <= base.max_prefixlen:
        raise wrong(f"{path}.size", size, f"must be from {base.prefixlen} to {base.max_prefixlen} for {base}")
    return AddressPool(base, size)


def _default_network_opts(value: Any, path: str) -> Tuple[Tuple[str, str], ...]:
    """Those of the driver bridge, tried on a network that takes each; what is wrong for some, these say."""
    drivers = read.mapping(value, path)
    problems = ProblemCollector()
    options: Tuple[Tuple[str, str], ...] = ()
    with problems.collect():
        options = read.pairs("=")(drivers.pop("bridge", None) or {}, f"{path}.bridge")
    tried = Network("", path, "", (), internal=True)
    _with_options(tried, Words(dict(options), f"{path}.bridge", problems), Words(None, path, problems), problems)
    unknown = drivers.keys() - _DRIVERS_NOT_YET
    if unknown:
        known = ", ".join(["bridge", *_DRIVERS_NOT_YET])
        problems.add(path, f"{', '.join(sorted(unknown))}: is no driver of Docker's; there are: {known}")
    problems.raise_if_any()
    return options


def default_network(host: Host) -> List[Network]:
    """The network `bridge`, as daemon.json's words shape it; none where docker0 is left to a dockerd.

    Raises:
        ModelError: `fixed-cidr` lies outside the subnet of `bip`, or the MTU is too small for IPv6.
    """
    if host.bridge is None:
        return []
    adopts = () if host.bridge == DEFAULT_BRIDGE else (host.bridge,)
    if adopts:
        pools = [Pool(f"{host.path}.fixed-cidr", 4, ip_range=host.fixed_cidr)]
        pools += [Pool(f"{host.path}.fixed-cidr-v6", 6, ip_range=host.fixed_cidr_v6)] if host.ipv6 else []
    else:
        pools = [_default_pool(host.path, 4, host.bip, host.fixed_cidr)]
        pools += [_default_pool(host.path, 6, host.bip6, host.fixed_cidr_v6)] if host.ipv6 else []
    network = Network(
        name=DEFAULT_NETWORK,
        path=host.path,
        bridge=host.bridge,
        pools=tuple(_with_reserved(pool, host.default_gateways) for pool in pools),
        icc=host.icc,
        masquerades=host.ip_masq,
        mtu=host.mtu,
        host_binding=host.ip,
        next_hops=host.default_gateways,
        adopts=adopts,
    )
    _check_mtu(network, f"{host.path}.mtu")
    return [network]


def _default_pool(path: str, version: int, gateway: Optional[read.Interface], ip_range: Optional[read.Subnet]) -> Pool:
    key, fixed = ("bip", "fixed-cidr") if version == 4 else ("bip6", "fixed-cidr-v6")
    if gateway:
        _check_usable(gateway.network, f"{path}.{key}")
        _check_inside(gateway.network, path, **{fixed: ip_range})
        _check_gateway(gateway.network, gateway.ip, (), f"{path}.{key}")
        return Pool(f"{path}.{key}", version, gateway.network, ip_range, gateway.ip)
    return Pool(f"{path}.{fixed if ip_range else key}", version, subnet=ip_range)


def _with_reserved(pool: Pool, next_hops: Tuple[read.Address, ...]) -> Pool:
    """No container gets the address of the containers' next hop, which may be the bridge itself."""
    return replace(pool, reserved=tuple(h for h in next_hops if h.version == pool.version and h != pool.gateway))


def is_external(words: Any) -> bool:
    """Whether a network's words say that it is declared elsewhere, or stands. Files before Compose 3.5 name it there.

    Interpolation leaves a text where a truth value is meant.
    """
    external = words.get("external") if isinstance(words, Mapping) else None
    return isinstance(external, Mapping) or str(external).lower() == "true"


def network_name(key: str, words: Any) -> str:
    """The name on the host of what is declared by this key."""
    if not isinstance(words, Mapping):
        return key
    external = words.get("external")
    return str(words.get("name") or (isinstance(external, Mapping) and external.get("name")) or key)


def parse_network(key: str, value: Any, path: str, host: Host, problems: ProblemCollector) -> List[Network]:
    """The network, in a list; an empty list where its words have problems."""
    before = len(problems.problems)
    words = Words(value, path, problems)
    external = words.take_optional("external", _external)
    name = words.take("name", read.object_name, "") or external or key
    with problems.collect():
        _own_name(name, path, host)
    driver = words.take("driver", read.text, "bridge")
    with problems.collect():
        _check_driver(driver, f"{path}.driver")
    if external is not None:
        words.refuse(["internal"], "cannot be where others are on the bridge, too: leave it out")
    versions = _versions(words, problems)
    words.refuse_blank("internal")
    internal = words.take("internal", read.flag, False)
    pools = _ipam(words.inner("ipam"), versions, path)
    given = words.take_all("driver_opts", read.pairs("="))
    # The options of a driver that is refused are not ours to judge.
    defaults = dict(() if external is not None else host.default_network_opts)
    own = dict(given if driver == "bridge" else ())
    options = Words({**defaults, **own}, f"{path}.driver_opts", problems)
    extension = words.inner(EXTENSION)
    network = Network(name, path, _bridge_name(name), pools, internal, frozenset(defaults.keys() - own.keys()))
    network = replace(network, defaults_path=f"{host.path}.default-network-opts.bridge")
    network = _with_options(network, options, extension, problems)
    network = _with_extension(network, extension, problems)
    if external is not None:
        is_named = (_BRIDGE_OPTION + "name", network.bridge) in given
        network = replace(network, adopts=(network.bridge,) if is_named else (name, network.bridge))
    words.finish(passed_over=NETWORK_KEYS_PASSED_OVER, extensible=True)
    return [network] if len(problems.problems) == before else []


def check_named(value: Any, path: str, declared: str, problems: ProblemCollector) -> None:
    """A name for a network that is declared elsewhere, at the path `declared`, is no more than that."""
    words = Words(value, path, problems)
    words.take_optional("external", _external)
    words.take_optional("name", read.object_name)
    others = [word for word in value if word not in ("external", "name") and word != SOURCE]
    words.refuse(others, f"belongs to {declared}, where the network is declared: say it there")


def _external(value: Any, path: str) -> Optional[str]:
    """None if the network is not; else the name that stands beside it, or an empty one."""
    if not isinstance(value, dict):
        return "" if read.flag(value, path) else None
    problems = ProblemCollector()
    words = Words(value, path, problems)
    name = words.take("name", read.object_name, "")
    words.finish(extensible=True)
    problems.raise_if_any()
    return name


def _check_driver(driver: str, path: str) -> None:
    if driver in _DRIVERS_NOT_YET:
        raise wrong(path, driver, "is not supported yet: leave it out, or say bridge")
    if driver != "bridge":
        raise wrong(path, driver, "is no driver that is known here: leave it out, or say bridge")


def _versions(words: Words, problems: ProblemCollector) -> List[int]:
    """The families that a network has."""
    ipv4, ipv6 = words.take("enable_ipv4", read.flag, True), words.take("enable_ipv6", read.flag, False)
    if not ipv4 and not ipv6:
        problems.add(words.path, "enable_ipv4 and enable_ipv6 are both false: a network needs one of them")
    return [version for version, wanted in ((4, ipv4), (6, ipv6)) if wanted]


def _ipam(words: Words, versions: List[int], path: str) -> Tuple[Pool, ...]:
    words.take("driver", _only("default", read.text), "default")
    pools = words.take("config", _pools(versions), tuple(Pool(path, version) for version in versions))
    words.finish(passed_over=("options",), extensible=True)
    return pools


def _with_options(network: Network, options: Words, extension: Words, problems: ProblemCollector) -> Network:
    """The network as its `driver_opts` and `x-wharf` shape it."""
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
        masquerades=_per_family(extension, "masquerade", read.flag, masquerade),
        mtu=options.take_optional(_MTU_OPTION, read.mtu),
        host_binding=options.take_optional(_BRIDGE_OPTION + "host_binding_ipv4", host_ip),
        interface_prefix=options.take(_PREFIX_OPTION, _interface_prefix, "eth"),
    )
    options.finish()
    with problems.collect():
        _check_mtu(shaped, option_path(network, _MTU_OPTION))
    for version in (4, 6):
        if shaped.gateway_mode(version) == ISOLATED and not shaped.internal:
            problems.add(
                option_path(network, f"{_BRIDGE_OPTION}gateway_mode_ipv{version}"),
                f'"isolated": leaves the containers without a gateway: set {network.path}.internal: true',
            )
    return shaped


def option_path(network: Network, option: str) -> str:
    """Where the declaration says what a network has of `driver_opts`."""
    if option in network.defaults:
        return f"{network.defaults_path}.{option}"
    return f"{network.path}.driver_opts.{option}"


def _gateway_mode(value: Any, path: str) -> str:
    if value not in GATEWAY_MODES:
        raise wrong(path, value, f"must be one of {', '.join(GATEWAY_MODES)}")
    return str(value)


def _with_extension(network: Network, extension: Words, problems: ProblemCollector) -> Network:
    """The network as the rest of `x-wharf` shapes it, for which Compose has no words."""
    shaped = replace(
        network,
        icmp=extension.take("icmp", read.flag, False),
        mss_clamp=extension.take("mss_clamp", read.flag, False),
    )
    shaped = replace(shaped, services=parse_services(extension))
    extension.finish()
    if shaped.icmp and shaped.internal:
        problems.add(
            f"{extension.path}.icmp", "true: an internal network cannot be reached from outside: leave one out"
        )
    return shaped


def _own_address(version: int) -> read.Parser[read.Address]:
    """An address that packets can leave the host from."""

    def parse(value: Any, path: str) -> read.Address:
        found = read.address_of(version)(value, path)
        if found.is_unspecified or found.is_loopback or found.is_multicast:
            raise wrong(path, value, "must be an address of the host by which others can answer")
        return found

    return parse


def _interfaces(value: Any, path: str) -> Tuple[str, ...]:
    """Links of the host, joined by colons."""
    names = filter(None, read.text(value, path).split(":"))
    return tuple(dict.fromkeys(read.interface_name(name, path) for name in names))


def _interface_prefix(value: Any, path: str) -> str:
    prefix = read.interface_name(value, path)
    if len(prefix.encode()) > 13:
        raise wrong(path, value, "must have at most 13 bytes: a number follows, and a name has at most 15")
    return prefix


def _check_mtu(network: Network, path: str) -> None:
    if network.ipv6 and network.mtu and network.mtu < 1280:
        raise wrong(path, network.mtu, "IPv6 needs an MTU of at least 1280 bytes (RFC 8200)")


def _own_name(name: str, path: str, host: Host) -> None:
    read.object_name(name, path)
    if name in (DEFAULT_NETWORK, "host", "none", "default"):
        raise wrong(path, name, f"is the name of a default network; {host.path} shapes those")


def _bridge_name(network: str) -> str:
    """`br-NAME` where that fits an interface's name, else `br-` and 12 digits of a hash."""
    name = f"br-{network}"
    return name if len(name) <= 15 else f"br-{hashlib.sha256(network.encode()).hexdigest()[:12]}"


def _pools(versions: List[int]) -> read.Parser[Tuple[Pool, ...]]:
    """Compose's `ipam.config`, completed: one pool for each family that the network has."""

    def parse(value: Any, path: str) -> Tuple[Pool, ...]:
        given = {}
        for index, pool in enumerate(read.list_of(_pool)(value, path)):
            if pool.version in given:
                raise ModelError.at(
                    f"{path}[{index}]", f"a second IPv{pool.version} subnet: one per family is supported"
                )
            if pool.version not in versions:
                remedy = "set enable_ipv6: true" if pool.version == 6 else "leave out enable_ipv4: false"
                raise wrong(
                    f"{path}[{index}].subnet",
                    str(pool.subnet),
                    f"the network has no IPv{pool.version}: {remedy}",
                )
            given[pool.version] = pool
        return tuple(given.get(version, Pool(path, version)) for version in versions)

    return parse


def _pool(value: Any, path: str) -> Pool:
    problems = ProblemCollector()
    words = Words(value, path, problems)
    subnet = words.take_optional("subnet", read.subnet)
    ip_range = words.take_optional("ip_range", read.subnet)
    gateway = words.take_optional("gateway", read.address)
    reserved = words.take_all("aux_addresses", _aux_addresses)
    words.finish(extensible=True)
    problems.raise_if_any()
    if subnet is None:
        raise ModelError.at(path, "subnet is missing: IPAM settings belong to a subnet")
    _check_usable(subnet, f"{path}.subnet")
    _check_inside(subnet, path, ip_range=ip_range, gateway=gateway)
    for other in reserved:
        _check_inside(subnet, path, aux_addresses=other)
    if gateway:
        _check_gateway(subnet, gateway, reserved, f"{path}.gateway")
    return Pool(path, subnet.version, subnet, ip_range, gateway, reserved)


def _check_usable(subnet: read.Subnet, path: str) -> None:
    unusable = subnet.is_loopback or subnet.is_multicast or subnet.is_reserved or subnet.network_address.is_unspecified
    if not subnet.prefixlen or unusable:
        raise wrong(path, str(subnet), "no host of a network has an address there: choose a private subnet")


def _check_inside(subnet: read.Subnet, path: str, **parts: Any) -> None:
    for key, part in parts.items():
        if part is None:
            continue
        if not (read.is_within(part, subnet) if hasattr(part, "prefixlen") else part in subnet):
            raise wrong(f"{path}.{key}", str(part), f"lies outside the subnet {subnet}")


def _check_gateway(subnet: read.Subnet, gateway: read.Address, reserved: Tuple[read.Address, ...], path: str) -> None:
    if gateway in reserved:
        raise wrong(path, str(gateway), "is also one of aux_addresses: give another address to one of them")
    if gateway in read.unusable_addresses(subnet):
        raise wrong(path, str(gateway), f"is the first or last address of {subnet}, which no host can have")


def _aux_addresses(value: Any, path: str) -> Tuple[read.Address, ...]:
    given: Mapping[str, Any] = read.mapping(value, path)
    return tuple(read.address(item, f"{path}.{key}") for key, item in given.items())
