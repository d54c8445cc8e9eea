# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`docs/reference.md` has every key and every choice that may be declared.

`test_editor_schema.py` compares its tables with what the parser takes.
"""

from __future__ import annotations

import re
from pathlib import Path

from misspellings import places, vocabulary

PAGE = (Path(__file__).parents[3] / "docs/reference.md").read_text()

# The page has the variables for the four parts of a declaration.
PLACES = list({(each.level, each.word): each for each in places(vocabulary()) if each.level}.values())


def in_code(text: str) -> set[str]:
    """The words of what is marked as code."""
    return {word.strip(".") for code in re.findall(r"`([^`]+)`", text) for word in re.split(r"[^\w.-]+", code)}


def test_each_word_is_on_the_page() -> None:
    words = in_code(PAGE)
    # Parts of the name of a kernel parameter.
    parts = {part for word in words for part in word.split(".")}
    missing = [str(place) for place in PLACES if place.word not in words | parts]
    assert not missing, "\n".join(missing)
