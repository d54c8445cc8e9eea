# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop: words -> model -> plan -> desired; observe; diff; apply; observe again, and nothing may differ."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Callable, Collection, Dict, FrozenSet, List, Optional, Sequence, Set, Tuple

from . import ledger as ledger_file
from .declaration.declared import ABSENT, Call, Declared, declare, known, not_given, refuse_leaving, unnamed
from .declaration.model import Model
from .declaration.model_words import read_model, sound
from .declaration.places import Places
from .diff import CREATE, Change, diff
from .doors.door import Door
from .errors import ApplyError, ConflictError, ModelError, Problem, ProblemCollector, VerifyError, WharfError
from .ledger import Ledger
from .planning.address_sets import NETADDR
from .planning.allotments import Allotments
from .planning.facts import Facts
from .planning.plan import Plan
from .planning.publications import Publication
from .planning.subnets import without_new_allotments
from .state import DOCKER_USER, SCOPES, Chain, Key, Object, State, state_of

# Of what is declared already, each entry says where.
_OF_ENTRIES = Places()

LEFT_ALONE = "this file was edited on the host and is left as it is: empty it, and the next run writes it again"


@dataclass(frozen=True)
class Layer:
    """One layer of a host: what is planned for it, and the door to it.

    `warn` looks at the host for what may keep the plan from working; it is given the changes that are still to be made.
    `lacks` looks for what the host has to have for the plan, beside what the door itself requires for new objects.
    `publishes`: its calls tell which ports of the host were chosen. `leaves` says by its name whether a file that
    somebody has edited is left as it is; its calls tell which these are.
    """

    name: str
    plan: Callable[[Plan], List[Object]]
    door: Callable[[Ledger], Door]
    warn: Callable[[Plan, Sequence[Change]], Sequence[str]] = lambda _plan, _left: ()
    lacks: Callable[[Plan], Sequence[Problem]] = lambda _plan: ()
    publishes: bool = False
    leaves: Optional[Callable[[str], bool]] = None


@dataclass(frozen=True)
class Result:
    """What a call changed, or would change. `pending` are the sandboxes and endpoints whose place is not there yet, or
    which something inside the container keeps from being made.

    `published` are the ports of the host that were taken where the declaration leaves the choice; None of a layer that
    publishes nothing. `edited` are the files that are left as somebody has edited them; None of a layer without such.
    """

    changes: Tuple[Change, ...]
    warnings: Tuple[str, ...] = ()
    pending: Tuple[str, ...] = ()
    published: Optional[Tuple[Publication, ...]] = None
    edited: Optional[Tuple[str, ...]] = None

    @property
    def predictions(self) -> Dict[str, str]:
        """For later calls of a check-mode play: what each object that changes would have become."""
        return {" ".join(change.subject.key): change.fingerprint for change in self.changes}


def converge(
    layer: Layer,
    call: Call,
    read_facts: Callable[[Ledger], Facts],
    layers: Sequence[Layer] = (),
    tell: Callable[[str], None] = ledger_file.on_stderr,
) -> Result:
    """Bring one layer of this host to what is declared.

    What the host lacks for any of `layers`, and foreign objects in the way of what is new, are reported first. The
    ledger is written before the kernel is touched, so that whatever a killed run leaves behind is known to the next one
    as our own. `tell` hears of another run that this one waits for.

    Raises:
        ModelError, ConflictError: nothing was touched.
        ApplyError, VerifyError: the message says what became of the layer; the next run finishes what is left.
    """
    with ledger_file.locked(tell):
        host = _know(call, read_facts, layers)
        ledger, declared, plan = host.ledger, host.declared, host.plan
        planned = [] if declared.is_empty else planned_objects(layer, plan)
        problems = ProblemCollector()
        if planned and call.state != ABSENT and not call.repeats:
            problems.problems += [problem for each in layers for problem in each.lacks(plan)]
        if not declared.is_empty and (declared != ledger.declared or _new(planned, layer, ledger)):
            _find_conflicts(layers, call, plan, ledger, problems)
        problems.raise_if_any(ConflictError)
        step = Step.make(layer, call, ledger, planned)
        coming = [_announced(change, call) for change in step.changes if not _is_predicted(change, call)]
        if not call.check:
            take(step, ledger, declared, plan.allotted.completed(ledger.allotted, declared.containers))
        changes = tuple(change for change in coming if change.subject.key not in step.waiting)
        found = () if declared.is_empty else layer.warn(plan, step.remaining(call.check))
    warnings = (
        *host.unnamed,
        *plan.warnings,
        *(f"the rule holds for nothing: {problem}" for problem in host.idle.problems),
        *found,
        *step.door.hindrances(),
        *(f"{name}: {LEFT_ALONE}" for name in step.left_names),
    )
    published = plan.chosen_ports if layer.publishes else None
    edited = step.left_names if layer.leaves else None
    return Result(changes, warnings, tuple(sorted(name for _kind, name in step.waiting)), published, edited)


