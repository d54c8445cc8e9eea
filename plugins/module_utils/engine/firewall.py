# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the firewall: that of the backend in use, and of the other one as long as something of ours is there."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import FrozenSet, Iterable, Iterator, MutableMapping, Optional, Sequence, Set, Tuple

from . import conntrack
from .diff import DELETE, Change
from .door import Door
from .model import IPTABLES, NFTABLES
from .publications import Translation
from .state import IptablesRules, Key, Object, Rules, State

_PROTOCOL_NUMBERS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}


class Firewall(Door):
    """`canonical_texts` are those of the door to nftables."""

    def __init__(self, canonical_texts: MutableMapping[str, str]) -> None:
        self._canonical_texts = canonical_texts

    def _doors(self, keys: Iterable[Key]) -> Iterator[Tuple[str, Door]]:
        """The doors to the backends that these are of. A host needs no program of a backend that nothing is of."""
        backends = {_backend(key) for key in keys}
        if NFTABLES in backends:
            from .nftables import Nftables

            yield NFTABLES, Nftables(self._canonical_texts)
        if IPTABLES in backends:
            from .iptables import Iptables

            yield IPTABLES, Iptables()

    def canonical(self, desired: State) -> State:
        for backend, door in self._doors(desired):
            desired = {**desired, **door.canonical(_of(backend, desired))}
        return desired

    def require(self, new: State) -> None:
        for backend, door in self._doors(new):
            door.require(_of(backend, new))

    def is_moving(self, desired: State, owned: FrozenSet[Key]) -> bool:
        """A backend, or a family of it, is left for another one, or for none."""
        return not _grounds(owned) <= _grounds(desired)

    def observe(self, desired: State, owned: FrozenSet[Key]) -> State:
        current: State = {}
        for backend, door in self._doors([*desired, *owned]):
            current.update(door.observe(_of(backend, desired), frozenset(k for k in owned if _backend(k) == backend)))
        return current

    def apply(self, changes: Sequence[Change]) -> None:
        """The new backend comes before the old one goes. That both are in force for a moment does no harm."""
        parts = [
            (door, [change for change in changes if _backend(change.subject.key) == backend])
            for backend, door in self._doors([change.subject.key for change in changes])
        ]
        for door, part in sorted(parts, key=lambda each: _only_goes(each[1])):
            door.apply(part)
        with suppress(OSError):
            # Without connection tracking in the kernel, no flow was translated.
            conntrack.forget(_changed_ports(changes))


def _only_goes(changes: Sequence[Change]) -> bool:
    return all(change.action == DELETE for change in changes)


def _backend(key: Key) -> str:
    return IPTABLES if key[0].startswith(IPTABLES) else NFTABLES


def _of(backend: str, state: State) -> State:
    return {key: thing for key, thing in state.items() if _backend(key) == backend}


def _grounds(keys: Iterable[Key]) -> Set[str]:
    """Where the chains stand: in our nftables table, or in the tables of one family of iptables or the other."""
    return {
        NFTABLES if kind == "chain" else name.split()[0] for kind, name in keys if kind in ("chain", "iptables_chain")
    }


def _changed_ports(changes: Sequence[Change]) -> Set[conntrack.PublishedPort]:
    """The ports of the host that lead somewhere else now, or nowhere."""
    before = {found for change in changes for found in _translations(change.before)}
    after = {found for change in changes for found in _translations(change.after)}
    return {(_PROTOCOL_NUMBERS[each.protocol], each.port) for each in before ^ after}


def _translations(thing: Optional[Object]) -> Iterable[Translation]:
    if isinstance(thing, IptablesRules):
        from .rules_iptables import translations
    elif isinstance(thing, Rules):
        from .rules_nftables import translations
    else:
        return ()
    return translations(thing.elements)
