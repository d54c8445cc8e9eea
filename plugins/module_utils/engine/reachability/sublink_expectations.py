# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be open and what closed on networks with a parent, and what cannot be known here. Pure."""

from __future__ import annotations

from typing import Iterator, Tuple

from ..declaration.drivers import BRIDGE_MODE, PRIVATE
from ..declaration.model import Network
from .probes import CLOSED, DISCARD, HOST, OPEN, PING, REACHED, TCP, Probe
from .topology import EndpointAddress, Topology

# A probe that is not sent, and why it would prove nothing.
Untried = Tuple[Probe, str]


def on_sublinks(topology: Topology) -> Iterator[Probe]:
    """Probes between containers of such a network, and between these and the host.

    Of a bridge with an uplink nothing is known of the host: it is on that LAN by another link, or not at all.

    The host and a container reach each other only where the parent's network has another way back to this host, as by a
    second link.
    """
    for endpoint in _endpoints(topology):
        driver, neighbour = endpoint.network.sublinks, topology.neighbour(endpoint)
        if driver is None:
            if neighbour != endpoint:
                yield _between(endpoint, neighbour, OPEN if endpoint.network.icc else CLOSED)
        elif _has_parent(topology, endpoint.network):
            if neighbour != endpoint and driver.among in (BRIDGE_MODE, PRIVATE):
                yield _between(endpoint, neighbour, OPEN if driver.among == BRIDGE_MODE else CLOSED)
            name = f"{endpoint.container.name} on {endpoint.network.name}, from the host"
            own = topology.plan.allotted.hosts.get(endpoint.network.name, ())
            if driver.host_access:
                yield Probe(HOST, str(endpoint.address), TCP, DISCARD, OPEN, name)
                for address in (each for each in own if each.version == endpoint.version):
                    described = f"the host's own address on {endpoint.network.name}"
                    yield Probe(endpoint.container.name, str(address), PING, expected=REACHED, name=described)
            elif _host_is_only_there(topology, endpoint):
                yield Probe(HOST, str(endpoint.address), TCP, DISCARD, CLOSED, name)


def untried_on_sublinks(topology: Topology) -> Iterator[Untried]:
    """What is expected as well, and is up to the network behind the parent, each with the reason."""
    seen = set()
    for endpoint in _endpoints(topology):
        driver, parent, neighbour = endpoint.network.sublinks, endpoint.network.parent, topology.neighbour(endpoint)
        if driver and not _has_parent(topology, endpoint.network):
            yield _between(endpoint, neighbour, OPEN), f"the parent {parent} is not on this host"
            continue
        if driver and neighbour != endpoint and driver.among not in (BRIDGE_MODE, PRIVATE):
            why = f"it is up to the switch behind {parent}, which must send it back (vepa)"
            yield _between(endpoint, neighbour, OPEN), why
        key = endpoint.network.name, endpoint.version
        if key not in seen and not (driver and driver.is_isolated):
            seen.add(key)
            name = f"packets between containers of {endpoint.network.name} and other hosts"
            why = f"it is up to the network behind {parent}: no rule of this host is on that way"
            yield Probe(endpoint.container.name, str(endpoint.gateway), PING, 0, OPEN, name), why


def _has_parent(topology: Topology, network: Network) -> bool:
    facts, is_isolated = topology.plan.facts, network.sublinks is not None and network.sublinks.is_isolated
    return is_isolated or facts.links is None or facts.link(network.parent) is not None


def _between(endpoint: EndpointAddress, neighbour: EndpointAddress, expected: str) -> Probe:
    name = f"{neighbour.container.name}, on the same network"
    return Probe(endpoint.container.name, str(neighbour.address), TCP, DISCARD, expected, name)


def _endpoints(topology: Topology) -> Iterator[EndpointAddress]:
    return (endpoint for endpoint in topology.endpoints() if endpoint.network.bypasses_host)


def _host_is_only_there(topology: Topology, endpoint: EndpointAddress) -> bool:
    """Whether the host is on the container's network by the parent, and by no other link."""
    links = topology.plan.facts.links or ()
    on_network = [link.name for link in links if any(endpoint.address in each.network for each in link.addresses)]
    return on_network == [endpoint.network.parent]
