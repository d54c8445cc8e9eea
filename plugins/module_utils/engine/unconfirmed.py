# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger notes of changes that somebody is to confirm, and of changes that were reverted since nobody did."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Any, Dict

from .declaration.declared import Declared
from .kernel import clock
from .planning.allotments import Allotments

NOBODY_CONFIRMED, REVERTED_BY_HAND = "since they were not confirmed", "by hand"
NOTHING_UNCONFIRMED = "nothing is unconfirmed on this host"


@dataclass(frozen=True)
class Former:
    """What was declared and allotted before a run."""

    declared: Declared
    allotted: Allotments

    def reverted_from(self, now: Former) -> Former:
        """What is declared and allotted once a host has reverted from what is declared and allotted now.

        What restores the networks at boot is not taken away: no packet depends on it, and after a reboot it is what
        reverts the host. Public keys are not forgotten either: the keys that have come since are as valid as before.
        """
        declared = self.declared if now.declared.boot is None else replace(self.declared, boot=now.declared.boot)
        return Former(declared, self.allotted.with_peer_keys(now.allotted.peer_keys))


@dataclass(frozen=True)
class Unconfirmed:
    """`id` names the run that is to be confirmed, and `by` says who made it; earlier ones may be unconfirmed, too.

    At the `deadline`, in seconds since the boot with the id `boot`, or after a reboot, the host reverts to `former`.
    `seconds` is the time between the end of the run and the deadline.
    """

    id: str
    by: str
    seconds: int
    deadline: float
    boot: str
    former: Former

    @classmethod
    def begun(cls, by: str, seconds: int, former: Former, not_before: float = 0) -> Unconfirmed:
        """`not_before` is the deadline of earlier changes that nobody has confirmed either."""
        begun = cls(os.urandom(4).hex(), by, seconds, not_before, clock.boot_id(), former)
        return begun.renewed()

    def renewed(self) -> Unconfirmed:
        """The same with all its time left; one that has more than that keeps it."""
        return replace(self, deadline=max(self.deadline, clock.since_boot() + self.seconds))

    @property
    def is_over(self) -> bool:
        return self.seconds_left <= 0

    @property
    def seconds_left(self) -> float:
        """None are left from the moment of a reboot on."""
        deadline = self.deadline if self.boot == clock.boot_id() else 0
        return deadline - clock.since_boot()

    @property
    def until(self) -> str:
        """The deadline by the host's wall clock."""
        return clock.in_words(time.time() + self.seconds_left)

    def __str__(self) -> str:
        if self.is_over:
            return f"the changes made by {self.by} were not confirmed in time"
        return f"the changes made by {self.by} are not confirmed, and will be reverted at {self.until}"

    def as_data(self) -> Dict[str, Any]:
        """What a caller gets."""
        return {"id": self.id, "by": self.by, "seconds": self.seconds, "until": self.until}


@dataclass(frozen=True)
class Reverted:
    """Changes made `by` somebody were reverted `at` a time since the epoch; `reason` says why."""

    at: float
    by: str
    reason: str

    @property
    def is_news(self) -> bool:
        """Whether nobody has seen it happen."""
        return self.reason != REVERTED_BY_HAND

    def __str__(self) -> str:
        return f"the changes made by {self.by} were reverted at {clock.in_words(self.at)}, {self.reason}"

    def as_data(self) -> Dict[str, Any]:
        return {"by": self.by, "at": clock.in_words(self.at), "reason": self.reason}
