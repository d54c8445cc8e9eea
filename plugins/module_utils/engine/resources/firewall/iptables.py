# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes iptables: the chains and jumps of wharf.network in its tables, listed and changed as text."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, Sequence, Tuple

from ...diff import Change
from ...errors import ConflictError, Problem
from ...kernel import namespaces, programs
from ...kernel.iptables_variants import Variant
from ...rules.network_rules_iptables import FAMILIES
from ...rules.rules_iptables import DECLARED, DECLARED_CHAIN
from ...state import ChainRef, IptablesChain, IptablesHook, IptablesRules, Key, State
from ..resource import Observation, Resource
from .iptables_save import (
    Chains,
    is_hook,
    is_users,
    led_to_by_others,
    marked,
    objects_in,
    parse_save,
    user_chains_in_use,
)
from .iptables_script import restore_script


class Iptables(Resource):
    """`IptablesChain`, `IptablesHook` and `IptablesRules`, of whichever kind the host's iptables is.

    `canonical` has what iptables lists of the admin's rules, by a hash of their text, from earlier runs.
    """

    kinds = frozenset(["iptables_chain", "iptables_hook", "iptables_rules"])

    def __init__(self, canonical: Mapping[str, str]) -> None:
        self._canonical = canonical

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        canonical: Dict[str, str] = {}
        as_listed = dict(desired)
        for key, thing in desired.items():
            if isinstance(thing, IptablesChain) and thing.ref.at == DECLARED and thing.rules:
                hashed, text = self._listed(thing)
                canonical[hashed] = text
                as_listed[key] = replace(thing, rules=tuple(text.splitlines()))
        return Observation(self._current(desired, owned), as_listed, canonical=canonical)

    def _listed(self, chain: IptablesChain) -> Tuple[str, str]:
        """The admin's rules as iptables lists them, which prints some rates and texts in other words."""
        family = chain.ref.family
        text = "".join(f"-A {DECLARED_CHAIN} {rule}\n" for rule in chain.rules)
        made_by = programs.identity(_variant(family, "restore").program("restore"))
        hashed = f"iptables {family} " + hashlib.sha256(f"{family} {made_by}\n{text}".encode()).hexdigest()
        return hashed, self._canonical.get(hashed) or _listed_in_scratch(family, text)

    def require(self, new: State) -> None:
        for family in _families(new):
            for what in ("save", "restore"):
                _variant(family, what)

    def _current(self, desired: State, owned: FrozenSet[Key]) -> State:
        """The chains of wharf.network as they are. A DOCKER-USER chain in use is the admin's, unless it is desired."""
        managed = desired.keys() | owned
        chains = _list_tables(_families(managed))
        _refuse_third_party(chains, desired, owned)
        kept = {_key(chain) for chain in user_chains_in_use(chains)} - desired.keys()
        return {
            key: thing
            for key, thing in objects_in(chains).items()
            if isinstance(thing, IptablesRules) or (key in managed and key not in kept)
        }

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        families = _in_order(chain.family for chain in _touched(changes))
        current = _list_tables(families)
        for family in families:
            script = restore_script(family, current, changes)
            if script:
                _variant(family, "restore").restore(script)
        return {}


def _listed_in_scratch(family: str, text: str) -> str:
    with namespaces.scratch():
        _variant(family, "restore").restore(f"*filter\n:{DECLARED_CHAIN} - [0:0]\n{text}COMMIT\n")
        listed = parse_save(family, _variant(family, "save").save("filter"))
    return "".join(f"{rule}\n" for rule in listed[ChainRef(family, DECLARED)])


def _touched(changes: Iterable[Change]) -> Iterator[ChainRef]:
    """The chains that change, and those in which rules do."""
    for thing in (thing for change in changes for thing in (change.before, change.after)):
        if isinstance(thing, (IptablesChain, IptablesHook)):
            yield thing.ref
        elif isinstance(thing, IptablesRules):
            yield from (chain for chain, _rule in thing.elements)


def _key(chain: ChainRef) -> Key:
    return IptablesChain.kind, str(chain)


def _families(keys: Iterable[Key]) -> List[str]:
    kinds = (IptablesChain.kind, IptablesHook.kind)
    return _in_order(ChainRef.parse(name).family for kind, name in keys if kind in kinds)


def _in_order(families: Iterable[str]) -> List[str]:
    named = {*families}
    return [family for family in FAMILIES.values() if family in named]


def _refuse_third_party(chains: Chains, desired: State, owned: FrozenSet[Key]) -> None:
    """
    Raises:
        ConflictError: a dockerd, or another program, has a chain of a name that is needed.
    """
    led_to = led_to_by_others(chains)
    hooked = {
        (chain.family, chain.at.table) for chain, rules in chains.items() if is_hook(chain) and any(marked(rules))
    }
    problems = []
    for kind, name in desired.keys() | owned:
        if kind != IptablesChain.kind or is_users(chain := ChainRef.parse(name)):
            continue
        is_known = (kind, name) in owned or (chain.family, chain.at.table) in hooked
        if chain in led_to or (not is_known and chains.get(chain)):
            problems.append(Problem(f"{chain.family}tables -t {chain.at.table} -S {chain.at.name}", _THIRD_PARTY))
    if problems:
        raise ConflictError(*sorted(problems, key=str))


_THIRD_PARTY = (
    "this chain is not managed by wharf.network, but perhaps by a dockerd that makes its own rules: set "
    "firewall-backend of the host's settings to nftables, or start that dockerd with "
    '"iptables": false and "ip6tables": false and remove its chains'
)


def _list_tables(families: Iterable[str]) -> Chains:
    """The chains of these families, with their rules as iptables-save prints them."""
    chains: Chains = {}
    for family in families:
        listing = _variant(family, "save").save()
        if "is incompatible, use 'nft' tool" in listing:
            raise ConflictError.at(
                f"{family}tables-save",
                "a table of iptables has rules that iptables cannot show, since they were added by nft: "
                "remove them, or set firewall-backend of the host's settings to nftables",
            )
        chains.update(parse_save(family, listing))
    return chains


def _variant(family: str, what: str) -> Variant:
    """The host's iptables of a family, with its program `save` or `restore`.

    Raises:
        ConflictError: the host has no such program.
    """
    variant = Variant("", family)
    if not variant.program(what):
        name = f"{variant.name}-{what}"
        raise ConflictError.at(name, "is needed on this host for the firewall: install the package iptables")
    return variant
