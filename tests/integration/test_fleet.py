# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet: one controller, many hosts made of namespaces, which differ by their groups' variables."""

from __future__ import annotations

import json
import re

from fleets import GROUPS, Fleet
from hosts import differences


def test_hosts_become_what_their_groups_say(fleet: Fleet) -> None:
    before = {name: host.snapshot() for name, host in fleet.hosts.items()}
    assert fleet.play("wharf.network.site", "--limit", "web").changed == set(fleet.of("web"))
    for name in fleet.of("data"):
        assert "docker0" not in fleet.hosts[name].run("ip -br link"), name
    made = fleet.play("wharf.network.site")
    assert made.returncode == 0, made.output
    assert made.changed == set(fleet.of("data"))
    # One task looks at its variables, one brings it to what is declared, and one reports that; one is for all hosts.
    first, *others = [*fleet.of("data"), *fleet.of("web")]
    assert (made.of(first)["ok"], {made.of(name)["ok"] for name in others}) == (4, {3})
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


def test_batches_are_in_the_order_of_the_inventory(fleet: Fleet) -> None:
    """Also if it takes longer to look at the variables of one host than at those of others."""
    first, *others = [*fleet.of("data"), *fleet.of("web")]
    slow = f"{{{{ lookup('pipe', 'sleep 1; echo 1') and {{}} if inventory_hostname == '{first}' else {{}} }}}}"
    fleet.set_variables("data", {"wharf_host": slow})
    made = fleet.play("wharf.network.site", "-e", "wharf_serial=1", "--check")
    _before, *batches = made.output.partition("PLAY RECAP")[0].split("PLAY [Container networks]")
    assert [set(re.findall(r"\[(host\d+)\]", batch)) for batch in batches] == [{name} for name in (first, *others)]


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
    assert "an interface br-front exists on this host that is not managed by wharf.network" in made.output
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
    for play, wrong, problem in WRONG:
        fleet.set_variables("data", {**GROUPS["data"], **wrong})
        stopped = fleet.play(play)
        assert (stopped.returncode, stopped.changed) == (2, set()), stopped.output
        assert problem in stopped.output
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
