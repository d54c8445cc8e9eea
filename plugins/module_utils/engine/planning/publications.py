# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports, made concrete: which port of which host address leads to which address and port."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from ..declaration.model import ROUTED, Attachment, Container, Model
from ..declaration.parse_ports import PortMapping, PortRange, size
from ..declaration.section import Address, Subnet, union
from ..errors import ModelError, ProblemCollector
from .accepted_ports import accepted_at
from .allotments import Allotments
from .facts import Facts

_ANY_PORT: PortRange = (0, 65535)
_ALL_ADDRESSES = ipaddress.IPv4Address("0.0.0.0")


@dataclass(frozen=True)
class Publication:
    """One port of the host that leads to one port of a container, in one family.

    `host_ip` is None for every address of the host in that family. `allow_from` are the sources that may reach it, None
    for all. `candidates` are the first and last host port that the declaration leaves to choose from, and `key` is that
    of the choice in `Allotments.ports`.
    """

    container: str
    path: str
    protocol: str
    host_ip: Optional[Address]
    host_port: int
    address: Address
    target_port: int
    allow_from: Optional[Tuple[Subnet, ...]]
    candidates: PortRange
    key: str

    @property
    def version(self) -> int:
        return self.address.version

    def is_for(self, source: Address) -> bool:
        return self.allow_from is None or any(source in network for network in self.allow_from)


@dataclass(frozen=True)
class Translation:
    """The same as either backend's rules have it; `host_ip` is empty for every address."""

    protocol: str
    host_ip: str
    host_port: int
    target_port: int


def gateway_attachment(model: Model, container: Container, version: int) -> Optional[Attachment]:
    """The attachment that gives a container its default route in one family, by Docker's order.

    The highest `gw_priority` wins, then a network with both families, then the name. An internal network
    gives none.
    """

    def rank(attachment: Attachment) -> Tuple[int, bool, str]:
        network = model.networks[attachment.network]
        return -attachment.gw_priority, not (network.ipv4 and network.ipv6), network.name

    able = [
        attachment
        for attachment in container.attachments
        for network in [model.networks[attachment.network]]
        if not network.internal and container.has(network, version)
    ]
    return min(able, key=rank, default=None)


def publish(
    model: Model, allotted: Allotments, facts: Facts, problems: ProblemCollector
) -> Tuple[Tuple[Publication, ...], Dict[str, int]]:
    """All publications of a host, and the ports of the host that were taken for them.

    Fixed ports are settled first, then those that were taken before, so that no free port is taken that another
    container asks for by number, or has already. It is a problem if a port is wanted twice, or a local process
    listens on one that is not published yet, or the container has no address that could be reached.
    """
    demands = [
        demand
        for container in model.containers.values()
        for mapping in container.ports
        for demand in _demands(model, container, mapping, allotted, problems)
    ]
    taken = _TakenPorts(facts, allotted.ports)
    settled: Dict[_Demand, int] = {}
    # Of two that ask for one port, the problem is the one that is new.
    for demand in sorted(demands, key=lambda each: each.key not in allotted.ports):
        if size(demand.candidates) == 1:
            with problems.collect():
                settled[demand] = taken.take(demand, demand.candidates[0])
    free = _without_twins((demand for demand in demands if size(demand.candidates) > 1), problems)
    for demand in free:
        kept = allotted.ports.get(demand.key, 0)
        if taken.is_free(demand, kept):
            settled[demand] = taken.take(demand, kept)
    for demand in free:
        if demand not in settled:
            with problems.collect():
                settled[demand] = taken.take_free(demand)
    # What was published before is settled first, and must not come first: the next run would see another order.
    in_order = {demand: settled[demand] for demand in demands if demand in settled}
    return tuple(_publications(in_order)), {demand.key: port for demand, port in in_order.items()}


def _without_twins(demands: Iterable[_Demand], problems: ProblemCollector) -> List[_Demand]:
    first: Dict[str, _Demand] = {}
    for demand in demands:
        if first.setdefault(demand.key, demand) is not demand:
            problems.add(demand.path, f"asks for the same as {first[demand.key].path}: leave one of the two out")
    return list(first.values())


@dataclass(frozen=True)
class _Demand:
    """One target port that wants one port of the host, the same in each family it is reached by."""

    container: str
    path: str
    protocol: str
    host_ip: Optional[Address]
    addresses: Tuple[Address, ...]
    target_port: int
    candidates: PortRange
    allow_from: Optional[Tuple[Subnet, ...]]

    @property
    def key(self) -> str:
        first, last = self.candidates
        wanted = "" if self.candidates == _ANY_PORT else f"{first}:" if first == last else f"{first}-{last}:"
        return f"{self.container} {self.host_ip or '*'} {wanted}{self.target_port}/{self.protocol}"

    def at(self, port: int) -> str:
        """The port as people write it, with the host's address if it is on one only."""
        if self.host_ip is None:
            return f"{port}/{self.protocol}"
        return f"{f'[{self.host_ip}]' if self.host_ip.version == 6 else self.host_ip}:{port}/{self.protocol}"


