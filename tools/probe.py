# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets for the demo: `serve PORT…` answers TCP connections, `connect ADDRESS PORT` says what became of one.

A server sends its client the address that it sees it come from, and then echoes.
"""

from __future__ import annotations

import socket
import socketserver
import sys
import threading

TIMEOUT = 1.0  # seconds


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(self.client_address[0].removeprefix("::ffff:").encode() + b"\n")
        while data := self.request.recv(1024):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    """Listens on all addresses of both families."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


def serve(ports: list[int]) -> None:
    servers = [Server(("", port), Echo) for port in ports]
    print("ready", flush=True)
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def connect(address: str, port: int) -> str:
    """`open ADDRESS` with the address that the server sees, or `closed` and why."""
    try:
        with socket.create_connection((address, port), timeout=TIMEOUT) as connection:
            return f"open {connection.recv(64).decode().strip()}"
    except TimeoutError:
        return "closed no answer"
    except OSError as error:
        return f"closed {error.strerror or error}"


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve([int(port) for port in sys.argv[2:]])
    else:
        print(connect(sys.argv[2], int(sys.argv[3])))
