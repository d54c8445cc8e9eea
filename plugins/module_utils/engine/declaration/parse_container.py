# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The networking words of Compose's `services` -> a container."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

from ..errors import ModelError, ProblemCollector
from ..state import DEFAULT_NETWORK, NETNS, PATH, PID, SandboxRef
from . import section as read
from .model import (
    CONTAINER_MODE,
    ENDPOINT_SYSCTLS,
    HOST_GATEWAY,
    HOST_MODE,
    NETWORKED,
    NONE_MODE,
    Attachment,
    Container,
    Link,
    StaticRoute,
)
from .parse_ports import PortMapping, port_range, protocol
from .places import SOURCE
from .section import Words, wrong
from .vocabulary import CONTAINER_KEYS_PASSED_OVER, DEPLOY_KEYS_PASSED_OVER, EXTENSION

_ONLY_ON_NETWORKS = ("networks", "mac_address", "ports", "links", "external_links")

# What Docker refuses beside a network stack that belongs to another container, or to the host, or to nobody.
_ONLY_WITH_OWN_STACK = ("dns", "dns_search", "dns_opt", "extra_hosts", "hostname", "domainname", "expose")
MODES = "bridge, host, none, service:NAME, container:NAME, or a network's name"


class _Mode(NamedTuple):
    """A mode, the container whose stack is shared, the network to join, and the word that says so."""

    mode: str
    shares: str
    network: str
    written: str


class Names(NamedTuple):
    """The real names of all declared networks and containers, by the keys they are called by."""

    networks: Mapping[str, str]
    containers: Mapping[str, str]


def parse_container(key: str, value: Any, path: str, names: Names, problems: ProblemCollector) -> Container:
    words = Words(value, path, problems)
    name = words.take("container_name", read.object_name, "") or key
    with problems.collect():
        read.object_name(name, path)
    before = len(problems.problems)
    given_mode = words.take_optional("network_mode", _network_mode)
    mode, shares, network, written = given_mode or _Mode(NETWORKED, "", DEFAULT_NETWORK, "")
    attachments: Tuple[Attachment, ...] = ()
    if mode == NETWORKED:
        named = words.take_all("networks", _attachments(names.networks))
        joined = Attachment(names.networks.get(network, network), f"{path}.network_mode" if given_mode else path)
        attachments = named or ((joined,) if len(problems.problems) == before else ())
        if given_mode and named:
            problems.add(f"{path}.network_mode", "cannot stand beside networks: give one of the two")
    else:
        if mode != NONE_MODE:
            words.refuse(
                ["sysctls"], f"belong to the owner of the network stack, which is another one in network_mode {written}"
            )
        words.refuse(_ONLY_ON_NETWORKS, f"has no meaning with network_mode {written}: leave it out")
    if mode == CONTAINER_MODE:
        words.refuse(_ONLY_WITH_OWN_STACK, f"belongs to the owner of the network stack: set it on {shares}")
    words.take("scale", _one, 1)
    deploy = words.inner("deploy")
    deploy.take("replicas", _one, 1)
    deploy.finish(passed_over=DEPLOY_KEYS_PASSED_OVER, extensible=True)
    links = (*words.take_all("links", read.list_of(_link)), *words.take_all("external_links", read.list_of(_link)))
    extension = words.inner(EXTENSION)
    container = Container(
        name=name,
        path=path,
        mode=mode,
        sandbox=extension.take("sandbox", parse_sandbox, SandboxRef(NETNS, name)),
        shares=names.containers.get(shares, shares),
        attachments=_with_primary_mac(attachments, words.take("mac_address", read.mac, ""), f"{path}.mac_address"),
        ports=words.take_all("ports", read.list_of(PortMapping.parse)),
        expose=words.take_all("expose", read.list_of(_exposed)),
        links=tuple(replace(link, target=names.containers.get(link.target, link.target)) for link in links),
        hostname=words.take("hostname", read.host_name, ""),
        domainname=words.take("domainname", read.host_name, ""),
        dns=words.take_all("dns", read.list_of(read.address)),
        dns_search=words.take_all("dns_search", read.list_of(read.one_line)),
        dns_opt=words.take_all("dns_opt", read.list_of(read.one_line)),
        extra_hosts=words.take_all("extra_hosts", _extra_hosts),
        sysctls=words.take_all("sysctls", _network_sysctls),
        routes=extension.take_all("routes", read.list_of(_route)),
    )
    extension.finish()
    words.refuse(
        ["extends"], "is followed in Compose files only (wharf_compose_files): say here what the other service says"
    )
    words.finish(passed_over=CONTAINER_KEYS_PASSED_OVER, extensible=True)
    return container


