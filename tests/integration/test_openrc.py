# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of the role `boot` where OpenRC runs the host: a real OpenRC starts and supervises them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from boot_layer import COMMAND, installed
from controller import WORDS, Controller
from host_state import assert_same, host_state
from hosts import EngineError, ThrowawayHost, differences
from openrc import RUNLEVEL, SCRIPTS, boot, booted, install_openrc, shut_down, states

FOLLOW, APPLY = "wharf-follow", "wharf"
FILES = [("file", f"{SCRIPTS}/{name}") for name in (APPLY, FOLLOW)]
SERVICES = [("service", name) for name in (FOLLOW, APPLY)]
STARTED = {FOLLOW: "started", APPLY: "started"}

# A run that changes the script of what follows, and ends instead of this.
KILLED = """
import os, signal
from engine.converge import converge
from engine.declaration.declared import Call
from engine.kernel import openrc
from engine.layers import BOOT
openrc.{function} = lambda *_arguments: os.kill(os.getpid(), signal.SIGKILL)
converge(Call(boot={{"metrics": "/run/wharf.prom"}}, scopes=frozenset(["boot"])), [BOOT])
"""

# In seconds. The script itself waits for 10 between two attempts, and for 5 before it starts an ended process again.
_WITHIN = 30


@pytest.fixture
def words() -> dict[str, Any]:
    return WORDS


@pytest.fixture
def host_of_openrc(host: ThrowawayHost) -> Iterator[ThrowawayHost]:
    with booted(host):
        yield host


