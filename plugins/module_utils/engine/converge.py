# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run: words -> model -> plan -> desired; observe; diff; apply to all layers; observe again: nothing may differ."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Callable, Collection, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from . import flows, transaction
from . import ledger as ledger_file
from .declaration.declared import ABSENT, Call, Declared, check_removed_networks, declare, known, not_given, unnamed
from .declaration.model import Model
from .declaration.parse_model import read_model, without_problems
from .declaration.places import Places
from .diff import Change
from .errors import ApplyError, ConflictError, ModelError, Problem, ProblemCollector, VerifyError, WharfError
from .facts_reader import read_facts
from .layers import BOOT, DOCKER_CHAINS, LAYERS, Layer
from .ledger import Ledger
from .planning.address_sets import NETADDR
from .planning.allotments import Allotments
from .planning.facts import Facts
from .planning.plan import Plan
from .planning.publications import Publication
from .planning.subnets import without_new_allotments
from .state import Key, Rules, State, state_of
from .transaction import Part, planned

# Of what is declared already, each entry says where.
_OF_ENTRIES = Places()

EDITED = "this file was edited by hand and is left as it is: empty it, and the next run writes it again"


@dataclass(frozen=True)
class Result:
    """What a run changed, or would change.

    `pending` are sandboxes, endpoints and files that are left alone for now, each with the reason, if it is another one
    than that the container does not run. `published` are the ports of the host that
    were chosen where the declaration leaves the choice. `edited` are files that are left as an admin has edited them.
    """

    changes: Tuple[Change, ...]
    warnings: Tuple[str, ...] = ()
    pending: Mapping[str, str] = field(default_factory=dict)
    published: Tuple[Publication, ...] = ()
    edited: Tuple[str, ...] = ()


def converge(
    call: Call,
    layers: Sequence[Layer] = LAYERS,
    limit: Callable[[Part], Part] = lambda part: part,
    facts: Callable[[Ledger], Facts] = read_facts,
    tell: Callable[[str], None] = ledger_file.on_stderr,
) -> Result:
    """Bring this host to what is declared, in one transaction, or say what would change.

    The ledger is written before the kernel is touched, so that the next run knows whatever a killed run leaves behind.
    `limit` takes from a part of the run the changes that are not to be made. `tell` hears of another run that this one
    waits for.

    Raises:
        ModelError, ConflictError: nothing was touched.
        ApplyError, VerifyError: the message says what was refused and what became of the run.
    """
    with ledger_file.locked(tell):
        host = read_host(call, layers, facts)
        before = after = [limit(part) for part in host.parts]
        refused: Dict[Key, str] = {}
        if not call.check:
            after, refused = _commit(host, before)
        return _result(host, before, after, refused, call.check)


def recover_ledger(call: Call) -> Ledger:
    """Write a ledger of what exists on this host, where its own is lost, and change nothing else.

    What the call makes of the declaration is declared.
    """
    with ledger_file.locked():
        host = read_host(call, layers=())
        ledger = host.ledger
        if ledger.is_new:
            ledger.declared = host.declared
            if not host.declared.is_empty:
                ledger.allotted = host.plan.allotted.completed(ledger.allotted, host.declared.containers)
            ledger.save()
    return ledger


@dataclass(frozen=True)
class Host:
    """A host as a run finds it, and as it shall be.

    `declared` and `plan` are what will be. `warnings` are those of the declaration alone.
    """

    ledger: Ledger
    declared: Declared
    plan: Plan
    warnings: Sequence[str]
    layers: Sequence[Layer]
    parts: Sequence[Part]
    facts: Facts

    def ports_to_check(self, changes: Sequence[Change]) -> Set[str]:
        """The ports whose flows may be stale after the changes."""
        if not any(isinstance(change.subject, Rules) for change in changes):
            return set()
        expected = DOCKER_CHAINS.desired(self.before) if self.before else []
        return flows.ports_to_check(self.before, state_of(expected), self.plan, changes)

    @cached_property
    def before(self) -> Optional[Plan]:
        """The plan of what was declared before this run; None if it cannot be made any more."""
        with suppress(ModelError):
            return make_plan(self.ledger.declared, self.facts, self.ledger.allotted, ProblemCollector())
        return None


