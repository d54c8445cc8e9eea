# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends probes from inside network namespaces, many at once, and watches inside other namespaces which of them arrive.

There is one process with one thread: it opens sockets inside each namespace, and waits for all of them with one
selector.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from contextlib import suppress
from typing import Dict, Iterable, List, Optional, Sequence, Tuple, Union

from ..kernel import namespaces, rtnetlink
from .batches import ResolvedProbe, batches
from .packets import (
    ECHO_REPLY,
    ECHO_REQUEST,
    FAMILIES,
    TCP_ACK,
    TCP_RST,
    Received,
    Refusal,
    do_not_fragment,
    echo_request,
    hops_taken,
    keep_refusals,
    new_payload,
    payload_bytes,
    raw_socket,
    receive_all,
    receive_before_rules,
    refusal,
    socket_before_rules,
)
from .probes import ABSENT, CLOSED, ELSEWHERE, ONE_WAY, OPEN, PING, REFUSED, TCP, UDP, UNKNOWN, Outcome

_LOOPBACK, _LOOPBACK_INDEX = "127.0.0.1", 1
NOBODY_LISTENS = "it arrives, but nothing listens there"


def send(probes: Sequence[ResolvedProbe], timeout: float) -> List[Outcome]:
    """Send all probes and wait for their outcomes, at most `timeout` seconds a batch."""
    outcomes: Dict[int, Outcome] = {}
    for batch in batches(probes):
        with _Batch([probes[number] for number in batch]) as under_way:
            outcomes.update(zip(batch, under_way.outcomes(timeout)))
    return [outcomes[number] for number in range(len(probes))]


# What identifies a probe on arrival: the ports of both ends of a TCP connection, the payload of anything else.
Tag = Union[Tuple[int, int], bytes]


class _Watch:
    """A raw socket inside a namespace, with what it has received.

    `arrived` has the source address of each probe that arrived. `refusals` has each TCP reset, by its source and
    destination port.
    """

    def __init__(self, namespace: str, version: int, protocol: str, before_rules: bool) -> None:
        self.arrived: Dict[Tag, str] = {}
        self.refusals: Dict[Tag, Refusal] = {}
        self._version, self._protocol, self._before_rules = version, protocol, before_rules
        with namespaces.entered(namespace):
            self.socket = socket_before_rules(version) if before_rules else raw_socket(version, protocol)

    def handle(self) -> None:
        receive = receive_before_rules if self._before_rules else receive_all
        for packet in receive(self.socket, self._version):
            if self._protocol == TCP:
                self._note_tcp(packet)
            elif self._protocol == UDP or packet.icmp_type == ECHO_REQUEST[self._version]:
                self.arrived[packet.payload] = packet.source

    def _note_tcp(self, packet: Received) -> None:
        if packet.tcp_flags & TCP_RST:
            self.refusals[packet.ports] = Refusal(packet.hops, packet.interface)
        elif not packet.tcp_flags & TCP_ACK:
            self.arrived[packet.ports] = packet.source


