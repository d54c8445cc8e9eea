# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a benchmark reports: sections of text, tables and line charts, as Markdown.

A file of benchmarks has `sections(quick, notify)`, which measures and returns what it found.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Notify = Callable[[str], None]
Points = Sequence[tuple[float, float]]

NOT_MEASURED = "—"


@dataclass(frozen=True)
class Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """Lines through points; `name` is that of its file, without `.svg`."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Points]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Section:
    """`text` is Markdown, without a heading."""

    title: str
    text: str
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()


Sections = Callable[[bool, Notify], list[Section]]


@dataclass
class Measurements:
    """All figures of each case. Their unit is up to the one who measures."""

    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, case: str, figure: float) -> None:
        self.figures[case].append(figure)

    def __contains__(self, case: str) -> bool:
        return case in self.figures

    def median(self, case: str) -> float:
        """Not a number for what was not measured."""
        return statistics.median(self.figures[case]) if case in self else math.nan

    def ratio(self, case: str, other: str) -> float:
        """The median of the ratios of each round: what slows a whole round down slows both."""
        if case not in self or other not in self:
            return math.nan
        pairs = zip(self.figures[case], self.figures[other], strict=True)
        return statistics.median(figure / base for figure, base in pairs)


def rounds(number: int, cases: Mapping[str, Callable[[], float]], notify: Notify) -> Measurements:
    """Measure all cases by turns, so that what else the machine does falls on all of them."""
    measured = Measurements()
    for turn in range(number):
        for case, measure in cases.items():
            measured.add(case, measure())
            notify(f"round {turn + 1}: {case}: {figure(measured.figures[case][-1])}")
    return measured


def figure(value: float) -> str:
    """Three digits that mean something, and no exponent; a dash for what was not measured."""
    if math.isnan(value):
        return NOT_MEASURED
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:,.{digits}f}"


def at_most(value: float, limit: float, unit: str = "") -> str:
    """The cell of a table that says which target there is, and whether it is met."""
    return f"at most {limit:g}{unit}: {_met(value <= limit)}"


def at_least(value: float, limit: float, unit: str = "") -> str:
    return f"at least {limit:g}{unit}: {_met(value >= limit)}"


def _met(is_met: bool) -> str:
    return "met" if is_met else "**not met**"


def markdown(sections: Sequence[Section], pictures: str) -> str:
    """The sections as Markdown; `pictures` is the folder of the charts, as seen from the page."""
    return "\n\n".join(part for section in sections for part in _section(section, pictures)) + "\n"


def _section(section: Section, pictures: str) -> list[str]:
    charts = [f"![{chart.title}]({pictures}/{chart.name}.svg)" for chart in section.charts]
    return [f"## {section.title}", section.text.strip(), *map(_table, section.tables), *charts]


def _table(table: Table) -> str:
    rows = [table.columns, ["---", *("---:" for _column in table.columns[1:])], *table.rows]
    lines = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"{lines}\n\n{table.note}" if table.note else lines