def _one(value: Any, path: str) -> int:
    if read.number(value, path) != 1:
        raise wrong(path, value, "is one container here: declare each of several by a name of its own")
    return 1


def _network_mode(value: Any, path: str) -> _Mode:
    word = read.text(value, path)
    kind, colon, target = word.partition(":")
    if colon and kind in ("service", "container") and target:
        return _Mode(CONTAINER_MODE, target, "", word)
    if colon:
        raise wrong(path, value, f"must be {MODES}")
    if word in (HOST_MODE, NONE_MODE):
        return _Mode(word, "", "", word)
    return _Mode(NETWORKED, "", DEFAULT_NETWORK if word == "default" else word, word)


def _attachments(networks: Mapping[str, str]) -> read.Parser[Tuple[Attachment, ...]]:
    def parse(value: Any, path: str) -> Tuple[Attachment, ...]:
        if isinstance(value, dict):
            given = read.mapping(value, path)
        else:
            given = dict.fromkeys(read.list_of(read.text)(value, path))
        problems = ProblemCollector()
        parsed: List[Attachment] = []
        for name, attachment_words in given.items():
            # In a Compose file a network has another name than the one that it gets on the host.
            own = attachment_words.get(SOURCE) if isinstance(attachment_words, dict) else None
            place = str(own or f"{path}.{name}")
            parsed.append(_attachment(networks.get(name, name), attachment_words, place, problems))
            if parsed[-1].network in [attachment.network for attachment in parsed[:-1]]:
                problems.add(place, f"is network {parsed[-1].network} again: leave one of the two out")
        problems.raise_if_any()
        return tuple(parsed)

    return parse


def _attachment(network: str, value: Any, path: str, problems: ProblemCollector) -> Attachment:
    words = Words(value, path, problems)
    attachment = Attachment(
        network=network,
        path=path,
        ipv4=words.take_optional("ipv4_address", read.address_of(4)),
        ipv6=words.take_optional("ipv6_address", read.address_of(6)),
        link_local=words.take_all("link_local_ips", read.list_of(_link_local)),
        mac=words.take_optional("mac_address", read.mac),
        mac_path=f"{path}.mac_address",
        interface=words.take_optional("interface_name", read.interface_name),
        aliases=words.take_all("aliases", read.list_of(read.host_name)),
        gw_priority=words.take("gw_priority", read.number, 0),
        priority=words.take("priority", read.number, 0),
        sysctls=words.take_all("driver_opts", _endpoint_sysctls),
    )
    words.finish(extensible=True)
    return attachment


def _with_primary_mac(attachments: Tuple[Attachment, ...], mac: str, path: str) -> Tuple[Attachment, ...]:
    """The service's own `mac_address` is that of the network with the highest priority, as in Compose."""
    if not mac or not attachments:
        return attachments
    primary = min(attachments, key=lambda attachment: (-attachment.priority, attachment.network))
    return tuple(replace(a, mac=mac, mac_path=path) if a is primary and not a.mac else a for a in attachments)


def _link_local(value: Any, path: str) -> read.Address:
    found = read.address(value, path)
    if not found.is_link_local:
        raise wrong(path, value, "must be a link-local address, in 169.254.0.0/16 or fe80::/10")
    return found


