# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose files -> the merged networks and services, with `include` and `extends` resolved.

The order is that of compose-go v2 (`loader/loader.go`). For each file, its variables are interpolated, then its
includes are loaded, then `extends` is resolved; then the file is merged over the files before it. So a later file may
override what an earlier one includes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..module_utils.engine.errors import ModelError, ProblemCollector
from .compose_document import Raw, as_map
from .compose_extends import ServicesFile, extend_services
from .compose_include import Include, parse_includes
from .compose_merge import merge_documents
from .compose_reader import FileReader, locate
from .yaml12 import through_tag, untagged, without_tags

_SECTIONS = ("networks", "services")


@dataclass(frozen=True)
class FileSet:
    """Files that are merged, each over those before it.

    The paths in them are relative to `directory`, wherever the files themselves are. `asked_at` is the place that names
    them, and `within` are the files whose includes led to them.
    """

    paths: tuple[str, ...]
    directory: str
    environment: Mapping[str, str]
    asked_at: str
    within: tuple[str, ...] = ()


@dataclass(frozen=True)
class Composed:
    """The networks and services of files, and the place of each, by section and name.

    It is not `whole` if the contents of one of the files are unknown.
    """

    raw: Raw
    sources: Mapping[tuple[str, str], str]
    whole: bool = True


def compose(files: FileSet, reader: FileReader, problems: ProblemCollector) -> Composed:
    """The merged contents of the files, as far as these have no problems."""
    composed = Composed({}, {})
    declared_in: dict[tuple[str, str], list[str]] = {}
    for path in files.paths:
        later = Composed({}, {}, whole=False)
        with problems.collect():
            later = _compose_file(path, files, reader, problems)
        raw = merge_documents(composed.raw, later.raw, path, problems)
        composed = Composed(raw, {**later.sources, **composed.sources}, composed.whole and later.whole)
        for key in _keys(later.raw):
            declared_in.setdefault(key, []).append(path)
    own = {(section, name): f"{'+'.join(paths)}: {section}.{name}" for (section, name), paths in declared_in.items()}
    sources = {**own, **composed.sources}
    # An entry that was reset is not from here: a file that includes this one may declare it anew.
    return replace(composed, sources={key: sources[key] for key in _keys(composed.raw)})


def _keys(raw: Raw) -> list[tuple[str, str]]:
    return [(section, name) for section, entries in raw.items() for name in _entries(entries)]


def _compose_file(path: str, files: FileSet, reader: FileReader, problems: ProblemCollector) -> Composed:
    """One file, with its tags.

    Raises:
        ModelError: it cannot be read, or includes itself.
    """
    if path in files.within:
        loop = " -> ".join([*files.within[files.within.index(path) :], path])
        raise ModelError.at(files.asked_at, f"is a circle: {loop}")
    raw = reader.interpolated(path, files.environment, files.asked_at)
    sections = {section: raw[section] for section in _SECTIONS if section in raw}
    before = len(problems.problems)
    includes = parse_includes(raw.get("include"), f"{path}: include", problems)
    composed = Composed(sections, {}, whole=len(problems.problems) == before)
    for include in includes:
        included = Composed({}, {}, whole=False)
        with problems.collect():
            included = _compose_included(include, path, files, reader, problems)
        _check_same(composed, included, path, problems)
        composed = _with_included(composed, included)
    return _with_extended(composed, path, files, reader, problems)


def _compose_included(
    include: Include, path: str, files: FileSet, reader: FileReader, problems: ProblemCollector
) -> Composed:
    """The contents of an include: a project with a folder and `.env` of its own. Variables that are set already win.

    Raises:
        ModelError: it is not on the controller, or one of the files with its variables cannot be read.
    """
    paths = tuple(locate(files.directory, each, include.at) for each in include.paths)
    directory = os.path.dirname(paths[0])
    if include.project_directory is not None:
        directory = locate(files.directory, include.project_directory, include.at)
    env_files = reader.default_env_files(directory)
    if include.env_files is not None:
        env_files = tuple(locate(files.directory, each, include.at) for each in include.env_files)
    environment = reader.environment(env_files, files.environment, include.at)
    included = FileSet(paths, directory, environment, include.at, (*files.within, path))
    return compose(included, reader, problems)


def _check_same(composed: Composed, included: Composed, path: str, problems: ProblemCollector) -> None:
    """Report entries that a file and its include declare differently, in the keys about networking.

    Compose 5 lets the file override what it includes. Compose 2 refuses that, as the specification does.
    """
    for section, raw in included.raw.items():
        declared, entries = _entries(composed.raw.get(section)), _entries(raw)
        for name in entries:
            if name in declared and not _same(declared[name], entries[name]):
                place = composed.sources.get((section, name), f"{path}: {section}.{name}")
                remedy = "rename one, or change the included one by a further file under path of its include"
                problems.add(place, f'"{name}" is declared otherwise by {included.sources[section, name]}; {remedy}')


def _with_included(composed: Composed, included: Composed) -> Composed:
    raw = {section: _joined(composed.raw.get(section), more) for section, more in included.raw.items()}
    sources = {**included.sources, **composed.sources}
    return Composed({**composed.raw, **raw}, sources, composed.whole and included.whole)


def _joined(section: object, included: object) -> object:
    return through_tag(section, lambda own: {**_entries(included), **_entries(own)})


def _entries(section: object) -> Raw:
    return as_map(untagged(section))


def _same(one: object, other: object) -> bool:
    return (without_tags(one) or {}) == (without_tags(other) or {})


def _with_extended(
    composed: Composed, path: str, files: FileSet, reader: FileReader, problems: ProblemCollector
) -> Composed:
    def load(file: str, asked_at: str) -> ServicesFile:
        raw = reader.interpolated(file, files.environment, asked_at)
        return ServicesFile(file, os.path.dirname(file), _entries(raw.get("services")))

    def extend(services: object) -> object:
        file = ServicesFile(path, files.directory, _entries(services), composed.whole)
        return extend_services(file, load, problems)

    if "services" not in composed.raw:
        return composed
    return replace(composed, raw={**composed.raw, "services": through_tag(composed.raw["services"], extend)})
