# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads and changes what limits the traffic of endpoints. All of it is on the host: root in a container reaches none.

What the host sends to a container leaves by a queue of the veth's end on the host. What a container sends is redirected
from there, as it comes in, to a link of its own (ifb) with such a queue, from which it goes on to the bridge.
"""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterable, Iterator, List, Mapping, Optional, Set

from ...errors import ApplyError, Problem
from ...kernel import proc_sys, traffic_control
from ...kernel.links import DONE, UNDONE_PORTS, error_number, forgiving, index_of
from ...kernel.rtnetlink import LinkInfo
from ...kernel.rtnetlink_changes import Rtnetlink
from ...kernel.traffic_control import Bucket, QueueInfo
from ...state import UNLIMITED, Endpoint, Shaper
from .marks import MARK, is_managed_ifb, is_managed_port

_NOT_WHOLE = Shaper(whole=False)
_BITS = 8


def ifb_name(host_interface: str) -> str:
    """The link for what a container sends, by the name of the veth's end on the host."""
    return f"ifb{host_interface.removeprefix('veth')}"


@dataclass(frozen=True)
class Rates:
    """What is on the host's links: the ifbs by name, and all queues by the index of the link."""

    ifbs: Mapping[str, LinkInfo]
    queues: Mapping[int, List[QueueInfo]]

    @classmethod
    def read(cls, links: Iterable[LinkInfo], wanted: Iterable[Endpoint]) -> Rates:
        """The queues are only listed where there is one, or is to be one: there is one for each link of the host."""
        managed = [link for link in links if is_managed_port(link) or is_managed_ifb(link)]
        ifbs = {link.name: link for link in managed if is_managed_ifb(link)}
        limited = any(endpoint.ingress.rate or endpoint.egress.rate for endpoint in wanted)
        if ifbs or limited or any(link.queue == "tbf" for link in managed):
            return cls(ifbs, traffic_control.by_link(traffic_control.queues()))
        return cls(ifbs, {})

    def ingress(self, port: LinkInfo) -> Shaper:
        return self._at_root(port) or UNLIMITED

    def egress(self, port: LinkInfo) -> Shaper:
        ifb = self.ifbs.get(ifb_name(port.name))
        targets = traffic_control.redirections(port.index) if self._has_filters(port) else []
        if ifb is None:
            return _NOT_WHOLE if targets else UNLIMITED
        is_whole = targets == [ifb.index] and ifb.up and ifb.group == DONE
        return (self._at_root(ifb) if is_whole else None) or _NOT_WHOLE

    def _at_root(self, link: LinkInfo) -> Optional[Shaper]:
        buckets = (queue.bucket for queue in self.queues.get(link.index, ()) if queue.is_own)
        return next((Shaper(each.rate * _BITS, each.burst, each.limit) for each in buckets if each), None)

    def _has_filters(self, port: LinkInfo) -> bool:
        return any(queue.kind in ("clsact", "ingress") for queue in self.queues.get(port.index, ()))

    def problems(self, endpoint: Endpoint, port: LinkInfo) -> Iterator[Problem]:
        for queue in self.queues.get(port.index, ()) if endpoint.ingress.rate else ():
            if queue.is_third_party:
                yield Problem(
                    endpoint.place,
                    f"a queue ({queue.kind}) is on {port.name} that wharf.network does not manage: delete it "
                    f"(tc qdisc del dev {port.name} root), or leave rate.ingress out",
                )

    def without_port(self, ports: Set[str]) -> List[LinkInfo]:
        """The ifbs that are left of endpoints whose veth pair is gone."""
        names = {ifb_name(port) for port in ports}
        return [ifb for name, ifb in self.ifbs.items() if name not in names]


def links_of(endpoint: Endpoint) -> Iterator[str]:
    """The names of an endpoint's links on the host."""
    yield endpoint.host_interface
    if endpoint.egress != UNLIMITED:
        yield ifb_name(endpoint.host_interface)


def set_rates(netlink: Rtnetlink, before: Optional[Endpoint], after: Endpoint) -> None:
    """Set what differs. A rate changes while what waits goes on waiting."""
    had, had_egress = (before.ingress, before.egress) if before else (UNLIMITED, UNLIMITED)
    if had == after.ingress and had_egress == after.egress:
        return
    index = socket.if_nametoindex(after.host_interface)
    with _explained():
        if had != after.ingress:
            _set_queue(netlink, index, after.ingress)
        if had_egress != after.egress and after.egress.rate:
            _limit_egress(netlink, index, after)
        elif had_egress != after.egress:
            _free_egress(netlink, index, after)


def _set_queue(netlink: Rtnetlink, index: int, shaper: Shaper) -> None:
    if shaper.rate:
        traffic_control.set_bucket(netlink, index, Bucket(shaper.rate // _BITS, shaper.burst, shaper.limit))
    else:
        with forgiving(errno.ENOENT, errno.EINVAL):
            traffic_control.delete_bucket(netlink, index)


def _limit_egress(netlink: Rtnetlink, index: int, endpoint: Endpoint) -> None:
    """The queue first, and the redirection last: what is redirected to a link that is down is dropped."""
    name = ifb_name(endpoint.host_interface)
    if not index_of(name):
        netlink.add_link("ifb", name, UNDONE_PORTS)
    ifb = socket.if_nametoindex(name)
    _set_queue(netlink, ifb, endpoint.egress)
    proc_sys.set_ipv6(name, False)
    netlink.set_link(ifb, up=True, alias=MARK + endpoint.name, group=DONE)
    # A third party's queue for filters serves as well.
    with forgiving(errno.EEXIST):
        traffic_control.add_filter_queue(netlink, index)
    if traffic_control.redirections(index) != [ifb]:
        _delete_redirections(netlink, index)
        traffic_control.add_redirection(netlink, index, ifb)


def _free_egress(netlink: Rtnetlink, index: int, endpoint: Endpoint) -> None:
    """Delete the redirection first: what comes in meanwhile goes straight to the bridge."""
    _delete_redirections(netlink, index)
    if not traffic_control.has_filters(index):
        # A queue `ingress` is a third party's.
        with forgiving(errno.ENOENT, errno.EINVAL):
            traffic_control.delete_filter_queue(netlink, index)
    ifb = index_of(ifb_name(endpoint.host_interface))
    if ifb:
        netlink.set_link(ifb, group=UNDONE_PORTS)
        netlink.delete_links(UNDONE_PORTS)


def _delete_redirections(netlink: Rtnetlink, index: int) -> None:
    with forgiving(errno.ENOENT, errno.EINVAL):
        traffic_control.delete_redirections(netlink, index)


@contextmanager
def _explained() -> Iterator[None]:
    """
    Raises:
        ApplyError: the kernel lacks what limits rates.
    """
    try:
        yield
    except (OSError, ApplyError) as error:
        if error_number(error) not in (errno.ENOENT, errno.EOPNOTSUPP):
            raise
        raise ApplyError(
            f"{error}: the kernel limits rates by its modules sch_tbf, ifb, cls_u32, act_mirred and sch_ingress, of "
            "which one is missing: install the package of your kernel's further modules, or leave rate out"
        ) from None
