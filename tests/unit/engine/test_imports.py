# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine knows nothing of Ansible, and needs nothing but Python until it allots or changes something.

Its rooms stand on each other in one direction.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ansible_collections.wharf.network.plugins.module_utils import engine

CHECKOUT = Path(__file__).parents[3]
ENGINE = Path(next(iter(engine.__path__)))
MODULES = sorted(path.relative_to(ENGINE) for path in ENGINE.rglob("*.py"))

# Each room, and those that it may use. The modules beside them, which run it all, use all of them.
ROOMS = {
    "kernel": set(),
    "declaration": set(),
    "planning": {"declaration", "kernel"},
    "rules": {"declaration", "planning"},
    "third_party": {"declaration", "planning"},
    "runtimes": {"kernel"},
    "resources": {"declaration", "planning", "rules", "third_party", "runtimes", "kernel"},
    "preflight": {"declaration", "planning", "third_party", "resources", "runtimes", "kernel"},
    "reachability": {"declaration", "planning", "kernel"},
    "drawing": {"declaration"},
    "explanation": {"declaration", "planning", "rules", "third_party", "resources", "reachability", "kernel"},
}
# What all of them may use besides.
COMMON = {"state", "diff", "errors"}

# What comes from elsewhere, each by the one module that may import it, inside a function: when links must change,
# something new is allotted, or a file of YAML is read.
LATE = {
    "pyroute2": Path("kernel/links.py"),
    "netaddr": Path("planning/address_sets.py"),
    "yaml": Path("declaration/yaml12.py"),
}

# What is imported from beyond the engine: Ansible's side.
BEYOND = "(beyond the engine)"


def imported(tree: ast.AST, package: tuple[str, ...] = ()) -> Iterator[tuple[str, bool]]:
    """The top-level names that are imported, and whether that happens only when a function is called.

    In a `package` of the engine; what is the engine's own is named as it is there, with a dot before.
    """
    inside = {node for function in ast.walk(tree) if _is_function(function) for node in ast.walk(function)}
    typing_only = {node for block in ast.walk(tree) if _is_type_checking(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for name in [node.module] if node.module else [alias.name for alias in node.names]:
                yield _within_the_engine(name, node.level, package), node in inside


def _within_the_engine(name: str, level: int, package: tuple[str, ...]) -> str:
    if not level:
        return name.partition(".")[0]
    if level > len(package) + 1:
        return BEYOND
    return "." + ".".join((*package[: len(package) - level + 1], name))


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_only_the_standard_library_and_the_engine_are_imported() -> None:
    foreign = [
        f"{module}: {name}"
        for module, name, late in imports()
        if not name.startswith(".") and name not in sys.stdlib_module_names and not (late and LATE.get(name) == module)
    ]
    assert not foreign, "\n".join(foreign)


def test_a_room_uses_only_those_below_it() -> None:
    above = [
        f"{module}: {name}"
        for module, name, _late in imports()
        if name.startswith(".") and len(module.parts) > 1 and not may_use(module.parts[0], name.split(".")[1])
    ]
    assert not above, "\n".join(above)


def may_use(room: str, name: str) -> bool:
    return name in ROOMS[room] | COMMON | {room}


@cache
def imports() -> list[tuple[Path, str, bool]]:
    """All imports of the engine, each with the module that has it."""
    return [
        (module, name, late)
        for module in MODULES
        for name, late in imported(ast.parse((ENGINE / module).read_text()), module.parts[:-1])
    ]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import ansible.module_utils", [("ansible", False)]),
        ("from ...host_modules import x", [(BEYOND, False)]),
        ("from ... import host_modules", [(BEYOND, False)]),
        ("from .. import state", [(".state", False)]),
        ("from ..kernel.links import x", [(".kernel.links", False)]),
        ("from ..kernel import links, sysctl", [(".kernel", False)]),
        ("from .plan import Plan", [(".planning.plan", False)]),
        ("from . import plan", [(".planning.plan", False)]),
        ("def f():\n    from pyroute2 import IPRoute", [("pyroute2", True)]),
        ("try:\n    import yaml\nexcept ImportError:\n    pass", [("yaml", False)]),
        ("if TYPE_CHECKING:\n    import typing_extensions", []),
    ],
)
def test_this_test_sees(code: str, found: list[tuple[str, bool]]) -> None:
    assert list(imported(ast.parse(code), ("planning",))) == found


def test_the_key_of_a_host_needs_no_declaration() -> None:
    """`overlay_key` runs before all else on each host, also where Python has compiled nothing of the engine yet."""
    used = "module_utils.host_modules, module_utils.engine.resources.links.wireguard_key"
    command = [sys.executable, "-c", f"import sys, {used}; print(*sys.modules)"]
    loaded = subprocess.run(command, cwd=ENGINE.parents[1], capture_output=True, text=True, check=True).stdout.split()
    assert "module_utils.engine.kernel.wireguard" in loaded
    assert [name for name in loaded if name.startswith("module_utils.engine.declaration")] == []


def test_the_docs_name_each_file_of_the_engine() -> None:
    named = set(re.findall(r"`(?:\w+/)*(\w+\.py)`", (CHECKOUT / "docs/architecture.md").read_text()))
    assert [str(path) for path in MODULES if path.name not in named] == []
