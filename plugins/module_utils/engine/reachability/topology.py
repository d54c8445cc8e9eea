# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoints of a plan by network and container, and the routes between these, the host and other hosts. Pure.

By these, where probes arrive.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Collection, Dict, List, Optional, Tuple

from ..declaration.model import HOST_MODE, Attachment, Container, Network
from ..declaration.section import Address
from ..planning.plan import Plan
from ..planning.publications import Publication, gateway_attachment
from ..planning.vlans import is_in_hosts_vlan, untagged_vlan
from .probes import HOST, TCP, UDP, Probe

LOOPBACK = {4: ipaddress.ip_address("127.0.0.1"), 6: ipaddress.ip_address("::1")}
# So many endpoints of a network are tried for one that is not on another network too.
_MOST_TRIED = 4


@dataclass(frozen=True)
class HostAddresses:
    """Addresses of a host that are not in its plan: `own` without loopback's and those of managed bridges.

    `outer` are those by which other hosts reach it. `beyond` are other hosts, each with a port, 0 for a ping.
    """

    own: Tuple[Address, ...] = ()
    outer: Tuple[Address, ...] = ()
    beyond: Tuple[Tuple[Address, int], ...] = ()


@dataclass(frozen=True)
class EndpointAddress:
    """An endpoint in one IP family. `number` is its position among the endpoints of its network."""

    container: Container
    network: Network
    address: Address
    gateway: Address
    number: int

    @property
    def version(self) -> int:
        return self.address.version

    @property
    def attachment(self) -> Attachment:
        return next(each for each in self.container.attachments if each.network == self.network.name)

    def is_on(self, network: Network) -> bool:
        return any(attachment.network == network.name for attachment in self.container.attachments)


