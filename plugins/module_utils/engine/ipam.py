
"""Addresses: which subnet each network has, and which address, MAC and interface name each endpoint.

Pure, deterministic and sticky: the same declaration and the same earlier allotments give the same result, and
what has an address keeps it for as long as the declaration allows.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Tuple

from .errors import ModelError, ProblemCollector
from .facts import Facts
from .model import AddressPool, Attachment, Container, Model, Network, Pool
from .words import Address, Subnet

# Docker's own default pools.
_DEFAULT_POOLS = (
    *(AddressPool(ipaddress.ip_network(f"172.{second}.0.0/16"), 16) for second in range(17, 32)),
    AddressPool(ipaddress.ip_network("192.168.0.0/16"), 20),
)


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
    """All that is allotted on a host. Endpoints by container and network; `ports` by what asks for one."""

    networks: Mapping[str, PoolsByVersion] = field(default_factory=dict)
    endpoints: Mapping[EndpointKey, EndpointAllotment] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)

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
            {_endpoint_key(name): endpoint(given) for name, given in words.get("endpoints", {}).items()},
            words.get("ports", {}),
        )


def _endpoint_key(name: str) -> EndpointKey:
    container, _slash, network = name.partition("/")
    return container, network


def allot(model: Model, facts: Facts, before: Allotments) -> Allotments:
    """Give every network its subnets and every endpoint its addresses.

    Raises:
        ModelError: subnets overlap, an address is taken or lies outside, a pool is exhausted.
    """
    problems = ProblemCollector()
    networks = _allot_networks(model, facts, before, problems)
    problems.raise_if_any()
    endpoints = _allot_endpoints(model, networks, before, problems)
    problems.raise_if_any()
    return Allotments(networks, endpoints, before.ports)


# --- networks -------------------------------------------------------------------------------------------------


class _TakenSubnets:
    """The subnets in use, each with who has it."""

    def __init__(self, facts: Facts) -> None:
        self._owners: List[Tuple[Subnet, str]] = [
            (subnet, f"the host's own network on {interface}") for subnet, interface in facts.on_link
        ]

    def add(self, subnet: Subnet, owner: str) -> None:
        self._owners.append((subnet, owner))

    def owner(self, subnet: Subnet) -> Optional[str]:
        """Who has a part of this subnet already."""
        for taken, owner in self._owners:
            if taken.version == subnet.version and taken.overlaps(subnet):
                return f"{taken}, {owner}"
        return None


def _allot_networks(
    model: Model, facts: Facts, before: Allotments, problems: ProblemCollector
) -> Dict[str, PoolsByVersion]:
    """Declared subnets first, then those that networks have already, then new ones, the default network's first."""
    taken = _TakenSubnets(facts)
    ordered = sorted(model.networks.values(), key=lambda network: (not network.is_default, network.name))
    wanted = [(network, pool) for network in ordered for pool in network.pools]
    subnets: Dict[Tuple[str, int], Subnet] = {}

    def settle(network: Network, subnet: Subnet) -> None:
        taken.add(subnet, f"the subnet of network {network.name}")
        subnets[network.name, subnet.version] = subnet

    for network, pool in wanted:
        if pool.subnet:
            owner = taken.owner(pool.subnet)
            if owner:
                problems.add(pool.path, f"subnet {pool.subnet} overlaps {owner}")
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
            if not taken.owner(subnet):
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
    for candidate in _addresses_of(pool.ip_range or subnet, subnet):
        if candidate not in pool.reserved:
            return PoolAllotment(subnet, candidate)
    problems.add(pool.path, f"no address is left in {pool.ip_range or subnet} for the gateway")
    return PoolAllotment(subnet, subnet[0])


def _addresses_of(ip_range: Subnet, subnet: Subnet) -> Iterator[Address]:
    """The addresses of a range, lowest first, without the subnet's own and its broadcast address.

    A /31 and a /127 have neither (RFC 3021, RFC 6164).
    """
    reserved = () if subnet.prefixlen >= subnet.max_prefixlen - 1 else (subnet[0], subnet[-1])
    return (address for address in ip_range if address not in reserved)


# --- endpoints ------------------------------------------------------------------------------------------------


def _allot_endpoints(
    model: Model, networks: Mapping[str, PoolsByVersion], before: Allotments, problems: ProblemCollector
) -> Dict[EndpointKey, EndpointAllotment]:
    wanted = [
        (container, attachment) for container in model.containers.values() for attachment in container.attachments
    ]
    addresses: Dict[Tuple[str, str, int], Address] = {}
    for network in model.networks.values():
        on_network = [(c, a) for c, a in wanted if a.network == network.name]
        for pool in network.pools:
            found = _allot_addresses(pool, networks[network.name][pool.version], on_network, before, problems)
            addresses.update({(name, network.name, pool.version): address for name, address in found.items()})
        _refuse_other_families(network, on_network, problems)
    interfaces = {
        (container.name, network): interface
        for container in model.containers.values()
        for network, interface in _interface_names(container, model, before, problems).items()
    }
    macs = _macs(wanted, before)
    return {
        (c.name, a.network): EndpointAllotment(
            interfaces[c.name, a.network],
            macs[c.name, a.network],
            addresses.get((c.name, a.network, 4)),
            addresses.get((c.name, a.network, 6)),
        )
        for c, a in wanted
    }


