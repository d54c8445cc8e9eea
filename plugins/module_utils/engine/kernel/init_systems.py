# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The init systems that can start services on a host, all queried and controlled by the same functions."""

from __future__ import annotations

from typing import Mapping, Protocol, Sequence

from ..state import OPENRC, SYSTEMD
from . import openrc, systemd


class InitSystem(Protocol):
    """The module of one. What changes something raises an ApplyError where that is refused."""

    def is_booted(self) -> bool:
        """Whether it runs this host. Else services can be enabled only, as in an image that is being built."""

    def is_installed(self) -> bool: ...

    def is_enabled(self, service: str) -> bool:
        """Whether the service starts when the host boots."""

    def running(self, services: Sequence[str]) -> Sequence[str]:
        """Those of the services that run, or are starting."""

    def read_files(self) -> None:
        """Have it read the files of services again, which have changed."""

    def enable(self, services: Sequence[str]) -> None: ...

    def disable(self, services: Sequence[str]) -> None:
        """Have them started no more when the host boots, and stop them where it runs the host."""

    def start(self, service: str) -> None:
        """Begin to start it, which may take longer than this run."""

    def stop(self, service: str) -> None: ...

    def restart(self, service: str) -> None:
        """Start it anew, or at all, and wait for that."""


INIT_SYSTEMS: Mapping[str, InitSystem] = {SYSTEMD: systemd, OPENRC: openrc}
