# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same questions, asked of us, of a real dockerd and of aardvark-dns; docs/names.md lists where answers differ."""

from __future__ import annotations

import copy
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dockerd import IMAGE, Dockerd
from hosts import ThrowawayHost
from test_service_discovery import Reply, parse_dig, upstream

AARDVARK = Path("/usr/lib/podman/aardvark-dns")

WORDS: dict[str, Any] = {
    "networks": {
        "front": {"enable_ipv6": True, "ipam": {"config": [{"subnet": "172.18.0.0/16"}, {"subnet": "fd00:26::/64"}]}},
        "back": {"internal": True, "ipam": {"config": [{"subnet": "172.19.0.0/16"}]}},
    },
    "containers": {
        "web": {"hostname": "lobby", "networks": {"front": {"aliases": ["www"]}}},
        "web2": {"networks": {"front": {"aliases": ["www"]}}},
        "both": {"networks": ["front", "back"]},
        "pg": {"networks": {"back": {"aliases": ["postgres"]}}},
    },
}

# Who asks, for what, and of which type.
QUESTIONS = [
    ("web2", "web", "A"),
    ("web2", "web", "AAAA"),
    ("web2", "WEB", "A"),
    ("web2", "web.front", "A"),
    ("web2", "www", "A"),
    ("web2", "www.front", "A"),
    ("web2", "lobby", "A"),
    ("web", "both", "A"),
    ("pg", "both", "A"),
    ("both", "pg", "A"),
    ("both", "postgres", "A"),
    ("both", "web", "A"),
    ("pg", "both", "AAAA"),
    ("web2", "web", "MX"),
    ("web2", "pg", "A"),
    ("pg", "web", "A"),
    ("web2", "nobody", "A"),
    ("web2", "elsewhere.example.com", "A"),
    ("pg", "elsewhere.example.com", "A"),
    ("web2", "web's address", "PTR"),
    ("web2", "nobody's address", "PTR"),
]

Answers = dict[tuple[str, str, str], str]


def described(reply: Reply, names: Mapping[str, str]) -> str:
    """The answer with names of endpoints for addresses, so that it can be compared."""
    data = " ".join(sorted(names.get(each, each) for each in reply.data))
    return f"{reply.status} {data}".strip()


def answers(ask: Callable[[str, str, str], Reply], addresses: Mapping[str, str]) -> Answers:
    names = {address: name for name, address in addresses.items()}
    special = {"web's address": addresses["web/front"], "nobody's address": "172.18.0.99"}
    return {each: described(ask(each[0], special.get(each[1], each[1]), each[2]), names) for each in QUESTIONS}


def question(name: str, kind: str) -> str:
    asked = f"-x {name}" if kind == "PTR" else f"-q {name} -t {kind}"
    return f"dig +noall +comments +answer +tries=1 +time=2 {asked}"


@pytest.fixture(scope="module")
def ours() -> Iterator[Answers]:
    with ThrowawayHost.started() as host, upstream(host, "192.0.2.53", "203.0.113.53"), host.declared(WORDS):

        def ask(place: str, name: str, kind: str) -> Reply:
            return parse_dig(host.run(f"ip netns exec {place} {question(name, kind)} || true"))

        yield answers(ask, addresses_of(host))


def addresses_of(host: ThrowawayHost) -> dict[str, str]:
    endpoints = host.ledger()["allotted"]["endpoints"]
    found = {name: endpoint["ipv4"] for name, endpoint in endpoints.items()}
    return found | {f"{name} by IPv6": endpoint["ipv6"] for name, endpoint in endpoints.items() if "ipv6" in endpoint}


# What they answer where they answer something else.
OF_DOCKER = {
    # Whatever is nobody's name on the asker's networks is asked for outside.
    ("web2", "pg", "A"): "NOERROR 203.0.113.53",
    ("web2", "nobody", "A"): "NOERROR 203.0.113.53",
    ("web2", "nobody's address", "PTR"): "closed",
    ("pg", "web", "A"): "SERVFAIL",
    ("pg", "elsewhere.example.com", "A"): "SERVFAIL",
}
OF_AARDVARK = {
    ("web2", "pg", "A"): "NOERROR 203.0.113.53",
    ("web2", "nobody", "A"): "NOERROR 203.0.113.53",
    # It knows no names with the network's behind them.
    ("web2", "web.front", "A"): "NOERROR 203.0.113.53",
    ("web2", "www.front", "A"): "NOERROR 203.0.113.53",
    ("web2", "web", "MX"): "REFUSED",
    ("web2", "web's address", "PTR"): "NOERROR lobby. web. www.",
    ("web2", "nobody's address", "PTR"): "REFUSED",
}


