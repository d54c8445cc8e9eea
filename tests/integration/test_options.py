# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the whole host, on small topologies with tables of their own; chosen ports; modes that change."""

from __future__ import annotations

from typing import Any

import pytest
from hosts import ABSENT, ADDRESSES, BACKENDS, OUTSIDE, ThrowawayHost
from matrix import Addresses, Prober, add_guests, parse

_OPTION = "com.docker.network.bridge."
_BOTH = {"enable_ipv6": True}
_PORT = ["8080:80", "8080:80/udp"]

DIRECT = (
    {
        "host": {"ipv6": True, "allow-direct-routing": True},
        "networks": {"front": _BOTH, "back": _BOTH, "vault": {**_BOTH, "internal": True}},
        "containers": {
            "web": {"networks": ["front"], "ports": _PORT},
            "app": {"networks": ["back"]},
            "safe": {"networks": ["vault"]},
        },
    },
    """
    # allow-direct-routing: published ports are open at the containers' own addresses, and nothing else is
    outside      web@front:80           tcp udp       web seeing outside
    outside      web@front:80           ping          closed
    outside      web@front:81           tcp udp       closed
    outside      web@front:8080         tcp udp       closed
    outside      host:8080              tcp udp       web seeing outside
    outside      app@back:80            tcp udp ping  closed
    outside      safe@vault:80          tcp udp ping  closed
    app          web@front:80           tcp udp       web seeing gateway@front
    app          web@front:81           tcp udp       closed
    app          host:8080              tcp udp       web
    safe         web@front:80           tcp udp ping  unreachable
    neighbour    127.0.0.1:8080         tcp udp       closed
    neighbour    internet:80            tcp udp ping  closed
    """,
)

MARKED = (
    {
        "host": {
            "ipv6": True,
            "ip-masq": False,
            "ip": "192.0.2.11",
            "ip-forward-no-drop": True,
            "bridge-accept-fwmark": "0x2/0x3",
            "x-wharf": {"masquerade": {"ipv6": True}},
        },
        "networks": {
            "friends": {**_BOTH, "driver_opts": {f"{_OPTION}trusted_host_interfaces": "to-friend"}},
            "front": {
                **_BOTH,
                "driver_opts": {f"{_OPTION}host_binding_ipv4": "127.0.0.1"},
                "x-wharf": {"masquerade": {"ipv6": False}},
            },
            "vault": {**_BOTH, "internal": True},
        },
        "containers": {
            "tool": {"ports": ["8090:80", "8090:80/udp"]},
            "pal": {"networks": ["friends"], "ports": ["8089:80"]},
            "web": {"networks": ["front"], "ports": _PORT},
            "safe": {"networks": ["vault"]},
        },
    },
    """
    # bridge-accept-fwmark: a friend's packets have the mark, those of others have another one
    friend       pal@friends:80         tcp udp ping  pal seeing friend
    friend       pal@friends:81         tcp udp       pal seeing friend
    friend       web@front:80           v4 tcp udp    closed
    friend       safe@vault:80          tcp udp ping  closed
    outside      pal@friends:80         tcp udp ping  closed
    outside      web@front:80           tcp udp ping  closed

    # ip-masq, and masquerade by family
    tool         internet:80            v4 tcp udp ping outside seeing tool@bridge
    tool         internet:80            v6 tcp udp ping outside seeing host
    web          internet:80            v4 tcp udp ping outside seeing host
    web          internet:80            v6 tcp udp ping outside seeing web@front

    # ip, and host_binding_ipv4: where ports are published that say nothing of it
    outside      second:8090            v4 tcp udp    tool seeing outside
    outside      host:8090              tcp udp       closed
    outside      second:8090            v6 tcp udp    closed
    outside      host:8080              tcp udp       closed
    host         127.0.0.1:8080         tcp udp       web

    # ip-forward-no-drop: a router for others, too
    neighbour    internet:80            tcp udp ping  outside seeing neighbour
    """,
)

