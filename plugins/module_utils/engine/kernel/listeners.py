# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sockets of this network namespace that listen."""

from __future__ import annotations

import glob
import ipaddress
import os
import sys
from typing import Iterator, List, Tuple

# <net/tcp_states.h>: TCP_LISTEN; TCP_CLOSE, as a socket of UDP is that has no peer.
_STATES = {"tcp": "0A", "udp": "07"}


def listeners() -> Iterator[Tuple[str, str, int]]:
    """Each one's protocol, address and port."""
    for path in glob.glob("/proc/self/net/tcp*") + glob.glob("/proc/self/net/udp*"):
        protocol = os.path.basename(path)[:3]
        for line in _lines(path)[1:]:
            words = line.split()
            if words[3] == _STATES.get(protocol):
                address, _colon, port = words[1].partition(":")
                yield protocol, _address(address), int(port, 16)


def _address(hexadecimal: str) -> str:
    """The kernel prints an address as 32-bit words of the machine's own byte order."""
    words = [int(hexadecimal[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(hexadecimal), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def _lines(path: str) -> List[str]:
    """None, where the kernel has no such protocol."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().splitlines()
    except OSError:
        return []
