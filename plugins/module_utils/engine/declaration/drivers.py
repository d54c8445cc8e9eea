# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drivers of networks: what a network of one driver has, and others have not, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Tuple, Union

from .section import Address, Subnet

# Of VXLAN over IPv4 and over IPv6: that protocol's header, those of UDP and VXLAN, and the Ethernet header within.
OVERHEAD = {4: 20 + 8 + 8 + 14, 6: 40 + 8 + 8 + 14}

# Of WireGuard over IPv6: that protocol's header, that of UDP, and WireGuard's with its tag. Over IPv4 it is 20 less,
# which nobody counts, so that networks keep their MTU where the hosts come to reach each other by IPv6.
WIREGUARD_OVERHEAD = 40 + 8 + 16 + 16

MACVLAN, IPVLAN = "macvlan", "ipvlan"

BRIDGE_MODE, PRIVATE, VEPA, PASSTHRU = "bridge", "private", "vepa", "passthru"
L2, L3, L3S = "l2", "l3", "l3s"
MACVLAN_MODES = (BRIDGE_MODE, PRIVATE, VEPA, PASSTHRU)
IPVLAN_MODES = (L2, L3, L3S)
IPVLAN_FLAGS = (BRIDGE_MODE, PRIVATE, VEPA)

# In bytes (RFC 8200).
LEAST_IPV6_MTU = 1280


@dataclass(frozen=True)
class BridgeDriver:
    """A bridge on the host, by which containers reach each other and the host.

    With an `uplink`, that link of the host is one more port of the bridge. The containers are hosts of the LAN behind
    it then, and the host is none: the bridge has no address.
    """

    name: ClassVar[str] = "bridge"

    uplink: str = ""


@dataclass(frozen=True)
class IngressPort:
    """A port of a host's container that all hosts of the network publish."""

    protocol: str
    port: int
    container: str

    def __str__(self) -> str:
        return f"{self.port}/{self.protocol}"


# The UDP ports of a network over several hosts that declares none.
DATA_PATH_PORT = 4789
WIREGUARD_PORT = 51820


@dataclass(frozen=True)
class Member:
    """A host of an overlay network. The others reach it at `address`; it has one slice of each of the subnets.

    `names` are those of its containers on the network, which the others ask its resolver for. `ingress` are the ports
    of these containers that the others publish, too. `public_key` is that of its WireGuard, if that is declared.
    """

    name: str
    address: Address
    slices: Tuple[Subnet, ...]
    names: Tuple[str, ...] = ()
    ingress: Tuple[IngressPort, ...] = ()
    public_key: str = ""

    def slices_of(self, version: int) -> Tuple[Subnet, ...]:
        return tuple(each for each in self.slices if each.version == version)


@dataclass(frozen=True)
class OverlayDriver:
    """One network over several hosts: each has a bridge with a slice of `subnets`, and routes to its `peers`' slices.

    Packets to them are sent in VXLAN, with the identifier `vni`, to the UDP port `port`; with `direct`, as they are;
    with `encrypted`, by WireGuard, whose UDP port `port` is then.
    """

    name: ClassVar[str] = "overlay"

    subnets: Tuple[Subnet, ...]
    own: Member
    peers: Tuple[Member, ...]
    vni: int
    port: int
    direct: bool = False
    encrypted: bool = False

    def subnets_of(self, version: int) -> Tuple[Subnet, ...]:
        return tuple(each for each in self.subnets if each.version == version)

    @property
    def has_tunnel(self) -> bool:
        """Whether packets go by a tunnel of the network's own, in clear text."""
        return not (self.direct or self.encrypted)

    @property
    def overhead(self) -> int:
        """How many bytes of each packet on the way to another host are not the containers' own."""
        if self.encrypted:
            return WIREGUARD_OVERHEAD
        return 0 if self.direct else OVERHEAD[self.own.address.version]


@dataclass(frozen=True)
class SublinkDriver:
    """Of each container a link of its own, of the kind `name` (macvlan or ipvlan), on the link `parent` of the host.

    The kernel passes what these links send to each other, as `mode` says, or to the wire behind the parent: never to
    the host itself, and never through its rules. `flag` is ipvlan's, and says of its links what `mode` says of those of
    macvlan. Where no parent is declared (`is_isolated`), the parent is a link of the network's own, which leads
    nowhere. With `host_access` the host has such a link, too.
    """

    name: str
    mode: str
    flag: str = ""
    parent: str = ""
    is_isolated: bool = False
    host_access: bool = False

    @property
    def is_exclusive(self) -> bool:
        """Whether the parent can have no second link."""
        return self.mode == PASSTHRU

    @property
    def shares_mac(self) -> bool:
        """Whether the links have the MAC of their parent; else each has one of its own."""
        return self.name == IPVLAN or self.is_exclusive

    @property
    def has_next_hop(self) -> bool:
        """Whether the containers send by a router: the parent routes for links of the modes l3 and l3s."""
        return self.mode not in (L3, L3S)

    @property
    def among(self) -> str:
        """What becomes of a packet from one link of the parent to another: bridge, private or vepa."""
        return self.flag or self.mode


# What connects the containers of a network.
Driver = Union[BridgeDriver, OverlayDriver, SublinkDriver]
