# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the firewall: that of the backend in use, and of the other one as long as something of ours is there.

Beside them are the doors to the firewalls of others, which are told to let through what ours accept.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, Iterator, Mapping, MutableMapping, Sequence, Set, Tuple

from ..declaration.model import IPTABLES, NFTABLES
from ..diff import CREATE, DELETE, Change
from ..state import Key, Object, Rules, State
from . import flows
from .door import Door

_ACCEPT, _FIREWALLD = "accept", "firewalld"
_OF_OTHERS = (_ACCEPT, _FIREWALLD)


class Firewall(Door):
    """`canonical_texts` are those of the door to nftables, `found` is what the ledger says stood before us.

    `suspects` is the ledger's note of the ways to containers whose flows have yet to be judged by the rules.
    """

    def __init__(self, canonical_texts: MutableMapping[str, str], found: Mapping[str, str], suspects: Set[str]) -> None:
        self._canonical_texts = canonical_texts
        self._found = found
        self._suspects = suspects

    def _doors(self, keys: Iterable[Key]) -> Iterator[Tuple[str, Door]]:
        """The doors to the backends that these are of. A host needs no program of a backend that nothing is of."""
        backends = {_backend(key) for key in keys}
        if NFTABLES in backends:
            from .nftables import Nftables

            yield NFTABLES, Nftables(self._canonical_texts)
        if IPTABLES in backends:
            from .iptables import Iptables

            yield IPTABLES, Iptables(self._canonical_texts)
        if _ACCEPT in backends:
            from .foreign_accepts import ForeignAccepts

            yield _ACCEPT, ForeignAccepts()
        if _FIREWALLD in backends:
            from .firewalld import FirewalldDoor

            yield _FIREWALLD, FirewalldDoor(self._found)

    def canonical(self, desired: State) -> State:
        for backend, door in self._doors(desired):
            desired = {**desired, **door.canonical(_of(backend, desired))}
        return desired

    def require(self, desired: State) -> None:
        for backend, door in self._doors(desired):
            door.require(_of(backend, desired))

    def is_moving(self, desired: State, owned: FrozenSet[Key]) -> bool:
        """A backend, or a family of it, is left for another one, or for none."""
        return not _grounds(owned) <= _grounds(desired)

    def observe(self, desired: State, owned: FrozenSet[Key]) -> State:
        current: State = {}
        for backend, door in self._doors([*desired, *owned]):
            current.update(door.observe(_of(backend, desired), frozenset(k for k in owned if _backend(k) == backend)))
        return current

    def found(self, new: Sequence[Object]) -> Dict[str, str]:
        doors = self._doors([thing.key for thing in new])
        return {name: value for _backend, door in doors for name, value in door.found(new).items()}

    def apply(self, changes: Sequence[Change]) -> None:
        """The new backend comes before the old one goes. That both are in force for a moment does no harm.

        Others are told to let through what ours accept only while ours are in force.
        """
        for _turn, door, part in sorted(self._parts(changes), key=lambda each: each[0]):
            if part:
                door.apply(part)

    def foresee(self, changes: Sequence[Change], owned: FrozenSet[Key]) -> None:
        changed = [change for change in changes if isinstance(change.subject, Rules)]
        before, after = (each.before for each in changed), (each.after for each in changed)
        self._suspects |= flows.ways_changed(flows.reach_of(before), flows.reach_of(after))
        if any(change.action == CREATE and change.subject.key in owned for change in changed):
            self._suspects.add(flows.LOST)

    def finish(self, desired: State) -> None:
        if self._suspects:
            flows.forget_stale(self._suspects, flows.reach_of(desired.values()))
            self._suspects.clear()

    def _parts(self, changes: Sequence[Change]) -> Iterator[Tuple[int, Door, Sequence[Change]]]:
        """Each door's changes, in parts, with their turn."""
        for backend, door in self._doors([change.subject.key for change in changes]):
            own = [change for change in changes if _backend(change.subject.key) == backend]
            if backend in _OF_OTHERS:
                yield 0, door, [change for change in own if change.action == DELETE]
                yield 2, door, [change for change in own if change.action != DELETE]
            else:
                yield 3 if _only_goes(own) else 1, door, own


def _only_goes(changes: Sequence[Change]) -> bool:
    return all(change.action == DELETE for change in changes)


def _backend(key: Key) -> str:
    kind = key[0]
    return kind if kind in _OF_OTHERS else IPTABLES if kind.startswith(IPTABLES) else NFTABLES


def _of(backend: str, state: State) -> State:
    return {key: thing for key, thing in state.items() if _backend(key) == backend}


def _grounds(keys: Iterable[Key]) -> Set[str]:
    """Where the chains stand: in our nftables table, or in the tables of one family of iptables or the other."""
    return {
        NFTABLES if kind == "chain" else name.split()[0] for kind, name in keys if kind in ("chain", "iptables_chain")
    }
