# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All cases of one packet, from its sender to its destination and back. Each says whether it and its answer arrive."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Dict, List, Optional, Tuple

from ..declaration.model import Network
from ..declaration.section import Address
from ..kernel.rtnetlink import LinkInfo
from ..planning.plan import Plan
from ..resources.links.marks import endpoint_of, is_managed_port
from ..third_party.rule_evaluation import SomeAddress, SomePort
from .choices import MOST_CASES, Choice, all_cases
from .headers import Header
from .owners import holder, network_at
from .question import OUTSIDE, Question
from .stacks import HOST, PacketStack, PacketStacks
from .steps import ABSENT, LOST_ANSWER, MISSED, NOBODY, Cause, Step, Stopped
from .walk import Arrival, Walk

OPEN, CLOSED, UNKNOWN = "open", "closed", "unknown"

# The ports that clients of other hosts have.
_UNPRIVILEGED = SomePort(1024, 65535)


# Sources that no packet from another host has: loopback's, and multicast addresses.
_NOBODYS = {
    version: tuple(map(ipaddress.ip_network, networks))
    for version, networks in ((4, ("127.0.0.0/8", "224.0.0.0/4")), (6, ("::1/128", "ff00::/8")))
}


@dataclass(frozen=True)
class Case:
    """`verdict` is open or closed; if closed, `why` and `cause` say what keeps the packet, or its answer, back.

    `asked` is the packet as it was sent, and `arrival` where it came, if it did. `choices` are what was assumed.
    """

    verdict: str
    steps: Tuple[Step, ...]
    asked: Header
    why: str = ""
    cause: Optional[Cause] = None
    arrival: Optional[Arrival] = None
    choices: Tuple[Choice, ...] = ()


def walk_cases(question: Question, target: Address, plan: Plan, stacks: PacketStacks) -> List[Case]:
    ports, on_parents = _ports(stacks.host), _on_parents(plan, stacks.host)
    found = all_cases(lambda choices: _walked(question, target, plan, Walk(stacks, ports, on_parents, choices)))
    return [replace(case, choices=tuple(choices)) for case, choices in found]


def verdict_of(cases: List[Case]) -> str:
    """What all cases come to; unknown if they differ, or if there are more of them than are tried."""
    if len(cases) == MOST_CASES:
        return UNKNOWN
    verdicts = {case.verdict for case in cases}
    return verdicts.pop() if len(verdicts) == 1 else UNKNOWN


def _ports(host: PacketStack) -> Dict[int, List[Tuple[LinkInfo, str]]]:
    """The ports of each bridge, with the containers that they are for; empty for any other."""
    found: Dict[int, List[Tuple[LinkInfo, str]]] = {}
    for link in host.links.values():
        if link.master:
            key = endpoint_of(link) if is_managed_port(link) else None
            found.setdefault(link.master, []).append((link, key[0] if key else ""))
    return found


def _on_parents(plan: Plan, host: PacketStack) -> Dict[int, List[str]]:
    """By the index of each parent, the containers that have links on it."""
    found: Dict[int, List[str]] = {}
    for container, attachment in plan.model.attachments:
        parent = _parent(plan.model.networks[attachment.network], host)
        if parent:
            found.setdefault(parent.index, []).append(container.name)
    return found


def _parent(network: Network, host: PacketStack) -> Optional[LinkInfo]:
    return host.link(network.sublinks.parent) if network.sublinks else None


def _towards_lan(network: Network, host: PacketStack) -> Optional[LinkInfo]:
    """The link of the host by which packets from beyond come to the network alone."""
    return host.link(network.bridge) if network.uplink else _parent(network, host)


def _walked(question: Question, target: Address, plan: Plan, walk: Walk) -> Case:
    asked = Header(target.version, question.protocol, question.source_address, target, None, question.port or None)
    arrival = None
    try:
        stack, link, asked = _origin(question, asked, plan, walk)
        if question.port:
            asked = replace(asked, source_port=stack.client_ports if stack else _UNPRIVILEGED)
        arrival = _sent(walk, stack, link, asked)
        _check_arrival(plan, arrival, walk)
        back = _sent(walk, arrival.stack, arrival.link, arrival.header.answer())
        _check_answer(stack, asked, back)
    except Stopped as stopped:
        return Case(CLOSED, tuple(walk.steps), asked, str(stopped), stopped.cause, arrival)
    return Case(OPEN, tuple(walk.steps), asked, arrival=arrival)


