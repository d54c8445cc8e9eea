# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes sandboxes, the network stacks of containers."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import IO, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from ...diff import UPDATE, Change
from ...errors import ApplyError, ConflictError, Problem
from ...kernel import namespaces, open_files, proc_sys, rtnetlink
from ...kernel.links import doing
from ...kernel.namespaces import Identity
from ...kernel.proc_sys import Parameters
from ...kernel.rtnetlink import NO_NAMESPACE_ID
from ...kernel.rtnetlink_changes import Rtnetlink
from ...state import HOST_STACK, NETNS, NO_SANDBOX, Key, Object, Sandbox, SandboxRef, State, state_of
from ..resource import Observation
from . import parameters
from .link_resource import LinkResource
from .marks import MARK, marked_for
from .parameters import AS_MADE, Before
from .stacks import (
    LOOPBACK_INDEX,
    Stack,
    StackReader,
    Stacks,
    is_awaited,
    is_present,
    is_unreadable,
    sandbox_path,
)

Wanted = Dict[SandboxRef, Sandbox]

# Of each sandbox the kernel parameters that wharf.network has set, with their values before.
Known = Mapping[SandboxRef, Mapping[str, str]]


def is_new(sandbox: SandboxRef, owned: FrozenSet[Key]) -> bool:
    """Whether wharf.network makes this stack in this very run, so that nobody can have changed anything in it."""
    return sandbox.is_managed and sandbox.key not in owned


def refusal(names: Sequence[str], sandbox: SandboxRef, why: object) -> str:
    """The warning that these objects could not be made as declared inside a sandbox, with the reason."""
    subject = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} pending"
    return (
        f"{subject}: {why}: look for what else is set in {sandbox_path(sandbox) or sandbox}; the next run tries again"
    )


def not_kept(change: Change, sandbox: SandboxRef, whole: str) -> str:
    """The warning that a setting inside a sandbox differs again. `whole` names it if the change has no fields."""
    return refusal([change.subject.name], sandbox, f"{', '.join(change.fields) or whole} did not stay as set")


Owners = Dict[Identity, SandboxRef]


