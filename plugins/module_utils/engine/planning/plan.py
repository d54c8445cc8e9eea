# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model -> the plan -> the desired state, one function a layer. Pure: it knows the host by its facts alone."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, Optional, Set, Tuple

from ..declaration.drivers import LEAST_IPV6_MTU, OverlayDriver
from ..declaration.model import CONTAINER_MODE, ENDPOINT_SYSCTLS, HOST_MODE, Attachment, Container, Model, Network
from ..declaration.section import Address, Subnet
from ..errors import Problem, ProblemCollector
from ..kernel.proc_sys import of_interface
from ..state import HOST_STACK, Bridge, Endpoint, File, Key, Object, Port, Route, Sandbox, Sysctl, endpoint_name
from .accepted_ports import AcceptedPort, LinkedPort, accepted_ports, linked_ports
from .allotments import Allotments
from .external_networks import adopt
from .facts import Facts
from .ingress import Entry, check_ingress, entries, numbered_returns
from .ipam import allot, on_lan, stable_mac
from .lan_leases import LeaseRequest, lease_requests, with_leases
from .leases import check_leases
from .overlays import check_overlays, encrypted, peer_keys, underlay_mtus, without_key
from .parents import made_parents, on_parents, shims, sublink_of, uplinks, useless_addresses
from .publications import Publication, gateway_attachment, publish
from .rates import check_burst, rates_of, shapers
from .resolvers import Resolvers, find_resolvers
from .routes_and_sysctls import check_routes_and_sysctls, interface_parameter
from .vlans import check_vlans, is_in_hosts_vlan, port_vlans

