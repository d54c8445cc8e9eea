# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what is in network stacks, each once in a run, for sandboxes and endpoints alike."""

from __future__ import annotations

import glob
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Callable, Collection, Dict, Iterable, Iterator, List

from ...kernel import namespaces, rtnetlink
from ...kernel.namespaces import Identity
from ...kernel.netlink import Connection
from ...kernel.rtnetlink import AddressInfo, LinkInfo, RouteInfo
from ...runtimes.namespace_processes import path_of
from ...state import PATH, SandboxRef
from .marks import is_managed_sublink, marked_for

LOOPBACK_INDEX = 1


def sandbox_path(sandbox: SandboxRef) -> str:
    """The file that stands for the network stack: `/run/netns/web` for `netns:web`. It need not exist.

    Empty for a runtime's container that does not run, and where the runtime does not answer.
    """
    if sandbox.has_runtime:
        from ...runtimes.runtimes import running

        container = running(sandbox)
        return container.namespace if container else ""
    return path_of(sandbox)


def is_present(sandbox: SandboxRef) -> bool:
    """Whether this network stack exists now."""
    return namespaces.is_namespace(sandbox_path(sandbox))


def is_awaited(sandbox: SandboxRef) -> bool:
    """Whether a third party has yet to start this sandbox's container."""
    return sandbox.is_third_party and not is_present(sandbox)


def is_unreadable(sandbox: SandboxRef) -> bool:
    """Whether the sandbox's container has a runtime that does not answer: it may run all the same."""
    if not sandbox.has_runtime:
        return False
    from ...runtimes import runtimes

    return runtimes.is_unreadable(sandbox)


def all_stacks() -> Iterator[SandboxRef]:
    """Each network stack that has a name or a process, the host's own left out."""
    seen = {namespaces.identity(namespaces.OWN)}
    for path in [*glob.glob(f"{namespaces.RUN_NETNS}/*"), *glob.glob("/proc/[0-9]*/ns/net")]:
        # A process may end meanwhile.
        with suppress(OSError):
            identity = namespaces.identity(path)
            if identity not in seen and namespaces.is_namespace(path):
                seen.add(identity)
                yield SandboxRef(PATH, path)


@dataclass(frozen=True)
class Stack:
    """What is in a network stack; `number` is the host's id of it, by which the host's links name it.

    `number_of_host` is its own id of the host's stack, where one of its links is made on a link of the host.

    Root in a container changed addresses or links of a stack that is not `stable` all the while that they were read:
    only its links are known, or only its loopback, where the links are not `listed`.
    """

    identity: Identity
    number: int
    links: List[LinkInfo]
    addresses: List[AddressInfo]
    routes: List[RouteInfo]
    stable: bool = True
    listed: bool = True
    number_of_host: int = rtnetlink.NO_NAMESPACE_ID

    @property
    def is_hosts(self) -> bool:
        return self.identity == namespaces.identity(namespaces.OWN)

    @property
    def sublinks(self) -> List[LinkInfo]:
        """The managed links of endpoints that are made on links of this host.

        A host within this one, such as a machine that runs wharf.network itself, has links with the same marks: these
        are made on links of its own.
        """
        if self.number_of_host == rtnetlink.NO_NAMESPACE_ID:
            return []
        return [link for link in self.links if is_managed_sublink(link) and link.link_netnsid == self.number_of_host]

    @property
    def loopback(self) -> LinkInfo:
        return next(link for link in self.links if link.index == LOOPBACK_INDEX)

    @property
    def mark(self) -> str:
        """The container that the alias of its loopback names, if any."""
        return marked_for(self.loopback)


Stacks = Dict[SandboxRef, Stack]


class HostStack:
    """What is in the host's own stack, each kind read when it is first asked for."""

    @cached_property
    def links(self) -> List[LinkInfo]:
        return rtnetlink.links()

    @cached_property
    def addresses(self) -> List[AddressInfo]:
        return rtnetlink.addresses()

    @cached_property
    def routes(self) -> List[RouteInfo]:
        return rtnetlink.routes()

    @cached_property
    def refusing_routes(self) -> List[RouteInfo]:
        return rtnetlink.refusing()


class StackReader:
    """Reads stacks, and remembers them until a resource says that it changes them.

    All resources of a run that read links share one.
    """

    def __init__(self) -> None:
        self._read: Stacks = {}
        self.host = HostStack()

    def read(self, sandboxes: Iterable[SandboxRef]) -> Stacks:
        """The stacks of those sandboxes that exist.

        Raises:
            OSError: a stack may not be entered.
        """
        wanted = list(dict.fromkeys(sandboxes))
        unread = [ref for ref in wanted if ref not in self._read]
        if unread:
            known = {stack.identity: ref for ref, stack in self._read.items()}
            with Connection(socket.NETLINK_ROUTE) as host, namespaces.opened(namespaces.OWN) as own:
                for ref in unread:
                    # A container may end meanwhile.
                    with suppress(FileNotFoundError, ProcessLookupError):
                        path = sandbox_path(ref)
                        if namespaces.is_namespace(path):
                            # By another name, such as the path of a process, it may have been read before.
                            other = known.get(namespaces.identity(path))
                            if other and self._still_leads_there(other):
                                self._read[ref] = self._read[other]
                            else:
                                self._read[ref] = _read_at(path, host, own)
                            known[self._read[ref].identity] = ref
        return {ref: self._read[ref] for ref in wanted if ref in self._read}

    def _still_leads_there(self, ref: SandboxRef) -> bool:
        """Whether a name of a stack that was read is a name of the same one now.

        Its container may have ended, and the kernel gives the number of a namespace that is gone to the next one.
        """
        with suppress(OSError):
            return namespaces.identity(sandbox_path(ref)) == self._read[ref].identity
        return False

    def forget(self, sandboxes: Iterable[SandboxRef] = (), numbers: Collection[int] = ()) -> None:
        """Read the host's stack anew the next time, and those of these sandboxes, by whatever names, or numbers."""
        self.host = HostStack()
        changed = {self._read[ref].identity for ref in sandboxes if ref in self._read}
        self._read = {
            ref: stack
            for ref, stack in self._read.items()
            if stack.identity not in changed and stack.number not in numbers
        }


def _read_at(path: str, host: Connection, own: int) -> Stack:
    # Back after each: a path such as /proc/self/ns/net leads to where the thread is, and a runtime's program would run
    # there.
    with namespaces.opened(path) as descriptor, namespaces.visiting() as enter:
        return read_open(descriptor, host, own, enter)


def read_open(descriptor: int, host: Connection, own: int, enter: Callable[[int], None]) -> Stack:
    """Read the stack of an open descriptor. `host` is a connection in the host's stack, which `own` is open on."""
    identity, number = namespaces.identity(descriptor), rtnetlink.namespace_id(descriptor, host)
    enter(descriptor)
    with Connection(socket.NETLINK_ROUTE) as there:
        stack = Stack(identity, number, [], [], [])
        try:
            stack = replace(stack, links=rtnetlink.links(there))
            stack = replace(stack, addresses=rtnetlink.addresses(there), routes=rtnetlink.routes(there))
        except BlockingIOError:
            listed = bool(stack.links)
            links = stack.links or [rtnetlink.link(LOOPBACK_INDEX, there)]
            stack = replace(stack, links=links, stable=False, listed=listed)
        is_on_host = any(link.sublink for link in stack.links)
        return replace(stack, number_of_host=rtnetlink.namespace_id(own, there)) if is_on_host else stack
