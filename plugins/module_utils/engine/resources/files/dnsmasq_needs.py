# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has to have so that resolvers can start: dnsmasq, inotify instances, and their sockets free."""

from __future__ import annotations

import re
import shutil
from typing import Callable, Collection, Dict, List, Sequence

from ...errors import ConflictError, Problem, ProblemCollector
from ...kernel import inotify, programs
from ...kernel.listeners import Listener, listening_sockets
from ...state import Dnsmasq

# docs/names.md says what earlier versions lack.
_OLDEST = (2, 88)


def refuse_too_old() -> None:
    """
    Raises:
        ConflictError: the host's dnsmasq cannot do what the configurations ask of it.
    """
    found = re.search(r"version (\d+)\.(\d+)", programs.run([program(), "--version"]).stdout)
    if found and (int(found[1]), int(found[2])) < _OLDEST:
        raise ConflictError.at(
            "dnsmasq",
            f"version {found[1]}.{found[2]} on this host is too old to answer the names of user-defined networks: "
            "install 2.88 or later, or say x-wharf: {dns: false} on each network",
        )


def refuse_without_inotify(things: Sequence[Dnsmasq], is_running: Callable[[str], bool]) -> None:
    """Each process has an inotify instance, by which it sees that names have changed.

    Raises:
        ConflictError: this user may not have so many more.
    """
    if inotify.available(len(things)) == len(things):
        return
    needed = sum(1 for thing in things if not is_running(thing.name))
    left = inotify.available(needed)
    if left < needed:
        name, present = inotify.limit()
        raise ConflictError.at(
            "dnsmasq",
            f"{needed} resolvers are to be started, each of which needs an inotify instance, and root's processes can "
            f"have {left} more: {name} is {present}, and has to be at least {present + needed - left}: set it by "
            "sysctl and in /etc/sysctl.d, or say x-wharf: {dns: false} on networks that need no names",
        )


def refuse_taken(things: Sequence[Dnsmasq], own: Collection[int]) -> None:
    """`own` are the inodes of the sockets of resolvers that run.

    Raises:
        ConflictError: another process has a socket where one of these would listen.
    """
    by_port: Dict[int, List[Listener]] = {}
    for each in listening_sockets():
        if each.inode not in own:
            by_port.setdefault(each.port, []).append(each)
    problems = ProblemCollector()
    for thing in things:
        for wanted, port in thing.listens:
            for each in by_port.get(port, []):
                if each.address in (wanted, "::") or (each.address == "0.0.0.0" and ":" not in wanted):
                    problems.problems.append(_taken(thing, each))
    problems.raise_if_any(ConflictError)


def _taken(thing: Dnsmasq, by: Listener) -> Problem:
    address = f"[{by.address}]" if ":" in by.address else by.address
    where = f"{address}:{by.port}/{by.protocol}"
    return Problem(
        thing.place,
        f"a process of the host listens on {where} already, where names are to be answered: let it listen on its own "
        "addresses only, or say x-wharf: {dns: false} on the network",
    )


def program() -> str:
    found = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin")
    if found is None:
        raise ConflictError.at(
            "dnsmasq",
            "is needed on this host to answer the names of user-defined networks: install the package dnsmasq-base (or "
            "dnsmasq), or say x-wharf: {dns: false} on each network",
        )
    return found
