# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules by which AWX 24 checks the survey of a template, and the answers at a launch.

They follow `JobTemplateSurveySpec` of awx/api/views/__init__.py and `_survey_element_validation` of
awx/main/models/mixins.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "textarea": str,
    "password": str,
    "multiplechoice": str,
    "multiselect": str,
    "integer": int,
    "float": (float, int),
}
_CHOOSING = ("multiplechoice", "multiselect")


def problems_of_survey(survey: Any) -> list[str]:
    """Why AWX answers 400 to a survey; empty where it accepts it."""
    found = [
        f"{key} must be a {kind.__name__}"
        for key, kind in (("name", str), ("description", str), ("spec", list))
        if not isinstance(survey.get(key), kind)
    ]
    if found or not survey["spec"]:
        return found or ["spec has no items"]
    variables = [question.get("variable") for question in survey["spec"]]
    found += [f"{name} is asked twice" for name in set(variables) if variables.count(name) > 1]
    return [*found, *(problem for question in survey["spec"] for problem in _problems_of_question(question))]


def _problems_of_question(question: dict[str, Any]) -> Iterator[str]:
    name = question.get("variable")
    for key, kind in (("type", str), ("question_name", str), ("variable", str), ("required", bool)):
        if not isinstance(question.get(key), kind):
            yield f"{name}: {key} must be a {kind.__name__}"
    kind = question.get("type")
    if kind not in _TYPES:
        yield f"{name}: {kind} is no type of questions"
        return
    default = question.get("default", "")
    if default != "" and (isinstance(default, bool) or not isinstance(default, _TYPES[kind])):
        yield f"{name}: the default {default!r} is not of the type {kind}"
    for limit in ("min", "max"):
        if not isinstance(question.get(limit), (int, type(None))):
            yield f"{name}: {limit} must be an integer"
    if kind in _CHOOSING:
        if "choices" not in question:
            yield f"{name}: has no choices"
        elif any(each not in choices_of(question) for each in str(default).splitlines()):
            yield f"{name}: the default {default!r} is none of the choices"
        elif kind == "multiplechoice" and len(str(default).splitlines()) > 1:
            yield f"{name}: has several defaults"


def choices_of(question: dict[str, Any]) -> list[str]:
    given = question["choices"]
    return [choice for choice in given.splitlines() if choice.strip()] if isinstance(given, str) else list(given)


def problems_of_answers(survey: dict[str, Any], answers: dict[str, Any]) -> list[str]:
    """Why AWX refuses to launch a job with these answers."""
    return [problem for question in survey.get("spec", []) for problem in _problems_of_answer(question, answers)]


def _problems_of_answer(question: dict[str, Any], answers: dict[str, Any]) -> Iterator[str]:
    name, kind = question["variable"], question["type"]
    if name not in answers:
        if question["required"] and question.get("default") in (None, ""):
            yield f"{name}: an answer is missing"
        return
    answer = answers[name]
    if kind in _CHOOSING:
        chosen = answer if kind == "multiselect" else [answer]
        if any(each not in choices_of(question) for each in chosen):
            yield f"{name}: {answer!r} is none of the choices"
        return
    if isinstance(answer, bool) or not isinstance(answer, _TYPES[kind]):
        yield f"{name}: {answer!r} is not of the type {kind}"
        return
    size = len(answer) if isinstance(answer, str) else answer
    least, most = question.get("min"), question.get("max")
    if (least is not None and size < least) or (most is not None and size > most):
        yield f"{name}: {answer!r} is not from {least} to {most}"