class Sandboxes(LinkResource):
    """Observes and changes sandboxes.

    wharf.network makes and deletes named namespaces, and manages those whose loopback has the alias `wharf:CONTAINER`,
    and those that the ledger says it owns: root in a container can change the alias. In the sandboxes of third parties
    it only sets the loopback and kernel parameters, once these sandboxes exist, and restores the parameters to what
    they were `before`.
    """

    kinds = frozenset(["sandbox"])
    goes_first = True

    def __init__(
        self, before: Before, owned: FrozenSet[Key] = frozenset(), stacks: Optional[StackReader] = None
    ) -> None:
        super().__init__(stacks)
        self._before = before
        self._owned = owned
        # The namespaces of deleted sandboxes, as many as the process may keep open until the end of the run. So what
        # runs in them is not cut off if the run is rolled back.
        self._deleted: Dict[SandboxRef, IO[bytes]] = {}

    def require(self, new: State) -> None:
        parameters.refuse_unsettable(new)

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        sandboxes = [thing for thing in desired.values() if isinstance(thing, Sandbox)]
        pending = {thing.key: "" for thing in sandboxes if is_awaited(thing.ref) or is_awaited(thing.of)}
        unseen = {thing.key for thing in sandboxes if is_unreadable(thing.ref) or is_unreadable(thing.of)}
        wanted = {key: thing for key, thing in desired.items() if key not in pending}
        current = {key: thing for key, thing in self._current(wanted, owned).items() if key not in unseen}
        return Observation(
            current,
            wanted,
            partial=frozenset(current.keys() - wanted.keys()) | _rebound(current, wanted),
            pending=pending,
            prior=self._prior(wanted.values()),
            released=self._released(frozenset(pending), wanted, current),
        )

    def _current(self, desired: State, owned: FrozenSet[Key]) -> State:
        wanted = {thing.ref: thing for thing in desired.values() if isinstance(thing, Sandbox)}
        refs = [SandboxRef.parse(name) for kind, name in sorted(owned) if kind == "sandbox"]
        managed = [ref for ref in refs if ref.is_managed]
        known = self._known()
        # Also those that are declared no more: names of managed sandboxes may be bound to their stacks.
        third_party = [ref for ref in [*refs, *known] if ref.is_third_party]
        read = self._stacks.read([*wanted, *managed, *third_party])
        sysctls = _parameters(read, wanted, known)
        stacks = {ref: stack for ref, stack in read.items() if ref in sysctls}
        owners = _owners(stacks, wanted)
        found: List[Object] = [Sandbox(ref, container="") for ref in managed if _is_left(ref) and ref not in wanted]
        in_hosts = (ref for ref in stacks if ref.is_third_party and ref in wanted and stacks[ref].is_hosts)
        problems = [_in_hosts_stack(wanted[ref]) for ref in in_hosts]
        for ref, stack in stacks.items():
            if ref not in wanted and ref.is_third_party:
                if sysctls[ref] and not stack.is_hosts:
                    found.append(Sandbox(ref, container="", sysctls=sysctls[ref]))
            elif ref.is_third_party or _is_managed(ref, stack, owners, wanted, owned):
                found.append(_observed(ref, stack, sysctls[ref], owners, wanted))
            elif ref in wanted:
                problems.append(_third_party_namespace(wanted[ref]))
        new = (thing for ref, thing in wanted.items() if ref.is_managed and ref not in read)
        problems += [_occupied(thing) for thing in new if namespaces.is_occupied(thing.ref.name)]
        if problems:
            raise ConflictError(*problems)
        return state_of(found)

    def recover(self, usual: State) -> FrozenSet[Key]:
        return frozenset(ref.key for ref in marks())

    def _known(self) -> Known:
        found = parameters.by_name(self._before, "sandbox")
        return {SandboxRef.parse(name): values for name, values in found.items()}

    def _prior(self, wanted: Iterable[Object]) -> Dict[str, str]:
        """The present values of the parameters that are about to be set for the first time."""
        found = {}
        for sandbox in (thing for thing in wanted if isinstance(thing, Sandbox)):
            new = [name for name, _value in sandbox.sysctls if parameters.entry(sandbox, name) not in self._before]
            values = dict.fromkeys(new, AS_MADE) if sandbox.ref.is_managed else _values(sandbox.ref, new)
            found.update({parameters.entry(sandbox, name): value for name, value in values.items()})
        return found

    def _released(self, pending: FrozenSet[Key], *states: State) -> List[str]:
        """The entries of the ledger to drop. Those of a container whose runtime does not answer stay until it does."""
        unseen = frozenset(ref.key for ref in self._known() if is_unreadable(ref))
        return parameters.released(self._before, "sandbox", pending | unseen, *states)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        refused: Dict[Key, str] = {}
        self._stacks.forget(_refs(changes))
        for change in changes:
            before, gone = change.before, change.after is None or "of" in change.fields
            if isinstance(before, Sandbox) and before.ref.is_managed and gone:
                self._delete(before, is_rebound=change.after is not None)
        new = {thing.ref: thing for thing in (_new(change) for change in changes) if thing}
        made = frozenset(new)
        while new:
            self._make(new.pop(next(iter(new))), new)
        for change in changes:
            after = change.after
            if isinstance(after, Sandbox) and after.ref not in made:
                with self._refusing(after, refused), namespaces.entered(sandbox_path(after.ref)):
                    _configure(after)
        for change in changes:
            before, after = change.before, change.after
            if isinstance(before, Sandbox) and before.ref not in made:
                self._give_back(before, after.sysctls if isinstance(after, Sandbox) else (), refused)
        return refused

    def _delete(self, sandbox: Sandbox, is_rebound: bool) -> None:
        # A name that is bound to another sandbox's stack now, and shall have one of its own, gets a new one.
        is_kept = sandbox.ref not in self._deleted and not (is_rebound and sandbox.of)
        if is_kept and open_files.allow(len(self._deleted) + 1):
            with suppress(OSError):
                self._deleted[sandbox.ref] = open(sandbox_path(sandbox.ref), "rb", buffering=0)  # noqa: SIM115
        with doing(f"sandbox {sandbox.ref}: deleting"):
            namespaces.delete(sandbox.ref.name)

    def _make(self, sandbox: Sandbox, others: Wanted) -> None:
        """Make the namespace, after the one of the others whose stack its name is bound to."""
        if sandbox.of in others:
            self._make(others.pop(sandbox.of), others)
        deleted = None if sandbox.of else self._deleted.get(sandbox.ref)
        with doing(f"{sandbox.title}: creating"):
            if sandbox.of:
                namespaces.bind(sandbox.ref.name, sandbox_path(sandbox.of))
            else:
                descriptor = deleted.fileno() if deleted else None
                namespaces.create(sandbox.ref.name, lambda: _configure(sandbox), descriptor)

    @contextmanager
    def _refusing(self, sandbox: Sandbox, refused: Dict[Key, str]) -> Iterator[None]:
        """If the kernel refuses something in the block, or the sandbox has ended, that sandbox is refused."""
        try:
            with doing(f"sandbox {sandbox.name}: changing"):
                yield
        except ApplyError as error:
            if is_new(sandbox.ref, self._owned):
                raise
            refused[sandbox.key] = refusal([sandbox.name], sandbox.ref, error)

    def tolerate(self, left: Sequence[Change]) -> Mapping[Key, str]:
        return {
            sandbox.key: not_kept(change, sandbox.ref, "what was set in it")
            for change in left
            for sandbox in [change.subject]
            if isinstance(sandbox, Sandbox) and self._is_its_own(change, sandbox.ref)
        }

    def _is_its_own(self, change: Change, ref: SandboxRef) -> bool:
        """Whether root in the container can have caused the difference, which is none of the namespace's name."""
        inside = change.action == UPDATE or ref.is_third_party
        return inside and "of" not in change.fields and not is_new(ref, self._owned)

    def _give_back(self, sandbox: Sandbox, kept: Parameters, refused: Dict[Key, str]) -> None:
        entries = {name: parameters.entry(sandbox, name) for name in parameters.gone(sandbox.sysctls, kept)}
        if entries and is_present(sandbox.ref):
            values = _prior_values({name: self._before[key] for name, key in entries.items() if key in self._before})
            with self._refusing(sandbox, refused), namespaces.entered(sandbox_path(sandbox.ref)):
                proc_sys.apply((name, value) for name, value in values.items() if value is not None)


