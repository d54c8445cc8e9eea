# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the integration tests share: throwaway hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest.register_assert_rewrite("controller", "dockerd", "fleets", "hosts", "matrix")

from controller import Controller  # noqa: E402
from fleets import Fleet, started_fleet  # noqa: E402
from hosts import BACKENDS, ThrowawayHost  # noqa: E402

# Files that take long, the longest first. The tests of the former share nothing that takes long to set up.
_APART = (
    "killed macvlan transaction transitions confirm playbook_inputs playbooks uplink fleet verify overlay_fleet "
    "tutorial openrc lan_leases rates runner options"
).split()
_TOGETHER = "explain overlay living_with_others backends root_in_a_container dockerd matrix".split()
APART, TOGETHER = ([f"tests/integration/test_{name}.py" for name in names] for names in (_APART, _TOGETHER))


class LongestFirst(LoadScopeScheduling):
    """In the end no process is left alone with what takes long: that comes first, and where it can, test by test."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(tuple(APART)) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return LongestFirst(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {file: place for place, file in enumerate([*APART, *TOGETHER])}

    def place(item: pytest.Item) -> tuple[int, bool]:
        file = item.nodeid.partition("::")[0]
        return places.get(file, len(places)), file.startswith("tests/unit")

    items.sort(key=place)


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[ThrowawayHost]:
    """With nftables, or by an indirect parameter with another one of `BACKENDS`."""
    with ThrowawayHost.started(backend=getattr(request, "param", BACKENDS[0])) as started:
        yield started


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with started_fleet(tmp_path) as started:
        yield started


@pytest.fixture
def controller(host: ThrowawayHost, tmp_path: Path) -> Controller:
    return Controller(host, tmp_path)
