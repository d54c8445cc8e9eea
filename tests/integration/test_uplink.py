# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges with an uplink, whose containers are on the LAN: who reaches whom, and what becomes of the link."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from host_state import assert_same, host_state
from hosts import ABSENT, ADDRESSES, EXACT, ThrowawayHost
from test_explain import explained
from test_follow import following, heard
from test_killed import deaths
from test_macvlan import OF_LAN, bracketed, ends, given_back, index, lan, question, refused, spare
from test_verify import rows, verify

HOST, NEIGHBOUR, INTERNET = ADDRESSES["host"], ADDRESSES["neighbour"], ADDRESSES["internet"]
ICC = "com.docker.network.bridge.enable_icc"
CHANGES = {
    "spare": [("create", "uplink", "spare")],
    "second": [("delete", "uplink", "spare"), ("create", "uplink", "second")],
    "": [("delete", "uplink", "second")],
}
SECOND = "ip link add second type veth peer name to-second; ip link set second up"


def uplinked(*containers: str, uplink: str = "spare", **words: Any) -> dict[str, Any]:
    """Containers on a network `lan`, whose bridge has an uplink, and no default network."""
    return {
        "host": {"bridge": "none"},
        "networks": {"lan": {"x-wharf": {"uplink": uplink}, **OF_LAN, **words}},
        "containers": {name: {"networks": ["lan"]} for name in containers},
    }


def link(host: ThrowawayHost, name: str = "spare") -> dict[str, Any]:
    """What the host's own configuration says of a link."""
    (found,) = host.json(f"ip -j link show {name}")
    return {key: found.get(key) for key in ("ifindex", "mtu", "address", "master", "operstate", "flags")}


RECEIVE = """
import socket
received = socket.socket(type=socket.SOCK_DGRAM)
received.bind(("", 9999))
received.settimeout(2)
print("ready", flush=True)
try:
    print(received.recv(99).decode())
except TimeoutError:
    print("nothing")
"""
SEND = """python3 -c 'import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b"forged", ("10.20.1.2", 9999))'"""


@pytest.mark.parametrize("backend", ["nftables", "iptables-nft"])
def test_nobody_on_the_lan_passes_for_a_host_of_an_overlay(backend: str) -> None:
    """By the bridge's MAC a packet comes to the host, which checks no sources by default."""
    with ThrowawayHost.started(backend=backend) as host:
        spare(host)
        words = uplinked("web")
        members = {"h1": {"address": HOST[0], "index": 1}, "h2": {"address": "192.0.2.30", "index": 2}}
        words["networks"]["app"] = {
            "driver": "overlay",
            "ipam": {"config": [{"subnet": "10.20.0.0/16"}]},
            "x-wharf": {"host": "h1", "direct": True, "members": members},
        }
        words["containers"]["app"] = {"networks": {"app": {"ipv4_address": "10.20.1.2"}}}
        with host.declared(words):
            mac = host.json("ip -j link show br-lan")[0]["address"]
            host.run("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.br-lan.rp_filter=0")
            host.run(
                "ip addr add 10.20.2.2/32 dev eth0; ip neigh replace 192.0.2.99 lladdr "
                f"{mac} dev eth0; ip route add 10.20.1.2 via 192.0.2.99 dev eth0 onlink src 10.20.2.2",
                "neighbour",
            )
            command = [*host.enter("app"), sys.executable, "-c", RECEIVE]
            receiver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert receiver.stdout
            assert receiver.stdout.readline() == "ready\n"
            host.run(SEND, "neighbour")
            assert receiver.communicate()[0] == "nothing\n"
            host.run(
                "ip route del 10.20.1.2; ip neigh del 192.0.2.99 dev eth0; ip addr del 10.20.2.2/32 dev eth0",
                "neighbour",
            )


