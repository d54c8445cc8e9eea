# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of containers that others run is known for one run only."""

from __future__ import annotations

import json
import os

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.doors import runtimes

WEB = {"Name": "web", "State": {"Pid": os.getpid()}, "HostsPath": "/run/web/hosts"}


def test_a_container_that_has_ended_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    running = {"ps": "1234", "inspect": json.dumps([WEB])}
    monkeypatch.setattr(runtimes, "_output", lambda _program, verb, *_arguments: running.get(verb, ""))
    runtimes.look_anew()
    found = runtimes.Running(os.getpid(), {"hosts": "/run/web/hosts"})
    assert runtimes.running("podman:web") == found
    running.clear()
    assert runtimes.running("podman:web") == found
    runtimes.look_anew()
    assert runtimes.running("podman:web") is None
