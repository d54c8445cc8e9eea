# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters of sandboxes and of endpoints' interfaces. One that is no longer declared is restored.

For each that wharf.network sets, the ledger has an entry among the prior values: `sandbox NAME PARAMETER` or
`endpoint NAME KEY`.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from ...errors import ConflictError, Problem
from ...kernel import namespaces, proc_sys
from ...kernel.proc_sys import Parameters
from ...state import Endpoint, Key, Object, Sandbox, State

# The prior value of a parameter where wharf.network made the stack or the interface: that of a new one.
AS_MADE = ""

MTU_OF_IPV6, DISABLE_IPV6 = "ipv6.mtu", "ipv6.disable_ipv6"

Before = Mapping[str, str]
Settable = Union[Sandbox, Endpoint]
# Of each parameter of a stack, where it is declared, and what a message calls it.
Origins = Tuple[Tuple[str, str], ...]

_KINDS = ("sandbox", "endpoint")


def entry(thing: Settable, parameter: str) -> str:
    return f"{thing.kind} {thing.name} {parameter}"


def by_name(before: Before, kind: str) -> Dict[str, Dict[str, str]]:
    """For each object of this kind, by its name, the parameters that were set, with their prior values."""
    found: Dict[str, Dict[str, str]] = {}
    for (its_kind, name), parameter, value in _entries(before):
        if its_kind == kind:
            found.setdefault(name, {})[parameter] = value
    return found


def undeclared(known: Mapping[str, str], wanted: Parameters) -> Parameters:
    """Those that were set and are no longer wanted."""
    return tuple((name, value) for name, value in known.items() if name not in dict(wanted))


def gone(before: Parameters, after: Parameters) -> List[str]:
    return [name for name, _value in before if name not in dict(after)]


def is_given_back(now: Optional[str], before: Optional[str]) -> bool:
    """Whether a parameter has its prior value, or no longer exists."""
    return now is None or before is None or now.split() == before.split()


def of_new_stack(names: Iterable[str]) -> Dict[str, Optional[str]]:
    with namespaces.scratch():
        return {name: proc_sys.read(name) for name in names}


def of_new_interface(key: str, mtu: int) -> Optional[str]:
    """The value of a new interface in the stack that this thread is in."""
    return str(mtu) if key == MTU_OF_IPV6 else proc_sys.read(proc_sys.of_interface("default", key))


def refuse_unsettable(desired: State) -> None:
    """
    Raises:
        ConflictError: the kernel has no such parameter, or does not take the value.
    """
    places: Dict[Parameters, List[Origins]] = {}
    for thing in desired.values():
        for given, its_places in _settings(thing):
            places.setdefault(given, []).append(its_places)
    problems = [problem for given, alike in places.items() for problem in _refused(given, alike)]
    problems += [problem for thing in desired.values() if isinstance(thing, Endpoint) for problem in _impossible(thing)]
    if problems:
        raise ConflictError(*problems)


def _settings(thing: Object) -> Iterator[Tuple[Parameters, Origins]]:
    if isinstance(thing, Sandbox) and thing.ref.is_managed and thing.sysctls:
        path = f"{thing.place}.sysctls"
        yield thing.sysctls, tuple((f"{path}.{name}", f'"{value}"') for name, value in thing.sysctls)
    elif isinstance(thing, Endpoint):
        given = [(key, value) for key, value in thing.sysctls if not key.startswith("ipv6.") or thing.ipv6]
        if given:
            yield (
                tuple((proc_sys.of_interface("default", key), value) for key, value in given),
                tuple((thing.place_of(key), f"{key}={value} of {thing.interface}") for key, value in given),
            )


def _impossible(endpoint: Endpoint) -> Iterator[Problem]:
    """Values that a new interface may have, but not one with this MTU, and those that contradict `enable_ipv6`."""
    for key, value in endpoint.sysctls:
        if key in (MTU_OF_IPV6, DISABLE_IPV6):
            number = proc_sys.as_read(proc_sys.of_interface("default", key), value) or value
            why = _too_large(number, endpoint) if key == MTU_OF_IPV6 else _other_than(number, endpoint)
            if why:
                yield Problem(endpoint.place_of(key), f"{key}={value} of {endpoint.interface}: {why}")


def _too_large(number: str, endpoint: Endpoint) -> str:
    is_larger = number.isdigit() and int(number) > endpoint.mtu
    return f"is larger than the network's MTU of {endpoint.mtu} bytes: give a smaller one" if is_larger else ""


def _other_than(number: str, endpoint: Endpoint) -> str:
    if (number == "0") == endpoint.ipv6:
        return ""
    return (
        "the network has IPv6: set enable_ipv6: false on the network, or leave this out"
        if endpoint.ipv6
        else "the network has no IPv6: set enable_ipv6: true on the network, or leave this out"
    )


def _refused(given: Parameters, alike: Sequence[Origins]) -> Iterator[Problem]:
    """Try the values in a scratch stack, where they harm nobody."""
    with namespaces.scratch():
        refusals = [proc_sys.refusal(name, value) for name, value in given]
    for places in alike:
        for (path, name), refusal in zip(places, refusals):
            if refusal:
                yield Problem(path, f"{name}: {refusal}")


def released(before: Before, kind: str, pending: FrozenSet[Key], *states: State) -> List[str]:
    """The entries of this kind of object that nothing in these states needs, and no pending object."""
    used = {
        (key, name)
        for state in states
        for key, thing in state.items()
        if isinstance(thing, (Sandbox, Endpoint))
        for name, _value in thing.sysctls
    }
    return [
        " ".join((*key, name))
        for key, name, _value in _entries(before)
        if key[0] == kind and (key, name) not in used and key not in pending
    ]


def _entries(before: Before) -> List[Tuple[Key, str, str]]:
    entries = []
    for name, value in before.items():
        kind, _space, rest = name.partition(" ")
        if kind in _KINDS:
            thing, _space, parameter = rest.rpartition(" ")
            entries.append(((kind, thing), parameter, value))
    return entries
