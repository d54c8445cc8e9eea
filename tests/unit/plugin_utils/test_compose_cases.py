# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each folder of `cases/` and `corpus/` is Compose files in, words or problems out.

`items.yml` is the value of `wharf_compose_files`; where there is none the value is `compose.yml`.
`expected.yml` has the `networks`, `containers` and `warnings` that come out, or the `problems`.

In `corpus/` are files as people have them. The model takes their words, or refuses what is `refused`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from loading import load_compose_files

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_model import read_model
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError, ProblemCollector
from ansible_collections.wharf.network.plugins.plugin_utils.compose import ComposeDeclaration

HERE = Path(__file__).parent
CASES = sorted((HERE / "cases").iterdir())
CORPUS = sorted((HERE / "corpus").iterdir())


def _expected(case: Path) -> Any:
    return yaml.safe_load((case / "expected.yml").read_text())


@pytest.mark.parametrize("case", [*CASES, *CORPUS], ids=lambda case: case.name)
def test_case(case: Path) -> None:
    expected = _expected(case)
    # The path of the checkout is in what is said of a missing file
    problems = [str(problem).replace(str(case), ".") for problem in _problems(lambda: _load(case))]
    assert problems == expected.get("problems", [])
    if problems:
        return
    words = _load(case)
    assert words.networks == expected["networks"]
    assert _without_places(words.containers) == expected["containers"]
    assert [str(warning) for warning in words.warnings] == expected.get("warnings", [])


def _without_places(containers: Any) -> Any:
    """The containers; where each of their networks stands, which has another name there, is left out."""
    return {
        name: {key: _named(value) if key == "networks" else value for key, value in words.items()}
        for name, words in containers.items()
    }


def _named(networks: Any) -> Any:
    return {
        name: {key: value for key, value in words.items() if key != "x-source"} if isinstance(words, dict) else words
        for name, words in networks.items()
    }


def _load(case: Path) -> ComposeDeclaration:
    items: Any = "compose.yml"
    if (case / "items.yml").exists():
        items = yaml.safe_load((case / "items.yml").read_text())
    return load_compose_files(items, case)


def _problems(read: Callable[[], object]) -> tuple[object, ...]:
    try:
        read()
    except ModelError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_the_model_takes_it_or_says_what_it_refuses(case: Path) -> None:
    expected = _expected(case)
    networks, containers = expected.get("networks", {}), expected.get("containers", {})
    problems = ProblemCollector()
    read_model({}, networks, containers, (), problems)
    assert [str(problem) for problem in dict.fromkeys(problems.problems)] == expected.get("refused", [])