def _sent(walk: Walk, stack: Optional[PacketStack], link: Optional[LinkInfo], header: Header) -> Arrival:
    """Send by a stack, or have the host receive by a link what comes from beyond."""
    if stack:
        return walk.send(stack, header)
    if link is None:
        raise AssertionError("a packet from beyond comes by a link")
    return walk.come_from_beyond(link, header)


def _origin(
    question: Question, header: Header, plan: Plan, walk: Walk
) -> Tuple[Optional[PacketStack], Optional[LinkInfo], Header]:
    """The stack that sends; or the link of the host by which the packet comes from beyond."""
    host, address = walk.stacks.host, question.source_address
    if question.source == HOST or (address and host.is_local(address)):
        return host, None, header
    container = question.source or holder(plan, address)
    if container and container != OUTSIDE:
        stack = walk.stacks.of(container)
        if stack is None:
            raise Stopped(Cause(ABSENT, container, header), f"container {container} is not running")
        return stack, None, header
    at = network_at(plan, header)
    behind = _towards_lan(at, host) if at else None
    if address:
        with suppress(OSError):
            return None, behind or host.links[host.route_to(address).index], header
        return None, _default_interface(host, plan), header
    # What is beyond comes to containers on the parent by no other link.
    link = behind or _default_interface(host, plan)
    others = (each for other in host.links.values() if other != link for each in host.interfaces(other))
    nobodys = (*_NOBODYS[header.version], *(each.network for each in others if each.version == header.version))
    return None, link, replace(header, source=SomeAddress(header.version, nobodys))


def _default_interface(host: PacketStack, plan: Plan) -> LinkInfo:
    found = host.link(plan.facts.default_interface)
    if found is None:
        raise AssertionError(f"the default interface {plan.facts.default_interface} is none of the host's links")
    return found


def _check_arrival(plan: Plan, arrival: Arrival, walk: Walk) -> None:
    """
    Raises:
        Stopped: it leaves the host, although its destination is on one of the networks, or on the host itself.
    """
    destination = arrival.header.destination
    if arrival.stack or isinstance(destination, SomeAddress):
        return
    if walk.stacks.host.is_local(destination) and not _comes_again(walk, arrival, "this host"):
        what = f"the packet leaves the host by {arrival.link.name}, and does not return to the host"
        raise Stopped(Cause(MISSED, HOST, arrival.header, outgoing=arrival.link.name), what)
    for name, pools in plan.allotted.networks.items():
        if not any(destination in pool.subnet for pool in pools):
            continue
        network = plan.model.networks[name]
        if network.sublinks and arrival.link.name == network.sublinks.parent:
            if holder(plan, destination):
                what = f"no link on {arrival.link.name} has the address {destination}"
                raise Stopped(Cause(NOBODY, HOST, arrival.header, outgoing=arrival.link.name), what)
        elif arrival.link.name != network.bridge:
            if network.uplink and _comes_again(walk, arrival, network.uplink):
                return
            who = holder(plan, destination) or f"{destination} on network {name}"
            what = f"the packet leaves the host by {arrival.link.name}, and does not reach {who}"
            raise Stopped(Cause(MISSED, HOST, arrival.header, outgoing=arrival.link.name), what)


def _comes_again(walk: Walk, arrival: Arrival, end: str) -> bool:
    """Whether what has left the host comes to it again, by another link. Nothing on the host shows that."""
    question = f"whether the network behind {arrival.link.name} returns the packet to {end}"
    return bool(walk.choices.take(question, [False, True]))


def _check_answer(stack: Optional[PacketStack], asked: Header, back: Arrival) -> None:
    """
    Raises:
        Stopped: what comes back is no answer to what was asked.
    """
    source = (back.header.source, back.header.source_port)
    if back.stack is not stack or source != (asked.destination, asked.destination_port):
        where = back.stack.called if back.stack else "the outside"
        what = f"the answer reaches {where} from {back.header.by}, but the request went to {asked.to}"
        raise Stopped(Cause(LOST_ANSWER, HOST, back.header), what)
