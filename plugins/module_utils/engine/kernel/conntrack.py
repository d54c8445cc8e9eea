# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection tracking: the flows that the kernel knows, and forgetting some of them.

Names of constants are those of linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from contextlib import suppress
from typing import Callable, Collection, Iterator, NamedTuple, Tuple

from .netlink import NLA_F_NESTED, NLM_F_ACK, Attributes, ask, attribute, attributes, dump

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID = 1, 2, 12
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_PROTO_NUM, _CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT = 1, 2, 3
_CTA_IP_V4_SRC, _CTA_IP_V4_DST, _CTA_IP_V6_SRC, _CTA_IP_V6_DST = 1, 2, 3, 4
_OF_ANY_FAMILY = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
_HEADER_BYTES = len(_OF_ANY_FAMILY)


class Flow(NamedTuple):
    """Who sent a flow's first packet, by which protocol, to which address and port; and which these answer from."""

    source: bytes
    address: bytes
    protocol: int
    port: int
    answering: bytes
    answering_port: int

    @property
    def is_translated(self) -> bool:
        """Whether it leads elsewhere than to where it was sent."""
        return (self.answering, self.answering_port) != (self.address, self.port)


def forget(is_stale: Callable[[Flow], bool]) -> None:
    """Delete the entries of these flows.

    Raises:
        OSError: the kernel refused.
    """
    for header, entry in _entries():
        if is_stale(_flow(entry)):
            _delete(header, entry)


def forget_addresses(addresses: Collection[str]) -> None:
    """Delete the entries of all flows from and to these: who gets one of them must not get what was for another.

    Raises:
        OSError: the kernel refused.
    """
    if not addresses:
        return
    gone = {ipaddress.ip_address(address).packed for address in addresses}
    for header, entry in _entries():
        ends = {end for which in (_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY) for end in _addresses(_direction(entry, which))}
        if ends & gone:
            _delete(header, entry)


def _entries() -> Iterator[Tuple[bytes, Attributes]]:
    """All that is tracked, each with the header of its message, which names its family."""
    for message in dump(_NETLINK_NETFILTER, _GET, _OF_ANY_FAMILY):
        yield message[:_HEADER_BYTES], attributes(message, _HEADER_BYTES)


def _direction(entry: Attributes, which: int) -> Attributes:
    """A flow as it began, or as its answers are."""
    return attributes(entry.get(which, b""))


def _addresses(direction: Attributes) -> Tuple[bytes, bytes]:
    """Source and destination."""
    addresses = attributes(direction.get(_CTA_TUPLE_IP, b""))
    return (
        addresses.get(_CTA_IP_V4_SRC) or addresses.get(_CTA_IP_V6_SRC, b""),
        addresses.get(_CTA_IP_V4_DST) or addresses.get(_CTA_IP_V6_DST, b""),
    )


def _flow(entry: Attributes) -> Flow:
    original, reply = _direction(entry, _CTA_TUPLE_ORIG), _direction(entry, _CTA_TUPLE_REPLY)
    protocol, answering = (attributes(each.get(_CTA_TUPLE_PROTO, b"")) for each in (original, reply))
    return Flow(
        *_addresses(original),
        protocol.get(_CTA_PROTO_NUM, b"\0")[0],
        int.from_bytes(protocol.get(_CTA_PROTO_DST_PORT, b""), "big"),
        _addresses(reply)[0],
        int.from_bytes(answering.get(_CTA_PROTO_SRC_PORT, b""), "big"),
    )


def _delete(header: bytes, entry: Attributes) -> None:
    request = header + attribute(_CTA_TUPLE_ORIG | NLA_F_NESTED, entry[_CTA_TUPLE_ORIG])
    if _CTA_ID in entry:
        request += attribute(_CTA_ID, entry[_CTA_ID])
    # It may have ended by itself meanwhile.
    with suppress(FileNotFoundError):
        ask(_NETLINK_NETFILTER, _DELETE, request, NLM_F_ACK)
