# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is passed over may be secret: it does not go to a host, nor into its ledger."""

from __future__ import annotations

import json
from typing import Any

import pytest
from controller import Controller, Run
from hosts import LEDGER, EngineError, ThrowawayHost

SECRET = "between-us"
DB = {"networks": ["app"], "environment": {"POSTGRES_PASSWORD": SECRET}, "deploy": {"replicas": 1, "labels": [SECRET]}}
WORDS: dict[str, Any] = {
    "host": {"mtu": 1400, "http-proxy": f"http://me:{SECRET}@192.0.2.1"},
    "networks": {"app": {"labels": {"token": SECRET}, "x-mine": SECRET}},
    "containers": {"db": {**DB, "x-environment": {"POSTGRES_PASSWORD": SECRET}}},
}
KEPT = {
    "host": {"mtu": 1400},
    "networks": {"app": {}},
    "containers": {"db": {"networks": ["app"], "deploy": {"replicas": 1}}},
}


def played(controller: Controller, *modules: str, **options: Any) -> Run:
    """With all that the modules were called with, which is what they write into the host's log."""
    tasks = [{f"wharf.network.{module}": options} for module in modules]
    ran = controller.play({"tasks": tasks}, "-vvv", "--diff", variables={"ansible_inject_invocation": True})
    assert ran.output.count('"invocation": {') == len(modules)
    assert SECRET not in ran.output
    return ran


@pytest.mark.parametrize("as_text", [False, True], ids=["mapping", "text"])
def test_of_variables(as_text: bool, controller: Controller) -> None:
    options = {name: json.dumps(words) if as_text else words for name, words in WORDS.items()}
    ran = played(controller, "bridge", "veth", **options)
    assert ran.returncode == 0, ran.output
    assert controller.host.json("ip netns exec db ip -j link show eth0")
    assert SECRET not in controller.host.read(LEDGER)


def test_of_a_compose_file(controller: Controller) -> None:
    services = {"services": {"db": {**WORDS["containers"]["db"], "networks": None}}}
    (controller.folder / "compose.yml").write_text(json.dumps(services), encoding="utf-8")
    ran = played(controller, "bridge", compose_files=["compose.yml"])
    assert ran.returncode == 0, ran.output
    assert SECRET not in controller.host.read(LEDGER)


def test_of_what_a_slip_of_the_pen_makes_unknown(controller: Controller) -> None:
    words = {"enviroment": {"POSTGRES_PASSWORD": SECRET}, "deploy": {"lables": SECRET}}
    ran = played(controller, "veth", containers={"db": words})
    assert "containers.db.enviroment: unknown key; did you mean environment? That key is ignored" in ran.output
    assert "containers.db.deploy.lables: unknown key; did you mean labels? That key is ignored" in ran.output
    # The module was given options, and no variables.
    assert "wharf_containers" not in ran.output


def test_of_the_command(host: ThrowawayHost) -> None:
    host.converge(WORDS)
    assert SECRET not in host.read(LEDGER)
    assert {part: words for part, words in host.ledger()["declared"].items() if part in WORDS} == KEPT
    with pytest.raises(
        EngineError, match=r"db.enviroment: unknown key; did you mean environment\? That key is ignored"
    ):
        host.apply({"containers": {"db": {"enviroment": {}}}})


@pytest.mark.parametrize("words", [[], ["-"]], ids=["what is declared already", "nothing new"])
def test_a_ledger_from_before_loses_it(words: list[str], host: ThrowawayHost) -> None:
    host.apply(KEPT)
    before = host.ledger()
    host.write(LEDGER, json.dumps({**before, "declared": {**before["declared"], **WORDS}}))
    assert host.engine(["diff", "--json", *words], {}) == host.engine(["apply", "--json", *words], {})
    assert host.diff({}).changes == []
    assert host.ledger() == before
