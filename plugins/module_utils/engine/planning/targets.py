# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of containers that others reach, by all entries that lead there, and who may."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Dict, Iterable, List, Tuple, Union

from ..declaration.section import Address, Subnet, union
from .accepted_ports import AcceptedPort
from .publications import Publication

Entry = Union[Publication, AcceptedPort]

_EVERYBODY: Dict[int, Tuple[Subnet, ...]] = {
    4: (ipaddress.IPv4Network("0.0.0.0/0"),),
    6: (ipaddress.IPv6Network("::/0"),),
}


@dataclass(frozen=True)
class Target:
    """A port of a container, with what leads there."""

    container: str
    address: Address
    protocol: str
    port: int
    entries: Tuple[Entry, ...]

    @property
    def publications(self) -> List[Publication]:
        return [entry for entry in self.entries if isinstance(entry, Publication)]

    @property
    def is_for_all(self) -> bool:
        return all(entry.allow_from is None for entry in self.entries)

    @property
    def sources(self) -> Tuple[Subnet, ...]:
        """Who may reach it at the container's own address: whoever may by one of the entries."""
        return union((source for entry in self.entries for source in sources(entry)), self.address.version)


def targets(*entries: Iterable[Entry]) -> List[Target]:
    found: Dict[Tuple[Address, str, int], List[Entry]] = {}
    for entry in (each for several in entries for each in several):
        port = entry.port if isinstance(entry, AcceptedPort) else entry.target_port
        found.setdefault((entry.address, entry.protocol, port), []).append(entry)
    return [Target(several[0].container, *key, tuple(several)) for key, several in found.items()]


def sources(entry: Entry) -> Tuple[Subnet, ...]:
    return _EVERYBODY[entry.version] if entry.allow_from is None else entry.allow_from
