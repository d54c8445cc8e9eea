# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor that the benchmarks compare with is what the engine makes, so that it proves something to come near it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from controller import CHECKOUT
from hosts import ThrowawayHost

FLOOR = CHECKOUT / "tests/bench/floor.py"
CONTAINERS = 3


@pytest.fixture
def floor() -> Any:
    with ThrowawayHost.started() as host:
        command = [*host.enter(), sys.executable, str(FLOOR), str(CONTAINERS), "1", "keep"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        yield host


def test_the_floor_makes_the_links_that_the_engine_makes(host: ThrowawayHost, floor: ThrowawayHost) -> None:
    containers = {f"c{n}": {"networks": ["net0"], "ports": [f"{8000 + n}:80"]} for n in range(CONTAINERS)}
    host.apply({"networks": {"net0": {"enable_ipv6": True}}, "containers": containers})
    assert links(floor, "host", "dev br-net0") == links(host, "host", "dev br-net0")
    assert ports(floor) == ports(host)
    assert len(ports(host)) == CONTAINERS
    for number in range(CONTAINERS):
        ours, theirs = f"c{number}", f"f{number}"
        assert links(floor, theirs) == links(host, ours)
        assert routes(floor, theirs) == routes(host, ours)


def test_the_floors_containers_reach_each_other(floor: ThrowawayHost) -> None:
    floor.run("ping -qc1 -W2 10.0.0.3; ping -qc1 -W2 fd00:0::4", "f0")


def links(host: ThrowawayHost, place: str, which: str = "") -> Any:
    """What interfaces are, without their names, numbers and the values of addresses."""
    found = host.json(f"ip -j -d address show {which}", place)
    return [{**_link(each), "addresses": _addresses(each)} for each in found]


def ports(host: ThrowawayHost) -> Any:
    found = host.json("ip -j -d address show master br-net0")
    return [{**_link(each), "addresses": _addresses(each), "hairpin": _of_port(each)["hairpin"]} for each in found]


def routes(host: ThrowawayHost, place: str) -> Any:
    found = [*host.json("ip -j route", place), *host.json("ip -j -6 route", place)]
    return sorted(
        (each["dst"] == "default", ":" in each.get("gateway", ""), each["protocol"], each["dev"]) for each in found
    )


def _link(each: Any) -> Any:
    info = each.get("linkinfo", {})
    snooping = info.get("info_data", {}).get("mcast_snooping")
    up = "UP" in each["flags"]
    return {
        "kind": info.get("info_kind"),
        "mtu": each["mtu"],
        "up": up,
        "snooping": snooping,
        "marked": "ifalias" in each,
    }


def _addresses(each: Any) -> Any:
    return sorted((address["family"], address["prefixlen"], address["scope"]) for address in each["addr_info"])


def _of_port(each: Any) -> Any:
    return each["linkinfo"]["info_slave_data"]
