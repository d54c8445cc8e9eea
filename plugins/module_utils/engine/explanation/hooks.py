# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules of a network stack do to a packet at each hook: they let it pass, drop it, or translate it."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ..kernel.rtnetlink import LinkInfo
from ..third_party.nft_rules import TcpFlags
from ..third_party.required_flows import OUTPUT, PREROUTING
from ..third_party.rule_evaluation import DROP, Outcome, Packet, Rule, SomeAddress, Translation
from .choices import Choices
from .headers import PING, TCP, UDP, Header, HeaderAddress, TrackedConnection
from .stacks import LOOPBACK, NAT_PRIORITIES, Base, PacketStack
from .steps import RULE, Cause, HookState, Journal, Stopped

_TRACKING = -200
_PROTOCOLS = {(PING, 4): "icmp", (PING, 6): "ipv6-icmp"}
_MULTICAST, _LOCAL, _UNICAST = "multicast", "local", "unicast"


@dataclass(frozen=True)
class Doubt:
    """A base chain of which it is not known how it ends, since the packet may meet these rules of its table or not.

    Each is the name of a chain and a rule of it, with one of the ends that this leads to.
    """

    stack: str
    base: Base
    rules: Tuple[Tuple[str, Rule, Outcome], ...]


@dataclass
class Hooks:
    """The hooks of all stacks, for one packet and its answer, in one case."""

    _choices: Choices
    _journal: Journal
    _connections: Dict[str, List[TrackedConnection]] = field(default_factory=dict)
    # That of the packet in the stack where it is; None if it is not known.
    _mark: Optional[int] = 0
    # Whether its connection is not tracked in a stack; None if it is not known.
    _untracked: Dict[str, Optional[bool]] = field(default_factory=dict)

    def enter_stack(self) -> None:
        """The packet comes to a stack, where it has no mark yet."""
        self._mark = 0

    def pass_hook(self, hook: str, at: HookState, header: Header) -> Header:
        """The packet behind a hook, which may be translated there."""
        stack, begins = at.stack, hook in (PREROUTING, OUTPUT)
        if begins:
            self._untracked[stack.name] = False
        nat_at = NAT_PRIORITIES.get(hook)
        connection = None if begins or self._untracked.get(stack.name) else self._known(stack, header)
        is_tracked, is_restored = not begins, nat_at is None
        for base in stack.rules.at(hook, header.version):
            priority = base.order[0]
            if not is_tracked and priority > _TRACKING:
                connection, is_tracked = self._tracked(at, header), True
            if not is_restored and nat_at is not None and priority > nat_at:
                header, is_restored = self._restored(header, connection, begins), True
            if base.chain.is_nat:
                header = self._translate(at, base, header, connection)
            else:
                self.filter(at, base, header, connection)
        if not is_tracked:
            connection = self._tracked(at, header)
        if not is_restored:
            header = self._restored(header, connection, begins)
        if connection and not header.reply and nat_at is not None:
            _settle(connection, begins)
        return header

    def pass_frames(self, hook: str, at: HookState, header: Header) -> None:
        for base in at.stack.rules.of_frames(hook):
            self.filter(at, base, header)

    def pass_unseen(self, hook: str, at: HookState, header: Header) -> None:
        """Pass the rules at a hook, which is a step only where they drop it."""
        steps = len(self._journal.steps)
        for base in at.stack.rules.at(hook, header.version):
            if not base.chain.is_nat:
                self.filter(at, base, header)
        del self._journal.steps[steps:]

    def _known(self, stack: PacketStack, header: Header) -> Optional[TrackedConnection]:
        """The connection of a packet that came or went before, in either direction."""
        for connection in self._connections.get(stack.name, ()):
            if header in (connection.current, *_answers(connection)):
                return connection
        return None

    def _tracked(self, at: HookState, header: Header) -> Optional[TrackedConnection]:
        stack, packet = at.stack, self._packet(at, header)
        met = {rule.is_met(packet) for rule in stack.rules.untracking}
        self._untracked[stack.name] = True if True in met else None if None in met else False
        if True in met:
            return None
        connection = self._known(stack, header)
        if connection is None and (not header.reply or header.protocol == UDP):
            connection = TrackedConnection(header, header)
            self._connections.setdefault(stack.name, []).append(connection)
        return connection

    def _restored(self, header: Header, connection: Optional[TrackedConnection], begins: bool) -> Header:
        """An answer, with the translation of its connection undone; anything else is as it was."""
        if connection is None or not header.reply or connection.original.reply:
            return header
        return connection.with_own_destination(header) if begins else connection.with_own_source(header)

    def filter(self, at: HookState, base: Base, header: Header, connection: Optional[TrackedConnection] = None) -> None:
        end, certain = self._end(at.stack, base, self._packet(at, header, connection))
        if not end.passed:
            raise self._stopped_by_rule(at, base, end, header, certain)
        if end.rule is not None:
            self._journal.note_rule(at, base, end, header, "accepts the packet", True if certain else None)

    def _stopped_by_rule(self, at: HookState, base: Base, end: Outcome, header: Header, certain: bool) -> Stopped:
        what = "IPv6 neighbour discovery" if _is_discovery(header) else "the packet"
        does = f"{'rejects' if end.verdict.statement == 'reject' else 'drops'} {what}"
        self._journal.note_rule(at, base, end, header, does, False if certain else None)
        cause = Cause(RULE, at.stack.name, header, at.in_name, at.out_name, self._journal.steps[-1])
        return Stopped(cause, f"{_the_rule(end)} {does}")

    def _end(self, stack: PacketStack, base: Base, packet: Packet) -> Tuple[Outcome, bool]:
        """How the chain ends for the packet, and whether that is certain; one possible end of each kind is tried."""
        every: List[Outcome] = []
        for end in base.table.ends(base.chain, packet):
            self._mark = packet.properties["mark"]
            every.append(end)
            if end.verdict.statement == "queue":
                every.append(replace(end, verdict=replace(end.verdict, kind=DROP)))
        ends: Dict[Any, Outcome] = {}
        for end in every:
            ends.setdefault((end.passed, end.verdict.translation), end)
        if len(ends) == 1:
            if every[0].doubts:
                self._choices.note(_doubt(stack, base, every))
            return every[0], True
        ordered = sorted(ends.values(), key=lambda end: not end.passed)
        return self._choices.take(_doubt(stack, base, every), ordered), False

    def _translate(self, at: HookState, base: Base, header: Header, connection: Optional[TrackedConnection]) -> Header:
        """Only the first packet of a connection comes to a chain of type nat, and only until one has translated it."""
        begins = base.chain.hook in (PREROUTING, OUTPUT)
        if connection is None or header.reply:
            return header
        if connection.has_destination if begins else connection.has_source:
            return header
        end, certain = self._end(at.stack, base, self._packet(at, header, connection))
        if not end.passed:
            raise self._stopped_by_rule(at, base, end, header, certain)
        translation = end.verdict.translation
        if translation is None:
            return header
        header = self._translated(at, header, translation)
        connection.current = header
        _settle(connection, begins)
        to = f"translates its destination to {header.to}" if begins else f"translates its source to {header.source}"
        self._journal.note_rule(at, base, end, header, to, True if certain else None)
        return header

    def _translated(self, at: HookState, header: Header, translation: Translation) -> Header:
        if not translation.is_known:
            what = f"the address to which a rule of {at.stack.called} translates the packet ({translation.kind})"
            self._choices.take(what, ["it", "else"])
        kind, address = translation.kind, translation.address
        if kind in ("snat", "masquerade"):
            return replace(header, source=address or _masquerade(at, header))
        if kind == "redirect" and address is None:
            own = at.stack.own(at.incoming) if at.incoming and at.incoming.name != LOOPBACK else []
            same = [each for each in own if each.version == header.version]
            loopback = ipaddress.ip_address("127.0.0.1" if header.version == 4 else "::1")
            address = same[0] if same else loopback
        port = translation.port or header.destination_port
        return replace(header, destination=address or header.destination, destination_port=port)

    def _packet(self, at: HookState, header: Header, connection: Optional[TrackedConnection] = None) -> Packet:
        stack = at.stack
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
            "in": at.in_name,
            "out": at.out_name,
            "in bridge": at.bridge,
            "out bridge": at.bridge,
            "state": None if untracked is None else "untracked" if untracked else state,
            "direction": direction,
            "dnat": connection.dnat if connection else None,
            "original source": original.source if original else None,
            "original destination": original.destination if original else None,
            "original destination port": original.destination_port if original else None,
            "destination type": _type(stack, header.destination),
            "source type": _type(stack, header.source),
            "destination type on in": _type(stack, header.destination, at.incoming),
            "source is behind in": partial(_is_behind, stack, header.source, at.incoming),
            "packet type": "host",
            "mark": self._mark,
            "icmp type": ping if header.protocol == PING else header.protocol if _is_discovery(header) else None,
            "tcp flags": flags if header.protocol == TCP else None,
        }
        return Packet(properties)