def adopt_host(call: Call, read_facts: Callable[[Ledger], Facts]) -> Ledger:
    """Write a ledger of what stands on this host, where it has lost its own, and change nothing else.

    What the call makes of the declaration is declared.
    """
    with ledger_file.locked():
        found = _know(call, read_facts)
        ledger, declared = found.ledger, found.declared
        if ledger.is_new:
            ledger.declared = declared
            if not declared.is_empty:
                ledger.allotted = found.plan.allotted.completed(ledger.allotted, declared.containers)
            ledger.save()
    return ledger


@dataclass(frozen=True)
class _Known:
    """A host as a call finds it: `declared` and `plan` are what will be. `idle` are rules that hold for nothing.

    `unnamed` are warnings of what stays since the call names nothing of it.
    """

    ledger: Ledger
    declared: Declared
    plan: Plan
    idle: ProblemCollector
    unnamed: Sequence[str]


def _know(call: Call, read_facts: Callable[[Ledger], Facts], layers: Sequence[Layer] = ()) -> _Known:
    """
    Raises:
        ModelError: what is declared, or given, cannot be; with what of `layers` could not be besides.
        ConflictError: the ledger is lost, and nobody has asked for what is ours to be found again.
    """
    ledger = Ledger.load(broken_too=call.adopt)
    if ledger.is_new:
        # Most hosts have their ledger, and do without this.
        from .adoption import adopted

        ledger = adopted(ledger, call)
    declared = declare(ledger.declared, call)
    words = known(declared, call)
    refuse_leaving(ledger.declared, words)

    def plan() -> Tuple[Plan, ProblemCollector]:
        # Rules that were declared before may name what has gone since.
        idle = ProblemCollector()
        facts = read_facts(ledger)
        try:
            earlier = not_given(ledger.declared, call)
            made = make_plan(ledger, words, facts, None if call.declares_rules else idle, earlier, call.places)
        except ModelError as error:
            asked = () if declared.host is None else layers
            besides = _in_the_way_of_the_rest(error, asked, call, ledger, words, facts)
            raise ModelError(*dict.fromkeys([*error.problems, *besides])) from error
        return replace(made, only_docker_user=declared.host is None), idle

    planned, idle = plan()
    if ledger.is_new and ledger.owned:
        from .adoption import claim

        claim(ledger, planned)
        planned, idle = plan()
    return _Known(ledger, declared, planned, idle, unnamed(ledger.declared, call))


def _in_the_way_of_the_rest(
    error: ModelError, layers: Sequence[Layer], call: Call, ledger: Ledger, words: Declared, facts: Facts
) -> List[Problem]:
    """What this host lacks, and what is in the way, for that part of a declaration which the error is not about."""
    problems = ProblemCollector()
    with suppress(ModelError, ApplyError):
        model = sound(_read(words, ProblemCollector(), None, call.places), error.problems)
        if any(problem.path == NETADDR for problem in error.problems):
            model = without_new_allotments(model)
        plan = Plan.make(model, facts, ledger.allotted)
        problems.problems += [problem for each in layers for problem in each.lacks(plan)]
        _find_conflicts(layers, call, plan, ledger, problems)
    return problems.problems


def take(step: Step, ledger: Ledger, declared: Declared, allotted: Allotments) -> None:
    """Take a step; the ledger says so before the kernel is touched, and no longer if the step had to be taken back."""
    before = ledger.declared, ledger.allotted
    ledger.declared, ledger.allotted = declared, allotted
    step.note_owned()
    _save(ledger, "nothing was changed")
    try:
        step.apply()
    except (ApplyError, VerifyError) as error:
        ledger.declared, ledger.allotted = before
        _save(ledger, f"besides, {error}")
        raise
    try:
        step.finish()
    finally:
        _save(ledger, "all changes were made: run this again once it can be written")


def _save(ledger: Ledger, otherwise: str) -> None:
    """
    Raises:
        ApplyError: the ledger cannot be written, and what that means.
    """
    try:
        ledger.save()
    except ApplyError as error:
        raise ApplyError(f"{error}; {otherwise}") from error