def read_host(call: Call, layers: Sequence[Layer] = LAYERS, facts: Callable[[Ledger], Facts] = read_facts) -> Host:
    """Plan the host and observe each layer once. Changes nothing.

    Raises:
        ModelError: what is declared, or given, is wrong; with what the host lacks besides.
        ConflictError: the host lacks something, or an object of somebody else is in the way.
    """
    ledger = _load_ledger(call)
    declared = declare(ledger.declared, call)
    expected = known(declared, call)
    check_removed_networks(ledger.declared, expected)
    seen = facts(ledger)
    idle = ProblemCollector()
    earlier = not_given(ledger.declared, call)
    try:
        # Rules that were declared before may name what has gone since.
        plan = make_plan(expected, seen, ledger.allotted, None if call.declares_rules else idle, earlier, call.places)
    except ModelError as error:
        besides = _besides(error, expected, seen, ledger, layers, call.places) if declared.host is not None else []
        raise ModelError(*dict.fromkeys([*error.problems, *besides])) from error
    if ledger.is_new and ledger.owned.keys() - {BOOT.name}:
        from .recovery import claim

        claim(ledger, plan)
        plan = make_plan(expected, seen, ledger.allotted, ProblemCollector(), earlier, call.places)
    if expected != declared:
        plan = make_plan(declared, seen, plan.allotted, ProblemCollector(), earlier, call.places)
    problems = ProblemCollector()
    if not call.repeats and call.state != ABSENT and not declared.is_empty:
        problems.problems += [problem for layer in layers for problem in layer.lacks(plan)]
    parts = _observe(layers, plan, ledger, problems)
    problems.raise_if_any(ConflictError)
    warnings = [*unnamed(ledger.declared, call), *plan.warnings]
    warnings += [f"the rule matches nothing: {problem}" for problem in idle.problems]
    return Host(ledger, declared, plan, warnings, layers, parts, seen)


def _load_ledger(call: Call) -> Ledger:
    """
    Raises:
        ConflictError: the ledger is lost, and the call does not ask to recover it.
    """
    ledger = Ledger.load(broken_too=call.recover)
    if ledger.is_new:
        # Most hosts have their ledger, and do without this.
        from .recovery import recovered

        ledger = recovered(ledger, call)
    elif not ledger.knows_boot:
        from .recovery import note_boot

        note_boot(ledger)
    return ledger


def make_plan(
    declared: Declared,
    facts: Facts,
    before: Allotments,
    idle: Optional[ProblemCollector] = None,
    earlier: Collection[str] = (),
    places: Places = _OF_ENTRIES,
) -> Plan:
    """`idle` takes the problems of rules of the admin that match nothing. `earlier` are the networks that the call was
    not given. `places` names what it was given, in messages.

    Raises:
        ModelError: what is declared, or given, is wrong.
    """
    problems = ProblemCollector()
    model = replace(_read(declared, problems, idle, places), earlier=frozenset(earlier))
    return _with_parts(Plan.make(model, facts, before, problems), declared)


def _with_parts(plan: Plan, declared: Declared) -> Plan:
    has_networks = declared.host is not None
    has_rules = has_networks or declared.docker_user is not None
    return replace(plan, has_networks=has_networks, has_rules=has_rules, boot=declared.boot)


def make_sound_plan(declared: Declared, facts: Facts, before: Allotments) -> Tuple[Plan, Tuple[Problem, ...]]:
    """The plan for the part of a declaration that has no errors, and the errors of the rest."""
    try:
        return make_plan(declared, facts, before, ProblemCollector()), ()
    except ModelError as error:
        return _plan_of_the_rest(error, declared, facts, before, _OF_ENTRIES), error.problems


def _plan_of_the_rest(error: ModelError, declared: Declared, facts: Facts, before: Allotments, places: Places) -> Plan:
    model = without_problems(_read(declared, ProblemCollector(), None, places), error.problems)
    if any(problem.path == NETADDR for problem in error.problems):
        model = without_new_allotments(model)
    return _with_parts(Plan.make(model, facts, before), declared)


def _read(declared: Declared, problems: ProblemCollector, idle: Optional[ProblemCollector], places: Places) -> Model:
    parts = declared.networks, declared.containers, declared.docker_user or ()
    return read_model(declared.host, *parts, problems, idle, declared.firewall, places)


