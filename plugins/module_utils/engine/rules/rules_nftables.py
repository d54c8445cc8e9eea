# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall, as nftables text: what Docker's chains do, in one table, with maps instead of one rule per port.

The chains and the declarations of sets and maps never depend on how much is published: networks and containers
only contribute elements. So a packet pays for a few look-ups, whatever the number of ports, and a change is a
change of elements.
"""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, Set, Tuple

from ..declaration.model import ISOLATED, NAT, NAT_UNPROTECTED, ROUTED, Attachment, Container, Host, Network
from ..declaration.section import shortest
from ..planning.accepted_ports import LinkedPort
from ..planning.plan import Plan, asymmetric_replies
from ..planning.publications import Publication, Translation
from ..planning.resolvers import DNS_PORT, FIRST_PORT, LAST_PORT, ResolverAssignment
from ..planning.targets import Target, sources, targets
from ..state import Chain, ElementSet, Object, Rules
from .user_rules_nftables import user_rules

TABLE = "inet wharf"
USER_CHAIN = "DOCKER-USER"
DECLARED_CHAIN = "WHARF-USER"
OWN_CHAINS = (DECLARED_CHAIN, USER_CHAIN, "DOCKER-FORWARD")

_FAMILIES = ((4, "ip"), (6, "ip6"))

# The ends of `forward` where the host did not forward before us. If the ledger is lost, they tell of that, too.
NOT_A_ROUTER = {
    version: f'meta nfproto ipv{version} drop comment "not a router for others"' for version, _family in _FAMILIES
}

# What a ping is, and what else must come through where pings do: the errors that its answers meet on their way.
_ECHO_REQUEST = {4: "icmp type echo-request", 6: "icmpv6 type echo-request"}
_PING_AND_ERRORS = {
    4: "icmp type { destination-unreachable, echo-request, time-exceeded, parameter-problem }",
    6: "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request }",
}

Element = Tuple[str, str]


def rules(plan: Plan) -> List[Object]:
    """All chains, sets and elements of a host, or only the chains that lead to the admin's rules."""
    if not plan.has_networks:
        return [*_user_chains(plan), _hooked(plan, "forward", _FORWARD_HOOK, _TO_USER_CHAINS)]
    return [
        *_sets(plan),
        *_chains(plan),
        *(_network_rules(plan, network) for network in plan.model.networks.values()),
        *_container_rules(plan),
    ]


def _adopts(plan: Plan) -> bool:
    """Whether a network is on a bridge that others use, too: there the rules are for our containers' addresses only."""
    return any(network.external for network in plan.model.networks.values())


def _sets(plan: Plan) -> Iterator[ElementSet]:
    yield ElementSet("bridges", ("type ifname",))
    yield ElementSet("internal", ("type ifname",))
    yield ElementSet("icc", ("type ifname . ifname",))
    yield ElementSet("mss_clamp", ("type ifname",))
    yield ElementSet("no_icc", ("type ifname . ifname",))
    yield from (ElementSet(mode, ("type nf_proto . ifname",)) for mode in ("isolated", "routed", "unprotected"))
    for version, _family in _FAMILIES:
        address = f"ipv{version}_addr"
        port = "inet_proto . inet_service"
        yield ElementSet(f"networks{version}", (f"type {address} . ifname", "flags interval"))
        yield ElementSet(f"trusted{version}", (f"type {address} . ifname", "flags interval"))
        yield ElementSet(f"protected{version}", (f"type {address}", "flags interval"))
        yield ElementSet(f"masqueraded{version}", (f"type {address}", "flags interval"))
        yield ElementSet(f"icmp{version}", (f"type {address}", "flags interval"))
        yield ElementSet(f"translated{version}", (f"type {address} : {address}", "flags interval"))
        yield ElementSet(f"asymmetric{version}", (f"type {address} . {address}", "flags interval"))
        yield ElementSet(f"targets{version}", (f"type {address} . {port}",))
        yield ElementSet(f"linked{version}", (f"type {address} . {address} . {port}",))
        yield ElementSet(f"guarded{version}", (f"type {address} . {port}",))
        yield ElementSet(f"allowed{version}", (f"type {port} . {address}", "flags interval"))
        yield ElementSet(f"allowed_at{version}", (f"type {address} . {port} . {address}", "flags interval"))
        yield ElementSet(f"published{version}", (f"type {port} : {address} . inet_service",))
        yield ElementSet(f"published_at{version}", (f"type {address} . {port} : {address} . inet_service",))
        yield ElementSet(f"resolvers{version}", (f"type {address}",))
        yield ElementSet(f"resolver_ports{version}", (f"type {address} . ifname : inet_service",))
        if _adopts(plan):
            yield ElementSet(f"adopted{version}", (f"type {address} . ifname",))


