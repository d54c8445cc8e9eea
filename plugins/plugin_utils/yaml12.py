# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML as Compose reads it: the scalars of YAML 1.2's core schema, and the tags `!reset` and `!override`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from ..module_utils.engine.declaration.yaml12 import CORE, RESOLVERS, SCALARS, in_words, to_float
from ..module_utils.engine.errors import ModelError, Problem


@dataclass(frozen=True)
class Reset:
    """`!reset`: the key is removed, with the value that earlier files give it."""


@dataclass(frozen=True)
class Override:
    """`!override`: the value replaces that of earlier files, instead of being merged with it."""

    value: object


def through_tag(value: object, change: Callable[[object], object]) -> object:
    """`change` applied to a value or to what its `!override` holds; a `!reset` stays as it is."""
    if isinstance(value, Reset):
        return value
    if isinstance(value, Override):
        return Override(change(value.value))
    return change(value)


def untagged(value: object) -> object:
    """The value without its tag; None for a `!reset`."""
    if isinstance(value, Override):
        return value.value
    return None if isinstance(value, Reset) else value


def without_tags(value: object) -> object:
    """The value without any tags, for a value that is not merged over an earlier one."""
    value = untagged(value)
    if isinstance(value, dict):
        return {key: without_tags(item) for key, item in value.items() if not isinstance(item, Reset)}
    if isinstance(value, list):
        return [without_tags(item) for item in value]
    return value


def retagged(value: object, tagged: object) -> object:
    """The value with the tags of `tagged`, from which it was derived."""
    if isinstance(tagged, Override):
        return Override(value)
    if isinstance(value, dict) and isinstance(tagged, dict):
        resets = {key: item for key, item in tagged.items() if isinstance(item, Reset)}
        return {**{key: retagged(item, tagged.get(key)) for key, item in value.items()}, **resets}
    return value


def parse_yaml(text: str, path: str) -> object:
    """Parse one YAML document. Keys are always strings; what is tagged becomes a `Reset` or an `Override`.

    Raises:
        ModelError: at `path`, naming line and column.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if loader.duplicates:
            raise ModelError(*(Problem(path, in_words(duplicate)) for duplicate in loader.duplicates))
        # deep: a value that contains itself is reported here, and not while it is walked
        return None if node is None else loader.construct_object(node, deep=True)
    except yaml.MarkedYAMLError as error:
        raise ModelError.at(path, in_words(error)) from error
    except yaml.YAMLError as error:
        raise ModelError.at(path, f"is not YAML text: {error}") from error


class _Loader(yaml.SafeLoader):
    """SafeLoader with the 1.2 core schema: `22:22`, `yes`, `on` and `2026-01-01` are strings."""

    # Tables of its own: inherited ones would bring YAML 1.1 back in
    yaml_implicit_resolvers: dict[Any, Any] = {}
    yaml_constructors = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.duplicates: list[yaml.MarkedYAMLError] = []

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before `<<` is resolved, since overriding a merged key is no duplicate
        node = super().compose_mapping_node(anchor)
        self.duplicates += _duplicate_keys(node)
        return node

    def value_of(self, node: yaml.Node) -> object:
        return self.construct_object(node, deep=True)


def _duplicate_keys(node: yaml.MappingNode) -> Iterator[yaml.MarkedYAMLError]:
    lines: dict[str, int] = {}
    for key, _value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a string", key.start_mark)
        if key.value in lines:
            first = f"the key {key.value!r} stands here again, first in line {lines[key.value]}"
            yield yaml.constructor.ConstructorError(None, None, first, key.start_mark)
            continue
        lines[key.value] = key.start_mark.line + 1


def _construct_map(loader: _Loader, node: yaml.Node) -> dict[str, object]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, "a mapping is expected here", node.start_mark)
    merged: dict[str, object] = {}
    own: dict[str, object] = {}
    for key, value in node.value:
        if key.tag == CORE + "merge":
            for other in _mappings_to_merge(loader, value):
                merged = {**other, **merged}
        else:
            own[key.value] = loader.value_of(value)
    return {**merged, **own}


def _mappings_to_merge(loader: _Loader, node: yaml.Node) -> list[dict[str, object]]:
    """What stands below `<<`, the strongest first (https://yaml.org/type/merge.html)."""
    value = loader.value_of(node)
    mappings: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(mapping, dict) for mapping in mappings):
        problem = "below << a mapping is expected, or a list of mappings"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return mappings


def _construct_list(loader: _Loader, node: yaml.Node) -> list[object]:
    if not isinstance(node, yaml.SequenceNode):
        raise yaml.constructor.ConstructorError(None, None, "a list is expected here", node.start_mark)
    return [_list_item(loader, item) for item in node.value]


def _list_item(loader: _Loader, node: yaml.Node) -> object:
    value = loader.value_of(node)
    if isinstance(value, (Reset, Override)):
        problem = f"{node.tag} belongs to the value of a key, not to an item of a list; tag the whole list"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return value


def _construct_reset(loader: _Loader, node: yaml.Node) -> Reset:
    return Reset()


def _construct_override(loader: _Loader, node: yaml.Node) -> Override:
    return Override(loader.value_of(_untagged(loader, node)))


def _untagged(loader: _Loader, node: yaml.Node) -> yaml.Node:
    """The node with the tag that it would have without its `!override`."""
    implicit = (True, False) if isinstance(node, yaml.ScalarNode) and node.style is None else (False, True)
    tag = loader.resolve(type(node), node.value, implicit)  # type: ignore[no-untyped-call]
    if isinstance(node, yaml.ScalarNode):
        return yaml.ScalarNode(tag, node.value, node.start_mark, node.end_mark, style=node.style)
    return type(node)(tag, node.value, node.start_mark, node.end_mark)


def _scalar(convert: Callable[[str], object]) -> Callable[[_Loader, yaml.Node], object]:
    def construct(loader: _Loader, node: yaml.Node) -> object:
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a scalar is expected here", node.start_mark)
        try:
            return convert(node.value)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error

    return construct


_CONSTRUCTORS: dict[str | None, Callable[[_Loader, yaml.Node], object]] = {
    **{CORE + name: _scalar(convert) for name, convert in SCALARS.items()},
    # Whoever takes the value says what is wrong with a number that is none.
    CORE + "float": _scalar(to_float),
    CORE + "seq": _construct_list,
    CORE + "map": _construct_map,
    "!reset": _construct_reset,
    "!override": _construct_override,
    None: yaml.SafeLoader.construct_undefined,
}

for _name, _pattern, _first in RESOLVERS:
    _Loader.add_implicit_resolver(CORE + _name, re.compile(rf"(?:{_pattern})\Z"), _first)
for _tag, _construct in _CONSTRUCTORS.items():
    _Loader.add_constructor(_tag, _construct)
