# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is of endpoints: their two ends, read on the host and inside the sandboxes."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Set, Tuple

from ...errors import ConflictError, Problem
from ...kernel import namespaces, proc_sys, rtnetlink
from ...kernel.links import UNDONE_PORTS, declared_addresses, in_order_of
from ...kernel.rtnetlink import AddressInfo, LinkInfo, RouteInfo
from ...state import NO_SANDBOX, Endpoint, Port, SandboxRef
from . import parameters
from .endpoint_routes import declared_routes
from .marks import is_managed_port, marked_for
from .sandboxes import LOOPBACK_INDEX, is_present, sandbox_path

Wanted = Dict[str, Endpoint]
Ports = Dict[str, LinkInfo]

# Of each endpoint the parameters of its interface that we set.
Known = Dict[str, Dict[str, str]]

_DEFAULT = ("0.0.0.0/0", "::/0")

# A veth of ours that was never finished and that nobody wants has this and its own name for a name.
NOBODY = "?"


@dataclass(frozen=True)
class SandboxSnapshot:
    """What is in a sandbox; `netnsid` is the host's number for it. `is_hosts`: it is the host's own stack."""

    netnsid: int
    is_hosts: bool
    links: List[LinkInfo]
    addresses: List[AddressInfo]
    routes: List[RouteInfo]

    def stays_for(self, endpoint: Endpoint) -> bool:
        """Whether this is the stack that the endpoint will be in; a name of ours may still be bound to another."""
        marks = (marked_for(link) for link in self.links if link.index == LOOPBACK_INDEX)
        return endpoint.sandbox.is_third_party or endpoint.container in marks

    def peer(self, port: LinkInfo) -> Optional[LinkInfo]:
        """The other end of the host's `port`, if it is in here."""
        if port.link_netnsid != self.netnsid:
            return None
        return next((link for link in self.links if link.index == port.link), None)

    def third_party_names(self, ports: Ports) -> Set[str]:
        """Those that no interface in here can be given."""
        ours = _indexes_in(self.netnsid, ports)
        third_party = [link for link in self.links if link.index not in ours]
        # Also those that interfaces of ours have been given besides.
        return {link.name for link in third_party}.union(*(link.other_names for link in self.links))


@dataclass(frozen=True)
class Snapshot:
    """What there is to see of endpoints at one time: the host's links, and what is in each sandbox that is there.

    What is in one of `unstable` keeps changing while it is read, as whoever is root in there can see to.
    """

    links: List[LinkInfo]
    inside: Mapping[SandboxRef, SandboxSnapshot]
    unstable: FrozenSet[SandboxRef] = frozenset()


def look(wanted: Wanted) -> Snapshot:
    links = rtnetlink.links()
    inside, unstable = {}, set()
    for sandbox in {endpoint.sandbox: None for endpoint in wanted.values()}:
        # A container may end while we look.
        with suppress(FileNotFoundError, ProcessLookupError):
            # A half that is to stay as it was found has no sandbox.
            if sandbox and is_present(sandbox):
                try:
                    inside[sandbox] = _look_inside(sandbox_path(sandbox))
                except BlockingIOError:
                    unstable.add(sandbox)
    return Snapshot(links, inside, frozenset(unstable))


def _look_inside(path: str) -> SandboxSnapshot:
    is_hosts = namespaces.identity(path) == namespaces.identity(namespaces.OWN)
    with namespaces.opened(path) as descriptor:
        netnsid = rtnetlink.namespace_id(descriptor)
    with namespaces.entered(path):
        return SandboxSnapshot(netnsid, is_hosts, rtnetlink.links(), rtnetlink.addresses(), rtnetlink.routes())


def blocked(wanted: Wanted, known: FrozenSet[str], snapshot: Snapshot) -> Dict[str, str]:
    """The endpoints that stand, or are `known` to be ours, and in whose place there is a third-party interface, told.

    And those of which nothing can be seen, since what is there keeps changing.
    """
    ports = _ports(snapshot.links, wanted)
    ours = (wanted[name] for name in in_place(wanted, known, snapshot))
    in_the_way = {endpoint.name: _hindrance(endpoint) for endpoint in ours if _is_in_the_way(endpoint, ports, snapshot)}
    unseen = (endpoint for endpoint in wanted.values() if endpoint.sandbox in snapshot.unstable)
    return {**in_the_way, **{endpoint.name: _restlessness(endpoint) for endpoint in unseen}}


