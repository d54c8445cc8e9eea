# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel has of links, addresses and routes, in the network namespace that the thread is in.

With the standard library alone: one dump per kind of object. An address or a route that was read is deleted by the
message that listed it. Names of constants are those of linux/rtnetlink.h, linux/if_link.h and linux/if_addr.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Collection, Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from .netlink import NLM_F_ACK, Attributes, Connection, aligned, ask, attribute, attributes, dump, pack_address, values

RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNSID = 18, 22, 26, 90
RTM_DELADDR, RTM_DELROUTE, RTM_GETNEIGH = 21, 25, 30

IFF_UP = 0x1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_QDISC, IFLA_MASTER = 1, 3, 4, 5, 6, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_GROUP, IFLA_EXT_MASK, IFLA_LINK_NETNSID = 18, 20, 27, 29, 37
IFLA_OPERSTATE, IFLA_AF_SPEC, IFLA_PROP_LIST = 16, 26, 52
IFLA_INET6_CONF = 2
IF_OPER_UP = 6
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE = 1, 5
IFLA_BR_NF_CALL_IPTABLES, IFLA_BR_NF_CALL_IP6TABLES = 36, 37
IFLA_BR_VLAN_FILTERING, IFLA_BR_VLAN_DEFAULT_PVID = 7, 39
IFLA_BRIDGE_VLAN_INFO = 2
BRIDGE_VLAN_INFO_PVID, BRIDGE_VLAN_INFO_UNTAGGED = 2, 4
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33
IFLA_VXLAN_ID, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LEARNING, IFLA_VXLAN_PORT, IFLA_VXLAN_LOCAL6 = 1, 4, 7, 15, 17
IFLA_MACVLAN_MODE = 1
IFLA_VLAN_ID = 1
IFLA_IPVLAN_MODE, IFLA_IPVLAN_FLAGS = 1, 2
RTEXT_FILTER_BRVLAN, RTEXT_FILTER_SKIP_STATS = 2, 8

IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_PROTO = 1, 2, 8, 11
IFA_F_SECONDARY, IFA_F_PERMANENT = 0x01, 0x80
IFAPROT_KERNEL_LO, IFAPROT_KERNEL_RA, IFAPROT_KERNEL_LL = 1, 2, 3

RT_TABLE_MAIN, RTN_UNICAST, RTN_LOCAL = 254, 1, 2
RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT = 6, 7, 8
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
RTPROT_KERNEL, RTPROT_BOOT, RTPROT_STATIC, RTPROT_RA = 2, 3, 4, 9
# Who made a route: nobody else says 119 (`w`), which /etc/iproute2/rt_protos leaves to users.
RTPROT_WHARF = 119
FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, FRA_FWMASK, FRA_PROTOCOL = 3, 4, 6, 10, 15, 16, 21
RTM_DELRULE, RTM_GETRULE = 33, 34
RTA_DST, RTA_SRC, RTA_IIF, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 1, 2, 3, 4, 5, 6, 7
RTA_METRICS, RTA_MULTIPATH = 8, 9
RTA_TABLE, RTA_VIA, RTA_ENCAP_TYPE, RTA_NH_ID = 15, 18, 21, 30
NDA_DST, NDA_LLADDR, NDA_IFINDEX = 1, 2, 8
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80

NETNSA_NSID, NETNSA_FD = 1, 3
NO_NAMESPACE_ID = -1

LINK_HEADER = struct.Struct("=BxHiII")
ADDRESS_HEADER = struct.Struct("=BBBBi")
ROUTE_HEADER = struct.Struct("=BBBBBBBBI")
NEIGHBOUR_HEADER = struct.Struct("=BxxxiHBB")
_PORT = struct.Struct("!H")
_NEXT_HOP = struct.Struct("=HBBi")
U16 = struct.Struct("=H")
U32 = struct.Struct("=I")
VLAN_INFO = struct.Struct("=HH")
_S32 = struct.Struct("=i")
_NO_ID = _S32.pack(NO_NAMESPACE_ID)

