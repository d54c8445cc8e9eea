# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads and changes queues of links that let packets pass at a rate, and redirections from one link to another.

Names of constants are those of linux/pkt_sched.h, linux/pkt_cls.h and linux/rtnetlink.h.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

from .netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, attribute, attributes, dump, nested
from .rtnetlink_changes import Rtnetlink

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46

TC_H_ROOT, TC_H_CLSACT = 0xFFFFFFFF, 0xFFFFFFF1
# Where the filters for incoming packets are, of a queue `clsact` and of one `ingress`.
INCOMING, OUTGOING = 0xFFFFFFF2, 0xFFFFFFF3
CLSACT_HANDLE = 0xFFFF0000

# "WH": the handle of the queues that wharf.network makes, and the preference of its filters. By this they are known.
OWN = 0x5748
OWN_HANDLE = OWN << 16

_HEADER = struct.Struct("=BxxxiIII")
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_TBF_PARMS, _TCA_TBF_RATE64 = 1, 4
_TCA_U32_SEL, _TCA_U32_ACT = 5, 7
_TCA_ACT_KIND, _TCA_ACT_OPTIONS, _TCA_MIRRED_PARMS = 1, 2, 2
_TC_U32_TERMINAL, _TC_ACT_STOLEN, _TCA_EGRESS_REDIR = 1, 4, 1
_TC_LINKLAYER_ETHERNET = 1

