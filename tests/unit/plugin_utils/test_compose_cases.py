# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each folder of `cases/` is Compose files in, words or problems out.

`items.yml` is the value of `wharf_compose_files`; where there is none the value is `compose.yml`.
`expected.yml` has the `networks`, `containers` and `warnings` that come out, or the `problems`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError
from ansible_collections.wharf.network.plugins.plugin_utils.compose import ComposeWords, load_compose_files

CASES = sorted((Path(__file__).parent / "cases").iterdir())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path) -> None:
    expected = yaml.safe_load((case / "expected.yml").read_text())
    # The path of the checkout is in what is said of a missing file
    problems = [str(problem).replace(str(case), ".") for problem in _problems(case)]
    assert problems == expected.get("problems", [])
    if problems:
        return
    words = _load(case)
    assert words.networks == expected["networks"]
    assert words.containers == expected["containers"]
    assert list(words.warnings) == expected.get("warnings", [])


def _load(case: Path) -> ComposeWords:
    items: Any = "compose.yml"
    if (case / "items.yml").exists():
        items = yaml.safe_load((case / "items.yml").read_text())
    return load_compose_files(items, case)


def _problems(case: Path) -> tuple[object, ...]:
    try:
        _load(case)
    except ModelError as error:
        return error.problems
    return ()
