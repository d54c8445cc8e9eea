# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `wharf follow` does between two runs: it keeps containers' files true to the host's, connects containers that
start, also those whose network was on a link of the host that has come, renews leases from the LAN, loads flushed rules
again, and lets through what passes third-party bridges that come.

A run brings each object to what is declared, whoever has changed it, but for an edited `resolv.conf`. Nobody watches
`wharf follow`: so it changes only what belongs to a container that has just started, files that are still as they were
written, rules of which whole chains are gone, and those that name third-party bridges.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Callable, Dict, FrozenSet, Iterator, List, Optional, Set, Tuple

from .confirmation import has_watchdog, start_watchdog
from .converge import converge
from .declaration.declared import FOLLOW, Call, Declared
from .declaration.model import IPTABLES, NFTABLES
from .diff import CREATE, UPDATE, Change
from .errors import ApplyError, ProblemCollector, WharfError
from .facts_reader import read_facts
from .kernel import namespaces, systemd
from .kernel.inotify import Watch
from .kernel.notifications import Notifications, of_deleted_tables, of_links
from .kernel.waiting import Source, wait
from .layers import DNS_FILES, DOCKER_CHAINS, LAYERS, VETH
from .ledger import PATH as LEDGER
from .ledger import Ledger, version
from .planning.declared_plan import make_plan
from .planning.facts import Facts
from .planning.parents import made_parents
from .planning.plan import Plan
from .resources.links.stacks import HostStack, sandbox_path
from .rules.network_rules_iptables import FAMILIES, WHARF_FORWARD
from .run_lock import LOCK, locked
from .runtimes import runtimes
from .state import (
    PATH,
    Bridge,
    ChainRef,
    ContainerFile,
    Endpoint,
    EndpointKey,
    File,
    Key,
    Object,
    Parent,
    Rules,
    Sandbox,
    SandboxRef,
    Shim,
    Uplink,
)
from .third_party.accepts import THIRD_PARTY_BRIDGES
from .transaction import Part
from .unconfirmed import Unconfirmed
from .watchdog import revert_overdue

_HOSTS_FILES = ("/etc/resolv.conf", "/etc/hosts", "/run/systemd/resolve/resolv.conf")

# Where Docker, Podman and systemd-machined keep a file for each container that runs.
_RUNTIMES_FOLDERS = ("/run/docker/netns", namespaces.RUN_NETNS, "/run/systemd/machines")

# In seconds. These files appear before the container runs: so there is another look soon, and then ever later.
_LOOK_AGAIN_AFTER = 0.1
_LOOK_ANYWAY_AFTER = 30.0

# In seconds. To observe a host with thousands of containers takes about one.
_METRICS_EVERY = 60.0

# Seconds. A process that is there begins to revert within the first.
_REVERTS_WITHIN = 5.0

# In seconds. Half of a lease's time, after which it is to be renewed, is hardly ever less.
_ASK_EVERY = 60.0

# The backend of each kind of chain.
_BACKENDS = {"chain": NFTABLES, "iptables_chain": IPTABLES}

# What names third-party bridges, with its backend.
_NAMING_BRIDGES = {
    ("chain", "forward"): NFTABLES,
    **{("iptables_chain", str(ChainRef(family, WHARF_FORWARD))): IPTABLES for family in FAMILIES.values()},
    ("accept", THIRD_PARTY_BRIDGES): IPTABLES,
}

_CALL = Call(repeats=True, asks=False, origin=FOLLOW, by="`wharf follow`")

# Where a network stack is, and which one.
_Stack = Tuple[str, Tuple[int, int]]


@dataclass(frozen=True)
class Followed:
    """What was done: `rules` of these backends were loaded again, sandboxes and uplinks were `connected`, files were
    `changed`, and edited ones `left`. Or the `problem` that was met, and that the next attempt will meet, too.
    """

    rules: Tuple[str, ...] = ()
    connected: Tuple[str, ...] = ()
    changed: Tuple[str, ...] = ()
    left: Tuple[str, ...] = ()
    problem: str = ""


