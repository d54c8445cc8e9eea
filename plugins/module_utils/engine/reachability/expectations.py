# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be open and what closed if a host is as declared: plan -> probes. Pure.

Not every pair is probed, since there are too many: each endpoint has one neighbour on its network and one stranger
of another network, who take turns; each published port one container of each kind that it may be reached from. So
the number of probes grows with that of endpoints and published ports.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from ..declaration.model import CONTAINER_MODE, HOST_MODE, NONE_MODE, Attachment, Container, Network
from ..declaration.section import Address
from ..planning.accepted_ports import Access, access_from
from ..planning.plan import Plan
from ..planning.publications import Publication, gateway_attachment
from ..planning.targets import targets
from .probes import CLOSED, HOST, OPEN, PING, REACHED, TCP, UDP, Probe
from .user_rule_expectations import Forwarded, may_decide

# The port for what does not depend on the port: RFC 863's service, which takes no offence.
DISCARD = 9
# On how many of a network's endpoints a stranger is looked for: most will do.
_ASKED_TO_BE_STRANGERS = 4
LOOPBACK = {4: ipaddress.ip_address("127.0.0.1"), 6: ipaddress.ip_address("::1")}


@dataclass(frozen=True)
class HostAddresses:
    """What a host has, beside its plan: `own` are its addresses but for loopback and the networks' bridges.

    `outer` are those by which other hosts reach it. `beyond` are other hosts, each with a port, 0 for a ping.
    """

    own: Tuple[Address, ...] = ()
    outer: Tuple[Address, ...] = ()
    beyond: Tuple[Tuple[Address, int], ...] = ()


@dataclass(frozen=True)
class _Place:
    """An endpoint in one family."""

    container: Container
    network: Network
    address: Address
    gateway: Address
    number: int

    @property
    def version(self) -> int:
        return self.address.version

    def is_on(self, network: Network) -> bool:
        return any(attachment.network == network.name for attachment in self.container.attachments)


_Circle = List[_Place]


def expect(plan: Plan, host_addresses: HostAddresses) -> List[Probe]:
    """What the host itself and its containers must, and must not, reach."""
    expectations = _Expectations(plan, host_addresses)
    return list(dict.fromkeys(probe for probe in expectations.inside() if not expectations.is_up_to_rules(probe)))


def expect_outside(plan: Plan, host_addresses: HostAddresses) -> List[Probe]:
    """What another host must, and must not, reach on this one."""
    expectations = _Expectations(plan, host_addresses)
    probes = expectations.outside()
    return list(dict.fromkeys(probe for probe in probes if not expectations.is_up_to_rules(probe, from_outside=True)))


class Destinations:
    """Where probes arrive; `host_addresses` are all that the host has, loopback's left out."""

    def __init__(self, plan: Plan, host_addresses: Iterable[str]) -> None:
        self._plan = plan
        self._host_addresses = frozenset(host_addresses)
        self._published = _PublishedPorts(plan.publications)
        self._endpoints = {
            str(address): endpoint
            for endpoint, allotted in plan.allotted.endpoints.items()
            for address in (allotted.ipv4, allotted.ipv6)
        }

    def of(self, probe: Probe) -> Optional[Tuple[str, int]]:
        """The container and its port at which a probe arrives, if it does."""
        if probe.address in self._endpoints:
            return self._endpoints[probe.address][0], probe.port
        address = ipaddress.ip_address(probe.address)
        on_host = address.is_loopback if self._has_hosts_stack(probe.source) else False
        if address == LOOPBACK[6] or not (on_host or probe.address in self._host_addresses):
            return None
        published = self._published.at(probe.protocol, address, probe.port)
        return (published.container, published.target_port) if published else None

    def is_near(self, probe: Probe) -> bool:
        """Whether it is a container that asks another one on a network of both."""
        source = self._plan.model.containers.get(probe.source)
        if source is None or probe.address not in self._endpoints:
            return False
        _container, network = self._endpoints[probe.address]
        return any(a.network == network for a in self._plan.model.owner_of_stack(source).attachments)

    def _has_hosts_stack(self, source: str) -> bool:
        if source == HOST:
            return True
        container = self._plan.model.containers.get(source)
        return container is not None and self._plan.model.owner_of_stack(container).mode == HOST_MODE


