# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is allotted on a host: kept in the ledger, so that what has an address keeps it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from typing import Any, Collection, Dict, Mapping, Optional, Tuple

from ..declaration.section import Address, Subnet


@dataclass(frozen=True)
class PoolAllotment:
    """A network's subnet in one family, and the bridge's own address there."""

    subnet: Subnet
    gateway: Address

    @property
    def interface(self) -> str:
        return f"{self.gateway}/{self.subnet.prefixlen}"


@dataclass(frozen=True)
class EndpointAllotment:
    """What an endpoint has: the name of its interface, its MAC, and an address in each family of its network."""

    interface: str
    mac: str
    ipv4: Optional[Address] = None
    ipv6: Optional[Address] = None

    def address(self, version: int) -> Optional[Address]:
        return self.ipv4 if version == 4 else self.ipv6


EndpointKey = Tuple[str, str]
PoolsByVersion = Dict[int, PoolAllotment]


@dataclass(frozen=True)
class Allotments:
    """All that is allotted on a host. Endpoints by container and network; `ports` by what asks for one.

    `resolvers` are the ports of those that are not a network's own, by their names. `mtu`, in bytes, is that of
    networks which declare none: the uplink's, also while there is no uplink.
    """

    networks: Mapping[str, PoolsByVersion] = field(default_factory=dict)
    endpoints: Mapping[EndpointKey, EndpointAllotment] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    resolvers: Mapping[str, int] = field(default_factory=dict)
    mtu: int = 0

    def pool(self, network: str, version: int) -> Optional[PoolAllotment]:
        return self.networks.get(network, {}).get(version)

    def completed(self, before: Allotments, containers: Collection[str]) -> Allotments:
        """Also what these containers had before and this plan, which left them out, does not have."""
        kept = {key: each for key, each in before.endpoints.items() if key[0] in containers}
        return replace(self, endpoints={**kept, **self.endpoints})

    def as_words(self) -> Dict[str, Any]:
        """For JSON; `from_words` reads it back."""
        return {
            "networks": {
                name: {str(pool.subnet): str(pool.gateway) for pool in pools.values()}
                for name, pools in self.networks.items()
            },
            "endpoints": {
                f"{container}/{network}": {
                    key: str(value) for key, value in vars(endpoint).items() if value is not None
                }
                for (container, network), endpoint in self.endpoints.items()
            },
            "ports": dict(self.ports),
            "resolvers": dict(self.resolvers),
            "mtu": self.mtu,
        }

    @classmethod
    def from_words(cls, words: Mapping[str, Any]) -> Allotments:
        def pools(subnets: Mapping[str, str]) -> PoolsByVersion:
            read = [
                PoolAllotment(ipaddress.ip_network(subnet), ipaddress.ip_address(gateway))
                for subnet, gateway in subnets.items()
            ]
            return {pool.subnet.version: pool for pool in read}

        def endpoint(given: Mapping[str, str]) -> EndpointAllotment:
            addresses = {key: ipaddress.ip_address(given[key]) for key in ("ipv4", "ipv6") if key in given}
            return EndpointAllotment(given["interface"], given["mac"], **addresses)

        return cls(
            {name: pools(subnets) for name, subnets in words.get("networks", {}).items()},
            {endpoint_key(name): endpoint(given) for name, given in words.get("endpoints", {}).items()},
            words.get("ports", {}),
            words.get("resolvers", {}),
            words.get("mtu", 0),
        )


def endpoint_key(name: str) -> EndpointKey:
    container, _slash, network = name.partition("/")
    return container, network
