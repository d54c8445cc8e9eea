# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One Compose file: checks its keys, and keeps those that are about networking."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from ..module_utils.engine.declaration.section import unknown_key
from ..module_utils.engine.declaration.vocabulary import (
    DEPLOY_KEYS_PASSED_OVER,
    EXTENSION,
    SERVICE_KEYS_ABOUT_NETWORKING,
    SERVICE_KEYS_PASSED_OVER,
    SERVICE_KEYS_THAT_DECIDE,
    is_extension,
)
from ..module_utils.engine.errors import ModelError, ProblemCollector
from .yaml12 import parse_yaml, through_tag

# A map of a Compose file as it was parsed from YAML.
Raw = dict[str, object]
_ReadEntry = Callable[[object, str], object]

TOP_LEVEL_KEYS = frozenset(
    ["configs", "include", "jobs", "models", "name", "networks", "secrets", "services", "version", "volumes"]
)
_KEPT_KEYS = SERVICE_KEYS_ABOUT_NETWORKING | SERVICE_KEYS_THAT_DECIDE

_NAME = re.compile(r"[a-zA-Z0-9._-]+")


def read_document(text: str, path: str, problems: ProblemCollector) -> Raw:
    """The file's `name`, `include`, `networks` and `services`, with the keys that are about networking.

    Variables and tags are not resolved. Keys that Compose does not know, and networks and services of the wrong type,
    are reported in `problems`, and left out.

    Raises:
        ModelError: the text, or one of its sections, is no map, so that the contents of the file are unknown.
    """
    document = parse_yaml(text, path)
    if not isinstance(document, dict):
        raise ModelError.at(path, "must be a map with the key services")
    for key in document:
        check_key(key, TOP_LEVEL_KEYS, f"{path}: {key}", problems)
    reader = _Reader(problems)
    raw = {key: document[key] for key in ("name", "include") if key in document}
    for key, read in (("networks", reader.network), ("services", reader.service)):
        if key in document:
            raw[key] = reader.section(document[key], f"{path}: {key}", read)
    reader.lost.raise_if_any()
    return raw


def as_map(value: object) -> dict[str, Any]:
    """The value if it is a map, else an empty one."""
    return value if isinstance(value, dict) else {}


def check_key(
    key: object,
    known: Collection[str],
    path: str,
    problems: ProblemCollector,
    passed_over: Collection[str] = (),
    extensible: bool = True,
) -> None:
    """Report a key that is neither known nor an extension (where these are allowed), with the key that it resembles."""
    if key in known or key in passed_over or (extensible and is_extension(str(key))):
        return
    remedy = "remove it, or let its name start with x-" if extensible else f"known here: {', '.join(sorted(known))}"
    problems.add(path, unknown_key(str(key), known, passed_over, remedy))


class _Reader:
    """Checks the sections of a file, and reduces them to what is about networking."""

    def __init__(self, problems: ProblemCollector) -> None:
        self.problems = problems
        self.lost = ProblemCollector()

    def section(self, section: object, path: str, read: _ReadEntry) -> object:
        return through_tag(section, lambda entries: self._entries(entries, path, read))

    def _entries(self, entries: object, path: str, read: _ReadEntry) -> object:
        if entries is None:
            return {}
        if isinstance(entries, dict):
            named = {name: entry for name, entry in entries.items() if self._is_name(name, f"{path}.{name}")}
            return {name: self._entry(entry, f"{path}.{name}", read) for name, entry in named.items()}
        self.lost.add(path, "must be a map by name")
        return {}

    def _is_name(self, name: str, path: str) -> bool:
        if _NAME.fullmatch(name):
            return True
        self.problems.add(path, "the name must be of letters, digits, '.', '_' and '-'")
        return False

    def _entry(self, entry: object, path: str, read: _ReadEntry) -> object:
        return through_tag(entry, lambda raw: read(raw, path))

    def network(self, raw: object, path: str) -> object:
        if raw is not None and not isinstance(raw, dict):
            self.problems.add(path, "must be a map")
            return None
        return raw

    def service(self, raw: object, path: str) -> object:
        if not isinstance(raw, dict):
            self.problems.add(path, "must be a map")
            return {}
        for key in raw:
            check_key(key, _KEPT_KEYS | {EXTENSION}, f"{path}.{key}", self.problems, SERVICE_KEYS_PASSED_OVER)
        kept = {key: value for key, value in raw.items() if key in _KEPT_KEYS or key.startswith("x-")}
        if "deploy" in kept:
            kept["deploy"] = through_tag(kept["deploy"], lambda deploy: self._deploy(deploy, f"{path}.deploy"))
        return kept

    def _deploy(self, raw: object, path: str) -> object:
        if not isinstance(raw, dict):
            return raw
        for key in raw:
            check_key(key, ("replicas",), f"{path}.{key}", self.problems, DEPLOY_KEYS_PASSED_OVER)
        return {key: value for key, value in raw.items() if key not in DEPLOY_KEYS_PASSED_OVER}
