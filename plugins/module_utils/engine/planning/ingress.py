# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports that all hosts of an overlay network publish, wherever the container runs (`x-wharf.ingress`).

The host at which a client asks, the *entry host*, translates the destination to the published port at the gateway of
another host's slice: of the *owner*, which has the container. There the port is published as any other is, and leads on
to it. So the other hosts know of a container no more than is declared. The client's address stays as it is, and so the
owner must send replies back by the entry host: it notes in the mark of each connection by which one it came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, Iterator, List, Mapping, Tuple

from ..declaration.drivers import IngressPort, Member, OverlayDriver
from ..declaration.model import NAT, Container, Model, Network
from ..declaration.parse_ports import PortMapping
from ..declaration.section import Address
from ..declaration.slices import gateway_of, stand_in
from ..errors import ProblemCollector
from ..state import Object, PeerRoute, RoutingRule
from .publications import Publication, gateway_attachment

if TYPE_CHECKING:
    from .plan import Plan

# The bits of marks that are used, and by how many the number of an entry host is shifted to be there.
MARK_BITS, MARK_SHIFT = 0xFFF00000, 20
MOST_RETURNS = MARK_BITS >> MARK_SHIFT

# The table of an entry host has this number and its own. The first rule leads packets without marks past the others.
FIRST_TABLE = 119000
PASS, RETURN, PASSED = 11900, 11901, 11902

_NEEDS_TUNNEL = "by a tunnel alone a host tells by which other one a client comes"

_ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True)
class Entry:
    """A port that this host publishes for another one: it leads to the gateway of that host's slice."""

    network: str
    host: str
    port: IngressPort
    address: Address

    @property
    def version(self) -> int:
        return self.address.version

    @property
    def at(self) -> Tuple[int, str, int]:
        return self.version, self.port.protocol, self.port.port

    @property
    def key(self) -> str:
        """That of the port in `Allotments.ports`."""
        return f"{self.network} {self.host} *:{self.port}"


@dataclass(frozen=True)
class ReturnPath:
    """The return path to an entry host, for replies of connections with this mark."""

    network: str
    host: Member
    number: int

    @property
    def mark(self) -> int:
        return self.number << MARK_SHIFT

    @property
    def table(self) -> int:
        return FIRST_TABLE + self.number


def entries(model: Model) -> Iterator[Entry]:
    for network, peer, port in model.ports_of_other_hosts():
        for version in filter(model.host.has_rules, network.versions):
            yield Entry(network.name, peer.name, port, gateway_of(peer.slices_of(version)[0]))


def ingress_networks(model: Model) -> Tuple[str, ...]:
    """The networks whose other hosts publish ports of this host's containers."""
    found = (
        attachment.network
        for container in model.containers.values()
        if any(mapping.ingress for mapping in container.ports)
        for version in (4, 6)
        for attachment in [gateway_attachment(model, container, version)]
        if attachment
    )
    return tuple(sorted(set(found)))


def numbered_returns(model: Model, before: Mapping[str, int], problems: ProblemCollector) -> Dict[str, int]:
    """A number for each entry host. One that has one keeps it, since connections are marked by it."""
    wanted = {f"{network} {peer.name}": network for network, peer in _entry_hosts(model)}
    numbers = {name: before[name] for name in wanted if name in before}
    free = iter(sorted(set(range(1, MOST_RETURNS + 1)) - set(numbers.values())))
    for name in wanted:
        if name not in numbers:
            number = next(free, 0)
            if not number:
                network = model.networks[wanted[name]]
                most = f"at most {MOST_RETURNS} other hosts can publish ports of this one, of all networks together"
                problems.add(network.path, f"{most}: leave x-wharf.ingress out at the ports of some")
                return numbers
            numbers[name] = number
    return numbers


def _entry_hosts(model: Model) -> Iterator[Tuple[str, Member]]:
    for name in ingress_networks(model):
        driver = model.networks[name].driver
        for peer in driver.peers if isinstance(driver, OverlayDriver) else ():
            yield name, peer


def returns(plan: Plan, network: str = "") -> List[ReturnPath]:
    """Those of one network, or of all."""
    return [
        ReturnPath(name, peer, plan.allotted.returns[f"{name} {peer.name}"])
        for name, peer in _entry_hosts(plan.model)
        if network in ("", name)
    ]


def entry_gateway(plan: Plan, publication: Publication) -> Address:
    """The address to which the other hosts translate that of a port which they publish, too."""
    attachment = gateway_attachment(plan.model, plan.model.containers[publication.container], publication.version)
    if attachment is None:
        raise AssertionError(publication.path)
    return plan.allotted.pools(attachment.network, publication.version)[0].gateway


