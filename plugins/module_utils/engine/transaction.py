# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All changes of a run, over all layers: made in one order, or rolled back whole."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import (
    Callable,
    Collection,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

from .diff import DELETE, Change, diff
from .errors import VerifyError, message_of
from .layers import Layer
from .ledger import Ledger
from .planning.reach import StalePorts
from .resources.resource import Observation, Resource
from .state import Key, Object, State, state_of

# The objects that were desired before a run, by their layer.
DesiredBefore = Callable[[], Mapping[str, State]]


@dataclass(frozen=True)
class Part:
    """What one resource has to do in a run: from `current` to `desired`.

    `wanted` are the planned objects; `desired` has those that can be made now, as the resource would observe them.
    `left_alone` are objects that stay as they are, such as edited files. If the objects were refused inside a sandbox,
    `refused_beside` are the desired ones that were not.
    """

    layer: str
    resource: Resource
    wanted: State
    owned: FrozenSet[Key]
    observation: Observation
    current: State
    desired: State
    left_alone: FrozenSet[Key] = frozenset()
    refused_beside: Optional[State] = None

    @classmethod
    def observed(cls, layer: Layer, resource: Resource, planned: Iterable[Object], ledger: Ledger) -> Part:
        """`planned` are all objects of the layer.

        Raises:
            ConflictError: a third-party object is in the way.
        """
        wanted = of_kinds(resource.kinds, planned)
        owned = frozenset(key for key in ledger.owned_by(layer.name) if key[0] in resource.kinds)
        seen = _observed(resource, wanted, owned)
        part = cls(layer.name, resource, wanted, owned, seen, seen.current, seen.desired)
        return part.without_changes_of(frozenset(key for key in seen.edited if layer.keeps_edits(key[1])))

    def without_changes_of(self, keys: FrozenSet[Key]) -> Part:
        """The same part, which leaves these objects alone."""
        return replace(
            self,
            current=_without(keys, self.current),
            desired=_without(keys, self.desired),
            left_alone=self.left_alone | keys,
        )

    def only(self, keys: Collection[Key]) -> Part:
        """The same part, which leaves alone all other objects."""
        return self.without_changes_of(frozenset((*self.current, *self.desired)).difference(keys))

    @cached_property
    def changes(self) -> Tuple[Change, ...]:
        return tuple(diff(self.current, self.desired, self.layer))

    def observed_again(self, target: State) -> Part:
        """What this part would have to do now to reach the target."""
        seen = _observed(self.resource, self.wanted, self.owned | self.wanted.keys())
        return replace(self, observation=seen, current=_without(self.left_alone, seen.current), desired=target)

    def going_back(self, earlier: State) -> Part:
        """The part whose changes undo what was done.

        An object that was not observed in full becomes what was declared `earlier`.
        """
        partial = {key for key, thing in self.current.items() if not thing.is_whole or key in self.observation.partial}
        again = {key: earlier[key] for key in partial & earlier.keys()}
        stays = {*self.current, *self.left_alone}
        wanted = {key: thing for key, thing in self.wanted.items() if key in stays}
        owned = self.owned | self.wanted.keys()
        back = replace(self, wanted={**wanted, **again}, owned=owned).observed_again(self.current)
        as_declared = {key: thing for key, thing in back.observation.desired.items() if key in again}
        return replace(back, desired=self._after_refusal({**self.current, **as_declared}))

    def _after_refusal(self, earlier: State) -> State:
        if self.refused_beside is None:
            return earlier
        others = self.refused_beside.values()
        again = ((key, thing.after_refusal(self.desired.get(key, thing), others)) for key, thing in earlier.items())
        return {key: thing for key, thing in again if thing}


def _observed(resource: Resource, wanted: State, owned: FrozenSet[Key]) -> Observation:
    seen = resource.observe(wanted, owned)
    return replace(seen, pending=with_places(seen.pending, wanted))


def with_places(reasons: Mapping[Key, str], wanted: State) -> Dict[Key, str]:
    """The reasons, each behind the places where the objects are declared that the reason is about."""
    places: Dict[str, Dict[str, None]] = {}
    for key, reason in reasons.items():
        place = wanted[key].place if key in wanted else ""
        if place:
            places.setdefault(reason, {})[place] = None
    return {
        key: f"{', '.join(places[reason])}: {reason}" if reason and reason in places else reason
        for key, reason in reasons.items()
    }


def of_kinds(kinds: Collection[str], objects: Iterable[Object]) -> State:
    return state_of([thing for thing in objects if thing.kind in kinds])


def _without(keys: FrozenSet[Key], state: State) -> State:
    return {key: thing for key, thing in state.items() if key not in keys}


def note_before(ledger: Ledger, parts: Sequence[Part], stale_ports: StalePorts) -> None:
    """Note in the ledger what a run is about to own, to write and to change, whether it comes to that or not."""
    for part in parts:
        ledger.owned.setdefault(part.layer, set()).update(part.desired)
        ledger.prior.update(part.observation.prior)
        for change in part.changes:
            if change.subject.name in part.observation.digests:
                ledger.add_digest(change.subject.name, part.observation.digests[change.subject.name])
    canonical = {hashed: text for part in parts for hashed, text in part.observation.canonical.items()}
    if canonical:
        ledger.canonical.clear()
        ledger.canonical.update(canonical)
    ledger.stale_ports |= stale_ports


