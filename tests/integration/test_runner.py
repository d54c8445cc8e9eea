# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as AWX runs them: by ansible-runner, from a project that names this collection, with the answers of a survey."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from controller import CHECKOUT, settings
from hosts import ThrowawayHost, differences

from ansible_collections.wharf.network.plugins.plugin_utils.variables import KNOWN

BIN = Path(sys.executable).parent
INVENTORY = {
    "all": {"hosts": ["localhost"]},
    "_meta": {"hostvars": {"localhost": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}},
}
# Where AWX installs what a project requires.
REQUIRED = "requirements_collections"


@dataclass(frozen=True)
class Job:
    status: str
    events: list[dict[str, Any]]

    @property
    def artifacts(self) -> Any:
        """What a workflow passes on to the next job; AWX, too, has it from an event."""
        return self.events[-1]["event_data"]["artifact_data"]

    @property
    def changes(self) -> int:
        results = [event["event_data"].get("res", {}) for event in self.events if event["event"] == "runner_on_ok"]
        return sum(len(result.get("changes", ())) for result in results)

    def __str__(self) -> str:
        return "\n".join(event["stdout"] for event in self.events)


@dataclass(frozen=True)
class Awx:
    """Launches jobs on a host, each in a folder as AWX makes it."""

    host: ThrowawayHost
    sources: Path
    folder: Path

    def launch(self, playbook: str, survey: dict[str, str], *options: str) -> Job:
        """The answers of a survey are texts, in which nothing may be evaluated."""
        folder = self.folder / str(len(list(self.folder.iterdir())))
        shutil.copytree(self.sources / "project", folder / "project")
        (folder / "env").mkdir()
        answers = "".join(f"{name}: !unsafe {json.dumps(text)}\n" for name, text in survey.items())
        (folder / "env/extravars").write_text(f"awx_job_id: 7\n{answers}", encoding="utf-8")
        (folder / "inventory").mkdir()
        inventory = folder / "inventory/hosts"
        inventory.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(INVENTORY)}\nEND\n", encoding="utf-8")
        inventory.chmod(0o700)
        arguments = ["-q", "-i", "job", "-p", playbook, "--inventory", inventory]
        arguments += ["--cmdline", " ".join(["-u root", *options])]
        command = [*self.host.enter(), BIN / "ansible-runner", "run", folder, *arguments]
        subprocess.run(command, env=environment(self.sources, folder), check=False)
        events = [json.loads(path.read_text()) for path in (folder / "artifacts/job/job_events").iterdir()]
        status = (folder / "artifacts/job/status").read_text()
        return Job(status, sorted(events, key=lambda event: event["counter"]))


def environment(sources: Path, folder: Path) -> dict[str, str]:
    """Of this checkout only what AWX would have installed is found."""
    found = {"ANSIBLE_COLLECTIONS_PATH": str(sources / REQUIRED), "PATH": f"{BIN}:{os.environ['PATH']}"}
    return {**settings(folder), **found}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as the project, with a playbook more, and what it requires beside it."""
    folder = tmp_path_factory.mktemp("awx")
    project = folder / "project"
    project.mkdir()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, capture_output=True).stdout
    subprocess.run(["xargs", "-0", "cp", "--parents", "-t", project], cwd=CHECKOUT, check=True, input=tracked)
    (project / "own.yml").write_text("- import_playbook: wharf.network.site\n", encoding="utf-8")
    install = [BIN / "ansible-galaxy", "collection", "install", "-p", folder / REQUIRED]
    install += ["-r", project / "collections/requirements.yml"]
    subprocess.run(install, cwd=project, env=environment(folder, folder), check=True, capture_output=True)
    return folder


@pytest.fixture
def awx(host: ThrowawayHost, sources: Path, tmp_path: Path) -> Awx:
    return Awx(host, sources, tmp_path)


def answers(containers: int) -> dict[str, str]:
    """Containers as the text of a survey, and one whose sandbox is not there yet."""
    named = "".join(f"c{number}: {{networks: [app], ports: [{8000 + number}:80]}}\n" for number in range(containers))
    late = "late: {networks: [app], x-wharf: {sandbox: path:/run/late}}\n"
    return {"wharf_networks": "app: {}", "wharf_containers": named + late}


def test_jobs(awx: Awx, host: ThrowawayHost) -> None:
    """They leave what they change, or in check mode would, and take as many events for 30 containers as for 3."""
    before = host.snapshot()
    checked = awx.launch("playbooks/site.yml", answers(3), "--check")
    assert checked.status == "successful", str(checked)
    assert checked.artifacts == {"wharf": {"localhost": {"changed": checked.changes, "pending": ["path:/run/late"]}}}
    assert differences(before, host.snapshot()) == ""
    # Answers that are left empty are not given.
    made = awx.launch("own.yml", {**dict.fromkeys(KNOWN, ""), **answers(30)})
    assert made.status == "successful", str(made)
    assert made.artifacts == {"wharf": {"localhost": {"changed": made.changes, "pending": ["path:/run/late"]}}}
    assert "tcp . 8029" in host.run("nft list table inet wharf")
    assert made.changes > checked.changes > 0
    assert len(made.events) == len(checked.events)


def test_a_job_fails(awx: Awx) -> None:
    """Its events say what is wrong, and its artifacts nothing of a host that did not come to the end."""
    failed = awx.launch("own.yml", {"wharf_containers": 'web: {ports: ["{{ 8080 }}:80"]}'})
    assert (failed.status, failed.artifacts) == ("failed", {})
    assert 'wharf_containers.web.ports[0]: "{{ 8080 }}:80"' in str(failed)
