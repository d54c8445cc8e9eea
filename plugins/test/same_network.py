# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether addresses are on one network."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def same_network(addresses: Sequence[str]) -> bool:
    """Whether all addresses with a prefix length are on one network, and the addresses without lie in it.

    Raises:
        AnsibleFilterError: the value is no list, an item is no address, or none has a prefix length.
    """
    if isinstance(addresses, str) or not isinstance(addresses, Sequence):
        raise AnsibleFilterError("wharf.network.same_network takes a list of addresses")
    try:
        networks = {ipaddress.ip_interface(str(address)).network for address in addresses if "/" in str(address)}
        hosts = [ipaddress.ip_address(str(address)) for address in addresses if "/" not in str(address)]
    except ValueError as error:
        raise AnsibleFilterError(f"wharf.network.same_network: {error}") from error
    if not networks:
        raise AnsibleFilterError("wharf.network.same_network: one address needs its prefix length, as in 10.0.0.1/24")
    network, *others = networks
    return not others and all(host in network for host in hosts)


class TestModule:
    def tests(self) -> dict[str, Callable[..., Any]]:
        return {"same_network": same_network}