SYSCTL_FILE = "/etc/sysctl.d/90-wharf.conf"
ROUTE_LOCALNET = "ipv4.route_localnet"
# The host answers for addresses of its bridge only. By default it would answer for all of its addresses, and a LAN
# behind the bridge would find it at two MACs.
ARP_IGNORE = "ipv4.arp_ignore"
# The kernel sets this with a link of WireGuard (wg_open), so it is noted what it was before.
SEND_REDIRECTS = "net.ipv4.conf.all.send_redirects"
DEFAULT_DESTINATIONS = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True)
class Plan:
    """A model, with everything allotted that the declaration leaves open.

    `has_networks`: networks are declared. Without networks there may be the admin's rules, for networks that dockerd,
    say, manages. `has_rules`: the admin's rules or networks are declared. `boot` are the settings of the layer `boot`,
    None to leave that layer out.
    `notes` report the subnets and addresses that change, and subnets that are kept although the host uses a part of
    them otherwise. `entries` are the ports that this host publishes for other hosts of its overlay networks.
    `lease_requests` are the endpoints whose addresses come from a DHCP server.
    """

    model: Model
    facts: Facts
    allotted: Allotments
    publications: Tuple[Publication, ...]
    accepted_ports: Tuple[AcceptedPort, ...] = ()
    linked_ports: Tuple[LinkedPort, ...] = ()
    resolvers: Resolvers = Resolvers()
    has_networks: bool = True
    has_rules: bool = True
    boot: Optional[Mapping[str, Any]] = None
    notes: Tuple[Problem, ...] = ()
    entries: Tuple[Entry, ...] = ()
    lease_requests: Tuple[LeaseRequest, ...] = ()

    @classmethod
    def make(cls, model: Model, facts: Facts, before: Allotments, problems: Optional[ProblemCollector] = None) -> Plan:
        """The plan of a model.

        Raises:
            ModelError: with the `problems` that were found before, and those of addresses, ports and routes.
        """
        problems = ProblemCollector() if problems is None else problems
        model = adopt(model, facts, problems)
        requests = lease_requests(model, facts, before, problems)
        model = on_parents(with_leases(model, requests) if requests else model, facts, problems)
        notes = ProblemCollector()
        allotted = allot(model, facts, before, problems, notes)
        ingress = tuple(entries(model))
        publications, ports = publish(model, allotted, facts, problems, ingress)
        check_ingress(model, problems)
        allotted = replace(allotted, returns=numbered_returns(model, before.returns, problems))
        resolvers = find_resolvers(model, allotted, before, facts, problems)
        allotted = replace(allotted, ports=ports, resolvers=resolvers.ports)
        allotted = replace(allotted, underlay_mtus=underlay_mtus(model, facts, before))
        allotted = replace(allotted, peer_keys=peer_keys(model, before.peer_keys))
        allotted = replace(allotted, leases={each.key: each.lease for each in requests if each.lease})
        opened = accepted_ports(model, allotted)
        links, noted = linked_ports(model, allotted), tuple(notes.problems)
        plan = cls(
            model, facts, allotted, publications, opened, links, resolvers,
            notes=noted, entries=ingress, lease_requests=tuple(requests),
        )  # fmt: skip
        check_leases(model, allotted.networks, problems)
        check_overlays(model, allotted, before, problems)
        check_vlans(model, facts, problems)
        plan._check_families(problems)
        plan._check_reach(problems)
        plan._check_next_hops(problems)
        plan._check_rates(problems)
        check_routes_and_sysctls(model, allotted, problems)
        problems.raise_if_any()
        return plan

    @cached_property
    def linked_addresses(self) -> Dict[Optional[Address], Set[Address]]:
        """For each address at an end of a link, the addresses at the other end."""
        peers: Dict[Optional[Address], Set[Address]] = {}
        for linked in self.linked_ports:
            peers.setdefault(linked.source, set()).add(linked.address)
            peers.setdefault(linked.address, set()).add(linked.source)
        return peers

    @cached_property
    def published_addresses(self) -> Dict[str, Set[Address]]:
        """For each container that publishes ports, its addresses that they lead to."""
        published: Dict[str, Set[Address]] = {}
        for publication in self.publications:
            published.setdefault(publication.container, set()).add(publication.address)
        return published

    @property
    def has_ipv6(self) -> bool:
        """Whether packets of IPv6 pass the host from and to containers."""
        return any(network.has(6) for network in self.model.behind_host)

    @property
    def chosen_ports(self) -> Tuple[Publication, ...]:
        """The publications whose host port the planner chose."""
        free = {m.path for container in self.model.containers.values() for m in container.ports if m.leaves_choice}
        return tuple(publication for publication in self.publications if publication.path in free)

    @property
    def warnings(self) -> List[str]:
        notes = (*map(str, self.notes), *self._large_mtus(), *self._crowded_bridges(), *useless_addresses(self))
        found = (*self._host_ports_without_effect(), *self._unreachable_host_addresses())
        return [
            *dict.fromkeys((*notes, *found, *without_key(self.model, self.allotted), *self.lacking_leases.values()))
        ]

    @property
    def lacking_leases(self) -> Dict[Key, str]:
        """The endpoints that are not connected, since they have no lease, each with the reason."""
        connected = self.allotted.endpoints
        return {
            (Endpoint.kind, endpoint_name(each.key)): each.lacking
            for each in self.lease_requests
            if each.key not in connected
        }

    def _crowded_bridges(self) -> Iterator[str]:
        """Bridges with more ports than the backlog queue has room for.

        A bridge copies a broadcast to all of its ports at once, into one queue per CPU, and the kernel drops packets
        once it is full. With net.core.netdev_max_backlog at 1000, ARP fails on a bridge of more than 1001 ports.
        """
        endpoints = Counter(key[1] for key in self.allotted.endpoints)
        for network in self.model.bridged:
            count = endpoints[network.name]
            if 0 < self.facts.max_backlog <= count:
                yield (
                    f"{network.path}: {count} containers are on bridge {network.bridge}, and "
                    f"net.core.netdev_max_backlog is {self.facts.max_backlog}: whenever one of them broadcasts, as it "
                    "does before it reaches another address, answers are lost: set net.core.netdev_max_backlog to "
                    f"{2 * count} on this host, or divide the network"
                )

    def _host_ports_without_effect(self) -> Iterator[str]:
        """Host ports that are declared for containers on routed networks, where no host port is translated."""
        published = {publication.path for publication in self.publications}
        for container in self.model.containers.values():
            for mapping in container.ports:
                if mapping.published and mapping.path not in published:
                    yield (
                        f"{mapping.path}: no port of the host leads to {container.name}, since its network is routed: "
                        "the port is open at the container's own address"
                    )

    def _unreachable_host_addresses(self) -> Iterator[str]:
        """Host addresses that the host does not have. It is no error, since an address may move between hosts."""
        if self.facts.addresses is None:
            return
        own = {*self.facts.addresses, *self.gateways}
        for publication in self.publications:
            address = publication.host_ip
            if address and not address.is_loopback and str(address) not in own:
                yield f"{publication.path}: {address} cannot be reached here as long as it is no address of this host"

    def _large_mtus(self) -> List[str]:
        return [
            f"{network.path}: MTU {network.mtu} is larger than {self._why_large(network)}: large packets may be lost"
            for network in self.model.behind_host
            if network.mtu and network.mtu > self.largest_mtu(network)
            if isinstance(network.driver, OverlayDriver)
            or (self.facts.default_interface and not network.internal and not network.external)
        ]

    def _why_large(self, network: Network) -> str:
        if isinstance(network.driver, OverlayDriver):
            return f"{self.largest_mtu(network)}, the largest that fits into packets to the other hosts"
        return f"{self.allotted.mtu}, that of {self.facts.default_interface}, by which the host reaches the outside"

    @property
    def kept_allotments(self) -> Allotments:
        """What the ledger keeps. A subnet that is declared for a network with a parent is that of another network: were
        the network to have a bridge of its own later, it would have to have another subnet.
        """
        of_lans = {each.name for each in self.model.networks.values() if each.bypasses_host and _declares_subnets(each)}
        networks = {name: pools for name, pools in self.allotted.networks.items() if name not in of_lans}
        return replace(self.allotted, networks=networks)

    @cached_property
    def gateways(self) -> FrozenSet[str]:
        """The bridges' own addresses."""
        allotted = [self.allotted.networks[network.name] for network in self.model.behind_host]
        return frozenset(str(pool.gateway) for pools in allotted for pool in pools)

    def mtu(self, network: Network) -> int:
        return network.mtu or self.largest_mtu(network)

    def largest_mtu(self, network: Network) -> int:
        """That of the way to the outside; of an overlay network, what fits the way to the other hosts."""
        if isinstance(network.driver, OverlayDriver):
            underlay = self.allotted.underlay_mtus.get(str(network.driver.own.address), self.allotted.mtu)
            return underlay - network.driver.overhead
        return self.allotted.mtu

    def addresses(self, container: str, attachment: Attachment) -> List[str]:
        """The addresses of an endpoint without prefix lengths, IPv4 first."""
        endpoint = self.allotted.endpoints[container, attachment.network]
        return [str(address) for address in endpoint.addresses]

    def interfaces(self, container: Container) -> Dict[str, str]:
        """The interfaces of a container, by network."""
        return {a.network: self.allotted.endpoints[container.name, a.network].interface for a in container.attachments}

    def next_hop(self, network: Network, address: Address) -> str:
        """The default gateway of the network's container that has this address."""
        declared = [hop for hop in network.next_hops if hop.version == address.version]
        return str(declared[0] if declared else self.allotted.pool_of(network.name, address).gateway)

    def _check_families(self, problems: ProblemCollector) -> None:
        for network in self.model.networks.values():
            if network.has(6) and not self.facts.ipv6:
                remedy = "leave it out, or boot without ipv6.disable=1"
                problems.add(network.family_path(6), f"the kernel of this host has no IPv6: {remedy}")
        for network in self.model.bridged:
            if network.has(6) and not network.mtu and self.largest_mtu(network) < LEAST_IPV6_MTU:
                needed = f"needs an MTU of at least {LEAST_IPV6_MTU} bytes (RFC 8200)"
                remedy = "raise the MTU of the host's link, or leave this out"
                problems.add(network.family_path(6), f"{needed}, and there is {self._why_large(network)}: {remedy}")

    def _check_reach(self, problems: ProblemCollector) -> None:
        """A port published on an adopted bridge needs an address of the host in the bridge's subnet."""
        bridges = {bridge.name: bridge for bridge in self.facts.third_party_bridges or ()}
        for publication in self.publications:
            container = self.model.containers[publication.container]
            attachment = gateway_attachment(self.model, container, publication.version)
            network = self.model.networks[attachment.network] if attachment else None
            bridge = bridges.get(network.bridge) if network and network.external else None
            if network and bridge:
                pools = self.allotted.pools(network.name, publication.version)
                subnet = next((pool.subnet for pool in pools if publication.address in pool.subnet), None)
                if subnet and not any(address.ip in subnet for address in bridge.addresses):
                    lacking = f"{bridge.name} has no address in {subnet}, by which the host would reach the container"
                    problems.add(publication.path, f"{lacking}: give it one, or publish nothing there")
            if network and attachment and not is_in_hosts_vlan(network, attachment, self.facts):
                away = (
                    f"the host itself is not in the VLAN of {container.name} on {network.bridge}, and does not reach it"
                )
                problems.add(publication.path, f"{away}: publish nothing there, or leave the container's VLAN out")

    def _check_next_hops(self, problems: ProblemCollector) -> None:
        for network in self.model.networks.values():
            for hop in network.next_hops:
                for pool in self.allotted.pools(network.name, hop.version):
                    if hop not in pool.subnet:
                        key = "default-gateway" if hop.version == 4 else "default-gateway-v6"
                        outside = f"lies outside {pool.subnet}, the network's subnet"
                        problems.add(f"{network.path}.{key}", f'"{hop}": {outside}')

    def _check_rates(self, problems: ProblemCollector) -> None:
        for network in self.model.networks.values():
            if network.rates:
                check_burst(network.rates, network, self.mtu(network), problems)
        for _container, attachment in self.model.attachments:
            if attachment.rates:
                network = self.model.networks[attachment.network]
                check_burst(attachment.rates, network, self.mtu(network), problems)


