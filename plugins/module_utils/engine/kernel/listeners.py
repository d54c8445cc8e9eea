# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sockets of this network namespace that listen."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from typing import Iterator, NamedTuple, Tuple

from . import disk
from .netlink import dump

# <linux/sock_diag.h>, and <net/tcp_states.h>.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
TCP_LISTEN, TCP_CLOSE = 10, 7

# <linux/inet_diag.h>: inet_diag_req_v2 less the socket, any of which will do; of inet_diag_msg its source and inode.
_REQUEST = struct.Struct("=BBxxI48x")
_SOURCE = struct.Struct("!4xH2x16s")
_INODE = struct.Struct("=68xI")


class Listener(NamedTuple):
    """A socket that listens. Its inode leads to the processes that have it open."""

    protocol: str
    address: str
    port: int
    inode: int


def listeners() -> Iterator[Tuple[str, str, int]]:
    """The protocol, address and port of each socket that listens."""
    return ((each.protocol, each.address, each.port) for each in listening_sockets())


def listening_sockets() -> Iterator[Listener]:
    """A socket of UDP listens if it has no peer."""
    try:
        yield from [*_dumped(socket.AF_INET), *_dumped(socket.AF_INET6)]
    except OSError:
        # A kernel without tcp_diag. It has walked all connections that there could be when it has listed its listeners.
        yield from [*_listed("tcp", TCP_LISTEN), *_listed("tcp6", TCP_LISTEN)]
    yield from [*_listed("udp", TCP_CLOSE), *_listed("udp6", TCP_CLOSE)]


def _dumped(family: int) -> Iterator[Listener]:
    """Those of TCP.

    Raises:
        OSError: this kernel does not report them.
    """
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << TCP_LISTEN)
    for message in dump(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, request):
        port, address = _SOURCE.unpack_from(message)
        (inode,) = _INODE.unpack_from(message)
        yield Listener("tcp", socket.inet_ntop(family, address[: 16 if family == socket.AF_INET6 else 4]), port, inode)


def _listed(protocol: str, state: int) -> Iterator[Listener]:
    # There is none where the kernel has no such protocol.
    for line in disk.content_of(f"/proc/self/net/{protocol}").splitlines()[1:]:
        words = line.split()
        if int(words[3], 16) == state:
            address, _colon, port = words[1].partition(":")
            yield Listener(protocol[:3], _address(address), int(port, 16), int(words[9]))


def _address(hexadecimal: str) -> str:
    """The kernel prints an address as 32-bit words of the machine's own byte order."""
    words = [int(hexadecimal[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(hexadecimal), 8)]
    return str(ipaddress.ip_address(b"".join(words)))
