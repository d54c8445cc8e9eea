# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource through which rules of others are read; it changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Iterable, List, Mapping, Sequence, Set, Tuple

from ..kernel import iptables_variants, proc_sys
from ..planning.plan import Plan
from ..resources.firewall import nftables
from ..third_party.drops import NFT, Ruleset, ThirdPartyDrop, third_party_drops
from ..third_party.iptables_rules import objects_of
from ..third_party.required_flows import RequiredFlow, required_flows


def read_third_party_drops(plan: Plan) -> List[ThirdPartyDrop]:
    """Which rules of others drop what the networks of the plan need.

    Raises:
        ApplyError: they cannot be listed.
    """
    rulesets = _rulesets()
    if not rulesets:
        return []
    bridged = proc_sys.read("net.bridge.bridge-nf-call-iptables") == "1"
    return drops(rulesets, list(required_flows(plan, bridged)))


def drops(rulesets: Iterable[Ruleset], flows: Sequence[RequiredFlow]) -> List[ThirdPartyDrop]:
    return [_with_text(drop) for drop in third_party_drops(rulesets, flows)]


def _rulesets() -> List[Ruleset]:
    """What others have: by iptables where that is what they were written by, since nft does not show all of it."""
    tables = nftables.third_party_tables()
    found: List[Ruleset] = []
    saved: Set[Tuple[str, str]] = set()
    for variant in iptables_variants.variants():
        if variant.tables([name for family, name in tables if family == variant.family]) and variant.program("save"):
            objects = list(objects_of(variant.save(), variant.family))
            found.append(Ruleset(variant.name, objects))
            if variant.kind == iptables_variants.NFT:
                saved |= {(variant.family, name) for name in _tables_of(objects)}
    others: List[Mapping[str, Any]] = []
    for family, name in tables:
        if (family, name) not in saved:
            others += nftables.table_as_data(family, name)
    return [*found, Ruleset(NFT, others)] if others else found


def _tables_of(objects: Iterable[Mapping[str, Any]]) -> Set[str]:
    return {each["chain"]["table"] for each in objects if "chain" in each}


def _with_text(drop: ThirdPartyDrop) -> ThirdPartyDrop:
    """nft tells a rule's text only beside its handle."""
    if drop.tool != NFT or not drop.rule:
        return drop
    text = nftables.rule_text(drop.family, drop.table, drop.chain, drop.rule)
    return replace(drop, rule=text or f"handle {drop.rule}")
