# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall by nftables, by iptables, or by others: from each to each on a live host, and what spoils it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import ABSENT, BACKENDS, EXACT, EngineError, ThrowawayHost
from probes import Conversation, Probe
from runners import ENGINE
from test_lifecycle import HOST_ADDRESS, changed, connection, lives

STEPPED_ENGINE = Path(__file__).with_name("stepped_engine.py")

WORDS: dict[str, Any] = {
    "host": {"firewall-backend": "nftables"},
    "networks": {
        "front": {"enable_ipv6": True},
        "back": {"enable_ipv6": True},
        "vault": {"internal": True},
        "apart": {"driver_opts": {"com.docker.network.bridge.enable_icc": "false"}},
    },
    "containers": {
        "web": {
            "networks": ["front"],
            "ports": [
                "8080:80",
                "8080:80/udp",
                {"target": 80, "published": 7092, "x-wharf": {"allow_from": ["192.0.2.1", "2001:db8::1"]}},
            ],
        },
        "app": {"networks": ["front"]},
        "db": {"networks": ["back"], "ports": ["127.0.0.1:8081:80"]},
        "safe": {"networks": ["vault"]},
        "one": {"networks": ["apart"]},
        "two": {"networks": ["apart"]},
    },
    "docker_user": [{"source": "192.0.2.66", "destination": "172.16.0.0/12", "action": "drop"}],
}

# Without what only rules can bring about.
BARE: dict[str, Any] = {
    "host": {"iptables": False, "ip6tables": False},
    "networks": {"front": {"enable_ipv6": True}, "back": {"enable_ipv6": True}},
    "containers": {"web": {"networks": ["front"]}, "app": {"networks": ["front"]}, "db": {"networks": ["back"]}},
    "docker_user": [],
}

OPEN = [
    ("outside", "192.0.2.10:8080/tcp"),
    ("outside", "[2001:db8::10]:8080/tcp"),
    ("outside", "192.0.2.10:8080/udp"),
    ("outside", "192.0.2.10:7092/tcp"),
    ("outside", "[2001:db8::10]:7092/tcp"),
    ("host", "127.0.0.1:8080/tcp"),
    ("host", "127.0.0.1:8081/tcp"),
    ("db", "192.0.2.10:8080/tcp"),
    ("app", "192.0.2.10:8080/tcp"),
    ("app", "web@front:80/tcp"),
    ("app", "203.0.113.1:80/tcp"),
    ("host", "safe@vault:80/tcp"),
]
CLOSED = [
    ("outside", "web@front:80/tcp"),
    ("outside", "web6@front:80/tcp"),
    ("outside", "192.0.2.10:8081/tcp"),
    ("neighbour", "192.0.2.10:8080/tcp"),
    ("neighbour", "192.0.2.10:7092/tcp"),
    ("db", "192.0.2.10:7092/tcp"),
    ("db", "web@front:80/tcp"),
    ("db", "web6@front:80/tcp"),
    ("web", "db@back:81/udp"),
    ("web", "safe@vault:80/tcp"),
    ("one", "two@apart:80/tcp"),
    ("neighbour", "203.0.113.1:80/tcp"),
]


def on(backend: str, words: Any = None) -> Any:
    return changed(lambda each: each.update(host={"firewall-backend": backend}), words or WORDS)


# Seconds: it is asked at each of many steps.
SOON_CLOSED = 0.15

# Things that a run does.
TOO_MANY = 100


class Oracle:
    """What must be open and what closed, asked all at once."""

    def __init__(self, host: ThrowawayHost, opened: list[tuple[str, str]], closed: list[tuple[str, str]]) -> None:
        self._host = host
        self._asked = [*opened, *closed]
        self._expected = [True] * len(opened) + [False] * len(closed)
        self._probes = [self._probe(*each) for each in self._asked]

    def _probe(self, place: str, target: str) -> Probe:
        where, _slash, protocol = target.rpartition("/")
        address, _colon, port = where.rpartition(":")
        if "@" in address:
            name, _at, network = address.partition("@")
            address = self._host.address(name.removesuffix("6"), network, 6 if name.endswith("6") else 4)
        return Probe(self._host.path(place), protocol, address.strip("[]"), int(port))

    def wrong(self) -> list[str]:
        answers = self._host.agent.probe_patiently(self._probes, self._expected, SOON_CLOSED)
        return [
            f"{place} > {target}: {answer}"
            for (place, target), expected, answer in zip(self._asked, self._expected, answers, strict=True)
            if answer.is_open != expected
        ]


