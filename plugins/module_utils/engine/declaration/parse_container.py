# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The networking keys of an entry of Compose's `services` -> a container."""

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
from .parse_ports import ExposedPorts, PortMapping, port_range, protocol
from .parse_rates import RATE, take_rates
from .parse_vlans import VLAN, take_vlans
from .places import SOURCE
from .section import Section, whole_section, wrong
from .vocabulary import CONTAINER_KEYS_PASSED_OVER, DEPLOY_KEYS_PASSED_OVER, EXTENSION

_ONLY_ON_NETWORKS = ("networks", "mac_address", "ports", "links", "external_links")

# The keys of one network of a container that Compose has there only.
_OF_ONE_NETWORK = ("ipv4_address", "ipv6_address", "link_local_ips", "interface_name", "aliases", "gw_priority")

# The keys that Docker refuses for a container that shares another container's network stack.
_ONLY_WITH_OWN_STACK = ("dns", "dns_search", "dns_opt", "extra_hosts", "hostname", "domainname", "expose")
MODES = "bridge, host, none, service:NAME, container:NAME, or a network's name"


class _Mode(NamedTuple):
    """A container's mode, the container whose sandbox it shares, the network it joins, and the value as declared."""

    kind: str
    shares: str
    network: str
    written: str


class DeclaredNames(NamedTuple):
    """The names on the host of all declared networks and containers, by their keys."""

    networks: Mapping[str, str]
    containers: Mapping[str, str]


def parse_container(key: str, value: Any, path: str, names: DeclaredNames, problems: ProblemCollector) -> Container:
    section = Section(value, path, problems)
    name = section.take("container_name", read.object_name, "") or key
    with problems.collect():
        read.object_name(name, path)
    before = len(problems.problems)
    mode = section.take_optional("network_mode", _network_mode)
    attachments: Tuple[Attachment, ...] = ()
    if mode is None or mode.kind == NETWORKED:
        attachments = section.take_all("networks", _attachments(names.networks))
        if mode and attachments:
            problems.add(f"{path}.network_mode", "cannot be combined with networks: give one of the two")
        if not attachments and len(problems.problems) == before:
            network = mode.network if mode else DEFAULT_NETWORK
            place = f"{path}.network_mode" if mode else path
            attachments = (Attachment(names.networks.get(network, network), place),)
    else:
        _refuse_for_mode(section, mode)
    _refuse_replicas(section)
    links = (*section.take_all("links", read.list_of(_link)), *section.take_all("external_links", read.list_of(_link)))
    extension = section.inner(EXTENSION)
    container = Container(
        name=name,
        path=path,
        mode=mode.kind if mode else NETWORKED,
        sandbox=extension.take("sandbox", parse_sandbox, SandboxRef(NETNS, name)),
        shares=names.containers.get(mode.shares, mode.shares) if mode else "",
        attachments=_with_primary_mac(attachments, section.take("mac_address", read.mac, ""), f"{path}.mac_address"),
        ports=section.take_all("ports", read.list_of(PortMapping.parse)),
        expose=section.take_all("expose", read.list_of(_exposed)),
        links=tuple(replace(link, target=names.containers.get(link.target, link.target)) for link in links),
        hostname=section.take("hostname", read.host_name, ""),
        domainname=section.take("domainname", read.host_name, ""),
        dns=section.take_all("dns", read.list_of(read.address)),
        dns_search=section.take_all("dns_search", read.list_of(read.one_line)),
        dns_opt=section.take_all("dns_opt", read.list_of(read.one_line)),
        extra_hosts=section.take_all("extra_hosts", _extra_hosts),
        sysctls=section.take_all("sysctls", _network_sysctls),
        routes=extension.take_all("routes", read.list_of(_route)),
    )
    extension.finish(
        elsewhere=dict.fromkeys((RATE, VLAN), "belongs to one of its networks: move it to the x-wharf of that one")
    )
    section.refuse(
        ["extends"], "is supported in Compose files only (wharf_compose_files): copy the keys of the other service here"
    )
    elsewhere = dict.fromkeys(_OF_ONE_NETWORK, "belongs to one of its networks: move it there")
    section.finish(passed_over=CONTAINER_KEYS_PASSED_OVER, extensible=True, elsewhere=elsewhere)
    return container


def container_name(key: str, raw: Any) -> str:
    """The name on the host of the container that is declared by this key."""
    return str(raw.get("container_name") or key) if isinstance(raw, Mapping) else key


def _refuse_for_mode(section: Section, mode: _Mode) -> None:
    """Refuse the keys that have no meaning in the modes host, none and container."""
    if mode.kind != NONE_MODE:
        section.refuse(
            ["sysctls"],
            f"belong to the owner of the network stack, which is another one in network_mode {mode.written}",
        )
    section.refuse(_ONLY_ON_NETWORKS, f"has no meaning with network_mode {mode.written}: leave it out")
    if mode.kind == CONTAINER_MODE:
        section.refuse(_ONLY_WITH_OWN_STACK, f"belongs to the owner of the network stack: set it on {mode.shares}")


