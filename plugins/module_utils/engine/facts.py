
"""What the planner needs to know of the host beside what is declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Tuple

from .words import Subnet


@dataclass(frozen=True)
class Facts:
    """A host as it is; the defaults are those of a host about which nothing is known.

    `uplink` is the interface of the default route, `uplink_mtu` its MTU in bytes. `on_link` are the subnets
    that the host reaches without a gateway, each with its interface, those of our own bridges left out.
    `listeners` are the local sockets that wait for connections, as `tcp 0.0.0.0 22`.
    """

    uplink: str = ""
    uplink_mtu: int = 1500
    on_link: Tuple[Tuple[Subnet, str], ...] = ()
    machine_id: str = ""
    hostname: str = "localhost"
    hosts: str = ""
    resolv_conf: str = ""
    local_ports: Tuple[int, int] = (32768, 60999)
    reserved_ports: Tuple[Tuple[int, int], ...] = ()
    listeners: Tuple[Tuple[str, str, int], ...] = ()
    forwards_ipv4: bool = False
    forwards_ipv6: bool = False
    accepts_ra: Tuple[str, ...] = ()
    bridge_netfilter: bool = False
    found: Mapping[str, str] = None  # type: ignore[assignment]
