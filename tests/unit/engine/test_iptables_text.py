# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iptables' text, both ways: each folder of `restores/` is two declarations in, and what leads from one to the other
out; each folder of `saves/` is what iptables-save printed, and what of it is ours."""

from __future__ import annotations

from pathlib import Path

import golden
import pytest
from planning import plan

from ansible_collections.wharf.network.plugins.module_utils.engine.diff import Change, diff
from ansible_collections.wharf.network.plugins.module_utils.engine.report import objects_as_data
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.firewall.iptables_save import (
    Chains,
    led_to_by_others,
    objects_in,
    parse_save,
    user_chains_in_use,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.firewall.iptables_script import (
    chains_after,
    restore_script,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.rules.rules_iptables import (
    FAMILIES,
    rules,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.state import ChainRef, State, state_of

HERE = Path(__file__).parent
DECLARATIONS = sorted(HERE.glob("cases/*/declaration.yml"))


def state(declaration: Path) -> State:
    words = golden.read_yaml(declaration)
    return {} if words is None else state_of(rules(plan(words)))


def chains(changes: list[Change], before: Chains) -> Chains:
    found: Chains = {}
    for family in FAMILIES.values():
        existing = {chain: rules for chain, rules in before.items() if chain.family == family}
        found |= chains_after(family, existing, changes)
    return found


@pytest.mark.parametrize("case", sorted((HERE / "restores").iterdir()), ids=lambda case: case.name)
def test_script(case: Path) -> None:
    before, after = state(case / "before.yml"), state(case / "after.yml")
    existing = chains(diff({}, before), {})
    outcome = {
        f"{family}.restore": restore_script(family, existing, diff(before, after)) for family in FAMILIES.values()
    }
    golden.check(case, outcome, given=("before.yml", "after.yml"))


@pytest.mark.parametrize("case", sorted((HERE / "restores").iterdir()), ids=lambda case: case.name)
def test_the_way_does_not_matter(case: Path) -> None:
    before, after = state(case / "before.yml"), state(case / "after.yml")
    existing = chains(diff({}, before), {})
    assert objects_in(chains(diff(before, after), existing)) == objects_in(chains(diff({}, after), {}))


@pytest.mark.parametrize("declaration", DECLARATIONS, ids=lambda path: path.parent.name)
def test_what_is_written_is_read(declaration: Path) -> None:
    desired = state(declaration)
    assert objects_in(chains(diff({}, desired), {})) == desired


@pytest.mark.parametrize("declaration", DECLARATIONS, ids=lambda path: path.parent.name)
def test_no_name_of_a_chain_is_too_long(declaration: Path) -> None:
    """XT_EXTENSION_MAXNAMELEN of the kernel is 29, with the null."""
    assert all(len(chain.at.name) <= 28 for chain in chains(diff({}, state(declaration)), {}))


@pytest.mark.parametrize("case", sorted((HERE / "saves").iterdir()), ids=lambda case: case.name)
def test_save(case: Path) -> None:
    parsed = objects_in(parse_save("ip", (case / "save.txt").read_text()))
    golden.check(case, {"objects.yml": golden.as_yaml(objects_as_data(parsed.values()))}, given=("save.txt",))


def test_who_else_leads_to_our_chains() -> None:
    found = parse_save("ip", (HERE / "saves/spoiled/save.txt").read_text())
    assert led_to_by_others(found) == {ChainRef.parse("ip filter DOCKER")}
    assert user_chains_in_use(found) == {ChainRef.parse("ip filter DOCKER-USER")}
