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

from ansible_collections.wharf.network.plugins.module_utils.engine.doors import conntrack, flows
from ansible_collections.wharf.network.plugins.module_utils.engine.doors.conntrack import forget_addresses
from ansible_collections.wharf.network.plugins.module_utils.engine.doors.firewall import Firewall
from ansible_collections.wharf.network.plugins.module_utils.engine.doors.flows import LOST, Reach, forget_stale
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ApplyError
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.netlink import attribute
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.publications import (
    Restriction,
    Translation,
    Vicinity,
)

HOST4, SECOND4, HOST6 = "192.0.2.10", "192.0.2.11", "2001:db8::10"
WEB, APP, PEER, WEB6 = "172.17.0.2", "172.17.0.3", "172.17.0.9", "fd00::2"
GATEWAY = "172.17.0.1"
CLIENT, STRANGER = "192.0.2.1", "192.0.2.66"
# Who sent to which address and port, and by which address and port it is answered.
FLOWS = [
    (CLIENT, HOST4, 8080, WEB, 80),
    (STRANGER, HOST4, 8080, WEB, 80),
    (PEER, HOST4, 8080, WEB, 80),
    (HOST4, HOST4, 8080, WEB, 80),
    (STRANGER, SECOND4, 8080, SECOND4, 8080),
    (STRANGER, HOST4, 8081, APP, 81),
    (STRANGER, "203.0.113.1", 8080, "203.0.113.1", 8080),
    (STRANGER, WEB, 80, WEB, 80),
    ("127.0.0.1", "127.0.0.1", 8080, "127.0.0.1", 8080),
    (PEER, GATEWAY, 53, GATEWAY, 20053),
    ("2001:db8::66", HOST6, 8080, WEB6, 80),
    ("::1", "::1", 8080, "::1", 8080),
]
TCP = socket.IPPROTO_TCP


def direction(source: str, address: str, port: int, source_port: int) -> bytes:
    ends = [ipaddress.ip_address(each).packed for each in (source, address)]
    first = 1 if len(ends[0]) == 4 else 3
    addresses = b"".join(attribute(first + number, end) for number, end in enumerate(ends))
    # Each attribute begins at a multiple of four bytes.
    ports = b"".join(attribute(kind, each.to_bytes(2, "big")) + b"\0\0" for kind, each in ((2, source_port), (3, port)))
    return attribute(1, addresses) + attribute(2, attribute(1, bytes([TCP])) + b"\0\0\0" + ports)


def message(source: str, address: str, port: int, answering: str, answering_port: int) -> bytes:
    original, reply = direction(source, address, port, 4000), direction(answering, source, 4000, answering_port)
    return b"\0\0\0\0" + attribute(1, original) + attribute(2, reply)


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The flows that the kernel is asked to forget, as it told of them."""
    asked: list[bytes] = []

    def dump(_bus: int, _kind: int, header: bytes) -> Iterator[bytes]:
        length = 4 if header[0] == socket.AF_INET else 16
        return (message(*flow) for flow in FLOWS if len(ipaddress.ip_address(flow[0]).packed) == length)

    def ask(_bus: int, _kind: int, request: bytes, _flags: int) -> None:
        asked.append(request[4:])

    own = [SimpleNamespace(address=address) for address in (f"{HOST4}/24", f"{SECOND4}/24", f"{GATEWAY}/16", HOST6)]
    monkeypatch.setattr(conntrack, "dump", dump)
    monkeypatch.setattr(conntrack, "ask", ask)
    monkeypatch.setattr(flows.rtnetlink, "addresses", lambda: own)
    return asked


def seen(forgotten: list[bytes]) -> list[Any]:
    # The nested flag is set in what is sent, and the reply is not sent.
    told = {direction(*flow[:3], 4000): flow for flow in FLOWS}
    return [told[each[4:]] for each in forgotten]


def published(port: int, target: str, address: str = "") -> Translation:
    return Translation("tcp", address, port, target)


ALL = frozenset({published(8080, f"{WEB} 80"), published(8080, f"{WEB6} 80"), published(8081, f"{APP} 81")})
NETWORK = Vicinity("docker0", subnet="172.17.0.0/16")


def test_flows_to_a_port_that_leads_elsewhere(forgotten: list[bytes]) -> None:
    """Not those that lead there already, nor by IPv6, nor what is led to a resolver."""
    forget_stale(["* tcp 8080", "* tcp 53"], Reach(ALL | {published(53, f"{WEB} 53")}))
    assert seen(forgotten) == [FLOWS[4], FLOWS[8]]
    forgotten.clear()
    forget_stale(["* tcp 8080"], Reach(frozenset({published(8080, f"{WEB} 80", HOST4)})))
    assert seen(forgotten) == [FLOWS[10]]
    forgotten.clear()
    forget_stale(["* tcp 8081"], Reach(ALL - {published(8081, f"{APP} 81")} | {published(8081, f"{APP} 82")}))
    assert seen(forgotten) == [FLOWS[5]]


def test_flows_to_a_port_that_is_published_no_more(forgotten: list[bytes]) -> None:
    """Nothing that the host itself answers, and nothing at another address."""
    forget_stale(["* tcp 8081", f"{SECOND4} tcp 8080"], Reach())
    assert seen(forgotten) == [FLOWS[5]]


def test_flows_of_those_that_may_no_longer(forgotten: list[bytes]) -> None:
    """Neither of the host itself, nor of those on the container's network."""
    restricted = frozenset({Restriction(WEB, "", "tcp", 8080, frozenset({f"{CLIENT}/32"}))})
    forget_stale(["* tcp 8080"], Reach(ALL, restricted, vicinities=frozenset({NETWORK})))
    assert [FLOWS[1], FLOWS[2]] == [each for each in seen(forgotten) if each[3] == WEB]
    forgotten.clear()
    mutual = frozenset({NETWORK, Vicinity("docker0", is_mutual=True)})
    forget_stale(["* tcp 8080"], Reach(ALL, restricted, vicinities=mutual))
    assert [FLOWS[1]] == [each for each in seen(forgotten) if each[3] == WEB]


