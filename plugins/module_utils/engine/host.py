# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as a run reads it: its ledger, the plan of what is declared, and what each resource has to do for that."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Collection, Dict, List, Mapping, Optional, Sequence

from . import flows
from .declaration.declared import (
    ABSENT,
    Call,
    Declared,
    check_removed_networks,
    declare,
    known,
    not_given,
    unnamed,
    with_earlier,
)
from .diff import Change
from .errors import ApplyError, ConflictError, ModelError, Problem, ProblemCollector
from .facts_reader import read_facts
from .layers import DOCKER_CHAINS, LAYERS, VETH, Layer
from .ledger import Ledger
from .planning.allotments import Allotments, Lease
from .planning.declared_plan import make_plan, make_plan_without
from .planning.facts import Facts
from .planning.plan import Plan
from .planning.reach import StalePorts
from .resources.links.stacks import HostStack, StackReader
from .resources.resource import Resource
from .state import EndpointKey, Object, Rules, State, state_of
from .transaction import Part, of_kinds
from .unconfirmed import Former, Unconfirmed


@dataclass(frozen=True)
class Host:
    """`declared` and `plan` are valid after the run; `declared_before` and `allotted_before` were before it.

    The call changes what is `former`: what was declared before the run, or, where the run `reverts` changes, what was
    declared before these. `unconfirmed` are changes of earlier runs that nobody has confirmed. `warnings` are those of
    the declaration alone.
    """

    ledger: Ledger
    facts: Facts
    declared_before: Declared
    allotted_before: Allotments
    former: Former
    unconfirmed: Optional[Unconfirmed]
    reverts: Optional[Unconfirmed]
    declared: Declared
    plan: Plan
    layers: Sequence[Layer]
    parts: Sequence[Part]
    warnings: Sequence[str]

    @property
    def declares_anew(self) -> bool:
        """Whether anything is declared now that was not, or the other way around, so that the host can revert."""
        return self.declared != self.former.declared

    @property
    def follows_unconfirmed(self) -> bool:
        """Whether there are changes that nobody has confirmed, and that this run leaves."""
        return self.unconfirmed is not None and self.reverts is None

    @cached_property
    def plan_before(self) -> Optional[Plan]:
        """The plan of what was declared before this run; None if it cannot be made any more."""
        with suppress(ModelError):
            return make_plan(self.declared_before, self.facts, self.allotted_before, ProblemCollector())
        return None

    def desired_before(self) -> Dict[str, State]:
        """The objects of each layer that were desired before this run."""
        before = self.plan_before
        return {layer.name: state_of(layer.desired(before)) for layer in self.layers} if before else {}

    def ports_to_check(self, changes: Sequence[Change]) -> StalePorts:
        """The ports whose flows may be stale after the changes."""
        if not any(isinstance(change.subject, Rules) for change in changes):
            return StalePorts()
        expected = DOCKER_CHAINS.desired(self.plan_before) if self.plan_before else []
        return flows.ports_to_check(self.plan_before, state_of(expected), self.plan, changes)


def read_host(call: Call, layers: Sequence[Layer] = LAYERS) -> Host:
    """Plan the host and observe each resource once. Changes nothing.

    Raises:
        ModelError: what is declared, or given, is wrong; with what the host lacks besides.
        ConflictError: the host lacks something, or a third-party object is in the way.
    """
    ledger = _load_ledger(call)
    _refuse_beside_unconfirmed(ledger, call)
    reverts = ledger.unconfirmed if ledger.unconfirmed and (call.reverts or ledger.unconfirmed.is_over) else None
    former = Former(ledger.declared, ledger.allotted)
    if reverts:
        # All layers, since all of them may have been changed.
        former, layers = reverts.former.reverted_from(former), LAYERS
    declared = declare(former.declared, call)
    with_given = known(declared, call)
    check_removed_networks(former.declared, with_given)
    stacks = StackReader()
    earlier, facts = not_given(former.declared, call), read_facts(ledger, stacks.host)
    allotted = former.allotted.with_peer_keys(call.peer_keys)
    unmatched = ProblemCollector()
    try:
        # Rules that were declared before may name what has gone since.
        is_error = call.declares_rules
        plan = make_plan(with_given, facts, allotted, None if is_error else unmatched, earlier, call.places)
    except ModelError as error:
        besides = _problems_besides(error, with_given, facts, allotted, ledger, layers, call, stacks)
        raise ModelError(*dict.fromkeys(with_earlier([*error.problems, *besides], former.declared, call))) from error
    if with_given != declared:
        plan = make_plan(declared, facts, plan.allotted, ProblemCollector(), earlier, call.places)
    if plan.lease_requests and VETH in layers:
        plan = _with_leases(plan, allotted, declared, earlier, call)
    problems = ProblemCollector()
    if not call.repeats and call.state != ABSENT and not declared.is_empty:
        problems.problems += _lacking(layers, plan)
    parts = _observe(layers, plan, ledger, stacks, problems)
    problems.raise_if_any(ConflictError)
    warnings = [*unnamed(former.declared, call), *plan.warnings]
    warnings += [f"the rule matches nothing: {problem}" for problem in unmatched.problems]
    return Host(
        ledger, facts, ledger.declared, ledger.allotted, former, ledger.unconfirmed, reverts,
        declared, plan, layers, parts, warnings,
    )  # fmt: skip


