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
from dockerd import LATER_OPTIONS, Dockerd
from hosts import BACKENDS, ThrowawayHost
from matrix import WORDS, Addresses, Prober, Row, add_guests, parse, rows_about, without

PAGE = Path(__file__).parents[2] / "docs/conformance.md"
PROXY, NO_PROXY = "userland-proxy: true", "userland-proxy: false"

KNOWN = without(WORDS, LATER_OPTIONS)
ASKED = rows_about(KNOWN)


def differences(proxy: str) -> dict[str, Row]:
    """What comes of a probe with dockerd, where that is not what comes of it with us."""
    blocks = re.findall(r"^```cells *(.*)\n([^`]*)^```$", PAGE.read_text(), re.MULTILINE)
    listed = [row for setting, table in blocks if setting in ("", proxy) for row in parse(table)]
    return {str(row): row for row in listed}


DIFFERENCES = {proxy: differences(proxy) for proxy in (PROXY, NO_PROXY)}


@pytest.fixture(scope="module")
def ours() -> dict[str, Prober]:
    """By the backend of the rules, and whether bridged packets pass through them, which dockerd decides by itself."""
    return {f"{backend}, bridge-nf {nf}": _probed(backend, nf) for backend in BACKENDS[:2] for nf in (0, 1)}


def _probed(backend: str, bridge_nf: int) -> Prober:
    with ThrowawayHost.started(bridge_nf, backend) as host:
        add_guests(host)
        host.apply(WORDS)
        return Prober(host, Addresses.allotted(host))


@dataclass(frozen=True)
class Theirs:
    prober: Prober
    differences: dict[str, Row]


@pytest.fixture(scope="module", params=[PROXY, NO_PROXY])
def theirs(request: pytest.FixtureRequest) -> Theirs:
    words = {**KNOWN, "host": {**KNOWN["host"], "userland-proxy": request.param == PROXY}}
    named = DIFFERENCES[request.param]
    with ThrowawayHost.started() as host:
        add_guests(host)
        with Dockerd.started(host, words) as dockerd:
            rows = [named.get(str(row), row) for row in ASKED]
            return Theirs(Prober(host, dockerd.make(words), rows, words), named)


def test_docker_agrees_but_for_what_is_named(ours: dict[str, Prober], theirs: Theirs) -> None:
    wrong = [f"{row}: docs/conformance.md {mistake}" for row in ASKED for mistake in mistakes(row, ours, theirs)]
    assert not wrong, "\n".join(wrong)


def mistakes(row: Row, ours: dict[str, Prober], theirs: Theirs) -> Iterator[str]:
    """What docs/conformance.md says wrongly of a row, or does not say."""
    dockers = theirs.prober.cell(row)
    named = theirs.differences.get(str(row))
    if named and not named.agrees(dockers):
        yield f"says {named.outcome}, and dockerd gives {dockers}"
    for backend, prober in ours.items():
        we = prober.cell(row)
        if named and we == dockers:
            yield f"names a difference where there is none with {backend}: {we}"
        if not named and we != dockers:
            yield f"does not name this difference: {we} with {backend}, {dockers} with dockerd"


@pytest.mark.parametrize("proxy", [PROXY, NO_PROXY])
def test_all_that_is_named_is_in_the_matrix(proxy: str) -> None:
    assert DIFFERENCES[proxy].keys() <= {str(row) for row in ASKED}
    assert all(row.sees or row.protocol == "ping" or not row.by for row in DIFFERENCES[proxy].values())