LINKED = (
    {
        "host": {"ipv6": True, "icc": False},
        "containers": {
            "web": {"links": ["db:database", "cache"]},
            "db": {"expose": ["80"], "ports": ["8081:81/udp"]},
            "cache": {"expose": ["80-81"]},
            "other": {},
        },
    },
    """
    # A link, with icc false: the target's exposed and published ports, for who links alone
    web          db@bridge:80           tcp           db seeing web@bridge
    web          db@bridge:81           udp           db seeing web@bridge
    web          db@bridge:80           udp ping      closed
    web          db@bridge:81           tcp           closed
    web          cache@bridge:80        tcp           cache seeing web@bridge
    web          cache@bridge:81        tcp           cache seeing web@bridge
    web          cache@bridge:80        udp ping      closed
    web          other@bridge:80        tcp udp ping  closed
    db           cache@bridge:80        tcp udp ping  closed
    db           web@bridge:80          tcp udp ping  closed
    db           other@bridge:80        tcp udp ping  closed
    other        db@bridge:80           tcp udp ping  closed
    other        db@bridge:81           udp           closed
    other        host:8081              udp           db
    web          internet:80            tcp udp ping  outside seeing host
    db           internet:80            tcp udp ping  outside seeing host
    outside      db@bridge:80           tcp udp ping  closed
    """,
)

_SECOND = {f"com.docker.network.host_ipv{version}": ADDRESSES["second"][version == 6] for version in (4, 6)}

SHUT_IN = (
    {
        "host": {"ipv6": True},
        "networks": {
            "shaded": {**_BOTH, "internal": True, "driver_opts": _SECOND},
            "vault": {**_BOTH, "internal": True},
            "cellar": {**_BOTH, "internal": True, "driver_opts": {f"{_OPTION}enable_ip_masquerade": "false"}},
            "adrift": {**_BOTH, "driver_opts": {f"{_OPTION}inhibit_ipv4": "true"}},
            "front": _BOTH,
        },
        "containers": {
            "shy": {"networks": ["shaded"]},
            "both": {"networks": ["adrift", "vault"]},
            "cool": {"networks": ["cellar"]},
            "web": {"networks": ["front"], "ports": _PORT},
        },
    },
    """
    # host_ipv4 on an internal network: the host is known there by the gateway's address, to which answers find
    host         shy@shaded:80          tcp udp ping  shy seeing gateway@shaded
    shy          gateway@shaded:7001    tcp udp ping  host
    shy          internet:80            tcp udp ping  unreachable
    outside      shy@shaded:80          tcp udp ping  closed

    # Nothing comes into an internal network either, which no answer would show
    outside      cool@cellar:80         tcp udp ping  closed
    web          cool@cellar:80         tcp udp ping  closed
    neighbour    cool@cellar:80         tcp udp ping  closed
    friend       cool@cellar:80         tcp udp ping  closed

    # An internal network's gateway leads to no published port, nor does a bridge that has no address
    both         gateway@vault:8080     tcp udp       closed
    both         gateway@vault:7001     tcp udp ping  host
    both         host:8080              v4 tcp udp    closed
    both         host:8080              v6 tcp udp    web
    """,
)


def _subnets(number: int) -> dict[str, Any]:
    """Two subnets of each family, of which the first of IPv4 has room for one container."""
    first = {"subnet": f"10.{number}.0.0/24", "gateway": f"10.{number}.0.1", "ip_range": f"10.{number}.0.2/32"}
    others = (f"10.{number + 1}.0.0/24", f"fd00:{number}::/64", f"fd00:{number + 1}::/64")
    return {**_BOTH, "ipam": {"config": [first, *({"subnet": each} for each in others)]}}


def _second_of(network: str, number: int) -> dict[str, Any]:
    return {"networks": {network: {"ipv6_address": f"fd00:{number + 1}::9"}}}


