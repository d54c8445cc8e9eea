# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flows that the host's firewalls must let through for its networks: plan -> packets at hooks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ..declaration.drivers import Member, OverlayDriver
from ..declaration.model import ISOLATED, NAT_UNPROTECTED, Network
from ..declaration.section import Address
from ..planning.ingress import Entry
from ..planning.overlays import link_to_others, overlays, tunnel_name, underlay_link
from ..planning.plan import Plan
from ..planning.publications import Publication, gateway_attachment
from ..planning.resolvers import DNS_PORT
from .rule_evaluation import Packet

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = "prerouting", "input", "forward", "output", "postrouting"
# The hook forward of nft's bridge family, which frames pass from port to port.
BRIDGED = "bridge forward"

# Packets of a flow in order, each as its hook and its known properties there.
_Packets = List[Tuple[str, Dict[str, Any]]]

_NEW = {"state": "new", "direction": "original"}
# Stands for packets to any port.
_SOME_TCP = {"protocol": "tcp"}
_REPLY = {"state": "established", "direction": "reply"}


@dataclass(frozen=True)
class RequiredFlow:
    """A flow whose packets and replies must pass. `bridge` is that of its network, or the link that VXLAN or WireGuard
    comes by.

    Messages call it by `description` and `subject`, as in "packets from the host to containers of network" "app".
    `packets` are its packets, each with the hook that it passes. `service` is the protocol and port of the host that
    the flow is a request to, if it is one.
    """

    description: str
    subject: str
    bridge: str
    version: int
    packets: Tuple[Tuple[str, Packet], ...]
    service: Optional[Tuple[str, int]] = None


def required_flows(plan: Plan, bridged: bool = False) -> Iterator[RequiredFlow]:
    """The required flows of all networks. `bridged`: frames within a bridge pass the rules for IP (br_netfilter)."""
    for network in plan.model.bridged:
        for version in network.versions:
            flows = _NetworkFlows(plan, network, version)
            forwarding = not network.internal and plan.model.host.ip_forward
            if network.uplink:
                yield flows.between_containers(bridged)
                continue
            if network.gateway_mode(version) != ISOLATED:
                yield flows.from_host()
            if network.icc:
                yield flows.between_containers(bridged)
            if forwarding and network.gateway_mode(version) != ISOLATED:
                yield flows.to_outside()
            if forwarding and network.gateway_mode(version) == NAT_UNPROTECTED:
                yield flows.to_containers("packets to containers' own addresses on network", {})
    for resolver in plan.resolvers.all:
        if resolver.is_networks_own:
            network = plan.model.networks[resolver.name]
            for protocol in ("udp", "tcp") if resolver.serves_dns else ():
                yield to_host(network, resolver.address.version, protocol, resolver.port, resolver.address)
            for version, port in network.services.ports:
                yield to_host(network, version, "udp", port)
    yield from _redirected_queries(plan)
    yield from _between_hosts(plan)
    if plan.model.host.ip_forward:
        yield from _published(plan)
        yield from _entries(plan)
        yield from _directly(plan)


def _between_hosts(plan: Plan) -> Iterator[RequiredFlow]:
    """The VXLAN or WireGuard of other hosts, and what their containers and those of this host send to each other."""
    for network, driver in overlays(plan.model):
        tunnel = link_to_others(network)
        for peer in driver.peers[:1] if tunnel else ():
            yield _tunnelled(network, driver, peer, underlay_link(driver, plan.facts))
            for version in network.versions:
                flows = _NetworkFlows(plan, network, version)
                yield flows.to_other_hosts(tunnel)
                yield flows.from_other_hosts(tunnel)


def _tunnelled(network: Network, driver: OverlayDriver, peer: Member, link: str) -> RequiredFlow:
    """Each packet of VXLAN is one of a new flow to the firewall: answers come from another port than was asked. Of
    WireGuard the first one is, from whichever side it comes.
    """
    datagram = {"protocol": "udp", "destination port": driver.port}
    coming = {**_NEW, **datagram, "in": link or None, "source": peer.address, "destination": driver.own.address}
    going = {**_NEW, **datagram, "out": link or None, "source": driver.own.address, "destination": peer.address}
    return _flow(
        f"{'WireGuard' if driver.encrypted else 'VXLAN'} packets from other hosts for network",
        network.name,
        link or network.bridge,
        peer.address.version,
        [
            (PREROUTING, {**coming, "destination type": "local"}),
            (INPUT, {**coming, "destination type": "local"}),
            (OUTPUT, going),
            (POSTROUTING, going),
        ],
        ("udp", driver.port),
    )


