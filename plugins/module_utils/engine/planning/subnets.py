# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPAM's first half: the subnet and the gateway address of every network."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

from ..declaration.model import AddressPool, Model, Network, Pool
from ..declaration.words import Address, Subnet, is_within, unusable_addresses
from ..errors import ModelError, ProblemCollector
from .allotments import Allotments, PoolAllotment, PoolsByVersion
from .facts import Facts

# Docker's own default pools.
_DEFAULT_POOLS = (
    *(AddressPool(ipaddress.ip_network(f"172.{second}.0.0/16"), 16) for second in range(17, 32)),
    AddressPool(ipaddress.ip_network("192.168.0.0/16"), 20),
)


class _TakenSubnets:
    """The subnets in use, each with who has it.

    A route by a gateway is in the way of a network only where it would lead off a part of it: a narrower one wins. But
    no network is given a subnet, unasked, to which the host has a route.
    """

    def __init__(self, model: Model, facts: Facts) -> None:
        adopted = [pool.subnet for n in model.networks.values() if n.external for pool in n.pools if pool.subnet]

        def others(subnets: Iterable[Tuple[Subnet, str]]) -> List[Tuple[Subnet, str]]:
            return [each for each in subnets if not any(is_within(each[0], subnet) for subnet in adopted)]

        self._owners = others(facts.taken_subnets)
        self._routed = others(facts.routed_subnets)

    def add(self, subnet: Subnet, owner: str) -> None:
        self._owners.append((subnet, owner))

    def owner(self, subnet: Subnet) -> Optional[str]:
        """Who has a part of this subnet already."""
        for taken, owner in self._owners:
            if taken.version == subnet.version and taken.overlaps(subnet):
                return f"{taken}, {owner}"
        return next((f"{routed}, {where}" for routed, where in self._routed if is_within(routed, subnet)), None)

    def is_free(self, subnet: Subnet) -> bool:
        return not self.owner(subnet) and not any(is_within(subnet, routed) for routed, _where in self._routed)


def allot_subnets(
    model: Model, facts: Facts, before: Allotments, problems: ProblemCollector
) -> Dict[str, PoolsByVersion]:
    """Declared subnets first, then those that networks have already, then new ones, the default network's first."""
    taken = _TakenSubnets(model, facts)
    ordered = sorted(model.networks.values(), key=lambda n: (not n.external, not n.is_default, n.name))
    wanted = [(network, pool) for network in ordered for pool in network.pools]
    subnets: Dict[Tuple[str, int], Subnet] = {}

    def settle(network: Network, subnet: Subnet) -> None:
        taken.add(subnet, f"the subnet of network {network.name}")
        subnets[network.name, subnet.version] = subnet

    for network, pool in wanted:
        if pool.subnet:
            owner = taken.owner(pool.subnet)
            if owner:
                problems.add(pool.path, f"subnet {pool.subnet} overlaps {owner}: choose another one")
            settle(network, pool.subnet)
    for network, pool in wanted:
        sticky = before.networks.get(network.name, {}).get(pool.version)
        if not pool.subnet and sticky and not taken.owner(sticky.subnet):
            settle(network, sticky.subnet)
    for network, pool in wanted:
        if (network.name, pool.version) not in subnets:
            with problems.collect():
                settle(network, _free_subnet(model, facts, pool, taken))
    return {
        network.name: {
            pool.version: _with_gateway(pool, subnets[network.name, pool.version], problems)
            for pool in network.pools
            if (network.name, pool.version) in subnets
        }
        for network in ordered
    }


def _free_subnet(model: Model, facts: Facts, pool: Pool, taken: _TakenSubnets) -> Subnet:
    pools = _pools(model, facts, pool.version)
    for candidates in pools:
        for subnet in candidates.base.subnets(new_prefix=candidates.size):
            if taken.is_free(subnet):
                return subnet
    bases = ", ".join(str(candidates.base) for candidates in pools)
    raise ModelError.at(
        pool.path,
        f"no IPv{pool.version} subnet is free in {bases}: give this network a subnet, "
        "or more room in wharf_host.default-address-pools",
    )


def _pools(model: Model, facts: Facts, version: int) -> Tuple[AddressPool, ...]:
    declared = tuple(pool for pool in model.host.default_address_pools if pool.base.version == version)
    if declared:
        return declared
    return _DEFAULT_POOLS if version == 4 else (_unique_local_pool(facts.machine_id),)


def _unique_local_pool(machine_id: str) -> AddressPool:
    """A /48 of the host's own (RFC 4193), from a hash of its id as Docker does it, in /64s."""
    global_id = hashlib.sha256(f"wharf {machine_id}".encode()).digest()[:5]
    prefix = int.from_bytes(b"\xfd" + global_id, "big") << 80
    return AddressPool(ipaddress.IPv6Network((prefix, 48)), 64)


def _with_gateway(pool: Pool, subnet: Subnet, problems: ProblemCollector) -> PoolAllotment:
    if pool.gateway:
        return PoolAllotment(subnet, pool.gateway)
    for candidate in addresses_of(pool.ip_range or subnet, subnet):
        if candidate not in pool.reserved:
            return PoolAllotment(subnet, candidate)
    problems.add(pool.path, f"no address is left in {pool.ip_range or subnet} for the gateway: give it a larger one")
    return PoolAllotment(subnet, subnet[0])


def addresses_of(ip_range: Subnet, subnet: Subnet) -> Iterator[Address]:
    """The addresses of a range, lowest first, that a host can have."""
    unusable = unusable_addresses(subnet)
    return (address for address in ip_range if address not in unusable)