class _PublishedPorts:
    """Publications by what they are reached at."""

    def __init__(self, publications: Iterable[Publication]) -> None:
        self._by_port: Dict[Tuple[str, int, int], List[Publication]] = {}
        for each in publications:
            self._by_port.setdefault((each.protocol, each.version, each.host_port), []).append(each)

    def at(self, protocol: str, address: Address, port: int) -> Optional[Publication]:
        on_port = self._by_port.get((protocol, address.version, port), [])
        return next((each for each in on_port if each.host_ip in (None, address)), None)


class _Expectations:
    def __init__(self, plan: Plan, host_addresses: HostAddresses) -> None:
        self._plan = plan
        self._ground = host_addresses
        self._circles: Dict[Tuple[str, int], _Circle] = {}
        self._places: Dict[str, List[_Place]] = {name: [] for name in plan.model.containers}
        for container in plan.model.containers.values():
            for attachment in container.attachments:
                self._add_places(container, attachment)
        self._publications = [each for each in plan.publications if each.protocol in (TCP, UDP)]
        self._published = _PublishedPorts(self._publications)
        self._endpoints = {place.address: name for name, places in self._places.items() for place in places}
        self._published_everywhere = {
            version: [p for p in self._publications if p.version == version and p.host_ip is None] for version in (4, 6)
        }
        # Who reaches the others at a container's own address, depends on who asks.
        self._targets = {
            target.address: target.port
            for target in reversed(targets(plan.publications, plan.accepted_ports))
            if target.is_unrestricted and target.protocol == TCP
        }

    def _add_places(self, container: Container, attachment: Attachment) -> None:
        network = self._plan.model.networks[attachment.network]
        for version, pool in self._plan.allotted.networks[network.name].items():
            address = self._plan.allotted.endpoints[container.name, network.name].address(version)
            if address:
                circle = self._circles.setdefault((network.name, version), [])
                place = _Place(container, network, address, pool.gateway, number=len(circle))
                circle.append(place)
                self._places[container.name].append(place)

    def inside(self) -> Iterator[Probe]:
        for circle in self._circles.values():
            for place in circle:
                yield from self._own_network(place, _next(circle, place))
                yield from self._other_network(place, self._stranger(place, place.number))
        for container in self._plan.model.containers.values():
            yield from self._way_out(container)
        yield from self._linked()
        for number, published in enumerate(self._publications):
            if not self._is_at_hand(published):
                continue
            yield from self._published_to_host(published)
            if self._forwards(published.version):
                yield from self._published_to_containers(published, number)

    def outside(self) -> Iterator[Probe]:
        for published in self._publications:
            if self._forwards(published.version) and self._is_at_hand(published):
                yield from self._published_to_others(published)
        for address in self._ground.outer:
            name = "a port that is not published"
            yield Probe(HOST, str(address), TCP, self._unpublished(address), CLOSED, name)
        for circle in self._circles.values():
            for place in circle:
                via = next((str(each) for each in self._ground.outer if each.version == place.version), "")
                if via and self._has_rules(place.version):
                    yield from self._own_address_from_outside(place, via)

    def _own_address_from_outside(self, place: _Place, via: str) -> Iterator[Probe]:
        """By which interface others come to this host, nobody knows here, so trusted ones are left out."""
        name = f"{place.container.name}'s own address, from outside"
        port = DISCARD if place.network.trusted_interfaces else self._target_port(place)
        forwards = self._forwards(place.version)
        open_to_us = access_from(self._plan.model.host, place.network, place.version, "") if forwards else Access()
        answered = self._is_answered_by_us(place) and not place.container.routes
        yield from _at_own_address(HOST, place, port, open_to_us, answered, name, via)

    def is_up_to_rules(self, probe: Probe, from_outside: bool = False) -> bool:
        """Whether it is forwarded, and a rule of the admin's may decide about it."""
        source = self._plan.model.containers.get(probe.source)
        owner = self._plan.model.owner_of_stack(source) if source else None
        if not from_outside and (owner is None or owner.mode == HOST_MODE):
            return False
        address = ipaddress.ip_address(probe.address)
        published = self._published.at(probe.protocol, address, probe.port)
        at_endpoint = self._endpoints.get(address)
        if not published and not at_endpoint and (from_outside or address in self._host_addresses()):
            return False
        places = self._places[owner.name] if owner else []
        packet = Forwarded(
            probe.protocol,
            probe.port,
            published.address if published and not at_endpoint else address,
            at_endpoint or (published.container if published else ""),
            None if from_outside else tuple(place.address for place in places),
            None if from_outside else tuple(place.network.bridge for place in places),
        )
        return may_decide(self._plan.model, packet, probe.expected)

    # Networks

    def _own_network(self, place: _Place, neighbour: _Place) -> Iterator[Probe]:
        container, network = place.container.name, place.network.name
        if place.network.has_gateway(place.version):
            yield _to_host(container, place.gateway, f"the gateway of {network}")
            yield Probe(HOST, str(place.address), TCP, DISCARD, name=f"{container} on {network}, from the host")
        if neighbour == place:
            return
        if place.network.icc:
            name = f"{neighbour.container.name}, on the same network"
            yield Probe(container, str(neighbour.address), TCP, DISCARD, name=name)
        else:
            name = f"{neighbour.container.name}, on a network without icc"
            linked = neighbour.address in self._plan.linked_addresses.get(place.address, ())
            port = DISCARD if linked else self._target_port(neighbour)
            yield Probe(container, str(neighbour.address), TCP, port, CLOSED, name)

    def _other_network(self, place: _Place, stranger: Optional[_Place]) -> Iterator[Probe]:
        if not stranger or not self._has_rules(place.version):
            return
        for source, target in ((stranger, place), (place, stranger)):
            if not source.is_on(target.network) and self._is_in_our_hands(source.container, target.address):
                name = f"{target.container.name}, on another network"
                answered = self._is_answered_by_us(target) and self._is_answered(source, target)
                way = (source.container.name, target, self._target_port(target))
                yield from _at_own_address(*way, self._access(source, target), answered, name)

    def _access(self, source: _Place, target: _Place) -> Access:
        network = self._gateway(source.container, source.version)
        if network is None or not self._forwards(source.version):
            return Access()
        return access_from(self._plan.model.host, target.network, target.version, network.bridge)

    def _is_answered(self, source: _Place, target: _Place) -> bool:
        """Whether an answer finds back: to the gateway that it takes the source for, or by its default route."""
        network = self._gateway(source.container, source.version)
        if network is not None and network.masquerade(source.version):
            return self._takes_own_address(network, source.version)
        return self._leads_to_host(target.container, source.address)

    def _takes_own_address(self, network: Network, version: int) -> bool:
        """Whether what leaves the network has an address that the host has now; else another one gets the answers."""
        return network.masquerade(version) and network.snat(version) in (None, *self._own(version))

    def _is_answered_by_us(self, place: _Place) -> bool:
        """Whether the host is the next hop of the container's answers to strangers."""
        network = self._gateway(place.container, place.version)
        return place.network.has_gateway(place.version) and network is not None and _is_next_hop(network, place.version)

    def _linked(self) -> Iterator[Probe]:
        places = {place.address: place for circle in self._circles.values() for place in circle}
        for linked in self._plan.linked_ports:
            if linked.protocol in (TCP, UDP) and self._forwards(linked.version):
                name = f"port {linked.port} of {places[linked.address].container.name}, by a link"
                yield Probe(linked.container, str(linked.address), linked.protocol, linked.port, name=name)

    def _stranger(self, place: _Place, turn: int) -> Optional[_Place]:
        """An endpoint of another network, whose container is not on this one; rather one that has a way out."""
        names = [name for name, version in self._circles if version == place.version]
        start = names.index(place.network.name) + 1
        shut_in = None
        for name in names[start:] + names[: start - 1]:
            circle = self._circles[name, place.version]
            for stranger in [circle[(turn + n) % len(circle)] for n in range(min(len(circle), _ASKED_TO_BE_STRANGERS))]:
                if stranger.is_on(place.network):
                    continue
                if self._gateway(stranger.container, place.version):
                    return stranger
                shut_in = shut_in or stranger
        return shut_in

    def _target_port(self, place: _Place) -> int:
        """A port that the container publishes, if any: that it is published must not open it otherwise."""
        return self._targets.get(place.address, DISCARD)

    # Containers

    def _way_out(self, container: Container) -> Iterator[Probe]:
        if container.mode == CONTAINER_MODE:
            owner = self._plan.model.owner_of_stack(container)
            for place in [each for each in self._places[owner.name] if each.network.has_gateway(each.version)][:1]:
                name = f"the gateway of {place.network.name}, by the stack of {owner.name}"
                yield _to_host(container.name, place.gateway, name)
        elif container.mode == HOST_MODE:
            local = [p for p in self._publications if p.version == 4 and p.host_ip in (None, LOOPBACK[4])]
            for published in [each for each in local if self._is_at_hand(each)][:1]:
                name = f"{published.container}'s published port, by the host's stack"
                yield Probe(container.name, "127.0.0.1", published.protocol, published.host_port, name=name)
        else:
            for version in (4, 6):
                yield from self._way_out_by(container, version)

    def _way_out_by(self, container: Container, version: int) -> Iterator[Probe]:
        has_family = container.mode == NONE_MODE or any(p.version == version for p in self._places[container.name])
        if not has_family:
            return
        open_to_host = self._gateway(container, version) is not None
        beyond = [(address, port) for address, port in self._ground.beyond if address.version == version]
        for address in self._own(version)[:1]:
            if open_to_host and self._leads_to_host(container, address):
                yield _to_host(container.name, address, "the host, by the default route")
            elif not open_to_host and not _has_route(container, address):
                yield Probe(container.name, str(address), PING, expected=CLOSED, name="anything beyond its networks")
        if not open_to_host:
            yield from self._published_to_shut_in(container, version)
        for address, port in beyond:
            expected = OPEN if open_to_host else CLOSED
            if expected == CLOSED or self._is_masqueraded(container, address):
                protocol = TCP if port else PING
                yield Probe(container.name, str(address), protocol, port, expected, "a host beyond this one")

    def _gateway(self, container: Container, version: int) -> Optional[Network]:
        """The network by which the container's default route leads."""
        attachment = gateway_attachment(self._plan.model, container, version)
        return self._plan.model.networks[attachment.network] if attachment else None

    def _leads_to_host(self, container: Container, address: Address) -> bool:
        """Whether what the container sends to one of the host's addresses goes straight to the host."""
        network = self._gateway(container, address.version)
        return network is not None and self._is_in_our_hands(container, address)

    def _is_in_our_hands(self, container: Container, address: Address) -> bool:
        """Whether the container sends to an address by the host, or has no way at all; and not by somebody else."""
        network = self._gateway(container, address.version)
        by_us = network is None or _is_next_hop(network, address.version)
        return by_us and not _has_route(container, address)

    def _is_masqueraded(self, container: Container, address: Address) -> bool:
        """Whether the answers of other hosts find back: others need not know a route to our networks."""
        network = self._gateway(container, address.version)
        masquerade = network is not None and self._takes_own_address(network, address.version)
        return masquerade and self._forwards(address.version) and self._leads_to_host(container, address)

    # Published ports

    def _is_at_hand(self, published: Publication) -> bool:
        """Whether the host itself reaches the container's network."""
        network = self._gateway(self._plan.model.containers[published.container], published.version)
        return network is not None and network.has_gateway(published.version)

    def _published_to_host(self, published: Publication) -> Iterator[Probe]:
        name = _of(published)
        own = self._own(published.version)
        local = [LOOPBACK[4]] if published.version == 4 else []
        if published.host_ip is None:
            at = [*local, *own]
        elif published.host_ip.is_loopback or published.host_ip in self._host_addresses():
            at = [published.host_ip]
        else:
            # An address that the host does not have now, maybe since another one has it.
            at = []
        for address in at:
            yield Probe(HOST, str(address), published.protocol, published.host_port, name=name)
        for address in [*local, *own] if at and published.host_ip else []:
            if not self._is_taken(address, published):
                yield self._not_published_at(HOST, address, published)
                return

    def _published_to_containers(self, published: Publication, turn: int) -> Iterator[Probe]:
        if published.host_ip and published.host_ip not in self._host_addresses():
            return
        itself = self._plan.model.containers[published.container]
        network = self._gateway(itself, published.version)
        if network is None:
            return
        for place in self._places[itself.name]:
            if place.address == published.address:
                neighbour = _next(self._circles[network.name, published.version], place)
                for user in (place, neighbour, self._stranger(place, turn)):
                    if user:
                        yield from self._published_to(user, published)

    def _published_to(self, user: _Place, published: Publication) -> Iterator[Probe]:
        """By the host's own address, as applications are told, or else by that of the user's gateway."""
        name, port = _of(published), published.host_port
        network = self._gateway(user.container, user.version)
        if network is None or network.snat(user.version) not in (None, *self._own(user.version)):
            return
        wanted = [published.host_ip] if published.host_ip else [*self._own(user.version)[:1], user.gateway]
        for address in wanted:
            on_bridge = user.network.has_gateway(user.version) and not user.network.internal
            to_gateway = address == user.gateway and on_bridge
            if to_gateway or self._leads_to_host(user.container, address):
                expected = OPEN if self._is_for(user, address, published) else CLOSED
                yield Probe(user.container.name, str(address), published.protocol, port, expected, name)
                return

    def _is_for(self, user: _Place, asked: Address, published: Publication) -> bool:
        """Whether a container that asks an address of the host is known by an address that may."""
        network = user.network if asked == user.gateway else self._gateway(user.container, user.version)
        if network is None or (network.icc and network == self._network_of(published)):
            return True
        source = self._plan.allotted.endpoints[user.container.name, network.name].address(user.version)
        return source is None or published.allows(source)

    def _network_of(self, published: Publication) -> Optional[Network]:
        return self._gateway(self._plan.model.containers[published.container], published.version)

    def _published_to_shut_in(self, container: Container, version: int) -> Iterator[Probe]:
        """By the gateway, which is all that a container on internal networks reaches of the host."""
        everywhere = self._published_everywhere[version]
        for place in self._places[container.name]:
            if place.version == version and everywhere and place.network.has_gateway(version):
                published = everywhere[place.number % len(everywhere)]
                name = f"{_of(published)}, from an internal network"
                way = (container.name, str(place.gateway), published.protocol, published.host_port)
                yield Probe(*way, expected=CLOSED, name=name)

    def _published_to_others(self, published: Publication) -> Iterator[Probe]:
        for address in self._ground.outer:
            if address.version != published.version:
                continue
            if published.host_ip in (None, address):
                way = (HOST, str(address), published.protocol, published.host_port)
                if not published.allow_from:
                    expected = OPEN if published.allow_from is None else CLOSED
                    yield Probe(*way, expected, _of(published), str(address))
            elif not self._is_taken(address, published):
                yield self._not_published_at(HOST, address, published)

    def _not_published_at(self, source: str, address: Address, published: Publication) -> Probe:
        name = f"{_of(published)} at {published.host_ip} only"
        return Probe(source, str(address), published.protocol, published.host_port, CLOSED, name)

    def _is_taken(self, address: Address, published: Publication) -> bool:
        """Whether somebody has the same port at this address: a container, or a process of the host."""
        return self._published.at(published.protocol, address, published.host_port) is not None or (
            self._is_listened_on(published.protocol, published.host_port)
        )

    def _unpublished(self, address: Address) -> int:
        """A TCP port that nobody should answer on."""
        ports: Iterable[int] = range(DISCARD, 65536)
        return next(
            port for port in ports if not self._is_listened_on(TCP, port) and not self._published.at(TCP, address, port)
        )

    def _is_listened_on(self, protocol: str, port: int) -> bool:
        return any((protocol, port) == (each[0], each[2]) for each in self._plan.facts.listeners)

    # The host

    def _forwards(self, version: int) -> bool:
        facts = self._plan.facts
        return self._plan.model.host.ip_forward or (facts.forwards_ipv4 if version == 4 else facts.forwards_ipv6)

    def _has_rules(self, version: int) -> bool:
        return self._plan.model.host.has_rules(version)

    def _own(self, version: int) -> List[Address]:
        return [address for address in self._ground.own if address.version == version]

    def _host_addresses(self) -> Sequence[Address]:
        gateways = [pool.gateway for pools in self._plan.allotted.networks.values() for pool in pools.values()]
        return [*self._ground.own, *gateways]


