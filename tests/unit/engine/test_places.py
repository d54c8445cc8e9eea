# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A message names the place that its user wrote: a variable, a module's option, a key of a file, a Compose service."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from planning import facts_of, plan, problems
from test_problems import ENTRIES

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.declared import (
    ABSENT,
    METRICS_FILE,
    Call,
    Declared,
    check_removed_networks,
    declare,
    known,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.model import ENDPOINT_SYSCTLS
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.places import Places
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ConflictError, ModelError
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.listeners import Listener
from ansible_collections.wharf.network.plugins.module_utils.engine.layers import BOOT, DOCKER_CHAINS
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.boot import SERVICES
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.dnsmasq_files import dnsmasq
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.facts import Facts
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.host_files import dns_files
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.plan import (
    Plan,
    bridges,
    sandboxes_and_endpoints,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.files import dnsmasq_needs
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.files.dnsmasq import DnsmasqFiles
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.files.files import Files
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links import parameters
from ansible_collections.wharf.network.plugins.module_utils.engine.state import Dnsmasq, File, Program, state_of
from ansible_collections.wharf.network.plugins.module_utils.engine.transaction import with_places
from ansible_collections.wharf.network.plugins.plugin_utils.declaration import gather

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
        words = {**given, **gather({"compose_files": "compose.yml"}, [tmp_path], OPTIONS).parts}
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
        with pytest.raises(ModelError, match=f"^{state}: the default networks cannot be removed"):
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
    read = gather({"compose_files": "compose.yml"}, [tmp_path]).parts
    assert [text.partition(": is taken")[0].partition(": no address")[0] for text in problems(read)] == [
        'compose.yml: services.web.networks.back.ipv4_address: "10.0.0.1"',
        "compose.yml: services.two",
    ]


WORDS = {
    "networks": {"front": {}, "back": {"ipam": {"config": [{"subnet": "10.0.0.0/24"}]}}},
    "containers": {
        "web": {
            "networks": {"front": {"driver_opts": {ENDPOINT_SYSCTLS: "net.ipv4.conf.IFNAME.nothing=1"}}, "back": {}},
            "sysctls": {"net.ipv4.conf.eth0.no_such": "1"},
            "dns": ["192.0.2.1"],
        },
        "db": {"networks": ["back"], "x-wharf": {"sandbox": "docker:db"}},
    },
}


def planned(places: Places = FILE) -> Plan:
    return plan(places.marked(WORDS), places=places)


def test_what_is_made_of_a_network_or_a_container_knows_its_place() -> None:
    made = planned()
    objects = [*bridges(made), *sandboxes_and_endpoints(made), *dns_files(made), *dnsmasq(made)]
    places = {thing.key: thing.place for thing in objects}
    assert [key for key, place in places.items() if not place] == []
    assert places["bridge", "docker0"] == "host.json: host"
    assert places["bridge", "br-front"] == "host.json: networks.front"
    assert places["sandbox", "netns:web"] == "host.json: containers.web"
    assert places["endpoint", "db/back"] == "host.json: containers.db.networks.back"
    assert places["file", "/etc/netns/web/hosts"] == "host.json: containers.web"
    assert places["container_file", "docker:db:/etc/hosts"] == "host.json: containers.db"
    assert places["file", "/run/wharf/dnsmasq/back.conf"] == "host.json: networks.back"
    (shared,) = (place for (kind, name), place in places.items() if kind == "dnsmasq" and ":" in name)
    assert shared == "host.json: networks.back, host.json: networks.front"


def test_a_file_in_the_way_is_reported_at_the_container_that_needs_the_place(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("mine")
    (file,) = (thing for thing in dns_files(planned()) if thing.name == "/etc/netns/web/hosts")
    in_the_way = replace(file, name=str(tmp_path / "hosts"))
    with pytest.raises(
        ConflictError, match=rf"^host\.json: containers\.web: {tmp_path}/hosts exists and is not managed"
    ):
        Files({}).observe(state_of([in_the_way]), frozenset())


def test_a_port_of_a_resolver_that_is_taken_is_reported_at_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [Listener("udp", "0.0.0.0", 53, 1)]
    monkeypatch.setattr(dnsmasq_needs, "listening_sockets", lambda: taken)
    resolvers = [thing for thing in dnsmasq(planned()) if isinstance(thing, Dnsmasq)]
    with pytest.raises(ConflictError) as refused:
        dnsmasq_needs.refuse_taken(resolvers, set())
    assert [problem.path for problem in refused.value.problems] == [
        "host.json: networks.back",
        "host.json: networks.front",
    ]


def test_a_configuration_that_dnsmasq_refuses_is_reported_at_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    said = subprocess.CompletedProcess([], 1, "", "dnsmasq: bad option at line 3")
    monkeypatch.setattr(f"{DnsmasqFiles.__module__}.programs.run", lambda *_arguments: said)
    monkeypatch.setattr(f"{DnsmasqFiles.__module__}.program", lambda: "dnsmasq")
    (config,) = (thing for thing in dnsmasq(planned()) if thing.name == "/run/wharf/dnsmasq/back.conf")
    with pytest.raises(
        ConflictError, match=r"^host\.json: networks\.back: dnsmasq refuses /run/wharf/dnsmasq/back\.conf: "
    ):
        DnsmasqFiles({}).require(state_of([config]))


def test_a_parameter_of_an_interface_is_reported_where_it_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters.namespaces, "scratch", nullcontext)
    monkeypatch.setattr(parameters.proc_sys, "refusal", lambda name, _value: "no" if "no" in name else "")
    with pytest.raises(ConflictError) as refused:
        parameters.refuse_unsettable(state_of(sandboxes_and_endpoints(planned())))
    assert {str(problem) for problem in refused.value.problems} == {
        "host.json: containers.web.sysctls.net.ipv4.conf.eth0.no_such: ipv4.no_such=1 of eth0: no",
        f"host.json: containers.web.networks.front.driver_opts.{ENDPOINT_SYSCTLS}: ipv4.nothing=1 of eth1: no",
    }


def test_what_is_pending_is_reported_where_it_is_declared() -> None:
    """One reason of several objects is one sentence. What is let go is declared nowhere any more."""
    front, back, gone = ("endpoint", "web/front"), ("endpoint", "web/back"), ("endpoint", "old/front")
    wanted = state_of(sandboxes_and_endpoints(planned()))
    places = "host.json: containers.web.networks.front, host.json: containers.web.networks.back"
    assert with_places({front: "stuck", back: "stuck", gone: "it stays", ("endpoint", "db/back"): ""}, wanted) == {
        front: f"{places}: stuck",
        back: f"{places}: stuck",
        gone: "it stays",
        ("endpoint", "db/back"): "",
    }


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (Call(boot={"services": True}), "wharf_boot_services"),
        (Call(boot={"services": True}, places=OPTIONS), "boot.services"),
        (Call(boot={"services": True, "x-source": "services"}, places=OPTIONS), "services"),
        (Call(boot={"metrics": "/run/wharf.prom"}), "wharf_boot_metrics"),
        (Call(boot={"metrics": "/run/wharf.prom"}, places=OPTIONS), "boot.metrics"),
    ],
)
def test_services_without_an_init_system_are_reported_where_they_are_asked_for(call: Call, path: str) -> None:
    (problem,) = BOOT.lacks(replace(planned(), boot=declare(Declared(), call).boot))
    assert problem.path == path


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (Call(boot={}), "wharf_boot"),
        (Call(boot={"services": True}, places=FILE), "host.json: boot"),
        (Call(boot={}, places=OPTIONS), "boot"),
        (Call(boot={"x-source": "wharf_boot_services"}, places=OPTIONS), "wharf_boot"),
        (Call(boot={"x-source": "services"}, places=OPTIONS), "boot"),
    ],
)
def test_the_command_and_the_files_of_services_know_their_place(call: Call, path: str) -> None:
    facts = Facts(init_system="systemd", starts_services=True)
    made = replace(planned(), boot=declare(Declared(), call).boot, facts=facts)
    assert {thing.place for thing in BOOT.desired(made) if isinstance(thing, (File, Program))} == {path}
    assert sorted(thing.kind for thing in BOOT.desired(made)) == ["file", "file", "program", "service", "service"]


