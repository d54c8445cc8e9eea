# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports: which port of which host address leads to which address and port of a container."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..declaration.model import ROUTED, Attachment, Container, Model, Network
from ..declaration.parse_ports import PortMapping, PortRange, port_text, size
from ..declaration.section import Address, Subnet, union
from ..errors import ModelError, ProblemCollector
from .accepted_ports import accepted_at
from .allotments import Allotments
from .facts import Facts

if TYPE_CHECKING:
    from .ingress import Entry

_ANY_PORT: PortRange = (0, 65535)
_ALL_ADDRESSES = ipaddress.IPv4Address("0.0.0.0")


@dataclass(frozen=True)
class PortRequest:
    """The request of one target port for a port of the host, which is the same in both IP families.

    `host_ip` is None where the port is to be published on every address of the host. `addresses` are the container's,
    one in each family. `candidates` are the first and last host port that the declaration leaves to choose
    from. `allow_from` are the sources that may reach it, None for all. With `ingress`, the other hosts of its network
    publish it, too.
    """

    container: str
    path: str
    protocol: str
    host_ip: Optional[Address]
    addresses: Tuple[Address, ...]
    target_port: int
    candidates: PortRange
    allow_from: Optional[Tuple[Subnet, ...]]
    ingress: bool

    @property
    def key(self) -> str:
        """That of the choice in `Allotments.ports`."""
        wanted = "" if self.candidates == _ANY_PORT else f"{port_text(self.candidates)}:"
        return f"{self.container} {self.host_ip or '*'} {wanted}{self.target_port}/{self.protocol}"

    def at(self, port: int) -> str:
        """The port as users write it, with the host's address if it is published on one address only."""
        if self.host_ip is None:
            return f"{port}/{self.protocol}"
        return f"{f'[{self.host_ip}]' if self.host_ip.version == 6 else self.host_ip}:{port}/{self.protocol}"


@dataclass(frozen=True)
class Publication(PortRequest):
    """One port of the host that leads to one port of a container, in one IP family: at this `address`."""

    host_port: int
    address: Address

    @property
    def version(self) -> int:
        return self.address.version

    @property
    def translation(self) -> Translation:
        host_ip = str(self.host_ip) if self.host_ip else ""
        return Translation(self.protocol, host_ip, self.host_port, str(self.address), self.target_port)

    def allows(self, source: Address) -> bool:
        return self.allow_from is None or any(source in network for network in self.allow_from)


