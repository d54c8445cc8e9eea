# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection tracking: forgetting flows whose translation has changed, or that are no longer allowed.

The first packet of a flow decides how all its packets are translated. So after a port is published, withdrawn or
moved, its old flows would go on as before; those of UDP for as long as somebody sends. And what is established, passes.
Names of constants are those of linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from contextlib import suppress
from typing import Collection, Dict, Iterable, List, NamedTuple, Tuple

from ..declaration.words import Subnet
from ..kernel import rtnetlink
from ..kernel.netlink import NLA_F_NESTED, NLM_F_ACK, Attributes, ask, attribute, attributes, dump

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID = 1, 2, 12
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 1, 3
_CTA_IP_V4_SRC, _CTA_IP_V4_DST, _CTA_IP_V6_SRC, _CTA_IP_V6_DST = 1, 2, 3, 4
_LOOPBACK = b"\x7f"
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_HEADER_BYTES = 4

# The protocol's number and the port that the flow was first sent to.
PublishedPort = Tuple[int, int]


class Narrowed(NamedTuple):
    """A port, of one address or of all that the host has in a family, that is only for some sources now."""

    version: int
    port: PublishedPort
    address: bytes
    allowed: Tuple[Subnet, ...]


class _Flow(NamedTuple):
    """A flow's first packet: who sent it, and to which address and port."""

    source: bytes
    address: bytes
    port: PublishedPort


def forget(ports: Collection[PublishedPort], narrowed: Iterable[Narrowed] = ()) -> None:
    """Delete the entries of all flows that were first sent to one of these ports of the host itself.

    What only passes through the host, to the same port of another, is left alone. Of flows to a narrowed port, those
    of sources that are still allowed, and the host's own, stay.

    Raises:
        OSError: the kernel refused.
    """
    by_port: Dict[PublishedPort, List[Narrowed]] = {}
    for each in narrowed:
        by_port.setdefault(each.port, []).append(each)
    if not ports and not by_port:
        return
    local = {ipaddress.ip_interface(each.address).ip.packed for each in rtnetlink.addresses()}
    for family in _FAMILIES:
        header = struct.pack("=BBH", family, 0, 0)
        for message in dump(_NETLINK_NETFILTER, _GET, header):
            entry = attributes(message, _HEADER_BYTES)
            flow = _flow(entry)
            moved = flow.port in ports and _is_local(flow.address, local)
            if moved or any(_is_barred(flow, each, local) for each in by_port.get(flow.port, ())):
                _delete(header, entry)


def forget_addresses(addresses: Collection[str]) -> None:
    """Delete the entries of all flows from and to these: who gets one of them must not get what was for another.

    Raises:
        OSError: the kernel refused.
    """
    if not addresses:
        return
    gone = {ipaddress.ip_address(address).packed for address in addresses}
    for family in _FAMILIES:
        header = struct.pack("=BBH", family, 0, 0)
        for message in dump(_NETLINK_NETFILTER, _GET, header):
            entry = attributes(message, _HEADER_BYTES)
            ends = {end for which in (_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY) for end in _addresses(entry, which)}
            if ends & gone:
                _delete(header, entry)


def _addresses(entry: Attributes, which: int) -> Tuple[bytes, bytes]:
    """Source and destination of a flow, as it began or as its answers are."""
    addresses = attributes(attributes(entry.get(which, b"")).get(_CTA_TUPLE_IP, b""))
    return (
        addresses.get(_CTA_IP_V4_SRC) or addresses.get(_CTA_IP_V6_SRC, b""),
        addresses.get(_CTA_IP_V4_DST) or addresses.get(_CTA_IP_V6_DST, b""),
    )


def _is_local(address: bytes, local: Collection[bytes]) -> bool:
    return address in local or address[:1] == _LOOPBACK


def _is_barred(flow: _Flow, narrowed: Narrowed, local: Collection[bytes]) -> bool:
    to_it = flow.address == narrowed.address if narrowed.address else _is_local(flow.address, local)
    if not to_it or _is_local(flow.source, local):
        return False
    source = ipaddress.ip_address(flow.source)
    return source.version == narrowed.version and not any(source in network for network in narrowed.allowed)


def _flow(entry: Attributes) -> _Flow:
    original = attributes(entry.get(_CTA_TUPLE_ORIG, b""))
    protocol = attributes(original.get(_CTA_TUPLE_PROTO, b""))
    number = protocol.get(_CTA_PROTO_NUM, b"\0")[0]
    port = int.from_bytes(protocol.get(_CTA_PROTO_DST_PORT, b""), "big")
    return _Flow(*_addresses(entry, _CTA_TUPLE_ORIG), (number, port))


def _delete(header: bytes, entry: Attributes) -> None:
    request = header + attribute(_CTA_TUPLE_ORIG | NLA_F_NESTED, entry[_CTA_TUPLE_ORIG])
    if _CTA_ID in entry:
        request += attribute(_CTA_ID, entry[_CTA_ID])
    # It may have ended by itself meanwhile.
    with suppress(FileNotFoundError):
        ask(_NETLINK_NETFILTER, _DELETE, request, NLM_F_ACK)
