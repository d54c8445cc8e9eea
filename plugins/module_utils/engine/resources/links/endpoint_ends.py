# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads endpoints: of each veth pair the end on the host and the end in the sandbox; without a bridge, the one link."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Collection, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ...errors import ConflictError, Problem
from ...kernel import namespaces, proc_sys
from ...kernel.links import UNDONE_PORTS, declared_addresses, in_order_of
from ...kernel.namespaces import Identity
from ...kernel.proc_sys import Parameters
from ...kernel.rtnetlink import LinkInfo
from ...state import NO_SANDBOX, Endpoint, EndpointKey, Key, Port, SandboxRef, Sublink, Vlans, endpoint_name
from . import parameters
from .endpoint_routes import declared_routes
from .link_resource import third_party_link
from .marks import endpoint_of, is_managed_ifb, is_managed_port
from .rates import Rates, links_of
from .stacks import Stack, StackReader, Stacks, all_stacks, sandbox_path
from .vlans import port_vlans

Wanted = Dict[EndpointKey, Endpoint]
Ports = Dict[EndpointKey, LinkInfo]

# Of each endpoint, by its name, the kernel parameters that wharf.network has set on its interface, with their values
# before.
Known = Dict[str, Dict[str, str]]

_DEFAULT = ("0.0.0.0/0", "::/0")

# The container, by name, of a veth that a run did not finish and that is not declared; its network is the veth's name.
NOBODY = "?"


@dataclass(frozen=True)
class SublinkFound:
    """The interface of an endpoint without a bridge: in which sandbox's stack it is, and the name of its parent."""

    sandbox: SandboxRef
    stack: Stack
    link: LinkInfo
    parent: str


@dataclass(frozen=True)
class Snapshot:
    """The host's links, and what is in each sandbox that exists.

    Of the `unstable` sandboxes only links are known: root in a container changed links or addresses while they were
    read. `elsewhere` are other stacks, in which endpoints may still be. `limited` are names of ends on the host: of
    those wanted endpoints, pending ones included, whose egress is limited.
    """

    links: List[LinkInfo]
    inside: Stacks
    unstable: Stacks = field(default_factory=dict)
    elsewhere: Stacks = field(default_factory=dict)
    limited: FrozenSet[str] = frozenset()

    @cached_property
    def _managed_indexes(self) -> Dict[int, Set[int]]:
        """By the number of a stack, the indexes of the managed endpoints' interfaces in it."""
        indexes: Dict[int, Set[int]] = defaultdict(set)
        for link in self.links:
            if is_managed_port(link):
                indexes[link.link_netnsid].add(link.link)
        return indexes

    @cached_property
    def _sublink_indexes(self) -> Dict[Identity, Set[int]]:
        """By the identity of a stack, the indexes of the managed links in it that are made on links of the host."""
        indexes: Dict[Identity, Set[int]] = defaultdict(set)
        for found in self.sublinks.values():
            indexes[found.stack.identity].add(found.link.index)
        return indexes

    @cached_property
    def sublinks(self) -> Dict[EndpointKey, SublinkFound]:
        """By the endpoint, the managed links that are made on links of the host, wherever they are."""
        names = {link.index: link.name for link in self.links}
        found: Dict[EndpointKey, SublinkFound] = {}
        seen: Set[Identity] = set()
        for ref, stack in (*self.inside.items(), *self.unstable.items(), *self.elsewhere.items()):
            for link in stack.sublinks if stack.identity not in seen else ():
                key = endpoint_of(link) if link.group != UNDONE_PORTS else None
                if key is None or key in found:
                    key = NOBODY, f"{link.index} of {ref}"
                found[key] = SublinkFound(ref, stack, link, names.get(link.link, ""))
            seen.add(stack.identity)
        return found

    def is_third_party(self, index: int, stack: Stack) -> bool:
        """Whether the link of this index in a stack is not the end of a managed endpoint."""
        managed = self._managed_indexes.get(stack.number, ())
        return index not in managed and index not in self._sublink_indexes.get(stack.identity, ())

    def third_party_names(self, stack: Stack) -> Set[str]:
        """The names that are taken in a stack: those of third-party links, and alternative names of all links."""
        third_party = (link.name for link in stack.links if self.is_third_party(link.index, stack))
        return {*third_party}.union(*(link.other_names for link in stack.links))

    @property
    def unlisted(self) -> List[SandboxRef]:
        """The stacks in which there may be managed links that were not found."""
        return [ref for ref, stack in (*self.unstable.items(), *self.elsewhere.items()) if not stack.listed]

    def stays_for(self, endpoint: Endpoint) -> bool:
        """Whether the sandbox exists, and its stack is the one that the endpoint will be in."""
        inside = self.inside.get(endpoint.sandbox)
        return inside is not None and _stays_for(inside, endpoint)


