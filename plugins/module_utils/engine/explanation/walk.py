# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks a packet, and its answer, by what stands in the kernel: routes, bridges, rules and NAT of each network stack.

It is walked once for each case of what cannot be known (`choices`). What keeps the packet from going on is raised.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ..kernel.proc_sys import of_interface
from ..kernel.rtnetlink import LinkInfo, Way
from ..third_party.nft_rules import TcpFlags
from ..third_party.required_flows import FORWARD, INPUT, OUTPUT, POSTROUTING, PREROUTING
from ..third_party.rule_evaluation import DROP, Packet, Rule, SomeAddress, Translation
from ..third_party.rule_evaluation import End as RuleEnd
from .choices import Choices
from .headers import PING, TCP, UDP, Connection, Header
from .headers import End as AddressEnd
from .stacks import LOOPBACK, NAT_PRIORITIES, Base, Stack, Stacks

# What keeps a packet from going on.
ABSENT, NO_WAY, NOT_TAKEN, NOT_FORWARDED, RULE = "absent", "no way", "not taken", "not forwarded", "rule"
ISOLATED_PORT, NOBODY, DOWN, NOT_LISTENED = "isolated port", "nobody", "link down", "nobody listens"
SILENT, LOST_ANSWER, MISSED = "silent", "lost answer", "missed"
PRIVATE_LINK, OWN_PARENT, OTHER_VLAN = "private link", "own parent", "other VLAN"

_TRACKING = -200
_PROTOCOLS = {(PING, 4): "icmp", (PING, 6): "ipv6-icmp"}
_MULTICAST, _LOCAL, _UNICAST = "multicast", "local", "unicast"


@dataclass(frozen=True)
class Step:
    """One thing that happens to the packet, in a stack. `passes` is None where that is not known.

    Where a rule does it, `base` and `end` say which one, and `header` is the packet behind it.
    """

    stack: str
    what: str
    passes: Optional[bool] = True
    hook: str = ""
    base: Optional[Base] = None
    end: Optional[RuleEnd] = None
    header: Optional[Header] = None
    incoming: str = ""
    outgoing: str = ""
    answer: bool = False


@dataclass(frozen=True)
class Cause:
    """What keeps a packet from going on: of the kind `kind`, in a stack, between these links of it."""

    kind: str
    stack: str
    header: Header
    incoming: str = ""
    outgoing: str = ""
    step: Optional[Step] = None


class Stopped(Exception):
    """The packet goes no further."""

    def __init__(self, cause: Cause, what: str) -> None:
        super().__init__(what)
        self.cause = cause


@dataclass(frozen=True)
class Arrival:
    """Where a packet is delivered; `stack` is None beyond the host, which it leaves by `link`."""

    stack: Optional[Stack]
    header: Header
    link: LinkInfo


@dataclass(frozen=True)
class Port:
    """A port of a bridge, with the container's stack behind it and the interface there; None for a third party's."""

    link: LinkInfo
    stack: Optional[Stack] = None
    interface: Optional[LinkInfo] = None


# A stack, and its interface on a bridge; None for those of a third party.
Neighbour = Tuple[Optional[Stack], Optional[LinkInfo]]


