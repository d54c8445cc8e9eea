# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A message names the place that its user wrote: a variable, a module's option, a key of a file, a Compose service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from planning import facts_of, plan, problems

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.declared import (
    ABSENT,
    Call,
    Declared,
    check_removed_networks,
    declare,
    known,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.places import Places
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.plan import sandboxes_and_endpoints
from ansible_collections.wharf.network.plugins.plugin_utils.compose import load_compose_files

ENTRIES = [
    pytest.param(entry, id=f"{path.stem}: {name}")
    for path in sorted((Path(__file__).parent / "problems").glob("*.yml"))
    for name, entry in yaml.safe_load(path.read_text()).items()
]

OPTIONS = Places("", "")
FILE = Places.of_command("host.json")

# What an unset default network is called by: words that a Compose file has no place for.
_OF_VARIABLES = re.compile(r"wharf_(host|networks|containers|docker_user)")


@pytest.mark.parametrize("places", [OPTIONS, FILE], ids=["options", "file"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_what_a_call_is_given_is_named_as_there(entry: dict[str, Any], places: Places) -> None:
    """All that is said of variables is said of options and of a file's keys too."""
    expected = [_OF_VARIABLES.sub(lambda part: places.part(part[1]), text) for text in entry["problems"]]
    assert problems(marked(entry, places), facts_of(entry.get("facts", {})), places) == expected


def marked(entry: Mapping[str, Any], places: Places) -> dict[str, Any]:
    return places.marked({part: entry.get(part) for part in ("host", "networks", "containers", "docker_user")})


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_from_a_compose_file_is_named_as_in_it(entry: dict[str, Any], tmp_path: Path) -> None:
    """No place in a message, its remedy included, is one that the file has not, or that is no option of the module."""
    document = as_compose(entry)
    (tmp_path / "compose.yml").write_text(yaml.safe_dump({"name": "x", **document}, sort_keys=False))
    given = marked({part: entry.get(part) for part in ("host", "docker_user")}, OPTIONS)
    try:
        read = load_compose_files("compose.yml", tmp_path, "compose_files")
        words = {**given, "networks": read.networks, "containers": read.containers}
        plan(words, facts_of(entry.get("facts", {})), places=OPTIONS)
    except ModelError as error:
        for problem in error.problems:
            places = [*_IN_FILE.findall(problem.message), *_PLACE.findall(problem.path)]
            assert [place for place in places if not is_written(document, place)] == [], str(problem)
            assert not _IN_NO_FILE.search(str(problem)), str(problem)


_PLACE = re.compile(r"compose\.yml: (.+)")
_IN_FILE = re.compile(r"compose\.yml: ((?:networks|services)\.\S+?)(?=:? |:?$|[,;])")
_IN_NO_FILE = re.compile(r"wharf_|(?<!compose\.yml: )(?<![.\w])(networks|containers|services)\.\w")


def as_compose(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The same in a Compose file, in which networks and services have other keys than names on the host."""
    networks = {f"n-{key}": _named(words, "name", key) for key, words in (entry.get("networks") or {}).items()}
    containers: Mapping[str, Any] = entry.get("containers") or {}
    return {"networks": networks, "services": {f"s-{key}": _service(key, words) for key, words in containers.items()}}


def _named(words: Any, key: str, name: str) -> Any:
    return {key: name, **(words or {})} if isinstance(words, (dict, type(None))) else words


def _service(key: str, given: Any) -> Any:
    words = _named(given, "container_name", key)
    if not isinstance(words, dict):
        return words
    networks, links = words.get("networks"), words.get("links")
    if isinstance(networks, dict):
        words["networks"] = {f"n-{name}": attachment for name, attachment in networks.items()}
    elif isinstance(networks, list):
        words["networks"] = [f"n-{name}" for name in networks]
    elif "network_mode" not in words:
        words["network_mode"] = "bridge"
    if isinstance(links, list):
        words["links"] = [f"s-{link}" for link in links]
    if str(words.get("network_mode")).startswith("service:"):
        words["network_mode"] = words["network_mode"].replace("service:", "service:s-")
    return words


def is_written(document: Any, path: str, within: str = "") -> bool:
    """Whether the file has it, but for a last key that is missing there; a network or service has to be there."""
    for key, value in _entries(document):
        rest = path.removeprefix(key)
        if not rest or (rest[:1] in (".", "[") and rest != path and is_written(value, rest.lstrip("."), key)):
            return True
    return "." not in path and within not in ("networks", "services")


def _entries(document: Any) -> list[tuple[str, Any]]:
    """By key; a list of names is as good as a map that has them."""
    if isinstance(document, dict):
        return [(str(key), value) for key, value in document.items()]
    if isinstance(document, list):
        return [
            *((f"[{index}]", value) for index, value in enumerate(document)),
            *((str(each), None) for each in document),
        ]
    return []


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("services.s-web.ports[1]", True),
        ("services.s-web.ports[1].x-wharf.allow_from", True),
        ("services.s-web.networks.n-back", True),
        ("services.s-web.dns", True),
        ("services.s-web.sysctls.net.core.a", True),
        ("services.s-web.networks.back", False),
        ("services.web.ports[1]", False),
        ("services.s-web.ports[2].mode", False),
        ("networks.front", False),
    ],
)
def test_how_that_is_seen(path: str, written: bool) -> None:
    web = {"ports": ["80:80", {"x-wharf": {}}], "networks": ["n-back"], "sysctls": {"net.core.a": 1}}
    assert is_written({"networks": {"n-back": None}, "services": {"s-web": web}}, path) is written


def test_an_entry_of_an_earlier_call_is_named_as_there() -> None:
    """The ledger's words say where they were declared; those of variables, without a mark, by these."""
    before = Declared(host={})
    for places, networks in ((Places(), {"a": {"mtu": 1}}), (FILE, {"b": {"mtu": 1}}), (FILE, {"c": None})):
        before = declare(before, Call(networks=networks, places=places))
    call = Call(networks={"d": {"mtu": 1}, "e": []}, containers={"web": None}, places=OPTIONS)
    said = problems(vars(known(declare(before, call), call)), places=OPTIONS)
    assert sorted(text.partition(": unknown")[0].partition(": []")[0] for text in said) == [
        "host.json: networks.b.mtu",
        "networks.d.mtu",
        "networks.e",
        "wharf_networks.a.mtu",
    ]


def test_what_cannot_go_is_named_by_the_option() -> None:
    before = Declared({}, {"front": {"x-source": "host.json: networks.front"}}, {"web": {"networks": ["front"]}})
    for places, state in ((Places(), "wharf_state"), (OPTIONS, "state"), (FILE, "--state")):
        with pytest.raises(ModelError, match=f"^{state}: the default networks cannot go"):
            declare(before, Call(state=ABSENT, scopes=frozenset(["default_networks"]), places=places))
    with pytest.raises(ModelError, match=r"^host\.json: networks\.front: was declared by an earlier run, and"):
        check_removed_networks(before, Declared({}, {}, {"web": {"networks": ["front"]}}))


def test_what_the_command_is_given() -> None:
    assert [Places.of_command(path).part("host") for path in ("host.json", "-", None)] == [
        "host.json: host",
        "standard input: host",
        "host",
    ]


@pytest.mark.parametrize("part", ["host", "networks", "containers", "docker_user"])
def test_a_part_of_the_wrong_kind(part: str) -> None:
    with pytest.raises(ModelError, match=f"^host.json: {part}: must be"):
        Call(**{part: "words"}, places=FILE)


def test_what_a_mark_names_is_nothing_that_makes_objects_differ() -> None:
    words = {"networks": {"front": {}}, "containers": {"web": {"networks": ["front"], "sysctls": {"net.core.a": 1}}}}
    by_variables, by_options = (plan(places.marked(words), places=places) for places in (Places(), OPTIONS))
    assert by_variables.model != by_options.model
    made = sandboxes_and_endpoints(by_options)
    assert sandboxes_and_endpoints(by_variables) == made
    assert [thing.place for thing in made] == ["containers.web", "containers.web.networks.front"]


def test_networks_of_a_compose_service(tmp_path: Path) -> None:
    """Each is called by the key that the service has for it; of one that it does not name, it is the service."""
    services = "{web: {networks: {back: {ipv4_address: 10.0.0.1}}}, one: {}, two: {}}"
    networks = "{default: {ipam: {config: [{subnet: 10.1.0.0/31}]}}, back: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}"
    (tmp_path / "compose.yml").write_text(f"name: shop\nservices: {services}\nnetworks: {networks}")
    read = load_compose_files("compose.yml", tmp_path)
    assert [text.partition(": is taken")[0].partition(": no address")[0] for text in problems(vars(read))] == [
        'compose.yml: services.web.networks.back.ipv4_address: "10.0.0.1"',
        "compose.yml: services.two",
    ]
