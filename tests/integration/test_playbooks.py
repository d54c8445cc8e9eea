# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks and roles: check mode predicts them, a second run changes nothing, and they give the host back."""

from __future__ import annotations

import json

import pytest
from controller import ROLES, VARIABLES, WORDS, Controller
from hosts import differences

EVERYTHING = {
    "wharf_host": {},
    "wharf_networks": "all",
    "wharf_containers": "all",
    "wharf_docker_user": "all",
}


def test_site_and_teardown_give_the_host_back(controller: Controller) -> None:
    before = controller.host.snapshot()
    made = controller.converge("wharf.network.site", VARIABLES)
    assert ("create", "bridge", "br-front") in made
    assert ("create", "endpoint", "web/front") in made
    controller.host.serve("web", "80/tcp")
    assert controller.host.probe("outside", "192.0.2.10:8080/tcp").is_open
    assert not controller.host.probe("neighbour", "192.0.2.10:8080/tcp", False).is_open
    controller.host.agent.call("stop_all")
    controller.converge("wharf.network.teardown", VARIABLES)
    assert differences(before, controller.host.snapshot()) == ""


@pytest.mark.parametrize(
    "roles", [ROLES[::-1], ROLES[2:], ROLES[1:]], ids=["reversed", "containers alone", "no default"]
)
def test_roles_work_alone_and_in_any_order(controller: Controller, roles: list[str]) -> None:
    """In check mode each call is predicted against the host as it is, so of several only the first exactly."""
    play = {"roles": roles}
    played = controller.play([{**play, "check_mode": True}, play, play], variables=VARIABLES)
    assert played.returncode == 0, played.output
    predicted, calls, again = (played.calls[len(roles) * turn :][: len(roles)] for turn in range(3))
    assert len(played.calls) == 3 * len(roles)
    assert predicted[0] == calls[0]
    assert not any(again)
    made = [change for call in calls for change in call]
    assert {kind for _action, kind, _name in made} == {
        "sysctl",
        "file",
        "bridge",
        "chain",
        "set",
        "rules",
        "sandbox",
        "endpoint",
        "dnsmasq",
    }
    assert len(made) == len(set(made))


def test_included_roles(controller: Controller) -> None:
    tasks = [{"ansible.builtin.include_role": {"name": role}} for role in ROLES]
    made = controller.play({"tasks": tasks}, variables=VARIABLES).changes
    assert ("create", "sandbox", "netns:web") in made


def test_states_of_roles(controller: Controller) -> None:
    before = controller.host.snapshot()
    controller.host.apply(WORDS)
    renamed = {"wharf_containers": {"other": {}}, "wharf_state": "exact"}
    made = controller.converge({"roles": ROLES[2:]}, renamed)
    assert {("delete", "sandbox", "netns:web"), ("create", "sandbox", "netns:other")} <= set(made)
    absent = {"wharf_state": "absent"}
    one = {"roles": ROLES[2:], "vars": {**absent, "wharf_containers": {"other": {}}}}
    gone = controller.play([one, {"roles": ROLES[::-1], "vars": absent}])
    assert gone.returncode == 0, gone.output
    of_one, *of_none = gone.calls
    assert ("delete", "endpoint", "other/bridge") in of_one
    assert of_none == [[], [], []]
    assert "wharf_containers names nothing, so nothing is removed. The value all names everything" in gone.output
    assert controller.host.json("ip -j link show br-front")
    reverse = ["wharf.network.boot", *ROLES[::-1], "wharf.network.docker_user"]
    gone = controller.play([{"roles": reverse}, {"roles": reverse}], variables={**absent, **EVERYTHING})
    assert gone.returncode == 0, gone.output
    assert ("delete", "bridge", "br-front") in gone.changes
    assert len(gone.changes) == len(set(gone.changes))
    assert not any(gone.calls[len(reverse) :])
    assert differences(before, controller.host.snapshot()) == ""


def test_one_port_changes_live(controller: Controller) -> None:
    controller.host.apply(WORDS)
    moved = json.loads(json.dumps(VARIABLES).replace("8080:80", "8081:80"))
    assert controller.converge({"roles": ROLES[2:]}, moved) == [("update", "rules", "container web")]
    shown = controller.play({"roles": ROLES[2:]}, "--check", "--diff", variables=VARIABLES).output
    assert "+++ after: docker_chains: rules container web" in shown
    assert "-  published4 tcp . 8081 : " in shown


