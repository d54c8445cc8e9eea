# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared and the facts of a host -> its plan, or the plan of the part that has no errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Collection, Optional, Tuple

from ..declaration.declared import Declared
from ..declaration.model import Model
from ..declaration.parse_model import read_model, without_problems
from ..declaration.places import Places
from ..errors import ModelError, Problem, ProblemCollector
from .address_sets import NETADDR
from .allotments import Allotments
from .facts import Facts
from .plan import Plan
from .subnets import without_new_allotments

# Each entry that an earlier run declared says itself where it was declared.
_OF_ENTRIES = Places()


def make_plan(
    declared: Declared,
    facts: Facts,
    before: Allotments,
    unmatched: Optional[ProblemCollector] = None,
    earlier: Collection[str] = (),
    places: Places = _OF_ENTRIES,
) -> Plan:
    """`unmatched` collects the problems of the admin's rules that match nothing, which are errors without it.

    `earlier` are the networks that the call was not given. `places` names in messages what the call was given.

    Raises:
        ModelError: what is declared, or given, is wrong.
    """
    problems = ProblemCollector()
    model = replace(_read(declared, facts, problems, unmatched, places), earlier=frozenset(earlier))
    return _with_parts(Plan.make(model, facts, before, problems), declared)


def make_sound_plan(declared: Declared, facts: Facts, before: Allotments) -> Tuple[Plan, Tuple[Problem, ...]]:
    """The plan for the part of a declaration that has no errors, and the errors of the rest."""
    try:
        return make_plan(declared, facts, before, ProblemCollector()), ()
    except ModelError as error:
        return make_plan_without(error.problems, declared, facts, before), error.problems


def make_plan_without(
    problems: Tuple[Problem, ...], declared: Declared, facts: Facts, before: Allotments, places: Places = _OF_ENTRIES
) -> Plan:
    """The plan for the part of a declaration that these problems are not about.

    Raises:
        ModelError: that part has problems, too.
    """
    model = without_problems(_read(declared, facts, ProblemCollector(), None, places), problems)
    if any(problem.path == NETADDR for problem in problems):
        model = without_new_allotments(model)
    return _with_parts(Plan.make(model, facts, before), declared)


def _read(
    declared: Declared, facts: Facts, problems: ProblemCollector, unmatched: Optional[ProblemCollector], places: Places
) -> Model:
    parts = declared.networks, declared.containers, declared.docker_user or ()
    return read_model(declared.host, *parts, problems, unmatched, declared.firewall, places, facts.may_have_docker)


def _with_parts(plan: Plan, declared: Declared) -> Plan:
    has_networks = declared.host is not None
    has_rules = has_networks or declared.docker_user is not None
    return replace(plan, has_networks=has_networks, has_rules=has_rules, boot=declared.boot)
