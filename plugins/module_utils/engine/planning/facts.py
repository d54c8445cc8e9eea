# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the planner must know of the host, beside what is declared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional, Tuple

from ..declaration.section import Interface, Subnet
from ..state import SYSTEMD

_OF_DOCKER = re.compile(r"docker0|br-[0-9a-f]{12}")


@dataclass(frozen=True)
class ThirdPartyBridge:
    """A bridge that wharf.network does not manage, with its addresses; `mtu` is in bytes.

    `filtered`: frames between its ports pass the host's rules (br_netfilter). `has_vlans`: it keeps VLANs apart
    (vlan_filtering). The host itself is in `own_vlan` there, and a new port in `default_vlan`; 0 for none.
    """

    name: str
    mtu: int = 1500
    mac: str = ""
    up: bool = True
    addresses: Tuple[Interface, ...] = ()
    filtered: bool = False
    has_vlans: bool = False
    own_vlan: int = 0
    default_vlan: int = 0

    @property
    def is_of_docker(self) -> bool:
        """By its name, which a dockerd has given it."""
        return _OF_DOCKER.fullmatch(self.name) is not None


@dataclass(frozen=True)
class HostLink:
    """A link of the host, other than those of containers, with its addresses; `mtu` is in bytes.

    `master` is the link that it belongs to, of the kind `master_kind`, and `lower` the one that it is made on; both are
    empty where there is none. `managed`: wharf.network made it.
    """

    name: str
    index: int = 0
    kind: str = ""
    mtu: int = 1500
    mac: str = ""
    up: bool = True
    master: str = ""
    master_kind: str = ""
    lower: str = ""
    managed: bool = False
    addresses: Tuple[Interface, ...] = ()


@dataclass(frozen=True)
class Facts:
    """A host as it is; the defaults are those of a host about which nothing is known.

    `default_interface` is that of the default route, `default_interface_mtu` its MTU in bytes, 0 where there is none.
    `addresses` are the host's own, None where nothing is known of it. `taken_subnets` are the subnets that the
    host reaches without a gateway, except those of managed bridges, and the addresses of its nameservers, each with
    what uses it; `routed_subnets` those that it has a route to by a gateway. `third_party_bridges` are the bridges that
    wharf.network does not manage, `third_party_links` the names of all other such links, and `links` all links but
    those of containers; the three are None where nothing is known of the host.
    `resolv_conf` is the content of the host's file, or of systemd-resolved's where the host's leads there;
    `nameservers` is the number of nameservers in the host's own file.
    `firewalld`: whether firewalld runs, or is stopped and keeps settings that wharf.network made.
    `dnsmasq_user` and `dnsmasq_group` are the user and group that dnsmasq should run as. `dnsmasq_selinux_type` is the
    SELinux type of the files that it should read, empty on a host without SELinux. `init_system` is systemd or OpenRC:
    the one that runs this host (`starts_services`), else one that is installed; empty where there is neither.
    `listeners` are the listening sockets of the host, by protocol, address and port. `forwards_…`: whether the host
    forwarded packets before wharf.network changed that. `ipv6`: its kernel has IPv6. `max_backlog` is
    net.core.netdev_max_backlog, in packets, 0 where it is not known. `mtus` are those of the links that have the host's
    addresses, in bytes, by address.
    """

    default_interface: str = ""
    default_interface_mtu: int = 0
    addresses: Optional[Tuple[str, ...]] = None
    taken_subnets: Tuple[Tuple[Subnet, str], ...] = ()
    routed_subnets: Tuple[Tuple[Subnet, str], ...] = ()
    machine_id: str = ""
    hosts: str = ""
    resolv_conf: str = ""
    nameservers: int = 0
    local_ports: Tuple[int, int] = (32768, 60999)
    reserved_ports: Tuple[Tuple[int, int], ...] = ()
    listeners: Tuple[Tuple[str, str, int], ...] = ()
    forwards_ipv4: bool = False
    forwards_ipv6: bool = False
    accepts_ra: Tuple[str, ...] = ()
    bridge_netfilter: bool = False
    ipv6: bool = True
    third_party_bridges: Optional[Tuple[ThirdPartyBridge, ...]] = None
    third_party_links: Optional[Tuple[str, ...]] = None
    links: Optional[Tuple[HostLink, ...]] = None
    firewalld: bool = False
    dnsmasq_user: str = "dnsmasq"
    dnsmasq_group: str = "nogroup"
    dnsmasq_selinux_type: str = ""
    init_system: str = ""
    starts_services: bool = False
    max_backlog: int = 0
    mtus: Tuple[Tuple[str, int], ...] = ()

    @property
    def systemd(self) -> bool:
        """Whether systemd starts services on this host."""
        return self.starts_services and self.init_system == SYSTEMD

    @property
    def may_have_docker(self) -> bool:
        """Whether a dockerd may publish ports here: there is a bridge of one, or nothing is known of the host."""
        return self.third_party_bridges is None or any(bridge.is_of_docker for bridge in self.third_party_bridges)

    def link(self, name: str) -> Optional[HostLink]:
        return next((link for link in self.links or () if link.name == name), None)
