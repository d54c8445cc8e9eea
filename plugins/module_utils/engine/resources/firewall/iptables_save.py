# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What iptables-save prints -> chains -> objects."""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, Set, Tuple

from ...rules.rules_iptables import CHAINS, HOOKS, USER_CHAIN
from ...state import (
    GROUPS,
    ChainRef,
    ChainRule,
    IptablesChain,
    IptablesHook,
    IptablesRules,
    Object,
    Owner,
    State,
    TableChain,
    state_of,
)

# The rules of each chain, as they are printed after its name.
Chains = Dict[ChainRef, List[str]]

_FIRST = "-m comment --comment wharf "
_LAST = '-m comment --comment "wharf, last" '

_JUMP = re.compile(r"(?:^|\s)-[jg] (\S+)")
_OWNER = re.compile(r'-m comment --comment "?((?:network|container) [^" ]+|groups)"? (?=-j )')
_GROUPS = {
    "nat": re.compile(r"DOCKER-(tcp|udp|sctp)-\d+-\d+"),
    "filter": re.compile(r"DOCKER-(\d+\.[\d.]+|[0-9a-f]{12})-(24|28|120|124)"),
}


def parse_save(family: str, text: str) -> Chains:
    """The chains of all tables of a family."""
    chains: Chains = {}
    table = ""
    for line in text.split("\n"):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            chains[ChainRef(family, TableChain(table, line[1:].split()[0]))] = []
        elif line.startswith("-A "):
            name, _space, rule = line[len("-A ") :].partition(" ")
            chains[ChainRef(family, TableChain(table, name))].append(rule)
    return chains


def objects_in(chains: Chains) -> State:
    """The objects of wharf.network in these chains. A rule without an owner, in a chain of its, is the chain's own."""
    skeleton: List[Object] = []
    elements: Dict[str, List[ChainRule]] = {}
    for chain, rules in sorted(chains.items()):
        if is_hook(chain):
            skeleton += _hooks(chain, rules)
        if is_managed(chain):
            owned = [(owner_of(chain, rule), rule) for rule in rules]
            for owner, rule in owned:
                if owner:
                    elements.setdefault(owner, []).append((chain, without_owner(rule)))
            if not is_group(chain):
                skeleton.append(IptablesChain(chain, () if is_users(chain) else tuple(_own_rules(owned))))
    of_owners = (IptablesRules(Owner.parse(owner), tuple(found)) for owner, found in elements.items())
    return state_of([*skeleton, *of_owners])


def _hooks(chain: ChainRef, rules: List[str]) -> Iterator[IptablesHook]:
    first, last = marked(rules)
    if first or last:
        in_place = rules[: len(first)] == first and rules[len(rules) - len(last) :] == last
        yield IptablesHook(
            chain,
            tuple(rule.replace(_FIRST, "") for rule in first),
            tuple(rule.replace(_LAST, "") for rule in last),
            in_place,
        )


def _own_rules(owned: List[Tuple[str, str]]) -> Iterator[str]:
    """The rules without an owner. One that is not before all others differs from what wharf.network wrote."""
    others_began = False
    for owner, rule in owned:
        others_began = others_began or bool(owner)
        if not owner:
            yield f"(behind others) {rule}" if others_began else rule


def marked(rules: List[str]) -> Tuple[List[str], List[str]]:
    """The managed jumps in a built-in chain of iptables: those that are to be first, and those that are to be last."""
    return [rule for rule in rules if _FIRST in rule], [rule for rule in rules if _LAST in rule]


def with_mark(jump: str, last: bool = False) -> str:
    return _before_jump(jump, _LAST if last else _FIRST)


def with_owner(rule: str, owner: str) -> str:
    return _before_jump(rule, f'-m comment --comment "{owner}" ' if " " in owner else f"-m comment --comment {owner} ")


def _before_jump(rule: str, comment: str) -> str:
    matches, jump, target = rule.partition("-j ")
    return f"{matches}{comment}{jump}{target}"


def without_owner(rule: str) -> str:
    return _OWNER.sub("", rule)


def owner_of(chain: ChainRef, rule: str) -> str:
    """Whose rule this is; empty for a chain's own. All that has no owner in the tree counts to who leads there."""
    match = _OWNER.search(rule)
    return match[1] if match else GROUPS if is_group(chain) else ""


def is_hook(chain: ChainRef) -> bool:
    return chain.at in HOOKS


def is_managed(chain: ChainRef) -> bool:
    return chain.at in CHAINS or is_group(chain)


def is_group(chain: ChainRef) -> bool:
    names = _GROUPS.get(chain.at.table)
    return names is not None and names.fullmatch(chain.at.name) is not None


def is_users(chain: ChainRef) -> bool:
    return chain.at.name == USER_CHAIN


def user_chains_in_use(chains: Chains) -> Set[ChainRef]:
    """The DOCKER-USER chains that have third-party rules, or that third-party rules lead to."""
    led_to = led_to_by_others(chains)
    return {
        chain
        for chain, rules in chains.items()
        if is_users(chain) and (chain in led_to or any(rule not in marked(rules)[0] for rule in rules))
    }


def led_to_by_others(chains: Chains) -> Set[ChainRef]:
    """The chains of wharf.network that third-party rules lead to."""
    found: Set[ChainRef] = set()
    for chain, rules in chains.items():
        if not is_managed(chain):
            jumps = [_JUMP.search(rule) for rule in rules if _FIRST not in rule and _LAST not in rule]
            found.update(ChainRef(chain.family, TableChain(chain.at.table, jump[1])) for jump in jumps if jump)
    return {chain for chain in found if is_managed(chain)}
