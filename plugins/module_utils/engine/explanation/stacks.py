# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network stack as the kernel has it: links, addresses, rules, parameters, and the route of each packet."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Tuple

from ..declaration.section import Address, Interface
from ..errors import ApplyError
from ..kernel import namespaces, proc_sys, programs, rtnetlink
from ..kernel.listeners import listeners
from ..kernel.rtnetlink import AddressInfo, FoundRoute, LinkInfo, PortVlan
from ..resources.firewall import nftables
from ..resources.firewall.rulesets import read_rulesets
from ..third_party.drops import Ruleset
from ..third_party.nft_rules import tables_of
from ..third_party.required_flows import INPUT, OUTPUT, POSTROUTING, PREROUTING
from ..third_party.rule_evaluation import Chain, Rule, SomeAddress, SomePort, Table
from .headers import HeaderAddress, PortNumbers

HOST = "host"
LOOPBACK = "lo"

_FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
# Where all chains of type nat are called, whatever their own priority among each other.
NAT_PRIORITIES = {PREROUTING: -100, OUTPUT: -100, POSTROUTING: 100, INPUT: 100}

# Stand for an address of which nothing is known, where the kernel wants one (RFC 5737, RFC 3849).
_EXAMPLES = {4: "203.0.113.9", 6: "2001:db8:ffff::9"}

RuleTexts = Mapping[Tuple[str, str, str, str], str]


@dataclass(frozen=True)
class Base:
    """A base chain, with its table, and the tool that lists it."""

    tool: str
    family: str
    name: str
    table: Table
    chain: Chain

    @property
    def order(self) -> Tuple[int, int]:
        called = NAT_PRIORITIES.get(self.chain.hook, 0) if self.chain.is_nat else self.chain.priority
        return called, self.chain.priority


class StackRules:
    """All rules of a stack; `texts` is how nft writes each. `unread` says why some could not be listed.

    `untracking` are those that have connections not tracked.
    """

    def __init__(self, rulesets: Iterable[Ruleset] = (), texts: Optional[RuleTexts] = None, unread: str = "") -> None:
        self.texts = texts or {}
        self.unread = unread
        self._bases: List[Base] = []
        self.untracking: List[Rule] = []
        for ruleset in rulesets:
            for (family, name), table in tables_of(ruleset.objects).items():
                chains = table.chains.values()
                self._bases += [Base(ruleset.tool, family, name, table, chain) for chain in chains if chain.hook]
                self.untracking += [rule for chain in chains for rule in chain.rules if rule.untracks]
        self._bases.sort(key=lambda base: base.order)

    def at(self, hook: str, version: int) -> List[Base]:
        return [base for base in self._bases if base.chain.hook == hook and version in _FAMILIES.get(base.family, ())]

    def of_frames(self, hook: str) -> List[Base]:
        return [base for base in self._bases if base.chain.hook == hook and base.family == "bridge"]

    def of_device(self, hook: str, device: str) -> List[Base]:
        return [
            base
            for base in self._bases
            if base.chain.hook == hook and base.family in ("netdev", "inet") and device in base.chain.devices
        ]


