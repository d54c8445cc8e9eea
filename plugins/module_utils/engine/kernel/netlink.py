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
from contextlib import suppress
from typing import TYPE_CHECKING, Dict, Iterator, List, Tuple

if TYPE_CHECKING:
    from typing_extensions import Self

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
DUMP_ATTEMPTS = 10
# The kernel sends dumps in pieces of 32 KiB at most. A larger buffer would be mapped and unmapped for each piece.
BUFFER_SIZE = 1 << 16

_MESSAGE = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_S32 = struct.Struct("=i")
# An error's code, and the header of the message that it answers.
_ERROR_BYTES = _S32.size + _MESSAGE.size

Attributes = Dict[int, bytes]


class Connection:
    """A socket of a netlink protocol, in the network namespace that the thread is in when it is opened."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._sequence = 0
        for option in (NETLINK_GET_STRICT_CHK, NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            # A kernel that does not know the first one dumps everything, whatever the request asks for.
            with suppress(OSError):
                self._socket.setsockopt(SOL_NETLINK, option, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def ask(self, kind: int, request: bytes, flags: int = 0) -> bytes:
        """
        Send one request and return the payload of its answer.

        Raises:
            OSError: the kernel refused.
        """
        self._send(kind, request, flags)
        reply, flags, payload = next(messages(self._socket.recv(BUFFER_SIZE)))
        if reply == NLMSG_ERROR:
            _raise_error(flags, payload)
        return payload

    def dump(self, kind: int, request: bytes) -> List[bytes]:
        """
        Raises:
            OSError: the kernel refused.
            BlockingIOError: what was to be listed kept changing.
        """
        for _attempt in range(DUMP_ATTEMPTS):
            self._send(kind, request, NLM_F_DUMP)
            found: List[bytes] = []
            if self._received_whole(found):
                return found
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _send(self, kind: int, request: bytes, flags: int) -> None:
        self._sequence += 1
        length = _MESSAGE.size + len(request)
        self._socket.send(_MESSAGE.pack(length, kind, NLM_F_REQUEST | flags, self._sequence, 0) + request)

    def _received_whole(self, found: List[bytes]) -> bool:
        """Receive a dump into `found`; false if the list changed meanwhile, so that something may be missing in it."""
        whole = True
        while True:
            for reply, flags, payload in messages(self._socket.recv(BUFFER_SIZE)):
                whole = whole and not flags & NLM_F_DUMP_INTR
                if reply not in (NLMSG_ERROR, NLMSG_DONE):
                    found.append(payload)
                    continue
                _raise_error(flags, payload)
                return whole


def ask(protocol: int, kind: int, request: bytes, flags: int = 0) -> bytes:
    """
    Send one request and return the payload of its answer.

    Raises:
        OSError: the kernel refused.
    """
    with Connection(protocol) as connection:
        return connection.ask(kind, request, flags)


def dump(protocol: int, kind: int, request: bytes) -> List[bytes]:
    """
    Raises:
        OSError: the kernel refused.
        BlockingIOError: what was to be listed kept changing.
    """
    with Connection(protocol) as connection:
        return connection.dump(kind, request)


def _raise_error(flags: int, payload: bytes) -> None:
    code = -_S32.unpack_from(payload)[0]
    if code:
        details = attributes(payload, _ERROR_BYTES) if flags & NLM_F_ACK_TLVS and flags & NLM_F_CAPPED else {}
        text = details.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode("utf-8", "replace")
        raise OSError(code, f"{os.strerror(code)} ({text})" if text else os.strerror(code))


def messages(data: bytes) -> Iterator[Tuple[int, int, bytes]]:
    at = 0
    while at + _MESSAGE.size <= len(data):
        length, kind, flags, _sequence, _port_id = _MESSAGE.unpack_from(data, at)
        yield kind, flags, data[at + _MESSAGE.size : at + length]
        at += aligned(length)


def nested(kind: int, value: bytes) -> bytes:
    """An attribute that has others in it."""
    return attribute(kind | NLA_F_NESTED, value)


def pack_address(address: str) -> Tuple[int, bytes]:
    """An address as the kernel has it: its family and its bytes."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


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
    """An attribute of a message. The next one begins at a multiple of four bytes."""
    whole = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
    return whole.ljust(aligned(len(whole)), b"\0")


def aligned(length: int) -> int:
    return (length + 3) & ~3
