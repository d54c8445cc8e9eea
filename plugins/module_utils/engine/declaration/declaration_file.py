# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file for the command `wharf`: a declaration in JSON or YAML."""

from __future__ import annotations

import difflib
import json
import sys
from typing import Any, Dict, List, NoReturn, Tuple

from ..errors import ModelError, ProblemCollector
from .places import STANDARD_INPUT, name_of_file
from .yaml12 import finite, parse_yaml

KEYS = ("host", "networks", "containers", "docker_user")

_KINDS = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}


def read_declaration(path: str) -> Dict[str, Any]:
    """The parts of the declaration in a file, by their names; `-` is the standard input.

    Raises:
        ModelError: at the name of the file, with the line if it is known.
    """
    place = name_of_file(path)
    raw = _parse(_text(path), place)
    known = ", ".join(KEYS)
    if raw is None:
        raise ModelError.at(place, f"is empty: declare something of {known}")
    if not isinstance(raw, dict):
        raise ModelError.at(place, f"must be a mapping with {known}; this is {_KINDS[type(raw)]}")
    problems = ProblemCollector()
    for key in raw:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {known}"
            problems.add(place, f"{key}: unknown key; {hint}")
    problems.raise_if_any()
    return raw


def _text(path: str) -> str:
    try:
        if path == STANDARD_INPUT:
            content = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                content = file.read()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ModelError.at(name_of_file(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ModelError.at(name_of_file(path), f"line {line}: is not UTF-8 text") from error


def _parse(text: str, place: str) -> Any:
    """The parsed text. A text that is no JSON may be YAML in flow style, which looks alike."""
    try:
        return json.loads(text, object_pairs_hook=_each_once, parse_constant=_not_finite, parse_float=finite)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        if not place.endswith(".json"):
            return parse_yaml(text, place, f"{where}: {error.msg}")
        raise ModelError.at(place, f"{where}: is not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError.at(place, str(error)) from error


def _each_once(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    raw: Dict[str, Any] = {}
    for key, value in pairs:
        if key in raw:
            raise ValueError(f"the key {key!r} is given twice in one object")
        raw[key] = value
    return raw


def _not_finite(word: str) -> NoReturn:
    raise ValueError(f"{word}: must be a finite number")
