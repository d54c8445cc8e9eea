# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall, as iptables text: what Docker's chains do, in the chains that admins of Docker's hosts know.

The twin of `rules_nftables`. iptables has no maps, so a packet is sent down a tree: by its bridge, then by a block of
addresses, or of ports, to a chain of some dozens of rules at most. In which chain a rule stands depends on itself
alone, so that a port that comes or goes moves no other one.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import Dict, Iterable, Iterator, List, Optional, Set, Tuple, TypeVar

from ..declaration.model import ISOLATED, NAT_UNPROTECTED, Container, Network
from ..declaration.parse_ports import PortRange
from ..declaration.section import Address, Subnet
from ..declaration.services import TFTP_PORT
from ..planning.accepted_ports import AcceptedPort, LinkedPort
from ..planning.plan import Plan, asymmetric_replies
from ..planning.publications import Publication, Translation
from ..planning.resolvers import DNS_PORT, FIRST_PORT, LAST_PORT
from ..planning.targets import IngressRule, Target, sources, targets
from ..state import IptablesChain, IptablesHook, IptablesRules, Object
from .network_rules_iptables import INPUT, LINKS, MSS, POSTROUTING, RuleContext
from .user_rules_iptables import user_rules

USER_CHAIN = "DOCKER-USER"
DECLARED_CHAIN = "WHARF-USER"
GROUPS = "groups"
FAMILIES = {4: "ip", 6: "ip6"}
HOOKS = (
    "raw PREROUTING",
    "mangle FORWARD",
    "filter INPUT",
    "filter FORWARD",
    f"filter {USER_CHAIN}",
    "nat PREROUTING",
    "nat OUTPUT",
    "nat POSTROUTING",
)
CHAINS = (
    "raw WHARF-PREROUTING",
    f"filter {USER_CHAIN}",
    f"filter {DECLARED_CHAIN}",
    "filter DOCKER-FORWARD",
    "filter DOCKER-INTERNAL",
    "filter DOCKER-CT",
    "filter DOCKER-BRIDGE",
    "filter DOCKER-LINKS",
    "filter DOCKER",
    "filter WHARF-FORWARD",
    INPUT,
    "nat DOCKER",
    "nat WHARF-NAMES",
    "nat WHARF-ASKERS",
    "nat WHARF-POSTROUTING",
    "mangle WHARF-FORWARD",
)

# How many ports, or bits of an address, a chain of the tree is for: the outer one, and the inner one.
_PORT_BLOCKS = (2048, 64)
_ADDRESS_BITS = (8, 4)
# What one `-m multiport` takes; a range counts twice.
_MULTIPORT = 15

_TO_LOCAL = "-m addrtype --dst-type LOCAL"
_IS_TRANSLATED = "-m conntrack --ctstate DNAT"
_FOR_NAMES = ("nat WHARF-NAMES", "nat WHARF-ASKERS")
_DNS_PROTOCOLS = ("udp", "tcp")
# Who looks for a router, for a neighbour, and a neighbour's answer (RFC 4861): without them nothing else comes.
_NEIGHBOUR_DISCOVERY = (133, 135, 136)

_TRANSLATION = re.compile(r"(?:-d (\S+)/\d+ )?-p (\w+) -m \w+ --dport (\d+) -j DNAT --to-destination \[?(.+?)\]?:(\d+)")

Element = Tuple[str, str]
_OfContainer = TypeVar("_OfContainer", Publication, AcceptedPort, LinkedPort)


def rules(plan: Plan) -> List[Object]:
    """All hooks, chains and rules of a host, or only those of the admin's rules."""
    versions = [version for version in FAMILIES if plan.model.host.has_rules(version)]
    if not plan.has_networks:
        return [thing for version in versions for thing in _user_chains(plan, version)]
    published = [publication for publication in plan.publications if publication.version in versions]
    owned = [*_network_rules(plan, versions), *_container_rules(plan, published, versions)]
    groups = _groups(published, [port.address for port in plan.accepted_ports])
    return [
        *(thing for version in versions for thing in _skeleton(plan, version)),
        *(IptablesRules(owner, _by_chain(elements)) for owner, elements in [*owned, *groups]),
    ]


