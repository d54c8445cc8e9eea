# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host must let through for its networks: plan -> packets at the hooks that they come by. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ..declaration.model import ISOLATED, NAT_UNPROTECTED, Network
from ..declaration.section import Address
from ..planning.plan import Plan
from ..planning.publications import Publication, gateway_attachment
from ..planning.resolvers import DNS_PORT
from .rule_evaluation import Packet

# One packet: where it comes by, and its properties there.
Hop = Tuple[str, Packet]

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = "prerouting", "input", "forward", "output", "postrouting"
# The bridge family's, where frames pass from port to port.
BRIDGED = "bridge forward"

_Hops = List[Tuple[str, Dict[str, Any]]]

_NEW = {"state": "new", "direction": "original"}
# Of what is sent to any port, as an example.
_SOME_TCP = {"protocol": "tcp"}
_REPLY = {"state": "established", "direction": "reply"}


@dataclass(frozen=True)
class RequiredFlow:
    """Something that must pass, both ways: `what` of `whom`. `bridge` is that of the network it is for.

    `service` is the protocol and port of the host that is asked, if one is.
    """

    what: str
    whom: str
    bridge: str
    version: int
    hops: Tuple[Hop, ...]
    service: Optional[Tuple[str, int]] = None


def required_flows(plan: Plan, bridged: bool = False) -> Iterator[RequiredFlow]:
    """`bridged`: what containers of a network say to each other comes by the rules for IP, too."""
    for network in plan.model.networks.values():
        for version in plan.allotted.networks[network.name]:
            ways = _Ways(plan, network, version)
            forwarding = not network.internal and plan.model.host.ip_forward
            if network.gateway_mode(version) != ISOLATED:
                yield ways.from_host()
            if network.icc:
                yield ways.between_containers(bridged)
            if forwarding and network.gateway_mode(version) != ISOLATED:
                yield ways.to_outside()
            if forwarding and network.gateway_mode(version) == NAT_UNPROTECTED:
                yield ways.to_containers("what others send to containers' own addresses on network", {})
    for resolver in plan.resolvers.all:
        if resolver.is_networks_own:
            network = plan.model.networks[resolver.name]
            for protocol in ("udp", "tcp") if resolver.serves_dns else ():
                yield to_host(network, resolver.address.version, protocol, resolver.port, resolver.address)
            for version, port in network.services.ports:
                yield to_host(network, version, "udp", port)
    yield from _by_several_networks(plan)
    if plan.model.host.ip_forward:
        yield from _published(plan)
        yield from _directly(plan)


def _published(plan: Plan) -> Iterator[RequiredFlow]:
    ways: Dict[Tuple[str, int], Optional[_Ways]] = {}
    for publication in plan.publications:
        name, version = publication.container, publication.version
        if publication.allow_from == () or (publication.host_ip and publication.host_ip.is_loopback):
            continue
        if (name, version) not in ways:
            attachment = gateway_attachment(plan.model, plan.model.containers[name], version)
            network = plan.model.networks[attachment.network] if attachment else None
            ways[name, version] = _Ways(plan, network, version) if network else None
        way = ways[name, version]
        if way:
            yield way.to_published(publication)


def _by_several_networks(plan: Plan) -> Iterator[RequiredFlow]:
    """Containers that have another resolver than their network's own are led to its port."""
    led = {
        (assigned.attachment.network, assigned.resolver.address, assigned.resolver.port)
        for assigned in plan.resolvers.assignments.values()
        if not assigned.resolver.is_networks_own
    }
    for network, at, port in sorted(led, key=str):
        for protocol in ("udp", "tcp"):
            yield to_host(plan.model.networks[network], at.version, protocol, DNS_PORT, at, port)


def _directly(plan: Plan) -> Iterator[RequiredFlow]:
    """Published ports that are reached at the containers' own addresses."""
    for opening in plan.accepted_ports:
        container = plan.model.containers[opening.container]
        for attachment in container.attachments:
            endpoint = plan.allotted.endpoints[container.name, attachment.network]
            if endpoint.address(opening.version) == opening.address:
                ways = _Ways(plan, plan.model.networks[attachment.network], opening.version)
                known = {
                    "destination": opening.address,
                    "protocol": opening.protocol,
                    "destination port": opening.port,
                }
                whom = f"{opening.port}/{opening.protocol} of {container.name}"
                yield ways.to_containers("what others send to the container's own published port", known, whom)


