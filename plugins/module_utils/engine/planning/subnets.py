# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPAM's first half: the subnets of every network, and its gateway address in each."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import replace
from itertools import islice
from typing import Collection, Dict, Iterable, Iterator, Mapping, Optional, Set, Tuple

from ..declaration.drivers import OverlayDriver
from ..declaration.model import AddressPool, Model, Network, Pool
from ..declaration.section import Address, Subnet, is_within, unusable_addresses
from ..errors import ModelError, ProblemCollector
from .address_sets import lowest_free, require_netaddr
from .allotments import Allotments, PoolAllotment, Pools
from .facts import Facts
from .taken_subnets import TakenSubnet, TakenSubnets

# Reserved ranges, in which no declaration can have a subnet.
_RESERVED = ipaddress.IPv4Network("240.0.0.0/4"), ipaddress.IPv6Network("8000::/3")

# A message names at most so many of the containers on a network.
_MOST_NAMED = 3

# Docker's own default pools.
_DEFAULT_POOLS = (
    *(AddressPool(ipaddress.ip_network(f"172.{second}.0.0/16"), 16) for second in range(17, 32)),
    AddressPool(ipaddress.ip_network("192.168.0.0/16"), 20),
)

# The name of a network, and the path, the version and the declared subnet of one of its pools. All pools of leases have
# one path.
_PoolKey = Tuple[str, str, int, Optional[Subnet]]


def allot_subnets(
    model: Model, facts: Facts, before: Allotments, problems: ProblemCollector, notes: ProblemCollector
) -> Dict[str, Pools]:
    """The subnets of every network, at least one in each of its families, and the bridge's address in each.

    The order of precedence: networks with containers keep their subnet, unless another one is declared for them; then
    come declared subnets; then networks without containers keep theirs; then the rest get new ones, the default network
    first.

    `notes` reports the subnets that change, and those that a network keeps although the host uses a part of them
    otherwise.
    """
    ordered = sorted(model.networks.values(), key=lambda n: (not n.external, not n.is_default, n.name))
    subnets = _Subnets(model, facts, before, problems, notes)
    wanted = [(network, pool) for network in ordered for pool in network.pools]
    is_open = [(network, pool) for network, pool in wanted if not pool.subnet]
    for network, pool in is_open:
        subnets.keep_used(network, pool)
    # Of two networks whose subnets overlap, the problem is reported at the one whose subnet is new.
    for network, pool in sorted(wanted, key=lambda each: each[1].subnet != subnets.former(*each)):
        subnets.declare(network, pool)
    for network, pool in is_open:
        subnets.keep_unused(network, pool)
    for network, pool in is_open:
        subnets.choose(network, pool)
    return {
        network.name: tuple(
            _with_gateway(network, pool, subnets.found[_key(network, pool)], before, problems)
            for pool in network.pools
            if _key(network, pool) in subnets.found
        )
        for network in ordered
    }


