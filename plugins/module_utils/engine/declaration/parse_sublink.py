# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `driver_opts` of networks whose containers have links of their own on a link of the host: macvlan and ipvlan."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Mapping

from ..errors import ProblemCollector
from . import beside_host
from . import section as read
from .beside_host import BRIDGE_OPTION
from .drivers import (
    BRIDGE_MODE,
    IPVLAN,
    IPVLAN_FLAGS,
    IPVLAN_MODES,
    L2,
    MACVLAN,
    MACVLAN_MODES,
    SublinkDriver,
)
from .model import Network
from .parse_bridge import UPLINK, option_path, shared_options
from .parse_vlans import VLAN
from .section import Section

PARENT_OPTION = "parent"

_UNSEEN = "this host's rules do not see the packets of containers on {driver}"
NO_RATE = "the host has no end of the links of {driver}, where it could limit rates: leave this out"

# Words of bridges that mean nothing here, and what to do instead.
_OPTIONS_OF_BRIDGES: Mapping[str, str] = {
    BRIDGE_OPTION + "enable_icc": f"{_UNSEEN}: leave this out; {{apart}} keeps them apart",
    BRIDGE_OPTION + "name": "a network of {driver} has no bridge: leave this out; parent names the link of the host",
}
_EXTENSIONS_OF_BRIDGES: Mapping[str, str] = {
    "rate": NO_RATE,
    VLAN: "a network of {driver} has no bridge: leave this out; driver_opts.parent may be a VLAN, as eth0.20",
    UPLINK: "a network of {driver} has no bridge: leave this out; driver_opts.parent names the link of the host",
}
_APART = {MACVLAN: "macvlan_mode: private", IPVLAN: "ipvlan_flag: private"}
# Those of Docker, of the links that stand in for a parent.
_PREFIXES = {MACVLAN: "dm-", IPVLAN: "di-"}


def parse_macvlan(network: Network, options: Section, extension: Section, problems: ProblemCollector) -> Network:
    """The network with the settings of its `driver_opts`, in the words of Docker's driver macvlan."""
    mode = options.take("macvlan_mode", read.one_of(*MACVLAN_MODES), BRIDGE_MODE)
    return _parse(network, SublinkDriver(MACVLAN, mode), options, extension, problems)


def parse_ipvlan(network: Network, options: Section, extension: Section, problems: ProblemCollector) -> Network:
    """The network with the settings of its `driver_opts`, in the words of Docker's driver ipvlan."""
    mode = options.take("ipvlan_mode", read.one_of(*IPVLAN_MODES), L2)
    flag = options.take("ipvlan_flag", read.one_of(*IPVLAN_FLAGS), BRIDGE_MODE)
    return _parse(network, SublinkDriver(IPVLAN, mode, flag), options, extension, problems)


def parent_path(network: Network) -> str:
    """Where a network's parent is declared, which may be the uplink of its bridge."""
    return f"{network.path}.x-wharf.{UPLINK}" if network.uplink else option_path(network, PARENT_OPTION)


def _parse(
    network: Network, driver: SublinkDriver, options: Section, extension: Section, problems: ProblemCollector
) -> Network:
    options.refuse_blank(PARENT_OPTION, why="has no value: name a link of this host, or leave the key out")
    parent = options.take_optional(PARENT_OPTION, read.interface_name)
    for section, refused in ((options, _OPTIONS_OF_BRIDGES), (extension, _EXTENSIONS_OF_BRIDGES)):
        for key, why in refused.items():
            section.refuse([key], why.format(driver=driver.name, apart=_APART[driver.name]))
    beside_host.refuse(options, extension, _UNSEEN.format(driver=driver.name), f"a network of {driver.name}")
    own = _PREFIXES[driver.name] + hashlib.sha256(network.name.encode()).hexdigest()[:12]
    host_access = extension.take("host_access", read.flag, False)
    driver = replace(driver, parent=parent or own, is_isolated=parent is None, host_access=host_access)
    if host_access and driver.among != BRIDGE_MODE:
        key = "ipvlan_flag" if driver.flag else "macvlan_mode"
        problems.add(
            f"{extension.path}.host_access",
            f"true: with {key}: {driver.among} links of one parent do not reach each other on this host, nor would the "
            f"host's: leave one of the two out",
        )
    # As in Docker, a network without a parent is internal.
    shaped = replace(network, bridge="", driver=driver, internal=network.internal or parent is None)
    return shared_options(shaped, options, problems)