def step_by_step(host: ThrowawayHost, words: Any, look: Callable[[str], None], state: str = EXACT) -> list[str]:
    """Apply, and look wherever the kernel has been changed in part; all these steps."""
    engine = Conversation([*host.enter(), *ENGINE, str(STEPPED_ENGINE)])
    steps = []
    try:
        file = ["-"] if words else []
        reply = engine.ask([["apply", *file, "--state", state], json.dumps(words)])
        while isinstance(reply, str):
            steps.append(reply)
            look(reply)
            reply = engine.ask("")
        assert reply == [0, ""]
    finally:
        # It has the lock of the host.
        engine.kill()
    return steps


def dies_at(host: ThrowawayHost, words: Any, fatal: int) -> bool:
    """Apply, but be killed at a step; whether there was such a step."""
    steps = itertools.count(1)

    def look(_step: str) -> None:
        if next(steps) == fatal:
            raise KeyboardInterrupt

    try:
        step_by_step(host, words, look)
    except KeyboardInterrupt:
        return True
    return False


@pytest.fixture(scope="module")
def started() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as host, host.declared(WORDS):
        yield host


@pytest.fixture
def live(started: ThrowawayHost) -> Iterator[ThrowawayHost]:
    """A host on which the words are declared, as they are again after the test."""
    started.run("ip route replace 203.0.113.1 via 192.0.2.10", "neighbour")
    for name in [*WORDS["containers"], "outside"]:
        started.serve(name, "80/tcp", "80/udp", "81/udp")
    yield started
    started.agent.call("stop_all")
    started.apply(WORDS, EXACT)


class TestChange:
    """Of the backend, on a live host."""

    @pytest.mark.parametrize(("old", "new"), [BACKENDS[:2], BACKENDS[1::-1]])
    def test_nothing_opens_and_nothing_closes(self, live: ThrowawayHost, old: str, new: str) -> None:
        live.apply(on(old))
        held = [connection(live, "outside", HOST_ADDRESS, 8080), connection(live, "app", "203.0.113.1", 80)]
        oracle = Oracle(live, OPEN, CLOSED)

        def look(step: str) -> None:
            assert oracle.wrong() == [], step
            assert all(lives(live, each) for each in held), step

        steps = step_by_step(live, on(new), look)
        assert any("iptables-restore" in step for step in steps)
        assert any("sbin/nft" in step for step in steps)
        assert live.converge(on(new)) == []
        assert ("table inet wharf" in live.rules()) == (new == "nftables")
        assert ("DOCKER-FORWARD" in live.run("iptables-save")) == (new == "iptables")

    def test_killed_on_the_way(self, live: ThrowawayHost) -> None:
        live.apply(on("iptables"))
        wanted = save(live)
        for step in itertools.count(1, 3):
            live.apply(on("nftables"))
            if not dies_at(live, on("iptables"), step):
                break
            live.converge(on("iptables"))
            assert sorted(save(live)) == sorted(wanted)
        assert step > 8

    def test_one_role_takes_all_along(self, live: ThrowawayHost) -> None:
        """Were the default networks' rules to go alone, no other network's would be in force any more."""
        live.converge(on("iptables"), scope=["default_networks"])
        assert Oracle(live, OPEN, CLOSED).wrong() == []
        assert "table inet wharf" not in live.rules()

    @pytest.mark.parametrize("backend", BACKENDS[:2])
    def test_to_nothing_and_back(self, live: ThrowawayHost, backend: str) -> None:
        before = live.rules() if backend == "nftables" else ""
        live.apply(on(backend))
        live.converge(on(backend, BARE), EXACT)
        held = connection(live, "app", live.address("web", "front"), 80)
        live.converge(BARE, EXACT)
        assert live.rules() == ""
        assert lives(live, held)
        assert Oracle(live, [("db", "web@front:80/tcp"), ("outside", "web6@front:80/tcp")], []).wrong() == []
        live.converge(on(backend), EXACT)
        live.serve("safe", "80/tcp")
        assert lives(live, held)
        assert Oracle(live, OPEN, CLOSED).wrong() == []
        assert not before or live.rules() == before

    @pytest.mark.parametrize("backend", BACKENDS[:2])
    def test_one_family_to_others(self, live: ThrowawayHost, backend: str) -> None:
        words = on(
            backend, changed(lambda words: words["networks"].pop("back") and words["containers"].pop("db"), WORDS)
        )
        for key, version in (("iptables", 4), ("ip6tables", 6)):
            bare = changed(lambda words, key=key: words["host"].update({key: False}), words)
            if version == 4:
                bare["networks"] = {"front": bare["networks"]["front"]}
                bare["containers"] = {name: bare["containers"][name] for name in ("web", "app")}
            live.converge(bare, EXACT)
            is_open = [
                live.probe("outside", f"{address}:8080/tcp", ours).is_open
                for address, ours in ((HOST_ADDRESS, version == 6), ("[2001:db8::10]", version == 4))
            ]
            assert is_open == [version == 6, version == 4]
            direct = [
                live.probe("outside", f"[{live.address('web', 'front', v)}]:80/tcp", v == version) for v in (4, 6)
            ]
            assert [each.is_open for each in direct] == [version == 4, version == 6]


