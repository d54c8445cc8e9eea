# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports that all hosts of an overlay network publish: who reaches them by which host, and as whom."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from host_state import host_state
from hosts import ENGINE, LEDGER, EngineError
from several_hosts import (
    STRANGER,
    STRANGER_NUMBER,
    SUBNETS,
    UNDERLAY,
    SeveralHosts,
    address,
    container_address,
    declare,
    open_to,
)
from test_overlay import arrives, mac_of, vxlan
from test_overlay_changes import VERIFY

BACKENDS = ["nftables", "iptables"]


def declared(hosts: SeveralHosts, *ports: dict[str, Any], owner: int = 2, **more: Any) -> dict[str, Any]:
    """The words of all hosts, with these ports of the owner's container, which all hosts publish."""
    words = declare(hosts, **more)
    mine = [{"x-wharf": {"ingress": True, **each.pop("x-wharf", {})}, **each} for each in map(dict, ports)]
    ingress = {f"{each['published']}/{each.get('protocol', 'tcp')}": f"c{owner}" for each in ports}
    words[f"h{owner}"]["containers"][f"c{owner}"] = {"networks": ["app"], "ports": mine}
    for each in words.values():
        members = each["networks"]["app"]["x-wharf"]["members"]
        members[f"h{owner}"] = {**members[f"h{owner}"], "ingress": ingress}
    return words


WEB = {"target": 80, "published": 8080}
DNS = {"target": 53, "published": 5353, "protocol": "udp"}


@pytest.fixture(scope="module", params=BACKENDS)
def hosts(request: pytest.FixtureRequest) -> Iterator[SeveralHosts]:
    with SeveralHosts.started(3, backend=request.param) as started, ExitStack() as stack:
        for name, words in declared(started, WEB, DNS).items():
            stack.enter_context(started[name].declared(words))
        yield started


@pytest.fixture(autouse=True)
def served(hosts: SeveralHosts) -> Iterator[None]:
    hosts["h2"].serve("c2", "80/tcp", "53/udp")
    yield
    hosts["h2"].agent.call("stop_all")


def test_each_host_leads_to_the_container_which_sees_the_client(hosts: SeveralHosts) -> None:
    for number in (1, 2, 3):
        for version in (4, 6):
            for port in ("8080/tcp", "5353/udp"):
                target = f"[{address(number, version)}]:{port}"
                answer = hosts.first.probe(STRANGER, target)
                assert answer.by == "c2", (target, str(answer))
                assert address(STRANGER_NUMBER, version) in answer.sees, (target, str(answer))


def test_the_client_may_be_a_neighbour_of_both(hosts: SeveralHosts) -> None:
    """The owner has another one with the same address on its own LAN, and sends the replies back by the entry host."""
    answer = hosts["h1"].probe("neighbour", "192.0.2.10:8080/tcp")
    assert answer.by == "c2" and "192.0.2.66" in answer.sees, str(answer)


def test_hosts_and_their_containers_ask_by_their_own_host(hosts: SeveralHosts) -> None:
    """By the loopback, too. A container of the network is seen as itself; one of another network as its host."""
    for place, target, seen in (
        ("host", "127.0.0.1:8080/tcp", "10.20.1.0"),
        ("host", f"{address(1)}:8080/tcp", address(1)),
        ("host", f"[{address(1, 6)}]:8080/tcp", address(1, 6)),
        ("c1", f"{address(1)}:8080/tcp", "10.20.1.2"),
        ("o1", f"{address(1)}:8080/tcp", "10.20.1.0"),
    ):
        answer = hosts["h1"].probe(place, target)
        assert answer.by == "c2" and seen in answer.sees, (place, target, str(answer))


