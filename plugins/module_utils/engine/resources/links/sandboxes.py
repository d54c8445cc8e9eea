# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes sandboxes: the network stacks of containers."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from ...diff import UPDATE, Change
from ...errors import ApplyError, ConflictError, Problem
from ...kernel import namespaces, proc_sys, rtnetlink
from ...kernel.links import doing, opened, require_pyroute2
from ...kernel.proc_sys import Parameters
from ...kernel.rtnetlink import NO_NAMESPACE_ID
from ...state import PODMAN, RUNTIMES, Key, Object, Sandbox, State, state_of
from ..resource import Observation, Resource
from . import parameters
from .marks import MARK
from .parameters import AS_MADE, Before

HOST = "host"
NETNS = "netns:"
LOOPBACK_INDEX = 1

Identity = Tuple[int, int]
Wanted = Dict[str, Sandbox]


def sandbox_path(name: str) -> str:
    """`netns:web` -> `/run/netns/web`; the sandbox need not be there. Empty for a container that does not run."""
    kind, _colon, rest = name.partition(":")
    if kind in RUNTIMES:
        from ...runtimes.runtimes import running

        container = running(name)
        return container.namespace if container else ""
    return {"netns": namespaces.path_of(rest), "pid": f"/proc/{rest}/ns/net", "path": rest}[kind]


def is_present(name: str) -> bool:
    """Whether there is a network stack now where the sandbox's name leads to."""
    return namespaces.is_namespace(sandbox_path(name))


def is_awaited(name: str) -> bool:
    """Whether this is the sandbox of a container that somebody else runs, and which does not run now."""
    return name not in ("", HOST) and not name.startswith(NETNS) and not is_present(name)


def is_new(name: str, owned: FrozenSet[Key]) -> bool:
    """Whether this is a stack that only the run itself makes: nobody can have changed anything in there."""
    return name.startswith(NETNS) and ("sandbox", name) not in owned


def refusal(names: Sequence[str], sandbox: str, why: object) -> str:
    """The warning about what could not be brought about inside a container."""
    subject = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} pending"
    return (
        f"{subject}: {why}: look for what else is set in {sandbox_path(sandbox) or sandbox}; the next run tries again"
    )


def is_unreadable(name: str) -> bool:
    """Whether this is the sandbox of a container whose runtime does not answer."""
    if name.partition(":")[0] not in RUNTIMES:
        return False
    from ...runtimes import runtimes

    return runtimes.is_unreadable(name)


@dataclass(frozen=True)
class Stack:
    """A network stack as found; `mark` is the container that its loopback's alias names, if any."""

    identity: Identity
    mark: str
    loopback_up: bool
    sysctls: Tuple[Tuple[str, str], ...]


