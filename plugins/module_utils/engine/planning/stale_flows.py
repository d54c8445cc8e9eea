# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flows go on although the rules would no longer let them begin.

The first packet of a flow decides how all its packets are translated. So after a port is published, withdrawn or
moved, its old flows would go on as before; those of UDP for as long as somebody sends. And what is established, passes.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Collection, Iterator

from ..declaration.section import Address, Subnet
from ..kernel.conntrack import Flow
from .reach import Port, PortOfFamily, Reach, Surroundings
from .resolvers import DNS_PORT, FIRST_PORT, LAST_PORT

_PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", socket.IPPROTO_SCTP: "sctp"}
_IPV6_LOOPBACK = ipaddress.IPv6Address("::1")


class StaleFlows:
    """Tells the stale flows from others.

    `changed` are the ports that lead elsewhere than before, or are for others. `lost`: rules were missing for a while,
    so that flows may have begun in any way. `local` are the host's own addresses.
    """

    def __init__(self, changed: Collection[Port], lost: bool, reach: Reach, local: Collection[Address]) -> None:
        self._changed = frozenset(changed)
        self._numbers = {(port.protocol, port.number) for port in changed}
        self._lost = lost
        self._reach = reach
        self._local = frozenset(local)

    def __contains__(self, flow: Flow) -> bool:
        protocol = _PROTOCOLS.get(flow.protocol)
        if not protocol or not ((protocol, flow.port) in self._numbers or (self._lost and flow.is_translated)):
            return False
        asked = ipaddress.ip_address(flow.address)
        own, every = Port(asked, protocol, flow.port), Port(None, protocol, flow.port)
        if not self._is_local(asked):
            return own in self._changed and not self._may_come(flow, asked, own)
        is_changed = bool(self._changed & {own, every})
        if asked != _IPV6_LOOPBACK:
            for port in ((asked.version, every), (asked.version, own)):
                if port in self._reach.published:
                    return is_changed and self._contradicts(flow, port)
        answering = ipaddress.ip_address(flow.answering)
        is_left = is_changed or (self._lost and any(self._around(answering)))
        return flow.is_translated and is_left and not _is_question(flow)

    def _contradicts(self, flow: Flow, port: PortOfFamily) -> bool:
        """Whether a flow to a published port leads elsewhere, or its sender may not use the port."""
        answering = ipaddress.ip_address(flow.answering)
        if self._reach.published[port] != (answering, flow.answering_port):
            return not _is_question(flow)
        return port in self._reach.restricted and not self._is_for(flow, answering, self._reach.restricted[port])

    def _may_come(self, flow: Flow, container: Address, port: Port) -> bool:
        """Whether the sender of a flow may use a port of the container's own address."""
        allowed = self._reach.restricted.get((container.version, port))
        is_open = port in self._reach.opened or any(each.unprotected for each in self._around(container))
        return True if allowed is None and is_open else self._is_for(flow, container, allowed or ())

    def _is_for(self, flow: Flow, container: Address, allowed: Collection[Subnet]) -> bool:
        """The host itself, and neighbours on a network whose containers reach each other, are never kept out."""
        source = ipaddress.ip_address(flow.source)
        near = (each.subnet for each in self._around(container) if each.mutual)
        return self._is_local(source) or any(source in subnet for subnet in (*allowed, *near))

    def _around(self, address: Address) -> Iterator[Surroundings]:
        return (each for each in self._reach.networks if address in each.subnet)

    def _is_local(self, address: Address) -> bool:
        return address in self._local or address.is_loopback


def _is_question(flow: Flow) -> bool:
    """Whether the flow is led to a network's resolver, which comes before anything that is published."""
    to_resolver = FIRST_PORT <= flow.answering_port <= LAST_PORT
    return flow.port == DNS_PORT and flow.answering == flow.address and to_resolver
