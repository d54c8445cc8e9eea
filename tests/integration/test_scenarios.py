# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/rules.md explains, on a host: the rules as the kernel lists them, and the rules that packets meet.

`make rules` writes anew what is written down of it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from hosts import HOST, NEIGHBOUR, ThrowawayHost
from matrix import LOOPBACK_BY_HOST, Addresses
from tracing import Tracer

SCENARIOS = sorted(path.parent for path in Path(__file__).parent.glob("scenarios/*/declaration.yml"))
# The source ports of the packets, one after another.
FIRST_PORT = 50000


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario_by_nftables(scenario: Path) -> None:
    words = yaml.safe_load((scenario / "declaration.yml").read_text())
    with ThrowawayHost.started(bridge_nf=0) as host, host.declared(words), Tracer.started(host) as tracer:
        outcomes = _packets(host, scenario, words)
        ways = tracer.ways()
        ruleset = host.run("nft list table inet wharf")
    met = ("".join(f"    {step}\n" for step in ways.get(FIRST_PORT + n, ["no rule"])) for n in range(len(outcomes)))
    packets = "\n".join(f"{line}\n{way}" for line, way in zip(outcomes, met, strict=True))
    _check(scenario, {"ruleset.nft": ruleset, "packets.txt": packets})


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario_by_iptables(scenario: Path) -> None:
    words = yaml.safe_load((scenario / "declaration.yml").read_text())
    with ThrowawayHost.started(bridge_nf=0, backend="iptables") as host:
        host.apply(words)
        outcomes = _packets(host, scenario, words)
        rules = {f"{each}.rules": _saved(host, each) for each in ("iptables", "ip6tables")}
    by_nftables = (scenario / "packets.txt").read_text()
    assert outcomes == re.findall(r"^\S.*", by_nftables, re.MULTILINE)
    _check(scenario, rules)


def _check(scenario: Path, outcome: dict[str, str]) -> None:
    if "UPDATE_GOLDEN" in os.environ:
        for name, content in outcome.items():
            (scenario / name).write_text(content)
    assert outcome == {name: (scenario / name).read_text() for name in outcome}


def _saved(host: ThrowawayHost, command: str) -> str:
    """What iptables-save says, table by table, without the hour and the counters."""
    saved = re.sub(r"^#.*\n| \[\d+:\d+\]$", "", host.run(f"{command}-save"), flags=re.MULTILINE)
    return "".join(sorted(re.findall(r"^\*.*?^COMMIT\n", saved, re.MULTILINE | re.DOTALL)))


def _packets(host: ThrowawayHost, scenario: Path, words: dict[str, dict[str, object]]) -> list[str]:
    """For each packet on the scenario's page: who answers it, if anybody."""
    addresses = Addresses.allotted(host)
    for name in [*words.get("containers", {}), "outside"]:
        host.serve(name, "80/tcp", "81/tcp")
    outcomes: list[str] = []
    for verb, who, what in re.findall(r"^\{\{(run|packet) (\S+) (.*)\}\}$", _page(scenario), re.MULTILINE):
        if verb == "run":
            host.run(what, who)
        else:
            outcomes.append(_outcome(host, addresses, who, what, FIRST_PORT + len(outcomes)))
    return outcomes


def _outcome(host: ThrowawayHost, addresses: Addresses, who: str, what: str, source_port: int) -> str:
    target, _space, expected = what.partition(" ")
    name, _colon, port = target.rpartition(":")
    if name.startswith("127.") and who != HOST:
        gateway = addresses.of(HOST, 4) if who == NEIGHBOUR else host.run("ip route show default", who).split()[2]
        host.run(LOOPBACK_BY_HOST.format(gateway), who)
    answer = host.probe(who, f"{addresses.of(name, 4)}:{port}/tcp", expected != "closed", source_port)
    assert answer.is_open == (expected != "closed"), f"{who} {what}: {answer}"
    outcome = f"{answer.by} answers, and sees {addresses.name(answer.sees)}" if answer.is_open else "no answer"
    return f"{who} {target}: {outcome}"


def _page(scenario: Path) -> str:
    return (scenario / "page.md").read_text()
