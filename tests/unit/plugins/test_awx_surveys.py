# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The surveys of awx_setup.yml: AWX accepts them, and the playbooks accept every answer that AWX does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from survey_rules import choices_of, problems_of_answers, problems_of_survey

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError
from ansible_collections.wharf.network.plugins.plugin_utils.variables import KNOWN, read_settings

CHECKOUT = Path(__file__).parents[3]
PLAY = yaml.safe_load((CHECKOUT / "playbooks/awx_setup.yml").read_text(encoding="utf-8"))[0]
QUESTIONS: dict[str, dict[str, Any]] = PLAY["vars"]["questions"]
TEMPLATES: dict[str, dict[str, Any]] = PLAY["vars"]["templates"]


def settings(given: dict[str, Any]) -> dict[str, Any]:
    needed = {"wharf_confirm": 60} if given.get("wharf_confirm_verify") == "true" else {}
    return read_settings({**needed, **given}, lambda _patterns: [])


def answers(question: dict[str, Any]) -> Iterator[Any]:
    """Those at the limits of what AWX accepts."""
    yield question["default"]
    if question["type"] == "multiplechoice":
        yield from choices_of(question)
    if question["type"] == "integer":
        yield from (question["min"], question["max"])
    if not question["required"]:
        yield ""


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_answer_that_awx_accepts_is_accepted(name: str) -> None:
    question = QUESTIONS[name]
    survey = {"name": "", "description": "", "spec": [question]}
    assert problems_of_survey(survey) == []
    assert question["variable"] in KNOWN
    for answer in answers(question):
        assert problems_of_answers(survey, {question["variable"]: answer}) == []
        settings({question["variable"]: answer})


def test_an_answer_may_be_empty_only_where_an_inventory_cannot_have_the_variable() -> None:
    """An empty answer is an extra variable, which hides the one of the inventory."""
    assert {question["variable"] for question in QUESTIONS.values() if not question["required"]} == {"wharf_serial"}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_each_template_runs_a_playbook(template: dict[str, Any]) -> None:
    assert (CHECKOUT / "playbooks" / template["playbook"]).exists()
    survey = {"name": "", "description": "", "spec": [QUESTIONS[name] for name in template.get("survey", ())]}
    assert not template.get("survey") or problems_of_survey(survey) == []


def test_each_step_is_of_a_template_that_accepts_its_variables() -> None:
    for step in PLAY["vars"]["steps"].values():
        if "template" in step:
            template = TEMPLATES[step["template"]]
            spec = [QUESTIONS[name] for name in template.get("survey", ())]
            assert step.get("variables", {}).keys() <= {question["variable"] for question in spec}
            assert problems_of_answers({"spec": spec}, step.get("variables", {})) == []
            assert "skip_tags" not in step or template["ask_skip_tags"]


def test_settings_of_an_awx() -> None:
    given = {"inventory": "Servers", "credentials": "ssh", "folder": ".", "become": False}
    read = settings({"wharf_awx_setup": given})["awx_setup"]
    assert (read["inventory"], read["credentials"], read["path"], read["become"]) == ("Servers", ["ssh"], "", False)
    assert settings({"wharf_awx_setup": "{inventory: Servers}"})["awx_setup"]["path"] == "playbooks/"
    assert "awx_setup" not in settings({"wharf_awx_setup": ""})


def test_the_project_is_this_repository() -> None:
    galaxy = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text(encoding="utf-8"))
    assert settings({"wharf_awx_setup": {"inventory": "x"}})["awx_setup"]["url"] == galaxy["repository"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"inventry": "x"}, "wharf_awx_setup.inventry: unknown key; did you mean inventory?"),
        ({}, "wharf_awx_setup.inventory: is missing: name the inventory in AWX that has the hosts"),
        ("Servers", 'wharf_awx_setup: "Servers": must be a mapping'),
        ({"inventory": "x", "become": "perhaps"}, 'wharf_awx_setup.become: "perhaps": must be true or false'),
    ],
)
def test_wrong_settings_of_an_awx(value: Any, problem: str) -> None:
    with pytest.raises(ModelError) as caught:
        settings({"wharf_awx_setup": value})
    assert problem in [str(each) for each in caught.value.problems]
