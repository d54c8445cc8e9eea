# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Python of a host runs the engine, if that of the module lacks the libraries."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.network.plugins.module_utils import engine_loader

ANSWER = """{"warnings": ["careful"], "method": "exit_json", "result": {"changed": true}}"""
BEGUN = f"echo {engine_loader._BEGUN}"
COMPLETE = f"cat >&2; {BEGUN}; echo '{ANSWER}'"
LACKING = "exit 1"
FAILING = f"{BEGUN}; echo Oops >&2; exit 1"


class Left(Exception):
    """The module has left."""


@dataclass
class Module:
    tmpdir: str
    sent: bytes = b""
    params: dict[str, Any] = field(default_factory=dict)
    check_mode: bool = False
    _diff: bool = False
    reported: list[Any] = field(default_factory=list)

    def warn(self, warning: str) -> None:
        self.reported.append(warning)

    def exit_json(self, **result: Any) -> None:
        self.reported.append(result)
        raise Left

    fail_json = exit_json


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    monkeypatch.setattr(engine_loader, "_PYTHONS", (f"{tmp_path}/python*",))
    return Module(str(tmp_path))


def add(module: Module, *scripts: str) -> None:
    """The first one is tried first."""
    for number, script in enumerate(reversed(scripts)):
        path = Path(module.tmpdir, f"python{number}")
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)


def test_the_first_that_has_the_libraries(module: Module) -> None:
    add(module, LACKING, COMPLETE, FAILING)
    Path(module.tmpdir, "python9").symlink_to("nowhere")
    with pytest.raises(Left):
        engine_loader._run_by_another_python(module, "layers")
    assert module.reported == ["careful", {"changed": True}]


def test_none_has_them(module: Module) -> None:
    # More than a pipe holds, which nobody reads.
    module.params = {"networks": "x" * 100_000}
    add(module, LACKING, LACKING)
    engine_loader._run_by_another_python(module, "layers")
    assert module.reported == []


@pytest.mark.parametrize(
    "content",
    [b"\x7fELF of another architecture", b"#!/nowhere/python3\n", b"#!/bin/true\n", b"#!/bin/sh\nkill -9 $$\n"],
)
def test_one_that_does_not_start_is_passed_over(module: Module, content: bytes) -> None:
    add(module, COMPLETE)
    Path(module.tmpdir, "python8").mkdir()
    Path(module.tmpdir, "python9").write_bytes(content)
    Path(module.tmpdir, "python9").chmod(0o755)
    with pytest.raises(Left):
        engine_loader._run_by_another_python(module, "layers")
    assert module.reported == ["careful", {"changed": True}]


def test_one_that_cannot_import_the_engine_is_passed_over(module: Module) -> None:
    # Here no Python can: nothing was sent, and the host has nothing.
    module.sent = b"no archive"
    add(module, f'exec {sys.executable} "$@"', COMPLETE)
    with pytest.raises(Left):
        engine_loader._run_by_another_python(module, "layers")
    assert module.reported == ["careful", {"changed": True}]


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_one_that_others_may_change_is_passed_over(module: Module, mode: int) -> None:
    add(module, FAILING, COMPLETE)
    Path(module.tmpdir, "python1").chmod(mode)
    with pytest.raises(Left):
        engine_loader._run_by_another_python(module, "layers")
    assert module.reported == ["careful", {"changed": True}]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_one_of_a_user_is_passed_over(module: Module) -> None:
    add(module, LACKING)
    of_user = Path(module.tmpdir, "of-user")
    of_user.write_text(f"#!/bin/sh\n{FAILING}\n", encoding="utf-8")
    of_user.chmod(0o755)
    os.chown(of_user, 65534, 65534)
    Path(module.tmpdir, "python9").symlink_to(of_user)
    engine_loader._run_by_another_python(module, "layers")
    assert module.reported == []


def test_one_that_prints_when_it_starts(module: Module) -> None:
    add(module, rf"printf 'Hello \377\n\n'; {COMPLETE}")
    with pytest.raises(Left):
        engine_loader._run_by_another_python(module, "layers")
    assert module.reported == ["careful", {"changed": True}]


def test_a_run_that_has_ended_is_not_repeated(module: Module) -> None:
    add(module, FAILING, COMPLETE)
    with pytest.raises(Left):
        engine_loader._run_by_another_python(module, "layers")
    assert module.reported == [{"msg": f"{module.tmpdir}/python1 ended with 1: Oops"}]
