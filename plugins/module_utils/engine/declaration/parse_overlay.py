# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `driver_opts` and the `x-wharf` of a network whose driver is `overlay` -> its hosts, and the slice of each.

The controller fills in `x-wharf.members` and `x-wharf.host` by its inventory (`plugin_utils/overlay.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ..errors import ProblemCollector, is_within
from . import section as read
from .agreement import AS_SENT, SharedSettings, disagreements, parse_of_member, parse_shared, sent_differently, udp_port
from .beside_host import BRIDGE_OPTION
from .drivers import IngressPort, Member, OverlayDriver
from .model import ISOLATED, Network, Pool
from .parse_bridge import UPLINK, parse_bridge
from .parse_ports import INGRESS_PROTOCOLS
from .section import Section, whole_section
from .slices import LEAST_SLICES_FOR_HASH, collisions, gateway_of, indexes, number_of_slices, slice_of

_EACH_SLICE = "each host has a slice of the subnet"

_index = read.number_from(0, 1 << 64, "the number of a slice is not negative")


@dataclass(frozen=True)
class _Given:
    """A host as it is declared: `index` is None where the host's name decides. `shared` is what is known of the
    settings that must be alike on all hosts, as they are there (`agreement.py`).
    """

    address: Optional[read.Address]
    index: Optional[int]
    names: Tuple[str, ...] = ()
    ingress: Tuple[IngressPort, ...] = ()
    public_key: str = ""
    shared: Mapping[str, Any] = field(default_factory=dict)


def parse_overlay(network: Network, options: Section, extension: Section, problems: ProblemCollector) -> Network:
    """The network with the slice of this host in the place of its subnet."""
    extension.refuse([UPLINK], "the hosts of an overlay reach each other by their own addresses: leave this out")
    shaped = parse_bridge(network, options, extension, problems)
    _refuse_without_gateway(shaped, problems)
    subnets = tuple(pool.subnet for pool in network.pools if pool.subnet)
    shared = parse_shared(network.name, subnets, options, extension)
    group = extension.take("hosts", read.text, "")
    host = extension.take("host", read.text, "")
    before = len(problems.problems)
    given = extension.take_optional("members", _members(shared))
    are_wrong = len(problems.problems) > before
    before = len(problems.problems)
    for pool in network.pools:
        _check_pool(network, pool, shared, problems)
    _check_direct(network, shared.direct, given, f"{extension.path}.direct", problems)
    _check_agreement(shared, host, given or {}, f"{extension.path}.members", problems)
    if shared.encrypted and shared.direct:
        problems.add(f"{extension.path}.direct", "true: plain routes do not encrypt: leave this or encrypted out")
    if given is None and not are_wrong:
        problems.add(extension.path, _no_members(group))
    elif given is not None and host not in given:
        known = ", ".join(given) or "none"
        problems.add(f"{extension.path}.host", f'"{host}": must be one of the members, which are: {known}')
    if given is None or len(problems.problems) > before:
        return shaped
    members = _with_slices(network, given, shared, f"{extension.path}.members", problems)
    if len(problems.problems) > before:
        return shaped
    own = members.pop(host)
    driver = OverlayDriver(
        subnets, own, tuple(members.values()), shared.vni, shared.port, shared.direct, shared.encrypted
    )
    return replace(shaped, driver=driver, pools=tuple(_sliced(pool, own, problems) for pool in network.pools))


def _refuse_without_gateway(network: Network, problems: ProblemCollector) -> None:
    for version in (4, 6):
        key = "inhibit_ipv4" if network.inhibit_ipv4 and version == 4 else f"gateway_mode_ipv{version}"
        if network.gateway_mode(version) == ISOLATED or key == "inhibit_ipv4":
            problems.add(
                f"{network.path}.driver_opts.{BRIDGE_OPTION}{key}",
                "would leave the bridge without the address by which containers reach those on other hosts: "
                "leave it out",
            )


def _no_members(group: str) -> str:
    if group:
        return (
            f'hosts "{group}" is a group of an inventory of Ansible, which is not known here: '
            "give members, and host, by hand"
        )
    return "hosts is missing: name the group of the inventory whose hosts the network spans (or give members and host)"


def _members(shared: SharedSettings) -> read.Parser[Dict[str, _Given]]:
    def parse(value: Any, path: str) -> Dict[str, _Given]:
        members: Dict[str, _Given] = {}
        problems = ProblemCollector()
        for name, given in read.mapping(value, path).items():
            with problems.collect():
                read.one_line(name, path)
                with whole_section(given, f"{path}.{name}") as section:
                    members[name] = replace(
                        _member(section),
                        names=section.take_all("names", read.list_of(read.host_name)),
                        ingress=section.take_all("ingress", _ingress),
                        public_key=section.take("public_key", read.public_key, ""),
                        shared=parse_of_member(section, sorted(shared.prefixes)),
                    )
        problems.raise_if_any()
        return members

    return parse


def check_member(value: Any, path: str) -> None:
    """Check what is declared of one host by itself.

    Raises:
        ModelError: its address or its index is wrong.
    """
    with whole_section(value, path) as section:
        _member(section)


def _member(section: Section) -> _Given:
    return _Given(section.take_optional("address", read.address), section.take_optional("index", _index))


def _ingress(value: Any, path: str) -> Tuple[IngressPort, ...]:
    """The ports, as `8080/tcp`, each with the container that it leads to."""
    found = []
    for key, container in read.mapping(value, path).items():
        port, _slash, protocol = key.partition("/")
        if protocol not in INGRESS_PROTOCOLS:
            raise read.wrong(path, key, "must be a port and its protocol, such as 8080/tcp")
        found.append(IngressPort(protocol, udp_port(port, f"{path}.{key}"), read.text(container, f"{path}.{key}")))
    return tuple(sorted(found, key=lambda each: (each.protocol, each.port)))


def _check_pool(network: Network, pool: Pool, shared: SharedSettings, problems: ProblemCollector) -> None:
    if pool.subnet is None:
        problems.add(
            f"{network.path}.ipam.config",
            f"a subnet of IPv{pool.version} is missing: hosts cannot agree on one that each of them would choose",
        )
        return
    for key, value in (("gateway", pool.gateway), ("ip_range", pool.ip_range)):
        if value:
            problems.add(f"{pool.path}.{key}", f'"{value}": {_EACH_SLICE}, with a gateway in it: leave this out')
    prefix = shared.prefixes[pool.version]
    if not pool.subnet.prefixlen < prefix <= pool.subnet.max_prefixlen - 2:
        problems.add(
            f"{network.path}.x-wharf.slice",
            f"{prefix}: {_EACH_SLICE} {pool.subnet}: "
            f"its prefix must be from {pool.subnet.prefixlen + 1} to {pool.subnet.max_prefixlen - 2}",
        )


def _with_slices(
    network: Network,
    given: Mapping[str, _Given],
    shared: SharedSettings,
    path: str,
    problems: ProblemCollector,
) -> Dict[str, Member]:
    """The hosts by name, in the order of their names, so that the order of an inventory changes nothing.

    A host has the slice of the same number in all subnets.
    """
    subnets = [(subnet, shared.prefixes[subnet.version]) for subnet in shared.subnets]
    count = min(number_of_slices(*each) for each in subnets)
    numbers = indexes({name: each.index for name, each in given.items()}, count)
    for name, each in sorted(given.items()):
        if each.index is None and count < LEAST_SLICES_FOR_HASH:
            problems.add(
                f"{path}.{name}",
                f"has no index, and {count} slices are too few to choose one by the host's name: "
                f"give {name} one from 0 to {count - 1} (wharf_overlay.index)",
            )
        elif not numbers[name] < count:
            problems.add(f"{path}.{name}.index", f"{each.index}: there are slices from 0 to {count - 1}")
    _check_addresses(network, given, path, problems)
    _check_ingress(given, path, problems)
    if any(is_within(problem.path, path) for problem in problems.problems):
        return {}
    for first, second in collisions(numbers):
        problems.add(
            f"{path}.{second}",
            f"has the same slice as {first}, number {numbers[first]}: give one of them another wharf_overlay.index",
        )
    return {
        name: Member(
            name,
            each.address,
            tuple(slice_of(*of, numbers[name]) for of in subnets),
            each.names,
            each.ingress,
            each.public_key,
        )
        for name, each in sorted(given.items())
        if each.address
    }


def _check_addresses(network: Network, given: Mapping[str, _Given], path: str, problems: ProblemCollector) -> None:
    holders: Dict[read.Address, str] = {}
    versions: Dict[int, List[str]] = {4: [], 6: []}
    for name, each in sorted(given.items()):
        address, place = each.address, f"{path}.{name}.address"
        if address is None:
            problems.add(place, f"is missing: the others reach {name} at it (wharf_overlay.address, or ansible_host)")
            continue
        if not _is_known_elsewhere(address):
            problems.add(place, f'"{address}": no other host reaches {name} there')
        if any(pool.subnet and address in pool.subnet for pool in network.pools):
            problems.add(place, f'"{address}": lies in the network itself, which is reached by it')
        if holders.setdefault(address, name) != name:
            problems.add(place, f'"{address}": is also that of {holders[address]}: give one of them another')
        versions[address.version].append(name)
    if versions[4] and versions[6]:
        problems.add(
            path,
            f"{versions[4][0]} has an IPv4 address here, {versions[6][0]} an IPv6 address: "
            "give all hosts one of the same IP family",
        )


def _check_ingress(given: Mapping[str, _Given], path: str, problems: ProblemCollector) -> None:
    """Whether no port is to lead to containers of two hosts."""
    first: Dict[Tuple[str, int], Tuple[str, IngressPort]] = {}
    for name, each in sorted(given.items()):
        for asked in each.ingress:
            host, other = first.setdefault((asked.protocol, asked.port), (name, asked))
            if host != name:
                problems.add(
                    f"{path}.{name}.ingress",
                    f"port {asked} of all hosts is to lead to {other.container} on {host}, and to {asked.container} on "
                    f"{name}: publish one of the two at another port, or without x-wharf.ingress",
                )


def _is_known_elsewhere(address: read.Address) -> bool:
    """Whether an address may lead from another host to this one. One with a zone, as `fe80::1%eth0`, does not."""
    is_special = address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local
    mapped = address.version == 6 and address.ipv4_mapped
    return not (is_special or mapped or "%" in str(address) or str(address) == "255.255.255.255")


def _check_direct(
    network: Network, direct: bool, given: Optional[Mapping[str, _Given]], path: str, problems: ProblemCollector
) -> None:
    """The kernel takes an IPv6 address as the next hop of IPv4 as well, but not the other way round."""
    addresses = [each.address for each in (given or {}).values() if direct and each.address]
    if any(each.version == 4 for each in addresses) and any(pool.version == 6 for pool in network.pools):
        problems.add(
            path,
            "true: hosts that are reached by IPv4 are no next hops of IPv6: give them IPv6 addresses "
            "(wharf_overlay.address), leave direct out, or let the network have IPv4 alone",
        )


def _check_agreement(
    shared: SharedSettings, host: str, given: Mapping[str, _Given], path: str, problems: ProblemCollector
) -> None:
    """Whether all hosts declare the network alike, and no key is given in vain."""
    own = list(sent_differently(shared, host, given[host].shared, f"{path}.{host}")) if host in given else []
    for name, each in sorted(given.items()):
        # A host that differs from what the inventory says of it differs from the others as well: that is reported once.
        others = disagreements(shared, name, each.shared, f"{path}.{name}") if not own else ()
        for problem in own if name == host else others:
            problems.add(problem.path, problem.message)
        if each.public_key and not shared.encrypted:
            problems.add(
                f"{path}.{name}.public_key",
                f"means nothing, since the network is {AS_SENT[False]}: leave it out, or declare driver_opts.encrypted",
            )


def _sliced(pool: Pool, own: Member, problems: ProblemCollector) -> Pool:
    """The pool of this host: its slice, with the gateway that the others ask for names. Of the reserved addresses of
    the whole subnet, those in the slice are reserved.
    """
    if pool.subnet is None:
        raise AssertionError(pool.path)
    within = next(each for each in own.slices if read.is_within(each, pool.subnet))
    reserved = tuple(each for each in pool.reserved if each in within)
    if gateway_of(within) in reserved:
        problems.add(
            f"{pool.path}.aux_addresses",
            f'"{gateway_of(within)}": is the gateway of {own.name}, the first address of its slice: choose another one',
        )
    return replace(pool, subnet=within, gateway=gateway_of(within), reserved=reserved)
