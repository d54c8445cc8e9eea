# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the integration tests share: throwaway hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("controller", "dockerd", "hosts", "matrix")

from controller import Controller  # noqa: E402
from hosts import BACKENDS, ThrowawayHost  # noqa: E402


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[ThrowawayHost]:
    """With nftables, or by an indirect parameter with another one of `BACKENDS`."""
    with ThrowawayHost.started(backend=getattr(request, "param", BACKENDS[0])) as started:
        yield started


@pytest.fixture
def controller(host: ThrowawayHost, tmp_path: Path) -> Controller:
    return Controller(host, tmp_path)
