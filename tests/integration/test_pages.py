# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How-to pages that begin with a declaration: the commands in their next blocks print what the page shows."""

from __future__ import annotations

import re

import pytest
import yaml
from controller import CHECKOUT
from hosts import ThrowawayHost
from test_tutorial import commands as commands_of

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page, commands", [("rates", 2), ("lan", 2)])
def test_what_a_page_shows(host: ThrowawayHost, page: str, commands: int) -> None:
    (_yaml, declared), *blocks = BLOCK.findall((CHECKOUT / f"docs/how-to/{page}.md").read_text(encoding="utf-8"))
    host.apply(yaml.safe_load(declared))
    shown = [each for _language, block in blocks if block.startswith("$ ") for each in commands_of(block)]
    assert len(shown) >= commands
    for command, expected in shown[:commands]:
        words = command.split()
        printed = host.wharf(*words[1:]).output if words[0] == "wharf" else host.run(command)
        for line in expected.splitlines():
            # Pages leave out what is drawn around it, and what differs from run to run.
            assert re.sub(r"^[ │├└─]+|…$", "", line) in printed, f"{command}\n{printed}"
