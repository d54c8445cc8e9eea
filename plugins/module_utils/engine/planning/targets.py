# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of containers that are reached from outside their network, each with all ingress rules that lead to it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Dict, Iterable, List, Tuple, Union

from ..declaration.section import Address, Subnet, union
from .accepted_ports import AcceptedPort
from .publications import Publication

# What lets packets from outside reach a container's port: by a port of the host, or at the container's own address.
IngressRule = Union[Publication, AcceptedPort]

_EVERYBODY: Dict[int, Tuple[Subnet, ...]] = {
    4: (ipaddress.IPv4Network("0.0.0.0/0"),),
    6: (ipaddress.IPv6Network("::/0"),),
}


@dataclass(frozen=True)
class Target:
    """A port of a container, with the ingress rules that lead to it."""

    container: str
    address: Address
    protocol: str
    port: int
    ingress: Tuple[IngressRule, ...]

    @property
    def publications(self) -> List[Publication]:
        return [rule for rule in self.ingress if isinstance(rule, Publication)]

    @property
    def is_unrestricted(self) -> bool:
        return all(rule.allow_from is None for rule in self.ingress)

    @property
    def sources(self) -> Tuple[Subnet, ...]:
        """The sources that may reach it at the container's own address: those of all its ingress rules."""
        return union((source for rule in self.ingress for source in sources(rule)), self.address.version)


def targets(*ingress: Iterable[IngressRule]) -> List[Target]:
    found: Dict[Tuple[Address, str, int], List[IngressRule]] = {}
    for rule in (each for several in ingress for each in several):
        port = rule.port if isinstance(rule, AcceptedPort) else rule.target_port
        found.setdefault((rule.address, rule.protocol, port), []).append(rule)
    return [Target(several[0].container, *key, tuple(several)) for key, several in found.items()]


def sources(rule: IngressRule) -> Tuple[Subnet, ...]:
    return _EVERYBODY[rule.version] if rule.allow_from is None else rule.allow_from