def read_snapshot(wanted: Wanted, owned: Collection[Key], reader: StackReader) -> Snapshot:
    """Read the host's links and the sandboxes of the `wanted` endpoints.

    Where an `owned` endpoint is in none of these, or one leads into another stack, all other stacks are read, too.
    """
    links = reader.host.links
    # An endpoint that is to stay as it was observed, when a run is rolled back, may have no sandbox.
    stacks = reader.read(endpoint.sandbox for endpoint in wanted.values() if endpoint.sandbox)
    inside = {sandbox: stack for sandbox, stack in stacks.items() if stack.stable}
    limited = frozenset(endpoint.host_interface for endpoint in wanted.values() if endpoint.egress)
    unstable = {sandbox: stack for sandbox, stack in stacks.items() if not stack.stable}
    snapshot = Snapshot(links, inside, unstable, limited=limited)
    found = _ports(links, wanted)
    there = map(endpoint_name, (*found, *snapshot.sublinks))
    missing = {name for kind, name in owned if kind == Endpoint.kind}.difference(there)
    # A veth that is gone is nowhere else, and that of a container which does not run is gone with it. In another
    # sandbox the endpoint may have been a link without an end on the host.
    awaited = (each.name for each in wanted.values() if not each.sublink and _has_ended(each.sandbox, owned, stacks))
    leads_elsewhere = any(
        port.link_netnsid != inside[wanted[key].sandbox].number
        for key, port in found.items()
        if key in wanted and wanted[key].sandbox in inside
    )
    is_elsewhere = leads_elsewhere or missing.difference(awaited)
    return replace(snapshot, elsewhere=_everywhere(reader)) if is_elsewhere else snapshot


def _has_ended(sandbox: SandboxRef, owned: Collection[Key], stacks: Stacks) -> bool:
    """Whether a third party's container does not run now, in which an earlier run had something."""
    return sandbox.is_third_party and sandbox.key in owned and sandbox not in stacks


def read_all_stacks(reader: StackReader) -> Snapshot:
    """Read the host's links and all stacks."""
    return Snapshot(reader.host.links, {}, elsewhere=_everywhere(reader))


def _everywhere(reader: StackReader) -> Stacks:
    return reader.read(all_stacks())


def _stays_for(stack: Stack, endpoint: Endpoint) -> bool:
    """Whether the endpoint will be in this stack. The name of a managed namespace may still be bound to another."""
    return endpoint.sandbox.is_third_party or endpoint.container == stack.mark


def _peer(stack: Stack, port: LinkInfo) -> Optional[LinkInfo]:
    """The other end of the host's `port`, if it is in this stack."""
    if port.link_netnsid != stack.number:
        return None
    return next((link for link in stack.links if link.index == port.link), None)


