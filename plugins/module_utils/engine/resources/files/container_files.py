# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes the files of names in containers that are run by third parties.

What a file replaces is given back, also in the files of a machine that does not run. A container holds what is mounted
into it by its inode, so each file is written in place, but for a link, which is replaced. Whoever is root in a
container made what is there: it must neither lead the host anywhere else nor keep it from being brought to what is
declared. So a file that cannot be read or written is pending, alone. A file system of which the kernel waits for a
process or another host, such as FUSE and NFS, can still keep a run waiting.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from ...diff import Change
from ...kernel.processes import start_time
from ...runtimes.namespace_processes import NoFilesError, Running, name_of, opened_etc, opened_folder
from ...state import DOCKER, MACHINE, ContainerFile, Digest, Key, Object, SandboxRef, State, state_of
from ..links.stacks import is_present
from ..resource import Observation, Resource
from .edits import digest, edited, is_written
from .etc_entries import ABSENT, EtcEntry, entry_of, opened, put, reason_of, refuse_unless_replaceable

# Of namespaces that have a name: `ip netns exec` binds these files over those in /etc.
_FILES_OF_NAMED = "/etc/netns"

_DOCKERS_RESOLVER = "127.0.0.11"


class ContainerFiles(Resource):
    """Observes and changes `ContainerFile`.

    `prior` has, by its name, the entry that each file replaced; the folders that were made; and of each sandbox which
    container it was. `digests` are those of the files as wharf.network wrote them.
    """

    kinds = frozenset(["container_file"])

    def __init__(self, prior: Mapping[str, str], digests: Mapping[str, Sequence[Digest]]) -> None:
        self._prior = prior
        self._digests = digests
        self._refused: Dict[Key, Tuple[ContainerFile, str]] = {}

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        """Files that are left to Docker's own resolver are not desired. A file that cannot be written is pending."""
        self._refused = {}
        files = [file for file in _files(desired.values()) if not _is_left_to_docker(file)]
        awaited = {file.key for file in files if not is_present(file.sandbox)}
        wanted = state_of([file for file in files if file.key not in awaited and self._can_become(file)])
        existing = self._current(wanted, owned)
        unseen = awaited | self._refused.keys()
        current = {key: thing for key, thing in existing.items() if key not in unseen}
        others = {file.key: "" for file in files if file.key not in wanted}
        started = {file.name: _started(file) for file in _files(wanted.values())}
        return Observation(
            current,
            wanted,
            pending={**others, **self._reasons()},
            edited=edited(current, wanted, ContainerFile, self._digests, started),
            prior=self._new_prior([file for file in _files(wanted.values()) if self._is_new(file, owned)]),
            digests={file.name: digest(file.content, started[file.name]) for file in _files(wanted.values())},
        )

    def _reasons(self) -> Dict[Key, str]:
        """For each file that cannot be written one sentence for all such files of its container."""
        alike: Dict[Tuple[SandboxRef, str], List[ContainerFile]] = {}
        for file, reason in self._refused.values():
            alike.setdefault((file.sandbox, reason), []).append(file)
        return {
            file.key: f"{sandbox}: {', '.join(each.path for each in found)} cannot be written: {reason}"
            for (sandbox, reason), found in alike.items()
            for file in found
        }

    def _can_become(self, file: ContainerFile) -> bool:
        try:
            return self._is_free(file, EtcEntry.file(file.content))
        except FileNotFoundError:
            return False

    def tolerate(self, left: Sequence[Change]) -> Mapping[Key, str]:
        why = "another process changes it at the same time"
        self._refused = {file.key: (file, why) for file in _files(change.subject for change in left)}
        return self._reasons()

    def _current(self, desired: State, owned: FrozenSet[Key]) -> State:
        """What is in the place of each. One that is no longer declared is managed until it is what it was before."""
        going = [key for key in sorted(owned - desired.keys() - self._refused.keys()) if key[0] in self.kinds]
        undeclared = [file for file in (ContainerFile.named(name) for _kind, name in going) if self._is_reachable(file)]
        current: List[Object] = []
        for file in [*_files(desired.values()), *undeclared]:
            # A container may end meanwhile.
            with suppress(FileNotFoundError), self._noting(file):
                existing = _existing_entry(file, self._tree(file))
                if existing.exists if file.key in desired else self._is_to_be_given_back(file, existing):
                    current.append(replace(file, content=existing.content))
        current += [file for file in undeclared if any(map(self._is_empty, _folders_of_named(file)))]
        return state_of(current)

    def _is_empty(self, folder: str) -> bool:
        """Whether this folder was made for files, and has none: a run was killed before it removed the folder."""
        return self._prior.get(folder) == ABSENT.note and os.path.isdir(folder) and not os.listdir(folder)

    def _prior_entry(self, name: str) -> EtcEntry:
        return EtcEntry.noted(self._prior.get(name, ABSENT.note))

    def _is_to_be_given_back(self, file: ContainerFile, existing: EtcEntry) -> bool:
        prior = self._prior_entry(file.name)
        if existing == prior or _is_left_to_docker(file):
            return False
        # Where a machine does not run, another tree may have taken the place of its own.
        tree = self._tree(file)
        if tree and _container(file) is None and not is_written(self._digests.get(file.name, ()), existing.content):
            return False
        return self._is_free(file, prior)

    def _is_free(self, file: ContainerFile, coming: EtcEntry) -> bool:
        """Whether nothing keeps this entry from coming there; what does is noted.

        Raises:
            FileNotFoundError: the container does not run.
        """
        with self._noting(file):
            _refuse_unless_replaceable(file, coming, self._tree(file))
        return file.key not in self._refused

    @contextmanager
    def _noting(self, file: ContainerFile) -> Iterator[None]:
        """What is in the way of a file concerns no other.

        Raises:
            FileNotFoundError: the container does not run.
        """
        try:
            yield
        except FileNotFoundError:
            raise
        except NoFilesError as error:
            self._refused[file.key] = file, str(error)
        except OSError as error:
            self._refused[file.key] = file, reason_of(error)

    def _is_reachable(self, file: ContainerFile) -> bool:
        """Not where its container has ended, or where several live by now, and it is unknown whose it was."""
        return bool(_folder_of_named(file) or self._tree(file) or _container(file))

    def _tree(self, file: ContainerFile) -> str:
        """Where a machine keeps its files while it does not run; empty for all others."""
        return self._prior.get(_entry_of_id(file), "") if file.sandbox.kind == MACHINE else ""

    def _new_prior(self, new: Sequence[ContainerFile]) -> Dict[str, str]:
        """What these files, which are not written yet, will replace."""
        prior: Dict[str, str] = {}
        for file in new:
            with suppress(FileNotFoundError), self._noting(file):
                folders = [path for path in _folders_of_named(file) if not os.path.isdir(path)]
                prior.update(dict.fromkeys(folders, ABSENT.note))
                prior[file.name] = (ABSENT if folders else _existing_entry(file)).note
                prior.update({_entry_of_id(file): each for each in [_id(file)] if each})
        return prior

    def _is_new(self, file: ContainerFile, owned: FrozenSet[Key]) -> bool:
        """Whether the file was never written, or is that of a container that was made anew."""
        if file.key not in owned or file.name not in self._prior:
            return file.key not in owned
        own = _id(file)
        return self._prior.get(_entry_of_id(file), own) != own

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        self._refused = {}
        for change, file in zip(changes, _files(change.subject for change in changes)):
            coming = EtcEntry.file(file.content) if change.after else self._prior_entry(file.name)
            # A container that has ended meanwhile has its files no more, and the next run sees that.
            with suppress(FileNotFoundError), self._noting(file):
                self._put(file, coming)
        return self._reasons()

    def _put(self, file: ContainerFile, coming: EtcEntry) -> None:
        named = _folder_of_named(file)
        if named:
            os.makedirs(named, exist_ok=True)
        with _folder(file, self._tree(file)) as (folder, base):
            put(folder, base, file.path, coming)
        for made in filter(self._is_empty, _folders_of_named(file)):
            os.rmdir(made)


