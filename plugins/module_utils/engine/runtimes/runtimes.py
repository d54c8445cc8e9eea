# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What third-party runtimes say of their containers: their first processes, and where their files of names are kept.

Changes nothing. Each runtime is asked by one connection or program for all containers of a run, and no more once it has
not answered: of what it runs then nobody knows.
"""

from __future__ import annotations

import http.client
import json
import os
import pwd
import shutil
import socket
import subprocess
from contextlib import suppress
from functools import cache
from typing import Any, Dict, Iterator, List, Mapping, Optional

from ..kernel.system_bus import BusError, SystemBus
from ..state import DOCKER, MACHINE, PODMAN, SandboxRef
from . import namespace_processes
from .namespace_processes import Running

DOCKER_SOCKET = "/run/docker.sock"

# Seconds. A runtime that does not answer must not keep the host's lock.
_PATIENCE = 15

# The keys of `docker inspect` and `podman inspect`, by the file's name in /etc.
_FILES = {"hosts": "HostsPath", "hostname": "HostnamePath", "resolv.conf": "ResolvConfPath"}

_MACHINED = "org.freedesktop.machine1"
_NO_SUCH_MACHINE = "org.freedesktop.machine1.NoSuchMachine"


def running(sandbox: SandboxRef) -> Optional[Running]:
    """What is known of whoever runs in a sandbox that somebody else makes; None where nobody is known to.

    Raises:
        NoFilesError: several do, so that nobody can tell whose files are meant.
    """
    found = _asked(sandbox) if sandbox.has_runtime else namespace_processes.resident(sandbox)
    return found if found and os.path.exists(found.namespace) else None


def silences() -> Iterator[str]:
    """Of each runtime that was asked and does not answer, why."""
    for runtime in _asked_runtimes.values():
        if not runtime.answers:
            yield (
                f"{runtime.called} does not answer ({runtime.silence}): its containers are pending, and what connects "
                "them stays as it is"
            )


def rootless_user(sandbox: SandboxRef) -> str:
    """Who runs this container of Podman, where it is not root, whose Podman alone is asked; else empty."""
    for pid in filter(str.isdigit, os.listdir("/proc")) if sandbox.kind == PODMAN else ():
        with suppress(OSError, ValueError):
            owner = os.stat(f"/proc/{pid}").st_uid
            if owner != os.geteuid() and _is_of_the_host(pid) and _watched_container(pid) == sandbox.name:
                return _user_name(owner)
    return ""


def _is_of_the_host(pid: str) -> bool:
    """Whether it numbers processes as we do: what is in a container has any name and arguments that it likes."""
    return os.path.samefile(f"/proc/{pid}/ns/pid", "/proc/self/ns/pid")


def _watched_container(pid: str) -> str:
    """The name of the container that this process of Podman's watches over; empty for all other processes."""
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        if file.read() != "conmon\n":
            return ""
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
        words = file.read().split("\0")
    return words[words.index("-n") + 1]


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def is_unreadable(sandbox: SandboxRef) -> bool:
    """Whether this is a container whose runtime does not answer: it may run all the same."""
    return sandbox.has_runtime and _asked(sandbox) is None and not _runtime(sandbox.kind).answers


def look_anew() -> None:
    """Forget what is known: in a process that lasts, containers end, and their numbers go to others."""
    namespace_processes.look_anew()
    _asked.cache_clear()
    _asked_runtimes.clear()


@cache
def _asked(sandbox: SandboxRef) -> Optional[Running]:
    return _runtime(sandbox.kind).find(sandbox.name)


class _Runtime:
    """Who runs containers, how that is `called`, and why it does not answer, if it does not."""

    called = ""
    silence = ""

    @property
    def answers(self) -> bool:
        return not self.silence

    def find(self, name: str) -> Optional[Running]:
        if self.answers:
            try:
                return self._find(name)
            except (OSError, http.client.HTTPException, BusError) as error:
                self.silence = str(error) or type(error).__name__
            except (ValueError, KeyError, TypeError) as error:
                self.silence = f"what it says makes no sense: {error!r}"
        return None

    def _find(self, name: str) -> Optional[Running]:
        """None where it does not run. Raises whatever, where there is no answer."""
        raise NotImplementedError


class _Docker(_Runtime):
    """The Engine's list of containers has neither their processes nor their files, so each is asked for."""

    called = f"the Docker Engine at {DOCKER_SOCKET}"

    def __init__(self) -> None:
        self._engine = _EngineConnection()

    def _find(self, name: str) -> Optional[Running]:
        self._engine.request("GET", f"/containers/{name}/json")
        response = self._engine.getresponse()
        # Read to its end, so that the connection can be used again.
        body = response.read()
        if response.status == http.client.NOT_FOUND:
            return None
        if response.status != http.client.OK:
            raise OSError(f"{response.status} {response.reason}")
        words = json.loads(body)
        # It also takes the beginning of another one's id for a name.
        return _of_inspection(words) if words["Name"].lstrip("/") == name else None


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
    return Running(pid, files, str(words["Id"])) if pid else None


class _Podman(_Runtime):
    """It has no daemon: its program tells all that run, at once. Those of other users than root it does not know."""

    called = "Podman"

    def __init__(self) -> None:
        self._all: Optional[Dict[str, Optional[Running]]] = None

    def _find(self, name: str) -> Optional[Running]:
        if self._all is None:
            ids = _output("podman", "ps", "--quiet", "--no-trunc").split()
            told = json.loads(_output("podman", "inspect", "--type", "container", *ids)) if ids else []
            self._all = {str(words["Name"]): _of_inspection(words) for words in told}
        return self._all.get(name)


class _Machined(_Runtime):
    """systemd-machined, by D-Bus: what its program prints is for people, addresses over several lines included."""

    called = "systemd-machined"

    def __init__(self) -> None:
        self._bus: Optional[SystemBus] = None

    def _find(self, name: str) -> Optional[Running]:
        self._bus = self._bus or SystemBus(_PATIENCE)
        try:
            manager = f"{_MACHINED}.Manager"
            machine = self._bus.call(_MACHINED, "/org/freedesktop/machine1", manager, "GetMachine", "s", name)
        except BusError as error:
            if error.name == _NO_SUCH_MACHINE:
                return None
            raise
        of_machine = (_MACHINED, machine, "org.freedesktop.DBus.Properties", "GetAll", "s", f"{_MACHINED}.Machine")
        told = self._bus.call(*of_machine)
        return Running(told["Leader"], id=told["RootDirectory"])


def _output(program: str, *arguments: str) -> str:
    """What it prints.

    Raises:
        OSError: it is not installed, fails, or does not end.
    """
    path = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin")
    if path is None:
        raise OSError(f"there is no program {program}")
    command: List[str] = [path, *arguments]
    try:
        # There is no run_command in an engine that also runs without Ansible.
        ran = subprocess.run(  # pylint: disable=ansible-bad-function
            command, capture_output=True, text=True, check=True, timeout=_PATIENCE
        )
    except subprocess.CalledProcessError as error:
        raise OSError(error.stderr.strip() or str(error)) from error
    except subprocess.SubprocessError as error:
        raise OSError(str(error)) from error
    return ran.stdout


_asked_runtimes: Dict[str, _Runtime] = {}


def _runtime(name: str) -> _Runtime:
    if name not in _asked_runtimes:
        runtimes = {DOCKER: _Docker, PODMAN: _Podman, MACHINE: _Machined}
        _asked_runtimes[name] = runtimes[name]()
    return _asked_runtimes[name]
