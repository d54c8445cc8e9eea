# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which resolvers are needed, and what each of them knows."""

from __future__ import annotations

from typing import Any

from planning import plan

NETWORKS: dict[str, Any] = {
    "a": {"internal": True},
    "b": {"internal": True},
    "mute": {"x-wharf": {"dns": False}},
    "outside": {},
    "leased": {"x-wharf": {"dhcp": True}},
    "inner": {"internal": True, "x-wharf": {"dhcp": True}},
}


def resolvers(*containers: Any) -> dict[str, list[str]]:
    """By the names of those that are not a network's own, the networks that each knows."""
    words = {"networks": NETWORKS, "containers": {f"c{i}": each for i, each in enumerate(containers)}}
    return {each.name: list(each.networks) for each in plan(words).resolvers.all if not each.is_networks_own}


def test_a_network_called_outside_is_not_taken_for_a_way_there() -> None:
    found = resolvers({"networks": ["a", "b", "mute"]}, {"networks": ["a", "b", "outside"]})
    assert found == {"a:b:@outside": ["a", "b"], "a:b:outside": ["a", "b", "outside"]}


def test_one_more_asks_outside_only_where_leases_are_given_and_anybody_asks() -> None:
    assert [*resolvers({"networks": ["a", "outside"]})] == ["a:outside"]
    assert [*resolvers({"networks": ["a", "inner"]})] == ["a:inner"]
    assert [*resolvers({"networks": ["a", "leased"]})] == ["a:leased", "a:leased:@outward"]
    assert [*resolvers({"networks": ["leased"]})] == []
    named = resolvers({"networks": ["leased"], "dns": ["192.0.2.1"]})
    assert [name.partition(":@")[0] for name in named] == ["leased", "leased"]
