# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of every allotment, whatever is declared."""

from __future__ import annotations

import copy
import ipaddress
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import plan, problems

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.allotments import (
    Allotments,
    Lease,
    PoolAllotment,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.facts import Facts
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.plan import Plan

NETWORKS = ("a", "b", "c", "d")


def for_all(*strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same few examples in every run; to look for more, raise their number and let them be random."""
    few = settings(max_examples=50, deadline=None, derandomize=True)
    return lambda test: few(given(*strategies)(test))


@st.composite
def pools(draw: st.DrawFn, number: int) -> list[dict[str, Any]]:
    """Some of two subnets of each family, with or without a range, a gateway and reserved addresses."""
    subnets = (f"10.{number}.0.0/24", f"10.{number}.9.0/24", f"fd00:{number}::/64", f"fd00:{number}:0:9::/64")
    return [_pool(draw, subnet) for subnet in subnets if draw(st.booleans())]


def base_of(subnet: str) -> str:
    """What stands before the last number of its addresses: `10.1.0.` or `fd00:1::`."""
    return subnet.partition("/")[0].removesuffix("0")


def _pool(draw: st.DrawFn, subnet: str) -> dict[str, Any]:
    base = base_of(subnet)
    pool: dict[str, Any] = {"subnet": subnet}
    if draw(st.booleans()):
        pool["ip_range"] = f"{base}64/{26 if '.' in base else 122}"
    if draw(st.booleans()):
        pool["gateway"] = f"{base}{draw(st.sampled_from(['1', '9', '64', '66']))}"
    if draw(st.booleans()):
        pool["aux_addresses"] = {"first": f"{base}2", "second": f"{base}65"}
    return pool


@st.composite
def attachments(draw: st.DrawFn, number: int, networks: dict[str, Any]) -> dict[str, Any]:
    """Some of the networks; a static address is the container's own, by its number."""
    chosen = draw(st.lists(st.sampled_from(sorted(networks)), unique=True, min_size=1))
    found: dict[str, Any] = {}
    for name in chosen:
        words: dict[str, Any] = {"priority": draw(st.integers(0, 2))}
        for pool in networks[name].get("ipam", {}).get("config", []):
            key = "ipv4_address" if "." in pool["subnet"] else "ipv6_address"
            if draw(st.booleans()):
                words[key] = f"{base_of(pool['subnet'])}{80 + number}"
        if draw(st.booleans()):
            words["interface_name"] = f"eth{draw(st.integers(0, 1))}{chosen.index(name)}"
        found[name] = words
    return found


@st.composite
def declarations(draw: st.DrawFn) -> dict[str, Any]:
    networks: dict[str, Any] = {}
    for number, name in enumerate(draw(st.lists(st.sampled_from(NETWORKS), unique=True, min_size=1)), start=1):
        networks[name] = {"enable_ipv6": True, "ipam": {"config": draw(pools(number))}}
    containers = {
        f"c{number}": {
            "networks": draw(attachments(number, networks)),
            "ports": draw(st.lists(st.sampled_from(["80", "81/udp", "8000-8020:82", "127.0.0.1::83"]), unique=True)),
        }
        for number in range(draw(st.integers(1, 6)))
    }
    return {"networks": networks, "containers": containers}


def pools_with_words(words: dict[str, Any], planned: Plan) -> Iterator[tuple[str, PoolAllotment, dict[str, Any]]]:
    """Each subnet of each network, and the words for it."""
    for name, allotted in planned.allotted.networks.items():
        config = words["networks"].get(name, {}).get("ipam", {}).get("config", [])
        by_subnet = {pool["subnet"]: pool for pool in config}
        for pool in allotted:
            yield name, pool, by_subnet.pop(str(pool.subnet), {})
        assert not by_subnet


def by_network(planned: Plan, network: str, version: int) -> dict[str, Any]:
    endpoints = planned.allotted.endpoints.items()
    return {container: each.address(version) for (container, name), each in endpoints if name == network}


def in_pool(planned: Plan, network: str, pool: PoolAllotment) -> dict[str, Any]:
    addresses = by_network(planned, network, pool.version)
    return {container: address for container, address in addresses.items() if address in pool.subnet}


def without_container(words: dict[str, Any], container: str) -> dict[str, Any]:
    return {**words, "containers": {name: each for name, each in words["containers"].items() if name != container}}


@for_all(declarations())
def test_every_address_is_one_that_may_be_had(words: dict[str, Any]) -> None:
    planned = plan(words)
    for network, allotted in planned.allotted.networks.items():
        for version in {pool.version for pool in allotted}:
            everybody = by_network(planned, network, version)
            assert len(set(everybody.values())) == len(everybody)
            found = [in_pool(planned, network, pool) for pool in allotted if pool.version == version]
            assert sorted(everybody) == sorted(container for each in found for container in each)
    for network, pool, words_of_pool in pools_with_words(words, planned):
        version, addresses = pool.version, in_pool(planned, network, pool)
        key = f"ipv{version}_address"
        static = {c for c in addresses if key in words["containers"][c]["networks"][network]}
        unusable = {
            pool.gateway,
            pool.subnet[0],
            *map(ipaddress.ip_address, words_of_pool.get("aux_addresses", {}).values()),
        }
        if version == 4:
            unusable.add(pool.subnet[-1])
        assert unusable.isdisjoint(addresses.values())
        assert all(address in pool.subnet for address in [pool.gateway, *addresses.values()])
        dynamic_range = ipaddress.ip_network(words_of_pool.get("ip_range", str(pool.subnet)), strict=False)
        assert all(address in dynamic_range for container, address in addresses.items() if container not in static)


@for_all(declarations())
def test_what_is_declared_is_had(words: dict[str, Any]) -> None:
    planned = plan(words)
    for _network, pool, words_of_pool in pools_with_words(words, planned):
        assert str(pool.subnet) == words_of_pool.get("subnet", str(pool.subnet))
        assert str(pool.gateway) == words_of_pool.get("gateway", str(pool.gateway))
    for (container, network), endpoint in planned.allotted.endpoints.items():
        wish = words["containers"][container]["networks"][network]
        assert endpoint.interface == wish.get("interface_name", endpoint.interface)
        assert str(endpoint.ipv4) == wish.get("ipv4_address", str(endpoint.ipv4))
        assert str(endpoint.ipv6) == wish.get("ipv6_address", str(endpoint.ipv6))


@for_all(declarations())
def test_no_interface_and_no_port_twice(words: dict[str, Any]) -> None:
    planned = plan(words)
    for container in words["containers"]:
        names = [each.interface for (name, _network), each in planned.allotted.endpoints.items() if name == container]
        assert len(set(names)) == len(names)
    macs = [endpoint.mac for endpoint in planned.allotted.endpoints.values()]
    assert len(set(macs)) == len(macs)
    taken = [(p.version, p.protocol, p.host_port) for p in planned.publications]
    assert len(set(taken)) == len(taken)


@for_all(declarations(), st.randoms(use_true_random=False))
def test_the_order_of_a_declaration_does_not_matter(words: dict[str, Any], random: Any) -> None:
    assert plan(shuffled(words, random)).allotted == plan(words).allotted


def shuffled(value: Any, random: Any) -> Any:
    if not isinstance(value, dict):
        return value
    keys = list(value)
    random.shuffle(keys)
    return {key: shuffled(value[key], random) for key in keys}


@for_all(declarations())
def test_the_same_again_is_the_same(words: dict[str, Any]) -> None:
    allotted = plan(words).allotted
    assert plan(words, before=allotted).allotted == allotted


@for_all(declarations())
def test_allotments_survive_json(words: dict[str, Any]) -> None:
    allotted = plan(words).allotted
    assert Allotments.from_data(json.loads(json.dumps(allotted.as_data()))) == allotted


@for_all(declarations(), st.integers(0, 5))
def test_who_goes_or_comes_changes_nobody_else(words: dict[str, Any], number: int) -> None:
    everybody = plan(words).allotted
    container = sorted(words["containers"])[number % len(words["containers"])]
    others = plan(without_container(words, container), before=everybody).allotted
    assert others.endpoints == {key: each for key, each in everybody.endpoints.items() if key[0] != container}
    assert others.networks == everybody.networks
    assert others.ports == {key: port for key, port in everybody.ports.items() if key.split()[0] != container}
    # As for a newcomer, whose static addresses nobody has
    newcomer = plan(words, before=others).allotted
    assert {key: newcomer.endpoints[key] for key in others.endpoints} == others.endpoints
    assert {key: newcomer.ports[key] for key in others.ports} == others.ports


@for_all(declarations(), st.sampled_from(NETWORKS))
def test_a_network_that_goes_or_comes_renumbers_no_other(words: dict[str, Any], network: str) -> None:
    everything = plan({"networks": words["networks"]}).allotted
    others = {name: each for name, each in words["networks"].items() if name != network}
    rest = plan({"networks": others}, before=everything).allotted
    assert rest.networks == {name: each for name, each in everything.networks.items() if name != network}
    again = plan({"networks": words["networks"]}, before=rest).allotted
    assert {name: again.networks[name] for name in rest.networks} == rest.networks


@for_all(st.lists(st.integers(16, 31), unique=True), st.integers(0, 255), st.integers(0, 3))
def test_what_the_host_has_is_left_to_it(seconds: list[int], third: int, count: int) -> None:
    taken = [ipaddress.ip_network(f"172.{second}.{third}.0/24") for second in seconds]
    facts = Facts(taken_subnets=tuple((subnet, "the host's own network on eth0") for subnet in taken))
    planned = plan({"networks": dict.fromkeys(NETWORKS[:count])}, facts)
    subnets = [pool.subnet for pools in planned.allotted.networks.values() for pool in pools]
    assert not any(subnet.overlaps(other) for subnet in subnets for other in taken)
    assert not any(subnets[i].overlaps(subnets[j]) for i in range(len(subnets)) for j in range(i))


def test_the_pools_of_docker_in_their_order() -> None:
    planned = plan({"networks": {f"n{number:02}": None for number in range(17)}})
    subnets = [str(pool[0].subnet) for pool in planned.allotted.networks.values()]
    assert subnets == [
        *(f"172.{second}.0.0/16" for second in range(17, 32)),
        *(f"192.168.{third}.0/20" for third in (0, 16, 32)),
    ]


def test_the_pools_of_docker_end() -> None:
    networks = {f"n{number:02}": None for number in range(31)}
    assert problems({"networks": networks}) == [
        "wharf_networks.n30: no IPv4 subnet is free in "
        + ", ".join([*(f"172.{second}.0.0/16" for second in range(17, 32)), "192.168.0.0/16"])
        + ": give this network a subnet, or more room in wharf_host.default-address-pools"
    ]


@for_all(st.text())
def test_ipv6_is_of_a_prefix_of_the_host_alone(machine_id: str) -> None:
    planned = plan({"networks": {name: {"enable_ipv6": True} for name in NETWORKS}}, Facts(machine_id=machine_id))
    subnets = [pool.subnet for pools in planned.allotted.networks.values() for pool in pools if pool.version == 6]
    assert all(subnet.subnet_of(ipaddress.ip_network("fd00::/8")) and subnet.prefixlen == 64 for subnet in subnets)
    assert len({subnet.supernet(new_prefix=48) for subnet in subnets}) == 1


def test_hosts_differ_in_their_prefix() -> None:
    prefixes = {
        str(plan({"networks": {"a": {"enable_ipv6": True}}}, Facts(machine_id=host)).allotted.networks["a"][1].subnet)
        for host in ("one", "other")
    }
    assert len(prefixes) == 2


def subnets(planned: Plan, network: str) -> list[str]:
    return [str(pool.subnet) for pool in planned.allotted.networks[network]]


def with_subnet(*subnets: str) -> dict[str, Any]:
    return {"enable_ipv6": any(":" in each for each in subnets), "ipam": {"config": [{"subnet": s} for s in subnets]}}


def refused(words: dict[str, Any], before: Allotments, earlier: frozenset[str] = frozenset()) -> list[str]:
    with pytest.raises(ModelError) as error:
        plan(words, before=before, earlier=earlier)
    return [str(problem) for problem in error.value.problems]


def test_a_declared_subnet_pushes_a_kept_one_away_that_no_container_uses() -> None:
    before = plan({"networks": {"a": {}}}).allotted
    words = {"networks": {"a": {}, "b": with_subnet("172.18.0.0/24")}}
    planned = plan(words, before=before)
    assert subnets(planned, "a") == ["172.19.0.0/16"]
    assert planned.warnings == [
        "wharf_networks.a.ipam.config: network a, which no container is on, moves from 172.18.0.0/16 to 172.19.0.0/16: "
        "the former overlaps 172.18.0.0/24, the subnet of network b"
    ]
    assert plan(words, before=planned.allotted).warnings == []


def test_a_declared_subnet_does_not_push_one_away_that_containers_use() -> None:
    words = {"networks": {"a": {}}, "containers": {name: {"networks": ["a"]} for name in ("v", "w", "x", "y", "z")}}
    before = plan(words).allotted
    words["networks"]["b"] = with_subnet("172.18.0.0/24")
    assert refused(words, before) == [
        "wharf_networks.b.ipam.config[0]: subnet 172.18.0.0/24 overlaps 172.18.0.0/16, which network a keeps while "
        "containers are on it (v, w, x and 2 more): choose another one, or declare another one for network a too, by "
        "wharf_networks.a.ipam.config"
    ]
    # On a host that has nothing yet, what is declared comes first.
    assert subnets(plan(words), "a") == ["172.19.0.0/16"]


@pytest.mark.parametrize("path", ["bip", "bip6"])
def test_nor_the_default_networks(path: str) -> None:
    facts = Facts(machine_id="some")
    words: dict[str, Any] = {"host": {"ipv6": True}, "containers": {"web": {}}}
    before = plan(words, facts).allotted
    kept = subnets(plan(words, facts), "bridge")
    wanted = kept[0 if path == "bip" else 1]
    words["networks"] = {"a": with_subnet(*([wanted] if path == "bip" else ["10.9.0.0/24", wanted]))}
    [problem] = refused(words, before)
    assert f"overlaps {wanted}, which network bridge keeps while containers are on it (web): " in problem
    assert problem.endswith(f"or declare another one for network bridge too, by wharf_host.{path}")


def test_a_container_that_goes_in_the_same_run_still_uses_its_network() -> None:
    before = plan({"containers": {"web": {}}}).allotted
    assert "while containers are on it (web)" in refused({"networks": {"a": with_subnet("172.17.0.0/16")}}, before)[0]


def test_a_container_that_moved_long_ago_does_not() -> None:
    first = plan({"networks": {"a": {}}, "containers": {"web": {}}}).allotted
    moved = {"networks": {"a": {}}, "containers": {"web": {"networks": ["a"]}}}
    ledger = plan(moved, before=first).allotted.completed(first, ["web"])
    assert ("web", "bridge") in ledger.endpoints
    moved["networks"]["b"] = with_subnet("172.17.0.0/16")
    assert subnets(plan(moved, before=ledger), "bridge") == ["172.19.0.0/16"]


def test_a_subnet_moves_from_one_network_to_another_in_one_run() -> None:
    words = {"networks": {"a": {}}, "containers": {"web": {"networks": ["a"]}}}
    before = plan(words).allotted
    instead = {"networks": {"b": with_subnet("172.18.0.0/16")}, "containers": {"web": {"networks": ["b"]}}}
    assert subnets(plan(instead, before=before), "b") == ["172.18.0.0/16"]
    asked = {**words, "networks": {"a": with_subnet("10.9.0.0/24"), "b": with_subnet("172.18.0.0/16")}}
    planned = plan(asked, before=before)
    assert subnets(planned, "a") == ["10.9.0.0/24"]
    assert planned.warnings == []


@pytest.mark.parametrize("kind", ["taken_subnets", "routed_subnets"])
def test_what_the_host_has_of_late_renumbers_no_network_that_is_in_use(kind: str) -> None:
    used, unused = {"networks": {"a": {}}, "containers": {"web": {"networks": ["a"]}}}, {"networks": {"a": {}}}
    facts = Facts(**{kind: ((ipaddress.ip_network("172.18.9.0/24"), "which the host has"),)})
    planned = plan(used, facts, plan(used).allotted)
    assert subnets(planned, "a") == ["172.18.0.0/16"]
    assert planned.warnings == [
        "wharf_networks.a.ipam.config: network a keeps 172.18.0.0/16 while containers are on it (web), although it "
        "overlaps 172.18.9.0/24, which the host has: declare another subnet here when they may be renumbered"
    ]
    planned = plan(unused, facts, plan(unused).allotted)
    assert subnets(planned, "a") == ["172.19.0.0/16"]
    assert planned.warnings == [
        "wharf_networks.a.ipam.config: network a, which no container is on, moves from 172.18.0.0/16 to 172.19.0.0/16: "
        "the former overlaps 172.18.9.0/24, which the host has"
    ]


@pytest.mark.parametrize(("old", "new"), [("a", "b"), ("b", "a")])
def test_an_overlap_does_not_blame_what_an_earlier_run_declared(old: str, new: str) -> None:
    before = plan({"networks": {old: with_subnet("10.0.0.0/24")}}).allotted
    words = {"networks": {old: with_subnet("10.0.0.0/24"), new: with_subnet("10.0.0.0/25")}}
    assert refused(words, before, frozenset({old})) == [
        f"wharf_networks.{new}.ipam.config[0]: subnet 10.0.0.0/25 overlaps 10.0.0.0/24, the subnet of network {old} "
        f"(declared earlier; it is in the ledger): choose another one, or remove network {old} first (state: absent)"
    ]


def test_nor_the_default_network_of_an_earlier_run() -> None:
    host = {"bip": "10.0.0.1/24"}
    before = plan({"host": host}).allotted
    words = {"host": host, "networks": {"a": with_subnet("10.0.0.0/25")}}
    assert refused(words, before, frozenset({"bridge"})) == [
        "wharf_networks.a.ipam.config[0]: subnet 10.0.0.0/25 overlaps 10.0.0.0/24, the subnet of network bridge "
        "(declared earlier; it is in the ledger): choose another one, or declare another wharf_host.bip"
    ]


def test_an_address_is_kept_though_the_range_moves() -> None:
    words = {
        "networks": {"a": {"ipam": {"config": [{"subnet": "10.0.0.0/24"}]}}},
        "containers": {"c": {"networks": ["a"]}},
    }
    before = plan(words).allotted
    words["networks"]["a"]["ipam"]["config"][0]["ip_range"] = "10.0.0.128/25"
    planned = plan(words, before=before)
    assert planned.allotted.endpoints["c", "a"].ipv4 == ipaddress.ip_address("10.0.0.2")


def test_an_address_is_not_kept_that_was_leased_by_a_server_of_the_lan() -> None:
    words = {
        "networks": {"a": with_subnet("10.0.0.0/24")},
        "containers": {"c": {"networks": {"a": {"ipv4_address": "10.0.0.200"}}}},
    }
    before = plan(words).allotted
    lease = Lease(ipaddress.IPv4Interface("10.0.0.200/24"), None, "02:42:00:00:00:01", "eth0", 0, 3600)
    words["containers"]["c"] = {"networks": {"a": {}}}
    assert str(plan(words, before=before).allotted.endpoints["c", "a"].ipv4) == "10.0.0.200"
    leased = replace(before, leases={("c", "a"): lease})
    assert str(plan(words, before=leased).allotted.endpoints["c", "a"].ipv4) == "10.0.0.2"


def test_an_address_is_not_kept_where_it_is_reserved_now() -> None:
    config = {"subnet": "10.0.0.0/24"}
    words = {"networks": {"a": {"ipam": {"config": [config]}}}, "containers": {"c": {"networks": ["a"]}}}
    before = plan(words).allotted
    config["aux_addresses"] = {"x": "10.0.0.2"}  # type: ignore[assignment]
    assert str(plan(words, before=before).allotted.endpoints["c", "a"].ipv4) == "10.0.0.3"


def test_who_is_moved_by_anothers_declared_address_is_warned_of() -> None:
    words = {"networks": {"a": with_subnet("10.0.0.0/24")}, "containers": {"old": {"networks": ["a"]}}}
    before = plan(words).allotted
    words["containers"]["new"] = {"networks": {"a": {"ipv4_address": "10.0.0.2"}}}
    planned = plan(words, before=before)
    assert planned.warnings == [
        "wharf_containers.old.networks.a: container old moves from 10.0.0.2 to 10.0.0.3: "
        "the former is that of container new"
    ]
    assert plan(words, before=planned.allotted).warnings == []


def test_a_gateway_that_has_to_move_moves_to_where_no_container_is() -> None:
    words = {"networks": {"a": with_subnet("10.0.0.0/29")}, "containers": {"web": {"networks": ["a"]}}}
    before = plan(words).allotted
    reserved = copy.deepcopy(words)
    reserved["networks"]["a"]["ipam"]["config"][0]["aux_addresses"] = {"router": "10.0.0.1"}
    moved = plan(reserved, before=before).allotted
    assert str(moved.networks["a"][0].gateway) == "10.0.0.3"
    assert str(moved.endpoints["web", "a"].ipv4) == "10.0.0.2"
    # It stays there, as all that has an address does.
    assert str(plan(words, before=moved).allotted.networks["a"][0].gateway) == "10.0.0.3"


def test_of_two_that_ask_for_one_port_the_new_one_is_the_problem() -> None:
    words: dict[str, Any] = {"containers": {"web": {"ports": ["8080:80"]}}}
    before = plan(words).allotted
    words["containers"]["a"] = {"ports": ["8080:80"]}
    assert refused(words, before) == [
        "wharf_containers.a.ports[0]: port 8080/tcp is taken by wharf_containers.web.ports[0]: publish another one"
    ]


def _of_two(**words: Any) -> dict[str, Any]:
    pair = {"enable_ipv6": True, "ipam": {"config": [{"subnet": "10.0.0.0/31"}, {"subnet": "fd00::/127"}]}, **words}
    return {"networks": {"pair": pair}, "containers": {name: {"networks": ["pair"]} for name in ("a", "b")}}


_BRIDGE = "com.docker.network.bridge."
_ISOLATED = {f"{_BRIDGE}gateway_mode_ipv4": "isolated", f"{_BRIDGE}gateway_mode_ipv6": "isolated"}
_INHIBITED = {f"{_BRIDGE}inhibit_ipv4": "true", f"{_BRIDGE}gateway_mode_ipv6": "isolated"}


@pytest.mark.parametrize("options", [_ISOLATED, _INHIBITED])
def test_no_gateway_takes_one_of_two_addresses_where_none_is_needed(options: dict[str, str]) -> None:
    planned = plan(_of_two(internal=True, driver_opts=options))
    assert sorted(map(str, by_network(planned, "pair", 4).values())) == ["10.0.0.0", "10.0.0.1"]
    assert sorted(map(str, by_network(planned, "pair", 6).values())) == ["fd00::", "fd00::1"]


def test_a_gateway_takes_one_of_two_addresses_where_it_is_declared_or_leads_out() -> None:
    inhibited = {f"{_BRIDGE}inhibit_ipv4": "true"}
    config = {"subnet": "10.0.0.0/31"}
    for words in (
        {"driver_opts": inhibited},
        {"internal": True},
        {"internal": True, "driver_opts": inhibited, "ipam": {"config": [{**config, "gateway": "10.0.0.1"}]}},
    ):
        assert problems(_of_two(**{"enable_ipv6": False, "ipam": {"config": [config]}, **words})) == [
            "wharf_containers.b.networks.pair: no address is left in 10.0.0.0/31: give network pair a larger subnet, "
            "or one more subnet"
        ]


def test_a_free_port_is_kept_also_when_somebody_listens_there_since() -> None:
    words = {"containers": {"c": {"ports": ["80"]}}}
    before = Allotments(ports={"c * 80/tcp": 40000})
    assert plan(words, before=before).allotted.ports == {"c * 80/tcp": 40000}
    facts = Facts(listeners=(("tcp", "0.0.0.0", 40000),))
    assert plan(words, facts, before).allotted.ports == {"c * 80/tcp": 40000}
    assert plan(words, facts, Allotments()).allotted.ports == {"c * 80/tcp": 32768}
    assert plan(words, Facts(local_ports=(50000, 50010)), before).allotted.ports == {"c * 80/tcp": 50000}


def test_a_port_that_is_published_stays_so_when_a_process_listens_on_it() -> None:
    words = {"containers": {"c": {"ports": ["40000:53/udp"]}}}
    facts = Facts(listeners=(("udp", "0.0.0.0", 40000),))
    with pytest.raises(ModelError, match="port 40000/udp is taken by a process of the host"):
        plan(words, facts)
    assert plan(words, facts, plan(words).allotted).publications == plan(words).publications


@pytest.mark.parametrize("prefix", ["eth", "eth1", "x"])
def test_interfaces_are_kept_whatever_their_prefix(prefix: str) -> None:
    option = {"driver_opts": {"com.docker.network.container_iface_prefix": prefix}}
    words = {"networks": {"b": option, "c": option}, "containers": {"web": {"networks": ["b", "c"]}}}
    before = plan(words).allotted
    after = plan(
        {"networks": {"a": option, **words["networks"]}, "containers": {"web": {"networks": ["a", "b", "c"]}}},
        before=before,
    )
    assert {key: after.allotted.endpoints[key].interface for key in before.endpoints} == {
        ("web", "b"): f"{prefix}0",
        ("web", "c"): f"{prefix}1",
    }
    assert after.allotted.endpoints["web", "a"].interface == f"{prefix}2"


def test_a_big_host_is_planned_the_same_from_any_order() -> None:
    networks = {f"n{number}": {"enable_ipv6": number % 3 == 0} for number in range(12)}
    containers = {
        f"c{number:03}": {
            "networks": [f"n{number % 12}", f"n{(number * 5 + 1) % 12}"],
            "ports": [f"{10000 + number}:80", "53/udp"],
        }
        for number in range(300)
    }
    forwards = plan({"networks": networks, "containers": containers})
    backwards = plan({"networks": dict(reversed(networks.items())), "containers": dict(reversed(containers.items()))})
    assert forwards.allotted == backwards.allotted
    assert forwards.publications == backwards.publications
    assert replace(forwards, model=backwards.model) == backwards


def encrypted(subnet: str, index: int) -> dict[str, Any]:
    members = {"h1": {"address": "192.0.2.1", "index": index}, "h2": {"address": "192.0.2.2", "index": 9}}
    return {
        "networks": {
            "app": {
                "driver": "overlay",
                "driver_opts": {"encrypted": ""},
                "ipam": {"config": [{"subnet": subnet}]},
                "x-wharf": {"host": "h1", "members": members},
            }
        }
    }


def test_an_encrypted_network_does_not_change_its_subnet_in_place() -> None:
    """Containers send to the former one for a moment, and no rule knows any more that it is to be encrypted."""
    before = plan(encrypted("10.20.0.0/16", 1)).allotted
    assert refused(encrypted("10.30.0.0/16", 1), before) == [
        "wharf_networks.app.ipam.config: the network is encrypted, and had the slice 10.20.1.0/24, which is in none of "
        "these subnets: packets to it could leave in clear text while the network changes: remove the network in a run "
        "of its own first"
    ]
    # Another slice is still one of the network, and of another subnet that has the former one, too.
    assert subnets(plan(encrypted("10.20.0.0/16", 2), before=before), "app") == ["10.20.2.0/24"]
    assert subnets(plan(encrypted("10.16.0.0/12", 2), before=before), "app") == ["10.16.2.0/24"]
