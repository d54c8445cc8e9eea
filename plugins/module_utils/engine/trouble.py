# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a host's networks, in sentences that also say what follows from it."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Mapping, Sequence, Set, Tuple

from .declaration.model import Container
from .diff import CREATE, UPDATE, Change
from .layers import BRIDGE, DOCKER_CHAINS, VETH
from .planning.plan import Plan
from .report import counted, few
from .rules.rules_nftables import TABLE
from .state import Endpoint, State, Sysctl, Uplink, endpoint_name
from .transaction import Part

# What the resources of each layer have to do.
Parts = Mapping[str, Sequence[Part]]
Describe = Callable[[Change, Plan], str]

_MEND = "`wharf diff` shows the differences from the declaration, and `wharf apply` repairs them"

# The kinds of objects of which the rules of either backend are made, and where they are.
_SKELETON = {
    "set": (f"table {TABLE}", "set"),
    "chain": (f"table {TABLE}", "chain"),
    "iptables_chain": ("iptables", "chain"),
    "iptables_hook": ("iptables", "jump"),
}

_LACKS = {CREATE: "missing", UPDATE: "changed"}

_FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


def unconnected(plan: Plan, parts: Parts, container: Container) -> Dict[str, str]:
    """By network, why a declared endpoint of the container does not connect it."""
    existing, pending = current(parts[VETH.name]), _pending_names(parts[VETH.name])
    reasons = {}
    for attachment in container.attachments:
        network, name = plan.model.networks[attachment.network], endpoint_name((container.name, attachment.network))
        endpoint = existing.get(("endpoint", name))
        if str(container.sandbox) in pending:
            reasons[network.name] = f"pending: {container.sandbox} is not there"
        elif name in pending:
            reasons[network.name] = "pending"
        elif network.sublinks:
            if not isinstance(endpoint, Endpoint) or not endpoint.sublink:
                reasons[network.name] = f"not connected: its link of {network.sublinks.name} is gone"
        elif not network.external and ("bridge", network.bridge) not in current(parts[BRIDGE.name]):
            reasons[network.name] = "not connected: the bridge is gone"
        elif not isinstance(endpoint, Endpoint) or not endpoint.is_whole:
            reasons[network.name] = "not connected: its veth is gone"
        elif endpoint.port.bridge != network.bridge:
            reasons[network.name] = "not connected: its veth is no port of the bridge"
    return reasons


def current(parts: Sequence[Part]) -> State:
    """What there is of all that these parts of a run are about."""
    return {key: thing for part in parts for key, thing in part.current.items()}


def _pending_names(parts: Sequence[Part]) -> Set[str]:
    return {name for part in parts for _kind, name in part.observation.pending}


def trouble(plan: Plan, parts: Parts, is_refused: bool) -> List[str]:
    """What is pending, gone or different, the worst of each kind by itself. `is_refused`: no run mends it now."""
    sentences = [*_pending(plan, parts)]
    changes = [change for each in parts.values() for part in each for change in part.changes]
    gone = [*_skeleton(parts[DOCKER_CHAINS.name]), *_in_sentences(changes, plan)]
    rest = [change for change in changes if change.subject.kind not in _SKELETON and not _sentence(change, plan)]
    mend = [_MEND] if (gone or rest) and not is_refused else []
    return [*sentences, *gone, *([_rest(rest)] if rest and not gone else []), *mend]


def _pending(plan: Plan, parts: Parts) -> Iterator[str]:
    pending = _pending_names(parts[VETH.name])
    for container in plan.model.containers.values():
        if str(container.sandbox) in pending:
            yield f"container {container.name} is pending: its network stack {container.sandbox} is not there"
    reasons = (
        reason for each in parts.values() for part in each for reason in part.observation.pending.values() if reason
    )
    yield from dict.fromkeys(reasons)
    yield from plan.lacking_leases.values()
    yield from VETH.warnings(plan, ())


