# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The admin's rules as iptables text, the counterpart of `user_rules_nftables`.

A rule of iptables takes one source, one destination and one protocol, and logging needs a rule of its own.
"""

from __future__ import annotations

from itertools import product
from typing import Iterator, Optional

from ..declaration.model import InterfacePattern, Rate, UserRule
from ..declaration.parse_user_rules import ICMP, LOG, REJECT
from ..declaration.section import Subnet
from ..planning.plan import Plan
from .user_rules import PacketRule, packet_rules

_ICMP = {4: "icmp", 6: "ipv6-icmp"}
_REJECT = {4: "REJECT --reject-with icmp-port-unreachable", 6: "REJECT --reject-with icmp6-port-unreachable"}


def user_rules(plan: Plan, version: int) -> Iterator[str]:
    for packet in packet_rules(plan):
        if packet.version in (None, version):
            for match in _matches(packet, version):
                yield from (f"{match}-j {target}" for target in _targets(packet.rule, version))


def _matches(packet: PacketRule, version: int) -> Iterator[str]:
    """The conditions of a rule, once for each combination of source, destination and protocol."""
    several = product(packet.sources or [None], packet.destinations or [None], packet.protocols or [None])
    for source, destination, protocol in several:
        conditions = [
            *_network("-s", source),
            *_network("-d", destination),
            *_interface("-i", packet.rule.in_interface),
            *_interface("-o", packet.out_interface),
            *(["-p", _ICMP[version] if protocol == ICMP else protocol] if protocol else []),
            *_conntrack(packet),
            # In a match of its own, since a match of several states takes any of them.
            *(["-m conntrack --ctstate DNAT"] if packet.rule.published_ports else []),
            *_limit(packet.rule.limit),
            *(["-m comment --comment", f'"{packet.rule.comment}"'] if packet.rule.comment else []),
        ]
        yield "".join(f"{condition} " for condition in conditions)


def _network(direction: str, network: Optional[Subnet]) -> Iterator[str]:
    if network and network.prefixlen:
        yield f"{direction} {network}"


def _interface(direction: str, pattern: Optional[InterfacePattern]) -> Iterator[str]:
    if pattern:
        yield f"{direction} {pattern.name}{'+' if pattern.is_prefix else ''}"


def _conntrack(packet: PacketRule) -> Iterator[str]:
    rule = packet.rule
    if rule.states or rule.published_ports or packet.only_original:
        yield "-m conntrack"
    if rule.states:
        yield f"--ctstate {','.join(rule.states).upper()}"
    if rule.published_ports:
        first, last = rule.published_ports
        yield f"--ctorigdstport {first}" + (f":{last}" if last > first else "")
    if packet.only_original:
        yield "--ctdir ORIGINAL"


def _limit(rate: Optional[Rate]) -> Iterator[str]:
    if rate:
        yield f"-m limit --limit {rate.packets}/{rate.unit} --limit-burst {rate.burst}"


def _targets(rule: UserRule, version: int) -> Iterator[str]:
    if rule.log:
        yield f'LOG --log-prefix "{rule.log}"'
    if rule.action == REJECT:
        yield _REJECT[version]
    elif rule.action != LOG:
        yield rule.action.upper()
