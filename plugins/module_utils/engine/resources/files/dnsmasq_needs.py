# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has to have so that resolvers can start: dnsmasq, inotify instances, and their sockets free."""

from __future__ import annotations

import shutil
from typing import Callable, Collection, Dict, List, Sequence, Tuple

from ...errors import ConflictError, Problem, ProblemCollector
from ...kernel import inotify
from ...kernel.listeners import listeners
from ...state import Dnsmasq


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


def refuse_taken(things: Sequence[Dnsmasq], own: Collection[Tuple[str, int]]) -> None:
    """`own` are the sockets of resolvers that run.

    Raises:
        ConflictError: another process has a socket where one of these would listen.
    """
    heard: Dict[int, List[Tuple[str, str]]] = {}
    for protocol, address, port in listeners():
        heard.setdefault(port, []).append((address, protocol))
    problems = ProblemCollector()
    for thing in things:
        for wanted, port in thing.listens:
            for address, protocol in heard.get(port, []):
                is_there = address in (wanted, "::") or (address == "0.0.0.0" and ":" not in wanted)
                if is_there and (address, port) not in own:
                    problems.problems.append(_taken(thing, port, address, protocol))
    problems.raise_if_any(ConflictError)


def _taken(thing: Dnsmasq, port: int, address: str, protocol: str) -> Problem:
    where = f"[{address}]:{port}/{protocol}" if ":" in address else f"{address}:{port}/{protocol}"
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
