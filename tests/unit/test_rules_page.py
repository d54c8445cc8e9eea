# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/rules.md is what its template and the scenarios' golden files make of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_page_is_written_anew_after_each_change() -> None:
    written = subprocess.run(
        [sys.executable, CHECKOUT / "tools/rules_page.py"], capture_output=True, text=True, check=True
    )
    assert written.stdout == (CHECKOUT / "docs/rules.md").read_text(), "run: make rules"


def test_each_scenario_is_on_the_page() -> None:
    page = (CHECKOUT / "docs/rules.md").read_text()
    for template in CHECKOUT.glob("tests/integration/scenarios/*/page.md"):
        assert template.read_text().splitlines()[0] in page, f"tools/rules_page.py leaves {template.parent.name} out"


def test_each_chain_and_set_is_explained() -> None:
    first = CHECKOUT / "tests/integration/scenarios/new-daemon"
    listed = re.findall(r"^\t(?:chain|set|map) (\S+) \{", (first / "ruleset.nft").read_text(), re.MULTILINE)
    explained = (first / "page.md").read_text()
    assert [name for name in listed if f"`{name.rstrip('46')}`" not in explained] == []
