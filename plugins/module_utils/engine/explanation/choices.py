# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever cannot be known is tried both ways: a packet is walked again and again, until all cases have been seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator, List, Sequence, Tuple, TypeVar

# The cases that are tried at most.
MOST_CASES = 64

T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """One thing that is not known, and which of its possibilities was taken."""

    what: object
    taken: int
    of: int


class Choices:
    """Takes the possibilities that are given, then the first one each time; notes all."""

    def __init__(self, given: Sequence[int] = ()) -> None:
        self._given = given
        self.made: List[Choice] = []

    def take(self, what: object, possibilities: Sequence[T]) -> T:
        number = len(self.made)
        taken = self._given[number] if number < len(self._given) else 0
        if len(possibilities) == 1:
            return possibilities[0]
        self.made.append(Choice(what, taken, len(possibilities)))
        return possibilities[taken]

    def note(self, what: object) -> None:
        """Something that is not known, and that nothing depends on."""
        self.made.append(Choice(what, 0, 1))

    def following(self) -> List[int]:
        """The possibilities to take the next time; empty where all have been."""
        taken = [choice.taken for choice in self.made]
        while taken and taken[-1] + 1 == self.made[len(taken) - 1].of:
            taken.pop()
        return [*taken[:-1], taken[-1] + 1] if taken else []


def all_cases(run: Callable[[Choices], T]) -> Iterator[Tuple[T, List[Choice]]]:
    """What comes of each case, with what was chosen in it; at most MOST_CASES."""
    given: List[int] = []
    for _case in range(MOST_CASES):
        choices = Choices(given)
        yield run(choices), choices.made
        given = choices.following()
        if not given:
            return
