# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the declared CNAMEs of a network against its other names."""

from __future__ import annotations

from typing import Dict, Mapping

from ..errors import ProblemCollector
from .model import Model, Network
from .services import CNAME, Record


def check_records(model: Model, network: Network, problems: ProblemCollector) -> None:
    """Report a CNAME that has the name of another record or container, or whose target cannot be resolved here."""
    records = network.services.names.records
    aliases = {_relative(network, record.name): record for record in records if record.type == CNAME}
    if not aliases:
        return
    other_names = _other_names(model, network)
    for name, record in aliases.items():
        target = _relative(network, record.data[0])
        if name in other_names:
            problems.add(
                record.path,
                f'"{record.name}" is also {other_names[name]}: a name with a CNAME has no other records: rename one',
            )
        if _is_loop(network, aliases, name):
            problems.add(record.path, f'"{record.data[0]}": leads back to {record.name}')
        elif "." in target and target not in other_names and target not in aliases:
            problems.add(
                record.path,
                f'"{record.data[0]}": a CNAME leads to a record or container of its network, and none is called so',
            )


def _other_names(model: Model, network: Network) -> Mapping[str, str]:
    """The names on the network that are no CNAME, and where each is declared."""
    found: Dict[str, str] = {}
    for record in network.services.names.records:
        if record.type != CNAME:
            found.setdefault(_relative(network, record.name), record.path)
    for container in model.containers.values():
        for attachment in container.attachments:
            if attachment.network == network.name:
                for name in (*container.names(attachment), container.full_hostname):
                    found.setdefault(_relative(network, name), f"the name of {container.path}")
    return found


def _is_loop(network: Network, aliases: Mapping[str, Record], name: str) -> bool:
    seen = {name}
    while name in aliases:
        name = _relative(network, aliases[name].data[0])
        if name in seen:
            return True
        seen.add(name)
    return False


def _relative(network: Network, name: str) -> str:
    """The name without the network's domain, in which every name on the network is answered, too."""
    known = name.rstrip(".").lower()
    for domain in (network.services.names.domain, network.name.lower()):
        if domain and known.endswith(f".{domain}"):
            return known[: -len(domain) - 1]
    return known