def without_new_allotments(model: Model) -> Model:
    """The model without containers, in which every network has a subnet.

    Networks that declare none get one of the reserved ranges. It serves to find further problems on a host where
    nothing can be allotted.
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
    """Settles the subnets of networks, one by one. `found` has those that are settled, by network and pool."""

    def __init__(
        self, model: Model, facts: Facts, before: Allotments, problems: ProblemCollector, notes: ProblemCollector
    ) -> None:
        self._model, self._before = model, before
        self._problems, self._notes = problems, notes
        self._taken = TakenSubnets(model, facts)
        self._users = _users(model, before)
        self._free = {version: _free_subnets(_pools(model, facts, version), self._taken) for version in (4, 6)}
        self._bases = {version: _pools(model, facts, version) for version in (4, 6)}
        self.found: Dict[_PoolKey, Subnet] = {}

    def former(self, network: Network, pool: Pool) -> Optional[Subnet]:
        """The subnet that the network has already, if it is this one or none is declared."""
        had = (each.subnet for each in self._before.pools(network.name, pool.version))
        return next((subnet for subnet in had if pool.subnet in (None, subnet)), None)

    def keep_used(self, network: Network, pool: Pool) -> None:
        former, users = self.former(network, pool), self._users.get(network.name)
        if not former or not users:
            return
        path, while_used = _subnet_path(network, pool), f"while containers are on it ({some(users)})"
        taken = self._taken.overlapping(former)
        if taken:
            self._notes.add(
                path,
                f"network {network.name} keeps {former} {while_used}, although it overlaps {taken}: "
                "declare another subnet here when they may be renumbered",
            )
        remedy = f"choose another one, or declare another one for network {network.name} too, by {path}"
        self._settle(network, pool, TakenSubnet(former, f"which network {network.name} keeps {while_used}", remedy))

    def declare(self, network: Network, pool: Pool) -> None:
        if not pool.subnet:
            return
        whole = _whole(network, pool.subnet)
        taken = self._taken.overlapping(whole, is_hosts=not network.bypasses_host)
        if taken:
            self._problems.add(pool.path, f"subnet {whole} overlaps {taken}: {taken.remedy}")
        self._taken.add(self._declared(network, whole))
        self.found[_key(network, pool)] = pool.subnet

    def keep_unused(self, network: Network, pool: Pool) -> None:
        former = self.former(network, pool)
        if former and _key(network, pool) not in self.found and not self._taken.overlapping(former):
            self._settle(network, pool, TakenSubnet(former, f"the subnet of network {network.name}"))

    def choose(self, network: Network, pool: Pool) -> None:
        """Give the network the lowest free subnet, if it has none yet."""
        if _key(network, pool) in self.found:
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
                    f"overlaps {self._taken.overlapping(former)}",
                )
            self._settle(network, pool, TakenSubnet(subnet, f"the subnet of network {network.name}"))

    def _declared(self, network: Network, subnet: Subnet) -> TakenSubnet:
        what = f"the subnet of network {network.name}"
        if network.name not in self._model.earlier:
            return TakenSubnet(subnet, what)
        remedy = (
            f"declare another {self._model.host.path}.bip"
            if network.is_default
            else f"remove network {network.name} first (state: absent)"
        )
        return TakenSubnet(
            subnet, f"{what} (declared earlier; it is in the ledger)", f"choose another one, or {remedy}"
        )

    def _settle(self, network: Network, pool: Pool, taken: TakenSubnet) -> None:
        self._taken.add(taken)
        self.found[_key(network, pool)] = taken.subnet


def _key(network: Network, pool: Pool) -> _PoolKey:
    return network.name, pool.path, pool.version, pool.subnet


def _whole(network: Network, subnet: Subnet) -> Subnet:
    """The subnet of the network that no other network can have: also the slices of other hosts."""
    of_all_hosts = network.driver.subnets if isinstance(network.driver, OverlayDriver) else ()
    return next((each for each in of_all_hosts if is_within(subnet, each)), subnet)


def _users(model: Model, before: Allotments) -> Mapping[str, Set[str]]:
    """The containers on each network: those that are declared, and those that the ledger has and this run removes."""
    users: Dict[str, Set[str]] = {}
    for container, attachment in model.attachments:
        users.setdefault(attachment.network, set()).add(container.name)
    for name, network in before.endpoints:
        # A declared container may have moved to another network since: the ledger still has the old one.
        if name not in model.containers:
            users.setdefault(network, set()).add(name)
    return users


def some(names: Collection[str]) -> str:
    """The first few of the names, and how many there are besides."""
    more = len(names) - _MOST_NAMED
    return ", ".join(sorted(names)[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _subnet_path(network: Network, pool: Pool) -> str:
    """The path at which a subnet for the network can be declared."""
    return pool.path if network.is_default else f"{network.path}.ipam.config"


def _free_subnets(pools: Tuple[AddressPool, ...], taken: TakenSubnets) -> Iterator[Subnet]:
    """The free subnets of the pools, in order. What is taken is looked up once a pool, when its first subnet is asked
    for.
    """
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
    """A /48 that is unique to the host (RFC 4193), cut into /64s. Like Docker's, it is a hash of the machine id."""
    global_id = hashlib.sha256(f"wharf {machine_id}".encode()).digest()[:5]
    prefix = int.from_bytes(b"\xfd" + global_id, "big") << 80
    return AddressPool(ipaddress.IPv6Network((prefix, 48)), 64)


def _with_gateway(
    network: Network, pool: Pool, subnet: Subnet, before: Allotments, problems: ProblemCollector
) -> PoolAllotment:
    """The declared gateway, else the one that the network has, else the lowest address that is neither reserved nor a
    container's.
    """
    if pool.gateway:
        return PoolAllotment(subnet, pool.gateway)
    reserved = {*pool.reserved, *unusable_addresses(subnet)}
    ip_range: Subnet = pool.ip_range or subnet
    for former in before.pools(network.name, pool.version):
        if former.subnet == subnet and former.gateway in ip_range and former.gateway not in reserved:
            return former
    endpoints = (endpoint for (_container, on), endpoint in before.endpoints.items() if on == network.name)
    held = {endpoint.address(pool.version) for endpoint in endpoints}
    candidates: Iterable[Address] = ip_range
    for taken in (reserved | held, reserved):
        # Of one candidate more than there are taken addresses, one is free, if the range has so many.
        for candidate in islice(candidates, len(taken) + 1):
            if candidate not in taken:
                return PoolAllotment(subnet, candidate)
    problems.add(pool.path, f"no address is left in {ip_range} for the gateway: give it a larger one")
    return PoolAllotment(subnet, subnet[0])