def in_place(wanted: Wanted, known: FrozenSet[str], snapshot: Snapshot) -> FrozenSet[str]:
    """The endpoints that stand, or are `known` to be ours."""
    return known.union(_ports(snapshot.links, wanted)).intersection(wanted)


def _is_in_the_way(endpoint: Endpoint, ports: Ports, snapshot: Snapshot) -> bool:
    inside = snapshot.inside.get(endpoint.sandbox)
    return inside is not None and not inside.is_hosts and endpoint.interface in inside.third_party_names(ports)


def _hindrance(endpoint: Endpoint) -> str:
    return (
        f"{endpoint.name} is pending: an interface {endpoint.interface} that wharf.network does not manage is in "
        f"{sandbox_path(endpoint.sandbox)}: delete it there, or take that name from it"
    )


def _restlessness(endpoint: Endpoint) -> str:
    return (
        f"{endpoint.name} is pending: what is in {sandbox_path(endpoint.sandbox)} keeps changing while it is read: end "
        "what changes addresses or links there"
    )


def observe_endpoints(wanted: Wanted, known: Known, snapshot: Snapshot) -> List[Endpoint]:
    """
    Raises:
        ConflictError: a third-party interface has the name of a wanted one, on the host or in a sandbox.
    """
    ports = _ports(snapshot.links, wanted)
    problems = [_third_party_port(endpoint) for endpoint in _without_port(wanted, snapshot.links)]
    names = {link.index: link.name for link in snapshot.links}
    found = {name: _from_host_end(name, port, names) for name, port in ports.items()}
    for sandbox, endpoints in _by_sandbox(wanted).items():
        inside = snapshot.inside.get(sandbox)
        if inside:
            third_party = inside.third_party_names(ports)
            problems += [
                _third_party_interface(each)
                for each in endpoints
                if each.interface in third_party and inside.stays_for(each)
            ]
            # A container may end while we look.
            with suppress(FileNotFoundError, ProcessLookupError):
                _complete(sandbox, endpoints, inside, ports, found, known)
    if problems:
        raise ConflictError(*problems)
    return list(found.values())


def leave_default_routes(wanted: Wanted) -> Iterator[Endpoint]:
    """The endpoints in stacks that have a default route by an interface which is not ours, without theirs."""
    of_others = {name: each for name, each in wanted.items() if each.sandbox.is_third_party}
    ports = _ports(rtnetlink.links(), wanted) if of_others else {}
    for sandbox, endpoints in _by_sandbox(of_others).items():
        # A container may end while we look.
        with suppress(FileNotFoundError, ProcessLookupError):
            taken = _default_routes_of_others(sandbox, ports) if is_present(sandbox) else set()
            for endpoint in endpoints:
                yield replace(
                    endpoint, routes=tuple(route for route in endpoint.routes if route.destination not in taken)
                )


def _default_routes_of_others(sandbox: SandboxRef, ports: Ports) -> Set[str]:
    path = sandbox_path(sandbox)
    with namespaces.opened(path) as descriptor:
        netnsid = rtnetlink.namespace_id(descriptor)
    with namespaces.entered(path):
        routes = rtnetlink.routes()
    ours = _indexes_in(netnsid, ports)
    return {route.destination for route in routes if route.destination in _DEFAULT and route.index not in ours}


def _indexes_in(netnsid: int, ports: Ports) -> Set[int]:
    """Of the other ends of our veths that are in this namespace."""
    return {port.link for port in ports.values() if port.link_netnsid == netnsid}


def _ports(links: List[LinkInfo], wanted: Wanted) -> Ports:
    """Our veths' ends on the host, by the name of the endpoint that each is of."""
    by_interface = {endpoint.host_interface: name for name, endpoint in wanted.items()}

    def owner(link: LinkInfo) -> str:
        return marked_for(link) or by_interface.get(link.name) or f"{NOBODY}/{link.name}"

    return {owner(link): link for link in links if is_managed_port(link)}


