# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model: everything that is declared on a host, in Docker's vocabulary, as typed and checked values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Dict, FrozenSet, Generic, Iterator, Mapping, Optional, Tuple, TypeVar

from ..state import DEFAULT_NETWORK, SandboxRef
from .drivers import BridgeDriver, Driver, IngressPort, Member, OverlayDriver, SublinkDriver
from .parse_ports import ExposedPorts, PortMapping, PortRange
from .section import Address, Interface, Subnet
from .services import Services

NETWORKED, HOST_MODE, NONE_MODE, CONTAINER_MODE = "networks", "host", "none", "container"

HOST_GATEWAY = "host-gateway"

NAT, NAT_UNPROTECTED, ROUTED, ISOLATED = "nat", "nat-unprotected", "routed", "isolated"
GATEWAY_MODES = (NAT, NAT_UNPROTECTED, ROUTED, ISOLATED)

NFTABLES, IPTABLES = "nftables", "iptables"

ENDPOINT_SYSCTLS = "com.docker.network.endpoint.sysctls"
SWITCHES_IPV6_OFF = "net.ipv6.conf.all.disable_ipv6"
RULES_KEYS = {4: "iptables", 6: "ip6tables"}


T = TypeVar("T")


@dataclass(frozen=True)
class PerFamily(Generic[T]):
    """What may differ between IPv4 and IPv6."""

    ipv4: T
    ipv6: T

    def of(self, version: int) -> T:
        return self.ipv4 if version == 4 else self.ipv6


@dataclass(frozen=True)
class AddressPool:
    """A pool of subnets for networks that declare none: `base`, cut into subnets with a prefix of `size` bits."""

    base: Subnet
    size: int


@dataclass(frozen=True)
class FirewallMark:
    """Matches packets whose mark has the bits of `mark` where `mask` has ones."""

    mark: int
    mask: int


@dataclass(frozen=True)
class TrafficRates:
    """Limits of the traffic of each container on a network, in bits a second, None for no limit.

    `ingress` is what the container receives, `egress` what it sends. `burst`, in bytes, may pass at once after a pause.
    """

    path: str
    ingress: Optional[int] = None
    egress: Optional[int] = None
    burst: Optional[int] = None


@dataclass(frozen=True)
class PortVlans:
    """The VLANs of each container on a network, by their numbers: the one whose frames it sends and gets without a tag,
    0 for none, and those with a tag.
    """

    path: str
    untagged: int = 0
    tagged: Tuple[int, ...] = ()


@dataclass(frozen=True)
class Host:
    """Host-wide settings, those of dockerd's `daemon.json`.

    `bridge` is None where docker0 is left to a dockerd. Any other bridge than docker0 exists already, and the default
    network adopts it. `accept_in_iptables_forward`: the chain FORWARD of iptables accepts packets of networks, too.
    `rates` are those of the default network.
    """

    bridge: Optional[str]
    bip: Optional[Interface]
    bip6: Optional[Interface]
    fixed_cidr: Optional[Subnet]
    fixed_cidr_v6: Optional[Subnet]
    default_gateways: Tuple[Address, ...]
    default_address_pools: Tuple[AddressPool, ...]
    mtu: Optional[int]
    icc: bool
    ip: Optional[Address]
    ip_forward: bool
    ip_forward_no_drop: bool
    ip_masq: PerFamily[bool]
    ipv6: bool
    accept_in_iptables_forward: bool
    dns: Tuple[Address, ...]
    dns_search: Tuple[str, ...]
    dns_opts: Tuple[str, ...]
    host_gateway_ips: Tuple[Address, ...]
    default_network_opts: Tuple[Tuple[str, str], ...]
    firewall_backend: str = NFTABLES
    iptables: bool = True
    ip6tables: bool = True
    allow_direct_routing: bool = False
    bridge_accept_fwmark: Optional[FirewallMark] = None
    rates: Optional[TrafficRates] = None
    path: str = "wharf_host"

    def has_rules(self, version: int) -> bool:
        """Whether wharf.network makes the rules of a family, and not a third party."""
        return self.iptables if version == 4 else self.ip6tables

    @property
    def without_rules(self) -> Dict[int, str]:
        """The families whose rules are left to third parties, each with the key that says so."""
        return {version: key for version, key in RULES_KEYS.items() if not self.has_rules(version)}


