# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan warns of, where a case of `cases/` would need a host or a declaration that is out of the ordinary."""

from __future__ import annotations

import pytest
from planning import plan

from ansible_collections.wharf.network.plugins.module_utils.engine.planning.facts import Facts


@pytest.mark.parametrize("max_backlog, is_warned_of", [(0, False), (3, True), (4, True), (5, False)])
def test_a_bridge_with_as_many_endpoints_as_the_backlog_has_room_for(max_backlog: int, is_warned_of: bool) -> None:
    """A broadcast is copied to all ports before any copy is taken off the queue."""
    containers = {f"c{number}": {"networks": ["front"]} for number in range(4)}
    words = {"networks": {"front": {}, "back": {}}, "containers": {**containers, "db": {"networks": ["back"]}}}
    warnings = [
        f"wharf_networks.front: 4 containers are on bridge br-front, and net.core.netdev_max_backlog is {max_backlog}: "
        "whenever one of them broadcasts, as it does before it reaches another address, answers are lost: set "
        "net.core.netdev_max_backlog to 8 on this host, or divide the network"
    ]
    assert plan(words, Facts(max_backlog=max_backlog)).warnings == (warnings if is_warned_of else [])
