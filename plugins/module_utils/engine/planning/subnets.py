# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPAM's first half: the subnet and the gateway address of every network."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import replace
from itertools import islice
from typing import Dict, Iterable, Iterator, Mapping, Optional, Set, Tuple

from ..declaration.model import AddressPool, Model, Network, Pool
from ..declaration.section import Address, Subnet, unusable_addresses
from ..errors import ModelError, ProblemCollector
from .address_sets import lowest_free, require_netaddr
from .allotments import Allotments, PoolAllotment, PoolsByVersion
from .facts import Facts
from .taken_subnets import Holder, TakenSubnets

# Reserved addresses, which a declaration is refused to name.
_RESERVED = ipaddress.IPv4Network("240.0.0.0/4"), ipaddress.IPv6Network("8000::/3")

# How many containers are named of those that are on a network.
_NAMED = 3

# Docker's own default pools.
_DEFAULT_POOLS = (
    *(AddressPool(ipaddress.ip_network(f"172.{second}.0.0/16"), 16) for second in range(17, 32)),
    AddressPool(ipaddress.ip_network("192.168.0.0/16"), 20),
)


def allot_subnets(
    model: Model, facts: Facts, before: Allotments, problems: ProblemCollector, notes: ProblemCollector
) -> Dict[str, PoolsByVersion]:
    """The subnet of every network in each family, and the bridge's address there.

    A network on which there are containers keeps its subnet, as long as no other one is declared for it. Then come
    declared subnets, then those of networks without containers, then new ones, the default network's first.

    `notes` takes the subnets that change, and those that are kept although the host uses a part of them otherwise.
    """
    ordered = sorted(model.networks.values(), key=lambda n: (not n.external, not n.is_default, n.name))
    subnets = _Subnets(model, facts, before, problems, notes)
    wanted = [(network, pool) for network in ordered for pool in network.pools]
    is_open = [(network, pool) for network, pool in wanted if not pool.subnet]
    for network, pool in is_open:
        subnets.keep_used(network, pool)
    # What has its subnet already is not to blame for an overlap.
    for network, pool in sorted(wanted, key=lambda each: each[1].subnet != subnets.former(*each)):
        subnets.declare(network, pool)
    for network, pool in is_open:
        subnets.keep_unused(network, pool)
    for network, pool in is_open:
        subnets.choose(network, pool)
    return {
        network.name: {
            pool.version: _with_gateway(network, pool, subnets.found[network.name, pool.version], before, problems)
            for pool in network.pools
            if (network.name, pool.version) in subnets.found
        }
        for network in ordered
    }


def without_new_allotments(model: Model) -> Model:
    """The model without containers, its networks with subnets that no declaration can have, where they declare none.

    For what else is wrong, or in the way, on a host where nothing can be allotted.
    """
    ipv4, ipv6 = _RESERVED
    stand_ins: Dict[int, Iterator[Subnet]] = {4: ipv4.subnets(new_prefix=24), 6: ipv6.subnets(new_prefix=64)}
    networks = {
        name: replace(
            network,
            pools=tuple(
                pool if pool.subnet else replace(pool, subnet=next(stand_ins[pool.version])) for pool in network.pools
            ),
        )
        for name, network in model.networks.items()
    }
    return replace(model, networks=networks, containers={}, docker_user=())


