# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one call makes of what is declared, by its state and its scopes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.declared import (
    ABSENT,
    ALL,
    BOOT,
    CONTAINERS,
    DEFAULT_NETWORKS,
    DOCKER_USER,
    EXACT,
    PARTS,
    PRESENT,
    SCOPES,
    USER_NETWORKS,
    Call,
    Declared,
    check_removed_networks,
    declare,
    known,
    unnamed,
    with_earlier,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.places import Places
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError, Problem

OLD, NEW = {"dns": "192.0.2.1"}, {"dns": "192.0.2.2"}
NOTHING = Declared()
BEFORE = Declared({"mtu": 1400}, {"a": OLD, "b": OLD}, {"one": OLD, "two": OLD})
RULES, OTHER_RULES = [{"action": "drop"}], [{"action": "accept"}]


def call(*scopes: str, **given: Any) -> Call:
    return Call(scopes=frozenset(scopes or SCOPES), **given)


def test_present_leaves_others_and_replaces_an_entry_whole() -> None:
    after = declare(BEFORE, call(host={"icc": False}, networks={"a": NEW, "c": NEW}, containers={"three": NEW}))
    assert after == Declared({"icc": False}, {"a": NEW, "b": OLD, "c": NEW}, {"one": OLD, "two": OLD, "three": NEW})


@pytest.mark.parametrize("external", [{"external": True}, {"external": "true", "name": "a"}])
def test_an_external_entry_leaves_what_it_refers_to(external: Any) -> None:
    """By the same key, as by another one."""
    given = {"a": external, "theirs": {"external": True, "name": "b"}}
    for scopes in (SCOPES, (CONTAINERS,)):
        after = declare(BEFORE, call(*scopes, networks=given))
        assert after.networks == {**BEFORE.networks, "theirs": given["theirs"]}
    assert declare(BEFORE, call(state=ABSENT, networks=given)) == BEFORE
    assert declare(after, call(state=ABSENT, networks=given, containers={})).networks == BEFORE.networks
    # All that is declared is what is given.
    assert declare(BEFORE, call(state=EXACT, networks=given)).networks == given


def test_an_external_entry_cannot_change_what_it_refers_to() -> None:
    given = {"a": {"external": True, "internal": True}}
    with pytest.raises(ModelError, match=r"networks.a.internal: belongs to .*networks.a of an earlier run, where"):
        declare(BEFORE, call(networks=given))
    # This one refers to another network.
    given = {"a": {"external": True, "name": "other", "internal": True}}
    assert declare(BEFORE, call(networks=given)).networks["a"] == given["a"]


def test_a_problem_of_an_earlier_container_says_so() -> None:
    problems = [Problem(f"wharf_containers.{name}.networks.a", "lies outside") for name in ("one", "two", "three")]
    given = call(networks={}, containers={"one": NEW})
    assert [str(each) for each in with_earlier(problems, BEFORE, given)] == [
        "wharf_containers.one.networks.a: lies outside",
        "wharf_containers.two.networks.a: lies outside (an earlier run declared this container)",
        "wharf_containers.three.networks.a: lies outside",
    ]
    assert with_earlier(problems, BEFORE, call(repeats=True)) == problems


def test_what_is_not_given_stays() -> None:
    assert declare(BEFORE, call()) == BEFORE


def test_present_declares_the_default_networks_though_no_word_is_said_of_them() -> None:
    assert declare(NOTHING, call()) == Declared(host={})


def test_exact_lets_go_what_is_no_longer_declared() -> None:
    exact = call(state=EXACT, networks={"b": NEW}, containers={})
    assert declare(BEFORE, exact) == Declared({"mtu": 1400}, {"b": NEW}, {})
    assert unnamed(replace(BEFORE, host={}), exact) == []


def test_exact_leaves_what_it_is_not_given() -> None:
    exact = call(USER_NETWORKS, CONTAINERS, DOCKER_USER, state=EXACT, networks={"b": NEW})
    before = replace(BEFORE, docker_user=RULES)
    assert declare(before, exact) == replace(before, networks={"b": NEW})
    stays = "is not given: what was declared there before stays, as if state were present. The value"
    assert unnamed(before, exact) == [
        f"wharf_docker_user {stays} [] declares that there is nothing",
        f"wharf_containers {stays} {{}} declares that there is nothing",
    ]
    assert unnamed(NOTHING, exact) == []


