# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of overlay networks, from the inventory -> `x-wharf.host` and `x-wharf.members` of each such network.

The inventory is whole, whichever hosts a run reaches, so all hosts get the same. Only what is in the inventory
counts, never what is known of a host that was reached.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..module_utils.engine.declaration.agreement import as_written
from ..module_utils.engine.declaration.model import Container, Model
from ..module_utils.engine.declaration.parse_network import network_name
from ..module_utils.engine.declaration.places import SOURCE, Places
from ..module_utils.engine.declaration.section import host_name, is_address, unknown_key
from ..module_utils.engine.declaration.vocabulary import EXTENSION
from ..module_utils.engine.errors import ModelError, Problem, ProblemCollector
from ..module_utils.engine.planning.publications import gateway_attachment
from .declaration import from_text, gather, is_blank

OVERLAY = "overlay"

# Groups that the admin has not made: Ansible's own, and those of playbooks/tasks/variables.yml.
NOT_DECLARED = {"all", "ungrouped", "wharf_declared", "wharf_encrypting"}
VARIABLE = "wharf_overlay"
_OVERLAY_KEYS = ("address", "index")

# What the files begin with that have the public keys of hosts.
_KEYS = "wharf-key-"

# The variables of a host that are read for the others.
READ = ("ansible_host", "wharf_networks", "wharf_containers", "wharf_compose_files", VARIABLE)

# The hosts of a network that is read for one of them alone.
_ALONE = {"own": {"address": "192.0.2.1", "index": 0}}

# What is known of each host of a group, by its name: its `overlay`, and by network its `names` and `ingress`, and what
# must be `alike` on all hosts.
Hosts = dict[str, dict[str, Any]]


