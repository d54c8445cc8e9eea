# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall by nftables, by iptables, or by others: from each to each on a live host, and what spoils it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import ABSENT, BACKENDS, ENGINE, EXACT, EngineError, ThrowawayHost
from probes import Conversation, Probe
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
        "web": {"networks": ["front"], "ports": ["8080:80", "8080:80/udp"]},
        "app": {"networks": ["front"]},
        "db": {"networks": ["back"], "ports": ["127.0.0.1:8081:80"]},
        "safe": {"networks": ["vault"]},
        "one": {"networks": ["apart"]},
        "two": {"networks": ["apart"]},
    },
}

# Without what only rules can bring about.
BARE: dict[str, Any] = {
    "host": {"iptables": False, "ip6tables": False},
    "networks": {"front": {"enable_ipv6": True}, "back": {"enable_ipv6": True}},
    "containers": {"web": {"networks": ["front"]}, "app": {"networks": ["front"]}, "db": {"networks": ["back"]}},
}

OPEN = [
    ("outside", "192.0.2.10:8080/tcp"),
    ("outside", "[2001:db8::10]:8080/tcp"),
    ("outside", "192.0.2.10:8080/udp"),
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
    ("db", "web@front:80/tcp"),
    ("db", "web6@front:80/tcp"),
    ("web", "db@back:81/udp"),
    ("web", "safe@vault:80/tcp"),
    ("one", "two@apart:80/tcp"),
    ("neighbour", "203.0.113.1:80/tcp"),
]


def on(backend: str, words: Any = None) -> Any:
    return changed(lambda each: each.update(host={"firewall-backend": backend}), words or WORDS)


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
        answers = self._host.agent.probe_patiently(self._probes, self._expected)
        return [
            f"{place} > {target}: {answer}"
            for (place, target), expected, answer in zip(self._asked, self._expected, answers, strict=True)
            if answer.is_open != expected
        ]


def step_by_step(host: ThrowawayHost, words: Any, look: Callable[[str], None]) -> list[str]:
    """Apply, and look wherever the firewall has been changed in part; all these steps."""
    engine = Conversation([*host.enter(), *ENGINE, str(STEPPED_ENGINE)])
    steps = []
    try:
        told = engine.ask([["apply", "-", "--state", EXACT], json.dumps(words)])
        while isinstance(told, str):
            steps.append(told)
            look(told)
            told = engine.ask("")
        assert told == [0, ""]
    finally:
        # It has the lock of the host.
        engine.kill()
    return steps


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
        assert any("iptables._restore" in step for step in steps)
        assert any("nftables._run" in step for step in steps)
        assert live.converge(on(new)) == []
        assert ("table inet wharf" in live.rules()) == (new == "nftables")
        assert ("DOCKER-FORWARD" in live.run("iptables-save")) == (new == "iptables")

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
        with pytest.raises(EngineError, match="iptables-save: is needed on this host"):
            host.apply(on("iptables"))
        host.converge({}, ABSENT)

    def test_neither_is_needed_where_rules_are_left_to_others(self, host: ThrowawayHost) -> None:
        host.run("rm /etc/alternatives/*tables*; mount --bind /dev/null /usr/sbin/nft")
        host.converge(BARE)
        host.converge({}, ABSENT)
        host.run("umount /usr/sbin/nft")
