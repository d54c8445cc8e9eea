# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks whose containers have their addresses from a DHCP server of the LAN (`ipam: {driver: dhcp}`).

A run asks for leases between two plans of the host. To the rest of the planner, what is leased is as if it were
declared: the subnets, the router and the addresses. A container without a lease is not connected to the network yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from ..declaration.model import Attachment, Container, Model, Network, Pool
from ..errors import ProblemCollector
from ..state import EndpointKey, SandboxRef
from .allotments import Allotments, Lease
from .facts import Facts
from .ipam import macs_of


@dataclass(frozen=True)
class LeaseRequest:
    """An endpoint that is to have a lease, by the link `parent`; `lease` is the one that it has.

    `bridge` is the bridge of a network with an uplink, empty of macvlan. `place` is where the attachment is declared,
    `network_place` where its network is. `useless` says why what a server has given cannot be used.
    """

    key: EndpointKey
    sandbox: SandboxRef
    mac: str
    hostname: str
    parent: str
    bridge: str
    lease: Optional[Lease]
    place: str
    network_place: str
    useless: str = ""

    @property
    def lacking(self) -> str:
        """What is missing as long as there is no lease."""
        container, network = self.key
        why = self.useless or f"no DHCP server of the LAN on {self.parent} has given one that can be used yet"
        return (
            f"{self.place}: container {container} is not connected to network {network}, since it has no lease: {why}"
        )


def lease_requests(model: Model, facts: Facts, before: Allotments, problems: ProblemCollector) -> List[LeaseRequest]:
    """Of all endpoints on networks with leases. An address that is declared for one of them is a problem."""
    leased = [(c, a) for c, a in model.attachments if model.networks[a.network].leased]
    macs = macs_of(model, facts) if leased else {}
    for _container, attachment in leased:
        if attachment.ipv4:
            problems.add(
                f"{attachment.path}.ipv4_address",
                f'"{attachment.ipv4}": the DHCP server of the LAN gives addresses on network {attachment.network}: '
                "leave this out, and reserve the address there for the MAC of the container",
            )
    return [_request(model.networks[a.network], c, a, macs[c.name, a.network], before) for c, a in leased]


def _request(
    network: Network, container: Container, attachment: Attachment, mac: str, before: Allotments
) -> LeaseRequest:
    key = (container.name, network.name)
    lease = before.leases.get(key)
    return LeaseRequest(
        key,
        container.sandbox,
        mac,
        container.effective_hostname,
        network.parent,
        network.bridge if network.uplink else "",
        lease if lease and (lease.mac, lease.parent) == (mac, network.parent) else None,
        attachment.path,
        network.path,
    )


def with_leases(model: Model, requests: List[LeaseRequest]) -> Model:
    """The model in which networks have the subnets of their leases, and containers the leased addresses."""
    of_network: Dict[str, List[LeaseRequest]] = {name: [] for name, each in model.networks.items() if each.leased}
    for request in requests:
        if request.lease:
            of_network[request.key[1]].append(request)
    networks = {
        name: replace(network, pools=_pools(network, of_network[name])) if network.leased else network
        for name, network in model.networks.items()
    }
    leased = {request.key: request for found in of_network.values() for request in found}
    containers = {
        name: _with_nameservers(_connected(container, networks, leased), networks, leased)
        for name, container in model.containers.items()
    }
    return replace(model, networks=networks, containers=containers)


def _connected(
    container: Container, networks: Mapping[str, Network], leased: Mapping[EndpointKey, LeaseRequest]
) -> Container:
    attachments = tuple(_attachments(container, networks, leased))
    lacks_lease = len(attachments) < len(container.attachments)
    return replace(container, attachments=attachments, lacks_lease=lacks_lease)


def _pools(network: Network, requests: List[LeaseRequest]) -> Tuple[Pool, ...]:
    """One for each subnet; without a lease the network has no subnet yet."""
    routers: Dict[str, Pool] = {}
    for lease in (request.lease for request in requests if request.lease):
        subnet = lease.interface.network
        routers.setdefault(str(subnet), Pool(f"{network.path}.ipam", 4, subnet, gateway=lease.router))
    return tuple(routers[subnet] for subnet in sorted(routers))


def _attachments(
    container: Container, networks: Mapping[str, Network], leased: Mapping[EndpointKey, LeaseRequest]
) -> Iterator[Attachment]:
    for attachment in container.attachments:
        request = leased.get((container.name, attachment.network))
        if request and request.lease:
            yield replace(attachment, ipv4=request.lease.interface.ip, mac=request.mac)
        elif not networks[attachment.network].leased:
            yield attachment


def _with_nameservers(
    container: Container, networks: Mapping[str, Network], leased: Mapping[EndpointKey, LeaseRequest]
) -> Container:
    """The container with the nameservers of its leases, if it declares none and is on no other network."""
    if container.dns or not all(networks[each.network].leased for each in container.attachments):
        return container
    leases = (leased[container.name, each.network].lease for each in container.attachments)
    nameservers = dict.fromkeys(address for lease in leases if lease for address in lease.nameservers)
    return replace(container, dns=tuple(nameservers)) if nameservers else container
