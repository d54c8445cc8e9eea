# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios on VMs expect, read without a VM: there, a missing quote shows after a quarter of an hour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

MOLECULE = Path(__file__).parents[1] / "integration/molecule"
QUESTIONS = {"tcp", "udp", "ping", "run", "value"}


def expectations(thing: Any) -> Iterator[dict[str, Any]]:
    if isinstance(thing, list):
        for each in thing:
            yield from expectations(each)
    elif isinstance(thing, dict):
        found = thing.get("expectations")
        yield from found if isinstance(found, list) else ()
        for each in thing.values():
            yield from expectations(each)


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=str(path.relative_to(MOLECULE))) for path in MOLECULE.rglob("*.yml")]
)
def test_each_expectation_asks_one_thing(path: Path) -> None:
    for expectation in expectations(yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)):
        assert len(QUESTIONS & expectation.keys()) == 1, expectation
        assert {"gives"} <= expectation.keys() - QUESTIONS <= {"in", "gives"}, expectation
        assert isinstance(expectation["gives"], str), expectation
