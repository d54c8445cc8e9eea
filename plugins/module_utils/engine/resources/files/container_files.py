# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes the files of names in containers that somebody else runs.

What stands there before us is given back, also into the tree of a machine that does not run. A container holds what is
mounted into it by its inode, so all are written in place, but for a link, which is replaced. What is in a container was
made by whoever is root there: nothing of it may lead us anywhere else, be it a link, a device or a pipe, nor keep the
host from being brought to what is declared. So no file is opened in a way that waits, as for whoever holds a lease on
it, and a file that cannot be read or written is pending, alone. A file system of which the kernel waits for a process
or another host, such as FUSE and NFS, can still keep a run waiting.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from ...diff import Change
from ...kernel.disk import overwrite
from ...kernel.file_owner import owner_of
from ...kernel.processes import start_time
from ...runtimes.namespace_processes import NoFilesError, Running, name_of, opened_etc, opened_folder, refuse_hosts_own
from ...state import DOCKER, MACHINE, ContainerFile, Key, Object, State, state_of
from ..links.sandboxes import is_present
from ..resource import Observation, Resource
from .edits import digest, edited, is_written

# Of namespaces that have a name: `ip netns exec` binds these files over those in /etc.
_FILES_OF_NAMED = "/etc/netns"

# What stands in the place of a file, in the ledger: this, or one of the other two and what is in it.
_ABSENT, _FILE, _LINK = "absent", "file ", "link "

_DOCKERS_RESOLVER = "127.0.0.11"

# In bytes. Whoever is root in a container may not have us read for ever.
_LARGEST = 1 << 20

_OPENED = "/proc/self/fd"
_CREATING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# Why the kernel refuses, in the words of whoever has to see to it.
_REASONS = {
    errno.EROFS: "it is read-only",
    errno.EPERM: "it is immutable or append-only (see lsattr)",
    errno.ETXTBSY: "it is a program that runs",
    errno.EWOULDBLOCK: "a process holds a lease on it (see fcntl(2))",
    errno.ENOSPC: "its file system is full",
    errno.EDQUOT: "the quota of its file system is used up",
}


