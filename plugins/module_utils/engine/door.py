# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every door to the kernel has in common."""

from __future__ import annotations

from typing import FrozenSet, Protocol, Sequence

from .diff import Change
from .state import Key, State

MARK = "wharf:"


class Door(Protocol):
    """The only place that reads and writes one kind of thing on the host."""

    def observe(self, desired: State, owned: FrozenSet[Key]) -> State:
        """What of ours is there now: the desired objects that stand, those that carry our mark, and those of `owned`.

        Raises:
            ConflictError: a foreign object stands where a desired one should.
        """

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes, in an order that never opens a closed path.

        Raises:
            ApplyError: the kernel refused.
        """
