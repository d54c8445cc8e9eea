# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole vocabulary as one declaration, and its words with one letter changed, missing, doubled or transposed."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_LETTERS = string.ascii_lowercase + string.digits + "-_."
_ALIKE = {"_": "-", "-": "_", ".": "-", "4": "6", "6": "4"}


class Named(dict[str, Any]):
    """A mapping whose keys are not of the vocabulary."""


@dataclass(frozen=True)
class Chosen:
    """A text of which some parts are words of the vocabulary: the odd ones of `parts`."""

    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(self.parts)

    @property
    def words(self) -> tuple[str, ...]:
        return self.parts[1::2]


@dataclass(frozen=True)
class Place:
    """Where a word of the vocabulary stands: the way to it, and which part it is of a text; none of a key.

    `level` is the way to all words of its kind, without names and numbers.
    """

    way: tuple[Any, ...]
    level: tuple[str, ...]
    word: str
    part: int | None = None

    def __str__(self) -> str:
        return ".".join(map(str, self.way)) + ("" if self.part is None else f": {self.word}")


class _Loader(yaml.CSafeLoader):
    pass


def _named(loader: yaml.CSafeLoader, node: yaml.MappingNode) -> Named:
    return Named(loader.construct_mapping(node, deep=True))


def _chosen(_loader: yaml.CSafeLoader, node: yaml.ScalarNode) -> Chosen:
    return Chosen(tuple(re.split(r"[{}]", node.value)))


_Loader.add_constructor("!names", _named)
_Loader.add_constructor("!text", _chosen)


def vocabulary() -> dict[str, Any]:
    """What `vocabulary.yml` has, marks included."""
    text = (Path(__file__).parent / "vocabulary.yml").read_text()
    loaded: dict[str, Any] = yaml.load(text, _Loader)
    return loaded


def unmarked(marked: Any) -> Any:
    """The words as users give them."""
    if isinstance(marked, Chosen):
        return marked.text
    if isinstance(marked, dict):
        return {key: unmarked(value) for key, value in marked.items()}
    return [unmarked(value) for value in marked] if isinstance(marked, list) else marked


def places(marked: Any, way: tuple[Any, ...] = (), level: tuple[str, ...] = ()) -> Iterator[Place]:
    """All words below, keys first."""
    if isinstance(marked, Chosen):
        for number, word in enumerate(marked.words):
            yield Place(way, level, word, 2 * number + 1)
    elif isinstance(marked, dict):
        are_names = isinstance(marked, Named)
        for key, value in marked.items():
            if not are_names:
                yield Place((*way, key), level, str(key))
            yield from places(value, (*way, key), (*level, "*" if are_names else str(key)))
    elif isinstance(marked, list):
        for index, value in enumerate(marked):
            yield from places(value, (*way, index), (*level, "*"))


def misspelt(marked: Any, place: Place, wrong: str) -> Any:
    """The words as users give them, with one of them misspelt."""
    return _changed(marked, place, place.way, wrong)


def _changed(marked: Any, place: Place, way: tuple[Any, ...], wrong: str) -> Any:
    if not way:
        parts = [wrong if index == place.part else part for index, part in enumerate(marked.parts)]
        return "".join(parts)
    if isinstance(marked, list):
        return [
            _changed(value, place, way[1:], wrong) if index == way[0] else unmarked(value)
            for index, value in enumerate(marked)
        ]
    ends = len(way) == 1 and place.part is None
    return {
        wrong if ends and key == way[0] else key: _changed(value, place, way[1:], wrong)
        if key == way[0] and not ends
        else unmarked(value)
        for key, value in marked.items()
    }


def spellings(word: str, letters: str = "") -> list[str]:
    """The word with one letter missing, doubled, transposed with the next, or changed; or all in the other case.

    Each letter is changed to all of `letters`, or to one: that which it may be taken for, or the next of the alphabet.
    """
    found: dict[str, None] = {}
    for index, letter in enumerate(word):
        before, after = word[:index], word[index + 1 :]
        found[before + after] = None
        found[before + 2 * letter + after] = None
        found[before + after[:1] + letter + after[1:]] = None
        for other in letters or _ALIKE.get(letter) or _next(letter):
            found[before + other + after] = None
    found[word.swapcase()] = None
    return [each for each in found if each != word]


def _next(letter: str) -> str:
    return _LETTERS[(_LETTERS.find(letter.lower()) + 1) % len(_LETTERS)]


ALL_LETTERS = _LETTERS + string.ascii_uppercase