@pytest.mark.parametrize("places", [Places(), FILE], ids=["variables", "file"])
def test_a_kernel_without_ipv6_is_reported_where_its_rules_are_asked_for(places: Places) -> None:
    words = {"host": {"ipv6": False, "firewall-backend": "iptables"}}
    (problem,) = DOCKER_CHAINS.lacks(plan(places.marked(words), Facts(ipv6=False), places=places))
    assert str(problem) == f"{places.part('host')}.ip6tables: the kernel of this host has no IPv6: set this to false"
    words["host"]["ip6tables"] = False
    assert not DOCKER_CHAINS.lacks(plan(places.marked(words), Facts(ipv6=False), places=places))
    assert not DOCKER_CHAINS.lacks(plan({}, Facts(ipv6=False)))


def test_metrics_that_nobody_writes_are_a_warning() -> None:
    """An init system is installed and does not run, and services are not asked for."""
    call = Call(boot={"metrics": "/run/wharf.prom"})
    (warning,) = BOOT.warnings(replace(planned(), boot=declare(Declared(), call).boot), [])
    why = "no service writes this file, since neither systemd nor OpenRC runs this host"
    assert warning.startswith(f"wharf_boot_metrics: {why}: ")
    call = Call(boot={"metrics": "/run/wharf.prom", "services": True})
    assert not BOOT.warnings(replace(planned(), boot=declare(Declared(), call).boot), [])
    call = Call(boot={"metrics": "/nowhere/wharf.prom", "services": True})
    (warning,) = BOOT.warnings(replace(planned(), boot=declare(Declared(), call).boot), [])
    assert warning.startswith(
        "wharf_boot_metrics: wharf-follow cannot write this file, since there is no folder /nowhere"
    )


def test_settings_of_boot_are_checked() -> None:
    with pytest.raises(ModelError) as refused:
        Call(boot={"servics": True, "services": "maybe", "metrics": "wharf.prom"}, places=OPTIONS)
    assert [str(problem) for problem in refused.value.problems] == [
        "boot.servics: unknown key; known here: services, metrics",
        'boot.services: "maybe": must be true or false',
        f'boot.metrics: "wharf.prom": {METRICS_FILE}',
    ]


@pytest.mark.parametrize(
    "path", ["", "/a b.prom", "/a.prom\nExecStart=/bin/x.prom", "a.prom", "/a", "/%n.prom", "/.prom/", 1]
)
def test_a_file_of_metrics_is_a_plain_path(path: object) -> None:
    """It stands in a unit of systemd, and in a shell script."""
    with pytest.raises(ModelError):
        Call(boot={"metrics": path})


def test_metrics_need_the_service_that_writes_them() -> None:
    with pytest.raises(ModelError, match="it is the service wharf-follow that writes metrics"):
        Call(boot={"services": False, "metrics": "/run/wharf.prom"})
    for services in SERVICES.values():
        _apply, with_metrics = services.files("/run/wharf.prom")
        assert "follow --metrics /run/wharf.prom" in with_metrics.content
        assert "--metrics" not in services.files()[1].content
