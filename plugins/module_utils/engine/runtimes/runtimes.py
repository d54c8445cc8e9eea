# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks third-party runtimes for their containers' first processes, and for the paths of the files in their `/etc`.

Changes nothing. A run has one connection to each runtime, or runs its program once. A runtime that has once failed to
answer is not asked again, and the state of its containers is unknown.
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

from ..kernel import disk
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
    """The container in a third party's sandbox; None if it does not run, or if its runtime does not answer.

    Raises:
        NoFilesError: several processes are in the network stack, each with files of its own.
    """
    found = _asked(sandbox) if sandbox.has_runtime else namespace_processes.process_in(sandbox)
    return found if found and os.path.exists(found.namespace) else None


def silences() -> Iterator[str]:
    """A warning for each runtime that was asked and did not answer."""
    for runtime in _asked_runtimes.values():
        if runtime.silence:
            yield (
                f"{runtime.called} does not answer ({runtime.silence}): its containers are pending, and their links "
                "stay as they are"
            )


def rootless_user(sandbox: SandboxRef) -> str:
    """The user who runs this container by rootless Podman; empty if there is none. Only root's Podman is asked."""
    for pid in filter(str.isdigit, os.listdir("/proc")) if sandbox.kind == PODMAN else ():
        with suppress(OSError, ValueError):
            owner = os.stat(f"/proc/{pid}").st_uid
            if owner != os.geteuid() and _is_of_the_host(pid) and _watched_container(pid) == sandbox.name:
                return _user_name(owner)
    return ""


def _is_of_the_host(pid: str) -> bool:
    """Whether the process is in the host's PID namespace. One in a container can take any name and arguments."""
    return os.path.samefile(f"/proc/{pid}/ns/pid", "/proc/self/ns/pid")


def _watched_container(pid: str) -> str:
    """The name of the container that this process monitors; empty unless it is Podman's `conmon`."""
    if disk.content_of(f"/proc/{pid}/comm") != "conmon\n":
        return ""
    words = disk.content_of(f"/proc/{pid}/cmdline").split("\0")
    return words[words.index("-n") + 1]


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def is_unreadable(sandbox: SandboxRef) -> bool:
    """Whether this sandbox's container has a runtime that does not answer: it may run all the same."""
    return sandbox.has_runtime and _asked(sandbox) is None and bool(_runtime(sandbox.kind).silence)


def look_anew() -> None:
    """Forget all answers. While `follow` runs, containers end, and their process numbers are given to others."""
    namespace_processes.look_anew()
    _asked.cache_clear()
    _asked_runtimes.clear()


@cache
def _asked(sandbox: SandboxRef) -> Optional[Running]:
    return _runtime(sandbox.kind).find(sandbox.name)


class _Runtime:
    """A runtime: what messages call it (`called`), and why it does not answer (`silence`), if it does not."""

    called = ""
    silence = ""

    def find(self, name: str) -> Optional[Running]:
        if not self.silence:
            try:
                return self._find(name)
            except (OSError, http.client.HTTPException, BusError) as error:
                self.silence = str(error) or type(error).__name__
            except (ValueError, KeyError, TypeError) as error:
                self.silence = f"its answer cannot be parsed: {error!r}"
        return None

    def _find(self, name: str) -> Optional[Running]:
        """None if the container does not run. Raises if there is no answer, or one that cannot be read."""
        raise NotImplementedError


class _Docker(_Runtime):
    """The Engine's list of containers has neither processes nor files, so it is asked for each container."""

    called = f"the Docker Engine at {DOCKER_SOCKET}"

    def __init__(self) -> None:
        self._engine = _EngineConnection()

    def _find(self, name: str) -> Optional[Running]:
        self._engine.request("GET", f"/containers/{name}/json")
        response = self._engine.getresponse()
        # Read even if it is not used, so that the connection can be used again.
        body = response.read()
        if response.status == http.client.NOT_FOUND:
            return None
        if response.status != http.client.OK:
            raise OSError(f"{response.status} {response.reason}")
        data = json.loads(body)
        # The Engine also finds a container by the beginning of its id.
        return _of_inspection(data) if data["Name"].lstrip("/") == name else None


class _EngineConnection(http.client.HTTPConnection):
    """HTTP over the socket of the Docker Engine."""

    def __init__(self) -> None:
        super().__init__("docker", timeout=_PATIENCE)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(DOCKER_SOCKET)


def _of_inspection(data: Mapping[str, Any]) -> Optional[Running]:
    pid = int(data["State"]["Pid"])
    files = {file: str(data[key]) for file, key in _FILES.items() if data.get(key)}
    return Running(pid, files, str(data["Id"])) if pid else None


class _Podman(_Runtime):
    """Without a daemon: its program lists all containers that root runs, at once."""

    called = "Podman"

    def __init__(self) -> None:
        self._all: Optional[Dict[str, Optional[Running]]] = None

    def _find(self, name: str) -> Optional[Running]:
        if self._all is None:
            ids = _output("podman", "ps", "--quiet", "--no-trunc").split()
            inspected = json.loads(_output("podman", "inspect", "--type", "container", *ids)) if ids else []
            self._all = {str(data["Name"]): _of_inspection(data) for data in inspected}
        return self._all.get(name)


class _Machined(_Runtime):
    """systemd-machined, asked over D-Bus, since what `machinectl` prints has no stable format."""

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
        properties = self._bus.call(*of_machine)
        return Running(properties["Leader"], id=properties["RootDirectory"])


def _output(program: str, *arguments: str) -> str:
    """What the program prints.

    Raises:
        OSError: the program is not installed, fails, or does not end in time.
    """
    path = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin")
    if path is None:
        raise OSError(f"there is no program {program}")
    command: List[str] = [path, *arguments]
    try:
        # Ansible's run_command is not available: the engine also runs without Ansible.
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
