# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a packet on its way, and what keeps it from going on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional

from ..kernel.rtnetlink import FoundRoute, LinkInfo
from ..third_party.rule_evaluation import Outcome
from .headers import Header
from .stacks import Base, PacketStack

# What keeps a packet from going on.
ABSENT, NO_ROUTE, NOT_TAKEN, NOT_FORWARDED, RULE = "absent", "no route", "not taken", "not forwarded", "rule"
ISOLATED_PORT, NOBODY, DOWN, NOT_LISTENED = "isolated port", "nobody", "link down", "nobody listens"
SILENT, LOST_ANSWER, MISSED = "silent", "lost answer", "missed"
PRIVATE_LINK, OWN_PARENT, OTHER_VLAN = "private link", "own parent", "other VLAN"


@dataclass(frozen=True)
class HookState:
    """Where rules see a packet: between two links of a stack, in a bridge, routed or not (`nf_hook_state` of Linux)."""

    stack: PacketStack
    incoming: Optional[LinkInfo] = None
    outgoing: Optional[LinkInfo] = None
    bridge: str = ""
    route: Optional[FoundRoute] = None

    @property
    def in_name(self) -> str:
        return self.incoming.name if self.incoming else ""

    @property
    def out_name(self) -> str:
        return self.outgoing.name if self.outgoing else ""


@dataclass(frozen=True)
class Step:
    """One thing that happens to the packet, in a stack. `passes` is None where that is not known.

    Where a rule does it, `base` and `end` say which one, and `header` is the packet behind it.
    """

    stack: str
    what: str
    passes: Optional[bool] = True
    hook: str = ""
    base: Optional[Base] = None
    end: Optional[Outcome] = None
    header: Optional[Header] = None
    incoming: str = ""
    outgoing: str = ""
    answer: bool = False


@dataclass(frozen=True)
class Cause:
    """What keeps a packet from going on: of the kind `kind`, in a stack, between these links of it."""

    kind: str
    stack: str
    header: Header
    incoming: str = ""
    outgoing: str = ""
    step: Optional[Step] = None


class Stopped(Exception):
    """The packet goes no further."""

    def __init__(self, cause: Cause, what: str) -> None:
        super().__init__(what)
        self.cause = cause


@dataclass
class Journal:
    """The steps of a packet so far, and of its answer."""

    steps: List[Step] = field(default_factory=list)

    def note(self, stack: PacketStack, what: str, header: Header) -> None:
        self.steps.append(Step(stack.name, what, header=header, answer=header.reply))

    def note_rule(
        self, at: HookState, base: Base, end: Outcome, header: Header, does: str, passes: Optional[bool]
    ) -> None:
        hook, answer = base.chain.hook, header.reply
        self.steps.append(Step(at.stack.name, does, passes, hook, base, end, header, at.in_name, at.out_name, answer))

    def stopped(
        self, kind: str, stack: PacketStack, header: Header, what: str, incoming: str = "", outgoing: str = ""
    ) -> Stopped:
        self.steps.append(Step(stack.name, what, False, answer=header.reply))
        return Stopped(Cause(kind, stack.name, header, incoming, outgoing), what)
