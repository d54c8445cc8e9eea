# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three files of a container that are about names: `resolv.conf`, `hosts` and `hostname`."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import Collection, Dict, FrozenSet, Iterable, Iterator, List, Optional, Set, Tuple, Union

from ..declaration.model import CONTAINER_MODE, HOST_GATEWAY, HOST_MODE, Attachment, Container, Network
from ..state import DEFAULT_NETWORK, DOCKER, ContainerFile, File, Object
from .plan import Plan
from .resolv_conf import ResolvConf

NETNS_FILES = "/etc/netns"
CONTAINER_FILES = ("hostname", "hosts", "resolv.conf")

# Docker's default nameservers, for a host that has none that a container could reach.
_FALLBACK = {4: ("8.8.8.8", "8.8.4.4"), 6: ("2001:4860:4860::8888", "2001:4860:4860::8844")}

_LOOPBACK_HOSTS = "127.0.0.1\tlocalhost\n"
_IPV6_HOSTS = (
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)


def dns_files(plan: Plan) -> List[Object]:
    """The files of every container: where its runtime keeps them, or below `/etc/netns` for a named namespace.

    `ip netns exec` mounts files from there over those in `/etc`.
    """
    peers = _Peers(plan)
    return [file for container in plan.model.containers.values() for file in _files(plan, container, peers)]


def contents_of(plan: Plan, container: Container) -> Dict[str, str]:
    """The content of each file that the plan writes for a container, by the file's name in `/etc`."""
    return {os.path.basename(file.name): file.content for file in _files(plan, container, _Peers(plan))}


def _files(plan: Plan, container: Container, peers: _Peers) -> Iterator[Union[File, ContainerFile]]:
    owner = plan.model.owner_of_stack(container)
    if container.sandbox.is_managed:
        for file, content in _contents(plan, owner, peers).items():
            path = f"{NETNS_FILES}/{container.sandbox.name}/{file}"
            yield File(path, content, in_place=True, place=container.path)
    elif container.mode != HOST_MODE and not (container.mode == CONTAINER_MODE and container.sandbox.kind == DOCKER):
        # Docker itself gives a container the files of the container whose sandbox it shares; Podman does not.
        for file, content in _contents(plan, owner, peers).items():
            yield ContainerFile(container.sandbox, f"/etc/{file}", content, place=container.path)


def _contents(plan: Plan, owner: Container, peers: _Peers) -> Dict[str, str]:
    contents = {
        "hostname": _hostname(owner),
        "hosts": _hosts(plan, owner, peers),
        "resolv.conf": _resolv_conf(plan, owner),
    }
    return {file: content for file, content in contents.items() if content}


def _hostname(container: Container) -> str:
    """The content of `hostname`. A container in mode host needs no file for the host's own name."""
    if container.mode == HOST_MODE:
        return f"{container.hostname}\n" if container.hostname else ""
    return f"{container.effective_hostname}\n"


def _hosts(plan: Plan, container: Container, peers: _Peers) -> str:
    extra = "".join(f"{address}\t{name}\n" for address, name in _extra_hosts(plan, container))
    if container.mode == HOST_MODE:
        return f"{plan.facts.hosts}{extra}" if extra else ""
    names = _unique(_own_names(container))
    own = "".join(f"{address}\t{names}\n" for address in _own_addresses(plan, container))
    ipv6_lines = _IPV6_HOSTS if _has_ipv6(plan, container) else ""
    linked = "".join(_linked(plan, container))
    return f"{_LOOPBACK_HOSTS}{ipv6_lines}{extra}{own}{linked}{peers.lines(container)}"


def _extra_hosts(plan: Plan, container: Container) -> Iterator[Tuple[str, str]]:
    for name, address in container.extra_hosts:
        if address != HOST_GATEWAY:
            yield address, name
            continue
        for gateway in _host_gateways(plan):
            yield gateway, name


def _host_gateways(plan: Plan) -> List[str]:
    """The addresses that `host-gateway` stands for: the declared ones, or the host's own on the default bridge."""
    if plan.model.host.host_gateway_ips:
        return [str(address) for address in plan.model.host.host_gateway_ips]
    return [str(pool.gateway) for pool in plan.allotted.networks.get(DEFAULT_NETWORK, ())]


def _own_names(container: Container) -> List[str]:
    """The full host name of a container, and the short one: as in Docker, the first label."""
    return [container.full_hostname, container.effective_hostname.partition(".")[0]]


def _own_addresses(plan: Plan, container: Container) -> List[str]:
    return [address for attachment in container.attachments for address in plan.addresses(container.name, attachment)]


def _has_ipv6(plan: Plan, container: Container) -> bool:
    return any(container.has(plan.model.networks[attachment.network], 6) for attachment in container.attachments)


def _linked(plan: Plan, container: Container) -> Iterator[str]:
    """The lines for links: the alias has the target's addresses on the first network that both containers are on."""
    networks = [attachment.network for attachment in container.attachments]
    for link in container.links:
        target = plan.model.containers[link.target]
        shared: Optional[Attachment] = next((a for a in target.attachments if a.network in networks), None)
        if shared:
            names = _unique([link.alias, target.effective_hostname, target.name])
            for address in plan.addresses(target.name, shared):
                yield f"{address}\t{names}\n"


