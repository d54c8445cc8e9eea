# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a packet passes, and why, by the rules, routes and links in the kernel. Changes nothing."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Optional, Set, Tuple

from .declaration.model import HOST_MODE, Container
from .declaration.section import Address
from .diff import Change
from .errors import ModelError, ProblemCollector
from .explanation.cases import CLOSED, OPEN, UNKNOWN, Case, verdict_of, walk_cases
from .explanation.headers import Header, HeaderAddress
from .explanation.hooks import Doubt
from .explanation.owners import holder, origin, publication_at
from .explanation.question import OUTSIDE, OptionNames, Question, parse_question
from .explanation.remedies import APPLY, Advice, Adviser
from .explanation.stacks import HOST, Base, PacketStack, PacketStacks, read_stack
from .explanation.steps import Step
from .facts_reader import read_facts
from .kernel import namespaces, programs
from .kernel.nft_trace import Trace, traced
from .kernel.rtnetlink import LinkInfo
from .layers import BRIDGE, DOCKER_CHAINS, FORWARDING, VETH
from .ledger import Ledger
from .planning.declared_plan import make_sound_plan
from .planning.plan import Plan
from .planning.resolvers import DNS_PORT, Resolvers
from .reachability import probing
from .reachability.batches import ResolvedProbe
from .reachability.probes import PROTOCOLS
from .report import few
from .resources.links.stacks import HostStack, StackReader, is_present, sandbox_path
from .run_lock import locked, on_stderr
from .state import OF_CONTAINER, OF_NETWORK, Endpoint, Key, Rules, Sysctl
from .third_party.rule_evaluation import Rule, SomeAddress
from .transaction import Part
from .verification import ObservedHost

# Seconds to wait for an answer.
_TIMEOUT = 1.0

_MARKS = {True: "✓", False: "✗", None: "?"}


@dataclass(frozen=True)
class Asked:
    """What is asked, in words. `send`: such a packet is sent, too. `names` is how messages call these words."""

    source: str
    target: str
    icmp: bool = False
    send: bool = False
    names: OptionNames = OptionNames()


def explain(asked: Asked, notify: Callable[[str], None] = on_stderr) -> Dict[str, Any]:
    """Keys: `verdict` (open, closed or unknown), `why` in one sentence, `steps`, `remedies`, `unknown` and others.

    The host's lock is held meanwhile, so that nothing is half-way changed; `notify` gets a message about a wait.

    Raises:
        ModelError: the question makes no sense.
        ConflictError: the ledger cannot be read.
    """
    with locked(notify):
        return Seen.read().explain(asked)


@dataclass(frozen=True)
class Seen:
    """A host as it is seen once, to be asked about any number of packets."""

    ledger: Ledger
    plan: Plan
    own: Tuple[Address, ...]
    stacks: PacketStacks

    @classmethod
    def read(cls) -> Seen:
        ledger = Ledger.load_known()
        plan, _unsound = make_sound_plan(ledger.declared, read_facts(ledger, HostStack()), ledger.allotted)
        return cls(ledger, plan, ObservedHost.observe(plan).own, _read_stacks(plan))

    def explain(self, asked: Asked) -> Dict[str, Any]:
        question = parse_question(asked.source, asked.target, asked.icmp, self.plan, self.own, asked.names)
        if question.source == OUTSIDE and not self.plan.facts.default_interface:
            reason = "this host has no default route to other hosts: name an address instead"
            raise ModelError.at(asked.names.source, f'"{OUTSIDE}": {reason}')
        first, *others = question.targets
        explanation = _Explanation(self, question, first)
        explained = explanation.as_data()
        explained["sent"] = explanation.sent(asked.names.send) if asked.send else None
        explained["others"] = [_Explanation(self, question, other).in_short() for other in others]
        return explained

    @cached_property
    def drift(self) -> Tuple[Change, ...]:
        """What differs in the kernel from what is declared, of all that a packet meets."""
        changes: List[Change] = []
        stacks = StackReader()
        for layer in (BRIDGE, DOCKER_CHAINS, FORWARDING, VETH):
            planned = layer.desired(self.plan)
            for resource in layer.resources(self.ledger, stacks):
                collector = ProblemCollector()
                with collector.collect():
                    changes += Part.observed(layer, resource, planned, self.ledger).changes
        return tuple(changes)


