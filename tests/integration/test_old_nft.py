# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cases of the unit tests lead to, as the nft of an older distribution understands and lists it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from kernel_sandbox import on_a_host_of_its_own

CHECKOUT = Path(__file__).parents[2]
UNPACKED = CHECKOUT / ".venv/old-nft"
CASES = CHECKOUT / "tests/unit/engine/cases"
SKELETON = CASES.parent / "skeleton/ruleset.nft"
RULESETS = sorted(CASES.glob("*/ruleset.nft"))


@pytest.mark.skipif(not UNPACKED.exists(), reason="no older nft is here (see tools/old-nft)")
@pytest.mark.parametrize("ruleset", RULESETS, ids=lambda ruleset: ruleset.parent.name)
@on_a_host_of_its_own
def test_loads_and_lists(ruleset: Path) -> None:
    nft("-f", "-", script=SKELETON.read_text())
    nft("-f", "-", script=ruleset.read_text())
    listed = nft("--stateless", "list", "ruleset")
    assert "table inet wharf" in listed
    nft("-f", "-", script=f"flush ruleset\n{listed}")
    assert nft("--stateless", "list", "ruleset") == listed


def nft(*arguments: str, script: str = "") -> str:
    command = ["/usr/sbin/chroot", str(UNPACKED), "/usr/sbin/nft", *arguments]
    process = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert not process.stderr
    return process.stdout
