# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `.env` file beside a Compose file."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..module_utils.engine.errors import ModelError, Problem, ProblemCollector
from .interpolation import interpolate

_BLANK = re.compile(r"\s*(?:#[^\n]*)?(?:\n|\Z)")
_KEY = re.compile(r"\s*(?:export[ \t]+)?(?P<key>[\w.-]+)[ \t]*(?P<separator>[=:])?")
# An escaped quote ends neither kind of quoted value; both kinds may go on over several lines
_QUOTED = re.compile(r"""[ \t]*(?P<quote>['"])(?P<text>(?:\\.|(?!(?P=quote))[^\\])*)(?P=quote)""", re.DOTALL)
_COMMENT = re.compile(r"\s#.*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
# `$$` is how the interpolation that follows writes a dollar sign
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


# One assignment: its key, its value that still has its variables (None for a bare name), and where it ends.
_Entry = tuple[str, str | None, int]


def parse_dotenv(
    text: str, environment: Mapping[str, str], path: str, above: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[Problem]]:
    """Parse Compose's dotenv syntax. A value may use variables of `environment`, which has precedence, and of the lines
    above it.

    `above` are the variables of earlier files. The result has them, too, unless this file sets them.

    Returns:
        The variables, and a warning for each one that is used and not set.

    Raises:
        ModelError: with all invalid lines, as `path` and `:` and the line's number.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    values = dict(above or {})
    warnings: list[Problem] = []
    problems = ProblemCollector()
    position = 0
    while position < len(text):
        if blank := _BLANK.match(text, position):
            position = blank.end()
            continue
        place = f"{path}:{_line_number(text, position)}"
        # Skips an invalid line; a valid entry may end further on
        position, start = _end_of_line(text, position), position
        with problems.collect():
            key, template, position = _read_entry(text, start, place)
            if template is not None:
                result = interpolate(template, {**values, **environment}, place)
                values[key] = str(result.value)
                warnings += result.warnings
    problems.raise_if_any()
    return values, warnings


def _read_entry(text: str, position: int, place: str) -> _Entry:
    key = _KEY.match(text, position)
    if key is None:
        raise ModelError.at(place, f"{_rest_of_line(text, position)!r} is no assignment; write NAME=value")
    if not key["separator"]:
        return _bare_name(key["key"], text, key.end(), place)
    quoted = _QUOTED.match(text, key.end())
    if quoted is None:
        return _unquoted(key["key"], text, key.end(), place)
    if not _BLANK.match(text, quoted.end()):
        after = _rest_of_line(text, quoted.end())
        raise ModelError.at(place, f"{after!r} follows the closing quote; quote the whole value")
    return key["key"], _unescaped(quoted), _end_of_line(text, quoted.end())


def _bare_name(key: str, text: str, position: int, place: str) -> _Entry:
    """A name without a value. It stands for the variable of the environment, so it sets nothing."""
    if not _BLANK.match(text, position):
        raise ModelError.at(place, f"{key!r} must be followed by =; write {key}=value")
    return key, None, _end_of_line(text, position)


def _unquoted(key: str, text: str, position: int, place: str) -> _Entry:
    template = _COMMENT.sub("", _rest_of_line(text, position)).strip()
    if template[:1] in ("'", '"'):
        raise ModelError.at(place, f"the value of {key} has no closing {template[0]}")
    return key, template, _end_of_line(text, position)


def _unescaped(quoted: re.Match[str]) -> str:
    if quoted["quote"] == "'":
        return quoted["text"].replace("\\'", "'").replace("$", "$$")
    return _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[0]), quoted["text"])


def _rest_of_line(text: str, position: int) -> str:
    return text[position:].partition("\n")[0]


def _end_of_line(text: str, position: int) -> int:
    return min(len(text), position + len(_rest_of_line(text, position)) + 1)


def _line_number(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
