# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that somebody is to confirm: where nobody does, the host becomes again what it was.

No systemd runs a throwaway host, so what watches over the deadline is a process in a session of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from controller import VARIABLES, Controller
from fleets import Fleet
from host_state import assert_same, host_state
from hosts import ABSENT, BACKENDS, EXACT, FILES, LEDGER, ThrowawayHost, differences
from runners import Ran
from test_follow import following, problem
from test_killed import FOREIGN, PUBLISHED, THREE, TOO_MANY, TWO, words

COPY = "/run/wharf-revert-"
# Seconds: the shortest that is allowed, and one that no test waits for.
SOON, LATE = 10, 600

ONE_RULE = {**TWO, "docker_user": [{"action": "drop", "source": "192.0.2.66"}]}
OTHERS = {**THREE, "docker_user": [{"action": "drop", "source": "192.0.2.67"}]}
# Little of each: these are killed, and refused, at each single thing.
OLD = {**PUBLISHED, "docker_user": [{"action": "drop", "source": "192.0.2.66"}]}
NEW = words(
    PUBLISHED["networks"],
    {"web": {"networks": ["front"], "ports": ["8081:80"], "hostname": "new"}, "more": {"networks": ["front"]}},
)
MORE = {"containers": {"more": {"networks": ["front"]}}}


@pytest.fixture(params=BACKENDS[:1])
def host(request: pytest.FixtureRequest) -> Iterator[ThrowawayHost]:
    """A host with third-party objects, which a test leaves as it was, and with no process."""
    with ThrowawayHost.started(backend=request.param) as started:
        started.run(FOREIGN)
        started.apply(ONE_RULE)
        started.apply({}, ABSENT)
        before = started.snapshot()
        try:
            yield started
            started.apply({}, ABSENT)
            assert_same(before, started.snapshot, "than before")
            until(lambda: not watchdogs(started))
            assert "wharf-revert" not in started.run("ls /run")
        finally:
            for pid in watchdogs(started):
                os.kill(pid, signal.SIGKILL)


def watchdogs(host: ThrowawayHost) -> list[int]:
    """The processes that watch over a deadline of this host."""
    own = os.readlink(f"/proc/{host.agent.pid}/ns/mnt")
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if COPY in (entry / "cmdline").read_text() and os.readlink(entry / "ns/mnt") == own:
                found.append(int(entry.name))
    return found


def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def kill_watchdog(host: ThrowawayHost) -> None:
    (pid,) = watchdogs(host)
    os.kill(pid, signal.SIGKILL)
    host.run(f"rm {COPY}*")


def apply(host: ThrowawayHost, words: Any, seconds: int = LATE, state: str = EXACT) -> Ran:
    """As an admin does it by hand, with a file on the standard input."""
    arguments, given = host._given(words, state)
    return host.wharf("apply", *arguments, "--confirm", str(seconds), given=json.dumps(given))


def noted(host: ThrowawayHost) -> Any:
    return host.ledger()["unconfirmed"]


def change_note(host: ThrowawayHost, **changes: Any) -> None:
    """As if time had passed, or the host had been rebooted, since the changes were made."""
    ledger = host.ledger()
    ledger["unconfirmed"].update(changes)
    host.write(f"{LEDGER}.other", json.dumps(ledger))
    host.run(f"mv {LEDGER}.other {LEDGER}")


def lasting_state(host: ThrowawayHost) -> dict[str, Any]:
    """The state of the host; of the ledger not what it has learned meanwhile, such as what was there before."""
    found = host_state(host)
    if LEDGER in found:
        kept = ("declared", "allotted", "owned", "unconfirmed")
        found[LEDGER] = {key: value for key, value in found[LEDGER].items() if key in kept}
    return found


