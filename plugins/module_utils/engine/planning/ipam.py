# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPAM: allots subnets to each network, and an address, a MAC and an interface name to each endpoint.

Pure, deterministic and sticky: the same declaration and the same earlier allotments give the same result, and an
endpoint keeps its address for as long as the declaration allows.
"""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import Dict, Iterator, List, Mapping, Optional, Set, Tuple

from ..declaration.model import SWITCHES_IPV6_OFF, Attachment, Container, Model, Network, Pool
from ..declaration.section import Address, Subnet, unusable_addresses
from ..errors import ProblemCollector
from ..state import EndpointKey, endpoint_name
from .address_sets import lowest_free
from .allotments import Allotments, EndpointAllotment, PoolAllotment, Pools, subnets_of
from .facts import Facts
from .subnets import allot_subnets, some

ETHERNET_MTU = 1500

# In the place of a container's name, which is never empty.
_HOST = ""


def allot(
    model: Model, facts: Facts, before: Allotments, problems: ProblemCollector, notes: ProblemCollector
) -> Allotments:
    """Give every network its subnets and every endpoint its addresses.

    It is a problem if subnets overlap, an address is taken or lies outside its subnet, a pool is exhausted, or netaddr
    is missing where something new is allotted. `notes` reports what a run changes that nobody declared: networks that
    move to another subnet, and containers that move to another address.
    """
    networks = allot_subnets(model, facts, before, problems, notes)
    endpoints, hosts = _allot_endpoints(model, facts, networks, before, problems, notes)
    mtu = facts.default_interface_mtu or before.mtu or ETHERNET_MTU
    return Allotments(networks, endpoints, before.ports, mtu=mtu, hosts=hosts)


def _allot_endpoints(
    model: Model,
    facts: Facts,
    networks: Mapping[str, Pools],
    before: Allotments,
    problems: ProblemCollector,
    notes: ProblemCollector,
) -> Tuple[Dict[EndpointKey, EndpointAllotment], Dict[str, Tuple[Address, ...]]]:
    """The endpoints, and the host's own addresses by network, where it has some that are no gateways."""
    by_network: Dict[str, List[Tuple[Container, Attachment]]] = {}
    for container, attachment in model.attachments:
        by_network.setdefault(attachment.network, []).append((container, attachment))
    addresses: Dict[Tuple[str, str, int], Address] = {}
    for network in model.networks.values():
        on_network = by_network.get(network.name, [])
        for version in network.versions:
            pools = _pools(network, version, networks[network.name])
            with_family = [(c, a) for c, a in on_network if c.has(network, version)]
            found = _allot_addresses(network, pools, with_family, before, problems, notes) if pools else {}
            addresses.update({(name, network.name, version): address for name, address in found.items()})
        _refuse_other_families(network, on_network, problems)
    interfaces = {
        (container.name, network): interface
        for container in model.containers.values()
        for network, interface in _interface_names(container, model, before, problems).items()
    }
    macs = macs_of(model, facts)
    hosts: Dict[str, Tuple[Address, ...]] = {}
    for (name, on, _version), address in addresses.items():
        if name == _HOST:
            hosts[on] = *hosts.get(on, ()), address
    endpoints = {
        (c.name, a.network): EndpointAllotment(
            interfaces[c.name, a.network],
            macs[c.name, a.network],
            addresses.get((c.name, a.network, 4)),
            addresses.get((c.name, a.network, 6)),
        )
        for c, a in model.attachments
    }
    return endpoints, hosts