SUBNETS = (
    {
        "host": {"ipv6": True},
        "networks": {
            "wide": _subnets(40),
            "cell": {**_subnets(50), "internal": True},
            "closed": {**_subnets(60), "driver_opts": {f"{_OPTION}enable_icc": "false"}},
            "plain": {
                **_subnets(70),
                "driver_opts": {f"{_OPTION}gateway_mode_ipv{version}": "routed" for version in (4, 6)},
            },
        },
        "containers": {
            "low": {"networks": ["wide"], "ports": ["8081:80", "8081:80/udp"]},
            "top": {**_second_of("wide", 40), "ports": _PORT},
            "in1": {"networks": ["cell"]},
            "in2": _second_of("cell", 50),
            "still1": {"networks": ["closed"]},
            "still2": _second_of("closed", 60),
            "near1": {"networks": ["plain"]},
            "near2": {**_second_of("plain", 70), "ports": ["8082:80", "8082:80/udp"]},
        },
    },
    """
    # Containers in two subnets of a network are on one link, whatever the network is
    low          top@wide:80            tcp udp ping  top seeing low@wide
    low          top@wide:81            tcp udp       top seeing low@wide
    top          low@wide:81            tcp udp       low seeing top@wide
    in1          in2@cell:80            tcp udp ping  in2 seeing in1@cell
    in2          in1@cell:81            tcp udp ping  in1 seeing in2@cell
    near1        near2@plain:81         tcp udp ping  near2 seeing near1@plain
    still1       still2@closed:80        tcp udp ping  closed
    still2       still1@closed:80        tcp udp ping  closed

    # Published ports, and the way out
    outside      host:8081              tcp udp       low seeing outside
    outside      host:8080              tcp udp       top seeing outside
    low          host:8080              tcp udp       top
    top          host:8081              tcp udp       low
    top          host:8080              tcp udp       top
    low          gateway@wide:8080      tcp udp       top
    still2       host:8080              tcp udp       top
    host         127.0.0.1:8080         tcp udp       top
    host         top@wide:81            tcp udp ping  top seeing gateway2@wide
    host         in2@cell:81            tcp udp ping  in2 seeing gateway2@cell
    top          gateway@wide:7001      tcp udp ping  host
    top          gateway2@wide:7001     tcp udp ping  host
    low          internet:80            tcp udp ping  outside seeing host
    top          internet:80            tcp udp ping  outside seeing host
    still2       internet:80            tcp udp ping  outside seeing host
    near2        internet:80            tcp udp ping  outside seeing near2@plain
    in2          internet:80            tcp udp ping  unreachable
    in2          low@wide:80            tcp udp ping  unreachable

    # Who is on another network, or outside, reaches neither subnet
    outside      top@wide:80            tcp udp ping  closed
    outside      low@wide:80            tcp udp ping  closed
    outside      in2@cell:80            tcp udp ping  closed
    outside      near2@plain:80         tcp udp ping  near2 seeing outside
    outside      near2@plain:81         tcp udp       closed
    outside      near1@plain:80         tcp udp       closed
    still1       top@wide:80            tcp udp ping  closed
    top          still2@closed:80        tcp udp ping  closed
    low          in2@cell:80            tcp udp ping  closed
    neighbour    internet:80            tcp udp ping  closed
    """,
)

# As an admin would give packets a mark: by where they come from.
MARKS = """
nft -f - <<END
table inet marks {
    chain prerouting {
        type filter hook prerouting priority raw - 10;
        iifname "to-friend" meta mark set 0xe
        iifname "eth0" meta mark set 0x1
    }
}
END
"""

TOPOLOGIES = {"direct": DIRECT, "marked": MARKED, "linked": LINKED, "shut in": SHUT_IN, "subnets": SUBNETS}


