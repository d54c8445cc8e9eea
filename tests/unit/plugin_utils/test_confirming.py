# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's attempts to confirm a run: each by a connection of its own, and not for ever."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

from ansible_collections.wharf.network.plugins.plugin_utils import confirming
from ansible_collections.wharf.network.plugins.plugin_utils.confirming import confirm_by_new_connection, play

CONFIRMED = {"changed": True, "confirmed": {"id": "1"}}
AWAY = AnsibleConnectionFailure("away")


class Connection:
    """Notes how often it was made anew, and how long each attempt might take."""

    transport = "ssh"

    def __init__(self) -> None:
        self.resets = 0
        self.timeout = 180
        self.timeouts: list[int] = []

    def reset(self) -> None:
        self.resets += 1

    def get_option(self, name: str) -> int:
        assert name == "timeout"
        return self.timeout

    def set_option(self, name: str, value: int) -> None:
        assert name == "timeout"
        self.timeout = value


class Local(Connection):
    transport = "local"
    reset = ConnectionBase.reset

    def get_option(self, name: str) -> int:
        raise KeyError(name)


def asked(connection: Connection, *answers: Any, seconds: float = 100) -> dict[str, Any]:
    left = list(answers)

    def ask() -> dict[str, Any]:
        connection.timeouts.append(connection.timeout)
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    return confirm_by_new_connection(ask, connection, seconds)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes by sleeping alone."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def test_each_attempt_makes_a_new_connection() -> None:
    connection = Connection()
    assert asked(connection, AWAY, {"failed": True, "rc": 255, "msg": "MODULE FAILURE"}, CONFIRMED) == CONFIRMED
    assert connection.resets == 3
    # None waits for longer than there is time; afterwards it is as it was.
    assert connection.timeouts == [100, 99, 98]
    assert connection.timeout == 180


def test_after_its_time_it_gives_up_and_says_why() -> None:
    connection = Connection()
    result = asked(connection, AWAY, seconds=10)
    assert result == {"failed": True, "msg": "no new connection to this host succeeds: away"}
    assert connection.resets == 10


def test_what_the_host_refuses_is_not_asked_again() -> None:
    refused = {"failed": True, "msg": "too late", "problems": []}
    connection = Connection()
    assert asked(connection, refused) == refused
    assert connection.resets == 1


def test_a_local_connection_proves_nothing() -> None:
    result = asked(Local(), CONFIRMED)
    assert result["confirmed"]
    assert "does not prove" in result["warnings"][0]


def test_who_makes_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirming, "_user", lambda: "alice")
    assert play({"ansible_play_name": "Networks"}).startswith('the play "Networks" of alice at ')
    assert play({"ansible_play_name": "Networks", "awx_job_id": 42}) == 'the play "Networks" of job 42 of AWX'
