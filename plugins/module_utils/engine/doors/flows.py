# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flows go on as the rules do not have it any more.

The first packet of a flow decides how all its packets are translated. So after a port is published, withdrawn or
moved, its old flows would go on as before; those of UDP for as long as somebody sends. And what is established, passes.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from typing import Collection, Dict, FrozenSet, Iterable, Iterator, List, Optional, Set, Tuple

from ..declaration.words import Address, Subnet
from ..errors import ApplyError
from ..kernel import rtnetlink
from ..planning.publications import OpenPort, Restriction, Translation, Vicinity
from ..planning.resolvers import DNS_PORT, FIRST_PORT, LAST_PORT
from ..state import IptablesRules, Object, Rules
from . import conntrack
from .conntrack import Flow

_PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", socket.IPPROTO_SCTP: "sctp"}
_IPV6_LOOPBACK = ipaddress.IPv6Address("::1")
_TRACKING = "/proc/sys/net/netfilter/nf_conntrack_count"

# The family, and a way: as that of an open port, with the address empty for every one of the host.
_Way = Tuple[int, OpenPort]

# In place of ways: rules were lost, and nobody knows by which ways containers were reached before.
LOST = "*"


@dataclass(frozen=True)
class Reach:
    """By which ways containers are reached, as either backend's rules have it."""

    translations: FrozenSet[Translation] = frozenset()
    restrictions: FrozenSet[Restriction] = frozenset()
    open_ports: FrozenSet[OpenPort] = frozenset()
    vicinities: FrozenSet[Vicinity] = frozenset()


def reach_of(things: Iterable[Optional[Object]]) -> Reach:
    """The ways that all of these together make."""
    translated: Set[Translation] = set()
    restricted: Set[Restriction] = set()
    opened: Set[OpenPort] = set()
    around: Set[Vicinity] = set()
    for thing in things:
        if isinstance(thing, IptablesRules):
            from ..rules.rules_iptables import open_ports, restrictions, translations, vicinities
        elif isinstance(thing, Rules):
            from ..rules.rules_nftables import open_ports, restrictions, translations, vicinities
        else:
            continue
        translated.update(translations(thing.elements))
        restricted.update(restrictions(thing.elements))
        opened.update(open_ports(thing.elements))
        around.update(vicinities(thing.elements))
    return Reach(frozenset(translated), frozenset(restricted), frozenset(opened), frozenset(around))


def ways_changed(before: Reach, after: Reach) -> Set[str]:
    """The ways that lead elsewhere now, or nowhere, or not for all for whom they did, as the ledger keeps them."""
    moved = {(each.host_ip, each.protocol, each.port) for each in before.translations ^ after.translations}
    narrowed = {(each.address, each.protocol, each.port) for each in after.restrictions - before.restrictions}
    closed = before.open_ports - after.open_ports
    return {f"{address or '*'} {protocol} {port}" for address, protocol, port in moved | narrowed | closed}


def forget_stale(ways: Collection[str], reach: Reach) -> None:
    """Forget the flows that came by one of these ways and could not come so any more.

    Raises:
        ApplyError: the kernel refused.
    """
    try:
        local = [ipaddress.ip_interface(each.address).ip for each in rtnetlink.addresses()]
        conntrack.forget(_Judge(ways, reach, local).is_stale)
    except OSError as error:
        # Without connection tracking in the kernel there are no flows, and nobody to ask for them.
        if os.path.exists(_TRACKING):
            raise ApplyError(f"connection tracking forgets no flows: {error.strerror}") from error


@dataclass(frozen=True)
class _Network:
    """`is_mutual`: its containers reach each other. `is_open`: whoever comes, reaches what is not restricted."""

    subnet: Subnet
    is_mutual: bool
    is_open: bool


