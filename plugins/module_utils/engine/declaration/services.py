# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of a network's dnsmasq: names, DHCP, router advertisement, network boot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from .section import Address

HOST_RECORD, CNAME, SRV, TXT = "HOST", "CNAME", "SRV", "TXT"

TFTP_PORT = 69


@dataclass(frozen=True)
class Record:
    """A declared DNS record.

    `type` is HOST (an address of either IP family), CNAME, SRV or TXT. `name` is as declared: relative, unless it ends
    in a dot. `data` has the fields in the order of a zone file.
    """

    path: str
    name: str
    type: str
    data: Tuple[str, ...]


@dataclass(frozen=True)
class DnsSettings:
    """The settings of a network's resolver. `answered`: whether there is one, None if that is not declared."""

    answered: Optional[bool] = None
    domain: str = ""
    upstreams: Tuple[Address, ...] = ()
    records: Tuple[Record, ...] = ()


@dataclass(frozen=True)
class AddressRange:
    """A range of addresses for leases, both ends included."""

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
    """DHCP on a network. `lease_time` is in dnsmasq's form, such as `12h` or `infinite`.

    `options` are further DHCP options, each with the name or number that dnsmasq knows it by, and its values.
    """

    path: str
    ranges: Tuple[AddressRange, ...] = ()
    lease_time: str = "1h"
    options: Tuple[Tuple[str, Tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Boot:
    """Network boot. `files` are the boot files for client architectures, by the names in `ARCHITECTURES`."""

    path: str
    tftp_root: str = ""
    file: str = ""
    files: Tuple[Tuple[str, str], ...] = ()
    server: Optional[Address] = None


# The numbers of client architectures (RFC 4578, and IANA's registry).
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

# How clients get their IPv6 address and other settings: both by router advertisements; the address by these and the
# rest by DHCPv6; both by DHCPv6.
SLAAC, STATELESS, STATEFUL = "slaac", "stateless", "stateful"
RA_MODES = (SLAAC, STATELESS, STATEFUL)


@dataclass(frozen=True)
class Services:
    """All services of a network. `ra` is one of RA_MODES, empty without router advertisements."""

    names: DnsSettings = DnsSettings()
    dhcp: Optional[Dhcp] = None
    ra: str = ""
    boot: Optional[Boot] = None

    @property
    def leases(self) -> bool:
        """Whether the network's dnsmasq serves DHCP, router advertisements or network boot."""
        return bool(self.dhcp or self.ra or self.boot)

    @property
    def ports(self) -> Tuple[Tuple[int, int], ...]:
        """The UDP ports that clients use for leases and for TFTP, each with its IP family."""
        dhcp4 = ((4, 67),) if self.dhcp else ()
        dhcp6 = (
            ((6, 547),) if self.ra or any(each.version == 6 for each in (self.dhcp.ranges if self.dhcp else ())) else ()
        )
        served = (4, 6) if dhcp6 else (4,)
        tftp = tuple((family, TFTP_PORT) for family in served) if self.boot and self.boot.tftp_root else ()
        return (*dhcp4, *dhcp6, *tftp)
