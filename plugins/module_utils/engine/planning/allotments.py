# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is allotted on a host. The ledger keeps it, so that networks and endpoints keep their addresses."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from typing import Any, Collection, Dict, Mapping, Optional, Sequence, Tuple

from ..declaration.section import Address, Subnet
from ..state import EndpointKey, endpoint_key, endpoint_name


@dataclass(frozen=True)
class PoolAllotment:
    """A subnet of a network, and the bridge's own address there."""

    subnet: Subnet
    gateway: Address

    @property
    def version(self) -> int:
        return self.subnet.version

    @property
    def interface(self) -> str:
        return f"{self.gateway}/{self.subnet.prefixlen}"


@dataclass(frozen=True)
class EndpointAllotment:
    """The name of an endpoint's interface, its MAC, and its address in each IP family of its network."""

    interface: str
    mac: str
    ipv4: Optional[Address] = None
    ipv6: Optional[Address] = None

    def address(self, version: int) -> Optional[Address]:
        return self.ipv4 if version == 4 else self.ipv6

    @property
    def addresses(self) -> Tuple[Address, ...]:
        return tuple(address for address in (self.ipv4, self.ipv6) if address)


@dataclass(frozen=True)
class Lease:
    """What a DHCP server of the LAN has given an endpoint: an address with its subnet, and a router and nameservers, if
    it names some.

    It is good for this MAC on the LAN of this `parent`. It `began` at that time, in seconds since the epoch, and holds
    for so many `seconds`, 0 for ever.
    """

    interface: ipaddress.IPv4Interface
    router: Optional[ipaddress.IPv4Address]
    mac: str
    parent: str
    began: int
    seconds: int
    nameservers: Tuple[ipaddress.IPv4Address, ...] = ()

    def is_due(self, now: float) -> bool:
        """Whether it is to be renewed: half of its time is over, or the clock was set back."""
        return bool(self.seconds) and not 0 <= now - self.began < self.seconds / 2

    def is_over(self, now: float) -> bool:
        return bool(self.seconds) and now - self.began >= self.seconds

    def as_data(self) -> Dict[str, Any]:
        router = {"router": str(self.router)} if self.router else {}
        nameservers = {"nameservers": [*map(str, self.nameservers)]} if self.nameservers else {}
        kept = {key: getattr(self, key) for key in ("mac", "parent", "began", "seconds")}
        return {"interface": str(self.interface), **router, **nameservers, **kept}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Lease:
        router = ipaddress.IPv4Address(data["router"]) if "router" in data else None
        nameservers = tuple(map(ipaddress.IPv4Address, data.get("nameservers", ())))
        interface = ipaddress.IPv4Interface(data["interface"])
        return cls(interface, router, data["mac"], data["parent"], data["began"], data["seconds"], nameservers)


# Of one network, in the order in which they are declared.
Pools = Tuple[PoolAllotment, ...]


@dataclass(frozen=True)
class Allotments:
    """All that is allotted on a host. `endpoints` are by container and network; `ports` by the request for each.

    `resolvers` are the ports of resolvers that are not a network's own, by their names. `mtu`, in bytes, is the MTU of
    networks that declare none: that of the default interface, or of the last one while there is none. `underlay_mtus`
    are those of the links that overlay networks are sent by, by the host's address there. `hosts` are the host's own
    addresses on networks without a bridge. `returns` are the numbers by which replies go back to other hosts, by
    network and host. `peer_keys` are the public keys of the hosts of encrypted networks, by their names; empty of one
    that makes its key in this run. `leases` are those of endpoints that have their addresses from the LAN.
    """

    networks: Mapping[str, Pools] = field(default_factory=dict)
    endpoints: Mapping[EndpointKey, EndpointAllotment] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    resolvers: Mapping[str, int] = field(default_factory=dict)
    mtu: int = 0
    underlay_mtus: Mapping[str, int] = field(default_factory=dict)
    hosts: Mapping[str, Tuple[Address, ...]] = field(default_factory=dict)
    returns: Mapping[str, int] = field(default_factory=dict)
    peer_keys: Mapping[str, str] = field(default_factory=dict)
    leases: Mapping[EndpointKey, Lease] = field(default_factory=dict)

    def pools(self, network: str, version: int) -> Pools:
        """The network's subnets in one family; none where that is not known yet."""
        return tuple(pool for pool in self.networks.get(network, ()) if pool.version == version)

    def pool_of(self, network: str, address: Address) -> PoolAllotment:
        """The subnet of the network that has this address of one of its containers."""
        return next(pool for pool in self.networks[network] if address in pool.subnet)

    def with_peer_keys(self, peer_keys: Mapping[str, str]) -> Allotments:
        """These allotments, with the keys that a play knows. Of other hosts the last one that was known stays."""
        return replace(self, peer_keys={**self.peer_keys, **peer_keys})

    def completed(self, before: Allotments, containers: Collection[str]) -> Allotments:
        """These allotments, with the earlier ones of containers that this plan left out."""
        kept = {key: each for key, each in before.endpoints.items() if key[0] in containers}
        return replace(self, endpoints={**kept, **self.endpoints})

    def as_data(self) -> Dict[str, Any]:
        """For JSON; `from_data` reads it back."""
        leases = {endpoint_name(key): each.as_data() for key, each in self.leases.items()}
        return {
            "networks": {
                name: {str(pool.subnet): str(pool.gateway) for pool in pools} for name, pools in self.networks.items()
            },
            "endpoints": {
                endpoint_name(key): {name: str(value) for name, value in vars(endpoint).items() if value is not None}
                for key, endpoint in self.endpoints.items()
            },
            "ports": dict(self.ports),
            "resolvers": dict(self.resolvers),
            "mtu": self.mtu,
            **({"underlay_mtus": dict(self.underlay_mtus)} if self.underlay_mtus else {}),
            **({"peer_keys": dict(self.peer_keys)} if self.peer_keys else {}),
            **({"hosts": {name: [*map(str, own)] for name, own in self.hosts.items()}} if self.hosts else {}),
            **({"returns": dict(self.returns)} if self.returns else {}),
            **({"leases": leases} if leases else {}),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Allotments:
        def pools(subnets: Mapping[str, str]) -> Pools:
            return tuple(
                PoolAllotment(ipaddress.ip_network(subnet), ipaddress.ip_address(gateway))
                for subnet, gateway in subnets.items()
            )

        def endpoint(given: Mapping[str, str]) -> EndpointAllotment:
            addresses = {key: ipaddress.ip_address(given[key]) for key in ("ipv4", "ipv6") if key in given}
            return EndpointAllotment(given["interface"], given["mac"], **addresses)

        def ports(kind: str) -> Mapping[str, int]:
            return {name: int(port) for name, port in data.get(kind, {}).items()}

        return cls(
            {name: pools(subnets) for name, subnets in data.get("networks", {}).items()},
            {endpoint_key(name): endpoint(given) for name, given in data.get("endpoints", {}).items()},
            ports("ports"),
            ports("resolvers"),
            data.get("mtu", 0),
            data.get("underlay_mtus", {}),
            {name: tuple(map(ipaddress.ip_address, own)) for name, own in data.get("hosts", {}).items()},
            data.get("returns", {}),
            data.get("peer_keys", {}),
            {endpoint_key(name): Lease.from_data(given) for name, given in data.get("leases", {}).items()},
        )


def subnets_of(network: str, pools: Sequence[PoolAllotment]) -> str:
    """How messages call the subnets of a network."""
    called = "the subnet" if len(pools) == 1 else "the subnets"
    return f"{' and '.join(str(pool.subnet) for pool in pools)}, {called} of network {network}"
