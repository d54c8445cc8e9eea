# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which resolvers a host needs, and which of them answers each container.

A resolver knows the names of certain networks and asks certain nameservers. Every network has one of its own, for the
containers on this network alone. Containers on several networks, or with nameservers of their own, have one for each
such combination, and where leases are given on one of the networks, another one that asks outside on its behalf. All
containers ask the gateway of one of their networks; the rules lead those that have another resolver than that network's
own to its port.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ..declaration.model import Attachment, Model, Network
from ..declaration.section import Address
from ..errors import ProblemCollector
from .allotments import Allotments
from .facts import Facts

DNS_PORT = 53

# For resolvers that are not a network's own; nobody may ask these ports but by way of the rules.
FIRST_PORT, LAST_PORT = 20053, 20563

_LONGEST_NAME = 150


@dataclass(frozen=True)
class Resolver:
    """`networks` are those whose names it knows, `upstreams` the nameservers that its containers name, if any.

    `at` is where its containers ask it: the gateway of the first of its networks that has IPv4, else of the first one.
    A network's own also listens at the gateway of the other family, `beside`. `forwards`: it asks others for what it
    does not know, by way of `asks` if there is such a one, which has no names itself (`knows`). Without `answers` it is
    there for other things than names.
    """

    name: str
    networks: Tuple[str, ...]
    upstreams: Tuple[Address, ...]
    forwards: bool
    at: Address
    port: int
    beside: Optional[Address] = None
    answers: bool = True
    knows: bool = True
    asks: Optional[Resolver] = None

    @property
    def is_networks_own(self) -> bool:
        return self.port == DNS_PORT

    @property
    def addresses(self) -> Tuple[Address, ...]:
        return tuple(address for address in (self.at, self.beside) if address)


@dataclass(frozen=True)
class ResolverChoice:
    """Where a container asks: the resolver, by the attachment to the network of the gateway that it sends to."""

    resolver: Resolver
    attachment: Attachment


@dataclass(frozen=True)
class Resolvers:
    """All of a host, and where containers ask, by their names; one that is not there has no resolver."""

    all: Tuple[Resolver, ...] = ()
    choices: Mapping[str, ResolverChoice] = field(default_factory=dict)

    @property
    def ports(self) -> Dict[str, int]:
        """To be kept in the ledger."""
        return {resolver.name: resolver.port for resolver in self.all if not resolver.is_networks_own}


def find_resolvers(
    model: Model, allotted: Allotments, before: Allotments, facts: Facts, problems: ProblemCollector
) -> Resolvers:
    """The networks' own, and those that containers need besides."""
    ports = _Ports(before, facts)
    found: Dict[str, Resolver] = {}
    for network in model.networks.values():
        own = _own(network, allotted)
        if own:
            found[network.name] = own
    for path, message in _circles(model, found):
        problems.add(path, message)
    choices: Dict[str, ResolverChoice] = {}
    for container in model.containers.values():
        attachments = [a for a in container.attachments if a.network in found and found[a.network].answers]
        if not attachments or any(address.is_loopback for address in container.dns):
            continue
        asked = min(attachments, key=lambda each: (found[each.network].at.version, each.network))
        if not model.host.has_rules(found[asked.network].at.version):
            # Nobody leads it further. The nameservers that it names, it asks itself.
            if not container.dns:
                choices[container.name] = ResolverChoice(found[asked.network], asked)
            continue
        networks = tuple(sorted(attachment.network for attachment in attachments))
        forwards = any(_leads_outside(model, attachment) for attachment in container.attachments)
        name = _name(networks, container.dns, forwards and not any(found[each].forwards for each in networks))
        if name not in found:
            at = found[asked.network].at
            resolver = Resolver(name, networks, container.dns, forwards, at, ports.take(name))
            if forwards and any(model.networks[each].services.dhcp for each in networks):
                resolver = replace(resolver, asks=_outward(resolver, ports))
            found.update({each.name: each for each in (resolver, resolver.asks) if each})
        choices[container.name] = ResolverChoice(found[name], asked)
        if ports.exhausted:
            problems.add(
                container.path,
                f"needs one more resolver than the {LAST_PORT - FIRST_PORT + 1} that a host may have: "
                "put containers on the same combinations of networks and nameservers",
            )
            break
    return Resolvers(tuple(found.values()), choices)


