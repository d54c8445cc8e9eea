# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Announce to a network that addresses have come to an interface.

Addresses and MACs get reused; who still remembers where one was before would send there for minutes.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Callable, Iterable, Iterator, List

ETH_P_ARP, ETH_P_IPV6 = 0x0806, 0x86DD
BROADCAST = b"\xff" * 6
ALL_NODES_MAC, ALL_NODES = bytes.fromhex("333300000001"), socket.inet_pton(socket.AF_INET6, "ff02::1")
ARP_ETHERNET, ARP_REQUEST = 1, 1
ICMPV6, ND_NEIGHBOR_ADVERT, ND_OPT_TARGET_LINKADDR = 58, 136, 2
ND_FLAG_OVERRIDE = 0x20000000
ND_HOP_LIMIT = 255
CLOSING_THREADS = 64


@contextmanager
def packet_sockets() -> Iterator[Callable[[], socket.socket]]:
    """A function that opens a socket in the namespace which the thread is in then; all are closed at the end.

    Each close waits some 10 ms for the kernel to quiesce, and those that wait at the same time wait together.
    """
    opened: List[socket.socket] = []

    def open_one() -> socket.socket:
        opened.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        return opened[-1]

    def close_some(start: int) -> None:
        for packets in opened[start::CLOSING_THREADS]:
            packets.close()

    try:
        yield open_one
    finally:
        threads = [Thread(target=close_some, args=(n,)) for n in range(min(len(opened), CLOSING_THREADS))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def announce(packets: socket.socket, interface: str, mac: str, addresses: Iterable[str]) -> None:
    """Send one announcement of each `ADDRESS/PREFIX` from the interface.

    It is a courtesy, so it does not matter when it cannot be sent.
    """
    for address in addresses:
        with suppress(OSError):
            packets.sendto(announcement(mac, address.partition("/")[0]), (interface, 0))


def announcement(mac: str, address: str) -> bytes:
    """The Ethernet frame that announces the address: RFC 5227 section 3, RFC 4861 section 7.2.6."""
    sender = bytes.fromhex(mac.replace(":", ""))
    target = ipaddress.ip_address(address)
    return _gratuitous_arp(sender, target.packed) if target.version == 4 else _unsolicited_na(sender, target.packed)


def _gratuitous_arp(mac: bytes, address: bytes) -> bytes:
    arp = struct.pack("!HHBBH", ARP_ETHERNET, 0x0800, len(mac), len(address), ARP_REQUEST)
    return _ethernet(BROADCAST, mac, ETH_P_ARP) + arp + mac + address + bytes(6) + address


def _unsolicited_na(mac: bytes, address: bytes) -> bytes:
    option = struct.pack("!BB", ND_OPT_TARGET_LINKADDR, 1) + mac
    body = struct.pack("!I", ND_FLAG_OVERRIDE) + address + option
    length = 4 + len(body)
    pseudo_header = address + ALL_NODES + struct.pack("!II", length, ICMPV6)
    checksum = _checksum(pseudo_header + struct.pack("!BBH", ND_NEIGHBOR_ADVERT, 0, 0) + body)
    ip = struct.pack("!IHBB", 6 << 28, length, ICMPV6, ND_HOP_LIMIT) + address + ALL_NODES
    icmp = struct.pack("!BBH", ND_NEIGHBOR_ADVERT, 0, checksum) + body
    return _ethernet(ALL_NODES_MAC, mac, ETH_P_IPV6) + ip + icmp


def _ethernet(destination: bytes, source: bytes, protocol: int) -> bytes:
    return destination + source + struct.pack("!H", protocol)


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
