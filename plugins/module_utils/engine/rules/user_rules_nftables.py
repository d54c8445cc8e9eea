# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The admin's rules as nftables text."""

from __future__ import annotations

from dataclasses import replace
from typing import Iterator, Sequence

from ..declaration.model import InterfacePattern, Rate
from ..declaration.parse_user_rules import ICMP, LOG
from ..declaration.section import shortest
from ..planning.plan import Plan
from .user_rules import PacketRule, packet_rules

_FAMILIES = {4: "ip", 6: "ip6"}
_ICMP = {4: ("icmp",), 6: ("icmpv6",), None: ("icmp", "icmpv6")}


def user_rules(plan: Plan) -> Iterator[str]:
    for packet in packet_rules(plan):
        # nft 1.0.6 takes `ct original proto-dst` only after a single protocol.
        alone = [(name,) for name in packet.protocols] if packet.rule.published_ports else [packet.protocols]
        for protocols in alone:
            yield " ".join(_statements(replace(packet, protocols=protocols)))


def _statements(packet: PacketRule) -> Iterator[str]:
    """The conditions of a rule, and then its statements."""
    rule = packet.rule
    yield from _addresses(packet)
    if rule.in_interface:
        yield f"iifname {_interface(rule.in_interface)}"
    if packet.out_interface:
        yield f"oifname {_interface(packet.out_interface)}"
    if packet.protocols:
        names = _ICMP[packet.version] if packet.protocols == (ICMP,) else packet.protocols
        yield f"meta l4proto {_one_of(names)}"
    if packet.only_original:
        yield "ct direction original"
    if rule.published_ports:
        first, last = rule.published_ports
        # Only translated packets, and not those of containers to the same port of other hosts.
        yield f"ct status dnat ct original proto-dst {first}" + (f"-{last}" if last > first else "")
    if rule.states:
        yield f"ct state {','.join(rule.states)}"
    if rule.limit:
        yield _limit(rule.limit)
    if rule.log:
        yield f'log prefix "{rule.log}"'
    if rule.action != LOG:
        yield rule.action
    if rule.comment:
        yield f'comment "{rule.comment}"'


def _addresses(packet: PacketRule) -> Iterator[str]:
    for direction, networks in (("saddr", packet.sources), ("daddr", packet.destinations)):
        if any(network.prefixlen == 0 for network in networks):
            yield f"meta nfproto ipv{packet.version}"
        elif networks and packet.version:
            yield f"{_FAMILIES[packet.version]} {direction} {_one_of([shortest(each) for each in networks])}"


def _interface(pattern: InterfacePattern) -> str:
    return f'"{pattern.name}{"*" if pattern.is_prefix else ""}"'


def _one_of(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{{ {', '.join(values)} }}"


def _limit(rate: Rate) -> str:
    return f"limit rate {rate.packets}/{rate.unit} burst {rate.burst} packets"