class TestPrograms:
    """A host needs those of its backend only."""

    def test_nft_is_not_needed_for_iptables(self, host: ThrowawayHost) -> None:
        host.run("mount --bind /dev/null /usr/sbin/nft")
        host.converge(on("iptables"))
        with pytest.raises(EngineError, match="nft: is needed on this host"):
            host.apply(on("nftables"))
        host.converge({}, ABSENT)
        host.run("umount /usr/sbin/nft")

    def test_iptables_is_not_needed_for_nftables(self, host: ThrowawayHost) -> None:
        host.run("rm /etc/alternatives/*tables*")
        host.converge(WORDS)
        with pytest.raises(EngineError, match="iptables-restore: is needed on this host"):
            host.apply(on("iptables"))
        host.converge({}, ABSENT)

    def test_neither_is_needed_where_rules_are_left_to_others(self, host: ThrowawayHost) -> None:
        host.run("rm /etc/alternatives/*tables*; mount --bind /dev/null /usr/sbin/nft")
        host.converge(BARE)
        host.converge({}, ABSENT)
        host.run("umount /usr/sbin/nft")


@pytest.fixture(scope="module")
def lasting_host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as host, host.declared(on("iptables")):
        host.run("ip route replace 203.0.113.1 via 192.0.2.10", "neighbour")
        for name in [*WORDS["containers"], "outside"]:
            host.serve(name, "80/tcp", "80/udp", "81/udp")
        yield host


def save(host: ThrowawayHost) -> list[str]:
    """Both families' rules, without how often each was met."""
    listed = host.run("iptables-save; ip6tables-save")
    return [line for line in listed.splitlines() if line[0] not in "#:"]


# Of the words, one after the other.
CHANGES: list[Any] = [
    lambda words: words["containers"]["web"]["ports"].append("8082:81"),
    lambda words: words["containers"]["web"]["ports"].extend(["20000-20100:20000-20100", "8090-8099:80-89"]),
    lambda words: words["containers"]["db"].update(ports=words["containers"]["web"].pop("ports")),
    lambda words: words["networks"]["back"].update(ipam={"config": [{"subnet": "10.99.0.0/24"}]}),
    lambda words: words["networks"]["back"].update(internal=True) or words["containers"]["db"].pop("ports"),
    lambda words: words["networks"]["apart"].update(
        driver_opts={"com.docker.network.bridge.enable_ip_masquerade": "false"}
    ),
    lambda words: words["networks"].update(more={}) or words["containers"]["web"].update(networks=["more"]),
    lambda words: words["networks"].pop("front") and words["containers"].pop("app"),
    lambda words: words["host"].update(icc=False),
]


def test_each_change_leads_where_a_fresh_start_would(lasting_host: ThrowawayHost) -> None:
    words = on("iptables")
    for change in CHANGES:
        words = changed(change, words)
        assert lasting_host.converge(words, EXACT) != []
        after = sorted(save(lasting_host))
        lasting_host.run("for table in raw nat filter; do iptables -t $table -F; ip6tables -t $table -F; done")
        lasting_host.apply(words)
        assert sorted(save(lasting_host)) == after
    lasting_host.apply(on("iptables"), EXACT)


# Of what translates, the first table is committed, and then the kernel refuses, once.
REFUSING = """#!/bin/sh
cat > /run/script
if [ -e /run/refuse ] && grep -q '^[*]nat' /run/script; then
    rm /run/refuse
    sed -i '/^COMMIT/q' /run/script
    printf '*nat\n-A NOWHERE -j ACCEPT\nCOMMIT\n' >> /run/script
fi
exec iptables-nft-restore "$@" < /run/script
"""


