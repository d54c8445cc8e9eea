# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real systemd-machined in a throwaway host, with a D-Bus of its own, and what systemd-nspawn runs there.

What takes a systemd that is the first process of all, such as booting a machine, this cannot show.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dockerd import remove_cgroups
from hosts import ThrowawayHost

MACHINED = "/usr/lib/systemd/systemd-machined"
_CGROUPS = Path("/sys/fs/cgroup")
_REGISTERED = "/run/systemd/machines"

# The machine's root may have another number on the host.
USERS = {
    "as the host": [],
    "of its own": ["--private-users=6553600", "--private-users-ownership=chown"],
    "mapped": ["--private-users=6553600", "--private-users-ownership=map"],
}

# Seconds.
_STARTED_WITHIN = 20

_PREPARE = f"""
mkdir -p /run/dbus {_REGISTERED}
# There is no systemd here that could start others on demand, and whoever asks for them would wait.
mount -t tmpfs none /usr/share/dbus-1/system-services
"""

_HAS_MACHINED = "busctl call org.freedesktop.DBus / org.freedesktop.DBus NameHasOwner s org.freedesktop.machine1"


@dataclass
class Machines:
    """Machines of nothing but busybox, each with its tree in /run/machine-NAME."""

    host: ThrowawayHost
    _cgroup: str
    _started: ExitStack
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def started(cls, host: ThrowawayHost) -> Iterator[Machines]:
        hierarchy = _skip_where_it_cannot_run()
        host.run(_PREPARE)
        # machined wants each machine to be of a unit, which it knows by the name of its cgroup.
        cgroup = f"wharf-{host.agent.pid}.service"
        (hierarchy / cgroup).mkdir()
        try:
            with ExitStack() as stack:
                machines = cls(host, str(hierarchy / cgroup), stack)
                machines._run("dbus-daemon", "--system", "--nofork", "--nopidfile")
                _wait(lambda: host.run("ls /run/dbus").strip() != "")
                machines._run(MACHINED)
                _wait(lambda: host.run(_HAS_MACHINED) == "b true\n")
                yield machines
        finally:
            remove_cgroups(cgroup)

    def start(self, name: str, *options: str) -> None:
        tree = f"/run/machine-{name}"
        self.host.run(
            f"""
            [ ! -e {tree} ] || exit 0
            mkdir -p {tree}/bin {tree}/etc {tree}/usr {tree}/proc {tree}/sys {tree}/dev {tree}/run {tree}/tmp {tree}/var
            cp {shutil.which("busybox")} {tree}/bin/busybox
            for each in sh sleep cat stat; do ln -s busybox {tree}/bin/$each; done
            echo ID=tiny > {tree}/etc/os-release
            echo distributions-own > {tree}/etc/hostname
            """
        )
        unit = ["--keep-unit", "--register=yes"]
        arguments = ["-q", "-M", name, "-D", tree, "--private-network", *unit, *options, "--as-pid2"]
        self._running[name] = self._run("systemd-nspawn", *arguments, "/bin/sleep", "1000", cgroup=self._cgroup)
        _wait(lambda: self.leader(name) != "", self._running[name])

    def stop(self, name: str) -> None:
        _end(self._running.pop(name))
        _wait(lambda: self.leader(name) == "")
        # The kernel takes its time to end a network stack, and what led there.
        _wait(lambda: f"wharf:{name}/" not in self.host.run("ip link"))

    def leader(self, name: str) -> str:
        return self.host.run(f"sed -n s/^LEADER=//p {_REGISTERED}/{name} 2>/dev/null || true").strip()

    def place(self, name: str) -> str:
        return f"/proc/{self.leader(name)}/ns/net"

    def run(self, name: str, command: str) -> str:
        """As the machine's own root sees it."""
        leader = self.leader(name)
        # A user namespace that one is in already cannot be entered.
        user = "--user" if os.readlink(f"/proc/{leader}/ns/user") != os.readlink("/proc/self/ns/user") else ""
        return self.host.run(f"nsenter {user} --mount --pid -t {leader} -S 0 -G 0 -- {command}")

    def _run(self, *command: str, cgroup: str = "") -> subprocess.Popen[bytes]:
        joining = f"echo $$ > {cgroup}/cgroup.procs; " if cgroup else ""
        entered = ["sh", "-c", f'{joining}exec "$@"', "sh", *self.host.enter(), *command]
        process = subprocess.Popen(entered, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._started.callback(_end, process)
        return process


def _skip_where_it_cannot_run() -> Path:
    """Returns where machined looks for the cgroups of units."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in ("systemd-nspawn", MACHINED, "dbus-daemon") if not shutil.which(name, path=path)]
    if missing:
        pytest.skip(f"this needs the packages systemd-container and dbus-daemon. Missing: {', '.join(missing)}")
    if os.geteuid():
        pytest.skip("systemd-nspawn needs root")
    for hierarchy in (_CGROUPS / "unified", _CGROUPS):
        if (hierarchy / "cgroup.procs").exists():
            return hierarchy
    pytest.skip(f"machined needs cgroups of version 2, and none are mounted at {_CGROUPS}")


def _wait(is_so: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN
    while not is_so():
        if time.monotonic() > deadline or (process and process.poll() is not None):
            pytest.fail("machined or systemd-nspawn did not do it; see above what they said")
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
