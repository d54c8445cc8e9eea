# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users give playbooks and modules (texts, Compose files, mistakes, the documentation's examples) and get back."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from controller import CHECKOUT, ROLES, VARIABLES, WORDS, Controller
from hosts import differences


def test_variables_as_texts_of_a_survey(controller: Controller) -> None:
    variables = {
        "wharf_networks": "app: {}",
        "wharf_containers": "web:\n  networks: [app]\n  ports: [22:22]\n",
        "wharf_host": '{"mtu": 1400}',
        **dict.fromkeys(
            ["wharf_compose_files", "wharf_docker_user", "wharf_state", "wharf_runtime", "wharf_recover"], ""
        ),
        **dict.fromkeys(["wharf_boot", "wharf_boot_services", "wharf_serial", "wharf_verify_from"], " "),
    }
    played = controller.play("wharf.network.site", variables=variables)
    assert played.returncode == 0, played.output
    assert ("create", "program", "/usr/local/sbin/wharf") in played.changes
    assert 'elements = { tcp . 22 comment "container web"' in controller.host.run("nft list table inet wharf")
    assert controller.host.json("ip -j link show docker0")[0]["mtu"] == 1400


def test_compose_files(controller: Controller) -> None:
    (controller.folder / "compose.yml").write_text(
        'services: {web: {ports: ["${PORT:-80}:80"], image: nginx}, db: {network_mode: "service:web", image: db}}',
        encoding="utf-8",
    )
    (controller.folder / ".env").write_text("PORT=8081\n", encoding="utf-8")
    item = {"files": ["compose.yml"], "project_name": "shop"}
    controller.play({"roles": ROLES[2:]}, variables={"wharf_compose_files": [item]})
    assert "tcp . 8081" in controller.host.run("nft list table inet wharf")
    assert controller.host.json("ip -j link show br-shop_default")
    assert "shop-web-1" in controller.host.run("ip netns exec shop-db-1 cat /etc/hostname")


def test_scopes_as_a_text(controller: Controller) -> None:
    controller.host.apply(WORDS)
    tasks = [
        {"wharf.network.veth": {"scope": "containers", "state": "absent"}},
        {"wharf.network.bridge": {"scope": "docker_user,user_networks", "state": "absent"}},
    ]
    made = controller.play({"tasks": tasks}).changes
    assert {("delete", "sandbox", "netns:web"), ("delete", "bridge", "br-front")} <= set(made)


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


def test_a_variable_that_is_not_set_is_reported_with_what_comes_of_it(controller: Controller) -> None:
    """What the host's planner finds wrong is explained by what the controller knows of the file."""
    (controller.folder / "compose.yml").write_text(
        'name: shop\nservices: {web: {hostname: $NAME, ports: ["${PORT}:80"]}, db: {ports: ["x:80"]}}', encoding="utf-8"
    )
    failed = controller.play({"tasks": [{"wharf.network.bridge": {"compose_files": "compose.yml"}}]}).results[-1]
    of_web, of_db = failed["msg"].splitlines()
    assert of_web.startswith('compose.yml: services.web.ports[0]: ":80": must be [[HOST_IP:][PUBLISHED]:]TARGET')
    assert "; the variable PORT is not set, an empty string takes its place; set it in .env, or in env" in of_web
    assert of_web.endswith(": the environment of the controller is not read")
    assert of_db.startswith("compose.yml: services.db.ports[0]: ") and "is not set" not in of_db
    assert [str(problem["path"]) for problem in failed["problems"]] == [
        "compose.yml: services.web.ports[0]",
        "compose.yml: services.db.ports[0]",
    ]


def test_what_is_in_the_way_on_the_host_is_reported_at_the_place_in_the_compose_file(controller: Controller) -> None:
    (controller.folder / "compose.yml").write_text("name: shop\nservices: {web: {}, db: {}}", encoding="utf-8")
    task = {"wharf.network.layers": {"compose_files": "compose.yml"}}
    controller.host.run(
        """
        ip netns add shop-web-1; ip link add br-shop_default type veth peer name other
        mkdir -p /etc/netns/shop-db-1; echo mine > /etc/netns/shop-db-1/hosts
        """
    )
    assert {problem["path"] for problem in controller.play({"tasks": [task]}).results[-1]["problems"]} == {
        "compose.yml: networks.default", "compose.yml: services.db", "compose.yml: services.web"
    }  # fmt: skip
    controller.host.run("ip netns del shop-web-1; ip link del br-shop_default; rm -r /etc/netns")
    harm = {"shell": "ip -n shop-web-1 link delete eth0; ip -n shop-web-1 link add eth0 type bridge"}
    output = " ".join(controller.play({"tasks": [task, harm, task]}).output.split())
    assert "compose.yml: services.web: shop-web-1/shop_default is pending: an interface eth0 that" in output


def test_chosen_ports_are_returned(controller: Controller) -> None:
    task = {"wharf.network.docker_chains": {"containers": {"web": {"ports": ["8000-8001:80", "9000:90"]}}}}
    published = controller.play({"tasks": [task]}).results[-1]["published"]
    at = {"host_ip": "0.0.0.0", "host_port": 8000, "address": "172.17.0.2", "target_port": 80, "protocol": "tcp"}
    assert published == [{"container": "web", "allow_from": None, **at}]


