# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes links of the host that are made for links of containers: VLANs, and links that lead nowhere."""

from __future__ import annotations

import socket
from typing import FrozenSet, Mapping, Optional

from ...kernel import proc_sys
from ...kernel.links import DONE, UNDONE_PARENTS
from ...kernel.rtnetlink import LinkInfo
from ...kernel.rtnetlink_changes import Rtnetlink
from ...state import Key, Parent, State, state_of
from ..resource import Observation
from .link_resource import HostLinks
from .marks import MARK, is_managed_parent

Links = Mapping[str, LinkInfo]


class Parents(HostLinks[Parent]):
    """Observes and changes parents: those whose alias is `wharf:` and their own name.

    One whose `lower` link is not there, or is down, is pending. The kernel deletes it together with that link.
    """

    kinds = frozenset(["parent"])
    type = Parent
    made_with = frozenset(["lower", "vlan"])

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        wanted = {thing.name: thing for thing in desired.values() if isinstance(thing, Parent)}
        links = {link.name: link for link in self._stacks.host.links}
        self._refuse_third_party(wanted, is_managed_parent, "delete it, or rename the network")
        pending = {parent.key: why for parent in wanted.values() for why in [_lacks_lower(parent, links)] if why}
        names = {link.index: link.name for link in links.values()}
        current = state_of([_observed(link, names) for link in links.values() if is_managed_parent(link)])
        rest = {key: thing for key, thing in desired.items() if key not in pending}
        return Observation({key: thing for key, thing in current.items() if key not in pending}, rest, pending=pending)

    def _make(self, netlink: Rtnetlink, before: Optional[Parent], after: Parent) -> None:
        if before is None and after.vlan:
            netlink.add_vlan(after.name, socket.if_nametoindex(after.lower), after.vlan, UNDONE_PARENTS)
        elif before is None:
            netlink.add_link("dummy", after.name, UNDONE_PARENTS)
        # The host itself is not on it.
        proc_sys.set_ipv6(after.name, False)
        netlink.set_link(socket.if_nametoindex(after.name), up=True, alias=MARK + after.name, group=DONE)


def _lacks_lower(parent: Parent, links: Links) -> str:
    lower = links.get(parent.lower)
    if not parent.lower or (lower and (lower.up or parent.name in links)):
        return ""
    lacks = "is down: set it up" if lower else "is not on this host: it is made as soon as that is there"
    return f"{parent.name} is pending: {parent.lower}, of which it is VLAN {parent.vlan}, {lacks}"


def _observed(link: LinkInfo, names: Mapping[int, str]) -> Parent:
    """What is half made differs from any parent. `names` are those of all links, by their numbers."""
    if link.group == UNDONE_PARENTS:
        return Parent(link.name, lower="?")
    return Parent(link.name, names.get(link.link, ""), link.vlan, link.up)
