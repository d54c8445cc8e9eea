# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's lock of a file (flock): waiting for it no longer than wanted, and who holds it."""

from __future__ import annotations

import fcntl
import glob
import os
import shlex
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import List, NoReturn

from . import processes

# The states of a process that somebody has stopped, by a signal or as its debugger.
_STOPPED = ("T", "t")


@dataclass(frozen=True)
class Holder:
    """A process that has the locked file open as it was locked: the one that locked it, or one that inherited it."""

    pid: int
    command: str
    is_stopped: bool


class _TimeIsUp(Exception):
    pass


def acquire(descriptor: int, seconds: float) -> bool:
    """Lock an open file; whether that was possible within so many seconds."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    # The kernel wakes whoever waits as soon as it is their turn; a signal is what ends the waiting.
    usual = signal.signal(signal.SIGALRM, _end_the_waiting)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    except _TimeIsUp:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)


def _end_the_waiting(_signal: int, _frame: object) -> NoReturn:
    raise _TimeIsUp


def is_held(path: str) -> bool:
    """Whether any process holds the lock now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def holders(path: str) -> List[Holder]:
    """The processes that hold the lock, as far as they can be seen from here."""
    pids = {int(link.split("/")[2]) for link in glob.glob("/proc/[0-9]*/fd/*") if _is_locked_there(link, path)}
    return [_holder(pid) for pid in sorted(pids)]


def _is_locked_there(link: str, path: str) -> bool:
    """What the kernel lists of an open file has a line for the lock that it holds, and none for one it waits for."""
    # The process may end meanwhile.
    with suppress(OSError):
        if os.readlink(link) == path and os.path.samefile(link, path):
            with open(link.replace("/fd/", "/fdinfo/"), encoding="ascii") as file:
                return any(line.startswith("lock:") and "FLOCK" in line for line in file)
    return False


def _holder(pid: int) -> Holder:
    command = b""
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        command = file.read()
    words = command.decode(errors="replace").rstrip("\0").split("\0")
    return Holder(pid, shlex.join(words), processes.stat_fields(pid)[:1] in ([state] for state in _STOPPED))
