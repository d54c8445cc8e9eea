# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel reports of a process."""

from __future__ import annotations

import glob
import os
from contextlib import suppress
from typing import List, Optional, Set

from . import disk


def start_time(pid: int) -> str:
    """When the process began, in the kernel's ticks: with its number it is one of a kind. Empty if there is none."""
    ticks = start_ticks(pid)
    return "" if ticks is None else f"{pid}@{ticks}"


def start_ticks(pid: int) -> Optional[int]:
    """When the process began, in the kernel's ticks since the host booted; None if there is no such process."""
    fields = stat_fields(pid)
    return int(fields[19]) if len(fields) > 19 else None


def stat_fields(pid: int) -> List[str]:
    """Those of its status from the third on, which is its state; none if there is no such process."""
    # Its name, in brackets, may have some itself.
    return disk.content_of(f"/proc/{pid}/stat").rpartition(")")[2].split()


def open_sockets(pid: int) -> Set[int]:
    """The inodes of the sockets that a process has open; none if there is no such process."""
    inodes = set()
    for path in glob.glob(f"/proc/{pid}/fd/*"):
        # The process may close it, or end, at any time.
        with suppress(OSError):
            kind, _colon, inode = os.readlink(path).partition(":")
            if kind == "socket":
                inodes.add(int(inode.strip("[]")))
    return inodes