def _read_stacks(plan: Plan) -> PacketStacks:
    def read(name: str) -> Optional[PacketStack]:
        container = plan.model.containers.get(name)
        owner = plan.model.owner_of_stack(container) if container else None
        if owner is None or owner.mode == HOST_MODE:
            return host if owner else None
        if owner.name != name:
            return stacks.of(owner.name)
        return read_stack(name, sandbox_path(owner.sandbox)) if is_present(owner.sandbox) else None

    host = read_stack(HOST, namespaces.OWN)
    stacks = PacketStacks(host, read)
    return stacks


class _Explanation:
    """What is said of one packet, to one address."""

    def __init__(self, seen: Seen, question: Question, target: Address) -> None:
        self._seen = seen
        self._plan = seen.plan
        self._question = question
        self._target = target
        self._cases = walk_cases(question, target, seen.plan, seen.stacks)
        unread = [stack for stack in seen.stacks.met if stack.rules.unread]
        verdict = verdict_of(self._cases)
        self._unread = unread
        self._verdict = UNKNOWN if unread and verdict == OPEN else verdict
        # The case whose steps are shown: for an unknown verdict, one in which the packet does not pass.
        closed = [case for case in self._cases if case.verdict == CLOSED]
        self._case = (closed or self._cases)[0]

    def in_short(self) -> Dict[str, Any]:
        return {"address": str(self._target), "verdict": self._verdict}

    def as_data(self) -> Dict[str, Any]:
        drift = [*self._drift()]
        # If all cases are closed, one of them is shown, and the remedies are for that one.
        shown = [self._case] if self._verdict == CLOSED else self._cases
        advised = [self._advice(case) for case in shown if case.verdict == CLOSED]
        # `wharf apply` mends a host that differs from its declaration only; of some differences `drift` says more.
        is_mended_by_apply = bool(self._seen.drift) and not drift
        remedies = [remedy for advice in advised for remedy in advice.remedies if remedy != APPLY or is_mended_by_apply]
        return {
            "from": self._question.source or str(self._question.source_address),
            "to": self._question.to,
            "address": str(self._target),
            "port": self._question.port or None,
            "protocol": self._question.protocol,
            "verdict": self._verdict,
            "why": self._why(),
            "steps": [self._step(step) for step in self._case.steps],
            "remedies": list(dict.fromkeys([*drift, *remedies])) if self._verdict != OPEN else [],
            "unknown": [*self._doubts(), *self._beyond()],
        }

    def _why(self) -> str:
        if self._verdict == OPEN:
            arrival = self._case.arrival
            if arrival and arrival.stack:
                now = "" if self._listens(arrival.stack, arrival.header) else "; no service listens there now"
                return f"the packet reaches {arrival.stack.called}, and the answer comes back{now}"
            return (
                f"the packet leaves the host by {arrival.link.name}, and an answer would come back" if arrival else ""
            )
        if self._unread and not self._case.cause:
            return f"the rules of {self._unread[0].called} cannot be read: {self._unread[0].rules.unread}"
        depends = "the verdict depends on unknown conditions; if closed: " if self._verdict == UNKNOWN else ""
        answer = "the answer does not come back: " if self._case.arrival else ""
        return f"{depends}{answer}{self._advice(self._case).why or self._case.why}"

    def _advice(self, case: Case) -> Advice:
        if case.cause is None:
            return Advice()
        source = self._container(self._question.source or holder(self._plan, self._question.source_address))
        target = self._container(holder(self._plan, self._target) or self._question.name)
        is_here = self._seen.stacks.host.is_local(self._target)
        return Adviser(self._plan, source, target, case.asked, is_here).advise(case.cause)

    def _container(self, name: str) -> Optional[Container]:
        container = self._plan.model.containers.get(name)
        return self._plan.model.owner_of_stack(container) if container else None

    # Steps

    def _step(self, step: Step) -> Dict[str, Any]:
        described: Dict[str, Any] = {
            "where": step.stack,
            "what": step.what,
            "owner": "",
            "place": "",
            "chain": "",
            "rule": "",
            "passes": step.passes,
            "answer": step.answer,
        }
        if step.base is not None and step.end is not None:
            made = origin(self._plan, step)
            family = f"{step.base.family} {step.base.name}"
            described.update(owner=made.owner, place=made.place, chain=f"{family} {step.end.chain}")
            rule, chain = step.end.rule, step.end.chain
            described["rule"] = self._text(step.stack, step.base, chain, rule) if rule else "policy drop"
        return described

    def _text(self, stack: str, base: Base, chain: str, rule: Rule) -> str:
        found = self._seen.stacks.of(stack)
        texts = found.rules.texts if found else {}
        return texts.get((base.family, base.name, chain, rule.label), rule.label)

    # What cannot be known

    def _doubts(self) -> Iterator[Dict[str, Any]]:
        for stack in self._unread:
            yield {"what": f"the rules of {stack.called}: {stack.rules.unread}", "matters": self._verdict == UNKNOWN}
        found: Dict[str, bool] = {}
        for what in (choice.what for case in self._cases for choice in case.choices):
            for text in self._doubt(what) if isinstance(what, Doubt) else [str(what)]:
                found[text] = found.get(text, False) or self._matters(what)
        yield from ({"what": text, "matters": matters} for text, matters in found.items())

    def _matters(self, what: object) -> bool:
        """Whether the verdict depends on it: two cases that differ in it come out otherwise."""
        verdicts = {case.verdict for case in self._cases for choice in case.choices if choice.what == what}
        return len(verdicts) > 1

    def _doubt(self, doubt: Doubt) -> Iterator[str]:
        where = "the host" if doubt.stack == HOST else doubt.stack
        for chain, rule, end in doubt.rules:
            step = Step(doubt.stack, "", None, doubt.base.chain.hook, doubt.base, replace(end, chain=chain, rule=rule))
            made = origin(self._plan, step)
            place = f", {made.place}" if made.place else ""
            text = self._text(doubt.stack, doubt.base, chain, rule)
            rule_text = f"the rule `{text}` in chain {chain} of {where}, made by {made.owner}{place}"
            yield f"whether the packet matches {rule_text}"

    def _beyond(self) -> Iterator[Dict[str, Any]]:
        """What is not on this host, and so is not part of the verdict."""
        case = self._case
        if case.verdict != OPEN or case.arrival is None:
            return
        arrival = case.arrival
        if arrival.stack is None:
            yield {
                "what": f"the network beyond {arrival.link.name}, and whether a host answers there",
                "matters": False,
            }
            source = arrival.header.source
            if not self._is_near(source, arrival.link):
                who = "the client" if isinstance(source, SomeAddress) else source
                what = f"whether other hosts have a route back to {who}, which no rule of this host translates"
                yield {"what": what, "matters": False}

    def _is_near(self, address: Optional[HeaderAddress], link: LinkInfo) -> bool:
        """Whether it is known to be in a subnet of the link."""
        if address is None or isinstance(address, SomeAddress):
            return False
        return any(address in each.network for each in self._seen.stacks.host.interfaces(link))

    def _listens(self, stack: PacketStack, header: Header) -> bool:
        return not header.destination_port or stack.listens(
            header.protocol, header.destination, header.destination_port
        )

    # Sending

    def sent(self, option: str) -> Dict[str, Any]:
        """Send such a packet, and say what was seen.

        Raises:
            ModelError: this host cannot send it.
        """
        question = self._question
        name = question.source or holder(self._plan, question.source_address)
        is_here = question.source_address and self._seen.stacks.host.is_local(question.source_address)
        source = self._container(name)
        if not (name == HOST or is_here or source):
            asked = question.source or question.source_address
            playbook = "the playbook wharf.network.verify with wharf_verify_from or wharf_verify_probes"
            remedy = f"let another host send it, for instance by {playbook}"
            raise ModelError.at(option, f"this host cannot send a packet from {asked}: {remedy}")
        if question.protocol not in PROTOCOLS:
            raise ModelError.at(option, f"{question.protocol} cannot be sent, only {', '.join(PROTOCOLS)}")
        probe = ResolvedProbe(
            namespaces.OWN if source is None or source.mode == HOST_MODE else sandbox_path(source.sandbox),
            question.protocol,
            str(self._target),
            question.port,
            *self._witness(),
        )
        sources = [step.header.source for step in self._case.steps if step.header and step.header.source]
        with self._traced() as trace:
            outcome = probing.send([probe], _TIMEOUT)[0]
            rules = trace.rules(str(sources[0])) if trace and sources else []
        if (outcome.seen == OPEN) != (self._verdict == OPEN):
            # One packet may be lost, by a neighbour that is still to be found for instance.
            outcome = probing.send([probe], _TIMEOUT)[0]
        # Whoever is beyond this host may be silent, or refuse, for reasons of its own.
        beyond = self._verdict == OPEN and any(case.arrival and case.arrival.stack is None for case in self._cases)
        is_conclusive = UNKNOWN not in (self._verdict, outcome.seen) and (outcome.seen == OPEN or not beyond)
        agrees = (outcome.seen == OPEN) == (self._verdict == OPEN) if is_conclusive else None
        return {
            "seen": outcome.seen,
            "why": outcome.why,
            "seen_as": outcome.seen_as or None,
            "seconds": outcome.seconds,
            "agrees": agrees,
            "trace": rules,
        }

    def _traced(self) -> ContextManager[Optional[Trace]]:
        """Have the kernel report which rules of nftables the packet meets, where there is an nft."""
        if not programs.find("nft"):
            return nullcontext()
        target, protocol = self._target, self._question.protocol
        return traced(target.version, protocol, str(target), self._question.port)

    def _witness(self) -> Tuple[str, int]:
        """The network stack in which the packet should arrive, and the port; none beyond the host, and none here."""
        arrivals = [case.arrival for case in self._cases if case.arrival and case.arrival.stack]
        header = arrivals[0].header if arrivals and arrivals[0] else None
        container = self._container(arrivals[0].stack.name) if arrivals and arrivals[0].stack else None
        if container is None or header is None or container.mode == HOST_MODE:
            published = publication_at(self._plan, self._cases[0].asked)
            container = self._container(published.container if published else holder(self._plan, self._target))
            port = published.target_port if published else self._question.port
        else:
            port = header.destination_port if isinstance(header.destination_port, int) else 0
        return (sandbox_path(container.sandbox), port) if container and is_present(container.sandbox) else ("", 0)

    # Drift

    def _drift(self) -> Iterator[str]:
        """What is declared, and missing or other in the kernel, of all that this packet is concerned with."""
        missing = [text for change in self._seen.drift for text in self._missing(change)]
        if missing:
            yield f"`wharf apply`, which restores {few(missing)}"

    def _missing(self, change: Change) -> Iterator[str]:
        before, after = change.before, change.after
        if after is None or not self._concerns(after):
            return
        if isinstance(after, Rules):
            there = {*before.elements} if isinstance(before, Rules) else set()
            there |= self._for_other_ports.get(after.key, set())
            for element in after.elements:
                if element not in there:
                    yield f"{element[0]} {element[1]} ({after.name})"
        elif before is None:
            yield f"{after.kind} {after.name}"
        elif isinstance(after, Sysctl):
            yield f"{after.name} = {after.value}"
        else:
            yield f"{after.kind} {after.name} as it was declared"

    @cached_property
    def _for_other_ports(self) -> Dict[Key, Set[Any]]:
        """The elements, or rules of iptables, that only other ports than this packet's need, by their owner's key."""
        published = publication_at(self._plan, self._case.asked)
        own = {header.destination_port for header in self._headers} | {published.target_port if published else None}
        plan = self._plan
        without_its_ports = replace(
            plan,
            resolvers=Resolvers() if DNS_PORT in own else plan.resolvers,
            publications=tuple(
                each for each in plan.publications if own.isdisjoint((each.host_port, each.target_port))
            ),
            accepted_ports=tuple(each for each in plan.accepted_ports if each.port not in own),
            linked_ports=tuple(each for each in plan.linked_ports if each.port not in own),
            entries=tuple(each for each in plan.entries if each.port.port not in own),
        )
        without_ports = replace(
            plan, resolvers=Resolvers(), publications=(), accepted_ports=(), linked_ports=(), entries=()
        )
        always = _elements(without_ports)
        return {key: found - always.get(key, set()) for key, found in _elements(without_its_ports).items()}

    def _concerns(self, thing: Any) -> bool:
        if isinstance(thing, Rules):
            known = {OF_CONTAINER: self._names, OF_NETWORK: self._networks}.get(thing.owner.kind)
            return known is None or thing.owner.name in known
        if isinstance(thing, Endpoint):
            return thing.container in self._names
        if thing.kind == "bridge":
            return thing.network in self._networks
        return thing.kind in ("set", "chain", "iptables_chain", "iptables_hook", "sysctl")

    @property
    def _headers(self) -> List[Header]:
        """The packet as it is sent, and as it is at each step."""
        return [self._case.asked, *(step.header for step in self._case.steps if step.header)]

    @cached_property
    def _names(self) -> List[str]:
        ends = [
            self._question.source,
            holder(self._plan, self._question.source_address),
            holder(self._plan, self._target),
        ]
        ports = {(header.protocol, header.destination_port) for header in self._headers}
        published = [each.container for each in self._plan.publications if (each.protocol, each.host_port) in ports]
        return [*ends, self._question.name, *published]

    @cached_property
    def _networks(self) -> List[str]:
        containers = [self._container(name) for name in self._names]
        return [each.network for container in containers if container for each in container.attachments]


