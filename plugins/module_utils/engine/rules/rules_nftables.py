# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall as nftables text: the work of Docker's chains, in one table, with maps instead of one rule per port.

The chains, sets and maps are the same however many ports are published: networks and containers only have elements. So
a packet costs a few look-ups, whatever the number of ports, and changes of a declaration are changes of elements.
"""

from __future__ import annotations

from typing import Iterable, Iterator, List, NamedTuple

from ..declaration.model import Host
from ..planning.overlays import encrypted
from ..planning.plan import Plan
from ..planning.resolvers import DNS_PORT, FIRST_PORT, LAST_PORT
from ..planning.wireguard_names import WIREGUARD_LINK
from ..state import Chain, ElementMap, ElementSet, Object
from .elements_nftables import FAMILIES, container_rules, network_rules
from .overlay_rules_nftables import (
    direct_access,
    directly_forwarded,
    directly_sent,
    entered,
    ingress_forwarded,
    ingress_marks,
    never_from_clear_text,
    never_in_clear_text,
    overlay_input,
    overlay_sets,
    overlay_sources,
)
from .user_rules_nftables import user_rules


class Table(NamedTuple):
    """A table of nftables, as text such as `inet wharf`."""

    family: str
    name: str

    def __str__(self) -> str:
        return f"{self.family} {self.name}"


TABLE = Table("inet", "wharf")
USER_CHAIN = "DOCKER-USER"
DECLARED_CHAIN = "WHARF-USER"
OWN_CHAINS = (DECLARED_CHAIN, USER_CHAIN, "DOCKER-FORWARD")

# Only where a network has an uplink.
UPLINKED = ElementSet("uplinked", ("type ifname",))

# The last rules of `forward` if wharf.network turned forwarding on. Recovery of a lost ledger finds that out by them.
NOT_A_ROUTER = {
    version: f'meta nfproto ipv{version} drop comment "not a router for others"' for version, _family in FAMILIES
}

# Pings, and ICMP errors about the replies to them.
_ECHO_REQUEST = {4: "icmp type echo-request", 6: "icmpv6 type echo-request"}
_PING_AND_ERRORS = {
    4: "icmp type { destination-unreachable, echo-request, time-exceeded, parameter-problem }",
    6: "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request }",
}


def rules(plan: Plan) -> List[Object]:
    """All chains, sets and elements of a host, or only the chains that lead to the admin's rules."""
    if not plan.has_networks:
        return [*_user_chains(plan), _hooked(plan, "forward", _FORWARD_HOOK, _TO_USER_CHAINS)]
    return [
        *_sets(plan),
        *_chains(plan),
        *(network_rules(plan, network) for network in plan.model.bridged),
        *container_rules(plan),
    ]


def _adopts(plan: Plan) -> bool:
    """Whether a network is on an adopted bridge, where the rules match the addresses of declared containers only."""
    return any(network.external for network in plan.model.networks.values())


def _has_uplink(plan: Plan) -> bool:
    return bool(plan.model.uplinked)


def _sets(plan: Plan) -> Iterator[ElementSet]:
    yield from overlay_sets(plan)
    if _has_uplink(plan):
        yield UPLINKED
    yield ElementSet("bridges", ("type ifname",))
    yield ElementSet("internal", ("type ifname",))
    yield ElementSet("icc", ("type ifname . ifname",))
    yield ElementSet("mss_clamp", ("type ifname",))
    yield ElementSet("no_icc", ("type ifname . ifname",))
    yield from (ElementSet(mode, ("type nf_proto . ifname",)) for mode in ("isolated", "routed", "unprotected"))
    for version, _family in FAMILIES:
        address = f"ipv{version}_addr"
        port = "inet_proto . inet_service"
        yield ElementSet(f"networks{version}", (f"type {address} . ifname", "flags interval"))
        yield ElementSet(f"trusted{version}", (f"type {address} . ifname", "flags interval"))
        yield ElementSet(f"protected{version}", (f"type {address}", "flags interval"))
        yield ElementSet(f"masqueraded{version}", (f"type {address}", "flags interval"))
        yield ElementSet(f"icmp{version}", (f"type {address}", "flags interval"))
        yield ElementMap(f"translated{version}", (f"type {address} : {address}", "flags interval"))
        yield ElementSet(f"asymmetric{version}", (f"type {address} . {address}", "flags interval"))
        yield ElementSet(f"targets{version}", (f"type {address} . {port}",))
        yield ElementSet(f"linked{version}", (f"type {address} . {address} . {port}",))
        yield ElementSet(f"guarded{version}", (f"type {address} . {port}",))
        yield ElementSet(f"allowed{version}", (f"type {port} . {address}", "flags interval"))
        yield ElementSet(f"allowed_at{version}", (f"type {address} . {port} . {address}", "flags interval"))
        yield ElementMap(f"published{version}", (f"type {port} : {address} . inet_service",))
        yield ElementMap(f"published_at{version}", (f"type {address} . {port} : {address} . inet_service",))
        yield ElementSet(f"resolvers{version}", (f"type {address}",))
        yield ElementMap(f"resolver_ports{version}", (f"type {address} . ifname : inet_service",))
        if _adopts(plan):
            yield ElementSet(f"adopted{version}", (f"type {address} . ifname",))


