# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's inotify, by which it reports that files in a folder have changed."""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import ExitStack
from typing import Iterable, Tuple

from . import proc_sys

_NONBLOCK, _CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_CLOSE_WRITE, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x80, 0x100, 0x200
# Beside what is watched there already (IN_MASK_ADD).
_ALSO = 0x20000000

# For all processes of one user together. A user namespace has a limit of its own besides, and sees only that one.
LIMIT, _LIMIT_HERE = "fs.inotify.max_user_instances", "user.max_inotify_instances"

_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Folders that are watched."""

    def __init__(self) -> None:
        self._descriptor = _instance()

    def add(self, folders: Iterable[str]) -> None:
        """Watch these, too. For one that is not there, the folder is watched where it, or its own folder, will be."""
        for folder in dict.fromkeys(folders):
            mask = _CLOSE_WRITE | _MOVED_TO | _CREATE | _DELETE
            while not self._add(folder, mask) and folder != "/":
                folder, mask = os.path.dirname(folder), _MOVED_TO | _CREATE | _ALSO

    def _add(self, folder: str, mask: int) -> bool:
        return bool(_libc.inotify_add_watch(self._descriptor, os.fsencode(folder), mask) >= 0)

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> bool:
        """Whether something has changed. What it is, the caller has to find out."""
        return bool(os.read(self._descriptor, 65536))


def _instance() -> int:
    """
    Raises:
        OSError: this user has as many as he may have, which is `LIMIT`.
    """
    descriptor: int = _libc.inotify_init1(_NONBLOCK | _CLOEXEC)
    if descriptor < 0:
        why = os.strerror(ctypes.get_errno())
        raise OSError(ctypes.get_errno(), f"{why}: the processes of this user have all inotify instances ({LIMIT})")
    return descriptor


def limit() -> Tuple[str, int]:
    """The kernel parameter that limits the instances of this user, and its value."""
    known = ((name, proc_sys.read(name)) for name in (LIMIT, _LIMIT_HERE))
    return min(((name, int(value)) for name, value in known if value), key=lambda each: each[1], default=(LIMIT, 0))


def available(wanted: int) -> int:
    """How many instances this user can have more, up to as many as are wanted.

    The kernel counts them but does not report the number, so this takes them for a moment.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # It is the same error when a process has too many files open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with ExitStack() as taken:
            for number in range(wanted):
                try:
                    taken.callback(os.close, _instance())
                except OSError:
                    return number
        return wanted
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
