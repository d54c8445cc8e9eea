# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications of the kernel that links or tables of nftables have changed.

Names of constants are those of linux/netlink.h, linux/rtnetlink.h, linux/netfilter/nfnetlink.h and nf_tables.h.
"""

from __future__ import annotations

import socket
from typing import Callable

from .netlink import BUFFER_SIZE, SOL_NETLINK, messages
from .rtnetlink import parse_link

NETLINK_NETFILTER, NETLINK_ADD_MEMBERSHIP = 12, 1
RTM_NEWLINK, RTM_DELLINK, RTNLGRP_LINK = 16, 17, 1
NFNL_SUBSYS_NFTABLES, NFT_MSG_DELTABLE, NFNLGRP_NFTABLES = 10, 2, 7

_DELETED_TABLE = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE


class Notifications:
    """Those of a group, heard of from now on in the network stack in which this is made, as far as they are meant: by
    the kind and the payload of the message.

    Raises:
        OSError: the kernel has no such protocol, or the caller may not listen.
    """

    def __init__(self, protocol: int, group: int, is_meant: Callable[[int, bytes], bool]) -> None:
        self._is_meant = is_meant
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        # A socket without a port id of its own would count as the one that makes the changes.
        self._netlink.bind((0, 0))
        self._netlink.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        return self._netlink.fileno()

    def read(self) -> bool:
        """Whether one that is meant has come; it may have where more came than there was room for."""
        try:
            received = self._netlink.recv(BUFFER_SIZE)
        except BlockingIOError:
            return False
        except OSError:  # ENOBUFS
            return True
        return any(self._is_meant(kind, payload) for kind, _flags, payload in messages(received))


def of_deleted_tables() -> Notifications:
    """The kernel reports that a table of nftables is deleted, also if iptables made it."""
    return Notifications(NETLINK_NETFILTER, NFNLGRP_NFTABLES, lambda kind, _table: kind == _DELETED_TABLE)


def of_links(is_meant: Callable[[str], bool]) -> Notifications:
    """The kernel reports that a link of such a name comes, goes, or is set up or down."""
    kinds = (RTM_NEWLINK, RTM_DELLINK)
    return Notifications(
        socket.NETLINK_ROUTE, RTNLGRP_LINK, lambda kind, link: kind in kinds and is_meant(parse_link(link).name)
    )
