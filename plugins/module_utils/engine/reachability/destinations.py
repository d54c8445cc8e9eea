# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where probes arrive: which container and port a packet to an address and port leads to. Pure."""

from __future__ import annotations

import ipaddress
from typing import Iterable, Optional, Tuple

from ..declaration.model import HOST_MODE
from ..planning.plan import Plan
from .probes import HOST, Probe
from .topology import LOOPBACK, PublishedPorts


class Destinations:
    """Where probes arrive; `host_addresses` are all addresses of the host but loopback's."""

    def __init__(self, plan: Plan, host_addresses: Iterable[str]) -> None:
        self._plan = plan
        self._host_addresses = frozenset(host_addresses)
        self._published = PublishedPorts(plan.publications)
        self._endpoints = {
            str(address): endpoint
            for endpoint, allotted in plan.allotted.endpoints.items()
            for address in (allotted.ipv4, allotted.ipv6)
        }

    def of(self, probe: Probe) -> Optional[Tuple[str, int]]:
        """The container and its port to which a probe leads, if it leads to a container."""
        if probe.address in self._endpoints:
            return self._endpoints[probe.address][0], probe.port
        address = ipaddress.ip_address(probe.address)
        on_host = address.is_loopback if self._is_on_host(probe.source) else False
        if address == LOOPBACK[6] or not (on_host or probe.address in self._host_addresses):
            return None
        published = self._published.at(probe.protocol, address, probe.port)
        return (published.container, published.target_port) if published else None

    def is_near(self, probe: Probe) -> bool:
        """Whether a container probes another one at its address on a network that both are on."""
        source = self._plan.model.containers.get(probe.source)
        if source is None or probe.address not in self._endpoints:
            return False
        _container, network = self._endpoints[probe.address]
        return any(a.network == network for a in self._plan.model.owner_of_stack(source).attachments)

    def _is_on_host(self, source: str) -> bool:
        """Whether the source is the host, or a container in network_mode host."""
        if source == HOST:
            return True
        container = self._plan.model.containers.get(source)
        return container is not None and self._plan.model.owner_of_stack(container).mode == HOST_MODE
