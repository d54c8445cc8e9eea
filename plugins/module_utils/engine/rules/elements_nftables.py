# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The elements of networks and containers in the sets and maps of the nftables table."""

from __future__ import annotations

from typing import Dict, Iterator, Set

from ..declaration.drivers import OverlayDriver
from ..declaration.model import ISOLATED, NAT, NAT_UNPROTECTED, ROUTED, Attachment, Container, Network
from ..declaration.section import shortest
from ..planning.accepted_ports import LinkedPort
from ..planning.ingress import Entry, entry_gateway
from ..planning.overlays import has_tunnel, tunnel_name
from ..planning.plan import Plan, asymmetric_replies
from ..planning.publications import Publication
from ..planning.resolvers import ResolverAssignment
from ..planning.targets import Target, sources, targets
from ..state import OF_CONTAINER, OF_NETWORK, MapElement, Owner, SetElement, SetElements

FAMILIES = ((4, "ip"), (6, "ip6"))


def network_rules(plan: Plan, network: Network) -> SetElements:
    return SetElements(Owner(OF_NETWORK, network.name), tuple(sorted(set(_network_elements(plan, network)))))


def _network_elements(plan: Plan, network: Network) -> Iterator[SetElement]:
    bridge = f'"{network.bridge}"'
    if network.uplink:
        # Between its ports all passes, and nothing else does: isolated ports keep containers apart.
        yield from (("bridges", bridge), ("icc", f"{bridge} . {bridge}"), ("internal", bridge), ("uplinked", bridge))
        return
    if not network.external:
        yield "bridges", bridge
    if network.icc:
        yield "icc", f"{bridge} . {bridge}"
    elif not network.external:
        yield "no_icc", f"{bridge} . {bridge}"
    if network.internal:
        yield "internal", bridge
    if isinstance(network.driver, OverlayDriver) and has_tunnel(network):
        yield from _tunnel_elements(network, network.driver)
    elif isinstance(network.driver, OverlayDriver):
        yield from _joined_elements(network.driver)
    if network.mss_clamp:
        yield "mss_clamp", bridge
    for version in network.versions:
        yield from _mode_elements(network, version)
    for pool in plan.allotted.networks[network.name]:
        version, subnet = pool.version, shortest(pool.subnet)
        yield f"networks{version}", f"{subnet} . {bridge}"
        for interface in network.trusted_interfaces:
            yield f"trusted{version}", f'{subnet} . "{interface}"'
        if not network.external:
            yield from _outward_elements(network, version, subnet)
        if network.icmp:
            yield f"icmp{version}", subnet
    for resolver in plan.resolvers.all:
        for address in resolver.addresses if resolver.name == network.name and resolver.serves_dns else ():
            yield f"resolvers{address.version}", str(address)
    for entry in plan.entries:
        if entry.network == network.name:
            yield from _entry_elements(entry)


def _entry_elements(entry: Entry) -> Iterator[SetElement]:
    """A port that this host publishes for another one."""
    version, protocol, port = entry.version, entry.port.protocol, entry.port.port
    yield f"published{version}", MapElement(f"{protocol} . {port}", f"{entry.address} . {port}")
    yield f"entries{version}", f"{entry.address} . {protocol} . {port}"


def _joined_elements(driver: OverlayDriver) -> Iterator[SetElement]:
    for own in driver.own.slices:
        for each in (each for peer in driver.peers for each in peer.slices_of(own.version)):
            yield f"joined{own.version}", f"{each} . {own}"
    for subnet in driver.subnets if driver.encrypted else ():
        yield f"encrypted{subnet.version}", str(subnet)


def peers_set(driver: OverlayDriver) -> str:
    """The name of the set of the hosts that send VXLAN of a network."""
    return f"peers{driver.own.address.version}-{driver.vni}-{driver.port}"


def _tunnel_elements(network: Network, driver: OverlayDriver) -> Iterator[SetElement]:
    """The tunnel is one more link of the network, but leads to its bridge alone, as an internal one leads nowhere."""
    bridge, tunnel = f'"{network.bridge}"', f'"{tunnel_name(network.name)}"'
    yield "bridges", tunnel
    yield "internal", tunnel
    for pair in (f"{bridge} . {tunnel}", f"{tunnel} . {bridge}"):
        yield ("icc" if network.icc else "no_icc"), pair
    for own in driver.own.slices:
        yield f"networks{own.version}", f"{own} . {tunnel}"
    yield "tunnels", tunnel
    for peer in driver.peers:
        yield peers_set(driver), str(peer.address)
        for each in peer.slices:
            yield f"slices{each.version}", f"{each} . {tunnel}"


