# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may reach a published port, by packets and by connections that stand, with either backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hosts import ADDRESSES, EXACT, ThrowawayHost
from test_lifecycle import connection, kinds, lives
from test_verify import rows, verify

HOST4, HOST6 = ADDRESSES["host"]
SECOND4 = ADDRESSES["second"][0]
OUTSIDE4, OUTSIDE6 = ADDRESSES["outside"]
NEIGHBOUR4, NEIGHBOUR6 = ADDRESSES["neighbour"]
OPEN, CLOSED, ONLY4 = (True, True), (False, False), (True, False)

BACKENDS = ["nftables", "iptables"]


def words(backend: str, allowed: Any, protocol: str = "tcp", **more: Any) -> dict[str, Any]:
    """Port 8080 is for those that are allowed, 8081 leads to the same port and is for all."""
    narrow = {"target": 80, "published": 8080, "protocol": protocol, "x-wharf": {"allow_from": allowed}, **more}
    return {
        "host": {"firewall-backend": backend},
        "networks": {
            "front": {"enable_ipv6": True, "ipam": {"config": [{"subnet": "10.1.0.0/24"}, {"subnet": "fd00:1::/64"}]}},
            "back": {"enable_ipv6": True, "ipam": {"config": [{"subnet": "10.2.0.0/24"}, {"subnet": "fd00:2::/64"}]}},
        },
        "containers": {
            "web": {"networks": ["front"], "ports": [narrow, f"8081:80/{protocol}"]},
            "peer": {"networks": ["front"]},
            "app": {"networks": ["back"]},
        },
    }


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def lasting_host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as started:
        yield started


@pytest.fixture
def live(lasting_host: ThrowawayHost, backend: str) -> Iterator[ThrowawayHost]:
    lasting_host.apply(words(backend, [OUTSIDE4, OUTSIDE6]), EXACT)
    lasting_host.serve("web", "80/tcp", "80/udp")
    yield lasting_host
    lasting_host.agent.call("stop_all")


def ways(place: str, port: str, expected: tuple[bool, bool]) -> dict[tuple[str, str], bool]:
    """A port of the host from a place, by IPv4 and by IPv6."""
    return {(place, f"{HOST4}:{port}"): expected[0], (place, f"[{HOST6}]:{port}"): expected[1]}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_is_for_those_that_are_allowed(live: ThrowawayHost, backend: str, protocol: str) -> None:
    port = f"8080/{protocol}"
    live.converge(words(backend, [OUTSIDE4, OUTSIDE6, "10.2.0.0/16"], protocol))
    expected = {
        **ways("outside", port, OPEN),
        **ways("neighbour", port, CLOSED),
        # Another port that leads to the same port of the container is not concerned.
        **ways("neighbour", f"8081/{protocol}", OPEN),
        # A container of another network is a source like any other, one of the same network is no stranger.
        **ways("app", port, ONLY4),
        **ways("peer", port, OPEN),
        **ways("web", port, OPEN),
        **ways("host", port, OPEN),
        ("host", f"127.0.0.1:{port}"): True,
    }
    assert live.reached(expected) == expected


def test_what_is_said_of_one_family_closes_the_other(live: ThrowawayHost, backend: str) -> None:
    live.converge(words(backend, "0.0.0.0/0"))
    expected = ways("neighbour", "8080/tcp", ONLY4)
    assert live.reached(expected) == expected
    live.converge(words(backend, []))
    expected = {**ways("outside", "8080/tcp", CLOSED), **ways("host", "8080/tcp", OPEN)}
    assert live.reached(expected) == expected


def test_each_address_of_the_host_has_its_own_sources(live: ThrowawayHost, backend: str) -> None:
    changed = words(backend, [NEIGHBOUR4], host_ip=SECOND4)
    changed["containers"]["web"]["ports"].append({"target": 80, "published": 8080, "host_ip": HOST4})
    live.converge(changed)
    expected = {
        ("outside", f"{HOST4}:8080/tcp"): True,
        ("outside", f"{SECOND4}:8080/tcp"): False,
        ("neighbour", f"{SECOND4}:8080/tcp"): True,
    }
    assert live.reached(expected) == expected


