# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that follow from one network's options, as iptables text, in one IP family.

On a managed bridge the rules match all packets from and to the bridge; on an adopted one, which third parties use, too,
they match the addresses of declared containers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Iterator, List, Optional, Sequence, Tuple

from ..declaration.model import ISOLATED, NAT, NAT_UNPROTECTED, ROUTED, Host, Network
from ..declaration.section import Subnet
from ..state import ChainRef, ChainRule, TableChain

INTERNAL, CT, BRIDGE, FORWARD = (
    TableChain("filter", f"DOCKER-{name}") for name in ("INTERNAL", "CT", "BRIDGE", "FORWARD")
)
FAMILIES = {4: "ip", 6: "ip6"}

LINKS, ASKERS = TableChain("filter", "DOCKER-LINKS"), TableChain("nat", "WHARF-ASKERS")
RAW, INPUT = TableChain("raw", "WHARF-PREROUTING"), TableChain("filter", "WHARF-INPUT")
WHARF_FORWARD = TableChain("filter", "WHARF-FORWARD")
POSTROUTING, MSS = TableChain("nat", "WHARF-POSTROUTING"), TableChain("mangle", "WHARF-FORWARD")

_TO_LOCAL = "-m addrtype --dst-type LOCAL"
_NOT_TO_LOCAL = "-m addrtype ! --dst-type LOCAL"
_IS_ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED"
_IS_TRANSLATED = "-m conntrack --ctstate DNAT"
_ICMP = {4: "-p icmp", 6: "-p ipv6-icmp"}
_ECHO_REQUEST = {4: "-p icmp -m icmp --icmp-type 8", 6: "-p ipv6-icmp -m icmp6 --icmpv6-type 128"}
# ICMP errors about replies to pings: unreachable, too big, time exceeded, parameter problem.
ICMP_ERRORS = {
    4: [f"-p icmp -m icmp --icmp-type {number}" for number in (3, 11, 12)],
    6: [f"-p ipv6-icmp -m icmp6 --icmpv6-type {number}" for number in (1, 2, 3, 4)],
}

DNS_PROTOCOLS = ("udp", "tcp")

# A rule of a chain, where its IP family is known from elsewhere.
Element = Tuple[TableChain, str]


