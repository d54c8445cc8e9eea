# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declaration of a whole host -> the model, with all problems in one report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, Hashable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

from ..errors import Problem, ProblemCollector, is_within
from ..state import DEFAULT_NETWORK
from .drivers import OverlayDriver
from .model import CONTAINER_MODE, HOST_GATEWAY, RULES_KEYS, Container, Host, Model, Network, UserRule
from .parent_references import check_parents
from .parse_bridge import option_path
from .parse_container import MODES, DeclaredNames, container_name, parse_container
from .parse_host import default_network, parse_host
from .parse_network import check_reference, is_external, network_name, parse_network
from .parse_user_rules import parse_user_rules
from .places import SOURCE, Places
from .record_references import check_records
from .section import Raw
from .user_rule_references import ineffective_rules

_VARIABLES = Places()

# The kernel's BR_MAX_PORTS is 1024, and port number 0 is not used.
_BRIDGE_PORTS = 1023


def read_model(
    host: Optional[Raw],
    networks: Raw,
    containers: Raw,
    docker_user: Sequence[Any],
    problems: ProblemCollector,
    idle: Optional[ProblemCollector] = None,
    firewall: Optional[Raw] = None,
    places: Places = _VARIABLES,
    has_docker: bool = True,
) -> Model:
    """The model of the entries without problems, so that planning it can report further problems.

    Where `host` is None, a dockerd, say, has the default network and publishes ports; `firewall` has the host's keys
    for the firewall backend then. `idle` collects the problems of rules that match nothing, which are ordinary problems
    if it is not given. `places` are those of the call, for entries that do not note their own. `has_docker`: a dockerd
    may publish ports where docker0 is left to it.

    Raises:
        ModelError: `host` has a problem, on which all others depend.
    """
    raw_host = {"bridge": "none", SOURCE: places.part("host"), **(firewall or {})} if host is None else host
    read = parse_declaration(raw_host, networks, containers, docker_user, places, problems)
    settings, names = read.host, read.names
    parsed_networks, parsed_containers, rules = read.networks, read.containers, read.rules
    for things in (parsed_networks, parsed_containers):
        for thing, other in _duplicates([(thing.name, thing) for thing in things]):
            problems.add(thing.path, f"its name {thing.name} is also that of {other.path}: rename one")
    if docker_user and len(settings.without_rules) == len(RULES_KEYS):
        keys = " or ".join(f"{settings.path}.{key}" for key in RULES_KEYS.values())
        problems.add(places.of(docker_user[0], "docker_user[0]"), f"needs rules: set {keys} to true")
    model = Model(settings, _by_name(parsed_networks), _by_name(parsed_containers), rules)
    model = _checked(model, names, problems)
    others_publish = host is None or (settings.bridge is None and has_docker)
    # A port mapping with problems may be the one that a rule names.
    has_problems = any(is_within(each.path, f"{c.path}.ports") for c in parsed_containers for each in problems.problems)
    knows_ports = not others_publish and not has_problems
    ineffective = ineffective_rules(model, _declared_networks(model, names), knows_ports)
    (problems if idle is None else idle).problems += ineffective
    if _has_any(settings, problems.problems):
        problems.raise_if_any()
    return replace(model, containers=_containers_without_problems(model, problems.problems))


class _Parsed(NamedTuple):
    """The parsed entries of a declaration, whose references are not resolved."""

    host: Host
    networks: List[Network]
    containers: List[Container]
    rules: Tuple[UserRule, ...]
    names: DeclaredNames


def parse_declaration(
    host: Raw,
    networks: Raw,
    containers: Raw,
    docker_user: Sequence[Any],
    places: Places,
    problems: ProblemCollector,
) -> _Parsed:
    """Parse the entries of a declaration, without resolving references between them."""
    settings = parse_host(host, places.of_host(host), problems)
    parsed_networks: List[Network] = []
    with problems.collect():
        parsed_networks += default_network(settings)
    names = DeclaredNames(
        {key: network_name(key, raw) for key, raw in networks.items()},
        {key: container_name(key, raw) for key, raw in containers.items()},
    )
    declaring = _declaring(networks, names)
    paths = {key: places.of(raw, f"networks.{key}") for key, raw in networks.items()}
    for key, raw in networks.items():
        if not is_external(raw) or key in declaring.values():
            parsed_networks += parse_network(key, raw, paths[key], settings, problems)
        else:
            check_reference(raw, paths[key], paths[declaring[names.networks[key]]], problems)
    parsed_containers = [
        parse_container(key, raw, places.of(raw, f"containers.{key}"), names, problems)
        for key, raw in containers.items()
    ]
    rules = parse_user_rules(docker_user, names.containers, names.networks, places, problems)
    return _Parsed(settings, parsed_networks, parsed_containers, rules, names)


