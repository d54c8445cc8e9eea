# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An openrc-run that never answers, as it does if the script of the service has ended before it looks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ApplyError
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import openrc

# It hangs so many times, and then says that the service is starting.
HANGS = """#!/bin/sh
echo >> {folder}/asked
[ $(wc -l < {folder}/asked) -gt {times} ] && exit 8
exec sleep 60
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(openrc, "_ANSWERS_WITHIN", 0.3)
    return tmp_path


def hang(folder: Path, times: int) -> None:
    program = folder / "rc-service"
    program.write_text(HANGS.format(folder=folder, times=times), encoding="utf-8")
    program.chmod(0o755)


def test_it_is_asked_again(folder: Path) -> None:
    hang(folder, 1)
    assert openrc.running(["wharf"]) == ["wharf"]


def test_who_never_answers_is_named(folder: Path) -> None:
    hang(folder, 99)
    with pytest.raises(ApplyError, match="rc-service wharf status: gives no answer within"):
        openrc.running(["wharf"])
    assert (folder / "asked").read_text(encoding="utf-8").count("\n") == 3
