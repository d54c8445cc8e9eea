# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet: one controller, many hosts made of namespaces, which differ by their groups' variables."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from controller import settings
from hosts import ThrowawayHost, differences

# WHARF_FLEET=50 makes it as large as one likes.
SIZE = int(os.environ.get("WHARF_FLEET", "3"))

GROUPS: dict[str, Any] = {
    "web": {
        "wharf_networks": {"front": {"enable_ipv6": True}},
        "wharf_containers": {"web": {"networks": ["front"], "ports": ["8080:80"]}},
    },
    "data": {
        "wharf_networks": {"back": {"internal": True}},
        "wharf_containers": "{{ {'db': {'networks': ['back']}, inventory_hostname: {}} }}",
    },
}


@dataclass(frozen=True)
class Recap:
    """What ansible-playbook says of each host in the end."""

    returncode: int
    output: str

    def of(self, host: str) -> dict[str, int]:
        line = re.search(rf"^{host} +: (.*)$", self.output, re.MULTILINE)
        assert line, self.output
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line[1])}

    @property
    def artifacts(self) -> dict[str, Any]:
        """What AWX has of each host in the end."""
        found = re.search(r"RUN: (\{.*\})$", self.output, re.MULTILINE)
        return json.loads(found[1])["wharf"] if found else {}

    @property
    def tried(self) -> set[str]:
        return set(re.findall(r"^(\w+) +: ok=", self.output, re.MULTILINE))

    @property
    def changed(self) -> set[str]:
        """The hosts of which something was changed."""
        return {name for name in self.tried if self.of(name)["changed"]}


class Fleet:
    def __init__(self, hosts: dict[str, ThrowawayHost], folder: Path) -> None:
        self.hosts = hosts
        self._folder = folder
        for name in hosts:
            self.connect(name)
        for group, variables in GROUPS.items():
            self.set_variables(group, variables)
        members = {name: {"ansible_shell_executable": str(folder / "enter" / name)} for name in hosts}
        by_group = {group: {name: members[name] for name in self.of(group)} for group in GROUPS}
        connection = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = {"children": {g: {"hosts": h} for g, h in by_group.items()}, "vars": connection}
        self._write("inventory.yml", yaml.safe_dump({"all": inventory}))

    def set_variables(self, group: str, variables: dict[str, Any]) -> None:
        self._write(f"group_vars/{group}.yml", yaml.safe_dump(variables))

    def connect(self, name: str) -> None:
        enter = shlex.join(self.hosts[name].enter())
        self._write(f"enter/{name}", f'#!/bin/sh\nexec {enter} /bin/sh "$@"\n').chmod(0o755)

    def disconnect(self, name: str) -> None:
        self._write(f"enter/{name}", "#!/bin/sh\nexit 255\n")

    def of(self, group: str) -> list[str]:
        return [name for number, name in enumerate(self.hosts) if (number % 2 == 0) == (group == "web")]

    def play(self, playbook: Any, *options: str) -> Recap:
        if not isinstance(playbook, str):
            self._write("play.yml", yaml.safe_dump(playbook))
            playbook = "play.yml"
        program = Path(sys.executable).parent / "ansible-playbook"
        environment = {**settings(self._folder), "ANSIBLE_SHOW_CUSTOM_STATS": "1"}
        ran = subprocess.run(
            [program, "-i", "inventory.yml", "--forks", "20", playbook, *options],
            env=environment, capture_output=True, text=True, check=False, cwd=self._folder,
        )  # fmt: skip
        return Recap(ran.returncode, ran.stdout + ran.stderr)

    def _write(self, name: str, content: str) -> Path:
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path


@contextmanager
def started_fleet(folder: Path) -> Iterator[Fleet]:
    with ExitStack() as started:
        names = [f"host{number}" for number in range(SIZE)]
        yield Fleet({name: started.enter_context(ThrowawayHost.started()) for name in names}, folder)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with started_fleet(tmp_path) as started:
        yield started


def test_hosts_become_what_their_groups_say(fleet: Fleet) -> None:
    before = {name: host.snapshot() for name, host in fleet.hosts.items()}
    assert fleet.play("wharf.network.site", "--limit", "web").changed == set(fleet.of("web"))
    for name in fleet.of("data"):
        assert "docker0" not in fleet.hosts[name].run("ip -br link"), name
    made = fleet.play("wharf.network.site")
    assert made.returncode == 0, made.output
    assert made.changed == set(fleet.of("data"))
    # One task looks at its variables, one brings it to what is declared, and one tells of that.
    assert {made.of(name)["ok"] for name in fleet.hosts} == {3}
    for name in fleet.of("web"):
        fleet.hosts[name].serve("web", "80/tcp")
        assert fleet.hosts[name].probe("outside", "192.0.2.10:8080/tcp").by == "web", name
        fleet.hosts[name].agent.call("stop_all")
    for name in fleet.of("data"):
        assert set(fleet.hosts[name].run("ls /run/netns").split()) == {"db", name}
    # Fresh hosts agree with each other.
    assert len({json.dumps(fleet.hosts[name].ledger()["allotted"]) for name in fleet.of("web")}) == 1
    assert fleet.play("wharf.network.teardown").returncode == 0
    for name, host in fleet.hosts.items():
        assert differences(before[name], host.snapshot()) == "", name


