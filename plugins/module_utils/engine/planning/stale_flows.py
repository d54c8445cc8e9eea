# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tracked flows are stale: they would continue although the rules would no longer let them begin.

Connection tracking translates all packets of a flow like its first one, and the rules accept established flows. So
after a port is published, withdrawn or moved, its old flows would continue as before; a UDP flow for as long as its
client sends.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Collection, Iterator

from ..declaration.section import Address, Subnet
from ..kernel.conntrack import Flow
from .reach import AddressPort, NetworkSubnets, PortOfFamily, Reach, StalePorts
from .resolvers import DNS_PORT, FIRST_PORT, LAST_PORT

_PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", socket.IPPROTO_SCTP: "sctp"}
_IPV6_LOOPBACK = ipaddress.IPv6Address("::1")


class StaleFlows:
    """The stale flows, as a set to test flows against.

    `stale` are the ports that lead elsewhere than before, or whose sources changed. `local` are the host's own
    addresses.
    """

    def __init__(self, stale: StalePorts, reach: Reach, local: Collection[Address]) -> None:
        self._changed = stale.ports
        self._numbers = {(port.protocol, port.number) for port in stale.ports}
        self._lost = stale.lost
        self._reach = reach
        self._local = frozenset(local)

    def __contains__(self, flow: Flow) -> bool:
        protocol = _PROTOCOLS.get(flow.protocol)
        if not protocol or not ((protocol, flow.port) in self._numbers or (self._lost and flow.is_translated)):
            return False
        asked = ipaddress.ip_address(flow.address)
        own, every = AddressPort(asked, protocol, flow.port), AddressPort(None, protocol, flow.port)
        if not self._is_local(asked):
            return own in self._changed and not self._is_accepted(flow, asked, own)
        is_changed = bool(self._changed & {own, every})
        if asked != _IPV6_LOOPBACK:
            for port in ((asked.version, every), (asked.version, own)):
                if port in self._reach.published:
                    return is_changed and self._contradicts(flow, port)
        answering = ipaddress.ip_address(flow.answering)
        was_published = is_changed or (self._lost and any(self._networks_of(answering)))
        return flow.is_translated and was_published and not _is_dns_query(flow)

    def _contradicts(self, flow: Flow, port: PortOfFamily) -> bool:
        """Whether a flow to a published port leads elsewhere, or its sender may not use the port."""
        answering = ipaddress.ip_address(flow.answering)
        if self._reach.published[port] != (answering, flow.answering_port):
            return not _is_dns_query(flow)
        return port in self._reach.restricted and not self._is_allowed(flow, answering, self._reach.restricted[port])

    def _is_accepted(self, flow: Flow, container: Address, port: AddressPort) -> bool:
        """Whether the sender of a flow may use a port of the container's own address."""
        allowed = self._reach.restricted.get((container.version, port))
        is_open = port in self._reach.opened or any(each.unprotected for each in self._networks_of(container))
        return True if allowed is None and is_open else self._is_allowed(flow, container, allowed or ())

    def _is_allowed(self, flow: Flow, container: Address, allowed: Collection[Subnet]) -> bool:
        """Whether the sender is one of the allowed sources, the host itself, or on the container's own network."""
        source = ipaddress.ip_address(flow.source)
        neighbours = (subnet for each in self._networks_of(container) if each.icc for subnet in each.subnets)
        return self._is_local(source) or any(source in subnet for subnet in (*allowed, *neighbours))

    def _networks_of(self, address: Address) -> Iterator[NetworkSubnets]:
        return (each for each in self._reach.networks if any(address in subnet for subnet in each.subnets))

    def _is_local(self, address: Address) -> bool:
        return address in self._local or address.is_loopback


def _is_dns_query(flow: Flow) -> bool:
    """Whether the rules redirected the flow to a resolver. That redirect takes precedence over published ports."""
    to_resolver = FIRST_PORT <= flow.answering_port <= LAST_PORT
    return flow.port == DNS_PORT and flow.answering == flow.address and to_resolver
