# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`x-wharf.rate` of a network or of an attachment -> the rates of traffic, in the units of `tc`."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Mapping, Optional

from ..errors import ModelError
from . import section as read
from .model import TrafficRates
from .section import Section, whole_section, wrong

RATE = "rate"

_STEPS = (("", 1), ("k", 1000), ("m", 1000**2), ("g", 1000**3), ("t", 1000**4))
_BINARY_STEPS = tuple((f"{prefix}i", 1024**power) for power, prefix in enumerate("kmgt", start=1))
_RATE_UNITS: Mapping[str, int] = {
    "": 1,
    **{f"{prefix}bit": factor for prefix, factor in (*_STEPS, *_BINARY_STEPS)},
    **{f"{prefix}bps": 8 * factor for prefix, factor in (*_STEPS, *_BINARY_STEPS)},
}
_SIZES = (("k", 1024), ("m", 1024**2), ("g", 1024**3))
_SIZE_UNITS: Mapping[str, int] = {
    "": 1,
    "b": 1,
    **dict(_SIZES),
    **{f"{prefix}b": factor for prefix, factor in _SIZES},
    **{f"{prefix}bit": factor // 8 for prefix, factor in _SIZES},
}
_LEAST, _MOST = 8000, 1000**4
# In seconds.
_LONGEST_BURST = 60


def take_rates(extension: Section) -> Optional[TrafficRates]:
    """The `rate` of an `x-wharf`."""
    extension.refuse_blank(RATE)
    return extension.take_optional(RATE, _rates)


def _rates(value: Any, path: str) -> TrafficRates:
    with whole_section(value, path) as section:
        section.refuse_blank("ingress", "egress", "burst")
        ingress, egress = (section.take_optional(key, _rate) for key in ("ingress", "egress"))
        burst = section.take_optional("burst", _size)
    if ingress is None and egress is None:
        raise ModelError.at(
            path, "limits nothing: give it ingress (what the container receives), egress (what it sends), or both"
        )
    for rate in (ingress, egress):
        if rate and burst and burst * 8 > rate * _LONGEST_BURST:
            longest = f"takes more than {_LONGEST_BURST} s at {rate} bit/s: give it a smaller one"
            raise wrong(f"{path}.burst", read.mapping(value, path)["burst"], longest)
    return TrafficRates(path, ingress, egress, burst)


def _rate(value: Any, path: str) -> int:
    """Bits a second, in whole bytes: the kernel counts these."""
    found = _measure(value, _RATE_UNITS)
    if found is None:
        raise wrong(path, value, "must be a rate as tc takes it, such as 500kbit, 8mbit, 1.5gbit or 100kbps (bytes)")
    if not _LEAST <= found <= _MOST:
        raise wrong(path, value, "must be from 8kbit to 1tbit")
    return int(found) // 8 * 8


def _size(value: Any, path: str) -> int:
    """Bytes."""
    found = _measure(value, _SIZE_UNITS)
    if found is None or found < 1:
        raise wrong(path, value, "must be a size as tc takes it, such as 1600b, 32kb or 1mb")
    return int(found)


def _measure(value: Any, units: Mapping[str, int]) -> Optional[Fraction]:
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([a-z]*)", str(value).strip().lower())
    return Fraction(match[1]) * units[match[2]] if match and match[2] in units else None
