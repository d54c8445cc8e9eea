# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/operations.md says names the tests that show it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
TEXT = (CHECKOUT / "docs/operations.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_\w+\.py)::(?:(\w+)::)?(\w+)`", TEXT)))


def defined_in(file: str, within: str) -> set[str]:
    # Test files have names of their own in all of tests.
    [path] = (CHECKOUT / "tests").rglob(file)
    module = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in module.body if isinstance(node, ast.ClassDef) and node.name == within]
    return {node.name for where in (classes if within else [module]) for node in where.body if hasattr(node, "name")}


def test_each_named_test_exists() -> None:
    missing = [f"{file}: {test}" for file, within, test in NAMED if test not in defined_in(file, within)]
    assert not missing, "\n".join(missing)


def test_every_statement_names_one() -> None:
    """A statement is a paragraph that begins with what happens, in bold letters."""
    paragraphs = re.split(r"\n\n(?=\*\*|## )", TEXT)
    without = [text for text in paragraphs if text.startswith("**") and "`test_" not in text]
    assert without == []
    assert len(NAMED) > 20