def test_nothing_else_is_open(hosts: SeveralHosts) -> None:
    """Neither the gateway's port past the entry host, nor another port, nor the container's own address."""
    host = hosts["h1"]
    hosts["h2"].serve("host", "8022/tcp")
    for each in SUBNETS:
        host.run(f"ip route replace {each} via {address(1, 6 if ':' in each else 4)}", STRANGER)
    for target in ("10.20.2.1:8080", "10.20.2.1:8022", "10.20.2.2:80", f"{address(1)}:8022", "[fd00:20:0:2::1]:8080"):
        assert not open_to(host, STRANGER, f"{target}/tcp", False), target
    mac = mac_of(hosts, "h2")
    for source in ("10.20.2.9", "192.0.2.1", "8.8.8.8", "127.0.0.1"):
        assert not arrives(hosts, "host", vxlan(mac, source, container_address(2))), source
    assert arrives(hosts, "host", vxlan(mac, "10.20.1.9", container_address(2)))


def test_a_client_cannot_say_that_it_is_a_container(hosts: SeveralHosts) -> None:
    """Of this host or of another one, on whichever network."""
    for source in ("198.18.0.77", "10.20.2.9", "10.20.3.2", "10.20.1.2"):
        text = f"from {source} by {hosts['h1'].backend}"
        destination = {"destination": address(1), "port": 5353}
        hosts.first.agent.call(
            "send_spoofed", place=hosts.first.path(STRANGER), source=source, text=text, **destination
        )
        hosts["h2"].run("sleep 0.2")
        came = [each for each in hosts["h2"].agent.call("heard") if each.endswith(text)]
        assert came == ([f"c2 {source} {text}"] if source == "198.18.0.77" else []), source


def test_rules_of_the_admin_decide_on_their_own_host(hosts: SeveralHosts) -> None:
    """Those of the entry host by the port that the client asked for."""
    words = declared(hosts, WEB, DNS)["h1"]
    hosts["h1"].converge({**words, "docker_user": [{"published_port": 8080, "protocol": "tcp", "action": "drop"}]})
    for number, is_open in ((1, False), (3, True)):
        for version in (4, 6):
            target = f"[{address(number, version)}]:8080/tcp"
            assert open_to(hosts["h1"], STRANGER, target, is_open) == is_open, target
    assert hosts["h1"].probe(STRANGER, f"{address(1)}:5353/udp").by == "c2"
    hosts["h1"].converge({**words, "docker_user": []})


def test_verify_asks_the_other_hosts(hosts: SeveralHosts) -> None:
    """Whether anything listens there or not; it fails where this host does not lead to them."""
    ways = ("host -> 127.0.0.1:{0}", "c1 -> 192.0.2.10:{0}", "c1 -> [2001:db8::10]:{0}")
    asked = [way.format(port) for way in ways for port in ("8080/tcp", "5353/udp")]

    def rows() -> dict[str, str]:
        report = hosts["h1"].run(shlex.join([*ENGINE, "-c", VERIFY])).splitlines()
        found = (line.split(maxsplit=1) for line in report if "of c2 on host h2, published here" in line)
        return {re.split(r"  +", rest)[0]: mark for mark, rest in found}

    assert rows() == dict.fromkeys(asked, "✓")
    hosts["h2"].agent.call("stop_all")
    assert rows() == dict.fromkeys(asked, "✓")
    # The owner may refuse it by its own rules, and the container may begin with another TTL.
    hosts["h2"].run(
        "nft 'add table inet admin; add chain inet admin f { type filter hook forward priority -5; }; "
        "add rule inet admin f meta l4proto tcp reject with tcp reset'; "
        "ip netns exec c2 sysctl -qw net.ipv4.ip_default_ttl=128 net.ipv6.conf.eth0.hop_limit=128"
    )
    assert rows() == dict.fromkeys(asked, "✓")
    hosts["h2"].run("nft flush chain inet admin f; nft add rule inet admin f meta l4proto '{tcp, udp}' reject")
    assert rows() == dict.fromkeys(asked, "✓")
    hosts["h2"].run(
        "nft delete table inet admin; "
        "ip netns exec c2 sysctl -qw net.ipv4.ip_default_ttl=64 net.ipv6.conf.eth0.hop_limit=64"
    )
    hosts.first.run("ip link set h2 down", UNDERLAY)
    assert set(rows().values()) == {"?"}
    hosts.first.run("ip link set h2 up", UNDERLAY)
    empty = "nft flush map inet wharf published4" if hosts["h1"].backend == "nftables" else "iptables -t nat -F DOCKER"
    hosts["h1"].run(empty)
    found = rows()
    assert found["host -> 127.0.0.1:8080/tcp"] == found["c1 -> 192.0.2.10:8080/tcp"] == "✗"
    assert found["c1 -> [2001:db8::10]:8080/tcp"] == "✓"
    hosts["h1"].converge(declared(hosts, WEB, DNS)["h1"])