def _masquerade(at: HookState, header: Header) -> Optional[HeaderAddress]:
    """The address of the outgoing interface that the kernel takes: one of the next hop's subnet, else the first."""
    if at.outgoing is None:
        return header.source
    if header.version == 6:
        with suppress(OSError, ValueError):
            return ipaddress.ip_address(at.stack.route_to(header.destination).source)
    next_hop = ipaddress.ip_address(at.route.gateway) if at.route and at.route.gateway else header.destination
    own = at.stack.global_addresses(4, at.outgoing)
    near = [each for each in own if not isinstance(next_hop, SomeAddress) and next_hop in each.network]
    anywhere = at.stack.global_addresses(4)
    return next((each.ip for each in (*near, *own, *anywhere)), header.source)


def _settle(connection: TrackedConnection, begins: bool) -> None:
    if begins:
        connection.has_destination = True
    else:
        connection.has_source = True


def _answers(connection: TrackedConnection) -> Iterator[Header]:
    """An answer as it comes; with its destination restored; and with its source, too, as it comes back by `lo`."""
    yield connection.expected_answer
    restored = connection.with_own_destination(connection.expected_answer)
    yield restored
    yield connection.with_own_source(restored)


def _is_discovery(header: Header) -> bool:
    return header.protocol.startswith("nd-")


