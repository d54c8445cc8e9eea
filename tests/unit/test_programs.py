# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that are run with a script."""

from __future__ import annotations

import os
import sys

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import programs, selinux

OPENED = """
import fcntl, os, sys
mode = fcntl.fcntl(0, fcntl.F_GETFL) & os.O_ACCMODE
label = os.getxattr(0, "security.selinux").decode() if "security.selinux" in os.listxattr(0) else ""
print(mode == os.O_RDONLY, label, sys.stdin.read())
"""


def opened(script: str) -> str:
    return programs.run([sys.executable, "-c", OPENED], script).stdout


def test_a_program_reads_the_whole_script_and_cannot_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selinux, "readable_type", lambda: "")
    script = "\udcff" + "x" * 200_000
    assert opened("x" * 200_000) == f"True  {'x' * 200_000}\n"
    assert programs.run(["cat"], script).stdout == script


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets labels")
def test_with_selinux_the_script_has_a_type_that_confined_programs_may_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selinux, "readable_type", lambda: "etc_t")
    assert ":object_r:etc_t" in opened("rules")


def test_where_a_label_cannot_be_set_the_program_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(selinux, "set_type", refuse)
    assert opened("rules") == "True  rules\n"