class _Attempt:
    """A probe under way."""

    def __init__(self, probe: ResolvedProbe) -> None:
        self.probe = probe
        self.tag: Tag = b""
        self.answered = self.done = self.is_absent = False
        self.error: Optional[OSError] = None
        # The remaining TTL or hop limit of the reply to a ping.
        self.hops = 0
        # The ICMP error that refused the probe.
        self.refusal = Refusal()
        self.socket: Optional[socket.socket] = None
        self._began = time.monotonic()
        self.seconds = 0.0

    def start(self) -> None:
        if not namespaces.is_namespace(self.probe.namespace):
            self.is_absent = self.done = True
            return
        try:
            with namespaces.entered(self.probe.namespace):
                self.socket = self._opened()
            self._send(self.socket)
        except OSError as error:
            self._finish(error=error)

    def _opened(self) -> socket.socket:
        if self.probe.protocol == PING:
            opened = raw_socket(self.probe.version, PING)
            if self.probe.size:
                do_not_fragment(opened, self.probe.version)
            return opened
        kind = socket.SOCK_STREAM if self.probe.protocol == TCP else socket.SOCK_DGRAM
        opened = socket.socket(FAMILIES[self.probe.version], kind | socket.SOCK_NONBLOCK)
        if self.probe.via:
            keep_refusals(opened, self.probe.version)
        return opened

    def _send(self, opened: socket.socket) -> None:
        if self.probe.protocol == TCP:
            # Bound before, since a connection that is refused before `connect` returns no longer has a port.
            opened.bind(("", 0))
            self.tag = (opened.getsockname()[1], self.probe.arrival_port)
        with suppress(BlockingIOError):
            opened.connect((self.probe.address, self.probe.port))
        if self.probe.protocol == TCP:
            return
        self.tag = new_payload(payload_bytes(self.probe.version, self.probe.size))
        opened.send(echo_request(self.probe.version, self.tag) if self.probe.protocol == PING else self.tag)

    @property
    def awaited_events(self) -> int:
        return selectors.EVENT_WRITE if self.probe.protocol == TCP else selectors.EVENT_READ

    def handle(self) -> None:
        if self.socket is None:
            return
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            if self.probe.via:
                self.refusal = refusal(self.socket)
            self._finish(error=OSError(code, os.strerror(code)))
        elif self.probe.protocol != PING:
            self._finish(answered=True)
        else:
            for packet in receive_all(self.socket, self.probe.version):
                if packet.icmp_type == ECHO_REPLY[self.probe.version] and packet.payload == self.tag:
                    self.hops = packet.hops
                    self._finish(answered=True)

    def _finish(self, answered: bool = False, error: Optional[OSError] = None) -> None:
        self.done, self.answered, self.error = True, answered, error
        self.seconds = time.monotonic() - self._began

    @property
    def refused(self) -> bool:
        return isinstance(self.error, ConnectionRefusedError)


# What a watch receives: its namespace, IP family and protocol, and whether before the firewall rules.
_Watched = Tuple[Tuple[int, int], int, str, bool]


def _watched(namespace: str, probe: ResolvedProbe) -> _Watched:
    return namespaces.identity(namespace), probe.version, probe.protocol, probe.before_rules


