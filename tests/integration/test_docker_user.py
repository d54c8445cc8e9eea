# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The admin's rules: whom they let through, by packets, and that those of others stay."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
from controller import Controller
from hosts import ABSENT, ADDRESSES, EXACT, EngineError, ThrowawayHost, differences
from test_lifecycle import connection, kinds, lives

HOST4, HOST6 = ADDRESSES["host"]
OUTSIDE = ADDRESSES["outside"]
DOCKER_USER = ("docker_user",)

WORDS: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True}, "back": {"enable_ipv6": True}},
    "containers": {
        "web": {"networks": ["front"], "ports": ["8080:80", "8080:80/udp", "8081:80"]},
        "db": {"networks": ["back"], "ports": ["5432:5432"]},
    },
}


BACKENDS = ["nftables", "iptables"]
# Where a host lists the rules of a chain.
LISTS = {"nftables": "nft --stateless list chain inet wharf {}", "iptables": "iptables -S {}"}


def with_rules(*rules: Any) -> dict[str, Any]:
    return {**WORDS, "docker_user": list(rules)}


@pytest.fixture(scope="module", params=BACKENDS)
def lasting_host(request: pytest.FixtureRequest) -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as started:
        started.backend = request.param
        with started.declared(WORDS):
            yield started


@pytest.fixture
def live(lasting_host: ThrowawayHost) -> Iterator[ThrowawayHost]:
    """A host on which the words are declared and containers serve, and no rule holds any more after the test."""
    lasting_host.serve("web", "80/tcp", "80/udp")
    lasting_host.serve("db", "5432/tcp")
    yield lasting_host
    lasting_host.agent.call("stop_all")
    lasting_host.apply({"host": {}, **WORDS, "docker_user": []}, EXACT)


def ways(place: str, port: str, expected: tuple[bool, bool]) -> dict[tuple[str, str], bool]:
    """`PORT/PROTOCOL` of the host from a place, by IPv4 and by IPv6."""
    return {(place, f"{HOST4}:{port}"): expected[0], (place, f"[{HOST6}]:{port}"): expected[1]}


OPEN, CLOSED = (True, True), (False, False)


def test_only_the_office_reaches_a_published_port(live: ThrowawayHost) -> None:
    """By the port as published, though another one leads to the same port of the container."""
    live.converge(
        with_rules(
            {"source": [OUTSIDE[0], OUTSIDE[1]], "published_port": 8080, "action": "return"},
            {"published_port": 8080, "action": "drop", "comment": "the office only"},
        )
    )
    live.serve("outside", "8080/tcp", "8080/udp")
    expected = {**ways("neighbour", "8081/tcp", OPEN), ("host", "127.0.0.1:8080/tcp"): True}
    # What containers ask of others at a port of that number is not meant.
    expected |= {("web", f"{OUTSIDE[0]}:8080/tcp"): True, ("db", f"[{OUTSIDE[1]}]:8080/udp"): True}
    for protocol in ("tcp", "udp"):
        expected |= ways("outside", f"8080/{protocol}", OPEN)
        expected |= ways("neighbour", f"8080/{protocol}", CLOSED)
        expected |= ways("db", f"8080/{protocol}", CLOSED)
    assert live.reached(expected) == expected


def test_a_new_rule_holds_for_connections_that_stand(live: ThrowawayHost) -> None:
    ours = connection(live, "outside", HOST4, 8080)
    others = connection(live, "outside", HOST4, 5432)
    live.converge(with_rules({"state": ["established"], "action": "return"}, {"container": "web", "action": "drop"}))
    assert lives(live, ours)
    expected = ways("outside", "8080/tcp", CLOSED)
    assert live.reached(expected) == expected
    changes = live.converge(with_rules({"source": "192.0.2.0/24", "container": "web", "action": "drop"}))
    assert {(action, name.split()[-1]) for action, _kind, name in kinds(changes)} == {("update", "WHARF-USER")}
    with pytest.raises(RuntimeError, match="nothing came over the connection"):
        lives(live, ours)
    assert lives(live, others)


def test_a_container_and_a_network_are_where_a_connection_goes(live: ThrowawayHost) -> None:
    live.serve("outside", "80/tcp")
    for rule in ({"container": "web"}, {"network": "front"}):
        live.converge(with_rules({**rule, "action": "reject"}))
        expected = {**ways("outside", "5432/tcp", OPEN), ("web", f"{OUTSIDE[0]}:80/tcp"): True}
        for port in ("8080/tcp", "8080/udp", "8081/tcp"):
            expected |= ways("outside", port, CLOSED)
        assert live.reached(expected) == expected


