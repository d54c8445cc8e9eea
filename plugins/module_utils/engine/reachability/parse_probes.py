# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes as somebody typed them: names become addresses, in the eyes of who asks."""

from __future__ import annotations

import difflib
import ipaddress
from typing import Any, Iterable, Iterator, List, Mapping, Sequence, Tuple

from ..declaration.model import HOST_MODE, Container
from ..declaration.parse_container import parse_sandbox
from ..declaration.section import Address, address, number, wrong
from ..errors import ProblemCollector
from ..planning.host_files import NETNS_FILES, dns_files
from ..planning.plan import Plan
from ..state import File
from .probes import HOST, OPEN, PING, TCP, Probe

Words = Mapping[str, Any]


def parse_probes(given: Sequence[Words], plan: Plan, own: Iterable[Address]) -> List[Probe]:
    """The probes that are asked for: one for each address that a name stands for.

    Raises:
        ModelError: with every problem of them.
    """
    problems = ProblemCollector()
    names = _Names(plan, own)
    probes: List[Probe] = []
    for index, words in enumerate(given):
        with problems.collect():
            probes += _parse(words, f"probes[{index}]", names)
    problems.raise_if_any()
    return probes


def parse_hosts(given: Sequence[str], path: str) -> Tuple[Tuple[Address, int], ...]:
    """`192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`, each as address and port.

    Raises:
        ModelError: with every problem of them.
    """
    problems = ProblemCollector()
    parsed: List[Tuple[Address, int]] = []
    for index, text in enumerate(given):
        with problems.collect():
            parsed.append(_parse_host(str(text), f"{path}[{index}]"))
    problems.raise_if_any()
    return tuple(parsed)


def _parse_host(text: str, path: str) -> Tuple[Address, int]:
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not text.startswith("[")) or text.endswith("]"):
        return address(text, path), 0
    return address(host, path), _port(port, path)


def _port(value: Any, path: str) -> int:
    port = number(value, path)
    if not 1 <= port <= 65535:
        raise wrong(path, value, "a port is from 1 to 65535")
    return port


def _parse(words: Words, path: str, names: _Names) -> Iterator[Probe]:
    protocol = words.get("protocol") or TCP
    source = str(words.get("from") or HOST)
    names.check_source(source, f"{path}.from")
    port = 0
    if protocol == PING:
        if words.get("port") is not None:
            raise wrong(f"{path}.port", words["port"], "a ping has no port: leave it out")
    elif words.get("port") is None:
        raise wrong(f"{path}.port", None, f"is missing: {protocol} asks a port")
    else:
        port = _port(words["port"], f"{path}.port")
    via = str(address(words["via"], f"{path}.via")) if words.get("via") else ""
    for each in names.addresses(str(words["to"]), source, f"{path}.to"):
        yield Probe(source, each, protocol, port, words.get("expected") or OPEN, words.get("name") or "", via)


class _Names:
    """What names stand for: containers, the host, and what a container finds in its `hosts`."""

    def __init__(self, plan: Plan, own: Iterable[Address]) -> None:
        self._plan = plan
        self._own = list(own)

    def check_source(self, source: str, path: str) -> None:
        containers = self._plan.model.containers
        if ":" in source:
            parse_sandbox(source, path)
        elif source != HOST and source not in containers:
            raise wrong(path, source, _unknown(source, [HOST, *containers]))

    def addresses(self, name: str, source: str, path: str) -> List[str]:
        try:
            return [str(ipaddress.ip_address(name.strip("[]")))]
        except ValueError:
            pass
        container = self._plan.model.containers.get(name)
        if name == HOST or (container and self._plan.model.owner_of_stack(container).mode == HOST_MODE):
            found = self._of_families(source, self._first_of_host())
        elif container:
            found = self._of_families(source, self._of_container(container, source))
        else:
            found = self._in_hosts_of(source, name)
        if not found:
            why = "has no address" if container else _unknown(name, [HOST, *self._plan.model.containers])
            raise wrong(path, name, why)
        return found

    def _first_of_host(self) -> List[str]:
        return [str(each) for version in (4, 6) for each in [a for a in self._own if a.version == version][:1]]

    def _of_container(self, container: Container, source: str) -> List[str]:
        """Those on a network that both are on, if there is any."""
        target = self._plan.model.owner_of_stack(container)
        asking = self._plan.model.containers.get(source)
        shared = {a.network for a in self._plan.model.owner_of_stack(asking).attachments} if asking else set()
        near = [a for a in target.attachments if a.network in shared]
        return [each for a in near or target.attachments for each in self._plan.addresses(target.name, a)]

    def _of_families(self, source: str, addresses: List[str]) -> List[str]:
        """Those of a family that who asks has."""
        asking = self._plan.model.containers.get(source)
        stack = self._plan.model.owner_of_stack(asking) if asking else None
        if stack is None or not stack.attachments:
            return addresses
        networks = [self._plan.model.networks[a.network] for a in stack.attachments]
        able = {version: any(stack.has(network, version) for network in networks) for version in (4, 6)}
        return [each for each in addresses if able[6 if ":" in each else 4]]

    def _in_hosts_of(self, source: str, name: str) -> List[str]:
        container = self._plan.model.containers.get(source)
        if container is None:
            return []
        path = f"{NETNS_FILES}/{container.sandbox.name}/hosts"
        files = [file for file in dns_files(self._plan) if isinstance(file, File) and file.name == path]
        lines = [line.split() for file in files for line in file.content.splitlines()]
        return [words[0] for words in lines if name in words[1:]]


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
    return f"is not known here; {hint}"
