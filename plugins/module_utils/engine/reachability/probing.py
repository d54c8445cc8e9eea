# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends packets from inside network namespaces, many at once, and watches inside others what arrives.

One process, one thread: sockets are opened inside each namespace, and one selector waits for all of them.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from contextlib import suppress
from typing import Dict, Iterable, List, Optional, Sequence, Tuple, Union

from ..kernel import namespaces, rtnetlink
from .packets import (
    ECHO_REPLY,
    ECHO_REQUEST,
    FAMILIES,
    TCP_ACK,
    TCP_RST,
    Received,
    echo_request,
    hops_of_refusal,
    keep_refusals,
    new_payload,
    raw_socket,
    receive_all,
    receive_before_rules,
    socket_before_rules,
)
from .probes import ABSENT, CLOSED, ELSEWHERE, ONE_WAY, OPEN, PING, REFUSED, TCP, UDP, UNKNOWN, Outcome
from .trials import Trial, portions

NOBODY_LISTENS = "it arrives, but nothing listens there"


def send(trials: Sequence[Trial], timeout: float) -> List[Outcome]:
    """Send all and wait for what becomes of them; who does not answer in `timeout` seconds does not answer."""
    outcomes: Dict[int, Outcome] = {}
    for portion in portions(trials):
        with _Round([trials[number] for number in portion]) as under_way:
            outcomes.update(zip(portion, under_way.outcomes(timeout)))
    return [outcomes[number] for number in range(len(trials))]


# A TCP connection by the ports of both ends, anything else by its payload.
Tag = Union[Tuple[int, int], bytes]


class _Watch:
    """A raw socket inside a namespace, and what it has seen: what arrived and from whom, and refusals.

    `hops_of_refusals` are by the ports of who refuses and who is refused.
    """

    def __init__(self, place: str, version: int, protocol: str, before_rules: bool) -> None:
        self.arrived: Dict[Tag, str] = {}
        self.hops_of_refusals: Dict[Tag, int] = {}
        self._version, self._protocol, self._before_rules = version, protocol, before_rules
        with namespaces.entered(place):
            self.socket = socket_before_rules(version) if before_rules else raw_socket(version, protocol)

    def attend(self) -> None:
        receive = receive_before_rules if self._before_rules else receive_all
        for packet in receive(self.socket, self._version):
            if self._protocol == TCP:
                self._note_tcp(packet)
            elif self._protocol == UDP or packet.icmp_type == ECHO_REQUEST[self._version]:
                self.arrived[packet.payload] = packet.source

    def _note_tcp(self, packet: Received) -> None:
        if packet.tcp_flags & TCP_RST:
            self.hops_of_refusals[packet.ports] = packet.hops
        elif not packet.tcp_flags & TCP_ACK:
            self.arrived[packet.ports] = packet.source