def follow(notify: Callable[[Followed], None], metrics_file: str = "") -> None:
    """Never returns; notifies first that it has begun, and then what it does, beginning with what had changed before.

    It keeps the metrics of the host in this file, if one is named.
    """
    watch = Watch()
    # Watched first, so that no change goes unseen.
    watch.add(_folders())
    tables = _deleted_tables()
    follower = _Follower()
    sources: List[Source] = [watch, *tables, of_links(lambda name: name in follower.parents)]
    metrics = _MetricsFile(metrics_file) if metrics_file else None
    notify(Followed())
    systemd.notify_ready()
    last, pause = Followed(), _LOOK_AGAIN_AFTER
    while True:
        changed = wait(sources, pause)
        pause = _LOOK_AGAIN_AFTER if changed else min(2 * pause, _LOOK_ANYWAY_AFTER)
        follower.may_lack_rules |= not changed.isdisjoint(tables)
        watch.add(follower.folders())
        if metrics:
            watch.add([os.path.dirname(LEDGER)])
        try:
            followed = follower.look()
        except WharfError as error:
            followed = Followed(problem=str(error))
        if followed != Followed() and not (followed.problem and followed == last):
            notify(followed)
        if metrics and metrics.is_due:
            metrics.write(notify)
        last = followed


def _deleted_tables() -> List[Notifications]:
    """None where the kernel does without netfilter."""
    with suppress(OSError):
        return [of_deleted_tables()]
    return []


class _MetricsFile:
    def __init__(self, path: str) -> None:
        self._path = path
        self._written = -_METRICS_EVERY
        self._ledger: Optional[Tuple[int, int]] = None
        self._has_written = False
        self._problem = ""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remove_and_end)

    def _remove_and_end(self, number: int, _frame: object) -> None:
        """Metrics that nobody keeps true any more say something wrong. The process ends as it would without this."""
        with suppress(OSError):
            if self._has_written:
                os.unlink(self._path)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    @property
    def is_due(self) -> bool:
        """Every run that changes something writes the ledger, and so do a confirmation and a revert."""
        return time.monotonic() - self._written >= _METRICS_EVERY or version() != self._ledger

    def write(self, notify: Callable[[Followed], None]) -> None:
        # Imported by the few hosts that ask for it.
        from .metrics import observe_metrics, write

        problem = ""
        try:
            # What a run that is under way has half made is no drift.
            with locked(lambda _message: None):
                self._ledger = version()
                text = observe_metrics()
            write(self._path, text)
            self._has_written = True
        except (WharfError, OSError) as error:
            problem = str(error)
        if problem and problem != self._problem:
            notify(Followed(problem=problem))
        self._problem, self._written = problem, time.monotonic()


