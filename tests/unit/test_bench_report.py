# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What benchmarks report: tables, ratios, and charts whose points are where they belong."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from charts import BOTTOM, LEFT, RIGHT, TOP, svg
from page import BENCHMARKS
from report import Chart, Measurements, Section, Table, at_least, at_most, figure, markdown

BENCH = Path(__file__).parents[1] / "bench"
SVG = "{http://www.w3.org/2000/svg}"


def test_a_page() -> None:
    chart = Chart("growth", "How it grows", "things", "ms", {"one": [(1, 1)]})
    table = Table(["", "ms"], [["one", "1.5"], ["two", "2"]], "Measured twice.")
    assert markdown([Section("Cost", "What it costs.\n", [table], [chart])], "pictures") == (
        "## Cost\n\nWhat it costs.\n\n"
        "|  | ms |\n| --- | ---: |\n| one | 1.5 |\n| two | 2 |\n\nMeasured twice.\n\n"
        "![How it grows](pictures/growth.svg)\n"
    )


def test_a_ratio_is_that_of_each_round() -> None:
    measured = Measurements()
    for base, other in ((1, 2), (10, 20), (3, 30)):
        measured.add("base", base)
        measured.add("other", other)
    assert measured.ratio("other", "base") == 2
    assert measured.median("other") == 20


def test_what_was_not_measured_has_a_dash() -> None:
    measured = Measurements()
    measured.add("base", 1)
    assert figure(measured.median("other")) == figure(measured.ratio("other", "base")) == "—"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_all_of_them_can_start(name: str) -> None:
    assert callable(importlib.import_module(name).sections)


def test_the_parts_of_the_engine_are_clocked() -> None:
    command = [sys.executable, str(BENCH / "parts.py"), "log"]
    environment = {"PYTHONPATH": str(BENCH.parents[1] / "plugins/module_utils")}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert json.loads(ran.stdout.splitlines()[-1])["all"] > 0


@pytest.mark.parametrize(
    "value, text", [(0, "0"), (0.01234, "0.012"), (0.5, "0.50"), (12.34, "12.3"), (123.4, "123"), (12345, "12,345")]
)
def test_figures(value: float, text: str) -> None:
    assert figure(value) == text


def test_targets() -> None:
    assert at_most(1.3, 1.3, " s") == "at most 1.3 s: met"
    assert at_most(1.4, 1.3) == "at most 1.3: **not met**"
    assert at_least(50, 50) == "at least 50: met"
    assert at_least(49, 50) == "at least 50: **not met**"


@pytest.mark.parametrize("is_log", [False, True])
def test_points_are_where_they_belong(is_log: bool) -> None:
    series = {"<slow> & sure": [(1.0, 1.0), (10.0, 10.0), (100.0, 100.0)]}
    drawn = ElementTree.fromstring(svg(Chart("a", "<title>", "x", "y", series, is_log, is_log)))
    circles = [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in drawn.iter(f"{SVG}circle")]
    share = 0.5 if is_log else 0.1
    first = (LEFT, BOTTOM) if is_log else (LEFT + (RIGHT - LEFT) / 100, BOTTOM - (BOTTOM - TOP) / 100)
    middle = (LEFT + share * (RIGHT - LEFT), BOTTOM - share * (BOTTOM - TOP))
    for seen, expected in zip(circles, (first, middle, (RIGHT, TOP)), strict=True):
        assert seen == pytest.approx(expected, abs=0.1)
    texts = [each.text for each in drawn.iter(f"{SVG}text")]
    assert {"<title>", "x", "y", "<slow> & sure", "100"} <= {*texts}
