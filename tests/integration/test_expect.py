# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios on VMs expect is asked of the same agent as here."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import agent
import pytest

LIBRARY = Path(__file__).parent / "molecule/library"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_what_answers_and_what_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ansible.module_utils.agent", agent)
    monkeypatch.setattr("ansible.module_utils.agent", agent, raising=False)
    monkeypatch.syspath_prepend(LIBRARY)
    import expect

    monkeypatch.setattr(expect, "CLOSED_AFTER", 1)
    opened, closed = free_port(), free_port()
    agent.serve(expect.place(""), "web", "tcp", "127.0.0.1", opened)
    expectations = [
        {"tcp": f"127.0.0.1:{opened}", "gives": r"web sees 127\.0\.0\.1"},
        {"tcp": f"127.0.0.1:{closed}", "gives": "closed"},
        {"value": 1, "gives": "2"},
    ]
    checked = [*map(expect.checked, expectations, expect.look(expectations))]
    assert [proven for _line, proven in checked] == [True, True, False]
    assert checked[-1][0].endswith("value gives '2', and not '1'")
