# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of WireGuard are those that pyroute2 makes of the same values, public keys are those of RFC 7748, and peers
that move are no difference.
"""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyroute2.netlink.generic.wireguard import wgmsg

from ansible_collections.wharf.network.plugins.module_utils.engine import ledger
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import wireguard
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.curve25519 import public_key
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.netlink import attributes, values
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.wireguard import (
    DeviceInfo,
    PeerInfo,
    WireGuardNetlink,
    parse_device,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.layers import DOCKER_CHAINS, LAYERS
from ansible_collections.wharf.network.plugins.module_utils.engine.ledger import Ledger
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links import wireguard_key
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links.stacks import StackReader
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links.wireguard import (
    SESSION,
    PeerEndpoints,
    as_info,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.state import Digest, WireGuardPeer
from ansible_collections.wharf.network.plugins.module_utils.engine.unconfirmed import Reverted

PRIVATE = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
KEYS = [wireguard.as_text(bytes([number]) * 32) for number in range(1, 256)]

PEERS = [
    PeerInfo(KEYS[0], "192.0.2.2", 51820, ("10.20.2.0/24", "fd00:20:0:2::/64"), keepalive=25),
    PeerInfo(KEYS[1], "2001:db8::3", 4000, ("10.20.3.0/24",)),
]


def test_public_keys_are_those_of_the_rfc() -> None:
    assert public_key(PRIVATE) == PUBLIC
    # What is set of a private key, and what is not, makes no difference (section 5 of RFC 7748).
    assert public_key(bytes([PRIVATE[0] & ~7]) + PRIVATE[1:31] + bytes([PRIVATE[31] | 64])) == PUBLIC


def plain(data: bytes, of: str = "device") -> dict[int, Any]:
    """The attributes of a message, with what is nested in them."""
    found: dict[int, Any] = dict(attributes(data))
    lists, inner = {"device": (8, "peer"), "peer": (9, "prefix"), "prefix": (0, "")}[of]
    if lists in found:
        found[lists] = [plain(each, inner) for each in values(found[lists])]
    return found


def of_pyroute2(**given: Any) -> bytes:
    message = wgmsg()
    message["attrs"] = [[f"WGDEVICE_A_{name}", value] for name, value in given.items()]
    message.encode()
    return bytes(message.data[20:])


def peer_of_pyroute2(peer: PeerInfo, **more: Any) -> dict[str, Any]:
    families = [socket.AF_INET6 if ":" in each else socket.AF_INET for each in peer.allowed]
    allowed = [
        {
            "attrs": [
                ["WGALLOWEDIP_A_FAMILY", family],
                ["WGALLOWEDIP_A_IPADDR", socket.inet_pton(family, prefix.split("/")[0])],
                ["WGALLOWEDIP_A_CIDR_MASK", int(prefix.split("/")[1])],
            ]
        }
        for family, prefix in zip(families, peer.allowed, strict=True)
    ]
    attrs = [
        ["WGPEER_A_PUBLIC_KEY", peer.public_key],
        ["WGPEER_A_ENDPOINT", {"addr": peer.address, "port": peer.port}],
        ["WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", peer.keepalive],
        *([f"WGPEER_A_{name}", value] for name, value in more.items()),
        ["WGPEER_A_ALLOWEDIPS", allowed],
    ]
    return {"attrs": attrs}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The messages that are sent, without the header of generic netlink."""
    found: list[bytes] = []

    def ask(_self: object, _kind: int, request: bytes, _flags: int = 0) -> bytes:
        found.append(request[4:])
        return b"\0" * 4 + b"\6\0\1\0\x1d\0\0\0"

    monkeypatch.setattr(WireGuardNetlink, "ask", ask)
    return found


def test_changes_are_those_of_pyroute2(sent: list[bytes]) -> None:
    with WireGuardNetlink() as netlink:
        del sent[:]
        netlink.set_device(7, PRIVATE, 51820, PEERS, gone=[KEYS[2]])
    gone = {"attrs": [["WGPEER_A_PUBLIC_KEY", KEYS[2]], ["WGPEER_A_FLAGS", 1]]}
    expected = of_pyroute2(
        IFINDEX=7,
        PRIVATE_KEY=wireguard.as_text(PRIVATE),
        LISTEN_PORT=51820,
        PEERS=[gone, *(peer_of_pyroute2(peer, FLAGS=2) for peer in PEERS)],
    )
    assert [plain(message) for message in sent] == [plain(expected)]


