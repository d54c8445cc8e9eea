# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes bridges."""

from __future__ import annotations

import socket
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence

from ...diff import Change
from ...errors import ConflictError, Problem
from ...kernel import proc_sys
from ...kernel.links import (
    DONE,
    UNDONE_BRIDGES,
    declared_addresses,
    in_order_of,
    opened,
    require_pyroute2,
    set_addresses,
)
from ...kernel.rtnetlink import AddressInfo, LinkInfo
from ...kernel.rtnetlink_changes import Rtnetlink
from ...state import DEFAULT_NETWORK, Bridge, Key, State, state_of
from ..resource import Observation
from .link_resource import HostLinks, third_party_link
from .marks import MARK, is_managed_bridge, marked_for

# The attributes of a netlink message that set a field of a bridge.
_ATTRIBUTES: Dict[str, Callable[[Bridge], Dict[str, object]]] = {
    "network": lambda bridge: {"ifalias": MARK + bridge.network, "group": DONE},
    "mtu": lambda bridge: {"mtu": bridge.mtu},
    "mac": lambda bridge: {"address": bridge.mac},
    "stp": lambda bridge: {"kind": "bridge", "br_stp_state": int(bridge.stp)},
    "forward_delay": lambda bridge: {"kind": "bridge", "br_forward_delay": bridge.forward_delay * 100},
    "filtered": lambda bridge: {
        "kind": "bridge",
        "br_nf_call_iptables": int(bridge.filtered),
        "br_nf_call_ip6tables": int(bridge.filtered),
    },
}


class Bridges(HostLinks[Bridge]):
    """Observes and changes the networks' bridges: those whose alias is `wharf:NETWORK`."""

    kinds = frozenset(["bridge"])
    goes_first = True
    type = Bridge
    _ip: Any = None

    def require(self, new: State) -> None:
        require_pyroute2()

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        wanted = {thing.name: thing for thing in desired.values() if isinstance(thing, Bridge)}
        links = self._stacks.host.links
        problems = [
            _problem(wanted[link.name], link) for link in links if link.name in wanted and not is_managed_bridge(link)
        ]
        if problems:
            raise ConflictError(*problems)
        addresses = self._stacks.host.addresses
        managed = [_observed(link, addresses, wanted.get(link.name)) for link in links if is_managed_bridge(link)]
        current = state_of([*managed])
        return Observation(current, desired, partial=frozenset(current.keys() - desired.keys()))

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        with opened() as self._ip:
            return super().apply(changes)

    def _make(self, netlink: Rtnetlink, before: Optional[Bridge], after: Bridge) -> None:
        _update(self._ip, netlink, before or _create(self._ip, after), after)


def _problem(bridge: Bridge, link: LinkInfo) -> Problem:
    """`link` is what a third party has made in its place."""
    if bridge.network == DEFAULT_NETWORK:
        key = f"{bridge.place}.bridge"
        return third_party_link(bridge.name, key, f"set {key} to none if a dockerd owns it")
    adopting = ", or adopt it by external: true" if link.bridge else ""
    remedy = f"delete it, or choose another com.docker.network.bridge.name{adopting}"
    return third_party_link(bridge.name, bridge.place, remedy)


def _observed(link: LinkInfo, addresses: List[AddressInfo], wanted: Optional[Bridge]) -> Bridge:
    if link.bridge is None:
        raise ValueError(f"{link.name} is no bridge")
    calls = {link.bridge.nf_call_iptables, link.bridge.nf_call_ip6tables}
    declared = wanted or Bridge(link.name, network="", mtu=0, mac="", addresses=())
    return Bridge(
        link.name,
        network="" if link.group == UNDONE_BRIDGES else marked_for(link),
        mtu=link.mtu,
        mac=link.mac,
        addresses=declared_addresses(declared.addresses, (each for each in addresses if each.index == link.index)),
        filtered=all(calls) if declared.filtered else any(calls),
        stp=link.bridge.stp,
        # In seconds, rounded up, so that a fraction of a second differs from 0.
        forward_delay=-(-link.bridge.forward_delay // 100),
        up=link.up,
        sysctls=in_order_of(declared.sysctls, proc_sys.observe(declared.sysctls, link.name)),
    )


def _create(ip: Any, bridge: Bridge) -> Bridge:
    """Make the link, and return what it is before `_update`."""
    # Until the MTU of a bridge is changed, the kernel sets it to the smallest of its ports'. So the wanted MTU is not
    # given at the creation, but by a change.
    first = Bridge(bridge.name, network="", mtu=bridge.mtu - 1, mac=bridge.mac, addresses=(), up=False)
    ip.link(
        "add", kind="bridge", ifname=first.name, group=UNDONE_BRIDGES, address=first.mac, mtu=first.mtu,
        br_stp_state=0, br_forward_delay=0,
    )  # fmt: skip
    return first


def _update(ip: Any, netlink: Rtnetlink, before: Bridge, after: Bridge) -> None:
    index = socket.if_nametoindex(after.name)
    changed = Change(before, after).fields
    # With STP, the kernel refuses a forward delay of 0; and of one message it takes the delay before it takes STP.
    for fields in ([field for field in changed if field == "stp"], [field for field in changed if field != "stp"]):
        attributes: Dict[str, object] = {}
        for field in fields:
            attributes.update(_ATTRIBUTES[field](after) if field in _ATTRIBUTES else {})
        if attributes:
            ip.link("set", index=index, **attributes)
    # After the MTU, since below 1280 there are none for IPv6, and before the addresses, which depend on them.
    known = before.sysctls if before.mtu == after.mtu else ()
    proc_sys.apply((each for each in after.sysctls if each not in known), after.name)
    set_addresses(netlink, after.name, index, before.addresses, after.addresses)
    if before.up != after.up:
        ip.link("set", index=index, state="up" if after.up else "down")