def _find_conflicts(
    layers: Sequence[Layer], call: Call, plan: Plan, ledger: Ledger, problems: ProblemCollector
) -> None:
    """All that this host lacks, and every foreign object in the way, of any scope: earlier calls are to find them."""
    for layer in layers:
        planned = planned_objects(layer, plan)
        with problems.collect():
            layer.door(ledger).require(state_of(planned))
        with problems.collect():
            Step.make(layer, call, ledger, planned)


def _new(planned: List[Object], layer: Layer, ledger: Ledger) -> State:
    """What is planned and was never ours."""
    owned = ledger.owned_by(layer.name)
    return {key: thing for key, thing in state_of(planned).items() if key not in owned}


def _is_predicted(change: Change, call: Call) -> bool:
    return call.predicted.get(" ".join(change.subject.key)) == change.fingerprint


def _announced(change: Change, call: Call) -> Change:
    """The change as it will be: a chain that an earlier call of a check-mode play makes, this one makes another."""
    made = call.predicted.get(" ".join(change.subject.key))
    if change.action == CREATE and isinstance(change.after, Chain) and made:
        return Change(Chain(change.after.name, ()), change.after)
    return change


def make_plan(
    ledger: Ledger,
    words: Declared,
    facts: Facts,
    idle: Optional[ProblemCollector] = None,
    earlier: Collection[str] = (),
    places: Places = _OF_ENTRIES,
) -> Plan:
    """`idle` takes the problems of rules of the admin's that hold for nothing. `earlier` are the networks that the call
    was not given.

    Raises:
        ModelError: what is declared, or given, cannot be.
    """
    problems = ProblemCollector()
    model = replace(_read(words, problems, idle, places), earlier=frozenset(earlier))
    return replace(Plan.make(model, facts, ledger.allotted, problems), only_docker_user=words.host is None)


def make_sound_plan(ledger: Ledger, words: Declared, facts: Facts) -> Tuple[Plan, Tuple[Problem, ...]]:
    """The plan for what of a declaration can be, and why the rest cannot."""
    try:
        return make_plan(ledger, words, facts, ProblemCollector()), ()
    except ModelError as error:
        model = sound(_read(words, ProblemCollector(), None, _OF_ENTRIES), error.problems)
        plan = Plan.make(model, facts, ledger.allotted)
        return replace(plan, only_docker_user=words.host is None), error.problems


def _read(words: Declared, problems: ProblemCollector, idle: Optional[ProblemCollector], places: Places) -> Model:
    parts = words.networks, words.containers, words.docker_user or ()
    return read_model(words.host, *parts, problems, idle, words.firewall, places)


def planned_objects(layer: Layer, plan: Plan) -> List[Object]:
    """What a layer is to hold; nothing but rules of the admin's where the host's networks are somebody else's."""
    planned = layer.plan(plan)
    return [thing for thing in planned if thing.scope == DOCKER_USER] if plan.only_docker_user else planned


