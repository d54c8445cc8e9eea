# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queries and controls OpenRC, by rc-service and rc-update."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from typing import Optional, Sequence

from ..errors import ApplyError
from . import detached, disk, programs

# The services that start when the host boots, after those of the runlevel `boot`.
_RUNLEVEL = "default"
_WANTED = f"/etc/runlevels/{_RUNLEVEL}"

# With what `rc-service … status` ends for a service that has started, that is starting, and that is inactive: started,
# and waiting for something.
_STARTED, _STARTING, _INACTIVE = 0, 8, 16

# In seconds. A service is marked as starting at once, but for a slow machine.
_PATIENCE = 30.0
_LOOK_EVERY = 0.05
# In seconds, and how often a service is asked for its state.
_ANSWERS_WITHIN, _ATTEMPTS = 30.0, 3


def is_booted() -> bool:
    """Whether it runs this host: otherwise it starts no service (openrc-run)."""
    return os.path.exists("/run/openrc/softlevel")


def is_installed() -> bool:
    return programs.find("rc-update") is not None


def is_enabled(service: str) -> bool:
    return os.path.lexists(f"{_WANTED}/{service}")


def running(services: Sequence[str]) -> Sequence[str]:
    """Those that run or are starting, or that wait for something since they have started."""
    return [each for each in services if _status(each) in (_STARTED, _STARTING, _INACTIVE)]


def _status(service: str) -> int:
    """The exit code of openrc-run, which waits for ever for its script if that ends too early: so it is asked again.

    Raises:
        ApplyError: it does not answer.
    """
    for _attempt in range(_ATTEMPTS):
        with suppress(subprocess.TimeoutExpired):
            return _rc_service(service, "status", timeout=_ANSWERS_WITHIN).returncode
    raise ApplyError(f"rc-service {service} status: gives no answer within {_ANSWERS_WITHIN:.0f} seconds")


def read_files() -> None:
    """The order in which services start is kept in a cache."""
    _rc_update("--update")


def enable(services: Sequence[str]) -> None:
    for service in services:
        _rc_update("add", service, _RUNLEVEL)
    # And with it all that was done before.
    disk.sync(_WANTED)


def disable(services: Sequence[str]) -> None:
    for service in services:
        # Without its script, a service cannot be stopped.
        if is_booted() and os.path.exists(f"/etc/init.d/{service}"):
            stop(service)
        with suppress(FileNotFoundError):
            os.unlink(f"{_WANTED}/{service}")


def start(service: str) -> None:
    """Not waiting for it: it may run the engine, which waits for the end of this run."""
    _forget_crash(service)
    starting = detached.start_in_session(["rc-service", service, "start"])
    deadline = time.monotonic() + _PATIENCE
    while starting.poll() is None and not running([service]) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY)


def stop(service: str) -> None:
    """One that is starting cannot be stopped, and is forgotten: it is no service any more once it has started."""
    _forget_crash(service)
    if _rc_service(service, "stop").returncode:
        _require(_rc_service(service, "zap"))


def restart(service: str) -> None:
    _require(_rc_service(service, "restart"))


def _forget_crash(service: str) -> None:
    """A service whose process has gone counts as started, and can be neither started nor stopped."""
    _require(_rc_service(service, "zap", "--ifcrashed"))


def _rc_update(*arguments: str) -> None:
    _require(programs.run(["rc-update", *arguments]))


def _rc_service(
    service: str, verb: str, *options: str, timeout: Optional[float] = None
) -> subprocess.CompletedProcess[str]:
    """Of this service alone, whatever depends on it: that may be waiting for the end of this run."""
    # What supervises a service stays.
    return programs.run(["rc-service", *options, "--nodeps", service, verb], keeps_lock=False, timeout=timeout)


def _require(ran: subprocess.CompletedProcess[str]) -> None:
    """
    Raises:
        ApplyError: OpenRC refused it, or the service did.
    """
    if ran.returncode:
        raise ApplyError(f"{' '.join(ran.args)}: {programs.complaint(ran)}")
