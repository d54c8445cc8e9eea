# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that is installed on a host, the services that run it, and the marks by which both are recognised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Callable, Sequence

from ..state import File

COMMAND = "/usr/local/sbin/wharf"

# The command is a zip archive. Its comment is this mark, and then the version.
MARK = b"wharf.network"

# A line of each service's file.
HEADER = "# Written by wharf.network.\n"


@dataclass(frozen=True)
class BootServices:
    """The services as one init system has them: one applies what is declared, one follows what changes.

    `files` makes their files, given the file in which metrics are kept, or an empty text for none. `names` are in the
    order in which the services start.
    """

    apply: str
    follow: str
    files: Callable[[str], Sequence[File]]

    @property
    def names(self) -> Sequence[str]:
        return self.follow, self.apply

    @property
    def usual_files(self) -> Sequence[File]:
        return self.files("")


def digest(content: bytes) -> str:
    """The digest by which two versions of the program are compared."""
    return hashlib.sha256(content).hexdigest()[:16]


def follow_arguments(metrics: str) -> str:
    return f"follow --metrics {metrics}" if metrics else "follow"
