# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one process that holds a throwaway host: it listens and probes in all its network namespaces.

A line of JSON on its standard input is a call, `[FUNCTION, ARGUMENTS]`, and is answered by a line. It ends with
its standard input, so with whoever started it. One thread and one selector serve all sockets: an answer never
waits for another process to be scheduled, and any number of probes that nobody answers take one timeout.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import resource
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
IPV6_RECVPKTINFO, IPV6_PKTINFO = 49, 50
IP_PKTINFO = 8
ICMP_ECHO, ICMPV6_ECHO = 8, 128
ICMP_ECHO_REPLY, ICMPV6_ECHO_REPLY = 0, 129

_libc = ctypes.CDLL(None, use_errno=True)
_selector = selectors.DefaultSelector()
_heard: list[str] = []
_hearers: dict[str, str] = {}
_held: dict[int, socket.socket] = {}
_places: list[int] = []
_servers: dict[str, list[socket.socket]] = {}

Handler = Callable[[], None]


# Namespaces


def _place() -> str:
    """A path to the network namespace that the agent is in now. `/proc/PID/ns/net` is where it is by then."""
    _places.append(os.open("/proc/self/ns/net", os.O_RDONLY))
    return f"/proc/{os.getpid()}/fd/{_places[-1]}"


def new_place() -> str:
    """Make an empty network namespace, and return a path to it."""
    with _returning():
        _call("unshare", CLONE_NEWNET)
        return _place()


@contextmanager
def entered(place: str) -> Iterator[None]:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        with _returning():
            _call("setns", descriptor, CLONE_NEWNET)
            yield
    finally:
        os.close(descriptor)


@contextmanager
def _returning() -> Iterator[None]:
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        yield
    finally:
        _call("setns", own, CLONE_NEWNET)
        os.close(own)


def _call(function: str, *arguments: int) -> None:
    if getattr(_libc, function)(*arguments):
        raise OSError(ctypes.get_errno(), f"{function}: {os.strerror(ctypes.get_errno())}")


# Servers: they say their name and whom they see; over TCP they then echo, until the client leaves


