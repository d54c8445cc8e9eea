# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VLANs of containers' ports, on adopted bridges that keep VLANs apart."""

from __future__ import annotations

from typing import Optional

from ..declaration.model import Attachment, Model, Network, PortVlans
from ..errors import ProblemCollector
from ..state import Vlans
from .facts import Facts, ThirdPartyBridge


def port_vlans(network: Network, attachment: Attachment) -> Optional[Vlans]:
    """Those of an attachment: its own, else those of the network; None for those of any new port."""
    declared = _declared(network, attachment)
    return Vlans(declared.untagged, declared.tagged) if declared else None


def check_vlans(model: Model, facts: Facts, problems: ProblemCollector) -> None:
    """Report VLANs that no bridge keeps apart."""
    given = [(network.vlans, network) for network in model.networks.values()]
    given += [(each.vlans, model.networks[each.network]) for _container, each in model.attachments]
    for declared, network in given:
        why = _keeps_none(network, facts) if declared else ""
        if declared and why:
            problems.add(declared.path, why)


def _keeps_none(network: Network, facts: Facts) -> str:
    if network.sublinks:
        parent = f"{network.parent}.20" if not network.sublinks.is_isolated else "eth0.20"
        return f"a network of {network.driver.name} has no bridge: leave this out; driver_opts.parent may be {parent}"
    if not network.external:
        remedy = "adopt one by external: true, or give the network an x-wharf.uplink that is a VLAN, as eth0.20"
        return f"bridges that wharf.network makes have no VLANs: {remedy}"
    bridge = _bridge(network, facts)
    if bridge and not bridge.has_vlans:
        remedy = f"switch that on (ip link set {bridge.name} type bridge vlan_filtering 1), or leave this out"
        return f"{bridge.name} keeps no VLANs apart (its vlan_filtering is off): {remedy}"
    return ""


def is_in_hosts_vlan(network: Network, attachment: Attachment, facts: Facts) -> bool:
    """Whether frames without a tag go between the container and the host itself, as far as VLANs are concerned."""
    bridge = _bridge(network, facts)
    return bridge is None or not bridge.has_vlans or untagged_vlan(network, attachment, facts) == bridge.own_vlan


def untagged_vlan(network: Network, attachment: Attachment, facts: Facts) -> Optional[int]:
    """The VLAN in which a container sends and gets frames without a tag, None for none; 0 where there are no VLANs."""
    bridge, declared = _bridge(network, facts), _declared(network, attachment)
    if bridge is None or not bridge.has_vlans:
        return 0
    return (declared.untagged if declared else bridge.default_vlan) or None


def _declared(network: Network, attachment: Attachment) -> Optional[PortVlans]:
    return attachment.vlans or network.vlans


def _bridge(network: Network, facts: Facts) -> Optional[ThirdPartyBridge]:
    bridges = facts.third_party_bridges or () if network.external else ()
    return next((bridge for bridge in bridges if bridge.name == network.bridge), None)