def _with_leases(plan: Plan, before: Allotments, declared: Declared, earlier: Collection[str], call: Call) -> Plan:
    """The plan with the leases that the LAN's DHCP servers give now, if the call may ask. In check mode none is asked.

    Anybody on a LAN can answer as a DHCP server, and with anything. So a new lease with which there is no plan, such as
    one of a subnet that another network has, is not used, and nothing else depends on it.
    """
    if call.check or not call.asks:
        return plan
    from . import dhcp_client

    given = dhcp_client.leases(plan.lease_requests)
    if given == plan.allotted.leases:
        return plan
    # An endpoint that had no lease until now may be on the host all the same.
    former = replace(plan.allotted, endpoints={**before.endpoints, **plan.allotted.endpoints})

    def planned(leases: Mapping[EndpointKey, Lease]) -> Plan:
        allotted = replace(former, leases=leases)
        return make_plan(declared, plan.facts, allotted, ProblemCollector(), earlier, call.places)

    with suppress(ModelError):
        return planned(given)
    kept = {key: lease for key, lease in plan.allotted.leases.items() if not lease.is_over(time.time())}
    useless: Dict[EndpointKey, str] = {}
    found = planned(kept)
    for key, lease in given.items():
        if lease == kept.get(key):
            continue
        try:
            found = planned({**kept, key: lease})
            kept[key] = lease
        except ModelError as error:
            useless[key] = f"{lease.interface}, which a DHCP server gives, cannot be used: {error}"
    requests = (replace(each, useless=useless.get(each.key, "")) for each in found.lease_requests)
    return replace(found, lease_requests=tuple(requests))


def _refuse_beside_unconfirmed(ledger: Ledger, call: Call) -> None:
    """
    Raises:
        ConflictError: the call would declare something while earlier changes may still be reverted.
    """
    unconfirmed = ledger.unconfirmed
    if unconfirmed and not unconfirmed.is_over and call.declares_networks and not call.confirm:
        remedy = (
            "confirm them (`wharf confirm`, the module wharf.network.confirm), revert them (`wharf revert`), or wait; "
            f"a run with {call.places.option('confirm')} is confirmed together with them"
        )
        raise ConflictError.at("this host", f"{unconfirmed}, in {unconfirmed.seconds_left:.0f} seconds: {remedy}")


def _load_ledger(call: Call) -> Ledger:
    """
    Raises:
        ConflictError: the ledger is lost, and the call does not ask to recover it.
    """
    ledger = Ledger.load(broken_too=call.recover)
    if ledger.is_new or not ledger.knows_boot:
        # Imported by the few hosts that need it: a module is compiled anew at each run.
        from . import recovery

        if ledger.is_new:
            recovery.recover(ledger, call, lambda: _plan_given(ledger, call))
        else:
            recovery.note_boot(ledger)
    return ledger


def _plan_given(ledger: Ledger, call: Call) -> Plan:
    """The plan of all that is declared, and that the call is given.

    Raises:
        ModelError: some of it is wrong.
    """
    with_given = known(declare(ledger.declared, call), call)
    earlier, facts = not_given(ledger.declared, call), read_facts(ledger, HostStack())
    return make_plan(
        with_given, facts, ledger.allotted.with_peer_keys(call.peer_keys), ProblemCollector(), earlier, call.places
    )


def _problems_besides(
    error: ModelError,
    declared: Declared,
    facts: Facts,
    allotted: Allotments,
    ledger: Ledger,
    layers: Sequence[Layer],
    call: Call,
    stacks: StackReader,
) -> List[Problem]:
    """What this host lacks, and what is in the way, for the part of a declaration that the error is not about."""
    problems = ProblemCollector()
    if declared.host is None:
        return []
    with suppress(ModelError, ApplyError):
        plan = make_plan_without(error.problems, declared, facts, allotted, call.places)
        problems.problems += _lacking(layers, plan)
        _observe(layers, plan, ledger, stacks, problems)
    return problems.problems


def _lacking(layers: Sequence[Layer], plan: Plan) -> List[Problem]:
    return [problem for layer in layers for problem in layer.lacks(plan)]


def _observe(
    layers: Sequence[Layer], plan: Plan, ledger: Ledger, stacks: StackReader, problems: ProblemCollector
) -> List[Part]:
    """What each resource has to do, in the order of the layers. `problems` collects what the host lacks for it."""
    parts = []
    for layer in layers:
        planned = layer.desired(plan)
        for resource in layer.resources(ledger, stacks):
            part = _observe_one(layer, resource, planned, ledger, problems)
            if part:
                parts.append(part)
    return parts


def _observe_one(
    layer: Layer, resource: Resource, planned: Sequence[Object], ledger: Ledger, problems: ProblemCollector
) -> Optional[Part]:
    part = None
    blockers = ProblemCollector()
    with blockers.collect():
        part = Part.observed(layer, resource, planned, ledger)
    # One report names what is in the way, and also what the planned objects need.
    new = [change.after for change in part.changes if change.after] if part else planned
    if part is None or part.changes:
        with problems.collect():
            resource.require(of_kinds(resource.kinds, new))
    problems.problems += blockers.problems
    return part