class _Follower:
    """Knows what it has followed so far.

    `_connected` are the network stacks of containers that third parties run, as they were when they were connected.
    `parents` are the links of the host on which containers have links; `_parents_up` those that were up, by their
    indexes.
    `may_lack_rules`: a table may have been deleted since the rules were last observed. `_bridges` are the third-party
    bridges that the rules name.
    """

    def __init__(self) -> None:
        # Nobody has followed until now. After a boot, it is the first run that loads them, which makes the lock's file.
        self.may_lack_rules = os.path.exists(LOCK)
        self._files = ("", "")
        self._bridges: Optional[FrozenSet[str]] = None
        self._declared = Declared()
        self._third_party: FrozenSet[SandboxRef] = frozenset()
        self._connected: Dict[SandboxRef, _Stack] = {}
        self.parents: FrozenSet[str] = frozenset()
        self._parents_up: Dict[str, int] = {}
        self._look_at_deadline_after = 0.0
        self._leased: FrozenSet[EndpointKey] = frozenset()
        self._ask_after = 0.0

    def folders(self) -> Iterator[str]:
        """Where something changes when there is something to do."""
        yield from _folders()
        yield from (os.path.dirname(each.name) for each in self._third_party if each.kind == PATH)

    def look(self) -> Followed:
        """
        Raises:
            WharfError: what has changed cannot be followed.
        """
        ledger = Ledger.load()
        if ledger.unconfirmed and ledger.unconfirmed.is_over:
            # Nothing else until they are reverted: any run of this process would do so without a word.
            return self._have_reverted(ledger.unconfirmed)
        facts = read_facts(ledger, HostStack())
        bridges = frozenset(bridge.name for bridge in facts.third_party_bridges or ())
        if self.may_lack_rules:
            loaded = load_rules(names_bridges=bridges != self._bridges)
            self.may_lack_rules, self._bridges = False, bridges
            if loaded:
                return Followed(rules=loaded)
            ledger = Ledger.load()
        followed = Followed()
        if (facts.resolv_conf, facts.hosts) != self._files:
            followed = bring_up_to_date()
            if not followed.problem:
                self._files = facts.resolv_conf, facts.hosts
        if ledger.declared != self._declared:
            plan = make_plan(ledger.declared, facts, ledger.allotted, ProblemCollector())
            self._third_party, self.parents = _third_party_sandboxes(plan), _parents(plan)
            self._leased = frozenset(request.key for request in plan.lease_requests)
            self._declared = ledger.declared
        up = self._up(facts)
        came = {name for name, index in up.items() if self._parents_up.get(name) != index}
        if came:
            followed = replace(followed, connected=connect_on(frozenset(came)))
            self._ask_after = 0.0
        self._parents_up = up
        started = self._started()
        if started:
            followed = replace(followed, connected=(*followed.connected, *connect(frozenset(started))))
            self._connected.update(started)
        if self._may_ask(ledger):
            followed = replace(followed, connected=(*followed.connected, *renew_leases(self._leased)))
        if bridges != self._bridges and followed == Followed():
            # Last, and alone: where rules cannot be loaded, containers are connected and named all the same.
            followed, self._bridges = Followed(rules=load_rules(names_bridges=True)), bridges
        return followed

    def _may_ask(self, ledger: Ledger) -> bool:
        """Whether an endpoint has no lease, or one that is due, and no server was asked just now."""
        leases = [ledger.allotted.leases.get(key) for key in self._leased]
        if all(lease and not lease.is_due(time.time()) for lease in leases) or time.monotonic() < self._ask_after:
            return False
        self._ask_after = time.monotonic() + _ASK_EVERY
        return True

    def _up(self, facts: Facts) -> Dict[str, int]:
        """The indexes of the parents that are up. One that has gone and come again has another."""
        return {link.name: link.index for link in facts.links or () if link.name in self.parents and link.up}

    def _have_reverted(self, unconfirmed: Unconfirmed) -> Followed:
        """Start the process that reverts these changes again, if it is gone though their time is over; or revert them
        here, where it cannot be started.

        Raises:
            WharfError: they cannot be reverted here either.
        """
        if unconfirmed.seconds_left > -_REVERTS_WITHIN or time.monotonic() < self._look_at_deadline_after:
            return Followed()
        self._look_at_deadline_after = time.monotonic() + _LOOK_ANYWAY_AFTER
        if has_watchdog():
            return Followed()
        try:
            start_watchdog()
        except ApplyError as error:
            messages: List[str] = []
            revert_overdue(messages.append)
            return Followed(problem="; ".join([f"{unconfirmed}: {error}", *messages]))
        return Followed(problem=f"{unconfirmed}: the process that reverts them is started again")

    def _started(self) -> Dict[SandboxRef, _Stack]:
        """Those that run, and are not known to be connected. Only of these their runtimes are asked."""
        new = [each for each in self._third_party if not self._is_connected(each)]
        if new:
            runtimes.look_anew()
        found = {each: _stack(sandbox_path(each)) for each in new}
        return {each: stack for each, stack in found.items() if stack}

    def _is_connected(self, sandbox: SandboxRef) -> bool:
        known = self._connected.get(sandbox)
        return known is not None and _stack(known[0]) == known