def _besides(
    error: ModelError, declared: Declared, facts: Facts, ledger: Ledger, layers: Sequence[Layer], places: Places
) -> List[Problem]:
    """What this host lacks, and what is in the way, for the part of a declaration that the error is not about."""
    problems = ProblemCollector()
    with suppress(ModelError, ApplyError):
        plan = _plan_of_the_rest(error, declared, facts, ledger.allotted, places)
        problems.problems += [problem for layer in layers for problem in layer.lacks(plan)]
        _observe(layers, plan, ledger, problems)
    return problems.problems


def _observe(layers: Sequence[Layer], plan: Plan, ledger: Ledger, problems: ProblemCollector) -> List[Part]:
    """What each resource has to do, in the order of the layers; with all that the host lacks for it."""
    parts = []
    for layer in layers:
        for resource in layer.resources(ledger):
            new: Optional[State] = None
            in_the_way = ProblemCollector()
            with in_the_way.collect():
                part = Part.observed(layer, resource, plan, ledger)
                parts.append(part)
                if part.changes:
                    new = state_of([change.after for change in part.changes if change.after])
            if in_the_way.problems:
                # What this host lacks besides is told at once.
                new = planned(layer, resource, plan)
            with problems.collect():
                if new is not None:
                    resource.require(new)
            problems.problems += in_the_way.problems
    return parts


def _commit(host: Host, parts: Sequence[Part]) -> Tuple[List[Part], Dict[Key, str]]:
    """Make the changes, and the ledger true before and after. The parts as they are then, and what was refused."""
    ledger, before = host.ledger, (host.ledger.declared, host.ledger.allotted)
    ledger.note_before(parts, host.ports_to_check([change for part in parts for change in part.changes]))
    allotted = host.plan.allotted.completed(ledger.allotted, host.declared.containers)
    ledger.declared, ledger.allotted = host.declared, allotted
    _save(ledger, "nothing was changed")
    refused: Dict[Key, str] = {}
    if any(part.changes for part in parts):
        try:
            refused = transaction.apply(parts)
            parts = transaction.verified(parts, refused)
        except (WharfError, OSError) as error:
            told = _take_back(host, parts, before)
            kind = VerifyError if isinstance(error, VerifyError) else ApplyError
            raise kind(f"{error}; {told}") from error
    ledger.note_after(parts)
    try:
        flows.forget(ledger.stale_ports, host.plan)
        ledger.stale_ports.clear()
    except ApplyError as error:
        raise ApplyError(f"{error}; all changes were made, and the next run does the rest") from error
    finally:
        _save(ledger, "all changes were made: run this again once it can be written")
    return list(parts), refused


def _take_back(host: Host, parts: Sequence[Part], before: Tuple[Declared, Allotments]) -> str:
    """Make the host and its ledger what they were before the run; a sentence that says what could not be taken back."""
    ledger = host.ledger
    ledger.declared, ledger.allotted = before
    earlier = {layer.name: state_of(layer.desired(host.before)) for layer in host.layers if host.before}
    left, problems = transaction.roll_back(parts, earlier)
    try:
        if host.before:
            flows.forget(ledger.stale_ports, host.before)
    except ApplyError as error:
        problems.append(str(error))
    try:
        if problems:
            ledger.note_after(left)
            ledger.save()
        else:
            ledger.put_back()
    except ApplyError as error:
        problems.append(str(error))
    told = "all changes of this run were taken back"
    return told + (f", but for these: {'; '.join(dict.fromkeys(problems))}" if problems else "")


def _save(ledger: Ledger, otherwise: str) -> None:
    """
    Raises:
        ApplyError: the ledger cannot be written, and what that means.
    """
    try:
        ledger.save()
    except ApplyError as error:
        raise ApplyError(f"{error}; {otherwise}") from error


def _result(host: Host, before: Sequence[Part], after: Sequence[Part], refused: Dict[Key, str], check: bool) -> Result:
    left_alone = [*(each for part in after for each in part.seen.pending.items()), *refused.items()]
    pending = {name: reason for (_kind, name), reason in sorted(left_alone)}
    edited = sorted(key[1] for part in before for key in part.seen.edited & part.left)
    changes = tuple(change for part in before for change in part.changes if change.subject.key not in refused)
    left = changes if check else ()
    warnings = (
        *host.warnings,
        *(warning for layer in host.layers for warning in layer.warnings(host.plan, left)),
        *dict.fromkeys(reason for reason in pending.values() if reason),
        *(f"{name}: {EDITED}" for name in edited),
    )
    return Result(changes, warnings, pending, host.plan.chosen_ports, tuple(edited))
