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
EXPECT = "../expect.yml"

each_file = pytest.mark.parametrize(
    "path", [pytest.param(path, id=str(path.relative_to(MOLECULE))) for path in MOLECULE.rglob("*.yml")]
)


def parts(path: Path) -> Iterator[dict[str, Any]]:
    """All mappings of a file, wherever they are in it."""
    left = [yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            yield part
        if isinstance(part, (dict, list)):
            left += part.values() if isinstance(part, dict) else part


@each_file
def test_each_expectation_asks_one_thing(path: Path) -> None:
    given = [part["expectations"] for part in parts(path) if isinstance(part.get("expectations"), list)]
    for expectation in (each for expectations in given for each in expectations):
        assert len(QUESTIONS & expectation.keys()) == 1, expectation
        assert {"gives"} <= expectation.keys() - QUESTIONS <= {"in", "gives"}, expectation
        assert isinstance(expectation["gives"], str), expectation


@each_file
def test_expectations_are_defined(path: Path) -> None:
    for task in (part for part in parts(path) if part.get("ansible.builtin.include_tasks") == EXPECT):
        assert "expectations" in task["vars"], task