@dataclass(frozen=True)
class Pool:
    """A subnet of a network, and which of its addresses are whose; IPAM chooses what is None.

    `host` is the one that the host has where the network has no bridge.
    """

    path: str
    version: int
    subnet: Optional[Subnet] = None
    ip_range: Optional[Subnet] = None
    gateway: Optional[Address] = None
    reserved: Tuple[Address, ...] = ()
    host: Optional[Address] = None


@dataclass(frozen=True)
class Network:
    """A network. `mtu` is in bytes, None for that of the host's default interface; `bridge` is its link on the host.

    `driver` has what only networks of this driver have.
    `pools` are in the order in which containers get addresses from them, those of IPv4 first.
    `defaults` are the keys of its `driver_opts` that come from the host's `default-network-opts`, at `defaults_path`.
    `host_binding` is the host's address for ports that name none. `next_hops` stand in for the bridge's
    own addresses as the containers' default gateways (daemon.json's `default-gateway`). `trusted_interfaces` are
    links of the host from which published ports are reached at the containers' own addresses. `inhibit_ipv4`: the
    bridge has no IPv4 address. `icmp`: everybody may ping its containers.
    `leased`: its containers have their addresses from a DHCP server of the LAN.
    `mss_clamp`: TCP connections that are forwarded from and to it fit the path's MTU. `rates` and `vlans` are those
    of each container whose attachment has none of its own. `adopts` are the names of the third-party bridge that it
    adopts, of which the first that exists counts; empty if wharf.network makes the bridge.
    """

    name: str
    path: str
    bridge: str
    pools: Tuple[Pool, ...]
    driver: Driver = BridgeDriver()
    internal: bool = False
    defaults: FrozenSet[str] = frozenset()
    defaults_path: str = ""
    icc: bool = True
    gateway_modes: PerFamily[str] = PerFamily(NAT, NAT)
    masquerades: PerFamily[bool] = PerFamily(True, True)
    host_addresses: PerFamily[Optional[Address]] = PerFamily(None, None)
    trusted_interfaces: Tuple[str, ...] = ()
    inhibit_ipv4: bool = False
    mtu: Optional[int] = None
    host_binding: Optional[Address] = None
    interface_prefix: str = "eth"
    next_hops: Tuple[Address, ...] = ()
    icmp: bool = False
    mss_clamp: bool = False
    rates: Optional[TrafficRates] = None
    vlans: Optional[PortVlans] = None
    adopts: Tuple[str, ...] = ()
    leased: bool = False
    services: Services = Services()

    @property
    def external(self) -> bool:
        return bool(self.adopts)

    @property
    def versions(self) -> Tuple[int, ...]:
        """The IP families that it has."""
        return tuple(version for version in (4, 6) if self.has(version))

    @property
    def sublinks(self) -> Optional[SublinkDriver]:
        """The driver of a network that has no bridge, whose containers have links on a link of the host."""
        return self.driver if isinstance(self.driver, SublinkDriver) else None

    @property
    def uplink(self) -> str:
        """The link of the host that is a port of the network's bridge; empty where there is none."""
        return self.driver.uplink if isinstance(self.driver, BridgeDriver) else ""

    @property
    def parent(self) -> str:
        """The link of the host by which the containers are on a network beyond the host; empty where there is none."""
        return self.sublinks.parent if self.sublinks else self.uplink

    @property
    def bypasses_host(self) -> bool:
        """Whether what its containers send never passes the host's stack, nor the rules there: they have a parent."""
        return bool(self.parent)

    def has(self, version: int) -> bool:
        return any(pool.version == version for pool in self.pools)

    def family_key(self, version: int) -> str:
        """The key that says whether the network has this family."""
        return f"{'' if self.is_default else 'enable_'}ipv{version}"

    def family_path(self, version: int) -> str:
        return f"{self.path}.{self.family_key(version)}"

    def gateway_mode(self, version: int) -> str:
        return self.gateway_modes.of(version)

    def masquerade(self, version: int) -> bool:
        """Whether packets that leave the network get an address of the host as source."""
        by_mode = self.gateway_mode(version) in (NAT, NAT_UNPROTECTED)
        return not self.bypasses_host and self.masquerades.of(version) and by_mode

    def snat(self, version: int) -> Optional[Address]:
        """The address of the host that they get; None for that of the interface by which they leave.

        From an internal network, containers have no route to any address of the host but the gateway's.
        """
        return self.host_addresses.of(version) if self.masquerade(version) and not self.internal else None

    def has_gateway(self, version: int) -> bool:
        """Whether the bridge has an address."""
        without = self.gateway_mode(version) == ISOLATED or (version == 4 and self.inhibit_ipv4)
        return self.external or not (without or self.bypasses_host)

    def needs_gateway(self, version: int) -> bool:
        """Whether the bridge has an address, or containers need a third party's gateway to other networks."""
        return self.has_gateway(version) or not self.internal

    def leads_outside(self, version: int) -> bool:
        """Whether its containers have a default route by it, where no other network has precedence.

        As in Docker, one without a bridge has the gateway that is declared, and no other one; so has one with an
        uplink.
        """
        routes_by_parent = self.sublinks is not None and not self.sublinks.has_next_hop
        if self.internal or not self.bypasses_host or routes_by_parent:
            return not self.internal
        return any(pool.version == version and pool.gateway for pool in self.pools)

    @property
    def is_default(self) -> bool:
        return self.name == DEFAULT_NETWORK