def _stack(path: str) -> Optional[_Stack]:
    with suppress(OSError):
        if namespaces.is_namespace(path):
            return path, namespaces.identity(path)
    return None


def load_rules(names_bridges: bool) -> Tuple[str, ...]:
    """Where chains that wharf.network made are gone, as after `nft flush ruleset`, load all rules again; else, if
    `names_bridges`, write only what names third-party bridges.

    Returns:
        The backends whose rules have changed.

    Raises:
        WharfError: the rules cannot be loaded.
    """
    lost: Set[str] = set()
    written: Set[str] = set()

    def limit(part: Part) -> Part:
        # Not the chains that a run which was killed has yet to make.
        gone = {each.subject.kind for each in part.changes if each.action == CREATE and each.subject.key in part.owned}
        lost.update(backend for kind, backend in _BACKENDS.items() if kind in gone)
        if lost:
            return part
        existing = (each.subject.key for each in part.changes if each.action != CREATE or each.subject.kind == "accept")
        named = _NAMING_BRIDGES.keys() & existing if names_bridges else set()
        written.update(_NAMING_BRIDGES[key] for key in named)
        return part.only(named)

    converge(_CALL, [DOCKER_CHAINS], limit)
    return tuple(sorted(lost or written))


def bring_up_to_date() -> Followed:
    """Rewrite the files that are as they were written, and would be written otherwise now.

    Raises:
        WharfError: one of them cannot be read or written.
    """
    runtimes.look_anew()

    def limit(part: Part) -> Part:
        others = {change.subject.key for change in part.changes if change.action != UPDATE}
        return part.without_changes_of(frozenset(others) | part.observation.edited)

    result = converge(_CALL, [DNS_FILES], limit)
    problem = "; ".join(reason for reason in result.pending.values() if reason)
    return Followed(
        changed=tuple(change.subject.name for change in result.changes), left=result.edited, problem=problem
    )


def connect(started: FrozenSet[SandboxRef]) -> Tuple[str, ...]:
    """Connect and name these sandboxes, and no others.

    Returns:
        The sandboxes for which there was something to do.

    Raises:
        WharfError: it could not be done, or a bridge or rules that they need are missing.
    """
    connected: Set[SandboxRef] = set()

    def limit(part: Part) -> Part:
        concerned = [each for each in part.changes if _sandboxes_of(each) & (connected or started)]
        if part.layer == VETH.name:
            connected.update(started.intersection(sandbox for each in concerned for sandbox in _sandboxes_of(each)))
        return part.only([each.subject.key for each in concerned])

    _require_networks(started)
    converge(_CALL, [VETH, DNS_FILES], limit)
    return tuple(sorted(map(str, connected)))


def connect_on(parents: FrozenSet[str]) -> Tuple[str, ...]:
    """Connect the containers that have links on these links of the host, and the bridges that have them as uplinks, and
    change nothing else.

    Returns:
        The sandboxes and uplinks for which there was something to do.

    Raises:
        WharfError: it could not be done.
    """
    connected: Set[SandboxRef] = set()
    plugged: Set[str] = set()
    # With those that are made on them, which come first.
    there = {*parents}

    def limit(part: Part) -> Part:
        made = [each.after for each in part.changes if isinstance(each.after, Parent) and each.after.lower in parents]
        there.update(parent.name for parent in made)
        ends = [each.after for each in part.changes if isinstance(each.after, Endpoint)]
        ends = [end for end in ends if end.sublink.parent in there]
        connected.update(end.sandbox for end in ends)
        shims = [each.after for each in part.changes if isinstance(each.after, Shim)]
        shims = [shim for shim in shims if shim.sublink.parent in there]
        uplinks = [each.after for each in part.changes if isinstance(each.after, Uplink) and each.after.name in there]
        plugged.update(uplink.name for uplink in uplinks)
        return part.only([thing.key for thing in (*made, *ends, *shims, *uplinks)])

    converge(_CALL, [VETH], limit)
    return tuple(sorted([*map(str, connected), *plugged]))


