# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/schema/variables.json accepts what the parser accepts, and no misspelt key.

`UPDATE_GOLDEN=1` writes it anew.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from editor_schema import DOCS, TABLES, descriptions, editor_schema, taken_levels
from jsonschema import Draft7Validator
from misspellings import misspelt, places, spellings, unmarked, vocabulary

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.vocabulary import EXTENSION

FILE = DOCS / "schema/variables.json"
SCHEMA = editor_schema()
ACCEPTS = Draft7Validator(SCHEMA)

CHECKOUT = DOCS.parent
CASES = sorted((Path(__file__).parent / "cases").glob("*/declaration.yml"))
PAGES = [page for where in (".", "docs", "docs/how-to", "roles/*") for page in sorted(CHECKOUT.glob(f"{where}/*.md"))]

MARKED = vocabulary()
ENTRIES = [
    *((f"hosts.{number}", "host", words) for number, words in enumerate(MARKED["hosts"])),
    *((f"{part}.{name}", part, words) for part in ("networks", "containers") for name, words in MARKED[part].items()),
    *((f"docker_user.{number}", "docker_user", words) for number, words in enumerate(MARKED["docker_user"])),
]
WORDS: dict[tuple[str, ...], set[str]] = defaultdict(set)
for _name, _part, _words in ENTRIES:
    for each in places(_words, level=(_part,)):
        WORDS[each.level].add(each.word)


def variables(part: str, entry: Any) -> dict[str, Any]:
    """The variables that have one entry of the vocabulary."""
    return {f"wharf_{part}": {"host": entry, "docker_user": [entry]}.get(part, {"name": entry})}


def errors(given: Any) -> list[str]:
    return [f"{error.json_path}: {error.message[:300]}" for error in ACCEPTS.iter_errors(given)]


def test_the_file_is_what_the_parser_and_the_reference_say() -> None:
    text = json.dumps(SCHEMA, indent=1, ensure_ascii=False) + "\n"
    if "UPDATE_GOLDEN" in os.environ:
        FILE.write_text(text)
    assert FILE.read_text() == text
    Draft7Validator.check_schema(SCHEMA)


def test_each_table_of_the_reference_has_the_keys_of_its_level() -> None:
    levels = taken_levels()
    # Extensions have tables of their own, and the row of `deploy` names the one key below it.
    taken = {(level, key) for level in TABLES for key in levels[level].taken if key != EXTENSION}
    rows = {(level, key.replace("deploy.replicas", "deploy")) for level, key in descriptions() if key != EXTENSION}
    assert rows == taken


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.parent.name)
def test_a_valid_declaration_is_accepted(case: Path) -> None:
    declared = yaml.safe_load(case.read_text()) or {}
    assert errors({f"wharf_{part}": words for part, words in declared.items()}) == []


@pytest.mark.parametrize(("part", "words"), [each[1:] for each in ENTRIES], ids=[each[0] for each in ENTRIES])
def test_no_misspelt_key_is_accepted(part: str, words: Any) -> None:
    assert errors(variables(part, unmarked(words))) == []
    accepted = [
        f"{place}: {wrong}"
        for place in places(words, level=(part,))
        if place.part is None
        for wrong in spellings(place.word)[:3]
        if wrong not in WORDS[place.level] and not errors(variables(part, misspelt(words, place, wrong)))
    ]
    assert accepted == []


def test_what_surveys_and_templates_give_is_accepted() -> None:
    for name in ("wharf_host", "wharf_networks", "wharf_containers", "wharf_docker_user"):
        assert errors({name: "{{ theirs }}"}) == []
        assert errors({name: None}) == []
    assert errors({"wharf_host": {"mtu": "{{ mtu }}", "icc": "{{ icc }}"}, "other": 1}) == []


@pytest.mark.parametrize(
    "given",
    [
        {"wharf_network": {}},
        {"wharf_host": {"mtu": "large"}},
        {"wharf_host": {"icc": None}},
        {"wharf_host": {"firewall-backend": "ufw"}},
        {"wharf_networks": {"app": {"driver": "vlan"}}},
        {"wharf_networks": {"app": {"x-warf": {}}}},
        {"wharf_containers": {"web": {"ports": [{"target": 80, "protocol": "icmp"}]}}},
        {"wharf_containers": {"web": {"x-wharf": {"sandbox": "dokcer:web"}}}},
        {"wharf_docker_user": [{"action": "deny"}]},
    ],
    ids=str,
)
def test_a_wrong_value_is_not_accepted(given: dict[str, Any]) -> None:
    assert errors(given) != []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_the_examples_of_a_page_are_accepted(page: Path) -> None:
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for given in _variables_in(yaml.safe_load(block)):
            assert errors(given) == []


def _variables_in(block: Any) -> list[dict[str, Any]]:
    """The mappings of variables in a block: those of a file of variables, and those of plays."""
    plays = block if isinstance(block, list) else [block]
    found = [play.get("vars", play) for play in plays if isinstance(play, dict)]
    return [given for given in found if any(str(name).startswith("wharf_") for name in given)]
