"""The model: what is declared, in Docker's vocabulary, as typed values that hold together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .errors import ProblemCollector
from .ports import PortMapping
from .state import DEFAULT_NETWORK
from .words import Address, Interface, Subnet

NETWORKED, HOST_MODE, NONE_MODE, CONTAINER_MODE = "networks", "host", "none", "container"

HOST_GATEWAY = "host-gateway"

# The kernel's BR_MAX_PORTS is 1024, and port number 0 is not used.
_BRIDGE_PORTS = 1023

MappingOfWords = Mapping[str, Any]


@dataclass(frozen=True)
class AddressPool:
    """Where networks that name no subnet get theirs: `base`, cut into subnets of `size` bits."""

    base: Subnet
    size: int


@dataclass(frozen=True)
class Host:
    """Host-wide settings, those of dockerd's `daemon.json`. `bridge` is None where docker0 is left to a dockerd."""

    bridge: Optional[str]
    bip: Optional[Interface]
    bip6: Optional[Interface]
    fixed_cidr: Optional[Subnet]
    fixed_cidr_v6: Optional[Subnet]
    default_gateways: Tuple[Address, ...]
    default_address_pools: Tuple[AddressPool, ...]
    mtu: Optional[int]
    icc: bool
    ip: Optional[Address]
    ip_forward: bool
    ip_forward_no_drop: bool
    ip_masq: bool
    ipv6: bool
    dns: Tuple[Address, ...]
    dns_search: Tuple[str, ...]
    dns_opts: Tuple[str, ...]
    host_gateway_ips: Tuple[Address, ...]
    default_network_opts: Tuple[Tuple[str, str], ...]


@dataclass(frozen=True)
class Pool:
    """The addresses of a network in one family; what is None is for IPAM to choose."""

    path: str
    version: int
    subnet: Optional[Subnet] = None
    ip_range: Optional[Subnet] = None
    gateway: Optional[Address] = None
    reserved: Tuple[Address, ...] = ()


@dataclass(frozen=True)
class Network:
    """A network. `mtu` is in bytes, None for that of the host's uplink; `bridge` is its link on the host.

    `host_binding` is the host's address for ports that name none. `next_hops` stand in for the bridge's
    own addresses as the containers' default gateways (daemon.json's `default-gateway`).
    """

    name: str
    path: str
    bridge: str
    pools: Tuple[Pool, ...]
    internal: bool = False
    icc: bool = True
    masquerade: bool = True
    mtu: Optional[int] = None
    host_binding: Optional[Address] = None
    interface_prefix: str = "eth"
    next_hops: Tuple[Address, ...] = ()

    @property
    def ipv4(self) -> bool:
        return any(pool.version == 4 for pool in self.pools)

    @property
    def ipv6(self) -> bool:
        return any(pool.version == 6 for pool in self.pools)

    @property
    def is_default(self) -> bool:
        return self.name == DEFAULT_NETWORK


@dataclass(frozen=True)
class Attachment:
    """A container's wish to be on a network."""

    network: str
    path: str
    ipv4: Optional[Address] = None
    ipv6: Optional[Address] = None
    link_local: Tuple[Address, ...] = ()
    mac: Optional[str] = None
    interface: Optional[str] = None
    aliases: Tuple[str, ...] = ()
    gw_priority: int = 0
    priority: int = 0
    sysctls: Tuple[Tuple[str, str], ...] = ()

    def static(self, version: int) -> Optional[Address]:
        return self.ipv4 if version == 4 else self.ipv6


@dataclass(frozen=True)
class StaticRoute:
    """A further route of a container: `via` is on one of its networks."""

    path: str
    to: Subnet
    via: Address


@dataclass(frozen=True)
class Link:
    """Another name for another container, in one container's `hosts`."""

    path: str
    target: str
    alias: str


@dataclass(frozen=True)
class Container:
    """A container's networking. `shares` names the container whose stack it uses, in mode `container`."""

    name: str
    path: str
    mode: str
    sandbox: str
    shares: str = ""
    attachments: Tuple[Attachment, ...] = ()
    ports: Tuple[PortMapping, ...] = ()
    expose: Tuple[str, ...] = ()
    links: Tuple[Link, ...] = ()
    hostname: str = ""
    domainname: str = ""
    dns: Tuple[Address, ...] = ()
    dns_search: Tuple[str, ...] = ()
    dns_opt: Tuple[str, ...] = ()
    extra_hosts: Tuple[Tuple[str, str], ...] = ()
    sysctls: Tuple[Tuple[str, str], ...] = ()
    routes: Tuple[StaticRoute, ...] = ()

    @property
    def effective_hostname(self) -> str:
        return self.hostname or self.name


class Names(NamedTuple):
    """The real names of all declared networks and containers, by the keys they are called by."""

    networks: Mapping[str, str]
    containers: Mapping[str, str]


