# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words -> plan, or problems, on a host that is made up."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_model import read_model
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.places import Places
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError, ProblemCollector
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.allotments import Allotments
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.facts import (
    Facts,
    HostLink,
    ThirdPartyBridge,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.plan import Plan

Words = Mapping[str, Any]
_VARIABLES = Places()


def plan(
    words: Words,
    facts: Facts | None = None,
    before: Allotments | None = None,
    earlier: Collection[str] = (),
    places: Places = _VARIABLES,
) -> Plan:
    parts = [words.get(part) or {} for part in ("host", "networks", "containers")]
    problems = ProblemCollector()
    read = read_model(*parts, words.get("docker_user") or [], problems, places=places)
    model = replace(read, earlier=frozenset(earlier))
    return Plan.make(model, facts or Facts(), before or Allotments(), problems)


def problems(words: Words, facts: Facts | None = None, places: Places = _VARIABLES) -> list[str]:
    try:
        plan(words, facts, places=places)
    except ModelError as error:
        return [str(problem) for problem in error.problems]
    return []


def facts_of(words: Words) -> Facts:
    """Facts as a case's `facts.yml` has them."""
    tuples = {key: _tuples(value) for key, value in words.items()}
    for key in ("taken_subnets", "routed_subnets"):
        tuples[key] = tuple((ipaddress.ip_network(subnet), owner) for subnet, owner in words.get(key, ()))
    if "third_party_bridges" in words:
        tuples["third_party_bridges"] = tuple(_third_party_bridge(**bridge) for bridge in words["third_party_bridges"])
    if "links" in words:
        tuples["links"] = tuple(_link(**link) for link in words["links"])
    return Facts(**tuples)


def _link(addresses: Collection[str] = (), mac: str = "02:00:00:00:00:01", **words: Any) -> HostLink:
    return HostLink(mac=mac, addresses=tuple(ipaddress.ip_interface(address) for address in addresses), **words)


def _third_party_bridge(addresses: list[str], **words: Any) -> ThirdPartyBridge:
    return ThirdPartyBridge(addresses=tuple(ipaddress.ip_interface(address) for address in addresses), **words)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
