# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages that change links, addresses and routes are those that pyroute2 0.9.7 sends for the same changes.

Only the order of a message's attributes may differ, and the flag of nested ones; and flags of addresses that are 0 are
left out.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import netlink, rtnetlink_changes
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.netlink import NLM_F_ACK, attributes
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.rtnetlink import PortInfo
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.rtnetlink_changes import (
    RTM_NEWLINK,
    LinkEnd,
    Rtnetlink,
)

# The bytes of a message before its attributes, by its kind: of links, addresses and routes.
HEADERS = {16: 16, 17: 16, 20: 8, 24: 12}
IFLA_LINKINFO, IFLA_INFO_DATA, IFLA_INFO_SLAVE_DATA, VETH_INFO_PEER = 18, 2, 5, 1

REPLACE, APPEND, EXCLUSIVE = 0x500, 0xC00, 0x600

VETH = """
00000000000000000000000000000000070003007630000008001b00070000000a000100feff00000001000008000a00
0200000008000400dc05000008001f000100000008002000010000005c0012000900010076657468000000004c000200
4800010000000000000000000000000000000000070003007030000008001c00060000000a0001000200000000010000
08000400dc05000008001f00010000000800200001000000
"""
PORT = """
0000000005000000010000000100000008000400780500000e00140077686172663a612f6200000008001b0000000000
240012000b00040062726964676500001400050005000400010000000500210000000000
"""

CASES: dict[str, tuple[Callable[[Rtnetlink], None], int, int, str]] = {
    "veth": (
        lambda ip: ip.add_veth(
            LinkEnd("v0", "fe:ff:00:00:00:01"), LinkEnd("p0", "02:00:00:00:00:01"), 6, mtu=1500, master=2, group=7
        ),
        16, EXCLUSIVE, VETH,
    ),
    "port of a bridge": (
        lambda ip: ip.set_link(5, up=True, mtu=1400, alias="wharf:a/b", group=0, port=PortInfo(True, False)),
        16, 0, PORT,
    ),
    "down": (
        lambda ip: ip.set_link(5, up=False, mac="fe:ff:00:00:00:02"),
        16, 0, "000000000500000000000000010000000a000100feff000000020000",
    ),
    "master": (
        lambda ip: ip.set_link(5, master=2),
        16, 0, "0000000005000000000000000000000008000a0002000000",
    ),
    "links of a group": (
        lambda ip: ip.delete_links(7777),
        17, 0, "0000000000000000000000000000000008001b00611e0000",
    ),
    "IPv4 address": (
        lambda ip: ip.replace_address(3, "172.20.0.2/16"),
        20, REPLACE, "021000000300000008000100ac14000208000200ac140002",
    ),
    "IPv6 address": (
        lambda ip: ip.replace_address(3, "fd00::2/64"),
        20, REPLACE, "0a4000000300000014000100fd0000000000000000000000000000020800080002000000",
    ),
    "default route": (
        lambda ip: ip.add_route("0.0.0.0/0", 3, "172.20.0.1"),
        24, REPLACE, "02000000fe04000100000000080004000300000008000500ac140001",
    ),
    "IPv6 default route": (
        lambda ip: ip.add_route("::/0", 3, "fd00::1"),
        24, REPLACE, "0a000000fe04000100000000080004000300000014000500fd000000000000000000000000000001",
    ),
    "IPv4 route by an IPv6 next hop": (
        lambda ip: ip.add_route("10.20.0.0/16", 3, "fd00::2", protocol=119),
        24, REPLACE, "02100000fe770001000000000800040003000000080001000a140000"
        "160012000a00fd0000000000000000000000000000020000",
    ),
    "route by the interface itself": (
        lambda ip: ip.add_route("172.20.0.0/16", 3, beside=True, protocol=2, scope=253, source="172.20.0.2"),
        24, APPEND, "02100000fe02fd010000000008000100ac140000080004000300000008000700ac140002",
    ),
    "IPv6 route by the interface itself": (
        lambda ip: ip.add_route("fd00::/64", 3, protocol=2, priority=256),
        24, REPLACE, "0a400000fe0200010000000014000100fd00000000000000000000000000000008000400030000000800060000010000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_messages(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    change, kind, flags, expected = CASES[case]
    sent: list[tuple[int, bytes, int]] = []
    monkeypatch.setattr(Rtnetlink, "ask", lambda _self, *message: sent.append(message))
    with Rtnetlink() as ip:
        change(ip)
    ((sent_kind, message, sent_flags),) = sent
    size = HEADERS[kind]
    assert (sent_kind, sent_flags) == (kind, flags | NLM_F_ACK)
    assert len(message) % 4 == 0
    wanted = bytes.fromhex(expected)
    assert message[:size] == wanted[:size]
    assert tree(kind, message[size:]) == tree(kind, wanted[size:])


def test_what_is_in_the_way_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is about to go, for some time; and one that stays, with the first of many changes alone."""
    refusals = [errno.EADDRINUSE] * 3
    now = [100.0]
    monkeypatch.setattr(Rtnetlink, "_in_vain_until", 0.0)
    monkeypatch.setattr(Rtnetlink, "ask", lambda _self, *_message: refused(refusals.pop(0)) if refusals else None)
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(rtnetlink_changes, "time", clock)
    with Rtnetlink() as ip:
        ip.set_link(3, up=True)
        assert refusals == [] and 100 < now[0] < 100.1
        refusals += [errno.EADDRINUSE] * 10_000
        began = now[0]
        for _each in range(20):
            with pytest.raises(OSError, match="Errno 98"):
                ip.set_link(3, up=True)
        assert 2 < now[0] - began < 2.1
        now[0] += 60
        refusals[3:] = []
        ip.set_link(3, up=True)
        refusals.append(errno.EBUSY)
        with pytest.raises(OSError, match="Errno 16"):
            ip.set_link(3, up=True)


def refused(number: int) -> None:
    raise OSError(number, "refused")


def tree(kind: int, data: bytes) -> dict[int, object]:
    """Attributes, with those of a link that are nested."""
    found: dict[int, object] = {**attributes(data)}
    info = found.get(IFLA_LINKINFO) if kind == RTM_NEWLINK else None
    if isinstance(info, bytes):
        found[IFLA_LINKINFO] = inner = {each: value.rstrip(b"\0") for each, value in attributes(info).items()}
        for nested in (IFLA_INFO_DATA, IFLA_INFO_SLAVE_DATA):
            if nested in inner:
                data = attributes(info)[nested]
                peer = attributes(data).get(VETH_INFO_PEER) if nested == IFLA_INFO_DATA else None
                found[nested << 16] = attributes(peer, HEADERS[16]) if peer else attributes(data)
                del inner[nested]
    return found


def test_a_refusal_is_reported_with_the_kernels_own_text() -> None:
    header = bytes.fromhex("f0ffffff") + bytes(16)
    text = netlink.attribute(netlink.NLMSGERR_ATTR_MSG, b"Device is busy\0")
    with pytest.raises(OSError, match=r"^\[Errno 16\] .*busy \(Device is busy\)$"):
        netlink._raise_error(netlink.NLM_F_CAPPED | netlink.NLM_F_ACK_TLVS, header + text)
    with pytest.raises(OSError) as caught:
        netlink._raise_error(0, header)
    assert caught.value.strerror == os.strerror(16)
    netlink._raise_error(0, bytes(4))
