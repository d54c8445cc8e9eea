# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a program that changes the host, so that a run may be killed meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from typing import Optional, Sequence

from ..errors import ApplyError
from . import selinux


def find(name: str) -> Optional[str]:
    """The program's path, wherever a system has those for its admins, whatever this process has for a PATH."""
    return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")


def identity(path: str) -> str:
    """Differs between two versions of a program, which may print the same in different ways."""
    found = os.stat(path)
    return f"{found.st_mtime_ns} {found.st_size}"


def complaint(ran: subprocess.CompletedProcess[str]) -> str:
    """What a program that has failed says of it, on one line."""
    return ran.stderr.strip().replace("\n", "; ") or f"it ended with {ran.returncode}"


def run(
    command: Sequence[str], script: str = "", keeps_lock: bool = True, timeout: Optional[float] = None
) -> subprocess.CompletedProcess[str]:
    """Run a program with a script on its standard input.

    If this run is killed, the program goes on, and must not get half of the script. So the script is a file, no pipe.
    The program also inherits the lock, so the next run waits for it, unless the program starts what stays
    (`keeps_lock`).

    SELinux may confine the program if systemd has started this one, and then takes away a file that it may not read, or
    that is also open for writing.

    Raises:
        ApplyError: it could not be started.
        subprocess.TimeoutExpired: it has taken `timeout` seconds, and is killed.
    """
    try:
        with open(os.memfd_create("script"), "w+", encoding="utf-8", errors="surrogateescape") as file:
            file.write(script)
            file.flush()
            with suppress(OSError):
                selinux.set_type(file.fileno(), selinux.readable_type())
            # There is no run_command in an engine that also runs without Ansible.
            # A third-party rule can have bytes in it that are not UTF-8.
            with open(f"/proc/self/fd/{file.fileno()}", "rb") as stdin:
                return subprocess.run(  # pylint: disable=ansible-bad-function
                    command, stdin=stdin, capture_output=True, check=False, close_fds=not keeps_lock,
                    encoding="utf-8", errors="surrogateescape", timeout=timeout,
                )  # fmt: skip
    except OSError as error:
        raise ApplyError(f"{command[0]} could not be run: {error.strerror}") from error