def _refuse_other_families(
    network: Network, on_network: List[Tuple[Container, Attachment]], problems: ProblemCollector
) -> None:
    for container, attachment in on_network:
        given = [(f"ipv{version}_address", attachment.static(version)) for version in (4, 6)]
        given += [(f"link_local_ips[{index}]", address) for index, address in enumerate(attachment.link_local)]
        for key, address in given:
            if address and not network.has(address.version):
                switch = network.family_path(address.version)
                problems.add(
                    f"{attachment.path}.{key}",
                    f'"{address}": network {network.name} has no IPv{address.version}: set {switch}: true',
                )
            elif address and not container.has(network, address.version):
                problems.add(
                    f"{attachment.path}.{key}",
                    f'"{address}": {SWITCHES_IPV6_OFF} of the container switches IPv6 off: leave one of the two out',
                )
        if not network.has(4) and container.is_without_ipv6:
            problems.add(
                attachment.path,
                f"network {network.name} has only IPv6, which {SWITCHES_IPV6_OFF} of the container switches off: "
                "leave one of the two out",
            )


# What is declared of a subnet, and the subnet itself.
_PoolWithSubnet = Tuple[Pool, PoolAllotment]


def _pools(network: Network, version: int, allotted: Pools) -> List[_PoolWithSubnet]:
    """The network's pools in one family; none where one of them has no subnet, which is a problem already."""
    declared = [pool for pool in network.pools if pool.version == version]
    found = [pool for pool in allotted if pool.version == version]
    return list(zip(declared, found)) if len(declared) == len(found) else []


def _allot_addresses(
    network: Network,
    pools: List[_PoolWithSubnet],
    on_network: List[Tuple[Container, Attachment]],
    before: Allotments,
    problems: ProblemCollector,
    notes: ProblemCollector,
) -> Dict[str, Address]:
    """The address of each container on one network in one IP family.

    The order of precedence: declared addresses, then those that containers have, then the lowest free ones of the
    first subnet that has one.
    """
    addresses = _Addresses(network, pools, before)
    for container, attachment in on_network:
        addresses.declare(container, attachment, problems)
    for container, _attachment in on_network:
        addresses.keep(container)
    if network.sublinks and network.sublinks.host_access:
        addresses.settle_host(problems)
    without = [each for each in on_network if each[0].name not in addresses.found]
    if not addresses.refuse_removed_subnets([container for container, _attachment in without], problems):
        addresses.choose(without, problems, notes)
    return addresses.found


