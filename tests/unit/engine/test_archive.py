# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine in an archive, as Ansible sends it and as the command `wharf` is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine import CompiledModules
from ansible_collections.wharf.network.plugins.module_utils.engine.program import program

_COMPILED = """
import builtins, json, sys

compiled = []
compiling = compile

def noted(source, name, *arguments, **options):
    compiled.append(name)
    return compiling(source, name, *arguments, **options)

builtins.compile = noted
sys.path.insert(0, sys.argv[1])
from engine import converge
from engine.planning import plan
print(json.dumps([compiled, plan.__file__]))
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "wharf"
    path.write_bytes(program().content)
    return path


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 does not ask an importer for the code that it runs")
def test_each_module_is_compiled_once(archive: Path) -> None:
    command = [sys.executable, "-c", _COMPILED, str(archive)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    compiled, file = json.loads(ran.stdout)
    assert file == f"{archive}/engine/planning/plan.py"
    # Not by its own importer.
    modules = [name for name in compiled if name.startswith(str(archive)) and name != f"{archive}/engine/__init__.py"]
    assert len(modules) > 50
    assert len(modules) == len(set(modules))


def test_compiled_modules_are_kept_by_their_source(tmp_path: Path) -> None:
    path = str(tmp_path / "compiled")
    first = CompiledModules(path)
    assert run(first.code("value = 1", "one.py")) == 1
    first.save()
    again = CompiledModules(path)
    code = again.code("value = 1", "elsewhere.py")
    # That of the first, which was not compiled again.
    assert (run(code), code.co_filename) == (1, "one.py" if os.geteuid() == 0 else "elsewhere.py")
    assert run(again.code("value = 2", "one.py")) == 2
    again.remove()
    assert not os.path.exists(path)


def run(code: CodeType) -> Any:
    names: dict[str, Any] = {}
    exec(code, names)
    return names["value"]


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"wrong" + path.read_bytes()),
        lambda path: path.chmod(0o666),
        lambda path: os.replace(path, path.with_name("other")) or path.symlink_to("other"),
        lambda path: path.unlink() or os.mkfifo(path),
    ],
)
def test_a_file_of_compiled_modules_that_cannot_be_trusted_is_not_used(
    tmp_path: Path, harm: Callable[[Path], Any]
) -> None:
    path = tmp_path / "compiled"
    first = CompiledModules(str(path))
    first.code("value = 1", "one.py")
    first.save()
    if not path.exists():
        pytest.skip("only root keeps compiled modules")
    harm(path)
    again = CompiledModules(str(path))
    assert again.code("value = 1", "two.py").co_filename == "two.py"
    again.save()
    assert CompiledModules(str(path)).code("value = 1", "three.py").co_filename == "two.py"


def test_an_error_names_its_line_in_the_archive(archive: Path) -> None:
    script = f"import sys; sys.path.insert(0, {str(archive)!r}); from engine.state import state_of; state_of(1)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert f'File "{archive}/engine/state.py", line' in ran.stderr


def test_the_archive_is_the_command(archive: Path) -> None:
    ran = subprocess.run([sys.executable, str(archive), "--version"], check=True, capture_output=True, text=True)
    assert ran.stdout.startswith("wharf ")
