# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks a packet, and its answer, by what stands in the kernel: routes, bridges, rules and NAT of each network stack.

It is walked once for each case of what cannot be known (`choices`). What keeps the packet from going on is raised.
`hooks.py` has what rules do to it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from typing import Dict, List, Optional, Tuple

from ..kernel.proc_sys import of_interface
from ..kernel.rtnetlink import FoundRoute, LinkInfo
from ..third_party.required_flows import FORWARD, INPUT, OUTPUT, POSTROUTING, PREROUTING
from .choices import Choices
from .headers import PING, Header, HeaderAddress, is_loopback
from .hooks import Hooks
from .stacks import LOOPBACK, PacketStack, PacketStacks
from .steps import (
    DOWN,
    ISOLATED_PORT,
    NO_ROUTE,
    NOBODY,
    NOT_FORWARDED,
    NOT_LISTENED,
    NOT_TAKEN,
    OTHER_VLAN,
    OWN_PARENT,
    PRIVATE_LINK,
    SILENT,
    HookState,
    Journal,
    Step,
    Stopped,
)


@dataclass(frozen=True)
class Arrival:
    """Where a packet is delivered; `stack` is None beyond the host, which it leaves by `link`."""

    stack: Optional[PacketStack]
    header: Header
    link: LinkInfo


@dataclass(frozen=True)
class BridgePort:
    """A port of a bridge, with the container's stack behind it and the interface there; None for a third party's."""

    link: LinkInfo
    stack: Optional[PacketStack] = None
    interface: Optional[LinkInfo] = None


# A stack, and its interface on a bridge; None for those of a third party.
Neighbour = Tuple[Optional[PacketStack], Optional[LinkInfo]]


