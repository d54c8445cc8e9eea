# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the files of names in containers that somebody else runs.

Each is there before us, and is given back. A container holds what is mounted into it by its inode, so all are written
in place.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..diff import Change
from ..errors import ApplyError, ConflictError, Problem
from ..kernel.file_owner import owner_of
from ..kernel.processes import birth
from ..state import ContainerFile, Key, Object, State, state_of
from . import runtimes
from .door import Door
from .written import edited, mark

_WRITING = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class ContainerFiles(Door):
    """Door to `ContainerFile`. `before` has the contents that were found, `written` the marks of what we wrote, by the
    object's name.
    """

    def __init__(self, before: Mapping[str, str], written: Mapping[str, str]) -> None:
        self._before = before
        self._written = written

    def pending(self, desired: State) -> FrozenSet[Key]:
        files = [thing for thing in desired.values() if isinstance(thing, ContainerFile)]
        return frozenset(thing.key for thing in files if runtimes.running(thing.place[0]) is None)

    def observe(self, desired: State, owned: FrozenSet[Key]) -> State:
        """What stands in the place of each. One that is let go is ours as long as it is not what was found."""
        wanted = [thing.name for thing in desired.values() if isinstance(thing, ContainerFile)]
        let_go = [name for kind, name in sorted(owned - desired.keys()) if kind == "container_file"]
        found: List[Object] = []
        problems: List[Problem] = []
        for name in [*wanted, *let_go]:
            try:
                content = _read(name)
            except OSError as error:
                problems.append(Problem(name, f"cannot be read as a file: {error.strerror}: move it away"))
                continue
            if content is not None and (name in wanted or content != self._before.get(name)):
                found.append(ContainerFile(name, content))
        if problems:
            raise ConflictError(*problems)
        return state_of(found)

    def edited(self, current: State, desired: State) -> FrozenSet[Key]:
        return edited(current, desired, ContainerFile, self._written, _life)

    def marks(self, things: Iterable[Object]) -> Dict[str, str]:
        files = (thing for thing in things if isinstance(thing, ContainerFile))
        return {thing.name: mark(thing.content, _life(thing.name)) for thing in files}

    def found(self, new: Sequence[Object]) -> Dict[str, str]:
        contents = {thing.name: _read(thing.name) for thing in new if isinstance(thing, ContainerFile)}
        return {name: content for name, content in contents.items() if content is not None}

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            name = change.subject.name
            content = change.after.content if isinstance(change.after, ContainerFile) else self._before.get(name)
            try:
                _write(name, content)
            except OSError as error:
                raise ApplyError(f"{name}: {error.strerror}") from error


def _life(name: str) -> str:
    """Which of its lives the container is in: each has a first process of its own."""
    container = runtimes.running(ContainerFile(name, "").place[0])
    return birth(container.pid) if container else ""


def _read(name: str) -> Optional[str]:
    """The content, or None where there is no such file, or no such container.

    Raises:
        OSError: something else stands there.
    """
    try:
        with _folder(name) as (folder, base):
            descriptor = os.open(base, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    with open(descriptor, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _write(name: str, content: Optional[str]) -> None:
    with _folder(name) as (folder, base):
        if content is None:
            os.unlink(base, dir_fd=folder)
            return
        try:
            descriptor = os.open(base, _WRITING, dir_fd=folder)
        except FileNotFoundError:
            with owner_of(folder):
                descriptor = os.open(base, _WRITING | os.O_CREAT, 0o644, dir_fd=folder)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)


@contextmanager
def _folder(name: str) -> Iterator[Tuple[int, str]]:
    """The folder of a file, opened, and the file's name in it.

    What is in a container's root was made by its owner, who may not lead us out of it by a link.

    Raises:
        OSError: the container does not run, or the folder is a link.
    """
    sandbox, path = ContainerFile(name, "").place
    container = runtimes.running(sandbox)
    if container is None:
        raise FileNotFoundError(f"{sandbox} does not run")
    kept = container.files.get(os.path.basename(path))
    root = os.open(os.path.dirname(kept) if kept else container.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    opened = [root]
    try:
        for part in [] if kept else os.path.dirname(path).strip("/").split("/"):
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            opened.append(os.open(part, flags, dir_fd=opened[-1]))
        yield opened[-1], os.path.basename(kept or path)
    finally:
        for descriptor in opened:
            os.close(descriptor)