@dataclass(frozen=True)
class Model:
    """All that is declared on a host; networks and containers by their real names, in the order of these."""

    host: Host
    networks: Mapping[str, Network]
    containers: Mapping[str, Container]

    @classmethod
    def parse(cls, host: MappingOfWords, networks: MappingOfWords, containers: MappingOfWords) -> Model:
        """Read the words of a whole host.

        Raises:
            ModelError: with every problem of the words themselves and between them.
        """
        from .container_words import parse_container
        from .network_words import default_network, parse_host, parse_network

        problems = ProblemCollector()
        settings = parse_host(host, problems)
        parsed_networks: List[Network] = []
        with problems.collect():
            parsed_networks += default_network(settings)
        for key, words in networks.items():
            if not _is_external(words):
                parsed_networks += parse_network(key, words, settings, problems)
        names = Names(_real_names(networks, "name"), _real_names(containers, "container_name"))
        parsed_containers = [parse_container(key, words, names, problems) for key, words in containers.items()]
        for things in (parsed_networks, parsed_containers):
            for thing, other in _twins([(thing.name, thing) for thing in things]):
                problems.add(thing.path, f"its name {thing.name} is also that of {other.path}: rename one")
        model = cls(settings, _by_name(parsed_networks), _by_name(parsed_containers))
        model = model.checked(networks, names, problems)
        problems.raise_if_any()
        return model

    def checked(self, network_words: MappingOfWords, names: Names, problems: ProblemCollector) -> Model:
        """The model with references resolved; a network that has problems of its own counts as there."""
        for key, words in network_words.items():
            if _is_external(words) and names.networks[key] not in self.networks:
                problems.add(
                    f"{source(words, f'wharf_networks.{key}')}.external",
                    "no network of this name is declared, and adopting a bridge that stands "
                    "is not supported yet: declare the network",
                )
        for network in self.networks.values():
            self._check_endpoints(network, problems)
        for thing, other in _twins([(n.bridge, n) for n in self.networks.values()]):
            problems.add(thing.path, f"its bridge {thing.bridge} is also that of {other.path}: name another one")
        for container, twin in _twins([(c.sandbox, c) for c in self.containers.values()]):
            problems.add(
                container.path, f"{container.sandbox} is also the sandbox of {twin.path}: give it an x-wharf.sandbox"
            )
        resolved = {}
        for container in self.containers.values():
            resolved[container.name] = self._resolved(container, names, problems)
        return replace(self, containers=resolved)

    def _check_endpoints(self, network: Network, problems: ProblemCollector) -> None:
        """A bridge has room for so many ports, and no MAC is on it twice."""
        on_network = [a for c in self.containers.values() for a in c.attachments if a.network == network.name]
        if len(on_network) > _BRIDGE_PORTS:
            problems.add(
                network.path,
                f"{len(on_network)} containers are on it, and a bridge of Linux has {_BRIDGE_PORTS} ports at most "
                "(BR_MAX_PORTS): spread them over several networks",
            )
        for attachment, other in _twins([(a.mac, a) for a in on_network if a.mac]):
            problems.add(
                attachment.path,
                f'"{attachment.mac}": is also the mac_address of {other.path}: give one of them another',
            )

    def _resolved(self, container: Container, names: Names, problems: ProblemCollector) -> Container:
        declared = {*self.networks, *names.networks.values()}
        for attachment in container.attachments:
            if attachment.network not in declared:
                problems.add(attachment.path, self._not_declared(attachment.network))
            if attachment.aliases and attachment.network == DEFAULT_NETWORK:
                problems.add(f"{attachment.path}.aliases", "the default network answers no names: use one of your own")
        networks = {attachment.network for attachment in container.attachments}
        for link in container.links:
            if link.target not in self.containers:
                known = ", ".join(self.containers)
                problems.add(link.path, f"no container {link.target} is declared; there are: {known}")
            elif networks.isdisjoint(a.network for a in self.containers[link.target].attachments):
                problems.add(link.path, f"{container.name} and {link.target} share no network: put both on one")
        gateways = self.host.host_gateway_ips or self.host.bridge
        if not gateways and any(address == HOST_GATEWAY for _name, address in container.extra_hosts):
            problems.add(
                f"{container.path}.extra_hosts",
                f"{HOST_GATEWAY} is an address of the default network, which wharf_host.bridge leaves to a dockerd: "
                "set wharf_host.host-gateway-ips",
            )
        if container.mode != CONTAINER_MODE:
            return container
        return replace(container, shares=self._owner_of_stack(container, problems))

    def _not_declared(self, network: str) -> str:
        if network == DEFAULT_NETWORK:
            return "wharf_host.bridge leaves the default network to a dockerd: name a network of your own in networks"
        return f"network {network} is not declared; there are: {', '.join(self.networks) or 'none'}"

    def _owner_of_stack(self, container: Container, problems: ProblemCollector) -> str:
        """The container at the end of a chain of `container:X`, which owns the stack they all share."""
        seen = [container.name]
        while True:
            current = self.containers[seen[-1]]
            if current.mode != CONTAINER_MODE:
                return current.name
            if current.shares not in self.containers:
                known = ", ".join(name for name in self.containers if name not in seen) or "none"
                problems.add(
                    f"{container.path}.network_mode", f"no container {current.shares} is declared; there are: {known}"
                )
                return ""
            if current.shares in seen:
                circle = " -> ".join([*seen, current.shares])
                problems.add(f"{container.path}.network_mode", f"{circle}: none of these owns a network stack")
                return ""
            seen.append(current.shares)

    def owner_of_stack(self, container: Container) -> Container:
        """The container whose stack this one uses: itself, or the one it shares."""
        return self.containers[container.shares] if container.shares else container


def source(words: Any, path: str) -> str:
    """Where the words stand: the loader of Compose files says so in `x-source`."""
    return str(words.get("x-source", path)) if isinstance(words, dict) else path


def _is_external(words: Any) -> bool:
    return isinstance(words, dict) and str(words.get("external")).lower() == "true"


def _real_names(entries: MappingOfWords, key: str) -> Dict[str, str]:
    return {
        name: str(words[key]) if isinstance(words, dict) and words.get(key) else name for name, words in entries.items()
    }


def _by_name(things: List[Any]) -> Dict[str, Any]:
    return {thing.name: thing for thing in sorted(things, key=lambda thing: str(thing.name))}


def _twins(keyed: Sequence[Tuple[str, Any]]) -> List[Tuple[Any, Any]]:
    """Pairs of things that have the same key: the later one and the first."""
    first: Dict[str, Any] = {}
    return [(thing, first[key]) for key, thing in keyed if first.setdefault(key, thing) is not thing]