def without_problems(model: Model, problems: Sequence[Problem]) -> Model:
    """The model without the networks and containers that have problems, and without the admin's rules, which may name
    these.
    """
    networks = {name: network for name, network in model.networks.items() if not _has_any(network, problems)}
    model = replace(model, networks=networks, docker_user=())
    return replace(model, containers=_containers_without_problems(model, problems))


def _has_any(thing: Union[Host, Network, Container], problems: Sequence[Problem]) -> bool:
    return any(is_within(each.path, thing.path) for each in problems)


def _containers_without_problems(model: Model, problems: Sequence[Problem]) -> Dict[str, Container]:
    """The containers that have no problem, are on networks without problems, and share no sandbox of one that has."""
    if not problems:
        return dict(model.containers)

    def is_valid(container: Container) -> bool:
        return not _has_any(container, problems) and all(a.network in model.networks for a in container.attachments)

    valid = {name: container for name, container in model.containers.items() if is_valid(container)}
    return {
        name: replace(container, links=tuple(link for link in container.links if link.target in valid))
        for name, container in valid.items()
        if not container.shares or container.shares in valid
    }


def _declaring(networks: Raw, names: DeclaredNames) -> Dict[str, str]:
    """For each network's name on the host, the key that declares it. Of external ones only, the longest does."""
    by_weight = sorted(networks, key=lambda key: (is_external(networks[key]), -_weight(networks[key])))
    declaring: Dict[str, str] = {}
    for key in by_weight:
        declaring.setdefault(names.networks[key], key)
    return declaring


def _weight(raw: Any) -> int:
    said = {key: value for key, value in raw.items() if key != SOURCE} if isinstance(raw, Mapping) else raw
    return len(str(said))


def _checked(model: Model, names: DeclaredNames, problems: ProblemCollector) -> Model:
    """The model with references resolved. A network with problems of its own counts as declared."""
    for network in model.networks.values():
        _check_endpoints(model, network, problems)
        if not network.bypasses_host:
            _check_rules(model.host, network, problems)
        check_records(model, network, problems)
    check_parents(model, problems)
    for thing, other in _duplicates([(n.bridge, n) for n in model.bridged if not n.external]):
        problems.add(thing.path, f"its bridge {thing.bridge} is also that of {other.path}: name another one")
    for container, other in _duplicates([(c.sandbox, c) for c in model.containers.values()]):
        problems.add(
            container.path, f"{container.sandbox} is also the sandbox of {other.path}: give it an x-wharf.sandbox"
        )
    resolved = {}
    for container in model.containers.values():
        resolved[container.name] = _resolved(model, container, names, problems)
    return replace(model, containers=resolved)


def _check_endpoints(model: Model, network: Network, problems: ProblemCollector) -> None:
    """Check the number of a bridge's ports, and that no MAC is on it twice."""
    on_network = [a for c in model.containers.values() for a in c.attachments if a.network == network.name]
    if len(on_network) > _BRIDGE_PORTS and not network.sublinks:
        problems.add(
            network.path,
            f"{len(on_network)} containers are on it, and a bridge of Linux has {_BRIDGE_PORTS} ports at most "
            "(BR_MAX_PORTS): spread them over several networks",
        )
    for attachment, other in _duplicates([(a.mac, a) for a in on_network if a.mac]):
        problems.add(
            attachment.mac_path,
            f'"{attachment.mac}": is also {other.mac_path}: give one of them another',
        )