def _chains(plan: Plan) -> Iterator[Chain]:
    yield from _user_chains(plan)
    bridged = [_BRIDGED] if _has_uplink(plan) else []
    from_others = (*never_from_clear_text(plan), *overlay_sources(plan), *direct_access(plan))
    raw = [*bridged, *from_others, *_raw_prerouting(plan.model.host)]
    yield _hooked(plan, "raw-prerouting", "filter hook prerouting priority raw", raw)
    yield from ingress_marks(plan)
    yield _hooked(plan, "prerouting", "nat hook prerouting priority dstnat", _prerouting())
    # nft 1.0.6 does not take the name `dstnat` at the hook output.
    yield _hooked(plan, "output", "nat hook output priority -100", [_TO_DOCKER])
    yield Chain("DOCKER", tuple(_docker()))
    for_nobody = [_FOR_NOBODY] if _has_uplink(plan) else []
    yield _hooked(plan, "input", "filter hook input priority filter", [*for_nobody, *overlay_input(plan), *_input()])
    if any(network.mss_clamp for network in plan.model.networks.values()):
        # Every forwarded packet pays for a hook, also where it matches nothing.
        yield _hooked(plan, "mangle-forward", "filter hook forward priority mangle", _mangle_forward())
    yield _hooked(plan, "forward", _FORWARD_HOOK, _forward(plan))
    yield Chain("DOCKER-FORWARD", tuple(_docker_forward(plan)))
    yield Chain("DOCKER-TARGETS", tuple(_docker_targets()))
    if encrypted(plan.model):
        yield _hooked(plan, "encrypted", "filter hook postrouting priority mangle", never_in_clear_text())
    yield _hooked(plan, "postrouting", "nat hook postrouting priority srcnat", _postrouting(plan))


def _hooked(plan: Plan, name: str, hook: str, rules: Iterable[str]) -> Chain:
    """A base chain. Packets of an IP family without rules (`iptables: false`) leave it at once."""
    without_rules = [
        f'meta nfproto ipv{version} accept comment "left to others"'
        for version, _family in FAMILIES
        if not plan.model.host.has_rules(version)
    ]
    return Chain(name, (*without_rules, *rules), f"type {hook}; policy accept;")


def _user_chains(plan: Plan) -> Iterator[Chain]:
    """The chains of the admin's rules: declared rules come before those that admins put into DOCKER-USER themselves."""
    yield Chain(USER_CHAIN, ())
    yield Chain(DECLARED_CHAIN, tuple(user_rules(plan)))


_FORWARD_HOOK = "filter hook forward priority filter"
_TO_USER_CHAINS = (f"jump {DECLARED_CHAIN}", f"jump {USER_CHAIN}")
_DNS = f"meta l4proto {{ tcp, udp }} th dport {DNS_PORT}"
_HAS_PORTS = "meta l4proto { tcp, udp, sctp }"  # or nft 1.0.6 does not know what `ct original proto-dst` is

_TO_DOCKER = "fib daddr type local jump DOCKER"
# Where br_netfilter shows them, frames on the way to a LAN are not translated, and may come to the host from there.
_BRIDGED = 'iifname @uplinked notrack accept comment "bridged"'
_FOR_NOBODY = 'iifname @uplinked drop comment "the host is not on that LAN"'


