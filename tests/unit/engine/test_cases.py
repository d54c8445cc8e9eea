# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each folder of `cases/` is a declaration and the facts of a host in, and all that follows from them out.

The rules of a case are those that it adds to `skeleton/`, which has each backend's chains and sets of a host that
declares nothing.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import golden
import pytest
from planning import facts_of, plan

from ansible_collections.wharf.network.plugins.module_utils.engine.diff import Change, diff
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.dnsmasq_files import dnsmasq
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.host_files import NETNS_FILES, dns_files
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.overlays import (
    tunnels_and_routes,
    wireguard_links,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.plan import (
    Plan,
    bridges,
    forwarding,
    sandboxes_and_endpoints,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.report import objects_as_data
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.firewall.iptables_save import Chains
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.firewall.iptables_script import (
    chains_after,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.firewall.nft_script import nft_script
from ansible_collections.wharf.network.plugins.module_utils.engine.rules import rules_iptables, rules_nftables
from ansible_collections.wharf.network.plugins.module_utils.engine.rules.network_rules_iptables import FAMILIES
from ansible_collections.wharf.network.plugins.module_utils.engine.rules.translations import translations
from ansible_collections.wharf.network.plugins.module_utils.engine.state import (
    ContainerFile,
    Dnsmasq,
    File,
    Rules,
    State,
    state_of,
)

HERE = Path(__file__).parent
CASES = sorted((HERE / "cases").iterdir())

# Where a case has no facts.yml
USUAL_FACTS = {
    "default_interface": "eth0",
    "hosts": "127.0.0.1\tlocalhost\n",
    "resolv_conf": "nameserver 192.0.2.53\nsearch example.org\n",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path) -> None:
    golden.check(case, _outcome(_planned(case)), given=("declaration.yml", "facts.yml"))


@pytest.mark.parametrize("backend", [rules_nftables, rules_iptables])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_published_ports_are_read_back_from_the_rules(case: Path, backend: ModuleType) -> None:
    planned = _planned(case)
    read = {
        (thing.container, translation)
        for thing in backend.rules(planned)
        if isinstance(thing, Rules) and thing.container
        for translation in translations(thing)
    }
    has_rules = planned.model.host.has_rules
    assert read == {(each.container, each.translation) for each in planned.publications if has_rules(each.version)}


def _planned(case: Path) -> Plan:
    given = case / "facts.yml"
    facts = facts_of({**USUAL_FACTS, **(golden.read_yaml(given) if given.exists() else {})})
    return plan(golden.read_yaml(case / "declaration.yml"), facts)


def test_skeleton() -> None:
    chains = _chains(diff({}, _skeleton(rules_iptables)))
    golden.check(
        HERE / "skeleton",
        {
            "ruleset.nft": _nft_text(diff({}, _skeleton(rules_nftables))),
            "chains.iptables": "".join(f"{name}\n" + _lines("  ", rules) for name, rules in sorted(chains.items())),
        },
        given=(),
    )


def _outcome(planned: Plan) -> dict[str, str]:
    """The files of a case by their paths, as they should be."""
    layers = {
        "forwarding": [*forwarding(planned), *wireguard_links(planned)],
        "bridge": [*bridges(planned), *tunnels_and_routes(planned)],
        "veth": sandboxes_and_endpoints(planned),
        "dnsmasq": [thing for thing in dnsmasq(planned) if isinstance(thing, Dnsmasq)],
    }
    described: dict[str, Any] = {name: objects_as_data(objects) for name, objects in layers.items()}
    return {
        "allotted.yml": golden.as_yaml(planned.allotted.as_data()),
        "plan.yml": golden.as_yaml({**described, "warnings": planned.warnings}),
        "ruleset.nft": _nft_text(diff(_skeleton(rules_nftables), state_of(rules_nftables.rules(planned)))),
        "chains.iptables": _added_chains(planned),
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


def _skeleton(backend: ModuleType) -> State:
    """The chains and sets that a backend has on a host that declares nothing, without what is in them of a network."""
    things = backend.rules(plan({}, facts_of(USUAL_FACTS)))
    return state_of([thing for thing in things if not isinstance(thing, Rules)])


def _nft_text(changes: list[Change]) -> str:
    return nft_script(changes).replace("\t", "    ")


def _added_chains(planned: Plan) -> str:
    """The rules that each chain of iptables has and the skeleton lacks; behind a minus, those that it lacks itself."""
    before = _chains(diff({}, _skeleton(rules_iptables)))
    after = _chains(diff({}, state_of(rules_iptables.rules(planned))))
    text = ""
    for name in sorted({**before, **after}):
        old, new = before.get(name, []), after.get(name, [])
        added, removed = [rule for rule in new if rule not in old], [rule for rule in old if rule not in new]
        if added or removed:
            text += f"{name}\n" + _lines("- ", removed) + _lines("  ", added)
    return text


def _chains(changes: list[Change]) -> Chains:
    return {name: rules for family in FAMILIES.values() for name, rules in chains_after(family, {}, changes).items()}


def _lines(prefix: str, rules: list[str]) -> str:
    return "".join(f"{prefix}{rule}\n" for rule in rules)
