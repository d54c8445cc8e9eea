# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What outlasts a power cut, and a disk that is full."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import Iterator, Union

from ..errors import ApplyError
from . import selinux

_NO_ROOM = "make room for it there"
_REMEDIES = {errno.ENOSPC: _NO_ROOM, errno.EDQUOT: _NO_ROOM, errno.EROFS: "mount it for writing"}


def remedy(error: OSError) -> str:
    """What the admin can do about a disk on which a file cannot be written; empty if the error is another one."""
    return _REMEDIES.get(error.errno or 0, "")


def reason(error: OSError) -> str:
    """What the kernel says of a file that cannot be written, and what the admin can do about it."""
    return ": ".join(filter(None, [error.strerror or str(error), remedy(error)]))


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Say what was being written if the block fails, and what the admin can do about it.

    Raises:
        ApplyError: the block could not write a file.
    """
    try:
        yield
    except OSError as error:
        raise ApplyError(f"{what}: {reason(error)}") from error


def sync(path: str) -> None:
    """Wait until a file, or which files a folder has, is on the disk (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def draft(path: str) -> str:
    """What a file is called while `replace` writes it: a process that is killed may leave it.

    It is hidden, so that who reads all files of a folder passes it over, and no one else's file has its name.
    """
    folder, base = os.path.split(path)
    return os.path.join(folder, f".{base}.wharf-new")


def write(path: str, content: Union[str, bytes], mode: int, selinux_type: str = "") -> None:
    """Write a whole file in place: it keeps its inode, and who reads it meanwhile may read a part.

    Raises:
        OSError: it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        selinux.set_type(file.fileno(), selinux_type)
        file.write(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))


def replace(path: str, content: Union[str, bytes], mode: int, selinux_type: str = "") -> None:
    """Give a file other content in one step: whoever reads it, also after a power cut, reads the former or this one.

    Raises:
        OSError: it cannot be written, and is as it was.
    """
    try:
        write(draft(path), content, mode, selinux_type)
        sync(draft(path))
        os.replace(draft(path), path)
    except OSError:
        with suppress(OSError):
            os.unlink(draft(path))
        raise
    sync(os.path.dirname(path) or ".")


def text_of(path: str, follow: bool = True) -> str:
    """The text of a file; without `follow`, a link is an error.

    Raises:
        OSError: it cannot be read, or something that is no file is there.
    """
    # Not waiting for whoever is to write a pipe, or holds a lease.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    with open(descriptor, encoding="utf-8", errors="surrogateescape") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        return file.read()


def content_of(path: str, follow: bool = True) -> str:
    """The text of a file; empty where it cannot be read, or something that is no file is there."""
    try:
        return text_of(path, follow)
    except OSError:
        return ""


def remove(path: str) -> None:
    """Delete a file that `replace` writes, and what a killed process has left of it; neither need be there.

    Raises:
        OSError: it cannot be removed.
    """
    for each in (path, draft(path)):
        with suppress(FileNotFoundError):
            os.unlink(each)


def overwrite(descriptor: int, before: bytes, content: bytes) -> None:
    """Give an open file other content in place, without giving up its room on the disk before all is written.

    A file that becomes shorter is filled up with empty lines, and then cut off: so no line of the former content is
    ever behind the new one.

    Raises:
        OSError: there is no room, and the file has the content that it had.
    """
    try:
        _write(descriptor, content.ljust(len(before), b"\n"))
        os.ftruncate(descriptor, len(content))
    except OSError:
        with suppress(OSError):
            _write(descriptor, before)
            os.ftruncate(descriptor, len(before))
        raise


def _write(descriptor: int, content: bytes) -> None:
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], written)
