# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A declaration as users give it (dictionaries, texts, Compose files) -> the words of the model.

What reads texts and Compose files is imported where there are some: Ansible compiles all of this anew for each task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.declared import (
    ABSENT,
    ALL,
    ALL_WITHOUT_ABSENT,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.places import SOURCE, Places
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.vocabulary import (
    EXTENSION,
    without_passed_over,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import (
    ModelError,
    Problem,
    ProblemCollector,
    is_within,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.state import RUNTIMES

if TYPE_CHECKING:
    from .compose import ComposeWords

_MAPPINGS = ("host", "networks", "containers")

# The options of modules that declare something, or name what is to go.
DECLARING = (*_MAPPINGS, "docker_user", "compose_files")

# Without a runtime each container is a named network namespace.
NETNS = "netns"
_BY_VARIABLES = Places()


@dataclass(frozen=True)
class Declaration:
    """`words` has those of `host`, `networks`, `containers` and `docker_user` that were given.

    What is passed over is not among them.
    """

    words: dict[str, Any]
    warnings: tuple[Problem, ...]

    def explained(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """The problems, each with what was warned of at its place, as a variable that is not set."""
        return tuple(
            replace(problem, message="; ".join([problem.message, *dict.fromkeys(self._warned_of(problem))]))
            for problem in problems
        )

    def _warned_of(self, problem: Problem) -> Iterator[str]:
        return (warning.message for warning in self.warnings if problem.is_about(warning.path))


def is_blank(value: Any) -> bool:
    """Whether a value is not given at all: surveys of AWX leave what nobody answers as an empty text."""
    return value is None or (isinstance(value, str) and not value.strip())


def gather(given: Mapping[str, Any], bases: Iterable[Path], places: Places = _BY_VARIABLES) -> Declaration:
    """`places` names what is given, in messages.

    With the state absent, options that are given and blank are empty: they name nothing.

    Raises:
        ModelError: a text or a Compose file cannot be read, or one name is declared in two places.
    """
    problems = ProblemCollector()
    goes = given.get("state") == ABSENT
    words = read_parts(given, places, problems)
    compose = None
    with problems.collect():
        files = places.option("compose_files")
        compose = _read_compose_files(given.get("compose_files"), list(bases), files, problems)
    # Each as it was written, for the sake of what may be wrong in it.
    written = [dict(words)]
    if compose:
        written.append({"networks": compose.networks, "containers": compose.containers})
        for part, read in written[-1].items():
            words[part] = _joined(read, words.get(part), places.part(part), problems)
    with problems.collect():
        containers = words["containers"] if words.get("containers") and words["containers"] != ALL else {}
        run = _run_by(given.get("runtime") or NETNS, containers, places.option("runtime"))
        if containers:
            words["containers"] = run
    named = {key: value for key, value in words.items() if value is not None}
    if goes and any(option in given for option in DECLARING):
        named = {"networks": {}, "containers": {}, "docker_user": [], **named}
    declaration = Declaration(without_passed_over(named), compose.warnings if compose else ())
    if problems.problems:
        # What is to go may be declared in whatever way.
        for each in () if goes else written:
            problems.problems += _wrong_besides(each, compose.left_out if compose else (), places)
        raise ModelError(*dict.fromkeys(declaration.explained(problems.problems)))
    return declaration


def read_parts(given: Mapping[str, Any], places: Places, problems: ProblemCollector) -> dict[str, Any]:
    """The host, networks, containers and rules that are given, each None if not; nothing is checked within them."""
    goes = given.get("state") == ABSENT
    words: dict[str, Any] = {}
    for key in _MAPPINGS:
        with problems.collect():
            words[key] = _as_mapping(given.get(key), places.part(key), goes, may_be_all=key != "host")
            if key != "host" and words[key] != ALL:
                _refuse_sources(words[key], places.part(key))
    with problems.collect():
        words["docker_user"] = _as_list(given.get("docker_user"), places.part("docker_user"), goes)
    return words


def _wrong_besides(words: Mapping[str, Any], left_out: tuple[str, ...], places: Places) -> list[Problem]:
    """What the planner would find wrong with the words that could be read, for one report with what could not be.

    It cannot be asked what the words lead to: only the host knows what is declared there already.
    """
    from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_model import parse_declaration

    found = ProblemCollector()
    marked = places.marked(without_passed_over({key: value for key, value in words.items() if value is not None}))
    parts = (marked.get("networks", {}), marked.get("containers", {}), marked.get("docker_user", ()))
    parse_declaration(marked.get("host", {}), *parts, places, found)
    return [problem for problem in found.problems if not any(is_within(problem.path, place) for place in left_out)]


def _read_compose_files(files: Any, bases: list[Path], path: str, problems: ProblemCollector) -> ComposeWords | None:
    """None where the files are not given, or are a text that names none, such as `---` and `[]`."""
    items = from_text(files, path)
    if items in (None, "", [], {}):
        return None
    from .compose import read_compose_files

    return read_compose_files(items, _base(items, bases), path, problems)


def _as_mapping(value: Any, path: str, goes: bool, may_be_all: bool) -> Any:
    parsed = from_text(value, path)
    if parsed == ALL and may_be_all:
        return _all(path, goes)
    if parsed is not None and not isinstance(parsed, Mapping):
        raise ModelError.at(path, "must be a mapping, or the JSON or YAML text of one")
    return parsed


def _all(path: str, goes: bool) -> str:
    if not goes:
        raise ModelError.at(path, ALL_WITHOUT_ABSENT)
    return ALL


def _refuse_sources(entries: Mapping[str, Any] | None, variable: str) -> None:
    """Only the loader of Compose files says where the words of an entry stand.

    Raises:
        ModelError: an entry says it itself.
    """
    problems = ProblemCollector()
    for name, words in (entries or {}).items():
        if isinstance(words, Mapping) and SOURCE in words:
            remedy = "is what wharf.network notes the place in a Compose file by: give it another name"
            problems.add(f"{variable}.{name}.{SOURCE}", remedy)
    problems.raise_if_any()


def _run_by(runtime: str, containers: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The containers, each with the sandbox that it has with its runtime, where it names none.

    Raises:
        ModelError: there is no such runtime.
    """
    if runtime not in (NETNS, *RUNTIMES):
        known = ", ".join((NETNS, *RUNTIMES))
        raise ModelError.at(path, f'"{runtime}": is no runtime of containers; there are: {known}')
    if runtime == NETNS:
        return dict(containers)
    return {name: _in_sandbox(runtime, name, words) for name, words in containers.items()}


def _in_sandbox(runtime: str, key: str, words: Any) -> Any:
    given = words or {}
    extension = isinstance(given, Mapping) and (given.get(EXTENSION) or {})
    if not isinstance(extension, Mapping):
        # The model says what is wrong with it.
        return words
    sandbox = f"{runtime}:{given.get('container_name') or key}"
    return {**given, EXTENSION: {"sandbox": sandbox, **extension}}


def _as_list(value: Any, path: str, goes: bool) -> Any:
    parsed = from_text(value, path)
    if parsed == ALL:
        return _all(path, goes)
    if parsed is not None and not isinstance(parsed, list):
        raise ModelError.at(path, "must be a list of rules, in the order in which they hold, or its JSON or YAML text")
    return parsed


def from_text(value: Any, path: str) -> Any:
    """A survey of AWX gives texts. One that is empty declares nothing; a single word is a path."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    from .yaml12 import parse_yaml

    return parse_yaml(value, path)


def _base(files: Any, bases: list[Path]) -> Path:
    """The first of the folders in which the first file is."""
    first = files[0] if isinstance(files, list) else files
    if isinstance(first, Mapping):
        named = first.get("files") or [""]
        first = named[0] if isinstance(named, list) else named
    return next((base for base in bases if (base / str(first)).is_file()), bases[0])


def _joined(compose: dict[str, Any], given: Any, path: str, problems: ProblemCollector) -> Any:
    """The entries of both; what one declares, the other may only call `external`. ALL has those of Compose files."""
    if given == ALL:
        return ALL
    from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_network import is_external

    given = given or {}
    for name in sorted(compose.keys() & given.keys()):
        if not is_external(compose[name]) and not is_external(given[name]):
            problems.add(f"{path}.{name}", f"is also declared in {compose[name].get('x-source')}: rename one")
    internal = {name: words for name, words in compose.items() if name not in given or not is_external(words)}
    return {**given, **internal}
