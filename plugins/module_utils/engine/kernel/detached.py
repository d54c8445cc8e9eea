# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts a process that does not end with the run, the session or the connection that it was started from."""

from __future__ import annotations

import subprocess
from typing import Sequence

from ..errors import ApplyError
from . import programs, systemd

# Started again when it is killed.
_PROPERTIES = ("Restart=on-failure", "RestartSec=1", "OOMScoreAdjust=-1000")


def start(command: Sequence[str], name: str) -> None:
    """Where systemd runs the host, as a service of this name, whose output is in the journal; else in a session of its
    own.

    Raises:
        ApplyError: it could not be started.
    """
    if systemd.is_booted():
        _start_service(command, name)
    else:
        start_in_session(command)


def start_in_session(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """In a session of its own.

    Raises:
        ApplyError: it could not be started.
    """
    try:
        # The file descriptors are closed, so the process does not hold the lock of the run on.
        return subprocess.Popen(  # pylint: disable=ansible-bad-function,consider-using-with
            command, start_new_session=True, close_fds=True, cwd="/",
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        raise ApplyError(f"{command[0]} could not be run: {error.strerror}") from error


def _start_service(command: Sequence[str], name: str) -> None:
    """In no control group of the session: systemd, or sshd, would end the process with that."""
    properties = [f"--property={each}" for each in _PROPERTIES]
    ran = programs.run(["systemd-run", "--quiet", "--collect", f"--unit={name}", *properties, "--", *command])
    if ran.returncode:
        raise ApplyError(f"systemd-run: {ran.stderr.strip() or f'it ended with {ran.returncode}'}")
