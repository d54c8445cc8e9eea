# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports, in Docker's short form and Compose's long form."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional, Tuple

from ..errors import ProblemCollector
from .section import Address, Section, Subnet, WrongValueError, address, addresses, flag, list_of, text, wrong

PROTOCOLS = ("tcp", "udp", "sctp")
INGRESS_PROTOCOLS = ("tcp", "udp")

PortRange = Tuple[int, int]

_NOT_GIVEN: PortRange = (0, 0)


def port_range(value: Any, path: str) -> PortRange:
    """`80` or `8000-8010`, both ends included."""
    match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", text(value, path))
    if not match:
        raise wrong(path, value, "must be a port such as 80 or a range such as 8000-8010")
    first = int(match[1])
    last = int(match[2] or first)
    if not 1 <= first <= last <= 65535:
        raise wrong(path, value, "ports are from 1 to 65535, the lower one first")
    return first, last


def _as_text(value: Any, path: str) -> str:
    """
    Raises:
        ModelError: it is a number. YAML 1.1, which Ansible reads, takes an unquoted 22:22 for 1342 (base 60).
    """
    mapping = text(value, path)
    if isinstance(value, float):
        raise wrong(path, value, "must be a text: quote port mappings")
    if isinstance(value, int):
        rest, last = divmod(value, 60)
        first = f"{rest // 60}:{rest % 60:02}" if rest > 65535 else str(rest)
        remedy = "quote port mappings"
        if value <= 65535:
            remedy = f'write a text: "{value}" for any free port that leads to {value}, or "HOST:{value}"'
        raise wrong(path, value, f"{remedy} (YAML reads an unquoted {first}:{last:02} as this number, too)")
    return mapping


def protocol(value: Any, path: str) -> str:
    name = text(value, path).lower()
    if name not in PROTOCOLS:
        raise wrong(path, value, "protocol must be tcp, udp or sctp")
    return name


def port_text(ports: PortRange) -> str:
    """The range as `port_range` parses it."""
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def size(ports: PortRange) -> int:
    return ports[1] - ports[0] + 1


class ExposedPorts(NamedTuple):
    """Ports that a container opens to those that link to it."""

    ports: PortRange
    protocol: str


@dataclass(frozen=True)
class PortMapping:
    """Target ports of a container that are published on ports of the host.

    `published` is None if any free port will do. It may be a range for a single target port, which gets one free port
    of the range. `host_ip` is None for all addresses of the host, in both IP families. `allow_from` are the sources
    that may reach the published ports, None for all. With `ingress`, each host of the overlay network publishes them.
    """

    path: str
    target: PortRange
    published: Optional[PortRange]
    host_ip: Optional[Address]
    protocol: str
    allow_from: Optional[Tuple[Subnet, ...]] = None
    ingress: bool = False

    @property
    def leaves_choice(self) -> bool:
        """Whether the planner chooses the port of the host, from all ports or from a range."""
        return self.published is None or size(self.published) != size(self.target)

    def target_of(self, published: int) -> Optional[int]:
        """The target port of a declared port of the host; None if the mapping does not have that."""
        if self.published is None or not self.published[0] <= published <= self.published[1]:
            return None
        return self.target[0] if self.leaves_choice else self.target[0] + published - self.published[0]

    @classmethod
    def parse(cls, value: Any, path: str) -> PortMapping:
        """
        Raises:
            ModelError: the value is no port mapping.
        """
        parse = cls._parse_long if isinstance(value, dict) else cls._parse_short
        parsed = parse(value, path)
        if parsed.published and size(parsed.target) not in (1, size(parsed.published)):
            counts = f"{size(parsed.published)} published ports for {size(parsed.target)} target ports"
            raise wrong(path, value, f"{counts}: the two ranges must be of equal length")
        return parsed

    @classmethod
    def _parse_short(cls, value: Any, path: str) -> PortMapping:
        """`[[HOST_IP:][PUBLISHED]:]TARGET[/PROTOCOL]`, IPv6 addresses in brackets; always a text."""
        match = re.fullmatch(
            r"(?:(?P<ip>\[[^\]]+\]|[0-9.]+)?:(?P<between>[0-9-]*):|(?P<published>[0-9-]+):)?"
            r"(?P<target>[0-9-]+)(?:/(?P<protocol>\w+))?",
            _as_text(value, path),
        )
        if not match:
            form = "[[HOST_IP:][PUBLISHED]:]TARGET[/PROTOCOL]"
            raise wrong(path, value, f"must be {form}, an IPv6 address in brackets")
        published = match["between"] or match["published"]
        try:
            return cls(
                path=path,
                target=port_range(match["target"], path),
                published=port_range(published, path) if published else None,
                host_ip=host_ip(match["ip"], path) if match["ip"] else None,
                protocol=protocol(match["protocol"] or "tcp", path),
            )
        except WrongValueError as error:
            raise wrong(path, value, error.reason) from None

    @classmethod
    def _parse_long(cls, value: Any, path: str) -> PortMapping:
        problems = ProblemCollector()
        section = Section(value, path, problems)
        section.refuse_blank("host_ip")
        section.require("target", "must be given: the container's port")
        target = section.take("target", port_range, _NOT_GIVEN)
        published = section.take_optional("published", port_range)
        address_of_host = section.take_optional("host_ip", host_ip)
        chosen = section.take("protocol", protocol, "tcp")
        section.take("mode", _mode, "host")
        extension = section.inner("x-wharf")
        extension.refuse_blank("allow_from")
        allow_from = extension.take_optional("allow_from", list_of(addresses))
        ingress = extension.take("ingress", flag, False)
        extension.finish()
        section.finish(passed_over=("app_protocol", "name"), extensible=True)
        problems.raise_if_any()
        parsed = cls(path, target, published, address_of_host, chosen, allow_from, ingress)
        parsed._check_ingress(problems)
        problems.raise_if_any()
        return parsed

    def _check_ingress(self, problems: ProblemCollector) -> None:
        """What other hosts are to publish must be the same on all of them, whoever chooses."""
        place = f"{self.path}.x-wharf.ingress"
        if self.ingress and self.leaves_choice:
            problems.add(place, "the other hosts must know the port: give published, one port for each target port")
        if self.ingress and self.host_ip:
            problems.add(place, "the other hosts publish at all of their addresses: leave host_ip out")
        if self.ingress and self.protocol not in INGRESS_PROTOCOLS:
            problems.add(place, f"{self.protocol} is not supported here: only {' and '.join(INGRESS_PROTOCOLS)} are")


def host_ip(value: Any, path: str) -> Address:
    """An address of the host to publish on. The unspecified address stands for all addresses of its IP family."""
    found = address(value, path)
    if found == ipaddress.IPv6Address("::1"):
        raise wrong(path, value, "the kernel cannot translate [::1]; publish on 127.0.0.1 or on another address")
    return found


def _mode(value: Any, path: str) -> str:
    if value not in ("host", "ingress"):
        raise wrong(path, value, "must be host or ingress")
    return str(value)