class _Attempt:
    """A trial under way."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.tag: Tag = b""
        self.answered = self.done = self.is_absent = False
        self.error: Optional[OSError] = None
        # Of the answer to a ping, or of the refusal of a datagram, as it was left on arrival.
        self.hops = 0
        self.socket: Optional[socket.socket] = None
        self._began = time.monotonic()
        self.seconds = 0.0

    def start(self) -> None:
        if not namespaces.is_namespace(self.trial.place):
            self.is_absent = self.done = True
            return
        try:
            with namespaces.entered(self.trial.place):
                self.socket = self._opened()
            self._send(self.socket)
        except OSError as error:
            self._finish(error=error)

    def _opened(self) -> socket.socket:
        if self.trial.protocol == PING:
            return raw_socket(self.trial.version, PING)
        kind = socket.SOCK_STREAM if self.trial.protocol == TCP else socket.SOCK_DGRAM
        opened = socket.socket(FAMILIES[self.trial.version], kind | socket.SOCK_NONBLOCK)
        if self.trial.via and self.trial.protocol == UDP:
            keep_refusals(opened, self.trial.version)
        return opened

    def _send(self, opened: socket.socket) -> None:
        if self.trial.protocol == TCP:
            # A connection may be refused before `connect` returns, and has no port then.
            opened.bind(("", 0))
            self.tag = (opened.getsockname()[1], self.trial.arrival_port)
        with suppress(BlockingIOError):
            opened.connect((self.trial.address, self.trial.port))
        if self.trial.protocol == TCP:
            return
        self.tag = new_payload()
        opened.send(echo_request(self.trial.version, self.tag) if self.trial.protocol == PING else self.tag)

    @property
    def awaited_events(self) -> int:
        return selectors.EVENT_WRITE if self.trial.protocol == TCP else selectors.EVENT_READ

    def attend(self) -> None:
        if self.socket is None:
            return
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            if self.trial.via and self.trial.protocol == UDP:
                self.hops = hops_of_refusal(self.socket)
            self._finish(error=OSError(code, os.strerror(code)))
        elif self.trial.protocol != PING:
            self._finish(answered=True)
        else:
            for packet in receive_all(self.socket, self.trial.version):
                if packet.icmp_type == ECHO_REPLY[self.trial.version] and packet.payload == self.tag:
                    self.hops = packet.hops
                    self._finish(answered=True)

    def _finish(self, answered: bool = False, error: Optional[OSError] = None) -> None:
        self.done, self.answered, self.error = True, answered, error
        self.seconds = time.monotonic() - self._began

    @property
    def refused(self) -> bool:
        return isinstance(self.error, ConnectionRefusedError)


# Which namespace, family and protocol is watched, and whether before the rules.
_Watched = Tuple[Tuple[int, int], int, str, bool]


def _watched(place: str, trial: Trial) -> _Watched:
    return namespaces.identity(place), trial.version, trial.protocol, trial.before_rules


class _Round:
    """Trials that are under way together."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._selector = selectors.DefaultSelector()
        self._watches: Dict[_Watched, _Watch] = {}
        self._attempts = [_Attempt(trial) for trial in trials]
        self._references = {
            key: _Attempt(Trial(trial.place, PING, trial.via))
            for trial in trials
            for key in [(trial.place, trial.via)]
            if trial.via
        }

    def __enter__(self) -> _Round:
        return self

    def __exit__(self, *_error: object) -> None:
        sockets = [each.socket for each in (*self._attempts, *self._references.values())]
        for opened in (*sockets, *(watch.socket for watch in self._watches.values())):
            if opened:
                opened.close()
        self._selector.close()

    def outcomes(self, timeout: float) -> List[Outcome]:
        for attempt in self._attempts:
            self._watch(attempt.trial)
        under_way = [*self._attempts, *self._references.values()]
        deadline = time.monotonic() + timeout
        for attempt in under_way:
            attempt.start()
            if attempt.socket and not attempt.done:
                self._selector.register(attempt.socket, attempt.awaited_events, attempt)
        self._attend(under_way, deadline)
        for watch in self._watches.values():
            watch.attend()
        return [self._outcome(attempt) for attempt in self._attempts]

    def _watch(self, trial: Trial) -> None:
        """Watch where it should arrive; where nobody can, watch for the way that a refusal has come."""
        for place in [trial.witness] if trial.witness else [trial.place] if trial.via and trial.protocol == TCP else []:
            # It may be gone, and then nothing arrives there.
            with suppress(OSError):
                key = _watched(place, trial)
                if key not in self._watches:
                    self._watches[key] = watch = _Watch(place, *key[1:])
                    self._selector.register(watch.socket, selectors.EVENT_READ, watch)

    def _attend(self, under_way: Iterable[_Attempt], deadline: float) -> None:
        waiting = {id(attempt) for attempt in under_way if not attempt.done}
        while waiting and time.monotonic() < deadline:
            for key, _events in self._selector.select(max(deadline - time.monotonic(), 0)):
                key.data.attend()
                if isinstance(key.data, _Attempt) and key.data.done:
                    waiting.discard(id(key.data))
                    self._selector.unregister(key.fileobj)

    def _outcome(self, attempt: _Attempt) -> Outcome:
        if attempt.is_absent:
            return Outcome(ABSENT, "the sandbox that it should come from is not there")
        seen_as = self._seen_as(attempt)
        seen, why = self._judged(attempt, seen_as)
        return Outcome(seen, why, round(attempt.seconds, 4), seen_as)

    def _seen_as(self, attempt: _Attempt) -> str:
        """Whom the witness saw it come from; empty if it saw nothing."""
        watch = self._watch_of(attempt.trial.witness, attempt.trial)
        return watch.arrived.get(attempt.tag, "") if watch else ""

    def _watch_of(self, place: str, trial: Trial) -> Optional[_Watch]:
        with suppress(OSError):
            return self._watches.get(_watched(place, trial))
        return None

    def _judged(self, attempt: _Attempt, seen_as: str) -> Tuple[str, str]:
        trial = attempt.trial
        if attempt.answered:
            misled = trial.witness and not seen_as and not trial.before_rules
            return (ELSEWHERE, "something else answers") if misled else (OPEN, "")
        if trial.before_rules and seen_as:
            return ONE_WAY, "it arrives, and the host answers no pings here"
        if attempt.refused and (seen_as or self._is_refused_behind(attempt)):
            return OPEN, NOBODY_LISTENS
        if attempt.refused and trial.via and self._hops_of_host(trial) is None:
            return UNKNOWN, f"refused, by {trial.via} or by whom it forwards to: a ping would tell, and is not answered"
        if attempt.refused:
            return REFUSED, "refused"
        if seen_as:
            return (OPEN, "it arrives") if trial.protocol == UDP else (ONE_WAY, "it arrives, and no answer comes back")
        if attempt.error:
            return CLOSED, (attempt.error.strerror or str(attempt.error)).lower()
        if trial.protocol == UDP and not trial.witness:
            return UNKNOWN, "no answer, which is all that many UDP services have to say"
        return CLOSED, "no answer"

    def _is_refused_behind(self, attempt: _Attempt) -> bool:
        """Whether who refuses is one hop further than the host that forwards, so not that host itself."""
        reference = self._hops_of_host(attempt.trial)
        return reference is not None and self._hops_of_refusal(attempt) == reference - 1

    def _hops_of_refusal(self, attempt: _Attempt) -> int:
        watch = self._watch_of(attempt.trial.place, attempt.trial)
        if watch is None or not isinstance(attempt.tag, tuple):
            return attempt.hops
        return watch.hops_of_refusals.get((attempt.trial.port, attempt.tag[0]), 0)

    def _hops_of_host(self, trial: Trial) -> Optional[int]:
        reference = self._references.get((trial.place, trial.via))
        return reference.hops if reference and reference.answered else None


def is_own_ground(place: str, address: str) -> bool:
    """Whether an address is reached from the namespace without any router: then it is not what others mean by it."""
    with suppress(OSError), namespaces.entered(place):
        return not rtnetlink.gateway_to(address)
    return False
