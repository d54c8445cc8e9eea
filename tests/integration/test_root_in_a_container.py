# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever is root in one container, and may change its network stack, keeps nothing else from converging."""

from __future__ import annotations

from typing import Any

import pytest
from hosts import EXACT, ThrowawayHost

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