class Topology:
    """What a plan says of the routes between containers, the host and other hosts.

    `by_network`, `by_container` and `by_address` are the endpoints, `publications` those of protocols that are probed.
    """

    def __init__(self, plan: Plan, host_addresses: HostAddresses) -> None:
        self.plan = plan
        self.host_addresses = host_addresses
        self.by_network: Dict[Tuple[str, int], List[EndpointAddress]] = {}
        self.by_container: Dict[str, List[EndpointAddress]] = {name: [] for name in plan.model.containers}
        self.by_address: Dict[Address, EndpointAddress] = {}
        for container, attachment in plan.model.attachments:
            self._add(container, attachment)
        self.publications = [each for each in plan.publications if each.protocol in (TCP, UDP)]
        self._published: Dict[Tuple[str, int, int], List[Publication]] = {}
        for each in self.publications:
            self._published.setdefault((each.protocol, each.version, each.host_port), []).append(each)

    def _add(self, container: Container, attachment: Attachment) -> None:
        network = self.plan.model.networks[attachment.network]
        for address in self.plan.allotted.endpoints[container.name, network.name].addresses:
            gateway = self.plan.allotted.pool_of(network.name, address).gateway
            endpoints = self.by_network.setdefault((network.name, address.version), [])
            endpoint = EndpointAddress(container, network, address, gateway, number=len(endpoints))
            endpoints.append(endpoint)
            self.by_container[container.name].append(endpoint)
            self.by_address[address] = endpoint

    def endpoints(self) -> List[EndpointAddress]:
        return [endpoint for endpoints in self.by_network.values() for endpoint in endpoints]

    def neighbour(self, endpoint: EndpointAddress) -> EndpointAddress:
        """The next endpoint on the same network; the same one, if it is alone there."""
        endpoints = self.by_network[endpoint.network.name, endpoint.version]
        return endpoints[(endpoint.number + 1) % len(endpoints)]

    def is_in_hosts_vlan(self, endpoint: EndpointAddress) -> bool:
        return is_in_hosts_vlan(endpoint.network, endpoint.attachment, self.plan.facts)

    def is_in_vlan_of(self, endpoint: EndpointAddress, other: EndpointAddress) -> bool:
        """Whether two endpoints of one network exchange frames, as far as VLANs are concerned."""
        one, two = (untagged_vlan(each.network, each.attachment, self.plan.facts) for each in (endpoint, other))
        return one is not None and one == two

    def stranger(self, endpoint: EndpointAddress, turn: int) -> Optional[EndpointAddress]:
        """An endpoint of another network whose container is not on this one, preferably one with a default route.

        Neither network has a parent: what goes between such a network and another one does not pass this host.
        """
        networks = self.plan.model.networks
        names = [name for name, at in self.by_network if at == endpoint.version and not networks[name].bypasses_host]
        start = names.index(endpoint.network.name) + 1
        without_route = None
        for name in names[start:] + names[: start - 1]:
            endpoints = self.by_network[name, endpoint.version]
            for n in range(min(len(endpoints), _MOST_TRIED)):
                stranger = endpoints[(turn + n) % len(endpoints)]
                if stranger.is_on(endpoint.network):
                    continue
                if self.default_network(stranger.container, endpoint.version):
                    return stranger
                without_route = without_route or stranger
        return without_route

    # Where probes arrive

    def published_at(self, protocol: str, address: Address, port: int) -> Optional[Publication]:
        """The publication of a port at an address of the host."""
        on_port = self._published.get((protocol, address.version, port), [])
        return next((each for each in on_port if each.host_ip in (None, address)), None)

    def destination(self, probe: Probe, of_host: Collection[str]) -> Optional[Tuple[str, int]]:
        """The container and its port to which a probe leads, if it leads to a container.

        Args:
            of_host: all addresses of the host.
        """
        address = ipaddress.ip_address(probe.address)
        if address in self.by_address:
            return self.by_address[address].container.name, probe.port
        on_host = address.is_loopback and self._is_on_host(probe.source)
        if address == LOOPBACK[6] or not (on_host or probe.address in of_host):
            return None
        published = self.published_at(probe.protocol, address, probe.port)
        return (published.container, published.target_port) if published else None

    def is_near(self, probe: Probe) -> bool:
        """Whether a container probes another one at its address on a network that both are on."""
        source = self.plan.model.containers.get(probe.source)
        target = self.by_address.get(ipaddress.ip_address(probe.address))
        if source is None or target is None:
            return False
        return any(each.network == target.network.name for each in self.plan.model.owner_of_stack(source).attachments)

    def _is_on_host(self, source: str) -> bool:
        """Whether the source is the host, or a container in network_mode host."""
        container = self.plan.model.containers.get(source)
        return source == HOST or (container is not None and self.plan.model.owner_of_stack(container).mode == HOST_MODE)

    # Routes of containers

    def default_network(self, container: Container, version: int) -> Optional[Network]:
        """The network that has the container's default route, if there is one."""
        attachment = gateway_attachment(self.plan.model, container, version)
        return self.plan.model.networks[attachment.network] if attachment else None

    def routes_by_host(self, container: Container, address: Address) -> bool:
        """Whether the container sends packets for this address by its default route to the host."""
        network = self.default_network(container, address.version)
        return network is not None and self.has_no_other_router(container, address)

    def has_no_other_router(self, container: Container, address: Address) -> bool:
        """Whether the container sends packets for this address to the host, or nowhere: never to another router."""
        attachment = gateway_attachment(self.plan.model, container, address.version)
        by_host = attachment is None or self._is_next_hop(attachment, address.version)
        return by_host and not has_route(container, address)

    def replies_by_host(self, endpoint: EndpointAddress) -> bool:
        """Whether the host is the next hop of the container's replies to other networks."""
        attachment = gateway_attachment(self.plan.model, endpoint.container, endpoint.version)
        by_host = attachment is not None and self._is_next_hop(attachment, endpoint.version)
        return by_host and endpoint.network.has_gateway(endpoint.version)

    def _is_next_hop(self, attachment: Attachment, version: int) -> bool:
        """Whether the host is the default gateway of containers that are attached so."""
        network = self.plan.model.networks[attachment.network]
        has_other = any(hop.version == version for hop in network.next_hops)
        is_reached = network.has_gateway(version) and is_in_hosts_vlan(network, attachment, self.plan.facts)
        return is_reached and not has_other

    def gets_reply(self, source: EndpointAddress, target: EndpointAddress) -> bool:
        """Whether the target's reply reaches the source: at an address of the host, or by the default route."""
        network = self.default_network(source.container, source.version)
        if network is not None and network.masquerade(source.version):
            return self.leaves_by_host_address(network, source.version)
        return self.routes_by_host(target.container, source.address)

    def leaves_by_host_address(self, network: Network, version: int) -> bool:
        """Whether packets leave the network with a source address that the host has at present, so it gets replies."""
        return network.masquerade(version) and network.snat(version) in (None, *self.own(version))

    def gets_reply_from_outside(self, container: Container, address: Address) -> bool:
        """Whether another host's reply reaches the container, although that host may have no route to its network."""
        network = self.default_network(container, address.version)
        if network is not None and network.bypasses_host:
            return True
        masquerades = network is not None and self.leaves_by_host_address(network, address.version)
        return masquerades and self.forwards(address.version) and self.routes_by_host(container, address)

    def is_reached_by_host(self, published: Publication) -> bool:
        """Whether the host has an address on the network that the published port's container is reached on."""
        network = self.network_of(published)
        return network is not None and network.has_gateway(published.version)

    def network_of(self, published: Publication) -> Optional[Network]:
        return self.default_network(self.plan.model.containers[published.container], published.version)

    # The host

    def forwards(self, version: int) -> bool:
        facts = self.plan.facts
        return self.plan.model.host.ip_forward or (facts.forwards_ipv4 if version == 4 else facts.forwards_ipv6)

    def own(self, version: int) -> List[Address]:
        return [address for address in self.host_addresses.own if address.version == version]

    def own_and_gateways(self) -> List[Address]:
        return [*self.host_addresses.own, *map(ipaddress.ip_address, self.plan.gateways)]

    def is_listened_on(self, protocol: str, port: int) -> bool:
        """Whether a process of the host listens on the port, at any address."""
        return any((protocol, port) == (each[0], each[2]) for each in self.plan.facts.listeners)


def has_route(container: Container, address: Address) -> bool:
    """Whether a route to the address is declared for the container."""
    return any(address in route.to for route in container.routes)
