# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets as raw sockets send and receive them, and filters by which a raw socket receives packets of probes only.

The kernel gives a raw socket a copy of each packet that a network namespace accepts: after its firewall rules, and
before the socket that listens on the port. So a probe is seen to arrive without listening on any port.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from dataclasses import dataclass
from typing import Iterable, List, Tuple

MARK = b"wharf.network probe "
_TOKEN_BYTES = 8

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

TCP_SYN, TCP_RST, TCP_ACK = 0x02, 0x04, 0x10
ECHO_REQUEST, ECHO_REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_LARGEST = 65535  # bytes of an IP packet
_HEADER_BYTES = 8  # of UDP and of ICMP's echo
_ANCILLARY_BYTES = 2 * socket.CMSG_SPACE(12)  # struct in_pktinfo

# <linux/if_ether.h>, <linux/if_packet.h>
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_PACKET_HOST = 0
_IPV6_HEADER_BYTES = 40
_IP_HEADER_BYTES = {4: 20, 6: _IPV6_HEADER_BYTES}

# <linux/in.h>, <linux/in6.h>, <asm-generic/socket.h>
_IP_TTL, _IP_PKTINFO, _IP_RECVERR, _IP_RECVTTL = 2, 8, 11, 12
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _IPV6_DONTFRAG, _PMTUDISC_PROBE = 10, 23, 62, 3
_IPV6_RECVERR, _IPV6_RECVHOPLIMIT, _IPV6_HOPLIMIT = 25, 51, 52
_SO_ATTACH_FILTER = 26

# The TTL with which Linux, Windows and routers send.
_FIRST_HOPS = (64, 128, 255)

# <linux/bpf_common.h>: operation codes of the classic packet filter
_LOAD_IPV4_HEADER_LENGTH, _LOAD_HEADER_LENGTH = 0xB1, 0x01
_LOAD_BYTE, _LOAD_WORD = 0x50, 0x40
_JUMP_IF_EQUAL, _JUMP_IF_BITS, _RETURN = 0x15, 0x45, 0x06
_INSTRUCTION = struct.Struct("HBBI")


@dataclass(frozen=True)
class Received:
    """A packet from the transport header on; `hops` is its remaining TTL or hop limit on arrival.

    `interface` is the index of that by which it came; 0 if unknown, as it is with IPv6.
    """

    source: str
    hops: int
    data: bytes
    interface: int = 0

    @property
    def ports(self) -> Tuple[int, int]:
        """Source and destination port of TCP and UDP."""
        source, destination = struct.unpack_from("!HH", self.data)
        return source, destination

    @property
    def tcp_flags(self) -> int:
        return self.data[13]

    @property
    def icmp_type(self) -> int:
        return self.data[0]

    @property
    def payload(self) -> bytes:
        """The payload of UDP and of an ICMP echo."""
        return self.data[_HEADER_BYTES:]


@dataclass(frozen=True)
class Refusal:
    """How a TCP reset or an ICMP error came: see `Received`. Of nothing that came all is 0."""

    hops: int = 0
    interface: int = 0


def raw_socket(version: int, protocol: str) -> socket.socket:
    """A raw socket in the thread's network namespace. `protocol` is tcp, udp or ping.

    It receives TCP's SYN and RST, or the datagrams and echoes of probes.
    """
    icmp = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    number = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "ping": icmp}[protocol]
    opened = socket.socket(FAMILIES[version], socket.SOCK_RAW | socket.SOCK_NONBLOCK, number)
    # A raw IPv6 socket receives packets without the IP header.
    header = (_LOAD_IPV4_HEADER_LENGTH, 0) if version == 4 else (_LOAD_HEADER_LENGTH, 0)
    if protocol == "tcp":
        _attach_filter(opened, header, (_LOAD_BYTE, 13), (_JUMP_IF_BITS, TCP_SYN | TCP_RST))
    else:
        _attach_filter(opened, header, *_BEGINS_WITH_MARK)
    if version == 6:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    return opened


def socket_before_rules(version: int) -> socket.socket:
    """A socket that receives the echoes of probes before the firewall rules of the thread's network namespace."""
    opened = socket.socket(
        socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(_ETHERTYPES[version])
    )
    header = (_LOAD_IPV4_HEADER_LENGTH, 0) if version == 4 else (_LOAD_HEADER_LENGTH, _IPV6_HEADER_BYTES)
    _attach_filter(opened, header, *_BEGINS_WITH_MARK)
    return opened