def note_after(ledger: Ledger, parts: Sequence[Part]) -> None:
    """Note in the ledger what a run has left: what it owns, and what it has written and given back."""
    for part in parts:
        kept = {*part.current, *part.desired, *part.observation.pending, *part.left_alone}
        gone = {key for key in ledger.owned_by(part.layer) if key[0] in part.resource.kinds and key not in kept}
        ledger.owned[part.layer] = ledger.owned.get(part.layer, set()) - gone
        for name, digest in part.observation.digests.items():
            # Unless an admin has edited the file.
            if digest in ledger.digests.get(name, (digest,)):
                ledger.digests[name] = (digest,)
        for name in part.observation.released:
            ledger.prior.pop(name, None)
    names = {name for keys in ledger.owned.values() for _kind, name in keys}
    for gone_name in ledger.digests.keys() - names:
        del ledger.digests[gone_name]


def apply(parts: Sequence[Part], desired_before: DesiredBefore) -> Dict[Key, str]:
    """Make all changes.

    Returns:
        The objects that were refused inside single sandboxes, and are rolled back, each with the reason.

    Raises:
        WharfError, OSError: anything else was refused; what was done before is done.
    """
    refused: Dict[Key, str] = {}
    for part, changes in _in_order(parts):
        refused.update(_roll_back_refused(part, with_places(part.resource.apply(changes), part.wanted), desired_before))
    return refused


def _roll_back_refused(part: Part, refused: Mapping[Key, str], desired_before: DesiredBefore) -> Dict[Key, str]:
    """Roll the refused objects back. Returns the reasons, to which what could not be rolled back is added."""
    beside = _without(frozenset(refused), part.desired)

    def left_of(keys: Collection[Key]) -> List[str]:
        return roll_back([replace(part.only(keys), refused_beside=beside)], desired_before)[1] if keys else []

    # One by one only if that fails: an object must not keep another one from being rolled back.
    reasons = dict(refused)
    for key, reason in refused.items() if left_of(refused) else ():
        left = "; ".join(dict.fromkeys(each for each in left_of([key]) if each != reason))
        reasons[key] += f"; not all of it was taken back: {left}" if left else ""
    return reasons


def _in_order(parts: Sequence[Part]) -> Iterator[Tuple[Part, Sequence[Change]]]:
    """What goes, from the last layer to the first, and then what comes, from the first to the last.

    A resource's changes are made at once, so that nothing is missing between what goes and what comes; only what would
    be in the way of its own replacement goes first.
    """
    for part in reversed(parts):
        if part.resource.goes_first or _only_goes(part.changes):
            yield from _unless_empty(part, [change for change in part.changes if change.action == DELETE])
    for part in parts:
        if not _only_goes(part.changes):
            left = [change for change in part.changes if not (part.resource.goes_first and change.action == DELETE)]
            yield from _unless_empty(part, left)


def _only_goes(changes: Sequence[Change]) -> bool:
    return all(change.action == DELETE for change in changes)


def _unless_empty(part: Part, changes: Sequence[Change]) -> Iterator[Tuple[Part, Sequence[Change]]]:
    if changes:
        yield part, changes


def verified(parts: Sequence[Part], refused: Dict[Key, str]) -> List[Part]:
    """The parts as they are after the changes, of which those that had any are observed again.

    What differs inside a single sandbox is `refused`, too.

    Raises:
        VerifyError: something is not as desired, although nothing refused it.
    """
    again = []
    for part in parts:
        now = part.observed_again(part.desired) if part.changes else part
        now = now.without_changes_of(frozenset(refused))
        refused.update(with_places(now.resource.tolerate(now.changes), now.wanted))
        again.append(now.without_changes_of(frozenset(refused)))
    different = "; ".join(change.subject.placed(str(change)) for part in again for change in part.changes)
    if different:
        raise VerifyError(f"after all changes were made, these are still to be made: {different}")
    return again


def roll_back(parts: Sequence[Part], desired_before: DesiredBefore) -> Tuple[List[Part], List[str]]:
    """Bring all layers back to what was observed before the run, as far as that can be done.

    Returns:
        The parts as they are then, and what could not be rolled back.
    """
    after, problems = _rolled_back_once(parts, desired_before)
    if problems:
        # What one layer gave back may have changed what another layer had seen before that.
        after, problems = _rolled_back_once(parts, desired_before)
    return after, problems


def _rolled_back_once(parts: Sequence[Part], desired_before: DesiredBefore) -> Tuple[List[Part], List[str]]:
    problems: List[str] = []
    earlier: Mapping[str, State] = {}
    with noting(problems):
        earlier = desired_before()
    back: List[Part] = []
    # An observed object does not know the place of its declaration.
    declared: State = {}
    for state in (*earlier.values(), *(part.wanted for part in parts)):
        declared.update(state)
    for part in parts:
        with noting(problems):
            now = part.going_back(earlier.get(part.layer, {}))
            lost = frozenset(key for key, thing in now.desired.items() if key not in now.current and not thing.is_whole)
            back.append(now.without_changes_of(lost))
            for key, thing in part.current.items():
                if key in lost:
                    problems.append(f"{declared.get(key, thing).title} is gone")
                elif key not in now.desired:
                    why = "its link is to be another one, or its former address or MAC is not for it any more"
                    problems.append(f"{declared.get(key, thing).title} was removed, since {why}")
    for part, changes in _in_order(back):
        with noting(problems):
            part.resource.apply(changes)
    after: List[Part] = []
    for part in back:
        with noting(problems):
            now = part.observed_again(part.desired)
            # What was to be written is not what is there.
            after.append(replace(now, observation=replace(now.observation, digests={})))
    for part in after:
        for change in part.changes:
            key = change.subject.key
            still = declared.get(key, change.subject).placed(str(change))
            problems.append(part.observation.pending.get(key) or f"still to be taken back: {still}")
    return after, problems


@contextmanager
def noting(problems: List[str]) -> Iterator[None]:
    """Go on after an error, and note it."""
    try:
        yield
    except Exception as error:
        problems.append(message_of(error))
