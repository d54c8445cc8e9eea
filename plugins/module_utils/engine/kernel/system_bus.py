# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of the system's D-Bus by the standard library: calls a method and returns what it answers.

The messages are those of the D-Bus Specification: little-endian, each type aligned to its own size.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Any, Dict, List, Mapping, Tuple

_PATHS = ("/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket")
_CALL, _RETURN, _ERROR = 1, 2, 3
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_TO, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_ALIGNMENT = {"y": 1, "g": 1, "v": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8}
_NUMBERS = {"y": "<B", "n": "<h", "q": "<H", "i": "<i", "u": "<I", "x": "<q", "t": "<Q", "d": "<d", "b": "<I"}
# Seconds. firewalld reloads while the caller waits.
_PATIENCE = 60


class BusError(Exception):
    """A method answered with an error; `name` is the error's."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


def path() -> str:
    """Of the bus's socket; empty where there is none."""
    return next((path for path in _PATHS if os.path.exists(path)), "")


class SystemBus:
    """A connection to the bus; to be used as a context manager."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        """`patience` is how long to wait for an answer, in seconds.

        Raises:
            OSError: nobody listens there, or does not speak D-Bus.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(patience)
        self._serial = 0
        try:
            self._socket.connect(path())
            self._socket.sendall(b"\0AUTH EXTERNAL %s\r\n" % str(os.geteuid()).encode().hex().encode())
            if not self._line().startswith(b"OK"):
                raise OSError("the system's D-Bus refuses access")
            self._socket.sendall(b"BEGIN\r\n")
            self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> SystemBus:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def has(self, name: str) -> bool:
        """Whether somebody on the bus has this name."""
        bus = "org.freedesktop.DBus"
        return bool(self.call(bus, "/org/freedesktop/DBus", bus, "NameHasOwner", "s", name))

    def call(self, name: str, path: str, interface: str, member: str, signature: str = "", *values: Any) -> Any:
        """What a method answers: its one value, or None.

        Raises:
            BusError: it answered with an error.
            OSError: the connection broke, or nobody answered in time.
        """
        self._serial += 1
        fields = [(_PATH, "o", path), (_INTERFACE, "s", interface), (_MEMBER, "s", member), (_DESTINATION, "s", name)]
        fields += [(_SIGNATURE, "g", signature)] if signature else []
        body = _Writer()
        for kind, value in zip(_types(signature), values):
            body.write(kind, value)
        header = _Writer()
        for number in (ord("l"), _CALL, 0, 1):
            header.write("y", number)
        header.write("u", len(body.data))
        header.write("u", self._serial)
        header.write("a(yv)", [(code, (kind, value)) for code, kind, value in fields])
        header.align(8)
        self._socket.sendall(bytes(header.data + body.data))
        return self._answer()

    def _answer(self) -> Any:
        while True:
            kind, fields, body = self._message()
            if fields.get(_REPLY_TO) != self._serial or kind not in (_RETURN, _ERROR):
                continue
            values = [body.read(each) for each in _types(fields.get(_SIGNATURE, ""))]
            if kind == _ERROR:
                raise BusError(fields[_ERROR_NAME], str(values[0]) if values else "")
            return values[0] if values else None

    def _message(self) -> Tuple[int, Dict[int, Any], _Reader]:
        start = self._exactly(16)
        order = "<" if start[:1] == b"l" else ">"
        length, _serial, of_fields = struct.unpack(f"{order}III", start[4:])
        rest = self._exactly(of_fields + -of_fields % 8 + length)
        header = _Reader(start + rest, order)
        header.position = 12
        fields = dict(header.read("a(yv)"))
        header.align(8)
        return start[1], fields, _Reader(header.data[header.position :], order)

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):
            line += self._exactly(1)
        return line

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self._socket.recv(length - len(data))
            if not part:
                raise OSError("the system's D-Bus ended the connection")
            data += part
        return data


def _types(signature: str) -> List[str]:
    """The single types that a signature is made of."""
    found = []
    position = 0
    while position < len(signature):
        end = _end(signature, position)
        found.append(signature[position:end])
        position = end
    return found


def _end(signature: str, position: int) -> int:
    """Where the type that begins here ends."""
    if signature[position] == "a":
        return _end(signature, position + 1)
    depth = 0
    while True:
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(signature[position], 0)
        position += 1
        if not depth:
            return position


class _Writer:
    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, size: int) -> None:
        self.data += bytes(-len(self.data) % size)

    def write(self, kind: str, value: Any) -> None:
        first = kind[0]
        self.align(_ALIGNMENT.get(first, 4))
        if first in _NUMBERS:
            self.data += struct.pack(_NUMBERS[first], value)
        elif first in "sog":
            text = str(value).encode()
            self.data += struct.pack("<B" if first == "g" else "<I", len(text)) + text + b"\0"
        elif first == "v":
            self.write("g", value[0])
            self.write(value[0], value[1])
        elif first == "a":
            self._write_array(kind[1:], value)
        else:
            for inner, part in zip(_types(kind[1:-1]), value):
                self.write(inner, part)

    def _write_array(self, inner: str, values: Any) -> None:
        place = len(self.data)
        self.data += bytes(4)
        self.align(_ALIGNMENT.get(inner[0], 4))
        start = len(self.data)
        for value in values.items() if isinstance(values, Mapping) else values:
            self.write(inner, value)
        self.data[place : place + 4] = struct.pack("<I", len(self.data) - start)


class _Reader:
    def __init__(self, data: bytes, order: str) -> None:
        self.data = data
        self.position = 0
        self._order = order

    def align(self, size: int) -> None:
        self.position += -self.position % size

    def read(self, kind: str) -> Any:
        first = kind[0]
        self.align(_ALIGNMENT.get(first, 4))
        if first in _NUMBERS:
            return self._number(_NUMBERS[first][1])
        if first in "sog":
            length = self._number("B" if first == "g" else "I")
            self.position += length + 1
            return self.data[self.position - length - 1 : self.position - 1].decode()
        if first == "v":
            return self.read(self.read("g"))
        if first == "a":
            return self._array(kind[1:])
        return tuple(self.read(inner) for inner in _types(kind[1:-1]))

    def _number(self, form: str) -> Any:
        size = struct.calcsize(form)
        self.position += size
        return struct.unpack(f"{self._order}{form}", self.data[self.position - size : self.position])[0]

    def _array(self, inner: str) -> Any:
        length = self._number("I")
        self.align(_ALIGNMENT.get(inner[0], 4))
        end = self.position + length
        values: List[Any] = []
        while self.position < end:
            values.append(self.read(inner))
        return dict(values) if inner[0] == "{" else values
