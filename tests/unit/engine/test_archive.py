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

from ansible_collections.wharf.network.plugins.module_utils.engine import archive as engine_archive
from ansible_collections.wharf.network.plugins.module_utils.engine.archive import CompiledModules
from ansible_collections.wharf.network.plugins.module_utils.engine.program import program

_IMPORT = """
import builtins, importlib.util, json, sys

compiled = []
compiling = compile

def noted(source, name, *arguments, **options):
    # What dataclasses make has no file.
    compiled.extend([name] * (name != "<string>"))
    return compiling(source, name, *arguments, **options)

importer = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("importer", sys.argv[1]))
spec.loader.exec_module(importer)
importer._COMPILED = sys.argv[3]
with open(sys.argv[2], "rb") as file:
    importer.Archive(file.read(), "engine", sys.argv[2]).install()
builtins.compile = noted
from engine import converge
from engine.archive import keep_for_next_run
from engine.planning import plan
from engine.program import program
keep_for_next_run(sys.argv[4] == "kept")
print(json.dumps([compiled, plan.__file__, program().content == open(sys.argv[2], "rb").read()]))
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "wharf"
    path.write_bytes(program().content)
    return path


def imported(archive: Path, compiled: Path, keep: str = "kept") -> tuple[list[str], str, bool]:
    importer = engine_archive.__file__
    command = [sys.executable, "-c", _IMPORT, str(importer), str(archive), str(compiled), keep]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(ran.stdout)  # type: ignore[no-any-return]


def test_each_module_is_compiled_once(archive: Path, tmp_path: Path) -> None:
    compiled, file, is_the_same = imported(archive, tmp_path / "compiled")
    assert file == f"{archive}/engine/planning/plan.py"
    assert is_the_same
    assert len(compiled) > 50
    assert len(compiled) == len(set(compiled))
    again, _file, _same = imported(archive, tmp_path / "compiled", "let go")
    assert again == ([] if os.geteuid() == 0 else compiled)
    assert not (tmp_path / "compiled").exists()


def test_compiled_modules_are_kept_by_their_source(tmp_path: Path) -> None:
    path = str(tmp_path / "compiled")
    first = CompiledModules(path)
    assert run(first.code(b"value = 1", "one.py")) == 1
    first.save()
    again = CompiledModules(path)
    code = again.code(b"value = 1", "elsewhere.py")
    # That of the first, which was not compiled again.
    assert (run(code), code.co_filename) == (1, "one.py" if os.geteuid() == 0 else "elsewhere.py")
    assert run(again.code(b"value = 2", "one.py")) == 2


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
    first.code(b"value = 1", "one.py")
    first.save()
    if not path.exists():
        pytest.skip("only root keeps compiled modules")
    harm(path)
    again = CompiledModules(str(path))
    assert again.code(b"value = 1", "two.py").co_filename == "two.py"
    again.save()
    assert CompiledModules(str(path)).code(b"value = 1", "three.py").co_filename == "two.py"


def test_an_error_names_its_line_in_the_archive(archive: Path) -> None:
    script = f"""import sys; sys.argv = [{str(archive)!r}, "--version"]; import runpy
try: runpy.run_path({str(archive)!r}, run_name="__main__")
except SystemExit: pass
from engine.state import state_of; state_of(1)"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert f'File "{archive}/engine/state.py", line' in ran.stderr
    assert "in state_of\n    " in ran.stderr


def test_the_archive_is_the_command(archive: Path) -> None:
    ran = subprocess.run([sys.executable, str(archive), "--version"], check=True, capture_output=True, text=True)
    assert ran.stdout.startswith("wharf ")