def test_beside_a_dockerd(ours: Answers) -> None:
    with (
        ThrowawayHost.started() as host,
        upstream(host, "192.0.2.53", "203.0.113.53"),
        Dockerd.started(host, {}) as dockerd,
    ):
        dockerd.run(f"cd / && tar c $(ls -d bin lib* sbin) | docker import - {IMAGE}")
        dockerd.run("docker network create --ipv6 --subnet 172.18.0.0/16 --subnet fd00:26::/64 front")
        dockerd.run("docker network create --internal --subnet 172.19.0.0/16 back")
        for name, options in (
            ("web", "--network front --network-alias www --hostname lobby"),
            ("web2", "--network front --network-alias www"),
            ("both", "--network front"),
            ("pg", "--network back --network-alias postgres"),
        ):
            dockerd.run(f"docker run -d --name {name} {options} -v /usr:/usr:ro {IMAGE} sleep infinity")
        dockerd.run("docker network connect back both")

        def ask(place: str, name: str, kind: str) -> Reply:
            return parse_dig(dockerd.run(f"docker exec {place} {question(name, kind)} || true"))

        theirs = answers(ask, dict(addresses_by_docker(dockerd)))
    assert {each: theirs[each] for each in QUESTIONS if theirs[each] != ours[each]} == OF_DOCKER


def addresses_by_docker(dockerd: Dockerd) -> Iterator[tuple[str, str]]:
    for container in json.loads(dockerd.run(f"docker inspect {' '.join(WORDS['containers'])}")):
        for network, endpoint in container["NetworkSettings"]["Networks"].items():
            name = f"{container['Name'].strip('/')}/{network}"
            yield name, endpoint["IPAddress"]
            yield f"{name} by IPv6", endpoint["GlobalIPv6Address"]


def test_beside_aardvark(ours: Answers) -> None:
    if not AARDVARK.exists():
        pytest.skip("this needs the package aardvark-dns")
    words = copy.deepcopy(WORDS)
    for network in words["networks"].values():
        network["x-wharf"] = {"dns": False}
    with (
        ThrowawayHost.started() as host,
        upstream(host, "192.0.2.53", "203.0.113.53"),
        host.declared(words),
        aardvark(host),
    ):

        def ask(place: str, name: str, kind: str) -> Reply:
            at = "172.19.0.1" if place == "pg" else "172.18.0.1"
            return parse_dig(host.run(f"ip netns exec {place} {question(name, kind)} @{at} || true"))

        theirs = answers(ask, addresses_of(host))
    assert {each: theirs[each] for each in QUESTIONS if theirs[each] != ours[each]} == OF_AARDVARK


@contextmanager
def aardvark(host: ThrowawayHost) -> Iterator[None]:
    """It goes into the background, and is there once it listens."""
    host.run("mkdir /run/aardvark")
    for network, gateway, internal in (("front", "172.18.0.1", ""), ("back", "172.19.0.1", "%int")):
        host.write(f"/run/aardvark/{network}{internal}", "\n".join([gateway, *entries(host, network), ""]))
    run = f"{AARDVARK} --config /run/aardvark --port 53 run >/run/aardvark.log 2>&1 </dev/null"
    with subprocess.Popen([*host.enter(), "sh", "-c", run]) as starting:
        try:
            until(lambda: "172.19.0.1:53" in host.run("ss -Hlnu") and "172.18.0.1:53" in host.run("ss -Hlnu"))
            yield
        finally:
            host.run("kill -9 $(cat /run/aardvark/aardvark.pid)")
            starting.kill()


def entries(host: ThrowawayHost, network: str) -> Iterator[str]:
    addresses = addresses_of(host)
    for name, container in WORDS["containers"].items():
        if network in container["networks"]:
            given = container["networks"][network] if isinstance(container["networks"], dict) else {}
            called = [name, *given.get("aliases", ()), *filter(None, [container.get("hostname")])]
            on = f"{name}/{network}"
            yield f"id-of-{name} {addresses[on]} {addresses.get(f'{on} by IPv6', '')} {','.join(called)}"


def until(check: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < 20
        time.sleep(0.05)
