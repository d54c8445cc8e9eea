# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of which one thing is refused, each in turn: all that it did is rolled back, in all layers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from host_state import assert_same, host_state
from hosts import ABSENT, BACKENDS, EXACT, ThrowawayHost
from runners import ENGINE
from test_killed import FOREIGN, PUBLISHED, SPANNING, SPANNING_OTHERS, THREE, TOO_MANY, TWO

Run = tuple[Any, str]

BOOT = {"boot": {"services": True}}
SOMETHING = {**TWO, **BOOT, "docker_user": [{"action": "drop", "source": "192.0.2.66"}]}
CHANGED = {**THREE, **BOOT, "docker_user": [{"action": "drop", "source": "192.0.2.67"}]}
# What there is of each kind of rules, and little else: the rest is done by both backends alike.
RULES = {**PUBLISHED, "docker_user": [{"action": "drop", "source": "192.0.2.66"}]}
OTHER_RULES = {
    **RULES,
    "containers": {"web": {"networks": ["front"], "ports": ["8081:80"]}},
    "docker_user": [{"action": "drop", "source": "192.0.2.67"}],
}
GONE: Run = ({}, ABSENT)

PENDING = re.compile(r"([^ ]+(?:, [^ ]+)*) (?:is|are) pending")
MTU = "com.docker.network.driver.mtu"

ROLLED_BACK = "all changes of this run were taken back"
UNTOUCHED = "nothing was changed"
# What is refused after all changes were made is the ledger's last word, or flows that are to be forgotten.
MADE = re.compile("all changes were made(, and the next run does the rest|: run this again once it can be written)$")


def cases(backend: str, something: Any, changed: Any) -> Iterator[Any]:
    yield pytest.param(backend, GONE, (something, EXACT), id=f"building-{backend}")
    yield pytest.param(backend, (something, EXACT), (changed, EXACT), id=f"changing-{backend}")
    yield pytest.param(backend, (something, EXACT), GONE, id=f"taking away-{backend}")
    yield pytest.param(backend, (SPANNING, EXACT), (SPANNING_OTHERS, EXACT), id=f"another overlay-{backend}")


@pytest.mark.parametrize(
    ("backend", "former", "latter"),
    [*cases(BACKENDS[0], SOMETHING, CHANGED), *cases(BACKENDS[1], RULES, OTHER_RULES)],
)
def test_what_is_refused_anywhere_rolls_back_the_whole_run(backend: str, former: Run, latter: Run) -> None:
    with ThrowawayHost.started(backend=backend) as host:
        host.run(FOREIGN)
        # The first time around the ledger learns what it then keeps.
        for run in (former, latter, former, latter):
            host.apply(*run)
        after = host_state(host)
        host.apply(*former)
        before = host_state(host)
        endings = set()
        for number in range(1, TOO_MANY):
            refusal = host.refused(number, *latter)
            if not refusal.what:
                break
            when = f"after {refusal.what} was refused, thing {number}: {refusal.said}"
            if refusal.failed and not MADE.search(refusal.said):
                assert "but for these" not in refusal.said, when
                endings.update(each for each in (ROLLED_BACK, UNTOUCHED) if refusal.said.endswith(each))
                assert_same(before, lambda: host_state(host), when)
                continue
            if refusal.failed:
                assert_same(_but_ledger(after), lambda: _but_ledger(host_state(host)), when)
            # Otherwise it could do without, or it says what is pending inside a single sandbox.
            host.apply(*latter)
            assert_same(after, lambda: host_state(host), f"after another run, {when}")
            host.apply(*former)
            assert_same(before, lambda: host_state(host), f"after the run before it, {when}")
        assert 10 < number < TOO_MANY - 1
        assert endings == {ROLLED_BACK, UNTOUCHED}
        assert_same(after, lambda: host_state(host), "after a run of which nothing was refused")