def _check_rules(host: Host, network: Network, problems: ProblemCollector) -> None:
    """Refuse options that need firewall rules for an IP family that has none (`iptables: false`)."""
    icc = option_path(network, "com.docker.network.bridge.enable_icc")
    for version, key in host.without_rules.items():
        wanted = {
            f"{network.path}.internal": network.internal,
            f"{host.path}.icc" if network.is_default else icc: not network.icc,
            option_path(network, f"com.docker.network.host_ipv{version}"): network.snat(version) is not None,
            f"{network.path}.x-wharf.mss_clamp": network.mss_clamp,
        }
        paths = [path for path, is_wanted in wanted.items() if is_wanted and network.has(version)]
        for path in [*paths, *([f"{network.path}.driver"] if _is_sent_in(network, version) else [])]:
            problems.add(
                path, f"cannot hold without rules for IPv{version}: leave this out, or {host.path}.{key}: false"
            )


def _is_sent_in(network: Network, version: int) -> bool:
    """Whether packets between the hosts of an overlay network are of this IP family, inside or outside of VXLAN."""
    driver = network.driver
    return isinstance(driver, OverlayDriver) and (network.has(version) or driver.own.address.version == version)


def _declared_networks(model: Model, names: DeclaredNames) -> Set[str]:
    """All declared networks, also those with problems, which are not in the model."""
    default = set() if model.host.bridge is None else {DEFAULT_NETWORK}
    return {*model.networks, *names.networks.values(), *default}


def _resolved(model: Model, container: Container, names: DeclaredNames, problems: ProblemCollector) -> Container:
    declared = _declared_networks(model, names)
    for attachment in container.attachments:
        if attachment.network not in declared:
            is_mode = attachment.path == f"{container.path}.network_mode"
            modes = f"; a mode is {MODES}" if is_mode and attachment.network != DEFAULT_NETWORK else ""
            problems.add(attachment.path, _not_declared(model, attachment.network) + modes)
        if attachment.aliases and attachment.network == DEFAULT_NETWORK:
            problems.add(f"{attachment.path}.aliases", "the default network answers no names: use one of your own")
    networks = {attachment.network for attachment in container.attachments}
    for link in container.links:
        if link.target not in model.containers:
            known = ", ".join(model.containers)
            problems.add(link.path, f"no container {link.target} is declared; there are: {known}")
        elif networks.isdisjoint(a.network for a in model.containers[link.target].attachments):
            problems.add(link.path, f"{container.name} and {link.target} share no network: put both on one")
    host, gateways = model.host.path, model.host.host_gateway_ips or model.host.bridge
    if not gateways and any(address == HOST_GATEWAY for _name, address in container.extra_hosts):
        problems.add(
            f"{container.path}.extra_hosts",
            f"{HOST_GATEWAY} is an address of the default network, which {host}.bridge leaves to a dockerd: "
            f"set {host}.host-gateway-ips",
        )
    if container.mode != CONTAINER_MODE:
        return container
    return replace(container, shares=_owner_of_stack(model, container, problems))


def _not_declared(model: Model, network: str) -> str:
    if network == DEFAULT_NETWORK:
        key = f"{model.host.path}.bridge"
        return f"{key} leaves the default network to a dockerd: name a network of your own in networks"
    return f"network {network} is not declared; there are: {', '.join(model.networks) or 'none'}"


def _owner_of_stack(model: Model, container: Container, problems: ProblemCollector) -> str:
    """The container at the end of a chain of `container:X`, which owns the network stack that all of them share."""
    seen = [container.name]
    while True:
        current = model.containers[seen[-1]]
        if current.mode != CONTAINER_MODE:
            return current.name
        if current.shares not in model.containers:
            known = ", ".join(name for name in model.containers if name not in seen) or "none"
            problems.add(
                f"{container.path}.network_mode", f"no container {current.shares} is declared; there are: {known}"
            )
            return ""
        if current.shares in seen:
            loop = " -> ".join([*seen, current.shares])
            problems.add(f"{container.path}.network_mode", f"{loop}: none of these owns a network stack")
            return ""
        seen.append(current.shares)


def _by_name(things: List[Any]) -> Dict[str, Any]:
    return {thing.name: thing for thing in sorted(things, key=lambda thing: str(thing.name))}


def _duplicates(keyed: Sequence[Tuple[Hashable, Any]]) -> List[Tuple[Any, Any]]:
    """Pairs of things with the same key: the later one, and the first one."""
    first: Dict[Hashable, Any] = {}
    return [(thing, first[key]) for key, thing in keyed if first.setdefault(key, thing) is not thing]
