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

    Where a container's users have other numbers on the host, root's files would be nobody's to it, and where its file
    system is mounted with these numbers, the kernel has none to write down for root.
    """
    found = os.fstat(descriptor)
    _libc.setfsgid(found.st_gid)
    _libc.setfsuid(found.st_uid)
    try:
        yield
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())