_ANY_ADDRESS: Dict[int, str] = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
# Where a link's message has an interface's parameters of IPv6: the numbers of linux/ipv6.h.
_REPORTED_PARAMETERS = {"accept_ra": 3, "accept_redirects": 4, "disable_ipv6": 26, "accept_dad": 27}
# The kernel's numbers of the modes and flags of links that are made on other ones (linux/if_link.h).
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}
# Of a route that is added without a metric.
_USUAL_PRIORITY: Dict[int, int] = {socket.AF_INET: 0, socket.AF_INET6: 1024}


@dataclass(frozen=True)
class BridgeInfo:
    """What a link of kind `bridge` has; `forward_delay` in hundredths of a second, as in the kernel."""

    stp: bool
    forward_delay: int
    nf_call_iptables: bool
    nf_call_ip6tables: bool
    vlan_filtering: bool = False
    default_vlan: int = 0


class PortVlan(NamedTuple):
    """A VLAN of a port of a bridge. `pvid`: frames that come in without a tag are of it; `untagged`: its frames go out
    without one.
    """

    vlan: int
    pvid: bool = False
    untagged: bool = False


@dataclass(frozen=True)
class VxlanInfo:
    """What a link of kind `vxlan` has: its identifier, the host's own address (empty for any), and the UDP port."""

    vni: int
    local: str
    port: int
    learning: bool


@dataclass(frozen=True)
class PortInfo:
    """What a link has as port of a bridge."""

    hairpin: bool
    isolated: bool


@dataclass(frozen=True)
class SublinkInfo:
    """What a link of kind `macvlan` or `ipvlan` has; `flag` is ipvlan's."""

    mode: str
    flag: str = ""


@dataclass(frozen=True)
class LinkInfo:
    """An interface.

    `master` and `link` (of a veth: its peer; of a link that is made on another: that one) are interface indexes, 0 for
    none. `vlan` is the number of a link of kind `vlan`. `link` counts in the
    namespace that has the id `link_netnsid` here, or in this one where that is NO_NAMESPACE_ID. No other interface can
    have one of its `other_names`.
    """

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    kind: str = ""
    alias: str = ""
    group: int = 0
    master: int = 0
    link: int = 0
    link_netnsid: int = NO_NAMESPACE_ID
    bridge: Optional[BridgeInfo] = None
    vxlan: Optional[VxlanInfo] = None
    port: Optional[PortInfo] = None
    sublink: Optional[SublinkInfo] = None
    vlan: int = 0
    # The kind of its queue.
    queue: str = field(default="", compare=False)
    other_names: Tuple[str, ...] = ()
    # Whether it is up, with a carrier, and the kernel has done all that follows from it.
    ready: bool = field(default=False, compare=False)
    # What the kernel adds for each address family.
    families: bytes = field(default=b"", compare=False, repr=False)

    @property
    def has_ipv6(self) -> bool:
        return self.parameters6().get("disable_ipv6") == "0"

    def parameters6(self) -> Dict[str, str]:
        """Some parameters of IPv6, as their files below /proc/sys have them; none where the link can have no IPv6."""
        values = attributes(attributes(self.families).get(socket.AF_INET6, b"")).get(IFLA_INET6_CONF, b"")
        return {name: str(_S32.unpack_from(values, 4 * at)[0]) for name, at in _REPORTED_PARAMETERS.items() if values}


