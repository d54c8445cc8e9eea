# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError
from ansible_collections.wharf.network.plugins.plugin_utils.dotenv import parse_dotenv


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("\n  \n# A=1\n  # B=2", {}),
        ("A=1", {"A": "1"}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("export A=1\n  export\tB = 2 ", {"A": "1", "B": "2"}),
        ("A: 1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=  # comment\nB=2", {"A": "", "B": "2"}),
        ("A=a b # comment", {"A": "a b"}),
        ("A=a#b", {"A": "a#b"}),
        ("A=#b", {"A": "#b"}),
        ("A=x=y", {"A": "x=y"}),
        ("A='a # b' # comment\nB=2", {"A": "a # b", "B": "2"}),
        (r"A='$B ${C:?} \n it\'s'", {"A": r"$B ${C:?} \n it's"}),
        (r'A="a\tb\n\"c\" \\ \$B \x"', {"A": 'a\tb\n"c" \\ $B \\x'}),
        ('A="one\ntwo"\nB=2', {"A": "one\ntwo", "B": "2"}),
        ("A='one\n\ntwo'\nB=2", {"A": "one\n\ntwo", "B": "2"}),
        ("A=1\nB=$A\nC=\"${A}$B\"\nD='$A'", {"A": "1", "B": "1", "C": "11", "D": "$A"}),
        ("A=${GIVEN:-no}", {"A": "yes"}),
        ("GIVEN=changed\nA=$GIVEN", {"GIVEN": "changed", "A": "yes"}),
        ("A=1\nA=2", {"A": "2"}),
        ("GIVEN\nA.b-c=1", {"A.b-c": "1"}),
    ],
)
def test_syntax(text: str, values: dict[str, str]) -> None:
    assert parse_dotenv(text, {"GIVEN": "yes"}, ".env")[0] == values


def test_what_is_not_set_is_a_warning() -> None:
    _values, (warning,) = parse_dotenv("\nA=$NO", {}, ".env")
    assert str(warning).startswith(".env:2: the variable NO is not set, an empty string takes its place; ")


def test_every_wrong_line_is_named() -> None:
    text = "A B\n=1\nC='x' y\n\nD=${\nE='open\nF=1"
    with pytest.raises(ModelError) as caught:
        parse_dotenv(text, {}, "app/.env")
    assert [str(problem) for problem in caught.value.problems] == [
        "app/.env:1: 'A' must be followed by =; write A=value",
        "app/.env:2: '=1' is no assignment; write NAME=value",
        "app/.env:3: ' y' follows the closing quote; quote the whole value",
        'app/.env:5: "${" is no variable; write ${NAME} or ${NAME:-default}, or $$ for a dollar sign',
        "app/.env:6: the value of E has no closing '",
    ]
