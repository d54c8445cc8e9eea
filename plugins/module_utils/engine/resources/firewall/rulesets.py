# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the rules that stand in the network namespace that the thread is in, whoever made them; changes nothing."""

from __future__ import annotations

from typing import Any, Iterable, List, Mapping, Sequence, Set, Tuple

from ...kernel import iptables_variants
from ...third_party.drops import NFT, Ruleset
from ...third_party.iptables_rules import objects_of
from . import nftables


def read_rulesets(tables: Sequence[Tuple[str, str]]) -> List[Ruleset]:
    """These tables of nftables, and those of the older iptables. iptables lists what it wrote, which nft shows in part.

    Raises:
        ApplyError: they cannot be listed.
    """
    found: List[Ruleset] = []
    saved: Set[Tuple[str, str]] = set()
    for variant in iptables_variants.variants():
        if variant.tables([name for family, name in tables if family == variant.family]) and variant.program("save"):
            objects = list(objects_of(variant.save(), variant.family))
            found.append(Ruleset(variant.name, objects))
            if variant.kind == iptables_variants.NFT:
                saved |= {(variant.family, name) for name in _tables_of(objects)}
    listed: List[Mapping[str, Any]] = []
    for family, name in tables:
        if (family, name) not in saved:
            listed += nftables.table_as_data(family, name)
    return [*found, Ruleset(NFT, listed)] if listed else found


def _tables_of(objects: Iterable[Mapping[str, Any]]) -> Set[str]:
    return {each["chain"]["table"] for each in objects if "chain" in each}