class _Subnets:
    """The subnets of networks, one by one. `found` has them by network and family."""

    def __init__(
        self, model: Model, facts: Facts, before: Allotments, problems: ProblemCollector, notes: ProblemCollector
    ) -> None:
        self._model, self._before = model, before
        self._problems, self._notes = problems, notes
        self._taken = TakenSubnets(model, facts)
        self._users = _users(model, before)
        self._free = {version: _free_subnets(_pools(model, facts, version), self._taken) for version in (4, 6)}
        self._bases = {version: _pools(model, facts, version) for version in (4, 6)}
        self.found: Dict[Tuple[str, int], Subnet] = {}

    def former(self, network: Network, pool: Pool) -> Optional[Subnet]:
        had = self._before.pool(network.name, pool.version)
        return had.subnet if had else None

    def keep_used(self, network: Network, pool: Pool) -> None:
        former, users = self.former(network, pool), self._users.get(network.name)
        if not former or not users:
            return
        path, while_used = _subnet_path(network, pool), f"while containers are on it ({_some(users)})"
        holder = self._taken.holder(former)
        if holder:
            self._notes.add(
                path,
                f"network {network.name} keeps {former} {while_used}, although it overlaps {holder}: "
                "declare another subnet here when they may be renumbered",
            )
        remedy = f"choose another one, or declare another one for network {network.name} too, by {path}"
        self._settle(network, Holder(former, f"which network {network.name} keeps {while_used}", remedy))

    def declare(self, network: Network, pool: Pool) -> None:
        if not pool.subnet:
            return
        holder = self._taken.holder(pool.subnet)
        if holder:
            self._problems.add(pool.path, f"subnet {pool.subnet} overlaps {holder}: {holder.remedy}")
        self._settle(network, self._declared(network, pool.subnet))

    def keep_unused(self, network: Network, pool: Pool) -> None:
        former = self.former(network, pool)
        if former and (network.name, pool.version) not in self.found and not self._taken.holder(former):
            self._settle(network, Holder(former, f"the subnet of network {network.name}"))

    def choose(self, network: Network, pool: Pool) -> None:
        """The lowest that is free, if the network has none yet."""
        if (network.name, pool.version) in self.found:
            return
        with self._problems.collect():
            require_netaddr()
            subnet = next(self._free[pool.version], None)
            if subnet is None:
                bases = ", ".join(str(each.base) for each in self._bases[pool.version])
                raise ModelError.at(
                    pool.path,
                    f"no IPv{pool.version} subnet is free in {bases}: give this network a subnet, "
                    f"or more room in {self._model.host.path}.default-address-pools",
                )
            former = self.former(network, pool)
            if former:
                self._notes.add(
                    _subnet_path(network, pool),
                    f"network {network.name}, which no container is on, moves from {former} to {subnet}: the former "
                    f"overlaps {self._taken.holder(former)}",
                )
            self._settle(network, Holder(subnet, f"the subnet of network {network.name}"))

    def _declared(self, network: Network, subnet: Subnet) -> Holder:
        what = f"the subnet of network {network.name}"
        if network.name not in self._model.earlier:
            return Holder(subnet, what)
        remedy = (
            f"declare another {self._model.host.path}.bip"
            if network.is_default
            else f"let network {network.name} go before (state: absent)"
        )
        return Holder(subnet, f"{what} (declared earlier; it is in the ledger)", f"choose another one, or {remedy}")

    def _settle(self, network: Network, holder: Holder) -> None:
        self._taken.add(holder)
        self.found[network.name, holder.subnet.version] = holder.subnet


def _users(model: Model, before: Allotments) -> Mapping[str, Set[str]]:
    """By network, the containers that are declared on it, and those that were and are about to go."""
    users: Dict[str, Set[str]] = {}
    for container in model.containers.values():
        for attachment in container.attachments:
            users.setdefault(attachment.network, set()).add(container.name)
    for name, network in before.endpoints:
        # The ledger also has where a container was before it moved.
        if name not in model.containers:
            users.setdefault(network, set()).add(name)
    return users


def _some(names: Set[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(sorted(names)[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _subnet_path(network: Network, pool: Pool) -> str:
    """Where a subnet is declared for the network."""
    return pool.path if network.is_default else f"{network.path}.ipam.config"


def _free_subnets(pools: Tuple[AddressPool, ...], taken: TakenSubnets) -> Iterator[Subnet]:
    """Those of the pools, in their order, that overlap nothing which is taken when a pool's first one is asked for."""
    for pool in pools:
        kind = type(pool.base)
        for first in lowest_free(pool.base, pool.size, taken.within(pool.base)):
            yield kind((first, pool.size))


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


def _with_gateway(
    network: Network, pool: Pool, subnet: Subnet, before: Allotments, problems: ProblemCollector
) -> PoolAllotment:
    """The declared gateway, the former one, or the lowest address that is not reserved and no container has."""
    if pool.gateway:
        return PoolAllotment(subnet, pool.gateway)
    barred = {*pool.reserved, *unusable_addresses(subnet)}
    among: Subnet = pool.ip_range or subnet
    former = before.pool(network.name, pool.version)
    if former and former.subnet == subnet and former.gateway in among and former.gateway not in barred:
        return former
    endpoints = (endpoint for (_container, on), endpoint in before.endpoints.items() if on == network.name)
    held = {endpoint.address(pool.version) for endpoint in endpoints}
    candidates: Iterable[Address] = among
    for taken in (barred | held, barred):
        # There is a free one among so many.
        for candidate in islice(candidates, len(taken) + 1):
            if candidate not in taken:
                return PoolAllotment(subnet, candidate)
    problems.add(pool.path, f"no address is left in {among} for the gateway: give it a larger one")
    return PoolAllotment(subnet, subnet[0])
