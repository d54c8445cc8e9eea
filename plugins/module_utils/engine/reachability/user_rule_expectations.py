# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether it is up to a rule of the admin's what becomes of a packet that is forwarded. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Optional, Tuple

from ..declaration.model import Model, UserRule
from ..declaration.parse_user_rules import ACCEPT, DROP, ICMP, REJECT, versions
from ..declaration.section import Address, Subnet
from .probes import OPEN, PING


@dataclass(frozen=True)
class Forwarded:
    """A packet as it is when the rules see it; `port` is the one that it was first sent to.

    `container` is where it goes, empty for the outside. `sources` and `bridges` are those by which it may come, None
    where that is not known.
    """

    protocol: str
    port: int
    destination: Address
    container: str
    sources: Optional[Tuple[Address, ...]]
    bridges: Optional[Tuple[str, ...]]


def may_decide(model: Model, packet: Forwarded, expected: str) -> bool:
    """Whether a rule may close what would be open, or open what would be closed. When in doubt, it may."""
    actions = (DROP, REJECT) if expected == OPEN else (ACCEPT,)
    return any(rule.action in actions and _may_hold(model, rule, packet) for rule in model.docker_user)


def _may_hold(model: Model, rule: UserRule, packet: Forwarded) -> bool:
    # What is established was let through before.
    lets_in = rule.action != ACCEPT or not rule.states or "new" in rule.states
    return lets_in and _is_meant(rule, packet) and _goes_there(model, rule, packet) and _comes_from(rule, packet)


def _is_meant(rule: UserRule, packet: Forwarded) -> bool:
    protocol = ICMP if packet.protocol == PING else packet.protocol
    first, last = rule.published_ports or (0, packet.port)
    return (
        packet.destination.version in versions(rule)
        and rule.protocol in ("", protocol)
        and first <= packet.port <= last
    )


def _goes_there(model: Model, rule: UserRule, packet: Forwarded) -> bool:
    if rule.container and rule.container in model.containers:
        owner = model.owner_of_stack(model.containers[rule.container]).name
        return packet.container == owner
    if rule.network:
        container = model.containers.get(packet.container)
        return container is not None and any(each.network == rule.network for each in container.attachments)
    return not rule.destinations or _is_in([packet.destination], rule.destinations)


def _comes_from(rule: UserRule, packet: Forwarded) -> bool:
    if rule.sources and packet.sources is not None and not _is_in(packet.sources, rule.sources):
        return False
    if not rule.in_interface or packet.bridges is None:
        return True
    beginning = rule.in_interface[:-1] if rule.in_interface.endswith("+") else ""
    return any(bridge == rule.in_interface or (beginning and bridge.startswith(beginning)) for bridge in packet.bridges)


def _is_in(addresses: Iterable[Address], networks: Iterable[Subnet]) -> bool:
    return any(address in network for address in addresses for network in networks)
