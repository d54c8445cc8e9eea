# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of containers that others run is known for one run only, and asked for by one connection."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.runtimes import runtimes
from ansible_collections.wharf.network.plugins.module_utils.engine.state import SandboxRef

ref = SandboxRef.parse

DOCKER_SOCKET = runtimes.DOCKER_SOCKET
WEB = {"Id": "2f6e", "Name": "/web", "State": {"Pid": os.getpid()}, "HostsPath": "/run/web/hosts"}
FOUND = runtimes.Running(os.getpid(), {"hosts": "/run/web/hosts"}, "2f6e")


class Engine(ThreadingUnixStreamServer):
    """Answers as the Docker Engine does, and counts."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, _Handler)
        self.connections = 0
        self.requests: list[str] = []
        self.status = 200
        # Set where it answers at once.
        self.answering = threading.Event()
        self.answering.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if not self.server.answering.is_set():
            self.close_connection = True
            self.server.answering.wait(5)
            return
        status = self.server.status if "gone" not in self.path else 404
        name = {"2f": "/web"}.get(self.path.split("/")[2], "/" + self.path.split("/")[2])
        body = json.dumps({**WEB, "Name": name} if status == 200 else {"message": "no"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return ""

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(runtimes, "DOCKER_SOCKET", str(tmp_path / "docker.sock"))
    runtimes.look_anew()
    with Engine(runtimes.DOCKER_SOCKET) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
    runtimes.look_anew()


def test_docker_is_asked_once_for_each_container_by_one_connection(engine: Engine) -> None:
    for _layer in range(3):
        assert runtimes.running(ref("docker:web")) == runtimes.running(ref("docker:db")) == FOUND
        assert runtimes.running(ref("docker:gone")) is None
    assert engine.requests == [f"/containers/{name}/json" for name in ("web", "db", "gone")]
    assert engine.connections == 1
    assert not any(runtimes.is_unreadable(ref(f"docker:{name}")) for name in ("web", "gone"))


def test_a_runtime_that_does_not_answer_is_not_asked_again(engine: Engine) -> None:
    engine.status = 500
    assert [runtimes.running(ref(f"docker:{name}")) for name in ("web", "db", "gone")] == [None] * 3
    assert len(engine.requests) == 1
    assert all(runtimes.is_unreadable(ref(f"docker:{name}")) for name in ("web", "gone"))
    assert not runtimes.is_unreadable(ref("netns:web"))
    engine.status = 200
    runtimes.look_anew()
    assert runtimes.running(ref("docker:web")) == FOUND
    assert not runtimes.is_unreadable(ref("docker:web"))


def test_a_daemon_that_hangs_is_waited_for_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_PATIENCE", 0.2)
    engine.answering.clear()
    began = time.monotonic()
    assert [runtimes.running(ref(f"docker:{name}")) for name in ("web", "db", "gone")] == [None] * 3
    assert 0.2 <= time.monotonic() - began < 1
    assert [*runtimes.silences()] == [
        f"the Docker Engine at {DOCKER_SOCKET} does not answer (timed out): its containers are pending, and their "
        "links stay as they are"
    ]
    engine.answering.set()


def test_a_container_that_has_ended_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    running = {"ps": "1234", "inspect": json.dumps([{**WEB, "Name": "web"}])}
    monkeypatch.setattr(runtimes, "_output", lambda _program, verb, *_arguments: running.get(verb, ""))
    runtimes.look_anew()
    assert runtimes.running(ref("podman:web")) == FOUND
    running.clear()
    assert runtimes.running(ref("podman:web")) == FOUND
    runtimes.look_anew()
    assert runtimes.running(ref("podman:web")) is None
    assert not runtimes.is_unreadable(ref("podman:web"))
