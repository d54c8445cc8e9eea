# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds declared containers that a user runs with rootless Podman."""

from __future__ import annotations

from typing import Iterable, Iterator

from ..errors import Problem
from ..resources.links.stacks import is_awaited
from ..runtimes.runtimes import rootless_user
from ..state import PODMAN, Object, Sandbox


def rootless(planned: Iterable[Object]) -> Iterator[Problem]:
    """Containers of rootless Podman, which root's Podman does not know, so that they would be awaited for ever."""
    for sandbox in planned:
        if isinstance(sandbox, Sandbox) and sandbox.ref.kind == PODMAN and is_awaited(sandbox.ref):
            user = rootless_user(sandbox.ref)
            if user:
                yield Problem(
                    sandbox.place,
                    f"{sandbox.name} is run by {user}, without root, and root's Podman does not know it: have root run "
                    "it, or say sandbox: pid:N, with the number that `podman inspect` has for it while it runs",
                )
