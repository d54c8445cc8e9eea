# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever is root in one container, and may change its network stack, keeps nothing else from converging."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hosts import EXACT, EngineError, ThrowawayHost, differences
from test_follow import following, heard

HOST_ADDRESS = "192.0.2.10"

WORDS: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True}},
    "containers": {"web": {"networks": ["front"], "ports": ["8080:80"]}, "db": {"networks": ["front"]}, "idle": {}},
}
WITHOUT_WEB = {**WORDS, "containers": {name: each for name, each in WORDS["containers"].items() if name != "web"}}

MARKS = ["", "mine", "wharf:db"]


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_that_is_changed_is_drift(host: ThrowawayHost, mark: str) -> None:
    with host.declared(WORDS):
        host.run(f"ip link set lo alias '{mark}'", "web")
        assert host.converge(WORDS) == [("veth", "update", "sandbox", "netns:web", "container")]
        assert host.json("ip -j link show lo", "web")[0]["ifalias"] == "wharf:web"


@pytest.mark.parametrize("mark", MARKS)
def test_a_stack_whose_mark_is_changed_goes_all_the_same(host: ThrowawayHost, mark: str) -> None:
    with host.declared(WORDS):
        host.run(f"ip link set lo alias '{mark}'", "web")
        host.converge(WITHOUT_WEB, EXACT)
        assert set(host.run("ls /run/netns").split()) == {"db", "idle"}
        host.run(f"ip link set lo alias '{mark}'", "db")


def test_a_stack_that_was_made_anew_is_set_up_as_declared(host: ThrowawayHost) -> None:
    with host.declared(WORDS):
        host.run("ip netns del web; ip netns add web")
        # The kernel takes a namespace apart a moment later.
        host.run("while ip link show type veth | grep -q wharf:web/; do sleep 0.05; done")
        host.converge(WORDS)
        host.serve("web", "80/tcp")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"


def test_a_stack_that_was_made_anew_by_somebody_else_does_not_go(host: ThrowawayHost) -> None:
    host.apply(WORDS)
    host.run("ip netns del web; ip netns add web; ip -n web link add mine type bridge")
    host.converge(WITHOUT_WEB, EXACT)
    assert "mine" in host.run("ip -br link", "web")


# What makes the interface `eth0` somebody else's, and what takes that back.
IN_THE_WAY = {
    "ours has another name": (
        "ip link set eth0 down; ip link set eth0 name mine; ip link add eth0 type bridge",
        "ip link delete eth0",
    ),
    "ours is gone": ("ip link delete eth0; ip link add eth0 type bridge", "ip link delete eth0"),
    "it is another name": (
        "ip link delete eth0; ip link property add dev lo altname eth0",
        "ip link property del dev lo altname eth0",
    ),
    "the mark is changed": (
        "ip link delete eth0; ip link add eth0 type bridge; ip link set lo alias wharf:db",
        "ip link delete eth0",
    ),
}
LEFT_ALONE = (
    "web/front is pending: an interface eth0 that is not ours is in /run/netns/web: delete it there, or take that name "
    "from it"
)


@pytest.mark.parametrize("way", IN_THE_WAY)
def test_an_interface_in_the_way_of_ours_is_told_and_all_else_converges(host: ThrowawayHost, way: str) -> None:
    other = {**WORDS["containers"]["db"], "ports": ["8081:80"]}
    words = {**WORDS, "containers": {**WORDS["containers"], "db": other, "new": {"networks": ["front"]}}}
    done, undone = IN_THE_WAY[way]
    with host.declared(WORDS):
        host.run(done, "web")
        for run in (host.diff, host.apply):
            results = run(words)
            assert results.pending == ["web/front"]
            assert results.warnings == {LEFT_ALONE}
        assert host.observed()["pending"] == ["web/front"]
        host.serve("db", "80/tcp")
        assert host.probe("outside", f"{HOST_ADDRESS}:8081/tcp").by == "db"
        assert host.probe("new", f"{host.address('db', 'front')}:80/tcp").by == "db"
        host.converge(WORDS, EXACT)
        assert not host.probe("outside", f"{HOST_ADDRESS}:8081/tcp", False).is_open
        host.run(undone, "web")
        host.converge(WORDS)
        host.serve("web", "80/tcp")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"


