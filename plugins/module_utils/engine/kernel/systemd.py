# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queries and controls systemd, by systemctl, and reports a service ready."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Mapping, Sequence

from ..errors import ApplyError
from . import disk, programs

# The services that start when the host boots.
_WANTED = "/etc/systemd/system/multi-user.target.wants"


def is_booted() -> bool:
    """Whether it runs this host (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def is_installed() -> bool:
    return programs.find("systemctl") is not None


def systemctl(*arguments: str) -> str:
    """What it complains of; empty where all went well."""
    ran = programs.run(["systemctl", *arguments])
    return programs.complaint(ran) if ran.returncode else ""


def is_enabled(service: str) -> bool:
    return os.path.lexists(f"{_WANTED}/{service}")


def running(services: Sequence[str]) -> Sequence[str]:
    """Those that run or are starting, or whose start waits for that of another service."""
    shown = programs.run(["systemctl", "show", "--property=ActiveState", "--property=Job", "--", *services]).stdout
    states = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in shown.split("\n\n")]
    return [name for name, state in zip(services, states) if _is_running(state)]


def _is_running(state: Mapping[str, str]) -> bool:
    # As long as the start of a service waits, the service has a job, and is still inactive.
    waits = state.get("ActiveState") in ("inactive", "failed") and bool(state.get("Job"))
    return waits or state.get("ActiveState") in ("active", "activating", "reloading")


def read_files() -> None:
    _systemctl("daemon-reload")


def enable(services: Sequence[str]) -> None:
    _systemctl("enable", "--", *services)
    # And with it all that was done before.
    disk.sync(_WANTED)


def disable(services: Sequence[str]) -> None:
    if is_installed():
        _systemctl("disable", *(["--now"] if is_booted() else []), "--", *services)
        return
    for service in services:
        with suppress(FileNotFoundError):
            os.unlink(f"{_WANTED}/{service}")


def start(service: str) -> None:
    # It may run the engine, which waits for the end of this run.
    _systemctl("start", "--no-block", "--", service)


def stop(service: str) -> None:
    _systemctl("stop", "--", service)


def restart(service: str) -> None:
    _systemctl("restart", "--", service)


def _systemctl(*arguments: str) -> None:
    """
    Raises:
        ApplyError: systemd refused it, or the service did.
    """
    complaint = systemctl(*arguments)
    if complaint:
        raise ApplyError(f"systemctl {' '.join(arguments)}: {complaint}")


def notify_ready() -> None:
    """Let systemd know that what it has started is up (sd_notify(3)); nothing where nobody waits for that."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            notify.send(b"READY=1")
