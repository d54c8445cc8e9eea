# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of dockerd's `daemon.json` -> the settings of a host, and the default network that follows from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, List, Optional, Tuple

from ..errors import ModelError, ProblemCollector
from ..state import DEFAULT_NETWORK
from . import section as read
from .model import IPTABLES, NFTABLES, AddressPool, FirewallMark, Host, Network, Pool
from .parse_bridge import check_mtu, parse_bridge, take_masquerade
from .parse_driver import DEFAULT_DRIVER, DOCKER_DRIVERS
from .parse_pools import check_gateway, check_inside, check_usable
from .parse_ports import host_ip
from .parse_rates import take_rates
from .section import Section, whole_section, wrong
from .vocabulary import DAEMON_KEYS_PASSED_OVER, EXTENSION

DEFAULT_BRIDGE = "docker0"
_NO_BRIDGE = "none"


def parse_host(value: Any, path: str, problems: ProblemCollector) -> Host:
    section = Section(value, path, problems)
    section.refuse_blank("icc", "ip")
    section.take("userland-proxy", _no_proxy, False)
    ip_masq = section.take("ip-masq", read.flag, True)
    extension = section.inner(EXTENSION)
    bridge = section.take("bridge", read.interface_name, DEFAULT_BRIDGE)
    if bridge not in (_NO_BRIDGE, DEFAULT_BRIDGE):
        section.refuse(
            ("bip", "bip6"), f"cannot be combined with bridge: wharf.network does not change the addresses of {bridge}"
        )
    host = Host(
        bridge=None if bridge == _NO_BRIDGE else bridge,
        bip=section.take_optional("bip", read.interface_of(4)),
        bip6=section.take_optional("bip6", read.interface_of(6)),
        fixed_cidr=section.take_optional("fixed-cidr", read.subnet_of(4)),
        fixed_cidr_v6=section.take_optional("fixed-cidr-v6", read.subnet_of(6)),
        default_gateways=tuple(
            gateway
            for gateway in (
                section.take_optional("default-gateway", read.address_of(4)),
                section.take_optional("default-gateway-v6", read.address_of(6)),
            )
            if gateway
        ),
        default_address_pools=section.take_all("default-address-pools", read.list_of(_address_pool)),
        mtu=section.take_optional("mtu", read.mtu),
        icc=section.take("icc", read.flag, True),
        ip=section.take_optional("ip", host_ip),
        ip_forward=section.take("ip-forward", read.flag, True),
        ip_forward_no_drop=section.take("ip-forward-no-drop", read.flag, False),
        ip_masq=take_masquerade(extension, ip_masq),
        ipv6=section.take("ipv6", read.flag, False),
        dns=section.take_all("dns", read.list_of(read.address)),
        dns_search=section.take_all("dns-search", read.list_of(read.one_line)),
        dns_opts=section.take_all("dns-opts", read.list_of(read.one_line)),
        host_gateway_ips=(
            *section.take_all("host-gateway-ips", read.list_of(read.address)),
            *section.take_all("host-gateway-ip", read.list_of(read.address)),
        ),
        default_network_opts=section.take_all("default-network-opts", _default_network_opts),
        accept_in_iptables_forward=extension.take("accept-in-iptables-forward", read.flag, False),
        firewall_backend=section.take("firewall-backend", _firewall_backend, NFTABLES),
        iptables=section.take("iptables", read.flag, True),
        ip6tables=section.take("ip6tables", read.flag, True),
        allow_direct_routing=section.take("allow-direct-routing", read.flag, False),
        bridge_accept_fwmark=section.take_optional("bridge-accept-fwmark", _firewall_mark),
        rates=take_rates(extension),
        path=path,
    )
    if host.accept_in_iptables_forward and host.firewall_backend != NFTABLES:
        problems.add(
            f"{extension.path}.accept-in-iptables-forward",
            "true: is for firewall-backend nftables; the rules of iptables are in FORWARD anyway: leave one out",
        )
    extension.finish()
    section.finish(passed_over=DAEMON_KEYS_PASSED_OVER, extensible=True)
    return host


