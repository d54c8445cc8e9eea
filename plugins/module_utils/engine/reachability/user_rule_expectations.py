# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether one of the admin's rules may decide about a forwarded packet. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Optional, Tuple

from ..declaration.model import Model, UserRule
from ..declaration.parse_user_rules import ACCEPT, DROP, ICMP, REJECT, versions
from ..declaration.section import Address, Subnet
from .probes import CLOSED, PING


@dataclass(frozen=True)
class Forwarded:
    """A forwarded packet as the rules see it; `port` is the original destination port.

    `container` is its destination, empty for the outside. It has one of these `sources`, and comes by one of these
    `bridges`; both are None if unknown.
    """

    protocol: str
    port: int
    destination: Address
    container: str
    sources: Optional[Tuple[Address, ...]]
    bridges: Optional[Tuple[str, ...]]


def may_decide(model: Model, packet: Forwarded, expected: str) -> bool:
    """Whether a rule may drop a packet that is expected to pass, or accept one that is expected to be dropped."""
    actions = (ACCEPT,) if expected == CLOSED else (DROP, REJECT)
    return any(rule.action in actions and _may_match(model, rule, packet) for rule in model.docker_user)


def _may_match(model: Model, rule: UserRule, packet: Forwarded) -> bool:
    # An accept of established packets does not let a new flow begin.
    matches_new = rule.action != ACCEPT or not rule.states or "new" in rule.states
    return (
        matches_new
        and _matches_protocol(rule, packet)
        and _matches_destination(model, rule, packet)
        and _matches_source(rule, packet)
    )


def _matches_protocol(rule: UserRule, packet: Forwarded) -> bool:
    protocol = ICMP if packet.protocol == PING else packet.protocol
    first, last = rule.published_ports or (0, packet.port)
    return (
        packet.destination.version in versions(rule)
        and rule.protocol in ("", protocol)
        and first <= packet.port <= last
    )


def _matches_destination(model: Model, rule: UserRule, packet: Forwarded) -> bool:
    if rule.container and rule.container in model.containers:
        owner = model.owner_of_stack(model.containers[rule.container]).name
        return packet.container == owner
    if rule.network:
        container = model.containers.get(packet.container)
        return container is not None and any(each.network == rule.network for each in container.attachments)
    return not rule.destinations or _is_in([packet.destination], rule.destinations)


def _matches_source(rule: UserRule, packet: Forwarded) -> bool:
    if rule.sources and packet.sources is not None and not _is_in(packet.sources, rule.sources):
        return False
    return not rule.in_interface or packet.bridges is None or any(map(rule.in_interface.matches, packet.bridges))


def _is_in(addresses: Iterable[Address], networks: Iterable[Subnet]) -> bool:
    return any(address in network for address in addresses for network in networks)
