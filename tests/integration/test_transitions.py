# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between any two things that a run does to the kernel, nothing is closed that stays, and nothing is open that is not.

The run is stopped at each of them, and everything that must hold before and after is asked then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hosts import ABSENT, BACKENDS, EXACT, ThrowawayHost
from test_backends import Oracle, on, step_by_step
from test_lifecycle import HOST_ADDRESS, changed, connection, lives

_FRONT = {"enable_ipv6": True, "ipam": {"config": [{"subnet": "10.71.0.0/24"}, {"subnet": "fd71::/64"}]}}
_NO_ICC = {"com.docker.network.bridge.enable_icc": "false"}


def _network(number: int, **words: Any) -> Any:
    return {"ipam": {"config": [{"subnet": f"10.{number}.0.0/24"}]}, **words}


BEFORE: dict[str, Any] = {
    "networks": {
        "front": _FRONT,
        "back": _network(72),
        "vault": _network(73, internal=True),
        "apart": _network(74, driver_opts=_NO_ICC),
    },
    "containers": {
        "web": {"networks": {"front": {"ipv4_address": "10.71.0.5"}}, "ports": ["8080:80", "8080:80/udp", "8082:81"]},
        "app": {"networks": ["front"], "ports": ["8083:80"]},
        "db": {"networks": {"back": {"ipv4_address": "10.72.0.5"}}, "ports": ["8081:80"]},
        "safe": {"networks": {"vault": {"ipv4_address": "10.73.0.5"}}},
        "one": {"networks": {"apart": {"ipv4_address": "10.74.0.5"}}},
        "two": {"networks": {"apart": {"ipv4_address": "10.74.0.6"}}},
    },
}

# One network and its container go, others come; a port moves, one goes and one comes; an MTU changes.
AFTER: dict[str, Any] = {
    "networks": {
        "front": {**_FRONT, "driver_opts": {"com.docker.network.driver.mtu": "1400"}},
        "late": _network(75),
        "vault": BEFORE["networks"]["vault"],
        "apart": BEFORE["networks"]["apart"],
    },
    "containers": {
        **{name: BEFORE["containers"][name] for name in ("safe", "one", "two")},
        "web": {**BEFORE["containers"]["web"], "ports": ["8080:80", "8080:80/udp", "8084:81"]},
        "app": {"networks": ["front"], "ports": ["8082:80"]},
        "lab": {"networks": {"late": {"ipv4_address": "10.75.0.5"}}, "ports": ["8081:80"]},
        "safe2": {"networks": ["vault"]},
    },
}

OPEN = [
    ("outside", "192.0.2.10:8080/tcp"),
    ("outside", "[2001:db8::10]:8080/tcp"),
    ("outside", "192.0.2.10:8080/udp"),
    ("host", "127.0.0.1:8080/tcp"),
    ("app", "192.0.2.10:8080/tcp"),
    ("app", "10.71.0.5:80/tcp"),
    ("app", "203.0.113.1:80/tcp"),
    ("host", "10.73.0.5:80/tcp"),
]

# From places that stand all the time, to addresses whether anybody has them or not.
CLOSED_TO_OUTSIDE = [
    *(("outside", f"10.{number}.0.5:{port}/tcp") for number in range(71, 76) for port in (80, 81)),
    ("outside", "[fd71::2]:80/tcp"),
    ("outside", "192.0.2.10:7000/tcp"),
    ("neighbour", "203.0.113.1:80/tcp"),
]
CLOSED = [
    *CLOSED_TO_OUTSIDE,
    *(("web", f"10.{number}.0.5:80/tcp") for number in range(72, 76)),
    *(("safe", f"{address}:80/tcp") for address in ("10.71.0.5", "10.75.0.5", "203.0.113.1", HOST_ADDRESS)),
    ("one", "10.74.0.6:80/tcp"),
    ("one", "10.71.0.5:80/tcp"),
]


@pytest.fixture(params=BACKENDS[:2])
def host(request: pytest.FixtureRequest) -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as started:
        started.backend = request.param
        started.run("ip route replace 203.0.113.1 via 192.0.2.10", "neighbour")
        started.serve("outside", "80/tcp", "80/udp")
        started.serve("host", "127.0.0.1:7000/tcp")
        yield started


_NAMED_STACKS = """
cd /run/netns; for each in $(ls); do [ "$(stat -fc %T "$each")" != nsfs ] || echo "$each"; done
"""


class Serving:
    """Has every container serve as soon as it is there, so that what should be closed would be answered."""

    def __init__(self, host: ThrowawayHost) -> None:
        self._host = host
        self._names: set[str] = set()

    def __call__(self) -> None:
        for name in set(self._host.run(_NAMED_STACKS).split()) - self._names:
            self._host.serve(name, "80/tcp", "80/udp", "81/tcp")
            self._names.add(name)


def test_a_change_of_many_things(host: ThrowawayHost) -> None:
    for first, then in [(BEFORE, AFTER), (AFTER, BEFORE)]:
        host.apply(first, EXACT)
        serving = Serving(host)
        serving()
        held = connection(host, "outside", HOST_ADDRESS, 8080), connection(host, "app", "203.0.113.1", 80)
        oracle = Oracle(host, OPEN, CLOSED)

        def look(step: str, serving: Serving = serving, oracle: Oracle = oracle, held: tuple[int, ...] = held) -> None:
            serving()
            assert oracle.wrong() == [], step
            assert all(lives(host, each) for each in held), step

        assert len(step_by_step(host, on(host.backend, then), look)) > 20
        host.agent.call("stop_all")
        host.serve("outside", "80/tcp", "80/udp")


def test_everything_comes_and_everything_goes(host: ThrowawayHost) -> None:
    serving = Serving(host)
    oracle = Oracle(host, [], CLOSED_TO_OUTSIDE)

    def look(step: str) -> None:
        serving()
        assert oracle.wrong() == [], step

    assert len(step_by_step(host, on(host.backend, BEFORE), look)) > 50
    for place, target in OPEN:
        assert host.probe(place, target).is_open, target
    assert len(step_by_step(host, {}, look, ABSENT)) > 20


def test_the_oracle_sees(host: ThrowawayHost) -> None:
    """A closed path that is open at one step, and one that must be open and is closed."""
    host.apply(changed(lambda words: words["networks"]["apart"].pop("driver_opts"), BEFORE))
    Serving(host)()
    assert Oracle(host, OPEN, CLOSED).wrong() == ["one > 10.74.0.6:80/tcp: two, seeing 10.74.0.5"]
    host.run("ip link set br-front down")
    assert len(Oracle(host, OPEN, []).wrong()) > 5
