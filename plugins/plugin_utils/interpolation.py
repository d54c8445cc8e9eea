# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`$VARIABLE` in the values of a Compose file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..module_utils.engine.errors import ModelError, Problem, ProblemCollector
from .yaml12 import through_tag

_NAME = r"[_a-zA-Z][_a-zA-Z0-9]*"
# A dollar sign before anything else stands for itself, as in Compose
_DOLLAR = re.compile(rf"\$(?:(?P<escaped>\$)|(?P<named>{_NAME})|(?P<braced>\{{))")
_EXPRESSION = re.compile(rf"(?P<name>{_NAME})(?:(?P<operator>:?[-?+])(?P<word>.*))?", re.DOTALL)

_REMEDY = "set it in .env, or in environment beside files: the environment of the controller is not read"


# Stands for a value that could not be read, which is reported.
LEFT_OUT = object()


@dataclass(frozen=True)
class Interpolated:
    """A value with its variables replaced, and a warning for each variable that was not set.

    A string with a problem is None in a map, and `LEFT_OUT` in a list, so that the items after it keep their positions.
    """

    value: object
    warnings: tuple[Problem, ...]
    problems: tuple[Problem, ...] = ()


def interpolate(value: object, environment: Mapping[str, str], path: str) -> Interpolated:
    """Replace the variables in every string of a value; keys stay as they are, and strings stay strings.

    The forms are Compose's: `$V`, `${V}`, `${V:-default}`, `${V-default}`, `${V:?message}`, `${V?message}`,
    `${V:+instead}`, `${V+instead}`, each nestable in the other's word, and `$$` for a dollar sign. A variable
    that is not set is an empty string and a warning.

    Raises:
        ModelError: with every string whose syntax is wrong or whose required variable is missing.
    """
    interpolated = interpolate_rest(value, environment, path)
    if interpolated.problems:
        raise ModelError(*interpolated.problems)
    return interpolated


def interpolate_rest(value: object, environment: Mapping[str, str], path: str) -> Interpolated:
    """Replace variables like `interpolate`, but leave strings with problems out, and return the problems."""
    scope = _Scope(environment)
    result = scope.walk(value, path)
    value = None if result is LEFT_OUT else result
    return Interpolated(value, tuple(dict.fromkeys(scope.warnings)), tuple(scope.problems.problems))


class _Scope:
    """Walks one value, and collects problems and warnings."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.problems = ProblemCollector()
        self.warnings: list[Problem] = []

    def walk(self, value: object, path: str) -> object:
        return through_tag(value, lambda untagged: self._walk_untagged(untagged, path))

    def _walk_untagged(self, value: object, path: str) -> object:
        if isinstance(value, dict):
            walked = {key: self.walk(item, f"{path}.{key}") for key, item in value.items()}
            return {key: None if item is LEFT_OUT else item for key, item in walked.items()}
        if isinstance(value, list):
            return [self.walk(item, f"{path}[{index}]") for index, item in enumerate(value)]
        if isinstance(value, str):
            with self.problems.collect():
                return self._expand(value, path)
            return LEFT_OUT
        return value

    def _expand(self, template: str, path: str) -> str:
        parts: list[str] = []
        position = 0
        while match := _DOLLAR.search(template, position):
            parts.append(template[position : match.start()])
            position = match.end()
            if match["escaped"]:
                parts.append("$")
            elif match["named"]:
                parts.append(self._lookup(match["named"], path))
            else:
                end = _closing_brace(template, position, path)
                parts.append(self._evaluate(template[position:end], path))
                position = end + 1
        return "".join(parts) + template[position:]

    def _evaluate(self, expression: str, path: str) -> str:
        match = _EXPRESSION.fullmatch(expression)
        if match is None:
            raise _invalid(f"${{{expression}}}", path)
        name, operator, word = match["name"], match["operator"], match["word"]
        if operator is None:
            return self._lookup(name, path)
        # With a colon an empty variable counts as one that is not set
        given = bool(self.environment.get(name)) if operator.startswith(":") else name in self.environment
        if operator.endswith("+"):
            return self._expand(word, path) if given else ""
        if given:
            return self.environment[name]
        if operator.endswith("-"):
            return self._expand(word, path)
        raise _missing(name, self._expand(word, path), path)

    def _lookup(self, name: str, path: str) -> str:
        if name not in self.environment:
            message = f"the variable {name} is not set, an empty string takes its place; {_REMEDY}"
            self.warnings.append(Problem(path, message))
        return self.environment.get(name, "")


def _closing_brace(template: str, start: int, path: str) -> int:
    """The index of the brace that closes the one just before `start`."""
    depth = 1
    for index in range(start, len(template)):
        depth += {"{": 1, "}": -1}.get(template[index], 0)
        if depth == 0:
            return index
    raise _invalid(template[start - 2 :], path)


def _invalid(expression: str, path: str) -> ModelError:
    return ModelError.at(
        path, f'"{expression}" is no variable; write ${{NAME}} or ${{NAME:-default}}, or $$ for a dollar sign'
    )


def _missing(name: str, message: str, path: str) -> ModelError:
    reason = f": {message}" if message else ""
    return ModelError.at(path, f"the required variable {name} has no value{reason}; {_REMEDY}")
