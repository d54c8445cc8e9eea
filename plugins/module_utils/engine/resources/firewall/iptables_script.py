# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes -> what `iptables-restore --noflush` is to do."""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, Sequence, Set

from ...diff import Change
from ...state import IptablesChain, IptablesHook, IptablesRules
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
    before = {chain: rules for chain, rules in current.items() if chain.startswith(f"{family} ")}
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
    for name, by_owner in _changed_chains(family, before, changes).items():
        after[name] = [rule for _owner, rules in sorted(by_owner.items()) for rule in rules]
        if is_group(name) and not after[name]:
            del after[name]
    # A chain that has jumps of wharf.network may itself go.
    for change in sorted(changes, key=lambda change: isinstance(change.subject, IptablesChain)):
        thing = change.subject
        if not thing.name.startswith(f"{family} "):
            continue
        if isinstance(thing, IptablesHook):
            after[thing.name] = list(_hooked(before.get(thing.name, []), change.after))
        elif isinstance(thing, IptablesChain) and change.after is None:
            after.pop(thing.name, None)
        elif isinstance(thing, IptablesChain):
            after.setdefault(thing.name, [])
    return after


def _changed_chains(family: str, before: Chains, changes: Sequence[Change]) -> Dict[str, _ByOwner]:
    """The rules of each chain that changes. What is in DOCKER-USER never does."""
    chains = {name: _by_owner(name, before.get(name, [])) for name in _names(changes) if name.startswith(f"{family} ")}
    for change in changes:
        if isinstance(change.before, IptablesRules):
            for name in {chain for chain, _rule in change.before.elements} & chains.keys():
                chains[name].pop(change.before.name, None)
        if isinstance(change.after, IptablesRules):
            for name, rule in change.after.elements:
                if name in chains:
                    chains[name].setdefault(change.after.name, []).append(with_owner(rule, change.after.name))
        if isinstance(change.after, IptablesChain) and change.after.name in chains:
            chains[change.after.name][""] = list(change.after.rules)
    return chains


def _names(changes: Iterable[Change]) -> Set[str]:
    things = [thing for change in changes for thing in (change.before, change.after)]
    own = {thing.name for thing in things if isinstance(thing, IptablesChain) and not is_users(thing.name)}
    return own.union(chain for thing in things if isinstance(thing, IptablesRules) for chain, _rule in thing.elements)


def _by_owner(chain: str, rules: List[str]) -> _ByOwner:
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
    for name in {**before, **after}:
        old, new = before.get(name, []), after.get(name, [])
        if is_hook(name):
            both[name] = new if any(marked(new)) else old
        else:
            both[name] = [*old, *(rule for rule in new if rule not in old)]
    return both


def _of_table(table: str, chains: Chains) -> Chains:
    """By the chains' names within the table."""
    return {name: rules for name, rules in chains.items() if name.split()[1] == table}


def _transaction(table: str, before: Chains, after: Chains) -> str:
    written = sorted(name for name in after if _is_written(name, before, after))
    hooked = sorted(name for name in after if is_hook(name) and after[name] != before.get(name, []))
    gone = sorted(name for name in before if name not in after)
    if not (written or hooked or gone):
        return ""
    lines = [f"*{table}"]
    # A chain that is there already is emptied by this.
    lines += [f":{_bare(name)} - [0:0]" for name in written]
    # DOCKER-USER is not emptied: a rule that somebody puts there at this moment stays.
    lines += [f"-F {_bare(name)}" for name in gone if not is_users(name)]
    lines += [f"-A {_bare(name)} {rule}" for name in written if not is_hook(name) for rule in after[name]]
    hooked += [name for name in gone if is_hook(name)]
    lines += [line for name in hooked for line in _hook_lines(_bare(name), before.get(name, []), after.get(name, []))]
    lines += [f"-X {_bare(name)}" for name in gone]
    return "\n".join([*lines, "COMMIT"]) + "\n"


def _is_written(name: str, before: Chains, after: Chains) -> bool:
    """Whether it is made, or made anew. DOCKER-USER never is: third-party rules may be in it."""
    return is_managed(name) and (name not in before if is_users(name) else after[name] != before.get(name))


def _hook_lines(chain: str, before: List[str], after: List[str]) -> Iterator[str]:
    for rules in marked(before):
        yield from (f"-D {chain} {rule}" for rule in rules)
    first, last = marked(after)
    yield from (f"-I {chain} {position} {rule}" for position, rule in enumerate(first, 1))
    yield from (f"-A {chain} {rule}" for rule in last)


def _bare(name: str) -> str:
    return name.split()[-1]