def test_what_is_refused_leaves_the_old_rules_in_force(lasting_host: ThrowawayHost) -> None:
    before = save(lasting_host)
    more = changed(lambda words: words["containers"]["db"]["ports"].append("8090:81"), on("iptables"))
    more["networks"]["more"] = {}
    lasting_host.run("mv /etc/alternatives/iptables-restore /etc/alternatives/restore; touch /run/refuse")
    lasting_host.write("/etc/alternatives/iptables-restore", REFUSING)
    lasting_host.run("chmod +x /etc/alternatives/iptables-restore")
    with pytest.raises(EngineError, match="iptables-restore failed.*all changes of this run were taken back$"):
        lasting_host.apply(more)
    assert lasting_host.run("ls /run").count("refuse") == 0
    assert sorted(save(lasting_host)) == sorted(before)
    assert Oracle(lasting_host, OPEN, CLOSED).wrong() == []
    lasting_host.run("mv /etc/alternatives/restore /etc/alternatives/iptables-restore")
    lasting_host.apply(on("iptables"), EXACT)
    assert sorted(save(lasting_host)) == sorted(before)


@pytest.mark.parametrize("backend, programs", [("nftables", 1), ("iptables", 2)])
def test_where_a_program_cannot_be_started_the_old_rules_stay(backend: str, programs: int) -> None:
    """All of them, also where the programs of both families are needed, and only the second one is not started."""
    with ThrowawayHost.started(backend=backend) as host:
        networks = {"front": {"enable_ipv6": True}}
        before, after = (
            {"networks": networks, "containers": {"web": {"networks": ["front"], "ports": [f"{port}:80"]}}}
            for port in (8080, 8081)
        )
        host.apply(before)
        rules = host.rules()
        refusals = 0
        for number in range(1, TOO_MANY):
            refusal = host.refused(number, after)
            if not refusal.what:
                break
            if "could not be run" in refusal.said:
                assert refusal.said.endswith("all changes of this run were taken back")
                assert host.rules() == rules
                refusals += 1
            host.apply(before)
        assert refusals == programs


class TestDrift:
    """What others spoil in iptables is mended; what is theirs stays, in its order."""

    @pytest.mark.parametrize(
        "damage",
        [
            "for each in raw nat filter; do iptables -t $each -F; done",
            "iptables -F; iptables -t nat -F; iptables -t raw -F; iptables -X; iptables -t nat -X; iptables -t raw -X",
            "iptables -D FORWARD -m comment --comment wharf -j DOCKER-FORWARD",
            "ip6tables -D FORWARD -m comment --comment wharf -j DOCKER-FORWARD",
            "iptables -t nat -F DOCKER-tcp-8064-8127",
            "iptables -t nat -F DOCKER",
            "iptables -t nat -F WHARF-POSTROUTING",
            "iptables -t raw -F WHARF-PREROUTING",
            "ip6tables -F DOCKER-CT",
            "iptables -D DOCKER-BRIDGE 3",
            "iptables -I DOCKER-BRIDGE -j ACCEPT",
            "iptables -A DOCKER-CT -j ACCEPT",
            "iptables -I DOCKER-FORWARD 2 -j ACCEPT",
            "iptables -t nat -I DOCKER-tcp-8064-8127 -j RETURN",
            "iptables-save | iptables-restore --noflush",
            "iptables -F WHARF-FORWARD",
        ],
    )
    def test_is_mended(self, lasting_host: ThrowawayHost, damage: str) -> None:
        before = save(lasting_host)
        lasting_host.run(damage)
        assert save(lasting_host) != before
        assert lasting_host.converge(on("iptables")) != []
        assert sorted(save(lasting_host)) == sorted(before)
        assert Oracle(lasting_host, OPEN, CLOSED).wrong() == []

    @pytest.mark.parametrize(
        "foreign",
        [
            "iptables -I FORWARD -j ACCEPT",
            "iptables -A FORWARD -j ACCEPT",
            "iptables -A FORWARD -s 192.0.2.0/24 -j DROP",
            "iptables -t nat -I PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 9",
            "iptables -t nat -I POSTROUTING -j RETURN",
        ],
    )
    def test_rules_of_others_stand_between_ours(self, lasting_host: ThrowawayHost, foreign: str) -> None:
        """An accept before ours would open what isolation closes, a drop before them would close what is published."""
        before = save(lasting_host)
        lasting_host.run(foreign)
        theirs = next(line for line in save(lasting_host) if line not in before)
        lasting_host.converge(on("iptables"))
        assert sorted(save(lasting_host)) == sorted([*before, theirs])
        assert Oracle(lasting_host, OPEN, CLOSED if "FORWARD -j" not in foreign else CLOSED[:-1]).wrong() == []
        lasting_host.run(foreign.replace(" -I ", " -D ").replace(" -A ", " -D "))
        lasting_host.converge(on("iptables"))
        assert save(lasting_host) == before

    def test_policies_stay(self, lasting_host: ThrowawayHost) -> None:
        lasting_host.run("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP")
        assert lasting_host.converge(on("iptables")) == []
        assert Oracle(lasting_host, OPEN, CLOSED).wrong() == []
        assert ":FORWARD DROP" in lasting_host.run("iptables-save")
        lasting_host.run("iptables -P FORWARD ACCEPT; ip6tables -P FORWARD ACCEPT")

    def test_docker_user_is_the_admins(self, lasting_host: ThrowawayHost) -> None:
        rule = "-A DOCKER-USER -s 192.0.2.66/32 -i eth0 -j DROP"
        lasting_host.run(f"iptables {rule}")
        assert lasting_host.converge(on("iptables")) == []
        assert not lasting_host.probe("neighbour", f"{HOST_ADDRESS}:8080/tcp", False).is_open
        lasting_host.converge(on("nftables"))
        assert [line for line in save(lasting_host) if line[:2] == "-A"] == [rule]
        lasting_host.converge(on("iptables"))
        assert not lasting_host.probe("neighbour", f"{HOST_ADDRESS}:8080/tcp", False).is_open
        lasting_host.run("iptables -F DOCKER-USER")


