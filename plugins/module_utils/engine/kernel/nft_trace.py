# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rules of nftables the kernel says that a packet met (nftrace)."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import Iterator, List

from . import programs

_TABLE = "wharf-trace"
# Before all other chains. The table goes with the process that has made it, however that ends.
_RULES = """table inet {table} {{ flags owner;
chain came {{ type filter hook prerouting priority -500; {match} meta nftrace set 1; }};
chain sent {{ type filter hook output priority -500; {match} meta nftrace set 1; }}; }}
"""
_EVENT = re.compile(
    r"trace id (?P<id>\w+) (?P<family>\w+) (?P<table>\S+) (?P<chain>\S+) "
    r"(?:packet: (?P<packet>.*)|rule (?P<rule>.*) \(verdict .*\)|(?P<policy>policy \w+))"
)
_LISTED = f"table inet {_TABLE} {{".encode()
# Seconds. The kernel reports at once; nft has to start, and to print, on a busy host too.
_STARTS_WITHIN, _REPORTED_WITHIN = 2.0, 1.0


class Trace:
    """The rules that packets meet, as nft reports them."""

    def __init__(self, monitor: subprocess.Popen[bytes]) -> None:
        self._monitor = monitor

    def rules(self, source: str) -> List[str]:
        """`FAMILY TABLE CHAIN: RULE` for each rule that a packet from this address met, in the order of the kernel."""
        events = [found for found in map(_EVENT.match, self._output().splitlines()) if found]
        own = {each["id"] for each in events if each["packet"] and f"saddr {source} " in each["packet"]}
        return [
            f"{each['family']} {each['table']} {each['chain']}: {each['rule'] or each['policy']}"
            for each in events
            if each["id"] in own and each["table"] != _TABLE and not each["packet"]
        ]

    def _output(self) -> str:
        return b"".join(_read(self._monitor, _REPORTED_WITHIN)).decode("utf-8", "replace")


@contextmanager
def traced(version: int, protocol: str, address: str, port: int) -> Iterator[Trace]:
    """Trace the first packets to an address, in the network namespace that the thread is in.

    Nothing is reported where nft or the kernel cannot do it.
    """
    to = f"{'ip' if version == 4 else 'ip6'} daddr {address}"
    kinds = {"tcp": f"tcp dport {port} tcp flags syn / syn,ack", "udp": f"udp dport {port}"}
    match = f"{to} {kinds.get(protocol, 'meta l4proto { icmp, ipv6-icmp }')}"
    with _nft("-i") as owner, _nft("monitor", "trace") as monitor:
        try:
            _prepare(owner, match)
            _await(monitor)
            yield Trace(monitor)
        finally:
            for process in (monitor, owner):
                process.kill()


def _prepare(owner: subprocess.Popen[bytes], match: str) -> None:
    """Make the table, and wait until it is there."""
    rules = _RULES.format(table=_TABLE, match=match).replace("\n", " ")
    with suppress(BrokenPipeError):
        if owner.stdin:
            owner.stdin.write(f"{rules}\nlist table inet {_TABLE}\n".encode())
            owner.stdin.flush()
    listed = b""
    for some in _read(owner, _STARTS_WITHIN):
        listed += some
        if _LISTED in listed:
            return


def _await(monitor: subprocess.Popen[bytes]) -> None:
    """Wait until it listens: until its netlink socket is in a group."""
    deadline = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < deadline:
        with open("/proc/self/net/netlink", encoding="ascii") as file:
            sockets = [line.split() for line in file.read().splitlines()[1:]]
        if any(each[2] == str(monitor.pid) and int(each[3], 16) for each in sockets):
            return
        time.sleep(0.01)


def _read(process: subprocess.Popen[bytes], patience: float) -> Iterator[bytes]:
    """What a process prints, until it has printed nothing for so many seconds."""
    if process.stdout is None:
        raise AssertionError("its output is read")
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(patience):
            some = os.read(process.stdout.fileno(), 1 << 16)
            if not some:
                return
            yield some


def _nft(*arguments: str) -> subprocess.Popen[bytes]:
    # There is no run_command in an engine that also runs without Ansible, and it runs nothing meanwhile.
    return subprocess.Popen(  # pylint: disable=ansible-bad-function
        [programs.find("nft") or "nft", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
