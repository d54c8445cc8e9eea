# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes files that are written whole."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence

from ...diff import Change
from ...errors import ConflictError, Problem
from ...kernel import disk, selinux
from ...state import Digest, File, Key, State, state_of
from ..resource import Observation, Resource
from .edits import digest, edited

ABSENT = "absent"

_RUN = Path("/run")


class Files(Resource):
    """Observes and changes `File`. `prior` has the folders that wharf.network made, and removes once they are empty.

    `digests` has those of files that an admin may edit, None where nobody else may write the layer's files.
    """

    kinds = frozenset(["file"])

    def __init__(self, prior: Mapping[str, str], digests: Optional[Mapping[str, Sequence[Digest]]] = None) -> None:
        self._prior = prior
        self._digests = digests

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        wanted = [thing for thing in desired.values() if isinstance(thing, File)]
        undeclared = [File(name, "") for kind, name in sorted(owned - desired.keys()) if kind == "file"]
        existing: List[File] = []
        problems: List[Problem] = []
        begun = set()
        for file in [*wanted, *undeclared]:
            try:
                content = _read(file.name)
            except OSError as error:
                problems.append(_problem(file, f"cannot be read as a file: {error.strerror}: move it away"))
                continue
            if content is None and file.key not in desired and self._is_begun(Path(file.name)):
                content = ""
            if content is None:
                continue
            if file.key not in owned:
                remedy = "move it away, or its lines elsewhere"
                problems.append(_problem(file, f"exists and is not managed by wharf.network: {remedy}"))
            elif not file.in_place and os.path.exists(disk.draft(file.name)):
                # To be written again, also where it is what it was before: so the draft goes.
                content = ""
                begun.add(file.key)
            # Of other files the mode is not looked at.
            is_script = (file.executable or file.key not in desired) and os.access(file.name, os.X_OK)
            existing.append(File(file.name, content, _selinux_type(file), file.in_place, is_script))
        if problems:
            raise ConflictError(*problems)
        current = state_of([*existing])
        prior = _missing_folders(file.name for file in wanted if file.key not in owned)
        if self._digests is None:
            return Observation(current, desired, partial=frozenset(begun), prior=prior)
        return Observation(
            current,
            desired,
            partial=frozenset(begun),
            edited=edited(current, desired, File, self._digests),
            prior=prior,
            digests={file.name: digest(file.content) for file in wanted},
        )

    def recover(self, usual: State) -> FrozenSet[Key]:
        """Files that begin as those of wharf.network do: with a line that says who writes them."""
        files = (thing for thing in usual.values() if isinstance(thing, File))
        return frozenset(
            file.key
            for file in files
            if disk.content_of(file.name, follow=False).splitlines()[:1] == file.content.splitlines()[:1]
        )

    def _is_begun(self, path: Path) -> bool:
        """Whether a run was killed over it: its draft is left, or an empty folder that was made for it."""
        return os.path.exists(disk.draft(str(path))) or any(_is_empty(folder) for folder in self._made_for(path))

    def _made_for(self, path: Path) -> List[Path]:
        """The folders that were made for a file, as far as they are there, the inner ones first."""
        return [folder for folder in path.parents if self._prior.get(str(folder)) == ABSENT and folder.is_dir()]

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        for change in changes:
            with disk.writing(change.subject.placed(change.subject.name)):
                if isinstance(change.after, File) and change.fields == ("selinux_type",):
                    _set_selinux_type(change.after)
                elif isinstance(change.after, File):
                    self._make(change.after)
                else:
                    self._remove(Path(change.subject.name))
        return {}

    def _make(self, file: File) -> None:
        stood = os.path.lexists(file.name)
        try:
            _write(file)
        except OSError:
            if not stood:
                with suppress(OSError):
                    self._remove(Path(file.name))
            raise

    def _remove(self, path: Path) -> None:
        disk.remove(str(path))
        for folder in self._made_for(path):
            if not _is_empty(folder):
                break
            folder.rmdir()


def _problem(file: File, message: str) -> Problem:
    return Problem(file.place, f"{file.name} {message}") if file.place else Problem(file.name, message)


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _missing_folders(paths: Iterable[str]) -> Dict[str, str]:
    innermost = {os.path.dirname(path) for path in paths}
    folders = innermost | {str(folder) for path in innermost for folder in Path(path).parents}
    return {folder: ABSENT for folder in sorted(folders) if not os.path.isdir(folder)}


def _read(path: str) -> Optional[str]:
    """The content, or None where there is no such file. A link is not followed: it may lead to a third-party file.

    Raises:
        OSError: something that is no file is there.
    """
    try:
        return disk.text_of(path, follow=False)
    except FileNotFoundError:
        return None


def _selinux_type(file: File) -> str:
    """Of the file and its folders the type that is not the wanted one, if there is one."""
    if not file.selinux_type:
        return ""
    types = map(selinux.type_of, (file.name, *_folders(file)))
    return next((type_ for type_ in types if type_ != file.selinux_type), file.selinux_type)


def _folders(file: File) -> List[str]:
    """Those that get the SELinux type of the file."""
    return [str(folder) for folder in Path(file.name).parents if _RUN in folder.parents]


def _set_selinux_type(file: File) -> None:
    """The file keeps the time at which it was written. It is opened for writing, so that a process which watches the
    folder reads it again.
    """
    _set_selinux_type_of_folders(file)
    descriptor = os.open(file.name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        selinux.set_type(descriptor, file.selinux_type)
    finally:
        os.close(descriptor)


def _set_selinux_type_of_folders(file: File) -> None:
    for folder in _folders(file):
        selinux.set_type(folder, file.selinux_type)


def _write(file: File) -> None:
    """In place where a container may hold the inode, else by a rename: nobody finds half a file, or boots with it."""
    os.makedirs(os.path.dirname(file.name), exist_ok=True)
    if file.selinux_type:
        _set_selinux_type_of_folders(file)
    write = disk.write if file.in_place else disk.replace
    write(file.name, file.content, 0o755 if file.executable else 0o644, file.selinux_type)