@dataclass(frozen=True)
class Translation:
    """Where the rules of one publication lead; `host_ip` is empty for every address of the host."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    target_port: int


def gateway_attachment(model: Model, container: Container, version: int) -> Optional[Attachment]:
    """The attachment that gives a container its default route in one IP family.

    Docker's order decides: the highest `gw_priority`, then a network with both families, then the first name. An
    internal network gives no default route, nor does one without a bridge for which no gateway is declared.
    """

    def rank(attachment: Attachment) -> Tuple[int, bool, str]:
        network = model.networks[attachment.network]
        return -attachment.gw_priority, not (network.has(4) and network.has(6)), network.name

    candidates = [
        attachment
        for attachment in container.attachments
        for network in [model.networks[attachment.network]]
        if network.leads_outside(version) and container.has(network, version)
    ]
    return min(candidates, key=rank, default=None)


def publish(
    model: Model, allotted: Allotments, facts: Facts, problems: ProblemCollector, entries: Sequence[Entry] = ()
) -> Tuple[Tuple[Publication, ...], Dict[str, int]]:
    """All publications of a host, and the host port that each request got, for the ledger.

    Ports that are declared by number are allotted first, then those that the ledger has, then free ones: so a free port
    is never one that another container asks for or has. It is a problem if two publications ask for one port, if a
    local process listens on a port that is not published yet, or if the container has no address to lead to.
    `entries` are the ports that are published for other hosts.
    """
    requests = [
        request
        for container in model.containers.values()
        for mapping in container.ports
        for request in _requests(model, container, mapping, allotted, problems)
    ]
    taken = _TakenPorts(facts, allotted.ports)
    for entry in entries:
        taken.take_for_another_host(entry, model.networks[entry.network].path, problems)
    allocated: Dict[PortRequest, int] = {}
    # Of two requests for one port, the problem is reported at the one that the ledger does not have.
    for request in sorted(requests, key=lambda each: each.key not in allotted.ports):
        if size(request.candidates) == 1:
            with problems.collect():
                allocated[request] = taken.take(request, request.candidates[0])
    free = _without_duplicates((request for request in requests if size(request.candidates) > 1), problems)
    for request in free:
        kept = allotted.ports.get(request.key, 0)
        if taken.is_free(request, kept):
            allocated[request] = taken.take(request, kept)
    for request in free:
        if request not in allocated:
            with problems.collect():
                allocated[request] = taken.take_free(request)
    # What was published before is allocated first, and must not come first: the next run would see another order.
    in_order = {request: allocated[request] for request in requests if request in allocated}
    ports = {request.key: port for request, port in in_order.items()}
    return tuple(_publications(in_order)), {**ports, **{entry.key: entry.port.port for entry in entries}}


def _without_duplicates(requests: Iterable[PortRequest], problems: ProblemCollector) -> List[PortRequest]:
    first: Dict[str, PortRequest] = {}
    for request in requests:
        if first.setdefault(request.key, request) is not request:
            problems.add(request.path, f"asks for the same as {first[request.key].path}: leave one of the two out")
    return list(first.values())


def _requests(
    model: Model, container: Container, mapping: PortMapping, allotted: Allotments, problems: ProblemCollector
) -> Iterator[PortRequest]:
    host_ip, versions = _binding(model, container, mapping)
    gateways = [(gateway_attachment(model, container, version), version) for version in versions]
    leaving = [(model.networks[attachment.network], version) for attachment, version in gateways if attachment]
    reached = [
        (network.name, version)
        for network, version in leaving
        if not network.bypasses_host and network.gateway_mode(version) != ROUTED
    ]
    unseen = next((network for network, _version in leaving if network.bypasses_host), None)
    if unseen and not reached:
        # A target alone is reached at the container's own address, as every port there is.
        if mapping.published or mapping.host_ip or mapping.allow_from is not None:
            problems.add(mapping.path, _unpublished(container, unseen))
        return
    held = [(network, version) for network, version in reached if model.host.has_rules(version)]
    if reached and not held:
        keys = [f"{model.host.path}.{model.host.without_rules[version]}" for _network, version in reached]
        are, remedy = ("are", "set one to true") if len(keys) > 1 else ("is", "set it to true")
        problems.add(
            mapping.path, f"{' and '.join(keys)} {are} false, and no port can be published without rules: {remedy}"
        )
        return
    given = (allotted.endpoints[container.name, network].address(version) for network, version in held)
    # An address that could not be allotted is reported by IPAM.
    addresses = tuple(address for address in given if address)
    if not reached:
        if not container.lacks_lease and not accepted_at(model, allotted, container, mapping):
            family = f"no IPv{versions[0]} address" if len(versions) == 1 else "no address"
            nothing = "on a network that is not internal: nothing to publish"
            problems.add(mapping.path, f"the container has {family} {nothing}")
        return
    for offset in range(size(mapping.target)):
        candidates = mapping.published or _ANY_PORT
        if not mapping.leaves_choice:
            candidates = (candidates[0] + offset, candidates[0] + offset)
        yield PortRequest(
            container.name,
            mapping.path,
            mapping.protocol,
            host_ip,
            addresses,
            mapping.target[0] + offset,
            candidates,
            mapping.allow_from,
            mapping.ingress,
        )


def _unpublished(container: Container, network: Network) -> str:
    leads, other = (
        (f"the LAN behind {network.uplink}", "without an uplink")
        if network.uplink
        else (network.driver.name, "with a bridge")
    )
    remedy = "leave this out: the port is reached at the container's own address"
    if len(container.attachments) > 1:
        remedy += f", or give a network {other} the higher gw_priority"
    why = f"{container.name} leaves by network {network.name}, and no port of this host leads to {leads}"
    return f"{why}: {remedy}"


def _binding(model: Model, container: Container, mapping: PortMapping) -> Tuple[Optional[Address], Tuple[int, ...]]:
    """The host's address to publish on, None for all, and the IP families in which the port is published."""
    host_ip = mapping.host_ip or _default_binding(model, container)
    if host_ip is None:
        return None, (4, 6)
    return (None if host_ip.is_unspecified else host_ip), (host_ip.version,)


def _default_binding(model: Model, container: Container) -> Optional[Address]:
    """The network's `host_binding_ipv4`, or the host's `ip` on the default network. As in Docker, `0.0.0.0` stands for
    all addresses of both families.
    """
    attachment = gateway_attachment(model, container, 4) or gateway_attachment(model, container, 6)
    binding = model.networks[attachment.network].host_binding if attachment else None
    return None if binding == _ALL_ADDRESSES else binding


class _User(NamedTuple):
    """Who uses a port of the host, as messages call it; with the container, if it is one of this host."""

    name: str
    container: str = ""


