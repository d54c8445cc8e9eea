# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host does what is declared, by packets: which probes are sent, and what their outcomes say."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from . import verified
from .declaration.section import Address
from .errors import ProblemCollector
from .facts_reader import read_facts
from .kernel import namespaces, rtnetlink
from .ledger import Ledger
from .planning.declared_plan import make_plan
from .planning.plan import Plan
from .reachability import probing
from .reachability.batches import ResolvedProbe
from .reachability.expectations import expect, expect_outside
from .reachability.parse_probes import parse_hosts, parse_probes
from .reachability.probes import CLOSED, ELSEWHERE, HOST, ONE_WAY, REACHED, UNKNOWN, Outcome, Probe
from .reachability.sublink_expectations import Untried, untried_on_sublinks
from .reachability.topology import HostAddresses, Topology
from .resources.links.marks import is_managed_tunnel, marked_for
from .resources.links.stacks import HostStack, is_awaited, sandbox_path
from .run_lock import locked, on_stderr
from .state import SandboxRef

_ON_LINK = "this host reaches it without a router, so it is the address of another machine here"
_MARKS = {True: "✓", False: "✗", None: "?"}


@dataclass(frozen=True)
class Request:
    """What is asked for. `probes` are words; `derive` asks for what follows from the declaration, too.

    `timeout` is in seconds. `beyond` and `outer` are those of `expectations.HostAddresses`, as words; where `outer` is
    empty, those of the default interface are meant.
    """

    probes: Sequence[Mapping[str, Any]] = ()
    derive: bool = True
    timeout: float = 1.0
    beyond: Sequence[str] = ()
    outer: Sequence[str] = ()


Row = Tuple[Probe, Outcome]


@dataclass(frozen=True)
class Verification:
    """`outside` are the probes for other hosts to send, `pending` the containers whose sandbox is not there yet.

    Derived probes of these have a row, too: it says that they are inconclusive.
    """

    rows: Tuple[Row, ...]
    outside: Tuple[Probe, ...] = ()
    pending: Tuple[str, ...] = ()

    def of(self, fulfilled: Optional[bool]) -> List[Row]:
        return [(probe, outcome) for probe, outcome in self.rows if outcome.fulfils(probe.expected) is fulfilled]

    def as_data(self) -> Dict[str, Any]:
        return {
            "probes": [_row_as_data(probe, outcome) for probe, outcome in self.rows],
            "failed_probes": len(self.of(False)),
            "unproven_probes": len(self.of(None)),
            "report": _report(self.rows),
            "outside_probes": [probe.as_data() for probe in self.outside],
            "pending": list(self.pending),
        }


def verify(request: Request, notify: Callable[[str], None] = on_stderr) -> Verification:
    """Send all probes; those of which a packet may have been lost once more.

    The host's lock is held meanwhile, so that nothing is half-way changed; `notify` gets a message about a wait.

    Raises:
        ModelError: a probe is not one, or what is declared cannot be.
    """
    with locked(notify):
        ledger = Ledger.load()
        plan = make_plan(ledger.declared, read_facts(ledger, HostStack()), ledger.allotted, ProblemCollector())
        host = ObservedHost.observe(plan)
        topology = Topology(plan, host.host_addresses(request))
        probes = parse_probes(request.probes, plan, host.own)
        derived: List[Probe] = []
        outside: List[Probe] = []
        beyond: List[Untried] = []
        if request.derive and ledger.declared.host is not None:
            keys = {probe.key for probe in probes}
            derived = [probe for probe in expect(topology) if probe.key not in keys]
            outside = expect_outside(topology)
            beyond = [each for each in untried_on_sublinks(topology) if each[0].key not in keys]
        sender = _Sender(topology, host, request.timeout)
        awaited = {probe: sender.awaits(probe) for probe in (*derived, *outside)}
        unseen = [(each, Outcome(UNKNOWN, f"{awaited[each]} is not there yet")) for each in derived if awaited[each]]
        unseen += [(probe, Outcome(UNKNOWN, why)) for probe, why in beyond if not sender.awaits(probe)]
        probes += [probe for probe in derived if not awaited[probe]]
        outside = [probe for probe in outside if not awaited[probe]]
        verification = Verification((*sender.send(probes), *unseen), tuple(outside), tuple(sender.awaited))
        if request.derive:
            verified.keep([_row_as_data(*row) for row in verification.rows])
        return verification


@dataclass(frozen=True)
class ObservedHost:
    """The host's addresses, all and those that are not of managed bridges and tunnels, `of_default_interface` first."""

    every: Tuple[str, ...]
    own: Tuple[Address, ...]
    of_default_interface: Tuple[Address, ...]

    @classmethod
    def observe(cls, plan: Plan) -> ObservedHost:
        links = {link.index: link for link in rtnetlink.links()}
        bridges = {network.bridge for network in plan.model.bridged}
        found = [(links[a.index], a.address.partition("/")[0]) for a in rtnetlink.addresses() if a.index in links]
        own = [
            (link.name != plan.facts.default_interface, ipaddress.ip_address(text))
            for link, text in found
            if not (link.name in bridges and marked_for(link)) and not is_managed_tunnel(link)
        ]
        usable = [(other, each) for other, each in own if not (each.is_loopback or each.is_link_local)]
        usable.sort(key=lambda pair: pair[0])
        return cls(
            tuple(text for _link, text in found),
            tuple(each for _other, each in usable),
            tuple(each for other, each in usable if not other),
        )

    def host_addresses(self, request: Request) -> HostAddresses:
        outer = tuple(each for each, _port in parse_hosts(request.outer, "addresses"))
        beyond = parse_hosts(request.beyond, "beyond")
        return HostAddresses(self.own, outer or self.of_default_interface or self.own, beyond)


