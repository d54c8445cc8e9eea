# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that `extends` another one, of the same file or of another file.

As in compose-go v2 (`loader/extends.go`), the service is merged over its base by the rules for a later file over an
earlier one, tags included. It inherits every key, also `container_name`, `profiles`, `links`, `network_mode` and
`networks`. It does not inherit the networks and services that these refer to: they have to be declared in the project
that extends, else the reference is an error. `extends` finds services of its own file and of that file's includes, but
in another file only the services of that file itself. The other file's variables are those of the project; a `.env`
beside it is not read. Whether a profile of the base is active makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..module_utils.engine.errors import ModelError, ProblemCollector
from .compose_document import as_map, check_key
from .compose_merge import merge_service
from .compose_reader import locate
from .yaml12 import retagged, through_tag, untagged, without_tags

EXTENDS_KEYS = ("service", "file")


@dataclass(frozen=True)
class ServicesFile:
    """The services of one file, before `extends` is resolved. Paths of other files are relative to `directory`.

    It is not `whole` if an include could not be read, which may have further services.
    """

    path: str
    directory: str
    services: Mapping[str, object]
    whole: bool = True


# By the file's path, and the place where it was named
LoadFile = Callable[[str, str], ServicesFile]


def extend_services(file: ServicesFile, load: LoadFile, problems: ProblemCollector) -> dict[str, object]:
    """The file's services, each merged over its base. Their tags stay, for merging with the files before this one.

    A missing base, and a loop, are reported in `problems`; the service then extends nothing.
    """
    extended: dict[str, object] = {}
    for name, raw in file.services.items():
        extended[name] = through_tag(raw, _own)
        with problems.collect():
            extended[name] = _extended(file, name, load, problems, ())
    return extended


def _own(raw: object) -> object:
    return {key: value for key, value in raw.items() if key != "extends"} if isinstance(raw, dict) else raw


def _extended(
    file: ServicesFile, name: str, load: LoadFile, problems: ProblemCollector, seen: tuple[str, ...]
) -> object:
    place = f"{file.path}: services.{name}"
    if place in seen:
        loop = " -> ".join([*seen[seen.index(place) :], place])
        raise ModelError.at(f"{seen[-1]}.extends", f"is a circle: {loop}")

    def over_its_base(raw: object) -> object:
        if not isinstance(raw, dict):
            return raw
        own = as_map(_own(raw))
        extends = _parse(untagged(raw.get("extends")), f"{place}.extends")
        if extends is None:
            return own
        service, other = extends
        base_file = _file_of(service, other, file, load, f"{place}.extends")
        base = _extended(base_file, service, load, problems, (*seen, place))
        return retagged(merge_service(as_map(without_tags(base)), own, place, problems), own)

    return through_tag(file.services[name], over_its_base)


def _parse(extends: object, path: str) -> tuple[str, str | None] | None:
    """The base service, and the file that has it if that is another one."""
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
    return str(service), None if file is None else str(file)


def _file_of(service: str, other: str | None, file: ServicesFile, load: LoadFile, path: str) -> ServicesFile:
    """The file with the base service.

    Raises:
        ModelError: no file has it.
    """
    if other is not None:
        file = load(locate(file.directory, other, f"{path}.file"), f"{path}.file")
    if untagged(file.services.get(service)) is None:
        if not file.whole:
            # The base may be in an included file with problems, which are reported already.
            raise ModelError()
        known = ", ".join(file.services) or "none"
        remedy = "" if other else "; give the key file, if another file has it"
        raise ModelError.at(path, f'there is no service "{service}" in {file.path}, but {known}{remedy}')
    return file