def _chains(plan: Plan) -> Iterator[Chain]:
    yield from _user_chains(plan)
    raw = _raw_prerouting(plan.model.host)
    yield _hooked(plan, "raw-prerouting", "filter hook prerouting priority raw", raw)
    yield _hooked(plan, "prerouting", "nat hook prerouting priority dstnat", _prerouting())
    # nft 1.0.6 does not call that `dstnat` here.
    yield _hooked(plan, "output", "nat hook output priority -100", [_TO_DOCKER])
    yield Chain("DOCKER", tuple(_docker()))
    yield _hooked(plan, "input", "filter hook input priority filter", _input())
    yield _hooked(plan, "mangle-forward", "filter hook forward priority mangle", _mangle_forward())
    yield _hooked(plan, "forward", _FORWARD_HOOK, _forward(plan))
    yield Chain("DOCKER-FORWARD", tuple(_docker_forward(plan)))
    yield Chain("DOCKER-TARGETS", tuple(_docker_targets()))
    yield _hooked(plan, "postrouting", "nat hook postrouting priority srcnat", _postrouting(plan))


def _hooked(plan: Plan, name: str, hook: str, rules: Iterable[str]) -> Chain:
    """A chain that packets come to by themselves. Those of a family whose rules are left to others leave it at once."""
    others = [
        f'meta nfproto ipv{version} accept comment "left to others"'
        for version, _family in _FAMILIES
        if not plan.model.host.has_rules(version)
    ]
    return Chain(name, (f"type {hook}; policy accept;", *others, *rules))


def _user_chains(plan: Plan) -> Iterator[Chain]:
    """The rules that are declared come before those that admins put into DOCKER-USER themselves."""
    yield Chain(USER_CHAIN, ())
    yield Chain(DECLARED_CHAIN, tuple(user_rules(plan)))


_FORWARD_HOOK = "filter hook forward priority filter"
_TO_USER_CHAINS = (f"jump {DECLARED_CHAIN}", f"jump {USER_CHAIN}")
_DNS = f"meta l4proto {{ tcp, udp }} th dport {DNS_PORT}"
_HAS_PORTS = "meta l4proto { tcp, udp, sctp }"  # or nft 1.0.6 does not know what `ct original proto-dst` is

_TO_DOCKER = "fib daddr type local jump DOCKER"


def _raw_prerouting(host: Host) -> Iterator[str]:
    """Nobody reaches a protected network's container but by its bridge, nor the host's loopback but by `lo`.

    Where a network is not masqueraded, answers from elsewhere come for its containers' own addresses, and no connection
    is known here yet: there the end of `DOCKER-FORWARD` alone keeps strangers out. An isolated network's bridge has no
    address, but any other of the host's would do.
    """
    for direction in ("daddr", "saddr"):
        # `route_localnet` lets both through.
        yield f'iifname != "lo" ip {direction} 127.0.0.0/8 drop comment "loopback is the host\'s own"'
    yield 'meta nfproto . iifname @isolated fib daddr type local drop comment "isolated"'
    for version, family in () if host.allow_direct_routing else _FAMILIES:
        yield f"{family} daddr @icmp{version} {_PING_AND_ERRORS[version]} accept"
        strangers = " ".join(f"{family} daddr . iifname != @{known}{version}" for known in ("networks", "trusted"))
        yield f'{family} daddr @protected{version} {strangers} fib daddr type != local drop comment "direct access"'


