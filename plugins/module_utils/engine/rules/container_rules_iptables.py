# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of containers as iptables text, and the tree of chains that leads to them.

A published port, and an address, have their rules in an inner chain of the tree. It is reached by blocks of ports, or
of addresses.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Dict, Iterable, Iterator, List, NamedTuple, Set, Tuple, TypeVar

from ..declaration.model import NAT_UNPROTECTED, Container
from ..declaration.parse_ports import PortRange
from ..declaration.section import Address, Subnet
from ..planning.accepted_ports import AcceptedPort, LinkedPort
from ..planning.ingress import Entry
from ..planning.plan import Plan, asymmetric_replies
from ..planning.publications import Publication
from ..planning.resolvers import DNS_PORT
from ..planning.targets import IngressRule, Target, sources, targets
from ..state import GROUPS, OF_CONTAINER, ChainRef, ChainRule, IptablesRules, Owner, TableChain
from .network_rules_iptables import ASKERS, DNS_PROTOCOLS, FAMILIES, LINKS, POSTROUTING, Element, RuleContext, in_family

# How many ports, or bits of an address, a chain of the tree is for: the outer one, and the inner one.
_PORT_BLOCKS = (2048, 64)
_ADDRESS_BITS = (8, 4)
# What one `-m multiport` takes; a range counts twice.
_MULTIPORT = 15

_OfContainer = TypeVar("_OfContainer", Publication, AcceptedPort, LinkedPort)


def _resolver_ports(plan: Plan, container: Container, versions: List[int]) -> Iterator[ChainRule]:
    """Redirect the container's DNS queries, if its resolver is not the network's own."""
    assigned = plan.resolvers.assignments.get(container.name)
    if assigned and not assigned.resolver.is_networks_own and assigned.resolver.address.version in versions:
        at, network = assigned.resolver.address, plan.model.networks[assigned.attachment.network]
        address = plan.allotted.endpoints[container.name, network.name].address(at.version)
        ends = f"-s {address}/{at.max_prefixlen} -d {at}/{at.max_prefixlen} -i {network.bridge}"
        for protocol in DNS_PROTOCOLS:
            rule = (
                f"{ends} -p {protocol} -m {protocol} --dport {DNS_PORT} -j REDIRECT --to-ports {assigned.resolver.port}"
            )
            yield ChainRef(FAMILIES[at.version], ASKERS), rule


def container_rules(plan: Plan, publications: List[Publication], versions: List[int]) -> Iterator[IptablesRules]:
    published, accepted = _by_container(publications), _by_container(plan.accepted_ports)
    linked = _by_container(plan.linked_ports)
    for container in plan.model.containers.values():
        own = published.get(container.name, [])
        ingress: List[IngressRule] = [*own, *accepted.get(container.name, [])]
        elements = [*_translations(own), *_targets(plan, ingress), *_resolver_ports(plan, container, versions)]
        elements += _links(linked.get(container.name, []))
        for version in versions:
            elements += in_family(version, _by_address(plan, container, version))
        if elements:
            yield IptablesRules(Owner(OF_CONTAINER, container.name), by_chain(elements))


def _by_container(things: Iterable[_OfContainer]) -> Dict[str, List[_OfContainer]]:
    found: Dict[str, List[_OfContainer]] = {}
    for thing in things:
        found.setdefault(thing.container, []).append(thing)
    return found


def _links(to_it: Iterable[LinkedPort]) -> Iterator[ChainRule]:
    """Accept packets from a container to the ports that its links open."""
    ports: Dict[Tuple[Address, Address, str], Set[int]] = {}
    for linked in to_it:
        ports.setdefault((linked.source, linked.address, linked.protocol), set()).add(linked.port)
    for (source, address, protocol), opened in ports.items():
        ends = f"-s {source}/{source.max_prefixlen} -d {address}/{address.max_prefixlen}"
        for matched in _port_matches(protocol, sorted(opened)):
            yield ChainRef(FAMILIES[address.version], LINKS), f"{ends} -p {protocol} {matched} -j ACCEPT"


