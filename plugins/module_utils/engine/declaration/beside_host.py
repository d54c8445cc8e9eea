# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of networks that the host routes, which mean nothing where containers are on a LAN beside it."""

from __future__ import annotations

from typing import Mapping

from .section import Section

BRIDGE_OPTION = "com.docker.network.bridge."

# `{unseen}` says why no rule could do it, and `{there}` is where the containers are.
_AT_OWN_ADDRESS = "{unseen}: leave this out; all of their ports are reached at their own addresses"
_BY_LAN = "{unseen}: leave this out; their packets leave with their own addresses, by the gateway in ipam.config"
_NO_HOST_ADDRESS = (
    "the host has no address on {there}, and serves nothing there: leave this out; containers find each other by their "
    "hosts files"
)

OPTIONS: Mapping[str, str] = {
    BRIDGE_OPTION + "enable_ip_masquerade": _BY_LAN,
    BRIDGE_OPTION + "gateway_mode_ipv4": _AT_OWN_ADDRESS,
    BRIDGE_OPTION + "gateway_mode_ipv6": _AT_OWN_ADDRESS,
    BRIDGE_OPTION + "host_binding_ipv4": _AT_OWN_ADDRESS,
    BRIDGE_OPTION + "inhibit_ipv4": "the host has no address on {there} anyway: leave this out",
    BRIDGE_OPTION + "trusted_host_interfaces": _AT_OWN_ADDRESS,
    "com.docker.network.host_ipv4": _BY_LAN,
    "com.docker.network.host_ipv6": _BY_LAN,
}
_EXTENSIONS: Mapping[str, str] = {
    "icmp": _AT_OWN_ADDRESS,
    "masquerade": _BY_LAN,
    "mss_clamp": "{unseen}: leave this out; com.docker.network.driver.mtu makes their packets smaller",
    **dict.fromkeys(("boot", "dhcp", "dns", "ra"), _NO_HOST_ADDRESS),
}


def refuse(options: Section, extension: Section, unseen: str, there: str) -> None:
    """Report what is given of these words in a network's `driver_opts` and in its `x-wharf`."""
    for section, refused in ((options, OPTIONS), (extension, _EXTENSIONS)):
        for key, why in refused.items():
            section.refuse([key], why.format(unseen=unseen, there=there))
