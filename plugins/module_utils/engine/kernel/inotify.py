# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's inotify, by which it tells that files in a folder have changed."""

from __future__ import annotations

import ctypes
import os
from typing import Iterable

_NONBLOCK, _CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_CLOSE_WRITE, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x80, 0x100, 0x200
# Beside what is watched there already (IN_MASK_ADD).
_ALSO = 0x20000000


class Watch:
    """Folders that are watched."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.inotify_init1(_NONBLOCK | _CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), f"inotify: {os.strerror(ctypes.get_errno())}")

    def add(self, folders: Iterable[str]) -> None:
        """Watch these, too. For one that is not there, the folder is watched where it, or its own folder, will be."""
        for folder in dict.fromkeys(folders):
            mask = _CLOSE_WRITE | _MOVED_TO | _CREATE | _DELETE
            while not self._add(folder, mask) and folder != "/":
                folder, mask = os.path.dirname(folder), _MOVED_TO | _CREATE | _ALSO

    def _add(self, folder: str, mask: int) -> bool:
        return bool(self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), mask) >= 0)

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> bool:
        """Whether something has changed; what, one looks for oneself."""
        return bool(os.read(self._descriptor, 65536))