@pytest.mark.parametrize(
    "reach, stale",
    [
        (Reach(), True),
        (Reach(open_ports=frozenset({(WEB, "tcp", 80)})), False),
        (Reach(vicinities=frozenset({NETWORK, Vicinity("docker0", open_version=4)})), False),
        (Reach(vicinities=frozenset({NETWORK, Vicinity("docker0", open_version=6)})), True),
        (
            Reach(
                frozenset(),
                frozenset({Restriction(WEB, WEB, "tcp", 80, frozenset())}),
                vicinities=frozenset({NETWORK, Vicinity("docker0", open_version=4)}),
            ),
            True,
        ),
    ],
)
def test_flows_to_a_containers_own_address(forgotten: list[bytes], reach: Reach, stale: bool) -> None:
    forget_stale([f"{WEB} tcp 80"], reach)
    assert seen(forgotten) == ([FLOWS[7]] if stale else [])


def test_flows_into_our_networks_are_judged_where_rules_were_lost(forgotten: list[bytes]) -> None:
    led_elsewhere = ALL - {published(8081, f"{APP} 81")}
    forget_stale([LOST], Reach(led_elsewhere, vicinities=frozenset({NETWORK})))
    assert seen(forgotten) == [FLOWS[5]]


def test_a_kernel_that_forgets_nothing_is_told(
    forgotten: list[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """And what was to be forgotten stays noted; but a kernel that tracks nothing has nothing to forget."""

    def dump(*_arguments: Any) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(conntrack, "dump", dump)
    monkeypatch.setattr(flows, "_TRACKING", str(tmp_path))
    suspects = {"* tcp 8080"}
    firewall = Firewall({}, {}, suspects)
    with pytest.raises(ApplyError, match="connection tracking forgets no flows: Invalid argument"):
        firewall.finish({})
    assert suspects
    monkeypatch.setattr(flows, "_TRACKING", str(tmp_path / "none"))
    firewall.finish({})
    assert not suspects
    assert forgotten == []


def test_flows_from_and_to_an_address_that_somebody_else_may_have_next(forgotten: list[bytes]) -> None:
    forget_addresses([APP])
    assert seen(forgotten) == [FLOWS[5]]
    forgotten.clear()
    forget_addresses([CLIENT, "2001:db8::66"])
    assert seen(forgotten) == [FLOWS[0], FLOWS[10]]


def test_nothing_is_asked_where_nothing_changed(forgotten: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(conntrack, "dump")
    Firewall({}, {}, set()).finish({})
    forget_addresses([])
    assert forgotten == []