def _by_chain(elements: Iterable[Element]) -> Tuple[Element, ...]:
    """In the order of the chains, and within each as they must stand."""
    return tuple(sorted(elements, key=lambda element: element[0]))


def _user_chains(plan: Plan, version: int) -> Iterator[Object]:
    """The rules that are declared come before those that admins put into DOCKER-USER themselves.

    A dockerd puts its own jumps first when it starts, so that they are led to by DOCKER-USER, which it leaves alone.
    """
    in_filter = f"{FAMILIES[version]} filter"
    yield IptablesHook(f"{in_filter} {USER_CHAIN}", (f"-j {DECLARED_CHAIN}",))
    yield IptablesChain(f"{in_filter} {USER_CHAIN}", ())
    yield IptablesChain(f"{in_filter} {DECLARED_CHAIN}", tuple(user_rules(plan, version)))


def _skeleton(plan: Plan, version: int) -> Iterator[Object]:
    family = FAMILIES[version]
    router = tuple(_not_a_router(plan, version))
    yield IptablesHook(f"{family} raw PREROUTING", ("-j WHARF-PREROUTING",))
    clamped = any(network.mss_clamp for network in plan.model.networks.values())
    if clamped:
        yield IptablesHook(f"{family} mangle FORWARD", ("-j WHARF-FORWARD",))
    names = any(address.version == version for each in plan.resolvers.all for address in each.addresses)
    isolated = any(network.gateway_mode(version) == ISOLATED for network in plan.model.networks.values())
    if names or isolated:
        yield IptablesHook(f"{family} filter INPUT", ("-j WHARF-INPUT",))
    yield IptablesHook(
        f"{family} filter FORWARD",
        (f"-j {USER_CHAIN}", "-j DOCKER-FORWARD"),
        last=("-j WHARF-FORWARD",) if router else (),
    )
    yield IptablesHook(f"{family} nat PREROUTING", (*(["-j WHARF-NAMES"] if names else []), f"{_TO_LOCAL} -j DOCKER"))
    yield IptablesHook(f"{family} nat OUTPUT", (f"{_TO_LOCAL} -j DOCKER",))
    yield IptablesHook(f"{family} nat POSTROUTING", ("-j WHARF-POSTROUTING",))
    fixed: Dict[str, Tuple[str, ...]] = {
        "raw WHARF-PREROUTING": tuple(_raw_prerouting(version)),
        "filter DOCKER-FORWARD": ("-j DOCKER-INTERNAL", "-j DOCKER-CT", "-j DOCKER-BRIDGE"),
        "filter WHARF-FORWARD": router,
        INPUT: ("-i lo -j RETURN",),
        "nat WHARF-NAMES": ("-j WHARF-ASKERS",),
        # [::1] is left alone, since the kernel cannot route its answers.
        "nat DOCKER": ("-d ::1/128 -j RETURN",) if version == 6 else (),
    }
    needed = {
        "filter WHARF-FORWARD": bool(router),
        MSS: clamped,
        INPUT: names or isolated,
        **dict.fromkeys(_FOR_NAMES, names),
    }
    yield from _user_chains(plan, version)
    for name in CHAINS:
        if needed.get(name, name.split()[-1] not in (USER_CHAIN, DECLARED_CHAIN)):
            yield IptablesChain(f"{family} {name}", fixed.get(name, ()))


def possible_skeleton() -> List[Object]:
    """Every hook and chain that some declaration has, without what is in it."""
    return [
        thing
        for family in FAMILIES.values()
        for thing in (
            *(IptablesHook(f"{family} {name}", ()) for name in HOOKS),
            *(IptablesChain(f"{family} {name}", ()) for name in CHAINS),
        )
    ]


def _raw_prerouting(version: int) -> Iterator[str]:
    """Nobody reaches the host's loopback but by `lo`, although `route_localnet` lets both through."""
    if version == 4:
        for direction in ("-d", "-s"):
            yield f"{direction} 127.0.0.0/8 ! -i lo -j DROP"