@dataclass
class Walk:
    """One way, in one case. `ports` are those of each bridge of the host, by its index. `on_parents` are the containers
    that have links on a link of the host, by its index.
    """

    stacks: Stacks
    ports: Dict[int, List[Tuple[LinkInfo, str]]]
    on_parents: Dict[int, List[str]]
    choices: Choices
    steps: List[Step] = field(default_factory=list)
    _connections: Dict[str, List[Connection]] = field(default_factory=dict)
    # That of the packet in the stack where it is; None if it is not known.
    _mark: Optional[int] = 0
    # Whether its connection is not tracked in a stack; None if it is not known.
    _untracked: Dict[str, Optional[bool]] = field(default_factory=dict)

    # Sending

    def send(self, stack: Stack, header: Header) -> Arrival:
        """Send a packet of the stack's own.

        Raises:
            Stopped: it does not arrive.
        """
        self._mark = 0
        way = self._way(stack, header, header.source)
        if header.source is None:
            header = replace(header, source=ipaddress.ip_address(way.source) if way.source else None)
        sent = header
        header = self._pass(stack, OUTPUT, header, outgoing=stack.links[way.index])
        if header.destination != sent.destination:
            way = self._way(stack, header, header.source)
        out = stack.links[way.index]
        if not way.local:
            by = f", gateway {way.gateway}" if way.gateway else ""
            self._note(stack, f"{stack.called} sends from {header.source} by {out.name}{by}", header)
        return self._leave(stack, header, way, None)

    def _way(self, stack: Stack, header: Header, source: Optional[AddressEnd]) -> Way:
        try:
            return stack.way(header.destination, source)
        except OSError as error:
            reason = f"{stack.called} has no route to {header.destination} ({(error.strerror or str(error)).lower()})"
            raise self._stopped(NO_WAY, stack, header, reason) from error

    def _leave(self, stack: Stack, header: Header, way: Way, incoming: Optional[LinkInfo]) -> Arrival:
        out = stack.links[way.index]
        header = self._pass(stack, POSTROUTING, header, incoming, out, way)
        if out.name == LOOPBACK:
            return self.receive(stack, out, header)
        next_hop = ipaddress.ip_address(way.gateway) if way.gateway else header.destination
        return self._transmit(stack, out, next_hop, header)

    def _transmit(self, stack: Stack, out: LinkInfo, next_hop: AddressEnd, header: Header) -> Arrival:
        if not out.up:
            raise self._stopped(DOWN, stack, header, f"{out.name} of {stack.called} is down", outgoing=out.name)
        host = self.stacks.host
        if out.sublink:
            return self._by_sublink(stack, out, next_hop, header)
        if stack.is_host:
            if self._on_parent(out, next_hop):
                raise self._own_parent(out, next_hop, header)
            if out.kind == "bridge":
                return self._from_host(out, next_hop, header)
            self._note(stack, f"the packet leaves the host by {out.name}, to {next_hop}", header)
            return Arrival(None, header, out)
        port = host.links.get(out.link)
        bridge = host.links.get(port.master) if port else None
        if port is None or bridge is None or port.link != out.index:
            reason = f"{out.name} of {stack.name} is not connected to a bridge of the host"
            raise self._stopped(DOWN, stack, header, reason, outgoing=out.name)
        for link in (port, bridge):
            if not link.up:
                raise self._stopped(DOWN, host, header, f"{link.name} of the host is down", incoming=link.name)
        return self._into_bridge(port, bridge, next_hop, header)

    # Links on a link of the host

    def _by_sublink(self, stack: Stack, out: LinkInfo, next_hop: AddressEnd, header: Header) -> Arrival:
        """What goes out by a link of macvlan or ipvlan: to another one on the same parent, or to the parent's wire."""
        host = self.stacks.host
        parent = host.links.get(out.link)
        if parent is None or not parent.up:
            what = f"{parent.name} of the host is down" if parent else f"the parent of {out.name} is not on the host"
            raise self._stopped(DOWN, host if parent else stack, header, what, outgoing=out.name)
        peer = self._on_parent(parent, next_hop)
        if peer is None and next_hop in host.own(parent):
            raise self._own_parent(parent, next_hop, header)
        if peer is None:
            what = f"the packet leaves the host by {parent.name}, to {next_hop}; no rule of the host sees it"
            self._note(host, what, header)
            return Arrival(None, header, parent)
        self._check_mode(out, parent, header)
        self._note(host, f"{out.kind} on {parent.name} forwards the packet; no rule of the host sees it", header)
        self._mark = 0
        return self.receive(*peer, header)

    def _check_mode(self, out: LinkInfo, parent: LinkInfo, header: Header) -> None:
        among = (out.sublink.flag or out.sublink.mode) if out.sublink else ""
        if among == "private":
            what = f"links on {parent.name} do not reach each other: their mode is private"
            raise self._stopped(PRIVATE_LINK, self.stacks.host, header, what, outgoing=parent.name)
        question = f"whether the switch behind {parent.name} sends packets back to {parent.name} (vepa)"
        if among == "vepa" and not self.choices.take(question, [False, True]):
            what = f"the switch behind {parent.name} does not send the packet back (vepa)"
            raise self._stopped(PRIVATE_LINK, self.stacks.host, header, what, outgoing=parent.name)

    def _on_parent(self, parent: LinkInfo, address: AddressEnd) -> Optional[Tuple[Stack, LinkInfo]]:
        """The stack and the link on this parent that has the address."""
        stacks = (self.stacks.of(name) for name in self.on_parents.get(parent.index, ()))
        for stack in (*stacks, self.stacks.host):
            for link in stack.links.values() if stack else ():
                if stack and link.sublink and link.link == parent.index and address in stack.own(link):
                    return stack, link
        return None

    def _own_parent(self, parent: LinkInfo, address: AddressEnd, header: Header) -> Stopped:
        what = f"the kernel passes no packets between {parent.name} of the host and the links on it ({address})"
        return self._stopped(OWN_PARENT, self.stacks.host, header, what, outgoing=parent.name)

    # Bridges

    def _into_bridge(self, port: LinkInfo, bridge: LinkInfo, next_hop: AddressEnd, header: Header) -> Arrival:
        """What a container sends, to the host or to another port."""
        host, self._mark = self.stacks.host, 0
        self._pass_frames(host, PREROUTING, header, bridge, port, None)
        if next_hop in host.own(bridge):
            self._check_vlans(bridge, port, bridge, header)
            self._discover(header, next_hop, self._sender(port), (host, bridge))
            self._pass_frames(host, INPUT, header, bridge, port, None)
            return self.receive(host, bridge, header, port)
        other = self._port_of(bridge, next_hop, port, header)
        # The kernel answers for each of its IPv4 addresses by every link, and for those of IPv6 by their own.
        if other is None and next_hop.version == 4 and next_hop in host.own():
            return self.receive(host, bridge, header, port)
        if other is None:
            raise self._nobody(bridge, next_hop, header)
        self._discover(header, next_hop, self._sender(port), (other.stack, other.interface), bridge)
        if host.filters_frames(bridge, header.version):
            before = header
            header = self._pass(host, PREROUTING, header, bridge)
            if header.destination != before.destination:
                return self._route(host, bridge, header, port)
        return self._bridged(port, bridge, other, header)

    def _bridged(self, port: LinkInfo, bridge: LinkInfo, other: Port, header: Header) -> Arrival:
        host = self.stacks.host
        self._check_ports(port, bridge, other.link, header)
        self._pass_frames(host, FORWARD, header, bridge, port, other.link)
        if host.filters_frames(bridge, header.version):
            header = self._pass(host, FORWARD, header, bridge, bridge)
            header = self._pass(host, POSTROUTING, header, bridge, bridge)
        self._pass_frames(host, POSTROUTING, header, bridge, None, other.link)
        self._note(host, f"bridge {bridge.name} forwards the packet to {_behind(other)}", header)
        return self._by_port(bridge, other, header)

    def _check_vlans(self, bridge: LinkInfo, source: LinkInfo, target: LinkInfo, header: Header) -> None:
        """Whether a frame goes from a port of the bridge, or from the bridge itself, to another one."""
        if not self._is_in_vlan_of(bridge, source, target):
            reason = f"bridge {bridge.name} keeps the VLANs of {source.name} and {target.name} apart"
            raise self._stopped(OTHER_VLAN, self.stacks.host, header, reason, bridge.name, bridge.name)

    def _is_in_vlan_of(self, bridge: LinkInfo, source: LinkInfo, target: LinkInfo) -> bool:
        """Containers and the host send and get frames without a tag; by third-party ports there may be tagged ones."""
        if not (bridge.bridge and bridge.bridge.vlan_filtering):
            return True
        third_party = {port.index for port, container in self.ports.get(bridge.index, ()) if not container}
        members = self.stacks.host.vlans
        coming = (each.vlan for each in members.get(source.index, ()) if each.pvid or source.index in third_party)
        going = (each.vlan for each in members.get(target.index, ()) if each.untagged or target.index in third_party)
        return not {*coming}.isdisjoint(going)

    def _check_ports(self, port: LinkInfo, bridge: LinkInfo, other: LinkInfo, header: Header) -> None:
        host = self.stacks.host
        self._check_vlans(bridge, port, other, header)
        if port.port and other.port and port.port.isolated and other.port.isolated:
            reason = f"the ports of bridge {bridge.name} are isolated from each other"
            raise self._stopped(ISOLATED_PORT, host, header, reason, bridge.name, bridge.name)
        if port.index == other.index and not (port.port and port.port.hairpin):
            reason = (
                f"bridge {bridge.name} does not send a packet back by the port that it came in by (hairpin mode is off)"
            )
            raise self._stopped(ISOLATED_PORT, host, header, reason, bridge.name, bridge.name)

    def _from_host(self, bridge: LinkInfo, next_hop: AddressEnd, header: Header) -> Arrival:
        other = self._port_of(bridge, next_hop, None, header)
        if other is None:
            raise self._nobody(bridge, next_hop, header)
        self._check_vlans(bridge, bridge, other.link, header)
        self._discover(header, next_hop, (self.stacks.host, bridge), (other.stack, other.interface))
        self._pass_frames(self.stacks.host, OUTPUT, header, bridge, None, other.link)
        self._pass_frames(self.stacks.host, POSTROUTING, header, bridge, None, other.link)
        return self._by_port(bridge, other, header)

    def _by_port(self, bridge: LinkInfo, other: Port, header: Header) -> Arrival:
        if not other.link.up:
            what = f"{other.link.name} of the host is down"
            raise self._stopped(DOWN, self.stacks.host, header, what, outgoing=bridge.name)
        if other.stack is None or other.interface is None:
            self._note(
                self.stacks.host, f"the packet leaves by {bridge.name}, to a third-party port of the bridge", header
            )
            return Arrival(None, header, bridge)
        if not other.interface.up:
            what = f"{other.interface.name} of {other.stack.name} is down"
            raise self._stopped(DOWN, other.stack, header, what, incoming=other.interface.name)
        self._mark = 0
        return self.receive(other.stack, other.interface, header)

    def _port_of(
        self, bridge: LinkInfo, next_hop: AddressEnd, sender: Optional[LinkInfo], header: Header
    ) -> Optional[Port]:
        """The port behind which an address is; any address may be behind a third-party port."""
        third_party = []
        for link, container in self.ports.get(bridge.index, ()):
            stack = self.stacks.of(container) if container else None
            if stack is None:
                third_party += [] if container else [link]
                continue
            for interface in stack.links.values():
                if interface.link == link.index and next_hop in stack.own(interface):
                    return Port(link, stack, interface)
        third_party.sort(key=lambda port: not self._is_in_vlan_of(bridge, sender or bridge, port))
        return Port(third_party[0]) if third_party else None

    def _nobody(self, bridge: LinkInfo, next_hop: AddressEnd, header: Header) -> Stopped:
        what = f"no link on bridge {bridge.name} has the address {next_hop}"
        return self._stopped(NOBODY, self.stacks.host, header, what, outgoing=bridge.name)

    # Neighbours

    def _sender(self, port: LinkInfo) -> Neighbour:
        """The stack and interface behind a port."""
        name = next((container for link, container in self.ports.get(port.master, ()) if link == port), "")
        stack = self.stacks.of(name) if name else None
        return stack, next((link for link in stack.links.values() if link.link == port.index), None) if stack else None

    def _discover(
        self, header: Header, sought: AddressEnd, asker: Neighbour, owner: Neighbour, bridge: Optional[LinkInfo] = None
    ) -> None:
        """Find the link-layer address of the next hop. Unlike ARP, neighbour discovery of IPv6 passes the rules for IP.

        Raises:
            Stopped: they drop it.
        """
        if header.version == 4:
            return
        host = self.stacks.host
        for kind, sender, receiver in (("solicit", asker, owner), ("advert", owner, asker)):
            ends = header.source if kind == "solicit" else sought, sought if kind == "solicit" else header.source
            message = replace(header, protocol=f"nd-neighbor-{kind}", source=ends[0], destination=ends[1] or sought)
            message = replace(message, source_port=None, destination_port=None)
            if sender[0]:
                self._pass_unseen(sender[0], OUTPUT, message, None, sender[1])
            if bridge and host.filters_frames(bridge, 6):
                self._pass_unseen(host, FORWARD, message, bridge, bridge)
            if receiver[0]:
                self._pass_unseen(receiver[0], INPUT, message, receiver[1], None)

    def _pass_unseen(
        self, stack: Stack, hook: str, header: Header, incoming: Optional[LinkInfo], outgoing: Optional[LinkInfo]
    ) -> None:
        """Pass the rules at a hook, which is a step only where they drop it."""
        steps = len(self.steps)
        for base in stack.rules.at(hook, header.version):
            if not base.chain.is_nat:
                self._filter(stack, base, header, None, incoming, outgoing)
        del self.steps[steps:]

    # Receiving

    def come_from_beyond(self, link: LinkInfo, header: Header) -> Arrival:
        """Receive a packet of another host. On a bridge of the host it may be for another port, and not for the host.

        Raises:
            Stopped: it does not arrive.
        """
        host, self._mark = self.stacks.host, 0
        on_parent = self._on_parent(link, header.destination)
        if on_parent:
            return self.receive(*on_parent, header)
        ports = [port for port, container in self.ports.get(link.index, ()) if not container]
        own = host.interfaces(link)
        near = ports and (not own or any(header.destination in each.network for each in own))
        if near and header.destination not in host.own():
            return self._into_bridge(ports[0], link, header.destination, header)
        return self.receive(host, link, header, ports[0] if ports else None)

    def receive(self, stack: Stack, link: LinkInfo, header: Header, port: Optional[LinkInfo] = None) -> Arrival:
        """Receive a packet by a link; `port` is that of the bridge which the link is.

        Raises:
            Stopped: it does not arrive.
        """
        before = header
        for base in stack.rules.of_device("ingress", link.name):
            self._filter(stack, base, header, None, link, None)
        header = self._pass(stack, PREROUTING, header, link)
        if link.name == LOOPBACK:
            return self._deliver(stack, link, header)
        bridged = link.kind == "bridge" and header.destination != before.destination
        in_bridge = bridged and stack.filters_frames(link, header.version)
        return self._route(stack, link, header, port if in_bridge else None)

    def _route(self, stack: Stack, link: LinkInfo, header: Header, port: Optional[LinkInfo]) -> Arrival:
        """`port`: the packet is still in the bridge that it came by, and was translated there (br_netfilter)."""
        try:
            way = stack.way(header.destination, header.source, link)
        except OSError as error:
            raise self._refused(stack, link, header, error) from error
        if way.local:
            return self._deliver(stack, link, header)
        out = stack.links[way.index]
        if port is not None and out.index == link.index:
            other = self._port_of(link, ipaddress.ip_address(way.gateway or str(header.destination)), port, header)
            if other is None:
                raise self._nobody(link, header.destination, header)
            return self._bridged(port, link, other, header)
        if header.version == 6 and not self._forwards6(stack, link):
            reason = f"{stack.called} does not forward IPv6 (net.ipv6.conf.all.forwarding is 0)"
            raise self._stopped(NOT_FORWARDED, stack, header, reason, link.name, out.name)
        header = self._pass(stack, FORWARD, header, link, out)
        return self._leave(stack, header, way, link)

    def _forwards6(self, stack: Stack, link: LinkInfo) -> bool:
        forced = of_interface(link.name, "ipv6.force_forwarding")
        return stack.is_set("net.ipv6.conf.all.forwarding") or stack.is_set(forced)

    def _refused(self, stack: Stack, link: LinkInfo, header: Header, error: OSError) -> Stopped:
        """Why the kernel does not route what came in: it does not forward, has no way, or refuses the source."""
        if header.version == 4 and not stack.is_set(of_interface(link.name, "ipv4.forwarding")):
            reason = f"{stack.called} does not forward IPv4 (net.ipv4.ip_forward is 0)"
            return self._stopped(NOT_FORWARDED, stack, header, reason, link.name)
        try:
            stack.way(header.destination)
        except OSError:
            reason = f"{stack.called} has no route to {header.destination} ({(error.strerror or str(error)).lower()})"
            return self._stopped(NO_WAY, stack, header, reason, link.name)
        reason = (
            f"{stack.called} rejects a packet from {header.by} to {header.destination} that comes by {link.name} "
            "(rp_filter, or a source address that is invalid there)"
        )
        return self._stopped(NOT_TAKEN, stack, header, reason, link.name)

    def _deliver(self, stack: Stack, link: LinkInfo, header: Header) -> Arrival:
        header = self._pass(stack, INPUT, header, link)
        if not header.reply:
            self._check_answers(stack, header)
        return Arrival(stack, header, link)

    def _check_answers(self, stack: Stack, header: Header) -> None:
        """Whether anything answers. In a container a service may start later, so there it is only said."""
        if header.protocol == PING:
            ignores = "net.ipv4.icmp_echo_ignore_all" if header.version == 4 else "net.ipv6.icmp.echo_ignore_all"
            if stack.is_set(ignores):
                raise self._stopped(
                    SILENT, stack, header, f"the packet arrives, but {stack.called} answers no pings ({ignores})"
                )
            self._note(stack, f"the packet arrives at {_in(stack)}, at {header.destination}", header)
            return
        listens = stack.listens(header.protocol, header.destination, header.destination_port)
        where = f"{header.to}/{header.protocol}"
        if not listens and stack.is_host:
            reason = f"the packet arrives at the host itself, where no service listens on {where}"
            raise self._stopped(NOT_LISTENED, stack, header, reason)
        now = "" if listens else "; no service listens there now"
        self._note(stack, f"the packet arrives at {_in(stack)}, at {where}, from {header.by}{now}", header)

    # Rules

    def _pass_frames(
        self,
        stack: Stack,
        hook: str,
        header: Header,
        bridge: LinkInfo,
        incoming: Optional[LinkInfo],
        outgoing: Optional[LinkInfo],
    ) -> None:
        for base in stack.rules.of_frames(hook):
            self._filter(stack, base, header, None, incoming, outgoing, bridge.name)

    def _pass(
        self,
        stack: Stack,
        hook: str,
        header: Header,
        incoming: Optional[LinkInfo] = None,
        outgoing: Optional[LinkInfo] = None,
        way: Optional[Way] = None,
    ) -> Header:
        """The packet behind a hook, which may be translated there."""
        begins = hook in (PREROUTING, OUTPUT)
        if begins:
            self._untracked[stack.name] = False
        nat_at = NAT_PRIORITIES.get(hook)
        connection = None if begins or self._untracked.get(stack.name) else self._known(stack, header)
        is_tracked, is_restored = not begins, nat_at is None
        for base in stack.rules.at(hook, header.version):
            priority = base.order[0]
            if not is_tracked and priority > _TRACKING:
                connection, is_tracked = self._tracked(stack, header, incoming, outgoing), True
            if not is_restored and nat_at is not None and priority > nat_at:
                header, is_restored = self._restored(header, connection, begins), True
            if base.chain.is_nat:
                header = self._translate(stack, base, header, connection, incoming, outgoing, way)
            else:
                self._filter(stack, base, header, connection, incoming, outgoing)
        if not is_tracked:
            connection = self._tracked(stack, header, incoming, outgoing)
        if not is_restored:
            header = self._restored(header, connection, begins)
        if connection and not header.reply and nat_at is not None:
            _settle(connection, begins)
        return header

    def _known(self, stack: Stack, header: Header) -> Optional[Connection]:
        """The connection of a packet that came or went before, in either direction."""
        for connection in self._connections.get(stack.name, ()):
            if header in (connection.current, *_answers(connection)):
                return connection
        return None

    def _tracked(
        self, stack: Stack, header: Header, incoming: Optional[LinkInfo], outgoing: Optional[LinkInfo]
    ) -> Optional[Connection]:
        packet = self._packet(stack, header, None, incoming, outgoing)
        met = {rule.is_met(packet) for rule in stack.rules.untracking}
        self._untracked[stack.name] = True if True in met else None if None in met else False
        if True in met:
            return None
        connection = self._known(stack, header)
        if connection is None and (not header.reply or header.protocol == UDP):
            connection = Connection(header, header)
            self._connections.setdefault(stack.name, []).append(connection)
        return connection

    def _restored(self, header: Header, connection: Optional[Connection], begins: bool) -> Header:
        """An answer, with the translation of its connection undone; anything else is as it was."""
        if connection is None or not header.reply or connection.original.reply:
            return header
        return connection.with_own_destination(header) if begins else connection.with_own_source(header)

    def _filter(
        self,
        stack: Stack,
        base: Base,
        header: Header,
        connection: Optional[Connection],
        incoming: Optional[LinkInfo],
        outgoing: Optional[LinkInfo],
        bridge: str = "",
    ) -> None:
        packet = self._packet(stack, header, connection, incoming, outgoing, bridge)
        end, certain = self._end(stack, base, packet)
        if end.passed:
            if end.rule is not None:
                links = incoming, outgoing
                self._note_rule(stack, base, end, header, links, "accepts the packet", True if certain else None)
            return
        raise self._stopped_by_rule(stack, base, end, header, incoming, outgoing, certain)

    def _stopped_by_rule(
        self,
        stack: Stack,
        base: Base,
        end: RuleEnd,
        header: Header,
        incoming: Optional[LinkInfo],
        outgoing: Optional[LinkInfo],
        certain: bool = True,
    ) -> Stopped:
        what = "IPv6 neighbour discovery" if _is_discovery(header) else "the packet"
        does = f"{'rejects' if end.verdict.statement == 'reject' else 'drops'} {what}"
        self._note_rule(stack, base, end, header, (incoming, outgoing), does, False if certain else None)
        cause = Cause(RULE, stack.name, header, _name(incoming), _name(outgoing), self.steps[-1])
        return Stopped(cause, f"{_the_rule(end)} {does}")

    def _end(self, stack: Stack, base: Base, packet: Packet) -> Tuple[RuleEnd, bool]:
        """How the chain ends for the packet, and whether that is certain; one possible end of each kind is tried."""
        every: List[RuleEnd] = []
        for end in base.table.ends(base.chain, packet):
            self._mark = packet.properties["mark"]
            every.append(end)
            if end.verdict.statement == "queue":
                every.append(replace(end, verdict=replace(end.verdict, kind=DROP)))
        ends: Dict[Any, RuleEnd] = {}
        for end in every:
            ends.setdefault((end.passed, end.verdict.translation), end)
        if len(ends) == 1:
            if every[0].doubts:
                self.choices.note(_doubt(stack, base, every))
            return every[0], True
        ordered = sorted(ends.values(), key=lambda end: not end.passed)
        return self.choices.take(_doubt(stack, base, every), ordered), False

    def _translate(
        self,
        stack: Stack,
        base: Base,
        header: Header,
        connection: Optional[Connection],
        incoming: Optional[LinkInfo],
        outgoing: Optional[LinkInfo],
        way: Optional[Way],
    ) -> Header:
        """Only the first packet of a connection comes to a chain of type nat, and only until one has translated it."""
        begins = base.chain.hook in (PREROUTING, OUTPUT)
        if connection is None or header.reply:
            return header
        if connection.has_destination if begins else connection.has_source:
            return header
        end, certain = self._end(stack, base, self._packet(stack, header, connection, incoming, outgoing))
        if not end.passed:
            raise self._stopped_by_rule(stack, base, end, header, incoming, outgoing, certain)
        translation = end.verdict.translation
        if translation is None:
            return header
        header = self._translated(stack, header, translation, incoming, outgoing, way)
        connection.current = header
        _settle(connection, begins)
        to = f"translates its destination to {header.to}" if begins else f"translates its source to {header.source}"
        self._note_rule(stack, base, end, header, (incoming, outgoing), to, True if certain else None)
        return header

    def _translated(
        self,
        stack: Stack,
        header: Header,
        translation: Translation,
        incoming: Optional[LinkInfo],
        outgoing: Optional[LinkInfo],
        way: Optional[Way],
    ) -> Header:
        if not translation.is_known:
            what = f"the address to which a rule of {stack.called} translates the packet ({translation.kind})"
            self.choices.take(what, ["it", "else"])
        kind, address = translation.kind, translation.address
        if kind in ("snat", "masquerade"):
            return replace(header, source=address or self._masquerade(stack, header, outgoing, way))
        if kind == "redirect" and address is None:
            own = stack.own(incoming) if incoming and incoming.name != LOOPBACK else []
            same = [each for each in own if each.version == header.version]
            loopback = ipaddress.ip_address("127.0.0.1" if header.version == 4 else "::1")
            address = same[0] if same else loopback
        port = translation.port or header.destination_port
        return replace(header, destination=address or header.destination, destination_port=port)

    def _masquerade(
        self, stack: Stack, header: Header, outgoing: Optional[LinkInfo], way: Optional[Way]
    ) -> Optional[AddressEnd]:
        """The address of the outgoing interface that the kernel takes: one of the next hop's subnet, else the first."""
        if outgoing is None:
            return header.source
        if header.version == 6:
            with suppress(OSError, ValueError):
                return ipaddress.ip_address(stack.way(header.destination).source)
        next_hop = ipaddress.ip_address(way.gateway) if way and way.gateway else header.destination
        own = stack.global_addresses(4, outgoing)
        near = [each for each in own if not isinstance(next_hop, SomeAddress) and next_hop in each.network]
        anywhere = stack.global_addresses(4)
        return next((each.ip for each in (*near, *own, *anywhere)), header.source)

    def _packet(
        self,
        stack: Stack,
        header: Header,
        connection: Optional[Connection],
        incoming: Optional[LinkInfo],
        outgoing: Optional[LinkInfo],
        bridge: str = "",
    ) -> Packet:
        state, direction = _state(header, connection)
        ping = "echo-reply" if header.reply else "echo-request"
        flags = TcpFlags(["syn", "ack"] if header.reply else ["syn"])
        original = connection.original if connection else None
        untracked = self._untracked.get(stack.name, False)
        properties = {
            "family": f"ipv{header.version}",
            "protocol": _PROTOCOLS.get((header.protocol, header.version), header.protocol),
            **({"protocol": "ipv6-icmp"} if _is_discovery(header) else {}),
            "source": header.source,
            "destination": header.destination,
            "source port": header.source_port,
            "destination port": header.destination_port,
            "in": _name(incoming),
            "out": _name(outgoing),
            "in bridge": bridge,
            "out bridge": bridge,
            "state": None if untracked is None else "untracked" if untracked else state,
            "direction": direction,
            "dnat": connection.dnat if connection else None,
            "original source": original.source if original else None,
            "original destination": original.destination if original else None,
            "original destination port": original.destination_port if original else None,
            "destination type": _type(stack, header.destination),
            "source type": _type(stack, header.source),
            "destination type on in": _type(stack, header.destination, incoming),
            "packet type": "host",
            "mark": self._mark,
            "icmp type": ping if header.protocol == PING else header.protocol if _is_discovery(header) else None,
            "tcp flags": flags if header.protocol == TCP else None,
        }
        return Packet(properties)

    # Steps

    def _note(self, stack: Stack, what: str, header: Header) -> None:
        self.steps.append(Step(stack.name, what, header=header, answer=header.reply))

    def _note_rule(
        self,
        stack: Stack,
        base: Base,
        end: RuleEnd,
        header: Header,
        links: Tuple[Optional[LinkInfo], Optional[LinkInfo]],
        does: str,
        passes: Optional[bool],
    ) -> None:
        incoming, outgoing = map(_name, links)
        hook = base.chain.hook
        self.steps.append(Step(stack.name, does, passes, hook, base, end, header, incoming, outgoing, header.reply))

    def _stopped(
        self, kind: str, stack: Stack, header: Header, what: str, incoming: str = "", outgoing: str = ""
    ) -> Stopped:
        self.steps.append(Step(stack.name, what, False, answer=header.reply))
        return Stopped(Cause(kind, stack.name, header, incoming, outgoing), what)


