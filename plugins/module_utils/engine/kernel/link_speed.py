# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The speed of a link, asked of its driver in the current namespace; /sys shows the namespace of whoever mounted it."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import Optional

# <linux/sockios.h>, <linux/ethtool.h>
_SIOCETHTOOL = 0x8946
_ETHTOOL_GSET = 0x1
_COMMAND_BYTES = 44
_SPEED_LOW_AT, _SPEED_HIGH_AT = 12, 28
_UNKNOWN = (0, 0xFFFF, 0xFFFFFFFF)


def link_speed(interface: str) -> Optional[int]:
    """Megabits a second; None where the driver does not say, as for a bridge or a link that is down."""
    command = array.array("B", struct.pack("I", _ETHTOOL_GSET) + bytes(_COMMAND_BYTES - 4))
    address, _length = command.buffer_info()
    request = struct.pack("16sP", interface.encode(), address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
        except OSError:
            return None
    answer = command.tobytes()
    low = struct.unpack_from("H", answer, _SPEED_LOW_AT)[0]
    high = struct.unpack_from("H", answer, _SPEED_HIGH_AT)[0]
    speed = high << 16 | low
    return None if speed in _UNKNOWN else speed
