# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Line charts as SVG, on a light background."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from report import Chart, figure

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 550, 50, 365
# The marks of logarithmic axes.
_ROUND = [float(f"{factor}e{power}") for power in range(-9, 13) for factor in (1, 2, 5)]
_COLOURS = ("#0b62a4", "#d1495b", "#2e8b57", "#a05195", "#e08214", "#555555", "#00a0b0", "#7f5539")


@dataclass(frozen=True)
class _Axis:
    """From values to pixels. `first` and `last` are values, `begin` and `end` where they are drawn."""

    first: float
    last: float
    begin: float
    end: float
    is_log: bool

    @classmethod
    def over(cls, values: Sequence[float], begin: float, end: float, is_log: bool) -> _Axis:
        if is_log:
            below = [mark for mark in _ROUND if mark <= min(values)]
            above = [mark for mark in _ROUND if mark >= max(values) and mark > below[-1]]
            return cls(below[-1], above[0], begin, end, True)
        step = _step(max(values))
        return cls(0, step * math.ceil(max(values) / step), begin, end, False)

    def at(self, value: float) -> float:
        if self.is_log:
            share = math.log(value / self.first) / math.log(self.last / self.first)
        else:
            share = (value - self.first) / (self.last - self.first)
        return self.begin + share * (self.end - self.begin)

    @property
    def marks(self) -> list[float]:
        if self.is_log:
            return [mark for mark in _ROUND if self.first <= mark <= self.last]
        step = _step(self.last)
        return [step * number for number in range(round(self.last / step) + 1)]


def _step(largest: float) -> float:
    """A round number that goes into the largest value about five times."""
    rough = (largest or 1) / 5
    power = 10 ** math.floor(math.log10(rough))
    return min((factor * power for factor in (1, 2, 2.5, 5, 10)), key=lambda step: abs(step - rough))


def svg(chart: Chart) -> str:
    points = [point for series in chart.series.values() for point in series]
    x = _Axis.over([point[0] for point in points], LEFT, RIGHT, chart.log_x)
    y = _Axis.over([point[1] for point in points], BOTTOM, TOP, chart.log_y)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"',
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text((LEFT + RIGHT) / 2, 25, chart.title, 'text-anchor="middle" font-size="15"'),
        *_grid(x, y),
        _text((LEFT + RIGHT) / 2, HEIGHT - 15, chart.x_label, 'text-anchor="middle"'),
        _text(0, 0, chart.y_label, f'text-anchor="middle" transform="translate(20 {(TOP + BOTTOM) / 2}) rotate(-90)"'),
        *_lines(chart, x, y),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _grid(x: _Axis, y: _Axis) -> Iterator[str]:
    for mark in y.marks:
        yield _line(LEFT, y.at(mark), RIGHT, y.at(mark))
        yield _text(LEFT - 8, y.at(mark) + 4, _mark(mark), 'text-anchor="end"')
    for mark in x.marks:
        yield _line(x.at(mark), TOP, x.at(mark), BOTTOM)
        yield _text(x.at(mark), BOTTOM + 18, _mark(mark), 'text-anchor="middle"')


def _mark(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _lines(chart: Chart, x: _Axis, y: _Axis) -> Iterator[str]:
    """The lines, and beside them what each one is, in the order in which they end."""
    ends = sorted(chart.series, key=lambda name: -chart.series[name][-1][1])
    for name, points in chart.series.items():
        colour = _COLOURS[ends.index(name) % len(_COLOURS)]
        places = [(f"{x.at(each_x):.1f}", f"{y.at(each_y):.1f}") for each_x, each_y in points]
        yield f'<polyline points="{" ".join(map(",".join, places))}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for (left, top), point in zip(places, points, strict=True):
            tip = escape(f"{name}: {figure(point[1])} at {point[0]:,.0f}")
            yield f'<circle cx="{left}" cy="{top}" r="3.5" fill="{colour}"><title>{tip}</title></circle>'
    for place, name in enumerate(ends):
        colour, top = _COLOURS[place % len(_COLOURS)], TOP + 8 + 20 * place
        yield f'<rect x="{RIGHT + 15}" y="{top - 9}" width="10" height="10" fill="{colour}"/>'
        yield _text(RIGHT + 30, top, name, "")


def _line(left: float, top: float, right: float, bottom: float) -> str:
    return f'<path d="M{left:.1f} {top:.1f}L{right:.1f} {bottom:.1f}" stroke="#dddddd"/>'


def _text(left: float, top: float, words: str, attributes: str) -> str:
    return f'<text x="{left:.1f}" y="{top:.1f}" fill="#222222" {attributes}>{escape(words)}</text>'
