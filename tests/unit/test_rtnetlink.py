# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of a 6.18 kernel (those of links cut down to the attributes that we read), and what they say."""

from __future__ import annotations

from socket import AF_INET, AF_INET6

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.rtnetlink import (
    IFA_F_PERMANENT,
    AddressInfo,
    BridgeInfo,
    LinkInfo,
    PortInfo,
    RouteInfo,
    parse_address,
    parse_link,
    parse_route,
)

BRIDGE = """
000001000200000043100100000000000b00030062722d6170700000080004007805000008001b00000000000e001400
77686172663a6170700000000a0001000200000000010000340012000b00010062726964676500002400020008000100
00000000080005000000000005002400010000000500250001000000
"""
PORT = """
000001000300000043100100000000000d000300766574683077656200000000080004007805000008001b0000000000
08000a00020000001200140077686172663a7765622f6170700000000a000100220dc3a6020d00003000120009000100
76657468000000000b000400627269646765000014000500050004000100000005002100010000000800250000000000
0800050002000000
"""
IPV4_ADDRESS = """
021080000200000008000100ac14000208000200ac140002090003006574683000000000080008008000000014000600
ffffffffffffffff480f0400480f0400
"""
LINK_LOCAL_ADDRESS = """
0a40c0fd0200000014000100fe80000000000000000000fffe00010214000600ffffffffffffffff480f0400480f0400
08000800c000000005000b0003000000
"""
# 198.51.100.1 peer 198.51.100.2/32
POINT_TO_POINT_ADDRESS = "022080000500000008000100c633640208000200c6336401"
DEFAULT_ROUTE = "02000000fe0400010000000008000f00fe00000008000500ac1400010800040002000000"
MULTIPATH_ROUTE = """
02080000fe0300010000000008000f00fe000000080001000a00000008000600050000000c0008000800020014050000
24000900100000000200000008000500ac140008100000000200000008000500ac140009
"""
LINK_ROUTE = "02100000fe02fd010000000008000f00fe00000008000100ac14000008000700ac1400020800040002000000"
DEFAULT_ROUTE6 = """
0a000000fe0400010000000008000f00fe000000080006000004000014000500fd000020000000000000000000000001
080004000200000024000c00000000000000000000000000000000000000000000000000000000000000000005001400
00000000
"""
BY_IPV6_ROUTE = (
    "02100000fe770001000000000800040003000000080001000a140000160012000a00fd0000000000000000000000000000020000"
)
UNREACHABLE_ROUTE = "02080000fe0300070000000008000f00fe000000080001000b000000"
ROUTE_OF_ANOTHER_TABLE = "02080000fc0400010000000008000f00e8030000080001000a0000000800040002000000"


def test_a_bridge() -> None:
    bridge = BridgeInfo(stp=False, forward_delay=0, nf_call_iptables=True, nf_call_ip6tables=True)
    assert parse_link(bytes.fromhex(BRIDGE)) == LinkInfo(
        2, "br-app", "02:00:00:00:00:01", 1400, True, kind="bridge", alias="wharf:app", bridge=bridge
    )


def test_a_veth_that_is_a_bridges_port() -> None:
    assert parse_link(bytes.fromhex(PORT)) == LinkInfo(
        3, "veth0web", "22:0d:c3:a6:02:0d", 1400, True, kind="veth", alias="wharf:web/app", master=2, link=2,
        link_netnsid=0, port=PortInfo(hairpin=True, isolated=True),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("message", "expected", "by_kernel"),
    [
        (IPV4_ADDRESS, AddressInfo(2, "172.20.0.2/16", 0), False),
        (POINT_TO_POINT_ADDRESS, AddressInfo(5, "198.51.100.1/32", 0, peer="198.51.100.2"), False),
        (LINK_LOCAL_ADDRESS, AddressInfo(2, "fe80::ff:fe00:102/64", 253, IFA_F_PERMANENT | 0x40, 3), True),
    ],
)
def test_addresses(message: str, expected: AddressInfo, by_kernel: bool) -> None:
    found = parse_address(bytes.fromhex(message))
    assert found == expected
    assert found.by_kernel is by_kernel
    assert found.link_local6 is by_kernel


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (DEFAULT_ROUTE, [RouteInfo(AF_INET, "0.0.0.0/0", "172.20.0.1", 2, 4, 0, indexes=(2,))]),
        (DEFAULT_ROUTE6, [RouteInfo(AF_INET6, "::/0", "fd00:20::1", 2, 4, 1024, indexes=(2,))]),
        (LINK_ROUTE, [RouteInfo(AF_INET, "172.20.0.0/16", "", 2, 2, 0, indexes=(2,))]),
        (
            MULTIPATH_ROUTE,
            [
                RouteInfo(
                    AF_INET,
                    "10.0.0.0/8",
                    f"172.20.0.{last}",
                    2,
                    3,
                    5,
                    details=("metric 5", "multipath", "metrics 2=14050000"),
                    indexes=(2, 2),
                )
                for last in (8, 9)
            ],
        ),
        (
            BY_IPV6_ROUTE,
            [RouteInfo(AF_INET, "10.20.0.0/16", "fd00::2", 3, 119, 0, indexes=(3,))],
        ),
        (UNREACHABLE_ROUTE, []),
        (ROUTE_OF_ANOTHER_TABLE, []),
    ],
)
def test_routes(message: str, expected: list[RouteInfo]) -> None:
    assert list(parse_route(bytes.fromhex(message))) == expected