@dataclass(frozen=True)
class AddressInfo:
    """An address of the interface `index`, as `ADDRESS/PREFIX`.

    `protocol` says who made it, on kernels since 5.18 (0: unknown, or nobody special). `peer` is the other end of a
    point-to-point address, empty for any other. `message` is the kernel's own.
    """

    index: int
    address: str
    scope: int
    flags: int = IFA_F_PERMANENT
    protocol: int = 0
    peer: str = ""
    message: bytes = field(default=b"", compare=False, repr=False)

    def __str__(self) -> str:
        """As iproute2 spells it: `ADDRESS/PREFIX`, or `ADDRESS peer PEER/PREFIX`."""
        plain, _slash, prefix = self.address.partition("/")
        return f"{plain} peer {self.peer}/{prefix}" if self.peer else self.address

    @property
    def by_kernel(self) -> bool:
        """Whether the kernel made it by itself, or it will run out (by a router's or DHCP server's word)."""
        made = self.protocol in (IFAPROT_KERNEL_LO, IFAPROT_KERNEL_RA, IFAPROT_KERNEL_LL)
        return made or not self.flags & IFA_F_PERMANENT

    @property
    def link_local6(self) -> bool:
        return self.address[:3] in ("fe8", "fe9", "fea", "feb")


@dataclass(frozen=True)
class RouteInfo:
    """A unicast route, of the main table if nothing else is said, once for each of its next hops.

    `destination` is a prefix, that of the default route `0.0.0.0/0` or `::/0`; `gateway` is empty for a route on the
    link. `source` is the address that the kernel gives to packets of its own. `details` are what else selects the route
    or alters it, as iproute2 spells it: a route that `ip route add DESTINATION via GATEWAY` makes has none.
    `indexes` are the interfaces of all next hops. `message` is the kernel's own.
    """

    family: int
    destination: str
    gateway: str
    index: int
    protocol: int
    priority: int
    source: str = field(default="", compare=False)
    details: Tuple[str, ...] = ()
    indexes: Tuple[int, ...] = ()
    message: bytes = field(default=b"", compare=False, repr=False)
    table: int = RT_TABLE_MAIN


@dataclass(frozen=True)
class RuleInfo:
    """A rule of the kernel's policy routing: which packets are routed by which table, or go on at which rule.

    `mark` and `mask` are of the packets' marks, `interface` is the one by which they come; 0 and empty for any.
    """

    family: int
    priority: int
    mark: int
    mask: int
    interface: str
    table: int
    goto: int
    protocol: int
    message: bytes = field(default=b"", compare=False, repr=False)


def links(connection: Optional[Connection] = None) -> List[LinkInfo]:
    """The links, read by the connection, or by one that is opened for it; as are addresses and routes."""
    leave_out = attribute(IFLA_EXT_MASK, U32.pack(RTEXT_FILTER_SKIP_STATS))
    request = LINK_HEADER.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + leave_out
    return [parse_link(message) for message in _dump(RTM_GETLINK, request, connection)]


def link(index: int, connection: Optional[Connection] = None) -> LinkInfo:
    """
    Raises:
        OSError: there is none of this index.
    """
    return parse_link(_ask(RTM_GETLINK, LINK_HEADER.pack(socket.AF_UNSPEC, 0, index, 0, 0), connection))


def addresses(connection: Optional[Connection] = None) -> List[AddressInfo]:
    request = ADDRESS_HEADER.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    return [parse_address(message) for message in _dump(RTM_GETADDR, request, connection)]


def routes(connection: Optional[Connection] = None) -> List[RouteInfo]:
    return _routes([RTN_UNICAST], connection)


def routes_of_all_tables() -> List[RouteInfo]:
    return _routes([RTN_UNICAST], None, table=0)


def _routes(kinds: Collection[int], connection: Optional[Connection], table: int = RT_TABLE_MAIN) -> List[RouteInfo]:
    """Those of a table, or of all where that is 0."""
    found: List[RouteInfo] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        request = ROUTE_HEADER.pack(family, 0, 0, 0, table, 0, 0, 0, 0)
        # A namespace without a single route has no main table yet.
        with suppress(FileNotFoundError):
            for message in _dump(RTM_GETROUTE, request, connection):
                found.extend(parse_route(message, kinds, table))
    return found


