# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `driver` of a network -> the parser of what only this driver knows."""

from __future__ import annotations

from typing import Callable, Mapping, Sequence

from ..errors import ProblemCollector
from .agreement import VNI_OPTION
from .drivers import IPVLAN, MACVLAN
from .model import Network
from .parse_bridge import parse_bridge
from .parse_overlay import parse_overlay
from .parse_sublink import PARENT_OPTION, parse_ipvlan, parse_macvlan
from .section import Section, one_of, wrong

# From the network as it is without its driver's settings, its `driver_opts`, and its `x-wharf`, the network with them.
# A parser takes the keys that its driver knows. The keys that are left are problems.
DriverParser = Callable[[Network, Section, Section, ProblemCollector], Network]

PARSERS: Mapping[str, DriverParser] = {
    "bridge": parse_bridge,
    "overlay": parse_overlay,
    MACVLAN: parse_macvlan,
    IPVLAN: parse_ipvlan,
}

_KEYS_OF_DRIVERS: Mapping[str, Sequence[str]] = {
    PARENT_OPTION: (MACVLAN, IPVLAN),
    "host_access": (MACVLAN, IPVLAN),
    "macvlan_mode": (MACVLAN,),
    "ipvlan_mode": (IPVLAN,),
    "ipvlan_flag": (IPVLAN,),
    **dict.fromkeys(
        ("encrypted", VNI_OPTION, "hosts", "slice", "direct", "data_path_port", "members", "host"), ("overlay",)
    ),
}

DEFAULT_DRIVER = "bridge"
DOCKER_DRIVERS = ("bridge", "host", "ipvlan", "macvlan", "none", "overlay")


def driver_parser(driver: str, path: str) -> DriverParser:
    """
    Raises:
        ModelError: the driver is not supported.
    """
    if driver in DOCKER_DRIVERS and driver not in PARSERS:
        raise wrong(path, driver, f"is not supported yet: leave it out, or say one of {', '.join(sorted(PARSERS))}")
    return PARSERS[one_of(*sorted(PARSERS))(driver, path)]


def belonging_to_others(driver: str) -> Mapping[str, str]:
    """The messages about keys of `driver_opts` and `x-wharf` that other drivers have, and this one has not."""
    return {
        key: f"is a key of networks with {_named(having)}, and this one has driver: {driver}: change one of the two"
        for key, having in _KEYS_OF_DRIVERS.items()
        if driver not in having
    }


def _named(drivers: Sequence[str]) -> str:
    return " or ".join(f"driver: {each}" for each in drivers)
