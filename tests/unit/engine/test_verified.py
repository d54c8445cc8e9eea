# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What packets have shown is kept on the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine import verified
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError

PROBE: dict[str, Any] = {
    "from": "host",
    "to": "192.0.2.10",
    "port": 8080,
    "protocol": "tcp",
    "expected": "open",
    "name": "web",
    "seen": "open",
    "fulfilled": True,
    "why": "",
}


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(verified, "PATH", str(tmp_path / "verified.json"))
    return tmp_path / "verified.json"


def kept() -> dict[str, Any]:
    found = verified.read()
    assert found is not None
    return found


def test_what_others_found_stands_beside_what_the_host_found() -> None:
    verified.keep([PROBE])
    at = kept()["at"]
    verified.keep_from_others({"monitor": [{**PROBE, "seconds": 0.1}], "edge": []})
    assert kept()["probes"] == [PROBE]
    assert kept()["from_others"] == [{**PROBE, "from": "monitor"}]
    assert kept()["at"] == at


def test_what_the_host_finds_anew_ends_what_others_found() -> None:
    verified.keep([])
    verified.keep_from_others({"monitor": [PROBE]})
    verified.keep([PROBE])
    assert kept()["from_others"] == []


def test_nothing_is_kept_beside_nothing(path: Path) -> None:
    verified.keep_from_others({"monitor": [PROBE]})
    assert verified.read() is None
    path.write_text('{"at": 1, "probes": []}', encoding="utf-8")
    assert verified.read() is None


@pytest.mark.parametrize("wrong", [{"monitor": "open"}, {"monitor": [{"from": "host"}]}, {"monitor": 1}])
def test_anything_else_is_an_error(wrong: Any) -> None:
    with pytest.raises(ModelError, match="from_others: must be a dictionary"):
        verified.keep_from_others(wrong)