@pytest.mark.parametrize("host", BACKENDS[:2], indirect=True)
def test_who_may_reach_a_container_itself(host: ThrowawayHost) -> None:
    naked = {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    words = {
        "networks": {"front": {}, "naked": {"driver_opts": naked}},
        "containers": {"web": {"networks": ["front"], "ports": ["8080:80"]}, "db": {"networks": ["naked"]}},
    }
    marking = (
        "nft add table inet marks; nft add chain inet marks in '{ type filter hook prerouting priority mangle; }';"
        "nft add rule inet marks in meta mark set 0x5"
    )

    def found() -> list[bool]:
        web, db = host.address("web", "front"), host.address("db", "naked")
        return [host.probe("outside", f"{to}/tcp", False).is_open for to in (f"{web}:80", f"{web}:81", f"{db}:80")]

    with host.declared(words):
        for name in ("web", "db"):
            host.serve(name, "80/tcp", "81/tcp")
        assert found() == [False, False, False]
        host.converge({**words, "host": {"allow-direct-routing": True}})
        assert found() == [True, False, False]
        host.converge({**words, "host": {"bridge-accept-fwmark": "0x1/0x3"}})
        assert found() == [False, False, False]
        host.run(marking)
        assert found() == [False, False, True]
        host.run("nft delete table inet marks")


@pytest.mark.parametrize("host", ["iptables-legacy"], indirect=True)
def test_the_older_iptables(host: ThrowawayHost) -> None:
    with host.declared(WORDS):
        assert "table inet wharf" in host.rules()
        host.converge(on("iptables"))
        assert "DOCKER" not in host.run("nft list ruleset")
        before = save(host)
        assert any("-j DNAT" in line for line in before)
        host.run("iptables-legacy -F; iptables-legacy -t nat -F DOCKER; ip6tables-legacy -t raw -F")
        host.converge(on("iptables"))
        assert save(host) == before


@pytest.mark.parametrize(
    "chains",
    [
        "iptables -N DOCKER; iptables -A DOCKER -j RETURN",
        "ip6tables -t nat -N DOCKER; ip6tables -t nat -A PREROUTING -j DOCKER",
    ],
)
def test_chains_of_a_dockerd_are_not_touched(host: ThrowawayHost, chains: str) -> None:
    host.run(chains)
    before = save(host)
    with pytest.raises(EngineError, match="set firewall-backend of the host.s settings to nftables"):
        host.apply(on("iptables"))
    assert save(host) == before
    host.converge(on("nftables"))
    assert save(host) == before