def why_blocked(wanted: Wanted, known: FrozenSet[EndpointKey], snapshot: Snapshot) -> Dict[EndpointKey, str]:
    """The endpoints that are pending, each with the reason.

    These are those in unstable sandboxes; and of those that exist, or are `known` to have existed, those whose name a
    third-party interface has.
    """
    ports = _ports(snapshot.links, wanted)
    there = {*ports, *snapshot.sublinks, *known}
    existing = {key: endpoint for key, endpoint in wanted.items() if key in there}
    taken = {key: _name_is_taken(each) for key, each in existing.items() if _has_blocker(each, snapshot)}
    return {**taken, **{key: _is_unstable(each) for key, each in wanted.items() if each.sandbox in snapshot.unstable}}


def without_parent(wanted: Wanted, snapshot: Snapshot) -> Dict[EndpointKey, str]:
    """The endpoints whose link has no parent now on which it could be made, each with the reason."""
    return {key: why for key, each in wanted.items() for why in [_lacks_parent(each, snapshot)] if why}


def _has_blocker(endpoint: Endpoint, snapshot: Snapshot) -> bool:
    inside = snapshot.inside.get(endpoint.sandbox)
    return inside is not None and not inside.is_hosts and endpoint.interface in snapshot.third_party_names(inside)


def _lacks_parent(endpoint: Endpoint, snapshot: Snapshot) -> str:
    """Why the endpoint's link cannot be made now; empty if it can, or is there, or has no parent."""
    found = snapshot.sublinks.get(endpoint.endpoint_key)
    if not endpoint.sublink or endpoint.sublink.made or (found and found.parent == endpoint.sublink.parent):
        return ""
    parent = next((link for link in snapshot.links if link.name == endpoint.sublink.parent), None)
    if parent and parent.up:
        return ""
    lacks = "is down: set it up" if parent else "is not on this host: it is connected as soon as that is there"
    return f"{endpoint.name} is pending: its parent {endpoint.sublink.parent} {lacks}"


def _name_is_taken(endpoint: Endpoint) -> str:
    return (
        f"{endpoint.name} is pending: an interface {endpoint.interface} that wharf.network does not manage is in "
        f"{sandbox_path(endpoint.sandbox)}: delete it there, or take that name from it"
    )


def _is_unstable(endpoint: Endpoint) -> str:
    return (
        f"{endpoint.name} is pending: the links and addresses in {sandbox_path(endpoint.sandbox)} keep changing while "
        "they are read: stop the program that changes them"
    )


def observe_endpoints(
    wanted: Wanted, known: Known, snapshot: Snapshot, blocked: Collection[EndpointKey] = ()
) -> List[Endpoint]:
    """The managed endpoints that exist. Of those that are not `wanted`, or are in unstable sandboxes, only the end on
    the host is observed.

    Raises:
        ConflictError: a third-party interface has the name of a wanted one on the host; or in a sandbox, unless the
            wanted one is among the `blocked`.
    """
    ports = _ports(snapshot.links, wanted)
    taken = _without_port(wanted, snapshot.links)
    problems = [third_party_link(name, endpoint.place, "delete it, or rename it") for endpoint, name in taken]
    names = {link.index: link.name for link in snapshot.links}
    rates = Rates.read(snapshot.links, wanted.values())
    vlans = port_vlans(snapshot.links, ports, wanted)
    sandboxes = {key: wanted[key].sandbox for key in blocked}
    found = {
        key: _from_host_end(key, sandboxes.get(key, NO_SANDBOX), port, names, rates, vlans.get(key))
        for key, port in ports.items()
    }
    found.update({key: _from_sublink(key, each) for key, each in snapshot.sublinks.items()})
    problems += [each for key in wanted.keys() & ports for each in rates.problems(wanted[key], ports[key])]
    for sandbox, endpoints in _by_sandbox(wanted).items():
        inside = snapshot.inside.get(sandbox)
        if inside:
            third_party = snapshot.third_party_names(inside)
            problems += [
                _third_party_interface(each)
                for each in endpoints
                if each.endpoint_key not in blocked and each.interface in third_party and _stays_for(inside, each)
            ]
            stacks = {sandbox: inside, **snapshot.elsewhere}
            for each in endpoints:
                # A container may end meanwhile.
                with suppress(FileNotFoundError, ProcessLookupError):
                    _complete(each, stacks, ports, snapshot.sublinks, found, known)
    if problems:
        raise ConflictError(*problems)
    ends = (*(port.name for port in ports.values()), *(wanted[key].host_interface for key in blocked))
    return [*found.values(), *_left_overs(rates, {*snapshot.limited, *ends})]