def _declares_subnets(network: Network) -> bool:
    return all(pool.subnet for pool in network.pools)


def forwarding(plan: Plan) -> List[Object]:
    """The kernel parameters by which the host forwards, and the file of sysctl.d that sets them after a reboot.

    Beside them stand those of external bridges, and of bridges with an uplink. The rules, which precede, drop what else
    would reach the host's loopback from there.
    """
    published = _published_on_loopback(plan)
    external = [network for name, network in plan.model.networks.items() if network.external and name in published]
    silent = [Sysctl(of_interface(each.bridge, ARP_IGNORE), "1") for each in plan.model.uplinked]
    return [*(_route_localnet(network) for network in external), *silent, *_forwarding(plan)]


def _forwarding(plan: Plan) -> List[Object]:
    changed: List[Object] = [Sysctl(SEND_REDIRECTS, "0")] if encrypted(plan.model) else []
    if not plan.model.host.ip_forward:
        return changed
    kept = [Sysctl("net.ipv4.ip_forward", "1")]
    if plan.has_ipv6:
        # With forwarding on, an interface accepts router advertisements only if accept_ra is 2. Otherwise a host that
        # has its default route from them would lose it.
        kept += [Sysctl(of_interface(interface, "ipv6.accept_ra"), "2") for interface in plan.facts.accepts_ra]
        kept += [Sysctl(f"net.ipv6.conf.{name}.forwarding", "1") for name in ("all", "default")]
    lines = ["# Written by wharf.network: what containers need to reach other hosts.\n"]
    lines += [f"{sysctl.name} = {sysctl.value}\n" for sysctl in kept]
    return [*kept, *changed, File(SYSCTL_FILE, "".join(lines))]


