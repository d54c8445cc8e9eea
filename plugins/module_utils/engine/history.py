# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of a host: the last runs that changed something, who made each, and what it changed.

It is for people. No run depends on it, and one that cannot write it goes on.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .declaration.declared import ORIGINS
from .diff import CREATE, DELETE, UPDATE, Change
from .errors import ConflictError
from .kernel import clock, disk

PATH = "/var/lib/wharf/log.json"

# So that the file stays small, whatever a run changes.
MOST_RUNS, MOST_NAMES = 50, 10

# What became of a run. One that is unfinished is under way, or was killed. One that failed has left changes that could
# not be rolled back.
UNFINISHED, DONE, FAILED = "unfinished", "done", "failed"

# The last second that has a year of four digits.
_LATEST = 253402300799


@dataclass(frozen=True)
class Changed:
    """Objects of one kind that one run created, updated or deleted: how many, and the names of the first of them."""

    action: str
    kind: str
    number: int
    names: Tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A run that changed something, begun `at` a time since the epoch.

    `origin` is one of `declared.ORIGINS`, and `by` says it in words. `reverts` names who had made the changes that this
    run has reverted.
    """

    id: str
    at: float
    origin: str
    by: str
    changes: Tuple[Changed, ...]
    reverts: str = ""
    outcome: str = UNFINISHED

    @classmethod
    def begun(cls, origin: str, by: str, changes: Sequence[Change], reverts: str = "") -> Run:
        return cls(os.urandom(4).hex(), time.time(), origin, by, _grouped(changes), reverts)

    @property
    def number(self) -> int:
        """How many objects it changed."""
        return sum(each.number for each in self.changes)

    def as_data(self) -> Dict[str, Any]:
        changes = [{**vars(each), "names": list(each.names)} for each in self.changes]
        return {**vars(self), "time": clock.in_words(self.at), "objects": self.number, "changes": changes}


def _grouped(changes: Sequence[Change]) -> Tuple[Changed, ...]:
    names: Dict[Tuple[str, str], List[str]] = {}
    for change in changes:
        names.setdefault((change.action, change.subject.kind), []).append(change.subject.name)
    return tuple(Changed(*key, len(found), tuple(found[:MOST_NAMES])) for key, found in names.items())


def read() -> List[Run]:
    """The runs, the last one first.

    Raises:
        ConflictError: the file cannot be read or understood.
    """
    try:
        return [_run(data) for data in json.loads(disk.text_of(PATH))["runs"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConflictError.at(
            PATH, f"cannot be read ({reason}): the next run that changes something replaces it"
        ) from error


def _run(data: Mapping[str, Any]) -> Run:
    changes = tuple(Changed(**{**each, "names": tuple(map(str, each["names"]))}) for each in data["changes"])
    run = Run(**{**data, "changes": changes})
    texts = (run.id, run.by, run.reverts, *(each.kind for each in changes))
    is_sound = (
        all(isinstance(text, str) for text in texts)
        and run.origin in ORIGINS
        and run.outcome in (UNFINISHED, DONE, FAILED)
        and isinstance(run.at, (int, float))
        and 0 <= run.at <= _LATEST
        and all(each.action in (CREATE, UPDATE, DELETE) and isinstance(each.number, int) for each in changes)
    )
    if not is_sound:
        raise ValueError("it is not what wharf.network writes there")
    return run


class Log:
    """Notes a run, if there is one to note. Where that cannot be written, the run goes on, and `problems` says why."""

    def __init__(self, run: Optional[Run]) -> None:
        self._run = run
        self.problems: List[str] = []

    def begin(self) -> None:
        """Note the run before it changes anything, so that also one that is killed has been noted."""
        with suppress(OSError):
            # Of a run that was killed.
            os.unlink(disk.draft(PATH))
        self._note(UNFINISHED)

    def end(self, outcome: str = DONE) -> None:
        self._note(outcome)

    def forget(self) -> None:
        """Leave out the run, all changes of which were rolled back."""
        self._note()

    def _note(self, *outcomes: str) -> None:
        if not self._run:
            return
        runs = [*(replace(self._run, outcome=each) for each in outcomes), *_others(self._run)]
        try:
            if runs:
                _write(runs)
            else:
                disk.remove(PATH)
        except OSError as error:
            self.problems = [f"{PATH}: this run could not be noted there: {disk.reason(error)}"]


def _others(run: Run) -> List[Run]:
    with suppress(ConflictError):
        return [each for each in read() if each.id != run.id]
    return []


def _write(runs: Sequence[Run]) -> None:
    kept = [{**vars(each), "changes": [vars(changed) for changed in each.changes]} for each in runs[:MOST_RUNS]]
    disk.replace(PATH, json.dumps({"runs": kept}), 0o600)