@dataclass(frozen=True)
class Step:
    """One layer's way from what is there to what is desired.

    `pending` is left alone, and so is what stands of it where it is `out_of_sight`, and what is `left` of what somebody
    has `edited`. What the door is refused while the step is taken becomes as if pending.
    """

    layer: Layer
    ledger: Ledger
    door: Door
    desired: State
    current: State
    scopes: FrozenSet[str]
    pending: FrozenSet[Key]
    out_of_sight: FrozenSet[Key]
    edited: FrozenSet[Key]
    left: FrozenSet[Key]

    @classmethod
    def make(cls, layer: Layer, call: Call, ledger: Ledger, planned: List[Object]) -> Step:
        door = layer.door(ledger)
        everything = door.canonical(state_of(planned))
        pending = door.pending(everything)
        desired = {key: thing for key, thing in everything.items() if key not in pending}
        owned = ledger.owned_by(layer.name)
        out_of_sight = door.out_of_sight(everything)
        current = _without(out_of_sight, door.observe(desired, owned))
        edited = door.edited(current, desired)
        left = frozenset(key for key in edited if layer.leaves and layer.leaves(key[1]))
        moving = door.is_moving(desired, owned)
        scopes = frozenset(SCOPES) if moving else call.converged_scopes
        there, wanted = _without(left, current), _without(left, desired)
        return cls(layer, ledger, door, wanted, there, scopes, pending, out_of_sight, edited, left)

    @property
    def changes(self) -> Tuple[Change, ...]:
        return tuple(diff(self.current, self.desired, self.scopes))

    @property
    def waiting(self) -> FrozenSet[Key]:
        """What is left to a later run: what is pending, and what the door has been refused."""
        return self.pending | self.door.refused()

    def remaining(self, check: bool) -> Tuple[Change, ...]:
        """What a call leaves to be done: all of it in check mode, or else what is for calls with other scopes."""
        scopes = frozenset(SCOPES) if check else frozenset(SCOPES) - self.scopes
        return tuple(diff(self.current, self.desired, scopes))

    def only(self, concerns: Callable[[Object], bool]) -> Step:
        """The same step, which leaves all else as it stands."""
        kept = {key: thing for key, thing in self.current.items() if not concerns(thing)}
        return replace(self, desired={**kept, **{key: thing for key, thing in self.desired.items() if concerns(thing)}})

    @property
    def left_names(self) -> Tuple[str, ...]:
        return tuple(sorted(name for _kind, name in self.left))

    def note_owned(self) -> None:
        """Say in the ledger what will be ours, and what stood there before."""
        owned = self.ledger.owned_by(self.layer.name)
        self.door.foresee(self.changes, owned)
        ours = {key: thing for key, thing in self.desired.items() if thing.scope in self.scopes}
        if self.layer.leaves:
            self.ledger.note_writing(self.door.marks(change.after for change in self.changes if change.after))
        self.ledger.found.update(self.door.found([thing for key, thing in ours.items() if key not in owned]))
        self.ledger.found.update(self.door.found_inside([*ours.values()]))
        self.ledger.owned[self.layer.name] = {*owned, *ours}

    def apply(self) -> None:
        """Make the changes; where one is refused, make the layer again what it was.

        Raises:
            ApplyError: a change was refused, or what came of the changes could not be seen.
            VerifyError: no change was refused, and yet something differs.
        """
        there = self.current
        try:
            if self.changes:
                self.door.apply(self.changes)
                there = self._verified()
        except (WharfError, OSError) as error:
            kind = VerifyError if isinstance(error, VerifyError) else ApplyError
            raise kind(f"{error}; {self._roll_back()}") from error
        self._own(
            {
                key
                for key in self.ledger.owned_by(self.layer.name)
                if key in self.desired or key in there or key in self.waiting or key in self.left
            }
        )
        made = (thing for key, thing in self.desired.items() if thing.scope in self.scopes and key not in self.waiting)
        self.ledger.note_written(self.door.marks(made))
        for name in self.door.settled(self.waiting, self.desired, there):
            del self.ledger.found[name]

    def finish(self) -> None:
        """Do what is left to be done once all changes are made, also those of a run that did not come to it.

        Raises:
            ApplyError: that was refused, and the next run does it.
        """
        try:
            self.door.finish(self.desired)
        except ApplyError as error:
            raise ApplyError(f"{error}; all changes were made, and the next run does the rest") from error

    def _verified(self) -> State:
        """What is there now, which must be what is desired, but for what is refused inside of containers."""
        there = self._observe()
        refused = self.door.refused()
        left = diff(_without(refused, there), _without(refused, self.desired), self.scopes)
        refused = self.door.refused(left)
        left = [change for change in left if change.subject.key not in refused]
        if left:
            different = "; ".join(
                f"{change.action} {change.subject.kind} {change.subject.name} {', '.join(change.fields)}".strip()
                for change in left
            )
            raise VerifyError(f"after all changes were made, these are still to be made: {different}")
        return there

    def _roll_back(self) -> str:
        """The same loop, with what was before as desired; says what came of it."""
        try:
            changes = diff(self._observe(), self.current, self.scopes)
            self.door.apply([change for change in changes if _can_be_made(change)])
            there = self._observe()
            self.door.finish(self.current)
        except (WharfError, OSError) as error:
            return f"taking back what had been done failed too: {error}"
        kept = {*there, *self.waiting, *self.left}
        self._own({key for key in self.ledger.owned_by(self.layer.name) if key in kept})
        gone = ", ".join(" ".join(change.subject.key) for change in changes if not _can_be_made(change))
        return "what had been done of this layer was taken back" + (f", but for what is gone: {gone}" if gone else "")

    def _observe(self) -> State:
        wanted = _without(self.door.refused(), self.desired)
        there = self.layer.door(self.ledger).observe(wanted, self.ledger.owned_by(self.layer.name))
        return _without(self.out_of_sight | self.left, there)

    def _own(self, keys: Set[Key]) -> None:
        self.ledger.own(self.layer.name, keys)


def _without(keys: FrozenSet[Key], state: State) -> State:
    return {key: thing for key, thing in state.items() if key not in keys}


def _can_be_made(change: Change) -> bool:
    """Whether enough is known of what the change leads to: an endpoint that lost its sandbox cannot come back."""
    return change.after is None or change.after.is_whole
