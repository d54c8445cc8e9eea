# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`killed_engine.py N ARGUMENTS`: runs the engine, and kills it before the Nth thing it does to the host.

With N 0 it lives, and the last line of the output is how often it could have been killed.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from engine import namespaces, nftables, proc_sys
from engine.__main__ import main

fatal = int(sys.argv[1])
done = 0


def deadly(function: Any) -> Any:
    def call(*arguments: Any, **options: Any) -> Any:
        global done
        done += 1
        if done == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    return call


class DeadlyRoutes:
    """pyroute2's IPRoute, of which each message may be the last."""

    def __init__(self, routes: Any) -> None:
        self._routes = routes

    def __enter__(self) -> DeadlyRoutes:
        self._routes.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._routes.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return deadly(getattr(self._routes, name))


def make_deadly() -> None:
    import pyroute2

    whole = pyroute2.IPRoute
    pyroute2.IPRoute = lambda *arguments, **options: DeadlyRoutes(whole(*arguments, **options))
    for name in ("replace", "makedirs", "open", "unlink", "rmdir"):
        setattr(os, name, deadly(getattr(os, name)))
    for module, names in (
        (proc_sys, ["write"]),
        (nftables, ["_run"]),
        (namespaces, ["_call"]),
    ):
        for name in names:
            setattr(module, name, deadly(getattr(module, name)))


make_deadly()
code = main(sys.argv[2:])
print(done)
sys.exit(code)
