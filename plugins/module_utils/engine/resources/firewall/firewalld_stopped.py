# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What firewalld keeps while it does not run: read in its files, and changed by its own firewall-offline-cmd."""

from __future__ import annotations

import os
import re
from typing import List, Set

from ...errors import ApplyError
from ...kernel import disk, programs

_PROGRAM = "firewall-offline-cmd"
# What is kept of zones and policies that somebody made or changed (firewalld.zone(5), firewalld.policy(5)).
_FOLDERS = {"zone": "/etc/firewalld/zones", "policy": "/etc/firewalld/policies"}


def has(what: str, name: str) -> bool:
    """Whether there is such a zone or policy, other than as it came with firewalld."""
    return os.path.exists(_file(what, name))


def interfaces(zone: str) -> Set[str]:
    return {*re.findall(r'<interface name="([^"]+)"', disk.content_of(_file("zone", zone)))}


def _file(what: str, name: str) -> str:
    return f"{_FOLDERS[what]}/{name}.xml"


def add_interface(zone: str, name: str) -> None:
    _run([f"--zone={zone}", f"--add-interface={name}"])


def remove_interface(zone: str, name: str) -> None:
    _run([f"--zone={zone}", f"--remove-interface={name}"])


def forget(what: str, name: str) -> None:
    _run([f"--delete-{what}={name}"])


def _run(arguments: List[str]) -> None:
    """
    Raises:
        ApplyError: the program failed, or is not there.
    """
    ran = programs.run([programs.find(_PROGRAM) or _PROGRAM, *arguments])
    if ran.returncode:
        raise ApplyError(f"{_PROGRAM} {' '.join(arguments)}: {ran.stderr.strip() or ran.returncode}")