class ContainerFiles(Resource):
    """Observes and changes `ContainerFile`.

    `before` has what was found in the place of each, by its name, and `written` the digests of what we wrote.
    """

    kinds = frozenset(["container_file"])

    def __init__(self, before: Mapping[str, str], written: Mapping[str, str]) -> None:
        self._before = before
        self._written = written
        self._refused: Dict[str, str] = {}

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        """Files that are left to Docker's own resolver are not desired. A file that cannot be written is pending."""
        self._refused = {}
        files = [file for file in _files(desired.values()) if not _is_left_to_docker(file.name)]
        awaited = {file.key for file in files if _is_awaited(file.name)}
        wanted = state_of([file for file in files if file.key not in awaited and self._can_become(file)])
        found = self._current(wanted, owned)
        unseen = awaited | {("container_file", name) for name in self._refused}
        current = {key: thing for key, thing in found.items() if key not in unseen}
        others = {file.key: "" for file in files if file.key not in wanted}
        return Observation(
            current,
            wanted,
            {**others, **self._reasons()},
            edited(current, wanted, ContainerFile, self._written, _started),
            self._prior([file for file in _files(wanted.values()) if self._is_new(file, owned)]),
            digests={file.name: digest(file.content, _started(file.name)) for file in _files(wanted.values())},
        )

    def _reasons(self) -> Dict[Key, str]:
        """For each file that cannot be written one sentence for all such files of its container."""
        paths: Dict[Tuple[str, str], List[str]] = {}
        for name, reason in self._refused.items():
            sandbox, path = ContainerFile(name, "").place
            paths.setdefault((sandbox, reason), []).append(path)
        told = {}
        for name, reason in self._refused.items():
            sandbox, _path = ContainerFile(name, "").place
            listed = ", ".join(paths[sandbox, reason])
            told["container_file", name] = f"{sandbox}: {listed} cannot be written: {reason}"
        return told

    def _can_become(self, file: ContainerFile) -> bool:
        try:
            return self._is_free(file.name, _FILE + file.content)
        except FileNotFoundError:
            return False

    def tolerate(self, left: Sequence[Change]) -> Mapping[Key, str]:
        self._refused = {change.subject.name: "another process changes it at the same time" for change in left}
        return self._reasons()

    def _current(self, desired: State, owned: FrozenSet[Key]) -> State:
        """What is in the place of each. One that is let go is wharf.network's as long as it is not what was found."""
        wanted = [file.name for file in _files(desired.values())]
        going = [name for kind, name in sorted(owned - desired.keys()) if kind == "container_file"]
        let_go = [name for name in going if name not in self._refused and self._has_a_place(name)]
        found: List[Object] = []
        for name in [*wanted, *let_go]:
            # A container may end while we look.
            with suppress(FileNotFoundError), self._noting(name):
                standing = _standing(name, self._tree(name))
                if standing != _ABSENT if name in wanted else self._is_to_be_given_back(name, standing):
                    found.append(ContainerFile(name, _content(standing)))
        return state_of(found)

    def _is_to_be_given_back(self, name: str, standing: str) -> bool:
        before = self._before.get(name, _ABSENT)
        if standing == before or _is_left_to_docker(name):
            return False
        # Another tree may stand where that of a machine was which does not run.
        tree = self._tree(name)
        if tree and _container(name) is None and not is_written(self._written.get(name, ""), _content(standing)):
            return False
        return self._is_free(name, before)

    def _is_free(self, name: str, coming: str) -> bool:
        """Whether nothing is in the way of what is to stand there; what is, is noted.

        Raises:
            FileNotFoundError: the container does not run.
        """
        with self._noting(name):
            _refuse_what_cannot_become(name, coming, self._tree(name))
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
            self._refused[name] = _REASONS.get(error.errno or 0, error.strerror or str(error))

    def _has_a_place(self, name: str) -> bool:
        """Not where its container has ended, or where several live by now, and nobody can tell whose it was."""
        return bool(_folder_of_named(name) or self._tree(name) or _container(name))

    def _tree(self, name: str) -> str:
        """Where a machine keeps its files while it does not run; empty for all others."""
        entry = _entry_of_id(name)
        return self._before.get(entry, "") if entry.startswith(f"{MACHINE}:") else ""

    def _prior(self, new: Sequence[ContainerFile]) -> Dict[str, str]:
        found: Dict[str, str] = {}
        for file in new:
            with suppress(FileNotFoundError), self._noting(file.name):
                named = _folder_of_named(file.name)
                found.update({path: _ABSENT for path in _with_parent(named) if not os.path.isdir(path)})
                found[file.name] = _ABSENT if named in found else _standing(file.name)
                found.update({_entry_of_id(file.name): each for each in [_id(file.name)] if each})
        return found

    def _is_new(self, file: ContainerFile, owned: FrozenSet[Key]) -> bool:
        """Whether the file was never written, or is that of a container that was made anew."""
        return file.key not in owned or self._is_of_another(file.name)

    def _is_of_another(self, name: str) -> bool:
        return name in self._before and self._before.get(_entry_of_id(name), _id(name)) != _id(name)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        self._refused = {}
        for change in changes:
            name, after = change.subject.name, change.after
            coming = _FILE + after.content if isinstance(after, ContainerFile) else self._before.get(name, _ABSENT)
            # A container that has ended meanwhile has its files no more, and the next run sees that.
            with suppress(FileNotFoundError), self._noting(name):
                self._bring(name, coming)
        return self._reasons()

    def _bring(self, name: str, coming: str) -> None:
        named = _folder_of_named(name)
        if named:
            os.makedirs(named, exist_ok=True)
        with _folder(name, self._tree(name)) as (folder, base):
            _put(folder, base, coming)
        for path in _with_parent(named):
            if self._before.get(path) == _ABSENT and not os.listdir(path):
                os.rmdir(path)


def _started(name: str) -> str:
    """Which of its lives the container is in: each has a first process of its own."""
    container = _container(name)
    return start_time(container.pid) if container else ""


def _files(objects: Iterable[Object]) -> List[ContainerFile]:
    return [thing for thing in objects if isinstance(thing, ContainerFile)]


def _is_awaited(name: str) -> bool:
    sandbox, _path = ContainerFile(name, "").place
    return not is_present(sandbox)


def _is_left_to_docker(name: str) -> bool:
    """Whether it leads to the resolver that Docker has inside of containers on networks of its own."""
    if not name.startswith(f"{DOCKER}:") or not name.endswith("/resolv.conf"):
        return False
    with suppress(NoFilesError, OSError):
        return f"nameserver {_DOCKERS_RESOLVER}\n" in _standing(name)
    return False


def _refuse_what_cannot_become(name: str, coming: str, tree: str = "") -> None:
    """
    Raises:
        NoFilesError, OSError: something is in the way.
        FileNotFoundError: the container does not run.
    """
    named = _folder_of_named(name)
    if named and not os.path.isdir(named):
        return
    _sandbox, path = ContainerFile(name, "").place
    with _folder(name, tree) as found, _opened(*found) as file:
        standing = _standing_in(file, path)
        if standing == coming:
            return
        if file is not None and _is_rewritten(standing, coming):
            os.close(_writable(file))
        # A link is replaced, and what is not there is made.
        elif not os.access(f"{_OPENED}/{found[0]}", os.W_OK):
            raise NoFilesError(_REASONS[errno.EROFS])


