# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each folder of `expectations/` is a declaration in, and the probes that follow from it out."""

from __future__ import annotations

import ipaddress
from collections import Counter
from pathlib import Path
from typing import Any

import golden
import pytest
from planning import facts_of, plan

from ansible_collections.wharf.network.plugins.module_utils.engine.planning.facts import Facts
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.plan import Plan
from ansible_collections.wharf.network.plugins.module_utils.engine.reachability.expectations import (
    expect,
    expect_outside,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.reachability.probes import HOST, Probe
from ansible_collections.wharf.network.plugins.module_utils.engine.reachability.topology import HostAddresses, Topology

OWN = tuple(map(ipaddress.ip_address, ("192.0.2.10", "192.0.2.11", "2001:db8::10")))
HOST_ADDRESSES = HostAddresses(OWN, OWN[:1], ((ipaddress.ip_address("203.0.113.1"), 443),))


@pytest.mark.parametrize("case", sorted((Path(__file__).parent / "expectations").iterdir()), ids=lambda case: case.name)
def test_case(case: Path) -> None:
    given = [name for name in ("declaration.yml", "facts.yml") if (case / name).exists()]
    words, *facts = (golden.read_yaml(case / name) for name in given)
    planned = plan(words, facts_of(facts[0]) if facts else Facts(default_interface="eth0"))
    topology = Topology(planned, HOST_ADDRESSES)
    lines = [_line(probe, topology) for probe in expect(topology)]
    lines += ["", "# From another host", *(_line(probe, None) for probe in expect_outside(topology))]
    golden.check(case, {"probes.txt": "".join(f"{line}\n" for line in lines)}, given=given)


def _line(probe: Probe, topology: Topology | None) -> str:
    """How it goes; without a topology nobody can say where it arrives."""
    arrives = topology.destination(probe, [*map(str, topology.own_and_gateways())]) if topology else None
    at = (
        f"  [{arrives[0]}{f':{arrives[1]}' if arrives[1] else ''}]"
        if arrives
        else f"  via {probe.via}"
        if probe.via
        else ""
    )
    return f"{probe.source} > {probe.target}  {probe.expected}: {probe.name}{at}"


def _many(count: int) -> Plan:
    networks: dict[str, Any] = {f"n{number}": {} for number in range(count // 4)}
    containers = {
        f"c{number}": {"networks": [f"n{number % (count // 4)}"], "ports": [f"{10000 + number}:80"]}
        for number in range(count)
    }
    return plan({"networks": networks, "containers": containers}, Facts(default_interface="eth0"))


def test_the_number_of_probes_grows_with_the_number_of_containers() -> None:
    few, many = (len(expect(Topology(_many(count), HOST_ADDRESSES))) for count in (20, 100))
    assert many == 5 * few


def test_every_endpoint_asks_and_is_asked_from_its_own_and_from_another_network() -> None:
    planned = _many(20)
    probes = [probe for probe in expect(Topology(planned, HOST_ADDRESSES)) if probe.port == 80 or probe.port == 9]
    asked = Counter((probe.address, probe.expected) for probe in probes if probe.source != HOST)
    asking = Counter((probe.source, probe.expected) for probe in probes)
    for (container, _network), endpoint in planned.allotted.endpoints.items():
        for expected in ("open", "closed"):
            assert asked[str(endpoint.ipv4), expected]
            assert asking[container, expected]


def test_a_port_that_a_process_of_the_host_has_is_not_expected_to_be_closed() -> None:
    words = {"containers": {"web": {"ports": ["127.0.0.1:9000:90"]}}}
    listening = Facts(default_interface="eth0", listeners=(("tcp", "192.0.2.10", 9000), ("tcp", "0.0.0.0", 9)))
    topology = Topology(plan(words, listening), HOST_ADDRESSES)
    probes = [*expect(topology), *expect_outside(topology)]
    assert not [probe for probe in probes if probe.port == 9000 and probe.expected == "closed"]
    assert [probe.port for probe in probes if probe.name == "a port that is not published"] == [10]
