# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes -> what `iptables-restore --noflush` is to do."""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, Sequence, Set

from ...diff import Change
from ...state import ChainRef, IptablesChain, IptablesHook, IptablesRules
from .iptables_save import Chains, is_group, is_hook, is_managed, is_users, marked, owner_of, with_mark, with_owner

# The rules of a chain by their owner, as they are to be written; those that nobody owns by the empty name.
_ByOwner = Dict[str, List[str]]


def restore_script(family: str, current: Chains, changes: Sequence[Change]) -> str:
    """What iptables-restore is to do for a family; nothing where nothing of that family changes.

    It commits table by table, so their order matters. The table raw only drops: there the new comes before all else,
    and the old goes after all else. Filter lets through what is translated, so it precedes nat, which translates:
    nothing is translated that is not let through yet, and what no longer is let through is closed before its
    translation goes.
    """
    before = {chain: rules for chain, rules in current.items() if chain.family == family}
    after = chains_after(family, before, changes)
    both = _united(before, after)
    steps = [
        ("raw", before, both),
        ("mangle", before, after),
        ("filter", before, after),
        ("nat", before, after),
        ("raw", both, after),
    ]
    return "".join(_transaction(table, _of_table(table, old), _of_table(table, new)) for table, old, new in steps)


def chains_after(family: str, before: Chains, changes: Sequence[Change]) -> Chains:
    """The chains of a family, third-party ones included, as they are after the changes."""
    after = dict(before)
    for chain, by_owner in _changed_chains(family, before, changes).items():
        after[chain] = [rule for _owner, rules in sorted(by_owner.items()) for rule in rules]
        if is_group(chain) and not after[chain]:
            del after[chain]
    # A chain that has jumps of wharf.network may itself go.
    for change in sorted(changes, key=lambda change: isinstance(change.subject, IptablesChain)):
        thing = change.subject
        if not isinstance(thing, (IptablesHook, IptablesChain)) or thing.ref.family != family:
            continue
        if isinstance(thing, IptablesHook):
            after[thing.ref] = list(_hooked(before.get(thing.ref, []), change.after))
        elif change.after is None:
            after.pop(thing.ref, None)
        else:
            after.setdefault(thing.ref, [])
    return after


def _changed_chains(family: str, before: Chains, changes: Sequence[Change]) -> Dict[ChainRef, _ByOwner]:
    """The rules of each chain that changes. What is in DOCKER-USER never does."""
    touched = (chain for chain in _touched(changes) if chain.family == family)
    chains = {chain: _by_owner(chain, before.get(chain, [])) for chain in touched}
    for change in changes:
        if isinstance(change.before, IptablesRules):
            for chain in {chain for chain, _rule in change.before.elements} & chains.keys():
                chains[chain].pop(change.before.name, None)
        if isinstance(change.after, IptablesRules):
            for chain, rule in change.after.elements:
                if chain in chains:
                    chains[chain].setdefault(change.after.name, []).append(with_owner(rule, change.after.name))
        if isinstance(change.after, IptablesChain) and change.after.ref in chains:
            chains[change.after.ref][""] = list(change.after.rules)
    return chains


def _touched(changes: Iterable[Change]) -> Set[ChainRef]:
    things = [thing for change in changes for thing in (change.before, change.after)]
    own = {thing.ref for thing in things if isinstance(thing, IptablesChain) and not is_users(thing.ref)}
    return own.union(chain for thing in things if isinstance(thing, IptablesRules) for chain, _rule in thing.elements)


def _by_owner(chain: ChainRef, rules: List[str]) -> _ByOwner:
    found: _ByOwner = {}
    for rule in rules:
        found.setdefault(owner_of(chain, rule), []).append(rule)
    return found


def _hooked(rules: List[str], hook: object) -> Iterator[str]:
    """The rules of a built-in chain of iptables, with the managed jumps in their places, and others as they are."""
    managed = [rule for found in marked(rules) for rule in found]
    if isinstance(hook, IptablesHook):
        yield from (with_mark(jump) for jump in hook.first)
    yield from (rule for rule in rules if rule not in managed)
    if isinstance(hook, IptablesHook):
        yield from (with_mark(jump, last=True) for jump in hook.last)


def _united(before: Chains, after: Chains) -> Chains:
    """The rules of both, and the managed jumps as long as there are any in either."""
    both = {}
    for chain in {**before, **after}:
        old, new = before.get(chain, []), after.get(chain, [])
        if is_hook(chain):
            both[chain] = new if any(marked(new)) else old
        else:
            both[chain] = [*old, *(rule for rule in new if rule not in old)]
    return both


def _of_table(table: str, chains: Chains) -> Chains:
    return {chain: rules for chain, rules in chains.items() if chain.at.table == table}


def _transaction(table: str, before: Chains, after: Chains) -> str:
    written = sorted(chain for chain in after if _is_written(chain, before, after))
    hooked = sorted(chain for chain in after if is_hook(chain) and after[chain] != before.get(chain, []))
    gone = sorted(chain for chain in before if chain not in after)
    if not (written or hooked or gone):
        return ""
    lines = [f"*{table}"]
    # A chain that is there already is emptied by this.
    lines += [f":{chain.at.name} - [0:0]" for chain in written]
    # DOCKER-USER is not emptied: a rule that somebody puts there at this moment stays.
    lines += [f"-F {chain.at.name}" for chain in gone if not is_users(chain)]
    lines += [f"-A {chain.at.name} {rule}" for chain in written if not is_hook(chain) for rule in after[chain]]
    hooked += [chain for chain in gone if is_hook(chain)]
    for chain in hooked:
        lines += _hook_lines(chain.at.name, before.get(chain, []), after.get(chain, []))
    lines += [f"-X {chain.at.name}" for chain in gone]
    return "\n".join([*lines, "COMMIT"]) + "\n"


def _is_written(chain: ChainRef, before: Chains, after: Chains) -> bool:
    """Whether it is made, or made anew. DOCKER-USER never is: third-party rules may be in it."""
    return is_managed(chain) and (chain not in before if is_users(chain) else after[chain] != before.get(chain))


def _hook_lines(name: str, before: List[str], after: List[str]) -> Iterator[str]:
    for rules in marked(before):
        yield from (f"-D {name} {rule}" for rule in rules)
    first, last = marked(after)
    yield from (f"-I {name} {position} {rule}" for position, rule in enumerate(first, 1))
    yield from (f"-A {name} {rule}" for rule in last)
