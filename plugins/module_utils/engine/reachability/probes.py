# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes as values: who asks whom, what should become of it, what did, and what that says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

HOST = "host"

TCP, UDP, PING = "tcp", "udp", "ping"
PROTOCOLS = (TCP, UDP, PING)

OPEN, CLOSED = "open", "closed"
EXPECTED = (OPEN, CLOSED)
# What is derived of pings to the host: that they come to it. Whether it answers is said by its own rules.
REACHED = "reached"

# What else may be seen. Of two ways only the first is open; something else answers; the sender's sandbox is not there.
REFUSED, ONE_WAY, ELSEWHERE, ABSENT, UNKNOWN = "refused", "one-way", "elsewhere", "absent", "unknown"

_FULFILS = {OPEN: (OPEN,), CLOSED: (CLOSED, REFUSED), REACHED: (OPEN, ONE_WAY)}


@dataclass(frozen=True)
class Probe:
    """One packet's way. `source` is a container's name, a sandbox such as `netns:web`, or `host`.

    `name` says what is proved. `via` is the address of a host that forwards the probe: it is only given where
    that host cannot be asked itself what arrives.
    """

    source: str
    address: str
    protocol: str
    port: int = 0
    expected: str = OPEN
    name: str = ""
    via: str = ""

    @property
    def way(self) -> Tuple[str, str, str, int]:
        """What two probes have in common of which one replaces the other."""
        return self.source, self.address, self.protocol, self.port

    @property
    def target(self) -> str:
        """As people write it: `192.0.2.1:80/tcp`, `[2001:db8::1]:80/udp`, `192.0.2.1/ping`."""
        if self.protocol == PING:
            return f"{self.address}/{PING}"
        return f"{f'[{self.address}]' if ':' in self.address else self.address}:{self.port}/{self.protocol}"

    def as_data(self) -> Dict[str, Any]:
        """As the module takes it."""
        words = {
            "from": self.source,
            "to": self.address,
            "port": self.port,
            "protocol": self.protocol,
            "expected": self.expected,
            "name": self.name,
            "via": self.via,
        }
        return {key: value for key, value in words.items() if value}


@dataclass(frozen=True)
class Outcome:
    """What became of a probe. `seconds` passed until that was known, `seen_as` is whom the target saw it come from."""

    seen: str
    why: str = ""
    seconds: float = 0.0
    seen_as: str = ""

    def fulfils(self, expected: str) -> Optional[bool]:
        """Whether it is as expected; None where that cannot be told."""
        return None if self.seen == UNKNOWN else self.seen in _FULFILS[expected]