_Step = Tuple[int, int]
_BEGINS_WITH_MARK: Tuple[_Step, _Step] = (
    (_LOAD_WORD, _HEADER_BYTES),
    (_JUMP_IF_EQUAL, int.from_bytes(MARK[:4], "big")),
)


def _attach_filter(opened: socket.socket, header: _Step, load: _Step, jump: _Step) -> None:
    program = b"".join(
        [
            _INSTRUCTION.pack(header[0], 0, 0, header[1]),
            _INSTRUCTION.pack(load[0], 0, 0, load[1]),
            _INSTRUCTION.pack(jump[0], 0, 1, jump[1]),
            _INSTRUCTION.pack(_RETURN, 0, 0, 0xFFFF),
            _INSTRUCTION.pack(_RETURN, 0, 0, 0),
        ]
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HP", len(program) // _INSTRUCTION.size, ctypes.addressof(buffer))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def receive_all(opened: socket.socket, version: int) -> List[Received]:
    """The packets that a raw socket has received until now."""
    received: List[Received] = []
    while True:
        try:
            data, ancillary, _flags, source = opened.recvmsg(_LARGEST, _ANCILLARY_BYTES)
        except OSError:
            return received
        hops = data[8] if version == 4 else _hops(ancillary)
        header = (data[0] & 0x0F) * 4 if version == 4 else 0
        received.append(Received(source[0], hops, data[header:], _interface(ancillary)))


def receive_before_rules(opened: socket.socket, version: int) -> List[Received]:
    """The packets that a `socket_before_rules` has received until now, except those to another MAC."""
    received: List[Received] = []
    while True:
        try:
            data, sender = opened.recvfrom(_LARGEST)
        except OSError:
            return received
        header = (data[0] & 0x0F) * 4 if version == 4 else _IPV6_HEADER_BYTES
        source = data[12:16] if version == 4 else data[8:24]
        if sender[2] == _PACKET_HOST:
            hops = data[8] if version == 4 else data[7]
            received.append(Received(socket.inet_ntop(FAMILIES[version], source), hops, data[header:]))


def _hops(ancillary: Iterable[Tuple[int, int, bytes]]) -> int:
    for level, kind, value in ancillary:
        if (level, kind) in ((socket.IPPROTO_IP, _IP_TTL), (socket.IPPROTO_IPV6, _IPV6_HOPLIMIT)):
            return int(struct.unpack("i", value)[0])
    return 0


def _interface(ancillary: Iterable[Tuple[int, int, bytes]]) -> int:
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return int(struct.unpack_from("i", value)[0])
    return 0


def keep_refusals(opened: socket.socket, version: int) -> None:
    """Have a socket keep ICMP errors about what it sends, for `refusal`."""
    if version == 4:
        opened.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        opened.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)


def refusal(opened: socket.socket) -> Refusal:
    """The ICMP error that a socket has kept."""
    try:
        ancillary = opened.recvmsg(2048, 512, socket.MSG_ERRQUEUE)[1]
    except OSError:
        return Refusal()
    return Refusal(_hops(ancillary), _interface(ancillary))


def hops_taken(left: int) -> int:
    """How many hops a packet has behind it, by its remaining TTL or hop limit and what stacks usually begin with."""
    return next(first for first in _FIRST_HOPS if left <= first) - left


def new_payload(size: int = 0) -> bytes:
    """A payload that identifies one datagram or echo: a text for readers of logs, and a random token at its end.

    It has `size` bytes, if that is more than it needs.
    """
    return MARK + bytes(max(0, size - len(MARK) - _TOKEN_BYTES)) + os.urandom(_TOKEN_BYTES)


def payload_bytes(version: int, size: int) -> int:
    """How large the payload of an echo is in a packet of this size, or of one byte less: the checksum is over words."""
    return max(0, size - _IP_HEADER_BYTES[version] - _HEADER_BYTES) // 2 * 2


def do_not_fragment(opened: socket.socket, version: int) -> None:
    """Send packets whole, whatever is known of the path's MTU, or have them refused."""
    if version == 4:
        opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)


def echo_request(version: int, payload: bytes) -> bytes:
    """An ICMP echo request. The kernel fills in the checksum of ICMPv6, but not that of ICMP (RFC 1071).

    Each request has an identifier of its own: connection tracking treats echoes of one identifier as one flow, and
    translates all of them like the first.
    """
    identifier = int.from_bytes(payload[-2:], "big")
    message = struct.pack("!BBHHH", ECHO_REQUEST[version], 0, 0, identifier, 1) + payload
    if version == 6:
        return message
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return message[:2] + struct.pack("!H", checksum) + message[4:]
