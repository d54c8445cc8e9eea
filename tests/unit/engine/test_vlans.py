# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VLANs that a port of a bridge is given. The VM scenario `drivers` shows what comes of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.rtnetlink import (
    BridgeInfo,
    LinkInfo,
    PortVlan,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links import vlans
from ansible_collections.wharf.network.plugins.module_utils.engine.state import Endpoint, Port, SandboxRef, Vlans

USUAL = PortVlan(1, pvid=True, untagged=True)
OF_20 = PortVlan(20, pvid=True, untagged=True)


def endpoint(declared: Vlans | None, bridge: str = "br0") -> Endpoint:
    port = Port(bridge, vlans=declared)
    return Endpoint("web", "lan", SandboxRef("netns", "web"), "eth0", "veth1", port, 1500, "", ())


class Kernel:
    """In the place of the kernel: a bridge, and the VLANs that its port is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, filtering: bool = True) -> None:
        info = BridgeInfo(False, 0, False, False, vlan_filtering=filtering, default_vlan=1)
        bridge = LinkInfo(7, "br0", "", 1500, True, "bridge", bridge=info)
        self.gone: list[PortVlan] = []
        self.new: list[PortVlan] = []
        monkeypatch.setattr(vlans, "socket", self)
        monkeypatch.setattr(vlans, "rtnetlink", self)
        self.link = {7: bridge}.__getitem__
        self.if_nametoindex = {"br0": 7, "veth1": 9}.__getitem__

    def set_vlans(self, index: int, gone: Iterable[PortVlan], new: Iterable[PortVlan]) -> None:
        assert index == 9
        self.gone, self.new = sorted(gone), sorted(new)


@pytest.mark.parametrize(
    "before, after, gone, new",
    [
        (None, None, [], []),
        (None, Vlans(20), [USUAL], [OF_20]),
        (None, Vlans(1, (30,)), [], [USUAL, PortVlan(30)]),
        (None, Vlans(0, (20, 30)), [USUAL], [PortVlan(20), PortVlan(30)]),
        (Vlans(20), Vlans(20), [], []),
        (Vlans(20), Vlans(0, (20, 30)), [], [PortVlan(20), PortVlan(30)]),
        (Vlans(20, (30,)), None, [OF_20, PortVlan(30)], [USUAL]),
        # 77 was added by hand, or 20 is untagged by hand and 30 has its place.
        (Vlans(20, (77,)), Vlans(20), [PortVlan(77)], [OF_20]),
        (Vlans(30, (20,), clean=False), Vlans(20, (30,)), [], [OF_20, PortVlan(30)]),
    ],
)
def test_a_port_is_given_its_vlans(
    before: Vlans | None,
    after: Vlans | None,
    gone: list[PortVlan],
    new: list[PortVlan],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel: Any = Kernel(monkeypatch)
    vlans.set_vlans(kernel, endpoint(before) if before else None, endpoint(after))
    assert (kernel.gone, kernel.new) == (gone, new)


def test_a_port_that_comes_from_another_bridge_is_in_the_usual_vlan(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel: Any = Kernel(monkeypatch)
    vlans.set_vlans(kernel, endpoint(Vlans(20), "br1"), endpoint(Vlans(20)))
    assert (kernel.gone, kernel.new) == ([USUAL], [OF_20])


def test_a_bridge_without_vlans_is_given_none(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel: Any = Kernel(monkeypatch, filtering=False)
    vlans.set_vlans(kernel, None, endpoint(Vlans(20)))
    assert (kernel.gone, kernel.new) == ([], [])
