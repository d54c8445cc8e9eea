# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes as values: from where to where they are sent, what is expected, and what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

HOST = "host"

TCP, UDP, PING = "tcp", "udp", "ping"
PROTOCOLS = (TCP, UDP, PING)
# The port of probes for which any port would do. RFC 863's service ignores what it gets.
DISCARD = 9

OPEN, CLOSED = "open", "closed"
EXPECTED = (OPEN, CLOSED)
# Expected of derived pings to the host: that they arrive. Whether the host answers is decided by its own rules.
REACHED = "reached"
# Expected of derived probes of ports that lead to another host. Whether an answer comes is decided there.
FORWARDED = "forwarded"

# Other outcomes. One-way: the probe arrives, but no reply. Elsewhere: another host or container replies. Absent: the
# sandbox that should send the probe does not exist.
REFUSED, ONE_WAY, ELSEWHERE, ABSENT, UNKNOWN = "refused", "one-way", "elsewhere", "absent", "unknown"

_FULFILS = {OPEN: (OPEN,), CLOSED: (CLOSED, REFUSED), REACHED: (OPEN, ONE_WAY), FORWARDED: (OPEN,)}


@dataclass(frozen=True)
class Probe:
    """A probe. `source` is a container's name, a sandbox such as `netns:web`, or `host`.

    `name` says what the probe proves. A ping with a `size`, in bytes, is a packet of that size that is not fragmented.
    `via` is the address of a host that forwards the probe, for probes from other
    hosts, which cannot watch whether the probe arrives.
    """

    source: str
    address: str
    protocol: str
    port: int = 0
    expected: str = OPEN
    name: str = ""
    via: str = ""
    size: int = 0

    @property
    def key(self) -> Tuple[str, str, str, int, int]:
        """What identifies a probe: a declared probe replaces the derived one with the same key."""
        return self.source, self.address, self.protocol, self.port, self.size

    @property
    def target(self) -> str:
        """Address, port and protocol for reports: `192.0.2.1:80/tcp`, `[2001:db8::1]:80/udp`, `192.0.2.1/ping`."""
        if self.protocol == PING:
            return f"{self.address}/{PING}" + (f" of {self.size} bytes" if self.size else "")
        return f"{f'[{self.address}]' if ':' in self.address else self.address}:{self.port}/{self.protocol}"

    def as_data(self) -> Dict[str, Any]:
        """The probe in the form of the option `probes`."""
        data = {
            "from": self.source,
            "to": self.address,
            "port": self.port,
            "protocol": self.protocol,
            "expected": self.expected,
            "name": self.name,
            "via": self.via,
            "size": self.size,
        }
        return {key: value for key, value in data.items() if value}


@dataclass(frozen=True)
class Outcome:
    """The outcome of a probe, known after `seconds`. `seen_as` is its source address as seen where it arrived."""

    seen: str
    why: str = ""
    seconds: float = 0.0
    seen_as: str = ""

    def fulfils(self, expected: str) -> Optional[bool]:
        """Whether the outcome is as expected; None if it is unknown."""
        if self.seen == UNKNOWN or (self.seen == CLOSED and expected == FORWARDED):
            return None
        return self.seen in _FULFILS[expected]