def _overlays(networks: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The networks over several hosts, by their keys, as they are written."""
    entries = networks.items() if isinstance(networks, Mapping) else ()
    return ((key, entry) for key, entry in entries if isinstance(entry, Mapping) and entry.get("driver") == OVERLAY)


def overlay_groups(networks: Any) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """The overlay networks whose hosts the inventory is to give: the key, the entry, and the group."""
    for key, entry in _overlays(networks):
        extension = entry.get(EXTENSION)
        if isinstance(extension, Mapping) and "members" not in extension and isinstance(extension.get("hosts"), str):
            yield key, entry, extension["hosts"]


def _is_encrypted(options: Any) -> bool:
    if isinstance(options, Mapping):
        return "encrypted" in options
    pairs = (str(each).partition("=") for each in (options if isinstance(options, (list, tuple)) else [options]))
    return any(found and key.strip() == "encrypted" for key, found, _value in pairs)


def declares_encrypted(networks: Any) -> bool:
    """Whether any of a host's networks is to be encrypted, as they are written."""
    return any(_is_encrypted(entry.get("driver_opts")) for _key, entry in _overlays(networks))


def may_encrypt(given: Mapping[str, Any]) -> bool:
    """Whether the variables of a host declare an encrypted network, or name Compose files, which may do that."""
    declared = declares_encrypted(from_text(given.get("wharf_networks"), "wharf_networks"))
    return declared or not is_blank(given.get("wharf_compose_files"))


def complete(
    networks: Mapping[str, Any],
    host: str,
    groups: Mapping[str, Iterable[str]],
    hosts_of: Callable[[str], Hosts],
    places: Places,
) -> dict[str, Any]:
    """The networks, with the members of those that name a group.

    Args:
        networks: the entries of one host by their keys.
        host: the name of this host in the inventory.
        groups: the names of hosts by groups.
        hosts_of: what is known of the hosts of a group.

    Raises:
        ModelError: there is no such group, or this host is not in it.
    """
    problems = ProblemCollector()
    completed = dict(networks)
    for key, entry, group in overlay_groups(networks):
        path = f"{entry.get(SOURCE) or places.part(f'networks.{key}')}.{EXTENSION}.hosts"
        if group not in groups:
            known = ", ".join(sorted(set(groups) - NOT_DECLARED)) or "none"
            problems.add(path, f'"{group}": is no group of the inventory; there are: {known}')
        elif host not in groups[group]:
            problems.add(path, f'"{group}": {host}, on which the network is declared, is not in this group')
        else:
            name = network_name(key, entry)
            own = as_written(name, entry)
            members = {each: _member(known, name, own) for each, known in sorted(hosts_of(group).items())}
            completed[key] = {**entry, EXTENSION: {**entry[EXTENSION], "host": host, "members": members}}
    problems.raise_if_any()
    return completed


def _member(known: Mapping[str, Any], network: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """What a host gets of another one; of what must be alike on all hosts, that which is otherwise here."""
    of_network = {key: known[key].get(network) for key in ("names", "ingress")}
    there = known["alike"].get(network, {})
    otherwise = {key: value for key, value in there.items() if value != own.get(key, value)}
    return {**known["overlay"], **{key: value for key, value in of_network.items() if value}, **otherwise}


def read_hosts(names: Iterable[str], variables: Callable[[str], Mapping[str, Any]], bases: list[Path]) -> Hosts:
    """What the other hosts must know of each of these.

    Args:
        names: of the hosts.
        variables: gives the variables of a host.
        bases: the folders that relative paths of Compose files are looked up in.

    Raises:
        ModelError: the address and index of a host cannot be read.
    """
    problems = ProblemCollector()
    found: Hosts = {}
    for name in names:
        known = variables(name)
        with problems.collect():
            found[name] = {"overlay": _overlay(known, name), **_of_networks(known, bases)}
    problems.raise_if_any()
    return found


def _overlay(known: Mapping[str, Any], host: str) -> dict[str, Any]:
    """The host's `wharf_overlay`; its address is `ansible_host` where that is one."""
    given = from_text(known.get(VARIABLE), VARIABLE)
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise ModelError(Problem(f"{VARIABLE} of {host}", "must be a mapping, such as {address: 192.0.2.11, index: 7}"))
    overlay = {str(key): value for key, value in given.items() if not is_blank(value)}
    for key in sorted(overlay.keys() - set(_OVERLAY_KEYS)):
        why = unknown_key(key, _OVERLAY_KEYS, (), f"known here: {', '.join(_OVERLAY_KEYS)}")
        raise ModelError(Problem(f"{VARIABLE} of {host}", f"{key}: {why}"))
    if "address" not in overlay and is_address(str(known.get("ansible_host"))):
        overlay["address"] = str(known["ansible_host"])
    return overlay


def _of_networks(known: Mapping[str, Any], bases: list[Path]) -> dict[str, dict[str, Any]]:
    """By network, the names of a host's containers, the ports of them that all hosts publish, and what must be alike on
    all hosts.

    What is wrong there is reported where that host itself is read.
    """
    given = {key: known.get(f"wharf_{key}") for key in ("networks", "containers", "compose_files")}
    try:
        parts = gather(given, bases).parts
    except ModelError:
        return {"names": {}, "ingress": {}, "alike": {}}
    alike = _alike_by_network(parts.get("networks"))
    if not parts.get("containers"):
        return {"names": {}, "ingress": {}, "alike": alike}
    model = _read_alone(parts)
    return {"names": _names(model), "ingress": _ingress(model), "alike": alike}


def _read_alone(parts: Mapping[str, Any]) -> Model:
    """What is declared on a host, as if it were the only one of its overlay networks."""
    from ..module_utils.engine.declaration.parse_model import parse_declaration

    marked = Places().marked({key: value for key, value in parts.items() if key in ("networks", "containers")})
    # YAML reads some names as numbers.
    networks, containers = (
        {str(key): entry for key, entry in marked.get(part, {}).items()} for part in ("networks", "containers")
    )
    for key, entry, _group in overlay_groups(networks):
        networks[key] = {**entry, EXTENSION: {**entry[EXTENSION], "host": "own", "members": _ALONE}}
    parsed = parse_declaration({}, networks, containers, (), Places(), ProblemCollector())
    return Model(
        parsed.host,
        {network.name: network for network in parsed.networks},
        {container.name: container for container in parsed.containers},
    )


def _names(model: Model) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for container in model.containers.values():
        for attachment in container.attachments:
            called = [*container.names(attachment), container.full_hostname]
            names.setdefault(attachment.network, []).extend(dict.fromkeys(called))
    return {network: sorted(filter(_is_answered, set(called))) for network, called in names.items()}


def _alike_by_network(networks: Any) -> dict[str, dict[str, Any]]:
    named = ((network_name(key, entry), entry) for key, entry in _overlays(networks))
    return {name: as_written(name, entry) for name, entry in named}


def _ingress(model: Model) -> dict[str, dict[str, str]]:
    """By the network that their container leaves by."""
    found: dict[str, dict[str, str]] = {}
    for container in model.containers.values():
        ports = [mapping for mapping in container.ports if mapping.ingress]
        for network in sorted(_leaves_by(model, container)) if ports else ():
            for mapping in ports:
                first, last = mapping.published or mapping.target
                for port in range(first, last + 1):
                    found.setdefault(network, {})[f"{port}/{mapping.protocol}"] = container.name
    return found


def _leaves_by(model: Model, container: Container) -> set[str]:
    """The networks that give a container its default routes, as far as the variables of its host declare networks."""
    attached = {attachment.network for attachment in container.attachments}
    if len(attached) == 1 or not attached <= model.networks.keys():
        return attached if len(attached) == 1 else set()
    return {each.network for version in (4, 6) if (each := gateway_attachment(model, container, version))}


def _is_answered(name: str) -> bool:
    """Whether the DNS can have a name, as some that Docker allows for containers cannot be."""
    try:
        return bool(host_name(name, ""))
    except ModelError:
        return False


def once(folder: Path, key: str, read: Callable[[], Hosts]) -> Hosts:
    """What `read` gives, which is read once for all hosts of a task: the first worker writes it down for the others.

    Args:
        folder: of this run of Ansible alone.
        key: of the task and the group.
        read: takes the time of going through the variables of all hosts.
    """
    path = folder / f"wharf-overlay-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        written = file.read()
        if written:
            return dict(json.loads(written))
        found = read()
        file.write(json.dumps(found))
        return found


def note_key(folder: Path, host: str, key: str) -> None:
    """Note the public key of a host for the later tasks of this run; an empty one where the run would make it.

    Args:
        folder: of this run of Ansible alone.
    """
    path = folder / f"{_KEYS}{hashlib.sha256(host.encode()).hexdigest()[:16]}.json"
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({host: key}), encoding="utf-8")
    draft.replace(path)


def noted_keys(folder: Path, check: bool) -> dict[str, str]:
    """The public keys that this run knows, by the names of the hosts; in a check also those that would be made."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob(f"{_KEYS}*.json")):
        found.update(json.loads(path.read_text(encoding="utf-8")))
    return {host: key for host, key in found.items() if key or check}