class _Sender:
    """Sends probes from where they come from, and watches where they arrive."""

    def __init__(self, topology: Topology, host: ObservedHost, timeout: float) -> None:
        self._topology = topology
        self._host_addresses = frozenset(host.every)
        self._timeout = timeout
        self.awaited = _awaited(topology.plan)

    def send(self, probes: Sequence[Probe]) -> List[Row]:
        outcomes = self._sent(probes)
        doubtful = [n for n, probe in enumerate(probes) if _may_be_lost(probe, outcomes[n])]
        for n, outcome in zip(doubtful, self._sent([probes[n] for n in doubtful])):
            outcomes[n] = outcome
        return list(zip(probes, outcomes))

    def _sent(self, probes: Sequence[Probe]) -> List[Outcome]:
        futile = [self._is_futile(probe) for probe in probes]
        resolved = [self._resolved(probe) for probe, in_vain in zip(probes, futile) if not in_vain]
        outcomes = iter(probing.send(resolved, self._timeout))
        return [Outcome(CLOSED, _ON_LINK) if in_vain else next(outcomes) for in_vain in futile]

    def _is_futile(self, probe: Probe) -> bool:
        return probe.via not in ("", probe.address) and probing.is_on_link(self._path(probe.source), probe.address)

    def _resolved(self, probe: Probe) -> ResolvedProbe:
        arrives = None if probe.via else self._topology.destination(probe, self._host_addresses)
        to_host = probe.expected == REACHED
        witness = self._path(arrives[0]) if arrives else namespaces.OWN if to_host else ""
        port = arrives[1] if arrives else 0
        return ResolvedProbe(
            namespace=self._path(probe.source),
            protocol=probe.protocol,
            address=probe.address,
            port=probe.port,
            witness=witness,
            arrival_port=port,
            via=probe.via,
            near=self._topology.is_near(probe),
            before_rules=to_host,
            size=probe.size,
        )

    def _path(self, source: str) -> str:
        if source == HOST:
            return namespaces.OWN
        container = self._topology.plan.model.containers.get(source)
        return sandbox_path(container.sandbox if container else SandboxRef.parse(source))

    def awaits(self, probe: Probe) -> str:
        """The sandbox from which or at which the probe is to be, if that is not there yet."""
        arrives = self._topology.destination(probe, self._host_addresses)
        return self.awaited.get(probe.source, "") or (self.awaited.get(arrives[0], "") if arrives else "")


def _awaited(plan: Plan) -> Dict[str, str]:
    """The sandboxes that are not there yet, by the containers that are to be there, or to use their network stack."""
    containers = plan.model.containers
    sandboxes = [(name, at.sandbox) for name, c in containers.items() for at in (plan.model.owner_of_stack(c), c)]
    return {name: str(sandbox) for name, sandbox in sandboxes if is_awaited(sandbox)}


def _may_be_lost(probe: Probe, outcome: Outcome) -> bool:
    """Whether a lost packet may have made the outcome other than expected."""
    return not outcome.fulfils(probe.expected) and outcome.seen in (CLOSED, ONE_WAY, ELSEWHERE, UNKNOWN)


def failures(verification: Verification) -> List[str]:
    """One line for each probe that came out otherwise than expected."""
    return [
        f"{_ends(probe)} should be {probe.expected}, is {_seen(outcome)}{_named(probe)}"
        for probe, outcome in verification.of(False)
    ]


def unproven(verification: Verification) -> List[str]:
    """One line for each inconclusive probe."""
    return [
        f"{_ends(probe)} should be {probe.expected}: inconclusive ({outcome.why}){_named(probe)}"
        for probe, outcome in verification.of(None)
    ]


def _report(rows: Sequence[Row]) -> List[str]:
    width = max((len(_ends(probe)) for probe, _outcome in rows), default=0)
    return [
        f"{_MARKS[outcome.fulfils(probe.expected)]} {_ends(probe):{width}}  {_seen(outcome)}"
        f"{_otherwise(probe, outcome)}{_named(probe)}"
        for probe, outcome in rows
    ]


def _ends(probe: Probe) -> str:
    return f"{probe.source} -> {probe.target}"


def _seen(outcome: Outcome) -> str:
    return f"{outcome.seen} ({outcome.why})" if outcome.why not in ("", outcome.seen) else outcome.seen


def _otherwise(probe: Probe, outcome: Outcome) -> str:
    return "" if outcome.fulfils(probe.expected) else f", expected {probe.expected}"


def _named(probe: Probe) -> str:
    return f": {probe.name}" if probe.name else ""


def _row_as_data(probe: Probe, outcome: Outcome) -> Dict[str, Any]:
    return {
        "from": probe.source,
        "to": probe.address,
        "port": probe.port or None,
        "protocol": probe.protocol,
        "expected": probe.expected,
        "name": probe.name,
        "seen": outcome.seen,
        "fulfilled": outcome.fulfils(probe.expected),
        "why": outcome.why,
        "seen_as": outcome.seen_as or None,
        "seconds": outcome.seconds,
    }