def _by_address(plan: Plan, container: Container, version: int) -> Iterator[Element]:
    """The rules for a container's addresses on adopted bridges, and for replies that would bypass the host."""
    for attachment in container.attachments:
        network = plan.model.networks[attachment.network]
        address = plan.allotted.endpoints[container.name, network.name].address(version)
        if address and network.external:
            single = ipaddress.ip_network(address)
            yield from RuleContext(plan.model.host, network, version, single).rules([single])
    for subnet, asked in asymmetric_replies(plan, container, version):
        yield POSTROUTING, f"-s {subnet} -d {asked}/{asked.max_prefixlen} -j MASQUERADE"


def _translations(publications: List[Publication]) -> Iterator[ChainRule]:
    for p in publications:
        target = p.address if p.version == 4 else f"[{p.address}]"
        at = f"-d {p.host_ip}/{p.host_ip.max_prefixlen} " if p.host_ip else ""
        matches = f"{at}-p {p.protocol} -m {p.protocol} --dport {p.host_port}"
        chain = ChainRef(FAMILIES[p.version], _chain_of_port(p.protocol, p.host_port))
        yield chain, f"{matches} -j DNAT --to-destination {target}:{p.target_port}"


def entry_translation(entry: Entry) -> Element:
    """What leads a port of this host to another one, which publishes it for a container."""
    protocol, port = entry.port.protocol, entry.port.port
    target = entry.address if entry.version == 4 else f"[{entry.address}]"
    matches = f"-p {protocol} -m {protocol} --dport {port}"
    return _chain_of_port(protocol, port), f"{matches} -j DNAT --to-destination {target}:{port}"


def _targets(plan: Plan, ingress: List[IngressRule]) -> Iterator[ChainRule]:
    """Accept packets to the targets of published ports only, so that a third-party DNAT opens no other port."""
    ports: Dict[Tuple[Address, str], Set[int]] = {}
    for target in targets(ingress):
        if target.is_unrestricted:
            ports.setdefault((target.address, target.protocol), set()).add(target.port)
        else:
            yield from _guarded(target, "DROP" if _is_unprotected(plan, target.address) else "RETURN")
    for (address, protocol), for_all in ports.items():
        for matched in _port_matches(protocol, sorted(for_all)):
            rule = f"-d {address}/{address.max_prefixlen} -p {protocol} {matched} -j ACCEPT"
            yield _chain_of_address(address), rule


def _is_unprotected(plan: Plan, address: Address) -> bool:
    """Whether all ports of the address are open except those with `allow_from` (gateway mode nat-unprotected)."""
    return any(
        address in pool.subnet and plan.model.networks[name].gateway_mode(pool.version) == NAT_UNPROTECTED
        for name, pools in plan.allotted.networks.items()
        if name in plan.model.networks
        for pool in pools
    )


def _guarded(target: Target, otherwise: str) -> Iterator[ChainRule]:
    """A port with `allow_from`: accept its sources by the original destination port; other packets get `otherwise`."""
    chain = _chain_of_address(target.address)
    to_it = f"-d {target.address}/{target.address.max_prefixlen} -p {target.protocol}"
    to_it += f" -m {target.protocol} --dport {target.port}"
    for p in target.publications:
        asked = f"--ctorigdst {p.host_ip} " if p.host_ip else ""
        for source in sources(p):
            match = f"{to_it} -m conntrack --ctstate DNAT {asked}--ctorigdstport {p.host_port}"
            yield chain, f"{_from(source)}{match} -j ACCEPT"
    for source in target.sources:
        match = f"{to_it} -m conntrack --ctorigdst {target.address} --ctorigdstport {target.port}"
        yield chain, f"{_from(source)}{match} -j ACCEPT"
    yield chain, f"{to_it} -j {otherwise}"


