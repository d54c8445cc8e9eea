# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall: that of the backend in use, and of the other one as long as something of wharf.network is there.

Beside them are third-party firewalls, which are made to let through what these rules accept.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, Iterator, Mapping, Sequence, Tuple

from ...declaration.model import IPTABLES, NFTABLES
from ...diff import DELETE, Change
from ...state import ElementSet, Key, State
from ..resource import Observation, Resource

_ACCEPT, _FIREWALLD = "accept", "firewalld"
_THIRD_PARTY = (_ACCEPT, _FIREWALLD)


class Firewall(Resource):
    """`canonical` are rules as the backends list them, from earlier runs; `prior` is what existed in firewalld."""

    kinds = frozenset(
        ["chain", "set", "rules", "iptables_chain", "iptables_hook", "iptables_rules", _ACCEPT, _FIREWALLD]
    )

    def __init__(self, canonical: Mapping[str, str], prior: Mapping[str, str]) -> None:
        self._canonical = canonical
        self._prior = prior
        self._known_sets: Dict[Key, ElementSet] = {}

    def _resources(self, keys: Iterable[Key]) -> Iterator[Tuple[str, Resource]]:
        """Those of the backends that these are of. A host needs no program of a backend that nothing is of."""
        backends = {_backend(key) for key in keys}
        if NFTABLES in backends:
            from .nftables import Nftables

            yield NFTABLES, Nftables(self._canonical, self._known_sets)
        if IPTABLES in backends:
            from .iptables import Iptables

            yield IPTABLES, Iptables(self._canonical)
        if _ACCEPT in backends:
            from .third_party_accepts import ThirdPartyAccepts

            yield _ACCEPT, ThirdPartyAccepts()
        if _FIREWALLD in backends:
            from .firewalld import FirewalldResource

            yield _FIREWALLD, FirewalldResource(self._prior)

    def require(self, new: State) -> None:
        for backend, resource in self._resources(new):
            resource.require(_of(backend, new))

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        current: State = {}
        as_listed: State = dict(desired)
        prior: Dict[str, str] = {}
        canonical: Dict[str, str] = {}
        for backend, resource in self._resources([*desired, *owned]):
            seen = resource.observe(_of(backend, desired), frozenset(key for key in owned if _backend(key) == backend))
            current.update(seen.current)
            as_listed.update(seen.desired)
            prior.update(seen.prior)
            canonical.update(seen.canonical)
        return Observation(current, as_listed, prior=prior, canonical=canonical)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        """The new backend comes before the old one goes. That both are in force for a moment does no harm.

        Third-party firewalls let through what these rules accept only while the rules are in force.
        """
        for _turn, resource, part in sorted(self._parts(changes), key=lambda each: each[0]):
            if part:
                resource.apply(part)
        return {}

    def _parts(self, changes: Sequence[Change]) -> Iterator[Tuple[int, Resource, Sequence[Change]]]:
        """Each resource's changes, in parts, with their turn."""
        for backend, resource in self._resources([change.subject.key for change in changes]):
            own = [change for change in changes if _backend(change.subject.key) == backend]
            if backend in _THIRD_PARTY:
                yield 0, resource, [change for change in own if change.action == DELETE]
                yield 2, resource, [change for change in own if change.action != DELETE]
            else:
                yield 3 if _only_goes(own) else 1, resource, own


def _only_goes(changes: Sequence[Change]) -> bool:
    return all(change.action == DELETE for change in changes)


def _backend(key: Key) -> str:
    kind = key[0]
    return kind if kind in _THIRD_PARTY else IPTABLES if kind.startswith(IPTABLES) else NFTABLES


def _of(backend: str, state: State) -> State:
    return {key: thing for key, thing in state.items() if _backend(key) == backend}