@pytest.mark.parametrize(
    ("backend", "icc", "bridge_nf"),
    [("nftables", "true", 0), ("nftables", "true", 1), ("nftables", "false", 1), ("iptables-nft", "true", 1)],
)
def test_who_reaches_whom(backend: str, icc: str, bridge_nf: int) -> None:
    """The host and its other containers by the LAN alone, since the host has a second link there."""
    with ThrowawayHost.started(bridge_nf=bridge_nf, backend=backend) as host:
        spare(host)
        words = uplinked("web", "db", driver_opts={ICC: icc})
        words["networks"]["front"] = {"enable_ipv6": True}
        words["containers"]["app"] = {"networks": ["front"], "ports": ["8080:80"]}
        with host.declared(words):
            for place in ("web", "neighbour", "host", "app"):
                host.serve(place, "80/tcp", "53/udp")
            others = map(bracketed, (HOST, NEIGHBOUR, INTERNET))
            for web, app, of_host, of_neighbour, of_internet in zip(
                ends(host, "web"), ends(host, "app", "front"), *others, strict=True
            ):
                expected = {
                    ("db", f"{web}:80/tcp"): icc == "true",
                    ("db", f"{web}:53/udp"): icc == "true",
                    ("neighbour", f"{web}:80/tcp"): True,
                    ("neighbour", f"{web}:53/udp"): True,
                    ("outside", f"{web}:80/tcp"): True,
                    ("web", f"{of_neighbour}:80/tcp"): True,
                    ("web", f"{of_internet}/ping"): True,
                    # By the wire.
                    ("host", f"{web}:80/tcp"): True,
                    ("web", f"{of_host}:80/tcp"): True,
                    ("web", f"{of_host}:8080/tcp"): True,
                    ("app", f"{web}:80/tcp"): True,
                    ("web", f"{app}:80/tcp"): False,
                }
                assert host.reached(expected) == expected
                assert host.probe("neighbour", f"{web}:80/tcp").by == "web"
                answers = explained(host, [question(*way) for way in expected])
                said = {way: each["verdict"] for way, each in zip(expected, answers, strict=True)}
                by_wire = {way for way in expected if {"host", "app"} & {way[0]} or of_host in way[1]}
                assert said == {
                    way: "unknown" if way in by_wire else "open" if is_open else "closed"
                    for way, is_open in expected.items()
                }
            found = verify(host)
            assert rows(found) == {}
            assert {row["why"] for row in found["probes"] if row["fulfilled"] is None} == {
                "it is up to the network behind spare: no rule of this host is on that way"
            }


def test_what_is_made(host: ThrowawayHost) -> None:
    spare(host)
    host.run("ip link set spare mtu 1450")
    before = link(host)
    with host.declared(uplinked("web")):
        own = link(host)
        assert own == {**before, "master": "br-lan", "flags": own["flags"]}
        (bridge,) = host.json("ip -j -d addr show br-lan")
        assert (bridge["mtu"], [each for each in bridge["addr_info"] if each["scope"] != "link"]) == (1450, [])
        assert host.json("ip -j addr show eth0", "web")[0]["mtu"] == 1450
        assert [each["gateway"] for each in host.json("ip -j route show default", "web")] == ["192.0.2.1"]
        assert [each["gateway"] for each in host.json("ip -j -6 route show default", "web")] == ["2001:db8::1"]
        network, container = (host.observed()[each] for each in ("networks", "containers"))
        observed = {key: network["lan"][key] for key in ("driver", "bridge", "uplink", "gateways", "endpoints")}
        assert observed == {
            "driver": "bridge", "bridge": "br-lan", "uplink": "spare", "gateways": ["192.0.2.1", "2001:db8::1"],
            "endpoints": ["web/lan"],
        }  # fmt: skip
        assert container["web"]["unconnected"] == {}
        shown = host.engine(["show"])
        assert "br-lan  network lan  192.0.2.0/24, 2001:db8::/64  mtu 1450  [uplink spare]" in shown
        # The LAN finds the host where it always did, by one MAC.
        host.run("ip neigh flush all; ping -c 1 -w 2 192.0.2.10; ping -c 1 -w 2 2001:db8::10", "neighbour")
        mac = host.json("ip -j link show eth0")[0]["address"]
        for address in HOST:
            assert [each["lladdr"] for each in host.json(f"ip -j neigh show {address}", "neighbour")] == [mac]
        host.run("ip link set spare nomaster")
        assert "spare is no port of its bridge br-lan, so containers are not on the LAN" in host.engine(["show"])
        assert host.converge(uplinked("web")) == [("veth", "create", "uplink", "spare")]
    assert link(host) == before


def test_nobody_comes_to_the_host_by_the_bridge(host: ThrowawayHost) -> None:
    """Who sends to the bridge's own MAC reaches neither the host, by any address of it, nor its other networks."""
    spare(host)
    words = uplinked("web")
    words["networks"]["front"] = {"driver_opts": {"com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected"}}
    words["containers"]["app"] = {"networks": ["front"], "ports": ["8080:80"]}
    with host.declared(words):
        host.serve("host", "80/tcp")
        host.serve("app", "80/tcp")
        app, mac = host.address("app", "front"), host.json("ip -j link show br-lan")[0]["address"]
        assert host.probe("neighbour", f"{HOST[0]}:80/tcp").is_open
        for address in (HOST[0], app):
            host.run(
                f"ip route replace {address} dev eth0; ip neigh replace {address} lladdr {mac} dev eth0", "neighbour"
            )
        for target in (f"{HOST[0]}:80/tcp", f"{HOST[0]}:8080/tcp", f"{app}:80/tcp"):
            assert not host.probe("neighbour", target, expect_open=False).is_open