@dataclass(frozen=True, eq=False)
class PacketStack:
    """`name` is `host`, or that of a container. What no packet needs is not read."""

    name: str
    links: Mapping[int, LinkInfo]
    addresses: Sequence[AddressInfo]
    read_rules: Callable[[], StackRules]
    ask_route: Callable[[str, str, int], FoundRoute]
    parameter: Callable[[str], Optional[str]]
    read_listeners: Callable[[], Sequence[Tuple[str, str, int]]]
    read_vlans: Callable[[], Mapping[int, FrozenSet[PortVlan]]] = dict

    @property
    def is_host(self) -> bool:
        return self.name == HOST

    @property
    def called(self) -> str:
        return "the host" if self.is_host else self.name

    @cached_property
    def rules(self) -> StackRules:
        return self.read_rules()

    @cached_property
    def vlans(self) -> Mapping[int, FrozenSet[PortVlan]]:
        """Those of the ports of bridges, and of bridges themselves, by the index of the link."""
        return self.read_vlans()

    @cached_property
    def listeners(self) -> Sequence[Tuple[str, str, int]]:
        return self.read_listeners()

    def route_to(
        self, destination: HeaderAddress, source: Optional[HeaderAddress] = None, incoming: Optional[LinkInfo] = None
    ) -> FoundRoute:
        """
        Raises:
            OSError: the kernel knows no route, or does not take the packet.
        """
        return self.ask_route(_text(destination), _text(source) if source else "", incoming.index if incoming else 0)

    @cached_property
    def _interfaces(self) -> Sequence[Tuple[AddressInfo, Interface]]:
        return [(each, ipaddress.ip_interface(each.address)) for each in self.addresses]

    @cached_property
    def _own(self) -> FrozenSet[Address]:
        return frozenset(self.own())

    def interfaces(self, link: Optional[LinkInfo] = None) -> List[Interface]:
        """The addresses of the stack, or those of one of its links, with their subnets."""
        return [interface for info, interface in self._interfaces if link is None or info.index == link.index]

    def global_addresses(self, version: int, link: Optional[LinkInfo] = None) -> List[Interface]:
        """Those that are not for this host alone (as 127.0.0.1 is), the first of each subnet."""
        return [
            interface
            for info, interface in self._interfaces
            if interface.version == version
            and info.scope == rtnetlink.RT_SCOPE_UNIVERSE
            and not info.flags & rtnetlink.IFA_F_SECONDARY
            and (link is None or info.index == link.index)
        ]

    def own(self, link: Optional[LinkInfo] = None) -> List[Address]:
        return [each.ip for each in self.interfaces(link)]

    def is_local(self, address: Optional[HeaderAddress]) -> bool:
        return isinstance(address, (ipaddress.IPv4Address, ipaddress.IPv6Address)) and (
            address.is_loopback or address in self._own
        )

    def link(self, name: str) -> Optional[LinkInfo]:
        return next((link for link in self.links.values() if link.name == name), None)

    def is_set(self, parameter: str) -> bool:
        return (self.parameter(parameter) or "0") not in ("0", "")

    @property
    def client_ports(self) -> SomePort:
        """The ports of which the kernel chooses one for a client."""
        first, last = (self.parameter("net.ipv4.ip_local_port_range") or "32768 60999").split()
        return SomePort(int(first), int(last))

    def filters_frames(self, bridge: LinkInfo, version: int) -> bool:
        """Whether frames of a bridge pass the rules of IP (br_netfilter)."""
        name = "iptables" if version == 4 else "ip6tables"
        own = bridge.bridge
        by_itself = own is not None and (own.nf_call_iptables if version == 4 else own.nf_call_ip6tables)
        return by_itself or self.parameter(f"net.bridge.bridge-nf-call-{name}") == "1"

    def listens(self, protocol: str, address: HeaderAddress, port: Optional[PortNumbers]) -> bool:
        """Whether a socket takes packets to an address and port; one at `::` takes those of IPv4, too."""
        anywhere = {"::"} if address.version == 6 else {"0.0.0.0", "::"}
        return any(
            (kind, number) == (protocol, port) and (at in anywhere or _plain(at) == str(address))
            for kind, at, number in self.listeners
        )


def _plain(address: str) -> str:
    return address[len("::ffff:") :] if address.startswith("::ffff:") else address


def _text(end: HeaderAddress) -> str:
    return _EXAMPLES[end.version] if isinstance(end, SomeAddress) else str(end)


def read_stack(name: str, path: str) -> PacketStack:
    """Read a stack by the path of its namespace.

    Raises:
        OSError: there is none.
    """

    def inside(read: Callable[..., Any]) -> Callable[..., Any]:
        def entered(*arguments: Any) -> Any:
            with namespaces.entered(path):
                return read(*arguments)

        return entered

    with namespaces.entered(path):
        links = {link.index: link for link in rtnetlink.links()}
        addresses = rtnetlink.addresses()
    return PacketStack(
        name,
        links,
        addresses,
        inside(_read_rules),
        inside(rtnetlink.route_to),
        inside(proc_sys.read),
        inside(lambda: list(listeners())),
        inside(rtnetlink.vlans),
    )


def _read_rules() -> StackRules:
    try:
        tables = nftables.all_tables()
        if not programs.find("nft"):
            return StackRules(read_rulesets(tables), unread="there is no nft that could list those of nftables")
        return StackRules(read_rulesets(tables), nftables.rule_texts() if tables else {})
    except (ApplyError, ValueError) as error:
        return StackRules(unread=str(error))


class PacketStacks:
    """The stacks of a host and its containers. `read` reads that of a container, if it has one now."""

    def __init__(self, host: PacketStack, read: Callable[[str], Optional[PacketStack]]) -> None:
        self.host = host
        self._read = read
        self._known: Dict[str, Optional[PacketStack]] = {HOST: host}

    @property
    def met(self) -> List[PacketStack]:
        """Those that have been asked for."""
        return list({id(stack): stack for stack in self._known.values() if stack}.values())

    def of(self, container: str) -> Optional[PacketStack]:
        if container not in self._known:
            self._known[container] = self._read(container)
        return self._known[container]