def _refuse_other_families(
    network: Network, on_network: List[Tuple[Container, Attachment]], problems: ProblemCollector
) -> None:
    for version, has in ((4, network.ipv4), (6, network.ipv6)):
        for _container, attachment in on_network:
            if attachment.static(version) and not has:
                problems.add(
                    f"{attachment.path}.ipv{version}_address",
                    f"network {network.name} has no IPv{version}: set enable_ipv{version}: true on it",
                )


def _allot_addresses(
    pool: Pool,
    allotted: PoolAllotment,
    on_network: List[Tuple[Container, Attachment]],
    before: Allotments,
    problems: ProblemCollector,
) -> Dict[str, Address]:
    """The address of each container on one network in one family: static ones, kept ones, then the lowest free."""
    version, subnet = pool.version, allotted.subnet
    holders: Dict[Address, str] = {allotted.gateway: "the network's gateway"}
    holders.update({address: "reserved in aux_addresses" for address in pool.reserved})
    if subnet.prefixlen < subnet.max_prefixlen - 1:
        holders.setdefault(subnet[0], "the subnet's own address")
        holders.setdefault(subnet[-1], "the subnet's last address, which is reserved")
    result: Dict[str, Address] = {}

    def settle(container: Container, address: Address) -> None:
        holders[address] = f"that of container {container.name}"
        result[container.name] = address

    for container, attachment in on_network:
        static = attachment.static(version)
        if not static:
            continue
        path = f"{attachment.path}.ipv{version}_address"
        if static not in subnet:
            problems.add(path, f'"{static}": lies outside {subnet}, the subnet of network {attachment.network}')
        elif static in holders:
            problems.add(path, f'"{static}": is taken, it is {holders[static]}')
        settle(container, static)
    for container, attachment in on_network:
        kept = before.endpoints.get((container.name, attachment.network))
        address = kept.address(version) if kept else None
        if container.name not in result and address and address in subnet and address not in holders:
            settle(container, address)
    free = (address for address in _addresses_of(pool.ip_range or subnet, subnet) if address not in holders)
    for container, attachment in on_network:
        if container.name not in result:
            address = next(free, None)
            if address is None:
                problems.add(attachment.path, f"no address is left in {pool.ip_range or subnet}")
                break
            settle(container, address)
    return result


def _interface_names(
    container: Container, model: Model, before: Allotments, problems: ProblemCollector
) -> Dict[str, str]:
    """The interface of each network of a container: declared names, kept ones, then the lowest free `ethN`.

    New ones are numbered by priority, as Compose connects them, and then by the network's name.
    """
    ordered = sorted(container.attachments, key=lambda a: (-a.priority, a.network))
    names: Dict[str, str] = {}
    for attachment in ordered:
        if attachment.interface in names.values() and attachment.interface:
            problems.add(f"{attachment.path}.interface_name", f'"{attachment.interface}": is used twice')
        if attachment.interface:
            names[attachment.network] = attachment.interface
    for attachment in ordered:
        kept = before.endpoints.get((container.name, attachment.network))
        prefix = _interface_prefix(model, attachment)
        if attachment.network not in names and kept and kept.interface.rstrip("0123456789") == prefix:
            if kept.interface not in names.values():
                names[attachment.network] = kept.interface
    for attachment in ordered:
        if attachment.network not in names:
            prefix = _interface_prefix(model, attachment)
            candidates = (f"{prefix}{number}" for number in range(len(ordered) + len(names) + 1))
            names[attachment.network] = next(name for name in candidates if name not in names.values())
    return names


def _interface_prefix(model: Model, attachment: Attachment) -> str:
    return model.networks[attachment.network].interface_prefix


def _macs(wanted: List[Tuple[Container, Attachment]], before: Allotments) -> Dict[EndpointKey, str]:
    """Declared MACs, else one from a hash of the endpoint's name: stable, locally administered."""
    macs = {(c.name, a.network): a.mac for c, a in wanted if a.mac}
    used: Set[str] = set(macs.values())
    for container, attachment in wanted:
        key = (container.name, attachment.network)
        if key not in macs:
            macs[key] = next(mac for mac in stable_macs("/".join(key)) if mac not in used)
            used.add(macs[key])
    return macs


def stable_macs(name: str) -> Iterator[str]:
    """Locally administered unicast MACs for a name, the first one preferred; `02:42` as Docker's once were."""
    number = 0
    while True:
        digest = hashlib.sha256(f"{name} {number}".encode() if number else name.encode()).hexdigest()
        yield "02:42:" + ":".join(digest[i : i + 2] for i in range(0, 8, 2))
        number += 1
