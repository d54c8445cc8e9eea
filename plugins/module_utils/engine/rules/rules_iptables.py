# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall as iptables text: the work of Docker's chains, in chains of the same names.

This is the counterpart of `rules_nftables`. iptables has no maps, so packets pass a tree of chains: by their bridge,
and then by a block of addresses, or of ports, to a chain of some dozens of rules at most. The chain of a rule depends
on this rule alone, so that a change of one port moves no other rule.
"""

from __future__ import annotations

from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

from ..declaration.model import ISOLATED, Network
from ..declaration.section import Address
from ..declaration.services import TFTP_PORT
from ..planning.ingress import returns
from ..planning.overlays import encrypted, tunnels
from ..planning.plan import Plan
from ..planning.resolvers import DNS_PORT, FIRST_PORT, LAST_PORT
from ..state import (
    OF_NETWORK,
    ChainRef,
    ChainRule,
    IptablesChain,
    IptablesHook,
    IptablesRules,
    Object,
    Owner,
    TableChain,
)
from .container_rules_iptables import by_chain, container_rules, groups
from .network_rules_iptables import (
    ASKERS,
    BRIDGE,
    CT,
    DNS_PROTOCOLS,
    FAMILIES,
    FORWARD,
    INPUT,
    INTERNAL,
    LINKS,
    MSS,
    POSTROUTING,
    RAW,
    WHARF_FORWARD,
    Element,
    RuleContext,
    in_family,
)
from .overlay_rules_iptables import (
    FIRST_PACKETS,
    FROM_CLEAR_TEXT,
    INGRESS,
    MARKS,
    OF_NO_ENCRYPTED,
    TO_CLEAR_TEXT,
    TUNNELS,
    VXLAN,
    from_encrypted,
    overlay_rules,
)
from .user_rules_iptables import user_rules

USER_CHAIN = "DOCKER-USER"
DECLARED_CHAIN = "WHARF-USER"
_USER, DECLARED = TableChain("filter", USER_CHAIN), TableChain("filter", DECLARED_CHAIN)
_DOCKER_FILTER, _DOCKER_NAT = TableChain("filter", "DOCKER"), TableChain("nat", "DOCKER")
_NAMES = TableChain("nat", "WHARF-NAMES")
_FILTER_FORWARD = TableChain("filter", "FORWARD")
# The hooks, each with the chains that its jumps lead to. A jump is there where its chain is.
HOOKS: Mapping[TableChain, Sequence[TableChain]] = {
    TableChain("raw", "PREROUTING"): (RAW,),
    TableChain("mangle", "PREROUTING"): (MARKS,),
    TableChain("mangle", "FORWARD"): (MSS,),
    TableChain("filter", "INPUT"): (INPUT,),
    _FILTER_FORWARD: (_USER, FORWARD),
    _USER: (DECLARED,),
    TableChain("nat", "PREROUTING"): (_NAMES, _DOCKER_NAT),
    TableChain("nat", "OUTPUT"): (_DOCKER_NAT,),
    TableChain("nat", "POSTROUTING"): (POSTROUTING,),
    TableChain("mangle", "POSTROUTING"): (TO_CLEAR_TEXT,),
}
# What their jumps match, where that is not everything.
_MATCHES = {_DOCKER_NAT: "-m addrtype --dst-type LOCAL "}
CHAINS = (
    RAW,
    VXLAN,
    TUNNELS,
    FROM_CLEAR_TEXT,
    MARKS,
    FIRST_PACKETS,
    _USER,
    DECLARED,
    FORWARD,
    INTERNAL,
    CT,
    BRIDGE,
    LINKS,
    _DOCKER_FILTER,
    INGRESS,
    WHARF_FORWARD,
    INPUT,
    _DOCKER_NAT,
    _NAMES,
    ASKERS,
    POSTROUTING,
    MSS,
    TO_CLEAR_TEXT,
)

_IS_ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED"
_IS_TRANSLATED = "-m conntrack --ctstate DNAT"
# Router solicitation, neighbour solicitation and neighbour advertisement (RFC 4861).
_NEIGHBOUR_DISCOVERY = (133, 135, 136)


def rules(plan: Plan) -> List[Object]:
    """All hooks, chains and rules of a host, or only those of the admin's rules."""
    versions = [version for version in FAMILIES if plan.model.host.has_rules(version)]
    if not plan.has_networks:
        return [thing for version in versions for thing in _user_chains(plan, version)]
    published = [publication for publication in plan.publications if publication.version in versions]
    entries = [entry for entry in plan.entries if entry.version in versions]
    return [
        *(thing for version in versions for thing in _skeleton(plan, version)),
        *_network_rules(plan, versions),
        *container_rules(plan, published, versions),
        *groups(published, entries, [port.address for port in plan.accepted_ports]),
    ]


