# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of a host's runs, and the metrics of a host."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.wharf.network.plugins.module_utils.engine import history
from ansible_collections.wharf.network.plugins.module_utils.engine.diff import Change
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ConflictError
from ansible_collections.wharf.network.plugins.module_utils.engine.history import Log, Run
from ansible_collections.wharf.network.plugins.module_utils.engine.metrics import metrics
from ansible_collections.wharf.network.plugins.module_utils.engine.report import log_lines
from ansible_collections.wharf.network.plugins.module_utils.engine.state import Sysctl

PICTURES = Path(__file__).parent / "pictures"


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(history, "PATH", str(tmp_path / "log.json"))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return tmp_path / "log.json"


def run(number: int = 1, **words: str) -> Run:
    changes = [Change(None, Sysctl(f"net.core.{each}", "1"), "forwarding") for each in range(number)]
    return Run.begun(words.get("origin", "play"), words.get("by", "alice"), changes, words.get("reverts", ""))


def test_the_last_one_is_the_first_and_only_so_many_are_kept() -> None:
    runs = [run() for _each in range(history.MOST_RUNS + 2)]
    for each in runs:
        Log(each).begin()
        Log(each).end()
    kept = history.read()
    assert [each.id for each in kept] == [each.id for each in reversed(runs[2:])]
    assert {each.outcome for each in kept} == {history.DONE}


def test_a_run_that_changes_much_takes_little_room(path: Path) -> None:
    Log(run(4000)).begin()
    (noted,) = history.read()
    assert noted.number == 4000
    assert len(noted.changes[0].names) == history.MOST_NAMES
    assert path.stat().st_size < 1000


def test_one_that_is_rolled_back_is_forgotten(path: Path) -> None:
    first, second = run(), run()
    Log(first).begin()
    Log(first).end()
    Log(second).begin()
    Log(second).forget()
    assert [each.id for each in history.read()] == [first.id]
    Log(first).forget()
    assert not path.exists()


SOUND = {"id": "a", "at": 1.5, "origin": "play", "by": "alice", "changes": [], "reverts": "", "outcome": "done"}
CHANGED = {"action": "create", "kind": "bridge", "number": 1, "names": []}


def damaged(**words: Any) -> str:
    return json.dumps({"runs": [{**SOUND, **words}]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"runs": [{}]}',
        '{"runs": 1}',
        "[" * 200_000,
        damaged(at=None),
        damaged(at="yesterday"),
        damaged(at=float("nan")),
        damaged(at=1e300),
        damaged(origin=["play"]),
        damaged(outcome="well"),
        damaged(by=1),
        damaged(changes=[{**CHANGED, "action": "mend"}]),
        damaged(changes=[{**CHANGED, "number": "x"}]),
    ],
)
def test_a_log_that_is_damaged_is_an_error_to_read_and_no_obstacle_to_a_run(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConflictError, match="the next run that changes something replaces it"):
        history.read()
    Log(run()).begin()
    assert len(history.read()) == 1


def test_a_log_that_is_no_file_keeps_nobody_waiting(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(ConflictError, match="it is no file"):
        history.read()
    Log(run()).begin()
    assert len(history.read()) == 1


def test_for_people_each_run_has_a_line_and_one_for_each_kind_of_objects() -> None:
    killed = run(12, origin="follow", by="`wharf follow`")
    reverted = run(1, origin="revert", by="`wharf revert` of bob", reverts="the play of alice")
    for each in (killed, reverted):
        Log(each).begin()
    Log(reverted).end()
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(killed.at))
    names = ", ".join(f"net.core.{each}" for each in range(5))
    assert log_lines(history.read())[-3:] == [
        "    + 1 kernel parameter: net.core.0",
        f"{when}  follow   12 objects  `wharf follow`; it was killed, or is under way",
        f"    + 12 kernel parameters: {names}, and 7 more",
    ]
    assert log_lines(history.read())[0].endswith(
        "  revert   1 object  `wharf revert` of bob, reverting what was made by the play of alice"
    )
    assert log_lines([])[0].startswith("no run that changed anything is noted on this host")


def seen() -> dict[str, object]:
    words = yaml.safe_load((PICTURES / "in_trouble/seen.yml").read_text(encoding="utf-8"))
    containers = {name: {"sandbox": f"netns:{name}", **each} for name, each in words["containers"].items()}
    containers["late"]["sandbox"] = "docker:late"
    return {
        **words, "containers": containers, "published": [1, 2], "edited": [], "foreign": [], "unconfirmed": None,
        "pending": ["docker:late", "docker:late:/etc/hosts", "late/front"],
        "drift": {"bridge": [{}, {}], "docker_chains": [{}]},
    }  # fmt: skip


def test_metrics_are_what_prometheus_reads() -> None:
    last = {"at": time.time(), "objects": 3}
    text = metrics({**seen(), "last_change": last}, problems=1)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for family in families.values():
        assert family.documentation.endswith(".")
        assert family.type == "gauge"
    values = {name: family.samples[0].value for name, family in families.items()}
    drift = {each.labels["layer"]: each.value for each in families["wharf_drift_objects"].samples}
    assert (drift["bridge"], drift["docker_chains"], drift["veth"]) == (2, 1, 0)
    assert values["wharf_pending_sandboxes"] == 1
    assert values["wharf_unconnected_endpoints"] == 1
    assert (values["wharf_networks"], values["wharf_containers"], values["wharf_published_ports"]) == (1, 3, 2)
    assert (values["wharf_unconfirmed"], values["wharf_unobserved"]) == (0, 1)
    assert abs(values["wharf_last_change_timestamp_seconds"] - time.time()) < 60
    assert values["wharf_last_change_objects"] == 3


def test_without_a_log_nothing_is_said_of_a_last_change() -> None:
    assert "last_change" not in metrics({**seen(), "last_change": None})


def test_the_log_as_a_document_has_times_for_machines_and_people(path: Path) -> None:
    Log(run(2)).begin()
    (document,) = json.loads(json.dumps([each.as_data() for each in history.read()]))
    assert (document["objects"], document["outcome"]) == (2, "unfinished")
    assert document["time"] == time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(document["at"]))
    assert document["changes"] == [
        {"action": "create", "kind": "sysctl", "number": 2, "names": ["net.core.0", "net.core.1"]}
    ]