def serve(place: str, name: str, protocol: str, address: str, port: int) -> None:
    """Listen; `address` is one of the place's own, or `0.0.0.0` or `::` for all of the family."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with entered(place):
        server = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    _servers.setdefault(place, []).append(server)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if protocol == "udp":
        server.setsockopt(*_packet_info_option(family), 1)
    server.bind((address, port))
    if protocol == "tcp":
        server.listen(1024)
        _selector.register(server, selectors.EVENT_READ, lambda: _accept(server, name))
    else:
        _selector.register(server, selectors.EVENT_READ, lambda: _answer_datagram(server, name))


def stop(place: str) -> None:
    for server in _servers.pop(place, []):
        _forget(server)


def stop_all() -> None:
    for place in list(_servers):
        stop(place)
    while _held:
        _held.popitem()[1].close()


def attend() -> None:
    """Answer whoever comes, for ever."""
    while True:
        _serve_once(timeout=3600)


def heard() -> list[str]:
    """What has come to the UDP servers: `NAME PEER TEXT`."""
    return _heard


def _accept(server: socket.socket, name: str) -> None:
    with suppress(BlockingIOError):
        connection, peer = server.accept()
        connection.setblocking(False)
        connection.sendall(f"{name} {peer[0]}\n".encode())
        _selector.register(connection, selectors.EVENT_READ, lambda: _echo(connection))


def _echo(connection: socket.socket) -> None:
    try:
        data = connection.recv(4096)
        if data:
            connection.sendall(data)
            return
    except OSError:
        pass
    _forget(connection)


def _packet_info_option(family: int) -> tuple[int, int]:
    if family == socket.AF_INET:
        return socket.IPPROTO_IP, IP_PKTINFO
    return socket.IPPROTO_IPV6, IPV6_RECVPKTINFO


def _answer_datagram(server: socket.socket, name: str) -> None:
    """Answer from the address that was asked, as a client expects."""
    with suppress(BlockingIOError):
        text, ancillary, _flags, peer = server.recvmsg(4096, 256)
        said = text.decode(errors="replace")
        _heard.append(f"{name} {peer[0]} {said}")
        _hearers[said] = name
        with suppress(OSError):
            server.sendmsg([f"{name} {peer[0]}\n".encode()], [*_reply_from(ancillary)], 0, peer)


def _reply_from(ancillary: list[tuple[int, int, bytes]]) -> Iterator[tuple[int, int, bytes]]:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            _index, specific, _destination = struct.unpack("I4s4s", data)
            yield level, kind, struct.pack("I4s4s", 0, specific, b"")
        if (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
            destination, index = struct.unpack("16sI", data)
            yield level, kind, struct.pack("16sI", destination, index if destination[0] == 0xFE else 0)


# Probes


class Attempt:
    """One probe under way: open once somebody answers, closed by an error or when time is up."""

    def __init__(
        self, place: str, protocol: str, address: str, port: int, source: str = "", source_port: int = 0
    ) -> None:
        self.answer = ""
        self.why = "no answer"
        self._text = ""
        self.done = False
        self._address = address
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = self._opened(place, protocol)
        try:
            self._socket.setblocking(False)
            if source or source_port:
                self._socket.bind((source, source_port))
            self._start(protocol, port)
        except OSError as error:
            self._finish(why=error.strerror or str(error))

    def _opened(self, place: str, protocol: str) -> socket.socket:
        with entered(place):
            if protocol == "ping":
                icmp = socket.IPPROTO_ICMP if self._family == socket.AF_INET else socket.IPPROTO_ICMPV6
                return socket.socket(self._family, socket.SOCK_RAW, icmp)
            return socket.socket(self._family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)

    def _start(self, protocol: str, port: int) -> None:
        address: tuple[Any, ...] = (self._address, port)
        if "%" in self._address:
            address = socket.getaddrinfo(self._address, port)[0][4]
        if protocol == "tcp":
            with suppress(BlockingIOError):
                self._socket.connect(address)
            _selector.register(self._socket, selectors.EVENT_READ, self._read_line)
            return
        self._socket.connect(address)
        if protocol == "ping":
            self._token = os.urandom(8)
            self._socket.send(_echo_request(self._family, self._token))
            _selector.register(self._socket, selectors.EVENT_READ, self._read_echo)
        else:
            self._text = f"? {os.urandom(8).hex()}"
            self._socket.send(self._text.encode())
            _selector.register(self._socket, selectors.EVENT_READ, self._read_line)

    def _read_line(self) -> None:
        try:
            self._finish(self._socket.recv(4096).decode().strip())
        except OSError as error:
            self._finish(why=error.strerror or str(error))

    def _read_echo(self) -> None:
        try:
            packet = self._socket.recv(4096)
        except OSError as error:
            self._finish(why=error.strerror or str(error))
            return
        message = packet[20:] if self._family == socket.AF_INET else packet
        reply = ICMP_ECHO_REPLY if self._family == socket.AF_INET else ICMPV6_ECHO_REPLY
        if message[0] == reply and message[8:] == self._token:
            self._finish(f"pong {self._address}")

    def _finish(self, answer: str = "", why: str = "closed by the other side") -> None:
        self.done, self.answer, self.why = True, answer, "" if answer else why
        _forget(self._socket)

    def result(self) -> list[str]:
        if not self.done:
            self._finish(why="no answer")
        return [self.answer, self.why, _hearers.get(self._text, "")]


def probe(attempts: list[dict[str, Any]], timeout: float) -> list[list[str]]:
    """Try all at once; for each the answer, or why there is none, and which UDP server has heard it.

    `timeout` in seconds, for all of them.
    """
    under_way = [Attempt(**attempt) for attempt in attempts]
    deadline = time.monotonic() + timeout
    while not all(attempt.done for attempt in under_way) and time.monotonic() < deadline:
        _serve_once(deadline - time.monotonic())
    return [attempt.result() for attempt in under_way]


def hold(place: str, address: str, port: int) -> int:
    """Connect, and keep the connection."""
    with entered(place):
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    connection.setblocking(False)
    with suppress(BlockingIOError):
        connection.connect((address, port))
    _held[connection.fileno()] = connection
    _receive(connection, timeout=2)
    return connection.fileno()


def say(held: int, text: str, timeout: float) -> str:
    """Send over a connection that is kept, and return what comes back."""
    _held[held].sendall(text.encode())
    return _receive(_held[held], timeout)


def _receive(connection: socket.socket, timeout: float) -> str:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            return connection.recv(4096).decode().strip()
        _serve_once(0.01)
    raise TimeoutError("nothing came over the connection")


def send_spoofed(place: str, source: str, destination: str, port: int, text: str, source_port: int = 4242) -> None:
    """Send one UDP datagram that claims to come from `source`."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    length = 8 + len(text)
    # Over IPv4 a checksum may be left out.
    checksum = _udp_checksum(ends, source_port, port, text) if family == socket.AF_INET6 else 0
    datagram = struct.pack("!HHHH", source_port, port, length, checksum) + text.encode()
    if family == socket.AF_INET6:
        header = struct.pack("!IHBB", 0x60000000, length, socket.IPPROTO_UDP, 64)
    else:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, socket.IPPROTO_UDP, 0)
    with entered(place), socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(header + ends + datagram, (destination, 0))


def _udp_checksum(ends: bytes, source_port: int, port: int, text: str) -> int:
    length = 8 + len(text)
    pseudo = ends + struct.pack("!IIHHHH", length, socket.IPPROTO_UDP, source_port, port, length, 0)
    return _checksum(pseudo + text.encode() + b"\0" * (len(text) % 2)) or 0xFFFF