def _user_chains(plan: Plan, version: int) -> Iterator[Object]:
    """The chains of the admin's rules: declared rules come before those that admins put into DOCKER-USER themselves.

    The jump to them is in DOCKER-USER, which dockerd does not change, since it puts its own jumps first when it starts.
    """
    family = FAMILIES[version]
    yield IptablesHook(ChainRef(family, _USER), (f"-j {DECLARED_CHAIN}",))
    yield IptablesChain(ChainRef(family, _USER), ())
    yield IptablesChain(ChainRef(family, DECLARED), tuple(user_rules(plan, version)))


def _skeleton(plan: Plan, version: int) -> Iterator[Object]:
    family = FAMILIES[version]
    router = tuple(_not_a_router(plan, version))
    names = any(address.version == version for each in plan.resolvers.all for address in each.addresses)
    isolated = any(each.uplink or each.gateway_mode(version) == ISOLATED for each in plan.model.bridged)
    tunnelled, is_encrypted = any(tunnels(plan.model)), bool(encrypted(plan.model))
    fixed: Dict[TableChain, Tuple[str, ...]] = {
        RAW: (
            *_untracked(plan),
            *_raw_prerouting(version),
            *from_encrypted(plan, version),
        ),
        FORWARD: (
            *_bridging(plan),
            "-j DOCKER-INTERNAL",
            *(OF_NO_ENCRYPTED if is_encrypted else ()),
            "-j DOCKER-CT",
            "-j DOCKER-BRIDGE",
        ),
        WHARF_FORWARD: router,
        INPUT: ("-i lo -j RETURN", *(f"-i {network.bridge} -j DROP" for network in plan.model.uplinked)),
        INGRESS: (f"{_IS_ESTABLISHED} -j ACCEPT", f"{_IS_TRANSLATED} -j DOCKER", "-j DROP"),
        _NAMES: ("-j WHARF-ASKERS",),
        # [::1] is left alone, since the kernel cannot route its answers.
        _DOCKER_NAT: ("-d ::1/128 -j RETURN",) if version == 6 else (),
    }
    needed = {
        WHARF_FORWARD: bool(router),
        MSS: any(network.mss_clamp for network in plan.model.networks.values()),
        INPUT: names or isolated or tunnelled or is_encrypted,
        **dict.fromkeys((TO_CLEAR_TEXT, FROM_CLEAR_TEXT), is_encrypted),
        **dict.fromkeys((MARKS, FIRST_PACKETS, INGRESS), bool(returns(plan))),
        VXLAN: tunnelled,
        TUNNELS: tunnelled,
        **dict.fromkeys((_NAMES, ASKERS), names),
    }
    for hook, chains in HOOKS.items():
        jumps = tuple(f"{_MATCHES.get(chain, '')}-j {chain.name}" for chain in chains if needed.get(chain, True))
        last = (f"-j {WHARF_FORWARD.name}",) if hook == _FILTER_FORWARD and router else ()
        if jumps and hook != _USER:
            yield IptablesHook(ChainRef(family, hook), jumps, last)
    yield from _user_chains(plan, version)
    for chain in CHAINS:
        if needed.get(chain, chain not in (_USER, DECLARED)):
            yield IptablesChain(ChainRef(family, chain), fixed.get(chain, ()))


def possible_skeleton() -> List[Object]:
    """Every hook and chain that any declaration can have, without contents."""
    return [
        thing
        for family in FAMILIES.values()
        for thing in (
            *(IptablesHook(ChainRef(family, hook), ()) for hook in HOOKS),
            *(IptablesChain(ChainRef(family, chain), ()) for chain in CHAINS),
        )
    ]