def test_what_runs_in_a_container_stays_connected(host: ThrowawayHost) -> None:
    """A run lets the container go, and is refused later: what is brought back is the same network stack."""

    def serve() -> str:
        host.apply(SOMETHING, EXACT)
        host.serve("web", "80/tcp")
        return host.run("readlink /proc/self/ns/net", "web")

    stack = serve()
    without_web = {**SOMETHING, "containers": {"app": SOMETHING["containers"]["app"]}}
    rolled_back = 0
    for number in range(1, TOO_MANY):
        refusal = host.refused(number, without_web, EXACT)
        if not refusal.what:
            break
        if not refusal.failed or MADE.search(refusal.said):
            # The run could do without, as it can without its line in the log.
            stack = serve()
            continue
        rolled_back += refusal.said.endswith(ROLLED_BACK)
        assert host.run("readlink /proc/self/ns/net", "web") == stack, refusal
        assert host.probe("outside", "192.0.2.10:8080/tcp").by == "web", refusal
    assert rolled_back > 10


def test_what_is_refused_inside_a_container_leaves_it_as_it_was(host: ThrowawayHost) -> None:
    """Each thing in turn; but what the host sets on its own side is as it is declared."""

    def words(mtu: str, interface: str, address: str, sysctl: str, rate: str) -> Any:
        network = {"ipam": {"config": [{"subnet": "10.7.0.0/16"}]}, "driver_opts": {MTU: mtu}}
        front = {"interface_name": interface, "ipv4_address": address, "x-wharf": {"rate": {"ingress": rate}}}
        sysctls = {"net.core.somaxconn": sysctl, "net.ipv4.ip_unprivileged_port_start": sysctl}
        return {
            "networks": {"front": network, "back": {"driver_opts": {MTU: mtu}}},
            "containers": {"web": {"networks": {"front": front, "back": {}}, "sysctls": sysctls}},
        }

    former = words("1500", "eth5", "10.7.0.5", "500", "5mbit")
    latter = words("1400", "eth6", "10.7.0.6", "600", "6mbit")
    host.apply(former, EXACT)
    pending: set[str] = set()
    for number in range(1, TOO_MANY):
        refusal = host.refused(number, latter, EXACT)
        if not refusal.what:
            break
        refused = {name for names in PENDING.findall(refusal.said) for name in names.split(", ")}
        if refused and not refusal.failed:
            assert "not all of it was taken back" not in refusal.said, refusal
            changes = {change[3]: change[4] for change in host.diff(former, EXACT).changes}
            left = {name: changes[name] for name in refused & changes.keys()}
            assert left in ({}, {"web/front": "ingress"}), refusal
            pending |= refused
        host.apply(former, EXACT)
    assert number < TOO_MANY - 1
    assert pending == {"netns:web", "web/front", "web/back"}


def test_more_containers_go_than_a_process_may_have_files_open(host: ThrowawayHost) -> None:
    """Up to the hard limit, their stacks are kept; beyond that, they go all the same."""
    containers = {f"c{number}": {"network_mode": "none"} for number in range(300)}
    for limits in ("nofile=256:4096", "nofile=256:256"):
        host.apply({"host": {"bridge": "none"}, "containers": containers}, EXACT)
        command = [*host.enter(), "prlimit", f"--{limits}", *ENGINE, "-m", "engine.command", "apply", "--state", ABSENT]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr) == (0, ""), limits
        assert not host.run("ls /run/netns").split()


def test_a_stack_that_was_to_pass_to_another_container_is_given_back(host: ThrowawayHost) -> None:
    def words(owner: str, guest: str) -> Any:
        return {
            "networks": {"front": {}},
            "containers": {owner: {"networks": ["front"]}, guest: {"network_mode": f"service:{owner}"}},
        }

    before = words("a", "b")
    host.apply(before, EXACT)
    for number in range(1, TOO_MANY):
        refusal = host.refused(number, words("b", "a"), EXACT)
        if not refusal.what:
            break
        assert "but for these" not in refusal.said
        is_made = not refusal.failed or MADE.search(refusal.said)
        assert is_made or host.diff(before, EXACT).changes == [], refusal
        host.apply(before, EXACT)
    assert number > 10


def _but_ledger(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if not key.startswith("/var/lib/")}
