# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `site.yml` costs, as a multiple of a play that calls one module which returns at once.

All plays are run for one host, with the same options and variables, by turns. WHARF_ROUNDS says how often each is run;
the figures are medians. The ratios hold on any machine, but only on one that does nothing else.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from controller import Controller, Run
from hosts import ABSENT, ThrowawayHost

ROUNDS = int(os.environ.get("WHARF_ROUNDS", "5"))
NETWORKS, FEW, MANY = 3, 3, 300
SITE = "wharf.network.site"

# Read by all plays, so that Ansible looks for modules in the same folders.
os.environ["ANSIBLE_LIBRARY"] = str(Path(__file__).with_name("library"))


@dataclass(frozen=True)
class Cost:
    """Seconds of the clock, and of CPU by ansible-playbook and all processes that it waits for."""

    clock: float
    cpu: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.clock - other.clock, self.cpu - other.cpu)

    def times(self, other: Cost) -> str:
        return f"{self.clock / other.clock:6.2f}  {self.cpu / other.cpu:6.2f}"


@dataclass
class Play:
    """`most` is the ratio that a play should not exceed. `prepare` makes its host what the play is measured on."""

    name: str
    controller: Controller
    tasks: Any
    containers: int = FEW
    most: float = 0
    prepare: Callable[[], Any] = lambda: None
    costs: list[Cost] = field(default_factory=list)

    def run(self) -> Run:
        variables = self.controller.folder / "variables.json"
        variables.write_text(json.dumps(declaration(self.containers)), encoding="utf-8")
        run = self.controller.play(self.tasks, "-e", f"@{variables}")
        assert run.returncode == 0, run.output
        return run

    def measure(self) -> None:
        self.prepare()
        began, before = time.monotonic(), _cpu()
        run = self.run()
        self.costs.append(Cost(time.monotonic() - began, _cpu() - before))
        assert bool(run.changes) == (self.name == FROM_NOTHING), run.output

    @property
    def cost(self) -> Cost:
        return median(self.costs)

    def beyond(self, other: Play) -> Cost:
        """What it costs more than another play of the same round."""
        return median([own - others for own, others in zip(self.costs, other.costs, strict=True)])


def median(costs: Sequence[Cost]) -> Cost:
    return Cost(statistics.median(each.clock for each in costs), statistics.median(each.cpu for each in costs))


START_UP = "a play without tasks"
EMPTY = "a play of one empty module call"
FROM_NOTHING = f"site.yml, from nothing, {FEW} containers"


def declaration(containers: int) -> dict[str, Any]:
    """Each container is on one of the networks, and publishes a port."""
    return {
        "wharf_networks": {f"net{number}": {} for number in range(NETWORKS)},
        "wharf_containers": {
            f"c{number}": {"networks": [f"net{number % NETWORKS}"], "ports": [f"{10000 + number}:80"]}
            for number in range(containers)
        },
    }


def _cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def plays(started: ExitStack) -> list[Play]:
    few, many, fresh = (_controller(started) for _each in range(3))
    return [
        Play(START_UP, few, {"tasks": []}),
        Play(EMPTY, few, {"tasks": [{"empty": {}}]}),
        Play(f"site.yml, nothing to do, {FEW} containers", few, SITE, most=3),
        Play(f"site.yml, nothing to do, {MANY} containers", many, SITE, MANY, most=5),
        Play(FROM_NOTHING, fresh, SITE, most=5, prepare=lambda: fresh.host.apply({}, ABSENT)),
    ]


def _controller(started: ExitStack) -> Controller:
    folder = started.enter_context(tempfile.TemporaryDirectory())
    return Controller(started.enter_context(ThrowawayHost.started()), Path(folder))


def tell(measured: list[Play]) -> None:
    start_up, empty, *_sites = measured
    columns = f"{' clock':6}  {'   CPU':6}"
    print(f"\nOf {ROUNDS} rounds the medians.")
    print("A: the whole play, as a multiple of the whole play of one empty module call.")
    print("B: the same without Ansible's own start-up, which is the play without tasks of the same round.\n")
    print(f"{'':40} {'seconds':^14}  {'A':^14}  {'B':^14}")
    print(f"{'':40} {columns}  {columns}  {columns}  target")
    for play in measured:
        net = "" if play is start_up else play.beyond(start_up).times(empty.beyond(start_up))
        most = f"{play.most:g} at most" if play.most else ""
        seconds = f"{play.cost.clock:6.2f}  {play.cost.cpu:6.2f}"
        print(f"{play.name:40} {seconds}  {play.cost.times(empty.cost)}  {net:14}  {most}".rstrip())


def main() -> None:
    with ExitStack() as started:
        measured = plays(started)
        # The first time each host is built, and Python compiles what it then keeps.
        for play in measured:
            print(f"before the rounds: {play.name}", flush=True)
            play.run()
        for number in range(ROUNDS):
            for play in measured:
                play.measure()
                cost = play.costs[-1]
                print(f"round {number + 1}: {play.name:40} {cost.clock:6.2f} s, CPU {cost.cpu:6.2f} s", flush=True)
        tell(measured)


if __name__ == "__main__":
    main()
