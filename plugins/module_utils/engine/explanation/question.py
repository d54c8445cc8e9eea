# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody asks: `wharf explain web db:5432` -> from which stack a packet is sent to which addresses."""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from ..declaration.section import Address, is_address, wrong
from ..errors import ModelError
from ..planning.overlays import overlays
from ..planning.plan import Plan
from ..reachability.parse_probes import NameResolver
from .headers import PING, SCTP, TCP, UDP
from .lookup import look_up

OUTSIDE, HOST = "outside", "host"
PROTOCOLS = (TCP, UDP, SCTP)

_BROADCAST = ipaddress.ip_address("255.255.255.255")
_URL = re.compile(r"(?P<scheme>\w+)://(?P<host>[^/:]*).*")
_TARGET = re.compile(r"(?P<name>\[[^\]]+\]|[^:/]*)(?::(?P<port>[^/]*))?(?:/(?P<protocol>.*))?")


@dataclass(frozen=True)
class OptionNames:
    """What messages call the parts of the question: as the command has them, or the options of the module."""

    source: str = "FROM"
    target: str = "TO"
    icmp: str = "--icmp"
    send: str = "--send"


@dataclass(frozen=True)
class Question:
    """`source` is `outside`, `host`, a container, or an address (`source_address`). `to` is the text of TO, `name` the
    name or address in it, and `targets` are all addresses that this means.
    """

    source: str
    source_address: Optional[Address]
    to: str
    name: str
    targets: Tuple[Address, ...]
    port: int
    protocol: str


def parse_question(
    given_from: str, given_to: str, icmp: bool, plan: Plan, own: Sequence[Address], names: OptionNames
) -> Question:
    """
    Raises:
        ModelError: with what is wrong, by its name.
    """
    known = _Known(plan, own, names)
    source, source_address = known.source(given_from)
    name, port, protocol = _target(given_to, icmp, names)
    targets = known.targets(name, source)
    for address in targets:
        _must_be_of_one_host(address, names.target, given_to)
    if source_address:
        _must_be_of_one_host(source_address, names.source, given_from)
        targets = [each for each in targets if each.version == source_address.version]
        if not targets:
            raise ModelError.at(
                names.target,
                f'"{given_to}": has no IPv{source_address.version} address to be reached from {source_address}',
            )
    return Question(source, source_address, given_to, name, tuple(targets), port, protocol)


def _must_be_of_one_host(address: Address, path: str, text: str) -> None:
    """A packet that is followed comes from one host and goes to one."""
    if address.is_unspecified:
        raise wrong(path, text, "no packet has this address: name the address of one host")
    if address.is_multicast or address == _BROADCAST:
        raise wrong(path, text, "name the address of one host: broadcasts and multicasts are not followed")
    if address.is_link_local and address.version == 6:
        raise wrong(path, text, "link-local addresses are not unique: name the container, or its other address")


def _target(text: str, icmp: bool, names: OptionNames) -> Tuple[str, int, str]:
    if is_address(text):
        return str(ipaddress.ip_address(text)), *_port_and_protocol(text, "", "", icmp, names)
    url = _URL.fullmatch(text)
    if url:
        raise wrong(names.target, text, f"write {url['host']}:PORT, without {url['scheme']}:// and a path")
    found = _TARGET.fullmatch(text)
    if not found or not found["name"]:
        raise wrong(names.target, text, f"write NAME:PORT, ADDRESS:PORT/udp or [IPV6]:PORT, or NAME and {names.icmp}")
    port, protocol = _port_and_protocol(text, found["port"] or "", found["protocol"] or "", icmp, names)
    return found["name"], port, protocol


def _port_and_protocol(text: str, port: str, protocol: str, icmp: bool, names: OptionNames) -> Tuple[int, str]:
    if icmp or (protocol in ("icmp", PING) and not port):
        if port or protocol not in ("", "icmp", PING):
            raise wrong(names.target, text, f"a ping has no port: leave out the port, or {names.icmp}")
        return 0, PING
    if protocol and protocol not in PROTOCOLS:
        listed = f"{', '.join(PROTOCOLS[:-1])} or {PROTOCOLS[-1]}"
        raise wrong(names.target, text, f"protocol must be {listed}; a ping is {names.icmp}")
    if not port:
        raise wrong(names.target, text, f"which port? Write {_with_port(text)}, or {names.icmp} for a ping")
    if not port.isdigit() or not 1 <= int(port) <= 65535:
        raise wrong(names.target, text, f'"{port}": a port is a number from 1 to 65535')
    return int(port), protocol or TCP


def _with_port(text: str) -> str:
    """`::1:80` is an address, and most likely an address with its port."""
    bare = text.partition("/")[0].rstrip(":") or text
    if ":" not in bare:
        return f"{bare}:PORT"
    address, _colon, port = bare.rpartition(":")
    return f"[{bare}]:PORT" + (f", or [{address}]:{port}" if port.isdigit() and is_address(address) else "")


class _Known:
    """What names mean: containers, by their names or, where only one has it, an alias; and the host."""

    def __init__(self, plan: Plan, own: Sequence[Address], names: OptionNames) -> None:
        self._plan = plan
        self._called = names
        self._names = NameResolver(plan, own)
        self._by_alias: Dict[str, List[str]] = {}
        for container in plan.model.containers.values():
            for alias in {alias for each in container.attachments for alias in container.names(each)}:
                if alias not in plan.model.containers:
                    self._by_alias.setdefault(alias, []).append(container.name)

    def source(self, text: str) -> Tuple[str, Optional[Address]]:
        try:
            return "", ipaddress.ip_address(text.strip("[]"))
        except ValueError:
            pass
        if text in (OUTSIDE, HOST):
            return text, None
        return self._container(text, self._called.source, (OUTSIDE, HOST)), None

    def targets(self, name: str, source: str) -> List[Address]:
        if name == OUTSIDE:
            raise wrong(self._called.target, name, "name an address outside of this host, such as 203.0.113.9")
        path = self._called.target
        try:
            found = self._names.addresses(name, source or HOST, path)
        except ModelError:
            if name in self._plan.model.containers:
                raise
            found = self._looked_up(name, source)
            if not found:
                found = self._names.addresses(self._container(name, path, (HOST,), source), source or HOST, path)
        return [ipaddress.ip_address(each) for each in found]

    def _looked_up(self, name: str, source: str) -> List[str]:
        """What a nameserver says to the source, if that is the host or a container, of a name that no other one has."""
        if name in self._by_alias or not self._is_asked(source):
            return []
        return look_up(name, self._plan.model.containers.get(source), self._plan)

    def _is_asked(self, source: str) -> bool:
        return source == HOST or source in self._plan.model.containers

    def _container(self, name: str, path: str, others: Sequence[str], source: str = "") -> str:
        if name in self._plan.model.containers:
            return name
        having = self._by_alias.get(name, ())
        if len(having) == 1:
            return having[0]
        if having:
            raise wrong(path, name, f"several containers have this name: {', '.join(having)}: name one of them")
        for network, driver in overlays(self._plan.model):
            for peer in driver.peers:
                if name in peer.names:
                    where = f"is a container of host {peer.name}, on network {network.name}"
                    raise wrong(path, name, f"{where}, and only its resolver knows its address: give the address")
        known = [*others, *self._plan.model.containers, *self._by_alias]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        if "." in name and not near:
            asked = f"no nameserver of {source} says an address of it"
            hint = asked if self._is_asked(source) else "what it means elsewhere is not known here: give the address"
        raise wrong(path, name, f"is neither a declared container nor an address; {hint}")
