# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accepts in third-party firewalls, for the traffic that the rules of wharf.network accept: plan -> objects. Pure."""

from __future__ import annotations

from typing import Iterable, Iterator, List

from ..declaration.model import Network
from ..planning.ingress import leads_elsewhere
from ..planning.overlays import link_to_others, tunnel_name
from ..planning.plan import Plan
from ..state import FilterRule, Firewalld, Object, ThirdPartyAccept, Zones

# The iptables programs by which a host may have tables.
PROGRAMS = ("iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy")
ACCEPTS = "WHARF-ACCEPT"
# Before third-party rules, one of which may drop everything.
JUMP = FilterRule("FORWARD", f'-m comment --comment "wharf, accept" -j {ACCEPTS}', is_first=True)

THIRD_PARTY_BRIDGES = "third-party bridges"
_IS_NEW = "-m conntrack ! --ctstate RELATED,ESTABLISHED"

# firewalld's zone and policy for containers, under the names that a dockerd gives them.
ZONE, POLICY = "docker", "docker-forwarding"


def third_party_accepts(plan: Plan) -> List[Object]:
    return [*_accepts(plan), *_firewalld(plan)]


def _networks(plan: Plan) -> List[Network]:
    """The networks on managed bridges. An adopted bridge also has third-party ports, and is left out."""
    return [network for network in plan.model.bridged if not network.external]


def _accepts(plan: Plan) -> Iterator[ThirdPartyAccept]:
    """Accepts for all packets from and to managed bridges, since the table of wharf.network decides about these.

    Except for new connections to a third-party bridge, such as a dockerd's: whether these may pass is decided by the
    rules of the bridge's owner.
    """
    if not plan.model.host.accept_in_iptables_forward:
        return
    yield ThirdPartyAccept(JUMP.chain, tuple((program, JUMP) for program in PROGRAMS))
    names = (bridge.name for bridge in plan.facts.third_party_bridges or ())
    bridges = [name for name in names if name != plan.facts.default_interface]
    if bridges:
        owner = THIRD_PARTY_BRIDGES
        yield _of_all_programs(
            owner, (f'-o {name} {_IS_NEW} -m comment --comment "{owner}" -j RETURN' for name in bridges)
        )
    for network in _networks(plan):
        name = f"network {network.name}"
        leads = leads_elsewhere(plan, network)
        links = [network.bridge, *([tunnel_name(network.name)] if leads else [])]
        matches = (f"-{option} {link}" for link in links for option in "io")
        yield _of_all_programs(name, (f'{match} -m comment --comment "{name}" -j ACCEPT' for match in matches))


def accept_rule(owner: str, text: str) -> FilterRule:
    """The RETURN rules for third-party bridges come before the ACCEPT rules."""
    return FilterRule(ACCEPTS, text, is_first=owner == THIRD_PARTY_BRIDGES)


def _of_all_programs(owner: str, texts: Iterable[str]) -> ThirdPartyAccept:
    rules = [accept_rule(owner, text) for text in texts]
    return ThirdPartyAccept(owner, tuple((program, rule) for program in PROGRAMS for rule in rules))


def _firewalld(plan: Plan) -> Iterator[Firewalld]:
    """A zone and a policy of firewalld that accept all packets from and to containers, which wharf.network filters."""
    if not (plan.facts.firewalld and _networks(plan)):
        return
    yield Firewalld("zone", ZONE, (("target", "ACCEPT"),))
    yield Firewalld("policy", POLICY, (("target", "ACCEPT"), ("from", Zones(("ANY",))), ("to", Zones((ZONE,)))))
    for network in _networks(plan):
        zones = (("runtime", ZONE), ("permanent", ZONE))
        yield Firewalld("interface", network.bridge, zones)
    for link in dict.fromkeys(filter(None, map(link_to_others, _networks(plan)))):
        yield Firewalld("interface", link, zones)
