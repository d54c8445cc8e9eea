# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the process of a container that only a number or a path leads to. Changes nothing."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from ..kernel import namespaces
from ..kernel.namespaces import Identity
from ..state import HOST, NETNS, PATH, PID, SandboxRef

_OF_PROCESS = re.compile(r"/proc/(\d+)(?:/task/\d+)?/ns/net")
# A namespace with a name: `ip netns exec NAME` mounts the files of /etc/netns/NAME over those of /etc.
_NAMED = re.compile(r"(?:/var)?/run/netns/([^/]+)")


class NoFilesError(Exception):
    """The reason why a container has no files that can be written. It can be connected all the same."""


@dataclass(frozen=True)
class Running:
    """A container that runs, with the number of its first process.

    `files` are the paths on the host of those files that a runtime mounts into its `/etc`, by name. `id` differs from
    that of an earlier container of the same name: Docker's and Podman's id, or the root directory of a machine. It is
    empty for all others.
    """

    pid: int
    files: Mapping[str, str] = field(default_factory=dict)
    id: str = ""

    @property
    def namespace(self) -> str:
        return f"/proc/{self.pid}/ns/net"

    @property
    def root(self) -> str:
        return f"/proc/{self.pid}/root"


def path_of(sandbox: SandboxRef) -> str:
    """The file that stands for a network stack, such as `/run/netns/web`; only for sandboxes without a runtime."""
    paths = {
        NETNS: namespaces.path_of(sandbox.name),
        PID: f"/proc/{sandbox.name}/ns/net",
        PATH: sandbox.name,
        HOST: namespaces.OWN,
    }
    return paths[sandbox.kind]


def name_of(sandbox: SandboxRef) -> str:
    """`path:/run/netns/web` -> `web`; empty for all others."""
    match = _NAMED.fullmatch(sandbox.name)
    return match[1] if match and sandbox.kind == PATH else ""


def look_anew() -> None:
    process_in.cache_clear()


@cache
def process_in(sandbox: SandboxRef) -> Optional[Running]:
    """The process whose files belong to `pid:N` or `path:…`; None if no process is in that network stack.

    Raises:
        NoFilesError: several processes are, each with an `/etc` of its own.
    """
    path = path_of(sandbox)
    if not namespaces.is_namespace(path):
        return None
    of_process = _OF_PROCESS.fullmatch(path)
    if of_process:
        return Running(int(of_process[1]))
    owners, others = _processes_in(namespaces.identity(path))
    if len(owners) > 1:
        pids = ", ".join(map(str, owners))
        raise NoFilesError(f"several live there, each with files of its own: say whose are meant, by one of pid:{pids}")
    return next((Running(pid) for pid in (*owners, *others)), None)


@contextmanager
def opened_folder(path: str, within: Optional[int] = None, flags: int = 0) -> Iterator[int]:
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | flags, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_etc(root: str) -> Iterator[int]:
    """The folder `/etc` below this root of a container, which is not opened through a symbolic link.

    Raises:
        NoFilesError: the container has no `/etc`, or the host's own.
        FileNotFoundError: the container has ended.
    """
    with ExitStack() as opened:
        top = opened.enter_context(opened_folder(root))
        try:
            folder = opened.enter_context(opened_folder("etc", top, os.O_NOFOLLOW))
        except OSError as error:
            raise NoFilesError("it has no folder /etc of its own") from error
        refuse_hosts_own(folder, "/etc")
        yield folder


def refuse_hosts_own(descriptor: int, path: str) -> None:
    """
    Raises:
        NoFilesError: the opened file or folder is the host's own one at this path.
    """
    if namespaces.identity(descriptor) in _hosts_own(path):
        raise NoFilesError(f"its {path} is the host's own")


def _hosts_own(path: str) -> Iterator[Identity]:
    """That of this process and that of the host's first one: this process may run in a mount namespace of its own."""
    for each in (path, f"/proc/1/root{path}"):
        with suppress(OSError):
            yield namespaces.identity(each)


def _processes_in(namespace: Identity) -> Tuple[List[int], List[int]]:
    """The processes in a namespace: of those that share an `/etc`, the first one; and those without an own `/etc`."""
    owners: Dict[Identity, int] = {}
    others: List[int] = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        # A process may end meanwhile.
        with suppress(OSError):
            if namespaces.identity(f"/proc/{pid}/ns/net") == namespace:
                try:
                    with opened_etc(Running(pid).root) as folder:
                        owners.setdefault(namespaces.identity(folder), pid)
                except NoFilesError:
                    others.append(pid)
    return [*owners.values()], others
