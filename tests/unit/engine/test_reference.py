# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`docs/reference.md` has every key and every choice that may be declared, and no other key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from misspellings import Place, places, vocabulary

PAGE = (Path(__file__).parents[3] / "docs/reference.md").read_text()

# The page has the variables for the four parts of a declaration.
PLACES = list({(each.level, each.word): each for each in places(vocabulary()) if each.level}.values())


def in_code(text: str) -> set[str]:
    """The words of what is marked as code."""
    return {word.strip(".") for code in re.findall(r"`([^`]+)`", text) for word in re.split(r"[^\w.-]+", code)}


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_each_word_is_on_the_page(place: Place) -> None:
    words = in_code(PAGE)
    # Parts of the name of a kernel parameter.
    parts = {part for word in words for part in word.split(".")}
    assert place.word in words | parts


def test_each_key_on_the_page_is_one() -> None:
    known = {part for place in PLACES for part in (place.word, *place.level)}
    first_columns = "\n".join(re.findall(r"^\| (`[^|]+) \|", PAGE, re.MULTILINE))
    assert first_columns
    keys = {key for word in in_code(first_columns) for key in ([word] if word in known else word.split("."))}
    assert keys - known == set()