class Sandboxes(Resource):
    """Observes and changes sandboxes.

    Named namespaces are made and deleted here, and are ours when the alias of their loopback is
    `wharf:CONTAINER`, or when they are owned: whoever is root in a container can change the former. Of
    the sandboxes that somebody else makes, only the loopback and the sysctls are set, once they are there; these
    get back what they had `before`.
    """

    kinds = frozenset(["sandbox"])
    goes_first = True
    observes_all = False

    def __init__(self, before: Before, owned: FrozenSet[Key] = frozenset()) -> None:
        self._before = before
        self._owned = owned

    def require(self, new: State) -> None:
        require_pyroute2()
        parameters.refuse_unsettable(new)

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        sandboxes = [thing for thing in desired.values() if isinstance(thing, Sandbox)]
        pending = {thing.key: "" for thing in sandboxes if is_awaited(thing.name) or is_awaited(thing.of)}
        unseen = {thing.key for thing in sandboxes if is_unreadable(thing.name) or is_unreadable(thing.of)}
        wanted = {key: thing for key, thing in desired.items() if key not in pending}
        current = {key: thing for key, thing in self._current(wanted, owned).items() if key not in unseen}
        return Observation(
            current,
            wanted,
            pending,
            prior=self._prior(wanted.values()),
            released=self._released(frozenset(pending), wanted, current),
        )

    def _current(self, desired: State, owned: FrozenSet[Key]) -> State:
        wanted = {thing.name: thing for thing in desired.values() if isinstance(thing, Sandbox)}
        ours = [name for kind, name in sorted(owned) if kind == "sandbox" and name.startswith(NETNS)]
        known = parameters.by_name(self._before, "sandbox")
        third_party = [name for name in known if not name.startswith(NETNS)]
        stacks = _read_all(dict.fromkeys([*wanted, *ours, *third_party]), wanted, known)
        owners = _owners(stacks, wanted)
        found: List[Object] = [Sandbox(name, container="") for name in ours if _is_left(name) and name not in wanted]
        problems = [_not_its_own(wanted[name]) for name in stacks if name in wanted and _is_hosts(name, stacks[name])]
        for name, stack in stacks.items():
            if name not in wanted and not name.startswith(NETNS):
                if stack.sysctls and not _is_hosts(name, stack):
                    found.append(Sandbox(name, container="", sysctls=stack.sysctls))
            elif _is_ours(name, stack, owners, wanted, owned):
                found.append(_observed(name, stack, owners, wanted))
            elif name in wanted:
                problems.append(_problem(wanted[name]))
        if problems:
            raise ConflictError(*problems)
        return state_of(found)

    def recover(self, usual: State) -> FrozenSet[Key]:
        return frozenset(("sandbox", name) for name in marks())

    def _prior(self, wanted: Iterable[Object]) -> Dict[str, str]:
        """What the parameters are that are set for the first time."""
        found = {}
        for sandbox in (thing for thing in wanted if isinstance(thing, Sandbox)):
            new = [name for name, _value in sandbox.sysctls if parameters.entry(sandbox, name) not in self._before]
            values = dict.fromkeys(new, AS_MADE) if sandbox.name.startswith(NETNS) else _values(sandbox.name, new)
            found.update({parameters.entry(sandbox, name): value for name, value in values.items()})
        return found

    def _released(self, pending: FrozenSet[Key], *states: State) -> List[str]:
        """Not those of a container that is let go while its runtime does not answer."""
        known = parameters.by_name(self._before, "sandbox")
        unseen = frozenset(("sandbox", name) for name in known if is_unreadable(name))
        return parameters.released(self._before, "sandbox", pending | unseen, *states)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        refused: Dict[Key, str] = {}
        for change in changes:
            if change.subject.name.startswith(NETNS) and (change.after is None or "of" in change.fields):
                _delete(change.subject.name)
        new = {thing.name: thing for thing in (_made(change) for change in changes) if thing}
        standing = [change.after for change in changes if change.after and change.after.name not in new]
        made = frozenset(new)
        while new:
            _make(new.pop(next(iter(new))), new)
        for sandbox in standing:
            if isinstance(sandbox, Sandbox):
                with self._changing(sandbox, refused):
                    _settle(sandbox)
        for change in changes:
            if isinstance(change.before, Sandbox) and change.subject.name not in made:
                kept = change.after.sysctls if isinstance(change.after, Sandbox) else ()
                self._give_back(change.before, kept, refused)
        return refused

    @contextmanager
    def _changing(self, sandbox: Sandbox, refused: Dict[Key, str]) -> Iterator[None]:
        """Run the block inside; what is refused in there concerns this container alone."""
        try:
            with doing(f"sandbox {sandbox.name}: changing"), namespaces.entered(sandbox_path(sandbox.name)):
                yield
        except ApplyError as error:
            if is_new(sandbox.name, self._owned):
                raise
            refused[sandbox.key] = refusal([sandbox.name], sandbox.name, error)

    def tolerate(self, left: Sequence[Change]) -> Mapping[Key, str]:
        return {
            change.subject.key: refusal(
                [change.subject.name],
                change.subject.name,
                f"{', '.join(change.fields) or 'what was set in it'} did not stay as set",
            )
            for change in left
            if self._is_its_own(change)
        }

    def _is_its_own(self, change: Change) -> bool:
        """Whether this is about something inside of the stack, and not about its name."""
        name = change.subject.name
        inside = change.action == UPDATE or not name.startswith(NETNS)
        return inside and "of" not in change.fields and not is_new(name, self._owned)

    def _give_back(self, sandbox: Sandbox, kept: Parameters, refused: Dict[Key, str]) -> None:
        entries = {name: parameters.entry(sandbox, name) for name in parameters.gone(sandbox.sysctls, kept)}
        if entries and is_present(sandbox.name):
            values = _before_us({name: self._before[key] for name, key in entries.items() if key in self._before})
            with self._changing(sandbox, refused):
                proc_sys.apply((name, value) for name, value in values.items() if value is not None)


