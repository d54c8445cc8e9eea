# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-playbook on a throwaway host, as users of the collection run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hosts import ThrowawayHost

CHECKOUT = Path(__file__).parents[2]
COLLECTIONS = CHECKOUT / ".venv/collections"
ROLES = ["wharf.network.default_networks", "wharf.network.user_networks", "wharf.network.containers"]

VARIABLES = {
    "wharf_networks": {"front": {"enable_ipv6": True}, "back": {"internal": True}},
    "wharf_containers": {
        "web": {"networks": ["front", "back"], "ports": ["8080:80"]},
        "db": {"networks": {"back": {"aliases": ["postgres"]}}},
        "shell": {},
        "job": {"network_mode": "none"},
    },
    "wharf_docker_user": [{"source": "192.0.2.66", "container": "web", "action": "drop"}],
}
# The same in the engine's words, for where a play finds all of it on the host already.
WORDS = {name.removeprefix("wharf_"): words for name, words in VARIABLES.items()}

Changes = list[tuple[str, str, str]]


@dataclass(frozen=True)
class Run:
    """What ansible-playbook printed; `changes` are those of all tasks, in their order, as `(ACTION, KIND, NAME)`."""

    returncode: int
    output: str

    @property
    def results(self) -> list[dict[str, Any]]:
        lines = re.findall(
            r"^(?:ok|changed|fatal): \[localhost\](?:: FAILED!)? => (\{.*\})$", self.output, re.MULTILINE
        )
        return [json.loads(line) for line in lines]

    @property
    def changes(self) -> Changes:
        return [change for changes in self.calls for change in changes]

    @property
    def calls(self) -> list[Changes]:
        """The changes of each call of a layer module by itself."""
        return [
            [(change["action"], change["kind"], change["name"]) for change in result["changes"]]
            for result in self.results
            if "changes" in result
        ]


def settings(folder: Path, collections: Path = COLLECTIONS) -> dict[str, str]:
    """The environment of ansible-playbook, with all its files in one folder; the collection is this checkout."""
    own = {
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "ansible"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_NOCOLOR": "1",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
    }
    return {**os.environ, **own}


@dataclass(frozen=True)
class Controller:
    """ansible-playbook with a local connection inside the throwaway host."""

    host: ThrowawayHost
    folder: Path
    collections: Path = COLLECTIONS

    def play(
        self, tasks: Any, *options: str, variables: dict[str, Any] | None = None, prefix: Sequence[str] = ()
    ) -> Run:
        """Run a play of roles or tasks, an existing playbook by its name or path, or a list of these in one run."""
        if not isinstance(tasks, str):
            plays = [self._play(each, variables or {}) for each in (tasks if isinstance(tasks, list) else [tasks])]
            (self.folder / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False), encoding="utf-8")
        elif variables:
            options = (*options, "-e", json.dumps(variables))
        name = tasks if isinstance(tasks, str) else str(self.folder / "play.yml")
        command = [Path(sys.executable).parent / "ansible-playbook", "-v", "-i", "localhost,", "-c", "local", name]
        ran = subprocess.run(
            [*self.host.enter(), *prefix, *map(str, command), *options],
            env=settings(self.folder, self.collections),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        return Run(ran.returncode, ran.stdout + ran.stderr)

    def _play(self, tasks: Any, variables: dict[str, Any]) -> dict[str, Any]:
        if isinstance(tasks, str):
            return {"import_playbook": tasks, "vars": variables}
        return {"hosts": "all", "gather_facts": False, "vars": variables, **tasks}

    def converge(self, tasks: Any, variables: dict[str, Any] | None = None) -> Changes:
        """Play it in check mode, for real and once more: predicted is what is done, and then nothing is left to do.

        In as few runs as can be: to start Ansible takes longer than a play.
        """
        if isinstance(tasks, str):
            # A playbook takes its check mode from the whole run.
            predicted = self.play(tasks, "--check", variables=variables).calls
            played = self.play([tasks, tasks], variables=variables)
        else:
            played = self.play([{**tasks, "check_mode": True}, tasks, tasks], variables=variables)
            predicted = played.calls[: len(played.calls) // 3]
        assert played.returncode == 0, played.output
        made, again = played.calls[-2 * len(predicted) : -len(predicted)], played.calls[-len(predicted) :]
        assert predicted == made
        assert not any(again)
        return [change for call in made for change in call]
