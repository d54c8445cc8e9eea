# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks on bridges that somebody else made: containers join them, and the bridge stays what it is."""

from __future__ import annotations

from typing import Any

import pytest
from hosts import ABSENT, BACKENDS, EXACT, EngineError, ThrowawayHost, differences
from test_verify import rows, verify

HOST_ADDRESS = "192.0.2.10"
ON_LAN = "10.5.0.1"

WORDS: dict[str, Any] = {
    "networks": {"lan": {"external": True, "enable_ipv6": True}, "app": {}},
    "containers": {
        "web": {"networks": ["lan"], "ports": ["8080:80"]},
        "peer": {"networks": ["lan"]},
        "db": {"networks": ["app"]},
    },
}


@pytest.fixture
def lan(host: ThrowawayHost) -> ThrowawayHost:
    """A host with a bridge of its admin, and a machine on it."""
    host.run(
        f"""
        ip link add br-lan type bridge; ip addr add {ON_LAN}/24 dev br-lan; ip addr add fd00:5::1/64 dev br-lan nodad
        ip netns add machine; ip link add tap0 type veth peer name eth0 netns machine
        ip link set tap0 master br-lan up; ip link set br-lan up
        """
    )
    host.run("ip link set lo up; ip link set eth0 up; ip addr add 10.5.0.50/24 dev eth0", "machine")
    host.run(f"ip route add default via {ON_LAN}; echo", "machine")
    return host


def link(host: ThrowawayHost, name: str) -> tuple[str, int]:
    found = host.json(f"ip -j link show {name}")[0]
    return found["address"], found["mtu"]


def addresses(host: ThrowawayHost, name: str) -> set[str]:
    found = host.json(f"ip -j addr show {name}")[0]["addr_info"]
    return {each["local"] for each in found if each["scope"] == "global"}


@pytest.mark.parametrize("host", BACKENDS[:2], indirect=True)
def test_containers_on_a_bridge_of_the_admin(lan: ThrowawayHost) -> None:
    before = link(lan, "br-lan")
    with lan.declared(WORDS):
        assert link(lan, "br-lan") == before
        web = lan.address("web", "lan")
        assert web.startswith("10.5.0.")
        for place in ("web", "peer", "db", "machine", "outside"):
            lan.serve(place, "80/tcp")
        for place, address in [
            ("outside", HOST_ADDRESS), ("outside", "[2001:db8::10]"), ("host", "127.0.0.1"), ("host", web),
            ("db", HOST_ADDRESS), ("web", HOST_ADDRESS), ("peer", HOST_ADDRESS), ("machine", ON_LAN),
        ]:  # fmt: skip
            port = 80 if address == web else 8080
            assert lan.probe(place, f"{address}:{port}/tcp").by == "web", (place, address)
        for place, target, by in [
            ("web", "192.0.2.1", "outside"), ("web", "10.5.0.50", "machine"), ("db", "10.5.0.50", "machine"),
            ("machine", web, "web"), ("peer", web, "web"), ("web", f"[{lan.address('peer', 'lan', 6)}]", "peer"),
        ]:  # fmt: skip
            assert lan.probe(place, f"{target}:80/tcp").by == by, (place, target)
        assert lan.probe("web", "192.0.2.1:80/tcp").sees == HOST_ADDRESS
        db = lan.address("db", "app")
        for place, address in [("db", web), ("web", db), ("machine", db), ("outside", web), ("neighbour", web)]:
            assert not lan.probe(place, f"{address}:80/tcp", False).is_open, (place, address)
        proved = verify(lan)
        assert rows(proved) == rows(proved, None) == {}
        # The host did not forward for them before.
        assert not lan.probe("machine", "192.0.2.1:80/tcp", False).is_open


def bridged_packets_pass_rules(host: ThrowawayHost, passing: bool) -> None:
    host.run(
        f"sysctl -qw net.bridge.bridge-nf-call-iptables={passing:d} net.bridge.bridge-nf-call-ip6tables={passing:d}"
    )


