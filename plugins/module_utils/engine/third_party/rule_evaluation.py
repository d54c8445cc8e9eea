# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluates chains of rules for a packet of which some properties are unknown.

A condition on an unknown property may hold or not. A packet counts as dropped only if it is dropped in every case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

# Whether a condition holds; None where that depends on an unknown property.
Known = Optional[bool]

ACCEPT, DROP, RETURN, CONTINUE, JUMP, GOTO = "accept", "drop", "return", "continue", "jump", "goto"


class Packet:
    """A packet at one hook, by its properties. A property that is missing, or None, is unknown.

    `read` are the properties that the evaluation has read.
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self.properties = properties
        self.read: Set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return self.properties.get(name)

    def before_tracking(self) -> Packet:
        """The packet as rules before connection tracking see it: without a connection, which is the state invalid."""
        return Packet({**self.properties, "state": "invalid", "direction": None, "dnat": None})


@dataclass(frozen=True)
class Verdict:
    """A verdict on a packet; `target` is the chain of a jump or goto."""

    kind: str
    target: str = ""


@dataclass(frozen=True)
class Rule:
    """A rule. `label` identifies it in its chain: its handle or its text.

    `verdicts` gives the verdicts that a packet may get that meets all conditions, and whether it certainly gets one.
    """

    label: str
    conditions: Tuple[Callable[[Packet], Known], ...]
    verdicts: Callable[[Packet], Tuple[List[Verdict], bool]]

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

    `is_early`: the hook is before connection tracking.
    """

    name: str
    rules: Tuple[Rule, ...]
    hook: str = ""
    policy: str = ACCEPT
    is_early: bool = False


@dataclass(frozen=True)
class End:
    """Where the evaluation of a packet ends: `passed`, dropped by a rule of a chain, or at the end of the chain."""

    chain: str = ""
    rule: str = ""
    passed: bool = False


_PASSED = End(passed=True)
_AT_END = End()


class Table:
    """The chains of a table, which may jump to each other."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        self.chains = {chain.name: chain for chain in chains}
        # For each base chain: the properties that an evaluation read, and the result by their values.
        self._results: Dict[str, Dict[FrozenSet[str], Dict[Tuple[Any, ...], Optional[End]]]] = {}

    def at(self, hook: str) -> List[Chain]:
        return [chain for chain in self.chains.values() if chain.hook == hook]

    def drops(self, chain: Chain, packet: Packet) -> Optional[End]:
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

    def _drops(self, chain: Chain, packet: Packet) -> Optional[End]:
        ends = self._walk(chain, packet)
        if _PASSED in ends or (_AT_END in ends and chain.policy != DROP):
            return None
        return End(chain.name) if _AT_END in ends else ends[-1]

    def _walk(self, chain: Chain, packet: Packet) -> List[End]:
        """All possible ends; only `passed` if the packet may pass."""
        ends: List[End] = []
        for rule in chain.rules:
            met = rule.is_met(packet)
            if met is False:
                continue
            verdicts, surely = rule.verdicts(packet)
            goes_on = not (met and surely)
            for verdict in verdicts:
                for end in self._follow(verdict, chain, rule, packet):
                    if end == _PASSED:
                        return [_PASSED]
                    if end is None:
                        goes_on = True
                    else:
                        ends.append(end)
            if not goes_on:
                return ends
        return [*ends, _AT_END]

    def _follow(self, verdict: Verdict, chain: Chain, rule: Rule, packet: Packet) -> Iterator[Optional[End]]:
        """The ends that a verdict leads to; None for the chain's next rule."""
        if verdict.kind == ACCEPT:
            yield _PASSED
        elif verdict.kind == DROP:
            yield End(chain.name, rule.label)
        elif verdict.kind == RETURN:
            yield _AT_END
        elif verdict.kind in (JUMP, GOTO) and verdict.target in self.chains:
            for end in self._walk(self.chains[verdict.target], packet):
                yield None if end == _AT_END and verdict.kind == JUMP else end
        else:
            yield None


def _values(packet: Packet, names: FrozenSet[str]) -> Tuple[Any, ...]:
    return tuple(packet.properties.get(name) for name in sorted(names))