def _circles(model: Model, own: Mapping[str, Resolver]) -> Iterator[Tuple[str, str]]:
    """Paths and problems of nameservers by which resolvers of networks ask themselves, or each other in a circle."""
    listening = {address: name for name, each in own.items() if each.answers for address in each.addresses}
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
                    ", or give the network x-wharf.dns.upstreams" if path.startswith(f"{model.host.path}.dns") else ""
                )
                yield (
                    path,
                    f'"{address}": is the gateway of network {other}, whose resolver listens there and {asks}: '
                    f"name another nameserver{remedy}",
                )


def _reached(first: str, asked: Mapping[str, Sequence[Tuple[str, Address, str]]]) -> Set[str]:
    """The networks whose resolvers are asked for what this one's is, that one included."""
    reached, waiting = {first}, [first]
    while waiting:
        further = {other for other, _address, _path in asked.get(waiting.pop(), ())} - reached
        reached |= further
        waiting += further
    return reached


def _upstreams(model: Model, network: str) -> List[Tuple[Address, str]]:
    """The nameservers that are declared for a network's own resolver, each with its path."""
    path = f"{model.networks[network].path}.x-wharf.dns.upstreams"
    declared = model.networks[network].services.names.upstreams
    if not declared:
        declared, path = model.host.dns, f"{model.host.path}.dns"
    return [(address, f"{path}[{index}]") for index, address in enumerate(declared)]


def _leads_outside(model: Model, attachment: Attachment) -> bool:
    network = model.networks.get(attachment.network)
    return network is not None and not network.internal


def _answers(network: Network) -> bool:
    """As in Docker, those that users define; on a bridge of somebody else's there may be a resolver already."""
    answered = network.services.names.answered
    return not network.is_default and (not network.external if answered is None else answered)


def _own(network: Network, allotted: Allotments) -> Optional[Resolver]:
    """The network's own, where it answers names or has leases to give, and an address to do so."""
    pools = allotted.networks.get(network.name, {})
    gateways = [pools[version].gateway for version in (4, 6) if version in pools and network.has_gateway(version)]
    if not gateways or not (_answers(network) or network.services.leases):
        return None
    at, beside = gateways[0], gateways[1] if gateways[1:] else None
    forwards = not network.internal
    return Resolver(network.name, (network.name,), (), forwards, at, DNS_PORT, beside, _answers(network))


def _outward(resolver: Resolver, ports: _Ports) -> Resolver:
    """Who drops what is said outside of the networks' addresses, which the resolver itself is told by those who know of
    leases: dnsmasq cannot tell the one from the other.
    """
    name = f"{resolver.name}:@outward"
    return replace(resolver, name=name, port=ports.take(name), knows=False)


def _name(networks: Tuple[str, ...], upstreams: Tuple[Address, ...], outside: bool) -> str:
    """The network's name, or a name that no network can have, for want of the colon. What is no network in it begins
    with `@`, as none does.

    `outside`: it forwards, though its networks are all internal, since its containers are on others, too.
    """
    name = ":".join(networks)
    if len(name) > _LONGEST_NAME:
        name = f":{_digest(name)}"
    servers = f":@{_digest(' '.join(map(str, upstreams)))}" if upstreams else ""
    return f"{name}{':@outside' if outside else ''}{servers}"


def is_networks_own(resolver: str) -> bool:
    """Whether the resolver of this name belongs to a network, and not to containers."""
    return ":" not in resolver


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class _Ports:
    """Ports for resolvers: each keeps the one that it has, and then takes the lowest that is free."""

    def __init__(self, before: Allotments, facts: Facts) -> None:
        self._kept = before.resolvers
        heard = {port for _protocol, _address, port in facts.listeners}
        self._taken = {*self._kept.values(), *heard}
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
