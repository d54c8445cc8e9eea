# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of containers somebody has edited since we wrote them, and which are his to keep.

The ledger has a digest of what we wrote last, or were about to write when a run was killed.
"""

from __future__ import annotations

import hashlib
from typing import Callable, FrozenSet, Mapping, Type, Union

from ...state import ContainerFile, File, Key, State


def digest(content: str, started: str = "") -> str:
    """What the ledger keeps of a file that was written in a container which `started` then."""
    hashed = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{hashed}@{started}" if started else hashed


def edited(
    current: State,
    desired: State,
    kind: Type[Union[File, ContainerFile]],
    digests: Mapping[str, str],
    started: Callable[[str], str] = lambda _name: "",
) -> FrozenSet[Key]:
    """Those files of this kind that are edited."""
    pairs = ((key, thing, desired.get(key)) for key, thing in current.items())
    return frozenset(
        key
        for key, now, wanted in pairs
        if isinstance(now, kind) and isinstance(wanted, kind)
        if is_edited(digests.get(now.name, ""), now.content, wanted.content, started(now.name))
    )


def is_written(digests: str, now: str) -> bool:
    """Whether we wrote what is there `now`, whenever the container started."""
    return digest(now) in [each.partition("@")[0] for each in digests.split()]


def is_edited(digests: str, now: str, wanted: str, started: str = "") -> bool:
    """Whether what is there `now` is neither of ours nor what we want there.

    What we have only begun to write is ours, and so is an empty file, and one with empty lines at its end (see
    `overwrite`). If the container has started again since we wrote it, its runtime may have made the file anew.
    """
    known = [each for each in digests.split() if each.partition("@")[2] == started]
    is_ours = wanted.startswith(now) or any(digest(each, started) in known for each in (now, now.rstrip("\n") + "\n"))
    return bool(known) and not is_ours
