# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError
from ansible_collections.wharf.network.plugins.plugin_utils.interpolation import interpolate
from ansible_collections.wharf.network.plugins.plugin_utils.yaml12 import Override, Reset

ENVIRONMENT = {"SET": "value", "EMPTY": "", "_1": "under"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("$SET-$_1", "value-under"),
        ("${SET}s", "values"),
        ("$SETs${EMPTY}", ""),
        ("$$SET $${SET} $$$SET", "$SET ${SET} $value"),
        ("a$ $1 $(x) $", "a$ $1 $(x) $"),
        ("${SET:-d}${EMPTY:-d}${NO:-d}", "valuedd"),
        ("${SET-d}${EMPTY-d}${NO-d}", "valued"),
        ("${SET:+a}${EMPTY:+a}${NO:+a}", "a"),
        ("${SET+a}${EMPTY+a}${NO+a}", "aa"),
        ("${SET:?e}${SET?e}${EMPTY?e}", "valuevalue"),
        ("${NO:-${NEITHER:-$SET}}!", "value!"),
        ("${NO:-{a: ${SET}}}", "{a: value}"),
        ("${NO:-}|${NO-}", "|"),
        ("${NO:-a:-b\nc}", "a:-b\nc"),
        ("${NO:-$$5}", "$5"),
    ],
)
def test_forms(template: str, text: str) -> None:
    assert interpolate(template, ENVIRONMENT, "here").value == text


def test_every_value_and_no_key() -> None:
    value = {"$SET": ["$SET", 80, None, {"a": "${SET}"}], "b": Override(["$SET"]), "c": Reset()}
    expected = {"$SET": ["value", 80, None, {"a": "value"}], "b": Override(["value"]), "c": Reset()}
    assert interpolate(value, ENVIRONMENT, "here").value == expected


def test_what_is_not_set_is_empty_and_a_warning() -> None:
    result = interpolate({"a": ["$NO", "${NO}$NO"], "b": "${NO:-x}${NO:+$NEITHER}"}, {}, "here")
    assert result.value == {"a": ["", ""], "b": "x"}
    is_empty = "the variable NO is not set, an empty string takes its place"
    remedy = "set it in .env, or in environment beside files: the environment of the controller is not read"
    assert [str(warning) for warning in result.warnings] == [
        f"here.a[0]: {is_empty}; {remedy}",
        f"here.a[1]: {is_empty}; {remedy}",
    ]


@pytest.mark.parametrize("template", ["${", "${}", "${ }", "${ SET}", "${SET }", "${SET!}", "${1}", "${NO:-${SET}"])
def test_wrong_syntax(template: str) -> None:
    with pytest.raises(ModelError, match=r'^here\.a: "\$\{.*" is no variable; write \$\{NAME\}'):
        interpolate({"a": template}, ENVIRONMENT, "here")


def test_all_problems_of_a_value_are_named() -> None:
    with pytest.raises(ModelError) as caught:
        interpolate(["${NO?}", "${EMPTY:?because of $SET}", "${"], ENVIRONMENT, "here")
    remedy = "set it in .env, or in environment beside files: the environment of the controller is not read"
    assert [str(problem) for problem in caught.value.problems] == [
        f"here[0]: the required variable NO has no value; {remedy}",
        f"here[1]: the required variable EMPTY has no value: because of value; {remedy}",
        'here[2]: "${" is no variable; write ${NAME} or ${NAME:-default}, or $$ for a dollar sign',
    ]
