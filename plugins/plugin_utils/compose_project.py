# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A merged Compose project -> entries for its networks and containers, by their names on the host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..module_utils.engine.declaration.parse_network import is_external, network_name
from ..module_utils.engine.declaration.section import nearest
from ..module_utils.engine.declaration.vocabulary import SERVICE_KEYS_ABOUT_NETWORKING
from ..module_utils.engine.errors import ModelError, ProblemCollector
from .compose_document import Raw, as_map
from .compose_repeats import drop_repeats

_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

# Whether a service is found by its own name, too, beside that of its container.
_USE_ALIAS = "use_service_name_alias"
_ONE_CONTAINER = "one container per service is supported; declare each further one as a service of its own"


@dataclass(frozen=True)
class Project:
    """The merged files of one project.

    `sources` has the places of networks and services, by section and name. A service with profiles is active if one of
    them is in `profiles`, or if that has `*`. The project is not `whole` if the contents of one of its files are
    unknown; then references to undeclared names are not reported.
    """

    name: str
    files: tuple[str, ...]
    networks: Mapping[str, object]
    services: Mapping[str, Raw]
    sources: Mapping[tuple[str, str], str]
    profiles: tuple[str, ...]
    whole: bool = True

    def path(self, section: str, name: str, *keys: str) -> str:
        place = self.sources.get((section, name), f"{'+'.join(self.files)}: {section}.{name}")
        return ".".join((place, *keys))

    def active_services(self) -> dict[str, Raw]:
        return {key: service for key, service in self.services.items() if self._is_active(service)}

    def _is_active(self, service: Raw) -> bool:
        own = _profiles(service)
        return not own or "*" in self.profiles or not set(own).isdisjoint(self.profiles)


@dataclass(frozen=True)
class ProjectDeclaration:
    """The networks and containers of one project, each with its name on the host, and its files."""

    name: str
    files: tuple[str, ...]
    networks: tuple[tuple[str, Raw], ...]
    containers: tuple[tuple[str, Raw], ...]


@dataclass(frozen=True)
class _Names:
    """Names on the host by Compose's keys; None for a service without a container. `inactive` has the profiles of
    services that are not active. Unless `all` names are known, undeclared ones may be in a file with problems.
    """

    networks: Mapping[str, str]
    containers: Mapping[str, str | None]
    inactive: Mapping[str, tuple[str, ...]]
    all: bool


def resolve(project: Project, problems: ProblemCollector) -> ProjectDeclaration:
    """The containers of the active services, and the networks that these are on.

    As in Compose, a service that is not active is left out, and other services do not activate it: it is an error if
    `network_mode` or `links` of an active service name it. `depends_on` is about the order of starting, and passed
    over.

    References to undeclared names, and unsupported values, are reported in `problems`, and left out.
    """
    networks = {"default": None, **project.networks}
    active = project.active_services()
    names = _Names(
        {key: _network_name(project, key, as_map(raw)) for key, raw in networks.items()},
        {key: _container_name(project, key, raw) for key, raw in active.items()},
        {key: _profiles(raw) for key, raw in project.services.items() if key not in active},
        project.whole,
    )
    _check_networks(project, problems)
    _check_services(project, active, problems)
    containers: list[tuple[str, Raw]] = []
    used: dict[str, None] = {}
    for key, service in active.items():
        raw = _container_entry(project, key, service, names, problems)
        used.update(dict.fromkeys(network for network in _attachments(service) if network in networks))
        if name := names.containers[key]:
            containers.append((name, raw))
    return ProjectDeclaration(
        project.name,
        project.files,
        tuple((names.networks[key], _network_entry(project, key, as_map(networks[key]))) for key in used),
        tuple(containers),
    )


def _profiles(service: Raw) -> tuple[str, ...]:
    profiles = service.get("profiles")
    return tuple(map(str, profiles)) if isinstance(profiles, list) else ()


def _check_networks(project: Project, problems: ProblemCollector) -> None:
    for key, raw in project.networks.items():
        name = as_map(raw).get("name")
        if name is not None and not (isinstance(name, str) and name):
            problems.add(project.path("networks", key, "name"), "must be the network's name, a text")


def _check_services(project: Project, active: Mapping[str, Raw], problems: ProblemCollector) -> None:
    for key, service in active.items():
        if not isinstance(service.get("profiles") or [], list):
            problems.add(project.path("services", key, "profiles"), "must be a list of profiles")
        _check_replicas(project, key, service, problems)
        name = service.get("container_name")
        if name is not None and not _CONTAINER_NAME.fullmatch(str(name)):
            remedy = "must be letters, digits, '_', '.' and '-', two or more, the first a letter or digit"
            problems.add(project.path("services", key, "container_name"), f'"{name}": {remedy}')


def _check_replicas(project: Project, key: str, service: Raw, problems: ProblemCollector) -> None:
    counts = _replicas(service)
    for word, count in counts.items():
        path = project.path("services", key, word)
        if not re.fullmatch(r"[0-9]{1,9}", count):
            problems.add(path, f'"{count}": must be a whole number')
        elif int(count) > 1:
            problems.add(path, f"{count} replicas: {_ONE_CONTAINER}")
    if len(set(counts.values())) > 1:
        problems.add(project.path("services", key), "scale and deploy.replicas differ; give one of them")


def _replicas(service: Raw) -> dict[str, str]:
    """The number of containers, by the key that gives it."""
    counts = {"scale": service.get("scale"), "deploy.replicas": as_map(service.get("deploy")).get("replicas")}
    return {word: str(count) for word, count in counts.items() if count is not None}


def _container_name(project: Project, key: str, service: Raw) -> str | None:
    # A service with a `provider` has no container
    if "provider" in service or "0" in _replicas(service).values():
        return None
    return str(service.get("container_name") or f"{project.name}-{key}-1")