def _refuse_replicas(section: Section) -> None:
    section.take("scale", _one, 1)
    deploy = section.inner("deploy")
    deploy.take("replicas", _one, 1)
    deploy.finish(passed_over=DEPLOY_KEYS_PASSED_OVER, extensible=True)


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
        for name, raw in given.items():
            # An entry of a Compose file has its place noted, since a network's name there is not its name on the host.
            noted = raw.get(SOURCE) if isinstance(raw, dict) else None
            place = str(noted or f"{path}.{name}")
            parsed.append(_attachment(networks.get(name, name), raw, place, problems))
            if parsed[-1].network in [attachment.network for attachment in parsed[:-1]]:
                problems.add(place, f"is network {parsed[-1].network} again: leave one of the two out")
        problems.raise_if_any()
        return tuple(parsed)

    return parse


def _attachment(network: str, value: Any, path: str, problems: ProblemCollector) -> Attachment:
    section = Section(value, path, problems)
    extension = section.inner(EXTENSION)
    if not section.take("use_service_name_alias", read.flag, True):
        why = "only a service of a Compose file has another name than its container: leave this out"
        problems.add(f"{path}.use_service_name_alias", f"false: {why}")
    attachment = Attachment(
        network=network,
        path=path,
        ipv4=section.take_optional("ipv4_address", read.address_of(4)),
        ipv6=section.take_optional("ipv6_address", read.address_of(6)),
        link_local=section.take_all("link_local_ips", read.list_of(_link_local)),
        mac=section.take_optional("mac_address", read.mac),
        mac_path=f"{path}.mac_address",
        interface=section.take_optional("interface_name", read.interface_name),
        aliases=section.take_all("aliases", read.list_of(read.host_name)),
        gw_priority=section.take("gw_priority", read.number, 0),
        priority=section.take("priority", read.number, 0),
        sysctls=section.take_all("driver_opts", _endpoint_sysctls),
        rates=take_rates(extension),
        vlans=take_vlans(extension),
    )
    extension.finish(
        elsewhere=dict.fromkeys(
            ("sandbox", "routes"), "belongs to the container: move it to the x-wharf beside networks"
        )
    )
    section.finish(extensible=True)
    return attachment


def _with_primary_mac(attachments: Tuple[Attachment, ...], mac: str, path: str) -> Tuple[Attachment, ...]:
    """The service's own `mac_address` is for the network with the highest priority, as in Compose."""
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
    """`net.ipv4.conf.IFNAME.log_martians=1,…`: each name becomes the form `ipv4.log_martians`."""
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
    if ref.kind == PID and re.fullmatch("[1-9][0-9]{0,8}", ref.name):
        return ref
    if ref.kind == PATH and ref.name.startswith("/") and ref.name.isprintable():
        return ref
    if ref.is_managed or ref.has_runtime:
        if not ref.name:
            raise wrong(path, value, f"must be {ref.kind}:NAME")
        read.docker_name(ref.name, path)
        return ref
    raise wrong(path, value, "must be netns:NAME, docker:NAME, podman:NAME, machine:NAME, pid:N or path:/run/…")


def _exposed(value: Any, path: str) -> ExposedPorts:
    ports, _slash, name = read.text(value, path).partition("/")
    return ExposedPorts(port_range(ports, path), protocol(name or "tcp", path))


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
    """The parameters below `net.`. Others belong to other namespaces, and the runtime sets them."""
    found = [(key, item) for key, item in read.pairs("=")(value, path) if re.match(r"net[./]", key)]
    for key, _item in found:
        if not re.fullmatch(r"net(\.[\w-]+(/[\w-]+)*)+", key):
            raise wrong(path, key, "must be a parameter such as net.ipv4.ip_unprivileged_port_start")
    return _each_once(found, path)


def _each_once(parameters: List[Tuple[str, str]], path: str) -> Tuple[Tuple[str, str], ...]:
    """The parameters in the order of their names.

    Raises:
        ModelError: one has two values.
    """
    found: Dict[str, str] = {}
    for key, value in parameters:
        if found.setdefault(key, value) != value:
            raise ModelError.at(f"{path}.{key}", f'is given as "{found[key]}" and as "{value}": leave one of them out')
    return tuple(sorted(found.items()))


def _route(value: Any, path: str) -> StaticRoute:
    with whole_section(value, path) as section:
        to = section.take_optional("to", read.subnet)
        via = section.take_optional("via", read.address)
    if to is None or via is None or to.version != via.version:
        raise ModelError.at(path, "needs `to` (a subnet) and `via` (a gateway), both of one family")
    return StaticRoute(path, to, via)
