# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML as Compose reads it: the scalars of YAML 1.2's core schema, and the tags `!reset` and `!override`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..module_utils.engine.declaration.yaml12 import SCALARS, Node, Reader, to_float


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


def parse_yaml(text: str, path: str) -> Any:
    """Parse one YAML document. Keys are always strings; what is tagged becomes a `Reset` or an `Override`.

    Raises:
        ModelError: at `path`, naming line and column.
    """
    return _Reader(path).parse(text)


class _Reader(Reader):
    # Whoever takes the value says what is wrong with a number that is none.
    scalars = {**SCALARS, "float": to_float}

    def _read(self, node: Node, within: tuple[Node, ...]) -> Any:
        if node.tag == "!reset":
            return Reset()
        if node.tag == "!override":
            return Override(self._read(self._untagged(node), within))
        return super()._read(node, within)

    def _item(self, node: Node, within: tuple[Node, ...]) -> Any:
        value = super()._item(node, within)
        if isinstance(value, (Reset, Override)):
            remedy = "belongs to the value of a key, not to an item of a list; tag the whole list"
            raise self._wrong(node, f"{node.tag} {remedy}")
        return value

    def _untagged(self, node: Node) -> Node:
        """The node with the tag that it would have without its `!override`."""
        found = copy.copy(node)
        implicit = (True, False) if node.id == "scalar" and node.style is None else (False, True)
        found.tag = self._loader.resolve(type(node), node.value, implicit)
        return found
