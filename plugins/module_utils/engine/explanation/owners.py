# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose rule it is that decides about a packet, and from which place of the declaration it comes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Iterator, Optional

from ..declaration.model import Network
from ..planning.plan import Plan
from ..planning.publications import Publication
from ..resources.firewall.iptables_save import is_group, is_managed
from ..rules.rules_iptables import DECLARED_CHAIN, USER_CHAIN
from ..rules.rules_nftables import TABLE
from ..rules.user_rules_iptables import user_rules as iptables_user_rules
from ..rules.user_rules_nftables import user_rules as nftables_user_rules
from ..state import OF_CONTAINER, OF_NETWORK, ChainRef, Owner, TableChain
from ..third_party.accepts import ACCEPTS
from ..third_party.drops import NFT
from ..third_party.rule_evaluation import Outcome, SomeAddress
from .headers import Header
from .stacks import HOST, Base
from .steps import Step

WHARF = "wharf.network"
ADMIN_DECLARED, ADMIN_BY_HAND = "the admin (declared rules)", "the admin (chain DOCKER-USER)"

# By a table's name in nftables, or by how a chain's name begins.
_PROGRAMS_BY_TABLE = {
    "firewalld": "firewalld",
    "libvirt_network": "libvirt",
    "docker-bridges": "dockerd",
    "netavark": "Podman",
    "f2b-table": "fail2ban",
}
_PROGRAMS_BY_CHAIN = {
    "ufw": "ufw",
    "LIBVIRT_": "libvirt",
    "DOCKER": "dockerd",
    "f2b-": "fail2ban",
    "KUBE-": "Kubernetes",
    "CNI-": "Podman",
    "NETAVARK": "Podman",
}
# With nftables, the chain that accepts packets to published ports.
_TARGETS = "DOCKER-TARGETS"


@dataclass(frozen=True)
class Origin:
    """`owner` made the rule; `place` is where it was declared, empty where it was not."""

    owner: str
    place: str = ""


def origin(plan: Plan, step: Step) -> Origin:
    """Of a step that a rule makes."""
    if step.base is None or step.end is None:
        raise AssertionError("a rule's step has a base chain and an end")
    if step.stack != HOST:
        return Origin(f"container {step.stack} itself")
    owner = _owner(plan, step.base, step.end)
    if owner == ADMIN_DECLARED:
        return Origin(owner, _declared_rule(plan, step))
    return Origin(owner, _place(plan, step) if owner == WHARF else "")


def _owner(plan: Plan, base: Base, end: Outcome) -> str:
    is_own_table = base.tool == NFT and (base.family, base.name) == TABLE
    is_own_chain = base.tool != NFT and plan.model.host.firewall_backend == "iptables"
    is_own_chain = is_own_chain and is_managed(_chain_ref(base, end))
    if is_own_table or is_own_chain:
        return {DECLARED_CHAIN: ADMIN_DECLARED, USER_CHAIN: ADMIN_BY_HAND}.get(end.chain, WHARF)
    if end.chain == ACCEPTS:
        return WHARF
    if base.tool == NFT:
        return _PROGRAMS_BY_TABLE.get(base.name, f"a third party (table {base.family} {base.name})")
    names = [end.chain] if end.rule else [*base.table.chains]
    for beginning, program in _PROGRAMS_BY_CHAIN.items():
        if any(name.startswith(beginning) for name in names):
            return program
    return f"a third party ({base.tool}, table {base.name})"


def _declared_rule(plan: Plan, step: Step) -> str:
    """The place of a rule of the admin's. Each becomes one or several rules in the kernel, in the same order."""
    if step.base is None:
        raise AssertionError("a rule's step has a base chain")
    chain = step.base.table.chains.get(DECLARED_CHAIN)
    if chain is None or step.end is None or step.end.rule not in chain.rules:
        return ""
    places = [*_places_of_rules(plan, step.base)]
    return places[chain.rules.index(step.end.rule)] if len(places) == len(chain.rules) else ""


def _places_of_rules(plan: Plan, base: Base) -> Iterator[str]:
    version = 6 if base.family == "ip6" else 4
    for rule in plan.model.docker_user:
        alone = replace(plan, model=replace(plan.model, docker_user=(rule,)))
        texts = nftables_user_rules(alone) if base.tool == NFT else iptables_user_rules(alone, version)
        yield from (rule.path for _text in texts)


def _place(plan: Plan, step: Step) -> str:
    published = publication_of(plan, step.header) if step.header else None
    if published and step.base and step.end:
        leads = step.end.chain == _TARGETS or is_group(_chain_ref(step.base, step.end))
        if step.end.verdict.translation or leads:
            return published.path
    comment = step.end.rule.comment if step.end and step.end.rule else ""
    owner = Owner.parse((step.end.verdict.by_element if step.end else "") or comment)
    if owner.kind == OF_CONTAINER:
        container = plan.model.containers.get(owner.name)
        return container.path if container else ""
    network = plan.model.networks.get(owner.name) if owner.kind == OF_NETWORK else network_of_step(plan, step)
    return network.path if network else ""


def _chain_ref(base: Base, end: Outcome) -> ChainRef:
    return ChainRef(base.family, TableChain(base.name, end.chain))


def holder(plan: Plan, address: object) -> str:
    """The container that an address is allotted to; empty if there is none."""
    for (container, _network), allotted in plan.allotted.endpoints.items():
        if address is not None and address in (allotted.ipv4, allotted.ipv6):
            return container
    return ""


def network_of_step(plan: Plan, step: Step) -> Optional[Network]:
    """The network that a rule is about: that of the destination, or the one that the packet comes from."""
    by_bridge = {network.bridge: network for network in plan.model.bridged}
    at = network_at(plan, step.header) if step.header else None
    return by_bridge.get(step.outgoing) or at or by_bridge.get(step.incoming)


def network_at(plan: Plan, header: Header) -> Optional[Network]:
    """The network that the destination is an address of."""
    for name, pools in plan.allotted.networks.items():
        if not isinstance(header.destination, SomeAddress) and any(header.destination in pool.subnet for pool in pools):
            return plan.model.networks[name]
    return None


def publication_of(plan: Plan, header: Header) -> Optional[Publication]:
    """The published port that leads to a packet's destination, translated or not."""
    for each in plan.publications:
        if (each.address, each.target_port, each.protocol) == (
            header.destination,
            header.destination_port,
            header.protocol,
        ):
            return each
    return None


def publication_at(plan: Plan, header: Header) -> Optional[Publication]:
    """The published port of the host that a packet asks for, as far as the declaration says."""
    asked = header.protocol, header.destination_port, header.version
    for each in plan.publications:
        if (each.protocol, each.host_port, each.version) == asked and each.host_ip in (None, header.destination):
            return each
    return None
