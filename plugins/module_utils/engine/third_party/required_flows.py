# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flows that the host's firewalls must let through for its networks: plan -> packets at hooks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ..declaration.drivers import Member, OverlayDriver
from ..declaration.model import ISOLATED, NAT_UNPROTECTED, Network
from ..declaration.section import Address
from ..planning.overlays import link_to_others, overlays, tunnel_name, underlay_link
from ..planning.plan import Plan
from ..planning.publications import gateway_attachment
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
                yield flows.from_containers("packets to the outside from containers of network")
            if forwarding and network.gateway_mode(version) == NAT_UNPROTECTED:
                yield flows.to_containers("packets to containers' own addresses on network")
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
                yield flows.from_containers("packets to other hosts from containers of network", tunnel)
                yield flows.to_containers("packets from other hosts to containers of network", tunnel=tunnel)


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
    for each in plan.publications:
        attachment = gateway_attachment(plan.model, plan.model.containers[each.container], each.version)
        if attachment and each.allow_from != () and not (each.host_ip and each.host_ip.is_loopback):
            flows = _NetworkFlows(plan, plan.model.networks[attachment.network], each.version)
            asked = {"destination": each.host_ip, "destination port": each.host_port}
            target = {"destination": each.address, "destination port": each.target_port}
            subject = f"{each.host_port}/{each.protocol} of {each.container}"
            yield flows.to_published("packets to published port", subject, each.protocol, asked, target)


def _entries(plan: Plan) -> Iterator[RequiredFlow]:
    """What clients send to ports that are published for other hosts. Where the containers are, it is as any VXLAN."""
    for entry in plan.entries:
        flows = _NetworkFlows(plan, plan.model.networks[entry.network], entry.version)
        asked = {"destination": None, "destination port": entry.port.port}
        target = {"destination": entry.address, "destination port": entry.port.port}
        what, tunnel = "what others send to published port", tunnel_name(entry.network)
        subject = f"{entry.port} of {entry.port.container} on host {entry.host}"
        yield flows.to_published(what, subject, entry.port.protocol, asked, target, tunnel)


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


@dataclass(frozen=True)
class _NetworkFlows:
    """The flows of one network in one IP family. Properties that are not given are unknown."""

    plan: Plan
    network: Network
    version: int

    @property
    def _default_interface(self) -> Optional[str]:
        return self.plan.facts.default_interface or None

    @cached_property
    def _address(self) -> Optional[Address]:
        """That of a container."""
        endpoints = self.plan.allotted.endpoints.items()
        found = (each.address(self.version) for (_container, on), each in endpoints if on == self.network.name)
        return next((address for address in found if address), None)

    def from_host(self) -> RequiredFlow:
        there = {**_SOME_TCP, "out": self.network.bridge, "destination": self._address}
        back = {**_SOME_TCP, "in": self.network.bridge, "source": self._address}
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
        within = {**_SOME_TCP, "in bridge": self.network.bridge, "out bridge": self.network.bridge}
        hops = [(BRIDGED, {**_NEW, **within}), (BRIDGED, {**_REPLY, **within})]
        if bridged:
            own = {**_SOME_TCP, "in": self.network.bridge, "out": self.network.bridge}
            hops += [(FORWARD, {**_NEW, **own}), (FORWARD, {**_REPLY, **own})]
        return self._flow("packets between containers of network", hops)

    def from_containers(self, description: str, tunnel: str = "") -> RequiredFlow:
        """Flows to the outside, or to other hosts by a tunnel."""
        there = {**_NEW, **_SOME_TCP, "source": self._address}
        back = {**_REPLY, **_SOME_TCP, "destination": self._address}
        to = tunnel or self._default_interface
        packets = [
            *_forwarded(there, self.network.bridge, to, {"destination type": "unicast"}),
            # Before its translation is undone, a reply from the outside goes to an address of the host.
            *_forwarded(back, to, self.network.bridge, {} if tunnel else {"destination": None}),
        ]
        return self._flow(description, packets)

    def to_containers(
        self, description: str, known: Optional[Mapping[str, Any]] = None, subject: str = "", tunnel: str = ""
    ) -> RequiredFlow:
        """Flows from the outside, or from other hosts by a tunnel, to the containers' own addresses."""
        there = {**_SOME_TCP, "destination": self._address, **(known or {})}
        by = tunnel or self._default_interface
        packets = [
            *_forwarded({**_NEW, **there}, by, self.network.bridge, {"destination type": "unicast"}),
            *_forwarded({**_REPLY, **_turned(there)}, self.network.bridge, by),
        ]
        return self._flow(description, packets, subject)

    def to_published(
        self,
        description: str,
        subject: str,
        protocol: str,
        asked: Mapping[str, Any],
        target: Mapping[str, Any],
        tunnel: str = "",
    ) -> RequiredFlow:
        """Flows to a port of the host that is `asked` for, which leads to `target`, here or behind a tunnel."""
        of_flow = {"protocol": protocol, "dnat": True, **{f"original {key}": value for key, value in asked.items()}}
        untranslated = {**asked, "destination type": "local", "dnat": False}
        to = tunnel or self.network.bridge
        packets = [
            *_forwarded({**of_flow, **_NEW, **target}, self._default_interface, to, untranslated),
            *_forwarded({**of_flow, **_REPLY, **_turned(target)}, to, self._default_interface),
        ]
        return self._flow(description, packets, subject)

    def _flow(self, description: str, packets: _Packets, subject: str = "") -> RequiredFlow:
        return _flow(description, subject or self.network.name, self.network.bridge, self.version, packets)


def _turned(there: Mapping[str, Any]) -> Dict[str, Any]:
    """The properties that a reply has of these."""
    turned = {"destination": "source", "destination port": "source port", "protocol": "protocol"}
    return {turned[key]: value for key, value in there.items()}


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
