# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be open and what closed if a host is as declared: plan -> probes. Pure.

Not every pair of endpoints is probed, since there are too many. Each endpoint has one neighbour on its network and one
stranger of another network, in turn; each published port is probed from one container of each kind. So the number of
probes is proportional to that of endpoints and published ports.
"""

from __future__ import annotations

import ipaddress
from typing import Iterator, List, Optional

from ..declaration.model import CONTAINER_MODE, HOST_MODE, NONE_MODE, Container
from ..declaration.section import Address
from ..declaration.slices import gateway_of
from ..planning.accepted_ports import Access, access_from
from ..planning.overlays import overlays
from ..planning.targets import targets
from .probes import CLOSED, DISCARD, FORWARDED, HOST, OPEN, PING, REACHED, TCP, UDP, Probe
from .published_port_expectations import PublishedPortExpectations
from .sublink_expectations import on_sublinks
from .topology import EndpointAddress, Topology, has_route
from .user_rule_expectations import Forwarded, may_decide


def expect(topology: Topology) -> List[Probe]:
    """What the host itself and its containers must, and must not, reach."""
    expectations = _Expectations(topology)
    probes = [probe for probe in expectations.inside() if not expectations.is_up_to_rules(probe)]
    return list(dict.fromkeys([*probes, *on_sublinks(topology)]))


def expect_outside(topology: Topology) -> List[Probe]:
    """What another host must, and must not, reach on this one."""
    expectations = _Expectations(topology)
    probes = expectations.outside()
    return list(dict.fromkeys(probe for probe in probes if not expectations.is_up_to_rules(probe, from_outside=True)))


class _Expectations:
    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._plan = topology.plan
        self._published = PublishedPortExpectations(topology)
        self._entries = {entry.at: entry for entry in self._plan.entries}
        # Only ports without `allow_from`: whether another one is open depends on the source.
        self._targets = {
            target.address: target.port
            for target in reversed(targets(self._plan.publications, self._plan.accepted_ports))
            if target.is_unrestricted and target.protocol == TCP
        }

    def inside(self) -> Iterator[Probe]:
        for endpoint in self._behind_host():
            yield from self._own_network(endpoint, self._topology.neighbour(endpoint))
            if self._topology.is_in_hosts_vlan(endpoint):
                yield from self._other_network(endpoint, self._topology.stranger(endpoint, endpoint.number))
        for container in self._plan.model.containers.values():
            yield from self._from_container(container)
        yield from self._other_hosts()
        yield from self._linked()
        yield from self._published.inside()

    def _behind_host(self) -> Iterator[EndpointAddress]:
        return (endpoint for endpoint in self._topology.endpoints() if not endpoint.network.bypasses_host)

    def outside(self) -> Iterator[Probe]:
        yield from self._published.outside()
        for endpoint in self._behind_host():
            outer = self._topology.host_addresses.outer
            via = next((str(each) for each in outer if each.version == endpoint.version), "")
            is_reached = self._topology.is_in_hosts_vlan(endpoint)
            if via and is_reached and self._plan.model.host.has_rules(endpoint.version):
                yield from self._own_address_from_outside(endpoint, via)

    def _own_address_from_outside(self, endpoint: EndpointAddress, via: str) -> Iterator[Probe]:
        """The interface by which other hosts come is not known, so ports that trusted interfaces open are left out."""
        name = f"{endpoint.container.name}'s own address, from outside"
        port = DISCARD if endpoint.network.trusted_interfaces else self._target_port(endpoint)
        access = Access()
        if self._topology.forwards(endpoint.version):
            access = access_from(self._plan.model.host, endpoint.network, endpoint.version, "")
        replies = self._topology.replies_by_host(endpoint) and not endpoint.container.routes
        yield from _at_own_address(HOST, endpoint, port, access, replies, name, via)

    def is_up_to_rules(self, probe: Probe, from_outside: bool = False) -> bool:
        """Whether the probe is forwarded, and one of the admin's rules may decide about it."""
        source = self._plan.model.containers.get(probe.source)
        owner = self._plan.model.owner_of_stack(source) if source else None
        if not from_outside and (owner is None or owner.mode == HOST_MODE):
            return False
        address = ipaddress.ip_address(probe.address)
        published = self._topology.published_at(probe.protocol, address, probe.port)
        entry = (
            self._entries.get((address.version, probe.protocol, probe.port)) if probe.expected == FORWARDED else None
        )
        translated = published or entry
        endpoint = self._topology.by_address.get(address)
        container = endpoint.container.name if endpoint else ""
        if not translated and not container and (from_outside or address in self._topology.own_and_gateways()):
            return False
        endpoints = self._topology.by_container[owner.name] if owner else []
        packet = Forwarded(
            probe.protocol,
            probe.port,
            translated.address if translated and not container else address,
            container or (published.container if published else ""),
            None if from_outside else tuple(endpoint.address for endpoint in endpoints),
            None if from_outside else tuple(endpoint.network.bridge for endpoint in endpoints),
        )
        return may_decide(self._plan.model, packet, probe.expected)

    # Between endpoints

    def _own_network(self, endpoint: EndpointAddress, neighbour: EndpointAddress) -> Iterator[Probe]:
        """On a bridge with VLANs, the host reaches only the endpoints in its own."""
        container, network = endpoint.container.name, endpoint.network.name
        is_in_hosts_vlan = self._topology.is_in_hosts_vlan(endpoint)
        if is_in_hosts_vlan and endpoint.network.has_gateway(endpoint.version):
            yield _to_host(container, endpoint.gateway, f"the gateway of {network}")
            yield Probe(HOST, str(endpoint.address), TCP, DISCARD, name=f"{container} on {network}, from the host")
        if neighbour == endpoint:
            return
        if not self._topology.is_in_vlan_of(endpoint, neighbour):
            name = f"{neighbour.container.name}, in another VLAN"
            yield Probe(container, str(neighbour.address), TCP, DISCARD, CLOSED, name)
        elif endpoint.network.icc:
            name = f"{neighbour.container.name}, on the same network"
            yield Probe(container, str(neighbour.address), TCP, DISCARD, name=name)
        elif is_in_hosts_vlan:
            name = f"{neighbour.container.name}, on a network without icc"
            linked = neighbour.address in self._plan.linked_addresses.get(endpoint.address, ())
            port = DISCARD if linked else self._target_port(neighbour)
            yield Probe(container, str(neighbour.address), TCP, port, CLOSED, name)

    def _other_network(self, endpoint: EndpointAddress, stranger: Optional[EndpointAddress]) -> Iterator[Probe]:
        if not stranger or not self._plan.model.host.has_rules(endpoint.version):
            return
        topology = self._topology
        for source, target in ((stranger, endpoint), (endpoint, stranger)):
            if source.is_on(target.network) or not topology.has_no_other_router(source.container, target.address):
                continue
            name = f"{target.container.name}, on another network"
            replies = topology.replies_by_host(target) and topology.gets_reply(source, target)
            port, access = self._target_port(target), self._access(source, target)
            yield from _at_own_address(source.container.name, target, port, access, replies, name)

    def _access(self, source: EndpointAddress, target: EndpointAddress) -> Access:
        network = self._topology.default_network(source.container, source.version)
        if network is None or not self._topology.forwards(source.version):
            return Access()
        return access_from(self._plan.model.host, target.network, target.version, network.bridge)

    def _other_hosts(self) -> Iterator[Probe]:
        """From a container on each overlay network, each in turn, the gateway of each slice of another host."""
        for network, driver in overlays(self._plan.model):
            on_network = [e for e in self._topology.endpoints() if e.network.name == network.name]
            slices = [(peer, each) for peer in driver.peers for each in peer.slices]
            for number, (peer, slice_) in enumerate(slices):
                endpoints = [endpoint for endpoint in on_network if endpoint.version == slice_.version]
                if endpoints and network.icc:
                    source = endpoints[number % len(endpoints)].container.name
                    name = f"host {peer.name}, of network {network.name}"
                    size = self._plan.mtu(network)
                    yield Probe(source, str(gateway_of(slice_)), PING, name=name)
                    yield Probe(source, str(gateway_of(slice_)), PING, name=f"{name}, by its MTU", size=size)

    def _linked(self) -> Iterator[Probe]:
        for linked in self._plan.linked_ports:
            if linked.protocol in (TCP, UDP) and self._topology.forwards(linked.version):
                name = f"port {linked.port} of {self._topology.by_address[linked.address].container.name}, by a link"
                yield Probe(linked.container, str(linked.address), linked.protocol, linked.port, name=name)

    def _target_port(self, endpoint: EndpointAddress) -> int:
        """A port that the container publishes, if any: it must not be open at the container's own address by that."""
        return self._targets.get(endpoint.address, DISCARD)

    # From containers to the host and beyond

    def _from_container(self, container: Container) -> Iterator[Probe]:
        if container.mode == CONTAINER_MODE:
            owner = self._plan.model.owner_of_stack(container)
            with_gateway = (e for e in self._topology.by_container[owner.name] if e.network.has_gateway(e.version))
            endpoint = next(with_gateway, None)
            if endpoint:
                name = f"the gateway of {endpoint.network.name}, by the stack of {owner.name}"
                yield _to_host(container.name, endpoint.gateway, name)
        elif container.mode == HOST_MODE:
            yield from self._published.from_host_mode(container)
        else:
            for version in (4, 6):
                yield from self._by_default_route(container, version)

    def _by_default_route(self, container: Container, version: int) -> Iterator[Probe]:
        endpoints = self._topology.by_container[container.name]
        if container.mode != NONE_MODE and all(endpoint.version != version for endpoint in endpoints):
            return
        has_default = self._topology.default_network(container, version) is not None
        for address in self._topology.own(version)[:1]:
            if has_default and self._topology.routes_by_host(container, address):
                yield _to_host(container.name, address, "the host, by the default route")
            elif not has_default and not has_route(container, address) and not self._is_on_link(endpoints, address):
                yield Probe(container.name, str(address), PING, expected=CLOSED, name="anything beyond its networks")
        if not has_default:
            yield from self._published.from_internal_networks(container, version)
        for address, port in self._topology.host_addresses.beyond:
            if address.version != version:
                continue
            if not has_default or self._topology.gets_reply_from_outside(container, address):
                protocol = TCP if port else PING
                expected = OPEN if has_default else CLOSED
                yield Probe(container.name, str(address), protocol, port, expected, "a host beyond this one")

    def _is_on_link(self, endpoints: List[EndpointAddress], address: Address) -> bool:
        """Whether one of the endpoints is on the network that the address is of."""
        pools = self._plan.allotted.networks
        return any(address in pool.subnet for endpoint in endpoints for pool in pools[endpoint.network.name])


def _to_host(source: str, address: Address, name: str) -> Probe:
    """A ping that must arrive at the host. Whether the host answers it is decided by the host's own rules."""
    return Probe(source, str(address), PING, expected=REACHED, name=name)


def _at_own_address(
    source: str, target: EndpointAddress, port: int, access: Access, replies: bool, name: str, via: str = ""
) -> Iterator[Probe]:
    """Probes of a container at its own address: of a published port, if it has one, of another port, and by a ping.

    Those that should be open are left out where no reply would reach the source (`replies`).
    """
    address = str(target.address)
    if access.pings and replies:
        yield Probe(source, address, PING, 0, OPEN, name, via)
    if not access.published:
        yield Probe(source, address, TCP, port, CLOSED, name, via)
        return
    if replies and (port != DISCARD or access.other_ports):
        yield Probe(source, address, TCP, port, OPEN, name, via)
    if not access.other_ports:
        yield Probe(source, address, TCP, DISCARD, CLOSED, name, via)
