# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run: read the host, write the ledger, make the changes of all layers, and verify that nothing differs any more.

What is refused takes the whole run back.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from . import confirmation, flows, history, transaction
from .archive import keep_for_next_run
from .declaration.declared import REVERT, Call
from .diff import Change
from .errors import ApplyError, VerifyError, WharfError, message_of
from .host import Host, read_host
from .layers import LAYERS, VETH, Layer
from .ledger import Ledger
from .planning.publications import Publication
from .planning.reach import StalePorts
from .run_lock import locked, on_stderr
from .state import Key
from .transaction import Part, noting
from .unconfirmed import Reverted, Unconfirmed

_NO_FLOWS_FORGOTTEN = (
    "connection tracking has forgotten no flows, since what was declared before cannot be planned any more: the next "
    "run that succeeds has them forgotten"
)
EDITED = "this file was edited by hand and is left as it is: empty it, and the next run writes it again"


@dataclass(frozen=True)
class Result:
    """What a run changed, or would change.

    `pending` are sandboxes, endpoints and files that are left alone for now, each with the reason, or an empty text
    where the container does not run. `published` are the ports of the host that were chosen where the declaration
    leaves the choice. `edited` are files that are left as an admin has edited them. `unconfirmed` is this run, if it is
    to be confirmed; `reverted` is what it has reverted.
    """

    changes: Tuple[Change, ...]
    warnings: Tuple[str, ...] = ()
    pending: Mapping[Key, str] = field(default_factory=dict)
    published: Tuple[Publication, ...] = ()
    edited: Tuple[str, ...] = ()
    unconfirmed: Optional[Unconfirmed] = None
    reverted: Optional[Reverted] = None


def converge(
    call: Call,
    layers: Sequence[Layer] = LAYERS,
    limit: Callable[[Part], Part] = lambda part: part,
    notify: Callable[[str], None] = on_stderr,
) -> Result:
    """Bring this host to what is declared, in one transaction, or say what would change.

    The ledger is written before the kernel is touched, so that the next run knows whatever a killed run leaves behind.
    Changes that nobody has confirmed in time are reverted first, in the same transaction.
    `limit` takes from a part of the run the changes that are not to be made, unless the run reverts something. `notify`
    gets a message if this run waits for another one.

    Raises:
        ModelError, ConflictError: nothing was touched.
        ApplyError, VerifyError: the message says what was refused and what became of the run.
    """
    with locked(notify):
        host = read_host(call, layers)
        before = after = list(host.parts) if host.reverts else [limit(part) for part in host.parts]
        refused: Dict[Key, str] = {}
        warnings = confirmation.warnings(host, call, any(part.changes for part in before))
        if not call.check:
            log = _log(call, host, [change for part in before for change in part.changes])
            after, refused = _commit(host, call, before, log)
            warnings += log.problems
        with nullcontext() if call.check else _once_made():
            keep_for_next_run(is_needed=not host.declared.is_empty)
            result = _result(host, before, after, refused, call.check)
        return replace(
            result,
            warnings=(*warnings, *result.warnings),
            unconfirmed=host.ledger.unconfirmed if host.ledger.unconfirmed != host.unconfirmed else None,
            reverted=confirmation.reverted(host.reverts, call) if host.reverts and not call.check else None,
        )


def recover_ledger(call: Call) -> Tuple[bool, Ledger]:
    """Write a ledger of what exists on this host, where its own is lost, and change nothing else.

    What the call makes of the declaration is declared.

    Returns:
        Whether it was lost, and the ledger.
    """
    with locked():
        host = read_host(call, layers=())
        ledger = host.ledger
        was_lost = ledger.is_new
        if was_lost:
            ledger.declared = host.declared
            if not host.declared.is_empty:
                ledger.allotted = host.plan.kept_allotments.completed(host.allotted_before, host.declared.containers)
            ledger.save()
    return was_lost, ledger


def _log(call: Call, host: Host, changes: Sequence[Change]) -> history.Log:
    """The host's log, in which the run is noted if it changes anything."""
    origin, reverts = (REVERT, host.reverts.by) if host.reverts else (call.origin, "")
    return history.Log(history.Run.begun(origin, call.by, changes, reverts) if changes else None)


