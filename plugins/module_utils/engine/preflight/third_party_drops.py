# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads third-party rules; changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import List

from ..declaration.model import IPTABLES
from ..kernel import proc_sys
from ..planning.plan import Plan
from ..resources.firewall import nftables
from ..resources.firewall.iptables_save import is_managed, is_users
from ..resources.firewall.rulesets import read_rulesets
from ..state import ChainRef, TableChain
from ..third_party.drops import NFT, ThirdPartyDrop, third_party_drops
from ..third_party.required_flows import required_flows


def read_third_party_drops(plan: Plan) -> List[ThirdPartyDrop]:
    """Which third-party rules drop what the networks of the plan need.

    Raises:
        ApplyError: they cannot be listed.
    """
    rulesets = read_rulesets(nftables.third_party_tables())
    if not rulesets:
        return []
    bridged = proc_sys.read("net.bridge.bridge-nf-call-iptables") == "1"
    found = third_party_drops(rulesets, list(required_flows(plan, bridged)))
    if plan.model.host.firewall_backend == IPTABLES:
        found = [drop for drop in found if not is_in_own_chain(drop)]
    return [_with_text(drop) for drop in found]


def is_in_own_chain(drop: ThirdPartyDrop) -> bool:
    """Whether the chain has a name that wharf.network gives those of its rules of iptables, as a dockerd may, too."""
    chain = ChainRef(drop.family, TableChain(drop.table, drop.chain))
    return drop.tool != NFT and is_managed(chain) and not is_users(chain)


def _with_text(drop: ThirdPartyDrop) -> ThirdPartyDrop:
    """nft prints a rule's text only beside its handle."""
    if drop.tool != NFT or not drop.rule:
        return drop
    text = nftables.rule_text(drop.family, drop.table, drop.chain, drop.rule)
    return replace(drop, rule=text or f"handle {drop.rule}")