def _published(plan: Plan) -> Iterator[RequiredFlow]:
    flows: Dict[Tuple[str, int], Optional[_NetworkFlows]] = {}
    for publication in plan.publications:
        name, version = publication.container, publication.version
        if publication.allow_from == () or (publication.host_ip and publication.host_ip.is_loopback):
            continue
        if (name, version) not in flows:
            attachment = gateway_attachment(plan.model, plan.model.containers[name], version)
            network = plan.model.networks[attachment.network] if attachment else None
            flows[name, version] = _NetworkFlows(plan, network, version) if network else None
        of_network = flows[name, version]
        if of_network:
            yield of_network.to_published(publication)


def _entries(plan: Plan) -> Iterator[RequiredFlow]:
    """What clients send to ports that are published for other hosts. Where the containers are, it is as any VXLAN."""
    for entry in plan.entries:
        flows = _NetworkFlows(plan, plan.model.networks[entry.network], entry.version)
        yield flows.to_entry(entry, tunnel_name(entry.network))


def _redirected_queries(plan: Plan) -> Iterator[RequiredFlow]:
    """DNS queries that the rules redirect to a resolver which is not the network's own."""
    redirected = {
        (assigned.attachment.network, assigned.resolver.address, assigned.resolver.port)
        for assigned in plan.resolvers.assignments.values()
        if not assigned.resolver.is_networks_own
    }
    for network, address, port in sorted(redirected, key=str):
        for protocol in ("udp", "tcp"):
            yield to_host(plan.model.networks[network], address.version, protocol, DNS_PORT, address, port)


def _directly(plan: Plan) -> Iterator[RequiredFlow]:
    """Flows to published ports at the containers' own addresses."""
    for accepted in plan.accepted_ports:
        container = plan.model.containers[accepted.container]
        for attachment in container.attachments:
            endpoint = plan.allotted.endpoints[container.name, attachment.network]
            if endpoint.address(accepted.version) == accepted.address:
                flows = _NetworkFlows(plan, plan.model.networks[attachment.network], accepted.version)
                known = {
                    "destination": accepted.address,
                    "protocol": accepted.protocol,
                    "destination port": accepted.port,
                }
                subject = f"{accepted.port}/{accepted.protocol} of {container.name}"
                yield flows.to_containers("packets to the container's own published port", known, subject)


def to_host(
    network: Network, version: int, protocol: str, port: int, gateway: Optional[Address] = None, redirected_to: int = 0
) -> RequiredFlow:
    """The requests of a network's containers to a service of the host, such as DNS: `udp`, 53.

    `redirected_to` is another port, to which the rules redirect them.
    """
    there = {"in": network.bridge, "protocol": protocol, "destination": gateway, "destination type": "local"}
    back = {"out": network.bridge, "protocol": protocol, "source": gateway, "source port": redirected_to or port}
    tracked = {"dnat": bool(redirected_to), "original destination": gateway, "original destination port": port}
    return _flow(
        f"what containers ask of the host at {redirected_to or port}/{protocol}, of network",
        network.name,
        network.bridge,
        version,
        [
            (PREROUTING, {**_NEW, **there, "destination port": port}),
            (INPUT, {**_NEW, **there, **tracked, "destination port": redirected_to or port}),
            (OUTPUT, {**_REPLY, **back, **tracked}),
            (POSTROUTING, {**_REPLY, **back, **tracked}),
        ],
        (protocol, redirected_to or port),
    )


