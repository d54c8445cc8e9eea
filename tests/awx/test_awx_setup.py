# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""awx_setup.yml, by the real collection awx.awx, sets up an AWX that a stub of its API stands in for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from awx_stub import TOKEN, Awx, serving

CHECKOUT = Path(__file__).parents[2]
SETTINGS = {"inventory": "Servers", "credentials": ["fleet key"]}


@dataclass(frozen=True)
class Setup:
    awx: Awx
    url: str
    folder: Path

    def play(self, *options: str, settings: Any = None) -> subprocess.CompletedProcess[str]:
        collections = [CHECKOUT / ".venv/collections", CHECKOUT / ".venv/awx"]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": ":".join(map(str, collections)),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "HOME": str(self.folder),
            "CONTROLLER_HOST": self.url,
            "CONTROLLER_OAUTH_TOKEN": TOKEN,
        }
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "wharf.network.awx_setup", *options]
        given = json.dumps({"wharf_awx_setup": SETTINGS if settings is None else settings})
        command += ["-i", "localhost,", "-e", given]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=self.folder)


def changed(ran: subprocess.CompletedProcess[str]) -> int:
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = re.search(r"changed=(\d+)", ran.stdout)
    assert found
    return int(found[1])


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    awx = Awx(CHECKOUT)
    with serving(awx) as url:
        yield Setup(awx, url, tmp_path)


def test_an_awx_is_set_up(setup: Setup) -> None:
    awx = setup.awx
    checked = setup.play("--check")
    assert changed(checked) == 1
    assert "The project wharf.network would be created" in checked.stdout
    assert awx.writes == []
    assert changed(setup.play())
    templates = awx.named("job_templates")
    assert {name: (each["playbook"], each["job_type"]) for name, each in templates.items()} == {
        "wharf check": ("playbooks/site.yml", "check"),
        "wharf apply": ("playbooks/site.yml", "run"),
        "wharf verify": ("playbooks/verify.yml", "run"),
        "wharf confirm": ("playbooks/confirm.yml", "run"),
        "wharf drift": ("playbooks/drift.yml", "run"),
        "wharf teardown": ("playbooks/teardown.yml", "run"),
    }
    asked = [question["variable"] for question in awx.survey("job_templates", "wharf apply")["spec"]]
    assert asked == ["wharf_confirm", "wharf_confirm_verify", "wharf_serial"]
    assert awx.survey("job_templates", "wharf confirm") == {}
    assert all(awx.links["job_templates", each["id"], "credentials"] for each in templates.values())
    steps = ["check", "approve", "apply", "verify", "confirm"]
    assert [awx.next_of(step) for step in steps] == [[step] for step in steps[1:]] + [[]]
    nodes = awx.named("workflow_job_template_nodes")
    approval = awx.named("workflow_approval_templates")["wharf approve"]
    assert nodes["approve"]["unified_job_template"] == approval["id"]
    assert nodes["apply"]["extra_data"] == {"wharf_confirm_verify": "true"}
    assert awx.survey("workflow_job_templates", "wharf change")["spec"][0]["default"] == 900

    awx.writes.clear()
    assert changed(setup.play()) == 0
    assert awx.writes == []

    # What somebody has changed by hand.
    templates["wharf drift"]["playbook"] = "playbooks/site.yml"
    awx.surveys["job_templates", templates["wharf verify"]["id"]]["spec"][0]["default"] = "unproven"
    awx.links["workflow_job_template_nodes", nodes["verify"]["id"], "success_nodes"].clear()
    # Of the tasks for templates and for steps.
    assert changed(setup.play("--check")) == 2
    assert awx.writes == []
    assert changed(setup.play()) == 2
    assert templates["wharf drift"]["playbook"] == "playbooks/drift.yml"
    assert changed(setup.play()) == 0


def test_a_project_of_ones_own_and_no_credential(setup: Setup) -> None:
    setup.awx.playbooks = {f"{name}.yml" for name in ("site", "verify", "confirm", "drift", "teardown")}
    settings = {"inventory": "Servers", "folder": ".", "url": "https://git.example.org/net.git", "prefix": "net"}
    ran = setup.play(settings=settings)
    assert changed(ran)
    assert "Create a credential of the type Machine" in ran.stdout
    assert setup.awx.named("projects")["wharf.network"]["scm_url"] == "https://git.example.org/net.git"
    template = setup.awx.named("job_templates")["net verify"]
    assert (template["playbook"], template["ask_credential_on_launch"]) == ("verify.yml", True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", "wharf_awx_setup: is missing"),
        ({"inventry": "Servers"}, "wharf_awx_setup.inventry: unknown key; did you mean inventory?"),
        ({"inventory": "Serverz"}, "inventories"),
    ],
    ids=str,
)
def test_what_is_wrong_is_reported(setup: Setup, settings: Any, message: str) -> None:
    ran = setup.play(settings=settings)
    assert ran.returncode == 2
    assert message in ran.stdout + ran.stderr
