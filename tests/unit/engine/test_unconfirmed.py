# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger notes of changes that somebody is to confirm."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine import ledger as ledger_file
from ansible_collections.wharf.network.plugins.module_utils.engine import unconfirmed as module
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.declared import Declared
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ConflictError
from ansible_collections.wharf.network.plugins.module_utils.engine.ledger import Ledger
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.allotments import (
    Allotments,
    EndpointAllotment,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.unconfirmed import Former, Reverted, Unconfirmed

FORMER = Former(
    Declared({"mtu": 1400}, {"app": {}}),
    Allotments({}, {("web", "app"): EndpointAllotment("eth0", "02:42:00:00:00:01")}),
)


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_file, "PATH", str(tmp_path / "wharf/ledger.json"))
    monkeypatch.setattr(ledger_file.history, "PATH", str(tmp_path / "wharf/log.json"))
    monkeypatch.setattr(ledger_file.verified, "PATH", str(tmp_path / "wharf/verified.json"))


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(module.clock, "since_boot", lambda: now[0])
    monkeypatch.setattr(module.clock, "boot_id", lambda: "this")
    return now


def test_the_ledger_keeps_it() -> None:
    begun = Unconfirmed.begun("alice", 120, FORMER)
    Ledger(unconfirmed=begun).save()
    assert Ledger.load().unconfirmed == begun
    # What was reverted is all that is kept where nothing is declared.
    reverted = Reverted(1.5, "alice", "since they were not confirmed")
    Ledger(reverted=reverted, prior={"net.ipv4.ip_forward": "0"}).save()
    assert Ledger.load().reverted == reverted
    assert Ledger.load().prior == {}


@pytest.mark.parametrize("part, key", [("unconfirmed", "seconds"), ("unconfirmed", "deadline"), ("reverted", "at")])
def test_a_damaged_number_is_reported(part: str, key: str) -> None:
    Ledger(unconfirmed=Unconfirmed.begun("alice", 120, FORMER), reverted=Reverted(1.5, "alice", "by hand")).save()
    path = Path(ledger_file.PATH)
    words = json.loads(path.read_text(encoding="utf-8"))
    words[part][key] = "soon"
    path.write_text(json.dumps(words), encoding="utf-8")
    with pytest.raises(ConflictError, match="cannot be understood"):
        Ledger.load()


def test_when_its_time_is_over(now: list[float]) -> None:
    begun = Unconfirmed.begun("alice", 120, FORMER)
    assert (begun.deadline, begun.is_over) == (1120, False)
    assert str(begun).startswith("the changes made by alice are not confirmed, and will be reverted at ")
    now[0] = 1060
    assert begun.renewed().deadline == 1180
    now[0] = 1120
    assert begun.is_over
    assert str(begun) == "the changes made by alice were not confirmed in time"


def test_a_later_run_does_not_shorten_the_time_of_an_earlier_one() -> None:
    assert Unconfirmed.begun("bob", 10, FORMER, not_before=1120).deadline == 1120
    assert Unconfirmed.begun("bob", 600, FORMER, not_before=1120).deadline == 1600


def test_after_a_reboot_it_is_over() -> None:
    rebooted = replace(Unconfirmed.begun("alice", 120, FORMER), boot="another")
    assert (rebooted.is_over, rebooted.seconds_left) == (True, -1000)


def test_what_restores_the_networks_at_boot_is_not_taken_away() -> None:
    assert FORMER.reverted_from(Former(Declared(boot={}), Allotments())).declared.boot == {}
    with_boot = replace(FORMER, declared=replace(FORMER.declared, boot={}))
    assert with_boot.reverted_from(Former(Declared(), Allotments())) == with_boot


def test_keys_that_have_come_meanwhile_are_not_forgotten() -> None:
    knew = replace(FORMER, allotted=Allotments(mtu=1400, peer_keys={"h2": "old", "h3": "same"}))
    now = Former(Declared(), Allotments(mtu=1500, peer_keys={"h2": "new", "h4": "first"}))
    reverted = knew.reverted_from(now).allotted
    assert (reverted.mtu, reverted.peer_keys) == (1400, {"h2": "new", "h3": "same", "h4": "first"})