def _checksum(words: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(words) // 2}H", words))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _echo_request(family: int, token: bytes) -> bytes:
    if family == socket.AF_INET6:
        return struct.pack("!BBHHH", ICMPV6_ECHO, 0, 0, 1, 1) + token
    words = struct.pack("!BBHHH", ICMP_ECHO, 0, 0, 1, 1) + token
    return struct.pack("!BBHHH", ICMP_ECHO, 0, _checksum(words), 1, 1) + token


# Files


def read_files(folders: list[str]) -> dict[str, str]:
    """All that can be read below the folders, by path; a folder ends in a slash."""
    return {path: content for folder in folders if os.path.exists(folder) for path, content in _read_below(folder)}


def _read_below(folder: str) -> Iterator[tuple[str, str]]:
    yield folder, ""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_symlink():
                yield entry.path, f"-> {os.readlink(entry.path)}"
            elif entry.is_dir():
                yield from _read_below(f"{entry.path}/")
            else:
                with suppress(OSError), open(entry.path, "rb", buffering=0) as file:
                    yield entry.path, file.read().decode("latin-1")


# Links, kernel parameters, and what programs print of a network namespace


def link_names(place: str) -> list[str]:
    with entered(place):
        return [name for _index, name in socket.if_nameindex()]


def read_parameters(place: str, patterns: list[str]) -> dict[str, str]:
    """The network's kernel parameters whose paths below `/proc/sys/net` match one of these patterns."""
    found = {}
    with entered(place):
        for path in (path for pattern in patterns for path in glob.glob(f"/proc/sys/net/{pattern}")):
            with suppress(OSError), open(path, "rb", buffering=0) as file:
                found[path] = file.read().decode().strip()
    return found


def printed(place: str, command: list[str], given: str = "", may_fail: bool = False) -> str:
    """What a program prints that runs in a place.

    Raises:
        RuntimeError: it failed, and may not.
    """
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    with entered(place):
        ran = subprocess.run(command, input=given.encode(), capture_output=True, check=False, env=environment)
    if ran.returncode and not may_fail:
        raise RuntimeError(f"{command} ended with {ran.returncode}: {ran.stderr.decode()}")
    return ran.stdout.decode()


# Daemons


def daemons() -> list[str]:
    """The command lines of what was started in this host to stay."""
    found = []
    for entry in _processes("net"):
        with suppress(OSError):
            if (entry / "comm").read_text() == "dnsmasq\n":
                found.append((entry / "cmdline").read_text().replace("\0", " ").strip())
    return sorted(found)


def _processes(kind: str) -> Iterator[Path]:
    """The other processes in the agent's own namespace of a kind."""
    own = os.readlink(f"/proc/self/ns/{kind}")
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(entry / "ns" / kind) == own and int(entry.name) != os.getpid():
                yield entry


def _end_processes(of_machine: str) -> None:
    """All that see this host's files; also those that a run of the engine, which ends with the tests, starts now."""
    if os.readlink("/proc/self/ns/mnt") == of_machine:
        return
    for _round in range(5):
        found = [int(entry.name) for entry in _processes("mnt")]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return
        time.sleep(0.1)


# The loop


def _forget(thing: socket.socket) -> None:
    with suppress(KeyError, ValueError):
        _selector.unregister(thing)
    thing.close()


def _serve_once(timeout: float) -> None:
    """Attend to the sockets that have something; calls wait."""
    for key, _events in _selector.select(max(timeout, 0)):
        if key.fileobj is not sys.stdin:
            key.data()


OF_PACKETS = (new_place, serve, stop, stop_all, heard, probe, hold, say, send_spoofed)
OF_WHAT_STANDS = (read_files, link_names, read_parameters, printed, daemons)
OPERATIONS: dict[str, Callable[..., Any]] = {call.__name__: call for call in (*OF_PACKETS, *OF_WHAT_STANDS)}


def main(of_machine: str) -> None:
    """Answer calls; `of_machine` is the mount namespace of the machine, whose processes must be left alone."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _selector.register(sys.stdin, selectors.EVENT_READ)
    print(json.dumps({"result": _place()}), flush=True)
    while True:
        for key, _events in _selector.select():
            if key.fileobj is not sys.stdin:
                key.data()
                continue
            line = sys.stdin.readline()
            if not line:
                _end_processes(of_machine)
                return
            print(json.dumps(_answer(*json.loads(line))), flush=True)


def _answer(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": OPERATIONS[function](**arguments)}
    except Exception as error:
        return {"error": f"{function}{arguments}: {type(error).__name__}: {error}"}


if __name__ == "__main__":
    main(sys.argv[1])
