# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds free subnets and addresses in pools of any size. This is the only file that calls netaddr."""

from __future__ import annotations

from typing import Any, Iterable, Iterator, List, Set, Tuple

from ..declaration.section import Subnet
from ..errors import ConflictError

NETADDR = "netaddr"

# The first and the last address of a range, as numbers.
Range = Tuple[int, int]


def lowest_free(base: Subnet, size: int, taken: Iterable[Range]) -> Iterator[int]:
    """The network addresses of the free subnets of `base` that have the prefix length `size`, lowest first.

    With a prefix length of 32 or 128 these are free single addresses. `taken` is in the IP family of `base`.

    Taken ranges that are larger than one such subnet are subtracted as a set. Smaller ones are skipped one by one,
    since each of them would split the set into up to 128 parts.

    Raises:
        ConflictError: there is no netaddr for the Python that runs this.
    """
    netaddr = _netaddr()
    bits = base.max_prefixlen - size
    small: Set[int] = set()
    large: List[Any] = []
    for first, last in taken:
        if first >> bits == last >> bits:
            small.add(first >> bits)
        else:
            ends = first >> bits << bits, ((last >> bits) + 1 << bits) - 1
            large += netaddr.iprange_to_cidrs(*(netaddr.IPAddress(end, base.version) for end in ends))
    pool = netaddr.IPNetwork((int(base.network_address), base.prefixlen), version=base.version)
    for cidr in (netaddr.IPSet([pool]) - netaddr.IPSet(large)).iter_cidrs():
        for number in range(cidr.first >> bits, (cidr.last >> bits) + 1):
            if number not in small:
                yield number << bits


def require_netaddr() -> None:
    """
    Raises:
        ConflictError: there is no netaddr for the Python that runs this.
    """
    _netaddr()


def _netaddr() -> Any:
    try:
        import netaddr
    except ImportError:
        raise ConflictError.at(
            NETADDR,
            "is needed on this host to allot subnets and addresses: install python3-netaddr "
            "(or pip install 'netaddr>=0.7.19,<2')",
        ) from None
    except Exception as error:
        raise ConflictError.at(NETADDR, f"is broken on this host: {error}: reinstall python3-netaddr") from error
    return netaddr
