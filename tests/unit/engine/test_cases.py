# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each folder of `cases/` is a declaration and the facts of a host in, and all that follows from them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import pytest
import yaml
from planning import facts_of, plan

from ansible_collections.wharf.network.plugins.module_utils.engine.diff import diff
from ansible_collections.wharf.network.plugins.module_utils.engine.doors.nft_script import nft_script
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.dnsmasq_files import dnsmasq
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.host_files import NETNS_FILES, dns_files
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.plan import (
    Plan,
    bridges,
    forwarding,
    sandboxes_and_endpoints,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.report import objects_as_data
from ansible_collections.wharf.network.plugins.module_utils.engine.rules.rules_nftables import rules
from ansible_collections.wharf.network.plugins.module_utils.engine.state import (
    SCOPES,
    ContainerFile,
    Dnsmasq,
    File,
    state_of,
)

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
    golden.check(case, outcome, given=("declaration.yml", "facts.yml"))


def _outcome(planned: Plan) -> dict[str, str]:
    """The files of a case by their paths, as they should be."""
    layers = {
        "forwarding": forwarding(planned),
        "bridge": bridges(planned),
        "veth": sandboxes_and_endpoints(planned),
        "dnsmasq": [thing for thing in dnsmasq(planned) if isinstance(thing, Dnsmasq)],
    }
    described: dict[str, Any] = {name: objects_as_data(objects) for name, objects in layers.items()}
    return {
        "allotted.yml": golden.as_yaml(planned.allotted.as_words()),
        "plan.yml": golden.as_yaml({**described, "warnings": planned.warnings}),
        "ruleset.nft": nft_script(diff({}, state_of(rules(planned)), SCOPES)).replace("\t", "    "),
        **{
            # A colon is refused in the names of files by ansible-test.
            f"{folder}/{file.name.removeprefix(prefix).lstrip('/').replace(':', '+')}": file.content
            for folder, prefix, files in [
                ("files", f"{NETNS_FILES}/", dns_files(planned)),
                ("dnsmasq", "/run/wharf/", dnsmasq(planned)),
            ]
            for file in files
            if isinstance(file, (File, ContainerFile))
        },
    }