def test_a_rule_follows_the_container_that_it_names(live: ThrowawayHost) -> None:
    live.converge(with_rules({"container": "web", "action": "drop"}))
    words = copy.deepcopy(WORDS)
    words["containers"]["web"]["networks"] = ["back"]
    # The rules were declared before, and nothing is said of them now.
    live.converge(words)
    expected = ways("outside", "8080/tcp", CLOSED)
    assert live.reached(expected) == expected
    gone = live.apply({"containers": {"web": {}}}, ABSENT, scope=["containers"])
    assert gone.warnings == {
        "the rule matches nothing: wharf_docker_user[0].container: no container web is declared; there are: db"
    }


def test_a_family_that_a_rule_says_nothing_of_stays_open(live: ThrowawayHost) -> None:
    live.converge(with_rules({"source": "0.0.0.0/0", "published_port": "8000-8100", "action": "drop"}))
    expected = ways("outside", "8080/tcp", (False, True))
    assert live.reached(expected) == expected


def test_in_which_order_rules_hold(live: ThrowawayHost) -> None:
    drop, accept = {"in_interface": "eth+", "action": "drop"}, {"protocol": "udp", "action": "accept"}
    live.converge(with_rules(drop, accept))
    expected = ways("outside", "8080/udp", CLOSED)
    assert live.reached(expected) == expected
    live.converge(with_rules(accept, drop))
    expected = ways("outside", "8080/udp", OPEN)
    assert live.reached(expected) == expected
    expected = ways("outside", "8080/tcp", CLOSED)
    assert live.reached(expected) == expected


LOGGED = {
    "nftables": ['limit rate 3/minute burst 5 packets log prefix "seen: "', 'log prefix "DOCKER-USER drop: " drop'],
    "iptables": ['-m limit --limit 3/min -j LOG --log-prefix "seen: "', '-j LOG --log-prefix "DOCKER-USER drop: "'],
}


def test_log_and_limit(live: ThrowawayHost) -> None:
    live.converge(
        with_rules(
            {"published_port": 8080, "action": "log", "log": "seen: ", "limit": "3/minute"},
            {"published_port": 8080, "protocol": "udp", "limit": {"rate": "1/day", "burst": 1}, "action": "return"},
            {"published_port": 8080, "protocol": "udp", "action": "drop", "log": True},
        )
    )
    listed = live.run(LISTS[live.backend].format("WHARF-USER"))
    for words in LOGGED[live.backend]:
        assert words in listed
    assert live.probe("outside", f"{HOST4}:8080/udp").is_open
    assert not live.probe("outside", f"{HOST4}:8080/udp", False).is_open


OF_OTHERS = {
    "nftables": """
        nft add rule inet wharf DOCKER-USER ct direction original ct original proto-dst 8080 drop
        nft add rule inet wharf DOCKER-USER ip saddr 192.0.2.66 drop
    """,
    "iptables": """
        iptables -A DOCKER-USER -p tcp -m conntrack --ctorigdstport 8080 --ctdir ORIGINAL -j DROP
        iptables -I DOCKER-USER -s 192.0.2.66 -j DROP
    """,
}


def test_rules_of_others_stay_and_come_after(live: ThrowawayHost) -> None:
    def others() -> list[str]:
        listed = live.run(LISTS[live.backend].format("DOCKER-USER")).splitlines()
        return [line for line in listed if "WHARF-USER" not in line]

    live.run(OF_OTHERS[live.backend])
    before = others()
    for action in ("accept", "return"):
        live.converge(with_rules({"source": OUTSIDE[0], "published_port": 8080, "action": action}))
        expected = {
            ("outside", f"{HOST4}:8080/tcp"): action == "accept",
            ("neighbour", f"{HOST4}:8080/tcp"): False,
            ("outside", f"{HOST4}:8081/tcp"): True,
        }
        assert live.reached(expected) == expected
        assert others() == before
    live.converge({}, ABSENT, DOCKER_USER)
    assert others() == before
    live.run("nft flush chain inet wharf DOCKER-USER" if live.backend == "nftables" else "iptables -F DOCKER-USER")


def test_errors_come_in_one_report_and_nothing_is_touched(live: ThrowawayHost) -> None:
    before = live.snapshot()
    with pytest.raises(EngineError) as refused:
        live.apply(
            with_rules(
                {"action": "dorp"},
                {"action": "drop", "source": "office"},
                {"action": "drop", "published_port": 8443},
                {"action": "drop", "container": "wbe"},
            )
        )
    assert [line.partition(": ")[0] for line in str(refused.value).splitlines()] == [
        "wharf_docker_user[0].action",
        "wharf_docker_user[1].source",
        "wharf_docker_user[2].published_port",
        "wharf_docker_user[3].container",
    ]
    assert differences(before, live.snapshot()) == ""