@pytest.mark.parametrize("mode", ["routed", "nat-unprotected"])
def test_a_containers_own_address_is_for_the_same(lasting_host: ThrowawayHost, backend: str, mode: str) -> None:
    def on_front(allowed: Any) -> dict[str, Any]:
        declared = words(backend, allowed)
        options = {f"com.docker.network.bridge.gateway_mode_ipv{version}": mode for version in (4, 6)}
        declared["networks"]["front"]["driver_opts"] = options
        declared["containers"]["web"]["ports"] = [declared["containers"]["web"]["ports"][0], "8082:81"]
        return declared

    lasting_host.apply(on_front([OUTSIDE4, OUTSIDE6]), EXACT)
    lasting_host.serve("web", "80/tcp", "81/tcp")
    web6 = lasting_host.address("web", "front", 6)
    expected = {
        (place, f"{address}:{port}/tcp"): port == 81 or place == "outside"
        for place in ("outside", "neighbour", "app")
        for address in (lasting_host.address("web", "front"), f"[{web6}]")
        for port in (80, 81)
    }
    assert lasting_host.reached(expected) == expected
    assert rows(verify(lasting_host)) == {}
    held = connection(lasting_host, "outside", web6, 80)
    lasting_host.converge(on_front([OUTSIDE4]))
    with pytest.raises(RuntimeError, match="nothing came over the connection"):
        lives(lasting_host, held)
    lasting_host.agent.call("stop_all")


def test_who_may_no_longer_is_cut_off(live: ThrowawayHost, backend: str) -> None:
    everybody = [OUTSIDE4, OUTSIDE6, NEIGHBOUR4]
    live.converge(words(backend, everybody))
    stays, by_other_port = connection(live, "outside", HOST4, 8080), connection(live, "neighbour", HOST4, 8081)
    goes, from_host = connection(live, "neighbour", HOST4, 8080), connection(live, "host", HOST4, 8080)
    assert {change[2] for change in kinds(live.converge(words(backend, [OUTSIDE4])))} == {"container web"}
    for held in (stays, by_other_port, from_host):
        assert lives(live, held)
    with pytest.raises(RuntimeError, match="nothing came over the connection"):
        lives(live, goes)
    live.converge(words(backend, everybody))
    assert live.probe("neighbour", f"{HOST4}:8080/tcp").is_open


def test_a_flow_of_datagrams_is_cut_off(live: ThrowawayHost, backend: str) -> None:
    live.converge(words(backend, [OUTSIDE4, NEIGHBOUR4], "udp"))
    for place in ("outside", "neighbour"):
        assert live.probe(place, f"{HOST4}:8080/udp", source_port=4242).is_open
    live.converge(words(backend, [OUTSIDE4], "udp"))
    assert live.probe("outside", f"{HOST4}:8080/udp", source_port=4242).is_open
    assert not live.probe("neighbour", f"{HOST4}:8080/udp", False, source_port=4242).is_open


def test_verification_expects_it(live: ThrowawayHost, backend: str) -> None:
    rule = {"source": "10.2.0.0/24", "published_port": 8081, "action": "drop"}
    live.converge({**words(backend, ["10.2.0.0/16"]), "docker_user": [rule]})
    live.agent.call("stop_all")
    found = verify(live)
    assert f"app > {HOST4}:8080/tcp" in rows(found, True)
    assert rows(found) == {}
    # Who may by IPv4 is not known to be one of the others.
    outside = {(probe["to"], probe["expected"]) for probe in found["outside_probes"] if probe["port"] == 8080}
    assert outside == {(HOST6, "closed"), (ADDRESSES["second"][1], "closed")}