def test_network_info_sees_and_names_drift(controller: Controller) -> None:
    late = {"x-wharf": {"sandbox": "docker:late"}}
    controller.host.apply({**WORDS, "containers": {**WORDS["containers"], "late": late}})
    info = {"tasks": [{"wharf.network.network_info": {}}]}
    seen = controller.play(info).results[-1]
    assert seen["networks"]["front"]["endpoints"] == ["web/front"]
    assert seen["containers"]["web"]["endpoints"]["back"]["interface"] == "eth0"
    assert {port["host_port"] for port in seen["published"]} == {8080}
    assert seen["networks"]["front"]["gateway_modes"] == {"ipv4": "nat", "ipv6": "nat"}
    assert seen["drift"] == {}
    files = [f"docker:late:/etc/{name}" for name in ("hostname", "hosts", "resolv.conf")]
    assert seen["pending"] == ["docker:late", *files, "late/bridge"]
    assert "br-front  network front" in seen["picture"]
    controller.host.run("ip link set br-front mtu 1300; ip netns exec web ip route del default")
    played = controller.play([info, {"roles": ROLES[2:]}], variables=VARIABLES)
    drift = played.results[0]["drift"]
    assert {layer: [change["name"] for change in changes] for layer, changes in drift.items()} == {
        "bridge": ["br-front"],
        "veth": ["web/front"],
    }
    assert played.changes == [
        ("update", "bridge", "br-front"),
        ("update", "endpoint", "web/front"),
    ]


def test_a_user_who_is_not_root_gets_an_error(controller: Controller) -> None:
    if os.geteuid() != 0:
        pytest.skip("who is not root outside is root inside the user namespace, and has no other user there")
    for folder in controller.folder.parents:
        if folder.name.startswith(("pytest-", "popen-")):
            folder.chmod(0o711)
    controller.folder.chmod(0o777)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    failed = controller.play({"tasks": [{"wharf.network.bridge": {}}]}, prefix=nobody)
    assert "needs root there: set become" in failed.output


def _examples(module: Path) -> list[dict[str, Any]]:
    examples = re.search(r'EXAMPLES = r"""\n(.+?)"""', module.read_text(encoding="utf-8"), re.DOTALL)
    assert examples, module
    # No process has this number.
    none = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii")) + 1
    tasks: list[dict[str, Any]] = yaml.safe_load(examples[1].replace("pid:4711", f"pid:{none}"))
    stood_on = [{"wharf.network.bridge": task["wharf.network.veth"]} for task in tasks if "wharf.network.veth" in task]
    return [*stood_on, *tasks]


def test_examples_of_the_documentation(controller: Controller) -> None:
    """In one run, each module's on a host on which nothing is declared."""
    (controller.folder / "compose.yml").write_text("services: {web: {image: nginx}}", encoding="utf-8")
    modules = sorted((CHECKOUT / "plugins/modules").glob("*.py"))
    # Where nothing is declared, there is no ledger, and no engine either: a task would send and compile it for nothing.
    nothing = {"wharf.network.layers": {"state": "absent"}, "when": "'/var/lib/wharf/ledger.json' is exists"}
    played = controller.play([{"name": path.stem, "tasks": [*_examples(path), nothing]} for path in modules])
    assert played.returncode == 0, played.output
    assert re.findall(r"^PLAY \[(.+)\]", played.output, re.MULTILINE) == [path.stem for path in modules]


def test_playbooks_of_the_documentation(controller: Controller) -> None:
    """Each in turn, on the same host. That of the tutorial is in `test_tutorial.py`."""
    found = 0
    for page in ("README.md", "docs/how-to/compose.md"):
        for name, block in re.findall(r"```yaml\n# ([\w-]+\.yml)\n(.+?)```", (CHECKOUT / page).read_text(), re.DOTALL):
            (controller.folder / name).write_text(block, encoding="utf-8")
            if "playbook" in name:
                controller.converge(str(controller.folder / name))
                found += 1
    assert found == 2


def test_networks_that_a_play_of_the_role_containers_changes(controller: Controller) -> None:
    words = {"wharf_networks": {"app": {}}, "wharf_containers": {"web": {"networks": ["app"]}}}
    controller.host.apply({"networks": words["wharf_networks"], "containers": words["wharf_containers"]})
    words["wharf_networks"] = {"app": {"internal": True}}
    assert ("update", "rules", "network app") in controller.converge({"roles": ROLES[2:]}, words)
    words["wharf_networks"] = {"app": {"internl": True}}
    assert "did you mean internal?" in controller.play({"roles": ROLES[2:]}, variables=words).output


def test_a_slip_of_the_pen_takes_nothing_down(controller: Controller) -> None:
    controller.host.apply(WORDS)
    before = controller.host.snapshot()
    slip = {"wharf_container": {"web": {}}, "wharf_state": "absent"}
    failed = controller.play("wharf.network.verify", variables=slip)
    assert failed.returncode == 2
    assert "wharf_container: is not a variable of wharf.network: did you mean wharf_containers?" in failed.output
    listed = {"wharf_networks": ["front"], "wharf_stat": "exact"}
    failed = controller.play("wharf.network.site", variables=listed)
    assert "wharf_networks: must be a mapping" in failed.output
    assert "did you mean wharf_state?" in failed.output
    assert "Refuse variables that are unknown or wrong" in failed.output.partition("wharf_networks: must be")[0]
    assert "TASK [wharf.network." not in failed.output
    assert differences(before, controller.host.snapshot()) == ""
    modules = ("bridge", "layers")
    tasks = [{f"wharf.network.{module}": {"netwroks": {}, "state": "absent"}} for module in modules]
    failed = controller.play({"tasks": [{**task, "ignore_errors": True} for task in tasks]})
    for module in modules:
        assert f"netwroks: is no option of wharf.network.{module}: these are " in failed.output
    assert failed.changes == []
    gone = controller.play("wharf.network.site", variables={"wharf_containers": {"web": {}}, "wharf_state": "absent"})
    assert gone.returncode == 0, gone.output
    assert ("delete", "sandbox", "netns:web") in gone.changes
    assert {name for _action, kind, name in gone.changes if kind == "sandbox"} == {"netns:web"}
    assert controller.host.json("ip -j link show br-front")
