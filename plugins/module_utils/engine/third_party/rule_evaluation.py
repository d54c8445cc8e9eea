# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a chain of rules makes of a packet of which not everything is known.

What is not known may be so or otherwise. A packet that may pass counts as one that passes; only one that is
dropped whatever the unknown is counts as dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

# Whether something holds; None where that depends on what is not known.
Known = Optional[bool]

ACCEPT, DROP, RETURN, CONTINUE, JUMP, GOTO = "accept", "drop", "return", "continue", "jump", "goto"


class Packet:
    """A packet at one hook, by its properties. One that is missing, or None, is not known.

    `asked` are the properties that somebody has looked at.
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self.properties = properties
        self.asked: Set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return self.properties.get(name)

    def before_tracking(self) -> Packet:
        """The same before its connection is known, when the kernel says of it that it has none."""
        return Packet({**self.properties, "state": "invalid", "direction": None, "dnat": None})


@dataclass(frozen=True)
class Verdict:
    """What becomes of a packet; `target` is the chain that a jump or goto leads to."""

    kind: str
    target: str = ""


@dataclass(frozen=True)
class Rule:
    """`label` tells it from others of its chain: its handle or its text.

    `verdicts` says what may become of a packet that meets all conditions, and whether one of these surely does.
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
    """A chain; with a `hook` it is one that packets enter by themselves, and `policy` decides at its end.

    `is_early`: packets come by before their connection is known.
    """

    name: str
    rules: Tuple[Rule, ...]
    hook: str = ""
    policy: str = ACCEPT
    is_early: bool = False


@dataclass(frozen=True)
class End:
    """Where a packet's way through some chains ends: `passed`, dropped by a chain's rule, or at the chain's end."""

    chain: str = ""
    rule: str = ""
    passed: bool = False


_PASSED = End(passed=True)
_AT_END = End()


class Table:
    """Chains that jump to each other, and what they make of packets."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        self.chains = {chain.name: chain for chain in chains}
        # For each chain: which properties were asked for, and the answer by their values.
        self._answers: Dict[str, Dict[FrozenSet[str], Dict[Tuple[Any, ...], Optional[End]]]] = {}

    def at(self, hook: str) -> List[Chain]:
        return [chain for chain in self.chains.values() if chain.hook == hook]

    def drops(self, chain: Chain, packet: Packet) -> Optional[End]:
        """Where this base chain drops the packet, whatever is not known of it; None where it may pass.

        Two packets that agree in all that was asked of the first have one answer.
        """
        if chain.is_early:
            packet = packet.before_tracking()
        known = self._answers.setdefault(chain.name, {})
        for asked, answers in known.items():
            values = _values(packet, asked)
            if values in answers:
                return answers[values]
        packet.asked = set()
        answer = self._drops(chain, packet)
        asked = frozenset(packet.asked)
        known.setdefault(asked, {})[_values(packet, asked)] = answer
        return answer

    def _drops(self, chain: Chain, packet: Packet) -> Optional[End]:
        ends = self._walk(chain, packet)
        if _PASSED in ends or (_AT_END in ends and chain.policy != DROP):
            return None
        return End(chain.name) if _AT_END in ends else ends[-1]

    def _walk(self, chain: Chain, packet: Packet) -> List[End]:
        """All ends that are possible; when the packet may pass, that alone."""
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
        """Where a verdict leads to: an end, or None for the chain's next rule."""
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
