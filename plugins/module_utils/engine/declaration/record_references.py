# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the declared CNAMEs of a network lead to, and what else is called as they are."""

from __future__ import annotations

from typing import Dict, Mapping

from ..errors import ProblemCollector
from .model import Model, Network
from .services import CNAME, Record


def check_records(model: Model, network: Network, problems: ProblemCollector) -> None:
    """It is a problem if a CNAME hides something else of its name, or leads to nothing that is ever known here."""
    records = network.services.names.records
    aliases = {_known_as(network, record.name): record for record in records if record.type == CNAME}
    if not aliases:
        return
    others = _others(model, network)
    for name, record in aliases.items():
        target = _known_as(network, record.data[0])
        if name in others:
            problems.add(record.path, f'"{record.name}" is also {others[name]}: a CNAME stands alone: rename one')
        if _is_circle(network, aliases, name):
            problems.add(record.path, f'"{record.data[0]}": leads back to {record.name}')
        elif "." in target and target not in others and target not in aliases:
            problems.add(
                record.path,
                f'"{record.data[0]}": a CNAME leads to a record or container of its network, and none is called so',
            )


def _others(model: Model, network: Network) -> Mapping[str, str]:
    """All else that has a name on the network, and where it is declared."""
    found: Dict[str, str] = {}
    for record in network.services.names.records:
        if record.type != CNAME:
            found.setdefault(_known_as(network, record.name), record.path)
    for container in model.containers.values():
        for attachment in container.attachments:
            if attachment.network == network.name:
                for name in (*container.names(attachment), container.full_hostname):
                    found.setdefault(_known_as(network, name), f"what {container.path} is called")
    return found


def _is_circle(network: Network, aliases: Mapping[str, Record], name: str) -> bool:
    seen = {name}
    while name in aliases:
        name = _known_as(network, aliases[name].data[0])
        if name in seen:
            return True
        seen.add(name)
    return False


def _known_as(network: Network, name: str) -> str:
    """The name without what the network adds to each."""
    known = name.rstrip(".").lower()
    for domain in (network.services.names.domain, network.name.lower()):
        if domain and known.endswith(f".{domain}"):
            return known[: -len(domain) - 1]
    return known
