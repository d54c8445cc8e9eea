# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each entry of a file in `problems/` is a declaration that cannot be, and every word that is said about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import golden
import pytest
from planning import facts_of, problems

ENTRIES = [
    pytest.param(entry, id=f"{path.stem}: {name}")
    for path in sorted((Path(__file__).parent / "problems").glob("*.yml"))
    for name, entry in golden.read_yaml(path).items()
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_problems(entry: dict[str, Any]) -> None:
    assert problems(entry, facts_of(entry.get("facts", {}))) == entry["problems"]


def on_one_network(count: int) -> dict[str, Any]:
    return {
        "networks": {"wide": {}},
        "containers": {f"c{number}": {"networks": ["wide"]} for number in range(count)},
    }


def test_a_bridge_has_room_for_1023() -> None:
    assert problems(on_one_network(1023)) == []


def test_a_bridge_has_no_room_for_1024() -> None:
    assert problems(on_one_network(1024)) == [
        "wharf_networks.wide: 1024 containers are on it, and a bridge of Linux has 1023 ports at most (BR_MAX_PORTS): "
        "spread them over several networks"
    ]


@pytest.mark.parametrize("number", ["9" * 5000, "１５"], ids=["of 5000 digits", "not of ASCII digits"])
@pytest.mark.parametrize(
    "words",
    [
        {"host": {"mtu": "{}"}},
        {"host": {"bridge-accept-fwmark": "{}"}},
        {"host": {"default-address-pools": [{"base": "10.0.0.0/8", "size": "{}"}]}},
        {"networks": {"a": {"x-wharf": {"dhcp": {"lease_time": "{}h"}}}}},
        {"networks": {"a": {"x-wharf": {"dns": {"records": {"x": {"SRV": "0 {} 1 b"}}}}}}},
        {"containers": {"w": {"ports": ["{}"]}}},
        {"containers": {"w": {"ports": ["{}:80"]}}},
        {"containers": {"w": {"ports": ["80:{}"]}}},
        {"containers": {"w": {"ports": [{"target": "{}"}]}}},
        {"containers": {"w": {"expose": ["{}"]}}},
        {"containers": {"w": {"networks": {"bridge": {"gw_priority": "{}"}}}}},
        {"containers": {"w": {"x-wharf": {"sandbox": "pid:{}"}}}},
        {"docker_user": [{"action": "drop", "limit": "{}/second"}]},
        {"docker_user": [{"action": "drop", "protocol": "tcp", "published_port": "{}"}]},
    ],
    ids=str,
)
def test_numbers_are_of_a_few_ascii_digits(words: dict[str, Any], number: str) -> None:
    """Python reads and writes no number of more than 4300 digits, and takes the digits of all scripts."""
    (problem,) = problems(json.loads(json.dumps(words).replace("{}", number)), facts_of({}))
    assert number in problem and ": must be " in problem


def test_an_interface_name_with_half_a_character() -> None:
    """Python has one for each byte of an argument that is not UTF-8."""
    (problem,) = problems({"host": {"bridge": "eth\udcff"}})
    assert problem.startswith('wharf_host.bridge: "eth\udcff": an interface name is of letters, ')
