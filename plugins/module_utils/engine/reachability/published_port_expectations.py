# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which published ports must be open to whom, and at which addresses they must be closed: plan -> probes. Pure."""

from __future__ import annotations

from itertools import product
from typing import Iterable, Iterator, Optional

from ..declaration.model import Container
from ..declaration.section import Address
from ..planning.publications import Publication
from .probes import CLOSED, DISCARD, FORWARDED, HOST, OPEN, TCP, Probe
from .topology import LOOPBACK, EndpointAddress, Topology


class PublishedPortExpectations:
    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._everywhere = {
            version: [each for each in topology.publications if each.version == version and each.host_ip is None]
            for version in (4, 6)
        }

    def inside(self) -> Iterator[Probe]:
        """Probes from the host and its containers."""
        for number, published in enumerate(self._topology.publications):
            if self._topology.is_reached_by_host(published):
                yield from self._from_host(published)
                if self._topology.forwards(published.version):
                    yield from self._from_containers(published, number)
        yield from self._of_other_hosts()

    def outside(self) -> Iterator[Probe]:
        """Probes from other hosts."""
        for published in self._topology.publications:
            if self._topology.forwards(published.version) and self._topology.is_reached_by_host(published):
                yield from self._from_outside(published)
        for address in self._topology.host_addresses.outer:
            name = "a port that is not published"
            yield Probe(HOST, str(address), TCP, self._unpublished_port(address), CLOSED, name)

    def from_host_mode(self, container: Container) -> Iterator[Probe]:
        """One published port, from a container in network_mode host."""
        for published in self._topology.publications:
            on_loopback = published.version == 4 and published.host_ip in (None, LOOPBACK[4])
            if on_loopback and self._topology.is_reached_by_host(published):
                name = f"{published.container}'s published port, by the host's stack"
                yield Probe(container.name, "127.0.0.1", published.protocol, published.host_port, name=name)
                return

    def from_internal_networks(self, container: Container, version: int) -> Iterator[Probe]:
        """At the gateway, the only address of the host that a container on internal networks has a route to."""
        published = self._everywhere[version]
        for endpoint in self._topology.by_container[container.name]:
            if endpoint.version == version and published and endpoint.network.has_gateway(version):
                one = published[endpoint.number % len(published)]
                name = f"{_name(one)}, from an internal network"
                yield Probe(container.name, str(endpoint.gateway), one.protocol, one.host_port, CLOSED, name)

    def _of_other_hosts(self) -> Iterator[Probe]:
        """Ports that this host publishes for containers of other hosts, from its loopback and from one container.

        Both are seen there with an address of this host's slice: an address of the host itself may also be another's.
        """
        topology = self._topology
        for entry in topology.plan.entries:
            port, name = entry.port, f"port {entry.port} of {entry.port.container} on host {entry.host}, published here"
            beside = topology.by_network.get((entry.network, entry.version), [])[:1]
            ways = [(HOST, LOOPBACK[4])] if entry.version == 4 else []
            for each, own in product(beside, topology.own(entry.version)[:1]):
                ways += [(each.container.name, own)] if topology.routes_by_host(each.container, own) else []
            for source, address in ways:
                yield Probe(source, str(address), port.protocol, port.port, FORWARDED, name, via=str(address))

    def _from_host(self, published: Publication) -> Iterator[Probe]:
        own = self._topology.own(published.version)
        local = [LOOPBACK[4]] if published.version == 4 else []
        if published.host_ip is None:
            addresses = [*local, *own]
        elif published.host_ip.is_loopback or published.host_ip in self._topology.own_and_gateways():
            addresses = [published.host_ip]
        else:
            # The host does not have the address at present. Another host may.
            addresses = []
        for address in addresses:
            yield Probe(HOST, str(address), published.protocol, published.host_port, name=_name(published))
        for address in [*local, *own] if addresses and published.host_ip else []:
            if not self._is_in_use(address, published):
                yield _not_published_at(address, published)
                return

    def _from_containers(self, published: Publication, turn: int) -> Iterator[Probe]:
        """From the published container itself, a neighbour on its network, and a container of another network."""
        if published.host_ip and published.host_ip not in self._topology.own_and_gateways():
            return
        for endpoint in self._topology.by_container[published.container]:
            if endpoint.address == published.address:
                sources = (endpoint, self._topology.neighbour(endpoint), self._topology.stranger(endpoint, turn))
                for source in sources:
                    yield from self._from_container(source, published)

    def _from_container(self, source: Optional[EndpointAddress], published: Publication) -> Iterator[Probe]:
        """At the host's own address, as applications are told, or else at the gateway of the source."""
        if source is None:
            return
        own = self._topology.own(source.version)
        network = self._topology.default_network(source.container, source.version)
        if network is None or network.snat(source.version) not in (None, *own):
            return
        for address in [published.host_ip] if published.host_ip else [*own[:1], source.gateway]:
            on_bridge = source.network.has_gateway(source.version) and self._topology.is_in_hosts_vlan(source)
            on_bridge = on_bridge and not source.network.internal
            is_gateway = address == source.gateway and on_bridge
            if is_gateway or self._topology.routes_by_host(source.container, address):
                expected = OPEN if self._allows(source, address, published) else CLOSED
                name = _name(published)
                yield Probe(
                    source.container.name, str(address), published.protocol, published.host_port, expected, name
                )
                return

    def _allows(self, source: EndpointAddress, address: Address, published: Publication) -> bool:
        """Whether the port's `allow_from` includes the address by which the source arrives at this host address."""
        topology = self._topology
        network = (
            source.network if address == source.gateway else topology.default_network(source.container, source.version)
        )
        if network is None or (network.icc and network == topology.network_of(published)):
            return True
        known_as = topology.plan.allotted.endpoints[source.container.name, network.name].address(source.version)
        return known_as is None or published.allows(known_as)

    def _from_outside(self, published: Publication) -> Iterator[Probe]:
        for address in self._topology.host_addresses.outer:
            if address.version != published.version:
                continue
            if published.host_ip in (None, address):
                if not published.allow_from:
                    expected = OPEN if published.allow_from is None else CLOSED
                    port, at = published.host_port, str(address)
                    yield Probe(HOST, at, published.protocol, port, expected, _name(published), via=at)
            elif not self._is_in_use(address, published):
                yield _not_published_at(address, published)

    def _is_in_use(self, address: Address, published: Publication) -> bool:
        """Whether another container or a process of the host uses the same port at this address."""
        protocol, port = published.protocol, published.host_port
        at_address = self._topology.published_at(protocol, address, port)
        return at_address is not None or self._topology.is_listened_on(protocol, port)

    def _unpublished_port(self, address: Address) -> int:
        """A TCP port that nobody should answer on."""
        ports: Iterable[int] = range(DISCARD, 65536)
        return next(
            port
            for port in ports
            if not self._topology.is_listened_on(TCP, port) and not self._topology.published_at(TCP, address, port)
        )


def _not_published_at(address: Address, published: Publication) -> Probe:
    name = f"{_name(published)} at {published.host_ip} only"
    return Probe(HOST, str(address), published.protocol, published.host_port, CLOSED, name)


def _name(published: Publication) -> str:
    return f"port {published.target_port} of {published.container}, published"
