# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of wharf.network in third-party filter tables of iptables, and the marked jump that leads there."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Dict, FrozenSet, List, Mapping, Sequence, Tuple

from ...diff import Change
from ...kernel import iptables_variants
from ...kernel.iptables_variants import Variant
from ...state import FilterRule, Key, State, ThirdPartyAccept, state_of
from ...third_party.accepts import ACCEPTS, JUMP, accept_rule
from ...third_party.iptables_rules import split_arguments
from ..resource import Observation, Resource
from . import nftables


class ThirdPartyAccepts(Resource):
    """`ThirdPartyAccept`. Only rules with its mark are read and changed; others keep their place and order."""

    kinds = frozenset(["accept"])

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        """The rules go where there is a chain FORWARD; none is made for them."""
        variants = _variants_with_forward()
        there = {variant.name for variant in variants}
        wanted = [
            ThirdPartyAccept(thing.name, tuple(sorted(rule for rule in thing.rules if rule[0] in there)))
            for thing in desired.values()
            if isinstance(thing, ThirdPartyAccept)
        ]
        found: Dict[str, List[Tuple[str, FilterRule]]] = {}
        for variant in variants:
            for owner, rule in _managed_rules(variant.save("filter")):
                found.setdefault(owner, []).append((variant.name, rule))
        current = [ThirdPartyAccept(owner, tuple(sorted(rules))) for owner, rules in found.items()]
        return Observation(state_of([*(thing for thing in wanted if not thing.rules), *current]), state_of([*wanted]))

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        """What goes before what comes, in one transaction of each program."""
        before = Counter(rule for change in changes for rule in _rules(change.before))
        after = Counter(rule for change in changes for rule in _rules(change.after))
        going, coming = [*(before - after).elements()], [*(after - before).elements()]
        for variant in _variants_with_forward():
            script = _script(variant, _of(variant, going), _of(variant, coming))
            if script:
                variant.restore(script)
        return {}


def _variants_with_forward() -> List[Variant]:
    """The kinds of iptables that have a chain FORWARD here."""
    tables = nftables.third_party_tables()
    return [
        variant
        for variant in iptables_variants.variants()
        if "filter" in variant.tables([name for family, name in tables if family == variant.family])
        and variant.program("save")
        and variant.program("restore")
        and (variant.kind != iptables_variants.NFT or nftables.has_chain(variant.family, "filter", "FORWARD"))
    ]


def _managed_rules(save: str) -> List[Tuple[str, FilterRule]]:
    """Each rule of wharf.network with its owner."""
    found = []
    begins = f"-A {ACCEPTS} "
    for line in save.split("\n"):
        if line == str(JUMP):
            found.append((JUMP.chain, JUMP))
        elif line.startswith(begins) and "--comment" in line:
            # No managed rule has a quote within a word.
            with suppress(ValueError):
                words = split_arguments(line)
                owner = words[words.index("--comment") + 1]
                found.append((owner, accept_rule(owner, line[len(begins) :])))
    return found


def _script(variant: Variant, going: List[FilterRule], coming: List[FilterRule]) -> str:
    there = variant.save("filter")
    left = {*there.split("\n")} - {*map(str, going)}
    lines = [f"-D {rule.chain} {rule.text}" for rule in going]
    has_chain = f":{ACCEPTS} " in there
    if coming and not has_chain:
        lines.insert(0, f":{ACCEPTS} - [0:0]")
    lines += [f"-I {rule.chain} 1 {rule.text}" if rule.is_first else str(rule) for rule in coming]
    if has_chain and not coming and not any(ACCEPTS in line.split() for line in left):
        lines.append(f"-X {ACCEPTS}")
    return "\n".join(["*filter", *lines, "COMMIT", ""]) if lines else ""


def _rules(thing: object) -> Tuple[Tuple[str, FilterRule], ...]:
    return thing.rules if isinstance(thing, ThirdPartyAccept) else ()


def _of(variant: Variant, rules: List[Tuple[str, FilterRule]]) -> List[FilterRule]:
    return [rule for name, rule in rules if name == variant.name]
