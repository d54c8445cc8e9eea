# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The admin's rules -> conditions on packets, with the addresses and bridges of the containers and networks named."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Iterator, Optional, Tuple

from ..declaration.model import InterfacePattern, UserRule
from ..declaration.parse_ports import PROTOCOLS
from ..declaration.parse_user_rules import versions
from ..declaration.section import Subnet, union
from ..planning.plan import Plan


@dataclass(frozen=True)
class PacketRule:
    """A rule for one IP family, or for both if `version` is None; what is empty is no condition.

    `only_original`: it matches packets in the original direction of a connection only. `protocols`: it matches packets
    of any of these.
    """

    rule: UserRule
    version: Optional[int]
    sources: Tuple[Subnet, ...]
    destinations: Tuple[Subnet, ...]
    out_interface: Optional[InterfacePattern]
    protocols: Tuple[str, ...]
    only_original: bool


def packet_rules(plan: Plan) -> Iterator[PacketRule]:
    """The admin's rules in order, without those that name a container or network which is not declared."""
    for rule in plan.model.docker_user:
        destinations = _addresses(plan, rule.container) if rule.container else rule.destinations
        bridge = plan.model.networks[rule.network].bridge if rule.network in plan.model.networks else ""
        if (rule.container and not destinations) or (rule.network and not bridge):
            continue
        for version in versions(rule) if rule.sources or destinations else (None,):
            of_sources = union(rule.sources, version) if version else ()
            of_destinations = union(destinations, version) if version else ()
            if bool(of_sources) == bool(rule.sources) and bool(of_destinations) == bool(destinations):
                yield PacketRule(
                    rule,
                    version,
                    of_sources,
                    of_destinations,
                    InterfacePattern(bridge) if bridge else rule.out_interface,
                    _protocols(rule),
                    only_original=bool(rule.container or rule.network or rule.published_ports),
                )


def _addresses(plan: Plan, name: str) -> Tuple[Subnet, ...]:
    container = plan.model.containers.get(name)
    if container is None:
        return ()
    owner = plan.model.owner_of_stack(container)
    return tuple(
        ipaddress.ip_network(address)
        for attachment in owner.attachments
        for address in plan.addresses(owner.name, attachment)
    )


def _protocols(rule: UserRule) -> Tuple[str, ...]:
    if rule.protocol:
        return (rule.protocol,)
    return PROTOCOLS if rule.published_ports else ()
