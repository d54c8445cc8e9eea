# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text that a terminal shows and does not obey."""

from __future__ import annotations

from typing import Any


def visible(value: Any) -> Any:
    """The same with control characters, and bytes that are not UTF-8, escaped as `\\x1b`, wherever text is in it.

    Root in a container, and whoever names a third-party rule, chooses such bytes, and a terminal would obey them.
    """
    if isinstance(value, str):
        return value if value.isprintable() else "".join(map(_visible_character, value))
    if isinstance(value, dict):
        return {visible(key): visible(each) for key, each in value.items()}
    return [visible(each) for each in value] if isinstance(value, (list, tuple)) else value


def _visible_character(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    byte = character.encode("utf-8", "surrogateescape") if "\udc80" <= character <= "\udcff" else b""
    return f"\\x{byte[0]:02x}" if byte else character.encode("unicode_escape").decode()