def _prerouting() -> Iterator[str]:
    """Who asks a gateway for names is led to the resolver that knows its networks, and to no published port 53."""
    for version, family in _FAMILIES:
        asking = f"{family} daddr @resolvers{version} {_DNS} fib daddr . iif type local"
        yield f"{asking} redirect to : {family} saddr . iifname map @resolver_ports{version}"
        yield f'{asking} accept comment "the network\'s own resolver"'
    yield _TO_DOCKER


def _input() -> Iterator[str]:
    """A network's resolver answers who is on the network, and one that knows several whom the rules have led there.

    To the host of an isolated network nobody sends anything, to all on the link neither.
    """
    yield 'meta nfproto . iifname @isolated drop comment "isolated"'
    for version, family in _FAMILIES:
        asking = f'iifname != "lo" {family} daddr @resolvers{version} meta l4proto {{ tcp, udp }}'
        yield f'{asking} th dport {FIRST_PORT}-{LAST_PORT} ct status & dnat != dnat drop comment "names"'
        yield f'{asking} th dport {DNS_PORT} fib daddr . iif type != local drop comment "names"'


def _docker() -> Iterator[str]:
    """Published ports. `[::1]` is left alone, since the kernel cannot route its answers."""
    yield "ip6 daddr ::1 return"
    for version, family in _FAMILIES:
        yield f"dnat {family} to meta l4proto . th dport map @published{version}"
        yield f"dnat {family} to {family} daddr . meta l4proto . th dport map @published_at{version}"


def _mangle_forward() -> Iterator[str]:
    """TCP segments are made to fit the way, to and fro, where an ICMP error would not come through to say so.

    `rt mtu` takes the smaller of the MTUs of both directions, and never makes a segment larger.
    """
    for direction in ("iifname", "oifname"):
        yield f"tcp flags & (syn | rst) == syn {direction} @mss_clamp tcp option maxseg size set rt mtu"


def _forward(plan: Plan) -> Iterator[str]:
    yield from _TO_USER_CHAINS
    yield "iifname @bridges jump DOCKER-FORWARD"
    yield "oifname @bridges jump DOCKER-FORWARD"
    for version, family in _FAMILIES if _adopts(plan) else ():
        yield f"{family} saddr . iifname @adopted{version} jump DOCKER-FORWARD"
        yield f"{family} daddr . oifname @adopted{version} jump DOCKER-FORWARD"
    if plan.model.host.ip_forward and not plan.model.host.ip_forward_no_drop:
        # Where forwarding was off before us, turning it on must not make the host a router for its neighbours.
        # With bridge-nf-call-iptables what machines on one bridge say to each other comes by here, too.
        bridged = ", ".join(f'"{bridge.name}" . "{bridge.name}"' for bridge in plan.facts.third_party_bridges or ())
        if bridged:
            yield f'iifname . oifname {{ {bridged} }} accept comment "bridged"'
        # The rule for IPv6 stands without any such network, too: one may have been here, and the host still forward.
        if not plan.facts.forwards_ipv4:
            yield NOT_A_ROUTER[4]
        if not plan.facts.forwards_ipv6:
            yield NOT_A_ROUTER[6]


def _docker_forward(plan: Plan) -> Iterator[str]:
    """What is forwarded from or to one of our bridges; nothing leaves this chain without a verdict.

    Internal networks come before what is established: a container that is on an outer network, too, may forward for
    them, and then the answers to what it let out would come back here.
    """
    yield 'iifname . oifname @icc accept comment "between containers of a network"'
    yield 'iifname @internal drop comment "internal"'
    yield 'oifname @internal drop comment "internal"'
    yield "ct state established,related accept"
    mark = plan.model.host.bridge_accept_fwmark
    if mark:
        yield f'meta mark & {mark.mask:#x} == {mark.mark & mark.mask:#x} accept comment "bridge-accept-fwmark"'
    yield "ct status dnat jump DOCKER-TARGETS"
    for version, family in _FAMILIES:
        # Within the bridge, or anybody would be let in who sends by the address of a container that has a link.
        linked = f"{family} saddr . {family} daddr . meta l4proto . th dport @linked{version} accept"
        yield f"iifname . oifname @no_icc {linked}"
        if _adopts(plan):
            ends = f"{family} saddr . iifname @adopted{version} {family} daddr . oifname @adopted{version}"
            yield f"{ends} {linked}"
    yield 'iifname . oifname @no_icc drop comment "between containers of a network"'
    for version, family in _FAMILIES:
        guarded = f"meta nfproto . oifname @unprotected {family} daddr . meta l4proto . th dport @guarded{version}"
        yield f"{guarded} jump DOCKER-TARGETS"
        yield f'{guarded} drop comment "allow_from"'
    yield "meta nfproto . oifname @unprotected accept"
    yield "meta nfproto . oifname @routed meta l4proto { icmp, icmpv6 } accept"
    for version, family in _FAMILIES:
        yield f"{family} daddr @icmp{version} {_ECHO_REQUEST[version]} accept"
    if plan.model.host.allow_direct_routing:
        yield "jump DOCKER-TARGETS"
    else:
        yield "meta nfproto . oifname @routed jump DOCKER-TARGETS"
        for version, family in _FAMILIES:
            yield f"{family} daddr . iifname @trusted{version} jump DOCKER-TARGETS"
    yield 'oifname @bridges drop comment "isolation"'
    for version, family in _FAMILIES if _adopts(plan) else ():
        yield f'{family} daddr . oifname @adopted{version} drop comment "isolation"'
    yield "accept"


