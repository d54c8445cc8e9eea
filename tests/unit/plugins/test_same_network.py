# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test wharf.network.same_network, called as a function."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.wharf.network.plugins.test.same_network import TestModule as Module
from ansible_collections.wharf.network.plugins.test.same_network import same_network


@pytest.mark.parametrize(
    ("addresses", "same"),
    [
        (["10.0.0.1/24"], True),
        (["10.0.0.1/24", "10.0.0.9"], True),
        (["10.0.0.1/24", "10.0.0.9/24", "10.0.0.255"], True),
        (["10.0.0.9", "10.0.0.1/24"], True),
        (("10.0.0.1/24", "10.0.1.1"), False),
        (["10.0.0.1/24", "10.0.0.9/25"], False),
        (["10.0.0.1/24", "10.0.1.1/24"], False),
        (["10.0.0.1/255.255.255.0", "10.0.0.9"], True),
        (["fd00::1/64", "fd00::ffff"], True),
        (["fd00::1/64", "fd00:0:0:1::1"], False),
        (["10.0.0.1/24", "fd00::1"], False),
        (["10.0.0.1/24", "fd00::1/64"], False),
        (["0.0.0.0/0", "192.0.2.1"], True),
    ],
)
def test_same_network(addresses: list[str], same: bool) -> None:
    assert same_network(addresses) is same


@pytest.mark.parametrize(
    ("addresses", "message"),
    [
        ("10.0.0.1/24", "takes a list of addresses"),
        (7, "takes a list of addresses"),
        (None, "takes a list of addresses"),
        ({"a": 1}, "takes a list of addresses"),
        ([], "needs its prefix length"),
        (["10.0.0.1", "10.0.0.2"], "needs its prefix length"),
        (["10.0.0.1/24", "nowhere"], "nowhere"),
        (["10.0.0.1/33"], "10.0.0.1/33"),
        ([None, "10.0.0.1/24"], "None"),
    ],
)
def test_what_is_no_list_of_addresses(addresses: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        same_network(addresses)


def test_its_name() -> None:
    assert Module().tests() == {"same_network": same_network}
