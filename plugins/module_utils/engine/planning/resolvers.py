# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which resolvers (dnsmasq processes) a host needs, and which of them each container is assigned.

A resolver answers the names of certain networks, and forwards other queries to certain nameservers. Every network has
its own resolver, for containers that are on this network alone. Containers on several networks, or with nameservers of
their own, get a resolver for each such combination; where leases are given on one of the networks, this resolver
forwards through a second one. All containers send their queries to the gateway of one of their networks. The firewall
rules redirect the queries of containers that are assigned another resolver than that network's own to its port.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ..declaration.model import Attachment, Model, Network
from ..declaration.section import Address
from ..errors import ProblemCollector, is_within
from .allotments import Allotments
from .facts import Facts

DNS_PORT = 53

# The ports of resolvers that are not a network's own. The firewall rules drop queries that were not redirected there.
FIRST_PORT, LAST_PORT = 20053, 20563

_LONGEST_NAME = 150


@dataclass(frozen=True)
class Resolver:
    """A dnsmasq process. `networks` are those whose names it answers, `upstreams` the nameservers of its containers.

    `addresses` are gateways of one network, at which it listens. Its containers send their queries to the first one, of
    IPv4 where the network has that. A network's own resolver listens at all gateways, as DHCP clients are told the one
    of their subnet; another one at all of the family, since the kernel chooses to which of them it redirects.
    `forwards`: queries for other names go to nameservers, through `forwarder` where it has one. A forwarder itself has
    no names (`has_names`). Without `serves_dns` the process gives leases only.
    """

    name: str
    networks: Tuple[str, ...]
    upstreams: Tuple[Address, ...]
    forwards: bool
    addresses: Tuple[Address, ...]
    port: int
    serves_dns: bool = True
    has_names: bool = True
    forwarder: Optional[Resolver] = None

    @property
    def is_networks_own(self) -> bool:
        return self.port == DNS_PORT

    @property
    def address(self) -> Address:
        return self.addresses[0]


@dataclass(frozen=True)
class ResolverAssignment:
    """The resolver of a container, and the attachment whose network's gateway it sends its queries to."""

    resolver: Resolver
    attachment: Attachment


@dataclass(frozen=True)
class Resolvers:
    """All resolvers of a host, and the assignments by container. A container without one asks nameservers itself."""

    all: Tuple[Resolver, ...] = ()
    assignments: Mapping[str, ResolverAssignment] = field(default_factory=dict)

    @property
    def ports(self) -> Dict[str, int]:
        """The ports to keep in the ledger, by the names of the resolvers."""
        return {resolver.name: resolver.port for resolver in self.all if not resolver.is_networks_own}


def find_resolvers(
    model: Model, allotted: Allotments, before: Allotments, facts: Facts, problems: ProblemCollector
) -> Resolvers:
    """The networks' own resolvers, and those that containers need besides."""
    ports = _Ports(before, facts)
    found: Dict[str, Resolver] = {}
    for network in model.networks.values():
        own = _own(network, allotted)
        if own:
            found[network.name] = own
    for path, message in _loops(model, found):
        problems.add(path, message)
    assignments: Dict[str, ResolverAssignment] = {}
    for container in model.containers.values():
        attachments = [a for a in container.attachments if a.network in found and found[a.network].serves_dns]
        if not attachments or any(address.is_loopback for address in container.dns):
            continue
        asked = min(attachments, key=lambda each: (found[each.network].address.version, each.network))
        if not model.host.has_rules(found[asked.network].address.version):
            # No rule redirects its queries. A container with nameservers of its own asks these directly.
            if not container.dns:
                assignments[container.name] = ResolverAssignment(found[asked.network], asked)
            continue
        networks = tuple(sorted(attachment.network for attachment in attachments))
        forwards = any(_leads_outside(model, attachment) for attachment in container.attachments)
        name = _name(networks, container.dns, forwards and not any(found[each].forwards for each in networks))
        if name not in found:
            own = found[asked.network]
            addresses = tuple(each for each in own.addresses if each.version == own.address.version)
            resolver = Resolver(name, networks, container.dns, forwards, addresses, ports.take(name))
            if forwards and any(model.networks[each].services.dhcp for each in networks):
                resolver = replace(resolver, forwarder=_forwarder(resolver, ports))
            found.update({each.name: each for each in (resolver, resolver.forwarder) if each})
        assignments[container.name] = ResolverAssignment(found[name], asked)
        if ports.exhausted:
            problems.add(
                container.path,
                f"needs one more resolver than the {LAST_PORT - FIRST_PORT + 1} that a host may have: "
                "put containers on the same combinations of networks and nameservers",
            )
            break
    return Resolvers(tuple(found.values()), assignments)


