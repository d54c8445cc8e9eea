# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one call of the engine takes, counted: how often it runs `nft`, observes resources, and lists all processes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller import CHECKOUT
from hosts import ThrowawayHost

from ansible_collections.wharf.network.plugins.plugin_utils.declaration import gather

COUNTING_ENGINE = str(Path(__file__).with_name("counting_engine.py"))

# What playbooks/demo.yml declares, and site.yml installs.
DEMO = {
    **gather(
        {"compose_files": [{"files": ["files/shop.compose.yml"]}], "containers": {"shell": {}}},
        [CHECKOUT / "playbooks"],
    ).parts,
    "boot": {},
}


@dataclass(frozen=True)
class Cost:
    """See `counting_engine.py`."""

    changes: int
    programs: list[str]
    processes_listed: int
    observed: dict[str, int]
    searched: dict[str, int]
    dumped: dict[str, int]

    @property
    def of_nft(self) -> list[str]:
        """What `nft` was run for."""
        runs = [program.split(maxsplit=1) for program in self.programs]
        return [arguments for program, arguments in runs if program.endswith("/nft")]


def cost(host: ThrowawayHost, **call: Any) -> Cost:
    command = host.engine_command(COUNTING_ENGINE)
    ran = subprocess.run(command, input=json.dumps(call), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return Cost(**json.loads(ran.stdout))


LIST, APPLY, LIST_OTHERS = "--stateless list table inet wharf", "-f -", "list tables"


def test_a_call_runs_nft_few_times_and_observes_each_resource_at_most_twice(host: ThrowawayHost) -> None:
    built = cost(host, **DEMO)
    assert built.changes > 50
    # Before, the text as the kernel would list it, the change, after; and whether others drop what must pass.
    assert built.of_nft == [LIST, APPLY, LIST, APPLY, LIST, LIST_OTHERS]
    # What had nothing to change is not observed again.
    assert set(built.observed.values()) == {1, 2}
    # Besides, a host without a ledger is searched for what a lost one would have named.
    assert set(built.searched.values()) <= {1}

    idle = cost(host, **DEMO)
    assert idle.changes == 0
    assert idle.of_nft == [LIST, LIST_OTHERS]
    assert len(idle.programs) == len(idle.of_nft)
    assert set(idle.observed.values()) == {1}
    assert not idle.searched
    # Once, for the facts and for all resources.
    assert idle.dumped == {"links": 1, "addresses": 1, "routes": 1}

    gone = cost(host, state="absent")
    assert gone.changes == built.changes
    assert gone.of_nft == [LIST, LIST, APPLY, LIST]
    assert set(gone.observed.values()) == {1, 2}
    assert not gone.searched


def test_processes_are_listed_as_often_for_many_resolvers_as_for_one(host: ThrowawayHost) -> None:
    """There may be thousands of them, in containers that wharf.network knows nothing of."""

    def listed(networks: int) -> tuple[int, ...]:
        declared = {"networks": {f"n{number}": {} for number in range(networks)}}
        costs = cost(host, **declared), cost(host, **declared), cost(host, state="absent")
        return tuple(each.processes_listed for each in costs)

    assert listed(1) == listed(5)
