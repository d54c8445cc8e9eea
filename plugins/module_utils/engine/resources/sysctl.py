# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes the host's own kernel parameters."""

from __future__ import annotations

import glob
from typing import Dict, FrozenSet, Mapping, Sequence

from ..diff import Change
from ..kernel import proc_sys
from ..state import Key, State, Sysctl, state_of
from .resource import Observation, Resource

# Writing one of these makes the kernel write all of those too (inet_forward_change, addrconf_fixup_forwarding).
_SIDE_EFFECTS = {
    "net.ipv4.ip_forward": ("net/ipv4/conf/*/forwarding", "net/ipv4/conf/*/accept_redirects"),
    "net.ipv6.conf.all.forwarding": ("net/ipv6/conf/*/forwarding",),
}


class Sysctls(Resource):
    """Observes and changes `Sysctl`. `prior` are the values before the first change, by name, which are given back."""

    kinds = frozenset(["sysctl"])

    def __init__(self, prior: Mapping[str, str]) -> None:
        self._prior = prior

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        names = sorted(name for kind, name in owned - desired.keys() if kind == "sysctl")
        undeclared = [Sysctl(name, self._prior.get(name, "")) for name in names]
        wanted = [thing for thing in desired.values() if isinstance(thing, Sysctl)]
        values = {sysctl.name: proc_sys.read(sysctl.name) for sysctl in [*wanted, *undeclared]}
        # A parameter that is gone with its interface cannot be restored, and that of a new one does not exist yet.
        now = [Sysctl(name, value) for name, value in values.items() if value is not None]
        given_back = {sysctl for sysctl in undeclared if sysctl in now or sysctl.name not in self._prior}
        current = state_of([sysctl for sysctl in now if sysctl.name not in {back.name for back in given_back}])
        return Observation(current, desired, prior=_prior([each.name for each in wanted if each.key not in owned]))

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        for change in changes:
            if isinstance(change.after, Sysctl):
                proc_sys.write(change.after.name, change.after.value)
            else:
                self._give_back(change.subject.name)
        return {}

    def _give_back(self, name: str) -> None:
        """Write the prior value, and that of each interface, which the kernel overwrote when the parameter was set."""
        proc_sys.write(name, self._prior[name])
        for other in _values(_SIDE_EFFECTS.get(name, ())):
            if other in self._prior and proc_sys.read(other) != self._prior[other]:
                proc_sys.write(other, self._prior[other])


def _prior(names: Sequence[str]) -> Dict[str, str]:
    """The values of parameters that are about to be set for the first time, and of those that change with them.

    An interface that this run makes has those of new interfaces.
    """
    values = _values([pattern for name in names for pattern in _SIDE_EFFECTS.get(name, ())])
    found = ((name, proc_sys.read(name) or proc_sys.read(proc_sys.of_new_interface(name))) for name in names)
    return {**values, **{name: value for name, value in found if value is not None}}


def _values(patterns: Sequence[str]) -> Dict[str, str]:
    names = [
        path[len(proc_sys.ROOT) :].translate(proc_sys.SWAP_SEPARATORS)
        for pattern in patterns
        for path in sorted(glob.glob(proc_sys.ROOT + pattern))
    ]
    return {name: value for name in names for value in [proc_sys.read(name)] if value is not None}