def _docker_targets() -> Iterator[str]:
    """The containers' published ports, for whoever may reach them: by the port to which a connection was first sent."""
    for version, family in _FAMILIES:
        target = f"{family} daddr . meta l4proto . th dport"
        asked = f"meta l4proto . ct original proto-dst . {family} saddr"
        yield f"{target} @targets{version} accept"
        guarded = f"{target} @guarded{version} {_HAS_PORTS}"
        yield f"ct status dnat {guarded} {asked} @allowed{version} accept"
        yield f"{guarded} ct original {family} daddr . {asked} @allowed_at{version} accept"


def _postrouting(plan: Plan) -> Iterator[str]:
    for version, family in _FAMILIES:
        yield f"oifname @bridges fib saddr type local snat {family} to {family} daddr map @translated{version}"
    yield 'oifname @bridges ip saddr 127.0.0.0/8 masquerade comment "published on loopback"'
    if _adopts(plan):
        yield 'ip saddr 127.0.0.0/8 ip daddr . oifname @adopted4 masquerade comment "published on loopback"'
    for version, family in _FAMILIES:
        yield f'{family} saddr . oifname @networks{version} ct status dnat masquerade comment "hairpin"'
        yield f'{family} saddr . {family} daddr @asymmetric{version} masquerade comment "answered by another network"'
        elsewhere = f"{family} saddr . oifname != @networks{version}"
        yield f"{elsewhere} snat {family} to {family} saddr map @translated{version}"
        yield f"{family} saddr @masqueraded{version} {elsewhere} masquerade"


def _network_rules(plan: Plan, network: Network) -> Rules:
    return Rules(f"network {network.name}", tuple(sorted(_network_elements(plan, network))))


def _network_elements(plan: Plan, network: Network) -> Iterator[Element]:
    bridge = f'"{network.bridge}"'
    if not network.external:
        yield "bridges", bridge
    if network.icc:
        yield "icc", f"{bridge} . {bridge}"
    elif not network.external:
        yield "no_icc", f"{bridge} . {bridge}"
    if network.internal:
        yield "internal", bridge
    if network.mss_clamp:
        yield "mss_clamp", bridge
    for version, pool in plan.allotted.networks[network.name].items():
        yield from _mode_elements(network, version)
        subnet = shortest(pool.subnet)
        yield f"networks{version}", f"{subnet} . {bridge}"
        for interface in network.trusted_interfaces:
            yield f"trusted{version}", f'{subnet} . "{interface}"'
        if not network.external:
            yield from _outward_elements(network, version, subnet)
        if network.icmp:
            yield f"icmp{version}", subnet
    for resolver in plan.resolvers.all:
        for address in resolver.addresses if resolver.name == network.name and resolver.serves_dns else ():
            yield f"resolvers{address.version}", str(address)


_MODE_SETS = {NAT_UNPROTECTED: "unprotected", ROUTED: "routed", ISOLATED: "isolated"}


