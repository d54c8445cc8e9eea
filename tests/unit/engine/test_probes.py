# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes as people type them, what their outcomes say, and the packets they are made of."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest
from planning import plan

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError
from ansible_collections.wharf.network.plugins.module_utils.engine.reachability.packets import echo_request, new_payload
from ansible_collections.wharf.network.plugins.module_utils.engine.reachability.parse_probes import (
    parse_hosts,
    parse_probes,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.reachability.probes import Outcome, Probe
from ansible_collections.wharf.network.plugins.module_utils.engine.verification import Verification

PLAN = plan(
    {
        "networks": {"front": {"enable_ipv6": True, "ipam": {"config": [{"subnet": "fd00:1::/64"}]}}, "back": {}},
        "containers": {
            "web": {"networks": ["front", "back"]},
            "db": {"networks": {"back": {"aliases": ["postgres"]}}, "extra_hosts": ["elsewhere=203.0.113.9"]},
            "side": {"network_mode": "service:web"},
            "monitor": {"network_mode": "host"},
        },
    }
)
OWN = [ipaddress.ip_address("192.0.2.10"), ipaddress.ip_address("2001:db8::10")]


def parsed(**words: Any) -> list[Probe]:
    return parse_probes([words], PLAN, OWN)


@pytest.mark.parametrize(
    ("source", "to", "addresses"),
    [
        ("host", "192.0.2.1", ["192.0.2.1"]),
        ("host", "[2001:db8::1]", ["2001:db8::1"]),
        ("host", "host", ["192.0.2.10", "2001:db8::10"]),
        ("db", "host", ["192.0.2.10"]),
        ("web", "monitor", ["192.0.2.10", "2001:db8::10"]),
        ("host", "web", ["172.19.0.2", "fd00:1::2", "172.18.0.3"]),
        ("db", "web", ["172.18.0.3"]),
        ("db", "side", ["172.18.0.3"]),
        ("side", "db", ["172.18.0.2"]),
        ("web", "postgres", ["172.18.0.2"]),
        ("db", "elsewhere", ["203.0.113.9"]),
        ("netns:db", "web", ["172.19.0.2", "fd00:1::2", "172.18.0.3"]),
    ],
)
def test_names(source: str, to: str, addresses: list[str]) -> None:
    probes = parsed(**{"from": source}, to=to, port=80)
    assert [probe.address for probe in probes] == addresses
    assert {(probe.source, probe.port, probe.protocol, probe.expected) for probe in probes} == {
        (source, 80, "tcp", "open")
    }


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"from": "wep", "to": "web", "port": 80}, 'probes[0].from: "wep": is not known here; did you mean web?'),
        ({"from": "netns:../db", "to": "web", "port": 80}, 'probes[0].from: "../db": a name begins with a letter'),
        ({"from": "pdi:7", "to": "web", "port": 80}, 'probes[0].from: "pdi:7": must be netns:NAME, docker:NAME'),
        ({"to": "postgres", "port": 80}, 'probes[0].to: "postgres": is not known here; there are: host, db, monitor'),
        ({"to": "web"}, "probes[0].port: null: is missing: tcp asks a port"),
        ({"to": "web", "port": 0}, "probes[0].port: 0: a port is from 1 to 65535"),
        ({"to": "web", "port": 80, "protocol": "ping"}, "probes[0].port: 80: a ping has no port: leave it out"),
        ({"to": "web", "port": 80, "via": "router"}, 'probes[0].via: "router": must be an IPv4 or IPv6 address'),
    ],
)
def test_problems(words: dict[str, Any], problem: str) -> None:
    with pytest.raises(ModelError) as caught:
        parsed(**words)
    assert str(caught.value).startswith(problem)


def test_hosts() -> None:
    given = ["192.0.2.1", "192.0.2.1:443", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443"]
    assert [(str(address), port) for address, port in parse_hosts(given, "beyond")] == [
        ("192.0.2.1", 0),
        ("192.0.2.1", 443),
        ("2001:db8::1", 0),
        ("2001:db8::1", 0),
        ("2001:db8::1", 443),
    ]
    with pytest.raises(ModelError, match=r"beyond\[0\]: .*must be an IPv4.*\nbeyond\[1\]: .*a port is from 1"):
        parse_hosts(["example.org", "192.0.2.1:0"], "beyond")


@pytest.mark.parametrize(
    ("seen", "as_open", "as_closed"),
    [
        ("open", True, False),
        ("closed", False, True),
        ("refused", False, True),
        ("one-way", False, False),
        ("elsewhere", False, False),
        ("absent", False, False),
        ("unknown", None, None),
    ],
)
def test_what_an_outcome_says(seen: str, as_open: bool | None, as_closed: bool | None) -> None:
    assert (Outcome(seen).fulfils("open"), Outcome(seen).fulfils("closed")) == (as_open, as_closed)


def test_a_line_of_the_report_says_each_thing_once() -> None:
    probe = Probe("host", "192.0.2.10", "tcp", 8080, "open")
    outcomes = Outcome("refused", "refused"), Outcome("closed", "no answer"), Outcome("open")
    report = Verification(tuple((probe, outcome) for outcome in outcomes)).as_data()["report"]
    assert report == [
        "✗ host -> 192.0.2.10:8080/tcp  refused, expected open",
        "✗ host -> 192.0.2.10:8080/tcp  closed (no answer), expected open",
        "✓ host -> 192.0.2.10:8080/tcp  open",
    ]


def test_a_probe_as_words_is_that_probe() -> None:
    probe = Probe("host", "192.0.2.10", "tcp", 8080, "open", "the shop", "192.0.2.10")
    assert parsed(**probe.as_data()) == [probe]


def test_checksum() -> None:
    message = echo_request(4, new_payload())
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
