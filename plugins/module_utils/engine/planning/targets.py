# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of containers that others reach, by all ways that lead there, and who may."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Dict, Iterable, List, Tuple, Union

from ..declaration.words import Address, Subnet, union
from .openings import Opening
from .publications import Publication

Way = Union[Publication, Opening]

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
    ways: Tuple[Way, ...]

    @property
    def publications(self) -> List[Publication]:
        return [way for way in self.ways if isinstance(way, Publication)]

    @property
    def is_for_all(self) -> bool:
        return all(way.allow_from is None for way in self.ways)

    @property
    def sources(self) -> Tuple[Subnet, ...]:
        """Who may reach it at the container's own address: whoever may by one of the ways."""
        return union((source for way in self.ways for source in sources(way)), self.address.version)


def targets(*ways: Iterable[Way]) -> List[Target]:
    found: Dict[Tuple[Address, str, int], List[Way]] = {}
    for way in (each for several in ways for each in several):
        port = way.port if isinstance(way, Opening) else way.target_port
        found.setdefault((way.address, way.protocol, port), []).append(way)
    return [Target(several[0].container, *key, tuple(several)) for key, several in found.items()]


def sources(way: Way) -> Tuple[Subnet, ...]:
    return _EVERYBODY[way.version] if way.allow_from is None else way.allow_from