def _raw_prerouting(host: Host) -> Iterator[str]:
    """Drop direct access to containers of protected networks, and access to the host's loopback by another link.

    For a network that is not masqueraded, replies come to its containers' own addresses, and this chain is before
    connection tracking. So there, the end of `DOCKER-FORWARD` alone drops direct access. An isolated network must not
    reach the host: its bridge has no address, but any other address of the host would do.
    """
    for direction in ("daddr", "saddr"):
        # `route_localnet` lets both through.
        yield f'iifname != "lo" ip {direction} 127.0.0.0/8 drop comment "loopback is the host\'s own"'
    yield 'meta nfproto . iifname @isolated fib daddr type local drop comment "isolated"'
    for version, family in () if host.allow_direct_routing else FAMILIES:
        # The type first: looking up the address takes longer, and most packets are none of ICMP.
        yield f"{_PING_AND_ERRORS[version]} {family} daddr @icmp{version} accept"
        strangers = " ".join(f"{family} daddr . iifname != @{known}{version}" for known in ("networks", "trusted"))
        yield f'{family} daddr @protected{version} {strangers} fib daddr type != local drop comment "direct access"'


def _prerouting() -> Iterator[str]:
    """Redirect DNS queries to the resolver that their container is assigned. A published port 53 does not get them."""
    for version, family in FAMILIES:
        query = f"{family} daddr @resolvers{version} {_DNS} fib daddr . iif type local"
        yield f"{query} redirect to : {family} saddr . iifname map @resolver_ports{version}"
        yield f'{query} accept comment "the network\'s own resolver"'
    yield _TO_DOCKER


def _input() -> Iterator[str]:
    """Drop packets from isolated networks to the host, multicast included, and DNS queries from outside a network.

    Other resolvers than the networks' own only get queries that the rules redirected to them.
    """
    yield 'meta nfproto . iifname @isolated drop comment "isolated"'
    for version, family in FAMILIES:
        query = f'iifname != "lo" {family} daddr @resolvers{version} meta l4proto {{ tcp, udp }}'
        yield f'{query} th dport {FIRST_PORT}-{LAST_PORT} ct status & dnat != dnat drop comment "names"'
        yield f'{query} th dport {DNS_PORT} fib daddr . iif type != local drop comment "names"'


def _docker() -> Iterator[str]:
    """Published ports. `[::1]` is excluded, since the kernel cannot route the replies."""
    yield "ip6 daddr ::1 return"
    for version, family in FAMILIES:
        yield f"dnat {family} to meta l4proto . th dport map @published{version}"
        yield f"dnat {family} to {family} daddr . meta l4proto . th dport map @published_at{version}"


def _mangle_forward() -> Iterator[str]:
    """Clamp the MSS of TCP connections to the path's MTU in both directions, for paths that drop ICMP errors.

    `rt mtu` is the smaller of the MTUs of both directions, and never increases the MSS.
    """
    for direction in ("iifname", "oifname"):
        yield f"tcp flags & (syn | rst) == syn {direction} @mss_clamp tcp option maxseg size set rt mtu"


def _forward(plan: Plan) -> Iterator[str]:
    yield from _TO_USER_CHAINS
    yield "iifname @bridges jump DOCKER-FORWARD"
    yield "oifname @bridges jump DOCKER-FORWARD"
    for direction in ("iifname", "oifname") if encrypted(plan.model) else ():
        yield f'{direction} "{WIREGUARD_LINK}" jump DOCKER-FORWARD'
    for version, family in FAMILIES if _adopts(plan) else ():
        yield f"{family} saddr . iifname @adopted{version} jump DOCKER-FORWARD"
        yield f"{family} daddr . oifname @adopted{version} jump DOCKER-FORWARD"
    if plan.model.host.ip_forward and not plan.model.host.ip_forward_no_drop:
        # If wharf.network turned forwarding on, the host must not become a router for other hosts. With
        # bridge-nf-call-iptables, frames between the ports of a third-party bridge pass this chain, too.
        bridged = ", ".join(f'"{bridge.name}" . "{bridge.name}"' for bridge in plan.facts.third_party_bridges or ())
        if bridged:
            yield f'iifname . oifname {{ {bridged} }} accept comment "bridged"'
        # The rule for IPv6 is there even without an IPv6 network: there may have been one, and the host still forwards.
        if not plan.facts.forwards_ipv4:
            yield NOT_A_ROUTER[4]
        if not plan.facts.forwards_ipv6:
            yield NOT_A_ROUTER[6]