def _settle(connection: Connection, begins: bool) -> None:
    if begins:
        connection.has_destination = True
    else:
        connection.has_source = True


def _answers(connection: Connection) -> Iterator[Header]:
    """An answer as it comes; with its destination restored; and with its source, too, as it comes back by `lo`."""
    yield connection.expected_answer
    restored = connection.with_own_destination(connection.expected_answer)
    yield restored
    yield connection.with_own_source(restored)


def _is_discovery(header: Header) -> bool:
    return header.protocol.startswith("nd-")


def _state(header: Header, connection: Optional[Connection]) -> Tuple[str, Optional[str]]:
    if _is_discovery(header):
        return "untracked", None
    if connection is None:
        return "invalid", None
    if header.reply and not connection.original.reply:
        return "established", "reply"
    return "new", "original"


def _type(stack: Stack, address: Optional[AddressEnd], link: Optional[LinkInfo] = None) -> Optional[str]:
    if address is None or isinstance(address, SomeAddress):
        return _UNICAST
    if link is not None:
        return _LOCAL if address in stack.own(link) or (address.is_loopback and link.name == LOOPBACK) else _UNICAST
    return _LOCAL if stack.is_local(address) else _MULTICAST if address.is_multicast else _UNICAST


@dataclass(frozen=True)
class Doubt:
    """A base chain of which it is not known how it ends, since the packet may meet these rules of its table or not.

    Each is the name of a chain and a rule of it, with one of the ends that this leads to.
    """

    stack: str
    base: Base
    rules: Tuple[Tuple[str, Rule, RuleEnd], ...]


def _doubt(stack: Stack, base: Base, ends: Sequence[RuleEnd]) -> Doubt:
    found: Dict[Tuple[str, int], Tuple[str, Rule, RuleEnd]] = {}
    for end in ends:
        queued = ((end.chain, end.rule),) if end.rule and end.verdict.statement == "queue" else ()
        for chain, rule in (*end.doubts, *queued):
            found.setdefault((chain, id(rule)), (chain, rule, end))
    return Doubt(stack.name, base, tuple(found.values()))


def _the_rule(end: RuleEnd) -> str:
    return f"a rule of chain {end.chain}" if end.rule else f"the policy of chain {end.chain}"


def _name(link: Optional[LinkInfo]) -> str:
    return link.name if link else ""


def _in(stack: Stack) -> str:
    return "the host" if stack.is_host else f"container {stack.name}"


def _behind(port: Port) -> str:
    return port.stack.name if port.stack else f"its port {port.link.name}"