def _refs(changes: Sequence[Change]) -> Iterator[SandboxRef]:
    for thing in (thing for change in changes for thing in (change.before, change.after)):
        if isinstance(thing, Sandbox):
            yield from (thing.ref, thing.of)


def _rebound(current: State, wanted: State) -> FrozenSet[Key]:
    """The sandboxes of each stack of which a name is about to be bound to another stack, or to one of its own.

    Such a stack may become that of another sandbox without a change. Then only the declaration says whose it was.
    """
    sandboxes = [thing for thing in current.values() if isinstance(thing, Sandbox) and thing.ref.is_managed]
    moved = [thing for thing in sandboxes if getattr(wanted.get(thing.key), "of", thing.of) != thing.of]
    if not moved:
        return frozenset()
    stacks = {thing: namespaces.identity(sandbox_path(thing.ref)) for thing in sandboxes if is_present(thing.ref)}
    of_moved = {stacks[thing] for thing in moved if thing in stacks}
    return frozenset(thing.key for thing, stack in stacks.items() if stack in of_moved)


def marks() -> Dict[SandboxRef, str]:
    """The named namespaces that have a mark, with the container that each mark names."""
    names = os.listdir(namespaces.RUN_NETNS) if os.path.isdir(namespaces.RUN_NETNS) else []
    stacks = StackReader().read(SandboxRef(NETNS, name) for name in sorted(names))
    return {ref: stack.mark for ref, stack in stacks.items() if stack.mark}


def _in_hosts_stack(sandbox: Sandbox) -> Problem:
    return Problem(
        sandbox.place,
        f"{sandbox.name} has no network stack of its own but the host's: run it without any network "
        "(docker run --network none), or say network_mode: host",
    )


def _is_left(ref: SandboxRef) -> bool:
    """Whether only the mount point of a named namespace exists, and no namespace is mounted on it."""
    return os.path.isfile(sandbox_path(ref)) and not is_present(ref)


def _parameters(refs: Iterable[SandboxRef], wanted: Wanted, known: Known) -> Dict[SandboxRef, Parameters]:
    """The parameters of each sandbox that are declared, or not given back."""
    found = {}
    for ref in refs:
        # A container may end meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError):
            found[ref] = tuple(_parameters_of(ref, wanted.get(ref), known.get(ref, {})))
    return found


def _parameters_of(ref: SandboxRef, wanted: Optional[Sandbox], known: Mapping[str, str]) -> List[Tuple[str, str]]:
    declared = wanted.sysctls if wanted else ()
    # A managed namespace that is no longer declared is deleted, so its parameters need not be restored.
    is_kept = wanted is not None or ref.is_third_party
    undeclared = _prior_values(dict(parameters.undeclared(known, declared))) if is_kept else {}
    if not declared and not undeclared:
        return []
    with namespaces.entered(sandbox_path(ref)):
        return [*proc_sys.observe(declared), *_not_given_back(undeclared)]


def _values(ref: SandboxRef, keys: Sequence[str]) -> Dict[str, str]:
    """The present values of these parameters in a third party's stack."""
    values: Dict[str, Optional[str]] = {}
    # A container may end meanwhile.
    with suppress(FileNotFoundError, ProcessLookupError):
        if keys:
            with namespaces.entered(sandbox_path(ref)):
                values = {key: proc_sys.read(key) for key in keys}
    return {key: value for key, value in values.items() if value is not None}