def test_absent_lets_the_named_go() -> None:
    named = {"networks": {"a": NEW, "unknown": None}, "containers": {"one": None}}
    after = declare(BEFORE, call(USER_NETWORKS, CONTAINERS, state=ABSENT, **named))
    assert after == Declared({"mtu": 1400}, {"b": OLD}, {"two": OLD})


def test_absent_takes_the_name_on_the_host_as_well_as_the_key() -> None:
    before = Declared({}, {"a": {"name": "x"}, "x": {}}, {"web": {"container_name": "web-1"}, "two": OLD})
    after = declare(before, call(CONTAINERS, state=ABSENT, containers={"web-1": None}))
    assert after.containers == {"two": OLD}
    # Where a key is of that name, it is the key's entry that is meant.
    after = declare(before, call(USER_NETWORKS, state=ABSENT, networks={"x": None}))
    assert after.networks == {"a": {"name": "x"}}


def test_a_network_does_not_go_while_containers_are_on_it() -> None:
    networks = {"front": {}, "back": {"name": "rear"}, "calm": {}}
    containers = {
        "a": {"networks": ["back"]},
        "b": {"networks": {"rear": {}}},
        "c": {"network_mode": "back"},
        "d": None,
    }
    before = Declared({}, networks, containers)
    with pytest.raises(ModelError) as caught:
        check_removed_networks(before, Declared({}, {"front": {}}, containers))
    assert [str(problem) for problem in caught.value.problems] == [
        "wharf_networks.back: was declared by an earlier run, and cannot be removed while containers are on it: "
        "a, b, c: remove them first, or put them on another network"
    ]
    check_removed_networks(before, Declared({}, {"front": {}, "rear": {}}, containers))
    check_removed_networks(before, Declared({}, {}, {"d": None}))


EVERYTHING: dict[str, Any] = {"host": {}, "networks": ALL, "containers": ALL, "docker_user": ALL}


def test_absent_lets_all_go_where_the_caller_says_so() -> None:
    """By the word all, or by a call that is given nothing of any part."""
    before = replace(BEFORE, docker_user=RULES)
    for given in ({}, {"containers": ALL}):
        gone = call(CONTAINERS, state=ABSENT, **given)
        assert declare(before, gone) == replace(before, containers={})
        assert unnamed(before, gone) == []
    assert declare(before, call(DOCKER_USER, state=ABSENT, docker_user=ALL)) == BEFORE
    assert declare(before, call(state=ABSENT)).is_empty
    assert declare(before, call(state=ABSENT, **EVERYTHING)).is_empty


@pytest.mark.parametrize(
    "given",
    [
        {"networks": {}},
        {"containers": {}},
        {"docker_user": []},
        {"networks": {}, "containers": {}, "docker_user": []},
    ],
    ids=str,
)
@pytest.mark.parametrize("scope", [DOCKER_USER, DEFAULT_NETWORKS, USER_NETWORKS, CONTAINERS, None])
def test_absent_lets_nothing_go_that_is_not_named(scope: str | None, given: dict[str, Any]) -> None:
    before = replace(BEFORE, docker_user=RULES)
    empty = call(*[scope] if scope else [], state=ABSENT, **given)
    assert declare(before, empty) == before
    (warning,) = unnamed(before, empty)
    remedy = "{} names the default networks" if scope == DEFAULT_NETWORKS else "all names everything"
    assert warning.endswith(f"names nothing, so nothing is removed. The value {remedy}")
    named = [PARTS[scope]] if scope else [*given]
    assert all(f"wharf_{part}" in warning for part in named)
    assert ("wharf_containers" in warning) == ("containers" in named)


def test_what_names_nothing_is_the_file_where_there_is_one() -> None:
    """Keys that the file does not have are not named."""
    of_file = call(state=ABSENT, containers={}, places=Places.of_command("host.yml"))
    assert unnamed(BEFORE, of_file) == [
        "host.yml: names nothing, so --state absent removes nothing. The value all names everything"
    ]
    of_part = call(CONTAINERS, state=ABSENT, containers={}, places=Places.of_command("host.yml"))
    assert unnamed(BEFORE, of_part)[0].startswith("state is absent, and host.yml: containers names nothing, so ")


def test_absent_leaves_the_parts_that_it_is_not_given() -> None:
    before = replace(BEFORE, docker_user=RULES)
    gone = call(state=ABSENT, networks={"a": None})
    assert declare(before, gone) == replace(before, networks={"b": OLD})
    assert unnamed(before, gone) == []