# struct tc_ratespec, twice (a rate, and a peak rate that is not used); the limit, the buffer, and an unused MTU.
_RATE = struct.Struct("=BBHhHI")
_BUCKET = struct.Struct(f"={_RATE.size}s{_RATE.size}sIII")
_U64 = struct.Struct("=Q")
_MOST_32_BITS = 0xFFFFFFFF
# A selector of no bits: it matches every packet. One key of four bytes follows the header.
_EVERY_PACKET = struct.pack("=BBBxHHhhI", _TC_U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + bytes(16)
_MIRRED = struct.Struct("=IIiiiiI")
_EVERY_PROTOCOL = socket.htons(0x0003)

# The kernel counts the time that a burst takes in ticks of so many nanoseconds.
_TICK = 64
_SECOND = 10**9


@dataclass(frozen=True)
class Bucket:
    """A token bucket filter (tbf): `rate` in bytes a second, `burst` and the `limit` of what waits in bytes."""

    rate: int
    burst: int
    limit: int


@dataclass(frozen=True)
class QueueInfo:
    """A queue (qdisc) of the link `index`: the one at its root, or `clsact` or `ingress`, which has filters only."""

    index: int
    kind: str
    handle: int
    parent: int
    bucket: Optional[Bucket] = None

    @property
    def is_own(self) -> bool:
        return self.handle == OWN_HANDLE and self.kind == "tbf"

    @property
    def is_third_party(self) -> bool:
        """Whether somebody has put it at the link's root: of those that the kernel makes the handle is 0."""
        return self.parent == TC_H_ROOT and self.handle != 0 and not self.is_own


def ticks(rate: int, burst: int) -> int:
    """The time that a burst takes, as the kernel counts it, rounded up."""
    return -(-burst * _SECOND // (rate * _TICK))


def representable(rate: int, burst: int) -> int:
    """The least burst that is not smaller, and that the kernel reports as it was given."""
    return _burst(rate, ticks(rate, burst))


def _burst(rate: int, buffer: int) -> int:
    return buffer * _TICK * rate // _SECOND


def queues() -> List[QueueInfo]:
    """The queues of all links."""
    return [_parse_queue(message) for message in dump(socket.NETLINK_ROUTE, RTM_GETQDISC, _header(0))]


def redirections(index: int) -> List[int]:
    """The links to which filters of wharf.network redirect what comes in by the link `index`."""
    return [target for pref, target in _filters(index, INCOMING) if pref == OWN and target]


def has_filters(index: int) -> bool:
    return any([*_filters(index, INCOMING), *_filters(index, OUTGOING)])


def _filters(index: int, parent: int) -> Iterator[Tuple[int, int]]:
    """Each filter's preference, and the link that it redirects to, 0 for none."""
    for message in dump(socket.NETLINK_ROUTE, RTM_GETTFILTER, _header(index, parent=parent)):
        found = attributes(message, _HEADER.size)
        selected = attributes(found.get(_TCA_OPTIONS, b""))
        yield _HEADER.unpack_from(message)[4] >> 16, _target(selected.get(_TCA_U32_ACT, b""))


def _target(actions: bytes) -> int:
    for action in attributes(actions).values():
        found = attributes(action)
        parameters = attributes(found.get(_TCA_ACT_OPTIONS, b"")).get(_TCA_MIRRED_PARMS)
        if found.get(_TCA_ACT_KIND) == b"mirred\0" and parameters:
            return int(_MIRRED.unpack_from(parameters)[6])
    return 0


def _parse_queue(message: bytes) -> QueueInfo:
    _family, index, handle, parent, _info = _HEADER.unpack_from(message)
    found = attributes(message, _HEADER.size)
    kind = found[_TCA_KIND].rstrip(b"\0").decode()
    bucket = _parse_bucket(found.get(_TCA_OPTIONS, b"")) if kind == "tbf" else None
    return QueueInfo(index, kind, handle, parent, bucket)


def _parse_bucket(data: bytes) -> Optional[Bucket]:
    found = attributes(data)
    if _TCA_TBF_PARMS not in found:
        return None
    first, _peak, limit, buffer, _mtu = _BUCKET.unpack_from(found[_TCA_TBF_PARMS])
    rate = _U64.unpack(found[_TCA_TBF_RATE64])[0] if _TCA_TBF_RATE64 in found else _RATE.unpack(first)[5]
    return Bucket(rate, _burst(rate, buffer), limit)


def set_bucket(netlink: Rtnetlink, index: int, bucket: Bucket) -> None:
    """Let packets leave by a link at a rate: by a new queue, or by the one that it has of this kind, in which what
    waits goes on waiting.
    """
    rate = _RATE.pack(0, _TC_LINKLAYER_ETHERNET, 0, 0, 0, min(bucket.rate, _MOST_32_BITS))
    parameters = _BUCKET.pack(rate, bytes(_RATE.size), bucket.limit, ticks(bucket.rate, bucket.burst), 0)
    options = attribute(_TCA_TBF_PARMS, parameters)
    if bucket.rate >= _MOST_32_BITS:
        options += attribute(_TCA_TBF_RATE64, _U64.pack(bucket.rate))
    message = _at_root(index) + _kind("tbf") + attribute(_TCA_OPTIONS, options)
    netlink.change(RTM_NEWQDISC, message, NLM_F_CREATE | NLM_F_REPLACE)


def delete_bucket(netlink: Rtnetlink, index: int) -> None:
    netlink.change(RTM_DELQDISC, _at_root(index))


def add_filter_queue(netlink: Rtnetlink, index: int) -> None:
    """Give a link a queue that has filters only."""
    netlink.change(RTM_NEWQDISC, _of_filters(index), NLM_F_CREATE | NLM_F_EXCL)


def delete_filter_queue(netlink: Rtnetlink, index: int) -> None:
    netlink.change(RTM_DELQDISC, _of_filters(index))


def add_redirection(netlink: Rtnetlink, index: int, target: int) -> None:
    """Redirect all that comes in by the link `index`, which has a queue for filters, to the link `target`, which lets
    it go on as if it had just come in.
    """
    mirred = _MIRRED.pack(0, 0, _TC_ACT_STOLEN, 0, 0, _TCA_EGRESS_REDIR, target)
    action = attribute(_TCA_ACT_KIND, b"mirred\0") + _nested({_TCA_ACT_OPTIONS: attribute(_TCA_MIRRED_PARMS, mirred)})
    options = attribute(_TCA_U32_SEL, _EVERY_PACKET) + _nested({_TCA_U32_ACT: _nested({1: action})})
    message = _own_filters(index) + _kind("u32") + attribute(_TCA_OPTIONS, options)
    netlink.change(RTM_NEWTFILTER, message, NLM_F_CREATE | NLM_F_EXCL)


def delete_redirections(netlink: Rtnetlink, index: int) -> None:
    """Delete those of wharf.network."""
    netlink.change(RTM_DELTFILTER, _own_filters(index))


def _at_root(index: int) -> bytes:
    """Names the queue that wharf.network has made at the root of a link."""
    return _header(index, OWN_HANDLE, TC_H_ROOT)


def _of_filters(index: int) -> bytes:
    """Names the queue of a link that has its filters only."""
    return _header(index, CLSACT_HANDLE, TC_H_CLSACT) + _kind("clsact")


def _own_filters(index: int) -> bytes:
    """Names the filters of wharf.network for what comes in by a link."""
    return _header(index, parent=INCOMING, info=OWN << 16 | _EVERY_PROTOCOL)


def _header(index: int, handle: int = 0, parent: int = 0, info: int = 0) -> bytes:
    return _HEADER.pack(socket.AF_UNSPEC, index, handle, parent, info)


def _kind(kind: str) -> bytes:
    return attribute(_TCA_KIND, kind.encode() + b"\0")


def _nested(values: Dict[int, bytes]) -> bytes:
    return b"".join(nested(kind, value) for kind, value in values.items())


def by_link(found: Iterable[QueueInfo]) -> Dict[int, List[QueueInfo]]:
    queues_of: Dict[int, List[QueueInfo]] = {}
    for queue in found:
        queues_of.setdefault(queue.index, []).append(queue)
    return queues_of