def _elements(plan: Plan) -> Dict[Key, Set[Any]]:
    desired = DOCKER_CHAINS.desired(plan)
    return {thing.key: {*thing.elements} for thing in desired if isinstance(thing, Rules)}


# For people


def lines(explained: Dict[str, Any]) -> Iterator[str]:
    """The verdict first, then each step, and what would let the packet pass."""
    yield f"{explained['verdict']}: {explained['from']} -> {_target(explained)}: {explained['why']}"
    yield ""
    width = max((len(step["where"]) for step in explained["steps"]), default=0)
    for step in explained["steps"]:
        mark = _MARKS[step["passes"]]
        arrow = "<" if step["answer"] else ">"
        yield f"  {mark} {arrow} {step['where']:{width}}  {_does(step)}"
        if step["owner"]:
            place = f", {step['place']}" if step["place"] else ""
            yield f"      {'':{width}}  made by {step['owner']}{place}"
    if explained["sent"]:
        yield f"sent: {_seen(explained['sent'])}"
        yield from (f"  kernel trace: {rule}" for rule in explained["sent"]["trace"])
    for other in explained["others"]:
        yield f"at {other['address']}: {other['verdict']}"
    for remedy in explained["remedies"]:
        yield f"to open: {remedy}"
    for unknown in explained["unknown"]:
        if unknown["matters"]:
            yield f"the verdict depends on {unknown['what']}"
    others = [unknown["what"] for unknown in explained["unknown"] if not unknown["matters"]]
    if others:
        more = f", and {len(others) - 1} more (--json)" if len(others) > 1 else ""
        yield f"unknown, but without effect on the verdict: {others[0]}{more}"


def _seen(sent: Dict[str, Any]) -> str:
    why = f" ({sent['why']})" if sent["why"] else ""
    source = f", with source {sent['seen_as']}" if sent["seen_as"] else ""
    agrees = {True: "as explained", False: "NOT as explained", None: "which is inconclusive"}[sent["agrees"]]
    return f"{sent['seen']}{why}{source}, {agrees}"


def _target(explained: Dict[str, Any]) -> str:
    address = f"[{explained['address']}]" if ":" in explained["address"] else explained["address"]
    end = f"{address}:{explained['port']}"
    at = f"{end}/{explained['protocol']}" if explained["port"] else f"{explained['address']}, a ping"
    return at if explained["to"].partition("/")[0] in (end, explained["address"]) else f"{explained['to']} ({at})"


def _does(step: Dict[str, Any]) -> str:
    return f"{step['chain']}: `{step['rule']}` {step['what']}" if step["chain"] else str(step["what"])