def test_settings_name_the_default_networks() -> None:
    alone = Declared({"mtu": 1400})
    assert declare(alone, call(DEFAULT_NETWORKS, state=ABSENT, host={})) == NOTHING
    assert declare(alone, call(DEFAULT_NETWORKS, state=ABSENT, networks={})) == alone


@pytest.mark.parametrize("state", [PRESENT, EXACT])
def test_all_is_only_for_what_goes(state: str) -> None:
    with pytest.raises(ModelError) as caught:
        call(state=state, networks=ALL, containers=ALL, docker_user=ALL, host=ALL)
    only = '"all": is only for state absent; declare entries by their names'
    assert {str(problem) for problem in caught.value.problems} == {
        f"wharf_docker_user: {only}",
        "wharf_host: must be a mapping",
        f"wharf_networks: {only}",
        f"wharf_containers: {only}",
    }


def test_the_default_networks_do_not_go_from_under_others() -> None:
    with pytest.raises(ModelError) as caught:
        declare(BEFORE, call(DEFAULT_NETWORKS, state=ABSENT))
    assert [str(problem) for problem in caught.value.problems] == [
        "wharf_state: the default networks cannot be removed before what is declared on them: a, b, one, two"
    ]
    with pytest.raises(ModelError):
        declare(BEFORE, call(state=ABSENT, host={}, networks={"a": None}))


def test_a_scope_that_is_not_called_stays() -> None:
    given = {"host": NEW, "networks": {"a": NEW}, "containers": {"one": NEW}}
    assert declare(BEFORE, call(DEFAULT_NETWORKS, **given)) == Declared(NEW, BEFORE.networks, BEFORE.containers)
    assert declare(BEFORE, call(USER_NETWORKS, **given)) == Declared(NEW, {"a": NEW, "b": OLD}, BEFORE.containers)


def test_what_a_call_stands_on_is_declared_where_it_is_given() -> None:
    given = {"host": NEW, "networks": {"a": NEW}, "containers": {"one": NEW}}
    after = declare(NOTHING, call(CONTAINERS, **given))
    assert after == Declared(NEW, {"a": NEW}, {"one": NEW})
    further = {"networks": {"b": OLD}, "containers": {}}
    assert declare(after, call(CONTAINERS, **further)) == Declared(NEW, {"a": NEW, "b": OLD}, {"one": NEW})
    assert declare(after, call(CONTAINERS, host=OLD, networks={"a": OLD})) == Declared(OLD, {"a": OLD}, {"one": NEW})
    assert declare(after, call(CONTAINERS, state=EXACT, networks={"b": OLD})).networks == {"a": NEW, "b": OLD}


def test_absent_declares_nothing_below() -> None:
    assert declare(NOTHING, call(CONTAINERS, state=ABSENT, host=NEW, networks={"a": NEW})).is_empty


@pytest.mark.parametrize(
    ("scopes", "below"),
    [
        ({DOCKER_USER}, set()),
        ({DEFAULT_NETWORKS}, {DOCKER_USER}),
        (set(), set()),
        ({USER_NETWORKS}, {DOCKER_USER, DEFAULT_NETWORKS}),
        ({CONTAINERS}, {DOCKER_USER, DEFAULT_NETWORKS, USER_NETWORKS}),
        ({BOOT}, set()),
    ],
)
def test_what_a_call_stands_on(scopes: set[str], below: set[str]) -> None:
    assert {scope for scope in SCOPES if Call(scopes=frozenset(scopes)).depends_on(scope)} == below


def test_what_brings_the_networks_back_is_declared_by_itself() -> None:
    only_boot = declare(NOTHING, call(BOOT, boot={"services": False}))
    assert only_boot == Declared(boot={"services": False})
    assert not only_boot.is_empty
    assert declare(only_boot, call(BOOT)) == only_boot
    assert declare(only_boot, call(CONTAINERS, containers={"one": OLD})).boot == {"services": False}
    assert declare(only_boot, call(BOOT, state=ABSENT, boot={})).is_empty
    assert declare(only_boot, call(state=ABSENT)).is_empty
    assert declare(only_boot, call(CONTAINERS, state=ABSENT)) == only_boot