def test_a_peer_that_is_where_it_was_is_not_sent_elsewhere(sent: list[bytes]) -> None:
    """It may have moved since it was declared, and gets another slice now."""
    before = WireGuardPeer(KEYS[0], "192.0.2.2", 51820, ("10.20.2.0/24",), 25)
    after = replace(before, slices=("10.20.2.0/24", "10.21.2.0/24"))
    with WireGuardNetlink() as netlink:
        for known, address in ((before, ""), (None, "192.0.2.2"), (replace(before, address="192.0.2.9"), "192.0.2.2")):
            del sent[:]
            netlink.set_device(7, peers=[as_info(after, known)])
            (peer,) = parse_device([b"\0" * 4 + sent[0]]).peers
            assert (peer.address, peer.allowed) == (address, after.slices)


@pytest.mark.parametrize(("count", "networks"), [(250, 1), (100, 9), (3, 1500), (0, 0)])
def test_many_peers_go_in_several_messages(sent: list[bytes], count: int, networks: int) -> None:
    """The length of an attribute has 16 bits, whether a host has many peers, or these have many slices."""
    slices = [each for number in range(networks) for each in (f"10.{number % 250}.0.0/24", f"fd00:{number + 1:x}::/64")]
    peers = [PeerInfo(key, "192.0.2.2", 1, tuple(slices), keepalive=25) for key in KEYS[:count]]
    with WireGuardNetlink() as netlink:
        del sent[:]
        netlink.set_device(7, PRIVATE, peers=peers)
    assert all(len(message) < 1 << 16 for message in sent)
    assert [3 in plain(message) for message in sent] == [True, *([False] * (len(sent) - 1))]
    pieces = [piece for message in sent for piece in plain(message).get(8, [])]
    assert [piece[1] for piece in pieces if 4 in piece] == [wireguard.as_bytes(peer.public_key) for peer in peers]
    # What goes on with a peer must not take away what came before.
    assert all((3 in piece) == (4 in piece) for piece in pieces)
    found = parse_device([b"\0" * 4 + message for message in sent])
    assert list(found.peers) == peers


def test_what_is_listed_is_what_pyroute2_would_have_set() -> None:
    """A peer with more prefixes than a message has room for goes on in the next one, with its key alone."""
    head = b"\0" * 4
    first = of_pyroute2(
        IFINDEX=7,
        PRIVATE_KEY=wireguard.as_text(PRIVATE),
        PUBLIC_KEY=wireguard.as_text(PUBLIC),
        LISTEN_PORT=51820,
        PEERS=[peer_of_pyroute2(peer) for peer in PEERS],
    )
    rest = peer_of_pyroute2(PeerInfo(KEYS[1], "2001:db8::3", 4000, ("10.30.3.0/24",)))
    rest["attrs"] = [each for each in rest["attrs"] if each[0] != "WGPEER_A_ENDPOINT"]
    found = parse_device([head + first, head + of_pyroute2(IFINDEX=7, PEERS=[rest])])
    both = PeerInfo(KEYS[1], "2001:db8::3", 4000, ("10.20.3.0/24", "10.30.3.0/24"))
    assert found == DeviceInfo(wireguard.as_text(PUBLIC), 51820, (PEERS[0], both))
    assert found.private_key == PRIVATE
    assert wireguard.as_text(PRIVATE) not in repr(found) and str(PRIVATE) not in repr(found)
    assert parse_device([head + of_pyroute2(IFINDEX=7, LISTEN_PORT=0)]) == DeviceInfo()


# Where peers are

DECLARED = WireGuardPeer(KEYS[0], "192.0.2.2", 51820, ("10.20.2.0/24",), 25)
MOVED = PeerInfo(KEYS[0], "203.0.113.9", 40000, ("10.20.2.0/24",), keepalive=25)
GIVEN = Digest(f"{KEYS[0]}@192.0.2.2:51820 {KEYS[1]}@192.0.2.3:51820")


def observed(endpoints: PeerEndpoints, age: float) -> str:
    """Where a peer is said to be that sends from elsewhere than declared, and was heard of so many seconds ago."""
    moved = PeerInfo(**{**vars(MOVED), "handshake": int(time.time() - age)})
    return endpoints.observed(moved, [DECLARED]).endpoint


