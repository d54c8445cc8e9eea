# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of which one thing is refused, each in turn: all that it did, in all layers, is taken back, or the error says
what was not.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hosts import ABSENT, BACKENDS, EXACT, ThrowawayHost, differences
from standing import assert_same, standing
from test_killed import FOREIGN, THREE, TOO_MANY, TWO

Run = tuple[Any, str]

BOOT = {"boot": {"services": True}}
SOMETHING = {**TWO, **BOOT, "docker_user": [{"action": "drop", "source": "192.0.2.66"}]}
CHANGED = {**THREE, **BOOT, "docker_user": [{"action": "drop", "source": "192.0.2.67"}]}
GONE: Run = ({}, ABSENT)

TAKEN_BACK = "all changes of this run were taken back"
UNTOUCHED = "nothing was changed"
# What is refused after all changes were made is the ledger's last word, or flows that are to be forgotten.
MADE = re.compile("all changes were made(, and the next run does the rest|: run this again once it can be written)$")


@pytest.mark.parametrize("backend", BACKENDS[:2])
@pytest.mark.parametrize(
    ("former", "latter"),
    [
        pytest.param(GONE, (SOMETHING, EXACT), id="building"),
        pytest.param((SOMETHING, EXACT), (CHANGED, EXACT), id="changing"),
        pytest.param((SOMETHING, EXACT), GONE, id="taking away"),
    ],
)
def test_what_is_refused_anywhere_takes_back_the_whole_run(backend: str, former: Run, latter: Run) -> None:
    with ThrowawayHost.started(backend=backend) as host:
        host.run(FOREIGN)
        # The first time around the ledger learns what it then keeps.
        for run in (former, latter, former, latter):
            host.apply(*run)
        after = standing(host)
        host.apply(*former)
        before = standing(host)
        ends = set()
        for number in range(1, TOO_MANY):
            refused, said = host.refused(number, *latter)
            when = f"after {refused} ({number}) was refused: {said}"
            if not refused:
                break
            ends.add(_end(said))
            if said.endswith((TAKEN_BACK, UNTOUCHED)):
                assert_same(before, lambda: standing(host), when)
                continue
            if MADE.search(said):
                assert differences(_but_ledger(after), _but_ledger(standing(host))) == "", when
            # Otherwise this run could do without it, or said what it could not bring about, or take back.
            host.apply(*latter)
            assert_same(after, lambda: standing(host), f"than after another run, {when}")
            host.apply(*former)
            assert_same(before, lambda: standing(host), f"than before, {when}")
        assert 20 < number < TOO_MANY - 1
        assert_same(after, lambda: standing(host), "than after a run of which nothing was refused")
        assert {TAKEN_BACK, UNTOUCHED} <= ends


def _end(said: str) -> str:
    """Of what the run said, how it ended."""
    return next((each for each in (TAKEN_BACK, UNTOUCHED) if each in said), "")


def _but_ledger(standing: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in standing.items() if not key.startswith("/var/lib/")}
