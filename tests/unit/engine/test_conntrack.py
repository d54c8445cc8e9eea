# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flows are forgotten, of those that the kernel lists."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from planning import plan

from ansible_collections.wharf.network.plugins.module_utils.engine import flows
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ApplyError
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import conntrack
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.conntrack import forget_addresses
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.netlink import attribute
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.plan import Plan
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.reach import (
    AddressPort,
    NetworkSubnets,
    Reach,
    StalePorts,
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
    ports = b"".join(attribute(kind, each.to_bytes(2, "big")) for kind, each in ((2, source_port), (3, port)))
    return attribute(1, addresses) + attribute(2, attribute(1, bytes([TCP])) + ports)


def message(source: str, address: str, port: int, answering: str, answering_port: int) -> bytes:
    original, reply = direction(source, address, port, 4000), direction(answering, source, 4000, answering_port)
    return header(source) + attribute(1, original) + attribute(2, reply)


def header(source: str) -> bytes:
    return bytes([socket.AF_INET6 if ":" in source else socket.AF_INET, 0, 0, 0])


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The flows that the kernel is asked to forget, as it listed them."""
    asked: list[bytes] = []

    def dump(_bus: int, _kind: int, request: bytes) -> Iterator[bytes]:
        assert request[0] == socket.AF_UNSPEC
        return (message(*flow) for flow in FLOWS)

    def ask(_bus: int, _kind: int, request: bytes, _flags: int) -> None:
        asked.append(request)

    own = [SimpleNamespace(address=address) for address in (f"{HOST4}/24", f"{SECOND4}/24", f"{GATEWAY}/16", HOST6)]
    monkeypatch.setattr(conntrack, "dump", dump)
    monkeypatch.setattr(conntrack, "ask", ask)
    monkeypatch.setattr(flows.rtnetlink, "addresses", lambda: own)
    return asked


def seen(forgotten: list[bytes]) -> list[Any]:
    # The nested flag is set in what is sent, and the reply is not sent.
    listed = {header(flow[0]) + direction(*flow[:3], 4000): flow for flow in FLOWS}
    return [listed[each[:4] + each[8:]] for each in forgotten]


def at(text: str) -> tuple[int, AddressPort]:
    """Of `ADDRESS PROTOCOL PORT`, with an asterisk for every IPv4 address of the host."""
    port = AddressPort.parse(text)
    return port.address.version if port.address else 4, port


def led(target: str) -> tuple[Any, int]:
    address, port = target.split(" ")
    return ipaddress.ip_address(address), int(port)


def forget(monkeypatch: pytest.MonkeyPatch, ports: list[str], reach: Reach) -> None:
    monkeypatch.setattr(flows, "reach_of", lambda _plan: reach)
    flows.forget(StalePorts.from_data(ports), PLAN)


PLAN: Plan = plan({})
TO_WEB, TO_APP = {at("* tcp 8080"): led(f"{WEB} 80")}, {at("* tcp 8081"): led(f"{APP} 81")}
ALL = {**TO_WEB, (6, AddressPort(None, "tcp", 8080)): led(f"{WEB6} 80"), **TO_APP}
CLIENTS = {at("* tcp 8080"): (ipaddress.ip_network(f"{CLIENT}/32"),)}


def network(icc: bool = False, unprotected: bool = False) -> tuple[NetworkSubnets, ...]:
    return (NetworkSubnets((ipaddress.ip_network("172.17.0.0/16"),), icc, unprotected),)


@pytest.mark.parametrize(
    "changed, published, stale",
    [
        (["* tcp 8080", "* tcp 53"], {**ALL, at("* tcp 53"): led(f"{WEB} 53")}, [FLOWS[4], FLOWS[8]]),
        (["* tcp 8080"], {at(f"{HOST4} tcp 8080"): led(f"{WEB} 80")}, [FLOWS[10]]),
        (["* tcp 8081"], {**ALL, at("* tcp 8081"): led(f"{APP} 82")}, [FLOWS[5]]),
    ],
)
def test_flows_to_a_port_that_leads_elsewhere(
    forgotten: list[bytes], monkeypatch: pytest.MonkeyPatch, changed: list[str], published: Any, stale: list[Any]
) -> None:
    """Not those that lead there already, nor by IPv6, nor what is led to a resolver."""
    forget(monkeypatch, changed, Reach(published))
    assert seen(forgotten) == stale


def test_flows_to_a_port_that_is_published_no_more(forgotten: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that the host itself answers, and nothing at another address."""
    forget(monkeypatch, ["* tcp 8081", f"{SECOND4} tcp 8080"], Reach())
    assert seen(forgotten) == [FLOWS[5]]


@pytest.mark.parametrize("icc, stale", [(False, [FLOWS[1], FLOWS[2]]), (True, [FLOWS[1]])])
def test_flows_of_those_that_may_no_longer(
    forgotten: list[bytes], monkeypatch: pytest.MonkeyPatch, icc: bool, stale: list[Any]
) -> None:
    """Neither of the host itself, nor of those on the container's network."""
    forget(monkeypatch, ["* tcp 8080"], Reach(ALL, CLIENTS, networks=network(icc)))
    assert stale == [each for each in seen(forgotten) if each[3] == WEB]


@pytest.mark.parametrize(
    "reach, stale",
    [
        (Reach(), True),
        (Reach(opened=frozenset([AddressPort.parse(f"{WEB} tcp 80")])), False),
        (Reach(networks=network(unprotected=True)), False),
        (Reach(networks=network()), True),
        (Reach(restricted={at(f"{WEB} tcp 80"): ()}, networks=network(unprotected=True)), True),
    ],
)
def test_flows_to_a_containers_own_address(
    forgotten: list[bytes], monkeypatch: pytest.MonkeyPatch, reach: Reach, stale: bool
) -> None:
    forget(monkeypatch, [f"{WEB} tcp 80"], reach)
    assert seen(forgotten) == ([FLOWS[7]] if stale else [])


def test_flows_into_networks_are_judged_where_rules_were_lost(
    forgotten: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    led_elsewhere = {port: target for port, target in ALL.items() if port not in TO_APP}
    forget(monkeypatch, ["*"], Reach(led_elsewhere, networks=network()))
    assert seen(forgotten) == [FLOWS[5]]


def test_a_kernel_that_forgets_nothing_is_reported(
    forgotten: list[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """But a kernel that tracks nothing has nothing to forget."""

    def dump(*_arguments: Any) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(conntrack, "dump", dump)
    monkeypatch.setattr(flows, "_TRACKING", str(tmp_path))
    with pytest.raises(ApplyError, match="connection tracking forgets no flows: Invalid argument"):
        flows.forget(StalePorts.from_data(["* tcp 8080"]), PLAN)
    monkeypatch.setattr(flows, "_TRACKING", str(tmp_path / "none"))
    flows.forget(StalePorts.from_data(["* tcp 8080"]), PLAN)
    assert forgotten == []


def test_flows_from_and_to_an_address_that_somebody_else_may_have_next(forgotten: list[bytes]) -> None:
    forget_addresses([APP])
    assert seen(forgotten) == [FLOWS[5]]
    forgotten.clear()
    forget_addresses([CLIENT, "2001:db8::66"])
    assert seen(forgotten) == [FLOWS[0], FLOWS[10]]


def test_nothing_is_asked_where_nothing_changed(forgotten: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(conntrack, "dump")
    flows.forget(StalePorts(), PLAN)
    forget_addresses([])
    assert forgotten == []
