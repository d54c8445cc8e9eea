# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML with the scalars of version 1.2's core schema: `22:22`, `yes`, `on` and `2026-01-01` are strings.

PyYAML is only imported to parse a text, since a host may lack it.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Tuple

from ..errors import ModelError, Problem, ProblemCollector

if TYPE_CHECKING:
    import yaml

CORE = "tag:yaml.org,2002:"

# A node of PyYAML, whose annotations lack `id`.
Node = Any

# https://yaml.org/spec/1.2.2/#1032-tag-resolution: tag, what matches it, the characters it may start with.
# A float matches all that an int does, so int comes first. `<<` is 1.1's merge key, which Compose keeps.
RESOLVERS = (
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
)

_LONGEST_INT = 3500


def to_int(text: str) -> int:
    """
    Raises:
        ValueError: it has more digits than Python converts back to a text.
    """
    if len(text) > _LONGEST_INT:
        raise ValueError(f"a number has at most {_LONGEST_INT} digits here: quote a text of digits")
    for prefix, number_base in (("0o", 8), ("0x", 16)):
        if text.startswith(prefix):
            return int(text[2:], number_base)
    return int(text)


def to_float(text: str) -> float:
    # Python spells the special values without YAML's dot
    return float(text.replace(".", "") if text.lower().lstrip("+-") in (".inf", ".nan") else text)


def finite(text: str) -> float:
    """
    Raises:
        ValueError: it is infinite or NaN.
    """
    number = to_float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text}: must be a finite number")
    return number


SCALARS: Dict[str, Callable[[str], Any]] = {
    "null": lambda _text: None,
    "bool": lambda text: text.lower() == "true",
    "int": to_int,
    "float": finite,
    "str": str,
}


def parse_yaml(text: str, path: str, no_json: str) -> Any:
    """Parse one YAML document, which is not JSON, for the reason `no_json`.

    Raises:
        ModelError: at `path`, naming line and column; or the host has no PyYAML.
    """
    try:
        return Reader(path).parse(text)
    except ImportError:
        reason = f"is not JSON ({no_json}), and this host has nothing that reads YAML"
        raise ModelError.at(path, f"{reason}: install the package python3-yaml, or give JSON") from None


def _in_words(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    hint = "; indent with spaces, YAML does not take tabs" if "'\\t'" in str(error.problem) else ""
    context = f" ({error.context})" if error.context else ""
    return f"{place}{error.problem or error.context}{context if error.problem else ''}{hint}"


class Reader:
    """Constructs the values of a document. Keys are always strings."""

    scalars = SCALARS

    def __init__(self, path: str) -> None:
        self._path = path
        self._problems = ProblemCollector()
        self._loader: Any = None

    def parse(self, text: str) -> Any:
        """
        Raises:
            ModelError: with the first thing that cannot be read, and the keys before it that stand twice.
            ImportError: there is no PyYAML.
        """
        import yaml

        class Loader(yaml.BaseLoader):
            """Resolves the tags of scalars, and constructs no values."""

        for tag, pattern, first in RESOLVERS:
            Loader.add_implicit_resolver(CORE + tag, re.compile(rf"(?:{pattern})\Z"), first)
        try:
            self._loader = Loader(text)
            node = self._loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            raise ModelError.at(self._path, _in_words(error)) from error
        except yaml.YAMLError as error:
            raise ModelError.at(self._path, f"is not YAML: {error}") from error
        value = None
        with self._problems.collect():
            value = None if node is None else self._value(node)
        self._problems.raise_if_any()
        return value

    def _value(self, node: Node, above: Tuple[Node, ...] = ()) -> Any:
        if node in above:
            raise self._wrong(node, "this value contains itself")
        return self._read(node, (*above, node))

    def _read(self, node: Node, within: Tuple[Node, ...]) -> Any:
        if node.id == "mapping" and node.tag == f"{CORE}map":
            return self._mapping(node, within)
        if node.id == "sequence" and node.tag == f"{CORE}seq":
            return [self._item(item, within) for item in node.value]
        convert = self.scalars.get(node.tag[len(CORE) :]) if node.tag.startswith(CORE) else None
        if node.id != "scalar" or convert is None:
            raise self._wrong(node, f"the tag {node.tag} is not known here")
        try:
            return convert(node.value)
        except ValueError as error:
            raise self._wrong(node, str(error)) from error

    def _item(self, node: Node, within: Tuple[Node, ...]) -> Any:
        return self._value(node, within)

    def _mapping(self, node: Node, within: Tuple[Node, ...]) -> Dict[str, Any]:
        merged: Dict[str, Any] = {}
        own: Dict[str, Any] = {}
        lines: Dict[str, int] = {}
        repeated: List[Problem] = []
        for key, value in node.value:
            if key.id != "scalar":
                raise self._wrong(key, "a key must be a text")
            if key.value in lines:
                again = f"the key {key.value!r} is given again here, first in line {lines[key.value]}"
                repeated += self._wrong(key, again).problems
            lines.setdefault(key.value, key.start_mark.line + 1)
            if key.tag == f"{CORE}merge":
                for other in self._to_merge(value, within):
                    merged = {**other, **merged}
            else:
                own[key.value] = self._value(value, within)
        self._problems.problems += repeated
        return {**merged, **own}

    def _to_merge(self, node: Node, within: Tuple[Node, ...]) -> Iterator[Dict[str, Any]]:
        """The mappings to merge by `<<`; the first one has precedence (https://yaml.org/type/merge.html)."""
        for each in node.value if node.tag == f"{CORE}seq" else [node]:
            mapping = self._value(each, within)
            if not isinstance(mapping, dict):
                raise self._wrong(each, "below << a mapping is expected, or a list of mappings")
            yield mapping

    def _wrong(self, node: Node, message: str) -> ModelError:
        place = f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}"
        return ModelError.at(self._path, f"{place}: {message}")