def test_who_may_reach_it_is_decided_by_the_client(hosts: SeveralHosts) -> None:
    """On whichever host it asks. Hosts other than the owner do not know of it."""
    restricted = {**WEB, "x-wharf": {"allow_from": [address(STRANGER_NUMBER), address(STRANGER_NUMBER, 6)]}}
    words = declared(hosts, restricted, DNS)
    assert hosts["h1"].converge(words["h1"]) == []
    hosts["h2"].converge(words["h2"])
    for number in (1, 2, 3):
        for version in (4, 6):
            assert open_to(hosts.first, STRANGER, f"[{address(number, version)}]:8080/tcp")
        assert not open_to(hosts[f"h{number}"], "neighbour", "192.0.2.10:8080/tcp", False)
        assert open_to(hosts[f"h{number}"], "neighbour", "192.0.2.10:5353/udp")
    hosts["h2"].converge(declared(hosts, WEB, DNS)["h2"])


def test_strict_checks_of_sources(hosts: SeveralHosts) -> None:
    for name in ("h1", "h2"):
        hosts[name].run("sysctl -qw net.ipv4.conf.all.rp_filter=1")
    assert open_to(hosts.first, STRANGER, f"{address(1)}:8080/tcp")
    assert open_to(hosts["h1"], "host", "127.0.0.1:8080/tcp")
    for name in ("h1", "h2"):
        hosts[name].run("sysctl -qw net.ipv4.conf.all.rp_filter=0")


def test_other_bits_of_marks_stay(hosts: SeveralHosts) -> None:
    """Of the connection, and of each packet."""
    owner = hosts["h2"]
    owner.run(
        "nft add table inet admin; nft add chain inet admin p '{ type filter hook prerouting priority -160; }'; "
        "nft add rule inet admin p tcp dport 8080 ct state new ct mark set 0x5; "
        "nft add rule inet admin p iifname br-app meta mark set 0x7; "
        "nft add chain inet admin f '{ type filter hook forward priority 5; }'; "
        "nft 'add rule inet admin f iifname br-app oifname vx-app meta mark & 0xfffff == 0x7 counter'"
    )
    is_open = open_to(hosts.first, STRANGER, f"{address(3)}:8080/tcp")
    counted = owner.run("nft list chain inet admin f; nft delete table inet admin")
    assert is_open and "packets 0 " not in counted, counted
    marks = {int(mark) & 0xFFFFF for mark in re.findall(r"dport=8080 .*mark=(\d+)", owner.run("conntrack -L 2>&1"))}
    assert 5 in marks, marks


def test_marks_that_the_host_goes_by(hosts: SeveralHosts) -> None:
    owner, words = hosts["h2"], declared(hosts, WEB, DNS)["h2"]
    owner.run("ip rule add fwmark 0x1000000 lookup main")
    with pytest.raises(EngineError, match="a rule of this host goes by the mark 0x1000000/0xffffffff, and x-wharf.ing"):
        owner.apply(words)
    owner.run("ip rule del fwmark 0x1000000 lookup main; ip rule add fwmark 0x100 lookup main")
    assert owner.converge(words) == []
    owner.run("ip rule del fwmark 0x100 lookup main")


