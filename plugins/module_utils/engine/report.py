# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A call's result, in plain words for whoever made it."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Optional

from .converge import Result
from .diff import Change
from .planning.publications import Publication
from .state import Object, field_values


def describe(result: Result) -> Dict[str, Any]:
    """The result as plain data; `changes` is in the order in which they are made."""
    described = {
        "changed": bool(result.changes),
        "changes": changes_as_data(result.changes),
        "warnings": list(result.warnings),
        "pending": list(result.pending),
    }
    if result.edited is not None:
        described["edited"] = list(result.edited)
    if result.published is not None:
        described["published"] = published_as_data(result.published)
    return described


def diffs(result: Result) -> List[Dict[str, str]]:
    """One titled difference for each object, as Ansible prints them."""
    return [
        {
            "before_header": f"{change.subject.kind} {change.subject.name}",
            "after_header": f"{change.subject.kind} {change.subject.name}",
            "before": _text(change.before),
            "after": _text(change.after),
        }
        for change in result.changes
    ]


def published_as_data(publications: Iterable[Publication]) -> List[Dict[str, Any]]:
    return [{"container": each.container, **publication_as_data(each)} for each in publications]


def publication_as_data(publication: Publication) -> Dict[str, Any]:
    everywhere = "0.0.0.0" if publication.version == 4 else "::"
    return {
        "host_ip": str(publication.host_ip or everywhere),
        "host_port": publication.host_port,
        "protocol": publication.protocol,
        "address": str(publication.address),
        "target_port": publication.target_port,
    }


def changes_as_data(changes: Iterable[Change]) -> List[Dict[str, Any]]:
    return [
        {
            "kind": change.subject.kind,
            "name": change.subject.name,
            "action": change.action,
            "fields": list(change.fields),
        }
        for change in changes
    ]


def objects_as_data(objects: Iterable[Object]) -> List[Dict[str, Any]]:
    return [{"kind": thing.kind, "name": thing.name, **_plain(field_values(thing))} for thing in objects]


def _plain(value: Any) -> Any:
    """The same in lists and dictionaries: a route as `destination via gateway`."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, bool)) else str(value)


def _text(thing: Optional[Object]) -> str:
    """An object as lines: a text value as it is, every other field by its name, lists with a line for each item."""
    lines: List[str] = []
    for name, value in field_values(thing).items():
        if name == "content":
            lines += str(value).splitlines()
        elif isinstance(value, tuple):
            lines += [f"{name}:", *(f"  {_item(item)}" for item in value)] if value else [f"{name}: none"]
        else:
            lines.append(f"{name}: {value}")
    return "".join(f"{line}\n" for line in lines)


def _item(item: Any) -> str:
    """A pair such as a sysctl as `key value`."""
    return " ".join(str(part) for part in item) if isinstance(item, tuple) else str(item)