def _demands(
    model: Model, container: Container, mapping: PortMapping, allotted: Allotments, problems: ProblemCollector
) -> Iterator[_Demand]:
    host_ip, versions = _binding(model, container, mapping)
    reached = [
        (attachment.network, version)
        for version in versions
        for attachment in [gateway_attachment(model, container, version)]
        if attachment and model.networks[attachment.network].gateway_mode(version) != ROUTED
    ]
    held = [(network, version) for network, version in reached if model.host.has_rules(version)]
    if reached and not held:
        keys = [f"{model.host.path}.{model.host.without_rules[version]}" for _network, version in reached]
        are, remedy = ("are", "set one to true") if len(keys) > 1 else ("is", "set it to true")
        problems.add(
            mapping.path, f"{' and '.join(keys)} {are} false, and no port can be published without rules: {remedy}"
        )
        return
    given = (allotted.endpoints[container.name, network].address(version) for network, version in held)
    # One that could not be allotted is a problem already.
    addresses = tuple(address for address in given if address)
    if not reached:
        if not accepted_at(model, allotted, container, mapping):
            family = f"no IPv{versions[0]} address" if len(versions) == 1 else "no address"
            nothing = "on a network that is not internal: nothing to publish"
            problems.add(mapping.path, f"the container has {family} {nothing}")
        return
    for offset in range(size(mapping.target)):
        candidates = mapping.published or _ANY_PORT
        if not mapping.leaves_choice:
            candidates = (candidates[0] + offset, candidates[0] + offset)
        yield _Demand(
            container.name,
            mapping.path,
            mapping.protocol,
            host_ip,
            addresses,
            mapping.target[0] + offset,
            candidates,
            mapping.allow_from,
        )


def _binding(model: Model, container: Container, mapping: PortMapping) -> Tuple[Optional[Address], Tuple[int, ...]]:
    """The host's address to publish on, None for all, and the families that this concerns."""
    host_ip = mapping.host_ip or _default_binding(model, container)
    if host_ip is None:
        return None, (4, 6)
    return (None if host_ip.is_unspecified else host_ip), (host_ip.version,)


def _default_binding(model: Model, container: Container) -> Optional[Address]:
    """The network's: `host_binding_ipv4`, or `ip` for the default one; Docker takes `0.0.0.0` for both families."""
    attachment = gateway_attachment(model, container, 4) or gateway_attachment(model, container, 6)
    binding = model.networks[attachment.network].host_binding if attachment else None
    return None if binding == _ALL_ADDRESSES else binding


_Holders = Dict[Tuple[int, str, int], Dict[Optional[str], str]]

_LISTENER = "a process of the host, which listens there"


class _TakenPorts:
    """The host's ports in use, each with who has it on which address (None for all addresses)."""

    def __init__(self, facts: Facts, before: Mapping[str, int]) -> None:
        self._facts = facts
        self._before = before
        self._holders: _Holders = {}
        self._listeners: _Holders = {}
        for protocol, address, port in facts.listeners:
            for version, on in _heard_on(ipaddress.ip_address(address)):
                self._listeners.setdefault((version, protocol, port), {})[on] = _LISTENER

    def take(self, demand: _Demand, port: int) -> int:
        """
        Raises:
            ModelError: somebody has it.
        """
        holder = self._holder(demand, port)
        if holder and holder.startswith(demand.path.rpartition("ports[")[0]):
            same = f"port {demand.at(port)} is published by {holder} already: leave one of the two out"
            raise ModelError.at(demand.path, same)
        if holder:
            raise ModelError.at(demand.path, f"port {demand.at(port)} is taken by {holder}: publish another one")
        for address in demand.addresses:
            on = str(demand.host_ip) if demand.host_ip else None
            self._holders.setdefault((address.version, demand.protocol, port), {})[on] = demand.path
        return port

    def take_free(self, demand: _Demand) -> int:
        """The lowest port that is free.

        Raises:
            ModelError: none is.
        """
        first, last = self._range(demand)
        for port in range(first, last + 1):
            if self.is_free(demand, port):
                return self.take(demand, port)
        raise ModelError.at(demand.path, f"no port is free from {first} to {last}/{demand.protocol}: free or add some")

    def is_free(self, demand: _Demand, port: int) -> bool:
        first, last = self._range(demand)
        barred = demand.candidates == _ANY_PORT and self._reserved(port)
        return first <= port <= last and not barred and not self._holder(demand, port)

    def _range(self, demand: _Demand) -> PortRange:
        return self._facts.local_ports if demand.candidates == _ANY_PORT else demand.candidates

    def _reserved(self, port: int) -> bool:
        """Whether the kernel keeps the port from those who take any: whoever names a range may have reserved it."""
        return any(first <= port <= last for first, last in self._facts.reserved_ports)

    def _holder(self, demand: _Demand, port: int) -> Optional[str]:
        """Who has it. A port that is published already is no longer heard by who listens on it meanwhile."""
        held_by = [self._holders] if self._before.get(demand.key) == port else [self._holders, self._listeners]
        for address in demand.addresses:
            on = str(demand.host_ip) if demand.host_ip else None
            for holders in held_by:
                for taken, holder in holders.get((address.version, demand.protocol, port), {}).items():
                    if on is None or taken is None or on == taken:
                        return holder
        return None


def _heard_on(listener: Address) -> Iterator[Tuple[int, Optional[str]]]:
    """The families in which a socket of this address is reached, each with the address, None for all of them."""
    if listener == ipaddress.IPv6Address("::"):
        yield 4, None
        yield 6, None
        return
    mapped = listener.ipv4_mapped if isinstance(listener, ipaddress.IPv6Address) else None
    address = mapped or listener
    yield address.version, None if address.is_unspecified else str(address)


def _publications(settled: Mapping[_Demand, int]) -> List[Publication]:
    return [
        Publication(
            demand.container,
            demand.path,
            demand.protocol,
            demand.host_ip,
            port,
            address,
            demand.target_port,
            None if demand.allow_from is None else union(demand.allow_from, address.version),
            demand.candidates,
            demand.key,
        )
        for demand, port in settled.items()
        for address in demand.addresses
    ]
