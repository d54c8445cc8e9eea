# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a DHCP server of the LAN sends, which may be anything."""

from __future__ import annotations

import ipaddress

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.dhcp_client import parse_lease
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.allotments import Allotments, Lease
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.lan_leases import LeaseRequest
from ansible_collections.wharf.network.plugins.module_utils.engine.state import SandboxRef

SETTINGS = {"ip": "192.0.2.50", "mask": "24", "router": "192.0.2.1", "lease": "3600"}
MAC = "02:42:00:00:00:01"
LEASE = Lease(ipaddress.IPv4Interface("192.0.2.50/24"), ipaddress.IPv4Address("192.0.2.1"), MAC, "eth0", 1000, 3600)
REQUEST = LeaseRequest(("web", "lan"), SandboxRef("netns", "web"), MAC, "web", "eth0", "", None, "web", "lan")


def test_a_lease() -> None:
    assert parse_lease(SETTINGS, REQUEST, 1000) == LEASE


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ip": "192.0.2.50\n6"},
        {"ip": "::1"},
        {"ip": "0.0.0.0"},
        {"ip": "127.0.0.5"},
        {"ip": "224.0.0.5"},
        {"ip": "255.255.255.255"},
        {"ip": "192.0.2.0"},
        {"ip": "192.0.2.255"},
        {"mask": "0"},
        {"mask": "7"},
        {"mask": "33"},
        {"mask": "24 scope host"},
        {"lease": "0"},
        {"lease": "-5"},
        {"lease": "soon"},
    ],
)
def test_what_no_host_could_have_is_no_lease(settings: dict[str, str]) -> None:
    assert parse_lease({**SETTINGS, **settings} if settings else {}, REQUEST, 1000) is None


@pytest.mark.parametrize(
    ("routers", "router"),
    [
        ("", None),
        ("198.51.100.1", None),
        ("192.0.2.50", None),
        ("nobody 198.51.100.1 192.0.2.2 192.0.2.3", "192.0.2.2"),
    ],
)
def test_the_router_is_the_first_that_can_be_reached(routers: str, router: str | None) -> None:
    lease = parse_lease({**SETTINGS, "router": routers}, REQUEST, 1000)
    assert lease
    assert lease.router == (ipaddress.IPv4Address(router) if router else None)


def test_nameservers_are_those_that_may_be_asked() -> None:
    lease = parse_lease(
        {**SETTINGS, "dns": "127.0.0.1 0.0.0.0 192.0.2.53 fd00::1 nobody 8.8.8.8 224.0.0.1 9.9.9.9 1.1.1.1"},
        REQUEST,
        1000,
    )
    assert lease
    assert [*map(str, lease.nameservers)] == ["192.0.2.53", "8.8.8.8", "9.9.9.9"]
    allotted = Allotments(leases={("web", "lan"): lease})
    assert Allotments.from_data(allotted.as_data()) == allotted


@pytest.mark.parametrize(
    ("now", "due", "over"),
    [(1000, False, False), (2799, False, False), (2800, True, False), (4600, True, True), (900, True, False)],
)
def test_when_a_lease_is_due_and_over(now: float, due: bool, over: bool) -> None:
    assert (LEASE.is_due(now), LEASE.is_over(now)) == (due, over)


def test_a_lease_for_ever() -> None:
    lease = parse_lease({**SETTINGS, "lease": str(0xFFFFFFFF)}, REQUEST, 1000)
    assert lease
    assert not lease.is_due(1e10)
    assert not lease.is_over(1e10)


def test_the_ledger_keeps_leases() -> None:
    allotted = Allotments(leases={("web", "lan"): LEASE})
    assert Allotments.from_data(allotted.as_data()) == allotted