def _untracked(plan: Plan) -> Iterator[str]:
    """Frames on the way to a LAN, where br_netfilter shows them."""
    for network in plan.model.uplinked:
        yield from (f"-i {network.bridge} -j {target}" for target in ("CT --notrack", "ACCEPT"))


def _bridging(plan: Plan) -> Iterator[str]:
    """Let pass all between the ports of a bridge with an uplink, and nothing else; isolated ports keep them apart.

    This is before all that other networks let in: nothing comes to them from that LAN, whatever its packets say.
    """
    for network in plan.model.uplinked:
        yield f"-i {network.bridge} -o {network.bridge} -j ACCEPT"
        yield from (f"{direction} {network.bridge} -j DROP" for direction in ("-i", "-o"))


def _raw_prerouting(version: int) -> Iterator[str]:
    """Drop packets from and to the host's loopback by other links than `lo`, which `route_localnet` would allow."""
    if version == 4:
        for direction in ("-d", "-s"):
            yield f"{direction} 127.0.0.0/8 ! -i lo -j DROP"


def _not_a_router(plan: Plan, version: int) -> Iterator[str]:
    """If wharf.network turned forwarding on, drop what is not for its networks: the host must not become a router.

    With bridge-nf-call-iptables, frames between the ports of a third-party bridge pass this chain, too, and may go on.
    The rule for IPv6 is there even without an IPv6 network: there may have been one, and the host still forwards.
    """
    host, facts = plan.model.host, plan.facts
    forwards = facts.forwards_ipv4 if version == 4 else facts.forwards_ipv6
    if host.ip_forward and not host.ip_forward_no_drop and not forwards:
        for bridge in facts.third_party_bridges or ():
            yield f"-i {bridge.name} -o {bridge.name} -j RETURN"
        yield "-j DROP"


def _network_rules(plan: Plan, versions: List[int]) -> Iterator[IptablesRules]:
    for network in plan.model.behind_host:
        elements: List[ChainRule] = []
        for version in versions:
            subnets = [pool.subnet for pool in plan.allotted.pools(network.name, version)]
            context = RuleContext(plan.model.host, network, version)
            found = [context.hairpin(subnet) for subnet in subnets]
            found += overlay_rules(plan, network, version)
            if not network.external:
                found += context.rules(subnets)
            found += _service_rules(plan, network, version)
            elements += in_family(version, found)
        if elements:
            yield IptablesRules(Owner(OF_NETWORK, network.name), by_chain(elements))


def _service_rules(plan: Plan, network: Network, version: int) -> Iterator[Element]:
    """Accept requests to the network's services: DNS queries from the network, those that `WHARF-ASKERS` redirected to
    another resolver, and requests to DHCP and TFTP.

    DNS queries take precedence over a published port 53.
    """
    bridge = network.bridge
    own = [resolver for resolver in plan.resolvers.all if resolver.name == network.name and resolver.serves_dns]
    addresses = [address for resolver in own for address in resolver.addresses if address.version == version]
    ports = [port for family, port in network.services.ports if family == version]
    for address in addresses:
        yield from _dns_rules(address, bridge)
    for port in ports:
        yield INPUT, f"-i {bridge} -p udp -m udp --dport {port} -j ACCEPT"
    if TFTP_PORT in ports:
        # The TFTP server sends a file from another port, to which the client sends its acknowledgements.
        yield INPUT, f"-i {bridge} -p udp -m conntrack --ctstate ESTABLISHED -j ACCEPT"
    for kind in _NEIGHBOUR_DISCOVERY if version == 6 and (addresses or ports) else ():
        yield INPUT, f"-i {bridge} -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT"


def _dns_rules(address: Address, bridge: str) -> Iterator[Element]:
    at = f"-d {address}/{address.max_prefixlen}"
    for protocol in DNS_PROTOCOLS:
        query = f"-p {protocol} -m {protocol} --dport {DNS_PORT}"
        redirected = f"{at} -p {protocol} -m {protocol} --dport {FIRST_PORT}:{LAST_PORT}"
        yield _NAMES, f"{at} -i {bridge} {query} -j ACCEPT"
        yield INPUT, f"{at} -i {bridge} {query} -j ACCEPT"
        yield INPUT, f"{at} {query} -j DROP"
        yield INPUT, f"{redirected} {_IS_TRANSLATED} -j ACCEPT"
        yield INPUT, f"{redirected} -j DROP"
