# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each folder of `cases/` is a declaration and the facts of a host in, and all that follows from them out.

UPDATE_GOLDEN=1 pytest tests/unit/engine/test_cases.py  writes what comes out, to be reviewed as any other change.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from planning import facts_of, plan

from ansible_collections.wharf.network.plugins.module_utils.engine.diff import diff
from ansible_collections.wharf.network.plugins.module_utils.engine.host_files import NETNS_FILES, dns_files
from ansible_collections.wharf.network.plugins.module_utils.engine.nft_script import nft_script
from ansible_collections.wharf.network.plugins.module_utils.engine.plan import (
    Plan,
    bridges,
    forwarding,
    sandboxes_and_endpoints,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.report import objects_as_data
from ansible_collections.wharf.network.plugins.module_utils.engine.rules_nftables import rules
from ansible_collections.wharf.network.plugins.module_utils.engine.state import SCOPES, state_of

CASES = sorted((Path(__file__).parent / "cases").iterdir())

# Where a case has no facts.yml
USUAL_FACTS = {
    "uplink": "eth0",
    "hosts": "127.0.0.1\tlocalhost\n",
    "resolv_conf": "nameserver 192.0.2.53\nsearch example.org\n",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path) -> None:
    given = case / "facts.yml"
    facts = facts_of({**USUAL_FACTS, **(yaml.safe_load(given.read_text()) if given.exists() else {})})
    outcome = _outcome(plan(yaml.safe_load((case / "declaration.yml").read_text()), facts))
    if "UPDATE_GOLDEN" in os.environ:
        _write(case, outcome)
    assert outcome == {path: (case / path).read_text() for path in _golden(case)}


def _outcome(planned: Plan) -> dict[str, str]:
    """The files of a case by their paths, as they should be."""
    layers = {
        "forwarding": forwarding(planned),
        "bridge": bridges(planned),
        "veth": sandboxes_and_endpoints(planned),
    }
    described: dict[str, Any] = {name: objects_as_data(objects) for name, objects in layers.items()}
    return {
        "allotted.yml": _as_yaml(planned.allotted.as_words()),
        "plan.yml": _as_yaml({**described, "warnings": planned.warnings}),
        "ruleset.nft": nft_script(diff({}, state_of(rules(planned)), SCOPES)).replace("\t", "    "),
        **{f"files/{file.name.removeprefix(f'{NETNS_FILES}/')}": file.content for file in dns_files(planned)},
    }


def _golden(case: Path) -> list[str]:
    files = (str(path.relative_to(case)) for path in case.rglob("*") if path.is_file())
    return sorted(set(files) - {"declaration.yml", "facts.yml"})


def _write(case: Path, outcome: dict[str, str]) -> None:
    for path in _golden(case):
        (case / path).unlink()
    for path, content in outcome.items():
        (case / path).parent.mkdir(parents=True, exist_ok=True)
        (case / path).write_text(content)


def _as_yaml(data: Any) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such, and lists indented, for people to read."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