_MODE_SETS = {NAT_UNPROTECTED: "unprotected", ROUTED: "routed", ISOLATED: "isolated"}


def _mode_elements(network: Network, version: int) -> Iterator[SetElement]:
    mode = network.gateway_mode(version)
    if mode in _MODE_SETS:
        yield _MODE_SETS[mode], f'ipv{version} . "{network.bridge}"'


def _outward_elements(network: Network, version: int, addresses: str) -> Iterator[SetElement]:
    """Direct access and source NAT of these addresses of the network, a subnet or a single address."""
    if network.masquerade(version) and network.gateway_mode(version) == NAT:
        yield f"protected{version}", addresses
    if network.snat(version):
        yield f"translated{version}", MapElement(addresses, str(network.snat(version)))
    elif network.masquerade(version):
        yield f"masqueraded{version}", addresses


def container_rules(plan: Plan) -> Iterator[SetElements]:
    elements: Dict[str, Set[SetElement]] = {}
    for publication in plan.publications:
        elements.setdefault(publication.container, set()).update(_published(plan, publication))
    for target in targets(plan.publications, plan.accepted_ports):
        elements.setdefault(target.container, set()).update(_target_elements(target))
    for linked in plan.linked_ports:
        elements.setdefault(linked.container, set()).add(_linked(linked))
    for container in plan.model.containers.values():
        for version, _family in FAMILIES:
            for subnet, asked in asymmetric_replies(plan, container, version):
                elements.setdefault(container.name, set()).add(
                    (f"asymmetric{version}", f"{shortest(subnet)} . {asked}")
                )
        for attachment in container.attachments:
            if plan.model.networks[attachment.network].external:
                elements.setdefault(container.name, set()).update(_adopted_elements(plan, container, attachment))
    for name, assigned in plan.resolvers.assignments.items():
        if not assigned.resolver.is_networks_own:
            elements.setdefault(name, set()).add(_resolver_port(plan, name, assigned))
    for name, own in elements.items():
        yield SetElements(Owner(OF_CONTAINER, name), tuple(sorted(own)))


def _adopted_elements(plan: Plan, container: Container, attachment: Attachment) -> Iterator[SetElement]:
    network = plan.model.networks[attachment.network]
    endpoint = plan.allotted.endpoints[container.name, network.name]
    for address in endpoint.addresses:
        yield f"adopted{address.version}", f'{address} . "{network.bridge}"'
        yield from _outward_elements(network, address.version, str(address))


def _linked(linked: LinkedPort) -> SetElement:
    return f"linked{linked.version}", f"{linked.source} . {linked.address} . {linked.protocol} . {linked.port}"


def _resolver_port(plan: Plan, container: str, assigned: ResolverAssignment) -> SetElement:
    network = plan.model.networks[assigned.attachment.network]
    version = assigned.resolver.address.version
    address = plan.allotted.endpoints[container, network.name].address(version)
    return f"resolver_ports{version}", MapElement(f'{address} . "{network.bridge}"', str(assigned.resolver.port))


def _published(plan: Plan, publication: Publication) -> Iterator[SetElement]:
    p = publication
    target = f"{p.address} . {p.target_port}"
    if p.host_ip is None:
        yield f"published{p.version}", MapElement(f"{p.protocol} . {p.host_port}", target)
    else:
        yield f"published_at{p.version}", MapElement(f"{p.host_ip} . {p.protocol} . {p.host_port}", target)
    if p.ingress:
        gateway = entry_gateway(plan, p)
        yield f"ingress{p.version}", f"{gateway} . {p.protocol} . {p.host_port}"


def _target_elements(target: Target) -> Iterator[SetElement]:
    """The elements that accept packets to a container's port. If one of its ingress rules has `allow_from`, each of
    them gets elements with its sources.
    """
    key = f"{target.address} . {target.protocol} . {target.port}"
    version = target.address.version
    if target.is_unrestricted:
        yield f"targets{version}", key
        return
    yield f"guarded{version}", key
    for publication in target.publications:
        asked = f"{publication.protocol} . {publication.host_port}"
        for source in sources(publication):
            if publication.host_ip is None:
                yield f"allowed{version}", f"{asked} . {shortest(source)}"
            else:
                yield f"allowed_at{version}", f"{publication.host_ip} . {asked} . {shortest(source)}"
    for source in target.sources:
        yield f"allowed_at{version}", f"{key} . {shortest(source)}"