def _left_overs(rates: Rates, in_use: Set[str]) -> Iterator[Endpoint]:
    """Endpoints of which only what limited their traffic is left, and whose ends on the host do not use it again."""
    for ifb in rates.without_port(in_use):
        container, network = endpoint_of(ifb) or (NOBODY, ifb.name)
        yield Endpoint(container, network, NO_SANDBOX, "", ifb.name, Port(""), mtu=ifb.mtu, mac="", addresses=())


def leave_default_routes(wanted: Wanted, snapshot: Snapshot) -> Iterator[Endpoint]:
    """The endpoints in third parties' sandboxes, without the default routes that third-party interfaces have there."""
    for endpoint in wanted.values():
        inside = snapshot.inside.get(endpoint.sandbox)
        if inside and endpoint.sandbox.is_third_party:
            taken = {
                route.destination
                for route in inside.routes
                if route.destination in _DEFAULT and snapshot.is_third_party(route.index, inside)
            }
            left = tuple(route for route in endpoint.routes if route.destination not in taken)
            yield replace(endpoint, routes=left)


def _ports(links: List[LinkInfo], wanted: Wanted) -> Ports:
    """The managed veths' ends on the host, by the endpoint."""
    by_interface = {endpoint.host_interface: key for key, endpoint in wanted.items()}

    def owner(link: LinkInfo) -> EndpointKey:
        return endpoint_of(link) or by_interface.get(link.name) or (NOBODY, link.name)

    return {owner(link): link for link in links if is_managed_port(link)}


def _without_port(wanted: Wanted, links: List[LinkInfo]) -> Iterator[Tuple[Endpoint, str]]:
    """The endpoints with a link on the host whose name a third-party link has, each with that name."""
    third_party = {link.name for link in links if not (is_managed_port(link) or is_managed_ifb(link))}
    for endpoint in wanted.values():
        yield from ((endpoint, name) for name in links_of(endpoint) if name in third_party)


def _by_sandbox(wanted: Wanted) -> Dict[SandboxRef, List[Endpoint]]:
    grouped = defaultdict(list)
    for endpoint in wanted.values():
        grouped[endpoint.sandbox].append(endpoint)
    return grouped


def _from_host_end(
    key: EndpointKey,
    sandbox: SandboxRef,
    port: LinkInfo,
    names: Dict[int, str],
    rates: Rates,
    vlans: Optional[Vlans],
) -> Endpoint:
    """What the end on the host shows of an endpoint. Its `sandbox` it does not show; without one, the endpoint differs
    from any wanted one.
    """
    return Endpoint(
        *key,
        sandbox=sandbox,
        interface="",
        host_interface=port.name,
        port=_port(port, names, vlans),
        mtu=port.mtu,
        mac="",
        addresses=(),
        ingress=rates.ingress(port),
        egress=rates.egress(port),
    )


def _from_sublink(key: EndpointKey, found: SublinkFound) -> Endpoint:
    """What the link shows of an endpoint: all but its addresses and routes."""
    info = found.link.sublink
    return Endpoint(
        *key,
        sandbox=found.sandbox,
        # Else the endpoint could be made again, without the addresses and routes that are not known.
        interface=found.link.name if found.stack.stable else "",
        host_interface="",
        port=Port(""),
        mtu=found.link.mtu,
        mac=found.link.mac,
        addresses=(),
        sublink=Sublink(found.link.kind, found.parent, info.mode, info.flag) if info else Sublink(),
    )


