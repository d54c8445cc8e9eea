# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the host of a real dockerd that makes rules of its own: the admin's rules alone, and networks of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from dockerd import Dockerd
from hosts import ABSENT, BACKENDS, EngineError, ThrowawayHost

HOST_ADDRESS = "192.0.2.10"
DOCKER_USER = ["docker_user"]

DOCKERS: dict[str, Any] = {"networks": {}, "containers": {"theirs": {"ports": ["8080:80"]}}}
ONLY_OUTSIDE = [
    {"published_port": 8080, "source": "192.0.2.1", "action": "return"},
    {"published_port": 8080, "action": "drop"},
]
OURS: dict[str, Any] = {
    "host": {"bridge": "none"},
    "networks": {"front": {}},
    "containers": {"ours": {"networks": ["front"], "ports": ["9090:80"]}},
}


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Dockerd]:
    with ThrowawayHost.started() as host, Dockerd.started(host, DOCKERS) as started:
        started.make(DOCKERS)
        host.serve("theirs", "80/tcp", "81/tcp")
        yield started


def rules(host: ThrowawayHost) -> str:
    """dockerd's own, without how often each was met."""
    return re.sub(r"\[\d+:\d+\]|^#.*\n", "", host.run("iptables-save"), flags=re.MULTILINE)


def reached(host: ThrowawayHost, place: str, expected: bool, port: int = 8080) -> bool:
    return host.probe(place, f"{HOST_ADDRESS}:{port}/tcp", expected).is_open


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_the_admins_rules_alone(dockerd: Dockerd, backend: str) -> None:
    host = dockerd.host
    before = rules(host)
    words = {"host": {"firewall-backend": backend}, "docker_user": ONLY_OUTSIDE}
    made = host.converge(words, scope=DOCKER_USER)
    assert {layer for layer, *_change in made} == {"docker_chains"}
    assert reached(host, "outside", True)
    assert not reached(host, "neighbour", False)
    dockerd.run("docker run --detach --rm --name more --publish 8081:80 --volume /usr:/usr:ro machine sleep infinity")
    assert not reached(host, "neighbour", False)
    assert host.apply(words, scope=DOCKER_USER).changes == []
    dockerd.run("docker rm --force more")
    ours = [line for line in rules(host).splitlines() if "WHARF-USER" in line]
    assert bool(ours) == (backend == "iptables")
    assert [line for line in rules(host).splitlines() if line not in ours] == before.splitlines()
    host.converge({}, ABSENT, scope=DOCKER_USER)
    assert rules(host) == before
    assert "table inet wharf" not in host.run("nft list tables")
    assert reached(host, "neighbour", True)


def test_networks_of_ours_beside_those_of_docker(dockerd: Dockerd) -> None:
    """dockerd has FORWARD drop: that is named, and what is asked for lets ours through. Neither reaches the other's."""
    host = dockerd.host
    before = rules(host)
    assert ":FORWARD DROP" in before
    host.converge(OURS)
    host.serve("ours", "80/tcp")
    assert not reached(host, "outside", False, 9090)
    assert any("FORWARD" in warning for warning in host.apply(OURS).warnings)
    host.converge({**OURS, "host": {"bridge": "none", "x-wharf": {"accept-in-iptables-forward": True}}})
    assert reached(host, "outside", True, 9090)
    assert reached(host, "outside", True)
    assert reached(host, "ours", True)
    theirs = dockerd.run("docker inspect --format '{{.NetworkSettings.IPAddress}}' theirs").strip()
    # To the published one this dockerd lets everybody.
    assert not host.probe("ours", f"{theirs}:81/tcp", False).is_open
    assert not host.probe("theirs", f"{host.address('ours', 'front')}:80/tcp", False).is_open
    host.converge({}, ABSENT)
    assert rules(host) == before
    assert reached(host, "outside", True)


def test_its_chains_are_not_taken_over(dockerd: Dockerd) -> None:
    host = dockerd.host
    before = rules(host)
    with pytest.raises(EngineError, match="this chain is not managed by wharf.network, but perhaps by a dockerd"):
        host.apply({**OURS, "host": {"bridge": "none", "firewall-backend": "iptables"}})
    assert rules(host) == before