def bridges(plan: Plan) -> List[Object]:
    published = _published_on_loopback(plan)
    networks = plan.model.bridged
    return [_bridge(plan, network, network.name in published) for network in networks if not network.external]


def _route_localnet(network: Network) -> Sysctl:
    """The only parameter of an external bridge that is changed. It gets back its prior value."""
    return Sysctl(of_interface(network.bridge, ROUTE_LOCALNET), "1")


def _published_on_loopback(plan: Plan) -> Set[str]:
    """The networks whose containers have ports that are published on the host's 127.0.0.1."""
    return {
        attachment.network
        for publication in plan.publications
        if publication.version == 4 and (publication.host_ip is None or publication.host_ip.is_loopback)
        for attachment in [gateway_attachment(plan.model, plan.model.containers[publication.container], 4)]
        if attachment
    }


def _bridge(plan: Plan, network: Network, on_loopback: bool) -> Bridge:
    """A network's bridge.

    `route_localnet` is set only where it is needed; the rules drop what else would reach the host's loopback by it.
    Without duplicate address detection (`accept_dad`) the bridge has its link-local address at once; without one, the
    kernel sends no neighbour solicitations for the IPv6 packets that it forwards.
    """
    pools = plan.allotted.networks[network.name]
    return Bridge(
        name=network.bridge,
        network=network.name,
        mtu=plan.mtu(network),
        mac=stable_mac(f"network {network.name}{on_lan(network, plan.facts)}"),
        addresses=tuple(sorted(pool.interface for pool in pools if network.has_gateway(pool.version))),
        filtered=_is_filtered(plan, network),
        sysctls=(
            (ROUTE_LOCALNET, "1" if on_loopback else "0"),
            ("ipv6.accept_dad", "0"),
            ("ipv6.accept_ra", "0"),
            ("ipv6.disable_ipv6", "0" if network.has(6) and network.has_gateway(6) else "1"),
        ),
        place=network.path,
    )


