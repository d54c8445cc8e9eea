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
    """The objects of a resource on the host, and what the ledger must know before they change.

    `current` are the desired objects that exist, and those that wharf.network made and that are not desired any more.
    `desired` are the desired objects without the `pending` ones, as they will be observed once they exist. `partial`
    are those of the current objects that could not be made again from what is observed of them. `pending` are not
    made or changed inside their sandboxes, each with the reason, or an empty text where the container does not run. A
    pending object that exists may be among the desired ones, with what the host sets on its own side. `edited` are
    files that an admin has changed since wharf.network wrote them.

    `prior` are, by name, the values and files that new objects will replace; a teardown gives them back. `released` are
    the names of prior values that need not be given back any more. `digests` are those of the desired files, by which
    edited ones are reported later. `canonical` are texts of rules as nft lists them, by a hash of the text that nft was
    given.
    """

    current: State
    desired: State
    partial: FrozenSet[Key] = frozenset()
    pending: Mapping[Key, str] = field(default_factory=dict)
    edited: FrozenSet[Key] = frozenset()
    prior: Mapping[str, str] = field(default_factory=dict)
    released: Sequence[str] = ()
    digests: Mapping[str, Digest] = field(default_factory=dict)
    canonical: Mapping[str, str] = field(default_factory=dict)


class Resource:
    """Reads and writes the objects of `kinds`, in one run. Between its calls it keeps only what a rollback needs, such
    as open namespaces, and what it has read and not changed since.

    `goes_first`: its objects are deleted before those of any resource are made, since they might be in the way.
    """

    kinds: FrozenSet[str] = frozenset()
    goes_first = False

    def require(self, new: State) -> None:
        """See that the host has what it takes to make these objects; called only if something changes.

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
        """Make the changes, in an order that never opens a closed path. By then the ledger has noted all that `observe`
        has said must be known before.

        Returns:
            The objects that were refused inside a single sandbox, each with the reason. They may be changed in part.

        Raises:
            ApplyError, OSError: the kernel, a program or the disk refused a change.
        """
        raise NotImplementedError

    def tolerate(self, left: Sequence[Change]) -> Mapping[Key, str]:
        """The objects, each with the reason, whose differences after `apply` concern a single sandbox, and may stay."""
        return {}

    def recover(self, usual: State) -> FrozenSet[Key]:
        """The objects whose marks show that wharf.network made them, for a new ledger in place of a lost one.

        `usual` are the objects that every host has in this layer.
        """
        return frozenset(self.observe({}, frozenset()).current)
