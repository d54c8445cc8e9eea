# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON schema of the variables, for editors: keys and types by the parser, descriptions by docs/reference.md.

The parser reads the whole vocabulary, and each `Section` notes the keys that it is asked for, with the parsers of their
values. A level is the path of a section without names (`*`) and numbers (`[]`) in it.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from misspellings import unmarked, vocabulary
from planning import facts_of, problems

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.model import GATEWAY_MODES
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_driver import (
    DEFAULT_DRIVER,
    DOCKER_DRIVERS,
    PARSERS,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_ports import PROTOCOLS
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_services import RECORD_TYPES
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_user_rules import STATES
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.section import Section
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.services import ARCHITECTURES, RA_MODES
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.vocabulary import EXTENSION
from ansible_collections.wharf.network.plugins.module_utils.engine.state import RUNTIMES
from ansible_collections.wharf.network.plugins.plugin_utils.variables import KNOWN

Schema = dict[str, Any]
Parser = Callable[[Any, str], Any]

DOCS = Path(__file__).parents[3] / "docs"

# The tables of docs/reference.md in their order, by the level whose keys they have.
TABLES = (
    "wharf_host",
    "wharf_host.x-wharf",
    "wharf_networks.*",
    "wharf_networks.*.ipam.config[]",
    "wharf_networks.*.x-wharf",
    "wharf_networks.*.x-wharf",
    "wharf_networks.*.driver_opts",
    "wharf_networks.*.driver_opts",
    "wharf_networks.*.x-wharf",
    "wharf_containers.*",
    "wharf_containers.*.x-wharf",
    "wharf_containers.*.networks.*",
    "wharf_containers.*.ports[]",
    "wharf_containers.*.ports[].x-wharf",
    "wharf_docker_user[]",
)

_OF_A_NETWORK, _OF_ALL_NETWORKS = "wharf_networks.*.driver_opts", "wharf_host.default-network-opts.bridge"

_DEFINITIONS: dict[str, Schema] = {
    "flag": {"anyOf": [{"type": "boolean"}, {"enum": ["true", "false"]}]},
    "number": {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]+$"}]},
    # Any value of a variable may be a template of Ansible.
    "template": {"type": "string", "pattern": r"\{\{"},
    "not_given": {"enum": [None, ""]},
    "text": {"type": ["string", "number"]},
    "texts": {"type": "array", "items": {"type": "string"}},
}


def _defined(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


_FLAG, _NUMBER, _TEMPLATE, _TEXT, _TEXTS = map(_defined, ("flag", "number", "template", "text", "texts"))


def _choice(known: Collection[Any]) -> Schema:
    return {"enum": list(known)}


def _in_any_case(known: Collection[str]) -> Schema:
    """Lower case is what an editor proposes."""
    return {"anyOf": [_choice(known), {"type": "string", "pattern": f"^({'|'.join(known).upper()})$"}]}


def _names_of(value: Schema, known: Collection[str] = ()) -> Schema:
    if known:
        return {"type": "object", "properties": dict.fromkeys(known, value), "additionalProperties": False}
    return {"type": "object", "additionalProperties": value}


def _listed(item: Schema) -> list[Schema]:
    return [{"type": "array", "items": item}, item]


# What a parser accepts beside mappings with keys of the vocabulary. A parser without an entry is an error.
_ACCEPTED: dict[str, list[Schema]] = {
    **dict.fromkeys(
        "address addresses domain dns_name host_name interface interface_name mac object_name one_line subnet text "
        "_boot_file _domain _exposed _firewall_mark _folder _interface _interface_prefix _interfaces _lease_time _link "
        "_link_local _network_mode _own_address.parse _range _rate _of_version.parse_version _size _text.parse host_ip "
        "port_range public_key".split(),
        [_TEXT],
    ),
    **dict.fromkeys("number number_from.parse _one _prefixes.parse".split(), [_NUMBER]),
    "flag": [_FLAG],
    "mapping": [],
    "pairs.parse": [_TEXTS],
    "parse_sandbox": [{"type": "string", "pattern": f"^(netns|pid|path|{'|'.join(RUNTIMES)}):"}],
    "protocol": [_in_any_case(PROTOCOLS)],
    "_address_pool": [],
    "_attachments.parse": _listed(_TEXT),
    "_aux_addresses": [_names_of(_TEXT)],
    "_boot": [],
    "_boot_files": [_names_of(_TEXT, ARCHITECTURES)],
    "_dhcp": [_FLAG],
    "_dhcp_options": [_names_of({"anyOf": [_TEXT, {"type": "array"}]})],
    "_ingress": [_names_of(_TEXT)],
    "_encrypted": [_choice([True, "true"])],
    "_endpoint_sysctls": [_TEXTS, _names_of(_TEXT, ["com.docker.network.endpoint.sysctls"])],
    "_external": [_FLAG],
    "_extra_hosts": [_TEXTS, _names_of({"anyOf": _listed(_TEXT)})],
    "_firewall_backend": [_choice(["nftables", "iptables"])],
    "_gateway_mode": [_choice(GATEWAY_MODES)],
    "_limit": [_TEXT],
    "_no_proxy": [_choice([False, "false"])],
    "_log.parse": [_FLAG, _TEXT],
    "_members.parse": [],
    "_mode": [_choice(["host", "ingress"])],
    "_names": [_FLAG],
    "_network_sysctls": [_TEXTS, _names_of({"type": ["string", "number", "null"]})],
    "_networks": _listed(_TEXT),
    "_ra": [_FLAG, _choice(RA_MODES)],
    "_rates": [],
    "_vlans": [_NUMBER],
    "_records": [],
    "_route": [],
    "_states": [*_listed(_in_any_case(STATES)), {"type": "string", "pattern": ","}],
    "PortMapping.parse": [_TEXT],
}


@dataclass
class _Level:
    taken: dict[str, Parser] = field(default_factory=dict)
    not_blank: set[str] = field(default_factory=set)
    passed_over: set[str] = field(default_factory=set)
    extensible: bool = False


def _level_of(path: str) -> str:
    """The path of a section without names and numbers."""
    path = re.sub(r"^docker_user", "wharf_docker_user", path)
    path = re.sub(r"(\.members|\.records)\.[^.]+", r"\1.*", re.sub(r"\[\d+\]", "[]", path))
    return re.sub(r"^(wharf_(?:networks|containers))\.[^.]+|(\.networks)\.[^.]+", r"\1\2.*", path)


@contextmanager
def _noting(levels: dict[str, _Level]) -> Iterator[None]:
    """Note by level what the sections are asked for."""
    take, refuse_blank, finish = Section.take_optional, Section.refuse_blank, Section.finish

    def take_optional(section: Section, key: str, parse: Parser) -> Any:
        levels[_level_of(section.path)].taken.setdefault(key, parse)
        return take(section, key, parse)

    def refusing(section: Section, *keys: str, **why: str) -> None:
        levels[_level_of(section.path)].not_blank.update(keys)
        refuse_blank(section, *keys, **why)

    def finishing(section: Section, passed_over: Collection[str] = (), extensible: bool = False, **more: Any) -> None:
        level = levels[_level_of(section.path)]
        level.passed_over.update(passed_over)
        level.extensible |= extensible
        finish(section, passed_over, extensible, **more)

    with (
        patch.object(Section, "take_optional", take_optional),
        patch.object(Section, "refuse_blank", refusing),
        patch.object(Section, "finish", finishing),
    ):
        yield


def taken_levels() -> dict[str, _Level]:
    """What the parser takes, by level, when it reads the vocabulary entry by entry."""
    marked = vocabulary()
    switch = {"name": "br9", "addresses": ["10.99.0.1/24"], "has_vlans": True}
    facts = facts_of({"default_interface": "eth0", "third_party_bridges": [switch]})
    levels: dict[str, _Level] = defaultdict(_Level)
    with _noting(levels):
        for host in marked["hosts"]:
            problems({"host": unmarked(host)}, facts)
        words = {part: unmarked(marked[part]) for part in ("networks", "containers", "docker_user")}
        problems(words, facts)
    return dict(levels)


def _kind(parser: Parser) -> str:
    return parser.__qualname__.replace(".<locals>", "")


class _Writer:
    def __init__(self) -> None:
        self.levels = taken_levels()
        self.descriptions = descriptions()

    def object(self, level: str) -> Schema:
        known = self.levels[level]
        properties = {key: self.key(level, key, parser) for key, parser in sorted(known.taken.items())}
        schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        patterns = [f"^({'|'.join(sorted(known.passed_over))})$"] if known.passed_over else []
        patterns += [_extensions()] if known.extensible else []
        return {**schema, "patternProperties": dict.fromkeys(patterns, {})} if patterns else schema

    def key(self, level: str, key: str, parser: Parser) -> Schema:
        """The schema of a key's value. Null counts as not given, except where an empty value is refused."""
        alternatives = self.value(f"{level}.{key}", parser)
        if level == "wharf_networks.*" and key == "driver":
            alternatives = [_choice(sorted(PARSERS))]
        not_given = [] if key in self.levels[level].not_blank else [_defined("not_given")]
        # The options of all networks are those of one.
        description = self.descriptions.get((level.replace(_OF_ALL_NETWORKS, _OF_A_NETWORK), key))
        described = {"description": description} if description else {}
        return {**described, "anyOf": [*alternatives, _TEMPLATE, *not_given]}

    def value(self, level: str, parser: Parser) -> list[Schema]:
        kind = _kind(parser)
        inner = inspect.getclosurevars(parser).nonlocals
        if kind == "list_of.parse_list":
            return _listed({"anyOf": self.value(f"{level}[]", inner["parse"])})
        if kind == "_pools.parse":
            return _listed(self.object(f"{level}[]"))
        if kind == "_records":
            return [_names_of(self.records(f"{level}.*"))]
        if kind == "_default_network_opts":
            options = {"anyOf": [_TEXTS, self.object(_OF_ALL_NETWORKS), _defined("not_given")]}
            drivers = {driver: options if driver == DEFAULT_DRIVER else {} for driver in DOCKER_DRIVERS}
            return [{"type": "object", "properties": drivers, "additionalProperties": False}]
        if kind == "one_of.parse":
            accepted = [_in_any_case(inner["known"])]
        elif kind in _ACCEPTED:
            accepted = [*_ACCEPTED[kind]]
        else:
            raise AssertionError(f"_ACCEPTED of {__file__} does not say which values {parser} accepts, for {level}")
        if level in self.levels:
            accepted.append(self.object(level))
        elif kind == "pairs.parse":
            accepted.append(_names_of(_TEXT))
        if f"{level}.*" in self.levels:
            accepted.append(_names_of({"anyOf": [self.object(f"{level}.*"), {"type": "null"}]}))
        return accepted

    def records(self, level: str) -> Schema:
        by_type = {kind: {"anyOf": _listed(_TEXT)} for kind in RECORD_TYPES}
        by_type["SRV"] = {"anyOf": _listed({"anyOf": [_TEXT, self.object(f"{level}.SRV")]})}
        return {"type": "object", "properties": by_type, "additionalProperties": False}


def _extensions() -> str:
    """The keys `x-…` that are no misspelt `x-wharf`."""
    word = EXTENSION.removeprefix("x-")
    near = {word}
    for at in range(len(word)):
        near |= {f"{word[:at]}.?{word[at + 1 :]}", f"{word[:at]}.{word[at:]}"}
        near.add(word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :])
    return f"^x-(?!-?({'|'.join(sorted(near))}).?$)"


def descriptions() -> dict[tuple[str, str], str]:
    """What docs/reference.md says of each key, by level."""
    tables = re.findall(r"^\| key \|.*\n\|[-|]+\n((?:\|.*\n)+)", (DOCS / "reference.md").read_text(), re.MULTILINE)
    found: dict[tuple[str, str], str] = {}
    for level, table in zip(TABLES, tables, strict=True):
        for line in table.splitlines():
            keys, value, *default, meaning = (cell.strip() for cell in line.strip("|").split("|"))
            parts = [meaning, f"Value: {value}", *(f"Default: {each}" for each in default if each)]
            text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", "\n".join(filter(None, parts)))
            found.update({(level, key): text for key in re.findall(r"`([^`]+)`", keys)})
    return found


def editor_schema() -> Schema:
    """The schema of a file of variables, such as one in `group_vars`. Other variables may be in it."""
    writer = _Writer()
    entries = {
        part: _names_of({"anyOf": [writer.object(f"{part}.*"), _TEMPLATE, _defined("not_given")]})
        for part in ("wharf_networks", "wharf_containers")
    }
    rule = {"anyOf": [writer.object("wharf_docker_user[]"), _TEMPLATE]}
    rules: Schema = {"type": "array", "items": rule}
    declaring = {"wharf_host": writer.object("wharf_host"), **entries, "wharf_docker_user": rules}
    # Surveys of AWX give the text of a value.
    variables = {name: {"anyOf": [schema, {"type": ["null", "string"]}]} for name, schema in declaring.items()}
    others: dict[str, Schema] = {name: {} for name in sorted(KNOWN - variables.keys())}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "Written by tests/unit/engine/editor_schema.py",
        "title": "Variables of wharf.network",
        "type": "object",
        "properties": {**variables, **others},
        "patternProperties": {f"^(?!({'|'.join(sorted(KNOWN))})$)wharf_": False},
        "definitions": _DEFINITIONS,
    }
