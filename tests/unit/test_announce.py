# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames that announce addresses."""

from __future__ import annotations

import struct

from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.announce import announcement

MAC = "02:00:00:00:01:02"


def test_an_ipv4_address_is_announced_by_arp() -> None:
    assert announcement(MAC, "172.20.0.2").hex(" ", 2) == (
        "ffff ffff ffff 0200 0000 0102 0806"
        " 0001 0800 0604 0001"
        " 0200 0000 0102 ac14 0002"
        " 0000 0000 0000 ac14 0002"
    )  # fmt: skip


def test_an_ipv6_address_is_announced_by_an_advertisement_to_all_nodes() -> None:
    frame = announcement(MAC, "fd00:20::2")
    assert frame[:54].hex(" ", 2) == (
        "3333 0000 0001 0200 0000 0102 86dd"
        " 6000 0000 0020 3aff"
        " fd00 0020 0000 0000 0000 0000 0000 0002"
        " ff02 0000 0000 0000 0000 0000 0000 0001"
    )  # fmt: skip
    kind, code, _checksum, flags = struct.unpack_from("!BBHI", frame, 54)
    assert (kind, code, flags) == (136, 0, 0x20000000)
    assert frame[62:].hex(" ", 2) == "fd00 0020 0000 0000 0000 0000 0000 0002 0201 0200 0000 0102"


def test_the_checksum_of_an_advertisement_covers_its_addresses_too() -> None:
    frame = announcement(MAC, "fd00:20::2")
    covered = frame[22:54] + struct.pack("!II", len(frame) - 54, 58) + frame[54:]
    total = sum(struct.unpack(f"!{len(covered) // 2}H", covered))
    assert total % 0xFFFF == 0