BRIDGED = """
ip netns add box; ip link add docker0 type bridge; ip link set docker0 up; ip addr add 172.17.0.1/16 dev docker0
ip link add box0 type veth peer name eth0 netns box; ip link set box0 master docker0 up
ip -n box link set eth0 up; ip -n box addr add 172.17.0.2/16 dev eth0; ip -n box route add default via 172.17.0.1
sysctl -qw net.ipv4.ip_forward=1
nft 'add table ip dockerd; add chain ip dockerd pre { type nat hook prerouting priority dstnat; }'
nft 'add rule ip dockerd pre fib daddr type local tcp dport 8080 dnat to 172.17.0.2:80'
"""


ALONE: list[dict[str, Any]] = [
    {"source": OUTSIDE[0], "published_port": 8080, "action": "return"},
    {"published_port": 8080, "protocol": "tcp", "action": "drop"},
]


def test_a_port_that_nobody_publishes_is_reported_unless_a_dockerd_may(host: ThrowawayHost) -> None:
    words = {**with_rules({"published_port": 9000, "action": "drop"}), "host": {"bridge": "none"}}
    with pytest.raises(EngineError, match=r"published_port: no container publishes 9000; published are: 5432/tcp, 808"):
        host.apply(words)
    host.run("ip link add docker0 type bridge")
    host.apply(words)
    host.apply({}, ABSENT)
    host.run("ip link delete docker0")


def test_alone_beside_networks_of_somebody_else(host: ThrowawayHost) -> None:
    """As on a host whose dockerd publishes the ports: nothing is made but what the rules need."""
    host.run(BRIDGED)
    host.serve("box", "80/tcp")
    before = host.snapshot()
    made = host.converge({"docker_user": ALONE}, scope=DOCKER_USER)
    assert kinds(made) == {("create", "chain", name) for name in ("DOCKER-USER", "WHARF-USER", "forward")}
    after = host.snapshot()
    assert {key for key in {*before, *after} if before.get(key) != after.get(key)} == {
        "ruleset",
        "/var/lib/wharf/",
        "/var/lib/wharf/ledger.json",
    }
    expected = {(place, f"{HOST4}:8080/tcp"): place == "outside" for place in ("outside", "neighbour")}
    assert host.reached(expected) == expected
    with pytest.raises(
        EngineError, match=r"wharf_docker_user\[0\].container: no container web is declared; name where"
    ):
        host.apply({"docker_user": [{"container": "web", "action": "drop"}]}, scope=DOCKER_USER)
    host.converge({}, ABSENT, DOCKER_USER)
    assert differences(before, host.snapshot()) == ""


def without_counters(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {**snapshot, "ruleset": re.sub(r"counter packets \d+ bytes \d+ ", "", snapshot["ruleset"])}


def test_alone_in_the_chain_of_a_dockerd(host: ThrowawayHost) -> None:
    host.run(BRIDGED)
    host.run(
        "iptables -N DOCKER-USER; iptables -A DOCKER-USER -s 192.0.2.77 -j DROP; iptables -I FORWARD -j DOCKER-USER"
    )
    host.run("iptables -N DOCKER; iptables -A DOCKER -d 172.17.0.2 -j ACCEPT; iptables -A FORWARD -j DOCKER")
    host.serve("box", "80/tcp")
    before = without_counters(host.snapshot())
    by_iptables = {"host": {"firewall-backend": "iptables"}, "docker_user": ALONE}
    made = host.converge(by_iptables, scope=DOCKER_USER)
    assert {name for _action, _kind, name in kinds(made)} == {
        *(f"{family} filter {chain}" for family in ("ip", "ip6") for chain in ("DOCKER-USER", "WHARF-USER"))
    }
    expected = {(place, f"{HOST4}:8080/tcp"): place == "outside" for place in ("outside", "neighbour")}
    assert host.reached(expected) == expected
    # By which rules is remembered, and a dockerd that starts anew puts its jumps first.
    host.run("iptables -D FORWARD -j DOCKER-USER; iptables -I FORWARD -j DOCKER-USER")
    assert host.converge({"docker_user": ALONE}, scope=DOCKER_USER) == []
    host.converge({}, ABSENT, DOCKER_USER)
    assert differences(before, without_counters(host.snapshot())) == ""


ROLE = "wharf.network.docker_user"
RULES = {"wharf_docker_user": [{"source": "192.0.2.66", "action": "drop"}]}


def test_the_role_before_others(controller: Controller) -> None:
    """Check mode predicts the first role exactly; the second would find what the first has made."""
    before = controller.host.snapshot()
    roles = [{"roles": [ROLE], "check_mode": True}, {"roles": [ROLE, "wharf.network.default_networks"]}]
    predicted, made, of_the_second = controller.play(roles, variables=RULES).calls
    assert predicted
    assert made == predicted
    assert [change for change in made + of_the_second if change[2] in ("WHARF-USER", "forward")] == [
        ("create", "chain", "WHARF-USER"),
        ("create", "chain", "forward"),
        ("update", "chain", "forward"),
    ]
    controller.host.apply({}, ABSENT)
    assert differences(before, controller.host.snapshot()) == ""
