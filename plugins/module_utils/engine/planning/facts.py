# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the planner needs to know of the host beside what is declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from ..declaration.section import Interface, Subnet


@dataclass(frozen=True)
class StandingBridge:
    """A bridge that is not ours, with the addresses that it was given; `mtu` is in bytes.

    `filtered`: what its ports send to each other passes the host's rules (br_netfilter).
    """

    name: str
    mtu: int = 1500
    mac: str = ""
    up: bool = True
    addresses: Tuple[Interface, ...] = ()
    filtered: bool = False


@dataclass(frozen=True)
class Facts:
    """A host as it is; the defaults are those of a host about which nothing is known.

    `uplink` is the interface of the default route, `uplink_mtu` its MTU in bytes, 0 where there is none. `addresses`
    are the host's own, None where nothing is known of it. `taken_subnets` are those that the host reaches without a
    gateway, our own bridges' left out, and its nameservers, each with who has it; `routed_subnets` those that it has a
    route to by a gateway. `other_bridges` are the bridges that are not ours, and `other_links` the names of all other
    links that are not; both are None where nothing is known of the host.
    `resolv_conf` is the host's, or that of systemd-resolved behind it; `nameservers` are so many in the host's own.
    `firewalld`: whether it is running, or keeps settings of ours although it is stopped.
    `dnsmasq_user` and `dnsmasq_group` are whom dnsmasq is to run as, `systemd` tells whether that starts services here.
    `listeners` are the local sockets that wait for others, by protocol, address and port. `forwards_…` tell what
    the host did before us. `ipv6`: its kernel has IPv6. `max_backlog` is net.core.netdev_max_backlog, in packets, 0
    where it is not known.
    """

    uplink: str = ""
    uplink_mtu: int = 0
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
    other_bridges: Optional[Tuple[StandingBridge, ...]] = None
    other_links: Optional[Tuple[str, ...]] = None
    firewalld: bool = False
    dnsmasq_user: str = "dnsmasq"
    dnsmasq_group: str = "nogroup"
    systemd: bool = False
    max_backlog: int = 0