def rules(connection: Optional[Connection] = None) -> List[RuleInfo]:
    """The rules of policy routing in both families."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        request = ROUTE_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        found += [parse_rule(message) for message in _dump(RTM_GETRULE, request, connection)]
    return found


def delete_rule(rule: RuleInfo) -> None:
    """
    Raises:
        OSError: the kernel refused, or there is no such rule any more.
    """
    ask(socket.NETLINK_ROUTE, RTM_DELRULE, rule.message, NLM_F_ACK)


def refusing() -> List[RouteInfo]:
    """The routes of the main table by which the kernel refuses packets, or drops them."""
    return _routes([RTN_UNREACHABLE, RTN_PROHIBIT, RTN_BLACKHOLE], None)


@dataclass(frozen=True)
class NeighbourInfo:
    """Which MAC has an address by the interface `index`; or, for `AF_BRIDGE`, behind which address a MAC is."""

    family: int
    index: int
    address: str
    mac: str
    permanent: bool


def neighbours(index: int) -> List[NeighbourInfo]:
    """Those of an interface in both IP families, and, of a VXLAN link, where it forwards frames to."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_BRIDGE):
        request = NEIGHBOUR_HEADER.pack(family, 0, 0, 0, 0) + attribute(NDA_IFINDEX, U32.pack(index))
        found += [parse_neighbour(message) for message in dump(socket.NETLINK_ROUTE, RTM_GETNEIGH, request)]
    # A kernel that does not know the filter lists those of all interfaces.
    return [each for each in found if each.index == index]


def delete_address(address: AddressInfo) -> None:
    """
    Raises:
        OSError: the kernel refused, or there is no such address any more.
    """
    ask(socket.NETLINK_ROUTE, RTM_DELADDR, address.message, NLM_F_ACK)


def delete_route(route: RouteInfo) -> None:
    """Delete a whole route, with all of its next hops.

    Raises:
        OSError: the kernel refused, or there is no such route any more.
    """
    found = attributes(route.message, ROUTE_HEADER.size)
    message = route.message
    if RTA_NH_ID in found:
        # The kernel lists the next hop beside the number of the nexthop object, and takes only one of both.
        selecting = (RTA_DST, RTA_SRC, RTA_PRIORITY, RTA_TABLE, RTA_NH_ID)
        kept = (attribute(kind, found[kind]) for kind in selecting if kind in found)
        message = route.message[: ROUTE_HEADER.size] + b"".join(kept)
    ask(socket.NETLINK_ROUTE, RTM_DELROUTE, message, NLM_F_ACK)


def gateway_to(address: str) -> str:
    """The router by which the kernel sends to an address; empty where it needs none.

    Raises:
        OSError: there is no route.
    """
    return _route_to(address)[1].gateway


@dataclass(frozen=True)
class FoundRoute:
    """Where the kernel sends a packet: to itself (`local`), or by the interface `index`, to a gateway if not empty.

    `source` is the address that it would give to a packet of its own, if it reports one.
    """

    local: bool
    index: int
    gateway: str = ""
    source: str = ""


def route_to(destination: str, source: str = "", incoming: int = 0) -> FoundRoute:
    """The route of a packet of this namespace's own, or of one that comes in by the interface `incoming`.

    Raises:
        OSError: there is no route, or the kernel would not take the packet from there.
    """
    kind, route = _route_to(destination, source, incoming)
    if kind not in (RTN_UNICAST, RTN_LOCAL):
        raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
    return route


def _route_to(destination: str, source: str = "", incoming: int = 0) -> Tuple[int, FoundRoute]:
    """The kind of the route, and where it leads."""
    family, to = pack_address(destination)
    from_ = pack_address(source)[1] if source else b""
    request = ROUTE_HEADER.pack(family, 8 * len(to), 8 * len(from_), 0, 0, 0, 0, 0, 0) + attribute(RTA_DST, to)
    request += attribute(RTA_SRC, from_) if from_ else b""
    request += attribute(RTA_IIF, U32.pack(incoming)) if incoming else b""
    answer = ask(socket.NETLINK_ROUTE, RTM_GETROUTE, request)
    kind = ROUTE_HEADER.unpack_from(answer)[7]
    found = attributes(answer, ROUTE_HEADER.size)
    own = _address(family, found.get(RTA_PREFSRC))
    return kind, FoundRoute(kind == RTN_LOCAL, _number(found, RTA_OIF), _gateway(family, found), own)


