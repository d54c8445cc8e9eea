# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications that tables of nftables have been deleted, also those that iptables keeps in nftables.

Names of constants are those of linux/netlink.h, linux/netfilter/nfnetlink.h and nf_tables.h.
"""

from __future__ import annotations

import socket

from .netlink import BUFFER_SIZE, SOL_NETLINK, messages

NETLINK_NETFILTER, NETLINK_ADD_MEMBERSHIP = 12, 1
NFNLGRP_NFTABLES = 7
NFNL_SUBSYS_NFTABLES, NFT_MSG_DELTABLE = 10, 2

_DELETED = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE


class DeletedTables:
    """Heard of from now on, in the network stack in which this is made.

    Raises:
        OSError: the kernel has no netfilter, or the caller may not listen.
    """

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER)
        # A socket without a port id of its own would count as the one that makes the changes.
        self._netlink.bind((0, 0))
        self._netlink.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)

    def fileno(self) -> int:
        return self._netlink.fileno()

    def read(self) -> bool:
        """Whether a table is gone, of all that has been changed; it may be where more came than there was room for."""
        try:
            return any(kind == _DELETED for kind, _flags, _payload in messages(self._netlink.recv(BUFFER_SIZE)))
        except BlockingIOError:
            return False
        except OSError:  # ENOBUFS
            return True
