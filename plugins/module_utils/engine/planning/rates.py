# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rates of containers' traffic, as the queues of links hold them."""

from __future__ import annotations

from fractions import Fraction
from typing import Optional, Tuple

from ..declaration.model import Attachment, Network, TrafficRates
from ..errors import ProblemCollector
from ..kernel.traffic_control import representable
from ..state import UNLIMITED, Shaper

# What waits longer is dropped, in seconds: TCP slows down by that.
_LATENCY = Fraction(50, 1000)
# A burst where none is declared: so many bytes, or as much as the rate lets pass in so many seconds.
_BURST, _BURST_TIME = 32 * 1024, Fraction(10, 1000)
# Of an Ethernet frame, with the tag of a VLAN, in bytes.
_FRAME_HEADER = 18
_MOST = 2**32 - 1


def rates_of(network: Network, attachment: Attachment) -> Optional[TrafficRates]:
    """The rates of an attachment: its own, else those of the network."""
    return attachment.rates or network.rates


def shapers(rates: Optional[TrafficRates], mtu: int) -> Tuple[Shaper, Shaper]:
    """What limits the traffic to the container, and that from it."""
    if not rates:
        return UNLIMITED, UNLIMITED
    return _shaper(rates.ingress, rates.burst, mtu), _shaper(rates.egress, rates.burst, mtu)


def _shaper(rate: Optional[int], burst: Optional[int], mtu: int) -> Shaper:
    if not rate:
        return UNLIMITED
    size = burst or max(_BURST, int(rate // 8 * _BURST_TIME), mtu + _FRAME_HEADER)
    size = representable(rate // 8, size)
    return Shaper(rate, size, min(int(rate // 8 * _LATENCY) + size, _MOST))


def check_burst(rates: TrafficRates, network: Network, mtu: int, problems: ProblemCollector) -> None:
    """A packet that is larger than the burst would never pass."""
    least = mtu + _FRAME_HEADER
    if rates.burst and rates.burst < least:
        problems.add(
            f"{rates.path}.burst",
            f"{rates.burst} bytes: a packet of network {network.name} has up to {least} (its MTU is {mtu}): give it "
            "no smaller burst, or leave it out",
        )
