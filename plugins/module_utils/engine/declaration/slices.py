# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of an overlay network agree on without asking each other: which slice is whose, and the VNI.

Pure functions of names and numbers that are declared. The order of the hosts is of no consequence, and neither are
hosts that a run does not reach.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Dict, Iterator, Mapping, Optional, Tuple

from .section import Address, Subnet

# With fewer slices, hosts that choose by a hash of their names would too often choose the same one.
LEAST_SLICES_FOR_HASH = 4096

# A VXLAN network identifier has 24 bits. Those below 4096 are left to admins, who like small numbers.
FIRST_VNI, LAST_VNI = 4096, (1 << 24) - 1


def hashed_vni(network: str) -> int:
    """The VNI of a network that declares none."""
    return FIRST_VNI + _hash(f"vni {network}") % (LAST_VNI + 1 - FIRST_VNI)


def hashed_index(host: str, count: int) -> int:
    """Which of so many slices a host has that declares no index."""
    return _hash(f"slice {host}") % count


def number_of_slices(subnet: Subnet, prefix: int) -> int:
    return 1 << (prefix - subnet.prefixlen)


def slice_of(subnet: Subnet, prefix: int, index: int) -> Subnet:
    """The slice of this number, from 0."""
    first = int(subnet.network_address) + (index << (subnet.max_prefixlen - prefix))
    return ipaddress.IPv4Network((first, prefix)) if subnet.version == 4 else ipaddress.IPv6Network((first, prefix))


def gateway_of(own: Subnet) -> Address:
    """The address of a host's bridge in its slice, at which the others ask it for names."""
    return own[1]


def stand_in(each: Subnet) -> str:
    """The address that stands for the host of a slice on the tunnel: the slice's own, which no container can have."""
    return str(each.network_address)


def indexes(given: Mapping[str, Optional[int]], count: int) -> Dict[str, int]:
    """The index of each host: the one that it is given, or one by its name."""
    return {host: hashed_index(host, count) if index is None else index for host, index in given.items()}


def collisions(found: Mapping[str, int]) -> Iterator[Tuple[str, str]]:
    """Pairs of hosts that have the same index, each by the order of their names."""
    first: Dict[int, str] = {}
    for host in sorted(found):
        other = first.setdefault(found[host], host)
        if other != host:
            yield other, host


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
