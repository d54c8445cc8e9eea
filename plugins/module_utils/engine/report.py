# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A call's result, in plain words for whoever made it."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from .declaration.declared import ORIGINS
from .diff import CREATE, DELETE, UPDATE, Change
from .history import DONE, FAILED, MOST_NAMES, UNFINISHED, Changed, Run
from .history import PATH as LOG
from .kernel import clock
from .planning.dnsmasq_files import RUN_FOLDER
from .planning.publications import Publication
from .rules.rules_nftables import DECLARED_CHAIN, TABLE
from .state import IptablesChain, Key, Object, field_values
from .visible import visible

if TYPE_CHECKING:
    from .converge import Result

# Of which whole these objects are parts, which are the same on each host.
_SKELETONS = {"set": f"table {TABLE}", "chain": f"table {TABLE}", "iptables_chain": "tables of iptables"}

# What people call the kinds of objects whose name does not say it.
_NOUNS = {
    "accept": "rule group for third-party tables",
    "container_file": "file of a container",
    "dnsmasq": "dnsmasq process",
    "firewalld": "firewalld setting",
    "iptables_chain": "chain",
    "iptables_hook": "jump",
    "iptables_rules": "rule group",
    "rules": "rule group",
    "sandbox": "network stack",
    "sysctl": "kernel parameter",
}
_PLURALS = {"dnsmasq process": "dnsmasq processes", "file of a container": "files of containers"}

# In characters.
_LONGEST_LINE = 110

_MOST_NAMES = 5

_SIGNS = {CREATE: "+", UPDATE: "~", DELETE: "-"}
_COLOURS = {"+": "\033[32m", "-": "\033[31m", "@": "\033[36m"}


def describe(result: Result) -> Dict[str, Any]:
    """The result as plain data; `changes` is in the order in which they are made."""
    return {
        "changed": bool(result.changes),
        "changes": changes_as_data(result.changes),
        "warnings": list(result.warnings),
        "pending": [name for _kind, name in result.pending],
        "edited": list(result.edited),
        "published": published_as_data(result.published),
        "unconfirmed": result.unconfirmed.as_data() if result.unconfirmed else None,
        "reverted": result.reverted.as_data() if result.reverted else None,
    }


def summary(result: Result, nothing: str = "nothing to change") -> str:
    """In one line how many objects of which kinds change, or that nothing does, and what is pending."""
    kinds = Counter(_noun(change.subject.kind) for change in result.changes)
    by_kind = ", ".join(counted(noun, number) for noun, number in kinds.items())
    changes = f"{counted('change', sum(kinds.values()))}: {by_kind}" if kinds else nothing
    pending = [name for kind, name in result.pending if kind != "container_file"]
    return f"{changes}; pending: {', '.join(pending)}" if pending else changes


_ORIGIN_WIDTH = max(map(len, ORIGINS))
_OUTCOMES = {UNFINISHED: "; it was killed, or is under way", FAILED: "; it failed, and left these changes", DONE: ""}


def log_lines(runs: Sequence[Run]) -> List[str]:
    """Runs of the host's log: when, and who; below, what each changed."""
    lines = []
    for run in runs:
        who = f"{run.by}{f', reverting what was made by {run.reverts}' if run.reverts else ''}{_OUTCOMES[run.outcome]}"
        lines.append(f"{clock.in_words(run.at)}  {run.origin:{_ORIGIN_WIDTH}}  {counted('object', run.number)}  {who}")
        lines += [f"    {_SIGNS[each.action]} {_few(each)}" for each in run.changes]
    return lines or [f"no run that changed anything is noted on this host ({LOG})"]


def _few(changed: Changed) -> str:
    of_kind = counted(_noun(changed.kind), changed.number)
    if changed.kind in _SKELETONS:
        # They come and go together.
        return of_kind
    return f"{of_kind}: {few(changed.names, _MOST_NAMES, changed.number)}"


def recovered_lines(was_lost: bool, owned: Mapping[str, Sequence[Key]]) -> Iterator[str]:
    """What a recovered ledger knows to be managed by wharf.network, by layer."""
    yield "the ledger is recovered from the marks on this host" if was_lost else "the ledger is in order, and stays"
    for layer, keys in owned.items():
        names: Dict[str, List[str]] = {}
        for kind, name in keys:
            names.setdefault(kind, []).append(name)
        of_kinds = (_few(Changed("", kind, len(found), tuple(found[:MOST_NAMES]))) for kind, found in names.items())
        yield from (f"    {layer}: {each}" for each in of_kinds)


def unified(result: Result, is_coloured: bool = False) -> Iterator[str]:
    """The lines of one titled difference for each object, as Ansible prints them."""
    for title, before, after in visible(_differences(result)):
        headers = f"before: {title}", f"after: {title}"
        for line in difflib.unified_diff(before, after, *headers, lineterm=""):
            colour = _COLOURS.get(line[0]) if is_coloured else None
            yield f"{colour}{line}\033[0m" if colour else line
        yield ""