def _docker_forward(plan: Plan) -> Iterator[str]:
    """Packets from and to managed bridges. Every packet gets a verdict in this chain.

    The rules of internal networks come before the accept of established flows. Otherwise a container that
    forwards between an internal network and another one would get replies for the internal one accepted.
    """
    if _has_uplink(plan):
        # Before all that other networks let in: nothing comes to them from that LAN, whatever its packets say.
        yield 'iifname @uplinked iifname . oifname @icc accept comment "bridged"'
        yield 'iifname @uplinked drop comment "of a bridge with an uplink, and for no port of it"'
    yield from ingress_forwarded(plan)
    yield 'iifname . oifname @icc accept comment "between containers of a network"'
    yield from directly_forwarded(plan)
    yield 'iifname @internal drop comment "internal"'
    yield 'oifname @internal drop comment "internal"'
    yield "ct state established,related accept"
    mark = plan.model.host.bridge_accept_fwmark
    if mark:
        yield f'meta mark & {mark.mask:#x} == {mark.mark & mark.mask:#x} accept comment "bridge-accept-fwmark"'
    yield "ct status dnat jump DOCKER-TARGETS"
    for version, family in FAMILIES:
        # Only within the bridge, since a packet from outside may have the source address of a linked container.
        linked = f"{family} saddr . {family} daddr . meta l4proto . th dport @linked{version} accept"
        yield f"iifname . oifname @no_icc {linked}"
        if _adopts(plan):
            ends = f"{family} saddr . iifname @adopted{version} {family} daddr . oifname @adopted{version}"
            yield f"{ends} {linked}"
    yield 'iifname . oifname @no_icc drop comment "between containers of a network"'
    for version, family in FAMILIES:
        guarded = f"meta nfproto . oifname @unprotected {family} daddr . meta l4proto . th dport @guarded{version}"
        yield f"{guarded} jump DOCKER-TARGETS"
        yield f'{guarded} drop comment "allow_from"'
    yield "meta nfproto . oifname @unprotected accept"
    yield "meta nfproto . oifname @routed meta l4proto { icmp, icmpv6 } accept"
    for version, family in FAMILIES:
        yield f"{_ECHO_REQUEST[version]} {family} daddr @icmp{version} accept"
    if plan.model.host.allow_direct_routing:
        yield "jump DOCKER-TARGETS"
    else:
        yield "meta nfproto . oifname @routed jump DOCKER-TARGETS"
        for version, family in FAMILIES:
            yield f"{family} daddr . iifname @trusted{version} jump DOCKER-TARGETS"
    yield 'oifname @bridges drop comment "isolation"'
    for version, family in FAMILIES if _adopts(plan) else ():
        yield f'{family} daddr . oifname @adopted{version} drop comment "isolation"'
    yield "accept"


def _docker_targets() -> Iterator[str]:
    """Accept packets to published ports, for those with `allow_from` by source and original destination port."""
    for version, family in FAMILIES:
        target = f"{family} daddr . meta l4proto . th dport"
        asked = f"meta l4proto . ct original proto-dst . {family} saddr"
        yield f"{target} @targets{version} accept"
        guarded = f"{target} @guarded{version} {_HAS_PORTS}"
        yield f"ct status dnat {guarded} {asked} @allowed{version} accept"
        yield f"{guarded} ct original {family} daddr . {asked} @allowed_at{version} accept"


def _postrouting(plan: Plan) -> Iterator[str]:
    yield from directly_sent(plan)
    yield from entered(plan)
    for version, family in FAMILIES:
        yield f"oifname @bridges fib saddr type local snat {family} to {family} daddr map @translated{version}"
    yield 'oifname @bridges ip saddr 127.0.0.0/8 masquerade comment "published on loopback"'
    if _adopts(plan):
        yield 'ip saddr 127.0.0.0/8 ip daddr . oifname @adopted4 masquerade comment "published on loopback"'
    for version, family in FAMILIES:
        yield f'{family} saddr . oifname @networks{version} ct status dnat masquerade comment "hairpin"'
        yield f'{family} saddr . {family} daddr @asymmetric{version} masquerade comment "answered by another network"'
        elsewhere = f"{family} saddr . oifname != @networks{version}"
        yield f"{elsewhere} snat {family} to {family} saddr map @translated{version}"
        yield f"{family} saddr @masqueraded{version} {elsewhere} masquerade"
