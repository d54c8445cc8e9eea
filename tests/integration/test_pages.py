# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How-to pages: what they declare is accepted, or leads to the error that they show, and commands print what they show."""

from __future__ import annotations

import re

import pytest
import yaml
from controller import CHECKOUT
from hosts import EXACT, PRESENT, EngineError, ThrowawayHost
from test_tutorial import commands as commands_of

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
PREPARE = {
    "rates": "",
    "subnets": "",
    "lan": "ip link add eth1 type veth peer name wire; ip link set eth1 up; ip link set wire up",
}
# What test_lan_leases.py tests.
NEEDS_A_SERVER = "ipam: {driver: dhcp}"
# Where a page goes on with what a throwaway host cannot show: bridges with VLANs, which a scenario on VMs has.
BEYOND = "\n## VLANs of an adopted bridge\n"


@pytest.mark.parametrize("page", PREPARE)
def test_what_a_page_shows(host: ThrowawayHost, page: str) -> None:
    host.run(PREPARE[page])
    refused = ""
    text = (CHECKOUT / f"docs/how-to/{page}.md").read_text(encoding="utf-8").partition(BEYOND)[0]
    for language, block in BLOCK.findall(text):
        if NEEDS_A_SERVER in block:
            continue
        if language == "yaml":
            refused = declare(host, block)
        elif block.startswith("$ "):
            for command, expected in commands_of(block):
                assert_printed(host, command, expected)
        elif block.startswith("wharf_"):
            # Lines that are broken on the page only.
            assert " ".join(block.split()) == refused
            refused = ""
        assert not refused or language == "yaml", refused


def declare(host: ThrowawayHost, variables: str) -> str:
    """The error, where there is one. Networks with their containers replace those of the block before."""
    words = {name.removeprefix("wharf_"): each for name, each in yaml.safe_load(variables).items()}
    try:
        host.apply(words, EXACT if len(words) > 1 else PRESENT)
    except EngineError as error:
        return str(error)
    return ""


def assert_printed(host: ThrowawayHost, command: str, expected: str) -> None:
    words = command.split()
    printed = host.wharf(*words[1:]).output if words[0] == "wharf" else host.run(command)
    for line in expected.splitlines():
        # Pages leave out what is drawn around it, and what differs from run to run.
        assert re.sub(r"^[ │├└─]+|…$", "", line) in printed, f"{command}\n{printed}"