def test_changes_on_a_live_network(host: ThrowawayHost) -> None:
    """An uplink comes, changes and goes, while the containers stay connected to each other."""
    spare(host)
    host.run(SECOND)
    plain = uplinked("web", "db")
    del plain["networks"]["lan"]["x-wharf"]
    plain["networks"]["lan"]["ipam"] = {"config": [{"subnet": "10.9.0.0/24"}, {"subnet": "fd00:9::/64"}]}
    own = {"config": [{"subnet": "10.9.0.0/24", "gateway": "10.9.0.1"}, {"subnet": "fd00:9::/64"}]}
    with host.declared(plain):
        host.serve("web", "80/tcp")
        before, web = index(host, "web"), host.address("web", "lan")
        assert host.json("ip -j addr show br-lan")[0]["addr_info"]
        for uplink in ("spare", "second", ""):
            words = uplinked("web", "db", uplink=uplink, ipam=own)
            words = words if uplink else plain
            made = host.converge(words)
            assert [change[1:] for change in made if change[2] == "uplink"] == CHANGES[uplink]
            assert host.probe("db", f"{web}:80/tcp").is_open
            assert index(host, "web") == before
            ports = {each["ifname"] for each in host.json("ip -j link show master br-lan")}
            assert ports & {"spare", "second"} == ({uplink} if uplink else set())
            assert host.sysctl("net.ipv4.conf.br-lan.arp_ignore") == ("1" if uplink else "0")


def test_another_driver_on_the_same_link_and_back(host: ThrowawayHost) -> None:
    spare(host)
    on_parent = uplinked("web", "db")
    on_parent["networks"]["lan"] = lan(parent="spare", **{"x-wharf": {"host_access": True}})
    with host.declared(uplinked("web", "db")):
        for words in (on_parent, uplinked("web", "db")):
            host.converge(words)
            host.serve("web", "80/tcp")
            expected = {(place, f"{end}:80/tcp"): True for place in ("db", "neighbour") for end in ends(host, "web")}
            assert host.reached(expected) == expected
            host.agent.call("stop_all")


def test_rates_hold_there(host: ThrowawayHost) -> None:
    spare(host)
    words = uplinked("web")
    words["networks"]["lan"]["x-wharf"]["rate"] = {"ingress": "8mbit", "egress": "8mbit"}
    with host.declared(words):
        veth = host.observed()["containers"]["web"]["endpoints"]["lan"]["host_interface"]
        assert "tbf" in host.run(f"tc qdisc show dev {veth}")


# What is in the way

CARRIES = (
    '"{link}": has addresses of this host, which get no answers while it is a port of a bridge: make a bridge by the '
    "host's own configuration, with {link} as a port and these addresses on the bridge, and adopt that by "
    "external: true; or name a VLAN of it, as {link}.100, or another link"
)


@pytest.mark.parametrize(
    ("prepare", "uplink", "said"),
    [
        ("", "eth0", CARRIES.format(link="eth0")),
        (
            "ip link add br0 type bridge; ip link set spare master br0",
            "spare",
            '"spare": is a port of the bridge br0: adopt that by external: true, or name another link',
        ),
        (
            "ip link add mv link spare type macvlan mode bridge",
            "spare",
            '"spare": mv is a link of macvlan on it, and no such link can be a port of a bridge, too: delete mv, or '
            "name another link",
        ),
        ("ip link add mv link spare type macvlan", "mv", '"mv": is itself a link of macvlan: name spare'),
        (
            "ip link add br0 type bridge",
            "br0",
            '"br0": is a bridge itself, and no port of another one: adopt it by external: true, or name another link',
        ),
        ("ip addr add 2001:db8:7::1/64 dev spare nodad", "spare", CARRIES.format(link="spare")),
    ],
)
def test_links_that_cannot_be(host: ThrowawayHost, prepare: str, uplink: str, said: str) -> None:
    spare(host)
    host.run(prepare)
    assert refused(host, uplinked("web", uplink=uplink)) == [f"wharf_networks.lan.x-wharf.uplink: {said}"]


