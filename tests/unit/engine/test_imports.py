# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine knows nothing of Ansible, and needs nothing that does not come with Python until it changes links."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.wharf.network.plugins.module_utils import engine

MODULES = sorted(Path(next(iter(engine.__path__))).glob("*.py"))

# Modules that may import these inside a function, when links must change or addresses be counted
LATE = {"pyroute2", "netaddr"}


def imported(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """The top-level names that are imported, and whether that happens only when a function is called."""
    inside = {node for function in ast.walk(tree) if _is_function(function) for node in ast.walk(function)}
    typing_only = {node for block in ast.walk(tree) if _is_type_checking(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = (node.module or "").partition(".")[0]
            # Beyond the engine is Ansible's side
            yield ("." * node.level if node.level > 1 else name if not node.level else ""), node in inside


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_only_the_standard_library_and_the_engine_are_imported(module: Path) -> None:
    for name, late in imported(ast.parse(module.read_text())):
        assert not name or name in sys.stdlib_module_names or (late and name in LATE), name


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import ansible.module_utils", [("ansible", False)]),
        ("from ..layer_module import x", [("..", False)]),
        ("from .. import layer_module", [("..", False)]),
        ("from . import plan", [("", False)]),
        ("from .plan import Plan", [("", False)]),
        ("def f():\n    from pyroute2 import IPRoute", [("pyroute2", True)]),
        ("try:\n    import yaml\nexcept ImportError:\n    pass", [("yaml", False)]),
        ("if TYPE_CHECKING:\n    import typing_extensions", []),
    ],
)
def test_this_test_sees(code: str, found: list[tuple[str, bool]]) -> None:
    assert list(imported(ast.parse(code))) == found
