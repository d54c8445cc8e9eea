# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to containers that somebody else runs: their first processes, and where their files of names are kept.

Changes nothing. Of a container that does not run, and of a runtime that is not there, nothing is known.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

from ..state import DOCKER, MACHINE, PODMAN

DOCKER_SOCKET = "/run/docker.sock"

# Seconds. A runtime that does not answer must not keep the host's lock.
_PATIENCE = 30

# The keys of `docker inspect` and `podman inspect`, by the file's name in /etc.
_FILES = {"hosts": "HostsPath", "hostname": "HostnamePath", "resolv.conf": "ResolvConfPath"}


@dataclass(frozen=True)
class Running:
    """A container that runs. `files` are those of its `/etc` that its runtime keeps elsewhere and mounts into it."""

    pid: int
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return f"/proc/{self.pid}/ns/net"

    @property
    def root(self) -> str:
        return f"/proc/{self.pid}/root"


def running(sandbox: str) -> Optional[Running]:
    """What is known of `docker:NAME`, `podman:NAME` or `machine:NAME`; None where it does not run."""
    runtime, _colon, name = sandbox.partition(":")
    found = _LOOK_UP[runtime](name)
    return found if found and os.path.exists(found.namespace) else None


def look_anew() -> None:
    """Forget what is known: in a process that lasts, containers end, and their numbers go to others."""
    for ask in (_docker, _podman, _machines):
        ask.cache_clear()


@cache
def _docker(name: str) -> Optional[Running]:
    with suppress(OSError, ValueError, http.client.HTTPException), closing(_EngineConnection()) as engine:
        engine.request("GET", f"/containers/{name}/json")
        response = engine.getresponse()
        if response.status == http.client.OK:
            return _of_inspection(json.load(response))
    return None


class _EngineConnection(http.client.HTTPConnection):
    """HTTP over the socket of the Docker Engine."""

    def __init__(self) -> None:
        super().__init__("docker", timeout=_PATIENCE)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(DOCKER_SOCKET)


def _of_inspection(words: Mapping[str, Any]) -> Optional[Running]:
    pid = int(words["State"]["Pid"])
    files = {file: str(words[key]) for file, key in _FILES.items() if words.get(key)}
    return Running(pid, files) if pid else None


@cache
def _podman() -> Mapping[str, Running]:
    """All that run, by name."""
    ids = _output("podman", "ps", "--quiet", "--no-trunc").split()
    found: Dict[str, Running] = {}
    if ids:
        with suppress(ValueError):
            for words in json.loads(_output("podman", "inspect", "--type", "container", *ids)):
                container = _of_inspection(words)
                if container:
                    found[str(words["Name"])] = container
    return found


@cache
def _machines() -> Mapping[str, Running]:
    """All that systemd-machined knows, by name."""
    names = [line.split()[0] for line in _output("machinectl", "list", "--no-legend").splitlines() if line.strip()]
    if not names:
        return {}
    shown = _output("machinectl", "show", "--property=Name", "--property=Leader", *names)
    return {words["Name"]: Running(int(words["Leader"])) for words in _paragraphs(shown)}


def _paragraphs(text: str) -> Iterator[Dict[str, str]]:
    """`KEY=VALUE` lines in paragraphs, as systemd's tools print them."""
    for paragraph in text.strip().split("\n\n"):
        yield dict(line.split("=", 1) for line in paragraph.splitlines() if "=" in line)


def _output(program: str, *arguments: str) -> str:
    """What it prints; nothing where it is not installed, or fails."""
    path = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin")
    if path is None:
        return ""
    command: List[str] = [path, *arguments]
    with suppress(subprocess.TimeoutExpired):
        # There is no run_command in an engine that also runs without Ansible.
        ran = subprocess.run(  # pylint: disable=ansible-bad-function
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
        return "" if ran.returncode else ran.stdout
    return ""


_LOOK_UP: Dict[str, Callable[[str], Optional[Running]]] = {
    DOCKER: _docker,
    PODMAN: lambda name: _podman().get(name),
    MACHINE: lambda name: _machines().get(name),
}