def _is_filtered(plan: Plan, network: Network) -> bool:
    """Whether the frames between containers of a network without icc pass the host's rules (br_netfilter).

    A managed bridge is set so where the kernel has br_netfilter; an adopted bridge stays as it is. On one with an
    uplink, no rule decides: isolated ports alone keep the containers apart.
    """
    if network.external:
        third_party = {bridge.name: bridge for bridge in plan.facts.third_party_bridges or ()}
        return not network.icc and network.bridge in third_party and third_party[network.bridge].filtered
    return not network.icc and plan.facts.bridge_netfilter and not network.uplink


def sandboxes_and_endpoints(plan: Plan) -> List[Object]:
    """These, and the links of the host that lead from them to other networks."""
    containers = plan.model.containers.values()
    sandboxes = [sandbox for container in containers for sandbox in _sandbox(plan, container)]
    endpoints = [endpoint for container in containers for endpoint in _endpoints(plan, container)]
    return [*made_parents(plan), *sandboxes, *endpoints, *shims(plan), *uplinks(plan)]


def _sandbox(plan: Plan, container: Container) -> Iterator[Sandbox]:
    """The sandbox of a container. One that shares another sandbox in mode `host` or `container` has a sandbox of its
    own only as a second name of that one, and only with `netns:`: a runtime does it by itself for its containers.
    """
    if container.mode in (CONTAINER_MODE, HOST_MODE):
        if container.sandbox.is_managed:
            owner = plan.model.owner_of_stack(container)
            of = HOST_STACK if owner is container else owner.sandbox
            yield Sandbox(container.sandbox, container.name, of=of, place=container.path)
    else:
        interfaces = plan.interfaces(container).values()
        own = [sysctl for sysctl in container.sysctls if interface_parameter(sysctl[0])[0] not in interfaces]
        yield Sandbox(container.sandbox, container.name, sysctls=tuple(own), place=container.path)


def _endpoints(plan: Plan, container: Container) -> Iterator[Endpoint]:
    published = plan.published_addresses.get(container.name, set())
    for attachment in container.attachments:
        network = plan.model.networks[attachment.network]
        allotted = plan.allotted.endpoints[container.name, network.name]
        addresses = {*allotted.addresses}
        ingress, egress = shapers(rates_of(network, attachment), plan.mtu(network))
        yield Endpoint(
            container=container.name,
            network=network.name,
            sandbox=container.sandbox,
            interface=allotted.interface,
            host_interface="" if network.sublinks else host_interface(container.name, network.name),
            port=Port("")
            if network.sublinks
            else Port(
                network.bridge,
                hairpin=bool(published & addresses),
                isolated=not network.icc and not (_is_filtered(plan, network) and published & addresses),
                vlans=port_vlans(network, attachment),
            ),
            sublink=sublink_of(network, plan.facts),
            mtu=plan.mtu(network),
            mac=allotted.mac,
            addresses=tuple(sorted(_interface_addresses(plan, attachment, container))),
            routes=tuple(_routes(plan, container, attachment)),
            ipv6=container.has(network, 6),
            sysctls=_endpoint_sysctls(network, attachment, container, allotted.interface),
            ingress=ingress,
            egress=egress,
            place=attachment.path,
            sysctl_places=tuple(_sysctl_places(attachment, container, allotted.interface)),
        )


def host_interface(container: str, network: str) -> str:
    """The name of the host's end of an endpoint's veth pair: `veth` and a hash, 15 bytes as a name may have."""
    return "veth" + hashlib.sha256(endpoint_name((container, network)).encode()).hexdigest()[:11]