def _endpoint_sysctls(value: Any, path: str) -> Tuple[Tuple[str, str], ...]:
    """`net.ipv4.conf.IFNAME.log_martians=1,…`, of which each becomes `ipv4.log_martians`."""
    options = dict(read.pairs("=")(value, path))
    given = options.pop(ENDPOINT_SYSCTLS, "")
    if options:
        raise ModelError.at(f"{path}.{next(iter(options))}", read.NOT_YET)
    parsed = []
    for setting in filter(None, given.split(",")):
        match = re.fullmatch(r"net\.(ipv[46])\.conf\.IFNAME\.(\w+)=(.+)", setting.strip())
        if not match:
            raise wrong(f"{path}.{ENDPOINT_SYSCTLS}", setting, "must be net.ipv4.conf.IFNAME.KEY=VALUE, or ipv6")
        parsed.append((f"{match[1]}.{match[2]}", match[3]))
    return _each_once(parsed, f"{path}.{ENDPOINT_SYSCTLS}")


def parse_sandbox(value: Any, path: str) -> SandboxRef:
    ref = SandboxRef.parse(read.text(value, path))
    if ref.kind == PID and re.fullmatch("[0-9]{1,9}", ref.name):
        return ref
    if ref.kind == PATH and ref.name.startswith("/"):
        return ref
    if ref.is_managed or ref.has_runtime:
        if not ref.name:
            raise wrong(path, value, f"must be {ref.kind}:NAME")
        read.foreign_name(ref.name, path)
        return ref
    raise wrong(path, value, "must be netns:NAME, docker:NAME, podman:NAME, machine:NAME, pid:N or path:/run/…")


def _exposed(value: Any, path: str) -> str:
    ports, _slash, name = read.text(value, path).partition("/")
    port_range(ports, path)
    return f"{ports}/{protocol(name or 'tcp', path)}"


def _link(value: Any, path: str) -> Link:
    """`CONTAINER` or `CONTAINER:ALIAS`."""
    target, _colon, alias = read.text(value, path).partition(":")
    return Link(path, target, read.host_name(alias or target, path))


def _extra_hosts(value: Any, path: str) -> Tuple[Tuple[str, str], ...]:
    """A mapping of names to an address or a list of them, or a list of `NAME=ADDRESS` or `NAME:ADDRESS`."""
    if isinstance(value, dict):
        lines = [
            (name, address, f"{path}.{name}")
            for name, addresses in read.mapping(value, path).items()
            for address in read.list_of(read.text)(addresses, f"{path}.{name}")
        ]
    else:
        given = read.pairs("=:", "NAME=ADDRESS")(value, path)
        lines = [(name, address, f"{path}[{index}]") for index, (name, address) in enumerate(given)]
    return tuple((read.host_name(name, where), _host_address(address, where)) for name, address, where in lines)


def _host_address(value: str, path: str) -> str:
    if value == HOST_GATEWAY:
        return value
    try:
        return str(read.address(value, path))
    except ModelError:
        raise wrong(path, value, f"must be an IPv4 or IPv6 address, or {HOST_GATEWAY}") from None


def _network_sysctls(value: Any, path: str) -> Tuple[Tuple[str, str], ...]:
    """Those below `net.`: the others are about other namespaces, and the runtime's to set."""
    found = [(key, item) for key, item in read.pairs("=")(value, path) if re.match(r"net[./]", key)]
    for key, _item in found:
        if not re.fullmatch(r"net(\.[\w-]+(/[\w-]+)*)+", key):
            raise wrong(path, key, "must be a parameter such as net.ipv4.ip_unprivileged_port_start")
    return _each_once(found, path)


def _each_once(parameters: List[Tuple[str, str]], path: str) -> Tuple[Tuple[str, str], ...]:
    """In the order of their names."""
    found: Dict[str, str] = {}
    for key, value in parameters:
        if found.setdefault(key, value) != value:
            raise ModelError.at(f"{path}.{key}", f'is given as "{found[key]}" and as "{value}": leave one of them out')
    return tuple(sorted(found.items()))


def _route(value: Any, path: str) -> StaticRoute:
    problems = ProblemCollector()
    words = Words(value, path, problems)
    to = words.take_optional("to", read.subnet)
    via = words.take_optional("via", read.address)
    words.finish()
    problems.raise_if_any()
    if to is None or via is None or to.version != via.version:
        raise ModelError.at(path, "needs `to` (a subnet) and `via` (a gateway), both of one family")
    return StaticRoute(path, to, via)