@pytest.mark.parametrize("way", IN_THE_WAY)
def test_a_container_with_an_interface_in_the_way_of_ours_goes(host: ThrowawayHost, way: str) -> None:
    with host.declared(WORDS):
        host.run(IN_THE_WAY[way][0], "web")
        host.converge(WITHOUT_WEB, EXACT)
        assert set(host.run("ls /run/netns").split()) == {"db", "idle"}
        assert "wharf:web/" not in host.run("ip link show type veth")


def test_an_interface_that_is_renamed_gets_its_name_back(host: ThrowawayHost) -> None:
    with host.declared(WORDS):
        host.run("ip link set eth0 down; ip link set eth0 name mine", "web")
        (change,) = host.converge(WORDS)
        assert change[:4] == ("veth", "update", "endpoint", "web/front")
        assert "mine" not in host.run("ip -br link", "web")
        host.serve("web", "80/tcp")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"


def at(path: str) -> dict[str, Any]:
    return {"networks": {"front": {}}, "containers": {"web": {"networks": ["front"], "x-wharf": {"sandbox": path}}}}


def test_an_interface_in_the_way_of_a_new_one_is_an_error(host: ThrowawayHost) -> None:
    """Whoever declares it has to choose."""
    host.run("ip netns add box; ip -n box link add eth0 type bridge")
    before = host.snapshot()
    refused = "wharf_containers.web.networks.front: an interface eth0 is in /run/netns/box that is not ours: choose"
    with pytest.raises(EngineError, match=refused):
        host.apply(at("path:/run/netns/box"))
    assert differences(before, host.snapshot()) == ""


def test_one_that_was_declared_before_it_ran_is_no_error(host: ThrowawayHost) -> None:
    words = at("path:/run/netns/box")
    words["containers"]["db"] = {"networks": ["front"]}
    with host.declared(words):
        host.run("ip netns add box; ip -n box link add eth0 type bridge")
        assert host.apply(words).pending == ["web/front"]
        words["containers"]["new"] = {"networks": ["front"]}
        host.apply(words)
        assert host.probe("new", f"{host.address('db', 'front')}/ping").is_open
        host.run("ip -n box link delete eth0")
        host.converge(words)
        assert host.probe("new", f"{host.address('web', 'front')}/ping").is_open
        host.run("ip netns delete box; while ip link show type veth | grep -q wharf:web/; do sleep 0.05; done")


def test_others_are_connected_as_they_start(host: ThrowawayHost) -> None:
    late = {"networks": ["front"], "x-wharf": {"sandbox": "path:/run/netns/late"}}
    words = {**WORDS, "containers": {**WORDS["containers"], "late": late}}
    with host.declared(words), following(host) as process:
        host.run(IN_THE_WAY["ours is gone"][0], "web")
        host.run("ip netns add late")
        assert heard(process)["connected"] == {"path:/run/netns/late"}
        assert "eth0" in host.run("ip -br link", "late")
        host.run("ip netns delete late; while ip link show type veth | grep -q wharf:late/; do sleep 0.05; done")


def test_routes_that_are_flushed_come_back(host: ThrowawayHost) -> None:
    """Also those to the networks, by which all others lead."""
    seen = "ip -j route; ip -j -6 route show table main"
    with host.declared(WORDS):
        before = host.run(seen, "web")
        host.run("ip route flush dev eth0; ip -6 route flush dev eth0", "web")
        assert host.converge(WORDS) == [("veth", "update", "endpoint", "web/front", "routes")]
        assert routes_of_ours(host.run(seen, "web")) == routes_of_ours(before)
        assert host.probe("web", f"{host.address('db', 'front')}/ping").is_open
        assert host.probe("web", f"[{host.address('db', 'front', 6)}]/ping").is_open


def routes_of_ours(listed: str) -> set[str]:
    """All but those to link-local addresses."""
    found = [route for line in listed.splitlines() for route in json.loads(line)]
    return {json.dumps(route, sort_keys=True) for route in found if not route["dst"].startswith("fe80:")}
