# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random topologies: everybody asks everybody, and an oracle that knows nothing of the engine knows the answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
from hosts import BACKENDS, ThrowawayHost
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from matrix import HOSTILE, OPEN_TO_ALL, ROWS, WORDS, Addresses, Row
from oracle import CLOSED, Oracle
from probes import Answer, Probe

_OPTION = "com.docker.network.bridge."
NETWORKS = ("n1", "n2", "n3")
CONTAINERS = ("c1", "c2", "c3", "c4")
SERVED = ("80/tcp", "81/tcp", "80/udp", "81/udp")


# The oracle knows the matrix


def _is_plain(row: Row) -> bool:
    """Whether nobody has done anything to be able to ask."""
    foreign = row.who in ("guest", "guest2")
    spoofs = row.target.startswith("127.") and row.who not in ("host", "mon", "job")
    return not foreign and not spoofs and (row.who not in HOSTILE or bool(row.by))


def test_oracle_knows_the_matrix() -> None:
    oracle = Oracle(WORDS)
    wrong = []
    for row in [row for row in ROWS if _is_plain(row)]:
        where, _colon, port = row.target.rpartition(":")
        asked = 0 if row.protocol == "ping" else int(port)
        expected = oracle.reached(row.who, where, asked, row.protocol, row.version)
        seen = oracle.seen_as(row.who, where, row.version)
        if expected != row.by or (row.sees and seen not in ("", row.sees)):
            wrong.append(f"{row}: {replace(row, by=expected, sees=seen).outcome}, instead of {row.outcome}")
    assert not wrong, "\n".join(wrong)


# Random topologies


MODES = ("nat", "nat-unprotected", "routed")


@st.composite
def topologies(draw: st.DrawFn) -> dict[str, Any]:
    networks = {name: draw(_networks()) for name in NETWORKS}
    containers = {}
    for number, name in enumerate(CONTAINERS):
        attached = draw(st.lists(st.sampled_from([*networks, "bridge"]), min_size=1, max_size=2, unique=True))
        ports = [f"{8000 + 10 * number}:80", f"{8000 + 10 * number}:80/udp"]
        ports += [f"127.0.0.1:{8001 + 10 * number}:81", f"192.0.2.10:{8002 + 10 * number}:81/udp"]
        # What cannot be published is refused.
        leads_out = any(not networks.get(each, {}).get("internal") for each in attached)
        published = draw(st.lists(st.sampled_from(ports), unique=True)) if leads_out else []
        containers[name] = {"networks": attached, "ports": published}
    return {"host": {"ipv6": draw(st.booleans())}, "networks": networks, "containers": containers}


def _networks() -> st.SearchStrategy[dict[str, Any]]:
    flags = st.sampled_from(["true", "false"])
    optional = {f"{_OPTION}{key}": flags for key in ("enable_icc", "enable_ip_masquerade")}
    optional |= {f"{_OPTION}gateway_mode_ipv{version}": st.sampled_from(MODES) for version in (4, 6)}
    options = st.fixed_dictionaries({}, optional=optional)
    return st.fixed_dictionaries(
        {"enable_ipv6": st.booleans(), "driver_opts": options}, optional={"internal": st.just(True)}
    )


@dataclass(frozen=True)
class Question:
    who: str
    to: str
    port: int
    protocol: str
    version: int

    def __str__(self) -> str:
        return f"{self.who} > {self.to}:{self.port} {self.protocol} v{self.version}"


def questions(words: dict[str, Any], addresses: Addresses) -> Iterator[Question]:
    published = {
        int(port.split("/")[0].split(":")[-2]) for each in words["containers"].values() for port in each["ports"]
    }
    endpoints = [(name, version) for name, version in addresses.by_name if not name.startswith("gateway@")]
    for who in ("host", "outside", *words["containers"]):
        for (name, version), port in product(endpoints, (0, 80, 81)):
            yield from _by_protocols(who, name, port, version)
        for version, port in product((4, 6), (0, 9, OPEN_TO_ALL, *sorted(published))):
            yield from _by_protocols(who, "host", port, version)
        for name, version in addresses.by_name:
            if name.startswith("gateway@") and who not in ("outside", "host"):
                for port in sorted(published):
                    yield from _by_protocols(who, name, port, version)
        if who not in ("host", "outside"):
            yield from (each for version in (4, 6) for each in _by_protocols(who, "internet", 80, version))
    for port in sorted(published):
        yield from _by_protocols("host", "127.0.0.1", port, 4)


def _by_protocols(who: str, to: str, port: int, version: int) -> Iterator[Question]:
    for protocol in ("tcp", "udp") if port else ("ping",):
        yield Question(who, to, port, protocol, version)


@pytest.mark.parametrize("backend", BACKENDS[:2])
@settings(
    max_examples=5, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(words=topologies())
def test_everybody_reaches_whom_the_oracle_says(backend: str, words: dict[str, Any]) -> None:
    with ThrowawayHost.started(backend=backend) as host:
        host.apply(words)
        addresses = Addresses.allotted(host)
        for place in (*words["containers"], "outside"):
            host.serve(place, *SERVED)
        host.serve("host", f"{OPEN_TO_ALL}/tcp", f"{OPEN_TO_ALL}/udp")
        asked = list(questions(words, addresses))
        oracle = Oracle(words)
        expected = [oracle.reached(each.who, each.to, each.port, each.protocol, each.version) for each in asked]
        probes = [_probe(host, addresses, each) for each in asked]
        answers = host.agent.probe_patiently(probes, [bool(name) for name in expected])
    wrong = [
        f"{question}: {answer}, but {name or 'closed'} should be"
        for question, name, answer in zip(asked, expected, answers, strict=True)
        if not _agrees(answer, question, name, addresses, oracle)
    ]
    assert not wrong, "\n".join(wrong)


def _probe(host: ThrowawayHost, addresses: Addresses, asked: Question) -> Probe:
    return Probe(host.path(asked.who), asked.protocol, addresses.of(asked.to, asked.version), asked.port)


def _agrees(answer: Answer, asked: Question, expected: str, addresses: Addresses, oracle: Oracle) -> bool:
    if asked.protocol == "ping":
        return answer.is_open == (expected != CLOSED)
    if expected == CLOSED:
        # Nor does a datagram arrive that nobody answers.
        return not answer.is_open and not answer.heard_by
    seen = oracle.seen_as(asked.who, asked.to, asked.version)
    return answer.by == expected and seen in ("", addresses.name(answer.sees))
