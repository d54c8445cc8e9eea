# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds third-party rules that drop required flows, and the commands that would let these through. Pure.

An `accept` is final in its own base chain only. A packet that the rules of wharf.network accept still passes every
other base chain at the hook, whatever their priorities, and a `drop` in any of them is final.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Sequence, Set, Tuple

from .nft_rules import tables_of
from .required_flows import BRIDGED, FORWARD, INPUT, OUTPUT, RequiredFlow
from .rule_evaluation import Chain, Table

NFT = "nft"

_FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_USER_CHAIN = "DOCKER-USER"
_DECLARED_CHAIN = "WHARF-USER"
# A message names at most so many of the networks and ports that a rule affects.
_MOST_NAMED = 3


@dataclass(frozen=True)
class Ruleset:
    """Third-party tables, as listed by one `tool`: nft, or one of the iptables programs."""

    tool: str
    objects: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ThirdPartyDrop:
    """A third-party rule, or the policy of a base chain, that drops required flows; or a rule that cannot be parsed.

    `rule` is the rule's text or, in nft, its handle; empty for the policy. `chain` is the chain that it is in, `base`
    the base chain at `hook` that leads there. `drops` describes the dropped flows, and is empty for a rule that cannot
    be parsed. `remedy` says what to do.
    """

    tool: str
    family: str
    table: str
    base: str
    chain: str
    rule: str
    hook: str
    drops: Tuple[str, ...] = ()
    remedy: str = ""

    def __str__(self) -> str:
        where = f"chain {self.chain} of the {_table(self.tool)} table {self.family} {self.table}"
        if not self.drops:
            return f"the rule `{self.rule}` in {where} cannot be read, so it is not known what it drops; {self.remedy}"
        by = f"the rule `{self.rule}` in {where}" if self.rule else f"the policy of {where}"
        return f"{by} drops {'; '.join(self.drops)}. To let it through: {self.remedy}"


def third_party_drops(rulesets: Iterable[Ruleset], flows: Sequence[RequiredFlow]) -> List[ThirdPartyDrop]:
    """The rules that certainly drop some of these flows, and the rules that cannot be parsed."""
    found: List[ThirdPartyDrop] = []
    for ruleset in rulesets:
        found += _unread(ruleset)
        for (family, name), table in tables_of(ruleset.objects).items():
            found += _of_table(ruleset.tool, family, name, table, flows)
    return found


def _unread(ruleset: Ruleset) -> Iterator[ThirdPartyDrop]:
    for each in ruleset.objects:
        rule = each.get("rule", {})
        if rule.get("unread"):
            family, table, chain = rule["family"], rule["table"], rule["chain"]
            advice = f"a name in it has a quote, which {ruleset.tool}-restore cannot read either: give it another name"
            yield ThirdPartyDrop(ruleset.tool, family, table, "", chain, rule["text"], "", remedy=advice)


def _of_table(tool: str, family: str, name: str, table: Table, flows: Sequence[RequiredFlow]) -> List[ThirdPartyDrop]:
    dropped: Dict[ThirdPartyDrop, List[RequiredFlow]] = {}
    bases = {hook: table.at(hook) for hook in {chain.hook for chain in table.chains.values()} if hook}
    if family == "bridge":
        bases = {BRIDGED: bases.get(FORWARD, [])}
    elif family not in _FAMILIES:
        return []
    for flow in flows:
        if family != "bridge" and flow.version not in _FAMILIES[family]:
            continue
        for drop in _drops_of(tool, family, name, table, bases, flow):
            dropped.setdefault(drop, []).append(flow)
    return [
        replace(drop, drops=tuple(_described(of_drop)), remedy=remedy(drop, table, of_drop))
        for drop, of_drop in dropped.items()
    ]


def _drops_of(
    tool: str, family: str, name: str, table: Table, bases: Mapping[str, List[Chain]], flow: RequiredFlow
) -> Iterable[ThirdPartyDrop]:
    found = {}
    for hook, packet in flow.packets:
        for base in bases.get(hook, ()):
            end = table.drops(base, packet)
            # A drop that the admin declared is intended.
            if end and end.chain != _DECLARED_CHAIN:
                found[ThirdPartyDrop(tool, family, name, base.name, end.chain, end.rule, base.hook)] = True
    return found


def _described(flows: Sequence[RequiredFlow]) -> Iterator[str]:
    """The texts for dropped flows. They name the IP family where only one is dropped."""
    versions: Dict[Tuple[str, str], Set[int]] = {}
    for flow in flows:
        versions.setdefault((flow.description, flow.subject), set()).add(flow.version)
    subjects: Dict[Tuple[str, str], List[str]] = {}
    for (description, subject), of in versions.items():
        family = "" if len(of) > 1 else f" (IPv{min(of)})"
        subjects.setdefault((description, family), []).append(subject)
    for (description, family), names in subjects.items():
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        yield f"{description} {', '.join(names[:_MOST_NAMED])}{more}{family}"


