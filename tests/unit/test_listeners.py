# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ways to ask the kernel who listens give the same."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import listeners as asked

Listener = tuple[str, str, int]


@pytest.fixture
def listening() -> Iterator[set[Listener]]:
    with ExitStack() as opened:
        found = set()
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::")):
            for kind, protocol in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
                server = opened.enter_context(socket.socket(family, kind))
                server.bind((address, 0))
                if protocol == "tcp":
                    server.listen()
                    client = opened.enter_context(socket.create_connection(server.getsockname()[:2]))
                    assert client.getpeername()
                found.add((protocol, address, server.getsockname()[1]))
        yield found


def of(ports: set[Listener]) -> set[Listener]:
    numbers = {port for _protocol, _address, port in ports}
    return {each[:3] for each in asked.listening_sockets() if each.port in numbers}


def test_listeners_are_dumped(listening: set[Listener]) -> None:
    assert of(listening) == listening


def test_listeners_are_listed_where_they_cannot_be_dumped(
    listening: set[Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dump(*_arguments: object) -> list[bytes]:
        raise OSError(errno.ENOENT, "no tcp_diag")

    monkeypatch.setattr(asked, "dump", dump)
    assert of(listening) == listening