def _port(link: LinkInfo, names: Dict[int, str], vlans: Optional[Vlans]) -> Port:
    """A port that is down is on no network."""
    if link.port is None or not link.up:
        return Port("")
    return Port(names.get(link.master, ""), link.port.hairpin, link.port.isolated, vlans=vlans)


def _complete(
    wanted: Endpoint,
    stacks: Stacks,
    ports: Ports,
    sublinks: Mapping[EndpointKey, SublinkFound],
    found: Dict[EndpointKey, Endpoint],
    known: Known,
) -> None:
    """Complete an endpoint in `found` by its interface in that of the stacks in which it is."""
    key = wanted.endpoint_key
    port, sublink = ports.get(key), sublinks.get(key)
    for ref, stack in ((ref, stack) for ref, stack in stacks.items() if stack.stable):
        peer = _peer(stack, port) if port and port.group != UNDONE_PORTS else None
        if sublink and sublink.stack.identity == stack.identity:
            peer = sublink.link
        if peer:
            sysctls = _sysctls(ref, wanted, peer, known.get(wanted.name, {}))
            found[key] = _with_sandbox_end(found[key], ref, wanted, peer, stack, sysctls)
            return


def _with_sandbox_end(
    host_end: Endpoint,
    sandbox: SandboxRef,
    wanted: Endpoint,
    peer: LinkInfo,
    inside: Stack,
    sysctls: Iterable[Tuple[str, str]],
) -> Endpoint:
    # An interface that is down has no address or route in use.
    addresses = [info for info in inside.addresses if info.index == peer.index and peer.up]
    routes = [info for info in inside.routes if {*info.indexes} == {peer.index} and peer.up]
    return replace(
        host_end,
        sandbox=sandbox,
        interface=peer.name,
        port=host_end.port if host_end.mtu == peer.mtu else replace(host_end.port, mtu=host_end.mtu),
        mtu=peer.mtu,
        mac=peer.mac if wanted.mac else "",
        addresses=declared_addresses(wanted.addresses, addresses),
        routes=in_order_of(wanted.routes, declared_routes(wanted.routes, routes)),
        ipv6=peer.has_ipv6,
        sysctls=in_order_of(wanted.sysctls, sysctls),
    )


def _sysctls(
    sandbox: SandboxRef, wanted: Endpoint, peer: LinkInfo, known: Mapping[str, str]
) -> Sequence[Tuple[str, str]]:
    """The interface's parameters: those that are wanted, and those that are not given back.

    Most are those that every interface gets, and the kernel reports them with the link.
    """
    reported = {f"ipv6.{name}": value for name, value in peer.parameters6().items()}
    undeclared = parameters.undeclared(known, wanted.sysctls)
    if not undeclared and all(reported.get(key) == value for key, value in wanted.sysctls):
        return wanted.sysctls
    with namespaces.entered(sandbox_path(sandbox)):
        return [*proc_sys.observe(wanted.sysctls, peer.name), *_not_given_back(undeclared, peer)]


def _not_given_back(undeclared: Parameters, peer: LinkInfo) -> Iterable[Tuple[str, str]]:
    """The parameters that are no longer wanted, and differ from those of a new interface.

    Not `disable_ipv6`, which is the field `ipv6` of an endpoint.
    """
    for key, _before in undeclared:
        now = proc_sys.read(proc_sys.of_interface(peer.name, key))
        back = parameters.is_given_back(now, parameters.of_new_interface(key, peer.mtu))
        if now is not None and not back and key != parameters.DISABLE_IPV6:
            yield key, now


def _third_party_interface(endpoint: Endpoint) -> Problem:
    return Problem(
        endpoint.place,
        f"an interface {endpoint.interface} is in {sandbox_path(endpoint.sandbox)} that wharf.network does not manage: "
        "choose another interface_name",
    )
