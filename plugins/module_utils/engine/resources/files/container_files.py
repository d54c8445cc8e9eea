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
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from ...diff import Change
from ...kernel.processes import start_time
from ...runtimes.namespace_processes import NoFilesError, Running, name_of, opened_etc, opened_folder
from ...state import DOCKER, MACHINE, ContainerFile, Digest, Key, Object, SandboxRef, State, state_of
from ..links.stacks import is_present
from ..resource import Observation, Resource
from .edits import digest, edited, is_written
from .etc_entries import ABSENT, Entry, entry_of, opened, put, reason_of, refuse_unless_replaceable

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
        self._refused: Dict[str, str] = {}

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        """Files that are left to Docker's own resolver are not desired. A file that cannot be written is pending."""
        self._refused = {}
        files = [file for file in _files(desired.values()) if not _is_left_to_docker(file.name)]
        awaited = {file.key for file in files if not is_present(file.location[0])}
        wanted = state_of([file for file in files if file.key not in awaited and self._can_become(file)])
        standing = self._current(wanted, owned)
        unseen = awaited | {("container_file", name) for name in self._refused}
        current = {key: thing for key, thing in standing.items() if key not in unseen}
        others = {file.key: "" for file in files if file.key not in wanted}
        return Observation(
            current,
            wanted,
            pending={**others, **self._reasons()},
            edited=edited(current, wanted, ContainerFile, self._digests, _started),
            prior=self._new_prior([file for file in _files(wanted.values()) if self._is_new(file, owned)]),
            digests={file.name: digest(file.content, _started(file.name)) for file in _files(wanted.values())},
        )

    def _reasons(self) -> Dict[Key, str]:
        """For each file that cannot be written one sentence for all such files of its container."""
        paths: Dict[Tuple[SandboxRef, str], Dict[str, str]] = {}
        for name, reason in self._refused.items():
            sandbox, path = ContainerFile(name, "").location
            paths.setdefault((sandbox, reason), {})[name] = path
        return {
            ("container_file", name): f"{sandbox}: {', '.join(of_files.values())} cannot be written: {reason}"
            for (sandbox, reason), of_files in paths.items()
            for name in of_files
        }

    def _can_become(self, file: ContainerFile) -> bool:
        try:
            return self._is_free(file.name, Entry.file(file.content))
        except FileNotFoundError:
            return False

    def tolerate(self, left: Sequence[Change]) -> Mapping[Key, str]:
        self._refused = {change.subject.name: "another process changes it at the same time" for change in left}
        return self._reasons()

    def _current(self, desired: State, owned: FrozenSet[Key]) -> State:
        """What is in the place of each. One that is no longer declared is managed until it is what it was before."""
        wanted = [file.name for file in _files(desired.values())]
        going = [name for kind, name in sorted(owned - desired.keys()) if kind == "container_file"]
        undeclared = [name for name in going if name not in self._refused and self._is_reachable(name)]
        current: List[Object] = []
        for name in [*wanted, *undeclared]:
            # A container may end meanwhile.
            with suppress(FileNotFoundError), self._noting(name):
                standing = _standing(name, self._tree(name))
                if standing.exists if name in wanted else self._is_to_be_given_back(name, standing):
                    current.append(ContainerFile(name, standing.content))
        return state_of(current)

    def _prior_entry(self, name: str) -> Entry:
        return Entry.noted(self._prior.get(name, ABSENT.note))

    def _is_to_be_given_back(self, name: str, standing: Entry) -> bool:
        prior = self._prior_entry(name)
        if standing == prior or _is_left_to_docker(name):
            return False
        # Another tree may stand where that of a machine was which does not run.
        tree = self._tree(name)
        if tree and _container(name) is None and not is_written(self._digests.get(name, ()), standing.content):
            return False
        return self._is_free(name, prior)

    def _is_free(self, name: str, coming: Entry) -> bool:
        """Whether nothing keeps this entry from coming there; what does is noted.

        Raises:
            FileNotFoundError: the container does not run.
        """
        with self._noting(name):
            _refuse_unless_replaceable(name, coming, self._tree(name))
        return name not in self._refused

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """What is in the way of a file concerns no other.

        Raises:
            FileNotFoundError: the container does not run.
        """
        try:
            yield
        except FileNotFoundError:
            raise
        except NoFilesError as error:
            self._refused[name] = str(error)
        except OSError as error:
            self._refused[name] = reason_of(error)

    def _is_reachable(self, name: str) -> bool:
        """Not where its container has ended, or where several live by now, and nobody can tell whose it was."""
        return bool(_folder_of_named(name) or self._tree(name) or _container(name))

    def _tree(self, name: str) -> str:
        """Where a machine keeps its files while it does not run; empty for all others."""
        sandbox, _path = ContainerFile(name, "").location
        return self._prior.get(_entry_of_id(name), "") if sandbox.kind == MACHINE else ""

    def _new_prior(self, new: Sequence[ContainerFile]) -> Dict[str, str]:
        """What these files, which are not written yet, will replace."""
        prior: Dict[str, str] = {}
        for file in new:
            with suppress(FileNotFoundError), self._noting(file.name):
                named = _folder_of_named(file.name)
                prior.update({path: ABSENT.note for path in _with_parent(named) if not os.path.isdir(path)})
                prior[file.name] = (ABSENT if named in prior else _standing(file.name)).note
                prior.update({_entry_of_id(file.name): each for each in [_id(file.name)] if each})
        return prior

    def _is_new(self, file: ContainerFile, owned: FrozenSet[Key]) -> bool:
        """Whether the file was never written, or is that of a container that was made anew."""
        if file.key not in owned or file.name not in self._prior:
            return file.key not in owned
        own = _id(file.name)
        return self._prior.get(_entry_of_id(file.name), own) != own

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        self._refused = {}
        for change in changes:
            name, after = change.subject.name, change.after
            coming = Entry.file(after.content) if isinstance(after, ContainerFile) else self._prior_entry(name)
            # A container that has ended meanwhile has its files no more, and the next run sees that.
            with suppress(FileNotFoundError), self._noting(name):
                self._put(name, coming)
        return self._reasons()

    def _put(self, name: str, coming: Entry) -> None:
        _sandbox, path = ContainerFile(name, "").location
        named = _folder_of_named(name)
        if named:
            os.makedirs(named, exist_ok=True)
        with _folder(name, self._tree(name)) as (folder, base):
            put(folder, base, path, coming)
        for made in _with_parent(named):
            if self._prior.get(made) == ABSENT.note and not os.listdir(made):
                os.rmdir(made)