@pytest.mark.parametrize(("bridge_nf", "backend"), [(0, "nftables"), (1, "nftables"), (1, "iptables")])
@pytest.mark.parametrize(("words", "table"), TOPOLOGIES.values(), ids=TOPOLOGIES)
def test_who_reaches_whom(words: dict[str, Any], table: str, bridge_nf: int, backend: str) -> None:
    with ThrowawayHost.started(bridge_nf, backend) as host:
        add_guests(host)
        host.run(MARKS)
        with host.declared(words):
            wrong = Prober(host, Addresses.allotted(host), list(parse(table)), words).disagreements()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("backend", BACKENDS[:2])
@pytest.mark.parametrize("bridge", ["docker0", "br-lan"])
def test_a_link_lets_nobody_in_who_sends_by_the_address_of_its_container(backend: str, bridge: str) -> None:
    """Where nothing is masqueraded, no earlier rule keeps strangers from the containers' addresses."""
    with ThrowawayHost.started(backend=backend) as host:
        host.run("ip link add br-lan up type bridge; ip addr add 10.5.0.1/24 dev br-lan")
        host.apply(
            {
                "host": {"icc": False, "ip-masq": False, "bridge": bridge},
                "containers": {"web": {"links": ["db"]}, "db": {"expose": ["80/udp"]}},
            }
        )
        host.serve("db", "80/udp")
        web, db = host.address("web", "bridge"), host.address("db", "bridge")

        def heard_from(place: str) -> int:
            host.agent.call(
                "send_spoofed", place=host.path(place), text=place, source=web, destination=db, port=80
            )  # fmt: skip
            # Whatever was sent before this has come by then.
            assert host.probe("web", f"{db}:80/udp").is_open
            return len([line for line in host.agent.call("heard") if place in line])

        host.run(f"ip route replace {db}/32 via {ADDRESSES['host'][0]}", "neighbour")
        assert (heard_from("neighbour"), heard_from("web")) == (0, 1)


# Ports that are chosen


def _publishing(**containers: str) -> dict[str, Any]:
    return {"containers": {name: {"ports": [port]} for name, port in containers.items()}}


def test_what_takes_a_free_port_keeps_it_and_reports_it(host: ThrowawayHost) -> None:
    host.serve("host", "127.0.0.1:8001/tcp")
    words = _publishing(a="8000-8003:80", b="8000-8003:80", c="80", d="9000:80")
    predicted = host.diff(words).published
    with host.declared(words):
        first = host.apply(words).published
        assert first == predicted
        assert (first["a"], first["b"]) == (8000, 8002)
        assert 32768 <= first["c"] <= 60999
        assert "d" not in first
        host.apply(_publishing(a="8000-8003:80"), ABSENT, ["containers"])
        then = host.apply(_publishing(b="8000-8003:80", c="80", e="8000-8003:80")).published
        assert then == {"b": first["b"], "c": first["c"], "e": 8000}
        for name in ("b", "c"):
            host.serve(name, "80/tcp")
            assert host.probe(OUTSIDE, f"192.0.2.10:{then[name]}/tcp").by == name


# Modes that change


def _in_mode(mode: str, *ports: str, internal: bool = False) -> dict[str, Any]:
    options = {f"{_OPTION}gateway_mode_ipv{version}": mode for version in (4, 6)}
    return {
        "networks": {"front": {**_BOTH, "driver_opts": options, "internal": internal}},
        "containers": {"web": {"networks": ["front"], "ports": list(ports)}},
    }