@dataclass(frozen=True)
class _NamedEndpoint:
    """The addresses and the names of a container on one network."""

    addresses: Tuple[str, ...]
    names: Tuple[str, ...]

    def lines(self, omitted: Collection[str]) -> str:
        names = _unique(name for name in self.names if name.lower() not in omitted)
        return "".join(f"{address}\t{names}\n" for address in self.addresses) if names else ""


# The lines of all containers on a set of networks, by container, and the names that they omit. Containers on the same
# networks have them in common, so they are made once.
_SharedLines = Tuple[List[Tuple[str, str]], FrozenSet[str]]


class _Peers:
    """The lines of `hosts` for the containers on the same user-defined networks.

    A lookup in `hosts` gives the first address of a name only. So a name that several containers have is omitted where
    a resolver is assigned, which answers with the addresses of all of them in turn.
    """

    def __init__(self, plan: Plan) -> None:
        self._assignments = plan.resolvers.assignments
        self._on: Dict[str, Dict[str, _NamedEndpoint]] = {}
        self._shared: Dict[Tuple[Tuple[str, ...], bool], _SharedLines] = {}
        for container, attachment in plan.model.attachments:
            if attachment.network != DEFAULT_NETWORK:
                addresses = tuple(plan.addresses(container.name, attachment))
                endpoint = _NamedEndpoint(addresses, container.names(attachment))
                self._on.setdefault(attachment.network, {})[container.name] = endpoint

    def lines(self, container: Container) -> str:
        """The container's own aliases, and then the names of its peers."""
        networks = tuple(a.network for a in container.attachments if a.network in self._on)
        key = (networks, container.name in self._assignments)
        if key not in self._shared:
            self._shared[key] = self._shared_lines(*key)
        lines_by_container, ambiguous = self._shared[key]
        omitted = {*(name.lower() for name in _own_names(container)), *ambiguous}
        own = (self._on[network][container.name].lines(omitted) for network in networks)
        return "".join([*own, *(lines for name, lines in lines_by_container if name != container.name)])

    def _shared_lines(self, networks: Tuple[str, ...], has_resolver: bool) -> _SharedLines:
        endpoints = [item for network in networks for item in self._on[network].items()]
        omitted = _ambiguous_names(endpoints) if has_resolver else frozenset()
        return [(name, endpoint.lines(omitted)) for name, endpoint in endpoints], omitted


def _ambiguous_names(endpoints: Iterable[Tuple[str, _NamedEndpoint]]) -> FrozenSet[str]:
    """The names that more than one container has."""
    containers_by_name: Dict[str, Set[str]] = {}
    for container, endpoint in endpoints:
        for name in endpoint.names:
            containers_by_name.setdefault(name.lower(), set()).add(container)
    return frozenset(name for name, containers in containers_by_name.items() if len(containers) > 1)


def _unique(names: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(names))


def _resolv_conf(plan: Plan, container: Container) -> str:
    host = plan.model.host
    declared = container.dns or container.dns_search or container.dns_opt
    if container.mode == HOST_MODE and not declared:
        return ""
    of_host = ResolvConf(plan.facts.resolv_conf)
    nameservers = [str(address) for address in container.dns or host.dns]
    assigned = plan.resolvers.assignments.get(container.name)
    if assigned:
        # The resolver forwards to the nameservers that the container, its networks or the host declare.
        nameservers = [str(assigned.resolver.address)]
    if not nameservers:
        # The host may use a network's resolver at its gateway, but containers on other networks may not.
        nameservers = [address for address in of_host.nameservers if address not in plan.gateways]
        if container.mode != HOST_MODE:
            nameservers = _reachable(nameservers, _has_ipv6(plan, container))
    search = list(container.dns_search or host.dns_search or of_host.search)
    options = list(container.dns_opt or host.dns_opts or of_host.options)
    if _on_user_network(plan, container) and not any(option.startswith("ndots:") for option in options):
        options.append("ndots:0")
    lines = [f"nameserver {address}" for address in nameservers]
    lines += [f"search {' '.join(search)}"] if search and search != ["."] else []
    lines += [f"options {' '.join(options)}"] if options else []
    return "".join(f"{line}\n" for line in lines)


def _on_user_network(plan: Plan, container: Container) -> bool:
    networks: List[Network] = [plan.model.networks[attachment.network] for attachment in container.attachments]
    return any(not network.is_default for network in networks)


def _reachable(nameservers: List[str], ipv6: bool) -> List[str]:
    """The nameservers that a container reaches: not on the host's loopback, and by IPv6 only where it has IPv6."""
    addresses = [ipaddress.ip_address(address.partition("%")[0]) for address in nameservers]
    kept = [str(a) for a in addresses if not a.is_loopback and (a.version == 4 or ipv6)]
    return kept or [*_FALLBACK[4], *(_FALLBACK[6] if ipv6 else ())]
