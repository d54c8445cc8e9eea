# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that is installed on a host, the services that run it, and the marks by which both are recognised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Sequence

from ..state import File

COMMAND = "/usr/local/sbin/wharf"

# The command is a zip archive. Its comment is this mark, and then the version.
MARK = b"wharf.network"

# A line of each service's file.
HEADER = "# Written by wharf.network.\n"


@dataclass(frozen=True)
class BootServices:
    """The services as one init system has them: one applies what is declared, one follows what changes.

    Each has a file of its name in `folder`, with its script; in that of `follow`, `{follow}` stands for the arguments.
    """

    folder: str
    apply: str
    follow: str
    apply_script: str
    follow_script: str
    executable: bool = False

    @property
    def names(self) -> Sequence[str]:
        """In the order in which the services start."""
        return self.follow, self.apply

    def files(self, metrics: str = "") -> Sequence[File]:
        """`metrics` is the file in which metrics are kept, empty for none."""
        follow = self.follow_script.format(follow=f"follow --metrics {metrics}" if metrics else "follow")
        scripts = (self.apply, self.apply_script), (self.follow, follow)
        return [File(f"{self.folder}/{name}", script, executable=self.executable) for name, script in scripts]


def digest(content: bytes) -> str:
    """The digest by which two versions of the program are compared."""
    return hashlib.sha256(content).hexdigest()[:16]