def diffs(result: Result) -> List[Dict[str, str]]:
    """The differences as Ansible takes them."""
    return [
        {"before_header": title, "after_header": title, "before": _joined(before), "after": _joined(after)}
        for title, before, after in _differences(result)
    ]


def _joined(lines: List[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _differences(result: Result) -> List[Tuple[str, List[str], List[str]]]:
    """The title of each object, with its layer, and its lines before and after; one title for all parts of a whole that
    come or go.
    """
    entries: Dict[str, Tuple[List[str], List[str]]] = {}
    parts: Dict[str, List[Change]] = {}
    for change in result.changes:
        owner = _owner_title(change)
        title = f"{change.layer}: {owner or f'{change.subject.kind} {change.subject.name}'}"
        if owner:
            parts.setdefault(title, []).append(change)
            # Its place is that of the first one.
            entries.setdefault(title, ([], []))
        else:
            entries[title] = _sides(change)
    entries.update({title: _names_on_both_sides(changes) for title, changes in parts.items()})
    return [(title, before, after) for title, (before, after) in entries.items()]


def _owner_title(change: Change) -> str:
    """What an object that comes or goes is a part of that says more than it does; else empty."""
    thing, values = change.subject, field_values(change.subject)
    if change.action == UPDATE:
        return ""
    if thing.kind in _SKELETONS:
        # The admin's rules are shown.
        return "" if _is_declared(thing) and values["rules"] else _SKELETONS[thing.kind]
    if thing.kind == "dnsmasq" or (thing.kind == "file" and thing.name.startswith(f"{RUN_FOLDER}/")):
        return f"names by dnsmasq, in {RUN_FOLDER}"
    return "network stacks" if thing.kind == "sandbox" and not values["sysctls"] else ""


def _is_declared(thing: Object) -> bool:
    """Whether this is the chain of the admin's rules, with either backend."""
    return thing.name == DECLARED_CHAIN or (isinstance(thing, IptablesChain) and thing.ref.at.name == DECLARED_CHAIN)


def _names_on_both_sides(changes: Sequence[Change]) -> Tuple[List[str], List[str]]:
    coming = [change for change in changes if change.action == CREATE]
    return _names_by_kind([change for change in changes if change not in coming]), _names_by_kind(coming)


def _names_by_kind(changes: Sequence[Change]) -> List[str]:
    """How many of each kind there are, and their names where these fit in a line."""
    names: Dict[str, List[str]] = {}
    for change in changes:
        names.setdefault(_noun(change.subject.kind), []).append(change.subject.name)
    lines = ((counted(noun, len(found)), ", ".join(found)) for noun, found in names.items())
    return [f"{count}: {listed}" if len(listed) <= _LONGEST_LINE else count for count, listed in lines]


def _noun(kind: str) -> str:
    return _NOUNS.get(kind, kind)


def few(names: Sequence[str], most: int = 3, number: int = 0) -> str:
    """The first of these names, and how many more there are; of so many objects, if not all of them are named."""
    rest = (number or len(names)) - len(names[:most])
    return ", ".join([*names[:most], *([f"and {rest} more"] if rest else [])])


def counted(noun: str, number: int) -> str:
    return f"{number} {noun if number == 1 else _PLURALS.get(noun, f'{noun}s')}"


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
        "allow_from": None if publication.allow_from is None else [*map(str, publication.allow_from)],
    }


def changes_as_data(changes: Iterable[Change]) -> List[Dict[str, Any]]:
    return [
        {
            "layer": change.layer,
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


def _sides(change: Change) -> Tuple[List[str], List[str]]:
    """Both sides; of an object that comes or goes whole only what it has, in as few lines as will do."""
    is_update = change.action == UPDATE
    return _lines(change.before, is_update), _lines(change.after, is_update)


def _lines(thing: Optional[Object], is_update: bool) -> List[str]:
    """An object: a text value as it is, every other field by its name, lists with a line for each item."""
    lines: List[str] = []
    for name, value in field_values(thing).items():
        if name == "content":
            # Nothing else ends a line: all other such characters are shown.
            lines += str(value).removesuffix("\n").split("\n") if value else []
        elif isinstance(value, tuple) and value:
            lines += _listed(name, [_item(item) for item in value], is_update)
        elif value or is_update:
            lines.append(f"{name}: {'none' if value == () else value}")
    return lines


def _listed(name: str, items: List[str], is_update: bool) -> List[str]:
    line = f"{name}: {', '.join(items)}"
    return [f"{name}:", *(f"  {item}" for item in items)] if is_update or len(line) > _LONGEST_LINE else [line]


def _item(item: Any) -> str:
    """A pair such as a sysctl as `key value`."""
    return " ".join(str(part) for part in item) if isinstance(item, tuple) else str(item)
