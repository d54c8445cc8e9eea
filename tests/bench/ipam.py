# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs to allot subnets and addresses, in CPU time; IPAM alone, on no host."""

from __future__ import annotations

import importlib
import ipaddress
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / ".venv/collections"))

from report import Notify, Section, Table, figure

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.model import Model
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_model import read_model
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ProblemCollector
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.allotments import Allotments
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.facts import Facts
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.ipam import allot

HOST = {"default-address-pools": [{"base": "10.0.0.0/8", "size": 24}]}
NETWORKS, ADDRESSES = 500, 60_000

_ROUTE = "the host's own network on eth0"

# What must be found or refused at once, however large the pool, and whatever of it is in use.
_LARGE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "an IPv6 /64 of which a /80 is leased": (
        {
            "networks": {
                "a": {
                    "enable_ipv4": False,
                    "enable_ipv6": True,
                    "ipam": {"config": [{"subnet": "fd00:1::/64", "gateway": "fd00:1::1:0:0:1"}]},
                    "x-wharf": {"dhcp": {"range": "fd00:1::/80"}},
                }
            },
            "containers": {"c": {"networks": ["a"]}},
        },
        (),
    ),
    "10.0.0.0/8 of which a /9 is leased": (
        {
            "networks": {
                "a": {
                    "ipam": {"config": [{"subnet": "10.0.0.0/8", "gateway": "10.128.0.1"}]},
                    "x-wharf": {"dhcp": {"range": "10.0.0.0/9"}},
                }
            },
            "containers": {"c": {"networks": ["a"]}},
        },
        (),
    ),
    "/64s of fd00::/8, to whose first /16 the host has a route": (
        {
            "host": {"default-address-pools": [{"base": "fd00::/8", "size": 64}]},
            "networks": {"a": {"enable_ipv4": False, "enable_ipv6": True}},
        },
        ("fd00::/16",),
    ),
    "/28s of 10.0.0.0/8, to all of which the host has a route": (
        {"host": {"default-address-pools": [{"base": "10.0.0.0/8", "size": 28}]}, "networks": {"a": {}}},
        ("10.0.0.0/8",),
    ),
}


def model_of(words: Mapping[str, Any]) -> Model:
    parts = [words.get(part, {}) for part in ("host", "networks", "containers")]
    return read_model(*parts, (), ProblemCollector())


def networks(count: int) -> Model:
    return model_of({"host": HOST, "networks": {f"n{number:03}": {} for number in range(count)}})


def with_containers(addresses: int) -> Model:
    containers = {f"c{number:05}": {"networks": [f"n{number % NETWORKS:03}"]} for number in range(addresses)}
    return model_of({"host": HOST, "networks": {f"n{n:03}": {} for n in range(NETWORKS)}, "containers": containers})


class Clock:
    """Notes what each allotment takes."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self.rows: list[tuple[str, str]] = []

    def note(self, what: str, began: float) -> None:
        took = (time.process_time() - began) * 1000
        self.rows.append((what, figure(took)))
        self._notify(f"{what}: {figure(took)} ms")

    def allot(self, what: str, model: Model, before: Allotments, facts: Facts | None = None) -> Allotments:
        problems = ProblemCollector()
        began = time.process_time()
        allotted = allot(model, facts or Facts(), before, problems, ProblemCollector())
        self.note(what + (" (refused)" if problems.problems else ""), began)
        return allotted


def without(allotted: Allotments, network: str = "", container: str = "") -> Allotments:
    """The same, before the last network or container came."""
    return replace(
        allotted,
        networks={name: pools for name, pools in allotted.networks.items() if name != network},
        endpoints={key: each for key, each in allotted.endpoints.items() if key[0] != container},
    )


def sections(quick: bool, notify: Notify) -> list[Section]:
    clock = Clock(notify)
    began = time.process_time()
    importlib.import_module("netaddr")
    clock.note("importing netaddr, in a run that allots something", began)
    _networks(clock)
    _addresses(clock, ADDRESSES // 10 if quick else ADDRESSES)
    for what, (words, routes) in _LARGE.items():
        taken = tuple((ipaddress.ip_network(route), _ROUTE) for route in routes)
        clock.allot(what, model_of(words), Allotments(), Facts(taken_subnets=taken))
    text = "What it takes to allot subnets and addresses, in CPU time: what counts is how it grows."
    return [Section("Subnets and addresses", text, [Table(["", "ms"], clock.rows)])]


def _networks(clock: Clock) -> None:
    for count in (100, 200, 400, NETWORKS):
        clock.allot(f"{count} networks from /24s of 10.0.0.0/8", networks(count), Allotments())
    everything = networks(NETWORKS)
    allotted = clock.allot(f"{NETWORKS} networks once more", everything, Allotments())
    clock.allot(f"one network more than {NETWORKS - 1}", everything, without(allotted, network=f"n{NETWORKS - 1:03}"))
    clock.allot(f"{NETWORKS} networks that have their subnets", everything, allotted)


def _addresses(clock: Clock, most: int) -> None:
    for count in (most // 4, most // 2, most):
        everything = with_containers(count)
        allotted = clock.allot(f"{count} addresses on {NETWORKS} networks", everything, Allotments())
    clock.allot(f"one address more than {most - 1}", everything, without(allotted, container=f"c{most - 1:05}"))
    clock.allot(f"{most} addresses that containers have", everything, allotted)
