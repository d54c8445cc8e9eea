# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reverts what nobody has confirmed: by hand, or at the deadline by a process that needs no connection."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import Callable, Iterator

from .confirmation import COPY
from .converge import converge
from .declaration.declared import REVERT, Call
from .errors import ConflictError, WharfError
from .kernel import file_lock
from .ledger import Ledger, version
from .report import summary
from .runtimes import runtimes
from .unconfirmed import NOTHING_UNCONFIRMED

_AT_DEADLINE = "the host itself, at the deadline"

# In seconds.
_LOOK_EVERY = 1.0
_TRY_AGAIN_AFTER = 10.0


def watch(notify: Callable[[str], None]) -> None:
    """Return once the host has nothing unconfirmed any more, whether that was confirmed or reverted.

    An error that keeps the host from reverting is reported once, and the revert is tried again.
    """
    reported, known, unconfirmed = "", None, None
    with _own_copy():
        while True:
            pause = _LOOK_EVERY
            try:
                now = version()
                if now is None or now != known:
                    unconfirmed, known = Ledger.load().unconfirmed, now
                if not unconfirmed:
                    return
                if unconfirmed.is_over:
                    revert_overdue(notify)
            except (WharfError, OSError) as error:
                if str(error) != reported:
                    notify(f"not reverted yet, and tried again every {_TRY_AGAIN_AFTER:.0f} seconds: {error}")
                reported, pause = str(error), _TRY_AGAIN_AFTER
            time.sleep(pause)


def revert_overdue(notify: Callable[[str], None]) -> None:
    """Revert what nobody has confirmed in time. If somebody has confirmed or prolonged it meanwhile, change nothing.

    Raises:
        WharfError: it cannot be reverted.
    """
    _converge(Call(repeats=True, origin=REVERT, by=_AT_DEADLINE), notify)


def revert(by: str, notify: Callable[[str], None]) -> None:
    """Revert what nobody has confirmed yet, before its time is over.

    Raises:
        WharfError: it cannot be reverted, or there is nothing to revert.
    """
    call = Call(repeats=True, reverts=True, origin=REVERT, by=by)
    if not Ledger.load_known().unconfirmed or not _converge(call, notify):
        raise ConflictError.at("there is nothing to revert", NOTHING_UNCONFIRMED)


def _converge(call: Call, notify: Callable[[str], None]) -> bool:
    """Whether anything was reverted."""
    # Since the last attempt, containers may have started.
    runtimes.look_anew()
    result = converge(call, limit=lambda part: part.only(()))
    for warning in result.warnings:
        notify(f"warning: {warning}")
    if result.reverted:
        notify(f"{result.reverted}: {summary(result)}")
    return result.reverted is not None


@contextmanager
def _own_copy() -> Iterator[None]:
    """Hold a lock on the archive that this process runs from, if it was made for that, and delete it in the end."""
    archive = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not archive.startswith(COPY):
        yield
        return
    descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        file_lock.acquire(descriptor, _LOOK_EVERY)
        yield
        # Not after an error: systemd starts it again.
        with suppress(OSError):
            os.unlink(archive)
    finally:
        os.close(descriptor)
