"""The loop: words -> model -> plan -> desired; observe; diff; apply; observe again, and nothing may differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, FrozenSet, List, Sequence, Tuple

from . import ledger as ledger_file
from .declared import Call, declare, known
from .diff import Change, diff
from .door import Door
from .errors import ConflictError, ProblemCollector, VerifyError
from .facts import Facts
from .ledger import Ledger
from .model import Model
from .plan import Plan
from .state import Key, Object, State, state_of


@dataclass(frozen=True)
class Layer:
    """One layer of a host: what is planned for it, and the door to it."""

    name: str
    plan: Callable[[Plan], List[Object]]
    door: Callable[[Ledger], Door]


@dataclass(frozen=True)
class Result:
    """What a call changed, or would change. `pending` are the sandboxes and endpoints whose place is not there yet."""

    changes: Tuple[Change, ...]
    warnings: Tuple[str, ...] = ()
    pending: Tuple[str, ...] = ()

    @property
    def predictions(self) -> Dict[str, str]:
        """For later calls of a check-mode play: what each object that changes would have become."""
        return {" ".join(change.subject.key): change.fingerprint for change in self.changes}


def converge(layer: Layer, call: Call, read_facts: Callable[[Ledger], Facts], layers: Sequence[Layer] = ()) -> Result:
    """Bring one layer of this host to what is declared.

    Where something new is to be made, foreign objects in the way of any of `layers` are reported first. The ledger is written before the kernel is touched, so that whatever a killed run leaves behind is known to
    the next one as our own.

    Raises:
        ModelError, ConflictError: nothing was touched.
        ApplyError, VerifyError: some changes may have been made; the next run finishes them.
    """
    with ledger_file.locked():
        ledger = Ledger.load()
        declared = declare(ledger.declared, call)
        plan = make_plan(ledger, call, read_facts(ledger))
        planned = [] if declared.is_empty else layer.plan(plan)
        if _new(planned, layer, ledger):
            _refuse_conflicts(layers, plan, ledger)
        step = Step.make(layer, call, ledger, planned)
        changes = tuple(change for change in step.changes if not _is_predicted(change, call))
        if not call.check:
            ledger.declared, ledger.allotted = declared, plan.allotted.completed(ledger.allotted, declared.containers)
            step.note_owned()
            ledger.save()
            step.apply()
            step.prune_owned()
            ledger.save()
    return Result(changes, tuple(plan.warnings), tuple(sorted(name for _kind, name in step.pending)))


def _refuse_conflicts(layers: Sequence[Layer], plan: Plan, ledger: Ledger) -> None:
    """
    Raises:
        ConflictError: with every foreign object that stands where one of ours is to be made, in whatever layer.
    """
    problems = ProblemCollector()
    for layer in layers:
        new = _new(layer.plan(plan), layer, ledger)
        if new:
            with problems.collect():
                layer.door(ledger).observe(new, frozenset())
    problems.raise_if_any(ConflictError)


def _new(planned: List[Object], layer: Layer, ledger: Ledger) -> State:
    """What is planned and was never ours."""
    owned = ledger.owned_by(layer.name)
    return {key: thing for key, thing in state_of(planned).items() if key not in owned}


def _is_predicted(change: Change, call: Call) -> bool:
    return call.predicted.get(" ".join(change.subject.key)) == change.fingerprint


def make_plan(ledger: Ledger, call: Call, facts: Facts) -> Plan:
    """
    Raises:
        ModelError: what is declared, or given, cannot be.
    """
    words = known(declare(ledger.declared, call), call)
    return Plan.make(Model.parse(words.host or {}, words.networks, words.containers), facts, ledger.allotted)


@dataclass(frozen=True)
class Step:
    """One layer's way from what is there to what is desired."""

    layer: Layer
    ledger: Ledger
    door: Door
    desired: State
    current: State
    scopes: FrozenSet[str]
    pending: FrozenSet[Key]

    @classmethod
    def make(cls, layer: Layer, call: Call, ledger: Ledger, planned: List[Object]) -> Step:
        door = layer.door(ledger)
        everything = door.canonical(state_of(planned))
        pending = door.pending(everything)
        desired = {key: thing for key, thing in everything.items() if key not in pending}
        current = door.observe(desired, ledger.owned_by(layer.name))
        return cls(layer, ledger, door, desired, current, call.converged_scopes, pending)

    @property
    def changes(self) -> Tuple[Change, ...]:
        return tuple(diff(self.current, self.desired, self.scopes))

    def note_owned(self) -> None:
        """Say in the ledger what will be ours, and what stood there before."""
        owned = self.ledger.owned_by(self.layer.name)
        ours = {key: thing for key, thing in self.desired.items() if thing.scope in self.scopes}
        self.ledger.found.update(self.door.found([thing for key, thing in ours.items() if key not in owned]))
        self.ledger.owned[self.layer.name] = {*owned, *ours}

    def apply(self) -> None:
        """
        Raises:
            VerifyError: no change failed, and yet something differs.
        """
        if not self.changes:
            return
        self.door.apply(self.changes)
        self.current.clear()
        self.current.update(self.layer.door(self.ledger).observe(self.desired, self.ledger.owned_by(self.layer.name)))
        if self.changes:
            different = "; ".join(
                f"{change.action} {change.subject.kind} {change.subject.name} {', '.join(change.fields)}".strip()
                for change in self.changes
            )
            raise VerifyError(f"after all changes were made, these are still to be made: {different}")

    def prune_owned(self) -> None:
        """Forget what is neither desired nor there any more."""
        owned = self.ledger.owned[self.layer.name]
        self.ledger.owned[self.layer.name] = {key for key in owned if key in self.desired or key in self.current}