def _commit(host: Host, call: Call, parts: Sequence[Part], log: history.Log) -> Tuple[List[Part], Dict[Key, str]]:
    """Make the changes. The ledger says before what may come to be on the host, and afterwards what is there.

    Returns:
        The parts as they are then, and what was refused inside single sandboxes, each with the reason.

    Raises:
        ApplyError, VerifyError: the message says what was refused and what became of the run.
    """
    ledger = host.ledger
    changes = [change for part in parts for change in part.changes]
    is_to_be_confirmed = confirmation.is_to_be_confirmed(host, call, bool(changes))
    transaction.note_before(ledger, parts, host.ports_to_check(changes))
    ledger.declared = host.declared
    ledger.allotted = host.plan.kept_allotments.completed(host.former.allotted, host.declared.containers)
    if is_to_be_confirmed:
        confirmation.begin(host, call)
    _save(ledger, "nothing was changed")
    if is_to_be_confirmed:
        _start_watchdog(host)
    log.begin()
    refused: Dict[Key, str] = {}
    if changes:
        try:
            refused = transaction.apply(parts, host.desired_before)
            parts = transaction.verified(parts, refused)
        except Exception as error:
            outcome = _roll_back(host, parts, log)
            raise _with_outcome(error, outcome) from error
    try:
        with _once_made():
            transaction.note_after(ledger, parts)
            confirmation.end(host, call, is_to_be_confirmed)
            flows.forget(ledger.stale_ports, host.plan)
            ledger.stale_ports = StalePorts()
    finally:
        _save(ledger, "all changes were made: run this again once it can be written")
        if not ledger.is_empty:
            log.end()
    return list(parts), refused


@contextmanager
def _once_made() -> Iterator[None]:
    """Say of an error in the block that the changes of the run stand.

    Raises:
        ApplyError, VerifyError: something failed in the block.
    """
    try:
        yield
    except Exception as error:
        raise _with_outcome(error, "all changes were made, and the next run does the rest") from error


def _with_outcome(error: Exception, outcome: str) -> WharfError:
    is_refused = isinstance(error, (WharfError, OSError)) and not isinstance(error, VerifyError)
    return (ApplyError if is_refused else VerifyError)(f"{message_of(error)}; {outcome}")


def _start_watchdog(host: Host) -> None:
    """
    Raises:
        ApplyError: it could not be started, and what that means.
    """
    try:
        confirmation.start_watchdog(is_first=host.unconfirmed is None)
    except ApplyError as error:
        host.ledger.restore()
        raise ApplyError(f"{error}; nothing was changed") from error


def _roll_back(host: Host, parts: Sequence[Part], log: history.Log) -> str:
    """Bring the host and its ledger back to before the run. Returns a sentence with what could not be rolled back."""
    ledger = host.ledger
    ledger.declared, ledger.allotted = host.declared_before, host.allotted_before
    ledger.unconfirmed = host.unconfirmed
    remaining, problems = transaction.roll_back(parts, host.desired_before)
    with noting(problems):
        if host.plan_before:
            flows.forget(ledger.stale_ports, host.plan_before)
        elif ledger.stale_ports:
            problems.append(_NO_FLOWS_FORGOTTEN)
    with noting(problems):
        if problems:
            transaction.note_after(ledger, remaining)
            ledger.save()
            log.end(history.FAILED)
        else:
            log.forget()
            ledger.restore()
    exceptions = f", but for these: {'; '.join(dict.fromkeys(problems))}" if problems else ""
    return f"all changes of this run were taken back{exceptions}"


def _save(ledger: Ledger, otherwise: str) -> None:
    """
    Raises:
        ApplyError: the ledger cannot be written, and what that means.
    """
    try:
        ledger.save()
    except ApplyError as error:
        raise ApplyError(f"{error}; {otherwise}") from error


def _result(host: Host, before: Sequence[Part], after: Sequence[Part], refused: Dict[Key, str], check: bool) -> Result:
    observed = (each for part in after for each in part.observation.pending.items())
    lacking = host.plan.lacking_leases if VETH in host.layers else {}
    reasons = [*observed, *refused.items(), *lacking.items()]
    pending = dict(sorted(reasons))
    edited = sorted(key[1] for part in before for key in part.observation.edited & part.left_alone)
    changes = tuple(change for part in before for change in part.changes if change.subject.key not in refused)
    not_made = changes if check else ()
    warnings = (
        *host.warnings,
        *(warning for layer in host.layers for warning in layer.warnings(host.plan, not_made)),
        *(reason for reason in pending.values() if reason),
        *(f"{name}: {EDITED}" for name in edited),
    )
    return Result(changes, tuple(dict.fromkeys(warnings)), pending, host.plan.chosen_ports, tuple(edited))