def test_a_link_that_somebody_else_has_taken(host: ThrowawayHost) -> None:
    """Nothing on the host shows it beforehand: the kernel refuses, and the run is rolled back."""
    spare(host)
    host.run("ip netns add other; ip link add mv link spare type macvlan; ip link set mv netns other")
    (said,) = refused(host, uplinked("web", uplink="spare"))
    assert "uplink spare: making it a port of br-lan: " in said
    assert "all changes of this run were taken back" in said


def test_an_address_that_comes_later_is_warned_of(host: ThrowawayHost) -> None:
    spare(host)
    words = uplinked("web")
    with host.declared(words):
        host.run("ip addr add 192.0.2.77/24 dev spare")
        (said,) = host.apply(words).warnings
        assert said == (
            "wharf_networks.lan.x-wharf.uplink: spare has addresses of this host (192.0.2.77/24), which get no answers "
            "while it is a port of br-lan: have what gave them leave that link alone"
        )
        host.run("ip addr del 192.0.2.77/24 dev spare")


def test_a_link_that_comes_later_or_is_down(host: ThrowawayHost) -> None:
    words = uplinked("web", "db")
    pending = "wharf_networks.lan.x-wharf.uplink: uplink spare is pending: it is to be a port of br-lan, and {0}"
    absent = "is not on this host: it becomes one as soon as it is there"
    with host.declared(words):
        results = host.apply(words)
        assert (results.pending, results.warnings) == (["spare"], {pending.format(absent)})
        host.serve("web", "80/tcp")
        assert host.probe("db", f"{host.address('web', 'lan')}:80/tcp").is_open
        assert rows(verify(host)) == {}
        spare(host)
        host.run("ip link set spare down")
        assert host.apply(words).warnings == {pending.format("is down: set it up")}
        host.run("ip link set spare up")
        assert host.converge(words) == [("veth", "create", "uplink", "spare")]
        assert host.probe("neighbour", f"{host.address('web', 'lan')}:80/tcp").is_open
        # Down or not, it stays a port.
        host.run("ip link set spare down")
        assert host.apply(words).warnings == set()
        host.run("ip link del spare")
        assert host.apply(words).pending == ["spare"]


def test_follow_plugs_in_a_link_that_comes(host: ThrowawayHost) -> None:
    words = uplinked("web")
    with host.declared(words), following(host) as process:
        host.serve("web", "80/tcp")
        for _again in range(2):
            spare(host)
            assert heard(process)["connected"] == {"spare"}
            expected = {("neighbour", f"{end}:80/tcp"): True for end in ends(host, "web")}
            assert host.reached(expected) == expected
            host.run("ip link del spare")


# Who dies, or loses something


def test_a_killed_run(host: ThrowawayHost) -> None:
    spare(host)
    host.run(SECOND)
    plain = uplinked("web")
    del plain["networks"]["lan"]["x-wharf"]
    plain["networks"]["lan"]["ipam"] = {}
    host.apply(uplinked("web"))
    host.apply({}, ABSENT)
    with given_back(host):
        deaths(host, (uplinked("web"), EXACT), (uplinked("web", uplink="second"), EXACT), (plain, EXACT), ({}, ABSENT))


@pytest.mark.parametrize("goes", [False, True])
def test_recovering_a_lost_ledger(host: ThrowawayHost, goes: bool) -> None:
    """Where the uplink is no longer declared then, the link is none any more; a virtual machine's stays."""
    spare(host)
    words = uplinked("web", "db")
    host.run("ip tuntap add tap0 mode tap")
    with host.declared(words):
        host.run("ip link set tap0 master br-lan")
        before = host_state(host)
        host.run("rm /var/lib/wharf/ledger.json")
        if goes:
            del words["networks"]["lan"]["x-wharf"]
            words["networks"]["lan"]["ipam"] = {"config": [{"subnet": "10.9.0.0/24"}, {"subnet": "fd00:9::/64"}]}
        host.engine(["apply", "-", "--recover"], words)
        ports = {each["ifname"] for each in host.json("ip -j link show master br-lan")}
        assert (ports & {"spare", "tap0"}, host.sysctl("net.ipv4.conf.br-lan.arp_ignore")) == (
            ({"tap0"}, "0") if goes else ({"spare", "tap0"}, "1")
        )
        if not goes:
            path = "/var/lib/wharf/ledger.json"
            assert_same(
                {key: value for key, value in before.items() if key != path},
                lambda: {key: value for key, value in host_state(host).items() if key != path},
            )
        host.run("ip link set tap0 nomaster")