def _mode_elements(network: Network, version: int) -> Iterator[Element]:
    mode = network.gateway_mode(version)
    if mode in _MODE_SETS:
        yield _MODE_SETS[mode], f'ipv{version} . "{network.bridge}"'


def _outward_elements(network: Network, version: int, addresses: str) -> Iterator[Element]:
    """How these addresses of the network, a subnet or a single one, are known outside."""
    if network.masquerade(version) and network.gateway_mode(version) == NAT:
        yield f"protected{version}", addresses
    if network.snat(version):
        yield f"translated{version}", f"{addresses} : {network.snat(version)}"
    elif network.masquerade(version):
        yield f"masqueraded{version}", addresses


def _container_rules(plan: Plan) -> Iterator[Rules]:
    elements: Dict[str, Set[Element]] = {}
    for publication in plan.publications:
        elements.setdefault(publication.container, set()).add(_published(publication))
    for target in targets(plan.publications, plan.accepted_ports):
        elements.setdefault(target.container, set()).update(_target_elements(target))
    for linked in plan.linked_ports:
        elements.setdefault(linked.container, set()).add(_linked(linked))
    for container in plan.model.containers.values():
        for version, _family in _FAMILIES:
            for subnet, asked in asymmetric_replies(plan, container, version):
                elements.setdefault(container.name, set()).add(
                    (f"asymmetric{version}", f"{shortest(subnet)} . {asked}")
                )
        for attachment in container.attachments:
            if plan.model.networks[attachment.network].external:
                elements.setdefault(container.name, set()).update(_adopted_elements(plan, container, attachment))
    for name, assigned in plan.resolvers.assignments.items():
        if not assigned.resolver.is_networks_own:
            elements.setdefault(name, set()).add(_asker(plan, name, assigned))
    for name, own in elements.items():
        yield Rules(f"container {name}", tuple(sorted(own)))


def _adopted_elements(plan: Plan, container: Container, attachment: Attachment) -> Iterator[Element]:
    network = plan.model.networks[attachment.network]
    endpoint = plan.allotted.endpoints[container.name, network.name]
    for address in filter(None, (endpoint.ipv4, endpoint.ipv6)):
        yield f"adopted{address.version}", f'{address} . "{network.bridge}"'
        yield from _outward_elements(network, address.version, str(address))


def _linked(linked: LinkedPort) -> Element:
    return f"linked{linked.version}", f"{linked.source} . {linked.address} . {linked.protocol} . {linked.port}"


def _asker(plan: Plan, container: str, assigned: ResolverAssignment) -> Element:
    network = plan.model.networks[assigned.attachment.network]
    version = assigned.resolver.address.version
    address = plan.allotted.endpoints[container, network.name].address(version)
    return f"resolver_ports{version}", f'{address} . "{network.bridge}" : {assigned.resolver.port}'


def _published(publication: Publication) -> Element:
    p = publication
    target = f"{p.address} . {p.target_port}"
    if p.host_ip is None:
        return f"published{p.version}", f"{p.protocol} . {p.host_port} : {target}"
    return f"published_at{p.version}", f"{p.host_ip} . {p.protocol} . {p.host_port} : {target}"


def _target_elements(target: Target) -> Iterator[Element]:
    """Who reaches a container's port. Where one of the ways to it is not for all, each of them is looked at."""
    key = f"{target.address} . {target.protocol} . {target.port}"
    version = target.address.version
    if target.is_unrestricted:
        yield f"targets{version}", key
        return
    yield f"guarded{version}", key
    for publication in target.publications:
        asked = f"{publication.protocol} . {publication.host_port}"
        for source in sources(publication):
            if publication.host_ip is None:
                yield f"allowed{version}", f"{asked} . {shortest(source)}"
            else:
                yield f"allowed_at{version}", f"{publication.host_ip} . {asked} . {shortest(source)}"
    for source in target.sources:
        yield f"allowed_at{version}", f"{key} . {shortest(source)}"


def translations(elements: Iterable[Element]) -> Iterator[Translation]:
    """The published ports among elements."""
    for name, element in elements:
        if name.startswith("published"):
            key, _colon, target = element.partition(" : ")
            *host_ip, protocol, port = key.split(" . ")
            yield Translation(protocol, "".join(host_ip), int(port), target.replace(" . ", " "))
