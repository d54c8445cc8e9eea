# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of containers somebody has edited since we wrote them, and which are his to keep.

The ledger has a mark of what we wrote last, or were about to write when a run was killed.
"""

from __future__ import annotations

import hashlib
from typing import Callable, FrozenSet, Mapping, Type, Union

from ..state import ContainerFile, File, Key, State


def digest(content: str, life: str = "") -> str:
    """What the ledger keeps of a file. `life` is that of the container in which it was written."""
    hashed = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{hashed}@{life}" if life else hashed


def edited(
    current: State,
    desired: State,
    kind: Type[Union[File, ContainerFile]],
    marks: Mapping[str, str],
    life: Callable[[str], str] = lambda _name: "",
) -> FrozenSet[Key]:
    """Those files of this kind that are edited."""
    pairs = ((key, thing, desired.get(key)) for key, thing in current.items())
    return frozenset(
        key
        for key, now, wanted in pairs
        if isinstance(now, kind) and isinstance(wanted, kind)
        if is_edited(marks.get(now.name, ""), now.content, wanted.content, life(now.name))
    )


def is_written(marks: str, now: str) -> bool:
    """Whether we wrote what is there `now`, in whichever life of the container."""
    return digest(now) in [each.partition("@")[0] for each in marks.split()]


def is_edited(marks: str, now: str, wanted: str, life: str = "") -> bool:
    """Whether what is there `now` is neither of ours nor what we want there.

    What we have only begun to write is ours, and so is an empty file, and one with empty lines at its end (see
    `overwrite`). In another life than that in which we wrote it, the container's runtime may have made the file anew.
    """
    known = [each for each in marks.split() if each.partition("@")[2] == life]
    is_ours = wanted.startswith(now) or any(digest(each, life) in known for each in (now, now.rstrip("\n") + "\n"))
    return bool(known) and not is_ours
