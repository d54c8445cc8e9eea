# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rules a packet meets on a throwaway host: the kernel reports them, by nftables' own tracing."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

from hosts import HOST, ThrowawayHost

TABLE = "tracing"

# Before all other chains, and for the first packet of a connection only: its answers have nothing to decide any more.
_RULES = f"""
table inet {TABLE} {{
    chain came {{ type filter hook prerouting priority -500; tcp flags syn / syn,ack meta nftrace set 1; }}
    chain sent {{ type filter hook output priority -500; tcp flags syn / syn,ack meta nftrace set 1; }}
}}
"""

# Seconds. The kernel reports at once.
_REPORTED_WITHIN = 10
_LAST_PORT = 65000

_EVENT = re.compile(r"trace id (\w+) \w+ (\S+) (\S+) (?:rule (.*) \(verdict .*\)|(policy \w+)|(packet: .*))")


class Tracer:
    """Sends probes, each from a port of its own, and then returns the way of each."""

    def __init__(self, host: ThrowawayHost, monitor: subprocess.Popen[bytes]) -> None:
        self._host = host
        self._monitor = monitor
        self._output = b""

    @classmethod
    @contextmanager
    def started(cls, host: ThrowawayHost) -> Iterator[Tracer]:
        host.run(f"nft -f - <<'END'{_RULES}END")
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        monitor = subprocess.Popen(
            [*host.enter(), "nft", "monitor", "trace"], stdout=subprocess.PIPE, env=environment
        )  # fmt: skip
        try:
            tracer = cls(host, monitor)
            tracer._listen()
            yield tracer
        finally:
            monitor.kill()
            monitor.wait()
            host.run(f"nft delete table inet {TABLE}")

    def ways(self) -> dict[int, list[str]]:
        """For each source port the chains and rules that its packet met."""
        self._listen()
        events = [found.groups() for found in map(_EVENT.match, self._output.decode().splitlines()) if found]
        ports: dict[str, int] = {}
        ways: dict[int, list[str]] = {}
        for identity, table, chain, rule, policy, packet in events:
            if packet and (port := re.search(r"tcp sport (\d+)", packet)):
                ports.setdefault(identity, int(port[1]))
            elif table != TABLE and not packet and identity in ports:
                ways.setdefault(ports[identity], []).append(f"{chain}\t{rule or policy}")
        return {port: _laid_out(way) for port, way in ways.items()}

    def _listen(self) -> None:
        """Until a packet is reported that is sent now: then nothing is missing of what was sent before."""
        deadline = time.monotonic() + _REPORTED_WITHIN
        assert self._monitor.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._monitor.stdout, selectors.EVENT_READ)
            seen = len(self._output)
            while f"sport {_LAST_PORT}".encode() not in self._output[seen:]:
                assert time.monotonic() < deadline, f"nft reported only: {self._output.decode()}"
                self._host.probe(HOST, "127.0.0.1:9/tcp", expect_open=False, source_port=_LAST_PORT)
                while selector.select(0.1):
                    self._output += os.read(self._monitor.stdout.fileno(), 65536)


def _laid_out(way: list[str]) -> list[str]:
    """A line a rule, with the chain's name where it is another one."""
    lines = []
    for chain, steps in groupby((step.split("\t") for step in way), key=lambda step: step[0]):
        rules = [rule for _chain, rule in steps]
        lines += [f"{chain:<16}{rules[0]}", *(f"{'':<16}{rule}" for rule in rules[1:])]
    return lines