def _networks(said: Collection[Vicinity]) -> Iterator[_Network]:
    mutual = {each.bridge for each in said if each.is_mutual}
    opened = {(each.bridge, each.open_version) for each in said}
    for each in said:
        if each.subnet:
            subnet = ipaddress.ip_network(each.subnet)
            yield _Network(subnet, each.bridge in mutual, (each.bridge, subnet.version) in opened)


class _Judge:
    """Tells by the rules which flows are stale."""

    def __init__(self, ways: Collection[str], reach: Reach, local: Collection[Address]) -> None:
        self._ways = {_way(each) for each in ways if each != LOST}
        self._ports = {(protocol, port) for _address, protocol, port in self._ways}
        self._has_lost = LOST in ways
        self._local = frozenset(local)
        self._open_ports = reach.open_ports
        self._networks = [*_networks(reach.vicinities)]
        self._targets: Dict[_Way, Tuple[Address, int]] = {}
        for each in reach.translations:
            address, port = each.target.split(" ")
            target = ipaddress.ip_address(address)
            self._targets[target.version, (each.host_ip, each.protocol, each.port)] = target, int(port)
        self._allowed: Dict[_Way, List[Subnet]] = {
            (ipaddress.ip_address(each.target).version, (each.address, each.protocol, each.port)): [
                ipaddress.ip_network(source) for source in each.allowed
            ]
            for each in reach.restrictions
        }

    def is_stale(self, flow: Flow) -> bool:
        protocol = _PROTOCOLS.get(flow.protocol)
        if not protocol or not ((protocol, flow.port) in self._ports or (self._has_lost and flow.is_translated)):
            return False
        asked = ipaddress.ip_address(flow.address)
        own, every = (str(asked), protocol, flow.port), ("", protocol, flow.port)
        if not self._is_local(asked):
            return own in self._ways and not self._may_come(flow, asked, own)
        is_suspect = bool(self._ways & {own, every})
        published = [] if asked == _IPV6_LOOPBACK else [(asked.version, way) for way in (every, own)]
        for way in published:
            if way in self._targets:
                return is_suspect and self._contradicts(flow, way)
        answering = ipaddress.ip_address(flow.answering)
        is_left = is_suspect or (self._has_lost and any(self._around(answering)))
        return flow.is_translated and is_left and not _is_question(flow)

    def _contradicts(self, flow: Flow, way: _Way) -> bool:
        """Whether a flow to a published port leads elsewhere, or its sender may not come."""
        answering = ipaddress.ip_address(flow.answering)
        if self._targets[way] != (answering, flow.answering_port):
            return not _is_question(flow)
        return way in self._allowed and not self._is_for(flow, answering, self._allowed[way])

    def _may_come(self, flow: Flow, container: Address, way: OpenPort) -> bool:
        """Whether the sender of a flow reaches a container's own address so."""
        allowed = self._allowed.get((container.version, way))
        if allowed is None and (way in self._open_ports or any(each.is_open for each in self._around(container))):
            return True
        return self._is_for(flow, container, allowed or ())

    def _is_for(self, flow: Flow, container: Address, allowed: Collection[Subnet]) -> bool:
        """The host itself, and who is on the container's own network and may speak to it, are no strangers."""
        source = ipaddress.ip_address(flow.source)
        near = (each.subnet for each in self._around(container) if each.is_mutual)
        return self._is_local(source) or any(source in subnet for subnet in (*allowed, *near))

    def _around(self, address: Address) -> Iterator[_Network]:
        return (each for each in self._networks if address in each.subnet)

    def _is_local(self, address: Address) -> bool:
        return address in self._local or address.is_loopback


def _is_question(flow: Flow) -> bool:
    """Whether it is led to a network's resolver, which comes before anything that is published."""
    to_resolver = FIRST_PORT <= flow.answering_port <= LAST_PORT
    return flow.port == DNS_PORT and flow.answering == flow.address and to_resolver


def _way(text: str) -> OpenPort:
    address, protocol, port = text.split(" ")
    return "" if address == "*" else address, protocol, int(port)
