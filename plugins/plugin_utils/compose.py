# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`wharf_compose_files`: Compose files on the controller, read as `docker compose` reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..module_utils.engine.declaration.parse_network import is_external
from ..module_utils.engine.errors import ModelError, Problem, ProblemCollector, is_within
from .compose_document import Raw, as_map, check_key
from .compose_files import FileSet, compose
from .compose_project import Project, ProjectDeclaration, resolve
from .compose_reader import FileReader
from .interpolation import interpolate

ITEM_KEYS = ("files", "project_name", "environment", "profiles")
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class ComposeDeclaration:
    """The networks and containers of all projects, in the form of `wharf_networks` and `wharf_containers`.

    Each entry notes under `x-source` where it was declared. `left_out` are the places of parts that could not be read,
    each of which is reported.
    """

    networks: dict[str, Raw]
    containers: dict[str, Raw]
    warnings: tuple[Problem, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Item:
    """One item of the variable: the files of one project, by the paths that the user gave.

    Without `profiles`, those of `COMPOSE_PROFILES` are active.
    """

    path: str
    files: tuple[str, ...]
    project_name: str | None
    environment: Mapping[str, str]
    profiles: tuple[str, ...]


# A file by the path that the user gave, before variables and tags are resolved.
_Document = tuple[str, Raw]


def read_compose_files(items: object, base: Path, path: str, problems: ProblemCollector) -> ComposeDeclaration:
    """The entries of all projects that have no problems, so that these can be checked further.

    The items at `path` name the projects; relative paths are relative to `base`. An item is a path or `{files,
    project_name, environment, profiles}`. The `.env` file beside an item's first file is read, the environment of this
    process is not.
    """
    found = ProblemCollector()
    reader = FileReader(base, found)
    projects: list[ProjectDeclaration] = []
    for index, item in enumerate(_as_list(items)):
        with found.collect():
            project = _read_project(_parse_item(item, f"{path}[{index}]"), base, reader, found)
            projects.append(resolve(project, found))
    networks = _join_networks(projects, found)
    containers = _join_containers(projects, found)
    problems.problems += without_repeats(found.problems, reader.left_out)
    return ComposeDeclaration(networks, containers, tuple(dict.fromkeys(reader.warnings)), tuple(reader.left_out))


def without_repeats(problems: Sequence[Problem], left_out: Sequence[str]) -> list[Problem]:
    """The problems, but for each place that is left out only the first one, which is the reason."""
    reported: set[str] = set()
    kept: list[Problem] = []
    for problem in problems:
        place = next((place for place in left_out if is_within(problem.path, place)), None)
        if place is None or place not in reported:
            kept.append(problem)
        reported.add(place or "")
    return kept


def _as_list(items: object) -> list[object]:
    if items is None:
        return []
    return items if isinstance(items, list) else [items]


def _parse_item(item: object, path: str) -> _Item:
    if isinstance(item, str) and item:
        return _Item(path, (item,), None, {}, ())
    if not isinstance(item, dict):
        raise ModelError.at(path, "must be a file's path, or a map with the key files")
    problems = ProblemCollector()
    for key in item:
        check_key(key, ITEM_KEYS, f"{path}.{key}", problems, extensible=False)
    with problems.collect():
        files = _parse_texts(item.get("files"), f"{path}.files", "must be a list of paths, the first file first")
    profiles: tuple[str, ...] = ()
    with problems.collect():
        if item.get("profiles"):
            profiles = _parse_texts(item["profiles"], f"{path}.profiles", "must be a list of profiles, or '*' for all")
    with problems.collect():
        environment = _parse_environment(item.get("environment"), f"{path}.environment")
    name = item.get("project_name")
    with problems.collect():
        if name is not None:
            name = _checked_project_name(name, f"{path}.project_name")
    problems.raise_if_any()
    return _Item(path, files, name, environment, profiles)


def _parse_texts(value: object, path: str, rule: str) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if isinstance(listed, list) and listed and all(isinstance(text, str) and text for text in listed):
        return tuple(listed)
    raise ModelError.at(path, rule)


def _parse_environment(environment: object, path: str) -> dict[str, str]:
    if environment is None:
        return {}
    if not isinstance(environment, dict):
        raise ModelError.at(path, "must be a map of variables")
    return {str(name): _environment_text(value, f"{path}.{name}") for name, value in environment.items()}


def _environment_text(value: object, path: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ModelError.at(path, "must be a text")


def _read_project(item: _Item, base: Path, reader: FileReader, problems: ProblemCollector) -> Project:
    """
    Raises:
        ModelError: one of the files with its variables cannot be read.
    """
    directory = os.path.dirname(item.files[0])
    documents: list[_Document] = []
    for file in item.files:
        with problems.collect():
            documents.append((file, reader.document(file, item.path)))
    environment = reader.environment(reader.default_env_files(directory), item.environment, item.path)
    # A stand-in that no other project has.
    name = f"unnamed{len(problems.problems)}"
    # If a file cannot be read, the project's name may be in it, so a missing name is not reported.
    with problems.collect() if len(documents) == len(item.files) else suppress(ModelError):
        name = _project_name(item, base, documents, environment)
    files = FileSet(item.files, directory, {**environment, "COMPOSE_PROJECT_NAME": name}, item.path)
    composed = compose(files, reader, problems)
    return Project(
        name,
        files.paths,
        as_map(composed.raw.get("networks")),
        as_map(composed.raw.get("services")),
        composed.sources,
        item.profiles or _listed_profiles(environment.get("COMPOSE_PROFILES", "")),
        composed.whole,
    )


def _listed_profiles(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (profile.strip() for profile in text.split(","))))


def _project_name(item: _Item, base: Path, documents: Sequence[_Document], environment: Mapping[str, str]) -> str:
    """In Compose's order: the option, `COMPOSE_PROJECT_NAME`, the last file's `name`, the folder."""
    if item.project_name is not None:
        return item.project_name
    if from_environment := environment.get("COMPOSE_PROJECT_NAME"):
        return _checked_project_name(from_environment, f"{item.path}: COMPOSE_PROJECT_NAME")
    for file, raw in reversed(documents):
        if raw.get("name") is not None:
            path = f"{file}: name"
            return _checked_project_name(interpolate(raw["name"], environment, path).value, path)
    folder = Path(os.path.abspath(base / item.files[0])).parent.name
    normalised = re.sub(r"[^a-z0-9_-]", "", folder.lower()).lstrip("_-")
    if not normalised:
        raise ModelError.at(item.path, f'"{folder}" makes no name for a project; give project_name')
    return normalised


def _checked_project_name(name: object, path: str) -> str:
    if isinstance(name, str) and _PROJECT_NAME.fullmatch(name):
        return name
    rule = "a project name is of lowercase letters, digits, '-' and '_', the first a letter or digit"
    raise ModelError.at(path, f'"{name}": {rule}')


def _join_networks(projects: Sequence[ProjectDeclaration], problems: ProblemCollector) -> dict[str, Raw]:
    """The networks of all projects. A declaration takes precedence over an external entry of another project."""
    joined: dict[str, Raw] = {}
    declaring: dict[str, ProjectDeclaration] = {}
    for project, name, raw in ((each, name, raw) for each in projects for name, raw in each.networks):
        known = joined.get(name)
        if known is None or is_external(known):
            joined[name], declaring[name] = raw, project
        elif not is_external(raw) and not _same(known, raw):
            remedy = _one_item(declaring[name], project)
            remedy = remedy or "declare it once, and say external: true in the other"
            problems.add(str(raw["x-source"]), f'"{name}" is declared otherwise by {known["x-source"]}; {remedy}')
    return joined


def _join_containers(projects: Sequence[ProjectDeclaration], problems: ProblemCollector) -> dict[str, Raw]:
    joined: dict[str, Raw] = {}
    declaring: dict[str, ProjectDeclaration] = {}
    for project, name, raw in ((each, name, raw) for each in projects for name, raw in each.containers):
        known = joined.setdefault(name, raw)
        first = declaring.setdefault(name, project)
        if known is not raw:
            remedy = _one_item(first, project) or "give one another container_name or project_name"
            message = f'the container name "{name}" is taken by {known["x-source"]}; {remedy}'
            problems.add(str(raw["x-source"]), message)
    return joined


def _one_item(first: ProjectDeclaration, project: ProjectDeclaration) -> str:
    """The remedy if two items are one project, such as a file and its override; empty if they are not."""
    if first is project or first.name != project.name:
        return ""
    files = ", ".join((*first.files, *project.files))
    return f"both items are the project {project.name}: give one item files: [{files}], or one another project_name"


def _same(one: Raw, other: Raw) -> bool:
    return {**one, "x-source": None} == {**other, "x-source": None}