def _state(header: Header, connection: Optional[TrackedConnection]) -> Tuple[str, Optional[str]]:
    if _is_discovery(header):
        return "untracked", None
    if connection is None:
        return "invalid", None
    if header.reply and not connection.original.reply:
        return "established", "reply"
    return "new", "original"


def _type(stack: PacketStack, address: Optional[HeaderAddress], link: Optional[LinkInfo] = None) -> Optional[str]:
    if address is None or isinstance(address, SomeAddress):
        return _UNICAST
    if link is not None:
        return _LOCAL if address in stack.own(link) or (address.is_loopback and link.name == LOOPBACK) else _UNICAST
    return _LOCAL if stack.is_local(address) else _MULTICAST if address.is_multicast else _UNICAST


def _is_behind(stack: PacketStack, source: Optional[HeaderAddress], link: Optional[LinkInfo]) -> Optional[bool]:
    """Whether a route leads to the source by this link; None where it is not known of each route."""
    if source is None or isinstance(source, SomeAddress) or link is None:
        return None
    with suppress(OSError):
        route = stack.route_to(source)
        return True if not route.local and route.index == link.index else None
    return None


def _doubt(stack: PacketStack, base: Base, ends: Sequence[Outcome]) -> Doubt:
    found: Dict[Tuple[str, int], Tuple[str, Rule, Outcome]] = {}
    for end in ends:
        queued = ((end.chain, end.rule),) if end.rule and end.verdict.statement == "queue" else ()
        for chain, rule in (*end.doubts, *queued):
            found.setdefault((chain, id(rule)), (chain, rule, end))
    return Doubt(stack.name, base, tuple(found.values()))


def _the_rule(end: Outcome) -> str:
    return f"a rule of chain {end.chain}" if end.rule else f"the policy of chain {end.chain}"
