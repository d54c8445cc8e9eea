# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dnsmasq does on a network: names, addresses by DHCP, router advertisement, network boot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from .section import Address

HOST_RECORD, CNAME, SRV, TXT = "HOST", "CNAME", "SRV", "TXT"

TFTP_PORT = 69


@dataclass(frozen=True)
class Record:
    """A record that a network's resolver has beside the names of containers.

    `type` is HOST (an address, of either family), CNAME, SRV or TXT. `name` is as declared: relative, unless it ends
    in a dot. The fields of `data` are in the order of a zone file.
    """

    path: str
    name: str
    type: str
    data: Tuple[str, ...]


@dataclass(frozen=True)
class Names:
    """What a network's resolver knows and asks. `answered`: whether there is one, None where nobody says."""

    answered: Optional[bool] = None
    domain: str = ""
    upstreams: Tuple[Address, ...] = ()
    records: Tuple[Record, ...] = ()


@dataclass(frozen=True)
class AddressRange:
    """Addresses from which leases are taken, both ends included."""

    path: str
    first: Address
    last: Address

    @property
    def version(self) -> int:
        return self.first.version

    def __contains__(self, address: Address) -> bool:
        return address.version == self.version and self.first <= address <= self.last  # type: ignore[operator]

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True)
class Dhcp:
    """DHCP on a network. `lease_time` is dnsmasq's word for it, as `12h` or `infinite`.

    `options` are further ones, each the name or number that dnsmasq has for it and its values.
    """

    path: str
    ranges: Tuple[AddressRange, ...] = ()
    lease_time: str = "1h"
    options: Tuple[Tuple[str, Tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Boot:
    """Network boot. `files` are those for an architecture of clients, by its name in `ARCHITECTURES`."""

    path: str
    tftp_root: str = ""
    file: str = ""
    files: Tuple[Tuple[str, str], ...] = ()
    server: Optional[Address] = None


# The numbers that clients have for their architecture (RFC 4578 and the registry that it began).
ARCHITECTURES = {
    "bios": (0,),
    "efi32": (6,),
    "efi64": (7, 9),
    "arm32": (10,),
    "arm64": (11,),
    "http_efi64": (16,),
    "http_arm64": (19,),
    "riscv64": (27,),
}

# How hosts may come by their IPv6 address and what else they should know: by the advertised prefix alone, by it and
# the rest by DHCPv6, by DHCPv6 alone.
SLAAC, STATELESS, STATEFUL = "slaac", "stateless", "stateful"
RA_MODES = (SLAAC, STATELESS, STATEFUL)


@dataclass(frozen=True)
class Services:
    """All of a network. `ra` is one of RA_MODES, empty where nothing is advertised."""

    names: Names = Names()
    dhcp: Optional[Dhcp] = None
    ra: str = ""
    boot: Optional[Boot] = None

    @property
    def leases(self) -> bool:
        """Whether the network's dnsmasq hands out more than names."""
        return bool(self.dhcp or self.ra or self.boot)

    @property
    def ports(self) -> Tuple[Tuple[int, int], ...]:
        """Where clients ask for leases and for what they boot by TFTP: families and ports of UDP."""
        dhcp4 = ((4, 67),) if self.dhcp else ()
        dhcp6 = (
            ((6, 547),) if self.ra or any(each.version == 6 for each in (self.dhcp.ranges if self.dhcp else ())) else ()
        )
        served = (4, 6) if dhcp6 else (4,)
        tftp = tuple((family, TFTP_PORT) for family in served) if self.boot and self.boot.tftp_root else ()
        return (*dhcp4, *dhcp6, *tftp)