@pytest.mark.parametrize("state", [PRESENT, EXACT])
def test_rules_are_set_whole(state: str) -> None:
    before = replace(BEFORE, docker_user=RULES)
    assert declare(before, call(DOCKER_USER, docker_user=OTHER_RULES, state=state)).docker_user == OTHER_RULES
    assert declare(before, call(DOCKER_USER, state=state)).docker_user == RULES
    assert declare(before, call(DOCKER_USER, docker_user=[], state=state)).docker_user is None


def test_rules_stand_alone() -> None:
    given = {"host": NEW, "networks": {"a": NEW}, "containers": {"one": NEW}}
    alone = call(DOCKER_USER, docker_user=RULES)
    assert declare(NOTHING, alone) == known(declare(NOTHING, alone), alone) == Declared(docker_user=RULES)
    assert declare(NOTHING, replace(alone, **given)) == Declared(docker_user=RULES)
    with_rules = declare(BEFORE, alone)
    assert declare(with_rules, call(DEFAULT_NETWORKS, USER_NETWORKS, CONTAINERS, state=ABSENT)) == Declared(
        docker_user=RULES
    )
    assert declare(with_rules, call(DOCKER_USER, docker_user=RULES, state=ABSENT)) == BEFORE
    assert declare(with_rules, call(CONTAINERS, docker_user=RULES, containers={"one": OLD}, state=ABSENT)) == replace(
        with_rules, containers={"two": OLD}
    )


def test_by_what_rules_are_made_is_known_of_rules_alone() -> None:
    words = {"firewall-backend": "iptables", "mtu": 1400}
    alone = declare(NOTHING, call(DOCKER_USER, docker_user=RULES, host=words))
    assert alone == Declared(docker_user=RULES, firewall={"firewall-backend": "iptables"})
    again = call(DOCKER_USER, docker_user=OTHER_RULES)
    assert known(declare(alone, again), again).firewall == alone.firewall
    whole = declare(alone, call(DEFAULT_NETWORKS, host={"iptables": False}))
    assert declare(whole, call(DEFAULT_NETWORKS, state=ABSENT)).firewall == {"iptables": False}


def test_every_call_stands_on_the_rules() -> None:
    assert declare(NOTHING, call(DEFAULT_NETWORKS, docker_user=RULES)) == Declared({}, docker_user=RULES)


def test_the_planner_knows_what_comes_later() -> None:
    """So that the first call of a play finds the problems of them all, and plans as the last one will."""
    given = {"host": NEW, "networks": {"a": NEW}, "containers": {"one": NEW}}
    first = call(DEFAULT_NETWORKS, **given)
    assert known(declare(BEFORE, first), first) == Declared(NEW, {"a": NEW, "b": OLD}, {"one": NEW, "two": OLD})


def test_the_planner_knows_what_a_call_stands_on() -> None:
    given = {"host": NEW, "networks": {"a": NEW, "c": NEW}, "containers": {"one": NEW}}
    last = call(CONTAINERS, **given)
    after = declare(BEFORE, last)
    assert known(after, last) == after == Declared(NEW, {"a": NEW, "b": OLD, "c": NEW}, {"one": NEW, "two": OLD})


def test_the_planner_knows_nothing_new_of_what_goes() -> None:
    gone = call(CONTAINERS, state=ABSENT, containers={"one": NEW}, networks={"c": NEW})
    assert known(declare(BEFORE, gone), gone) == Declared(BEFORE.host, BEFORE.networks, {"two": OLD})


@pytest.mark.parametrize("seconds", [9, 0, -1, 86401, True])
def test_a_time_to_confirm_is_neither_too_short_nor_too_long(seconds: int) -> None:
    with pytest.raises(
        ModelError, match=rf'^--confirm: "{seconds}": must be a whole number of seconds from 10 to 86400'
    ):
        Call(confirm=seconds, places=Places("", "--"))
    assert Call(confirm=10).confirm == 10


@pytest.mark.parametrize("key", ["", "short", 7, ["3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="]])
def test_keys_that_a_play_knows_are_keys(key: Any) -> None:
    """Else they would come to the ledger, and be refused by the kernel in the middle of a run."""
    with pytest.raises(ModelError, match=r"^peer_keys.h2: .* must be a (text|public key of WireGuard)"):
        Call(peer_keys={"h2": key}, places=Places("", ""))


def test_a_check_foresees_a_key() -> None:
    assert Call(peer_keys={"h2": ""}, check=True).peer_keys == {"h2": ""}