def _not_a_router(plan: Plan, version: int) -> Iterator[str]:
    """Where forwarding was off before us, turning it on must not make the host a router for its neighbours.

    With bridge-nf-call-iptables what machines on one bridge say to each other comes by here, too. The rule for IPv6
    stands without any such network, too: one may have been here, and the host still forward.
    """
    host, facts = plan.model.host, plan.facts
    forwards = facts.forwards_ipv4 if version == 4 else facts.forwards_ipv6
    if host.ip_forward and not host.ip_forward_no_drop and not forwards:
        for bridge in facts.third_party_bridges or ():
            yield f"-i {bridge.name} -o {bridge.name} -j RETURN"
        yield "-j DROP"


def _network_rules(plan: Plan, versions: List[int]) -> Iterator[Tuple[str, List[Element]]]:
    for network in plan.model.networks.values():
        elements: List[Element] = []
        for version in versions:
            pool = plan.allotted.networks[network.name].get(version)
            subnet = pool.subnet if pool else None
            context = RuleContext(plan.model.host, network, version)
            found = [context.hairpin(subnet)] if subnet else []
            if not network.external:
                found += _network_elements(context, subnet)
            found += _asking(plan, network, version)
            elements += _in_family(version, found)
        if elements:
            yield f"network {network.name}", elements


def _network_elements(context: RuleContext, addresses: Optional[Subnet]) -> Iterator[Element]:
    yield from context.forwarding()
    yield from context.clamping()
    yield from context.protection(addresses)
    yield from context.outward(addresses)


def _in_family(version: int, elements: Iterable[Element]) -> Iterator[Element]:
    return ((f"{FAMILIES[version]} {chain}", rule) for chain, rule in elements)


def _asking(plan: Plan, network: Network, version: int) -> Iterator[Element]:
    """A network's resolver answers who is on the network, and one that knows several whom `WHARF-ASKERS` has led there.

    No published port 53 stands in its way, and nothing else of the host's that drops what comes for it.
    """
    bridge = network.bridge
    own = [resolver for resolver in plan.resolvers.all if resolver.name == network.name and resolver.serves_dns]
    asked = [address for resolver in own for address in resolver.addresses if address.version == version]
    ports = [port for family, port in network.services.ports if family == version]
    for address in asked:
        yield from _asked_at(address, bridge)
    for port in ports:
        yield INPUT, f"-i {bridge} -p udp -m udp --dport {port} -j ACCEPT"
    if TFTP_PORT in ports:
        # The host sends files from another port, and is told there what has come.
        yield INPUT, f"-i {bridge} -p udp -m conntrack --ctstate ESTABLISHED -j ACCEPT"
    for kind in _NEIGHBOUR_DISCOVERY if version == 6 and (asked or ports) else ():
        yield INPUT, f"-i {bridge} -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT"


def _asked_at(address: Address, bridge: str) -> Iterator[Element]:
    at = f"-d {address}/{address.max_prefixlen}"
    for protocol in _DNS_PROTOCOLS:
        asking = f"-p {protocol} -m {protocol} --dport {DNS_PORT}"
        led = f"{at} -p {protocol} -m {protocol} --dport {FIRST_PORT}:{LAST_PORT}"
        yield "nat WHARF-NAMES", f"{at} -i {bridge} {asking} -j ACCEPT"
        yield INPUT, f"{at} -i {bridge} {asking} -j ACCEPT"
        yield INPUT, f"{at} {asking} -j DROP"
        yield INPUT, f"{led} {_IS_TRANSLATED} -j ACCEPT"
        yield INPUT, f"{led} -j DROP"


def _resolver_ports(plan: Plan, container: Container, versions: List[int]) -> Iterator[Element]:
    """Who is led to a resolver that is not the network's own."""
    assigned = plan.resolvers.assignments.get(container.name)
    if assigned and not assigned.resolver.is_networks_own and assigned.resolver.address.version in versions:
        at, network = assigned.resolver.address, plan.model.networks[assigned.attachment.network]
        address = plan.allotted.endpoints[container.name, network.name].address(at.version)
        ends = f"-s {address}/{at.max_prefixlen} -d {at}/{at.max_prefixlen} -i {network.bridge}"
        for protocol in _DNS_PROTOCOLS:
            rule = (
                f"{ends} -p {protocol} -m {protocol} --dport {DNS_PORT} -j REDIRECT --to-ports {assigned.resolver.port}"
            )
            yield f"{FAMILIES[at.version]} nat WHARF-ASKERS", rule