def is_off(value: str) -> bool:
    """Whether the kernel reads a parameter's value as 0, in whatever base it is written."""
    return bool(re.fullmatch(r"0+|0[xX]0+", value.strip()))


@dataclass(frozen=True)
class Attachment:
    """A declared connection of a container to a network."""

    network: str
    path: str
    ipv4: Optional[Address] = None
    ipv6: Optional[Address] = None
    link_local: Tuple[Address, ...] = ()
    mac: Optional[str] = None
    mac_path: str = ""
    interface: Optional[str] = None
    aliases: Tuple[str, ...] = ()
    gw_priority: int = 0
    priority: int = 0
    sysctls: Tuple[Tuple[str, str], ...] = ()
    rates: Optional[TrafficRates] = None
    vlans: Optional[PortVlans] = None

    def static(self, version: int) -> Optional[Address]:
        return self.ipv4 if version == 4 else self.ipv6


@dataclass(frozen=True)
class StaticRoute:
    """A further route of a container: `via` is on one of its networks."""

    path: str
    to: Subnet
    via: Address


@dataclass(frozen=True)
class Link:
    """Another name for another container, in one container's `hosts`."""

    path: str
    target: str
    alias: str


@dataclass(frozen=True)
class Container:
    """A container's networking. `shares` names the container whose stack it uses, in mode `container`.

    `lacks_lease`: it has further attachments, which are left out as long as no DHCP server of the LAN gives a lease.
    """

    name: str
    path: str
    mode: str
    sandbox: SandboxRef
    shares: str = ""
    attachments: Tuple[Attachment, ...] = ()
    ports: Tuple[PortMapping, ...] = ()
    expose: Tuple[ExposedPorts, ...] = ()
    links: Tuple[Link, ...] = ()
    hostname: str = ""
    domainname: str = ""
    dns: Tuple[Address, ...] = ()
    dns_search: Tuple[str, ...] = ()
    dns_opt: Tuple[str, ...] = ()
    extra_hosts: Tuple[Tuple[str, str], ...] = ()
    sysctls: Tuple[Tuple[str, str], ...] = ()
    routes: Tuple[StaticRoute, ...] = ()
    lacks_lease: bool = False

    @property
    def effective_hostname(self) -> str:
        return self.hostname or self.name

    @property
    def full_hostname(self) -> str:
        return ".".join(filter(None, [self.effective_hostname, self.domainname]))

    @property
    def is_without_ipv6(self) -> bool:
        """Whether its own kernel parameters switch IPv6 off."""
        return not is_off(dict(self.sysctls).get(SWITCHES_IPV6_OFF, "0"))

    def has(self, network: Network, version: int) -> bool:
        """Whether it has an address of this family on the network."""
        return network.has(version) and not (version == 6 and self.is_without_ipv6)

    def names(self, attachment: Attachment) -> Tuple[str, ...]:
        """The names by which others on the network find it, its own name first."""
        return tuple(dict.fromkeys([self.name, *attachment.aliases, self.effective_hostname]))


