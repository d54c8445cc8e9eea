# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirmed changes: a run notes what was declared before it, and somebody confirms the run, or the host reverts."""

from __future__ import annotations

import glob
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, List, Optional

from .declaration.declared import Call
from .errors import ApplyError, ConflictError
from .kernel import detached, disk, file_lock
from .ledger import Ledger
from .run_lock import locked
from .unconfirmed import NOBODY_CONFIRMED, REVERTED_BY_HAND, Reverted, Unconfirmed

if TYPE_CHECKING:
    from .host import Host

NOTHING_TO_REVERT_TO = (
    "this run is not to be confirmed: it declares nothing new, so nothing else was declared before that could be "
    "reverted to"
)

# The engine in one file, for as long as the process that watches over the deadline needs it.
COPY = "/run/wharf-revert-"

_TOO_LATE = "too late to confirm"


def is_to_be_confirmed(host: Host, call: Call, has_changes: bool) -> bool:
    """Whether a run is. One without changes is, too, where it follows changes that nobody has confirmed yet."""
    if not call.confirm:
        return False
    return host.follows_unconfirmed or (has_changes and host.declares_anew)


def warnings(host: Host, call: Call, has_changes: bool) -> List[str]:
    """What whoever makes a run is to know of changes that nobody has confirmed."""
    found = []
    if host.ledger.reverted and host.ledger.reverted.is_news:
        found.append(str(host.ledger.reverted))
    if host.reverts and call.check:
        found.append(f"{host.reverts}: the next run reverts them")
    if host.follows_unconfirmed and not call.confirm:
        found.append(str(host.unconfirmed))
    if call.confirm and has_changes and not host.follows_unconfirmed and not host.declares_anew:
        found.append(NOTHING_TO_REVERT_TO)
    return found


def begin(host: Host, call: Call) -> None:
    """Note what the host reverts to unless somebody confirms the changes that this run is about to make.

    Of several runs that nobody has confirmed, it is what was declared before the first one.
    """
    earlier = host.unconfirmed
    not_before = earlier.deadline if earlier and host.follows_unconfirmed else 0
    former = earlier.former if earlier else host.former
    host.ledger.unconfirmed = Unconfirmed.begun(call.by, call.confirm or 0, former, not_before)


def start_watchdog(is_first: bool = False) -> None:
    """Start the process that reverts the host at the deadline (`watchdog.py`).

    A later run starts another one, since the first may have ended. All but one of them will find nothing to do.

    Raises:
        ApplyError: it could not be started.
    """
    # Imported by the few runs that need it: a module is compiled anew at each run.
    from .program import program

    path = f"{COPY}{os.urandom(4).hex()}"
    try:
        for left in glob.glob(f"{COPY}*") if is_first else ():
            # Of a process that was killed: one that runs holds a lock.
            if not file_lock.is_held(left):
                os.unlink(left)
        disk.write(path, program().content, 0o600)
        detached.start([sys.executable, path, "revert", "--at-deadline"], os.path.basename(path))
    except (ApplyError, OSError) as error:
        with suppress(OSError):
            os.unlink(path)
        raise ApplyError(
            f"the process that would revert this run at the deadline cannot be started: {error}"
        ) from error


def has_watchdog() -> bool:
    """Whether a process that is not stopped holds the lock of its copy, as far as this one can see."""
    held = (path for path in glob.glob(f"{COPY}*") if file_lock.is_held(path))
    return any(not any(each.is_stopped for each in file_lock.holders(path)) for path in held)


def end(host: Host, call: Call, is_begun: bool) -> None:
    """Once the changes are made, their time begins; and what this run has reverted is noted for the next one."""
    ledger = host.ledger
    if is_begun and ledger.unconfirmed:
        ledger.unconfirmed = ledger.unconfirmed.renewed()
    elif host.reverts:
        ledger.unconfirmed = None
    if not call.repeats:
        # The result of this run reports the revert.
        ledger.reverted = None
    elif host.reverts:
        ledger.reverted = reverted(host.reverts, call)


def reverted(unconfirmed: Unconfirmed, call: Call) -> Reverted:
    return Reverted(time.time(), unconfirmed.by, REVERTED_BY_HAND if call.reverts else NOBODY_CONFIRMED)


def confirm(run: str = "") -> Optional[Unconfirmed]:
    """Confirm the changes of this run and of those before it; without one, all that nobody has confirmed yet.

    Returns:
        What was confirmed; None where nothing is unconfirmed, as after an attempt that confirmed all and whose answer
        got lost.

    Raises:
        ConflictError: it is too late, or a later run is to be confirmed, or the ledger is lost.
    """
    with locked():
        ledger = Ledger.load_known()
        found = ledger.unconfirmed
        if not found:
            if ledger.reverted:
                raise ConflictError.at(_TOO_LATE, str(ledger.reverted))
            return None
        if found.is_over:
            raise ConflictError.at(_TOO_LATE, f"{found}, and they are being reverted")
        if run and run != found.id:
            raise ConflictError.at(_TOO_LATE, f"a later run is to be confirmed instead: {found}")
        ledger.unconfirmed = None
        ledger.save()
    return found