def _container_rules(
    plan: Plan, publications: List[Publication], versions: List[int]
) -> Iterator[Tuple[str, List[Element]]]:
    published, opened = _by_container(publications), _by_container(plan.accepted_ports)
    linked = _by_container(plan.linked_ports)
    for container in plan.model.containers.values():
        own = published.get(container.name, [])
        ways: List[IngressRule] = [*own, *opened.get(container.name, [])]
        elements = [*_translations(own), *_targets(plan, ways), *_resolver_ports(plan, container, versions)]
        elements += _links(linked.get(container.name, []))
        for version in versions:
            elements += _in_family(version, _by_address(plan, container, version))
        if elements:
            yield f"container {container.name}", elements


def _by_container(things: Iterable[_OfContainer]) -> Dict[str, List[_OfContainer]]:
    found: Dict[str, List[_OfContainer]] = {}
    for thing in things:
        found.setdefault(thing.container, []).append(thing)
    return found


def _links(to_it: Iterable[LinkedPort]) -> Iterator[Element]:
    """Which containers a link leads to one."""
    ports: Dict[Tuple[Address, Address, str], Set[int]] = {}
    for linked in to_it:
        ports.setdefault((linked.source, linked.address, linked.protocol), set()).add(linked.port)
    for (source, address, protocol), opened in ports.items():
        ends = f"-s {source}/{source.max_prefixlen} -d {address}/{address.max_prefixlen}"
        for matched in _port_matches(protocol, sorted(opened)):
            yield f"{FAMILIES[address.version]} {LINKS}", f"{ends} -p {protocol} {matched} -j ACCEPT"


def _by_address(plan: Plan, container: Container, version: int) -> Iterator[Element]:
    """The rules of a container's addresses on shared bridges, and of those whose replies take another network."""
    for attachment in container.attachments:
        network = plan.model.networks[attachment.network]
        address = plan.allotted.endpoints[container.name, network.name].address(version)
        if address and network.external:
            single = ipaddress.ip_network(address)
            yield from _network_elements(RuleContext(plan.model.host, network, version, single), single)
    for subnet, asked in asymmetric_replies(plan, container, version):
        yield POSTROUTING, f"-s {subnet} -d {asked}/{asked.max_prefixlen} -j MASQUERADE"


def _translations(publications: List[Publication]) -> Iterator[Element]:
    for p in publications:
        target = p.address if p.version == 4 else f"[{p.address}]"
        at = f"-d {p.host_ip}/{p.host_ip.max_prefixlen} " if p.host_ip else ""
        matches = f"{at}-p {p.protocol} -m {p.protocol} --dport {p.host_port}"
        yield _port_groups(p)[-1][0], f"{matches} -j DNAT --to-destination {target}:{p.target_port}"


def _targets(plan: Plan, ways: List[IngressRule]) -> Iterator[Element]:
    """What may be reached once it is translated, so that no port is open by a translation that others make."""
    ports: Dict[Tuple[Address, str], Set[int]] = {}
    for target in targets(ways):
        if target.is_unrestricted:
            ports.setdefault((target.address, target.protocol), set()).add(target.port)
        else:
            yield from _guarded(target, "DROP" if _is_unprotected(plan, target.address) else "RETURN")
    for (address, protocol), for_all in ports.items():
        for matched in _port_matches(protocol, sorted(for_all)):
            rule = f"-d {address}/{address.max_prefixlen} -p {protocol} {matched} -j ACCEPT"
            yield _address_groups(address)[-1][0], rule


def _is_unprotected(plan: Plan, address: Address) -> bool:
    """Whether all ports of the address are open, but for those that are not for all."""
    return any(
        address in pool.subnet and plan.model.networks[name].gateway_mode(version) == NAT_UNPROTECTED
        for name, pools in plan.allotted.networks.items()
        if name in plan.model.networks
        for version, pool in pools.items()
    )


