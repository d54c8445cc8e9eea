# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet of few hosts and one of many cost their controller, by jobs of ansible-runner: what counts is per host.

WHARF_FLEET="3 50" chooses the numbers of hosts.
"""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from controller import settings
from hosts import ThrowawayHost
from test_fleet import Fleet

SIZES = [int(size) for size in os.environ.get("WHARF_FLEET", "2 8").split()]
RUNNER = Path(sys.executable).with_name("ansible-runner")

# The controller's hosts are on the same machine, so what they spend is noted down apart.
_ENTER = """#!/bin/bash
TIMEFORMAT="%U %S"
{{ time {enter} /bin/sh "$@" 2>&3; }} 3>&2 2>>{log}
"""


class MeasuredFleet(Fleet):
    def connect(self, name: str) -> None:
        enter = shlex.join(self.hosts[name].enter())
        self._write(f"enter/{name}", _ENTER.format(enter=enter, log=self._folder / "hosts.log")).chmod(0o755)


@dataclass(frozen=True)
class Cost:
    """`seconds` of the clock, `controller` and `hosts` of CPU; `memory` in MB, what is shared counted once."""

    seconds: float
    controller: float
    hosts: float
    memory: float
    events: int

    def per_host(self, size: int) -> str:
        figures = (self.seconds, self.controller, self.hosts, self.memory, self.events)
        return " ".join(f"{figure:9.1f} ({figure / size:5.1f})" for figure in figures)


def job(folder: Path, name: str) -> Cost:
    """Run `site.yml` for all hosts."""
    (folder / "hosts.log").write_text("", encoding="utf-8")
    command = [RUNNER, "run", folder, "-q", "-i", name, "-p", "own.yml", "--inventory", folder / "inventory.yml"]
    before, began, memory = _cpu(), time.monotonic(), 0.0
    running = subprocess.Popen([*command, "--forks", "20"], env=settings(folder))
    while running.poll() is None:
        memory = max(memory, _memory(str(folder)))
        time.sleep(1)
    seconds = time.monotonic() - began
    assert running.returncode == 0, f"see {folder}"
    hosts = sum(float(word) for word in (folder / "hosts.log").read_text(encoding="utf-8").split())
    events = len(list((folder / "artifacts" / name / "job_events").iterdir()))
    return Cost(seconds, _cpu() - before - hosts, hosts, memory, events)


def _cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _memory(folder: str) -> float:
    """Of ansible-playbook and all that it has forked off."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text(encoding="utf-8")
            if "ansible-playbook\0" in command and folder in command:
                shares = (process / "smaps_rollup").read_text(encoding="utf-8").split("\nPss:")[1]
                total += int(shares.split()[0])
        except (OSError, IndexError):
            continue
    return total / 1024


def measure(size: int) -> None:
    with tempfile.TemporaryDirectory() as path, ExitStack() as started:
        folder = Path(path)
        hosts = {f"host{n}": started.enter_context(ThrowawayHost.started()) for n in range(size)}
        MeasuredFleet(hosts, folder)
        (folder / "project").mkdir()
        (folder / "project/own.yml").write_text("- import_playbook: wharf.network.site\n", encoding="utf-8")
        for what in ("from nothing", "no change"):
            print(f"{size:4} hosts, {what:12} {job(folder, what.replace(' ', '-')).per_host(size)}", flush=True)


def main() -> None:
    columns = ("s", "s controller", "s hosts", "MB", "events")
    print(" " * 24 + " ".join(f"{column:>17}" for column in columns))
    for size in SIZES:
        measure(size)


if __name__ == "__main__":
    main()
