# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be open and what closed on networks without a bridge, and what nobody here can tell. Pure."""

from __future__ import annotations

from typing import Iterator, Tuple

from ..declaration.drivers import BRIDGE_MODE, PRIVATE, SublinkDriver
from .probes import CLOSED, DISCARD, HOST, OPEN, PING, REACHED, TCP, Probe
from .topology import EndpointAddress, Topology

# A probe that is not sent, and why it would prove nothing.
Untried = Tuple[Probe, str]


def on_sublinks(topology: Topology) -> Iterator[Probe]:
    """Probes between containers of such a network, and between these and the host.

    The host and a container reach each other only where the parent's network has another way back to this host, as by a
    second link.
    """
    for endpoint, driver in _endpoints(topology):
        if _has_parent(topology, driver):
            neighbour = topology.neighbour(endpoint)
            if neighbour != endpoint and driver.among in (BRIDGE_MODE, PRIVATE):
                yield _between(endpoint, neighbour, OPEN if driver.among == BRIDGE_MODE else CLOSED)
            name = f"{endpoint.container.name} on {endpoint.network.name}, from the host"
            own = topology.plan.allotted.hosts.get(endpoint.network.name, ())
            if driver.host_access:
                yield Probe(HOST, str(endpoint.address), TCP, DISCARD, OPEN, name)
                for address in (each for each in own if each.version == endpoint.version):
                    told = f"the host's own address on {endpoint.network.name}"
                    yield Probe(endpoint.container.name, str(address), PING, expected=REACHED, name=told)
            elif _host_is_only_there(topology, endpoint, driver):
                yield Probe(HOST, str(endpoint.address), TCP, DISCARD, CLOSED, name)


def untried_on_sublinks(topology: Topology) -> Iterator[Untried]:
    """What is up to the network behind the parent."""
    seen = set()
    for endpoint, driver in _endpoints(topology):
        neighbour = topology.neighbour(endpoint)
        if not _has_parent(topology, driver):
            yield _between(endpoint, neighbour, OPEN), f"the parent {driver.parent} is not on this host"
            continue
        if neighbour != endpoint and driver.among not in (BRIDGE_MODE, PRIVATE):
            why = f"it is up to the switch behind {driver.parent}, which must send it back (vepa)"
            yield _between(endpoint, neighbour, OPEN), why
        key = endpoint.network.name, endpoint.version
        if key not in seen and not driver.is_isolated:
            seen.add(key)
            name = f"whom containers of {endpoint.network.name} reach beyond this host, and who reaches them"
            why = f"it is up to the network behind {driver.parent}: no rule of this host is on that way"
            yield Probe(endpoint.container.name, str(endpoint.gateway), PING, 0, OPEN, name), why


def _has_parent(topology: Topology, driver: SublinkDriver) -> bool:
    facts = topology.plan.facts
    return driver.is_isolated or facts.links is None or facts.link(driver.parent) is not None


def _between(endpoint: EndpointAddress, neighbour: EndpointAddress, expected: str) -> Probe:
    name = f"{neighbour.container.name}, on the same network"
    return Probe(endpoint.container.name, str(neighbour.address), TCP, DISCARD, expected, name)


def _endpoints(topology: Topology) -> Iterator[Tuple[EndpointAddress, SublinkDriver]]:
    for endpoint in topology.endpoints():
        if endpoint.network.sublinks:
            yield endpoint, endpoint.network.sublinks


def _host_is_only_there(topology: Topology, endpoint: EndpointAddress, driver: SublinkDriver) -> bool:
    """Whether the host is on the container's network by the parent, and by no other link."""
    links = topology.plan.facts.links or ()
    on_network = [link.name for link in links if any(endpoint.address in each.network for each in link.addresses)]
    return on_network == [driver.parent]