def _skeleton(parts: Sequence[Part]) -> Iterator[str]:
    different: Dict[Tuple[str, str, str], List[str]] = {}
    for change in (change for part in parts for change in part.changes):
        if change.action in _LACKS and change.subject.kind in _SKELETON:
            key = (*_SKELETON[change.subject.kind], _LACKS[change.action])
            different.setdefault(key, []).append(change.subject.name)
    if different and not any(thing.kind in _SKELETON for thing in current(parts).values()):
        places = ", ".join(dict.fromkeys(place for place, _noun, _lacks in different))
        yield f"the rules are gone ({places}): no port is published, and nothing protects containers"
        return
    for (place, noun, lacks), names in different.items():
        are = "is" if len(names) == 1 else "are"
        yield f"the rules are incomplete: {counted(noun, len(names))} of {place} {are} {lacks}: {few(names)}"


def _in_sentences(changes: List[Change], plan: Plan) -> Iterator[str]:
    """Of what is on a bridge that is gone, that bridge says it."""
    gone = {change.subject.name for change in changes if change.subject.kind == "bridge" and change.action == CREATE}
    for change in changes:
        sentence = _sentence(change, plan)
        if sentence and not (isinstance(change.after, Endpoint) and change.after.port.bridge in gone):
            yield sentence


def _sentence(change: Change, plan: Plan) -> str:
    """What a change that is to be made means for people; empty where its name says enough."""
    describe = _SENTENCES.get((change.subject.kind, change.action))
    return describe(change, plan) if describe else ""


def _bridge_is_gone(change: Change, plan: Plan) -> str:
    names = [network.name for network in plan.model.bridged if network.bridge == change.subject.name]
    return f"network {few(names)}: its bridge {change.subject.name} is gone, so containers on it are disconnected"


def _veth_is_gone_or_elsewhere(change: Change, _plan: Plan) -> str:
    before, after = change.before, change.after
    if not isinstance(after, Endpoint):
        return ""
    if isinstance(before, Endpoint) and _connects_to(before) == _connects_to(after):
        return ""
    if after.sublink:
        why = f"not on {after.sublink.parent}" if before and before.is_whole else "gone"
        link = f"its link of {after.sublink.kind} is {why}"
        return f"container {after.container} is not connected to network {after.network}: {link}"
    why = f"no port of the bridge {after.port.bridge}" if before and before.is_whole else "gone"
    return f"container {after.container} is not connected to network {after.network}: its veth is {why}"


def _connects_to(endpoint: Endpoint) -> Tuple[str, str]:
    return endpoint.port.bridge, endpoint.sublink.parent


def _is_no_port(change: Change, plan: Plan) -> str:
    after = change.after
    if not isinstance(after, Uplink):
        return ""
    names = [network.name for network in plan.model.uplinked if network.uplink == after.name]
    return (
        f"network {few(names)}: {after.name} is no port of its bridge {after.bridge}, so containers are not on the LAN"
    )


def _does_not_forward(change: Change, _plan: Plan) -> str:
    before = change.before
    if not isinstance(before, Sysctl) or before.name not in _FORWARDING:
        return ""
    return f"the host does not forward: {before.name} is {before.value}"


_SENTENCES: Dict[Tuple[str, str], Describe] = {
    ("bridge", CREATE): _bridge_is_gone,
    ("endpoint", CREATE): _veth_is_gone_or_elsewhere,
    ("endpoint", UPDATE): _veth_is_gone_or_elsewhere,
    ("sysctl", UPDATE): _does_not_forward,
    ("uplink", CREATE): _is_no_port,
    ("uplink", UPDATE): _is_no_port,
}


def _rest(changes: List[Change]) -> str:
    names = [f"{change.subject.kind} {change.subject.name}" for change in changes]
    return f"{counted('object', len(names))} {'differs' if len(names) == 1 else 'differ'}: {few(names)}"
