# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping the containers' files of names true to the host's, as these change.

A run brings each file to what is declared, whoever has changed it. Here nobody looks on: a file that is not as it was
written is somebody's own, and is left alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Callable, Iterator, Tuple

from . import ledger as ledger_file
from .converge import Step, make_plan, planned_objects
from .declaration.declared import Call
from .diff import UPDATE
from .doors import runtimes
from .facts_reader import read_facts
from .kernel.inotify import Watch
from .layers import DNS_FILES
from .ledger import Ledger
from .planning.facts import Facts
from .state import state_of

_WATCHED = ("/etc/resolv.conf", "/etc/hosts", "/run/systemd/resolve/resolv.conf")

# In seconds. The folders themselves may come and go, too.
_LOOK_ANYWAY_AFTER = 30.0


@dataclass(frozen=True)
class Followed:
    """The files that were brought up to date, and those that were left alone, since somebody has changed them."""

    changed: Tuple[str, ...]
    left: Tuple[str, ...]


def follow(tell: Callable[[Followed], None]) -> None:
    """Never returns; tells first that it has begun, and then what it does.

    What the host's files say now is taken for what the containers' files were written from.
    """
    watch = Watch()
    # Watched first, so that no change goes unseen.
    watch.add(_folders())
    before = read_facts(Ledger.load())
    tell(Followed((), ()))
    while True:
        watch.wait(_LOOK_ANYWAY_AFTER)
        watch.add(_folders())
        now = read_facts(Ledger.load())
        if (now.resolv_conf, now.hosts) != (before.resolv_conf, before.hosts):
            tell(bring_up_to_date(before, now))
            before = now


def bring_up_to_date(before: Facts, now: Facts) -> Followed:
    """Rewrite the files that are as they were written from the host's former files.

    Raises:
        WharfError: one of them cannot be read or written.
    """
    runtimes.look_anew()
    with ledger_file.locked():
        ledger = Ledger.load()
        if ledger.declared.is_empty:
            return Followed((), ())
        former_facts = replace(now, resolv_conf=before.resolv_conf, hosts=before.hosts)
        former = state_of(planned_objects(DNS_FILES, make_plan(ledger, ledger.declared, former_facts)))
        step = Step.make(DNS_FILES, Call(), ledger, planned_objects(DNS_FILES, make_plan(ledger, ledger.declared, now)))
        updates = [change for change in step.changes if change.action == UPDATE]
        ours = [change for change in updates if change.before == former.get(change.subject.key)]
        step.door.apply(ours)
    left = tuple(change.subject.name for change in updates if change not in ours)
    return Followed(tuple(change.subject.name for change in ours), left)


def _folders() -> Iterator[str]:
    """Where the files are, and where the links among them lead."""
    for path in _WATCHED:
        yield os.path.dirname(path)
        yield os.path.dirname(os.path.realpath(path))
