# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters of stacks and interfaces that stay: one that is no longer declared becomes again what it was.

For each that we set, the ledger has an entry among what was found, `sandbox NAME PARAMETER` or `endpoint NAME KEY`.
"""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

from ..errors import ConflictError, Problem
from ..kernel import namespaces, proc_sys
from ..kernel.proc_sys import Parameters
from ..state import Endpoint, Key, Object, Sandbox, State

# What was found where we made the stack or the interface: what the kernel gives to a new one.
AS_MADE = ""

Before = Mapping[str, str]
Settable = Union[Sandbox, Endpoint]

_KINDS = ("sandbox", "endpoint")


def entry(thing: Settable, parameter: str) -> str:
    return f"{thing.kind} {thing.name} {parameter}"


def by_name(before: Before, kind: str) -> Dict[str, Dict[str, str]]:
    """Of each thing of this kind the parameters that we set, with what was found."""
    found: Dict[str, Dict[str, str]] = {}
    for (its_kind, name), parameter, value in _entries(before):
        if its_kind == kind:
            found.setdefault(name, {})[parameter] = value
    return found


def let_go(known: Mapping[str, str], wanted: Parameters) -> Parameters:
    """Those that we set and that are wanted no more."""
    return tuple((name, value) for name, value in known.items() if name not in dict(wanted))


def gone(before: Parameters, after: Parameters) -> List[str]:
    return [name for name, _value in before if name not in dict(after)]


def is_given_back(now: Optional[str], before: Optional[str]) -> bool:
    """Whether nothing is to be done about it, which is also so where there is no such parameter any more."""
    return now is None or before is None or now.split() == before.split()


def of_new_stack(names: Iterable[str]) -> Dict[str, Optional[str]]:
    with namespaces.scratch():
        return {name: proc_sys.read(name) for name in names}


def of_new_interface(key: str, mtu: int) -> Optional[str]:
    """What the stack that the thread is in gives to a new interface."""
    return str(mtu) if key == "ipv6.mtu" else proc_sys.read(proc_sys.of_interface("default", key))


def refuse_unknown(new: State) -> None:
    """
    Raises:
        ConflictError: the kernel has no such parameter in the stacks, or of the interfaces, that are to be made.
    """
    places = [place for thing in new.values() for place in _places(thing)]
    if not places:
        return
    with namespaces.scratch():
        unknown = {name for name in {name for _path, name, _shown in places} if not proc_sys.exists(name)}
    if unknown:
        missing = "there is no such parameter on this host's kernel: leave it out"
        raise ConflictError(*(Problem(path, f"{shown}: {missing}") for path, name, shown in places if name in unknown))


def _places(thing: Object) -> Iterator[Tuple[str, str, str]]:
    """Where each parameter is declared, what is to be there for it, and how it is called there."""
    if isinstance(thing, Sandbox) and thing.name.startswith("netns:"):
        for name, _value in thing.sysctls:
            yield f"wharf_containers.{thing.container}.sysctls", name, name
    elif isinstance(thing, Endpoint):
        container, _slash, network = thing.name.partition("/")
        for key, _value in thing.sysctls:
            if not key.startswith("ipv6.") or thing.ipv6:
                path = f"wharf_containers.{container}.networks.{network}"
                yield path, proc_sys.of_interface("default", key), f"{key} of {thing.interface}"


def settled(before: Before, *states: State) -> List[str]:
    """The entries of which nothing in these states makes any use."""
    used = {
        (key, name)
        for state in states
        for key, thing in state.items()
        if isinstance(thing, (Sandbox, Endpoint))
        for name, _value in thing.sysctls
    }
    return [" ".join((*key, name)) for key, name, _value in _entries(before) if (key, name) not in used]


def _entries(before: Before) -> List[Tuple[Key, str, str]]:
    entries = []
    for name, value in before.items():
        kind, _space, rest = name.partition(" ")
        if kind in _KINDS:
            thing, _space, parameter = rest.rpartition(" ")
            entries.append(((kind, thing), parameter, value))
    return entries