def marks() -> Dict[str, str]:
    """The named namespaces that are of a container of ours, by their name, with the container whose stack it is."""
    names = os.listdir(namespaces.RUN_NETNS) if os.path.isdir(namespaces.RUN_NETNS) else []
    stacks = _read_all((NETNS + name for name in sorted(names)), {}, {})
    return {name: stack.mark for name, stack in stacks.items() if stack.mark}


def _is_hosts(name: str, stack: Stack) -> bool:
    return not name.startswith(NETNS) and stack.identity == namespaces.identity(namespaces.OWN)


def _not_its_own(sandbox: Sandbox) -> Problem:
    return Problem(
        sandbox.place,
        f"{sandbox.name} has no network stack of its own but the host's: run it without any network "
        "(docker run --network none), or say network_mode: host",
    )


def rootless(planned: Iterable[Object]) -> Iterator[Problem]:
    """Containers that would be awaited for ever, since root's Podman does not know them."""
    for sandbox in planned:
        if isinstance(sandbox, Sandbox) and sandbox.name.startswith(f"{PODMAN}:") and is_awaited(sandbox.name):
            from ...runtimes.runtimes import rootless_user

            user = rootless_user(sandbox.name)
            if user:
                yield Problem(
                    sandbox.place,
                    f"{sandbox.name} is run by {user}, without root, and root's Podman does not know it: have root run "
                    "it, or say sandbox: pid:N, with the number that `podman inspect` has for it while it runs",
                )


def _is_left(name: str) -> bool:
    """Whether of a named namespace there is but the file that its name was, or was to be, mounted on."""
    return os.path.isfile(sandbox_path(name)) and not is_present(name)


def _read_all(names: Iterable[str], wanted: Wanted, known: Mapping[str, Mapping[str, str]]) -> Dict[str, Stack]:
    stacks = {}
    for name in names:
        # A container may end while we look.
        with suppress(FileNotFoundError, ProcessLookupError):
            if is_present(name):
                stacks[name] = _read(name, wanted.get(name), known.get(name, {}))
    return stacks


def _read(name: str, wanted: Optional[Sandbox], known: Mapping[str, str]) -> Stack:
    path = sandbox_path(name)
    # One of ours that is not wanted goes, with all that was set in it.
    is_kept = wanted is not None or not name.startswith(NETNS)
    let_go = _before_us(dict(parameters.let_go(known, wanted.sysctls if wanted else ()))) if is_kept else {}
    with namespaces.entered(path):
        loopback = rtnetlink.link(LOOPBACK_INDEX)
        sysctls = (*(proc_sys.observe(wanted.sysctls) if wanted else ()), *_not_given_back(let_go))
    mark = loopback.alias[len(MARK) :] if loopback.alias.startswith(MARK) else ""
    return Stack(namespaces.identity(path), mark, loopback.up, sysctls)


def _values(name: str, keys: Sequence[str]) -> Dict[str, str]:
    """What these parameters are now, in a stack that somebody else has made."""
    values: Dict[str, Optional[str]] = {}
    # A container may end while we look.
    with suppress(FileNotFoundError, ProcessLookupError):
        if keys:
            with namespaces.entered(sandbox_path(name)):
                values = {key: proc_sys.read(key) for key in keys}
    return {key: value for key, value in values.items() if value is not None}


def _before_us(found: Mapping[str, str]) -> Dict[str, Optional[str]]:
    """The values before us of parameters, of which this was found."""
    made = [name for name, value in found.items() if value == AS_MADE]
    return {**found, **(parameters.of_new_stack(made) if made else {})}


def _not_given_back(before: Mapping[str, Optional[str]]) -> Iterator[Tuple[str, str]]:
    for name, value in before.items():
        now = proc_sys.read(name)
        if now is not None and not parameters.is_given_back(now, value):
            yield name, now


