# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a container on a network, in words: its VLANs and its rates."""

from __future__ import annotations

from typing import Any, Iterator, Mapping

# As `network_info` returns it.
Seen = Mapping[str, Any]


def limits(endpoint: Seen) -> Iterator[str]:
    """The VLANs of an endpoint and its rates, in words."""
    if vlans := endpoint.get("vlan"):
        yield f"VLAN {', '.join(str(each) for each in [vlans['untagged'], *vlans['tagged']] if each)}"
    for direction, limit in endpoint.get("rate", {}).items():
        if limit:
            yield f"{direction} ≤{_in_bits(limit['rate'])}"


def _in_bits(rate: int) -> str:
    """A rate in the largest unit of `tc` that it is a whole number of."""
    for unit, size in (("tbit", 10**12), ("gbit", 10**9), ("mbit", 10**6), ("kbit", 1000)):
        if rate % size == 0:
            return f"{rate // size}{unit}"
    return f"{rate}bit"
