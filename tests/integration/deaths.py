# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills the process that an engine runs in before the Nth thing that it does to the host."""

from __future__ import annotations

import builtins
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyroute2
from engine import ledger, namespaces, proc_sys, programs

Function = Callable[..., Any]


def make_deadly(fatal: int, cause: signal.Signals = signal.SIGKILL) -> None:
    """Count all that changes the kernel or a file, the ledger's included; the `fatal`th is not done any more.

    What is found as it should be already is not counted: there it makes no difference when the run dies.
    """
    numbers = itertools.count(1)

    def deadly(function: Function, changes: Callable[..., bool] = lambda *_arguments: True) -> Function:
        def call(*arguments: Any, **options: Any) -> Any:
            if changes(*arguments) and next(numbers) == fatal:
                os.kill(os.getpid(), cause)
            return function(*arguments, **options)

        return call

    def make(owner: Any, name: str, *changes: Callable[..., bool]) -> None:
        setattr(owner, name, deadly(getattr(owner, name), *changes))

    make(os, "mkdir", lambda path, *_: not os.path.isdir(path))
    make(os, "unlink", lambda path, *_: os.path.lexists(path))
    make(os, "open", _opens_for_writing)
    # The file that `os.open` has made, or emptied, gets its content after this.
    make(builtins, "open", lambda file, mode="r", *_: isinstance(file, int) and "w" in mode)
    for name in ("link", "replace", "rmdir"):
        make(os, name)
    make(namespaces, "_call", _mounts)
    make(programs, "run", lambda command, _script: command[0].endswith("restore") or "-f" in command)
    make(proc_sys, "write", lambda name, value: proc_sys.read(name) != value)
    pyroute2.IPRoute = _with_each_message(pyroute2.IPRoute, deadly)


def _opens_for_writing(path: str, flags: int, *_mode: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) and path != ledger.LOCK


def _mounts(function: str, *arguments: Any) -> bool:
    """Not counted: to make the mount point shared, which it is from the first run on."""
    return function == "umount2" or (function == "mount" and arguments[0] != b"")


def _with_each_message(iproute: Function, deadly: Callable[[Function], Function]) -> Function:
    """Of pyroute2 the engine uses what changes something, and nothing else."""

    class DeadlyRoutes:
        def __init__(self, routes: Any) -> None:
            self._routes = routes

        def __getattr__(self, name: str) -> Any:
            return deadly(getattr(self._routes, name))

    @contextmanager
    def opened() -> Iterator[DeadlyRoutes]:
        with iproute() as routes:
            yield DeadlyRoutes(routes)

    return opened