class _Addresses:
    """Settles the addresses of one network in one IP family. `found` has those that are settled, by container."""

    def __init__(self, network: Network, pools: List[_PoolWithSubnet], before: Allotments) -> None:
        self._network, self._pools, self._before = network, pools, before
        self._version = pools[0][0].version
        self._subnets = [allotted.subnet for _pool, allotted in pools]
        self._in_use: Dict[Address, str] = {}
        for pool, allotted in pools:
            self._in_use.update(_reserved_addresses(network, pool, allotted))
        self.found: Dict[str, Address] = {}

    def declare(self, container: Container, attachment: Attachment, problems: ProblemCollector) -> None:
        static = attachment.static(self._version)
        if not static:
            return
        path = f"{attachment.path}.ipv{self._version}_address"
        if not self._has(static):
            allotted = [allotted for _pool, allotted in self._pools]
            problems.add(path, f'"{static}": lies outside {subnets_of(self._network.name, allotted)}')
        elif static in self._in_use:
            problems.add(path, f'"{static}": is taken, it is {self._in_use[static]}: choose another one')
        self._settle(container, static)

    def keep(self, container: Container) -> None:
        former = self._former(container)
        if container.name not in self.found and former and former not in self._in_use:
            self._settle(container, former)

    def settle_host(self, problems: ProblemCollector) -> None:
        """Give the host an address: the declared one, the one that it has, or the lowest free one."""
        declared = next((pool.host for pool, _allotted in self._pools if pool.host), None)
        former = next((each for each in self._before.hosts.get(self._network.name, ()) if self._has(each)), None)
        if declared is None and former not in self._in_use:
            declared = former
        if declared is None:
            ranges: List[Subnet] = [pool.ip_range or allotted.subnet for pool, allotted in self._pools]
            with problems.collect():
                declared = next(chain.from_iterable(map(self._free, ranges)), None)
        if declared is None:
            path = f"{self._network.path}.x-wharf.host_access"
            problems.add(
                path, "no address is left for the host: give the network a larger ip_range, or one more subnet"
            )
            return
        self._in_use[declared] = "the host's own, by host_access"
        self.found[_HOST] = declared

    def refuse_removed_subnets(self, containers: List[Container], problems: ProblemCollector) -> bool:
        """Whether containers have their addresses in a subnet that is left out while others are kept: a problem.

        Where all subnets of the network are replaced, its containers are renumbered.
        """
        former = [pool.subnet for pool in self._before.pools(self._network.name, self._version)]
        had = {container.name: self._had(container) for container in containers}
        found = False
        for subnet in former if {*former} & {*self._subnets} else ():
            users = [name for name, address in had.items() if address and address in subnet and not self._has(address)]
            if users:
                found = True
                problems.add(
                    f"{self._network.path}.ipam.config",
                    f"subnet {subnet} is left out, but containers have their addresses there ({some(users)}): keep it, "
                    f"or give them an ipv{self._version}_address in another subnet",
                )
        return found

    def choose(
        self, endpoints: List[Tuple[Container, Attachment]], problems: ProblemCollector, notes: ProblemCollector
    ) -> None:
        """Give each of these endpoints the lowest address that is free, and not in a range for DHCP, of the first
        subnet that has one.
        """
        if not endpoints:
            return
        ranges: List[Subnet] = [pool.ip_range or allotted.subnet for pool, allotted in self._pools]
        with problems.collect():
            free = chain.from_iterable(map(self._free, ranges))
            for container, attachment in endpoints:
                address = next(free, None)
                if address is None:
                    larger = "ip_range" if any(pool.ip_range for pool, _allotted in self._pools) else "subnet"
                    remedy = f"give network {self._network.name} a larger {larger}, or one more subnet"
                    there = " and ".join(map(str, ranges))
                    problems.add(attachment.path, f"no address is left in {there}: {remedy}")
                    break
                self._settle(container, address)
                former = self._former(container)
                if former:
                    why = f"moves from {former} to {address}: the former is {self._in_use[former]}"
                    notes.add(attachment.path, f"container {container.name} {why}")

    def _free(self, ip_range: Subnet) -> Iterator[Address]:
        leased = self._network.services.dhcp.ranges if self._network.services.dhcp else ()
        taken = [(int(address), int(address)) for address in self._in_use]
        taken += [(int(each.first), int(each.last)) for each in leased if each.version == ip_range.version]
        kind = type(ip_range.network_address)
        return (kind(number) for number in lowest_free(ip_range, ip_range.max_prefixlen, taken))

    def _former(self, container: Container) -> Optional[Address]:
        """The container's address in the earlier allotments, if it lies in one of the subnets."""
        address = self._had(container)
        return address if address and self._has(address) else None

    def _had(self, container: Container) -> Optional[Address]:
        """None for a leased address: the DHCP server gives it to others when the lease is over."""
        key = container.name, self._network.name
        endpoint = None if key in self._before.leases else self._before.endpoints.get(key)
        return endpoint.address(self._version) if endpoint else None

    def _has(self, address: Address) -> bool:
        return any(address in subnet for subnet in self._subnets)

    def _settle(self, container: Container, address: Address) -> None:
        self._in_use[address] = f"that of container {container.name}"
        self.found[container.name] = address


def _reserved_addresses(network: Network, pool: Pool, allotted: PoolAllotment) -> Dict[Address, str]:
    """The addresses that no container can have, each with its use."""
    reserved: Dict[Address, str] = {}
    if _reserves_gateway(network, pool, allotted.subnet):
        reserved[allotted.gateway] = "the network's gateway"
    reserved.update(dict.fromkeys(pool.reserved, "reserved by aux_addresses, by default-gateway, or the host's own"))
    unusable = unusable_addresses(allotted.subnet)
    for address, what in zip(unusable, ("the subnet's own address", "the broadcast address")):
        reserved.setdefault(address, what)
    return reserved