def _loops(model: Model, own: Mapping[str, Resolver]) -> Iterator[Tuple[str, str]]:
    """Paths and problems of declared nameservers that make a forwarding loop of networks' resolvers."""
    listening = {address: name for name, each in own.items() if each.serves_dns for address in each.addresses}
    asked = {
        name: [(listening[address], address, path) for address, path in _upstreams(model, name) if address in listening]
        for name, each in own.items()
        if each.forwards
    }
    for name, nameservers in asked.items():
        for other, address, path in nameservers:
            if name in _reached(other, asked):
                asks = "would ask itself" if other == name else f"asks that of network {name} in turn"
                remedy = (
                    ", or give the network x-wharf.dns.upstreams" if is_within(path, f"{model.host.path}.dns") else ""
                )
                yield (
                    path,
                    f'"{address}": is the gateway of network {other}, whose resolver listens there and {asks}: '
                    f"name another nameserver{remedy}",
                )


def _reached(first: str, asked: Mapping[str, Sequence[Tuple[str, Address, str]]]) -> Set[str]:
    """The networks whose resolvers get what is forwarded to the resolver of the first one, which is included."""
    reached, waiting = {first}, [first]
    while waiting:
        further = {other for other, _address, _path in asked.get(waiting.pop(), ())} - reached
        reached |= further
        waiting += further
    return reached


def _upstreams(model: Model, network: str) -> List[Tuple[Address, str]]:
    """The nameservers that a network's own resolver forwards to as declared, each with its path."""
    path = f"{model.networks[network].path}.x-wharf.dns.upstreams"
    declared = model.networks[network].services.names.upstreams
    if not declared:
        declared, path = model.host.dns, f"{model.host.path}.dns"
    return [(address, f"{path}[{index}]") for index, address in enumerate(declared)]


def _leads_outside(model: Model, attachment: Attachment) -> bool:
    network = model.networks.get(attachment.network)
    return network is not None and not network.internal


def _answers(network: Network) -> bool:
    """Whether names are answered on the network: as in Docker on user-defined ones, and by default not on external
    ones, since the owner of the bridge may run a resolver there.
    """
    answered = network.services.names.answered
    return not network.is_default and (not network.external if answered is None else answered)


def _own(network: Network, allotted: Allotments) -> Optional[Resolver]:
    """The network's own resolver, where names are answered or leases given on it, and its bridge has an address."""
    pools = allotted.networks.get(network.name, ())
    gateways = tuple(pool.gateway for pool in pools if network.has_gateway(pool.version))
    if not gateways or not (_answers(network) or network.services.leases):
        return None
    forwards = not network.internal
    return Resolver(network.name, (network.name,), (), forwards, gateways, DNS_PORT, _answers(network))


def _forwarder(resolver: Resolver, ports: _Ports) -> Resolver:
    """The process that rejects answers from nameservers outside with addresses in the networks' subnets.

    The resolver itself gets such addresses legitimately, from the networks' own resolvers, which know the leases; and
    dnsmasq's `bogus-nxdomain` cannot distinguish by who answers.
    """
    name = f"{resolver.name}:@outward"
    return replace(resolver, name=name, port=ports.take(name), has_names=False)


def _name(networks: Tuple[str, ...], upstreams: Tuple[Address, ...], outside: bool) -> str:
    """The name of a resolver: that of its network, or several parts with colons between them.

    No network's name has a colon, or begins with `@` as the parts do that are no network. `outside`: the resolver
    forwards although all of its networks are internal, since its containers are on networks without a resolver, too.
    """
    name = ":".join(networks)
    if len(name) > _LONGEST_NAME:
        name = f":{_digest(name)}"
    servers = f":@{_digest(' '.join(map(str, upstreams)))}" if upstreams else ""
    return f"{name}{':@outside' if outside else ''}{servers}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class _Ports:
    """The ports of resolvers: each keeps the port that the ledger has; a new resolver gets the lowest free one."""

    def __init__(self, before: Allotments, facts: Facts) -> None:
        self._kept = before.resolvers
        listened_on = {port for _protocol, _address, port in facts.listeners}
        self._taken = {*self._kept.values(), *listened_on}
        self.exhausted = False

    def take(self, name: str) -> int:
        kept = self._kept.get(name)
        if kept:
            return kept
        port = next(self._free(), LAST_PORT)
        self.exhausted |= port in self._taken
        self._taken.add(port)
        return port

    def _free(self) -> Iterator[int]:
        return (port for port in range(FIRST_PORT, LAST_PORT + 1) if port not in self._taken)
