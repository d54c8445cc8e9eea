# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface of all resources: each is the only place that reads and writes some kinds of objects on the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import FrozenSet, Mapping, Sequence

from ..diff import Change
from ..state import Digest, Key, State


@dataclass(frozen=True)
class Observation:
    """What a resource sees of its kinds of objects, and what the ledger must know before they change.

    `current` has the desired objects that exist, and those that wharf.network made and nobody desires any more.
    `desired` has the desired objects in the words in which `current` would report them, without the `pending` ones.
    `pending` are left alone: each with the reason, or an empty text where the container does not run.
    `edited` are files that an admin has changed since wharf.network wrote them.

    `prior` are the values and files found where new objects will be, by name; they are given back one day. `released`
    are names of earlier prior values that have been given back. `digests` tell the desired files from edited ones.
    `canonical` are texts of rules as nft lists them, by a hash of the text that nft was given.
    """

    current: State
    desired: State
    pending: Mapping[Key, str] = field(default_factory=dict)
    edited: FrozenSet[Key] = frozenset()
    prior: Mapping[str, str] = field(default_factory=dict)
    released: Sequence[str] = ()
    digests: Mapping[str, Digest] = field(default_factory=dict)
    canonical: Mapping[str, str] = field(default_factory=dict)


class Resource:
    """Reads and writes the objects of `kinds`.

    `goes_first`: objects go before any others come, since they would be in the way of what replaces them.
    `observes_all`: of an object that nobody desires any more, all is observed that it takes to make it again.
    """

    kinds: FrozenSet[str] = frozenset()
    goes_first = False
    observes_all = True

    def require(self, new: State) -> None:
        """See that the host has what is needed to change objects into these; called only if something changes.

        Raises:
            ConflictError: a program, library or feature of the kernel is missing, or refuses an object.
        """

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        """Read what exists. `owned` are the objects that wharf.network may have made, by the ledger.

        Raises:
            ConflictError: an object that wharf.network does not manage is in the place of a desired one.
        """
        raise NotImplementedError

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        """Make the changes, in an order that never opens a closed path.

        Returns:
            What was refused inside a single sandbox and has been taken back there, each with the reason.

        Raises:
            ApplyError, OSError: the kernel, a program or the disk refused a change.
        """
        raise NotImplementedError

    def tolerate(self, left: Sequence[Change]) -> Mapping[Key, str]:
        """Which of the differences that are left after `apply` may stay, since they are inside a single sandbox.

        Returns:
            Their keys, each with the reason.
        """
        return {}

    def recover(self, usual: State) -> FrozenSet[Key]:
        """The objects that their marks alone show to be made by wharf.network, where the ledger is lost.

        `usual` are the objects that every host has in this layer.
        """
        return frozenset(self.observe({}, frozenset()).current)
