# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel has of a link of WireGuard, and changes of it, by generic netlink (linux/wireguard.h, whose names the
constants have).

pyroute2 can write to such a link, one peer in a message. To read it takes its own decoder, since a run that
changes nothing does not load pyroute2; and with the constants at hand, what writes is the smaller half.
"""

from __future__ import annotations

import base64
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Dict, Iterable, Iterator, Sequence, Tuple

from .netlink import NLM_F_ACK, Connection, attribute, attributes, nested, pack_address, values

NETLINK_GENERIC, GENL_ID_CTRL, CTRL_CMD_GETFAMILY = 16, 0x10, 3
CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 1, 2
WG_CMD_GET_DEVICE, WG_CMD_SET_DEVICE, WG_GENL_VERSION = 0, 1, 1
WGDEVICE_A_IFINDEX, WGDEVICE_A_PRIVATE_KEY, WGDEVICE_A_PUBLIC_KEY = 1, 3, 4
WGDEVICE_A_LISTEN_PORT, WGDEVICE_A_PEERS = 6, 8
WGPEER_A_PUBLIC_KEY, WGPEER_A_FLAGS, WGPEER_A_ENDPOINT = 1, 3, 4
WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, WGPEER_A_LAST_HANDSHAKE_TIME, WGPEER_A_ALLOWEDIPS = 5, 6, 9
WGALLOWEDIP_A_FAMILY, WGALLOWEDIP_A_IPADDR, WGALLOWEDIP_A_CIDR_MASK = 1, 2, 3
WGPEER_F_REMOVE_ME, WGPEER_F_REPLACE_ALLOWEDIPS = 1, 2

# In bytes.
KEY_SIZE = 32

# In bytes. All peers of a message are in one attribute, and all prefixes of a peer in one of those; the length of an
# attribute has 16 bits.
_PEERS_SIZE = 1 << 15
_PREFIXES_AT_ONCE = 500

_GENERIC_HEADER = struct.Struct("=BBxx")
# Of an endpoint, by its family.
_LAYOUTS: Dict[int, struct.Struct] = {
    socket.AF_INET: struct.Struct("=H2s4s8x"),
    socket.AF_INET6: struct.Struct("=H2s4x16s4x"),
}
_U16, _U32, _U64 = struct.Struct("=H"), struct.Struct("=I"), struct.Struct("=q")


@dataclass(frozen=True)
class PeerInfo:
    """A peer, by its public key: its endpoint, empty where none is known, or where it is to stay what it is; the
    prefixes that are behind it; after how many seconds without a packet to it one is sent, 0 for never; and when both
    last agreed on a session, in seconds since 1970, 0 for never.
    """

    public_key: str
    address: str = ""
    port: int = 0
    allowed: Tuple[str, ...] = ()
    keepalive: int = 0
    handshake: int = field(default=0, compare=False)


@dataclass(frozen=True)
class DeviceInfo:
    """A link of WireGuard; `public_key` is empty as long as it has no private one."""

    public_key: str = ""
    port: int = 0
    peers: Tuple[PeerInfo, ...] = ()
    private_key: bytes = field(default=b"", repr=False, compare=False)


class WireGuardNetlink(Connection):
    """Reads and changes links of WireGuard in the network namespace that the thread is in when this is opened.

    Raises:
        FileNotFoundError: the kernel has no WireGuard, or cannot load its module.
    """

    def __init__(self) -> None:
        super().__init__(NETLINK_GENERIC)
        request = _GENERIC_HEADER.pack(CTRL_CMD_GETFAMILY, 1) + attribute(CTRL_ATTR_FAMILY_NAME, b"wireguard\0")
        try:
            # The kernel loads the module for this.
            answer = attributes(self.ask(GENL_ID_CTRL, request), _GENERIC_HEADER.size)
        except OSError:
            self.__exit__()
            raise
        self._family = _U16.unpack(answer[CTRL_ATTR_FAMILY_ID])[0]

    def device(self, index: int) -> DeviceInfo:
        request = _GENERIC_HEADER.pack(WG_CMD_GET_DEVICE, WG_GENL_VERSION) + _index(index)
        return parse_device(self.dump(self._family, request))

    def set_device(
        self,
        index: int,
        private_key: bytes = b"",
        port: int = 0,
        peers: Sequence[PeerInfo] = (),
        gone: Sequence[str] = (),
    ) -> None:
        """Set what is given. `peers` are added, or become what is given; those whose keys are `gone` go.

        Raises:
            OSError: the kernel refused.
        """
        of_link = attribute(WGDEVICE_A_PRIVATE_KEY, private_key) if private_key else b""
        of_link += attribute(WGDEVICE_A_LISTEN_PORT, _U16.pack(port)) if port else b""
        pieces = [*map(_removal, gone), *(piece for peer in peers for piece in _pieces(peer))]
        for some in _together(pieces):
            request = _GENERIC_HEADER.pack(WG_CMD_SET_DEVICE, WG_GENL_VERSION) + _index(index) + of_link
            self.ask(self._family, request + (nested(WGDEVICE_A_PEERS, some) if some else b""), NLM_F_ACK)
            of_link = b""


def require_wireguard() -> None:
    """
    Raises:
        FileNotFoundError: the kernel has no WireGuard, or cannot load its module.
    """
    with WireGuardNetlink():
        pass


def is_known() -> bool:
    with suppress(OSError):
        require_wireguard()
        return True
    return False


def parse_device(messages: Sequence[bytes]) -> DeviceInfo:
    """A long list comes in several messages, and of a peer with many prefixes the rest in the next one."""
    device = DeviceInfo()
    peers: Dict[str, PeerInfo] = {}
    for message in messages:
        found = attributes(message, _GENERIC_HEADER.size)
        port = found.get(WGDEVICE_A_LISTEN_PORT)
        if port:
            public, private = found.get(WGDEVICE_A_PUBLIC_KEY), found.get(WGDEVICE_A_PRIVATE_KEY, b"")
            device = DeviceInfo(as_text(public) if public else "", _U16.unpack(port)[0], private_key=private)
        for each in values(found.get(WGDEVICE_A_PEERS, b"")):
            peer = _parse_peer(each)
            begun = peers.get(peer.public_key)
            peers[peer.public_key] = replace(begun, allowed=begun.allowed + peer.allowed) if begun else peer
    return replace(device, peers=tuple(peers.values()))


def _parse_peer(data: bytes) -> PeerInfo:
    found = attributes(data)
    address, port = _parse_endpoint(found.get(WGPEER_A_ENDPOINT, b""))
    allowed = [_parse_prefix(each) for each in values(found.get(WGPEER_A_ALLOWEDIPS, b""))]
    time = found.get(WGPEER_A_LAST_HANDSHAKE_TIME)
    return PeerInfo(
        as_text(found[WGPEER_A_PUBLIC_KEY]),
        address,
        port,
        tuple(allowed),
        keepalive=_U16.unpack(found.get(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, b"\0\0"))[0],
        handshake=_U64.unpack_from(time)[0] if time else 0,
    )


def _parse_endpoint(data: bytes) -> Tuple[str, int]:
    if not data:
        return "", 0
    family = _U16.unpack_from(data)[0]
    layout = _LAYOUTS[family]
    _family, port, address = layout.unpack(data[: layout.size])
    return socket.inet_ntop(family, address), int.from_bytes(port, "big")


def _parse_prefix(data: bytes) -> str:
    found = attributes(data)
    family = _U16.unpack(found[WGALLOWEDIP_A_FAMILY])[0]
    return f"{socket.inet_ntop(family, found[WGALLOWEDIP_A_IPADDR])}/{found[WGALLOWEDIP_A_CIDR_MASK][0]}"


def _pieces(peer: PeerInfo) -> Iterator[bytes]:
    """The attributes that make a peer what is given, whatever it was; a peer with many prefixes comes in pieces."""
    key = attribute(WGPEER_A_PUBLIC_KEY, base64.b64decode(peer.public_key))
    for first in range(0, len(peer.allowed) or 1, _PREFIXES_AT_ONCE):
        some = b"".join(nested(0, _prefix(each)) for each in peer.allowed[first : first + _PREFIXES_AT_ONCE])
        yield key + (b"" if first else _settings(peer)) + nested(WGPEER_A_ALLOWEDIPS, some)


def _settings(peer: PeerInfo) -> bytes:
    return b"".join([
        attribute(WGPEER_A_ENDPOINT, _endpoint(peer)) if peer.address else b"",
        attribute(WGPEER_A_FLAGS, _U32.pack(WGPEER_F_REPLACE_ALLOWEDIPS)),
        attribute(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, _U16.pack(peer.keepalive)),
    ])  # fmt: skip


def _endpoint(peer: PeerInfo) -> bytes:
    family, address = pack_address(peer.address)
    return _LAYOUTS[family].pack(family, peer.port.to_bytes(2, "big"), address)


def _together(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The peers of each message; one without any where there are none."""
    some = b""
    for piece in pieces:
        peer = nested(0, piece)
        if some and len(some) + len(peer) > _PEERS_SIZE:
            yield some
            some = b""
        some += peer
    yield some


def _removal(public_key: str) -> bytes:
    key = attribute(WGPEER_A_PUBLIC_KEY, base64.b64decode(public_key))
    return key + attribute(WGPEER_A_FLAGS, _U32.pack(WGPEER_F_REMOVE_ME))


def _prefix(prefix: str) -> bytes:
    plain, _slash, length = prefix.partition("/")
    family, address = pack_address(plain)
    return b"".join([
        attribute(WGALLOWEDIP_A_FAMILY, _U16.pack(family)),
        attribute(WGALLOWEDIP_A_IPADDR, address),
        attribute(WGALLOWEDIP_A_CIDR_MASK, bytes([int(length)])),
    ])  # fmt: skip


def as_bytes(text: str) -> bytes:
    """
    Raises:
        ValueError: that is no key.
    """
    key = base64.b64decode(text.strip(), validate=True)
    if len(key) != KEY_SIZE:
        raise ValueError(f"{len(key)} bytes")
    return key


def as_text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _index(index: int) -> bytes:
    return attribute(WGDEVICE_A_IFINDEX, _U32.pack(index))
