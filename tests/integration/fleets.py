# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One controller, and many throwaway hosts, which differ by their groups' variables."""

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

import yaml
from controller import settings
from hosts import ThrowawayHost

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
        groups = {"children": {g: {"hosts": h} for g, h in by_group.items()}}
        inventory = {"children": {"fleet": groups}, "vars": connection}
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
