# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose the files are that this thread makes."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import Iterator

_libc = ctypes.CDLL(None)


@contextmanager
def owner_of(descriptor: int) -> Iterator[None]:
    """Make files as the owner of an open folder.

    In a container with a user namespace, files of the host's root would belong to nobody. And where its file system is
    mounted with other user ids, the kernel refuses to make files of the host's root, which has no id there.
    """
    found = os.fstat(descriptor)
    _libc.setfsgid(found.st_gid)
    _libc.setfsuid(found.st_uid)
    try:
        yield
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())
