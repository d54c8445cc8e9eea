# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications that links come, go, or are set up or down.

Names of constants are those of linux/rtnetlink.h.
"""

from __future__ import annotations

import socket
from typing import FrozenSet

from .netlink import BUFFER_SIZE, messages
from .rtnetlink import parse_link

RTM_NEWLINK, RTM_DELLINK = 16, 17
RTMGRP_LINK = 1


class ChangedLinks:
    """Heard of from now on, in the network stack in which this is made, as far as they have one of these `names`.

    Raises:
        OSError: the caller may not listen.
    """

    def __init__(self) -> None:
        self.names: FrozenSet[str] = frozenset()
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._netlink = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._netlink.bind((0, RTMGRP_LINK))

    def fileno(self) -> int:
        return self._netlink.fileno()

    def read(self) -> bool:
        """Whether such a link has changed; it may have where more came than there was room for."""
        try:
            received = [*messages(self._netlink.recv(BUFFER_SIZE))]
        except BlockingIOError:
            return False
        except OSError:  # ENOBUFS
            return True
        links = [parse_link(payload) for kind, _flags, payload in received if kind in (RTM_NEWLINK, RTM_DELLINK)]
        return any(link.name in self.names for link in links)
