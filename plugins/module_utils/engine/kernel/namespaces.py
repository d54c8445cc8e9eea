# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network namespaces: making, naming and entering them, by this thread itself and without a fork."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import Callable, Iterator, Optional, Tuple, Union

RUN_NETNS = "/run/netns"
OWN = "/proc/thread-self/ns/net"

CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703
MS_BIND, MS_REC, MS_SHARED = 0x1000, 0x4000, 0x100000
MNT_DETACH = 2

Identity = Tuple[int, int]

_libc = ctypes.CDLL(None, use_errno=True)


def path_of(name: str) -> str:
    return f"{RUN_NETNS}/{name}"


def identity(path: Union[str, int]) -> Identity:
    """What two paths, or open descriptors, have in common that lead to the same namespace, file or folder.

    Raises:
        OSError: there is nothing.
    """
    with _noticing_its_end(path):
        found = os.stat(path)
    return found.st_dev, found.st_ino


def is_namespace(path: str) -> bool:
    """Whether a network namespace is there, and not just the file that one is, or was, to be mounted on."""
    try:
        if identity(path)[0] != identity(OWN)[0]:
            return False
        with opened(path):
            return True
    except OSError:
        return False


@contextmanager
def opened(path: str) -> Iterator[int]:
    """
    Raises:
        FileNotFoundError, ProcessLookupError: there is no network namespace, or its process has ended.
        OSError: it may not be opened.
    """
    with _noticing_its_end(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not _is_open(descriptor):
            raise FileNotFoundError(errno.ENOENT, "there is no network namespace", path)
        yield descriptor
    finally:
        os.close(descriptor)


def _is_open(descriptor: int) -> bool:
    """Whether it is open on a network namespace, and not on another file."""
    with suppress(OSError):
        return fcntl.ioctl(descriptor, NS_GET_NSTYPE) == CLONE_NEWNET
    return False


@contextmanager
def _noticing_its_end(path: Union[str, int]) -> Iterator[None]:
    """The kernel refuses the namespace of a process that has just ended by EACCES, which is PermissionError.

    Raises:
        FileNotFoundError: the process has ended.
    """
    try:
        yield
    except PermissionError as error:
        if isinstance(path, int) or os.path.lexists(path):
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error


@contextmanager
def entered(path: str) -> Iterator[None]:
    """Run the block inside the namespace: sockets opened and /proc/sys/net read in it are that one's.

    Raises:
        OSError: there is no such namespace, or it may not be entered.
    """
    with opened(path) as descriptor, _returning():
        _set_namespace(descriptor)
        yield


@contextmanager
def visiting() -> Iterator[Callable[[int], None]]:
    """A function that enters the namespace of an open descriptor. After the block the thread is where it was before."""
    with _returning():
        yield _set_namespace


@contextmanager
def scratch() -> Iterator[None]:
    """Run the block inside an empty namespace that is gone afterwards.

    Raises:
        OSError: none may be made.
    """
    with _returning():
        _call("unshare", CLONE_NEWNET)
        yield


def is_occupied(name: str) -> bool:
    """Whether something that is neither a namespace nor a mount point for one has the name."""
    try:
        found = os.lstat(path_of(name))
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(found.st_mode) or found.st_size > 0


def create(name: str, prepare: Callable[[], None], deleted: Optional[int] = None) -> None:
    """Make a namespace, or take that of an open descriptor, whose name was `deleted`. Run `prepare` in it, and only
    then give it its name.

    So whatever has a name was prepared wholly, even if the run was killed meanwhile.

    Raises:
        OSError: the kernel refused, or a namespace of that name is there.
    """
    with _returning():
        if deleted is None:
            _call("unshare", CLONE_NEWNET)
        else:
            _set_namespace(deleted)
        prepare()
        bind(name, OWN)


def bind(name: str, source: str) -> None:
    """Let `name` be a name of the namespace at the path `source`.

    Raises:
        OSError: the kernel refused, or a namespace of that name is there.
    """
    _share_run_netns()
    path = path_of(name)
    if is_namespace(path):
        raise FileExistsError(f"{path} is there already")
    # A file may have been left by a run that was killed before it could mount anything on it.
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
    try:
        _mount(source, path, MS_BIND)
    except OSError:
        os.unlink(path)
        raise


def delete(name: str) -> None:
    """Take the name away; the namespace goes with the last process and name that it has."""
    path = path_of(name).encode()
    with suppress(OSError):
        _call("umount2", path, MNT_DETACH)
    with suppress(FileNotFoundError):
        os.unlink(path)


@contextmanager
def _returning() -> Iterator[None]:
    with opened(OWN) as own:
        try:
            yield
        finally:
            _set_namespace(own)


def _set_namespace(descriptor: int) -> None:
    _call("setns", descriptor, CLONE_NEWNET)


def _share_run_netns() -> None:
    """Make names seen by every mount namespace, as iproute2 does and with its lock."""
    os.makedirs(RUN_NETNS, mode=0o755, exist_ok=True)
    directory = os.open(RUN_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        try:
            _mount("", RUN_NETNS, MS_SHARED | MS_REC)
        except OSError:
            # It is no mount point yet.
            _mount(RUN_NETNS, RUN_NETNS, MS_BIND | MS_REC)
            _mount("", RUN_NETNS, MS_SHARED | MS_REC)
    finally:
        os.close(directory)


def _mount(source: str, target: str, flags: int) -> None:
    _call("mount", source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None)


def _call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")