@dataclass(frozen=True)
class Rate:
    """A limit of packets in each `unit`: `second`, `minute`, `hour` or `day`. `burst` packets may come at once."""

    packets: int
    unit: str
    burst: int = 5


@dataclass(frozen=True)
class InterfacePattern:
    """Matches the interface of this name, or all whose names begin with it."""

    name: str
    is_prefix: bool = False

    def matches(self, interface: str) -> bool:
        return interface.startswith(self.name) if self.is_prefix else interface == self.name


@dataclass(frozen=True)
class UserRule:
    """A firewall rule of the administrator's; an empty field is no condition.

    `container` and `network` are the destination of the connection. `published_ports` are its destination ports before
    translation. `log` is the prefix of log messages.
    """

    path: str
    action: str
    sources: Tuple[Subnet, ...] = ()
    destinations: Tuple[Subnet, ...] = ()
    in_interface: Optional[InterfacePattern] = None
    out_interface: Optional[InterfacePattern] = None
    protocol: str = ""
    published_ports: Optional[PortRange] = None
    container: str = ""
    network: str = ""
    states: Tuple[str, ...] = ()
    limit: Optional[Rate] = None
    log: str = ""
    comment: str = ""


@dataclass(frozen=True)
class Model:
    """Everything that is declared on a host; networks and containers by their real names, sorted.

    `earlier` are the networks that the call did not declare, but an earlier one did.
    """

    host: Host
    networks: Mapping[str, Network]
    containers: Mapping[str, Container]
    docker_user: Tuple[UserRule, ...] = ()
    earlier: FrozenSet[str] = frozenset()

    @cached_property
    def bridged(self) -> Tuple[Network, ...]:
        """The networks that have a bridge."""
        return tuple(network for network in self.networks.values() if not network.sublinks)

    @cached_property
    def uplinked(self) -> Tuple[Network, ...]:
        """The networks whose bridge has an uplink."""
        return tuple(network for network in self.networks.values() if network.uplink)

    @cached_property
    def behind_host(self) -> Tuple[Network, ...]:
        """The networks whose packets from and to others pass the host, and its rules."""
        return tuple(network for network in self.networks.values() if not network.bypasses_host)

    @cached_property
    def attachments(self) -> Tuple[Tuple[Container, Attachment], ...]:
        """Those of all containers."""
        return tuple((container, each) for container in self.containers.values() for each in container.attachments)

    def ports_of_other_hosts(self) -> Iterator[Tuple[Network, Member, IngressPort]]:
        """The ports of containers of other hosts that this host publishes, too; with the network and that host."""
        for network in self.networks.values():
            for peer in network.driver.peers if isinstance(network.driver, OverlayDriver) else ():
                for port in peer.ingress:
                    yield network, peer, port

    def owner_of_stack(self, container: Container) -> Container:
        """The container whose stack this one uses: itself, or the one it shares."""
        return self.containers[container.shares] if container.shares else container
