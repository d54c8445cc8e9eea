# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No word of the vocabulary is accepted with one letter changed, missing, doubled or transposed, on any level.

`WHARF_EXAMPLES`, where it is more than usual, changes each letter to every other one, and is the number of random
declarations with several misspellings. Not reported are a key that another key of its level is one letter from, such as
`iptables` from `ip6tables`, and names that others know: of kernel parameters and of DHCP options, which the kernel and
dnsmasq are asked about before anything is touched.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from misspellings import ALL_LETTERS, Place, misspelt, places, spellings, unmarked, vocabulary
from planning import facts_of, problems

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration import section as reading
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.drivers import (
    IPVLAN_FLAGS,
    IPVLAN_MODES,
    MACVLAN_MODES,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.model import (
    CONTAINER_MODE,
    GATEWAY_MODES,
    HOST_GATEWAY,
    HOST_MODE,
    IPTABLES,
    NFTABLES,
    NONE_MODE,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_driver import PARSERS
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_model import read_model
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_ports import PROTOCOLS
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_services import RECORD_TYPES
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_user_rules import (
    ACTIONS,
    ICMP,
    STATES,
    UNITS,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.services import ARCHITECTURES, RA_MODES
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.vocabulary import without_passed_over
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError, ProblemCollector
from ansible_collections.wharf.network.plugins.module_utils.engine.state import RUNTIMES

USUAL = 100
EXAMPLES = int(os.environ.get("WHARF_EXAMPLES", USUAL))
LETTERS = ALL_LETTERS if EXAMPLES > USUAL else ""

MARKED = vocabulary()
SWITCH = {"name": "br9", "addresses": ["10.99.0.1/24"], "has_vlans": True}
FACTS = facts_of({"default_interface": "eth0", "third_party_bridges": [SWITCH]})

# What the entries refer to.
AROUND: dict[str, Any] = {
    "networks": {
        "front": {"enable_ipv6": True, "ipam": {"config": [{"subnet": "10.1.0.0/24"}, {"subnet": "fd00:1::/64"}]}},
        "switched": {"external": True, "driver_opts": {"com.docker.network.bridge.name": "br9"}},
    },
    "containers": {"web": {"networks": ["front"], "ports": ["8080:80"]}, "db": {"networks": ["front"]}},
}

Entry = tuple[str, Any]

# By level, the words that may stand there.
WORDS: dict[tuple[str, ...], set[str]] = defaultdict(set)
for each in places(MARKED):
    WORDS[each.level].add(each.word)

ENTRIES: list[Entry] = [
    *(("hosts", index) for index in range(len(MARKED["hosts"]))),
    *((section, name) for section in ("networks", "containers") for name in MARKED[section]),
    *(("docker_user", index) for index in range(len(MARKED["docker_user"]))),
]


def declaration(entry: Entry, words: Any) -> dict[str, Any]:
    """One entry of the vocabulary, with what it refers to, as it reaches a host."""
    section, key = entry
    if section == "hosts":
        return dict(without_passed_over({"host": words}))
    if section == "networks":
        around = {"networks": {"front": AROUND["networks"]["front"]} if key == "other" else {}}
    else:
        around = {name: dict(entries) for name, entries in AROUND.items()}
    if section == "docker_user":
        return {**around, "docker_user": [words]}
    return dict(without_passed_over({**around, section: {**around[section], key: words}}))


@pytest.fixture(autouse=True)
def without_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take nine tenths of the time, and are not what is looked for here."""
    monkeypatch.setattr(reading.difflib, "get_close_matches", lambda *_arguments, **_options: [])


def is_refused(words: Mapping[str, Any]) -> bool:
    """Whether there is a problem, of the words themselves or of what would follow from them."""
    found = ProblemCollector()
    parts = [words.get(part) or {} for part in ("host", "networks", "containers")]
    try:
        read_model(*parts, words.get("docker_user") or [], found)
    except ModelError:
        return True
    return bool(found.problems) or bool(problems(words, FACTS))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry[0]}.{entry[1]}")
def test_the_vocabulary_is_right(entry: Entry) -> None:
    assert problems(declaration(entry, unmarked(MARKED[entry[0]][entry[1]])), FACTS) == []


def test_it_has_every_key_that_is_ever_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: set[str] = set()
    given: set[str] = set()
    take = reading.Section.take_optional

    def noting(words: Any, key: str, parse: Any) -> Any:
        place = f"{_level(words.path)}.{key}"
        taken.add(place)
        found = take(words, key, parse)
        if found is not None:
            given.add(place)
        return found

    monkeypatch.setattr(reading.Section, "take_optional", noting)
    for section, key in ENTRIES:
        assert problems(declaration((section, key), unmarked(MARKED[section][key])), FACTS) == []
    # The options for all networks are tried on a network that says nothing else.
    example = "wharf_host.default-network-opts."
    beside = tuple(f"{example}{key}" for key in ("masquerade", "rate", "uplink", "vlan"))
    tried = {place for place in taken if place.startswith(beside)}
    assert taken - given == tried


def _level(path: str) -> str:
    """A path without the names and numbers in it."""
    path = re.sub(r"(\.members)\.[^.]+", r"\1.*", re.sub(r"\[\d+\]", "", path))
    return re.sub(r"^(wharf_(?:networks|containers))\.[^.]+|(\.networks)\.[^.]+", r"\1\2.*", path)


def test_it_has_every_choice() -> None:
    choices = {
        *(*GATEWAY_MODES, NFTABLES, IPTABLES, *PROTOCOLS, *RECORD_TYPES, *ARCHITECTURES, *RA_MODES, *RUNTIMES),
        *(*MACVLAN_MODES, *IPVLAN_MODES, *IPVLAN_FLAGS, *PARSERS),
        *(*ACTIONS, ICMP, *STATES, *UNITS, HOST_MODE, NONE_MODE, CONTAINER_MODE, HOST_GATEWAY),
    }
    assert choices - set().union(*WORDS.values()) == set()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry[0]}.{entry[1]}")
def test_no_misspelling_is_accepted(entry: Entry) -> None:
    marked = MARKED[entry[0]][entry[1]]
    accepted = [
        f"{place}: {wrong}"
        for place in places(marked, level=(entry[0], "*"))
        for wrong in wrong_spellings(place)
        if not is_refused(declaration(entry, misspelt(marked, place, wrong)))
    ]
    assert accepted == []


def wrong_spellings(place: Place, letters: str = LETTERS) -> Iterator[str]:
    """Those that are no other word there; of values, the other case is none in many places."""
    for wrong in spellings(place.word, letters):
        if wrong not in WORDS[place.level] and not (place.part and wrong.lower() == place.word.lower()):
            yield wrong


@st.composite
def parts_of(draw: st.DrawFn, marked: Any) -> Any:
    """The same with some keys left out."""
    if isinstance(marked, dict):
        return type(marked)((key, draw(parts_of(value))) for key, value in marked.items() if draw(st.integers(0, 3)))
    return [draw(parts_of(value)) for value in marked] if isinstance(marked, list) else marked


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.data())
def test_no_misspelling_is_accepted_in_a_part(data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from(ENTRIES))
    marked = data.draw(parts_of(MARKED[entry[0]][entry[1]]))
    there = [*places(marked, level=(entry[0], "*"))]
    assume(there and not is_refused(declaration(entry, unmarked(marked))))
    place = data.draw(st.sampled_from(there))
    wrong = data.draw(st.sampled_from([*wrong_spellings(place, ALL_LETTERS)]))
    assert is_refused(declaration(entry, misspelt(marked, place, wrong)))
