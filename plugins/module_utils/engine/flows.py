# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forget the flows that are stale once ports have changed. The ledger notes the ports first."""

from __future__ import annotations

import ipaddress
import os
from typing import Optional, Sequence

from .diff import Change
from .errors import ApplyError
from .kernel import conntrack, rtnetlink
from .planning.plan import Plan
from .planning.reach import Reach, StalePorts, reach_of
from .planning.stale_flows import StaleFlows
from .state import Rules, State

_TRACKING = "/proc/sys/net/netfilter/nf_conntrack_count"


def ports_to_check(before: Optional[Plan], expected: State, after: Plan, changes: Sequence[Change]) -> StalePorts:
    """The ports whose flows may be stale after these changes.

    `expected` are the rules that the host should have had by the plan `before`, which is None where it is not known.
    """
    changed = [change for change in changes if isinstance(change.subject, Rules)]
    if not changed:
        return StalePorts()
    is_lost = before is None or any(change.before != expected.get(change.subject.key) for change in changed)
    # While rules were lost, flows may also have begun to ports that lead where they led.
    known = [*([reach_of(before)] if before else []), *([Reach()] if is_lost else [])]
    ports = (port for reach in known for port in reach_of(after).changed_from(reach))
    return StalePorts(frozenset(ports), is_lost)


def forget(ports: StalePorts, plan: Plan) -> None:
    """Forget the flows to these ports that the plan's rules would no longer let begin.

    Raises:
        ApplyError: the kernel refused.
    """
    if not ports:
        return
    try:
        local = [ipaddress.ip_interface(each.address).ip for each in rtnetlink.addresses()]
        stale = StaleFlows(ports, reach_of(plan), local)
        conntrack.forget(stale.__contains__)
    except OSError as error:
        # Without connection tracking in the kernel there are no flows.
        if os.path.exists(_TRACKING):
            raise ApplyError(f"connection tracking forgets no flows: {error.strerror}") from error
