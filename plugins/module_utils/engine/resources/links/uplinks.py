# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes which links of the host are ports of the networks' bridges, beside those of containers."""

from __future__ import annotations

import errno
import os
import socket
from typing import FrozenSet, Iterator, Mapping, Sequence

from ...diff import Change
from ...errors import ConflictError, Problem
from ...kernel import proc_sys
from ...kernel.links import doing, forgiving, index_of
from ...kernel.rtnetlink import LinkInfo
from ...kernel.rtnetlink_changes import Rtnetlink
from ...planning.plan import ARP_IGNORE
from ...state import Key, State, Uplink, state_of
from ..resource import Observation
from .link_resource import LinkResource
from .marks import is_managed_bridge, is_managed_port

Links = Mapping[str, LinkInfo]

_WIRELESS = "/sys/class/net/{name}/phy80211"


class Uplinks(LinkResource):
    """Observes and changes uplinks. Nothing of the link changes, but that it is a port of the bridge.

    It bears no mark, since it is a third party's: the ledger knows it. What else is a port is a third party's there,
    too. One that is not there, or is down, is pending.
    """

    kinds = frozenset(["uplink"])
    goes_first = True

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        wanted = {thing.name: thing for thing in desired.values() if isinstance(thing, Uplink)}
        links = {link.name: link for link in self._stacks.host.links} if wanted or owned else {}
        problems = [each for name, uplink in wanted.items() if name in links for each in _problems(uplink)]
        if problems:
            raise ConflictError(*problems)
        bridges = {link.index: link.name for link in links.values() if is_managed_bridge(link)}
        known = {*wanted, *(name for _kind, name in owned)}
        current = state_of(
            [
                Uplink(name, bridges[links[name].master])
                for name in known & links.keys()
                if links[name].master in bridges
            ]
        )
        pending = {uplink.key: why for uplink in wanted.values() for why in [_lacks_link(uplink, links)] if why}
        rest = {key: thing for key, thing in desired.items() if key not in pending or key in current}
        return Observation(current, rest, pending={key: why for key, why in pending.items() if key not in current})

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        self._stacks.forget()
        with Rtnetlink() as netlink:
            for change in changes:
                name, after = change.subject.name, change.after
                if isinstance(after, Uplink):
                    with doing(f"{after.title}: making it a port of {after.bridge}"):
                        bridge = socket.if_nametoindex(after.bridge)
                        netlink.set_link(socket.if_nametoindex(name), master=bridge)
                else:
                    index = index_of(name)
                    with doing(f"uplink {name}: taking it off its bridge"), forgiving(errno.ENODEV):
                        if index:
                            netlink.set_link(index, master=0)
        return {}

    def recover(self, usual: State) -> FrozenSet[Key]:
        """The third-party ports of bridges on which the host answers nobody, but for those of virtual machines."""
        links = self._stacks.host.links
        bridges = {link.index for link in links if is_managed_bridge(link) and _is_silent(link)}
        ports = (link for link in links if link.master in bridges and link.kind != "tun")
        return frozenset(Uplink(link.name, "").key for link in ports if not is_managed_port(link))


def _is_silent(bridge: LinkInfo) -> bool:
    return proc_sys.read(proc_sys.of_interface(bridge.name, ARP_IGNORE)) == "1"


def _problems(uplink: Uplink) -> Iterator[Problem]:
    if os.path.exists(_WIRELESS.format(name=uplink.name)):
        why = "is a wireless link, which sends for one MAC only, and can be no port of a bridge"
        yield Problem(
            uplink.place, f'"{uplink.name}": {why}: name another link, or take driver: ipvlan with it as parent'
        )


def _lacks_link(uplink: Uplink, links: Links) -> str:
    link = links.get(uplink.name)
    if uplink.made or (link and link.up):
        return ""
    lacks = "is down: set it up" if link else "is not on this host: it becomes one as soon as it is there"
    return f"uplink {uplink.name} is pending: it is to be a port of {uplink.bridge}, and {lacks}"