def test_a_lost_ledger_is_made_anew_when_asked(controller: Controller) -> None:
    before = controller.host.snapshot()
    controller.host.apply(WORDS)
    controller.host.run("rm -r /var/lib/wharf")
    refused = controller.play("wharf.network.site", variables=VARIABLES)
    assert "ledger.json: is lost" in refused.output
    assert "-e wharf_recover=true" in refused.output
    adopting = {**VARIABLES, "wharf_recover": True, "wharf_boot": False}
    again = controller.play("wharf.network.site", "--check", variables=adopting)
    assert again.returncode == 0, again.output
    assert again.changes == []
    gone = controller.play("wharf.network.teardown", variables={"wharf_recover": True, "wharf_host": {}})
    assert gone.returncode == 0, gone.output
    left = differences(before, controller.host.snapshot())
    assert "wharf" not in left
    assert "netns" not in left


def test_a_host_for_which_nothing_is_declared_is_left_alone(controller: Controller) -> None:
    """A host that a survey leaves empty is such a host, too; and the gate is not green where nothing is verified."""
    before = controller.host.snapshot()
    empty = {"wharf_containers": "", "wharf_networks": " \n", "wharf_state": "exact"}
    left = controller.play("wharf.network.site", variables=empty)
    assert left.returncode == 0, left.output
    assert "No variable declares container networks for localhost: nothing is done there. To have" in left.output
    assert differences(before, controller.host.snapshot()) == ""
    red = controller.play("wharf.network.verify")
    assert red.returncode == 2
    assert "Nothing was verified on any host" in red.output
    controller.host.apply(WORDS)
    before = controller.host.snapshot()
    left = controller.play("wharf.network.teardown")
    assert left.returncode == 0, left.output
    assert """run this with --limit and -e '{wharf_host: {}}'""" in left.output
    assert differences(before, controller.host.snapshot()) == ""


def test_site_lets_nothing_go_that_is_not_named(controller: Controller) -> None:
    controller.host.apply(WORDS)
    before = controller.host.snapshot()
    for named in ({"wharf_containers": {}, "wharf_networks": "{}"}, {"wharf_host": {}}):
        stays = controller.play("wharf.network.site", variables={**named, "wharf_state": "absent"})
        assert stays.returncode == 0, stays.output
        assert "nothing is removed" in stays.output
    assert differences(before, controller.host.snapshot()) == ""
    gone = controller.play("wharf.network.site", variables={"wharf_containers": "all", "wharf_state": "absent"})
    assert {name for _action, kind, name in gone.changes if kind == "sandbox"} == {
        f"netns:{name}" for name in WORDS["containers"]
    }
    assert controller.host.json("ip -j link show br-front")


def test_whether_the_networks_outlast_a_reboot_is_asked(controller: Controller) -> None:
    """Where nobody answers, they do: test_variables_as_texts_of_a_survey."""
    played = controller.play("wharf.network.site", variables={"wharf_host": {}, "wharf_boot": False})
    assert played.returncode == 0, played.output
    assert played.changes
    assert ("create", "program", "/usr/local/sbin/wharf") not in played.changes


def test_the_engine_is_sent_to_a_host_that_lacks_it(controller: Controller) -> None:
    """Also to one where somebody else could have written it, or another version of it is."""
    host, engine = controller.host, "/run/wharf.engine"
    played = controller.play({"tasks": [{"wharf.network.layers": {"host": {}}}, {"wharf.network.network_info": {}}]})
    assert played.returncode == 0, played.output
    digest = host.run(f"sha256sum {engine}")
    plays = [{"tasks": [{"shell": harm}, {"wharf.network.layers": {"host": {}}}]} for harm in (
        f"test -s {engine}; chmod 666 {engine}; echo 1 >>{engine}",
        f"test $(stat -c %a {engine}) = 644; head -c 1000 {engine} >/run/half; mv /run/half {engine}",
        f"ln -sf /run/elsewhere {engine}",
    )]  # fmt: skip
    plays.append({"tasks": [{"wharf.network.probe": {}, "async": 60, "poll": 1}]})
    played = controller.play(plays, variables={"ansible_async_dir": "/run/async"})
    assert played.returncode == 0, played.output
    assert "_sent_engine" not in played.output
    assert host.run(f"sha256sum {engine}") == digest
    played = controller.play({"tasks": [{"wharf.network.layers": {"state": "absent"}}]})
    assert host.run(f"ls {engine} /run/wharf.cpython* 2>&1 || true").count("No such file") == 2
