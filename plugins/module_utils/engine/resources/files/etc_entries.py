# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry in the folder of a container's files: what it is, and how another one takes its place.

Whoever is root in the container made it. So no link in it is followed, and nothing is opened in a way that waits.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Iterator, Optional

from ...kernel.disk import overwrite
from ...kernel.file_owner import owner_of
from ...runtimes.namespace_processes import NoFilesError, refuse_hosts_own

_FILE, _LINK, _ABSENT = "file", "link", "absent"

# In bytes. Whoever is root in a container may not have the host read for ever.
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


@dataclass(frozen=True)
class EtcEntry:
    """Nothing, a file by its content, or a link by where it leads."""

    kind: str
    text: str = ""

    @classmethod
    def file(cls, content: str) -> EtcEntry:
        return cls(_FILE, content)

    @classmethod
    def noted(cls, text: str) -> EtcEntry:
        """What `note` gave."""
        kind, _space, content = text.partition(" ")
        return cls(kind, content)

    @property
    def note(self) -> str:
        """For the ledger."""
        return f"{self.kind} {self.text}" if self.exists else self.kind

    @property
    def exists(self) -> bool:
        return self.kind != _ABSENT

    @property
    def content(self) -> str:
        """What can be compared with the content that is declared: a link is not the same as any file."""
        return self.text if self.is_file else self.note

    @property
    def is_file(self) -> bool:
        return self.kind == _FILE

    @property
    def is_link(self) -> bool:
        return self.kind == _LINK

    @property
    def data(self) -> bytes:
        return self.text.encode("utf-8", "surrogateescape")

    def is_rewritten_by(self, coming: EtcEntry) -> bool:
        """Whether the file stays and gets other content, since a container may hold its inode."""
        return self.is_file and coming.is_file


ABSENT = EtcEntry(_ABSENT)


def reason_of(error: OSError) -> str:
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


@contextmanager
def opened(folder: int, base: str) -> Iterator[Optional[int]]:
    """What has this name in a folder; None where nothing has. It can be neither read nor written: to open a device or a
    pipe for that may do something already.
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


def entry_of(file: Optional[int], path: str) -> EtcEntry:
    """What was `opened`; `path` is where it is in the container.

    Raises:
        NoFilesError: it is no file, or the host's own.
    """
    if file is None:
        return ABSENT
    mode = os.fstat(file).st_mode
    if stat.S_ISLNK(mode):
        return EtcEntry(_LINK, os.readlink("", dir_fd=file))
    if not stat.S_ISREG(mode):
        raise NoFilesError("it is no file")
    refuse_hosts_own(file, path)
    return EtcEntry.file(_read(file).decode("utf-8", "surrogateescape"))


def _read(file: int) -> bytes:
    """
    Raises:
        NoFilesError: it is too large, or one of the kernel's files, which have no content on a disk.
    """
    descriptor = os.open(f"{_OPENED}/{file}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as readable:
        size = os.fstat(descriptor).st_size
        if size > _LARGEST:
            raise NoFilesError(f"it is larger than {_LARGEST} bytes")
        content = readable.read(size + 1) or b""
    if len(content) != size:
        raise NoFilesError("it is no file on a disk, or another process writes it at the same time")
    return content


def refuse_unless_replaceable(folder: int, base: str, path: str, coming: EtcEntry) -> None:
    """
    Raises:
        NoFilesError, OSError: something keeps this entry from coming there.
    """
    with opened(folder, base) as file:
        existing = entry_of(file, path)
        if existing == coming:
            return
        if file is not None and existing.is_rewritten_by(coming):
            os.close(_writable(file))
        # A link is replaced, and what is not there is made.
        elif not os.access(f"{_OPENED}/{folder}", os.W_OK):
            raise NoFilesError(_REASONS[errno.EROFS])


def put(folder: int, base: str, path: str, coming: EtcEntry) -> None:
    """
    Raises:
        NoFilesError, OSError: it cannot be made; what was there is left, or nothing.
    """
    with opened(folder, base) as file:
        existing = entry_of(file, path)
        if file is not None and existing.is_rewritten_by(coming):
            with open(_writable(file), "wb", buffering=0) as writable:
                overwrite(writable.fileno(), existing.data, coming.data)
            return
    with owner_of(folder):
        _replace(folder, base, existing, coming)


def _writable(file: int) -> int:
    """The same file, opened anew to be written, without waiting for whoever holds a lease on it."""
    return os.open(f"{_OPENED}/{file}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _replace(folder: int, base: str, existing: EtcEntry, coming: EtcEntry) -> None:
    if existing.exists:
        os.unlink(base, dir_fd=folder)
    try:
        _make(folder, base, coming)
    except OSError:
        with suppress(OSError):
            os.unlink(base, dir_fd=folder)
        with suppress(OSError):
            _make(folder, base, existing)
        raise


def _make(folder: int, base: str, coming: EtcEntry) -> None:
    if coming.is_link:
        os.symlink(coming.text, base, dir_fd=folder)
    elif coming.is_file:
        with open(os.open(base, _CREATING, 0o644, dir_fd=folder), "wb", buffering=0) as made:
            overwrite(made.fileno(), b"", coming.data)
