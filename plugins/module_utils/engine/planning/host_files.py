# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three files that give a container its names: `resolv.conf`, `hosts` and `hostname`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Collection, Dict, FrozenSet, Iterable, Iterator, List, Optional, Set, Tuple

from ..declaration.model import CONTAINER_MODE, HOST_GATEWAY, HOST_MODE, Attachment, Container, Network
from ..state import DEFAULT_NETWORK, DOCKER, ContainerFile, File, Object
from .plan import Plan
from .resolv_conf import ResolvConf

NETNS_FILES = "/etc/netns"
CONTAINER_FILES = ("hostname", "hosts", "resolv.conf")

# What Docker falls back to where the host has no nameserver that a container could reach.
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
    """The files of every container, where its runtime keeps them.

    Those of a named namespace are bound over `/etc` by `ip netns exec`.
    """
    peers = _Peers(plan)
    return [file for container in plan.model.containers.values() for file in _files(plan, container, peers)]


def _files(plan: Plan, container: Container, peers: _Peers) -> Iterator[Object]:
    owner = plan.model.owner_of_stack(container)
    if container.sandbox.is_managed:
        for file, content in _contents(plan, owner, peers).items():
            path = f"{NETNS_FILES}/{container.sandbox.name}/{file}"
            yield File(path, content, in_place=True, place=container.path)
    elif container.mode != HOST_MODE and not (container.mode == CONTAINER_MODE and container.sandbox.kind == DOCKER):
        # Docker itself gives a container the files of the one whose stack it shares; Podman does not.
        for file, content in _contents(plan, owner, peers).items():
            yield ContainerFile(f"{container.sandbox}:/etc/{file}", content, place=container.path)


def _contents(plan: Plan, owner: Container, peers: _Peers) -> Dict[str, str]:
    contents = {
        "hostname": _hostname(owner),
        "hosts": _hosts(plan, owner, peers),
        "resolv.conf": _resolv_conf(plan, owner),
    }
    return {file: content for file, content in contents.items() if content}


def _hostname(container: Container) -> str:
    """A container in mode host has the host's own name, which no file need say, unless it is given one."""
    if container.mode == HOST_MODE:
        return f"{container.hostname}\n" if container.hostname else ""
    return f"{container.effective_hostname}\n"


def _hosts(plan: Plan, container: Container, peers: _Peers) -> str:
    extra = "".join(f"{address}\t{name}\n" for address, name in _extra_hosts(plan, container))
    if container.mode == HOST_MODE:
        return f"{plan.facts.hosts}{extra}" if extra else ""
    own = "".join(f"{address}\t{_own_names(container)}\n" for address in _own_addresses(plan, container))
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
    """What `host-gateway` stands for: the host's own addresses on the default bridge, unless declared otherwise."""
    if plan.model.host.host_gateway_ips:
        return [str(address) for address in plan.model.host.host_gateway_ips]
    return [str(pool.gateway) for pool in plan.allotted.networks.get(DEFAULT_NETWORK, {}).values()]


def _own_names(container: Container) -> str:
    """A host name may have dots too: as in Docker, the first label is the short name."""
    return _unique([container.full_hostname, container.full_hostname.partition(".")[0]])


def _own_addresses(plan: Plan, container: Container) -> List[str]:
    return [address for attachment in container.attachments for address in plan.addresses(container.name, attachment)]


def _has_ipv6(plan: Plan, container: Container) -> bool:
    return any(container.has(plan.model.networks[attachment.network], 6) for attachment in container.attachments)


def _linked(plan: Plan, container: Container) -> Iterator[str]:
    """A link's alias leads to the target's address on the first network that both are on."""
    networks = [attachment.network for attachment in container.attachments]
    for link in container.links:
        target = plan.model.containers[link.target]
        shared: Optional[Attachment] = next((a for a in target.attachments if a.network in networks), None)
        if shared:
            names = _unique([link.alias, target.effective_hostname, target.name])
            for address in plan.addresses(target.name, shared):
                yield f"{address}\t{names}\n"