class _Batch:
    """Probes that are under way together.

    `_references` are pings to the hosts that forward probes (`via`), for comparing the TTL of refusals.
    """

    def __init__(self, probes: Sequence[ResolvedProbe]) -> None:
        self._selector = selectors.DefaultSelector()
        self._watches: Dict[_Watched, _Watch] = {}
        self._attempts = [_Attempt(probe) for probe in probes]
        self._references = {
            key: _Attempt(ResolvedProbe(probe.namespace, PING, probe.via))
            for probe in probes
            for key in [(probe.namespace, probe.via)]
            if probe.via
        }

    def __enter__(self) -> _Batch:
        return self

    def __exit__(self, *_error: object) -> None:
        sockets = [each.socket for each in (*self._attempts, *self._references.values())]
        for opened in (*sockets, *(watch.socket for watch in self._watches.values())):
            if opened:
                opened.close()
        self._selector.close()

    def outcomes(self, timeout: float) -> List[Outcome]:
        for attempt in self._attempts:
            self._watch(attempt.probe)
        under_way = [*self._attempts, *self._references.values()]
        deadline = time.monotonic() + timeout
        for attempt in under_way:
            attempt.start()
            if attempt.socket and not attempt.done:
                self._selector.register(attempt.socket, attempt.awaited_events, attempt)
        self._handle_events(under_way, deadline)
        for watch in self._watches.values():
            watch.handle()
        return [self._outcome(attempt) for attempt in self._attempts]

    def _watch(self, probe: ResolvedProbe) -> None:
        """Watch where the probe should arrive; if that is not on this host, watch its source for TCP resets."""
        for namespace in (
            [probe.witness] if probe.witness else [probe.namespace] if probe.via and probe.protocol == TCP else []
        ):
            # The namespace may no longer exist. Then nothing arrives there.
            with suppress(OSError):
                key = _watched(namespace, probe)
                if key not in self._watches:
                    self._watches[key] = watch = _Watch(namespace, *key[1:])
                    self._selector.register(watch.socket, selectors.EVENT_READ, watch)

    def _handle_events(self, under_way: Iterable[_Attempt], deadline: float) -> None:
        waiting = {id(attempt) for attempt in under_way if not attempt.done}
        while waiting and time.monotonic() < deadline:
            for key, _events in self._selector.select(max(deadline - time.monotonic(), 0)):
                key.data.handle()
                if isinstance(key.data, _Attempt) and key.data.done:
                    waiting.discard(id(key.data))
                    self._selector.unregister(key.fileobj)

    def _outcome(self, attempt: _Attempt) -> Outcome:
        if attempt.is_absent:
            return Outcome(ABSENT, "the sandbox that it should come from is not there")
        seen_as = self._seen_as(attempt)
        seen, why = self._result(attempt, seen_as)
        return Outcome(seen, why, round(attempt.seconds, 4), seen_as)

    def _seen_as(self, attempt: _Attempt) -> str:
        """The source address that the witness saw; empty if nothing arrived."""
        watch = self._watch_of(attempt.probe.witness, attempt.probe)
        return watch.arrived.get(attempt.tag, "") if watch else ""

    def _watch_of(self, namespace: str, probe: ResolvedProbe) -> Optional[_Watch]:
        with suppress(OSError):
            return self._watches.get(_watched(namespace, probe))
        return None

    def _result(self, attempt: _Attempt, seen_as: str) -> Tuple[str, str]:
        probe = attempt.probe
        if attempt.answered:
            answered_elsewhere = probe.witness and not seen_as and not probe.before_rules
            return (ELSEWHERE, "something else answers") if answered_elsewhere else (OPEN, "")
        if probe.before_rules and seen_as:
            return ONE_WAY, "it arrives, and the host answers no pings here"
        if attempt.refused and (seen_as or self._is_refused_behind(attempt)):
            return OPEN, NOBODY_LISTENS
        if attempt.refused and probe.via not in ("", _LOOPBACK) and self._hops_of_host(probe) is None:
            return (
                UNKNOWN,
                f"refused, by {probe.via} or by the host that it forwards to: a ping would tell, but is not answered",
            )
        if attempt.refused:
            return REFUSED, "refused"
        if seen_as:
            return (OPEN, "it arrives") if probe.protocol == UDP else (ONE_WAY, "it arrives, and no answer comes back")
        if attempt.error:
            return CLOSED, (attempt.error.strerror or str(attempt.error)).lower()
        if probe.protocol == UDP and not probe.witness:
            return UNKNOWN, "no answer, which is all that many UDP services have to say"
        return CLOSED, "no answer"

    def _is_refused_behind(self, attempt: _Attempt) -> bool:
        """Whether the refusal comes from behind the host that forwards, so not from that host itself."""
        seen, reference = self._refusal_of(attempt), self._hops_of_host(attempt.probe)
        if attempt.probe.via == _LOOPBACK:
            # A refusal by the next host has as many hops left as one by this host.
            return seen.interface not in (0, _LOOPBACK_INDEX)
        if reference is None or not seen.hops:
            return False
        # Stacks begin with different numbers.
        return seen.hops < reference or hops_taken(seen.hops) > hops_taken(reference)

    def _refusal_of(self, attempt: _Attempt) -> Refusal:
        watch = self._watch_of(attempt.probe.namespace, attempt.probe)
        if watch is None or not isinstance(attempt.tag, tuple):
            return attempt.refusal
        return watch.refusals.get((attempt.probe.port, attempt.tag[0]), attempt.refusal)

    def _hops_of_host(self, probe: ResolvedProbe) -> Optional[int]:
        reference = self._references.get((probe.namespace, probe.via))
        return reference.hops if reference and reference.answered else None


def is_on_link(namespace: str, address: str) -> bool:
    """Whether the namespace reaches an address without a router.

    If so, the address belongs to another host here than where the probe was derived.
    """
    with suppress(OSError), namespaces.entered(namespace):
        return not rtnetlink.gateway_to(address)
    return False
