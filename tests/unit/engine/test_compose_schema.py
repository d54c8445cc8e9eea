# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that we know are those of the schema of the Compose Specification, which compose-go has, too."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest
from planning import problems

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.vocabulary import (
    DEPLOY_KEYS,
    SERVICE_KEYS,
)
from ansible_collections.wharf.network.plugins.plugin_utils.compose_document import TOP_LEVEL_KEYS

# The package check-jsonschema brings a copy.
FILE = resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
SCHEMA: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
SERVICE, DEPLOY = ({"$ref": f"#/$defs/{name}"} for name in ("service", "deployment"))


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def properties(schema: dict[str, Any]) -> dict[str, Any]:
    """By their names, with those of all parts that the schema is made of."""
    own = resolved(schema)
    parts = [properties(part) for part in own.get("allOf", [])]
    return {name: each for part in [*parts, own.get("properties", {})] for name, each in part.items()}


@pytest.mark.parametrize(
    ("schema", "known"),
    [(SCHEMA, TOP_LEVEL_KEYS), (SERVICE, SERVICE_KEYS), (DEPLOY, DEPLOY_KEYS)],
    ids=["file", "service", "deploy"],
)
def test_the_keys_of_compose_are_known_and_no_others(schema: dict[str, Any], known: frozenset[str]) -> None:
    assert properties(schema).keys() == known


def nones(schema: dict[str, Any]) -> dict[str, None]:
    return dict.fromkeys(properties(schema))


def test_the_keys_of_networks_of_ports_and_of_attachments_are_known() -> None:
    network = properties(SCHEMA["$defs"]["network"])
    [port] = [each for each in properties(SERVICE)["ports"]["items"]["oneOf"] if "properties" in each]
    [by_network] = [each for each in properties(SERVICE)["networks"]["oneOf"] if "patternProperties" in each]
    [attachments] = by_network["patternProperties"].values()
    ipam = {**nones(network["ipam"]), "config": [nones(network["ipam"]["properties"]["config"]["items"])]}
    app = {**dict.fromkeys(network), "ipam": ipam}
    web = {"networks": {"app": nones(attachments["oneOf"][0])}, "ports": [{**nones(port), "target": 80}]}
    declared = {"networks": {"app": app}, "containers": {"web": web}}
    assert not [each for each in problems(declared) if "unknown key" in each]
    app["ipam"]["config"][0]["gatewy"] = app["internl"] = web["networks"]["app"]["alias"] = web["ports"][0]["host"] = (
        None
    )
    assert len([each for each in problems(declared) if "unknown key" in each]) == 4