def _to_host(source: str, address: Address, name: str) -> Probe:
    """A ping. Whether the host answers it is the affair of its own rules."""
    return Probe(source, str(address), PING, expected=REACHED, name=name)


def _of(published: Publication) -> str:
    return f"port {published.target_port} of {published.container}, published"


def _at_own_address(
    source: str, target: _Place, port: int, access: Access, answered: bool, name: str, via: str = ""
) -> Iterator[Probe]:
    """A container's published port, if it has one, another port, and a ping, as far as these tell anything."""
    address = str(target.address)
    if access.pings and answered:
        yield Probe(source, address, PING, 0, OPEN, name, via)
    if not access.published:
        yield Probe(source, address, TCP, port, CLOSED, name, via)
        return
    if answered and (port != DISCARD or access.others):
        yield Probe(source, address, TCP, port, OPEN, name, via)
    if not access.others:
        yield Probe(source, address, TCP, DISCARD, CLOSED, name, via)


def _is_next_hop(network: Network, version: int) -> bool:
    """Whether the host itself is where the network's containers send what is for elsewhere."""
    return network.has_gateway(version) and not any(hop.version == version for hop in network.next_hops)


def _has_route(container: Container, address: Address) -> bool:
    """Whether the container was given a route of its own to an address: then that says who reaches it."""
    return any(address in route.to for route in container.routes)


def _next(circle: _Circle, place: _Place) -> _Place:
    return circle[(place.number + 1) % len(circle)]