@dataclass(frozen=True)
class RuleContext:
    """A network in one IP family; with an `address`, a single container on an adopted bridge."""

    host: Host
    network: Network
    version: int
    address: Optional[Subnet] = None

    @property
    def mode(self) -> str:
        return self.network.gateway_mode(self.version)

    @property
    def coming(self) -> str:
        return f"-s {self.address} -i {self.network.bridge}" if self.address else f"-i {self.network.bridge}"

    def going(self, interface: str = "") -> str:
        """The match of packets to the network, that come by any interface or by this one."""
        by = f"-i {interface} " if interface else ""
        return f"{f'-d {self.address} ' if self.address else ''}{by}-o {self.network.bridge}"

    @property
    def among(self) -> List[str]:
        within = f"-i {self.network.bridge} -o {self.network.bridge}"
        return [f"{end} {self.address} {within}" for end in ("-s", "-d")] if self.address else [within]

    def rules(self, addresses: Sequence[Subnet]) -> Iterator[Element]:
        """All rules of the network's options. `addresses` are its subnets, or the single address."""
        yield from self._forwarding()
        yield from self._clamping()
        yield from self._protection(addresses)
        yield from self._outward(addresses)

    def _forwarding(self) -> Iterator[Element]:
        """The rules for packets that are forwarded from and to the network.

        The rules of internal networks come before the accept of established flows. Otherwise a container
        that forwards between an internal network and another one would get replies for the internal one accepted.
        """
        if self.network.internal:
            if self.network.icc:
                yield from ((INTERNAL, f"{match} -j ACCEPT") for match in self.among)
            yield INTERNAL, f"{self.coming} -j DROP"
            yield INTERNAL, f"{self.going()} -j DROP"
            return
        yield CT, f"{self.coming} {_IS_ESTABLISHED} -j ACCEPT"
        yield CT, f"{self.going()} {_IS_ESTABLISHED} -j ACCEPT"
        yield from ((BRIDGE, rule) for rule in self._to_containers())
        yield FORWARD, f"{self.coming} -j ACCEPT"

    def _to_containers(self) -> Iterator[str]:
        """The rules for packets to containers. Every such packet gets a verdict."""
        if self.network.icc:
            yield from (f"{match} -j ACCEPT" for match in self.among)
        mark = self.host.bridge_accept_fwmark
        if mark:
            of = "" if mark.mask == 0xFFFFFFFF else f"/{mark.mask:#x}"
            yield f"{self.going()} -m mark --mark {mark.mark & mark.mask:#x}{of} -j ACCEPT"
        yield f"{self.going()} {_IS_TRANSLATED} -j DOCKER"
        if not self.network.icc:
            # Only the default network has links. On an adopted bridge third parties stay reachable, and the last rule
            # drops the rest.
            verdicts = [
                *(["DOCKER-LINKS"] if self.network.is_default else []),
                *([] if self.network.external else ["DROP"]),
            ]
            yield from (f"{match} -j {verdict}" for verdict in verdicts for match in self.among)
        yield from self._direct_access()
        yield f"{self.going()} -j DROP"

    def _direct_access(self) -> Iterator[str]:
        """The rules for direct access to the containers' own addresses."""
        if self.mode == NAT_UNPROTECTED:
            # In DOCKER are the rules for ports with `allow_from`.
            yield f"{self.going()} -j DOCKER"
            yield f"{self.going()} -j ACCEPT"
        if self.mode == ROUTED:
            yield f"{self.going()} {_ICMP[self.version]} -j ACCEPT"
        if self.network.icmp:
            yield f"{self.going()} {_ECHO_REQUEST[self.version]} -j ACCEPT"
        if self.mode == ROUTED or self.host.allow_direct_routing:
            yield f"{self.going()} -j DOCKER"
        else:
            yield from (f"{self.going(interface)} -j DOCKER" for interface in self.network.trusted_interfaces)

    def _clamping(self) -> Iterator[Element]:
        """Clamp the MSS of TCP connections to the path's MTU in both directions, for paths that drop ICMP errors."""
        if self.network.mss_clamp:
            for match in (self.coming, self.going()):
                syn = "-p tcp -m tcp --tcp-flags SYN,RST SYN"
                yield MSS, f"{match} {syn} -j TCPMSS --clamp-mss-to-pmtu"

    def _protection(self, addresses: Sequence[Subnet]) -> Iterator[Element]:
        """Drop packets to these addresses that come by another interface than their bridge (direct access).

        For a network that is not masqueraded, replies come to its containers' own addresses, and the table raw is
        before connection tracking. So there, `DOCKER-BRIDGE` alone drops direct access. An isolated network must not
        reach the host: its bridge has no address, but any other address of the host, or a multicast one, would do.
        """
        bridge = self.network.bridge
        if self.mode == ISOLATED:
            yield RAW, f"{self.coming} {_TO_LOCAL} -j DROP"
            yield INPUT, f"{self.coming} -j DROP"
        is_protected = self.mode == NAT and self.network.masquerade(self.version) and not self.host.allow_direct_routing
        for subnet in addresses if is_protected else ():
            for pings in [_ECHO_REQUEST[self.version], *ICMP_ERRORS[self.version]] if self.network.icmp else []:
                yield RAW, f"-d {subnet} {pings} -j RETURN"
            for interface in self.network.trusted_interfaces:
                yield RAW, f"-d {subnet} -i {interface} -j RETURN"
            yield RAW, f"-d {subnet} ! -i {bridge} {_NOT_TO_LOCAL} -j DROP"

    def _outward(self, addresses: Sequence[Subnet]) -> Iterator[Element]:
        """The source NAT of packets that leave the network from these addresses."""
        bridge, snat = self.network.bridge, self.network.snat(self.version)
        source = f"-j SNAT --to-source {snat}" if snat else "-j MASQUERADE"
        for subnet in addresses if snat and not self.address else ():
            yield POSTROUTING, f"-d {subnet} -o {bridge} -m addrtype --src-type LOCAL {source}"
        if self.version == 4:
            to = f"-d {self.address} " if self.address else ""
            yield POSTROUTING, f"-s 127.0.0.0/8 {to}-o {bridge} -j MASQUERADE"
        for subnet in addresses if self.network.masquerade(self.version) else ():
            yield POSTROUTING, f"-s {subnet} ! -o {bridge} {source}"

    def hairpin(self, subnet: Subnet) -> Element:
        return POSTROUTING, f"-s {subnet} -o {self.network.bridge} {_IS_TRANSLATED} -j MASQUERADE"


def in_family(version: int, elements: Iterable[Element]) -> Iterator[ChainRule]:
    return ((ChainRef(FAMILIES[version], chain), rule) for chain, rule in elements)