# Where they are


def _folder_of_named(name: str) -> str:
    """The folder of the files of a namespace that has a name; empty for all others."""
    sandbox, _path = ContainerFile(name, "").place
    return f"{_FILES_OF_NAMED}/{name_of(sandbox)}" if name_of(sandbox) else ""


def _with_parent(named: str) -> Sequence[str]:
    return (named, _FILES_OF_NAMED) if named else ()


def _entry_of_id(name: str) -> str:
    """Where the ledger has which container it is whose files were found."""
    sandbox, _path = ContainerFile(name, "").place
    return f"{sandbox} id"


def _id(name: str) -> str:
    container = _container(name)
    return container.id if container else ""


def _container(name: str) -> Optional[Running]:
    """Whose file it is, where that is known; it is nobody's that `ip netns exec` gives to whatever it runs."""
    sandbox, _path = ContainerFile(name, "").place
    with suppress(NoFilesError):
        return None if name_of(sandbox) else _running(sandbox)
    return None


def _running(sandbox: str) -> Optional[Running]:
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
    sandbox, path = ContainerFile(name, "").place
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


# What stands there


def _standing(name: str, tree: str = "") -> str:
    """
    Raises:
        NoFilesError: something stands there that is no file.
        FileNotFoundError: the container does not run, and has no tree.
    """
    _sandbox, path = ContainerFile(name, "").place
    with _folder(name, tree) as found, _opened(*found) as file:
        return _standing_in(file, path)


@contextmanager
def _opened(folder: int, base: str) -> Iterator[Optional[int]]:
    """What has this name in a folder; None where nothing has. Neither read nor written: to open a device or a pipe for
    that may do something already.
    """
    try:
        file = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        yield None
        return
    try:
        yield file
    finally:
        os.close(file)


def _standing_in(file: Optional[int], path: str) -> str:
    if file is None:
        return _ABSENT
    mode = os.fstat(file).st_mode
    if stat.S_ISLNK(mode):
        return _LINK + os.readlink("", dir_fd=file)
    if not stat.S_ISREG(mode):
        raise NoFilesError("it is no file")
    refuse_hosts_own(file, path)
    return _FILE + _read(file).decode("utf-8", "surrogateescape")


def _read(file: int) -> bytes:
    """
    Raises:
        NoFilesError: it has too much in it, or is one of those by which the kernel tells and is told something.
    """
    descriptor = os.open(f"{_OPENED}/{file}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as opened:
        size = os.fstat(descriptor).st_size
        if size > _LARGEST:
            raise NoFilesError(f"it is larger than {_LARGEST} bytes")
        content = opened.read(size + 1) or b""
    if len(content) != size:
        raise NoFilesError("it is no file on a disk, or another process writes it at the same time")
    return content


def _content(standing: str) -> str:
    """What of it can be compared with what is declared: a link is not the same as any file."""
    return standing[len(_FILE) :] if standing.startswith(_FILE) else standing


# What becomes of it


def _is_rewritten(standing: str, coming: str) -> bool:
    return standing.startswith(_FILE) and coming.startswith(_FILE)


def _put(folder: int, base: str, coming: str) -> None:
    with _opened(folder, base) as file:
        standing = _standing_in(file, "")
        if file is not None and _is_rewritten(standing, coming):
            with open(_writable(file), "wb", buffering=0) as opened:
                overwrite(opened.fileno(), _bytes(standing), _bytes(coming))
            return
    with owner_of(folder):
        _replace(folder, base, standing, coming)


def _writable(file: int) -> int:
    """The same file, opened anew to be written, and without waiting for whoever holds a lease on it."""
    return os.open(f"{_OPENED}/{file}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _replace(folder: int, base: str, standing: str, coming: str) -> None:
    """What cannot be made leaves what was there, or nothing."""
    if standing != _ABSENT:
        os.unlink(base, dir_fd=folder)
    try:
        _make(folder, base, coming)
    except OSError:
        with suppress(OSError):
            os.unlink(base, dir_fd=folder)
        with suppress(OSError):
            _make(folder, base, standing)
        raise


def _make(folder: int, base: str, coming: str) -> None:
    if coming.startswith(_LINK):
        os.symlink(coming[len(_LINK) :], base, dir_fd=folder)
    elif coming != _ABSENT:
        with open(os.open(base, _CREATING, 0o644, dir_fd=folder), "wb", buffering=0) as opened:
            overwrite(opened.fileno(), b"", _bytes(coming))


def _bytes(standing: str) -> bytes:
    return standing[len(_FILE) :].encode("utf-8", "surrogateescape")
