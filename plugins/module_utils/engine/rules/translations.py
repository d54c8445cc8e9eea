# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The published ports that rules have, read back from their elements."""

from __future__ import annotations

import re
from typing import Iterator

from ..planning.publications import Translation
from ..state import IptablesRules, MapElement, Rules, SetElements

_IPTABLES = re.compile(r"(?:-d (\S+)/\d+ )?-p (\w+) -m \w+ --dport (\d+) -j DNAT --to-destination \[?(.+?)\]?:(\d+)")


def translations(rules: Rules) -> Iterator[Translation]:
    if isinstance(rules, IptablesRules):
        yield from _of_iptables(rules)
    elif isinstance(rules, SetElements):
        yield from _of_nftables(rules)


def _of_iptables(rules: IptablesRules) -> Iterator[Translation]:
    for _chain, rule in rules.elements:
        match = _IPTABLES.fullmatch(rule)
        if match:
            host_ip, protocol, port, address, target_port = match.groups("")
            yield Translation(protocol, host_ip, int(port), address, int(target_port))


def _of_nftables(rules: SetElements) -> Iterator[Translation]:
    for name, element in rules.elements:
        if name.startswith("published") and isinstance(element, MapElement):
            *host_ip, protocol, port = element.key.split(" . ")
            address, target_port = element.value.split(" . ")
            yield Translation(protocol, "".join(host_ip), int(port), address, int(target_port))
