# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option `probes` -> probes: names become addresses, as the source of the probe would resolve them."""

from __future__ import annotations

import difflib
import ipaddress
from typing import Any, Iterable, Iterator, List, Sequence, Tuple

from ..declaration.model import HOST_MODE, Container
from ..declaration.parse_container import parse_sandbox
from ..declaration.section import Address, Raw, address, list_of, number_from, wrong
from ..planning.host_files import contents_of
from ..planning.plan import Plan
from .probes import HOST, OPEN, PING, TCP, Probe

_size = number_from(68, 65535, "a packet that is not fragmented has from 68 to 65535 bytes")
_port = number_from(1, 65535, "a port is from 1 to 65535")


def parse_probes(given: Sequence[Raw], plan: Plan, own: Iterable[Address]) -> List[Probe]:
    """The given probes: one for each address of their target.

    Raises:
        ModelError: with all problems.
    """
    names = NameResolver(plan, own)
    parsed = list_of(lambda raw, path: tuple(_parse(raw, path, names)))(given, "probes")
    return [probe for probes in parsed for probe in probes]


def parse_hosts(given: Sequence[str], path: str) -> Tuple[Tuple[Address, int], ...]:
    """`192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`, each as address and port.

    Raises:
        ModelError: with all problems.
    """
    return list_of(_parse_host)(given, path)


def _parse_host(value: Any, path: str) -> Tuple[Address, int]:
    text = str(value)
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not text.startswith("[")) or text.endswith("]"):
        return address(text, path), 0
    return address(host, path), _port(port, path)


def _parse(raw: Raw, path: str, names: NameResolver) -> Iterator[Probe]:
    protocol = raw.get("protocol") or TCP
    source = str(raw.get("from") or HOST)
    names.check_source(source, f"{path}.from")
    port = 0
    if protocol == PING:
        if raw.get("port") is not None:
            raise wrong(f"{path}.port", raw["port"], "a ping has no port: leave it out")
    elif raw.get("port") is None:
        raise wrong(f"{path}.port", None, f"is missing: {protocol} asks a port")
    else:
        port = _port(raw["port"], f"{path}.port")
    size = 0
    if raw.get("size") is not None:
        if protocol != PING:
            raise wrong(f"{path}.size", raw["size"], "is for a ping: set protocol to ping, or leave it out")
        size = _size(raw["size"], f"{path}.size")
    via = str(address(raw["via"], f"{path}.via")) if raw.get("via") else ""
    for each in names.addresses(str(raw["to"]), source, f"{path}.to"):
        yield Probe(source, each, protocol, port, raw.get("expected") or OPEN, raw.get("name") or "", via, size)


class NameResolver:
    """Resolves names: of containers, of the host, and those in a container's `hosts`."""

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
        """The container's addresses on networks that the source is on, too; all of its addresses if there are none."""
        target = self._plan.model.owner_of_stack(container)
        sender = self._plan.model.containers.get(source)
        networks = {a.network for a in self._plan.model.owner_of_stack(sender).attachments} if sender else set()
        shared = [a for a in target.attachments if a.network in networks]
        return [each for a in shared or target.attachments for each in self._plan.addresses(target.name, a)]

    def _of_families(self, source: str, addresses: List[str]) -> List[str]:
        """The addresses in IP families that the source has."""
        sender = self._plan.model.containers.get(source)
        owner = self._plan.model.owner_of_stack(sender) if sender else None
        if owner is None or not owner.attachments:
            return addresses
        networks = [self._plan.model.networks[a.network] for a in owner.attachments]
        has_family = {version: any(owner.has(network, version) for network in networks) for version in (4, 6)}
        return [each for each in addresses if has_family[6 if ":" in each else 4]]

    def _in_hosts_of(self, source: str, name: str) -> List[str]:
        container = self._plan.model.containers.get(source)
        if container is None or not container.sandbox.is_managed:
            return []
        hosts = contents_of(self._plan, container).get("hosts", "")
        lines = [line.split() for line in hosts.splitlines()]
        return [fields[0] for fields in lines if name in fields[1:]]


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
    return f"is not known here; {hint}"
