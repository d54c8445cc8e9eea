# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluates chains of rules for a packet of which some properties are unknown.

A condition on an unknown property may hold or not. A packet counts as dropped only if it is dropped in every case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ..declaration.section import Address, Subnet

# Whether a condition holds; None where that depends on an unknown property.
Known = Optional[bool]

ACCEPT, DROP, RETURN, CONTINUE, JUMP, GOTO = "accept", "drop", "return", "continue", "jump", "goto"


@dataclass(frozen=True)
class SomeAddress:
    """An address of which it is only known that it is in none of these subnets."""

    version: int
    outside: Tuple[Subnet, ...] = ()

    def __str__(self) -> str:
        return "the outside"

    def is_in(self, subnet: Subnet) -> Known:
        if subnet.version != self.version:
            return False
        if not subnet.prefixlen:
            return True
        inner = subnet.network_address, subnet.broadcast_address
        return False if any(all(end in other for end in inner) for other in self.outside) else None


@dataclass(frozen=True)
class SomePort:
    """A port of which it is only known that it is one of these."""

    first: int
    last: int

    def is_in(self, first: int, last: int) -> Known:
        if first <= self.first and self.last <= last:
            return True
        return None if first <= self.last and self.first <= last else False


class Packet:
    """A packet at one hook, by its properties. A property that is missing, or None, is unknown. For one that the kernel
    has to be asked for, there may be a function, which is called when a rule first reads the property.

    `read` are the properties that the evaluation has read. Rules may change the `mark`, if it is given.
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self.properties = dict(properties)
        self.read: Set[str] = set()

    def set_mark(self, mark: Optional[int]) -> None:
        if "mark" in self.properties:
            self.properties["mark"] = mark

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        found = self.properties.get(name)
        if callable(found):
            found = self.properties[name] = found()
        return found

    def before_tracking(self) -> Packet:
        """The packet as rules before connection tracking see it: without a connection, which is the state invalid."""
        return Packet({**self.properties, "state": "invalid", "direction": None, "dnat": None})


@dataclass(frozen=True)
class Translation:
    """What NAT makes of a packet: another destination (dnat, redirect) or source (snat, masquerade).

    `address` is None for that of the interface; `port` is None where the port stays as it is. `is_known` is false where
    the rule leaves a choice, such as that of a range.
    """

    kind: str
    address: Optional[Address] = None
    port: Optional[int] = None
    is_known: bool = True


@dataclass(frozen=True)
class Verdict:
    """A verdict on a packet; `target` is the chain of a jump or goto. `statement` is the rule's own word for it.

    `by_element` is the comment of the element of a map that the verdict is from, if it has one.
    """

    kind: str
    target: str = ""
    statement: str = ""
    translation: Optional[Translation] = None
    by_element: str = ""


@dataclass(frozen=True)
class Rule:
    """A rule. `label` identifies it in its chain: its handle or its text.

    `verdicts` gives the verdicts that a packet may get that meets all conditions, and whether it certainly gets one.
    `marks`: it sets a mark on the packet, which is `mark`, or unknown. `untracks`: its connection is not tracked.
    """

    label: str
    conditions: Tuple[Callable[[Packet], Known], ...]
    verdicts: Callable[[Packet], Tuple[List[Verdict], bool]]
    marks: bool = False
    mark: Optional[int] = None
    untracks: bool = False
    comment: str = ""

    def is_met(self, packet: Packet) -> Known:
        known: Known = True
        for condition in self.conditions:
            found = condition(packet)
            if found is False:
                return False
            known = known and found
        return known


@dataclass(frozen=True)
class Chain:
    """A chain. With a `hook` it is a base chain, whose `policy` decides at its end.

    `is_early`: the hook is before connection tracking. `is_nat`: only the first packet of a connection comes here.
    `device` is the interface of a hook of the family netdev.
    """

    name: str
    rules: Tuple[Rule, ...]
    hook: str = ""
    policy: str = ACCEPT
    is_early: bool = False
    priority: int = 0
    is_nat: bool = False
    devices: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How the evaluation of a packet may end: with a verdict by a rule of a chain, or by the policy, without a rule.

    `doubts` are the rules on the way, this one included, of which it is not known whether the packet meets them.
    """

    verdict: Verdict
    chain: str
    rule: Optional[Rule] = None
    doubts: Tuple[Tuple[str, Rule], ...] = ()

    @property
    def passed(self) -> bool:
        return self.verdict.kind == ACCEPT


