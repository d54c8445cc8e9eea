# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one network's options come to as iptables text, in one family: table and chain, and the rule.

On a bridge of ours the rules are for whatever comes and goes by it; on one that others use, too, they are for our
containers' addresses only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, Optional, Tuple

from ..declaration.model import ISOLATED, NAT, NAT_UNPROTECTED, ROUTED, Host, Network
from ..declaration.section import Subnet

INTERNAL, CT, BRIDGE, FORWARD = (f"filter DOCKER-{name}" for name in ("INTERNAL", "CT", "BRIDGE", "FORWARD"))
LINKS = "filter DOCKER-LINKS"
RAW, INPUT = "raw WHARF-PREROUTING", "filter WHARF-INPUT"
POSTROUTING, MSS = "nat WHARF-POSTROUTING", "mangle WHARF-FORWARD"

_TO_LOCAL = "-m addrtype --dst-type LOCAL"
_NOT_TO_LOCAL = "-m addrtype ! --dst-type LOCAL"
_IS_ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED"
_IS_TRANSLATED = "-m conntrack --ctstate DNAT"
_ICMP = {4: "-p icmp", 6: "-p ipv6-icmp"}
_ECHO_REQUEST = {4: "-p icmp -m icmp --icmp-type 8", 6: "-p ipv6-icmp -m icmp6 --icmpv6-type 128"}
# Errors that the answers to pings meet on their way: unreachable, too big, time exceeded, parameter problem.
_ERRORS = {
    4: [f"-p icmp -m icmp --icmp-type {number}" for number in (3, 11, 12)],
    6: [f"-p ipv6-icmp -m icmp6 --icmpv6-type {number}" for number in (1, 2, 3, 4)],
}

Element = Tuple[str, str]


@dataclass(frozen=True)
class RuleContext:
    """A network in one family, or with an `address` that of one container on a bridge that others use, too."""

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
        """What matches that goes there, by any interface or by this one."""
        by = f"-i {interface} " if interface else ""
        return f"{f'-d {self.address} ' if self.address else ''}{by}-o {self.network.bridge}"

    @property
    def among(self) -> List[str]:
        within = f"-i {self.network.bridge} -o {self.network.bridge}"
        return [f"{end} {self.address} {within}" for end in ("-s", "-d")] if self.address else [within]

    def forwarding(self) -> Iterator[Element]:
        """What is forwarded from and to it.

        Internal networks come before what is established: a container that is on an outer network, too, may forward for
        them, and then the answers to what it let out would come back here.
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
        """Nothing that goes to them leaves these rules without a verdict."""
        if self.network.icc:
            yield from (f"{match} -j ACCEPT" for match in self.among)
        mark = self.host.bridge_accept_fwmark
        if mark:
            of = "" if mark.mask == 0xFFFFFFFF else f"/{mark.mask:#x}"
            yield f"{self.going()} -m mark --mark {mark.mark & mark.mask:#x}{of} -j ACCEPT"
        yield f"{self.going()} {_IS_TRANSLATED} -j DOCKER"
        if not self.network.icc:
            # Only the default network has links. From an adopted bridge others are reached, and the end drops the rest.
            verdicts = [
                *(["DOCKER-LINKS"] if self.network.is_default else []),
                *([] if self.network.external else ["DROP"]),
            ]
            yield from (f"{match} -j {verdict}" for verdict in verdicts for match in self.among)
        yield from self._direct_access()
        yield f"{self.going()} -j DROP"

    def _direct_access(self) -> Iterator[str]:
        """What others reach at the containers' own addresses."""
        if self.mode == NAT_UNPROTECTED:
            # There stands which ports are not for all.
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

    def clamping(self) -> Iterator[Element]:
        """TCP segments are made to fit the way, to and fro, where an ICMP error would not come through to say so."""
        if self.network.mss_clamp:
            for match in (self.coming, self.going()):
                syn = "-p tcp -m tcp --tcp-flags SYN,RST SYN"
                yield MSS, f"{match} {syn} -j TCPMSS --clamp-mss-to-pmtu"

    def protection(self, addresses: Optional[Subnet]) -> Iterator[Element]:
        """Nobody reaches these addresses but by their bridge.

        Where a network is not masqueraded, answers from elsewhere come for its containers' own addresses, and no
        connection is known yet in the table raw: there `DOCKER-BRIDGE` alone keeps strangers out. An isolated network's
        bridge has no address, but any other of the host's would do, or that of all on the link.
        """
        bridge = self.network.bridge
        if self.mode == ISOLATED:
            yield RAW, f"{self.coming} {_TO_LOCAL} -j DROP"
            yield INPUT, f"{self.coming} -j DROP"
        is_protected = self.mode == NAT and self.network.masquerade(self.version) and not self.host.allow_direct_routing
        if not addresses or not is_protected:
            return
        for pings in [_ECHO_REQUEST[self.version], *_ERRORS[self.version]] if self.network.icmp else []:
            yield RAW, f"-d {addresses} {pings} -j RETURN"
        for interface in self.network.trusted_interfaces:
            yield RAW, f"-d {addresses} -i {interface} -j RETURN"
        yield RAW, f"-d {addresses} ! -i {bridge} {_NOT_TO_LOCAL} -j DROP"

    def outward(self, addresses: Optional[Subnet]) -> Iterator[Element]:
        """By which address these are known to others."""
        bridge, snat = self.network.bridge, self.network.snat(self.version)
        source = f"-j SNAT --to-source {snat}" if snat else "-j MASQUERADE"
        if addresses and snat and not self.address:
            yield POSTROUTING, f"-d {addresses} -o {bridge} -m addrtype --src-type LOCAL {source}"
        if self.version == 4:
            to = f"-d {self.address} " if self.address else ""
            yield POSTROUTING, f"-s 127.0.0.0/8 {to}-o {bridge} -j MASQUERADE"
        if addresses and self.network.masquerade(self.version):
            yield POSTROUTING, f"-s {addresses} ! -o {bridge} {source}"

    def hairpin(self, subnet: Subnet) -> Element:
        return POSTROUTING, f"-s {subnet} -o {self.network.bridge} {_IS_TRANSLATED} -j MASQUERADE"
