# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throwaway hosts: they are alike, nothing of them stays, and the machine that they run on does not notice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hosts import HOST, ThrowawayHost, differences

WORDS = {"containers": {"web": {"ports": ["8080:80"]}}}

USES_A_HOST = """
import json, time
from hosts import ThrowawayHost
with ThrowawayHost.started() as host:
    host.apply({"networks": {"app": {}}, "containers": {"web": {"networks": ["app"]}}})
    sitting = host.start("web", "env")
    staying = host.run("cat /run/wharf/running/app.pid; setsid sleep 1000 <&- >&- 2>&- & echo $!").split()
    print(json.dumps([host.agent.pid, sitting.pid, *staying]), flush=True)
    time.sleep(60)
"""


def machine() -> dict[str, str]:
    """What a test could spoil by mistake."""
    files = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/machine-id", "/proc/self/mountinfo"]
    files += ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"]
    folders = ["/etc", "/etc/sysctl.d", "/run", "/run/netns", "/var/lib"]
    seen = {path: Path(path).read_text() for path in files if Path(path).exists()}
    seen |= {path: " ".join(sorted(os.listdir(path))) for path in folders if Path(path).exists()}
    for command in ("ip -br link", "ip -br addr", "ip route", "ip -6 route"):
        seen[command] = subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout
    return seen


def test_the_machine_is_left_alone() -> None:
    before = machine()
    with ThrowawayHost.started() as host:
        host.apply(WORDS)
        assert differences(before, machine()) == ""
    assert differences(before, machine()) == ""


def test_hosts_are_alike_and_look_the_same_twice() -> None:
    with ThrowawayHost.started() as one, ThrowawayHost.started() as other:
        first = one.snapshot()
        assert differences(first, one.snapshot()) == ""
        # Their hardware addresses differ.
        assert first.keys() == other.snapshot().keys()


def test_a_host_goes_with_the_tests_that_are_killed() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", USES_A_HOST],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    paths = [Path(f"/proc/{pid}") for pid in json.loads(process.stdout.readline())]
    assert [path.exists() for path in paths] == [True] * 4
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 5
    while left := [str(path) for path in paths if path.exists()]:
        assert time.monotonic() < deadline, f"these outlive the tests: {left}"
        time.sleep(0.02)


def test_a_program_that_fails_prints_no_empty_answer(host: ThrowawayHost) -> None:
    with pytest.raises(RuntimeError, match="ended with 1: .*does not exist"):
        host.agent.call("printed", place=host.path(HOST), command=["ip", "link", "show", "nothing"])