@dataclass(frozen=True)
class _Named:
    """A container on a network: by which names it is known at which addresses there."""

    addresses: Tuple[str, ...]
    names: Tuple[str, ...]

    def lines(self, left_out: Collection[str]) -> str:
        return _lines(self.addresses, [name for name in self.names if name.lower() not in left_out])


@dataclass(frozen=True)
class _View:
    """All containers on a set of networks, with their lines, and the names that are left out of these."""

    lines: Tuple[Tuple[str, str], ...]
    left_out: FrozenSet[str]


class _Peers:
    """The names of the containers on one's user-defined networks, without and before any resolver.

    A program that finds a name in this file is given the first address alone. So a name that several containers have is
    left to the resolver, where there is one, which gives all of them in turn.
    """

    def __init__(self, plan: Plan) -> None:
        self._asking = plan.resolvers.choices
        self._on: Dict[str, Dict[str, _Named]] = {}
        self._views: Dict[Tuple[Tuple[str, ...], bool], _View] = {}
        for container in plan.model.containers.values():
            for attachment in container.attachments:
                if attachment.network != DEFAULT_NETWORK:
                    addresses = tuple(plan.addresses(container.name, attachment))
                    named = _Named(addresses, container.names(attachment))
                    self._on.setdefault(attachment.network, {})[container.name] = named

    def lines(self, container: Container) -> str:
        """The others, after what the others know oneself by."""
        networks = tuple(a.network for a in container.attachments if a.network in self._on)
        way = (networks, container.name in self._asking)
        if way not in self._views:
            self._views[way] = self._view(*way)
        view = self._views[way]
        known = {*_own_names(container).lower().split(), *view.left_out}
        own = (self._on[network][container.name].lines(known) for network in networks)
        return "".join([*own, *(lines for name, lines in view.lines if name != container.name)])

    def _view(self, networks: Tuple[str, ...], asks: bool) -> _View:
        there = [item for network in networks for item in self._on[network].items()]
        left_out = _shared(there) if asks else frozenset()
        return _View(tuple((name, named.lines(left_out)) for name, named in there), left_out)


def _shared(there: Iterable[Tuple[str, _Named]]) -> FrozenSet[str]:
    """The names that more than one container has."""
    having: Dict[str, Set[str]] = {}
    for container, named in there:
        for name in named.names:
            having.setdefault(name.lower(), set()).add(container)
    return frozenset(name for name, containers in having.items() if len(containers) > 1)


def _lines(addresses: Iterable[str], names: List[str]) -> str:
    return "".join(f"{address}\t{_unique(names)}\n" for address in addresses) if names else ""


def _unique(names: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(names))


def _resolv_conf(plan: Plan, container: Container) -> str:
    host = plan.model.host
    declared = container.dns or container.dns_search or container.dns_opt
    if container.mode == HOST_MODE and not declared:
        return ""
    given = ResolvConf(plan.facts.resolv_conf)
    nameservers = [str(address) for address in container.dns or host.dns]
    question = plan.resolvers.choices.get(container.name)
    if question:
        # It asks in turn whom the container, its networks or the host name.
        nameservers = [str(question.resolver.at)]
    if not nameservers:
        # Nobody but those on its network may ask a gateway.
        gateways = {str(pool.gateway) for pools in plan.allotted.networks.values() for pool in pools.values()}
        nameservers = [address for address in given.nameservers if address not in gateways]
        if container.mode != HOST_MODE:
            nameservers = _reachable(nameservers, _has_ipv6(plan, container))
    search = list(container.dns_search or host.dns_search or given.search)
    options = list(container.dns_opt or host.dns_opts or given.options)
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
    """Those that a container can ask: not the host's loopback, and none of IPv6 where it has no IPv6."""
    addresses = [ipaddress.ip_address(address.partition("%")[0]) for address in nameservers]
    kept = [str(a) for a in addresses if not a.is_loopback and (a.version == 4 or ipv6)]
    return kept or [*_FALLBACK[4], *(_FALLBACK[6] if ipv6 else ())]
