# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden files: UPDATE_GOLDEN=1 pytest tests/unit/engine  writes what comes out, to be reviewed as any other change."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml


def check(case: Path, outcome: Mapping[str, str], given: Collection[str]) -> None:
    """The files of a case's folder, but for the given ones, are those of the outcome, by path."""
    if "UPDATE_GOLDEN" in os.environ:
        _write(case, outcome, given)
    assert outcome == {path: (case / path).read_text() for path in _golden(case, given)}


def as_yaml(data: Any) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def read_yaml(path: Path) -> Any:
    """By the parser in C: the cases are many."""
    return yaml.load(path.read_text(), yaml.CSafeLoader)


def _golden(case: Path, given: Collection[str]) -> list[str]:
    files = (str(path.relative_to(case)) for path in case.rglob("*") if path.is_file())
    return sorted(set(files) - set(given))


def _write(case: Path, outcome: Mapping[str, str], given: Collection[str]) -> None:
    for path in _golden(case, given):
        (case / path).unlink()
    for path, content in outcome.items():
        (case / path).parent.mkdir(parents=True, exist_ok=True)
        (case / path).write_text(content)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such, and lists indented, for people to read."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
