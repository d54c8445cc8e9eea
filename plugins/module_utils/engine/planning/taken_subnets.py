# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subnets that are in use on a host, and what uses each of them."""

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
class TakenSubnet:
    """A subnet in use, what uses it, and the remedy for whoever declares a subnet that overlaps it."""

    subnet: Subnet
    what: str
    remedy: str = "choose another one"

    def __str__(self) -> str:
        return f"{self.subnet}, {self.what}"

    @property
    def range(self) -> Range:
        return int(self.subnet.network_address), int(self.subnet.broadcast_address)


# A taken subnet, after its number in the order in which they were added.
_Numbered = Tuple[int, TakenSubnet]


class _SubnetIndex:
    """Taken subnets, with lookups that do not compare a subnet with each of them.

    Of two subnets that overlap, one lies within the other. So `around` needs one lookup for each prefix length in use,
    and the subnets within another one are neighbours in the order of their addresses.
    """

    def __init__(self) -> None:
        self._found: Dict[Tuple[int, int, int], _Numbered] = {}
        self._lengths: Dict[int, Set[int]] = {4: set(), 6: set()}
        self._in_order: Dict[int, List[Tuple[int, int]]] = {4: [], 6: []}

    def add(self, taken: TakenSubnet) -> None:
        """Add a taken subnet. Of several that are the same subnet, the first one counts."""
        subnet = taken.subnet
        version, first, length = subnet.version, int(subnet.network_address), subnet.prefixlen
        if (version, first, length) not in self._found:
            self._found[version, first, length] = len(self._found), taken
            self._lengths[version].add(length)
            insort(self._in_order[version], (first, length))

    def around(self, subnet: Subnet) -> Iterator[_Numbered]:
        """The taken subnets that contain this one, which may be the same subnet."""
        version, first = subnet.version, int(subnet.network_address)
        for length in self._lengths[version]:
            bits = subnet.max_prefixlen - length
            found = self._found.get((version, first >> bits << bits, length))
            if found and length <= subnet.prefixlen:
                yield found

    def within(self, subnet: Subnet) -> Iterator[_Numbered]:
        """The taken subnets that this one contains, which may be the same subnet."""
        version, in_order = subnet.version, self._in_order[subnet.version]
        begin = bisect_left(in_order, (int(subnet.network_address), subnet.prefixlen))
        end = bisect_right(in_order, (int(subnet.broadcast_address), subnet.max_prefixlen))
        return (self._found[(version, *in_order[place])] for place in range(begin, end))


class TakenSubnets:
    """The subnets in use on a host.

    A declared subnet conflicts with a route by a gateway only where the route is the narrower of the two, and so would
    divert a part of the network's traffic. A subnet that the planner chooses overlaps no route at all. Subnets and
    routes within the subnet of an adopted bridge belong to that bridge, and are in nobody's way.
    """

    def __init__(self, model: Model, facts: Facts) -> None:
        adopted = _SubnetIndex()
        for network in model.networks.values():
            for pool in network.pools:
                if network.external and pool.subnet:
                    adopted.add(TakenSubnet(pool.subnet, network.name))
        self._connected, self._routed, self._networks = _SubnetIndex(), _SubnetIndex(), _SubnetIndex()
        for index, subnets in ((self._connected, facts.taken_subnets), (self._routed, facts.routed_subnets)):
            for subnet, what in subnets:
                if not any(adopted.around(subnet)):
                    index.add(TakenSubnet(subnet, what))

    def add(self, taken: TakenSubnet) -> None:
        self._networks.add(taken)

    def overlapping(self, subnet: Subnet, is_hosts: bool = True) -> Optional[TakenSubnet]:
        """The taken subnet that a declared one conflicts with; of several the one that was added first.

        Where the host has no part in the network that it is declared for (`is_hosts`), only those of other networks.
        """
        of_networks = chain(self._networks.around(subnet), self._networks.within(subnet))
        if not is_hosts:
            return min(of_networks, default=(0, None))[1]
        connected = chain(self._connected.around(subnet), self._connected.within(subnet))
        found = (
            min(connected, default=None)
            or min(of_networks, default=None)
            or min(self._routed.within(subnet), default=None)
        )
        return found[1] if found else None

    def within(self, base: Subnet) -> Iterator[Range]:
        """The address ranges of a pool from which the planner must choose no subnet."""
        for index in (self._connected, self._networks, self._routed):
            for _number, taken in chain(index.around(base), index.within(base)):
                yield taken.range