def _from(source: Subnet) -> str:
    return f"-s {source} " if source.prefixlen else ""


def _port_matches(protocol: str, ports: List[int]) -> Iterator[str]:
    """The fewest matches that cover all of these ports, which are sorted."""
    ranges: List[PortRange] = []
    for port in ports:
        if ranges and ranges[-1][1] == port - 1:
            ranges[-1] = ranges[-1][0], port
        else:
            ranges.append((port, port))
    room, fitting = _MULTIPORT, ""
    for first, last in ranges:
        size = 1 if first == last else 2
        if size > room:
            yield f"-m multiport --dports {fitting}"
            room, fitting = _MULTIPORT, ""
        room -= size
        fitting += ("," if fitting else "") + (str(first) if first == last else f"{first}:{last}")
    if "," in fitting:
        yield f"-m multiport --dports {fitting}"
    else:
        yield f"-m {protocol} --dport {fitting}"


def groups(publications: List[Publication], entries: List[Entry], accepted: List[Address]) -> Iterator[IptablesRules]:
    """The jumps to the chains of the tree, which belong to no single container."""
    found: Set[ChainRule] = set()
    for publication in publications:
        ports = _port_groups(publication.protocol, publication.host_port)
        found.update(_jumps(publication.version, ports))
    for entry in entries:
        found.update(_jumps(entry.version, _port_groups(entry.port.protocol, entry.port.port)))
    for address in {*accepted, *(publication.address for publication in publications)}:
        found.update(_jumps(address.version, _address_groups(address)))
    if found:
        yield IptablesRules(Owner(GROUPS), tuple(sorted(found)))


def by_chain(elements: Iterable[ChainRule]) -> Tuple[ChainRule, ...]:
    """The rules sorted by chain, and within each chain in the given order."""
    return tuple(sorted(elements, key=lambda element: element[0]))


def _jumps(version: int, groups: List[_Group]) -> Iterator[ChainRule]:
    chains = [TableChain(groups[0].chain.table, "DOCKER"), *(group.chain for group in groups)]
    for chain, group in zip(chains, groups):
        yield ChainRef(FAMILIES[version], chain), f"{group.match} -j {group.chain.name}"


class _Group(NamedTuple):
    """A chain of the tree, and the match of the jump that leads there."""

    chain: TableChain
    match: str


def _chain_of_port(protocol: str, port: int) -> TableChain:
    """Where the rules of a published port are."""
    return _port_groups(protocol, port)[-1].chain


def _chain_of_address(address: Address) -> ChainRef:
    """Where the rules of an address are."""
    return ChainRef(FAMILIES[address.version], _address_groups(address)[-1].chain)


def _port_groups(protocol: str, port: int) -> List[_Group]:
    """The chains that lead to a published port's rules, from outer to inner."""
    blocks = [(port - port % size, port - port % size + size - 1) for size in _PORT_BLOCKS]
    return [
        _Group(
            TableChain("nat", f"DOCKER-{protocol}-{first}-{last}"),
            f"-p {protocol} -m {protocol} --dport {first}:{last}",
        )
        for first, last in blocks
    ]


def _address_groups(address: Address) -> List[_Group]:
    """The chains that lead to the rules of an address, from outer to inner."""
    blocks = [ipaddress.ip_network((address, address.max_prefixlen - bits), strict=False) for bits in _ADDRESS_BITS]
    return [_Group(TableChain("filter", f"DOCKER-{_block_name(block)}"), f"-d {block}") for block in blocks]


def _block_name(block: Subnet) -> str:
    """`172.17.0.16-28`; of IPv6 a hash, since a chain's name has 28 bytes at most."""
    address = str(block.network_address)
    named = address if block.version == 4 else hashlib.sha256(address.encode()).hexdigest()[:12]
    return f"{named}-{block.prefixlen}"