def _started(file: ContainerFile) -> str:
    """When the container has started: each time it has another first process."""
    container = _container(file)
    return start_time(container.pid) if container else ""


def _files(objects: Iterable[Object]) -> List[ContainerFile]:
    return [thing for thing in objects if isinstance(thing, ContainerFile)]


def _is_left_to_docker(file: ContainerFile) -> bool:
    """Whether it leads to the resolver that Docker has inside of containers on networks of its own."""
    if file.sandbox.kind != DOCKER or os.path.basename(file.path) != "resolv.conf":
        return False
    with suppress(NoFilesError, OSError):
        return f"nameserver {_DOCKERS_RESOLVER}\n" in _existing_entry(file).content
    return False


def _refuse_unless_replaceable(file: ContainerFile, coming: EtcEntry, tree: str) -> None:
    """
    Raises:
        NoFilesError, OSError: something is in the way.
        FileNotFoundError: the container does not run.
    """
    named = _folder_of_named(file)
    if named and not os.path.isdir(named):
        return
    with _folder(file, tree) as (folder, base):
        refuse_unless_replaceable(folder, base, file.path, coming)


def _existing_entry(file: ContainerFile, tree: str = "") -> EtcEntry:
    """
    Raises:
        NoFilesError: it is no file.
        FileNotFoundError: the container does not run, and has no tree.
    """
    with _folder(file, tree) as place, opened(*place) as descriptor:
        return entry_of(descriptor, file.path)


