# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No key of a Compose file or of an item of `wharf_compose_files`, and no choice of an option, is taken misspelt.

What is below a network, or below a key of a service that is about networking, the host reads, and so do its tests
(`tests/unit/engine/test_misspellings.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from loading import load_compose_files

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.vocabulary import (
    DEPLOY_KEYS,
    EXTENSION,
    SERVICE_KEYS,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError, ProblemCollector
from ansible_collections.wharf.network.plugins.modules.layers import ARGUMENT_SPEC
from ansible_collections.wharf.network.plugins.plugin_utils.compose import ITEM_KEYS
from ansible_collections.wharf.network.plugins.plugin_utils.compose_document import TOP_LEVEL_KEYS, read_document
from ansible_collections.wharf.network.plugins.plugin_utils.compose_extends import EXTENDS_KEYS
from ansible_collections.wharf.network.plugins.plugin_utils.compose_include import INCLUDE_KEYS
from ansible_collections.wharf.network.plugins.plugin_utils.declaration import gather

sys.path.append(str(Path(__file__).parents[1] / "engine"))
from misspellings import spellings


def wrong_spellings(words: Collection[str]) -> list[str]:
    return [wrong for word in sorted(words) for wrong in spellings(word) if wrong not in words]


@pytest.mark.parametrize(
    ("keys", "document"),
    [
        (TOP_LEVEL_KEYS, "{}: null"),
        (SERVICE_KEYS | {EXTENSION}, "services: {{web: {{{}: null}}}}"),
        (DEPLOY_KEYS, "services: {{web: {{deploy: {{{}: null}}}}}}"),
    ],
    ids=["top", "service", "deploy"],
)
def test_no_misspelt_key_of_a_file_is_taken(keys: Collection[str], document: str) -> None:
    accepted = []
    for wrong in wrong_spellings(keys):
        problems = ProblemCollector()
        read_document(document.format(f'"{wrong}"'), "compose.yml", problems)
        if not problems.problems:
            accepted.append(wrong)
    assert accepted == []


@pytest.mark.parametrize(
    ("keys", "document"),
    [
        (INCLUDE_KEYS, "include: [{{path: other.yml, {}: null}}]\nservices: {{}}"),
        (EXTENDS_KEYS, "services: {{web: {{extends: {{service: db, {}: null}}}}, db: {{}}}}"),
    ],
    ids=["include", "extends"],
)
def test_no_misspelt_key_that_leads_to_other_files_is_taken(
    keys: Collection[str], document: str, tmp_path: Path
) -> None:
    (tmp_path / "other.yml").write_text("services: {}")
    for wrong in wrong_spellings(keys):
        (tmp_path / "compose.yml").write_text(document.format(f'"{wrong}"'))
        with pytest.raises(ModelError, match="unknown key"):
            load_compose_files("compose.yml", tmp_path)


def test_no_misspelt_key_of_an_item_is_taken(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text("services: {}")
    for wrong in wrong_spellings(ITEM_KEYS):
        with pytest.raises(ModelError, match="unknown key"):
            load_compose_files([{"files": ["compose.yml"], wrong: None}], tmp_path)


@pytest.mark.parametrize("option", sorted(option for option, spec in ARGUMENT_SPEC.items() if "choices" in spec))
def test_no_misspelt_choice_of_an_option_is_taken(option: str) -> None:
    validator = ArgumentSpecValidator(ARGUMENT_SPEC)
    accepted = [
        wrong
        for wrong in wrong_spellings(ARGUMENT_SPEC[option]["choices"])
        if not validator.validate({option: wrong}).error_messages
    ]
    assert accepted == []


@pytest.mark.parametrize("containers", [{}, {"web": {}}])
def test_no_misspelt_runtime_is_taken(containers: dict[str, Any]) -> None:
    for wrong in wrong_spellings(ARGUMENT_SPEC["runtime"]["choices"]):
        with pytest.raises(ModelError, match="is no runtime"):
            gather({"containers": containers, "runtime": wrong}, [Path("/")])
