# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files somebody has edited since wharf.network wrote them, and may keep.

The ledger has a digest of what was written last, and one of what was about to be written when a run was killed.
"""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import FrozenSet, Mapping, Sequence, Type, Union

from ...state import ContainerFile, Digest, File, Key, State


def digest(content: str, started: str = "") -> Digest:
    return Digest(hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:12], started)


def edited(
    current: State,
    desired: State,
    kind: Type[Union[File, ContainerFile]],
    digests: Mapping[str, Sequence[Digest]],
    started: Mapping[str, str] = MappingProxyType({}),
) -> FrozenSet[Key]:
    """Those files of this kind that are edited. `started` says by its name when the container of a file has started."""
    pairs = ((key, thing, desired.get(key)) for key, thing in current.items())
    return frozenset(
        key
        for key, now, wanted in pairs
        if isinstance(now, kind) and isinstance(wanted, kind)
        if is_edited(digests.get(now.name, ()), now.content, wanted.content, started.get(now.name, ""))
    )


def is_written(digests: Sequence[Digest], now: str) -> bool:
    """Whether wharf.network wrote what is there `now`, whenever the container started."""
    return digest(now).content in [each.content for each in digests]


def is_edited(digests: Sequence[Digest], now: str, wanted: str, started: str = "") -> bool:
    """Whether what is there `now` is neither what wharf.network wrote nor what is wanted there.

    A file that is written in part counts as written, and so does an empty file, and one with empty lines at its end
    (see `overwrite`). If the container has started again since the file was written, its runtime may have made it anew.
    """
    known = [each for each in digests if each.started == started]
    is_managed = wanted.startswith(now) or any(digest(e, started) in known for e in (now, now.rstrip("\n") + "\n"))
    return bool(known) and not is_managed