def to_host(
    network: Network, version: int, protocol: str, port: int, gateway: Optional[Address] = None, led_to: int = 0
) -> RequiredFlow:
    """What the containers of a network ask of a service of the host, such as its DNS: `udp`, 53.

    `led_to` is another port, to which the rules lead what comes for this one.
    """
    there = {"in": network.bridge, "protocol": protocol, "destination": gateway, "destination type": "local"}
    back = {"out": network.bridge, "protocol": protocol, "source": gateway, "source port": led_to or port}
    flow = {"dnat": bool(led_to), "asked address": gateway, "asked port": port}
    return _passage(
        f"what containers ask of the host at {led_to or port}/{protocol}, of network",
        network.name,
        network.bridge,
        version,
        [
            (PREROUTING, {**_NEW, **there, "destination port": port}),
            (INPUT, {**_NEW, **there, **flow, "destination port": led_to or port}),
            (OUTPUT, {**_REPLY, **back, **flow}),
            (POSTROUTING, {**_REPLY, **back, **flow}),
        ],
        (protocol, led_to or port),
    )


class _Ways:
    """The ways to and from one network in one family. An uplink, address or port that is not given is not known."""

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
        return self._passage(
            "what the host sends to containers of network",
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
        return self._passage("what containers send to each other on network", hops)

    def to_outside(self) -> RequiredFlow:
        there = {**_SOME_TCP, "in": self._network.bridge, "source": self._address}
        back = {**_SOME_TCP, "in": self._uplink}
        out = {"out": self._uplink}
        home = {"out": self._network.bridge, "destination": self._address}
        return self._passage(
            "what containers send to the outside from network",
            [
                (PREROUTING, {**_NEW, **there, "destination type": "unicast"}),
                (FORWARD, {**_NEW, **there, **out}),
                (POSTROUTING, {**_NEW, **there, **out}),
                (PREROUTING, {**_REPLY, **back}),
                (FORWARD, {**_REPLY, **back, **home}),
                (POSTROUTING, {**_REPLY, **back, **home}),
            ],
        )

    def to_containers(self, what: str, known: Dict[str, Any], whom: str = "") -> RequiredFlow:
        """By their own addresses, from outside."""
        there = {**_SOME_TCP, "destination": self._address, **known}
        turned = (("destination", "source"), ("destination port", "source port"), ("protocol", "protocol"))
        back = {after: there[before] for before, after in turned if before in there}
        own = self._network.bridge
        return self._passage(
            what,
            [
                (PREROUTING, {**_NEW, **there, "in": self._uplink, "destination type": "unicast"}),
                (FORWARD, {**_NEW, **there, "in": self._uplink, "out": own}),
                (POSTROUTING, {**_NEW, **there, "in": self._uplink, "out": own}),
                (PREROUTING, {**_REPLY, **back, "in": own}),
                (FORWARD, {**_REPLY, **back, "in": own, "out": self._uplink}),
                (POSTROUTING, {**_REPLY, **back, "in": own, "out": self._uplink}),
            ],
            whom,
        )

    def to_published(self, port: Publication) -> RequiredFlow:
        of_flow = {
            "protocol": port.protocol,
            "dnat": True,
            "asked address": port.host_ip,
            "asked port": port.host_port,
        }
        outer = {"in": self._uplink, "destination": port.host_ip, "destination port": port.host_port}
        there: Dict[str, Any] = {"in": self._uplink, "out": self._network.bridge}
        there = {**there, "destination": port.address, "destination port": port.target_port}
        back = {"in": self._network.bridge, "source": port.address, "source port": port.target_port}
        asked, answered = {**of_flow, **_NEW}, {**of_flow, **_REPLY}
        return self._passage(
            "what others send to published port",
            [
                (PREROUTING, {**asked, "dnat": False, **outer, "destination type": "local"}),
                (FORWARD, {**asked, **there}),
                (POSTROUTING, {**asked, **there}),
                (PREROUTING, {**answered, **back}),
                (FORWARD, {**answered, **back, "out": self._uplink}),
                (POSTROUTING, {**answered, **back, "out": self._uplink}),
            ],
            f"{port.host_port}/{port.protocol} of {port.container}",
        )

    def _passage(self, what: str, hops: _Hops, whom: str = "") -> RequiredFlow:
        return _passage(what, whom or self._network.name, self._network.bridge, self._version, hops)


def _passage(
    what: str, whom: str, bridge: str, version: int, hops: _Hops, service: Optional[Tuple[str, int]] = None
) -> RequiredFlow:
    of_all = {"family": f"ipv{version}", "addressed": "host"}
    packets = tuple((hook, Packet({**of_all, **known})) for hook, known in hops)
    return RequiredFlow(what, whom, bridge, version, packets, service)
