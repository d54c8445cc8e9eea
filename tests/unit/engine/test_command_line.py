# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine without Ansible."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from ansible_collections.wharf.network.plugins.module_utils.engine import command
from ansible_collections.wharf.network.plugins.module_utils.engine.command import main


@pytest.mark.parametrize("name", ["show", "diff", "apply", "confirm", "revert"])
def test_who_is_not_root_gets_an_error(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main([name]) == 1
    assert capsys.readouterr().err == "reading and changing a host's networks needs root there: run this with sudo\n"


def test_the_version_is_the_collections(capsys: pytest.CaptureFixture[str]) -> None:
    collection = yaml.safe_load((Path(__file__).parents[3] / "galaxy.yml").read_text(encoding="utf-8"))
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"wharf {collection['version']}\n"


@pytest.mark.parametrize("words", [["web"], ["web", "db", "5432"], ["web", "db:5432", "--jsn"]])
def test_a_wrong_use_of_explain_is_no_verdict(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", *words])
    assert ended.value.code == 3


@pytest.mark.parametrize(("words", "code"), [(["explain", "web", "db:5432"], 3), (["log"], 1)])
def test_a_defect_is_no_verdict(
    words: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_options: object) -> None:
        raise AttributeError("a\x1b[1m defect")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setitem(command._COMMANDS, words[0], fail)
    assert main(words) == code
    assert capsys.readouterr().err.endswith("AttributeError: a\\x1b[1m defect\n")


@pytest.mark.parametrize("words", [["apply", "--stat", "exact"], ["show", "--js"], ["diff", "--recov"], ["--vers"]])
def test_the_beginning_of_an_option_is_none(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1
    assert capsys.readouterr().out == ""