def _firewall_backend(value: Any, path: str) -> str:
    backend = read.text(value, path)
    if backend not in (NFTABLES, IPTABLES):
        raise wrong(path, backend, f"must be {NFTABLES} or {IPTABLES}")
    return backend


def _no_proxy(value: Any, path: str) -> bool:
    if read.flag(value, path):
        raise wrong(path, value, "is not supported yet: leave it out, or say false")
    return False


def _firewall_mark(value: Any, path: str) -> FirewallMark:
    """`MARK` or `MARK/MASK`, decimal, or hexadecimal as in `0x2/0x3`."""
    mark, slash, mask = read.text(value, path).partition("/")
    try:
        # `int` accepts other digits than ASCII's in a text, but not in bytes.
        numbers = int(mark.encode(), 0), int(mask.encode(), 0) if slash else 0xFFFFFFFF
    except ValueError:
        raise wrong(path, value, "must be a mark, or a mark and a mask, such as 0x1/0x3") from None
    if not all(0 <= number <= 0xFFFFFFFF for number in numbers):
        raise wrong(path, value, "a mark and its mask have 32 bits")
    return FirewallMark(*numbers)


def _address_pool(value: Any, path: str) -> AddressPool:
    with whole_section(value, path) as section:
        base = section.take_optional("base", read.subnet)
        size = section.take_optional("size", read.number)
    if base is None or size is None:
        raise ModelError.at(path, "needs base (a subnet) and size (the prefix length of each network cut from it)")
    check_usable(base, f"{path}.base")
    if base.version == 6 and base.is_link_local:
        raise wrong(
            f"{path}.base", str(base), "every interface has an address of its own there: choose a private subnet"
        )
    if not base.prefixlen <= size <= base.max_prefixlen:
        raise wrong(f"{path}.size", size, f"must be from {base.prefixlen} to {base.max_prefixlen} for {base}")
    return AddressPool(base, size)


def _default_network_opts(value: Any, path: str) -> Tuple[Tuple[str, str], ...]:
    """The options of the driver bridge, parsed for an example network. A network that cannot have one reports it."""
    drivers = read.mapping(value, path)
    problems = ProblemCollector()
    options: Tuple[Tuple[str, str], ...] = ()
    with problems.collect():
        options = read.pairs("=")(drivers.pop(DEFAULT_DRIVER, None) or {}, f"{path}.bridge")
    example = Network("", path, "", (), internal=True)
    section = Section(dict(options), f"{path}.bridge", problems)
    parse_bridge(example, section, Section(None, path, problems), problems)
    section.finish()
    unknown = drivers.keys() - DOCKER_DRIVERS
    if unknown:
        known = ", ".join(DOCKER_DRIVERS)
        problems.add(path, f"{', '.join(sorted(unknown))}: is no driver of Docker's; there are: {known}")
    problems.raise_if_any()
    return options


def default_network(host: Host) -> List[Network]:
    """The network `bridge` with its settings from daemon.json; none where docker0 is left to a dockerd.

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
        rates=host.rates,
        mtu=host.mtu,
        host_binding=host.ip,
        next_hops=host.default_gateways,
        adopts=adopts,
    )
    check_mtu(network, f"{host.path}.mtu")
    return [network]


def _default_pool(path: str, version: int, gateway: Optional[read.Interface], ip_range: Optional[read.Subnet]) -> Pool:
    key, fixed = ("bip", "fixed-cidr") if version == 4 else ("bip6", "fixed-cidr-v6")
    if gateway:
        check_usable(gateway.network, f"{path}.{key}")
        check_inside(gateway.network, path, **{fixed: ip_range})
        check_gateway(gateway.network, gateway.ip, (), f"{path}.{key}")
        return Pool(f"{path}.{key}", version, gateway.network, ip_range, gateway.ip)
    return Pool(f"{path}.{fixed if ip_range else key}", version, subnet=ip_range)


def _with_reserved(pool: Pool, next_hops: Tuple[read.Address, ...]) -> Pool:
    """The pool in which the containers' default gateways are reserved, unless they are the bridge itself."""
    return replace(pool, reserved=tuple(h for h in next_hops if h.version == pool.version and h != pool.gateway))
