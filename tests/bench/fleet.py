# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet of few hosts and one of many cost their controller, by jobs of ansible-runner: what counts is per host.

Run as a program, it takes the numbers of hosts as arguments.
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
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import yaml
from controller import settings
from report import Chart, Notify, Section, Table, figure, markdown
from several_hosts import SeveralHosts, address

SIZES, FEW_SIZES = (1, 10, 50), (1, 2)
FORKS = 20
CONTAINERS = 20
NETWORK = {
    "driver": "overlay",
    "ipam": {"config": [{"subnet": "10.20.0.0/16"}]},
    "x-wharf": {"hosts": "fleet", "slice": 24},
}
FROM_NOTHING, NO_CHANGE = "from nothing", "no change"
RUNNER = Path(sys.executable).with_name("ansible-runner")

# The controller's hosts are on the same machine, so what they spend is noted down apart.
_ENTER = """#!/bin/bash
TIMEFORMAT="%U %S"
{{ time {enter} /bin/sh "$@" 2>&3; }} 3>&2 2>>{log}
"""


def write_inventory(hosts: SeveralHosts, folder: Path) -> None:
    """One network over all hosts. Each has its containers on it, of which one publishes a port."""
    members = {}
    for number, (name, host) in enumerate(hosts.by_name.items(), 1):
        enter = _write(
            folder / f"enter/{name}", _ENTER.format(enter=shlex.join(host.enter()), log=folder / "hosts.log")
        )
        enter.chmod(0o755)
        containers: dict[str, Any] = {f"{name}-{each}": {"networks": ["app"]} for each in range(CONTAINERS)}
        containers[f"{name}-0"]["ports"] = ["8080:80"]
        members[name] = {
            "ansible_shell_executable": str(enter),
            "wharf_overlay": {"address": address(number), "index": number},
            "wharf_containers": containers,
        }
    connection = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    group = {"hosts": members, "vars": {**connection, "wharf_networks": {"app": NETWORK}}}
    _write(folder / "inventory.yml", yaml.safe_dump({"all": {"children": {"fleet": group}}}))
    _write(folder / "project/own.yml", "- import_playbook: wharf.network.site\n")


def _write(path: Path, content: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


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


def measure(size: int, notify: Notify) -> dict[str, Cost]:
    with tempfile.TemporaryDirectory() as path, ExitStack() as started:
        folder = Path(path)
        write_inventory(started.enter_context(SeveralHosts.started(size)), folder)
        costs = {}
        for what in (FROM_NOTHING, NO_CHANGE):
            costs[what] = job(folder, what.replace(" ", "-"))
            notify(f"fleet: {size} hosts, {what}: {costs[what].seconds:.1f} s")
    return costs


def sections(quick: bool, notify: Notify, sizes: Sequence[int] = ()) -> list[Section]:
    sizes = sizes or (FEW_SIZES if quick else SIZES)
    costs = {size: measure(size, notify) for size in sizes}
    rows = [[f"{size}, {what}", *_per_host(cost, size)] for size in sizes for what, cost in costs[size].items()]
    columns = ["hosts", "s in all", "s a host", "controller's CPU s a host", "hosts' CPU s a host", "MB", "events"]
    text = (
        f"`site.yml` by ansible-runner, {FORKS} forks, for hosts made of namespaces, whose own CPU time is counted "
        "apart: they share the machine with their controller. One network (`driver: overlay`) is over all hosts of the "
        f"fleet, and each has {CONTAINERS} containers on it, whose names all others know. Each was measured once. `MB` "
        "is ansible-playbook's memory with all its forks; what they share is counted once."
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