def _reserves_gateway(network: Network, pool: Pool, subnet: Subnet) -> bool:
    """Whether the gateway's address is not for containers.

    As in Docker, two containers can have both addresses of a network that needs no gateway. In larger subnets the
    gateway is always reserved, so that no container must move when the network's mode changes. But of a subnet that is
    leased, the DHCP server says which addresses are for containers.
    """
    if network.leased:
        return bool(pool.gateway)
    return bool(pool.gateway) or network.needs_gateway(pool.version) or subnet.num_addresses > 2


def _interface_names(
    container: Container, model: Model, before: Allotments, problems: ProblemCollector
) -> Dict[str, str]:
    """The name of a container's interface on each network: the declared one, the one it has, or the lowest free `ethN`.

    New interfaces are numbered by the priority of their networks, as Compose connects them, and then by name.
    """
    ordered = sorted(container.attachments, key=lambda a: (-a.priority, a.network))
    names: Dict[str, str] = {}
    for attachment in ordered:
        if attachment.interface in names.values() and attachment.interface:
            problems.add(
                f"{attachment.path}.interface_name", f'"{attachment.interface}": is that of another network too'
            )
        if attachment.interface:
            names[attachment.network] = attachment.interface
    for attachment in ordered:
        kept = before.endpoints.get((container.name, attachment.network))
        prefix = _interface_prefix(model, attachment)
        fits = kept and _is_numbered(kept.interface, prefix) and kept.interface not in names.values()
        if kept and fits and attachment.network not in names:
            names[attachment.network] = kept.interface
    for attachment in ordered:
        if attachment.network not in names:
            prefix = _interface_prefix(model, attachment)
            candidates = (f"{prefix}{number}" for number in range(len(ordered) + len(names) + 1))
            names[attachment.network] = next(name for name in candidates if name not in names.values())
    return names


def _is_numbered(interface: str, prefix: str) -> bool:
    return interface.startswith(prefix) and interface[len(prefix) :].isdigit()


def _interface_prefix(model: Model, attachment: Attachment) -> str:
    return model.networks[attachment.network].interface_prefix


def macs_of(model: Model, facts: Facts) -> Dict[EndpointKey, str]:
    """The MAC of each endpoint: the declared one, or one from a hash of the endpoint's name.

    Empty for those that have the MAC of another link.
    """
    macs = {(c.name, a.network): a.mac for c, a in model.attachments if a.mac}
    given = ((key, model.networks[key[1]].sublinks) for key in ((c.name, a.network) for c, a in model.attachments))
    macs.update({key: "" for key, driver in given if driver and driver.shares_mac})
    used: Set[str] = set(macs.values())
    for container, attachment in model.attachments:
        key = (container.name, attachment.network)
        if key not in macs:
            name = endpoint_name(key) + on_lan(model.networks[key[1]], facts)
            macs[key] = next(mac for mac in stable_macs(name) if mac not in used)
            used.add(macs[key])
    return macs


def on_lan(network: Network, facts: Facts) -> str:
    """For the names of a network's MACs: on a LAN, other hosts may have a network and containers of the same names."""
    return f" of {facts.machine_id}" if network.bypasses_host else ""


def stable_mac(name: str) -> str:
    """The first of `stable_macs`, for links that share no network with others of the kind."""
    return next(stable_macs(name))


def stable_macs(name: str) -> Iterator[str]:
    """Locally administered unicast MACs for a name, to be tried in order. They begin with `02:42`, as Docker's did."""
    number = 0
    while True:
        digest = hashlib.sha256(f"{name} {number}".encode() if number else name.encode()).hexdigest()
        yield "02:42:" + ":".join(digest[i : i + 2] for i in range(0, 8, 2))
        number += 1
