# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `driver` of a network -> the parser of what only this driver knows."""

from __future__ import annotations

from typing import Callable, Mapping

from ..errors import ProblemCollector
from .drivers import IPVLAN, MACVLAN
from .model import Network
from .parse_bridge import parse_bridge
from .parse_overlay import parse_overlay
from .parse_sublink import parse_ipvlan, parse_macvlan
from .section import Section, wrong

# From the network as it is without its driver's settings, its `driver_opts`, and its `x-wharf`, the network with them.
# A parser takes the keys that its driver knows. The keys that are left are problems.
DriverParser = Callable[[Network, Section, Section, ProblemCollector], Network]

PARSERS: Mapping[str, DriverParser] = {
    "bridge": parse_bridge,
    "overlay": parse_overlay,
    MACVLAN: parse_macvlan,
    IPVLAN: parse_ipvlan,
}

DEFAULT_DRIVER = "bridge"
DOCKER_DRIVERS = ("bridge", "host", "ipvlan", "macvlan", "none", "overlay")


def driver_parser(driver: str, path: str) -> DriverParser:
    """
    Raises:
        ModelError: the driver is not supported.
    """
    if driver not in PARSERS:
        why = "is not supported yet" if driver in DOCKER_DRIVERS else "is no driver that is known here"
        raise wrong(path, driver, f"{why}: leave it out, or say one of {', '.join(sorted(PARSERS))}")
    return PARSERS[driver]
