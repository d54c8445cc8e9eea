# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does something, such as to die, before each thing that the engine in this process does to the host."""

from __future__ import annotations

import builtins
import errno
import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyroute2
from engine import run_lock
from engine.errors import ApplyError
from engine.kernel import conntrack, namespaces, proc_sys, rtnetlink
from engine.kernel.rtnetlink_changes import Rtnetlink
from engine.kernel.wireguard import WireGuardNetlink

Function = Callable[..., Any]

# What is done before something; its argument says before what.
Act = Callable[[str], None]


def make_deadly(fatal: int, cause: signal.Signals = signal.SIGKILL) -> None:
    """Count all that changes the kernel or a file, the ledger's included; the `fatal`th is not done any more.

    What is found as it should be already is not counted: there it makes no difference when the run dies.
    """
    numbers = itertools.count(1)

    def die(_what: str) -> None:
        if next(numbers) == fatal:
            os.kill(os.getpid(), cause)

    before_each_file(die)
    before_each_change_of_the_kernel(die)
    before_each_process(die)


def make_refusing(refused: int, notify: Act) -> None:
    """The `refused`th thing is not done, and whoever would have done it says so; `notify` gets what it was."""
    numbers = itertools.count(1)

    def refuse(what: str) -> None:
        if next(numbers) == refused:
            notify(what)
            raise ApplyError("refused") if what.startswith("write ") else OSError(errno.EIO, "refused")

    before_each_file(refuse)
    before_each_change_of_the_kernel(refuse)
    before_each_process(refuse)


def before_each_file(act: Act) -> None:
    """Have this called before each time that a file or a folder is made, written or deleted."""
    _hook(act, os, "mkdir", lambda path, *_: not os.path.isdir(path))
    _hook(act, os, "unlink", lambda path, *_: os.path.lexists(path))
    _hook(act, os, "open", _opens_for_writing)
    # The file that `os.open` has made, or emptied, gets its content after this. One in memory (`w+`) is no matter.
    _hook(act, builtins, "open", lambda file, mode="r", *_: isinstance(file, int) and mode in ("w", "wb"))
    for name in ("link", "replace", "rmdir", "setxattr"):
        _hook(act, os, name)


def before_each_change_of_the_kernel(act: Act) -> None:
    """Have this called before each namespace's name, kernel parameter, transaction of rules and netlink message, and
    before each call of systemd.

    These include one for each flow that is forgotten.
    """
    _hook(act, namespaces, "_call", _mounts)
    _hook(act, subprocess, "run", _changes_something)
    _hook(act, conntrack, "_delete")
    _hook(act, proc_sys, "write", lambda name, value: proc_sys.read(name) != value)
    for name in ("delete_address", "delete_route"):
        _hook(act, rtnetlink, name)
    of_links = (
        "add_veth",
        "add_link",
        "add_vlan",
        "add_sublink",
        "set_sublink",
        "set_link",
        "delete_link",
        "delete_links",
    )
    for name in (*of_links, "replace_address", "add_route"):
        _hook(act, Rtnetlink, name)
    _hook(act, WireGuardNetlink, "set_device")
    for what in ("neighbour", "forward"):
        for name in (f"replace_{what}", f"delete_{what}"):
            _hook(act, Rtnetlink, name)
    pyroute2.IPRoute = _with_each_message(pyroute2.IPRoute, act)


def before_each_process(act: Act) -> None:
    """Have this called before each time that a process is started that stays, gets a signal, or is noted down."""
    _hook(act, subprocess, "Popen", _starts_what_stays)
    _hook(act, os, "kill", lambda pid, _signal: pid != os.getpid())
    _hook(act, builtins, "open", lambda file, mode="r", *_: mode == "w" and str(file).endswith(".started"))


def _hook(act: Act, owner: Any, name: str, changes: Callable[..., bool] = lambda *_arguments: True) -> None:
    setattr(owner, name, _acting(act, name, getattr(owner, name), changes))


def _acting(
    act: Act, name: str, function: Function, changes: Callable[..., bool] = lambda *_arguments: True
) -> Function:
    def call(*arguments: Any, **options: Any) -> Any:
        if changes(*arguments):
            act(f"{name} {arguments[:1]}")
        return function(*arguments, **options)

    return call


def _opens_for_writing(path: str, flags: int, *_mode: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) and path not in (run_lock.LOCK, os.devnull)


def _changes_something(command: Sequence[str], **_options: Any) -> bool:
    return command[0].endswith(("restore", "systemctl")) or "-f" in command


def _starts_what_stays(command: Sequence[str], **_options: Any) -> bool:
    return command[-1].startswith(("--conf-file=/", "--at-deadline"))


def _mounts(function: str, *arguments: Any) -> bool:
    """Not counted: to make the mount point shared, which it is from the first run on."""
    return function == "umount2" or (function == "mount" and arguments[0] != b"")


def _with_each_message(iproute: Function, act: Act) -> Function:
    """Of pyroute2 the engine uses what changes something, and nothing else."""

    class WatchedRoutes:
        def __init__(self, routes: Any) -> None:
            self._routes = routes

        def __getattr__(self, name: str) -> Any:
            return _acting(act, name, getattr(self._routes, name))

    @contextmanager
    def opened() -> Iterator[WatchedRoutes]:
        with iproute() as routes:
            yield WatchedRoutes(routes)

    return opened