# By family, protocol and port: who uses the port on which address, None for all addresses.
_PortUsers = Dict[Tuple[int, str, int], Dict[Optional[str], _User]]

_LISTENER = _User("a process of the host, which listens there")


class _TakenPorts:
    """The host's ports in use: those that are published, and those that processes of the host listen on."""

    def __init__(self, facts: Facts, before: Mapping[str, int]) -> None:
        self._facts = facts
        self._before = before
        self._published: _PortUsers = {}
        self._listeners: _PortUsers = {}
        for protocol, address, port in facts.listeners:
            for version, on in _listens_on(ipaddress.ip_address(address)):
                self._listeners.setdefault((version, protocol, port), {})[on] = _LISTENER

    def take(self, request: PortRequest, port: int) -> int:
        """
        Raises:
            ModelError: the port is in use.
        """
        user = self._user(request, port)
        if user and user.container == request.container:
            same = f"port {request.at(port)} is published by {user.name} already: leave one of the two out"
            raise ModelError.at(request.path, same)
        if user:
            raise ModelError.at(request.path, f"port {request.at(port)} is taken by {user.name}: publish another one")
        for address in request.addresses:
            on = str(request.host_ip) if request.host_ip else None
            self._published.setdefault((address.version, request.protocol, port), {})[on] = _User(
                request.path, request.container
            )
        return port

    def take_for_another_host(self, entry: Entry, path: str, problems: ProblemCollector) -> None:
        """Take a port that all hosts of a network publish; it is a problem if it is in use here."""
        in_use = [self._published] if entry.key in self._before else [self._published, self._listeners]
        user = next((user for users in in_use for user in users.get(entry.at, {}).values()), None)
        if user:
            problems.add(
                f"{path}.x-wharf.members.{entry.host}.ingress",
                f"port {entry.port} of all hosts is to lead to {entry.port.container} on {entry.host}, and here it is "
                f"taken by {user.name}: publish {entry.port.container} at another port, or without x-wharf.ingress",
            )
        self._published.setdefault(entry.at, {})[None] = _User(
            f"{entry.port.container} on host {entry.host}, which all hosts of network {entry.network} publish "
            "(x-wharf.ingress)"
        )

    def take_free(self, request: PortRequest) -> int:
        """Take the lowest free port.

        Raises:
            ModelError: no port is free.
        """
        first, last = self._range(request)
        for port in range(first, last + 1):
            if self.is_free(request, port):
                return self.take(request, port)
        raise ModelError.at(
            request.path, f"no port is free from {first} to {last}/{request.protocol}: free or add some"
        )

    def is_free(self, request: PortRequest, port: int) -> bool:
        first, last = self._range(request)
        # Reserved ports are excluded only where any port would do: a declared range may consist of them on purpose.
        reserved = request.candidates == _ANY_PORT and self._is_reserved(port)
        return first <= port <= last and not reserved and not self._user(request, port)

    def _range(self, request: PortRequest) -> PortRange:
        return self._facts.local_ports if request.candidates == _ANY_PORT else request.candidates

    def _is_reserved(self, port: int) -> bool:
        """Whether the kernel excludes the port from automatic assignment (`net.ipv4.ip_local_reserved_ports`)."""
        return any(first <= port <= last for first, last in self._facts.reserved_ports)

    def _user(self, request: PortRequest, port: int) -> Optional[_User]:
        """Who uses the port, if anybody does.

        On a port that is published already, a process of the host may listen, but its traffic goes to the container.
        """
        in_use = [self._published] if self._before.get(request.key) == port else [self._published, self._listeners]
        for address in request.addresses:
            on = str(request.host_ip) if request.host_ip else None
            for users in in_use:
                for taken, user in users.get((address.version, request.protocol, port), {}).items():
                    if on is None or taken is None or on == taken:
                        return user
        return None


def _listens_on(listener: Address) -> Iterator[Tuple[int, Optional[str]]]:
    """The IP families in which a socket with this address listens, each with the address, None for all addresses."""
    if listener == ipaddress.IPv6Address("::"):
        yield 4, None
        yield 6, None
        return
    mapped = listener.ipv4_mapped if isinstance(listener, ipaddress.IPv6Address) else None
    address = mapped or listener
    yield address.version, None if address.is_unspecified else str(address)


def _publications(allocated: Mapping[PortRequest, int]) -> Iterator[Publication]:
    for request, port in allocated.items():
        for address in request.addresses:
            of_family = None if request.allow_from is None else union(request.allow_from, address.version)
            yield Publication(**{**vars(request), "allow_from": of_family}, host_port=port, address=address)
