# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports by which containers are reached, and the sources that may reach them, to compare with tracked flows."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

from ..declaration.model import NAT_UNPROTECTED
from ..declaration.section import Address, Subnet
from .plan import Plan
from .targets import sources, targets

Sources = Tuple[Subnet, ...]


class AddressPort(NamedTuple):
    """A port of an address, or, where that is None, of every address of the host."""

    address: Optional[Address]
    protocol: str
    number: int

    def __str__(self) -> str:
        return f"{self.address or '*'} {self.protocol} {self.number}"

    @classmethod
    def parse(cls, text: str) -> AddressPort:
        """Parse the form that `str` gives, which the ledger keeps."""
        address, protocol, number = text.split(" ")
        return cls(None if address == "*" else ipaddress.ip_address(address), protocol, int(number))


# In the ledger, in place of a port: the rules were lost.
_LOST = "*"


@dataclass(frozen=True)
class StalePorts:
    """The ports whose flows may be stale. `lost`: rules were missing for a while, so any flow may have begun then."""

    ports: FrozenSet[AddressPort] = frozenset()
    lost: bool = False

    def __bool__(self) -> bool:
        return bool(self.ports) or self.lost

    def __or__(self, other: StalePorts) -> StalePorts:
        return StalePorts(self.ports | other.ports, self.lost or other.lost)

    @classmethod
    def from_data(cls, data: Iterable[str]) -> StalePorts:
        """
        Raises:
            ValueError, AttributeError, TypeError: what one of them says is no port.
        """
        noted = frozenset(data)
        return cls(frozenset(AddressPort.parse(port) for port in noted - {_LOST}), _LOST in noted)

    def as_data(self) -> List[str]:
        return sorted([*map(str, self.ports), *([_LOST] if self.lost else [])])


# A port of every address of the host may lead to one container by IPv4 and to another one by IPv6.
PortOfFamily = Tuple[int, AddressPort]


@dataclass(frozen=True)
class NetworkSubnets:
    """A network's subnets in one IP family.

    `icc`: its containers reach each other. `unprotected`: everybody reaches all their ports that are not restricted.
    """

    subnets: Tuple[Subnet, ...]
    icc: bool
    unprotected: bool


@dataclass(frozen=True)
class Reach:
    """`published` are the host's ports, each with the address and port of the container that it leads to.

    `restricted` are ports, of the host or of a container's own address, each with the only sources that may use it.
    `opened` are ports of containers' own addresses that may be used from outside their network.
    """

    published: Mapping[PortOfFamily, Tuple[Address, int]] = field(default_factory=dict)
    restricted: Mapping[PortOfFamily, Sources] = field(default_factory=dict)
    opened: FrozenSet[AddressPort] = frozenset()
    networks: Tuple[NetworkSubnets, ...] = ()

    def changed_from(self, before: Reach) -> Set[AddressPort]:
        """The ports that lead elsewhere than before, or nowhere, or whose sources changed: their flows may be stale."""
        moved = self.published.items() ^ before.published.items()
        narrowed = self.restricted.items() - before.restricted.items()
        return {port for (_version, port), _value in moved | narrowed} | (before.opened - self.opened)


def reach_of(plan: Plan) -> Reach:
    published: Dict[PortOfFamily, Tuple[Address, int]] = {}
    restricted: Dict[PortOfFamily, Sources] = {}
    opened: Set[AddressPort] = set()
    for each in plan.publications:
        at_host = AddressPort(each.host_ip, each.protocol, each.host_port)
        published[each.version, at_host] = each.address, each.target_port
    for entry in plan.entries:
        at_host = AddressPort(None, entry.port.protocol, entry.port.port)
        published[entry.version, at_host] = entry.address, entry.port.port
    for target in targets(plan.publications, plan.accepted_ports):
        at_container = AddressPort(target.address, target.protocol, target.port)
        opened.add(at_container)
        if not target.is_unrestricted:
            version = target.address.version
            restricted[version, at_container] = target.sources
            for each in target.publications:
                restricted[version, AddressPort(each.host_ip, each.protocol, each.host_port)] = sources(each)
    return Reach(published, restricted, frozenset(opened), tuple(_network_subnets(plan)))


def _network_subnets(plan: Plan) -> Iterator[NetworkSubnets]:
    for network in plan.model.behind_host:
        for version in network.versions:
            subnets = tuple(pool.subnet for pool in plan.allotted.pools(network.name, version))
            yield NetworkSubnets(subnets, network.icc, network.gateway_mode(version) == NAT_UNPROTECTED)
