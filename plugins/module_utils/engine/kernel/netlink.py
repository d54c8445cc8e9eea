# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's netlink protocol by the standard library alone: messages, attributes, dumps and requests.

Names of constants are those of linux/netlink.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import contextmanager, suppress
from typing import Dict, Iterator, List, Tuple

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
SOL_NETLINK, NETLINK_GET_STRICT_CHK = 270, 12
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
DUMP_ATTEMPTS = 10
BUFFER_SIZE = 1 << 18

_MESSAGE = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_S32 = struct.Struct("=i")

Attributes = Dict[int, bytes]


def ask(protocol: int, kind: int, request: bytes, flags: int = 0) -> bytes:
    """
    Send one request and return the payload of its answer.

    Raises:
        OSError: the kernel refused.
    """
    with _opened(protocol) as netlink:
        netlink.send(_MESSAGE.pack(_MESSAGE.size + len(request), kind, NLM_F_REQUEST | flags, 1, 0) + request)
        reply, _flags, payload = next(messages(netlink.recv(BUFFER_SIZE)))
    if reply == NLMSG_ERROR:
        _raise_error(payload)
    return payload


def dump(protocol: int, kind: int, request: bytes) -> List[bytes]:
    """
    Raises:
        OSError: the kernel refused.
        BlockingIOError: what was to be listed kept changing.
    """
    with _opened(protocol) as netlink:
        for sequence in range(1, DUMP_ATTEMPTS + 1):
            found: List[bytes] = []
            if _dumped(netlink, sequence, kind, request, found):
                return found
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _dumped(netlink: socket.socket, sequence: int, kind: int, request: bytes, found: List[bytes]) -> bool:
    """Dump into `found`; false if the list changed meanwhile, so that something may be missing in it."""
    length = _MESSAGE.size + len(request)
    netlink.send(_MESSAGE.pack(length, kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0) + request)
    whole = True
    while True:
        for reply, flags, payload in messages(netlink.recv(BUFFER_SIZE)):
            whole = whole and not flags & NLM_F_DUMP_INTR
            if reply not in (NLMSG_ERROR, NLMSG_DONE):
                found.append(payload)
                continue
            _raise_error(payload)
            return whole


def _raise_error(payload: bytes) -> None:
    code = -_S32.unpack_from(payload)[0]
    if code:
        raise OSError(code, os.strerror(code))


@contextmanager
def _opened(protocol: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as netlink:
        # Where the kernel knows it, it filters by what the request says; elsewhere it dumps everything.
        with suppress(OSError):
            netlink.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        yield netlink


def messages(data: bytes) -> Iterator[Tuple[int, int, bytes]]:
    at = 0
    while at + _MESSAGE.size <= len(data):
        length, kind, flags, _sequence, _port_id = _MESSAGE.unpack_from(data, at)
        yield kind, flags, data[at + _MESSAGE.size : at + length]
        at += aligned(length)


def attributes(data: bytes, at: int = 0) -> Attributes:
    found = {}
    end = len(data) - _ATTRIBUTE.size
    # The one loop that a dump spends its time in.
    while at <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        found[kind & NLA_TYPE_MASK] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def values(data: bytes) -> Iterator[bytes]:
    """Those of a list of attributes that are all of one kind."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, _kind = _ATTRIBUTE.unpack_from(data, at)
        yield data[at + _ATTRIBUTE.size : at + length]
        at += aligned(length)


def attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def aligned(length: int) -> int:
    return (length + 3) & ~3
