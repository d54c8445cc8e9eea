# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A packet as it is on its way, and the connection that a network stack has noted of it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Optional, Union

from ..declaration.section import Address
from ..third_party.rule_evaluation import SomeAddress, SomePort

TCP, UDP, SCTP, PING = "tcp", "udp", "sctp", "ping"

# An address that is known, or one of which only some things are.
HeaderAddress = Union[Address, SomeAddress]
# A port that is known, or one that a client has taken.
PortNumbers = Union[int, SomePort]


@dataclass(frozen=True)
class Header:
    """A packet's header; ports are None with a ping. `reply`: it answers another packet."""

    version: int
    protocol: str
    source: Optional[HeaderAddress]
    destination: HeaderAddress
    source_port: Optional[PortNumbers] = None
    destination_port: Optional[PortNumbers] = None
    reply: bool = False

    def answer(self) -> Header:
        return replace(
            self,
            source=self.destination,
            destination=self.source or self.destination,
            source_port=self.destination_port,
            destination_port=self.source_port,
            reply=not self.reply,
        )

    @property
    def to(self) -> str:
        return spelt(self.destination, self.destination_port)

    @property
    def by(self) -> str:
        return spelt(self.source, self.source_port) if self.source else "an address that is not known"


def spelt(end: HeaderAddress, port: Optional[PortNumbers]) -> str:
    if isinstance(end, SomeAddress):
        return "the client"
    text = str(end)
    return text if not isinstance(port, int) else f"[{text}]:{port}" if end.version == 6 else f"{text}:{port}"


def is_loopback(end: Optional[HeaderAddress]) -> bool:
    return isinstance(end, (ipaddress.IPv4Address, ipaddress.IPv6Address)) and end.is_loopback


@dataclass
class TrackedConnection:
    """What connection tracking of one stack knows: the first packet as it came, and as it is after translation.

    `has_destination` and `has_source`: that NAT is already decided, even if it left them as they were.
    """

    original: Header
    current: Header
    has_destination: bool = False
    has_source: bool = False

    @property
    def dnat(self) -> bool:
        before, now = self.original, self.current
        return (before.destination, before.destination_port) != (now.destination, now.destination_port)

    @property
    def expected_answer(self) -> Header:
        return self.current.answer()

    def with_own_destination(self, header: Header) -> Header:
        """An answer as it is once the translation of the source is undone."""
        return replace(header, destination=self.original.source or header.destination)

    def with_own_source(self, header: Header) -> Header:
        """An answer as it is once the translation of the destination is undone."""
        return replace(header, source=self.original.destination, source_port=self.original.destination_port)
