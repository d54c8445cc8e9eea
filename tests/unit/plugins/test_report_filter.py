# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that makes the page of a fleet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.wharf.network.plugins.filter.report import report

SEEN = json.loads((Path(__file__).parents[1] / "engine/drawings/harbour/seen.json").read_text(encoding="utf-8"))


def test_what_other_hosts_have_probed_counts() -> None:
    probe = {
        "from": "host",
        "to": "192.0.2.10",
        "port": 8080,
        "protocol": "tcp",
        "expected": "open",
        "name": "web",
        "seen": "open",
    }
    good, bad = (
        {**probe, "fulfilled": True, "why": ""},
        {**probe, "seen": "closed", "fulfilled": False, "why": "no answer"},
    )
    alone = report({"harbour": SEEN})
    others = [{**good, "from": "monitor"}, {**bad, "from": "edge"}]
    page = report({"harbour": {**SEEN, "verified": {**SEEN["verified"], "from_others": others}}})
    number = len(SEEN["verified"]["probes"])
    assert f"of {number} probes" in alone
    assert f"of {number + 2} probes" in page
    assert '<td class="">monitor</td><td class="mono">192.0.2.10:8080/tcp</td>' in page
    assert "edge → 192.0.2.10:8080/tcp is closed, expected open: web" in page


def test_a_host_of_which_nothing_is_known_is_on_the_page() -> None:
    page = report({"harbour": SEEN, "gone": {"unreachable": True, "msg": "timed out"}, "left out": {"skipped": True}})
    assert page.count('<details class="host"') == 3
    assert "timed out" in page
    assert "it was not reached, or could not be observed" in page


@pytest.mark.parametrize("wrong", [[], "harbour", {"harbour": "seen"}, None])
def test_anything_else_is_an_error(wrong: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="takes a dictionary of what network_info returned, by host"):
        report(wrong)