def namespace_id(descriptor: int, connection: Optional[Connection] = None) -> int:
    """The number by which links of this namespace name the one that is open as `descriptor`, if they do."""
    request = struct.pack("=Bxxx", socket.AF_UNSPEC) + attribute(NETNSA_FD, U32.pack(descriptor))
    return int(_S32.unpack(attributes(_ask(RTM_GETNSID, request, connection), 4)[NETNSA_NSID])[0])


def vlans() -> Dict[int, FrozenSet[PortVlan]]:
    """The VLANs of each port of a bridge, and of each bridge itself, by the index of the link."""
    wanted = attribute(IFLA_EXT_MASK, U32.pack(RTEXT_FILTER_BRVLAN))
    request = LINK_HEADER.pack(socket.AF_BRIDGE, 0, 0, 0, 0) + wanted
    found: Dict[int, FrozenSet[PortVlan]] = {}
    for message in _dump(RTM_GETLINK, request, None):
        index = LINK_HEADER.unpack_from(message)[2]
        af_spec = attributes(message, LINK_HEADER.size).get(IFLA_AF_SPEC, b"")
        infos = [VLAN_INFO.unpack(each) for each in values(af_spec) if len(each) == VLAN_INFO.size]
        found[index] = frozenset(
            PortVlan(number, bool(flags & BRIDGE_VLAN_INFO_PVID), bool(flags & BRIDGE_VLAN_INFO_UNTAGGED))
            for flags, number in infos
        )
    return found


def _dump(kind: int, request: bytes, connection: Optional[Connection]) -> List[bytes]:
    return connection.dump(kind, request) if connection else dump(socket.NETLINK_ROUTE, kind, request)


def _ask(kind: int, request: bytes, connection: Optional[Connection]) -> bytes:
    return connection.ask(kind, request) if connection else ask(socket.NETLINK_ROUTE, kind, request)


def parse_link(message: bytes) -> LinkInfo:
    _family, _type, index, flags, _change = LINK_HEADER.unpack_from(message)
    found = attributes(message, LINK_HEADER.size)
    info = attributes(found.get(IFLA_LINKINFO, b""))
    kind = _text(info.get(IFLA_INFO_KIND, b""))
    return LinkInfo(
        index=index,
        name=_text(found[IFLA_IFNAME]),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(found, IFLA_MTU),
        up=bool(flags & IFF_UP),
        kind=kind,
        alias=_text(found.get(IFLA_IFALIAS, b"")),
        group=_number(found, IFLA_GROUP),
        master=_number(found, IFLA_MASTER),
        link=_number(found, IFLA_LINK),
        link_netnsid=_S32.unpack(found.get(IFLA_LINK_NETNSID, _NO_ID))[0],
        bridge=_bridge(info[IFLA_INFO_DATA]) if kind == "bridge" and IFLA_INFO_DATA in info else None,
        vxlan=_vxlan(info[IFLA_INFO_DATA]) if kind == "vxlan" and IFLA_INFO_DATA in info else None,
        port=_port(info[IFLA_INFO_SLAVE_DATA]) if info.get(IFLA_INFO_SLAVE_KIND) == b"bridge\0" else None,
        sublink=_sublink(kind, attributes(info.get(IFLA_INFO_DATA, b""))) if kind in ("macvlan", "ipvlan") else None,
        vlan=_vlan(attributes(info.get(IFLA_INFO_DATA, b""))) if kind == "vlan" else 0,
        ready=found.get(IFLA_OPERSTATE, b"\0")[0] == IF_OPER_UP,
        queue=_text(found.get(IFLA_QDISC, b"")),
        other_names=tuple(_text(name) for name in values(found.get(IFLA_PROP_LIST, b""))),
        families=found.get(IFLA_AF_SPEC, b""),
    )


