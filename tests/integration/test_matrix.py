# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reaches whom: the conformance matrix, proved with packets."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from hosts import BACKENDS, ThrowawayHost
from matrix import (
    LOCAL_ONLY,
    OPEN_TO_ALL,
    WORDS,
    Addresses,
    Prober,
    add_guests,
)


@pytest.fixture(scope="module", params=[0, 1], ids=lambda value: f"bridge-nf {value}")
def bridge_nf(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def prober(bridge_nf: int, backend: str) -> Iterator[Prober]:
    with ThrowawayHost.started(bridge_nf, backend) as host:
        add_guests(host)
        with host.declared(WORDS):
            yield Prober(host, Addresses.allotted(host))


def test_who_reaches_whom(prober: Prober) -> None:
    wrong = prober.disagreements()
    assert not wrong, "\n".join(wrong)


SPOOFED = [
    ("peer", "127.0.0.1", "gateway@front"),
    ("peer", "127.0.0.2", "gateway@front"),
    ("peer", "127.0.0.2", "host"),
    ("naked2", "127.0.0.1", "gateway@routed"),
    ("tool", "127.0.0.2", "gateway@bridge"),
    ("tool", "127.0.0.1", "host"),
    ("neighbour", "127.0.0.1", "host"),
    ("neighbour", "web@front", "peer@front"),
    ("neighbour", "outside", "safe@vault"),
    ("peer", "app@back", "app@back"),
    ("lone2", "lone2@lonely", "lone@lonely"),
    ("grim2", "grim2@stern", "grim@stern"),
    ("mute2", "mute2@cell", "host"),
    ("mute2", "mute2@cell", "bob@bare"),
]


def test_no_datagram_arrives_from_a_false_source(prober: Prober) -> None:
    for who, source, target in SPOOFED:
        for port in (80, OPEN_TO_ALL, LOCAL_ONLY):
            prober.send_spoofed(who, source, target, port, f"from {source}, sent by {who} to {target}")
    arrived = prober.heard(", sent by ")
    assert not arrived, "\n".join(arrived)


@pytest.mark.parametrize("version", [4, 6])
def test_nobody_gets_into_a_flow_of_others(prober: Prober, version: int) -> None:
    """What is established passes all but the rule against direct access, which stands before connections are known."""
    text = f"into a flow by v{version}"
    assert prober.begin_flow("peer", "web@front", 80, version)
    prober.send_spoofed("neighbour", "peer@front", "web@front", 80, text, version)
    assert prober.heard(text) == []


@pytest.mark.parametrize("version", [4, 6])
def test_false_sources_are_sent_at_all(prober: Prober, version: int) -> None:
    text = f"false by v{version}"
    prober.send_spoofed("tool", "tool2@bridge", "gateway@bridge", OPEN_TO_ALL, text, version)
    assert len(prober.heard(text)) == 1


def test_sctp_has_its_rules(host: ThrowawayHost) -> None:
    with host.declared({"containers": {"tool": {"ports": ["9999:99/sctp"]}}}):
        address = host.address("tool", "bridge")
        published = host.run("nft list map inet wharf published4")
        assert re.search(rf'sctp \. 9999 comment "container tool" : {re.escape(address)} \. 99', published)
        assert f"{address} . sctp . 99" in host.run("nft list set inet wharf targets4")
        try:
            socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
        except OSError as error:
            pytest.skip(f"this kernel has no SCTP sockets, so no packets prove it: {error.strerror}")
