# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subnets that are in use on a host, and what has each of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from itertools import chain
from typing import Dict, Iterator, List, Optional, Set, Tuple

from ..declaration.model import Model
from ..declaration.section import Subnet
from .address_sets import Range
from .facts import Facts


@dataclass(frozen=True)
class Holder:
    """What has a subnet, and the remedy for whoever declares one that overlaps it."""

    subnet: Subnet
    what: str
    remedy: str = "choose another one"

    def __str__(self) -> str:
        return f"{self.subnet}, {self.what}"

    @property
    def range(self) -> Range:
        return int(self.subnet.network_address), int(self.subnet.broadcast_address)


# With the number of the holder in the order in which they came.
_Numbered = Tuple[int, Holder]


class _Holders:
    """Holders, found by a subnet without comparing it with each of them.

    Of two subnets that overlap, one lies within the other. So those around a subnet are found by the prefix lengths
    that there are, and those within it are neighbours in the order of their addresses.
    """

    def __init__(self) -> None:
        self._found: Dict[Tuple[int, int, int], _Numbered] = {}
        self._lengths: Dict[int, Set[int]] = {4: set(), 6: set()}
        self._in_order: Dict[int, List[Tuple[int, int]]] = {4: [], 6: []}

    def add(self, holder: Holder) -> None:
        """Of several with the same subnet the first one counts."""
        subnet = holder.subnet
        version, first, length = subnet.version, int(subnet.network_address), subnet.prefixlen
        if (version, first, length) not in self._found:
            self._found[version, first, length] = len(self._found), holder
            self._lengths[version].add(length)
            insort(self._in_order[version], (first, length))

    def around(self, subnet: Subnet) -> Iterator[_Numbered]:
        """Those that the subnet lies within, which may be its own."""
        version, first = subnet.version, int(subnet.network_address)
        for length in self._lengths[version]:
            bits = subnet.max_prefixlen - length
            found = self._found.get((version, first >> bits << bits, length))
            if found and length <= subnet.prefixlen:
                yield found

    def within(self, subnet: Subnet) -> Iterator[_Numbered]:
        """Those that lie within the subnet, which may be its own."""
        version, in_order = subnet.version, self._in_order[subnet.version]
        begin = bisect_left(in_order, (int(subnet.network_address), subnet.prefixlen))
        end = bisect_right(in_order, (int(subnet.broadcast_address), subnet.max_prefixlen))
        return (self._found[(version, *in_order[place])] for place in range(begin, end))


class TakenSubnets:
    """The subnets in use, each with its holder.

    A route by a gateway is in the way of a network only where it would lead off a part of it: a narrower one wins. But
    no network is given a subnet, unasked, to which the host has a route. What lies within an adopted bridge's subnet is
    that bridge's.
    """

    def __init__(self, model: Model, facts: Facts) -> None:
        adopted = _Holders()
        for network in model.networks.values():
            for pool in network.pools:
                if network.external and pool.subnet:
                    adopted.add(Holder(pool.subnet, network.name))
        self._holders, self._routed = _Holders(), _Holders()
        for holders, subnets in ((self._holders, facts.taken_subnets), (self._routed, facts.routed_subnets)):
            for subnet, what in subnets:
                if not any(adopted.around(subnet)):
                    holders.add(Holder(subnet, what))

    def add(self, holder: Holder) -> None:
        self._holders.add(holder)

    def holder(self, subnet: Subnet) -> Optional[Holder]:
        """What has a part of this subnet already; of several the one that came first."""
        overlapping = chain(self._holders.around(subnet), self._holders.within(subnet))
        found = min(overlapping, default=None) or min(self._routed.within(subnet), default=None)
        return found[1] if found else None

    def within(self, base: Subnet) -> Iterator[Range]:
        """What no network may be given, unasked, of a pool."""
        for holders in (self._holders, self._routed):
            for _number, holder in chain(holders.around(base), holders.within(base)):
                yield holder.range
