# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conformance matrix, cell by cell, beside a real dockerd. Where they differ is said in docs/conformance.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dockerd import Dockerd, known_to_26
from hosts import ThrowawayHost
from matrix import ROWS, WORDS, Addresses, Prober, Row, add_guests, parse

PAGE = Path(__file__).parents[2] / "docs/conformance.md"
PROXY, NO_PROXY = "userland-proxy: true", "userland-proxy: false"

KNOWN = known_to_26(WORDS)
_UNKNOWN = {name for kind in ("networks", "containers") for name in WORDS[kind].keys() - KNOWN[kind].keys()}
ASKED = [row for row in ROWS if not row.names & _UNKNOWN]


def differences(proxy: str) -> dict[str, Row]:
    """What comes of a probe with dockerd, where that is not what comes of it with us."""
    blocks = re.findall(r"^```cells *(.*)\n([^`]*)^```$", PAGE.read_text(), re.MULTILINE)
    listed = [row for setting, table in blocks if setting in ("", proxy) for row in parse(table)]
    return {str(row): row for row in listed}


DIFFERENCES = {proxy: differences(proxy) for proxy in (PROXY, NO_PROXY)}


@dataclass(frozen=True)
class Twins:
    proxy: str
    ours: Prober
    dockers: Prober


@pytest.fixture(scope="module")
def ours() -> Iterator[Prober]:
    with ThrowawayHost.started() as host:
        add_guests(host)
        with host.declared(WORDS):
            yield Prober(host, Addresses.allotted(host))


@pytest.fixture(scope="module", params=[PROXY, NO_PROXY])
def twins(request: pytest.FixtureRequest, ours: Prober) -> Iterator[Twins]:
    words = {**KNOWN, "host": {**KNOWN["host"], "userland-proxy": request.param == PROXY}}
    expected = [DIFFERENCES[request.param].get(str(row), row) for row in ASKED]
    with ThrowawayHost.started() as host:
        add_guests(host)
        with Dockerd.started(host, words) as dockerd:
            yield Twins(request.param, ours, Prober(host, dockerd.make(words), expected, words))


@pytest.mark.parametrize("row", ASKED, ids=str)
def test_docker_agrees_but_for_what_is_named(twins: Twins, row: Row) -> None:
    ours, dockers = twins.ours.cell(row), twins.dockers.cell(row)
    named = DIFFERENCES[twins.proxy].get(str(row))
    if named:
        assert named.agrees(dockers), f"docs/conformance.md says otherwise; dockerd: {dockers}, we: {ours}"
        assert ours != dockers, f"docs/conformance.md names a difference where there is none: {ours}"
    else:
        assert ours == dockers


@pytest.mark.parametrize("proxy", [PROXY, NO_PROXY])
def test_all_that_is_named_is_in_the_matrix(proxy: str) -> None:
    assert DIFFERENCES[proxy].keys() <= {str(row) for row in ASKED}
    assert all(row.sees or row.protocol == "ping" or not row.by for row in DIFFERENCES[proxy].values())
