# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VLANs of endpoints' ports, on bridges that keep VLANs apart."""

from __future__ import annotations

import socket
from typing import Dict, FrozenSet, List, Mapping, Optional

from ...kernel import rtnetlink
from ...kernel.rtnetlink import LinkInfo, PortVlan
from ...kernel.rtnetlink_changes import Rtnetlink
from ...state import Endpoint, EndpointKey, Vlans


def port_vlans(
    links: List[LinkInfo], ports: Mapping[EndpointKey, LinkInfo], wanted: Mapping[EndpointKey, Endpoint]
) -> Dict[EndpointKey, Vlans]:
    """Those of the ports, by their endpoints; of an endpoint that declares none only where they are not as usual."""
    bridges = {link.index: link for link in links if link.bridge and link.bridge.vlan_filtering}
    of_bridges = {key: port for key, port in ports.items() if port.master in bridges}
    found = rtnetlink.vlans() if of_bridges else {}
    by_endpoint: Dict[EndpointKey, Vlans] = {}
    for key, port in of_bridges.items():
        members = found.get(port.index, frozenset())
        declares = key in wanted and wanted[key].port.vlans is not None
        if declares or members != _usual(bridges[port.master]):
            by_endpoint[key] = _vlans_of(members)
    return by_endpoint


def set_vlans(netlink: Rtnetlink, before: Optional[Endpoint], after: Endpoint) -> None:
    """Put a port, which is on its bridge by now, into its VLANs. A new port of a bridge is in the usual ones.

    Asks the kernel for no VLANs, since it would list those of all ports.
    """
    stays = before is not None and before.port.bridge == after.port.bridge
    former = before.port.vlans if before and stays else None
    if former == after.port.vlans:
        return
    bridge = rtnetlink.link(socket.if_nametoindex(after.port.bridge))
    if not (bridge.bridge and bridge.bridge.vlan_filtering):
        return
    members, wanted = (_members(each) if each else _usual(bridge) for each in (former, after.port.vlans))
    kept = {each.vlan for each in wanted}
    gone = [each for each in members if each.vlan not in kept]
    netlink.set_vlans(socket.if_nametoindex(after.host_interface), gone, wanted)


def _usual(bridge: LinkInfo) -> FrozenSet[PortVlan]:
    number = bridge.bridge.default_vlan if bridge.bridge else 0
    return frozenset([PortVlan(number, pvid=True, untagged=True)] if number else [])


def _members(vlans: Vlans) -> FrozenSet[PortVlan]:
    untagged = [PortVlan(vlans.untagged, pvid=True, untagged=True)] if vlans.untagged else []
    return frozenset([*untagged, *(PortVlan(number) for number in vlans.tagged)])


def _vlans_of(members: FrozenSet[PortVlan]) -> Vlans:
    untagged = next((each.vlan for each in sorted(members) if each.pvid), 0)
    vlans = Vlans(untagged, tuple(sorted(each.vlan for each in members if each.vlan != untagged)))
    return vlans if _members(vlans) == members else Vlans(vlans.untagged, vlans.tagged, clean=False)