def comes_true(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WITHIN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def supervisor(host: ThrowawayHost) -> str:
    return host.read(f"/run/supervise-{FOLLOW}.pid").strip()


def follower(host: ThrowawayHost) -> str:
    """The process of `wharf follow`; empty while there is none."""
    parent = supervisor(host)
    with suppress(OSError):
        for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            if f"{COMMAND}\0follow" in Path(f"/proc/{each}/cmdline").read_text():
                return each
    return ""


def lose_networks(host: ThrowawayHost) -> None:
    """As when the power is cut."""
    host.run(
        """
        kill $(cat /run/wharf/running/*.pid)
        nft flush ruleset; ip -all netns del; umount -R /run/netns; rm -r /run/netns /run/wharf /run/wharf.lock
        for each in br-front br-back docker0; do ip link del $each; done
        sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 net.ipv6.conf.default.forwarding=0
        """
    )


def test_services_are_enabled_and_started(host_of_openrc: ThrowawayHost) -> None:
    host = host_of_openrc
    before = host.snapshot()
    coming = [("create", *key) for key in (("program", COMMAND), *FILES, *SERVICES)]
    assert installed(host) == coming
    comes_true(lambda: states(host) == STARTED)
    for name in (APPLY, FOLLOW):
        assert host.run(f"readlink {RUNLEVEL}/{name}; stat -c %a {SCRIPTS}/{name}") == f"{SCRIPTS}/{name}\n755\n"
    host.run(f"rc-service {APPLY} stop; rc-update del {FOLLOW} default")
    assert installed(host) == [("update", *key) for key in SERVICES]
    comes_true(lambda: states(host) == STARTED)
    only_command = installed(host, services=False)
    assert only_command == [("delete", *key) for key in (*FILES, *SERVICES)]
    assert states(host) == {}
    assert installed(host) == coming[1:]
    # Also while the engine that the service runs waits for this run.
    assert installed(host, remove=True) == [("delete", *key) for key in (("program", COMMAND), *FILES, *SERVICES)]
    comes_true(lambda: "wharf" not in host.run("ls /run/openrc/*"))
    assert differences(before, host.snapshot()) == ""


def test_a_play_installs_and_removes_them(controller: Controller) -> None:
    role = {"roles": ["wharf.network.boot"]}
    with booted(controller.host):
        before = controller.host.snapshot()
        made = controller.converge(role)
        assert [change[1:] for change in made] == [("program", COMMAND), *FILES, *SERVICES]
        comes_true(lambda: states(controller.host) == STARTED)
        controller.converge(role, {"wharf_state": "absent"})
        assert differences(before, controller.host.snapshot()) == ""


def test_a_changed_script_restarts_what_follows(host_of_openrc: ThrowawayHost) -> None:
    host = host_of_openrc
    installed(host)
    comes_true(lambda: states(host) == STARTED and follower(host) != "")
    process = follower(host)
    host.run(f"echo >> {SCRIPTS}/{APPLY}; chmod 644 {SCRIPTS}/{FOLLOW}")
    assert installed(host)[:2] == [("update", *key) for key in FILES]
    assert follower(host) != process
    assert installed(host, metrics="/run/wharf.prom") == [("update", *FILES[1])]
    comes_true(lambda: "wharf_" in host.run("cat /run/wharf.prom 2>&1 || true"))
    host.run(f"rc-service {FOLLOW} stop; [ ! -e /run/wharf.prom ]")


@pytest.mark.parametrize("last", ["read_files", "restart"])
def test_a_run_that_is_killed_before_it_restarts_what_follows_is_finished(
    host_of_openrc: ThrowawayHost, last: str
) -> None:
    host = host_of_openrc
    installed(host)
    comes_true(lambda: states(host) == STARTED and follower(host) != "")
    with pytest.raises(AssertionError):
        host.python(KILLED.format(function=last))
    assert installed(host, metrics="/run/wharf.prom") == [("update", "service", FOLLOW)]
    comes_true(lambda: "wharf_" in host.run("cat /run/wharf.prom 2>&1 || true"))


def test_who_follows_is_started_again(host_of_openrc: ThrowawayHost) -> None:
    host = host_of_openrc
    installed(host)
    comes_true(lambda: follower(host) != "")
    first = follower(host)
    host.run(f"kill -9 {first}")
    comes_true(lambda: follower(host) not in ("", first))
    second = follower(host)
    # A process that nobody waits for is still one to OpenRC, on machines whose first process does not wait for it.
    host.run(f"kill -9 {supervisor(host)}; echo 4194305 > /run/supervise-{FOLLOW}.pid")
    assert states(host)[FOLLOW] == "unsupervised"
    assert installed(host) == [("update", "service", FOLLOW)]
    assert states(host)[FOLLOW] == "started"
    host.run(f"kill {second}")


def test_the_networks_come_back(host_of_openrc: ThrowawayHost, words: dict[str, Any]) -> None:
    host = host_of_openrc
    host.apply(words)
    installed(host)
    comes_true(lambda: states(host) == STARTED)
    before = host_state(host)
    shut_down(host)
    lose_networks(host)
    boot(host)
    assert states(host) == STARTED
    assert "br-front" not in host.read("/run/firewall-saw")
    assert "br-front" in host.read("/run/docker-saw")
    assert_same(before, lambda: host_state(host))
    assert host.json("wharf diff --json")["changes"] == []
    host.serve("web", "80/tcp")
    assert host.probe("outside", "192.0.2.10:8080/tcp").is_open
    host.run(f"rc-service {FOLLOW} stop; nft flush ruleset; rc-service {APPLY} restart")
    assert_same(before, lambda: host_state(host))


def test_a_failed_start_is_tried_again(host_of_openrc: ThrowawayHost) -> None:
    """The boot goes on meanwhile."""
    host = host_of_openrc
    host.run("ip link add br-lan type bridge; ip addr add 10.9.0.1/24 dev br-lan; ip link set br-lan up")
    given = {"networks": {"lan": {"external": True, "name": "br-lan"}}, "containers": {"web": {"networks": ["lan"]}}}
    host.apply(given)
    installed(host)
    comes_true(lambda: states(host) == STARTED)
    shut_down(host)
    host.run("ip link del br-lan; ip netns del web")
    boot(host)
    assert states(host) == {FOLLOW: "started", APPLY: "inactive"}
    assert host.run("rc-service docker status").endswith("started\n")
    host.run("ip link add br-lan type bridge; ip addr add 10.9.0.1/24 dev br-lan; ip link set br-lan up")
    assert "web" not in host.run("ip netns")
    comes_true(lambda: states(host) == STARTED)
    assert "web" in host.run("ip netns")


def test_services_in_an_image(host: ThrowawayHost) -> None:
    """OpenRC is there and does not run."""
    install_openrc(host)
    host.run(": > /run/none; [ ! -e /usr/bin/systemctl ] || mount --bind /run/none /usr/bin/systemctl")
    before = host.snapshot()
    assert installed(host) == [("create", "program", COMMAND)]
    assert installed(host, services=True) == [("create", *key) for key in (*FILES, *SERVICES)]
    assert host.run(f"ls {RUNLEVEL}").split() == ["docker", APPLY, FOLLOW, "zone-firewall"]
    installed(host, remove=True)
    assert differences(before, host.snapshot()) == ""


def test_a_lost_ledger(host_of_openrc: ThrowawayHost) -> None:
    host = host_of_openrc
    before = host.snapshot()
    installed(host)
    host.run("rm -r /var/lib/wharf")
    assert installed(host) == []
    installed(host, remove=True)
    assert differences(before, host.snapshot()) == ""


def test_a_script_that_somebody_has_deleted(host_of_openrc: ThrowawayHost) -> None:
    host = host_of_openrc
    before = host.snapshot()
    installed(host)
    comes_true(lambda: states(host) == STARTED)
    host.run(f"rm {SCRIPTS}/{APPLY}")
    assert installed(host) == [("create", *FILES[0]), ("update", "service", APPLY)]
    host.run(f"rm {SCRIPTS}/{APPLY}")
    installed(host, remove=True)
    assert differences(before, host.snapshot()) == ""


def test_a_third_party_script_of_that_name(host_of_openrc: ThrowawayHost) -> None:
    host = host_of_openrc
    host.run(f"echo '#!/sbin/openrc-run' > {SCRIPTS}/{APPLY}")
    before = host.snapshot()
    with pytest.raises(EngineError, match=f"wharf_boot: {SCRIPTS}/{APPLY} exists and is not managed by wharf.network"):
        installed(host)
    assert differences(before, host.snapshot()) == ""