def test_mode_changes_for_flows_under_way(host: ThrowawayHost) -> None:
    """From the same port of the client, as a resolver or a game would go on to send."""

    def reaches(target: str, expect_open: bool, source_port: int) -> bool:
        return host.probe(OUTSIDE, f"{target}/udp", expect_open, source_port).is_open

    with host.declared(_in_mode("nat", *_PORT)):
        addresses = host.ledger()["allotted"]["endpoints"]
        own = host.address("web", "front")
        host.serve("web", "80/udp")
        assert reaches("192.0.2.10:8080", True, 4000)
        assert not reaches(f"{own}:80", False, 4001)
        host.converge(_in_mode("routed", *_PORT))
        assert not reaches("192.0.2.10:8080", False, 4000)
        assert reaches(f"{own}:80", True, 4001)
        host.converge(_in_mode("nat-unprotected", *_PORT))
        assert reaches("192.0.2.10:8080", True, 4000)
        host.converge(_in_mode("nat", *_PORT))
        assert reaches("192.0.2.10:8080", True, 4000)
        assert not reaches(f"{own}:80", False, 4002)
        assert host.ledger()["allotted"]["endpoints"] == addresses


@pytest.mark.parametrize("host", BACKENDS[:2], indirect=True)
def test_a_port_that_is_withdrawn_is_closed_for_flows_under_way(host: ThrowawayHost) -> None:
    """At the container's own address, where nothing is translated."""
    host.apply(_in_mode("routed", "8080:80/udp", "8081:81/udp"))
    host.serve("web", "80/udp", "81/udp")
    ways = [
        (f"{address}:{port}/udp", 4000 + port)
        for address in (host.address("web", "front"), f"[{host.address('web', 'front', 6)}]")
        for port in (80, 81)
    ]
    assert all(host.probe(OUTSIDE, target, True, source_port).is_open for target, source_port in ways)
    host.converge(_in_mode("routed", "8081:81/udp"))
    is_open = [host.probe(OUTSIDE, target, port == 4081, port).is_open for target, port in ways]
    assert is_open == [False, True, False, True]


def test_isolated_bridge_has_no_address(host: ThrowawayHost) -> None:
    def families() -> list[str]:
        found = host.json("ip -j addr show br-front")[0]["addr_info"]
        return [each["family"] for each in found]

    with host.declared(_in_mode("nat", internal=True)):
        assert families() == ["inet", "inet6", "inet6"]
        host.converge(_in_mode("isolated", internal=True))
        assert families() == []
        host.converge(_in_mode("nat", internal=True))
        assert families() == ["inet", "inet6", "inet6"]


@pytest.mark.parametrize("option", [("gateway_mode_ipv4", "isolated"), ("inhibit_ipv4", "true")], ids="=".join)
def test_two_containers_have_both_addresses_of_a_point_to_point_network(
    host: ThrowawayHost, option: tuple[str, str]
) -> None:
    network = {
        "internal": True,
        "ipam": {"config": [{"subnet": "192.168.135.0/31"}]},
        "driver_opts": {f"com.docker.network.bridge.{option[0]}": option[1]},
    }
    words = {"networks": {"pair": network}, "containers": {name: {"networks": ["pair"]} for name in ("one", "two")}}
    with host.declared(words):
        assert {host.address(name, "pair") for name in ("one", "two")} == {"192.168.135.0", "192.168.135.1"}
        host.run("ip netns exec one ping -c1 -W3 two && ip netns exec two ping -c1 -W3 one")


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_nobody_on_an_isolated_network_calls_the_host(host: ThrowawayHost, backend: str) -> None:
    """Not by what is for all on the link, either: that needs no address of the host."""
    host.backend = backend

    def heard(text: str) -> list[str]:
        for to in ("UDP4-DATAGRAM:255.255.255.255:7000,broadcast", "UDP6-DATAGRAM:[ff02::1%eth0]:7000"):
            host.run(f"echo {text} | socat -u - {to},so-bindtodevice=eth0", "web")
        # Whatever was sent before this has come by then.
        assert host.probe(OUTSIDE, f"{ADDRESSES['host'][0]}:7000/udp").is_open
        return [line for line in host.agent.call("heard") if text in line]

    with host.declared(_in_mode("nat", internal=True)):
        host.serve("host", "7000/udp")
        assert len(heard("internal")) == 2
        host.converge(_in_mode("isolated", internal=True))
        assert heard("isolated") == []