@dataclass(frozen=True)
class Drop:
    """The chain that drops, and the label of its rule; empty for the policy."""

    chain: str
    rule: str


class Table:
    """The chains of a table, which may jump to each other."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        self.chains = {chain.name: chain for chain in chains}
        # For each base chain: the properties that an evaluation read, and the result by their values.
        self._results: Dict[str, Dict[FrozenSet[str], Dict[Tuple[Any, ...], Optional[Drop]]]] = {}

    def at(self, hook: str) -> List[Chain]:
        return [chain for chain in self.chains.values() if chain.hook == hook]

    def drops(self, chain: Chain, packet: Packet) -> Optional[Drop]:
        """Where this base chain drops the packet, whatever its unknown properties are; None if the packet may pass.

        Packets that agree in all properties which the evaluation of the first one read have the same result, so they
        are evaluated once.
        """
        if chain.is_early:
            packet = packet.before_tracking()
        known = self._results.setdefault(chain.name, {})
        for read, results in known.items():
            values = _values(packet, read)
            if values in results:
                return results[values]
        packet.read = set()
        result = self._drops(chain, packet)
        read = frozenset(packet.read)
        known.setdefault(read, {})[_values(packet, read)] = result
        return result

    def _drops(self, chain: Chain, packet: Packet) -> Optional[Drop]:
        ends: List[Outcome] = []
        for end in self.ends(chain, packet):
            if end.passed:
                return None
            ends.append(end)
        by_policy = not all(end.rule for end in ends)
        return Drop(chain.name, "") if by_policy else Drop(ends[-1].chain, ends[-1].rule.label if ends[-1].rule else "")

    def ends(self, chain: Chain, packet: Packet) -> Iterator[Outcome]:
        """All ends that the evaluation of this base chain may come to, in the order of the rules."""
        for end in self._walk(chain, packet, ()):
            yield end or Outcome(Verdict(chain.policy), chain.name)

    def _walk(self, chain: Chain, packet: Packet, doubts: Tuple[Tuple[str, Rule], ...]) -> Iterator[Optional[Outcome]]:
        """None where the packet may come to the end of the chain."""
        for rule in chain.rules:
            met = rule.is_met(packet)
            if met is False:
                continue
            if rule.marks:
                packet.set_mark(rule.mark if met and not doubts else None)
            verdicts, surely = rule.verdicts(packet)
            goes_on = not (met and surely)
            in_doubt = (*doubts, (chain.name, rule)) if goes_on and verdicts else doubts
            for verdict in verdicts:
                for end in self._follow(verdict, chain, rule, packet, in_doubt):
                    if end is None and verdict.kind not in (RETURN, GOTO):
                        goes_on = True
                    else:
                        yield end
            if not goes_on:
                return
        yield None

    def _follow(
        self, verdict: Verdict, chain: Chain, rule: Rule, packet: Packet, doubts: Tuple[Tuple[str, Rule], ...]
    ) -> Iterator[Optional[Outcome]]:
        """The ends that a verdict leads to; None for the end of the chain that it leads to, or for the next rule."""
        if verdict.kind in (ACCEPT, DROP):
            yield Outcome(verdict, chain.name, rule, doubts)
        elif verdict.kind in (JUMP, GOTO) and verdict.target in self.chains:
            yield from self._walk(self.chains[verdict.target], packet, doubts)
        else:
            yield None


def _values(packet: Packet, names: FrozenSet[str]) -> Tuple[Any, ...]:
    return tuple(packet.properties.get(name) for name in sorted(names))