def _prior_values(found: Mapping[str, str]) -> Dict[str, Optional[str]]:
    """Values of the ledger, with those of a new stack in the place of `AS_MADE`."""
    made = [name for name, value in found.items() if value == AS_MADE]
    return {**found, **(parameters.of_new_stack(made) if made else {})}


def _not_given_back(before: Mapping[str, Optional[str]]) -> Iterator[Tuple[str, str]]:
    for name, value in before.items():
        now = proc_sys.read(name)
        if now is not None and not parameters.is_given_back(now, value):
            yield name, now


def _owners(stacks: Stacks, wanted: Wanted) -> Owners:
    """For each stack the sandbox that it belongs to; the names of other sandboxes may be bound to the same stack."""
    owners = {namespaces.identity(namespaces.OWN): HOST_STACK}
    for ref, stack in stacks.items():
        sandbox = wanted.get(ref)
        made_for = stack.mark if sandbox is None else "" if sandbox.of else sandbox.container
        if ref.is_third_party or (made_for and stack.mark == made_for):
            owners.setdefault(stack.identity, ref)
    # The container that a mark names may have another sandbox now, and root in a container can remove the mark.
    for ref in (ref for ref in stacks if ref in wanted and not wanted[ref].of):
        owners.setdefault(stacks[ref].identity, ref)
    return owners


def _is_managed(ref: SandboxRef, stack: Stack, owners: Owners, wanted: Wanted, owned: FrozenSet[Key]) -> bool:
    is_owned = ref.key in owned
    if owners.get(stack.identity, ref) != ref:
        return is_owned
    # Without a mark, a stack of an owned name is managed if it is declared, or if an endpoint is in it: root in the
    # container can remove the mark. Otherwise a third party has made another namespace of this name, which stays.
    return bool(stack.mark) or (is_owned and (ref in wanted or _has_endpoint(ref)))


def _has_endpoint(ref: SandboxRef) -> bool:
    """Whether a managed veth leads into it, by its end on the host, which root in the container cannot change."""
    # A container may end meanwhile.
    with suppress(OSError), namespaces.opened(sandbox_path(ref)) as descriptor:
        number = rtnetlink.namespace_id(descriptor)
        return number != NO_NAMESPACE_ID and any(
            link.link_netnsid == number and link.kind == "veth" and marked_for(link) for link in rtnetlink.links()
        )
    return False


def _observed(ref: SandboxRef, stack: Stack, sysctls: Parameters, owners: Owners, wanted: Wanted) -> Sandbox:
    sandbox = wanted.get(ref, Sandbox(ref, container=""))
    of = _of(ref, owners.get(stack.identity, ref), wanted)
    if of:
        # The stack's loopback and parameters belong to the other sandbox.
        return replace(sandbox, of=of)
    container = stack.mark if ref.is_managed else sandbox.container
    return replace(sandbox, container=container, of=of, loopback_up=stack.loopback.up, sysctls=sysctls)


def _of(ref: SandboxRef, owner: SandboxRef, wanted: Wanted) -> SandboxRef:
    """The sandbox whose stack this name is bound to; as declared, if that leads to the same stack over other names."""
    if owner == ref or ref.is_third_party:
        return NO_SANDBOX
    declared = target = wanted[ref].of if ref in wanted else owner
    while target in wanted and wanted[target].of:
        target = wanted[target].of
    return declared if target == owner else owner


def _occupied(sandbox: Sandbox) -> Problem:
    return Problem(sandbox.place, f"{sandbox_path(sandbox.ref)} is no network namespace: move it away")


def _third_party_namespace(sandbox: Sandbox) -> Problem:
    path = sandbox_path(sandbox.ref)
    return Problem(
        sandbox.place,
        f"{path} exists already and is not managed by wharf.network: to use it as it is, set "
        f"x-wharf: {{sandbox: path:{path}}}",
    )


def _new(change: Change) -> Optional[Sandbox]:
    """The sandbox, if the change makes or binds a named namespace."""
    sandbox = change.after
    if not isinstance(sandbox, Sandbox) or not sandbox.ref.is_managed:
        return None
    return sandbox if change.before is None or "of" in change.fields or _is_left(sandbox.ref) else None


def _configure(sandbox: Sandbox) -> None:
    """Set the loopback and the parameters of the stack that this thread is in."""
    if sandbox.of:
        return
    mark = MARK + sandbox.container if sandbox.ref.is_managed else ""
    with Rtnetlink() as netlink:
        netlink.set_link(LOOPBACK_INDEX, up=sandbox.loopback_up, alias=mark)
    proc_sys.apply(sandbox.sysctls)