def _guarded(target: Target, others: str) -> Iterator[Element]:
    """A port that is not for all, by the port to which a connection was first sent, and what becomes of others."""
    chain = _address_groups(target.address)[-1][0]
    to_it = f"-d {target.address}/{target.address.max_prefixlen} -p {target.protocol}"
    to_it += f" -m {target.protocol} --dport {target.port}"
    for p in target.publications:
        asked = f"--ctorigdst {p.host_ip} " if p.host_ip else ""
        for source in sources(p):
            match = f"{to_it} -m conntrack --ctstate DNAT {asked}--ctorigdstport {p.host_port}"
            yield chain, f"{_from(source)}{match} -j ACCEPT"
    for source in target.sources:
        match = f"{to_it} -m conntrack --ctorigdst {target.address} --ctorigdstport {target.port}"
        yield chain, f"{_from(source)}{match} -j ACCEPT"
    yield chain, f"{to_it} -j {others}"


def _from(source: Subnet) -> str:
    return f"-s {source} " if source.prefixlen else ""


def _port_matches(protocol: str, ports: List[int]) -> Iterator[str]:
    """As few matches as there can be for all of these ports, which are in order."""
    ranges: List[PortRange] = []
    for port in ports:
        if ranges and ranges[-1][1] == port - 1:
            ranges[-1] = ranges[-1][0], port
        else:
            ranges.append((port, port))
    room, fitting = _MULTIPORT, ""
    for first, last in ranges:
        size = 1 if first == last else 2
        if size > room:
            yield f"-m multiport --dports {fitting}"
            room, fitting = _MULTIPORT, ""
        room -= size
        fitting += ("," if fitting else "") + (str(first) if first == last else f"{first}:{last}")
    if "," in fitting:
        yield f"-m multiport --dports {fitting}"
    else:
        yield f"-m {protocol} --dport {fitting}"


def _groups(publications: List[Publication], opened: List[Address]) -> Iterator[Tuple[str, List[Element]]]:
    """The rules that lead to the chains of the tree, whoever has rules there."""
    found: Set[Element] = set()
    for publication in publications:
        found.update(_ways("nat DOCKER", _port_groups(publication)))
    for address in {*opened, *(publication.address for publication in publications)}:
        found.update(_ways("filter DOCKER", _address_groups(address)))
    if found:
        yield GROUPS, sorted(found)


def _ways(trunk: str, groups: List[Element]) -> Iterator[Element]:
    chains = [f"{groups[0][0].split()[0]} {trunk}", *(chain for chain, _match in groups)]
    for chain, (branch, match) in zip(chains, groups):
        yield chain, f"{match} -j {branch.split()[-1]}"


def _port_groups(publication: Publication) -> List[Element]:
    """The chains that a published port's rules are reached by, from outer to inner, and what leads to each."""
    family, protocol, port = FAMILIES[publication.version], publication.protocol, publication.host_port
    blocks = [(port - port % size, port - port % size + size - 1) for size in _PORT_BLOCKS]
    return [
        (f"{family} nat DOCKER-{protocol}-{first}-{last}", f"-p {protocol} -m {protocol} --dport {first}:{last}")
        for first, last in blocks
    ]


def _address_groups(address: Address) -> List[Element]:
    """The same for the rules of an address."""
    family = FAMILIES[address.version]
    blocks = [ipaddress.ip_network((address, address.max_prefixlen - bits), strict=False) for bits in _ADDRESS_BITS]
    return [(f"{family} filter DOCKER-{_block_name(block)}", f"-d {block}") for block in blocks]


def _block_name(block: Subnet) -> str:
    """`172.17.0.16-28`; of IPv6 a hash, since a chain's name has 28 bytes at most."""
    address = str(block.network_address)
    named = address if block.version == 4 else hashlib.sha256(address.encode()).hexdigest()[:12]
    return f"{named}-{block.prefixlen}"


def translations(elements: Iterable[Element]) -> Iterator[Translation]:
    """The published ports among elements."""
    for _chain, rule in elements:
        match = _TRANSLATION.fullmatch(rule)
        if match:
            host_ip, protocol, port, address, target_port = match.groups("")
            yield Translation(protocol, host_ip, int(port), f"{address} {target_port}")
