# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Compose file's `include` -> the files to include, their folder and their variables."""

from __future__ import annotations

from dataclasses import dataclass

from ..module_utils.engine.errors import ModelError, ProblemCollector
from .compose_document import check_key
from .yaml12 import without_tags

INCLUDE_KEYS = ("path", "project_directory", "env_file")


@dataclass(frozen=True)
class Include:
    """One item of `include`; `at` is its place. Its paths are relative to the same folder as those of its file.

    The default of `project_directory` is the folder of the first path, and that of `env_files` the `.env` there.
    """

    at: str
    paths: tuple[str, ...]
    project_directory: str | None = None
    env_files: tuple[str, ...] | None = None


def parse_includes(raw: object, path: str, problems: ProblemCollector) -> list[Include]:
    """The items of `include`; invalid ones are reported in `problems`."""
    items = without_tags(raw) or []
    if not isinstance(items, list):
        problems.add(path, "must be a list of paths, or of maps with the key path")
        return []
    includes: list[Include] = []
    for index, item in enumerate(items):
        with problems.collect():
            includes.append(_parse_item(item, f"{path}[{index}]"))
    return includes


def _parse_item(item: object, path: str) -> Include:
    given = {"path": item} if isinstance(item, str) else item
    if not isinstance(given, dict):
        raise ModelError.at(path, "must be a path, or a map with the key path")
    problems = ProblemCollector()
    for key in given:
        check_key(key, INCLUDE_KEYS, f"{path}.{key}", problems, extensible=False)
    paths = _texts(given.get("path"))
    if not paths:
        where = _place_of_wrong(given["path"], f"{path}.path") if given.get("path") else path
        problems.add(where, "names no file; give the key path, a path or a list of them")
    directory = given.get("project_directory")
    if directory is not None and not isinstance(directory, str):
        problems.add(f"{path}.project_directory", "must be a folder's path")
    env_files = given.get("env_file")
    if env_files is not None and _texts(env_files) is None:
        problems.add(_place_of_wrong(env_files, f"{path}.env_file"), "must be a path or a list of them")
    problems.raise_if_any()
    # As in Compose, an empty list of env files counts as none given. To read no file, users give /dev/null.
    return Include(path, paths or (), str(directory) if directory else None, _texts(env_files) or None)


def _place_of_wrong(value: object, path: str) -> str:
    """The place of the first item that is no text, or of a value that is no list."""
    items = enumerate(value) if isinstance(value, list) else ()
    return next((f"{path}[{index}]" for index, text in items if not (isinstance(text, str) and text)), path)


def _texts(value: object) -> tuple[str, ...] | None:
    """A text or a list of texts; None for anything else."""
    listed = [value] if isinstance(value, str) else value
    if isinstance(listed, list) and all(isinstance(text, str) and text for text in listed):
        return tuple(listed)
    return None
