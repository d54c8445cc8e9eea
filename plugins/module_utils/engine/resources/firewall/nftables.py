# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes the one table of wharf.network in nftables, as text, all changes in one transaction."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Dict, FrozenSet, List, Mapping, Sequence, Tuple

from ...diff import Change
from ...errors import ApplyError, ConflictError
from ...kernel import namespaces, programs
from ...rules.rules_nftables import OWN_CHAINS, TABLE, USER_CHAIN
from ...state import ElementSet, Key, SetElements, State
from ..resource import Observation, Resource
from .nft_listing import blocks, parse_listing, parse_rule_texts, user_chains_in_use
from .nft_script import definition, nft_script


class Nftables(Resource):
    """Observes and changes `Chain`, `ElementSet` and `SetElements`.

    `canonical` has what nft lists of a table that it was given as text, by a hash of that text, from earlier runs.
    `known_sets` are the sets that were desired in this run: when it is rolled back, its chains are read without them.
    """

    kinds = frozenset(["chain", "set", "rules"])

    def __init__(self, canonical: Mapping[str, str], known_sets: Dict[Key, ElementSet]) -> None:
        self._canonical = canonical
        self._sets = known_sets

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        # Listed first: where nft cannot list tables, its error is the one to report.
        current = self._current(desired, owned)
        canonical = self._listed(desired)
        listed = {key: thing for text in canonical.values() for key, thing in parse_listing(text).items()}
        as_listed = {key: listed.get(key, thing) for key, thing in desired.items()}
        return Observation(current, as_listed, canonical=canonical)

    def _listed(self, desired: State) -> Dict[str, str]:
        """The desired chains and sets as nft lists them, since nft rewrites what it is given."""
        skeleton = [thing for thing in desired.values() if not isinstance(thing, SetElements)]
        if not skeleton:
            return {}
        self._sets.update({thing.key: thing for thing in skeleton if isinstance(thing, ElementSet)})
        text = definition([*(thing for key, thing in self._sets.items() if key not in desired), *skeleton])
        hashed = hashlib.sha256(f"{programs.identity(_nft_program())}\n{text}".encode()).hexdigest()
        return {hashed: self._canonical.get(hashed) or _listed_in_scratch(text)}

    def _current(self, desired: State, owned: FrozenSet[Key]) -> State:
        """The table without third-party objects, and without a DOCKER-USER chain that has third-party rules."""
        managed = desired.keys() | owned
        listing = _list_table()
        if not owned and not is_managed(listing):
            if not desired:
                return {}
            remedy = f"rename it, or delete it (nft delete table {TABLE})"
            raise ConflictError.at(f"table {TABLE}", f"is on this host and is not managed by wharf.network: {remedy}")
        kept = user_chains_in_use(listing) - desired.keys()
        return {
            key: thing
            for key, thing in parse_listing(listing).items()
            if isinstance(thing, SetElements) or (key in managed and key not in kept)
        }

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        """One transaction for all changes: the kernel has the old rules, and then it has the new ones."""
        _run(f"delete table {TABLE}\n" if _are_all_there_is(changes) else nft_script(changes))
        return {}


def is_managed(listing: str) -> bool:
    """Whether wharf.network made the table, as far as the listing shows: a third-party table has none of its chains.

    All chains come in one transaction, and DOCKER-USER stays as long as an admin's rules are in it.
    """
    names = {name for _kind, name, _lines in blocks(listing)}
    return not names or not names.isdisjoint(OWN_CHAINS)


def _list_table() -> str:
    """The table's listing; empty where there is no such table.

    Raises:
        ConflictError: nft cannot list any.
    """
    listing, errors = _nft(["--stateless", "list", "table", *TABLE], "")
    if errors and "No such file" not in errors:
        remedy = "load the module nf_tables, or boot a kernel that has it"
        raise ConflictError.at("nft", f"cannot list the tables of this host's kernel ({errors}): {remedy}")
    return listing


def _are_all_there_is(changes: Sequence[Change]) -> bool:
    """Whether these changes leave nothing in the table, third-party objects included."""
    gone = {change.subject.name for change in changes if change.after is None}
    return USER_CHAIN in gone and all(name in gone for _kind, name, _lines in blocks(_list_table()))


def _listed_in_scratch(text: str) -> str:
    """
    Raises:
        ConflictError: the kernel or nft cannot do what the rules need.
    """
    with namespaces.scratch():
        _output, errors = _nft(["-f", "-"], text)
        if errors:
            first = errors.splitlines()[0]
            remedy = "install nftables 1.0.2 or later, or set firewall-backend of the host's settings to iptables"
            raise ConflictError.at("nft", f"nft or the kernel of this host cannot load the rules ({first}): {remedy}")
        return _list_table()


def _run(script: str) -> None:
    _output, errors = _nft(["-f", "-"], script)
    if errors:
        raise ApplyError(f"nft refused the rules: {errors}")


def third_party_tables() -> List[Tuple[str, str]]:
    """Family and name of every third-party table; none where there is no nft to list them."""
    return [(family, name) for family, name in all_tables() if (family, name) != TABLE]


def all_tables() -> List[Tuple[str, str]]:
    """Family and name of every table; none where there is no nft to list them."""
    if not programs.find("nft"):
        return []
    listing, errors = _nft(["list", "tables"], "")
    if errors:
        raise ApplyError(f"nft list tables: {errors}")
    words = (line.split(maxsplit=2) for line in listing.splitlines())
    return [(family, name) for _table, family, name in words]


def table_as_data(family: str, name: str) -> List[Dict[str, Any]]:
    """What `nft -j` lists of a table; nothing where it is gone meanwhile."""
    listing, errors = _nft(["-j", "list", "table", family, name], "")
    if errors and "No such file" not in errors:
        raise ApplyError(f"nft -j list table {family} {name}: {errors}")
    return list(json.loads(listing)["nftables"]) if listing.strip() else []


def has_chain(family: str, table: str, chain: str) -> bool:
    _listing, errors = _nft(["list", "chain", family, table, chain], "")
    return not errors


def rule_text(family: str, table: str, chain: str, handle: str) -> str:
    """A rule as nft writes it; empty where it is gone meanwhile."""
    listing, _errors = _nft(["--handle", "--stateless", "list", "chain", family, table, chain], "")
    found = re.search(rf"^\s*(.*?) # handle {handle}$", listing, re.MULTILINE)
    return found[1] if found else ""


def rule_texts() -> Dict[Tuple[str, str, str, str], str]:
    """Every rule as nft writes it, by family, table, chain and handle."""
    return parse_rule_texts(_nft(["--handle", "--stateless", "--terse", "list", "ruleset"], "")[0])


def _nft(arguments: List[str], script: str) -> Tuple[str, str]:
    """What nft printed: its output, and its errors, which are empty where there were none."""
    ran = programs.run([_nft_program(), *arguments], script)
    return ran.stdout, (ran.stderr.strip() or f"it ended with {ran.returncode}") if ran.returncode else ""


def _nft_program() -> str:
    program = programs.find("nft")
    if program is None:
        raise ConflictError.at("nft", "is needed on this host for the firewall: install the package nftables")
    return program
