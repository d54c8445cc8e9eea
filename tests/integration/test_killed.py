# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is killed, before each thing in turn that it does to the host: the next run finishes what it began."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from host_state import assert_same, host_state
from hosts import ABSENT, ADDRESSES, BACKENDS, EXACT, ThrowawayHost

# Before this many deaths something must have gone wrong with the counting.
TOO_MANY = 500

FOREIGN = """
ip link add br-admin type bridge; ip link set br-admin up
nft add table inet admin
ip netns add admin
echo net.ipv4.conf.all.log_martians=1 > /etc/sysctl.d/50-admin.conf
sysctl -qw net.ipv6.conf.eth0.accept_ra=1 net.ipv4.conf.eth0.accept_redirects=1
"""


def words(networks: Any, containers: Any) -> Any:
    """Without the default bridge, which is made as others are."""
    return {"host": {"bridge": "none"}, "networks": networks, "containers": containers}


# To start and to end a resolver takes time, and one in each declaration is enough.
_NAMELESS = {"x-wharf": {"dns": False}}

ONE = words(
    {"front": {"enable_ipv6": True}},
    {"web": {"networks": ["front"], "ports": ["8080:80"]}, "side": {"network_mode": "service:web"}},
)
TWO = words(
    {"front": {"enable_ipv6": True}, "old": _NAMELESS},
    {
        "web": {"networks": ["front"], "ports": ["8080:80"]},
        "app": {"networks": ["old"], "hostname": "old"},
        "side": {"network_mode": "service:web"},
    },
)
# Of everything that a declaration can change, one: a port, an MTU, a network, a container's network, mode and names.
THREE = words(
    {"front": {"driver_opts": {"com.docker.network.driver.mtu": "1400"}}, "new": _NAMELESS},
    {
        "web": {"networks": ["front"], "ports": ["8081:80"]},
        "app": {"networks": ["new"], "hostname": "new"},
        "side": {"network_mode": "host", "extra_hosts": ["db:192.0.2.9"]},
    },
)
# What there is of each kind of rules, and little else: the rest is done by all backends alike.
PUBLISHED = words({"front": {"enable_ipv6": True, **_NAMELESS}}, {"web": {"networks": ["front"], "ports": ["8080:80"]}})


def overlay(vni: int, **more: Any) -> Any:
    """A network over several hosts, of which only this one is there; without names, which others have, too."""
    hosts = {"h1": {"address": ADDRESSES["host"][0], "index": 1}, "h2": {"address": "192.0.2.12", "index": 2}}
    network = {
        "driver": "overlay",
        "enable_ipv6": True,
        "driver_opts": {"com.docker.network.driver.overlay.vxlanid_list": vni},
        "ipam": {"config": [{"subnet": "10.20.0.0/16"}, {"subnet": "fd00:20::/48"}]},
        "x-wharf": {**_NAMELESS["x-wharf"], "host": "h1", "members": {**hosts, **more}},
    }
    return words({"app": network}, {})


# Another identifier, for which the tunnel is made anew; a host more, and one at another address with another slice.
SPANNING = overlay(4097, h3={"address": "192.0.2.13", "index": 3})
SPANNING_OTHERS = overlay(4098, h3={"address": "192.0.2.14", "index": 4}, h4={"address": "192.0.2.15", "index": 5})


@pytest.fixture(scope="module")
def lasting_host() -> Iterator[ThrowawayHost]:
    with started(BACKENDS[0]) as host:
        yield host


@contextmanager
def started(backend: str) -> Iterator[ThrowawayHost]:
    """A host with foreign things on it, on which something once was: what lasts of that is no difference."""
    with ThrowawayHost.started(backend=backend) as host:
        host.run(FOREIGN)
        host.apply(ONE)
        host.apply({}, ABSENT)
        yield host


@pytest.fixture
def host(lasting_host: ThrowawayHost) -> Iterator[ThrowawayHost]:
    before = lasting_host.snapshot()
    yield lasting_host
    assert_same(before, lasting_host.snapshot, "than before")


def deaths(
    host: ThrowawayHost, *runs: tuple[Any, str], finish: Callable[[tuple[Any, str]], tuple[Any, str]] = lambda run: run
) -> None:
    """Kill each of the runs in turn at the first thing it does, finish it by another, then at the second, and so on.

    The state of the host must then be that after the same runs without any death.
    """
    left = []
    # The first time around the ledger learns what it then keeps.
    for run in [*runs, *runs]:
        host.apply(*finish(run))
        left.append(host_state(host))
    cases = [*zip(runs, left[len(runs) :], strict=True)]
    alive: set[int] = set()
    for fatal in range(1, TOO_MANY):
        for number, (run, expected) in enumerate(cases):
            if number in alive:
                host.apply(*finish(run))
                continue
            if not host.is_killed(fatal, *run):
                alive.add(number)
            host.apply(*finish(run))
            assert_same(expected, lambda: host_state(host), f"after death {fatal}")
        if len(alive) == len(cases):
            break
    assert 20 < fatal < TOO_MANY - 1


