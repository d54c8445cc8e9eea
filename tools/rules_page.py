# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints docs/rules.md: the pages of the scenarios, with what a host has reported of each in its place.

In a `page.md`, `{{declaration}}` stands for the scenario's declaration, and `{{rules}}` for the rules that the kernel
lists with each backend; after the first scenario, only those that differ from it. `{{packet WHO WHERE}}` stands for the
rules that such a packet passed; `closed` after it says that the packet must get no answer. `{{run WHO COMMAND}}` is a
command that runs before the packets that follow.
"""

from __future__ import annotations

import re
from pathlib import Path

SCENARIOS = Path(__file__).parent.parent / "tests/integration/scenarios"

# As in Docker's own documentation of its rules, from the plain to the peculiar.
ORDER = [
    "new-daemon",
    "usernet-portmap",
    "usernet-portmap-noproxy",
    "usernet-portmap-lo",
    "usernet-portmap-noicc",
    "usernet-internal",
    "usernet-portmap-natunprot",
    "usernet-portmap-routed",
]

HEAD = """\
<!-- Written by `make rules` from tests/integration/scenarios. -->

# The rules, scenario by scenario

This page shows, for each scenario, the firewall rules as the kernel lists them, and the rules that real packets pass,
from the kernel's own trace. The scenarios are those of Docker's own documentation of its rules.

`outside` is another host, which has routes to all private networks through this one. `internet` is an address behind
`outside`. `neighbour` is a hostile host on the same link. `host` is the host's own address. `c1@net1` is the address of
`c1` on `net1`.
"""


def page() -> str:
    return "\n".join([HEAD, *(_section(SCENARIOS / name) for name in ORDER)])


def _section(scenario: Path) -> str:
    met = _packets((scenario / "packets.txt").read_text())

    def replacement(marker: re.Match[str]) -> str:
        words = marker[1].split()
        if words[0] == "declaration":
            return _block("yaml", (scenario / "declaration.yml").read_text())
        if words[0] == "rules":
            return f"{_block('', _rules(scenario))}{_by_iptables(scenario)}"
        if words[0] == "run":
            return _block("", f"{words[1]}# {' '.join(words[2:])}")
        return _block("", met[" ".join(words[1:3])])

    text = (scenario / "page.md").read_text()
    return "#" + re.sub(r"^\{\{(.*)\}\}$", replacement, text, flags=re.MULTILINE)


def _rules(scenario: Path) -> str:
    blocks = _blocks(scenario)
    if scenario.name != ORDER[0]:
        usual = _blocks(SCENARIOS / ORDER[0])
        blocks = [block for block in blocks if block not in usual]
    return "\n".join(blocks)


def _blocks(scenario: Path) -> list[str]:
    """The sets, maps and chains of the table."""
    listing = (scenario / "ruleset.nft").read_text().expandtabs(8)
    blocks = re.findall(r"^ {8}\w.*?^ {8}\}\n", listing, re.MULTILINE | re.DOTALL)
    # A level is four columns here, and the table itself is left out.
    return [re.sub("^ {8}( {4}(?= ))?", "", block, flags=re.MULTILINE) for block in blocks]


def _by_iptables(scenario: Path) -> str:
    if not (scenario / "iptables.rules").exists():
        return ""
    rules = "\n".join(f"*{table}\n" + "\n".join(lines) for table, lines in _new_lines(scenario).items())
    return f"\n\n<details><summary>The same with iptables, for IPv4</summary>\n\n{_block('', rules)}\n\n</details>"


def _new_lines(scenario: Path) -> dict[str, list[str]]:
    """By their tables, the chains and rules that the first scenario has not."""
    tables = _tables(scenario)
    if scenario.name == ORDER[0]:
        return tables
    usual = _tables(SCENARIOS / ORDER[0])
    new = {table: [line for line in lines if line not in usual.get(table, ())] for table, lines in tables.items()}
    return {table: lines for table, lines in new.items() if lines}


def _tables(scenario: Path) -> dict[str, list[str]]:
    saved = (scenario / "iptables.rules").read_text()
    return {table: lines.splitlines() for table, lines in re.findall(r"^\*(\w+)\n(.*?)^COMMIT$", saved, re.M | re.S)}


def _packets(text: str) -> dict[str, str]:
    return {packet.partition(": ")[0]: packet for packet in text.strip().split("\n\n")}


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


if __name__ == "__main__":
    print(page(), end="")
