# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels of SELinux."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import selinux


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("unconfined_u:object_r:var_run_t:s0", "unconfined_u:object_r:etc_t:s0"),
        ("system_u:object_r:var_run_t:s0-s15:c0.c1023", "system_u:object_r:etc_t:s0-s15:c0.c1023"),
        # A policy without ranges.
        ("system_u:object_r:var_run_t", "system_u:object_r:etc_t"),
        ("", "system_u:object_r:etc_t"),
        ("kernel", "system_u:object_r:etc_t"),
    ],
)
def test_only_the_type_changes(label: str, expected: str) -> None:
    assert selinux.with_type(label, "etc_t") == expected


def test_a_host_without_selinux_knows_no_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(selinux, "_CHECK", str(tmp_path / "context"))
    assert not selinux.knows("etc_t")


def test_the_policy_is_asked_for_a_label_of_this_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "context"
    path.touch()
    monkeypatch.setattr(selinux, "_CHECK", str(path))
    assert selinux.knows("etc_t")
    assert path.read_text(encoding="ascii").split(":")[2] == "etc_t"


def test_a_type_that_the_policy_refuses_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each write to it fails.
    monkeypatch.setattr(selinux, "_CHECK", "/dev/full")
    assert os.path.exists("/dev/full")
    assert not selinux.knows("etc_t")
