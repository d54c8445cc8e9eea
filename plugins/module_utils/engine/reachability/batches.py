# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes to send, in batches that leave the host's traffic enough file descriptors and neighbour entries."""

from __future__ import annotations

import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Iterator, List, Sequence, Set, Tuple

from ..kernel import namespaces
from . import neighbours
from .packets import FAMILIES

# The most probes of a batch.
AT_ONCE = 500
# A batch may add so many neighbour entries, however full the kernel's tables are.
_LEAST_ROOM = 64
_SPARE_DESCRIPTORS = 200
_DESCRIPTORS_A_PROBE = 3

_GATEWAY = "gateway"


@dataclass(frozen=True)
class ResolvedProbe:
    """A probe with the network namespaces of its two ends, by their paths: it is sent in `namespace`.

    It should arrive in `witness`, at `arrival_port`; `witness` is empty where the probe leaves the host.
    `before_rules`: a ping counts as arrived there even if the firewall rules of the witness drop it. `near`: both ends
    are on one link. A ping with a `size` is a packet of so many bytes, which is not fragmented.
    """

    namespace: str
    protocol: str
    address: str
    port: int = 0
    witness: str = ""
    arrival_port: int = 0
    via: str = ""
    near: bool = False
    before_rules: bool = False
    size: int = 0

    @property
    def version(self) -> int:
        return 6 if ":" in self.address else 4


def batches(probes: Sequence[ResolvedProbe]) -> Iterator[List[int]]:
    """The probes of each batch, by their numbers: as many as file descriptors and neighbour tables have room for."""
    if not probes:
        return
    at_once = _allowed_at_once()
    batch: List[int] = []
    known: Set[_NeighbourEntry] = set()
    room = _room_for_neighbours()
    for number in sorted(range(len(probes)), key=lambda number: probes[number].namespace):
        new = _neighbour_entries(probes[number]) - known
        if batch and (len(batch) == at_once or len(new) > room):
            yield batch
            batch, room = [], _room_for_neighbours()
        batch.append(number)
        known |= new
        room -= len(new)
    if batch:
        yield batch


def _allowed_at_once() -> int:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return AT_ONCE
    return max(1, min(AT_ONCE, (hard - _SPARE_DESCRIPTORS) // _DESCRIPTORS_A_PROBE))


# An entry of a neighbour table: the network namespace that has it, and the one that it is about, or its gateway.
_NeighbourEntry = Tuple[str, str]


def _neighbour_entries(probe: ResolvedProbe) -> Set[_NeighbourEntry]:
    """The neighbour entries that a probe may need: of each end for the gateway, of the host, and between the ends."""
    ends = [probe.namespace, *([probe.witness] if probe.witness else [])]
    inside = [end for end in ends if end != namespaces.OWN]
    entries = {entry for end in inside for entry in ((end, _GATEWAY), (namespaces.OWN, end))}
    if probe.near:
        entries |= {(probe.namespace, probe.witness), (probe.witness, probe.namespace)}
    return entries


def _room_for_neighbours() -> int:
    """Half of the free entries in the kernel's neighbour tables. Where these are nearly full, this waits until the
    kernel may drop old entries.
    """
    tables = []
    for family in FAMILIES.values():
        with suppress(OSError):
            tables.append(neighbours.table(family))
    if any(table.entries >= table.wanted for table in tables):
        time.sleep(neighbours.PROTECTED_SECONDS)
    return min((max(_LEAST_ROOM, (table.most - table.entries) // 2) for table in tables), default=AT_ONCE)