@pytest.mark.parametrize("host", BACKENDS[:2], indirect=True)
@pytest.mark.parametrize("passing", [False, True], ids=["bridge-nf 0", "bridge-nf 1"])
def test_containers_that_may_not_talk_to_each_other(lan: ThrowawayHost, passing: bool) -> None:
    bridged_packets_pass_rules(lan, passing)
    words = {
        **WORDS,
        "networks": {
            "lan": {
                "external": True,
                "enable_ipv6": True,
                "driver_opts": {"com.docker.network.bridge.enable_icc": "false"},
            },
            "app": {},
        },
    }
    with lan.declared(words):
        for place in ("web", "peer", "machine"):
            lan.serve(place, "80/tcp")
        web, peer = lan.address("web", "lan"), lan.address("peer", "lan")
        for place, target in (("peer", web), ("web", peer), ("peer", f"[{lan.address('web', 'lan', 6)}]")):
            assert not lan.probe(place, f"{target}:80/tcp", False).is_open, place
        for place in ("outside", "peer", "web", "db"):
            assert lan.probe(place, f"{HOST_ADDRESS}:8080/tcp").by == "web", place
        assert lan.probe("machine", f"{ON_LAN}:8080/tcp").by == "web"
        assert lan.probe("web", "10.5.0.50:80/tcp").by == "machine"
        proved = verify(lan)
        assert rows(proved) == rows(proved, None) == {}


@pytest.mark.parametrize("host", BACKENDS[:2], indirect=True)
@pytest.mark.parametrize("passing", [False, True], ids=["bridge-nf 0", "bridge-nf 1"])
def test_links_between_containers_that_may_not_talk_otherwise(lan: ThrowawayHost, passing: bool) -> None:
    bridged_packets_pass_rules(lan, passing)
    words = {
        "host": {"bridge": "br-lan", "icc": False},
        "containers": {"web": {"links": ["db"]}, "db": {"expose": ["80"]}, "other": {}},
    }
    with lan.declared(words):
        lan.serve("db", "80/tcp", "81/tcp")
        db = lan.address("db", "bridge")
        assert lan.probe("web", f"{db}:80/tcp").by == "db"
        assert not lan.probe("web", f"{db}:81/tcp", False).is_open
        assert not lan.probe("other", f"{db}:80/tcp", False).is_open
        proved = verify(lan)
        assert rows(proved) == rows(proved, None) == {}


# Below the smaller one the kernel has no IPv6, and the other is the largest that it has.
@pytest.mark.parametrize("mtu", [1280, 9000, 65535])
def test_a_bridge_without_ports_keeps_its_mac_mtu_and_addresses(host: ThrowawayHost, mtu: int) -> None:
    host.run(
        f"""
        ip link add br-lan mtu {mtu} type bridge; ip link set br-lan up
        ip addr add 10.5.0.1/24 dev br-lan; ip addr add fd00:5::1/64 dev br-lan nodad
        """
    )
    before = link(host, "br-lan"), addresses(host, "br-lan")
    assert before[1] == {"10.5.0.1", "fd00:5::1"}
    words = {"networks": {"lan": {"external": True}}, "containers": {"web": {"networks": ["lan"]}}}
    host.converge(words)
    assert (link(host, "br-lan"), addresses(host, "br-lan")) == before
    assert host.json("ip -j link show eth0", "web")[0]["mtu"] == mtu
    host.converge({}, ABSENT)
    assert (link(host, "br-lan"), addresses(host, "br-lan")) == before


def test_what_the_bridge_had_to_allow_is_given_back(lan: ThrowawayHost) -> None:
    parameter = "net.ipv4.conf.br-lan.route_localnet"
    lan.converge(WORDS)
    assert lan.sysctl(parameter) == "1"
    rest = {**WORDS, "containers": {"peer": WORDS["containers"]["peer"]}}
    assert ("forwarding", "delete", "sysctl", parameter) in lan.converge(rest, EXACT)
    assert lan.sysctl(parameter) == "0"
    lan.converge(WORDS)
    lan.run("ip link del br-lan")
    with pytest.raises(
        EngineError,
        match=r"wharf_networks\.lan\.external: there is no bridge lan or br-lan that is managed by a third party",
    ):
        lan.apply(WORDS)
    lan.converge({}, ABSENT)


