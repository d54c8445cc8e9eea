# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real daemon.json is taken whole: `daemon.json` has every key that a dockerd up to 29 knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from planning import plan, problems

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.vocabulary import (
    DAEMON_KEYS_PASSED_OVER,
)

WHOLE: dict[str, Any] = json.loads(Path(__file__).with_name("daemon.json").read_text())


def test_every_key_is_taken_or_passed_over() -> None:
    assert problems({"host": WHOLE}) == []
    assert set(WHOLE) >= DAEMON_KEYS_PASSED_OVER


def test_what_is_about_networks_counts() -> None:
    planned = plan({"host": WHOLE, "networks": {"app": {"enable_ipv6": True}}, "containers": {"web": {}}})
    allotted = planned.allotted.as_data()
    assert allotted["networks"] == {
        "bridge": {"10.10.0.0/24": "10.10.0.1", "fd00:10::/64": "fd00:10::1"},
        "app": {"10.100.0.0/24": "10.100.0.1", "fd00:100::/64": "fd00:100::1"},
    }
    assert (allotted["endpoints"]["web/bridge"]["ipv4"], planned.mtu(planned.model.networks["app"])) == (
        "10.10.0.128",
        1400,
    )


IGNORED = "That key is ignored, since it is not about networking"


def test_a_slip_of_the_pen_in_it_is_found() -> None:
    slipped = {**WHOLE, "live-restored": True, "max-concurent-downloads": 3, "fixed-cdir": "10.0.0.0/8"}
    assert problems({"host": slipped}) == [
        f"wharf_host.live-restored: unknown key; did you mean live-restore? {IGNORED}",
        f"wharf_host.max-concurent-downloads: unknown key; did you mean max-concurrent-downloads? {IGNORED}",
        "wharf_host.fixed-cdir: unknown key; did you mean fixed-cidr?",
    ]
