# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as its users run it: ansible-playbook on a throwaway host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hosts import ThrowawayHost, differences

CHECKOUT = Path(__file__).parents[2]
ROLES = ["wharf.network.default_networks", "wharf.network.user_networks", "wharf.network.containers"]

VARIABLES = {
    "wharf_networks": {"front": {"enable_ipv6": True}, "back": {"internal": True}},
    "wharf_containers": {
        "web": {"networks": ["front", "back"], "ports": ["8080:80"]},
        "db": {"networks": {"back": {"aliases": ["postgres"]}}},
        "shell": {},
        "job": {"network_mode": "none"},
    },
}

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
        return [
            (change["action"], change["kind"], change["name"])
            for result in self.results
            for change in result.get("changes", [])
        ]


@dataclass(frozen=True)
class Controller:
    """ansible-playbook with a local connection inside the throwaway host."""

    host: ThrowawayHost
    folder: Path

    def play(
        self, tasks: Any, *options: str, variables: dict[str, Any] | None = None, prefix: Sequence[str] = ()
    ) -> Run:
        """Run a play of roles or tasks, or an existing playbook by its name or path."""
        if not isinstance(tasks, str):
            play = {"hosts": "all", "gather_facts": False, "vars": variables or {}, **tasks}
            (self.folder / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
        elif variables:
            options = (*options, "-e", json.dumps(variables))
        name = tasks if isinstance(tasks, str) else str(self.folder / "play.yml")
        command = [Path(sys.executable).parent / "ansible-playbook", "-v", "-i", "localhost,", "-c", "local", name]
        settings = {
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections"),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "ansible"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_NOCOLOR": "1",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
        }
        ran = subprocess.run(
            [*self.host.enter(), *prefix, *map(str, command), *options],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        return Run(ran.returncode, ran.stdout + ran.stderr)

    def converge(self, tasks: Any, variables: dict[str, Any] | None = None) -> Changes:
        """Play it in check mode, for real and once more: predicted is what is done, and then nothing is left to do."""
        predicted = self.play(tasks, "--check", variables=variables)
        made = self.play(tasks, variables=variables)
        assert made.returncode == 0, made.output
        assert predicted.changes == made.changes
        assert self.play(tasks, variables=variables).changes == []
        return made.changes


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    with ThrowawayHost.started() as host:
        yield Controller(host, tmp_path)


def test_site_and_teardown_give_the_host_back(controller: Controller) -> None:
    before = controller.host.snapshot()
    made = controller.converge("wharf.network.site", VARIABLES)
    assert ("create", "bridge", "br-front") in made
    assert ("create", "endpoint", "web/front") in made
    controller.host.serve("web", "80/tcp")
    assert controller.host.probe("outside", "192.0.2.10:8080/tcp").is_open
    controller.host.agent.call("stop_all")
    controller.converge("wharf.network.teardown")
    assert differences(before, controller.host.snapshot()) == ""


@pytest.mark.parametrize(
    "roles", [ROLES[::-1], ROLES[2:], ROLES[1:]], ids=["reversed", "containers alone", "no default"]
)
def test_roles_work_alone_and_in_any_order(controller: Controller, roles: list[str]) -> None:
    made = controller.converge({"roles": roles}, VARIABLES)
    assert {kind for _action, kind, _name in made} == {
        "sysctl",
        "file",
        "bridge",
        "chain",
        "set",
        "rules",
        "sandbox",
        "endpoint",
    }
    assert len(made) == len(set(made))


def test_included_roles(controller: Controller) -> None:
    tasks = [{"ansible.builtin.include_role": {"name": role}} for role in ROLES]
    made = controller.play({"tasks": tasks}, variables=VARIABLES).changes
    assert ("create", "sandbox", "netns:web") in made


def test_variables_as_texts_of_a_survey(controller: Controller) -> None:
    variables = {
        "wharf_networks": "app: {}",
        "wharf_containers": "web:\n  networks: [app]\n  ports: [22:22]\n",
        "wharf_host": '{"mtu": 1400}',
        "wharf_compose_files": "",
    }
    controller.play("wharf.network.site", variables=variables)
    assert 'elements = { tcp . 22 comment "container web"' in controller.host.run("nft list table inet wharf")
    assert controller.host.json("ip -j link show docker0")[0]["mtu"] == 1400


def test_compose_files(controller: Controller) -> None:
    (controller.folder / "compose.yml").write_text(
        'services: {web: {ports: ["${PORT:-80}:80"], image: nginx}, db: {network_mode: "service:web", image: db}}',
        encoding="utf-8",
    )
    (controller.folder / ".env").write_text("PORT=8081\n", encoding="utf-8")
    item = {"files": ["compose.yml"], "project_name": "shop"}
    controller.play({"roles": ROLES}, variables={"wharf_compose_files": [item]})
    assert "tcp . 8081" in controller.host.run("nft list table inet wharf")
    assert controller.host.json("ip -j link show br-shop_default")
    assert "shop-web-1" in controller.host.run("ip netns exec shop-db-1 cat /etc/hostname")


def test_states_of_roles(controller: Controller) -> None:
    before = controller.host.snapshot()
    controller.play("wharf.network.site", variables=VARIABLES)
    renamed = {"wharf_containers": {"other": {}}, "wharf_state": "exact"}
    made = controller.converge({"roles": ROLES[2:]}, renamed)
    assert {("delete", "sandbox", "netns:web"), ("create", "sandbox", "netns:other")} <= set(made)
    gone = controller.play({"roles": ROLES[2:]}, variables={"wharf_containers": {"other": {}}, "wharf_state": "absent"})
    assert ("delete", "endpoint", "other/bridge") in gone.changes
    assert controller.host.json("ip -j link show br-front")
    gone = controller.converge({"roles": ROLES[::-1]}, {"wharf_state": "absent"})
    assert ("delete", "bridge", "br-front") in gone
    assert differences(before, controller.host.snapshot()) == ""


def test_one_port_changes_live(controller: Controller) -> None:
    controller.play("wharf.network.site", variables=VARIABLES)
    moved = json.loads(json.dumps(VARIABLES).replace("8080:80", "8081:80"))
    assert controller.converge("wharf.network.site", moved) == [("update", "rules", "container web")]
    shown = controller.play("wharf.network.site", "--check", "--diff", variables=VARIABLES).output
    assert "+++ after: rules container web" in shown
    assert "-  published4 tcp . 8081 : " in shown


def test_all_problems_come_in_one_report_before_anything_is_touched(controller: Controller) -> None:
    before = controller.host.snapshot()
    variables = {
        "wharf_host": {"mtu": "big"},
        "wharf_networks": {"app": {"drivr": "bridge"}},
        "wharf_containers": {"web": {"networks": ["app"], "ports": ["8080:80/icmp"]}},
    }
    failed = controller.play("wharf.network.site", variables=variables)
    assert failed.returncode == 2
    problems = {problem["path"] for problem in failed.results[-1]["problems"]}
    assert problems == {"wharf_host.mtu", "wharf_networks.app.drivr", "wharf_containers.web.ports[0]"}
    assert '"8080:80/icmp": protocol must be tcp, udp or sctp' in failed.results[-1]["msg"]
    assert differences(before, controller.host.snapshot()) == ""


def test_network_info_sees_and_names_drift(controller: Controller) -> None:
    controller.play("wharf.network.site", variables=VARIABLES)
    info = {"tasks": [{"wharf.network.network_info": {}}]}
    seen = controller.play(info).results[-1]
    assert seen["networks"]["front"]["endpoints"] == ["web/front"]
    assert seen["containers"]["web"]["endpoints"]["back"]["interface"] == "eth0"
    assert {port["host_port"] for port in seen["published"]} == {8080}
    assert seen["drift"] == {}
    assert "br-front  network front" in seen["picture"]
    controller.host.run("ip link set br-front mtu 1300; ip netns exec web ip route del default")
    drift = controller.play(info).results[-1]["drift"]
    assert {layer: [change["name"] for change in changes] for layer, changes in drift.items()} == {
        "bridge": ["br-front"],
        "veth": ["web/front"],
    }
    assert controller.play("wharf.network.site", variables=VARIABLES).changes == [
        ("update", "bridge", "br-front"),
        ("update", "endpoint", "web/front"),
    ]


def test_a_user_who_is_not_root_is_told(controller: Controller) -> None:
    if os.geteuid() != 0:
        pytest.skip("who is not root outside is root inside the user namespace, and has no other user there")
    for folder in controller.folder.parents:
        if folder.name.startswith(("pytest-", "popen-")):
            folder.chmod(0o711)
    controller.folder.chmod(0o777)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    failed = controller.play({"tasks": [{"wharf.network.bridge": {}}]}, prefix=nobody)
    assert "needs root there: set become" in failed.output


def _examples() -> Iterator[Any]:
    for path in sorted((CHECKOUT / "plugins/modules").glob("*.py")):
        examples = re.search(r'EXAMPLES = r"""\n(.+?)"""', path.read_text(encoding="utf-8"), re.DOTALL)
        assert examples, path
        yield pytest.param(yaml.safe_load(examples[1]), id=path.stem)


@pytest.mark.parametrize("tasks", list(_examples()))
def test_examples_of_the_documentation(controller: Controller, tasks: list[dict[str, Any]]) -> None:
    (controller.folder / "compose.yml").write_text("services: {web: {image: nginx}}", encoding="utf-8")
    stood_on = [{"wharf.network.bridge": task["wharf.network.veth"]} for task in tasks if "wharf.network.veth" in task]
    played = controller.play({"tasks": [*stood_on, *tasks]})
    assert played.returncode == 0, played.output


def test_playbook_of_the_readme(controller: Controller) -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    playbooks = re.findall(r"```yaml\n(# playbook\.yml\n.+?)```", readme, re.DOTALL)
    assert playbooks
    for playbook in playbooks:
        (controller.folder / "playbook.yml").write_text(playbook, encoding="utf-8")
        controller.converge(str(controller.folder / "playbook.yml"))