def test_a_bridge_that_lends_its_addresses_to_the_default_network(lan: ThrowawayHost) -> None:
    words = {
        "host": {"bridge": "br-lan", "fixed-cidr": "10.5.0.128/25", "ipv6": True},
        "containers": {"web": {"ports": ["8080:80"]}},
    }
    with lan.declared(words):
        lan.serve("web", "80/tcp")
        assert lan.address("web", "bridge") == "10.5.0.128"
        assert lan.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        assert lan.probe("outside", "[2001:db8::10]:8080/tcp").by == "web"
        assert lan.probe("host", "127.0.0.1:8080/tcp").by == "web"
        assert "docker0" not in lan.run("ip -br link")


def test_the_bridge_by_which_the_host_reaches_the_outside(host: ThrowawayHost) -> None:
    host.run(
        f"""
        ip link add br0 type bridge; ip link set br0 up; ip addr flush dev eth0; ip link set eth0 master br0
        ip addr add {HOST_ADDRESS}/24 dev br0; ip route add default via 192.0.2.1
        """
    )
    range_of_ours = {"subnet": "192.0.2.0/24", "ip_range": "192.0.2.128/28"}
    words = {
        "networks": {"br0": {"external": True, "ipam": {"config": [range_of_ours]}}, "app": {}},
        "containers": {
            "web": {"networks": ["br0"], "ports": ["8080:80"]},
            "db": {"networks": ["app"], "ports": ["8081:80"]},
        },
    }
    with host.declared(words):
        assert host.address("web", "br0") == "192.0.2.128"
        for place in ("web", "db", "outside"):
            host.serve(place, "80/tcp")
        assert host.probe("outside", "192.0.2.128:80/tcp").by == "web"
        # Somebody from afar, to whom the way back is by another host of the same link.
        host.run(f"ip route add {HOST_ADDRESS} dev eth0 src 203.0.113.1", "outside")
        for port, name in [(8080, "web"), (8081, "db")]:
            assert host.probe("outside", f"{HOST_ADDRESS}:{port}/tcp").by == name
            assert host.probe(name, "203.0.113.1:80/tcp").by == "outside"
            held = host.agent.call("hold", place=host.path("outside"), address=HOST_ADDRESS, port=port)
            for number in range(3):
                assert host.agent.call("say", held=held, text=f"{number}?\n", timeout=2.0) == f"{number}?"
        assert not host.probe("db", "192.0.2.128:80/tcp", False).is_open
        proved = verify(host)
        assert rows(proved) == rows(proved, None) == {}
        assert not host.probe("outside", f"{host.address('db', 'app')}:80/tcp", False).is_open


def test_before_anything_is_touched(lan: ThrowawayHost) -> None:
    before = lan.snapshot()
    words = {
        "host": {"bridge": "eth0"},
        "networks": {
            "gone": {"external": True},
            "machine": {"external": True, "driver_opts": {"com.docker.network.bridge.name": "tap0"}},
        },
    }
    with pytest.raises(EngineError) as refused:
        lan.apply(words)
    assert [line.partition(": ")[0] for line in str(refused.value).splitlines()] == [
        "wharf_host.bridge", "wharf_networks.gone.external", "wharf_networks.machine.external",
    ]  # fmt: skip
    assert differences(before, lan.snapshot()) == ""


@pytest.mark.parametrize("given", [None, WORDS])
def test_a_lost_ledger_leaves_no_way_to_the_hosts_loopback(lan: ThrowawayHost, given: Any) -> None:
    """What the bridge had of `route_localnet` is not known any more: it is given back what the kernel gives to all."""
    lan.converge(WORDS)
    assert lan.sysctl("net.ipv4.conf.br-lan.route_localnet") == "1"
    lan.run("rm -r /var/lib/wharf")
    if given:
        lan.engine(["apply", "-", "--recover"], given)
        assert lan.apply(given).changes == []
        lan.converge({}, ABSENT)
    else:
        lan.engine(["apply", "--recover", "--state", ABSENT])
    assert lan.sysctl("net.ipv4.conf.br-lan.route_localnet") == "0"
