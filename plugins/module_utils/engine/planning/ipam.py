# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPAM: which subnet each network has, and which address, MAC and interface name each endpoint.

Pure, deterministic and sticky: the same declaration and the same earlier allotments give the same result, and
what has an address keeps it for as long as the declaration allows.
"""

from __future__ import annotations

import hashlib
from typing import Dict, Iterable, Iterator, List, Mapping, Set, Tuple

from ..declaration.model import SWITCHES_IPV6_OFF, Attachment, Container, Model, Network, Pool
from ..declaration.section import Address, Subnet, unusable_addresses
from ..declaration.services import AddressRange
from ..errors import ProblemCollector
from .address_sets import lowest_free
from .allotments import Allotments, EndpointAllotment, EndpointKey, PoolAllotment, PoolsByVersion
from .facts import Facts
from .subnets import allot_subnets

ETHERNET_MTU = 1500


def allot(
    model: Model, facts: Facts, before: Allotments, problems: ProblemCollector, notes: ProblemCollector
) -> Allotments:
    """Give every network its subnets and every endpoint its addresses.

    It is a problem if subnets overlap, an address is taken or lies outside, a pool is exhausted, or netaddr is missing
    where something new is allotted. `notes` takes what becomes of subnets that the host uses otherwise, and of
    addresses that are declared for another container.
    """
    networks = allot_subnets(model, facts, before, problems, notes)
    endpoints = _allot_endpoints(model, networks, before, problems, notes)
    return Allotments(networks, endpoints, before.ports, mtu=facts.uplink_mtu or before.mtu or ETHERNET_MTU)


def _allot_endpoints(
    model: Model,
    networks: Mapping[str, PoolsByVersion],
    before: Allotments,
    problems: ProblemCollector,
    notes: ProblemCollector,
) -> Dict[EndpointKey, EndpointAllotment]:
    wanted = [
        (container, attachment) for container in model.containers.values() for attachment in container.attachments
    ]
    by_network: Dict[str, List[Tuple[Container, Attachment]]] = {}
    for container, attachment in wanted:
        by_network.setdefault(attachment.network, []).append((container, attachment))
    addresses: Dict[Tuple[str, str, int], Address] = {}
    for network in model.networks.values():
        on_network = by_network.get(network.name, [])
        for pool in network.pools:
            allotted = networks[network.name].get(pool.version)
            able = [(c, a) for c, a in on_network if c.has(network, pool.version)]
            found = _allot_addresses(network, pool, allotted, able, before, problems, notes) if allotted else {}
            addresses.update({(name, network.name, pool.version): address for name, address in found.items()})
        _refuse_other_families(network, on_network, problems)
    interfaces = {
        (container.name, network): interface
        for container in model.containers.values()
        for network, interface in _interface_names(container, model, before, problems).items()
    }
    macs = _macs(wanted)
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


def _allot_addresses(
    network: Network,
    pool: Pool,
    allotted: PoolAllotment,
    on_network: List[Tuple[Container, Attachment]],
    before: Allotments,
    problems: ProblemCollector,
    notes: ProblemCollector,
) -> Dict[str, Address]:
    """The address of each container on one network in one family: static ones, kept ones, then the lowest free."""
    version, subnet = pool.version, allotted.subnet
    leased = network.services.dhcp.ranges if network.services.dhcp else ()
    holders: Dict[Address, str] = {}
    if _keeps_gateway(network, pool, subnet):
        holders[allotted.gateway] = "the network's gateway"
    holders.update(dict.fromkeys(pool.reserved, "reserved by aux_addresses, by default-gateway, or the host's own"))
    for unusable, what in zip(unusable_addresses(subnet), ("the subnet's own address", "the broadcast address")):
        holders.setdefault(unusable, what)
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
            problems.add(path, f'"{static}": is taken, it is {holders[static]}: choose another one')
        settle(container, static)
    formers = _former_addresses(on_network, subnet, before)
    for container, _attachment in on_network:
        former = formers.get(container.name)
        if container.name not in result and former and former not in holders:
            settle(container, former)
    newcomers = [each for each in on_network if each[0].name not in result]
    if newcomers:
        with problems.collect():
            free = _free_addresses(pool.ip_range or subnet, holders, leased)
            for container, attachment in newcomers:
                free_address = next(free, None)
                if free_address is None:
                    larger = "a larger ip_range" if pool.ip_range else "a larger subnet"
                    remedy = f"give network {attachment.network} {larger}"
                    problems.add(attachment.path, f"no address is left in {pool.ip_range or subnet}: {remedy}")
                    break
                settle(container, free_address)
                former = formers.get(container.name)
                if former:
                    why = f"moves from {former} to {free_address}: the former is {holders[former]}"
                    notes.add(attachment.path, f"container {container.name} {why}")
    return result


def _former_addresses(
    on_network: List[Tuple[Container, Attachment]], subnet: Subnet, before: Allotments
) -> Dict[str, Address]:
    """The address in the subnet that each container had before, if it had one."""
    keys = [(container.name, attachment.network) for container, attachment in on_network]
    had = {key[0]: before.endpoints[key].address(subnet.version) for key in keys if key in before.endpoints}
    return {name: address for name, address in had.items() if address and address in subnet}


def _free_addresses(ip_range: Subnet, holders: Iterable[Address], leased: Iterable[AddressRange]) -> Iterator[Address]:
    """Those of a range that nobody holds, and of which none is given by DHCP, lowest first."""
    taken = [(int(address), int(address)) for address in holders]
    taken += [(int(each.first), int(each.last)) for each in leased if each.version == ip_range.version]
    kind = type(ip_range.network_address)
    return (kind(number) for number in lowest_free(ip_range, ip_range.max_prefixlen, taken))


def _keeps_gateway(network: Network, pool: Pool, subnet: Subnet) -> bool:
    """As in Docker, two containers have both addresses of a network where nobody needs a gateway.

    In larger ones it is kept, so that they need no other address when the network's mode changes.
    """
    return bool(pool.gateway) or network.needs_gateway(pool.version) or subnet.num_addresses > 2


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


def _macs(wanted: List[Tuple[Container, Attachment]]) -> Dict[EndpointKey, str]:
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
