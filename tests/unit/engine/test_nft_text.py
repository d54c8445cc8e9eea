# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nft's text, both ways: each folder of `scripts/` is two declarations in, and what leads from one to the other out;
each folder of `listings/` is what a kernel listed, and what of it is ours."""

from __future__ import annotations

from pathlib import Path

import golden
import pytest
from planning import plan

from ansible_collections.wharf.network.plugins.module_utils.engine.diff import diff
from ansible_collections.wharf.network.plugins.module_utils.engine.report import objects_as_data
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.firewall.nft_listing import (
    blocks,
    parse_listing,
    user_chains_in_use,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.firewall.nft_script import nft_script
from ansible_collections.wharf.network.plugins.module_utils.engine.rules.rules_nftables import rules
from ansible_collections.wharf.network.plugins.module_utils.engine.state import State, state_of

HERE = Path(__file__).parent
LISTING = (HERE / "listings/foreign_elements/listing.nft").read_text()


def state(declaration: Path) -> State:
    words = golden.read_yaml(declaration)
    return {} if words is None else state_of(rules(plan(words)))


@pytest.mark.parametrize("case", sorted((HERE / "scripts").iterdir()), ids=lambda case: case.name)
def test_script(case: Path) -> None:
    changes = diff(state(case / "before.yml"), state(case / "after.yml"))
    outcome = {"script.nft": nft_script(changes).replace("\t", "    ")}
    golden.check(case, outcome, given=("before.yml", "after.yml"))


@pytest.mark.parametrize("case", sorted((HERE / "listings").iterdir()), ids=lambda case: case.name)
def test_listing(case: Path) -> None:
    parsed = parse_listing((case / "listing.nft").read_text())
    golden.check(case, {"objects.yml": golden.as_yaml(objects_as_data(parsed.values()))}, given=("listing.nft",))


def test_a_user_chain_with_rules_is_in_use() -> None:
    assert user_chains_in_use(LISTING) == {("chain", "DOCKER-USER")}
    assert user_chains_in_use(LISTING.replace("\t\tip saddr 10.0.0.0/8 drop\n", "")) == set()


@pytest.mark.parametrize("listing", ["", "table inet wharf {\n}\n"])
def test_there_is_nothing_in_an_empty_listing(listing: str) -> None:
    assert parse_listing(listing) == {}
    assert user_chains_in_use(listing) == set()
    assert list(blocks(listing)) == []