def _folder_of_named(file: ContainerFile) -> str:
    """The folder of the files of a namespace that has a name; empty for all others."""
    return f"{_FILES_OF_NAMED}/{name_of(file.sandbox)}" if name_of(file.sandbox) else ""


def _folders_of_named(file: ContainerFile) -> Sequence[str]:
    """The folder of the files of a namespace that has a name, and the folder in which that is; the inner one first."""
    named = _folder_of_named(file)
    return (named, _FILES_OF_NAMED) if named else ()


def _entry_of_id(file: ContainerFile) -> str:
    """The name in the ledger of the id of the container that the file is in."""
    return f"{file.sandbox} id"


def _id(file: ContainerFile) -> str:
    container = _container(file)
    return container.id if container else ""


def _container(file: ContainerFile) -> Optional[Running]:
    """Whose file it is, where that is known; it is nobody's that `ip netns exec` gives to whatever it runs."""
    with suppress(NoFilesError):
        return None if name_of(file.sandbox) else _running(file.sandbox)
    return None


def _running(sandbox: SandboxRef) -> Optional[Running]:
    """
    Raises:
        NoFilesError: several run in it.
    """
    # Only for what somebody else runs: most hosts have namespaces alone, and do without this.
    from ...runtimes.runtimes import running

    return running(sandbox)


@contextmanager
def _folder(file: ContainerFile, tree: str) -> Iterator[Tuple[int, str]]:
    """The folder of a file, opened, and the file's name in it; if the container does not run, that in its `tree`.

    Raises:
        NoFilesError: the container has no such folder.
        FileNotFoundError: the container does not run, and has no tree.
    """
    base = os.path.basename(file.path)
    named = _folder_of_named(file)
    container = None if named else _running(file.sandbox)
    if container:
        kept = container.files.get(base, "")
        with opened_folder(os.path.dirname(kept)) if kept else opened_etc(container.root) as folder:
            yield folder, os.path.basename(kept) or base
    elif named or tree:
        with opened_folder(named) if named else opened_etc(tree) as folder:
            yield folder, base
    else:
        raise FileNotFoundError(f"{file.sandbox} does not run")