def test_building_and_taking_away(host: ThrowawayHost) -> None:
    deaths(host, (ONE, EXACT), ({}, ABSENT))


def test_building_and_taking_away_beside_a_third_partys_namespace(host: ThrowawayHost) -> None:
    """Its files are in a folder that is made for them."""
    host.run("ip netns add theirs; ip -n theirs link set lo up")
    theirs = {"network_mode": "none", "x-wharf": {"sandbox": "path:/run/netns/theirs"}}
    deaths(host, (words({}, {"theirs": theirs}), EXACT), ({}, ABSENT))
    host.run("ip netns del theirs")


def test_building_and_taking_away_by_iptables() -> None:
    with started("iptables") as host:
        host.run("iptables -N ADMIN; iptables -A FORWARD -s 192.0.2.66 -j ADMIN; ip6tables -A INPUT -p udp -j DROP")
        before = host.snapshot()
        deaths(host, (PUBLISHED, EXACT), ({}, ABSENT))
        assert_same(before, host.snapshot, "than before")


def test_changing(host: ThrowawayHost) -> None:
    host.apply(TWO)
    deaths(host, (THREE, EXACT), (TWO, EXACT))
    host.apply({}, ABSENT)


def test_building_and_then_taking_away_what_was_not_finished(host: ThrowawayHost) -> None:
    deaths(host, (PUBLISHED, EXACT), finish=lambda _run: ({}, ABSENT))


def test_a_network_over_several_hosts(host: ThrowawayHost) -> None:
    host.apply(SPANNING)
    deaths(host, (SPANNING_OTHERS, EXACT), (SPANNING, EXACT))
    host.apply({}, ABSENT)


def test_a_resolver_whose_files_a_killed_run_has_removed(host: ThrowawayHost) -> None:
    """It gives the address up to that of the network which takes the place of its own."""
    bridge = {"driver_opts": {"com.docker.network.bridge.name": "br-other"}}
    former = words({"front": bridge}, {"web": {"networks": ["front"]}})
    latter = words({"other": {}}, {"web": {"networks": ["other"]}})
    host.apply(former, EXACT)
    host.run("rm /run/wharf/dnsmasq/front.* /run/wharf/running/front.*")
    assert host.apply(latter, EXACT).changes
    assert host.apply(latter, EXACT).changes == []
    assert len(host.agent.call("daemons")) == 1
    host.apply({}, ABSENT)


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_flows_that_a_killed_run_has_not_forgotten(backend: str) -> None:
    """Of a sender that may no longer come, to a port that leads elsewhere, and to one that is withdrawn."""
    sources = [ADDRESSES[place][0] for place in ("outside", "neighbour")]
    at = ADDRESSES["host"][0]

    def publishing(allowed: list[str], *ports: str) -> Any:
        narrow = {"target": 80, "published": 8080, "protocol": "udp", "x-wharf": {"allow_from": allowed}}
        return words({"front": _NAMELESS}, {"web": {"networks": ["front"], "ports": [narrow, *ports]}})

    def answers(expect_open: bool) -> list[str]:
        """From the same ports each time, as who goes on to send."""
        ways = [("neighbour", 8080, expect_open), ("outside", 8081, True), ("outside", 8082, expect_open)]
        return [host.probe(place, f"{at}:{port}/udp", is_open, 4242).by for place, port, is_open in ways]

    with ThrowawayHost.started(backend=backend) as host:
        before = publishing(sources, "8081:81/udp", "8082:80/udp")
        after = publishing(sources[:1], "8081:82/udp")
        host.apply(before)
        for port in (80, 81, 82):
            host.serve("web", f"{port}/udp", name=f"to-{port}")
        for fatal in range(1, TOO_MANY):
            host.apply(before, EXACT)
            assert answers(True) == ["to-80", "to-81", "to-80"]
            is_killed = host.is_killed(fatal, after, EXACT)
            host.apply(after, EXACT)
            assert answers(False) == ["", "to-82", ""], f"after death {fatal}"
            if not is_killed:
                break
        assert 10 < fatal < TOO_MANY - 1
