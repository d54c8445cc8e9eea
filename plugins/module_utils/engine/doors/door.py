# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every door to the kernel has in common."""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, List, Mapping, Sequence

from ..diff import DELETE, Change
from ..errors import ConflictError, ProblemCollector
from ..state import Key, Object, State

MARK = "wharf:"


class Door:
    """The only place that reads and writes one kind of thing on the host."""

    def canonical(self, desired: State) -> State:
        """The desired objects in the very words in which `observe` would report them, less what is left to others."""
        return desired

    def observe(self, desired: State, owned: FrozenSet[Key]) -> State:
        """What of ours is there now: the desired objects that stand, those that carry our mark, and those of `owned`.

        Raises:
            ConflictError: a foreign object stands where a desired one should.
        """
        raise NotImplementedError

    def marked(self, usual: State) -> FrozenSet[Key]:
        """What can be told to be ours by its marks alone, where nobody knows any more what is owned.

        `usual` is what any host has of this layer.
        """
        return frozenset(self.observe({}, frozenset()))

    def require(self, desired: State) -> None:
        """See that the host has what is needed to make these objects, before any change is made.

        Raises:
            ConflictError: it lacks a program or a library.
        """

    def is_moving(self, desired: State, owned: FrozenSet[Key]) -> bool:
        """Whether the layer leaves the ground it stands on for another, so that it must go there whole, at once."""
        return False

    def pending(self, desired: State) -> FrozenSet[Key]:
        """The desired objects whose place does not exist yet, and which are left alone until it does."""
        return frozenset()

    def out_of_sight(self, desired: State) -> FrozenSet[Key]:
        """Those of the pending objects whose place may exist, which nobody can tell now: what stands there, stays."""
        return frozenset()

    def refused(self, left: Sequence[Change] = ()) -> FrozenSet[Key]:
        """What stays as it is for a reason that concerns one container alone, as this door has found by now.

        `left` are changes that are still to be made after `apply`; those that may stay so are among what is returned
        from then on. `hindrances` tells the reasons, and the next run tries again.
        """
        return frozenset()

    def hindrances(self) -> List[str]:
        """What is in the way of objects that were told to be pending or refused, and what to do about it."""
        return []

    def found(self, new: Sequence[Object]) -> Dict[str, str]:
        """What stands where these objects will be, and is kept in the ledger to be given back one day."""
        return {}

    def found_inside(self, ours: Sequence[Object]) -> Dict[str, str]:
        """What stands in these objects where they set something, unless the ledger has it already."""
        return {}

    def settled(self, pending: FrozenSet[Key], *states: State) -> List[str]:
        """The names of what was found inside of objects and given back, where these states are all there is, but for
        what is pending.
        """
        return []

    def edited(self, current: State, desired: State) -> FrozenSet[Key]:
        """The desired objects that somebody has changed since we made them, and which may be his to keep."""
        return frozenset()

    def marks(self, things: Iterable[Object]) -> Dict[str, str]:
        """What the ledger is to keep of these, by their names, to tell one day whether somebody has changed them."""
        return {}

    def foresee(self, changes: Sequence[Change], owned: FrozenSet[Key]) -> None:
        """Note in the ledger what these changes leave to be done, so that any later run can do it.

        `owned` is what was ours before them.
        """

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes, in an order that never opens a closed path.

        Raises:
            ApplyError: the kernel refused.
        """
        raise NotImplementedError

    def finish(self, desired: State) -> None:
        """Do what the ledger notes as left to be done, by this run or another, once the changes are made.

        Raises:
            ApplyError: the kernel refused.
        """


class Doors(Door):
    """The doors of a layer, each with the kinds of objects it is for, in the order in which things are made."""

    def __init__(self, doors: Mapping[str, Door]) -> None:
        self._doors = doors

    def canonical(self, desired: State) -> State:
        for door in self._doors.values():
            desired = door.canonical(desired)
        return desired

    def observe(self, desired: State, owned: FrozenSet[Key]) -> State:
        current: State = {}
        problems = ProblemCollector()
        for door in self._doors.values():
            with problems.collect():
                current.update(door.observe(desired, owned))
        problems.raise_if_any(ConflictError)
        return current

    def marked(self, usual: State) -> FrozenSet[Key]:
        return frozenset().union(*(door.marked(usual) for door in self._doors.values()))

    def require(self, desired: State) -> None:
        problems = ProblemCollector()
        for kind, door in self._doors.items():
            with problems.collect():
                door.require({key: thing for key, thing in desired.items() if thing.kind == kind})
        problems.raise_if_any(ConflictError)

    def is_moving(self, desired: State, owned: FrozenSet[Key]) -> bool:
        return any(door.is_moving(desired, owned) for door in self._doors.values())

    def pending(self, desired: State) -> FrozenSet[Key]:
        return frozenset().union(*(door.pending(desired) for door in self._doors.values()))

    def out_of_sight(self, desired: State) -> FrozenSet[Key]:
        return frozenset().union(*(door.out_of_sight(desired) for door in self._doors.values()))

    def refused(self, left: Sequence[Change] = ()) -> FrozenSet[Key]:
        return frozenset().union(*(door.refused(left) for door in self._doors.values()))

    def hindrances(self) -> List[str]:
        return [hindrance for door in self._doors.values() for hindrance in door.hindrances()]

    def found(self, new: Sequence[Object]) -> Dict[str, str]:
        return {name: value for door in self._doors.values() for name, value in door.found(new).items()}

    def found_inside(self, ours: Sequence[Object]) -> Dict[str, str]:
        return {name: value for door in self._doors.values() for name, value in door.found_inside(ours).items()}

    def settled(self, pending: FrozenSet[Key], *states: State) -> List[str]:
        return [name for door in self._doors.values() for name in door.settled(pending, *states)]

    def edited(self, current: State, desired: State) -> FrozenSet[Key]:
        return frozenset().union(*(door.edited(current, desired) for door in self._doors.values()))

    def marks(self, things: Iterable[Object]) -> Dict[str, str]:
        listed = [*things]
        return {name: mark for door in self._doors.values() for name, mark in door.marks(listed).items()}

    def foresee(self, changes: Sequence[Change], owned: FrozenSet[Key]) -> None:
        for door in self._doors.values():
            door.foresee(changes, owned)

    def finish(self, desired: State) -> None:
        for door in self._doors.values():
            door.finish(desired)

    def apply(self, changes: Sequence[Change]) -> None:
        """What goes, goes first and in the reverse order; then the rest."""
        going = [change for change in changes if change.action == DELETE]
        coming = [change for change in changes if change.action != DELETE]
        for kind, door in reversed(list(self._doors.items())):
            door.apply(_of_kind(going, kind))
        for kind, door in self._doors.items():
            door.apply(_of_kind(coming, kind))


def _of_kind(changes: Sequence[Change], kind: str) -> List[Change]:
    return [change for change in changes if change.subject.kind == kind]
