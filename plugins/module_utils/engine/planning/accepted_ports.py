# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules accept at a container's own address: published ports on routed networks, and legacy links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, Optional, Tuple

from ..declaration.model import NAT_UNPROTECTED, ROUTED, Container, Host, Model, Network
from ..declaration.parse_ports import ExposedPorts, PortMapping, PortRange
from ..declaration.section import Address, Subnet, union
from ..state import DEFAULT_NETWORK
from .allotments import Allotments


@dataclass(frozen=True)
class Access:
    """Direct access to a network's containers at their own addresses: pings, published ports, all other ports."""

    pings: bool = False
    published: bool = False
    other_ports: bool = False


def access_from(host: Host, network: Network, version: int, interface: str) -> Access:
    """The direct access of packets that come by this interface, which is not the network's own bridge."""
    mode = network.gateway_mode(version)
    if network.internal:
        return Access()
    if mode == NAT_UNPROTECTED:
        return Access(pings=True, published=True, other_ports=True)
    if mode == ROUTED:
        return Access(pings=True, published=True)
    return Access(network.icmp, host.allow_direct_routing or interface in network.trusted_interfaces)


@dataclass(frozen=True)
class AcceptedPort:
    """A port that is reached at the container's own address, from the sources `allow_from`, None for all."""

    container: str
    protocol: str
    address: Address
    port: int
    allow_from: Optional[Tuple[Subnet, ...]] = None

    @property
    def version(self) -> int:
        return self.address.version


@dataclass(frozen=True)
class LinkedPort:
    """A port at `address` that a link opens to one other container, at `source`, on a network without icc."""

    container: str
    source: Address
    protocol: str
    address: Address
    port: int

    @property
    def version(self) -> int:
        return self.address.version


def accepted_ports(model: Model, allotted: Allotments) -> Tuple[AcceptedPort, ...]:
    """The published ports of containers on routed networks, whether or not their default route is by these.

    The host port of a mapping does not matter there, and its host address only determines the IP family.
    """
    return tuple(
        AcceptedPort(
            container.name,
            mapping.protocol,
            address,
            port,
            None if mapping.allow_from is None else union(mapping.allow_from, address.version),
        )
        for container in model.containers.values()
        for mapping in container.ports
        for address in accepted_at(model, allotted, container, mapping)
        if model.host.has_rules(address.version)
        for port in _each(mapping.target)
    )


def accepted_at(model: Model, allotted: Allotments, container: Container, mapping: PortMapping) -> List[Address]:
    """The container's own addresses at which a mapping's target ports are open."""
    found = []
    for attachment in container.attachments:
        network = model.networks[attachment.network]
        binding = mapping.host_ip or network.host_binding
        for version in (4, 6):
            address = allotted.endpoints[container.name, network.name].address(version)
            routed = network.gateway_mode(version) == ROUTED and not network.internal
            if address and routed and (binding is None or binding.version == version):
                found.append(address)
    return found


def linked_ports(model: Model, allotted: Allotments) -> Tuple[LinkedPort, ...]:
    """The ports that `links` open on the default network without icc: those that the target exposes or publishes."""
    return tuple(
        LinkedPort(container.name, source, protocol, address, port)
        for container, target in _linked_containers(model)
        for version in (4, 6)
        if model.host.has_rules(version)
        for source in _address(allotted, container, version)
        for address in _address(allotted, target, version)
        for ports, protocol in _exposed(target)
        for port in _each(ports)
    )


def _linked_containers(model: Model) -> List[Tuple[Container, Container]]:
    """Pairs of containers that communicate by a link alone: the one that declares the link, and its target."""
    default = model.networks.get(DEFAULT_NETWORK)
    if default is None or default.icc:
        return []
    return [
        (container, target)
        for container in model.containers.values()
        for target in dict.fromkeys(model.containers[link.target] for link in container.links)
        if target != container and all(_is_on(each, default) for each in (container, target))
    ]


def _is_on(container: Container, network: Network) -> bool:
    return any(attachment.network == network.name for attachment in container.attachments)


def _address(allotted: Allotments, container: Container, version: int) -> List[Address]:
    address = allotted.endpoints[container.name, DEFAULT_NETWORK].address(version)
    return [address] if address else []


def _exposed(container: Container) -> Iterator[ExposedPorts]:
    yield from container.expose
    for mapping in container.ports:
        yield ExposedPorts(mapping.target, mapping.protocol)


def _each(ports: PortRange) -> range:
    return range(ports[0], ports[1] + 1)