def test_one_host_fails_and_one_is_unreachable(fleet: Fleet) -> None:
    """They are left as they were. In batches the rest is, too; else the others are right, and a rerun mends the two."""
    failing, unreachable, *others = fleet.hosts
    fleet.hosts[failing].run("ip link add br-front type bridge")
    fleet.disconnect(unreachable)
    before = {name: fleet.hosts[name].snapshot() for name in (failing, unreachable)}
    stopped = fleet.play("wharf.network.site", "-e", "wharf_serial=1,100%")
    assert (stopped.of(unreachable)["unreachable"], stopped.changed) == (1, set())
    made = fleet.play("wharf.network.site")
    assert (made.of(failing)["failed"], made.of(unreachable)["unreachable"]) == (1, 1)
    assert "an interface br-front is on this host that wharf.network does not manage" in made.output
    assert made.changed == made.artifacts.keys() == set(others)
    for name, was in before.items():
        assert differences(was, fleet.hosts[name].snapshot()) == "", name
    fleet.hosts[failing].run("ip link del br-front")
    fleet.connect(unreachable)
    again = fleet.play("wharf.network.site")
    assert again.changed == {failing, unreachable}
    assert {name for name, summary in again.artifacts.items() if summary["changed"]} == again.changed
    assert again.artifacts.keys() == fleet.hosts.keys()


def test_facts_and_delegation(fleet: Fleet) -> None:
    """A host's words may be made of what is known of another one, and its call may be for another one."""
    first, second, *_others = fleet.hosts
    fleet.hosts[first].run("ip link set eth0 mtu 1400")
    mtu = {"mtu": "{{ hostvars[groups.web[0]].ansible_facts.default_ipv4.mtu }}"}
    facts = {"hosts": "all", "gather_subset": ["!all", "network"], "vars": {"wharf_host": mtu}}
    roles = [{**facts, "roles": ["wharf.network.default_networks"]}]
    for_another = {"wharf.network.bridge": {"networks": {"odd": {}}}, "delegate_to": second}
    tasks = [{"hosts": first, "gather_facts": False, "tasks": [for_another, for_another]}]
    assert fleet.play([*roles, *tasks]).changed == set(fleet.hosts)
    for host in fleet.hosts.values():
        assert host.json("ip -j link show docker0")[0]["mtu"] == 1400
    assert "br-odd" in fleet.hosts[second].run("ip -br link")
    assert "br-odd" not in fleet.hosts[first].run("ip -br link")
    assert fleet.play(tasks).changed == set()


ROLE = [{"hosts": "all", "gather_facts": False, "roles": ["wharf.network.containers"]}]

WRONG = [
    ("wharf.network.site", {"wharf_hosts": "web"}, "wharf_hosts: is not a variable of wharf.network"),
    ("wharf.network.teardown", {"wharf_serial": 1}, "wharf_serial: is read before the variables of any host"),
    (ROLE, {"wharf_netwroks": {}}, "wharf_netwroks: is not a variable of wharf.network: did you mean wharf_networks?"),
    ("wharf.network.verify", {"wharf_verify_from": "monitorng"}, '"monitorng": matches no host of the inventory'),
]


def test_a_variable_of_one_group_that_is_wrong_stops_all(fleet: Fleet) -> None:
    """Before anything is done on any host, also by roles in a play of one's own."""
    before = {name: host.snapshot() for name, host in fleet.hosts.items()}
    for play, wrong, told in WRONG:
        fleet.set_variables("data", {**GROUPS["data"], **wrong})
        stopped = fleet.play(play)
        assert (stopped.returncode, stopped.changed) == (2, set()), stopped.output
        assert told in stopped.output
    for name, host in fleet.hosts.items():
        assert differences(before[name], host.snapshot()) == "", name


def test_hosts_for_which_nothing_is_declared_are_left_alone(fleet: Fleet) -> None:
    """They are in no batch, either."""
    fleet.set_variables("data", {})
    before = {name: fleet.hosts[name].snapshot() for name in fleet.of("data")}
    made = fleet.play("wharf.network.site", "-e", "wharf_serial=1")
    assert (made.returncode, made.changed) == (0, set(fleet.of("web"))), made.output
    assert f"for {', '.join(fleet.of('data'))}: nothing is done there" in made.output
    assert made.output.count("PLAY [Container networks]") == len(fleet.of("web"))
    assert made.artifacts.keys() == set(fleet.of("web"))
    for name, was in before.items():
        assert differences(was, fleet.hosts[name].snapshot()) == "", name