def without_ledger(state: dict[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in state.items() if not key.startswith("/var/lib/wharf")}


@pytest.mark.parametrize("host", BACKENDS[:2], indirect=True)
def test_what_nobody_confirms_is_reverted(host: ThrowawayHost) -> None:
    host.apply(ONE_RULE, EXACT)
    host.serve("web", "80/tcp")
    before = lasting_state(host)
    ran = apply(host, OTHERS, SOON)
    began = time.monotonic()
    assert (ran.code, ran.errors) == (0, "")
    assert ran.output.splitlines()[-1].startswith("reverted at ")
    assert host.reached({("outside", "192.0.2.10:8081/tcp"): True, ("outside", "192.0.2.10:8080/tcp"): False})
    assert watchdogs(host)
    until(lambda: not watchdogs(host))
    assert SOON - 2 < time.monotonic() - began < SOON + 10
    assert_same(before, lambda: lasting_state(host))
    assert host.probe("outside", "192.0.2.10:8080/tcp").by == "web"
    assert not host.probe("outside", "192.0.2.10:8081/tcp", expect_open=False).is_open
    # Each run says so, until one that declares something has: but it need not be made again.
    says = "the changes made by `wharf apply` of root were reverted at "
    for _again in range(2):
        ran = host.wharf("apply")
        assert ran.output == "nothing to change\n"
        assert says in ran.errors
        assert ran.errors.endswith(", since they were not confirmed\n")
    seen = host.observed()
    assert seen["reverted"]["reason"] == "since they were not confirmed"
    assert any(each.startswith(says) for each in seen["trouble"])
    assert any(says in warning for warning in host.apply(ONE_RULE, EXACT).warnings)
    assert host.apply(ONE_RULE, EXACT).warnings == set()
    assert host.observed()["reverted"] is None
    assert_same(before, lambda: lasting_state(host))


def test_a_host_for_which_nothing_was_declared_has_nothing_again(host: ThrowawayHost) -> None:
    before = host.snapshot()
    apply(host, ONE_RULE)
    change_note(host, deadline=0)
    until(lambda: not watchdogs(host))
    after = host.snapshot()
    ledger = json.loads(after.pop(LEDGER))
    assert ledger["reverted"]
    assert not any(ledger[key] for key in ("owned", "prior", "canonical"))
    after.pop("/var/lib/wharf/")
    assert differences(before, after) == ""
    # The note goes with the next run that declares anything, or lets it go.
    host.apply({}, ABSENT)
    assert differences(before, host.snapshot()) == ""


def test_what_is_confirmed_stays(host: ThrowawayHost) -> None:
    host.apply(ONE_RULE, EXACT)
    apply(host, OTHERS)
    assert host.observed()["unconfirmed"]["by"] == "`wharf apply` of root"
    made = lasting_state(host)
    made[LEDGER].pop("unconfirmed")
    ran = host.wharf("confirm")
    assert (ran.code, ran.output) == (0, "confirmed: the changes made by `wharf apply` of root stay\n")
    until(lambda: not watchdogs(host), seconds=5)
    assert_same(made, lambda: lasting_state(host))
    assert host.observed()["unconfirmed"] is None
    # Once more there is nothing to confirm, nor to revert.
    for command in ("confirm", "revert"):
        ran = host.wharf(command)
        assert (ran.code, ran.output) == (1, "")
        assert ran.errors == f"there is nothing to {command}: nothing is unconfirmed on this host\n"


def test_the_copy_of_a_process_that_was_killed_goes_with_the_next_change(host: ThrowawayHost) -> None:
    """And not that of one that runs."""

    def copies_of(processes: int) -> set[str]:
        until(lambda: len(watchdogs(host)) == processes)
        return {each for each in host.run("ls /run").split() if each.startswith("wharf-revert-")}

    apply(host, OLD)
    killed = copies_of(1)
    os.kill(watchdogs(host)[0], signal.SIGKILL)
    host.wharf("confirm")
    apply(host, NEW)
    running = copies_of(1)
    assert len(killed) == len(running) == 1
    assert killed.isdisjoint(running)
    apply(host, MORE, state="present")
    assert running < copies_of(2)
    host.wharf("confirm")
    until(lambda: not watchdogs(host), seconds=5)


def test_by_hand_it_is_reverted_before_its_time(host: ThrowawayHost) -> None:
    host.apply(ONE_RULE, EXACT)
    before = lasting_state(host)
    apply(host, OTHERS)
    ran = host.wharf("revert")
    assert (ran.code, ran.errors) == (0, "")
    assert "by hand: " in ran.output
    assert_same(before, lambda: lasting_state(host))
    ran = host.wharf("confirm")
    assert ran.code == 1
    assert ran.errors.startswith("too late to confirm: the changes made by `wharf apply` of root were reverted at ")
    until(lambda: not watchdogs(host), seconds=5)


def test_where_the_ledger_is_lost_no_answer_says_that_all_is_confirmed(host: ThrowawayHost) -> None:
    host.apply({"networks": {"app": {}}})
    kept = host.read(LEDGER)
    host.run(f"rm {LEDGER}")
    for command in (["confirm"], ["revert"], ["explain", "outside", "host:80"]):
        said = host.wharf(*command)
        assert said.code not in (0, 2)
        assert f"{LEDGER}: is lost, but objects of wharf.network exist on this host" in said.errors
    host.write(LEDGER, kept)
    host.apply({}, ABSENT)


def test_everything_that_goes_comes_back(host: ThrowawayHost) -> None:
    """Also the addresses, ports and names that were chosen for it."""
    host.apply(
        {
            **ONE_RULE,
            "containers": {**ONE_RULE["containers"], "free": {"networks": ["front"], "ports": ["9000-9009:90"]}},
        },
        EXACT,
    )
    before = lasting_state(host)
    apply(host, {}, state=ABSENT)
    assert "br-front" not in host.run("ip -br link")
    change_note(host, deadline=0)
    until(lambda: not watchdogs(host))
    assert_same(before, lambda: lasting_state(host))


def test_check_mode_and_a_run_without_changes_have_nothing_to_confirm(host: ThrowawayHost) -> None:
    arguments, given = host._given(ONE_RULE, EXACT)
    predicted = host.diff(ONE_RULE, EXACT).changes
    assert "unconfirmed" not in host.run(f"cat {LEDGER} 2>/dev/null || true")
    ran = host.wharf("apply", *arguments, "--json", "--confirm", str(LATE), given=json.dumps(given))
    made = json.loads(ran.output)
    assert [change["name"] for change in made["changes"]] == [change[3] for change in predicted]
    assert made["unconfirmed"]["seconds"] == LATE
    host.wharf("confirm")
    until(lambda: not watchdogs(host), seconds=5)
    assert apply(host, ONE_RULE).output == "nothing to change\n"
    assert watchdogs(host) == []
    # Nor has what is only repaired: no other declaration could bring it about.
    host.run("ip link set br-front mtu 1400")
    ran = apply(host, ONE_RULE)
    assert ran.output == "1 change: 1 bridge\n"
    assert "this run is not to be confirmed: it declares nothing new" in ran.errors
    assert watchdogs(host) == []


def test_a_second_run(host: ThrowawayHost) -> None:
    """Without a confirmation it is refused; with one, both are confirmed together, or reverted to before the first."""
    host.apply(ONE_RULE, EXACT)
    before = lasting_state(host)
    apply(host, OTHERS, SOON)
    first = noted(host)
    made = lasting_state(host)
    for other in (MORE, OTHERS):
        ran = host.wharf("apply", "-", given=json.dumps(other))
        assert ran.code == 1
        message = "this host: the changes made by `wharf apply` of root are not confirmed, and will be reverted at "
        assert ran.errors.startswith(message)
        assert "; a run with --confirm is confirmed together with them" in ran.errors
    assert_same(made, lambda: lasting_state(host))
    # What declares nothing is not refused, such as the service when a firewall has been restarted.
    assert host.wharf("apply").output == "nothing to change\n"
    ran = apply(host, MORE, LATE, "present")
    assert ran.code == 0
    second = noted(host)
    assert second["former"] == first["former"]
    assert second["deadline"] > first["deadline"] + LATE / 2
    # A shorter time leaves the longer one as it is; and without changes it is the same.
    assert apply(host, MORE, SOON, "present").output.startswith("nothing to change\n")
    assert noted(host)["deadline"] == second["deadline"]
    with suppress(subprocess.TimeoutExpired):
        # The first deadline is over, and nothing is reverted.
        time.sleep(max(0, first["deadline"] - time.clock_gettime(time.CLOCK_BOOTTIME) + 2))
    assert "more" in host.run("ls /run/netns")
    host.wharf("revert")
    assert_same(before, lambda: lasting_state(host))


def test_a_run_that_is_killed_is_reverted_wherever_that_was(host: ThrowawayHost) -> None:
    host.apply(OLD, EXACT)
    host.apply(NEW, EXACT)
    host.apply(OLD, EXACT)
    before = lasting_state(host)
    for fatal in range(1, TOO_MANY):
        is_killed = host.is_killed(fatal, NEW, EXACT, ["--confirm", str(LATE)])
        if "unconfirmed" in host.ledger():
            change_note(host, deadline=0)
        host.engine(["apply"])
        assert_same(before, lambda: lasting_state(host), f"after death {fatal}")
        if not is_killed:
            break
    assert 20 < fatal < TOO_MANY - 1


def test_a_revert_that_is_killed_is_finished(host: ThrowawayHost) -> None:
    host.apply(NEW, EXACT)
    host.apply(OLD, EXACT)
    before = lasting_state(host)
    for fatal in range(1, TOO_MANY):
        arguments, given = host._given(NEW, EXACT)
        host.engine(["apply", *arguments, "--confirm", str(LATE)], given)
        kill_watchdog(host)
        change_note(host, deadline=0)
        is_killed = host.dies(fatal, ["apply"])
        host.engine(["apply"])
        assert_same(before, lambda: lasting_state(host), f"after death {fatal}")
        if not is_killed:
            break
    assert 10 < fatal < TOO_MANY - 1


def test_what_is_refused_rolls_back_the_run_and_leaves_no_process(host: ThrowawayHost) -> None:
    host.apply(OLD, EXACT)
    host.apply(NEW, EXACT)
    host.apply(OLD, EXACT)
    before = lasting_state(host)
    endings = set()
    for number in range(1, TOO_MANY):
        refusal = host.refused(number, NEW, EXACT, ["--confirm", str(LATE)])
        if not refusal.what:
            break
        if refusal.failed and "all changes were made" not in refusal.said:
            assert "but for these" not in refusal.said
            endings.update(each for each in ("were taken back", "nothing was changed") if refusal.said.endswith(each))
            assert_same(before, lambda: lasting_state(host), f"after {refusal}")
        else:
            host.wharf("revert")
            assert_same(before, lambda: lasting_state(host), f"after {refusal}")
    assert 20 < number < TOO_MANY - 1
    assert len(endings) == 2
    host.wharf("revert")
    until(lambda: not watchdogs(host), seconds=5)


@pytest.mark.parametrize("changes", [{"deadline": 0}, {"boot": "another"}], ids=["time", "reboot"])
def test_without_the_process_the_next_apply_reverts(host: ThrowawayHost, changes: dict[str, Any]) -> None:
    host.apply(ONE_RULE, EXACT)
    before = lasting_state(host)
    apply(host, OTHERS)
    kill_watchdog(host)
    change_note(host, **changes)
    ran = host.wharf("confirm")
    assert ran.code == 1
    assert ran.errors.startswith("too late to confirm: the changes made by `wharf apply` of root")
    assert ": the next run reverts them" in host.wharf("diff").errors
    ran = host.wharf("apply")
    assert ran.code == 0
    assert "were reverted at " in ran.errors
    assert_same(before, lambda: lasting_state(host))


def test_without_the_process_the_next_run_reverts_and_declares_its_own(host: ThrowawayHost) -> None:
    host.apply(ONE_RULE, EXACT)
    host.apply(MORE)
    expected = lasting_state(host)
    host.apply(ONE_RULE, EXACT)
    apply(host, OTHERS)
    kill_watchdog(host)
    change_note(host, deadline=0)
    # What it changes is foreseen, though it is changed in all layers.
    foreseen = host.diff(MORE).changes
    assert host.apply(MORE).changes == foreseen
    assert host.apply(MORE).changes == []
    assert_same(expected, lambda: lasting_state(host))
    # If it is to be confirmed itself, the host reverts to before either.
    host.apply(ONE_RULE, EXACT)
    before = lasting_state(host)
    apply(host, OTHERS)
    kill_watchdog(host)
    change_note(host, deadline=0)
    apply(host, MORE, state="present")
    assert_same(without_ledger(expected), lambda: without_ledger(lasting_state(host)))
    change_note(host, deadline=0)
    until(lambda: not watchdogs(host))
    assert_same(before, lambda: lasting_state(host))


def test_without_the_process_follow_reverts(host: ThrowawayHost) -> None:
    host.apply(ONE_RULE, EXACT)
    before = lasting_state(host)
    apply(host, OTHERS)
    kill_watchdog(host)
    # Where systemd runs the host, the process has a service of its own, and not the capabilities of this one.
    with following(host, is_confined=False) as process:
        # Before it brings files up to date, of which the run would revert as well, and not say so.
        change_note(host, deadline=time.clock_gettime(time.CLOCK_BOOTTIME))
        host.run("echo 192.0.2.9 new >> /etc/hosts")
        message = problem(process)
        assert message.startswith("the changes made by `wharf apply` of root were not confirmed in time: ")
        until(lambda: "unconfirmed" not in host.ledger())
        until(lambda: not watchdogs(host))
        host.write("/etc/hosts", FILES["/etc/hosts"])
        assert_same(before, lambda: lasting_state(host))


def test_where_the_process_cannot_be_started_follow_reverts_by_itself(host: ThrowawayHost) -> None:
    host.apply(ONE_RULE, EXACT)
    before = lasting_state(host)
    apply(host, OTHERS)
    kill_watchdog(host)
    change_note(host, deadline=0)
    # In KiB: too few for the copy of the engine.
    room = int(host.run("df -k --output=used /run | tail -n 1")) + 200
    host.run(f"mount -o remount,size={room}k /run")
    with following(host, is_confined=False) as process:
        message = problem(process)
        assert "the process that would revert this run at the deadline cannot be started: " in message
        assert "were reverted at " in message
    host.run("mount -o remount,size=1g /run")
    assert_same(before, lambda: lasting_state(host))


def test_follow_starts_no_process_beside_one_that_waits(host: ThrowawayHost) -> None:
    host.apply(ONE_RULE, EXACT)
    before = lasting_state(host)
    apply(host, OTHERS)
    with following(host, is_confined=False), host.start("host", "flock", "/run/wharf.lock") as holder:
        time.sleep(0.5)
        change_note(host, deadline=0)
        time.sleep(4)
        assert len(watchdogs(host)) == 1
        assert "unconfirmed" in host.ledger()
        holder.communicate("")
        until(lambda: "unconfirmed" not in host.ledger())
    assert_same(before, lambda: lasting_state(host))


# Plays


def playing(**variables: Any) -> dict[str, Any]:
    return {**VARIABLES, "wharf_boot": False, **variables}


def test_plays_confirm_their_changes(controller: Controller) -> None:
    variables = playing(wharf_confirm=300)
    assert controller.converge("wharf.network.site", variables)
    assert "unconfirmed" not in controller.host.ledger()
    until(lambda: not watchdogs(controller.host), seconds=5)
    # The one that lets all go, too.
    ran = controller.play("wharf.network.teardown", variables=variables)
    assert ran.returncode == 0, ran.output
    assert "does not prove that this host is reached by the network" in ran.output
    assert ran.changes


def test_roles_leave_it_to_a_task_of_the_play(controller: Controller) -> None:
    """Several roles are confirmed together; without the task, the host is reverted to before the first one."""
    host = controller.host
    before = lasting_state(host)
    roles = [f"wharf.network.{name}" for name in ("default_networks", "user_networks", "containers")]
    variables = playing(wharf_confirm="300", wharf_confirm_verify=True)
    left = controller.play({"roles": roles}, variables=variables)
    assert left.returncode == 0, left.output
    first, *_others, last = [r["unconfirmed"]["id"] for r in left.results if r.get("unconfirmed")]
    assert noted(host)["id"] == last != first
    assert f"of {os.environ.get('USER', 'root')} at " in noted(host)["by"]
    refused = controller.play({"tasks": [{"wharf.network.confirm": {"run": first}}]})
    assert refused.returncode == 2
    assert "too late to confirm: a later run is to be confirmed instead" in refused.output
    refused = controller.play({"roles": roles}, variables=playing())
    assert refused.returncode == 2
    assert "a run with wharf_confirm is confirmed together with them" in refused.output
    # What brings the networks back is not concerned.
    boot = {"roles": ["wharf.network.boot"]}
    confirm = {"tasks": [{"wharf.network.confirm": {}}]}
    done = controller.play([boot, {**confirm, "check_mode": True}, confirm, confirm])
    assert done.returncode == 0, done.output
    confirmed = [result["confirmed"] and result["confirmed"]["id"] for result in done.results if "confirmed" in result]
    assert confirmed == [None, last, None]
    assert [result["changed"] for result in done.results if "confirmed" in result] == [False, True, False]
    assert "unconfirmed" not in host.ledger()
    host.apply({}, ABSENT)
    assert_same(before, lambda: lasting_state(host))


def test_jobs_of_a_workflow(controller: Controller) -> None:
    """One makes the change, a second one verifies it, and a third one confirms it."""
    host = controller.host
    variables = playing(wharf_confirm=300, wharf_confirm_verify="true")
    made = controller.play("wharf.network.site", "--skip-tags", "confirm", variables=variables)
    assert made.returncode == 0, made.output
    assert made.changes
    assert noted(host)
    later = controller.play(["wharf.network.verify", *2 * ["wharf.network.confirm"]], variables=playing())
    assert later.returncode == 0, later.output
    assert [result["changed"] for result in later.results if "confirmed" in result] == [True, False]
    assert "unconfirmed" not in host.ledger()


def test_where_the_gate_fails_nobody_confirms(controller: Controller) -> None:
    host = controller.host
    before = lasting_state(host)
    variables = playing(wharf_confirm=300, wharf_confirm_verify=True)
    host.run(
        "nft add table inet gate; nft 'add chain inet gate in { type filter hook forward priority 10; policy drop; }'"
    )
    failed = controller.play("wharf.network.site", variables=variables)
    assert failed.returncode == 2
    assert "probes are not as expected" in failed.output
    assert noted(host)["by"].startswith('the play "Container networks" of ')
    host.run("nft delete table inet gate")
    change_note(host, deadline=0)
    until(lambda: not watchdogs(host))
    assert_same(without_ledger(before), lambda: without_ledger(lasting_state(host)))
    played = controller.play({"tasks": [{"wharf.network.confirm": {}}]})
    assert "too late to confirm: the changes made by the play" in played.output
    made = controller.play("wharf.network.site", variables=variables)
    assert made.returncode == 0, made.output
    assert "were reverted at" in made.output
    assert "unconfirmed" not in host.ledger()
    assert controller.play("wharf.network.site", variables=variables).changes == []


def test_a_host_that_no_new_connection_reaches(tmp_path: Path) -> None:
    """A run's own connection still answers; a new one does not, until the host has reverted. The rollout ends there."""
    with ThrowawayHost.started() as host, ThrowawayHost.started() as later:
        # In the order of their groups in the inventory: data, web.
        fleet = Fleet({"host0": later, "host1": host}, tmp_path)
        usual = (tmp_path / "enter/host1").read_text()
        enter = usual.splitlines()[-1].removeprefix("exec ").removesuffix(' /bin/sh "$@"')
        cut = f"! {enter} ip link show br-front >/dev/null 2>&1 || exit 255"
        (tmp_path / "enter/host1").write_text(usual.replace("exec", f"{cut}\nexec"))
        before = lasting_state(host)
        for group in ("web", "data"):
            fleet.set_variables(group, {**VARIABLES, "wharf_confirm": SOON, "wharf_boot": False})
        failed = fleet.play("wharf.network.site", "-e", "wharf_serial=1,100%")
        assert failed.of("host1")["failed"] == 1, failed.output
        assert "no new connection to this host succeeds" in failed.output
        assert "the changes of this run will be reverted at" in failed.output
        assert failed.changed == set()
        assert "nothing is declared" in later.wharf("show").output
        until(lambda: not watchdogs(host))
        assert_same(before, lambda: without_ledger(lasting_state(host)))
