# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is drawn of a host for a browser; how it looks there, test_report.py sees."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import golden
import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.drawing import svg
from ansible_collections.wharf.network.plugins.module_utils.engine.drawing.fleet_picture import shared_networks
from ansible_collections.wharf.network.plugins.module_utils.engine.drawing.host_picture import host_svg
from ansible_collections.wharf.network.plugins.module_utils.engine.drawing.view import (
    BAD,
    GOOD,
    UNPROVEN,
    UNTRIED,
    HostView,
    view,
)

# As a real host was observed, on which a rule of somebody's drops what goes to port 443.
SEEN = Path(__file__).parent / "drawings/harbour/seen.json"
PICTURES = Path(__file__).parents[3] / "docs/pictures"


@pytest.fixture
def seen() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SEEN.read_text(encoding="utf-8"))
    return found


def drawn(seen: dict[str, Any]) -> HostView:
    return view("harbour", seen, seen["verified"])


def test_the_picture_of_the_readme_is_what_is_drawn(seen: dict[str, Any]) -> None:
    golden.check(PICTURES, {"host.svg": host_svg(drawn(seen))}, given=())


def test_each_line_has_the_colour_of_its_probes(seen: dict[str, Any]) -> None:
    host = drawn(seen)
    (front,) = [network for network in host.networks if network.name == "front"]
    rows = {row.container: row for row in front.rows}
    assert {ports.ports.published: ports.status for ports in rows["web"].ports} == {"*:8080": GOOD, "*:8443": BAD}
    assert rows["grafana"].status == GOOD
    assert host.status == BAD
    seen["verified"] = None
    assert {row.status for network in drawn(seen).networks for row in network.rows} == {UNTRIED}


def test_a_port_that_leads_nowhere_now_is_no_good_one(seen: dict[str, Any]) -> None:
    seen["published"] = [each for each in seen["published"] if each["host_port"] != 8080]
    statuses = {ports.ports.published: ports.status for row in _front(seen).rows for ports in row.ports}
    assert statuses["*:8080"] == BAD
    seen["pending"] = ["netns:web"]
    statuses = {ports.ports.published: ports.status for row in _front(seen).rows for ports in row.ports}
    assert statuses["*:8080"] == UNPROVEN


def _front(seen: dict[str, Any]) -> Any:
    return next(network for network in drawn(seen).networks if network.name == "front")


def test_what_has_been_changed_since_is_outdated(seen: dict[str, Any]) -> None:
    assert not drawn(seen).is_outdated
    seen["last_change"]["at"] = seen["verified"]["at"] + 1
    assert drawn(seen).is_outdated
    assert "verified 2026-11-28 20:00:00 UTC, before the last change" in host_svg(drawn(seen))


def test_a_driver_that_nothing_is_known_of_shows_its_settings(seen: dict[str, Any]) -> None:
    """As what `network_info` returns of it is called."""
    lan: dict[str, Any] = {
        "driver": "macvlan",
        "bridge": None,
        "parent": "eth0",
        "mode": "private",
        "vlan": 30,
        "strict": True,
    }
    lan["peers"] = {"a": {"address": "192.0.2.1"}, "b": {"address": "192.0.2.2"}}
    lan["tunnel"] = {"vni": 256, "port": 4789}
    seen["networks"]["front"] = {**seen["networks"]["front"], **lan, "unset": None}
    del seen["containers"]["web"]["endpoints"]["front"]["host_interface"]
    seen["containers"]["web"]["endpoints"]["front"]["rate"] = {
        "ingress": {"rate": 10**8, "burst": 65536},
        "egress": None,
    }
    front = _front(seen)
    assert (front.driver, front.link) == ("macvlan", "eth0")
    assert set(front.notes) >= {"mode private", "vlan 30", "peers a, b", "tunnel vni 256, port 4789", "strict"}
    (web,) = [row for row in front.rows if row.container == "web"]
    assert (web.links, web.notes) == ("eth1", ("ingress ≤100mbit",))
    assert "ingress ≤100mbit" in host_svg(drawn(seen))


def test_networks_of_several_hosts_are_those_whose_driver_leaves_the_host(seen: dict[str, Any]) -> None:
    seen["networks"]["mesh"] = {**seen["networks"]["back"], "driver": "overlay", "whole_subnets": ["10.9.0.0/16"]}
    hosts = [view(name, copy.deepcopy(seen)) for name in ("a", "b")]
    (mesh,) = shared_networks([*hosts, HostView("c", error="not reached")])
    assert (mesh.name, mesh.driver, mesh.subnets, mesh.hosts) == ("mesh", "overlay", ("10.9.0.0/16",), ("a", "b"))


@pytest.mark.parametrize("words", ["", "a", "a" * 60, "日本語" * 20, "…" * 40])
def test_text_fits_where_it_is_to_be(words: str) -> None:
    fitted = svg.fitted(words, 100, svg.STRONG)
    assert svg.width_of(fitted, svg.STRONG) <= 100
    assert fitted == words or fitted.endswith("…")