def _bridge(data: bytes) -> BridgeInfo:
    found = attributes(data)
    return BridgeInfo(
        stp=bool(_number(found, IFLA_BR_STP_STATE)),
        forward_delay=_number(found, IFLA_BR_FORWARD_DELAY),
        nf_call_iptables=found.get(IFLA_BR_NF_CALL_IPTABLES) == b"\1",
        nf_call_ip6tables=found.get(IFLA_BR_NF_CALL_IP6TABLES) == b"\1",
        vlan_filtering=found.get(IFLA_BR_VLAN_FILTERING) == b"\1",
        default_vlan=U16.unpack(found.get(IFLA_BR_VLAN_DEFAULT_PVID, b"\0\0"))[0],
    )


def _vxlan(data: bytes) -> VxlanInfo:
    found = attributes(data)
    local6 = _address(socket.AF_INET6, found.get(IFLA_VXLAN_LOCAL6))
    return VxlanInfo(
        vni=_number(found, IFLA_VXLAN_ID),
        local=_address(socket.AF_INET, found.get(IFLA_VXLAN_LOCAL)) or local6,
        port=_PORT.unpack(found[IFLA_VXLAN_PORT])[0],
        learning=found.get(IFLA_VXLAN_LEARNING) == b"\1",
    )


def _port(data: bytes) -> PortInfo:
    found = attributes(data)
    return PortInfo(
        hairpin=found.get(IFLA_BRPORT_MODE) == b"\1",
        isolated=found.get(IFLA_BRPORT_ISOLATED) == b"\1",
    )


def _sublink(kind: str, found: Attributes) -> SublinkInfo:
    if kind == "macvlan":
        return SublinkInfo(_word(MACVLAN_MODES, _number(found, IFLA_MACVLAN_MODE)))
    mode, flag = (U16.unpack(found.get(each, b"\0\0"))[0] for each in (IFLA_IPVLAN_MODE, IFLA_IPVLAN_FLAGS))
    return SublinkInfo(_word(IPVLAN_MODES, mode), _word(IPVLAN_FLAGS, flag))


def _vlan(found: Attributes) -> int:
    return int(U16.unpack(found[IFLA_VLAN_ID])[0]) if IFLA_VLAN_ID in found else 0


def _word(numbers: Mapping[str, int], number: int) -> str:
    return next((word for word, each in numbers.items() if each == number), str(number))


def parse_address(message: bytes) -> AddressInfo:
    family, prefix, flags, scope, index = ADDRESS_HEADER.unpack_from(message)
    found = attributes(message, ADDRESS_HEADER.size)
    # On a point-to-point link IFA_ADDRESS is the other end's.
    own = found.get(IFA_LOCAL) or found[IFA_ADDRESS]
    other = found.get(IFA_ADDRESS, own)
    return AddressInfo(
        index=index,
        address=f"{socket.inet_ntop(family, own)}/{prefix}",
        scope=scope,
        flags=_number(found, IFA_FLAGS) if IFA_FLAGS in found else flags,
        protocol=found.get(IFA_PROTO, b"\0")[0],
        peer=_address(family, other) if other != own else "",
        message=message,
    )


def parse_neighbour(message: bytes) -> NeighbourInfo:
    family, index, state, _flags, _type = NEIGHBOUR_HEADER.unpack_from(message)
    found = attributes(message, NEIGHBOUR_HEADER.size)
    packed = found.get(NDA_DST, b"")
    of_address = socket.AF_INET6 if len(packed) == 16 else socket.AF_INET
    return NeighbourInfo(
        family, index, _address(of_address, packed), found.get(NDA_LLADDR, b"").hex(":"), bool(state & NUD_PERMANENT)
    )