def _endpoint_sysctls(
    network: Network, attachment: Attachment, container: Container, interface: str
) -> Tuple[Tuple[str, str], ...]:
    """The parameters of a container's interface, in the order of their names.

    Containers ignore router advertisements, by which another container could become their router (CVE-2020-13401).
    """
    has_ipv6 = container.has(network, 6)
    own = {"ipv6.accept_dad": "0", "ipv6.accept_ra": "0"} if has_ipv6 else {}
    if has_ipv6 and not network.icc:
        # Linked containers reach each other by the host alone. It would redirect them to the direct path, which is
        # closed without icc.
        own["ipv6.accept_redirects"] = "0"
    of_container = {key: value for _name, key, value in _of_interface(container, interface)}
    return tuple(sorted({**own, **of_container, **dict(attachment.sysctls)}.items()))


def _of_interface(container: Container, interface: str) -> Iterator[Tuple[str, str, str]]:
    """Of the container's own parameters those of this interface: the name as declared, the key and the value."""
    for name, value in container.sysctls:
        named, key = interface_parameter(name)
        if named == interface:
            yield name, key, value


def _sysctl_places(attachment: Attachment, container: Container, interface: str) -> Iterator[Tuple[str, str]]:
    for name, key, _value in _of_interface(container, interface):
        yield key, f"{container.path}.sysctls.{name}"
    for key, _value in attachment.sysctls:
        yield key, f"{attachment.path}.driver_opts.{ENDPOINT_SYSCTLS}"


def _interface_addresses(plan: Plan, attachment: Attachment, container: Container) -> Iterator[str]:
    for address in plan.allotted.endpoints[container.name, attachment.network].addresses:
        yield f"{address}/{plan.allotted.pool_of(attachment.network, address).subnet.prefixlen}"
    for address in attachment.link_local:
        yield f"{address}/{16 if address.version == 4 else 64}"


def _routes(plan: Plan, container: Container, attachment: Attachment) -> Iterator[Route]:
    network = plan.model.networks[attachment.network]
    for address in plan.allotted.endpoints[container.name, network.name].addresses:
        own, pools = plan.allotted.pool_of(network.name, address), plan.allotted.pools(network.name, address.version)
        # Containers in different subnets of a network are on one link.
        yield from (Route(str(pool.subnet)) for pool in pools if pool is not own)
        chosen: Optional[Attachment] = gateway_attachment(plan.model, container, address.version)
        if chosen and chosen.network == network.name:
            yield from _default_route(plan, network, address)
        if isinstance(network.driver, OverlayDriver):
            # Whichever network the default route is by.
            yield from (Route(str(each), str(own.gateway)) for each in network.driver.subnets_of(address.version))
        if network.is_default:
            yield from _routes_to_linked(plan, address, own.gateway)
        for route in container.routes:
            if any(route.via in pool.subnet for pool in pools):
                yield Route(str(route.to), str(route.via))


def _default_route(plan: Plan, network: Network, address: Address) -> Iterator[Route]:
    """The default route of the container that has this address, which is by its network."""
    destination = DEFAULT_DESTINATIONS[address.version]
    if network.sublinks and not network.sublinks.has_next_hop:
        yield Route(destination)
    elif not network.bypasses_host or any(pool.gateway and address in (pool.subnet or ()) for pool in network.pools):
        yield Route(destination, plan.next_hop(network, address))


def _routes_to_linked(plan: Plan, address: Address, gateway: Address) -> Iterator[Route]:
    """Routes by the host to linked containers: on a network without icc, the ports of the bridge are isolated."""
    for other in sorted(plan.linked_addresses.get(address, ())):
        yield Route(f"{other}/{other.max_prefixlen}", str(gateway))


def asymmetric_replies(plan: Plan, container: Container, version: int) -> Iterator[Tuple[Subnet, Address]]:
    """Subnets and addresses between which a container's replies would bypass the host, unless they are masqueraded.

    A container is on two networks. A packet from the subnet of one of them to its address on the other one passes the
    host, but the container has the sender's subnet on its own link, and replies there directly. Packets from networks
    that are masqueraded anyway have an address of the host as source.
    """
    for sending, receiving in permutations(container.attachments, 2):
        network = plan.model.networks[sending.network]
        if plan.model.networks[receiving.network].bypasses_host:
            continue
        address = plan.allotted.endpoints[container.name, receiving.network].address(version)
        if address and not network.masquerade(version):
            yield from ((pool.subnet, address) for pool in plan.allotted.pools(network.name, version))