def renew_leases(leased: FrozenSet[EndpointKey]) -> Tuple[str, ...]:
    """Ask the LAN's DHCP servers for the leases of these endpoints, and bring the endpoints, the rules of their
    containers and the files that name them to what is leased. Change nothing else.

    Returns:
        The sandboxes in which something has changed.

    Raises:
        WharfError: it could not be done.
    """
    containers = {container for container, _network in leased}
    changed: Set[SandboxRef] = set()

    def is_concerned(change: Change, edited: FrozenSet[Key]) -> bool:
        thing = change.after or change.subject
        if isinstance(thing, Rules):
            return thing.container in containers
        if isinstance(thing, Endpoint):
            return thing.endpoint_key in leased
        is_written = isinstance(thing, (File, ContainerFile)) and thing.key not in edited
        return is_written and (change.action == UPDATE or bool(_sandboxes_of(change) & changed))

    def limit(part: Part) -> Part:
        concerned = [each for each in part.changes if is_concerned(each, part.observation.edited)]
        changed.update(sandbox for each in concerned if each.layer == VETH.name for sandbox in _sandboxes_of(each))
        return part.only([each.subject.key for each in concerned])

    converge(replace(_CALL, asks=True), [DOCKER_CHAINS, VETH, DNS_FILES], limit)
    return tuple(sorted(map(str, changed)))


def _require_networks(started: FrozenSet[SandboxRef]) -> None:
    """
    Raises:
        ApplyError: a bridge or rules are missing, which exist before any container is connected.
    """
    result = converge(Call(repeats=True, check=True), LAYERS[: LAYERS.index(VETH) + 1])
    ends = [each.after for each in result.changes if isinstance(each.after, Endpoint) and _sandboxes_of(each) & started]
    bridges = {end.port.bridge for end in ends}
    for change in result.changes if ends else ():
        # A dockerd that is told to have no bridge deletes docker0, whoever made it, each time it starts.
        of_others = isinstance(change.subject, Bridge) and change.subject.name not in bridges
        if change.layer != VETH.name and change.action == CREATE and not of_others:
            raise ApplyError(f"{change.subject.title} is missing, so no container is connected: run `wharf apply`")


def _sandboxes_of(change: Change) -> FrozenSet[SandboxRef]:
    return _sandboxes_in(change.after or change.subject)


def _sandboxes_in(thing: Object) -> FrozenSet[SandboxRef]:
    """The sandboxes that something is in, or leads to."""
    if isinstance(thing, Sandbox):
        return frozenset([thing.ref, thing.of])
    if isinstance(thing, Endpoint):
        return frozenset([thing.sandbox])
    if isinstance(thing, ContainerFile):
        return frozenset([thing.sandbox])
    return frozenset()


def _third_party_sandboxes(plan: Plan) -> FrozenSet[SandboxRef]:
    return frozenset(each.sandbox for each in plan.model.containers.values() if each.sandbox.is_third_party)


def _parents(plan: Plan) -> FrozenSet[str]:
    declared = {each.parent for each in plan.model.networks.values() if each.parent}
    return frozenset(declared | {parent.lower for parent in made_parents(plan) if parent.lower})


def _folders() -> Iterator[str]:
    """Those of the host's files, and where links among these lead, and those of the runtimes."""
    for path in _HOSTS_FILES:
        yield os.path.dirname(path)
        yield os.path.dirname(os.path.realpath(path))
    yield from _RUNTIMES_FOLDERS
