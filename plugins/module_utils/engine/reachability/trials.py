# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be sent, and how much of it at once: what is probed must not suffer from it."""

from __future__ import annotations

import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Iterator, List, Sequence, Set, Tuple

from ..kernel import namespaces
from . import neighbours
from .packets import FAMILIES

# How many probes are under way at a time.
AT_ONCE = 500
_LEAST_ROOM = 64
_SPARE_DESCRIPTORS = 200
_DESCRIPTORS_A_PROBE = 3

_GATEWAY = "gateway"


@dataclass(frozen=True)
class Trial:
    """What is to be sent. `place` and `witness` are the paths of network namespaces.

    In `witness` it should arrive, at `arrival_port`; it is empty where nobody can tell. `before_rules`: a ping counts
    as arrived there although the rules of that stack drop it then. `near`: both are on one link.
    """

    place: str
    protocol: str
    address: str
    port: int = 0
    witness: str = ""
    arrival_port: int = 0
    via: str = ""
    near: bool = False
    before_rules: bool = False

    @property
    def version(self) -> int:
        return 6 if ":" in self.address else 4


def portions(trials: Sequence[Trial]) -> Iterator[List[int]]:
    """The numbers of trials that go together: as many as there are descriptors, and room for neighbours."""
    if not trials:
        return
    at_once = _allowed_at_once()
    batch: List[int] = []
    met: Set[_Meeting] = set()
    room = _room_for_neighbours()
    for number in sorted(range(len(trials)), key=lambda number: trials[number].place):
        new = _meetings(trials[number]) - met
        if batch and (len(batch) == at_once or len(new) > room):
            yield batch
            batch, room = [], _room_for_neighbours()
        batch.append(number)
        met |= new
        room -= len(new)
    if batch:
        yield batch


def _allowed_at_once() -> int:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return AT_ONCE
    return max(1, min(AT_ONCE, (hard - _SPARE_DESCRIPTORS) // _DESCRIPTORS_A_PROBE))


# Who will know whom as a neighbour: two network namespaces, or one and its gateway.
_Meeting = Tuple[str, str]


def _meetings(trial: Trial) -> Set[_Meeting]:
    """At most these: whom the two ends meet directly or by the gateway, and whom the host meets."""
    ends = [trial.place, *([trial.witness] if trial.witness else [])]
    met = {meeting for end in ends if end != namespaces.OWN for meeting in ((end, _GATEWAY), (namespaces.OWN, end))}
    if trial.near:
        met |= {(trial.place, trial.witness), (trial.witness, trial.place)}
    return met


def _room_for_neighbours() -> int:
    """Half of what the kernel's tables take now; where that is little, wait until the kernel may drop old entries."""
    tables = []
    for family in FAMILIES.values():
        with suppress(OSError):
            tables.append(neighbours.table(family))
    if any(table.entries >= table.wanted for table in tables):
        time.sleep(neighbours.PROTECTED_SECONDS)
    return min((max(_LEAST_ROOM, (table.most - table.entries) // 2) for table in tables), default=AT_ONCE)