def _started(name: str) -> str:
    """When the container has started: each time it has another first process."""
    container = _container(name)
    return start_time(container.pid) if container else ""


def _files(objects: Iterable[Object]) -> List[ContainerFile]:
    return [thing for thing in objects if isinstance(thing, ContainerFile)]


def _is_left_to_docker(name: str) -> bool:
    """Whether it leads to the resolver that Docker has inside of containers on networks of its own."""
    sandbox, path = ContainerFile(name, "").location
    if sandbox.kind != DOCKER or os.path.basename(path) != "resolv.conf":
        return False
    with suppress(NoFilesError, OSError):
        return f"nameserver {_DOCKERS_RESOLVER}\n" in _standing(name).content
    return False


def _refuse_unless_replaceable(name: str, coming: Entry, tree: str = "") -> None:
    """
    Raises:
        NoFilesError, OSError: something is in the way.
        FileNotFoundError: the container does not run.
    """
    named = _folder_of_named(name)
    if named and not os.path.isdir(named):
        return
    _sandbox, path = ContainerFile(name, "").location
    with _folder(name, tree) as (folder, base):
        refuse_unless_replaceable(folder, base, path, coming)


def _standing(name: str, tree: str = "") -> Entry:
    """
    Raises:
        NoFilesError: it is no file.
        FileNotFoundError: the container does not run, and has no tree.
    """
    _sandbox, path = ContainerFile(name, "").location
    with _folder(name, tree) as place, opened(*place) as file:
        return entry_of(file, path)


def _folder_of_named(name: str) -> str:
    """The folder of the files of a namespace that has a name; empty for all others."""
    sandbox, _path = ContainerFile(name, "").location
    return f"{_FILES_OF_NAMED}/{name_of(sandbox)}" if name_of(sandbox) else ""


def _with_parent(named: str) -> Sequence[str]:
    return (named, _FILES_OF_NAMED) if named else ()


def _entry_of_id(name: str) -> str:
    """Under which name the ledger has which container it is that the files were in."""
    sandbox, _path = ContainerFile(name, "").location
    return f"{sandbox} id"


def _id(name: str) -> str:
    container = _container(name)
    return container.id if container else ""


def _container(name: str) -> Optional[Running]:
    """Whose file it is, where that is known; it is nobody's that `ip netns exec` gives to whatever it runs."""
    sandbox, _path = ContainerFile(name, "").location
    with suppress(NoFilesError):
        return None if name_of(sandbox) else _running(sandbox)
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
def _folder(name: str, tree: str = "") -> Iterator[Tuple[int, str]]:
    """The folder of a file, opened, and the file's name in it; if the container does not run, that in its `tree`.

    Raises:
        NoFilesError: the container has no such folder.
        FileNotFoundError: the container does not run, and has no tree.
    """
    sandbox, path = ContainerFile(name, "").location
    base = os.path.basename(path)
    named = _folder_of_named(name)
    container = None if named else _running(sandbox)
    if container:
        kept = container.files.get(base, "")
        with opened_folder(os.path.dirname(kept)) if kept else opened_etc(container.root) as folder:
            yield folder, os.path.basename(kept) or base
    elif named or tree:
        with opened_folder(named) if named else opened_etc(tree) as folder:
            yield folder, base
    else:
        raise FileNotFoundError(f"{sandbox} does not run")
