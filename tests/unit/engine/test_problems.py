# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each entry of a file in `problems/` is a declaration that cannot be, and every word that is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from planning import facts_of, problems

ENTRIES = [
    pytest.param(entry, id=f"{path.stem}: {name}")
    for path in sorted((Path(__file__).parent / "problems").glob("*.yml"))
    for name, entry in yaml.safe_load(path.read_text()).items()
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
