# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the firewalls of others are told, so that they let through what ours accept: plan -> objects. Pure."""

from __future__ import annotations

from typing import Iterator, List

from ..declaration.model import Network
from ..planning.plan import Plan
from ..state import Firewalld, Object, ThirdPartyAccept

# Each kind of iptables, of which a host may have tables.
PROGRAMS = ("iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy")
ACCEPTS = "WHARF-ACCEPT"
JUMP = f'-A FORWARD -m comment --comment "wharf, accept" -j {ACCEPTS}'

OTHERS = "bridges of others"
_IS_NEW = "-m conntrack ! --ctstate RELATED,ESTABLISHED"

# As a dockerd makes them.
ZONE, POLICY = "docker", "docker-forwarding"


def let_through(plan: Plan) -> List[Object]:
    return [*_accepts(plan), *_firewalld(plan)]


def _networks(plan: Plan) -> List[Network]:
    """Those that have a bridge to themselves. What else is on an adopted one is not ours to let through."""
    return [network for network in plan.model.networks.values() if not network.external]


def _accepts(plan: Plan) -> Iterator[ThirdPartyAccept]:
    """What comes from one of our bridges or goes to one, since in our own table it has its verdict anyhow.

    Not what goes to another bridge, such as a dockerd's: whom that is open to is said by the rules of its owner.
    """
    if not plan.model.host.accept_in_iptables_forward:
        return
    yield ThirdPartyAccept("FORWARD", tuple((program, JUMP) for program in PROGRAMS))
    foreign = [bridge.name for bridge in plan.facts.third_party_bridges or () if bridge.name != plan.facts.uplink]
    if foreign:
        rules = [f'-A {ACCEPTS} -o {name} {_IS_NEW} -m comment --comment "{OTHERS}" -j RETURN' for name in foreign]
        yield ThirdPartyAccept(OTHERS, tuple((program, rule) for program in PROGRAMS for rule in rules))
    for network in _networks(plan):
        name = f"network {network.name}"
        ways = [f'-A {ACCEPTS} -{way} {network.bridge} -m comment --comment "{name}" -j ACCEPT' for way in "io"]
        yield ThirdPartyAccept(name, tuple((program, rule) for program in PROGRAMS for rule in ways))


def _firewalld(plan: Plan) -> Iterator[Firewalld]:
    """In the zone of containers everything is accepted, in and out: ours are the rules that tell what passes."""
    if not plan.facts.firewalld:
        return
    yield Firewalld(f"zone {ZONE}", (("target", "ACCEPT"),))
    yield Firewalld(f"policy {POLICY}", (("target", "ACCEPT"), ("from", "ANY"), ("to", ZONE)))
    for network in _networks(plan):
        zones = (("runtime", ZONE), ("permanent", ZONE))
        yield Firewalld(f"interface {network.bridge}", zones)