@dataclass
class Walk:
    """The path of one packet, in one case.

    `ports` are those of each bridge of the host, by its index. `on_parents` are the containers that have links on a
    link of the host, by its index.
    """

    stacks: PacketStacks
    ports: Dict[int, List[Tuple[LinkInfo, str]]]
    on_parents: Dict[int, List[str]]
    choices: Choices
    _journal: Journal = field(default_factory=Journal)
    _hooks: Hooks = field(init=False)

    def __post_init__(self) -> None:
        self._hooks = Hooks(self.choices, self._journal)

    @property
    def steps(self) -> List[Step]:
        return self._journal.steps

    # Sending

    def send(self, stack: PacketStack, header: Header) -> Arrival:
        """Send a packet of the stack's own.

        Raises:
            Stopped: it does not arrive.
        """
        self._hooks.enter_stack()
        route = self._route_to(stack, header, header.source)
        if header.source is None:
            header = replace(header, source=ipaddress.ip_address(route.source) if route.source else None)
        sent = header
        header = self._hooks.pass_hook(OUTPUT, HookState(stack, outgoing=stack.links[route.index]), header)
        if header.destination != sent.destination:
            route = self._route_to(stack, header, header.source)
        out = stack.links[route.index]
        if not route.local:
            by = f", gateway {route.gateway}" if route.gateway else ""
            self._journal.note(stack, f"{stack.called} sends from {header.source} by {out.name}{by}", header)
        return self._leave(stack, header, route, None)

    def _route_to(self, stack: PacketStack, header: Header, source: Optional[HeaderAddress]) -> FoundRoute:
        try:
            return stack.route_to(header.destination, source)
        except OSError as error:
            reason = f"{stack.called} has no route to {header.destination} ({(error.strerror or str(error)).lower()})"
            raise self._journal.stopped(NO_ROUTE, stack, header, reason) from error

    def _leave(self, stack: PacketStack, header: Header, route: FoundRoute, incoming: Optional[LinkInfo]) -> Arrival:
        out = stack.links[route.index]
        header = self._hooks.pass_hook(POSTROUTING, HookState(stack, incoming, out, route=route), header)
        if out.name == LOOPBACK:
            return self.receive(stack, out, header)
        next_hop = ipaddress.ip_address(route.gateway) if route.gateway else header.destination
        return self._transmit(stack, out, next_hop, header)

    def _transmit(self, stack: PacketStack, out: LinkInfo, next_hop: HeaderAddress, header: Header) -> Arrival:
        if not out.up:
            raise self._journal.stopped(DOWN, stack, header, f"{out.name} of {stack.called} is down", outgoing=out.name)
        host = self.stacks.host
        if out.sublink:
            return self._by_sublink(stack, out, next_hop, header)
        if stack.is_host:
            if self._on_parent(out, next_hop):
                raise self._own_parent(out, next_hop, header)
            if out.kind == "bridge":
                return self._from_host(out, next_hop, header)
            self._journal.note(stack, f"the packet leaves the host by {out.name}, to {next_hop}", header)
            return Arrival(None, header, out)
        port = host.links.get(out.link)
        bridge = host.links.get(port.master) if port else None
        if port is None or bridge is None or port.link != out.index:
            reason = f"{out.name} of {stack.name} is not connected to a bridge of the host"
            raise self._journal.stopped(DOWN, stack, header, reason, outgoing=out.name)
        for link in (port, bridge):
            if not link.up:
                raise self._journal.stopped(DOWN, host, header, f"{link.name} of the host is down", incoming=link.name)
        return self._into_bridge(port, bridge, next_hop, header)

    # Links on a link of the host

    def _by_sublink(self, stack: PacketStack, out: LinkInfo, next_hop: HeaderAddress, header: Header) -> Arrival:
        """What goes out by a link of macvlan or ipvlan: to another one on the same parent, or to the parent's wire."""
        host = self.stacks.host
        parent = host.links.get(out.link)
        if parent is None or not parent.up:
            what = f"{parent.name} of the host is down" if parent else f"the parent of {out.name} is not on the host"
            raise self._journal.stopped(DOWN, host if parent else stack, header, what, outgoing=out.name)
        peer = self._on_parent(parent, next_hop)
        if peer is None and next_hop in host.own(parent):
            raise self._own_parent(parent, next_hop, header)
        if peer is None:
            what = f"the packet leaves the host by {parent.name}, to {next_hop}; no rule of the host sees it"
            self._journal.note(host, what, header)
            return Arrival(None, header, parent)
        self._check_mode(out, parent, header)
        self._journal.note(
            host, f"{out.kind} on {parent.name} forwards the packet; no rule of the host sees it", header
        )
        self._hooks.enter_stack()
        return self.receive(*peer, header)

    def _check_mode(self, out: LinkInfo, parent: LinkInfo, header: Header) -> None:
        among = (out.sublink.flag or out.sublink.mode) if out.sublink else ""
        if among == "private":
            what = f"links on {parent.name} do not reach each other: their mode is private"
            raise self._journal.stopped(PRIVATE_LINK, self.stacks.host, header, what, outgoing=parent.name)
        question = f"whether the switch behind {parent.name} sends packets back to {parent.name} (vepa)"
        if among == "vepa" and not self.choices.take(question, [False, True]):
            what = f"the switch behind {parent.name} does not send the packet back (vepa)"
            raise self._journal.stopped(PRIVATE_LINK, self.stacks.host, header, what, outgoing=parent.name)

    def _on_parent(self, parent: LinkInfo, address: HeaderAddress) -> Optional[Tuple[PacketStack, LinkInfo]]:
        """The stack and the link on this parent that has the address."""
        stacks = (self.stacks.of(name) for name in self.on_parents.get(parent.index, ()))
        for stack in (*stacks, self.stacks.host):
            for link in stack.links.values() if stack else ():
                if stack and link.sublink and link.link == parent.index and address in stack.own(link):
                    return stack, link
        return None

    def _own_parent(self, parent: LinkInfo, address: HeaderAddress, header: Header) -> Stopped:
        what = f"the kernel passes no packets between {parent.name} of the host and the links on it ({address})"
        return self._journal.stopped(OWN_PARENT, self.stacks.host, header, what, outgoing=parent.name)

    # Bridges

    def _into_bridge(self, port: LinkInfo, bridge: LinkInfo, next_hop: HeaderAddress, header: Header) -> Arrival:
        """What a container sends, to the host or to another port."""
        host = self.stacks.host
        self._hooks.enter_stack()
        self._hooks.pass_frames(PREROUTING, HookState(host, port, bridge=bridge.name), header)
        if next_hop in host.own(bridge):
            self._check_vlans(bridge, port, bridge, header)
            self._discover(header, next_hop, self._sender(port), (host, bridge))
            self._hooks.pass_frames(INPUT, HookState(host, port, bridge=bridge.name), header)
            return self.receive(host, bridge, header, port)
        other = self._port_of(bridge, next_hop, port)
        # The kernel answers for each of its IPv4 addresses by every link, and for those of IPv6 by their own.
        if other is None and next_hop.version == 4 and next_hop in host.own():
            return self.receive(host, bridge, header, port)
        if other is None:
            raise self._nobody(bridge, next_hop, header)
        self._discover(header, next_hop, self._sender(port), (other.stack, other.interface), bridge)
        if host.filters_frames(bridge, header.version):
            before = header
            header = self._hooks.pass_hook(PREROUTING, HookState(host, bridge), header)
            if header.destination != before.destination:
                return self._route(host, bridge, header, port)
        return self._bridged(port, bridge, other, header)

    def _bridged(self, port: LinkInfo, bridge: LinkInfo, other: BridgePort, header: Header) -> Arrival:
        host = self.stacks.host
        self._check_ports(port, bridge, other.link, header)
        self._hooks.pass_frames(FORWARD, HookState(host, port, other.link, bridge.name), header)
        if host.filters_frames(bridge, header.version):
            header = self._hooks.pass_hook(FORWARD, HookState(host, bridge, bridge), header)
            header = self._hooks.pass_hook(POSTROUTING, HookState(host, bridge, bridge), header)
        self._hooks.pass_frames(POSTROUTING, HookState(host, None, other.link, bridge.name), header)
        self._journal.note(host, f"bridge {bridge.name} forwards the packet to {_behind(other)}", header)
        return self._by_port(bridge, other, header)

    def _check_vlans(self, bridge: LinkInfo, source: LinkInfo, target: LinkInfo, header: Header) -> None:
        """Whether a frame goes from a port of the bridge, or from the bridge itself, to another one."""
        if not self._is_in_vlan_of(bridge, source, target):
            reason = f"bridge {bridge.name} keeps the VLANs of {source.name} and {target.name} apart"
            raise self._journal.stopped(OTHER_VLAN, self.stacks.host, header, reason, bridge.name, bridge.name)

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
            raise self._journal.stopped(ISOLATED_PORT, host, header, reason, bridge.name, bridge.name)
        if port.index == other.index and not (port.port and port.port.hairpin):
            reason = (
                f"bridge {bridge.name} does not send a packet back by the port that it came in by (hairpin mode is off)"
            )
            raise self._journal.stopped(ISOLATED_PORT, host, header, reason, bridge.name, bridge.name)

    def _from_host(self, bridge: LinkInfo, next_hop: HeaderAddress, header: Header) -> Arrival:
        other = self._port_of(bridge, next_hop, None)
        if other is None:
            raise self._nobody(bridge, next_hop, header)
        self._check_vlans(bridge, bridge, other.link, header)
        self._discover(header, next_hop, (self.stacks.host, bridge), (other.stack, other.interface))
        self._hooks.pass_frames(OUTPUT, HookState(self.stacks.host, None, other.link, bridge.name), header)
        self._hooks.pass_frames(POSTROUTING, HookState(self.stacks.host, None, other.link, bridge.name), header)
        return self._by_port(bridge, other, header)

    def _by_port(self, bridge: LinkInfo, other: BridgePort, header: Header) -> Arrival:
        if not other.link.up:
            what = f"{other.link.name} of the host is down"
            raise self._journal.stopped(DOWN, self.stacks.host, header, what, outgoing=bridge.name)
        if other.stack is None or other.interface is None:
            self._journal.note(
                self.stacks.host, f"the packet leaves by {bridge.name}, to a third-party port of the bridge", header
            )
            return Arrival(None, header, bridge)
        if not other.interface.up:
            what = f"{other.interface.name} of {other.stack.name} is down"
            raise self._journal.stopped(DOWN, other.stack, header, what, incoming=other.interface.name)
        self._hooks.enter_stack()
        return self.receive(other.stack, other.interface, header)

    def _port_of(self, bridge: LinkInfo, next_hop: HeaderAddress, sender: Optional[LinkInfo]) -> Optional[BridgePort]:
        """The port behind which an address is; any address may be behind a third-party port."""
        third_party = []
        for link, container in self.ports.get(bridge.index, ()):
            stack = self.stacks.of(container) if container else None
            if stack is None:
                third_party += [] if container else [link]
                continue
            for interface in stack.links.values():
                if interface.link == link.index and next_hop in stack.own(interface):
                    return BridgePort(link, stack, interface)
        third_party.sort(key=lambda port: not self._is_in_vlan_of(bridge, sender or bridge, port))
        return BridgePort(third_party[0]) if third_party else None

    def _nobody(self, bridge: LinkInfo, next_hop: HeaderAddress, header: Header) -> Stopped:
        what = f"no link on bridge {bridge.name} has the address {next_hop}"
        return self._journal.stopped(NOBODY, self.stacks.host, header, what, outgoing=bridge.name)

    # Neighbours

    def _sender(self, port: LinkInfo) -> Neighbour:
        """The stack and interface behind a port."""
        name = next((container for link, container in self.ports.get(port.master, ()) if link == port), "")
        stack = self.stacks.of(name) if name else None
        return stack, next((link for link in stack.links.values() if link.link == port.index), None) if stack else None

    def _discover(
        self,
        header: Header,
        sought: HeaderAddress,
        seeker: Neighbour,
        owner: Neighbour,
        bridge: Optional[LinkInfo] = None,
    ) -> None:
        """Find the link-layer address of the next hop. Unlike ARP, neighbour discovery of IPv6 passes the rules for IP.

        Raises:
            Stopped: they drop it.
        """
        if header.version == 4:
            return
        host = self.stacks.host
        for kind, sender, receiver in (("solicit", seeker, owner), ("advert", owner, seeker)):
            ends = header.source if kind == "solicit" else sought, sought if kind == "solicit" else header.source
            message = replace(header, protocol=f"nd-neighbor-{kind}", source=ends[0], destination=ends[1] or sought)
            message = replace(message, source_port=None, destination_port=None)
            if sender[0]:
                self._hooks.pass_unseen(OUTPUT, HookState(sender[0], outgoing=sender[1]), message)
            if bridge and host.filters_frames(bridge, 6):
                self._hooks.pass_unseen(FORWARD, HookState(host, bridge, bridge), message)
            if receiver[0]:
                self._hooks.pass_unseen(INPUT, HookState(receiver[0], receiver[1]), message)

    # Receiving

    def come_from_beyond(self, link: LinkInfo, header: Header) -> Arrival:
        """Receive a packet of another host. On a bridge of the host it may be for another port, and not for the host.

        Raises:
            Stopped: it does not arrive.
        """
        host = self.stacks.host
        self._hooks.enter_stack()
        on_parent = self._on_parent(link, header.destination)
        if on_parent:
            return self.receive(*on_parent, header)
        ports = [port for port, container in self.ports.get(link.index, ()) if not container]
        own = host.interfaces(link)
        near = ports and (not own or any(header.destination in each.network for each in own))
        if near and header.destination not in host.own():
            return self._into_bridge(ports[0], link, header.destination, header)
        return self.receive(host, link, header, ports[0] if ports else None)

    def receive(self, stack: PacketStack, link: LinkInfo, header: Header, port: Optional[LinkInfo] = None) -> Arrival:
        """Receive a packet by a link; `port` is that of the bridge which the link is.

        Raises:
            Stopped: it does not arrive.
        """
        before = header
        for base in stack.rules.of_device("ingress", link.name):
            self._hooks.filter(HookState(stack, link), base, header)
        if header.version == 6 and link.name != LOOPBACK and is_loopback(header.destination):
            # RFC 4291, 2.5.3.
            reason = f"{stack.called} drops a packet to {header.destination} that comes by {link.name}"
            raise self._journal.stopped(NOT_TAKEN, stack, header, reason, link.name)
        header = self._hooks.pass_hook(PREROUTING, HookState(stack, link), header)
        if link.name == LOOPBACK:
            return self._deliver(stack, link, header)
        bridged = link.kind == "bridge" and header.destination != before.destination
        in_bridge = bridged and stack.filters_frames(link, header.version)
        return self._route(stack, link, header, port if in_bridge else None)

    def _route(self, stack: PacketStack, link: LinkInfo, header: Header, port: Optional[LinkInfo]) -> Arrival:
        """`port`: the packet is still in the bridge that it came by, and was translated there (br_netfilter)."""
        try:
            route = stack.route_to(header.destination, header.source, link)
        except OSError as error:
            raise self._refused(stack, link, header, error) from error
        if route.local:
            return self._deliver(stack, link, header)
        out = stack.links[route.index]
        if port is not None and out.index == link.index:
            other = self._port_of(link, ipaddress.ip_address(route.gateway or str(header.destination)), port)
            if other is None:
                raise self._nobody(link, header.destination, header)
            return self._bridged(port, link, other, header)
        if header.version == 6 and not self._forwards6(stack, link):
            reason = f"{stack.called} does not forward IPv6 (net.ipv6.conf.all.forwarding is 0)"
            raise self._journal.stopped(NOT_FORWARDED, stack, header, reason, link.name, out.name)
        header = self._hooks.pass_hook(FORWARD, HookState(stack, link, out), header)
        return self._leave(stack, header, route, link)

    def _forwards6(self, stack: PacketStack, link: LinkInfo) -> bool:
        forced = of_interface(link.name, "ipv6.force_forwarding")
        return stack.is_set("net.ipv6.conf.all.forwarding") or stack.is_set(forced)

    def _refused(self, stack: PacketStack, link: LinkInfo, header: Header, error: OSError) -> Stopped:
        """Why the kernel does not route what came in: it does not forward, has no route, or refuses the source."""
        if header.version == 4 and not stack.is_set(of_interface(link.name, "ipv4.forwarding")):
            reason = f"{stack.called} does not forward IPv4 (net.ipv4.ip_forward is 0)"
            return self._journal.stopped(NOT_FORWARDED, stack, header, reason, link.name)
        try:
            stack.route_to(header.destination)
        except OSError:
            reason = f"{stack.called} has no route to {header.destination} ({(error.strerror or str(error)).lower()})"
            return self._journal.stopped(NO_ROUTE, stack, header, reason, link.name)
        reason = (
            f"{stack.called} rejects a packet from {header.by} to {header.destination} that comes by {link.name} "
            "(rp_filter, or a source address that is invalid there)"
        )
        return self._journal.stopped(NOT_TAKEN, stack, header, reason, link.name)

    def _deliver(self, stack: PacketStack, link: LinkInfo, header: Header) -> Arrival:
        header = self._hooks.pass_hook(INPUT, HookState(stack, link), header)
        if not header.reply:
            self._check_answers(stack, header)
        return Arrival(stack, header, link)

    def _check_answers(self, stack: PacketStack, header: Header) -> None:
        """Whether anything answers. In a container a service may start later, so there it is only said."""
        if header.protocol == PING:
            ignores = "net.ipv4.icmp_echo_ignore_all" if header.version == 4 else "net.ipv6.icmp.echo_ignore_all"
            if stack.is_set(ignores):
                raise self._journal.stopped(
                    SILENT, stack, header, f"the packet arrives, but {stack.called} answers no pings ({ignores})"
                )
            self._journal.note(stack, f"the packet arrives at {_in(stack)}, at {header.destination}", header)
            return
        listens = stack.listens(header.protocol, header.destination, header.destination_port)
        where = f"{header.to}/{header.protocol}"
        if not listens and stack.is_host:
            reason = f"the packet arrives at the host itself, where no service listens on {where}"
            raise self._journal.stopped(NOT_LISTENED, stack, header, reason)
        now = "" if listens else "; no service listens there now"
        self._journal.note(stack, f"the packet arrives at {_in(stack)}, at {where}, from {header.by}{now}", header)


def _in(stack: PacketStack) -> str:
    return "the host" if stack.is_host else f"container {stack.name}"


def _behind(port: BridgePort) -> str:
    return port.stack.name if port.stack else f"its port {port.link.name}"
