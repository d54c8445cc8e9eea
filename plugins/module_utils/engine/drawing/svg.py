# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of SVG: text that fits, lines, and drawings that are put together. All text is escaped here, and only here."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from html import escape
from typing import Iterable, Sequence, Tuple

# As a part of the width of other characters: that of wide ones, as of Chinese.
_WIDE = 2.0


@dataclass(frozen=True)
class Font:
    """A class of the stylesheet, with the width of a character in pixels."""

    css_class: str
    width: float


USUAL, STRONG = Font("", 13.0 * 0.56), Font("strong", 13.0 * 0.56 * 1.13)
SMALL, MONO, TITLE = Font("small", 11.0 * 0.56), Font("mono", 11.5 * 0.605), Font("title", 17.0 * 0.6)


@dataclass(frozen=True)
class Drawing:
    """What is drawn in so many pixels of height, from the top."""

    height: float
    content: str


def stacked(drawings: Iterable[Drawing], left: float = 0, top: float = 0, gap: float = 0) -> Drawing:
    """One below the other."""
    parts = []
    for each in drawings:
        parts.append(f'<g transform="translate({_number(left)} {_number(top)})">{each.content}</g>')
        top += each.height + gap
    return Drawing(top - gap if parts else top, "".join(parts))


def text(x: float, y: float, words: str, font: Font = USUAL, width: float = 0, classes: str = "") -> str:
    """`width`: how many pixels there are; what has no room is left out, and shown when one points at it."""
    shown = fitted(words, width, font) if width else words
    whole = f"<title>{escape(words)}</title>" if shown != words else ""
    all_classes = " ".join(filter(None, [font.css_class, classes]))
    return f'<text x="{_number(x)}" y="{_number(y)}"{_class(all_classes)}>{whole}{escape(shown)}</text>'


def fitted(words: str, width: float, font: Font) -> str:
    if width_of(words, font) <= width:
        return words
    kept = words
    while kept and width_of(f"{kept}…", font) > width:
        kept = kept[:-1]
    return f"{kept}…"


def width_of(words: str, font: Font) -> float:
    return font.width * sum(_WIDE if unicodedata.east_asian_width(each) in "WF" else 1.0 for each in words)


def line(points: Sequence[Tuple[float, float]], classes: str) -> str:
    path = "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
    return f'<path d="M{path}"{_class(classes)}/>'


def box(x: float, y: float, width: float, height: float, classes: str, radius: float = 6) -> str:
    return (
        f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}" '
        f'rx="{_number(radius)}"{_class(classes)}/>'
    )


def dot(x: float, y: float, radius: float, classes: str) -> str:
    return f'<circle cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}"{_class(classes)}/>'


def with_tip(content: str, tip: str) -> str:
    """`tip` is shown when one points at it, and read aloud."""
    return f"<g><title>{escape(tip)}</title>{content}</g>" if tip else content


def link(content: str, target: str) -> str:
    return f'<a href="{escape(target)}">{content}</a>'


def document(drawing: Drawing, width: float, css: str, label: str) -> str:
    """One file by itself."""
    right, bottom = _number(width), _number(drawing.height)
    size = f'width="{right}" height="{bottom}" viewBox="0 0 {right} {bottom}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(label)}">\n'
        f"<style>{css}</style>\n{drawing.content}\n</svg>\n"
    )


def inline(drawing: Drawing, width: float, classes: str, label: str) -> str:
    """A part of a page, which has the rules of its own."""
    return (
        f'<svg{_class(classes)} viewBox="0 0 {_number(width)} {_number(drawing.height)}" role="img" '
        f'aria-label="{escape(label)}">{drawing.content}</svg>'
    )


def _class(classes: str) -> str:
    return f' class="{classes}"' if classes else ""


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