class _NetworkFlows:
    """The flows of one network in one IP family. Properties that are not given are unknown."""

    def __init__(self, plan: Plan, network: Network, version: int) -> None:
        self._plan = plan
        self._network = network
        self._version = version
        self._uplink = plan.facts.uplink or None
        self._address = next(
            (
                endpoint.address(version)
                for (_container, on), endpoint in plan.allotted.endpoints.items()
                if on == network.name and endpoint.address(version)
            ),
            None,
        )

    def from_host(self) -> RequiredFlow:
        there = {**_SOME_TCP, "out": self._network.bridge, "destination": self._address}
        back = {**_SOME_TCP, "in": self._network.bridge, "source": self._address}
        return self._flow(
            "packets from the host to containers of network",
            [
                (OUTPUT, {**_NEW, **there}),
                (POSTROUTING, {**_NEW, **there}),
                (PREROUTING, {**_REPLY, **back, "destination type": "local"}),
                (INPUT, {**_REPLY, **back, "destination type": "local"}),
            ],
        )

    def between_containers(self, bridged: bool) -> RequiredFlow:
        within = {**_SOME_TCP, "in bridge": self._network.bridge, "out bridge": self._network.bridge}
        hops = [(BRIDGED, {**_NEW, **within}), (BRIDGED, {**_REPLY, **within})]
        if bridged:
            own = {**_SOME_TCP, "in": self._network.bridge, "out": self._network.bridge}
            hops += [(FORWARD, {**_NEW, **own}), (FORWARD, {**_REPLY, **own})]
        return self._flow("packets between containers of network", hops)

    def to_outside(self) -> RequiredFlow:
        there = {**_NEW, **_SOME_TCP, "source": self._address}
        back = {**_REPLY, **_SOME_TCP, "destination": self._address}
        return self._flow(
            "packets to the outside from containers of network",
            [
                *_forwarded(there, self._network.bridge, self._uplink, {"destination type": "unicast"}),
                # Before its translation is undone, a reply goes to an address of the host.
                *_forwarded(back, self._uplink, self._network.bridge, {"destination": None}),
            ],
        )

    def to_other_hosts(self, tunnel: str) -> RequiredFlow:
        there, back = {**_NEW, **_SOME_TCP, "source": self._address}, {**_REPLY, **_SOME_TCP}
        packets = [
            *_forwarded(there, self._network.bridge, tunnel, {"destination type": "unicast"}),
            *_forwarded({**back, "destination": self._address}, tunnel, self._network.bridge),
        ]
        return self._flow("packets to other hosts from containers of network", packets)

    def from_other_hosts(self, tunnel: str) -> RequiredFlow:
        there, back = {**_NEW, **_SOME_TCP, "destination": self._address}, {**_REPLY, **_SOME_TCP}
        packets = [
            *_forwarded(there, tunnel, self._network.bridge, {"destination type": "unicast"}),
            *_forwarded({**back, "source": self._address}, self._network.bridge, tunnel),
        ]
        return self._flow("packets from other hosts to containers of network", packets)

    def to_containers(self, description: str, known: Dict[str, Any], subject: str = "") -> RequiredFlow:
        """Flows from outside to the containers' own addresses."""
        there = {**_SOME_TCP, "destination": self._address, **known}
        turned = (("destination", "source"), ("destination port", "source port"), ("protocol", "protocol"))
        back = {after: there[before] for before, after in turned if before in there}
        packets = [
            *_forwarded({**_NEW, **there}, self._uplink, self._network.bridge, {"destination type": "unicast"}),
            *_forwarded({**_REPLY, **back}, self._network.bridge, self._uplink),
        ]
        return self._flow(description, packets, subject)

    def to_published(self, port: Publication) -> RequiredFlow:
        of_flow = {
            "protocol": port.protocol,
            "dnat": True,
            "original destination": port.host_ip,
            "original destination port": port.host_port,
        }
        untranslated = {"destination": port.host_ip, "destination port": port.host_port, "destination type": "local"}
        there = {**of_flow, **_NEW, "destination": port.address, "destination port": port.target_port}
        back = {**of_flow, **_REPLY, "source": port.address, "source port": port.target_port}
        packets = [
            *_forwarded(there, self._uplink, self._network.bridge, {**untranslated, "dnat": False}),
            *_forwarded(back, self._network.bridge, self._uplink),
        ]
        subject = f"{port.host_port}/{port.protocol} of {port.container}"
        return self._flow("packets to published port", packets, subject)

    def to_entry(self, entry: Entry, tunnel: str) -> RequiredFlow:
        protocol, port = entry.port.protocol, entry.port.port
        of_flow = {"protocol": protocol, "dnat": True, "original destination port": port}
        there = {**of_flow, **_NEW, "destination": entry.address, "destination port": port}
        untranslated = {"destination": None, "destination port": port, "destination type": "local", "dnat": False}
        packets = [
            *_forwarded(there, self._uplink, tunnel, untranslated),
            *_forwarded({**of_flow, **_REPLY, "source": entry.address, "source port": port}, tunnel, self._uplink),
        ]
        subject = f"{entry.port} of {entry.port.container} on host {entry.host}"
        return self._flow("what others send to published port", packets, subject)

    def _flow(self, description: str, packets: _Packets, subject: str = "") -> RequiredFlow:
        return _flow(description, subject or self._network.name, self._network.bridge, self._version, packets)


def _forwarded(
    known: Mapping[str, Any], by: Optional[str], to: Optional[str], at_first: Optional[Mapping[str, Any]] = None
) -> _Packets:
    """A packet that is forwarded from one interface to another. `at_first` are its properties before translation."""
    first = (PREROUTING, {**known, "in": by, **(at_first or {})})
    return [first, *((hook, {**known, "in": by, "out": to}) for hook in (FORWARD, POSTROUTING))]


def _flow(
    description: str,
    subject: str,
    bridge: str,
    version: int,
    packets: _Packets,
    service: Optional[Tuple[str, int]] = None,
) -> RequiredFlow:
    of_all = {"family": f"ipv{version}", "packet type": "host"}
    at_hooks = tuple((hook, Packet({**of_all, **known})) for hook, known in packets)
    return RequiredFlow(description, subject, bridge, version, at_hooks, service)