def _without_port(wanted: Wanted, links: List[LinkInfo]) -> List[Endpoint]:
    third_party = {link.name for link in links if not is_managed_port(link)}
    return [endpoint for endpoint in wanted.values() if endpoint.host_interface in third_party]


def _by_sandbox(wanted: Wanted) -> Dict[SandboxRef, List[Endpoint]]:
    grouped = defaultdict(list)
    for endpoint in wanted.values():
        grouped[endpoint.sandbox].append(endpoint)
    return grouped


def _from_host_end(name: str, port: LinkInfo, names: Dict[int, str]) -> Endpoint:
    """What the host's end alone tells; without a sandbox, so it differs from any wanted endpoint."""
    container, _slash, network = name.partition("/")
    return Endpoint(
        container,
        network,
        sandbox=NO_SANDBOX,
        interface="",
        host_interface=port.name,
        port=_port(port, names),
        mtu=port.mtu,
        mac="",
        addresses=(),
    )


def _port(link: LinkInfo, names: Dict[int, str]) -> Port:
    """One that is down is on no network."""
    if link.port is None or not link.up:
        return Port("")
    return Port(names.get(link.master, ""), link.port.hairpin, link.port.isolated)


def _complete(
    sandbox: SandboxRef,
    endpoints: List[Endpoint],
    inside: SandboxSnapshot,
    ports: Ports,
    found: Dict[str, Endpoint],
    known: Known,
) -> None:
    """Complete what was `found` of the endpoints by what is in the sandbox."""
    with namespaces.entered(sandbox_path(sandbox)):
        for wanted in endpoints:
            port = ports.get(wanted.name)
            peer = inside.peer(port) if port else None
            if port and peer and port.group != UNDONE_PORTS:
                found[wanted.name] = _with_sandbox_end(
                    found[wanted.name], wanted, peer, inside, known.get(wanted.name, {})
                )


def _with_sandbox_end(
    half: Endpoint, wanted: Endpoint, peer: LinkInfo, inside: SandboxSnapshot, known: Mapping[str, str]
) -> Endpoint:
    # Of an interface that is down nothing is in use.
    addresses = [info for info in inside.addresses if info.index == peer.index and peer.up]
    routes = [info for info in inside.routes if {*info.indexes} == {peer.index} and peer.up]
    sysctls = [*proc_sys.observe(wanted.sysctls, peer.name), *_not_given_back(wanted, peer, known)]
    return replace(
        half,
        sandbox=wanted.sandbox,
        interface=peer.name,
        # The one that is wrong, if one is.
        mtu=peer.mtu if half.mtu == wanted.mtu else half.mtu,
        mac=peer.mac,
        addresses=declared_addresses(wanted.addresses, addresses),
        routes=in_order_of(wanted.routes, declared_routes(wanted.routes, routes)),
        ipv6=proc_sys.has_ipv6(peer.name),
        sysctls=in_order_of(wanted.sysctls, sysctls),
    )


def _not_given_back(wanted: Endpoint, peer: LinkInfo, known: Mapping[str, str]) -> Iterable[Tuple[str, str]]:
    """The parameters that are wanted no more, and are not what a new interface would have. IPv6 has its own field."""
    for key, _before in parameters.let_go(known, wanted.sysctls):
        now = proc_sys.read(proc_sys.of_interface(peer.name, key))
        back = parameters.is_given_back(now, parameters.of_new_interface(key, peer.mtu))
        if now is not None and not back and key != parameters.DISABLE_IPV6:
            yield key, now


def _third_party_port(endpoint: Endpoint) -> Problem:
    return Problem(
        endpoint.place,
        f"an interface {endpoint.host_interface} is on this host that wharf.network does not manage: delete it, or "
        "rename it",
    )


def _third_party_interface(endpoint: Endpoint) -> Problem:
    return Problem(
        endpoint.place,
        f"an interface {endpoint.interface} is in {sandbox_path(endpoint.sandbox)} that wharf.network does not manage: "
        "choose another interface_name",
    )
