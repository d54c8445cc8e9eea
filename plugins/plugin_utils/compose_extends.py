# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that `extends` another one of its file or of another file.

As in compose-go v2 (`loader/extends.go`): the extending service changes its base by the rules by which a later file
changes an earlier one, tags included, and every key is carried over, `container_name`, `profiles`, `links`,
`network_mode` and `networks` too. What these refer to is not: networks and services have to be declared in the project
that extends, and a reference that leads nowhere there is an error. `extends` sees the services of its own file and of
what that file includes; in another file, only the services of that file itself. That file's variables are those of the
project, and there is no `.env` of its own. Whether a profile of the base is active makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError, ProblemCollector
from ansible_collections.wharf.network.plugins.plugin_utils.compose_document import Words, check_key
from ansible_collections.wharf.network.plugins.plugin_utils.compose_merge import merge_service
from ansible_collections.wharf.network.plugins.plugin_utils.compose_reader import locate
from ansible_collections.wharf.network.plugins.plugin_utils.yaml12 import (
    retagged,
    through_tag,
    untagged,
    without_tags,
)

EXTENDS_KEYS = ("service", "file")


@dataclass(frozen=True)
class ServicesFile:
    """The services of one file, as they are written; the paths of other files begin at `directory`.

    It is not `whole` where further services may be in what it includes.
    """

    path: str
    directory: str
    services: Mapping[str, object]
    whole: bool = True


@dataclass(frozen=True)
class _Extends:
    service: str
    file: str | None


# By the file's path, and the place where it was named
LoadFile = Callable[[str, str], ServicesFile]


def extend_services(file: ServicesFile, load: LoadFile, problems: ProblemCollector) -> dict[str, object]:
    """The file's services, each over what it extends; their tags stay, for the files before this one.

    Every base that is not there, and every circle, goes to `problems`; the service then extends nothing.
    """
    extended: dict[str, object] = {}
    for name, words in file.services.items():
        extended[name] = through_tag(words, _own)
        with problems.collect():
            extended[name] = _extended(file, name, _Way(load, problems), ())
    return extended


def _own(words: object) -> object:
    return {key: value for key, value in words.items() if key != "extends"} if isinstance(words, dict) else words


@dataclass(frozen=True)
class _Way:
    """How further files are found, and who is told of what cannot merge."""

    load: LoadFile
    problems: ProblemCollector


def _extended(file: ServicesFile, name: str, way: _Way, seen: tuple[str, ...]) -> object:
    place = f"{file.path}: services.{name}"
    if place in seen:
        circle = " -> ".join([*seen[seen.index(place) :], place])
        raise ModelError.at(f"{seen[-1]}.extends", f"is a circle: {circle}")

    def over_its_base(words: object) -> object:
        if not isinstance(words, dict):
            return words
        own = _as_words(_own(words))
        extends = _parse(untagged(words.get("extends")), f"{place}.extends")
        if extends is None:
            return own
        base_file = _file_of(extends, file, way.load, f"{place}.extends")
        base = _extended(base_file, extends.service, way, (*seen, place))
        return retagged(merge_service(_as_words(without_tags(base)), own, place, way.problems), own)

    return through_tag(file.services[name], over_its_base)


def _parse(extends: object, path: str) -> _Extends | None:
    if extends is None:
        return None
    given = {"service": extends} if isinstance(extends, str) else extends
    if not isinstance(given, dict):
        raise ModelError.at(path, "must be a service, or a map with the keys service and file")
    problems = ProblemCollector()
    for key in given:
        check_key(key, EXTENDS_KEYS, f"{path}.{key}", problems, extensible=False)
    service, file = untagged(given.get("service")), untagged(given.get("file"))
    if service is None:
        where = f"{path}.service" if "service" in given else path
        problems.add(where, "names no service; give the key service")
    elif not (isinstance(service, str) and service):
        problems.add(f"{path}.service", "must be a service's name")
    if file is not None and not (isinstance(file, str) and file):
        problems.add(f"{path}.file", "must be a file's path")
    problems.raise_if_any()
    return _Extends(str(service), None if file is None else str(file))


def _file_of(extends: _Extends, file: ServicesFile, load: LoadFile, path: str) -> ServicesFile:
    """The file that has the base.

    Raises:
        ModelError: no file has it.
    """
    if extends.file is not None:
        file = load(locate(file.directory, extends.file, f"{path}.file"), f"{path}.file")
    if untagged(file.services.get(extends.service)) is None:
        if not file.whole:
            # What is wrong with an included file has been said.
            raise ModelError()
        known = ", ".join(file.services) or "none"
        remedy = "" if extends.file else "; give the key file, if another file has it"
        raise ModelError.at(path, f'there is no service "{extends.service}" in {file.path}, but {known}{remedy}')
    return file


def _as_words(base: object) -> Words:
    return base if isinstance(base, dict) else {}
