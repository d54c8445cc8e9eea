# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drivers of networks: what a network of one driver has, and others have not, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Tuple

from .section import Address, Subnet

# Of VXLAN over IPv4 and over IPv6: that protocol's header, those of UDP and VXLAN, and the Ethernet header within.
OVERHEAD = {4: 20 + 8 + 8 + 14, 6: 40 + 8 + 8 + 14}


@dataclass(frozen=True)
class Driver:
    """What connects the containers of a network; a subclass has the settings of one driver, by its `name`."""

    name: ClassVar[str]


@dataclass(frozen=True)
class BridgeDriver(Driver):
    """A bridge on the host, by which containers reach each other and the host. It has no settings of its own."""

    name: ClassVar[str] = "bridge"


@dataclass(frozen=True)
class Member:
    """A host of an overlay network. The others reach it at `address`; it has one slice of each of the subnets.

    `names` are those of its containers on the network, which the others ask its resolver for.
    """

    name: str
    address: Address
    slices: Tuple[Subnet, ...]
    names: Tuple[str, ...] = ()

    def slices_of(self, version: int) -> Tuple[Subnet, ...]:
        return tuple(each for each in self.slices if each.version == version)


@dataclass(frozen=True)
class OverlayDriver(Driver):
    """One network over several hosts: each has a bridge with a slice of `subnets`, and routes to its `peers`' slices.

    Packets to them are sent in VXLAN, with the identifier `vni`, to the UDP port `port`; with `direct`, as they are.
    """

    name: ClassVar[str] = "overlay"

    subnets: Tuple[Subnet, ...]
    own: Member
    peers: Tuple[Member, ...]
    vni: int
    port: int
    direct: bool = False

    def subnets_of(self, version: int) -> Tuple[Subnet, ...]:
        return tuple(each for each in self.subnets if each.version == version)

    @property
    def overhead(self) -> int:
        """How many bytes of each packet on the way to another host are not the containers' own."""
        return 0 if self.direct else OVERHEAD[self.own.address.version]
