# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock that goes on through a suspend and that nobody sets, and which boot of the host it counts from."""

from __future__ import annotations

import time


def since_boot() -> float:
    """Seconds since the host was booted (CLOCK_BOOTTIME of clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Another one after each boot (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def in_words(seconds: float) -> str:
    """A time since the epoch, as people of the host read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))