def _network_name(project: Project, key: str, raw: Raw) -> str:
    return network_name(key if is_external(raw) else f"{project.name}_{key}", raw)


def _network_entry(project: Project, key: str, raw: Raw) -> Raw:
    kept = {word: value for word, value in raw.items() if word != "name"}
    if isinstance(kept.get("external"), dict):
        kept["external"] = True
    return {**kept, "x-source": project.path("networks", key)}


def _container_entry(project: Project, key: str, service: Raw, names: _Names, problems: ProblemCollector) -> Raw:
    raw = drop_repeats(
        {
            word: value
            for word, value in service.items()
            if word in SERVICE_KEYS_ABOUT_NETWORKING or word.startswith("x-")
        }
    )
    if isinstance(ports := raw.get("ports"), list):
        # A number is a port here: unlike YAML 1.1, YAML 1.2 does not read 22:22 as a number of base 60
        raw["ports"] = [str(port) if isinstance(port, (int, float)) else port for port in ports]
    if mode := raw.pop("network_mode", None):
        with problems.collect():
            raw["network_mode"] = _network_mode(project, key, service, mode, names)
    else:
        raw["networks"] = _real_attachments(project, key, raw, names, problems)
    if links := raw.pop("links", None):
        raw["links"] = _real_links(project.path("services", key, "links"), links, names, problems)
    return {**raw, "x-source": project.path("services", key)}


def _network_mode(project: Project, key: str, service: Raw, mode: object, names: _Names) -> object:
    if service.get("networks"):
        remedy = "cannot be combined with networks; give one of them"
        raise ModelError.at(project.path("services", key, "network_mode"), remedy)
    kind, _colon, target = str(mode).partition(":")
    if kind != "service":
        return mode
    return f"container:{_real_container(target, names, project.path('services', key, 'network_mode'))}"


def _real_container(service: str, names: _Names, path: str) -> str:
    if service in names.inactive:
        profiles = ", ".join(names.inactive[service])
        remedy = "add one to profiles beside files, or to COMPOSE_PROFILES in .env"
        raise ModelError.at(
            path, f'service "{service}" is left out, none of its profiles is active ({profiles}); {remedy}'
        )
    if service not in names.containers:
        if not names.all:
            raise ModelError()
        known = ", ".join(names.containers)
        raise ModelError.at(path, f'there is no service "{service}"; the project has {known}')
    name = names.containers[service]
    if name is None:
        raise ModelError.at(path, f'service "{service}" has no container, by its scale or provider')
    return name


def _real_links(path: str, links: object, names: _Names, problems: ProblemCollector) -> list[str]:
    if not isinstance(links, list):
        problems.add(path, "must be a list of SERVICE or SERVICE:ALIAS")
        return []
    real: list[str] = []
    for index, link in enumerate(links):
        with problems.collect():
            real.append(_real_link(link, names, f"{path}[{index}]"))
    return real


def _real_link(link: object, names: _Names, path: str) -> str:
    """Compose's `SERVICE[:ALIAS]` as Docker's `CONTAINER:ALIAS`."""
    if not isinstance(link, str):
        raise ModelError.at(path, "must be SERVICE or SERVICE:ALIAS")
    service, _colon, alias = link.partition(":")
    return f"{_real_container(service, names, path)}:{alias or service}"


def _attachments(service: Raw) -> dict[str, object]:
    """The networks that a service joins, by Compose's keys, each with its settings."""
    networks = service.get("networks")
    if service.get("network_mode"):
        return {}
    if not networks:
        # A service with a `provider` does not join the default network
        return {} if "provider" in service else {"default": None}
    if isinstance(networks, list):
        return {network: None for network in networks if isinstance(network, str)}
    return as_map(networks)


def _check_attachments(networks: object, path: str, problems: ProblemCollector) -> None:
    if not isinstance(networks or [], (dict, list)):
        problems.add(path, "must be a list or a map of network names")
    for index, network in enumerate(networks if isinstance(networks, list) else []):
        if not isinstance(network, str):
            problems.add(f"{path}[{index}]", "must be a network's name")


def _real_attachments(
    project: Project, key: str, raw: Raw, names: _Names, problems: ProblemCollector
) -> dict[str, object]:
    path = project.path("services", key, "networks")
    _check_attachments(raw.get("networks"), path, problems)
    real: dict[str, object] = {}
    for network, attachment in _attachments(raw).items():
        name = names.networks.get(network)
        if name is None and names.all:
            near = nearest(network, names.networks)
            remedy = "declare it under the file's networks, with external: true if it exists already"
            remedy = f"did you mean {near}?" if near else remedy
            problems.add(path, f'there is no network "{network}"; {remedy}')
        elif name in real:
            problems.add(path, f'"{network}" is "{name}" again; leave one of the two out')
        elif name is not None:
            at = f"{path}.{network}" if raw.get("networks") else project.path("services", key)
            real[name] = _with_alias({} if attachment is None else attachment, key, at)
    return real


def _with_alias(attachment: object, alias: str, at: str) -> object:
    """The attachment with the service's name as another alias, unless it says otherwise, and its place.

    A value of the wrong type stays, for the model to report.
    """
    if not isinstance(attachment, dict):
        return attachment
    if str(attachment.get(_USE_ALIAS)).lower() == "false":
        return {**{key: value for key, value in attachment.items() if key != _USE_ALIAS}, "x-source": at}
    aliases = attachment.get("aliases") or []
    if isinstance(aliases, list) and alias not in aliases:
        aliases = [alias, *aliases]
    return {**attachment, "aliases": aliases, "x-source": at}
