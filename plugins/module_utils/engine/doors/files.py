# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to files that we write whole."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence

from ..diff import Change
from ..errors import ApplyError, ConflictError, Problem
from ..kernel import disk
from ..state import File, Key, Object, State, state_of
from .door import Door
from .written import edited, mark

ABSENT = "absent"


class Files(Door):
    """Door to `File`. `before` tells which folders we made, and so may take away once they are empty.

    `origin` tells the scope of a file of the layer by its path. `written` has the marks of files that others may edit,
    None where all are ours alone.
    """

    def __init__(
        self, before: Mapping[str, str], origin: Callable[[str], str], written: Optional[Mapping[str, str]] = None
    ) -> None:
        self._before = before
        self._origin = origin
        self._written = written

    def observe(self, desired: State, owned: FrozenSet[Key]) -> State:
        wanted = [thing for thing in desired.values() if isinstance(thing, File)]
        let_go = [
            File(name, "", origin=self._origin(name)) for kind, name in sorted(owned - desired.keys()) if kind == "file"
        ]
        found: List[File] = []
        foreign: List[Problem] = []
        for file in [*wanted, *let_go]:
            try:
                content = _read(file.name)
            except OSError as error:
                foreign.append(Problem(file.name, f"cannot be read as a file: {error.strerror}: move it away"))
                continue
            if content is None and file not in wanted and self._is_begun(Path(file.name)):
                content = ""
            if content is None:
                continue
            if file.key not in owned:
                foreign.append(
                    Problem(
                        file.name, "exists and is not managed by wharf.network: move it away, or its lines elsewhere"
                    )
                )
            found.append(File(file.name, content, file.in_place, file.origin))
        if foreign:
            raise ConflictError(*foreign)
        return state_of([*found])

    def marked(self, usual: State) -> FrozenSet[Key]:
        """Files that begin as ours do: with a line that says whose they are."""
        files = (thing for thing in usual.values() if isinstance(thing, File))
        return frozenset(
            file.key for file in files if content_of(file.name).splitlines()[:1] == file.content.splitlines()[:1]
        )

    def _is_begun(self, path: Path) -> bool:
        """Whether a run was killed over it: its draft is left, or an empty folder that was made for it."""
        return _draft(path).exists() or any(not any(folder.iterdir()) for folder in self._made_for(path))

    def _made_for(self, path: Path) -> List[Path]:
        """The folders that were made for a file, as far as they are there, the inner ones first."""
        return [folder for folder in path.parents if self._before.get(str(folder)) == ABSENT and folder.is_dir()]

    def edited(self, current: State, desired: State) -> FrozenSet[Key]:
        return edited(current, desired, File, self._written) if self._written is not None else frozenset()

    def marks(self, things: Iterable[Object]) -> Dict[str, str]:
        if self._written is None:
            return {}
        return {thing.name: mark(thing.content) for thing in things if isinstance(thing, File)}

    def found(self, new: Sequence[Object]) -> Dict[str, str]:
        folders = {str(folder) for thing in new if isinstance(thing, File) for folder in Path(thing.name).parents}
        return {folder: ABSENT for folder in sorted(folders) if not os.path.isdir(folder)}

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            try:
                if isinstance(change.after, File):
                    self._make(change.after)
                else:
                    self._remove(Path(change.subject.name))
            except OSError as error:
                raise ApplyError(f"{change.subject.name}: {error.strerror}") from error

    def _make(self, file: File) -> None:
        stood = os.path.lexists(file.name)
        try:
            _write(file)
        except OSError:
            with suppress(OSError):
                if stood:
                    _draft(Path(file.name)).unlink(missing_ok=True)
                else:
                    self._remove(Path(file.name))
            raise

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        _draft(path).unlink(missing_ok=True)
        for folder in self._made_for(path):
            if not any(folder.iterdir()):
                folder.rmdir()


def _read(path: str) -> Optional[str]:
    """The content, or None where there is no such file. A link is not followed: it may lead to somebody else's.

    Raises:
        OSError: something else stands there.
    """
    try:
        # Not waiting for whoever is to write a pipe, or holds a lease.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, encoding="utf-8", errors="surrogateescape") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        return file.read()


def content_of(path: str) -> str:
    """The content; empty where there is no file that could be one of ours."""
    try:
        return _read(path) or ""
    except OSError:
        return ""


def _draft(path: Path) -> Path:
    """Hidden, so that who reads all files of a folder passes it over."""
    return path.with_name(f".{path.name}.wharf-new")


def _write(file: File) -> None:
    """In place where a container may hold the inode, else by a rename: nobody finds half a file, or boots with it."""
    os.makedirs(os.path.dirname(file.name), exist_ok=True)
    target = file.name if file.in_place else str(_draft(Path(file.name)))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(target, flags, 0o644)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as opened:
        os.fchmod(descriptor, 0o644)
        opened.write(file.content)
    if target != file.name:
        disk.settle(target)
        os.replace(target, file.name)
