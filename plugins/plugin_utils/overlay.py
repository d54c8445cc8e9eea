# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of overlay networks, from the inventory -> `x-wharf.host` and `x-wharf.members` of each such network.

The inventory is whole, whichever hosts a run reaches, so all hosts are told the same. Only what is in the inventory
counts, never what is known of a host that was reached.
"""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..module_utils.engine.declaration.places import SOURCE, Places
from ..module_utils.engine.declaration.vocabulary import EXTENSION
from ..module_utils.engine.errors import ModelError, Problem, ProblemCollector
from .declaration import from_text, gather, is_blank

OVERLAY = "overlay"

# Groups that the admin has not made: Ansible's own, and that of playbooks/tasks/variables.yml.
NOT_DECLARED = {"all", "ungrouped", "wharf_declared"}
VARIABLE = "wharf_overlay"

# The variables of a host that are read for the others.
READ = ("ansible_host", "wharf_networks", "wharf_containers", "wharf_compose_files", VARIABLE)

# What is known of each host of a group, by its name: `address`, `index`, and `names` by network.
Hosts = dict[str, dict[str, Any]]


def overlay_groups(networks: Any) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """The overlay networks whose hosts the inventory is to tell: the key, the entry, and the group."""
    for key, entry in networks.items() if isinstance(networks, Mapping) else ():
        extension = entry.get(EXTENSION) if isinstance(entry, Mapping) else None
        if not isinstance(extension, Mapping) or entry.get("driver") != OVERLAY or "members" in extension:
            continue
        if isinstance(extension.get("hosts"), str):
            yield key, entry, extension["hosts"]


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
            name = str(entry.get("name") or key)
            members = {each: _member(known, name) for each, known in sorted(hosts_of(group).items())}
            completed[key] = {**entry, EXTENSION: {**entry[EXTENSION], "host": host, "members": members}}
    problems.raise_if_any()
    return completed


def _member(known: Mapping[str, Any], network: str) -> dict[str, Any]:
    names = known["names"].get(network)
    return {**known["overlay"], **({"names": names} if names else {})}


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
            found[name] = {"overlay": _overlay(known, name), "names": _names(known, bases)}
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
    if "address" not in overlay and _is_address(known.get("ansible_host")):
        overlay["address"] = str(known["ansible_host"])
    return overlay


def _is_address(text: Any) -> bool:
    try:
        ipaddress.ip_address(str(text))
    except ValueError:
        return False
    return True


def _names(known: Mapping[str, Any], bases: list[Path]) -> dict[str, list[str]]:
    """The names of a host's containers, by network. What is wrong there is reported where that host itself is read."""
    from ..module_utils.engine.declaration.parse_model import parse_declaration

    given = {key: known.get(f"wharf_{key}") for key in ("networks", "containers", "compose_files")}
    if is_blank(given["containers"]) and is_blank(given["compose_files"]):
        return {}
    try:
        parts = gather(given, bases)
    except ModelError:
        return {}
    marked = Places().marked({key: value for key, value in parts.parts.items() if key in ("networks", "containers")})
    networks, containers = marked.get("networks", {}), marked.get("containers", {})
    parsed = parse_declaration({}, networks, containers, (), Places(), ProblemCollector())
    names: dict[str, list[str]] = {}
    for container in parsed.containers:
        for attachment in container.attachments:
            called = [*container.names(attachment), container.full_hostname]
            names.setdefault(attachment.network, []).extend(dict.fromkeys(called))
    return {network: sorted(filter(_is_answered, set(called))) for network, called in names.items()}


def _is_answered(name: str) -> bool:
    """Whether the DNS can have a name, as some that Docker allows for containers cannot be."""
    from ..module_utils.engine.declaration.section import host_name

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
