# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host reports of itself afterwards: drift over a fleet, the log of its runs, and metrics."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleets import GROUPS, Fleet
from hosts import ABSENT, EXACT, LEDGER, LOG, ThrowawayHost, differences
from prometheus_client.parser import text_string_to_metric_families
from test_follow import following, heard, patiently

PAGE = Path(__file__).parents[2] / "docs/how-to/drift.md"
WORDS: dict[str, Any] = {
    "networks": {"front": {}},
    "containers": {
        "web": {"networks": ["front"], "ports": ["8080:80"]},
        "late": {"networks": ["front"], "x-wharf": {"sandbox": "path:/run/late/ns"}},
    },
}


@pytest.fixture(scope="module")
def lasting_host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as host:
        yield host


@pytest.fixture(name="host")
def lasting(lasting_host: ThrowawayHost) -> Iterator[ThrowawayHost]:
    before = lasting_host.snapshot()
    yield lasting_host
    lasting_host.apply({}, ABSENT)
    assert differences(before, lasting_host.snapshot()) == ""


def test_a_fleet_is_reported_on_and_nothing_changes(fleet: Fleet) -> None:
    web, data = fleet.of("web")[0], fleet.of("data")[0]
    assert fleet.play("wharf.network.site").returncode == 0
    calm = fleet.play("wharf.network.drift", "-e", "wharf_drift_fail_on=changes")
    assert (calm.returncode, calm.changed) == (0, set()), calm.output
    assert calm.output.count("nothing differs, and site.yml would change nothing") == len(fleet.hosts)
    assert calm.artifacts[web] == {"drift": 0, "changes": 0, "pending": []}
    # On one host somebody has changed something by hand; for the others something new is declared.
    fleet.hosts[web].run("ip link set br-front mtu 1400; sysctl -qw net.ipv4.ip_forward=0")
    fleet.set_variables("data", {**GROUPS["data"], "wharf_networks": {"back": {"internal": True}, "new": {}}})
    before = {name: host.snapshot() for name, host in fleet.hosts.items()}
    played = fleet.play("wharf.network.drift", "-e", "wharf_drift_fail_on=drift")
    assert played.changed == set(), played.output
    assert "differs: bridge br-front is changed (mtu)" in played.output
    assert "! the host does not forward: net.ipv4.ip_forward is 0" in played.output
    assert "site.yml would create bridge br-new" in played.output
    assert played.artifacts[web] == {"drift": 2, "changes": 0, "pending": []}
    # The page shows these hosts and changes, and one of the calm ones.
    [page] = re.findall(
        r"^```\nTASK \[What differs\].*?^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    for line in re.findall(r'^ {8}"(.*)",?$', page, re.MULTILINE):
        assert line in played.output + calm.output, line
    assert played.artifacts[data]["drift"] == 0
    assert played.artifacts[data]["changes"] > 1
    assert {name for name in fleet.hosts if played.of(name)["failed"]} == {web}
    shown = fleet.play("wharf.network.drift", "--diff", "-e", "wharf_drift_fail_on=changes")
    assert "-mtu: 1400" in shown.output
    assert {name for name in fleet.hosts if shown.of(name)["failed"]} == {web, *fleet.of("data")}
    for name, host in fleet.hosts.items():
        assert differences(before[name], host.snapshot()) == "", name


def runs(host: ThrowawayHost) -> list[Any]:
    found: list[Any] = json.loads(host.wharf("log", "--json").output)["runs"]
    return found


def test_the_log_has_each_run_that_changed_something(host: ThrowawayHost) -> None:
    assert runs(host) == []
    assert host.wharf("log").output.startswith("no run that changed anything")
    host.write("/run/words.json", json.dumps(WORDS))
    for _again in range(2):
        assert host.wharf("apply", "/run/words.json").code == 0
        assert host.wharf("diff", "--state", ABSENT).code == 2
    (first,) = runs(host)
    assert abs(first["at"] - time.time()) < 60
    assert (first["origin"], first["by"], first["outcome"]) == ("by hand", "`wharf apply` of root", "done")
    assert {"action": "create", "kind": "bridge", "number": 2, "names": ["docker0", "br-front"]} in first["changes"]
    host.run("ip link set br-front mtu 1400")
    assert host.wharf("apply", "--at-boot").code == 0
    host.run("nft flush ruleset")
    with following(host) as process:
        host.run("nft add table inet other; nft delete table inet other")
        assert heard(process)["rules"] == {"nftables"}
        patiently(lambda: runs(host)[0]["outcome"] == "done")
    origins = [(run["origin"], run["by"]) for run in runs(host)]
    assert origins == [
        ("follow", "`wharf follow`"),
        ("boot", "the service `wharf`"),
        ("by hand", "`wharf apply` of root"),
    ]
    assert runs(host)[1]["changes"] == [{"action": "update", "kind": "bridge", "number": 1, "names": ["br-front"]}]
    lines = host.wharf("log").output.splitlines()
    assert "    ~ 1 bridge: br-front" in lines
    assert host.run(f"stat -c %a {LOG}").strip() == "600"


def test_a_run_that_is_refused_is_not_in_the_log_and_one_that_is_killed_is(host: ThrowawayHost) -> None:
    host.apply(WORDS)
    more = {"networks": {"front": {}, "more": {}}}
    refusals = [host.refused(number, more) for number in range(9, 14)]
    assert any(refusal.failed for refusal in refusals)
    host.apply(WORDS, EXACT)
    assert {run["outcome"] for run in runs(host)} == {"done"}
    known = len(runs(host))
    fatal = 9
    while len(runs(host)) == known:
        assert host.is_killed(fatal, more)
        fatal += 1
    assert runs(host)[0]["outcome"] == "unfinished"
    assert "; it was killed, or is under way" in host.wharf("log").output.splitlines()[0]
    host.apply(more)
    assert [run["outcome"] for run in runs(host)][:2] == ["done", "unfinished"]


def test_a_log_that_cannot_be_written_is_a_warning(host: ThrowawayHost) -> None:
    host.apply(WORDS)
    host.run(f"rm {LOG}; mkdir {LOG}")
    warnings = host.apply({"networks": {"front": {}, "more": {}}}).warnings
    assert [each for each in warnings if each.startswith(f"{LOG}: this run could not be noted there: ")]
    assert host.json("ip -j link show br-more")
    host.run(f"rmdir {LOG}")


def test_reverted_changes_are_in_the_log_and_no_news_where_it_was_done_by_hand(host: ThrowawayHost) -> None:
    host.apply(WORDS)
    host.write("/run/more.json", json.dumps({"networks": {"more": {}}}))
    assert host.wharf("apply", "/run/more.json", "--confirm", "300").code == 0
    assert host.wharf("revert").code == 0
    last = runs(host)[0]
    assert (last["origin"], last["by"], last["reverts"]) == (
        "revert", "`wharf revert` of root", "`wharf apply` of root",
    )  # fmt: skip
    assert "were reverted" not in host.wharf("show").output
    assert "were reverted" not in host.wharf("apply").errors
    # But whoever made them, and asks to confirm them, gets the answer.
    assert "were reverted" in host.wharf("confirm").errors


def test_metrics_are_kept_in_a_file_while_somebody_follows(host: ThrowawayHost) -> None:
    host.apply(WORDS)
    host.run("mkdir /run/textfile")
    path = "/run/textfile/wharf.prom"
    with following(host, "--metrics", path) as process:
        patiently(lambda: host.run(f"cat {path} 2>&1 || true").startswith("# HELP"))
        assert host.run(f"stat -c %a {path}").strip() == "644"
        values = parsed(host.read(path))
        assert (values["wharf_pending_sandboxes"], values["wharf_networks"], values["wharf_containers"]) == (1, 2, 2)
        assert values["wharf_last_change_timestamp_seconds"] == pytest.approx(runs(host)[0]["at"], abs=0.01)
        assert host.run("ls /run/textfile").split() == ["wharf.prom"]
        host.run("nft flush ruleset")
        assert heard(process)["rules"] == {"nftables"}
        patiently(lambda: parsed(host.read(path))["wharf_last_change_timestamp_seconds"] > runs(host)[1]["at"] + 0.1)
    # Nobody keeps it true any more.
    assert host.run("ls /run/textfile") == ""
    with following(host, "--metrics", "/run/nowhere/wharf.prom") as process:
        assert process.stdout
        problem = json.loads(process.stdout.readline())["problem"]
        remedy = "create the folder /run/nowhere"
        assert problem == f"/run/nowhere/wharf.prom cannot be written (No such file or directory): {remedy}"


def test_metrics_show_at_once_whether_changes_are_confirmed(host: ThrowawayHost) -> None:
    host.run("mkdir -p /run/textfile")
    host.write("/run/words.json", json.dumps(WORDS))
    path = "/run/textfile/wharf.prom"
    with following(host, "--metrics", path):

        def becomes(unconfirmed: int, networks: int) -> None:
            expected = {"wharf_unconfirmed": unconfirmed, "wharf_networks": networks}
            patiently(lambda: expected.items() <= parsed(host.run(f"cat {path} 2>/dev/null || true")).items())

        # Nothing has been declared yet, so the ledger's folder is not there either.
        becomes(unconfirmed=0, networks=0)
        assert host.wharf("apply", "/run/words.json", "--confirm", "300").code == 0
        becomes(unconfirmed=1, networks=2)
        assert host.wharf("confirm").code == 0
        becomes(unconfirmed=0, networks=2)
        assert host.wharf("apply", "--state", ABSENT, "--confirm", "300").code == 0
        becomes(unconfirmed=1, networks=0)
        assert host.wharf("revert").code == 0
        becomes(unconfirmed=0, networks=2)


def test_metrics_show_drift(host: ThrowawayHost) -> None:
    host.apply(WORDS)
    host.run("ip link set br-front mtu 1400; nft delete table inet wharf")
    ran = host.wharf("metrics")
    assert (ran.code, ran.errors) == (0, "")
    drift = {
        sample.labels["layer"]: sample.value
        for family in text_string_to_metric_families(ran.output)
        for sample in family.samples
        if sample.name == "wharf_drift_objects"
    }
    assert drift["bridge"] == 1
    assert drift["docker_chains"] > 10
    assert drift["veth"] == 0
    host.run(f"rm {LEDGER}")
    assert parsed(host.wharf("metrics").output)["wharf_unobserved"] == 1
    host.engine(["recover", "-"], WORDS)


def parsed(text: str) -> dict[str, float]:
    return {family.name: family.samples[0].value for family in text_string_to_metric_families(text)}


def test_what_is_recovered_is_reported_to_people_and_machines(host: ThrowawayHost) -> None:
    host.apply(WORDS)
    host.write("/run/words.json", json.dumps(WORDS))
    assert host.wharf("recover", "/run/words.json").output.startswith("the ledger is in order, and stays\n")
    host.run(f"rm {LEDGER}")
    lines = host.wharf("recover", "/run/words.json").output.splitlines()
    assert lines[0] == "the ledger is recovered from the marks on this host"
    assert "    bridge: 2 bridges: br-front, docker0" in lines
    recovered = json.loads(host.wharf("recover", "/run/words.json", "--json").output)
    assert recovered["recovered"] is False
    assert "bridge br-front" in recovered["owned"]["bridge"]


def test_show_says_what_is_declared_where_no_network_is(host: ThrowawayHost) -> None:
    host.apply({"docker_user": [{"action": "drop", "source": "192.0.2.66"}]}, scope=["docker_user"])
    shown = host.wharf("show").output
    assert "nothing is declared" not in shown
    assert "no network is declared on this host; declared are: docker_user" in shown
    assert json.loads(host.wharf("show", "--json").output)["declared"] == ["docker_user"]


def test_show_is_coloured_on_a_terminal_alone(host: ThrowawayHost) -> None:
    host.apply(WORDS)
    for environment, is_coloured in (("", True), ("NO_COLOR=1 ", False)):
        words = " ".join(host.engine_command("-m", "engine.command", "show"))
        shown = host.run(f"{environment}script -qec '{_inner(words)}' /dev/null")
        assert ("\x1b[" in shown) is is_coloured, shown
    assert "\x1b" not in host.wharf("show").output


def _inner(command: str) -> str:
    """The part of the command that runs in the host already."""
    return command.partition(" -- ")[2]
