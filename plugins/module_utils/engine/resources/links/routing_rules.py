# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes the rules of policy routing that say by their protocol that wharf.network made them."""

from __future__ import annotations

import errno
import socket
from typing import FrozenSet, List, Mapping, Sequence

from ...diff import Change
from ...errors import ConflictError, Problem
from ...kernel import rtnetlink
from ...kernel.links import doing, forgiving
from ...kernel.rtnetlink import RTPROT_WHARF, RuleInfo
from ...kernel.rtnetlink_changes import Rtnetlink
from ...state import Key, RoutingRule, State, state_of
from ..resource import Observation, Resource

# What `ip rule` takes for a mask where none is said.
_WHOLE_MARK = 0xFFFFFFFF


class RoutingRules(Resource):
    """Observes and changes rules of policy routing for packets with a mark."""

    kinds = frozenset(["routing_rule"])

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        found = rtnetlink.rules()
        wanted = [thing for thing in desired.values() if isinstance(thing, RoutingRule)]
        problems = [problem for rule in found if not _is_managed(rule) for problem in _clashes(rule, wanted)]
        if problems:
            raise ConflictError(*dict.fromkeys(problems))
        return Observation(state_of([_observed(rule) for rule in found if _is_managed(rule)]), desired)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        existing = {_observed(rule).name: rule for rule in rtnetlink.rules() if _is_managed(rule)}
        with Rtnetlink() as netlink:
            for change in changes:
                with doing(change.subject.title):
                    if isinstance(change.after, RoutingRule):
                        netlink.add_rule(_info(change.after))
                    elif change.subject.name in existing:
                        with forgiving(errno.ENOENT):
                            rtnetlink.delete_rule(existing[change.subject.name])
        return {}


def _is_managed(rule: RuleInfo) -> bool:
    return rule.protocol == RTPROT_WHARF


def _clashes(rule: RuleInfo, wanted: Sequence[RoutingRule]) -> List[Problem]:
    """Of a third party's rule that goes by marks which these rules need."""
    goes_by = f"a rule of this host goes by the mark {rule.mark:#x}/{rule.mask:#x}"
    return [
        Problem(
            thing.place,
            f"{goes_by}, and x-wharf.ingress needs the bits {thing.mask:#x} of marks: let that rule use others",
        )
        for thing in wanted
        if thing.place and _looks_at(rule) & thing.mask
    ]


def _looks_at(rule: RuleInfo) -> int:
    """The bits of marks that the rule is meant to go by: where no mask is said, those that are set."""
    return rule.mark if rule.mask == _WHOLE_MARK else rule.mask


def _observed(rule: RuleInfo) -> RoutingRule:
    return RoutingRule(
        version=4 if rule.family == socket.AF_INET else 6,
        priority=rule.priority,
        interface=rule.interface,
        mark=rule.mark if rule.mask else None,
        mask=rule.mask,
        table=rule.table,
        goto=rule.goto,
    )


def _info(rule: RoutingRule) -> RuleInfo:
    return RuleInfo(
        socket.AF_INET if rule.version == 4 else socket.AF_INET6,
        priority=rule.priority,
        mark=rule.mark or 0,
        mask=rule.mask,
        interface=rule.interface,
        table=rule.table,
        goto=rule.goto,
        protocol=RTPROT_WHARF,
    )
