# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A declaration as users give it (dictionaries, texts, Compose files) -> the parts of a declaration.

The readers of texts and Compose files are imported only if there are some, since Ansible compiles plugins anew for each
task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..module_utils.engine.declaration.declared import ABSENT, ALL, ALL_WITHOUT_ABSENT
from ..module_utils.engine.declaration.places import SOURCE, Places
from ..module_utils.engine.declaration.vocabulary import EXTENSION, without_passed_over
from ..module_utils.engine.errors import ModelError, Problem, ProblemCollector, is_within
from ..module_utils.engine.state import RUNTIMES

if TYPE_CHECKING:
    from .compose import ComposeDeclaration

_MAPPINGS = ("host", "networks", "containers")

# The options of modules that declare something, or name what is to go.
DECLARING = (*_MAPPINGS, "docker_user", "compose_files")

# Without a runtime each container is a named network namespace.
NETNS = "netns"
_BY_VARIABLES = Places()


@dataclass(frozen=True)
class Declaration:
    """`parts` has those of `host`, `networks`, `containers` and `docker_user` that were given.

    They do not have the keys that are passed over.
    """

    parts: dict[str, Any]
    warnings: tuple[Problem, ...]

    def explained(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """The problems, each with the warnings about its place, such as a variable that is not set."""
        return tuple(
            replace(problem, message="; ".join([problem.message, *dict.fromkeys(self._warned_of(problem))]))
            for problem in problems
        )

    def _warned_of(self, problem: Problem) -> Iterator[str]:
        return (warning.message for warning in self.warnings if problem.is_about(warning.path))


def is_blank(value: Any) -> bool:
    """Whether a value counts as not given: a survey of AWX gives an empty text for a question without an answer."""
    return value is None or (isinstance(value, str) and not value.strip())


def gather(given: Mapping[str, Any], bases: Iterable[Path], places: Places = _BY_VARIABLES) -> Declaration:
    """The declaration in the options of a call. `places` names these in messages.

    With state absent, a blank option names nothing, and is an empty part.

    Raises:
        ModelError: a text or a Compose file cannot be read, or one name is declared in two places.
    """
    problems = ProblemCollector()
    is_absent = given.get("state") == ABSENT
    parts = read_parts(given, places, problems)
    compose = None
    with problems.collect():
        files = places.option("compose_files")
        compose = _read_compose_files(given.get("compose_files"), list(bases), files, problems)
    # Each part as it was written, to find further problems in it.
    written = [dict(parts)]
    if compose:
        written.append({"networks": compose.networks, "containers": compose.containers})
        for part, read in written[-1].items():
            parts[part] = _joined(read, parts.get(part), places.part(part), problems)
    with problems.collect():
        containers = parts["containers"] if parts.get("containers") and parts["containers"] != ALL else {}
        run = _run_by(given.get("runtime") or NETNS, containers, places.option("runtime"))
        if containers:
            parts["containers"] = run
    named = {key: value for key, value in parts.items() if value is not None}
    if is_absent and any(option in given for option in DECLARING):
        named = {"networks": {}, "containers": {}, "docker_user": [], **named}
    declaration = Declaration(without_passed_over(named), compose.warnings if compose else ())
    if problems.problems:
        # Entries to remove are only named, so their contents are not checked.
        for each in () if is_absent else written:
            problems.problems += _wrong_besides(each, compose.left_out if compose else (), places)
        raise ModelError(*dict.fromkeys(declaration.explained(problems.problems)))
    return declaration


def read_parts(given: Mapping[str, Any], places: Places, problems: ProblemCollector) -> dict[str, Any]:
    """The host, networks, containers and rules that are given, None for each that is not. Only types are checked."""
    is_absent = given.get("state") == ABSENT
    parts: dict[str, Any] = {}
    for key in _MAPPINGS:
        with problems.collect():
            rule = "must be a mapping, or the JSON or YAML text of one"
            parts[key] = _read_part(given.get(key), places.part(key), Mapping, rule, is_absent, key != "host")
            if key != "host" and parts[key] != ALL:
                _refuse_sources(parts[key], places.part(key))
    with problems.collect():
        rule = "must be a list of rules, in the order in which they hold, or its JSON or YAML text"
        parts["docker_user"] = _read_part(given.get("docker_user"), places.part("docker_user"), list, rule, is_absent)
    return parts


def _wrong_besides(parts: Mapping[str, Any], left_out: tuple[str, ...], places: Places) -> list[Problem]:
    """The problems within the entries that could be read, to report them together with those that could not.

    References between entries are not checked: only the host knows what is declared there already.
    """
    from ..module_utils.engine.declaration.parse_model import parse_declaration

    found = ProblemCollector()
    marked = places.marked(without_passed_over({key: value for key, value in parts.items() if value is not None}))
    entries = (marked.get("networks", {}), marked.get("containers", {}), marked.get("docker_user", ()))
    parse_declaration(marked.get("host", {}), *entries, places, found)
    return [problem for problem in found.problems if not any(is_within(problem.path, place) for place in left_out)]


def _read_compose_files(
    files: Any, bases: list[Path], path: str, problems: ProblemCollector
) -> ComposeDeclaration | None:
    """The declaration in Compose files; None if no file is given, also by a text such as `---` or `[]`."""
    items = from_text(files, path)
    if items in (None, "", [], {}):
        return None
    from .compose import read_compose_files

    return read_compose_files(items, _base(items, bases), path, problems)


def _read_part(value: Any, path: str, kind: type, rule: str, is_absent: bool, may_be_all: bool = True) -> Any:
    parsed = from_text(value, path)
    if parsed == ALL and may_be_all:
        if not is_absent:
            raise ModelError.at(path, ALL_WITHOUT_ABSENT)
    elif parsed is not None and not isinstance(parsed, kind):
        raise ModelError.at(path, rule)
    return parsed


def _refuse_sources(entries: Mapping[str, Any] | None, variable: str) -> None:
    """Refuse entries with the key `x-source`, which the loader of Compose files sets.

    Raises:
        ModelError: an entry has it.
    """
    problems = ProblemCollector()
    for name, entry in (entries or {}).items():
        if isinstance(entry, Mapping) and SOURCE in entry:
            remedy = "is reserved: wharf.network notes the places of a Compose file in it; give it another name"
            problems.add(f"{variable}.{name}.{SOURCE}", remedy)
    problems.raise_if_any()


def _run_by(runtime: str, containers: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The containers, each with the sandbox that its runtime gives it, unless it declares one.

    Raises:
        ModelError: there is no such runtime.
    """
    if runtime not in (NETNS, *RUNTIMES):
        known = ", ".join((NETNS, *RUNTIMES))
        raise ModelError.at(path, f'"{runtime}": is no runtime of containers; there are: {known}')
    if runtime == NETNS:
        return dict(containers)
    return {name: _in_sandbox(runtime, name, entry) for name, entry in containers.items()}


def _in_sandbox(runtime: str, key: str, entry: Any) -> Any:
    given = entry or {}
    extension = isinstance(given, Mapping) and (given.get(EXTENSION) or {})
    if not isinstance(extension, Mapping):
        # The model reports it.
        return entry
    sandbox = f"{runtime}:{given.get('container_name') or key}"
    return {**given, EXTENSION: {"sandbox": sandbox, **extension}}


def from_text(value: Any, path: str) -> Any:
    """The value of a text, as a survey of AWX gives it. An empty text declares nothing; a single word is a path."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    from .yaml12 import parse_yaml

    return parse_yaml(value, path)


def _base(files: Any, bases: list[Path]) -> Path:
    """The first of the folders that has the first file."""
    first = files[0] if isinstance(files, list) else files
    if isinstance(first, Mapping):
        named = first.get("files") or [""]
        first = named[0] if isinstance(named, list) else named
    return next((base for base in bases if (base / str(first)).is_file()), bases[0])


def _joined(compose: dict[str, Any], given: Any, path: str, problems: ProblemCollector) -> Any:
    """The entries of Compose files and of an option. If both have one, one of them must be `external`. ALL includes the
    entries of Compose files.
    """
    if given == ALL:
        return ALL
    from ..module_utils.engine.declaration.parse_network import is_external

    given = given or {}
    for name in sorted(compose.keys() & given.keys()):
        if not is_external(compose[name]) and not is_external(given[name]):
            problems.add(f"{path}.{name}", f"is also declared in {compose[name].get('x-source')}: rename one")
    internal = {name: entry for name, entry in compose.items() if name not in given or not is_external(entry)}
    return {**given, **internal}