def parse_rule(message: bytes) -> RuleInfo:
    family, _to, _from, _tos, table, _res1, _res2, _action, _flags = ROUTE_HEADER.unpack_from(message)
    found = attributes(message, ROUTE_HEADER.size)
    return RuleInfo(
        family,
        priority=_number(found, FRA_PRIORITY),
        mark=_number(found, FRA_FWMARK),
        mask=_number(found, FRA_FWMASK),
        interface=_text(found.get(FRA_IIFNAME, b"")),
        table=_number(found, FRA_TABLE) or table,
        goto=_number(found, FRA_GOTO),
        protocol=found.get(FRA_PROTOCOL, b"\0")[0],
        message=message,
    )


def parse_route(
    message: bytes, of_kinds: Collection[int] = (RTN_UNICAST,), of_table: int = RT_TABLE_MAIN
) -> Iterator[RouteInfo]:
    """Those of the next hops of a route, if it is of one of these kinds and in this table, 0 for any."""
    family, prefix, source, tos, table, protocol, _scope, kind, _flags = ROUTE_HEADER.unpack_from(message)
    found = attributes(message, ROUTE_HEADER.size)
    table = _number(found, RTA_TABLE) or table
    if kind not in of_kinds or of_table not in (0, table):
        return
    destination = f"{_address(family, found.get(RTA_DST)) or _ANY_ADDRESS[family]}/{prefix}"
    priority = _number(found, RTA_PRIORITY)
    hops = _next_hops(found.get(RTA_MULTIPATH, b"")) or [(_number(found, RTA_OIF), found)]
    made_by_kernel = protocol == RTPROT_KERNEL
    details = (*_selected_by(family, source, tos, found, made_by_kernel), *_altered_by(family, found, made_by_kernel))
    indexes = tuple(index for index, _hop in hops)
    preferred = _address(family, found.get(RTA_PREFSRC))
    for index, hop in hops:
        yield RouteInfo(
            family, destination, _gateway(family, hop), index, protocol, priority, preferred, details, indexes, message,
            table,
        )  # fmt: skip


def _selected_by(family: int, source: int, tos: int, found: Attributes, made_by_kernel: bool) -> Iterator[str]:
    """What but its destination distinguishes a route from others. The kernel chooses the metric of its own routes."""
    if source:
        yield f"from {_address(family, found.get(RTA_SRC)) or _ANY_ADDRESS[family]}/{source}"
    if tos:
        yield f"tos {tos:#04x}"
    priority = _number(found, RTA_PRIORITY)
    if priority != _USUAL_PRIORITY[family] and not made_by_kernel:
        yield f"metric {priority}"


def _altered_by(family: int, found: Attributes, made_by_kernel: bool) -> Iterator[str]:
    """What a route has that others of the same destination and next hop have not, the kernel's own source aside."""
    if RTA_NH_ID in found:
        yield f"nhid {_number(found, RTA_NH_ID)}"
    if RTA_MULTIPATH in found:
        yield "multipath"
    if RTA_PREFSRC in found and not made_by_kernel:
        yield f"src {_address(family, found[RTA_PREFSRC])}"
    if RTA_METRICS in found:
        yield "metrics " + " ".join(f"{kind}={value.hex()}" for kind, value in attributes(found[RTA_METRICS]).items())
    if RTA_ENCAP_TYPE in found:
        yield "encap"


def _gateway(family: int, hop: Attributes) -> str:
    """It may have an address of another family (RTA_VIA)."""
    if RTA_VIA in hop:
        family = U16.unpack_from(hop[RTA_VIA])[0]
        return _address(family, hop[RTA_VIA][U16.size :])
    return _address(family, hop.get(RTA_GATEWAY))


def _next_hops(data: bytes) -> List[Tuple[int, Attributes]]:
    hops, at = [], 0
    while at + _NEXT_HOP.size <= len(data):
        length, _flags, _weight, index = _NEXT_HOP.unpack_from(data, at)
        hops.append((index, attributes(data[at : at + length], _NEXT_HOP.size)))
        at += aligned(length)
    return hops


def _number(found: Attributes, kind: int) -> int:
    return int(U32.unpack(found[kind])[0]) if kind in found else 0


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "replace")


def _address(family: int, data: Optional[bytes]) -> str:
    return socket.inet_ntop(family, data) if data else ""
