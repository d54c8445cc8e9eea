# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's neighbour tables: one for each IP family, for all network namespaces together.

When a table is full, no namespace of the machine can resolve a new neighbour. The kernel drops entries to make room,
but none that is younger than five seconds (`neigh_forced_gc`).
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from ..kernel.netlink import attributes, dump

# <linux/rtnetlink.h>, <linux/neighbour.h>
RTM_GETNEIGHTBL = 66
NDTA_THRESH2, NDTA_THRESH3, NDTA_CONFIG = 3, 4, 5

PROTECTED_SECONDS = 5.0

_TABLE = struct.Struct("=BxH")
_ENTRIES_AT = 4


@dataclass(frozen=True)
class Table:
    """A neighbour table. Above `wanted` entries the kernel drops old ones; it never has more than `most`."""

    entries: int
    wanted: int
    most: int


def table(family: int) -> Table:
    """
    Raises:
        OSError: the kernel has no such table.
    """
    for message in dump(socket.NETLINK_ROUTE, RTM_GETNEIGHTBL, _TABLE.pack(family, 0)):
        found = attributes(message, _TABLE.size)
        if NDTA_CONFIG in found and message[0] == family:
            wanted, most = (struct.unpack("=I", found[kind])[0] for kind in (NDTA_THRESH2, NDTA_THRESH3))
            return Table(struct.unpack_from("=I", found[NDTA_CONFIG], _ENTRIES_AT)[0], wanted, most)
    raise OSError(f"no table of neighbours of family {family}")