def test_a_peer_that_sends_from_elsewhere_is_where_it_says() -> None:
    """As from behind a NAT. WireGuard follows it by itself, and nothing is to be changed."""
    assert observed(PeerEndpoints([GIVEN]), age=5) == DECLARED.endpoint
    assert PeerEndpoints([GIVEN]).observed(MOVED, []).endpoint == "203.0.113.9:40000"


def test_a_peer_that_is_not_heard_of_is_looked_for_where_it_is_declared() -> None:
    assert observed(PeerEndpoints([GIVEN]), age=SESSION + 5) == "203.0.113.9:40000"
    assert PeerEndpoints([GIVEN]).observed(MOVED, [DECLARED]).endpoint == "203.0.113.9:40000"


@pytest.mark.parametrize("before", [[], [Digest(f"{KEYS[0]}@192.0.2.7:51820")], [GIVEN, Digest("")]])
def test_a_declared_address_that_is_new_is_set(before: list[Digest]) -> None:
    """Also where a run was killed that was about to set it."""
    assert observed(PeerEndpoints(before), age=5) == "203.0.113.9:40000"


def test_a_peer_that_moves_in_the_middle_of_a_run_does_not_make_it_fail() -> None:
    """And where the run is rolled back, what was there before is set."""
    endpoints = PeerEndpoints()
    endpoints.note([DECLARED])
    assert observed(endpoints, age=0) == DECLARED.endpoint
    assert endpoints.observed(MOVED, [DECLARED]).endpoint == DECLARED.endpoint
    endpoints.note([WireGuardPeer(KEYS[0], "203.0.113.9", 40000, (), 25)])
    assert observed(endpoints, age=0) == "203.0.113.9:40000"


# What comes when, and what goes when


def test_the_link_comes_after_the_rules() -> None:
    """Nothing is forwarded from another host, or sent to one, that they do not see."""
    (of_link,) = (
        number
        for number, layer in enumerate(LAYERS)
        if any("wireguard" in resource.kinds for resource in layer.resources(Ledger(), StackReader()))
    )
    assert of_link > LAYERS.index(DOCKER_CHAINS)


def test_a_key_whose_file_is_lost_is_reported_and_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The run that then changes the link writes it, as check mode predicts. Only one that is nowhere is made."""
    monkeypatch.setattr(wireguard_key, "KEY_FILE", str(tmp_path / "wharf/wireguard.key"))
    monkeypatch.setattr(wireguard_key, "of_link", lambda: PRIVATE)
    assert {wireguard_key.public_key(make) for make in (True, False)} == {wireguard.as_text(PUBLIC)}
    assert not any(tmp_path.iterdir())
    assert wireguard_key.kept() == PRIVATE
    monkeypatch.setattr(wireguard_key, "of_link", lambda: b"")
    assert wireguard_key.public_key(make=True) == wireguard.as_text(PUBLIC)
    wireguard_key.remove()
    assert wireguard_key.public_key(make=False) is None
    assert wireguard_key.public_key(make=True) == wireguard_key.public(wireguard_key.read())


def test_a_key_that_others_may_have_outlives_a_run_that_is_rolled_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It goes with the last thing that is declared."""
    key = tmp_path / "wireguard.key"
    key.write_text("private")
    monkeypatch.setattr(ledger, "KEY_FILE", str(key))
    monkeypatch.setattr(ledger, "PATH", str(tmp_path / "ledger.json"))
    monkeypatch.setattr(ledger.history, "PATH", str(tmp_path / "log.json"))
    monkeypatch.setattr(ledger.verified, "PATH", str(tmp_path / "verified.json"))
    Ledger().save()
    assert key.exists(), "other hosts may have got it before anything was declared here"
    first = Ledger(owned={"bridge": {("bridge", "br-app")}})
    first.save()
    first.restore()
    assert key.exists() and not (tmp_path / "ledger.json").exists()
    Ledger(owned={"bridge": {("bridge", "br-app")}}).save()
    Ledger.load().restore()
    assert key.exists()
    last = Ledger.load()
    last.owned.clear()
    last.reverted = Reverted(1.0, "a play", "since nobody confirmed them")
    last.save()
    assert key.exists()
    last.reverted = None
    last.save()
    assert not key.exists() and not tmp_path.exists()