def test_what_an_admin_breaks_is_mended(hosts: SeveralHosts) -> None:
    owner, words = hosts["h2"], declared(hosts, WEB, DNS)["h2"]
    rule = f"ipv4 11901: iif br-app fwmark {1 << 20:#x}/0xfff00000 lookup 119001"
    for broken, mended in {
        "ip rule del pref 11901 fwmark 0x100000/0xfff00000": ("create", "routing_rule", rule),
        "ip route flush table 119001": ("update", "tunnel", "vx-app"),
        "ip addr flush dev vx-app scope global": ("update", "tunnel", "vx-app"),
        "ip link set vx-app down": ("update", "tunnel", "vx-app"),
    }.items():
        owner.run(broken)
        assert [each[1:4] for each in owner.converge(words)] == [mended], broken
        assert open_to(hosts.first, STRANGER, f"{address(1)}:8080/tcp"), broken


def test_a_container_moves_to_another_host(hosts: SeveralHosts) -> None:
    """Then a new host publishes it, and one that has left does not."""
    for name, words in declared(hosts, WEB, owner=3).items():
        hosts[name].converge(words)
    hosts["h3"].serve("c3", "80/tcp")
    for number in (1, 2, 3):
        assert hosts.first.probe(STRANGER, f"{address(number)}:8080/tcp").by == "c3"
        assert not open_to(hosts.first, STRANGER, f"{address(number)}:5353/udp", False)
    hosts["h3"].agent.call("stop_all")
    for name, words in declared(hosts, WEB, DNS).items():
        hosts[name].converge(words)
    assert "119" not in hosts["h3"].run("ip rule")
    assert hosts.first.probe(STRANGER, f"{address(3)}:8080/tcp").by == "c2"


def test_numbers_stay_as_hosts_come_and_go(hosts: SeveralHosts) -> None:
    """Connections are marked by them."""
    owner, words = hosts["h2"], declared(hosts, WEB, DNS)["h2"]
    members = words["networks"]["app"]["x-wharf"]["members"]
    members["a9"] = {"address": address(9), "index": 9}
    owner.converge(words)
    assert "default via 10.20.1.0" in owner.run("ip route show table 119001")
    assert "default via 10.20.9.0" in owner.run("ip route show table 119003")
    owner.converge(declared(hosts, WEB, DNS)["h2"])
    assert "119003" not in owner.run("ip rule")


def test_a_port_that_is_taken_is_reported_with_both_places(hosts: SeveralHosts) -> None:
    host, words = hosts["h1"], declared(hosts, WEB, DNS)["h1"]
    words["containers"]["c1"] = {"networks": ["app"], "ports": ["8080:80"]}
    taken = (
        r"containers\.c1\.ports\[0\]: port 8080/tcp is taken by c2 on host h2, which all hosts of network app publish"
    )
    with pytest.raises(EngineError, match=taken):
        host.apply(words)
    hosts["h3"].serve("host", "8443/tcp")
    words = declared(hosts, WEB, DNS, {"target": 443, "published": 8443})["h3"]
    listening = r"networks\.app\.x-wharf\.members\.h2\.ingress: port 8443/tcp of all hosts is to lead to c2 on h2"
    with pytest.raises(EngineError, match=f"{listening}, and here it is taken by a process of the host"):
        hosts["h3"].apply(words)
    hosts["h3"].agent.call("stop_all")


def test_a_lost_ledger_is_recovered(hosts: SeveralHosts) -> None:
    for name in ("h1", "h2"):
        host, words = hosts[name], declared(hosts, WEB, DNS)[name]
        words["host"] = {"firewall-backend": host.backend}
        before = {key: value for key, value in host_state(host).items() if key != LEDGER}
        host.run("rm /var/lib/wharf/ledger.json")
        host.engine(["apply", "-", "--recover"], words)
        after = {key: value for key, value in host_state(host).items() if key != LEDGER}
        assert before == after
