# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a host, which each run holds, so that there is one run at a time."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import Callable, Iterator

from .errors import ConflictError
from .kernel import disk, file_lock

LOCK = "/run/wharf.lock"
# Seconds. Most runs are through within the first, and none takes as long as the second.
NOTIFY_AFTER, GIVE_UP_AFTER = 2, 300


def on_stderr(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


@contextmanager
def locked(notify: Callable[[str], None] = on_stderr) -> Iterator[None]:
    """One run a host at a time; a second one waits for the first, and then sees what that one left.

    `notify` gets a message that names the other run. A program that outlives a killed run keeps the lock, if it was
    started with `close_fds=False`, as each program that changes the host has to be.

    Raises:
        ConflictError: another run does not come to its end.
    """
    try:
        descriptor = os.open(LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        remedy = "move it away" if os.path.isdir(LOCK) else disk.remedy(error) or "see to it that root can"
        raise ConflictError.at(LOCK, f"cannot be opened for writing ({error.strerror}): {remedy}") from error
    os.set_inheritable(descriptor, True)
    try:
        if not file_lock.acquire(descriptor, NOTIFY_AFTER):
            notify(f"waiting, for up to {GIVE_UP_AFTER} seconds, for {_other_run()}")
            if not file_lock.acquire(descriptor, GIVE_UP_AFTER):
                raise ConflictError.at(LOCK, f"nothing was changed: this run has waited in vain for {_other_run()}")
        # For whoever waits: since when it is held.
        os.utime(descriptor)
        yield
    finally:
        os.close(descriptor)


def run_under_way() -> str:
    """Who holds the lock now, in words; empty if nobody does."""
    return _other_run() if file_lock.is_held(LOCK) else ""


def _other_run() -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(os.stat(LOCK).st_mtime))
    found = file_lock.holders(LOCK)
    names = " and ".join(f"process {each.pid} ({each.command})" for each in found) or "a process in another container"
    stopped = " ".join(str(each.pid) for each in found if each.is_stopped)
    remedy = (
        f"; it is stopped: let it go on (kill -CONT {stopped}), or end it (kill -KILL {stopped})" if stopped else ""
    )
    return f"another run, which holds the lock of this host since {since}: {names}{remedy}"
