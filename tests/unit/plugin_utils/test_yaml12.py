# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import math

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError
from ansible_collections.wharf.network.plugins.plugin_utils.yaml12 import Override, Reset, parse_yaml


def parse(text: str) -> object:
    return parse_yaml(text, "compose.yml")


@pytest.mark.parametrize(
    "text",
    ["22:22", "yes", "No", "on", "off", "y", "2026-01-01", "1_000", "0b1", "190:20:30", "=", "1.2.3", "+"],
)
def test_what_yaml_1_1_converts_stays_a_string(text: str) -> None:
    assert parse(f"key: {text}") == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("NULL", None),
        ("true", True),
        ("FALSE", False),
        ("80", 80),
        ("-1", -1),
        ("+12", 12),
        ("0777", 777),
        ("0o777", 0o777),
        ("0xFf", 255),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("'80'", "80"),
        ("!!str 80", "80"),
        ("!!int '80'", 80),
    ],
)
def test_scalars_of_the_core_schema(text: str, value: object) -> None:
    parsed = parse(f"[{text}]" if text else "[~]")
    assert parsed == [value]
    assert type(parsed[0]) is type(value)


def test_nan_is_a_float() -> None:
    assert math.isnan(parse(".nan"))  # type: ignore[arg-type]


def test_an_empty_document_is_null() -> None:
    assert parse("# nothing\n") is None


def test_keys_are_strings() -> None:
    assert parse("{80: a, true: b, ~: c}") == {"80": "a", "true": "b", "~": "c"}


def test_merge_keys() -> None:
    text = """
    a: &a {x: 1, y: 1}
    b: &b {<<: *a, y: 2}
    c: {<<: [*b, {x: 3, z: 3}], w: 4}
    """
    assert parse(text) == {
        "a": {"x": 1, "y": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1, "y": 2, "z": 3, "w": 4},
    }


def test_compose_tags() -> None:
    text = """
    a: !reset null
    b: !override [1, {c: !reset }]
    d: !override {e: 80}
    f: !override 80
    g: !override "80"
    """
    assert parse(text) == {
        "a": Reset(),
        "b": Override([1, {"c": Reset()}]),
        "d": Override({"e": 80}),
        "f": Override(80),
        "g": Override("80"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' is given again here, first in line 1"),
        ("a: {b: 1,\n  b: 2}", "line 2, column 3: the key 'b' is given again here, first in line 1"),
        ("a: [1", "line 1, column 6: expected ',' or ']', but got '<stream end>'"),
        ("a:\n\tb: 1", "indent with spaces, YAML does not take tabs"),
        ("a: *nowhere", "line 1, column 4: found undefined alias 'nowhere'"),
        ("a: !vault x", "line 1, column 4: the tag !vault is not known here"),
        ("a: &a [*a]", "this value contains itself"),
        ("a: &a !override [*a]", "this value contains itself"),
        ("- !reset x", "line 1, column 3: !reset belongs to the value of a key"),
        ("? [a]\n: 1", "line 1, column 3: a key must be a text"),
        ("a: !!int x", "line 1, column 4: invalid literal"),
        ("a: !!map x", "line 1, column 4: the tag tag:yaml.org,2002:map is not known here"),
        ("a: 1\n---\nb: 2", "expected a single document in the stream"),
        ("a: \x00", "is not YAML: "),
    ],
)
def test_errors_name_the_line(text: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse(text)
    assert caught.value.problems[0].path == "compose.yml"
    assert message in caught.value.problems[0].message