def _owners(stacks: Dict[str, Stack], wanted: Wanted) -> Dict[Identity, str]:
    """Whose each stack is: of the names that lead to it, the one that others are bound to."""
    owners = {namespaces.identity(namespaces.OWN): HOST}
    for name, stack in stacks.items():
        sandbox = wanted.get(name)
        made_for = stack.mark if sandbox is None else "" if sandbox.of else sandbox.container
        if not name.startswith(NETNS) or (made_for and stack.mark == made_for):
            owners.setdefault(stack.identity, name)
    return owners


def _is_ours(name: str, stack: Stack, owners: Dict[Identity, str], wanted: Wanted, owned: FrozenSet[Key]) -> bool:
    if not name.startswith(NETNS):
        return True
    is_owned = ("sandbox", name) in owned
    if owners.get(stack.identity, name) != name:
        return is_owned
    # Whoever is root in it can change the mark, and a binding may have outlived what it was bound to. What somebody has
    # made anew becomes what is declared, too, but does not go together with what is ours.
    return bool(stack.mark) or (is_owned and (name in wanted or _has_an_end_of_ours(name)))


def _has_an_end_of_ours(name: str) -> bool:
    """Whether a veth of ours leads into it, which only the host can say."""
    # A container may end while we look.
    with suppress(OSError), namespaces.opened(sandbox_path(name)) as descriptor:
        number = rtnetlink.namespace_id(descriptor)
        return number != NO_NAMESPACE_ID and any(
            link.link_netnsid == number and link.kind == "veth" and link.alias.startswith(MARK)
            for link in rtnetlink.links()
        )
    return False


def _observed(name: str, stack: Stack, owners: Dict[Identity, str], wanted: Wanted) -> Sandbox:
    sandbox = wanted.get(name, Sandbox(name, container=""))
    of = _of(name, owners.get(stack.identity, name), wanted)
    if of:
        # What is set in the stack is a matter of the sandbox that it belongs to.
        return replace(sandbox, of=of)
    container = stack.mark if name.startswith(NETNS) else sandbox.container
    return replace(sandbox, container=container, of=of, loopback_up=stack.loopback_up, sysctls=stack.sysctls)


def _of(name: str, owner: str, wanted: Wanted) -> str:
    """The sandbox that this one's stack is of, said as it was declared where that comes to the same."""
    if owner == name or not name.startswith(NETNS):
        return ""
    declared = target = wanted[name].of if name in wanted else owner
    while target in wanted and wanted[target].of:
        target = wanted[target].of
    return declared if target == owner else owner


def _problem(sandbox: Sandbox) -> Problem:
    path = sandbox_path(sandbox.name)
    return Problem(
        sandbox.place,
        f"{path} exists already and is not managed by wharf.network: to use it as it is, set "
        f"x-wharf: {{sandbox: path:{path}}}",
    )


def _made(change: Change) -> Optional[Sandbox]:
    """The sandbox that the change brings, if it is ours to make."""
    sandbox = change.after
    if not isinstance(sandbox, Sandbox) or not sandbox.name.startswith(NETNS):
        return None
    return sandbox if change.before is None or "of" in change.fields or _is_left(sandbox.name) else None


def _make(sandbox: Sandbox, others: Dict[str, Sandbox]) -> None:
    """Make it, but first that of the others which it is bound to."""
    if sandbox.of in others:
        _make(others.pop(sandbox.of), others)
    name = sandbox.name[len(NETNS) :]
    with doing(f"{sandbox.title}: creating"):
        if sandbox.of:
            namespaces.bind(name, namespaces.OWN if sandbox.of == HOST else sandbox_path(sandbox.of))
        else:
            namespaces.create(name, lambda: _settle(sandbox))


def _settle(sandbox: Sandbox) -> None:
    """Set what is to be set in the stack, which the thread is in."""
    if sandbox.of:
        return
    words: Dict[str, object] = {"state": "up"} if sandbox.loopback_up else {}
    if sandbox.name.startswith(NETNS):
        words["ifalias"] = MARK + sandbox.container
    with opened() as ip:
        ip.link("set", index=LOOPBACK_INDEX, **words)
    proc_sys.apply(sandbox.sysctls)


def _delete(name: str) -> None:
    with doing(f"sandbox {name}: deleting"):
        namespaces.delete(name[len(NETNS) :])
