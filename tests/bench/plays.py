# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `site.yml` costs, as a multiple of a play that calls one module which returns at once.

All plays are run for one host, with the same options and variables, by turns; the figures are medians. The ratios hold
on any machine, but only on one that does nothing else. What a call ships is looked up in what Ansible leaves there.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from controller import Controller, Run, settings
from hosts import ABSENT, ThrowawayHost
from report import NOT_MEASURED, Notify, Section, Table, at_most, figure, markdown

NETWORKS, FEW, MANY = 3, 3, 1000
MOST_CALLS = 6
STARTS = 9
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


@dataclass
class Play:
    """`most` is the ratio that a play may not exceed. `prepare` makes its host what the play is measured on."""

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
        Play(f"site.yml, nothing to do, {FEW} containers", few, SITE),
        Play(f"site.yml, nothing to do, {MANY} containers", many, SITE, MANY, most=MOST_CALLS),
        Play(FROM_NOTHING, fresh, SITE, prepare=lambda: fresh.host.apply({}, ABSENT)),
    ]


def _controller(started: ExitStack) -> Controller:
    folder = started.enter_context(tempfile.TemporaryDirectory())
    return Controller(started.enter_context(ThrowawayHost.started()), Path(folder))


def _plays_section(rounds: int, notify: Notify) -> Section:
    with ExitStack() as started:
        measured = plays(started)
        # The first time each host is built, and Python compiles what it then keeps.
        for play in measured:
            notify(f"plays, before the rounds: {play.name}")
            play.run()
        for number in range(rounds):
            for play in measured:
                play.measure()
                cost = play.costs[-1]
                notify(f"plays, round {number + 1}: {play.name}: {cost.clock:.2f} s, CPU {cost.cpu:.2f} s")
    start_up, empty, *_sites = measured
    call = empty.beyond(start_up)
    rows = []
    for play in measured:
        own = play.beyond(start_up)
        calls = figure(own.clock / call.clock) if play is not start_up else NOT_MEASURED
        most = at_most(own.clock / call.clock, play.most) if play.most else ""
        whole = figure(play.cost.clock / empty.cost.clock)
        rows.append([play.name, figure(play.cost.clock), figure(play.cost.cpu), whole, calls, most])
    text = (
        "`ansible-playbook` for one host, by a local connection. An empty call is a task with a module that returns at "
        "once. `calls` leaves out Ansible's own start-up, which is the play without tasks of the same round; `plays` "
        f"is the whole play by the whole play of one empty call. Medians of {rounds} rounds, by turns."
    )
    table = Table(["", "s", "CPU s", "plays", "calls", "calls must be"], rows)
    return Section("Ansible on one host", text, [table])


# What a call ships, and how long it takes to start


@dataclass(frozen=True)
class Shipped:
    """A module as Ansible has sent it: `modules` are its own and what it imports, in bytes before they are packed."""

    wrapper: Path
    size: int
    modules: int
    unpacked: int

    @classmethod
    def of(cls, wrapper: Path) -> Shipped:
        found = re.search(r"""['"]([A-Za-z0-9+/=]{1000,})['"]""", wrapper.read_text(encoding="utf-8"))
        assert found, f"{wrapper} has no archive"
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(found[1]))) as archive:
            members = archive.infolist()
        return cls(wrapper, wrapper.stat().st_size, len(members), sum(each.file_size for each in members))


def _call_section(times: int, notify: Notify) -> Section:
    with ExitStack() as started:
        controller = _controller(started)
        words = {"networks": {}, "containers": {}}
        tasks = {"tasks": [{"empty": {}}, {"wharf.network.layers": words}]}
        os.environ["ANSIBLE_KEEP_REMOTE_FILES"] = "1"
        try:
            run = controller.play(tasks)
        finally:
            del os.environ["ANSIBLE_KEEP_REMOTE_FILES"]
        assert run.returncode == 0, run.output
        modules = {
            name: Shipped.of(next(controller.folder.glob(f"ansible/**/AnsiballZ_{name}.py")))
            for name in ("empty", "layers")
        }
        commands = {
            "Python alone": ["-I", "-c", ""],
            "the empty module": [str(modules["empty"].wrapper)],
            "wharf.network.layers, with nothing to do": [str(modules["layers"].wrapper)],
        }
        seconds: dict[str, list[float]] = {what: [] for what in commands}
        # The first time, Python compiles what it then keeps.
        for turn in range(times + 1):
            for what, command in commands.items():
                began = time.monotonic()
                enter = [*controller.host.enter(), sys.executable, *command]
                subprocess.run(enter, check=True, capture_output=True, env=settings(controller.folder))
                seconds[what].append(time.monotonic() - began)
            notify(
                f"call, round {turn}: {', '.join(f'{what} {each[-1] * 1000:.0f} ms' for what, each in seconds.items())}"
            )
    shipped = [
        [
            each.wrapper.stem.removeprefix("AnsiballZ_"),
            figure(each.size / 1024),
            str(each.modules),
            figure(each.unpacked / 1024),
        ]
        for each in modules.values()
    ]
    started_in = [[what, figure(statistics.median(each[1:]) * 1000)] for what, each in seconds.items()]
    text = (
        "What Ansible copies to a host for one call, with all that the module imports; and how long it takes there, "
        f"from the start of Python to the end of a module that finds nothing to do. Medians of {times}, by turns."
    )
    tables = [
        Table(["module", "KB shipped", "files", "KB unpacked"], shipped),
        Table(["on the host", "ms"], started_in),
    ]
    return Section("One call", text, tables)


def sections(quick: bool, notify: Notify) -> list[Section]:
    return [_plays_section(1 if quick else 5, notify), _call_section(1 if quick else STARTS, notify)]


def main() -> None:
    print(markdown(sections("--quick" in sys.argv, lambda line: print(line, file=sys.stderr, flush=True)), "."))


if __name__ == "__main__":
    main()