def _table(tool: str) -> str:
    return "nftables" if tool == NFT else tool


def remedy(drop: ThirdPartyDrop, table: Table, flows: Sequence[RequiredFlow]) -> str:
    """What would let these flows through, in the words of whoever owns the table."""
    bridges = list(dict.fromkeys(flow.bridge for flow in flows))
    if drop.table == "firewalld":
        return (
            f"`firewall-cmd --get-zone-of-interface={bridges[0]}` names the zone whose target and policies decide; "
            "`firewall-cmd --permanent --zone=ZONE --set-target=ACCEPT` and `firewall-cmd --reload` make it accept"
        )
    services = [flow for flow in flows if flow.service]
    if drop.hook == INPUT and services:
        others = [flow for flow in flows if not flow.service]
        return "; ".join([_let_in(drop, table, services), *([remedy(drop, table, others)] if others else [])])
    if drop.tool != NFT:
        if any(name.startswith("ufw") for name in table.chains):
            return _commands(_UFW[drop.hook], bridges) if drop.hook in _UFW else _by_hand(drop)
        if drop.hook in (FORWARD, INPUT, OUTPUT):
            return _iptables(drop, table, bridges)
    elif drop.hook in _INTERFACES and drop.family != "bridge":
        return _nft(drop, bridges)
    return _by_hand(drop)


_UFW = {
    FORWARD: ("ufw route allow in on {0}", "ufw route allow out on {0}"),
    OUTPUT: ("ufw allow out on {0}",),
}
# At the hook input, these are the only required packets beside requests to services: replies of containers to the host.
# A remedy that accepts more would open the host to containers.
_REPLIES_TO_IPTABLES = "-m conntrack --ctstate ESTABLISHED,RELATED"
_REPLIES_TO_NFT = "ct state established,related"
_INTERFACES = {FORWARD: ("iifname", "oifname"), INPUT: ("iifname",), OUTPUT: ("oifname",)}


def _let_in(drop: ThirdPartyDrop, table: Table, flows: Sequence[RequiredFlow]) -> str:
    """Commands that accept requests to single ports of the host, and nothing else."""
    kept = ", and keep them where that host keeps its rules"
    if drop.tool == NFT:
        form = f'nft insert rule {drop.family} {drop.table} {drop.base} iifname "{{0}}" {{1}} dport {{2}} accept'
    elif any(name.startswith("ufw") for name in table.chains):
        form, kept = "ufw allow in on {0} to any port {2} proto {1}", ""
    else:
        where = f"-I {drop.base}" if drop.table == "filter" else f"-t {drop.table} -I {drop.base}"
        form = f"{drop.tool} {where} -i {{0}} -p {{1}} --dport {{2}} -j ACCEPT"
    asked = dict.fromkeys((flow.bridge, *flow.service) for flow in flows if flow.service)
    return ", ".join(f"`{form.format(*each)}`" for each in asked) + kept


def _commands(each: Sequence[str], bridges: Sequence[str]) -> str:
    return ", ".join(f"`{command.format(bridge)}`" for bridge in bridges for command in each)


def _iptables(drop: ThirdPartyDrop, table: Table, bridges: Sequence[str]) -> str:
    replies = f" {_REPLIES_TO_IPTABLES}" if drop.hook == INPUT else ""
    options = {FORWARD: "io", INPUT: "i", OUTPUT: "o"}[drop.hook]
    # dockerd leaves DOCKER-USER to the admin, and evaluates it before its own chains.
    chain = _USER_CHAIN if drop.hook == FORWARD and _USER_CHAIN in table.chains else drop.base
    where = f"-I {chain}" if drop.table == "filter" else f"-t {drop.table} -I {drop.base}"
    commands = [f"{drop.tool} {where} -{option} {{0}}{replies} -j ACCEPT" for option in options]
    option = (
        ", or set accept-in-iptables-forward: true below x-wharf of the host's settings"
        if drop.hook == FORWARD and drop.table == "filter"
        else ""
    )
    return f"{_commands(commands, bridges)}, and keep them where that host keeps its rules{option}"


def _nft(drop: ThirdPartyDrop, bridges: Sequence[str]) -> str:
    names = ", ".join(f'"{bridge}"' for bridge in bridges)
    several = f"{{ {names} }}" if len(bridges) > 1 else names
    replies = f" {_REPLIES_TO_NFT}" if drop.hook == INPUT else ""
    commands = [
        f"nft insert rule {drop.family} {drop.table} {drop.base} {key} {several}{replies} accept"
        for key in _INTERFACES[drop.hook]
    ]
    return f"{', '.join(f'`{each}`' for each in commands)}, and the same in the file that this table is loaded from"


def _by_hand(drop: ThirdPartyDrop) -> str:
    return f"add an accept for it before that rule, in chain {drop.base}"
