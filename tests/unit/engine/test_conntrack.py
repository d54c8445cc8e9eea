# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flows are forgotten, of those that the kernel tells of."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.doors import conntrack
from ansible_collections.wharf.network.plugins.module_utils.engine.doors.conntrack import (
    Narrowed,
    forget,
    forget_addresses,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.netlink import attribute

HOST4, HOST6, WEB = "192.0.2.10", "2001:db8::10", "172.17.0.2"
FLOWS = [
    ("192.0.2.1", HOST4, 8080),
    ("192.0.2.66", HOST4, 8080),
    ("192.0.2.66", HOST4, 8081),
    ("192.0.2.66", "203.0.113.1", 8080),
    ("192.0.2.66", WEB, 80),
    ("127.0.0.1", "127.0.0.1", 8080),
    (HOST4, HOST4, 8080),
    ("2001:db8::1", HOST6, 8080),
    ("2001:db8::66", HOST6, 8080),
]
TCP = socket.IPPROTO_TCP


def message(source: str, address: str, port: int) -> bytes:
    ends = [ipaddress.ip_address(each).packed for each in (source, address)]
    first = 1 if len(ends[0]) == 4 else 3
    addresses = b"".join(attribute(first + number, end) for number, end in enumerate(ends))
    # Each attribute begins at a multiple of four bytes.
    protocol = attribute(1, bytes([TCP])) + b"\0\0\0" + attribute(3, port.to_bytes(2, "big"))
    return b"\0\0\0\0" + attribute(1, attribute(1, addresses) + attribute(2, protocol))


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The flows that the kernel is asked to forget, as it told of them."""
    asked: list[bytes] = []

    def dump(_bus: int, _kind: int, header: bytes) -> Iterator[bytes]:
        length = 4 if header[0] == socket.AF_INET else 16
        return (message(*flow) for flow in FLOWS if len(ipaddress.ip_address(flow[0]).packed) == length)

    def ask(_bus: int, _kind: int, request: bytes, _flags: int) -> None:
        asked.append(request[4:])

    own = [SimpleNamespace(address=f"{HOST4}/24"), SimpleNamespace(address=f"{HOST6}/64")]
    monkeypatch.setattr(conntrack, "dump", dump)
    monkeypatch.setattr(conntrack, "ask", ask)
    monkeypatch.setattr(conntrack.rtnetlink, "addresses", lambda: own)
    return asked


def seen(forgotten: list[bytes]) -> list[Any]:
    # The nested flag is set in what is sent.
    told = {message(*flow)[8:]: flow for flow in FLOWS}
    return [told[each[4:]] for each in forgotten]


def narrowed(version: int, port: int, address: str, *allowed: str) -> Narrowed:
    packed = ipaddress.ip_address(address).packed if address else b""
    return Narrowed(version, (TCP, port), packed, tuple(map(ipaddress.ip_network, allowed)))


def test_flows_to_a_port_of_the_host_that_moved(forgotten: list[bytes]) -> None:
    forget([(TCP, 8081)])
    assert seen(forgotten) == [("192.0.2.66", HOST4, 8081)]


def test_flows_of_those_that_may_no_longer(forgotten: list[bytes]) -> None:
    """Neither of the host itself, nor of the other family, nor to another host."""
    forget([], [narrowed(4, 8080, "", "192.0.2.0/26")])
    assert seen(forgotten) == [("192.0.2.66", HOST4, 8080)]


def test_flows_to_a_port_that_is_for_nobody(forgotten: list[bytes]) -> None:
    forget([], [narrowed(6, 8080, "")])
    assert seen(forgotten) == [("2001:db8::1", HOST6, 8080), ("2001:db8::66", HOST6, 8080)]


def test_flows_to_a_containers_own_address(forgotten: list[bytes]) -> None:
    forget([], [narrowed(4, 80, WEB, "192.0.2.1")])
    assert seen(forgotten) == [("192.0.2.66", WEB, 80)]


def test_flows_from_and_to_an_address_that_somebody_else_may_have_next(forgotten: list[bytes]) -> None:
    forget_addresses([WEB])
    assert seen(forgotten) == [("192.0.2.66", WEB, 80)]
    forgotten.clear()
    forget_addresses(["192.0.2.1", "2001:db8::66"])
    assert seen(forgotten) == [("192.0.2.1", HOST4, 8080), ("2001:db8::66", HOST6, 8080)]


def test_nothing_is_asked_where_nothing_changed(forgotten: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(conntrack, "dump")
    forget([])
    forget_addresses([])
    assert forgotten == []
