# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes links, addresses and routes with the standard library alone: by the messages sent per container.

What is set a few times in a run, such as the options of bridges, pyroute2 sets (`links.py`). Names of constants are
those of linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h and linux/neighbour.h.
"""

from __future__ import annotations

import errno
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Iterable, Optional

from .netlink import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Connection,
    attribute,
    attributes,
    nested,
    pack_address,
)
from .rtnetlink import (
    ADDRESS_HEADER,
    BRIDGE_VLAN_INFO_PVID,
    BRIDGE_VLAN_INFO_UNTAGGED,
    FRA_FWMARK,
    FRA_FWMASK,
    FRA_GOTO,
    FRA_IIFNAME,
    FRA_PRIORITY,
    FRA_PROTOCOL,
    FRA_TABLE,
    IFA_ADDRESS,
    IFA_FLAGS,
    IFA_LOCAL,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_BRIDGE_VLAN_INFO,
    IFLA_BRPORT_ISOLATED,
    IFLA_BRPORT_MODE,
    IFLA_GROUP,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_DATA,
    IFLA_INFO_SLAVE_KIND,
    IFLA_IPVLAN_FLAGS,
    IFLA_IPVLAN_MODE,
    IFLA_LINK,
    IFLA_LINKINFO,
    IFLA_MACVLAN_MODE,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_VLAN_ID,
    IPVLAN_FLAGS,
    IPVLAN_MODES,
    LINK_HEADER,
    MACVLAN_MODES,
    NDA_DST,
    NDA_IFINDEX,
    NDA_LLADDR,
    NEIGHBOUR_HEADER,
    NUD_NOARP,
    NUD_PERMANENT,
    ROUTE_HEADER,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_TABLE,
    RTA_VIA,
    RTM_GETNEIGH,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    RTPROT_STATIC,
    U16,
    U32,
    VLAN_INFO,
    PortInfo,
    PortVlan,
    RuleInfo,
    SublinkInfo,
)

RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 17, 19, 20, 24
IFLA_NET_NS_FD, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 28, 31, 32
VETH_INFO_PEER = 1
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_NEWRULE = 28, 29, 32
FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_NOP = 1, 2, 3
NTF_SELF, RTNH_F_ONLINK = 0x02, 0x04
IFA_F_NODAD = 2

# How the kernel refuses a link where one of macvlan_mode passthru has the whole parent.
_WHOLE_LINK = errno.EINVAL
# Seconds: so long a change is tried; so often; and so long after one that was tried in vain, others are tried once.
_GONE_WITHIN, _TRY_AGAIN_AFTER, _IN_VAIN = 2.0, 0.01, 30.0

_NEW_LINK = LINK_HEADER.pack(socket.AF_UNSPEC, 0, 0, 0, 0)


@dataclass(frozen=True)
class LinkEnd:
    """Without a MAC the kernel gives it one."""

    name: str
    mac: str = ""


class Rtnetlink(Connection):
    """Changes what is in the network namespace that the thread is in when this is opened.

    All methods raise OSError where the kernel refuses.
    """

    # No change waits before this time (time.monotonic), because one has just waited in vain.
    _in_vain_until = 0.0

    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE)

    def add_veth(self, end: LinkEnd, peer: LinkEnd, namespace: int, mtu: int, master: int, group: int) -> None:
        """Make a veth pair, whose `peer` is in the namespace that is open as the descriptor `namespace`.

        `mtu` is in bytes, and that of both ends. `master` is the index of the bridge that `end` becomes a port of.
        """
        # A veth gains nothing by more than one queue, and each more costs two of the kernel's grace periods.
        both = _number(IFLA_MTU, mtu) + _number(IFLA_NUM_TX_QUEUES, 1) + _number(IFLA_NUM_RX_QUEUES, 1)
        there = _NEW_LINK + _name(peer) + _number(IFLA_NET_NS_FD, namespace) + both
        kind = _kind("veth", attribute(VETH_INFO_PEER, there))
        self._add(group, _name(end) + _number(IFLA_MASTER, master) + both + kind)

    def add_sublink(
        self,
        kind: str,
        info: SublinkInfo,
        parent: int,
        end: LinkEnd,
        mtu: int,
        group: int,
        namespace: Optional[int] = None,
    ) -> None:
        """Make a link on the link of the index `parent`, in the namespace that is open as the descriptor `namespace`.

        Without a namespace it is made in this one. `mtu` is in bytes, 0 for the parent's.
        """
        message = _name(end) + _number(IFLA_LINK, parent) + (_number(IFLA_MTU, mtu) if mtu else b"")
        message += _number(IFLA_NET_NS_FD, namespace) if namespace is not None else b""
        self._add(group, message + _sublink(kind, info), in_the_way=_WHOLE_LINK)

    def add_link(self, kind: str, name: str, group: int, mtu: int = 0) -> None:
        """Make a link of a kind that needs nothing else, such as `dummy`. With an MTU of 0 it has that of its kind."""
        mtu_ = _number(IFLA_MTU, mtu) if mtu else b""
        self._add(group, _name(LinkEnd(name)) + mtu_ + _kind(kind))

    def add_vlan(self, name: str, lower: int, vlan: int, group: int) -> None:
        """Make a link of the VLAN of this number, on the link of the index `lower`."""
        kind = _kind("vlan", attribute(IFLA_VLAN_ID, U16.pack(vlan)))
        self._add(group, _name(LinkEnd(name)) + _number(IFLA_LINK, lower) + kind)

    def set_vlans(self, index: int, gone: Iterable[PortVlan], new: Iterable[PortVlan]) -> None:
        """Take a port of a bridge out of VLANs, and put it into others."""
        for kind, changed in ((RTM_DELLINK, gone), (RTM_SETLINK, new)):
            infos = b"".join(attribute(IFLA_BRIDGE_VLAN_INFO, _vlan_info(each)) for each in sorted(changed))
            if infos:
                self.change(kind, LINK_HEADER.pack(socket.AF_BRIDGE, 0, index, 0, 0) + nested(IFLA_AF_SPEC, infos))

    def set_sublink(self, index: int, kind: str, info: SublinkInfo) -> None:
        """Set the mode of a link that is made on another one; of ipvlan, that of all links of its parent."""
        self.change(RTM_NEWLINK, LINK_HEADER.pack(socket.AF_UNSPEC, 0, index, 0, 0) + _sublink(kind, info))

    def set_link(
        self,
        index: int,
        *,
        up: Optional[bool] = None,
        name: str = "",
        mac: str = "",
        mtu: int = 0,
        alias: str = "",
        group: Optional[int] = None,
        master: Optional[int] = None,
        port: Optional[PortInfo] = None,
    ) -> None:
        """Change what is given of a link. `mtu` is in bytes. With `port`, it must be a port of a bridge; with `master`
        of 0 it becomes none.
        """
        flags, changed = (IFF_UP if up else 0, 0 if up is None else IFF_UP)
        message = LINK_HEADER.pack(socket.AF_UNSPEC, 0, index, flags, changed)
        if name:
            message += attribute(IFLA_IFNAME, _text(name))
        if mac:
            message += attribute(IFLA_ADDRESS, _mac(mac))
        if mtu:
            message += _number(IFLA_MTU, mtu)
        if alias:
            message += attribute(IFLA_IFALIAS, _text(alias))
        if group is not None:
            message += _number(IFLA_GROUP, group)
        if master is not None:
            message += _number(IFLA_MASTER, master)
        if port:
            of_port = attribute(IFLA_BRPORT_MODE, bytes([port.hairpin]))
            of_port += attribute(IFLA_BRPORT_ISOLATED, bytes([port.isolated]))
            kind = attribute(IFLA_INFO_SLAVE_KIND, _text("bridge")) + nested(IFLA_INFO_SLAVE_DATA, of_port)
            message += nested(IFLA_LINKINFO, kind)
        self.change(RTM_NEWLINK, message)

    def delete_links(self, group: int) -> None:
        """Delete all links of a group. One by one, each would take 20 ms."""
        self.change(RTM_DELLINK, _NEW_LINK + _number(IFLA_GROUP, group))

    def delete_link(self, index: int) -> None:
        self.change(RTM_DELLINK, LINK_HEADER.pack(socket.AF_UNSPEC, 0, index, 0, 0))

    def replace_address(self, index: int, address: str) -> None:
        """Give the interface `index` an `ADDRESS/PREFIX`, or set it anew where it has it."""
        plain, _slash, prefix = address.partition("/")
        family, packed = pack_address(plain)
        message = ADDRESS_HEADER.pack(family, int(prefix), 0, 0, index) + attribute(IFA_ADDRESS, packed)
        if family == socket.AF_INET:
            message += attribute(IFA_LOCAL, packed)
        else:
            # Duplicate address detection would keep the address from being used for a second or more.
            message += _number(IFA_FLAGS, IFA_F_NODAD)
        self.change(RTM_NEWADDR, message, NLM_F_CREATE | NLM_F_REPLACE)

    def add_route(
        self,
        destination: str,
        index: int,
        gateway: str = "",
        *,
        beside: bool = False,
        protocol: int = RTPROT_STATIC,
        scope: int = RT_SCOPE_UNIVERSE,
        priority: int = 0,
        source: str = "",
        onlink: bool = False,
        table: int = RT_TABLE_MAIN,
    ) -> None:
        """Add a route to a table: `beside` those to the same destination, or in the place of one.

        Without an interface (`index` 0) and a gateway, the kernel refuses packets by it. `onlink`: the gateway is on
        the link, although no address of the link says so.
        """
        plain, _slash, prefix = destination.partition("/")
        family, packed = pack_address(plain)
        kind = RTN_UNICAST if index or gateway else RTN_UNREACHABLE
        # The header has room for numbers up to 255, RT_TABLE_UNSPEC for others.
        small = table if table <= RT_TABLE_MAIN else 0
        header = (family, int(prefix), 0, 0, small, protocol, scope, kind, RTNH_F_ONLINK if onlink else 0)
        message = ROUTE_HEADER.pack(*header) + (b"" if small else _number(RTA_TABLE, table))
        if index:
            message += _number(RTA_OIF, index)
        if int(prefix):
            message += attribute(RTA_DST, packed)
        if gateway:
            of_gateway, packed = pack_address(gateway)
            via = U16.pack(of_gateway) + packed
            message += attribute(RTA_GATEWAY, packed) if of_gateway == family else attribute(RTA_VIA, via)
        if priority:
            message += _number(RTA_PRIORITY, priority)
        if source:
            message += attribute(RTA_PREFSRC, pack_address(source)[1])
        self.change(RTM_NEWROUTE, message, NLM_F_CREATE | (NLM_F_APPEND if beside else NLM_F_REPLACE))

    def add_rule(self, rule: RuleInfo) -> None:
        """Add a rule of policy routing: with a table, with a `goto`, or, without both, one that others go on at."""
        action = FR_ACT_TO_TBL if rule.table else FR_ACT_GOTO if rule.goto else FR_ACT_NOP
        message = ROUTE_HEADER.pack(rule.family, 0, 0, 0, 0, 0, 0, action, 0) + _number(FRA_PRIORITY, rule.priority)
        message += attribute(FRA_PROTOCOL, bytes([rule.protocol]))
        if rule.mask:
            message += _number(FRA_FWMARK, rule.mark) + _number(FRA_FWMASK, rule.mask)
        if rule.interface:
            message += attribute(FRA_IIFNAME, _text(rule.interface))
        if rule.table:
            message += _number(FRA_TABLE, rule.table)
        if rule.goto:
            message += _number(FRA_GOTO, rule.goto)
        self.change(RTM_NEWRULE, message, NLM_F_CREATE | NLM_F_EXCL)

    def replace_neighbour(self, index: int, address: str, mac: str) -> None:
        """Set permanently which MAC has an address by the interface `index`."""
        family, packed = pack_address(address)
        message = NEIGHBOUR_HEADER.pack(family, index, NUD_PERMANENT, 0, 0)
        message += attribute(NDA_DST, packed) + attribute(NDA_LLADDR, _mac(mac))
        self.change(RTM_NEWNEIGH, message, NLM_F_CREATE | NLM_F_REPLACE)

    def delete_neighbour(self, index: int, address: str) -> None:
        family, packed = pack_address(address)
        self.change(RTM_DELNEIGH, NEIGHBOUR_HEADER.pack(family, index, 0, 0, 0) + attribute(NDA_DST, packed))

    def replace_forward(self, index: int, mac: str, address: str) -> None:
        """Have the VXLAN link `index` send the frames for a MAC to this host."""
        message = NEIGHBOUR_HEADER.pack(socket.AF_BRIDGE, index, NUD_NOARP | NUD_PERMANENT, NTF_SELF, 0)
        message += attribute(NDA_LLADDR, _mac(mac)) + attribute(NDA_DST, pack_address(address)[1])
        self.change(RTM_NEWNEIGH, message, NLM_F_CREATE | NLM_F_REPLACE)

    def delete_forward(self, index: int, mac: str, address: str) -> None:
        message = NEIGHBOUR_HEADER.pack(socket.AF_BRIDGE, index, 0, NTF_SELF, 0)
        message += attribute(NDA_LLADDR, _mac(mac)) + attribute(NDA_DST, pack_address(address)[1])
        self.change(RTM_DELNEIGH, message)

    def forget_neighbours(self, index: int) -> None:
        """Delete what the kernel has learned of who is at which address by the interface `index`."""
        request = NEIGHBOUR_HEADER.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _number(NDA_IFINDEX, index)
        for message in self.dump(RTM_GETNEIGH, request):
            family, of_link, state, _flags, _type = NEIGHBOUR_HEADER.unpack_from(message)
            # A kernel that does not know the filter lists those of all interfaces.
            if of_link == index and not state & (NUD_NOARP | NUD_PERMANENT):
                address = attribute(NDA_DST, attributes(message, NEIGHBOUR_HEADER.size)[NDA_DST])
                with suppress(FileNotFoundError):
                    self.change(RTM_DELNEIGH, NEIGHBOUR_HEADER.pack(family, index, 0, 0, 0) + address)

    def _add(self, group: int, message: bytes, in_the_way: int = errno.EADDRINUSE) -> None:
        """Make a link of a group, with the attributes of the message."""
        message = _NEW_LINK + _number(IFLA_GROUP, group) + message
        self.change(RTM_NEWLINK, message, NLM_F_CREATE | NLM_F_EXCL, in_the_way)

    def change(self, kind: int, message: bytes, flags: int = 0, in_the_way: int = errno.EADDRINUSE) -> None:
        """Make a change within a time in which something that is in the way goes: a link is there, with its MAC and
        its addresses, for a while after its network namespace was deleted. `in_the_way` is how the kernel then refuses.

        What stays in the way is waited for once, however many changes it is in the way of.
        """
        deadline = time.monotonic() + _GONE_WITHIN
        while True:
            try:
                self.ask(kind, message, NLM_F_ACK | flags)
                return
            except OSError as error:
                if error.errno != in_the_way or time.monotonic() < Rtnetlink._in_vain_until:
                    raise
                if time.monotonic() > deadline:
                    Rtnetlink._in_vain_until = time.monotonic() + _IN_VAIN
                    raise
            time.sleep(_TRY_AGAIN_AFTER)


def _name(end: LinkEnd) -> bytes:
    return attribute(IFLA_IFNAME, _text(end.name)) + (attribute(IFLA_ADDRESS, _mac(end.mac)) if end.mac else b"")


def _kind(kind: str, data: bytes = b"") -> bytes:
    """What kind a link is of, with the attributes of that kind."""
    of_kind = nested(IFLA_INFO_DATA, data) if data else b""
    return nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, _text(kind)) + of_kind)


def _vlan_info(vlan: PortVlan) -> bytes:
    flags = (BRIDGE_VLAN_INFO_PVID if vlan.pvid else 0) | (BRIDGE_VLAN_INFO_UNTAGGED if vlan.untagged else 0)
    return VLAN_INFO.pack(flags, vlan.vlan)


def _sublink(kind: str, info: SublinkInfo) -> bytes:
    if kind == "macvlan":
        data = _number(IFLA_MACVLAN_MODE, MACVLAN_MODES[info.mode])
    else:
        data = attribute(IFLA_IPVLAN_MODE, U16.pack(IPVLAN_MODES[info.mode]))
        data += attribute(IFLA_IPVLAN_FLAGS, U16.pack(IPVLAN_FLAGS[info.flag]))
    return _kind(kind, data)


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, U32.pack(value))


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