def return_routes(plan: Plan, network: Network) -> Iterator[PeerRoute]:
    """In the table of each entry host all leads to it."""
    for back in returns(plan, network.name):
        for version in network.versions:
            yield PeerRoute(_ANYWHERE[version], stand_in(back.host.slices_of(version)[0]), "", back.table)


def return_rules(plan: Plan) -> Iterator[Object]:
    """What comes from the bridge with the mark of an entry host is routed by its table.

    Without the bridge in the rule, what the tunnel sends would have the mark, too, and be led into it again. Packets
    without any of these marks pass one rule, however many there are.
    """
    found = returns(plan)
    for version in sorted({each.version for back in found for each in back.host.slices}):
        yield RoutingRule(version, PASS, mark=0, mask=MARK_BITS, goto=PASSED)
        yield RoutingRule(version, PASSED)
        for back in found:
            network = plan.model.networks[back.network]
            if back.host.slices_of(version):
                yield RoutingRule(version, RETURN, network.bridge, back.mark, MARK_BITS, back.table, place=network.path)


def leads_elsewhere(plan: Plan, network: Network) -> bool:
    """Whether this host publishes ports of other hosts' containers on the network."""
    return any(entry.network == network.name for entry in plan.entries)


def tunnel_addresses(plan: Plan, network: Network, driver: OverlayDriver) -> Iterator[str]:
    """What is masqueraded on its way to another host has this address. And the loose check of sources is a strict one
    for a link without an address.
    """
    if network.name in ingress_networks(plan.model) or leads_elsewhere(plan, network):
        yield from sorted(f"{stand_in(each)}/{each.max_prefixlen}" for each in driver.own.slices)


def check_ingress(model: Model, problems: ProblemCollector) -> None:
    """Whether the ports with `x-wharf.ingress` are on networks whose other hosts can lead to them."""
    for network in model.networks.values():
        driver = network.driver
        if not isinstance(driver, OverlayDriver) or driver.has_tunnel:
            continue
        if any(each.ingress for each in (driver.own, *driver.peers)):
            remedy = (
                f"leave direct and encrypted out of {network.path}, or x-wharf.ingress at the ports of its containers"
            )
            problems.add(network.path, f"{_NEEDS_TUNNEL}, and all hosts are to publish ports of this network: {remedy}")
    for container in model.containers.values():
        for mapping in container.ports:
            if mapping.ingress:
                _check_port(model, container, mapping, problems)


def _is_known_to_peers(mapping: PortMapping, driver: OverlayDriver) -> bool:
    sent = {each.port for each in driver.own.ingress if each.protocol == mapping.protocol}
    first, last = mapping.published or (1, 0)
    return sent.issuperset(range(first, last + 1))


def _check_port(model: Model, container: Container, mapping: PortMapping, problems: ProblemCollector) -> None:
    place = f"{mapping.path}.x-wharf.ingress"
    leaving = {
        attachment.network: model.networks[attachment.network]
        for version in (4, 6)
        for attachment in [gateway_attachment(model, container, version)]
        if attachment
    }
    for network in leaving.values():
        driver = network.driver
        if not isinstance(driver, OverlayDriver):
            remedy = "attach it to one, and give that the highest gw_priority"
            problems.add(place, f"{container.name} leaves by network {network.name}, which is no overlay: {remedy}")
        elif network.host_binding and not network.host_binding.is_unspecified:
            remedy = "leave com.docker.network.bridge.host_binding_ipv4 out, or ingress here"
            problems.add(
                place, f"ports of network {network.name} are published on {network.host_binding} only: {remedy}"
            )
        elif any(network.gateway_mode(version) != NAT for version in network.versions):
            remedy = "leave com.docker.network.bridge.gateway_mode_ipv4 and …_ipv6 out, or ingress here"
            problems.add(place, f"network {network.name} does not translate addresses: {remedy}")
        elif not driver.has_tunnel:
            problems.add(place, f"{_NEEDS_TUNNEL}: leave direct out of {network.path}, or ingress here")
        elif driver.peers and not _is_known_to_peers(mapping, driver):
            problems.add(
                place,
                f"the other hosts of network {network.name} do not know of this port: have all networks of "
                f"{container.name} in the variables of its host, or, without Ansible, the port in "
                f"{network.path}.x-wharf.members.{driver.own.name}.ingress",
            )
    if len(leaving) > 1:
        problems.add(place, f"{container.name} leaves by one network with IPv4, by another with IPv6: let it be one")
