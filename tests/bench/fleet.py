# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet of few hosts and one of many cost their controller, by jobs of ansible-runner: what counts is per host.

Run as a program, it is told the numbers of hosts.
"""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from controller import settings
from fleets import Fleet
from hosts import ThrowawayHost
from report import Chart, Section, Table, Tell, figure, markdown

SIZES, FEW_SIZES = (1, 10, 50), (1, 4)
FORKS = 20
FROM_NOTHING, NO_CHANGE = "from nothing", "no change"
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


def job(folder: Path, name: str) -> Cost:
    """Run `site.yml` for all hosts."""
    (folder / "hosts.log").write_text("", encoding="utf-8")
    command = [RUNNER, "run", folder, "-q", "-i", name, "-p", "own.yml", "--inventory", folder / "inventory.yml"]
    before, began, memory = _cpu(), time.monotonic(), 0.0
    environment = {**settings(folder), "PATH": f"{RUNNER.parent}:{os.environ['PATH']}"}
    running = subprocess.Popen([*command, "--forks", str(FORKS)], env=environment)
    while running.poll() is None:
        memory = max(memory, _memory(str(folder)))
        time.sleep(0.2)
    seconds = time.monotonic() - began
    said = folder / "artifacts" / name / "stdout"
    assert running.returncode == 0, said.read_text(encoding="utf-8") if said.exists() else "ansible-runner failed"
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


def measure(size: int, tell: Tell) -> dict[str, Cost]:
    with tempfile.TemporaryDirectory() as path, ExitStack() as started:
        folder = Path(path)
        hosts = {f"host{n}": started.enter_context(ThrowawayHost.started()) for n in range(size)}
        MeasuredFleet(hosts, folder)
        (folder / "project").mkdir()
        (folder / "project/own.yml").write_text("- import_playbook: wharf.network.site\n", encoding="utf-8")
        costs = {}
        for what in (FROM_NOTHING, NO_CHANGE):
            costs[what] = job(folder, what.replace(" ", "-"))
            tell(f"fleet: {size} hosts, {what}: {costs[what].seconds:.1f} s")
    return costs


def sections(quick: bool, tell: Tell, sizes: Sequence[int] = ()) -> list[Section]:
    sizes = sizes or (FEW_SIZES if quick else SIZES)
    costs = {size: measure(size, tell) for size in sizes}
    rows = [[f"{size}, {what}", *_per_host(cost, size)] for size in sizes for what, cost in costs[size].items()]
    columns = ["hosts", "s in all", "s a host", "controller's CPU s a host", "hosts' CPU s a host", "MB", "events"]
    text = (
        f"`site.yml` by ansible-runner, {FORKS} forks, for hosts made of namespaces, whose own CPU time is counted "
        "apart: they share the machine with their controller. Each has two networks at most, two containers and a "
        "port. Each was measured once. `MB` is ansible-playbook's memory with all its forks; what they share is "
        "counted once."
    )
    series = {
        what: [(float(size), costs[size][what].controller / size) for size in sizes]
        for what in (FROM_NOTHING, NO_CHANGE)
    }
    chart = Chart("fleet", "Controller's CPU a host", "hosts", "s", series, log_x=True)
    return [Section("A fleet", text, [Table(columns, rows)], [chart])]


def _per_host(cost: Cost, size: int) -> Sequence[str]:
    each = (cost.seconds, cost.seconds / size, cost.controller / size, cost.hosts / size, cost.memory, cost.events)
    return [figure(value) for value in each]


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or list(FEW_SIZES)
    print(markdown(sections(False, lambda line: print(line, file=sys.stderr, flush=True), sizes), "."))


if __name__ == "__main__":
    main()
