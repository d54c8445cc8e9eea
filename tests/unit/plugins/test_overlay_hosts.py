# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts of an overlay network agree on, by the inventory alone: random ones, in any order, and wrong ones."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.wharf.network.plugins.action import overlay_key
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.drivers import OverlayDriver
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_model import read_model
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.places import Places
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.slices import (
    FIRST_VNI,
    LAST_VNI,
    hashed_index,
    hashed_vni,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError, ProblemCollector
from ansible_collections.wharf.network.plugins.plugin_utils.overlay import (
    complete,
    declares_encrypted,
    may_encrypt,
    note_key,
    noted_keys,
    once,
    read_hosts,
)

NAMES = [f"host-{number}.example" for number in range(12)]
TRYING = settings(max_examples=60, derandomize=True, deadline=None)


def network(subnet: str = "10.20.0.0/16", slice_: int = 24, **more: Any) -> dict[str, Any]:
    ipam = {"config": [{"subnet": subnet}]}
    return {"driver": "overlay", "ipam": ipam, "x-wharf": {"hosts": "fleet", "slice": slice_}, **more}


def completed(variables: dict[str, dict[str, Any]], host: str, networks: dict[str, Any]) -> dict[str, Any]:
    groups = {"fleet": list(variables)}
    hosts = read_hosts(variables, lambda name: variables[name], [Path.cwd()])
    return complete(networks, host, groups, lambda _group: hosts, Places())


def driver(variables: dict[str, dict[str, Any]], host: str, networks: dict[str, Any]) -> OverlayDriver:
    collector = ProblemCollector()
    model = read_model({"bridge": "none"}, completed(variables, host, networks), {}, (), collector)
    collector.raise_if_any()
    found = model.networks["app"].driver
    assert isinstance(found, OverlayDriver)
    return found


def problems(variables: dict[str, dict[str, Any]], host: str, networks: dict[str, Any]) -> list[str]:
    try:
        driver(variables, host, networks)
    except ModelError as error:
        return [str(problem) for problem in error.problems]
    return []


@st.composite
def inventories(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    numbers = draw(st.lists(st.integers(0, 255), min_size=len(names), max_size=len(names), unique=True))
    return {
        name: {
            "wharf_overlay": {"index": number, **({} if number % 2 else {"address": f"192.0.2.{number}"})},
            "ansible_host": f"198.51.100.{number}",
            "wharf_containers": {f"c{number}": {"networks": {"app": {"aliases": [f"alias-{number}"]}}}},
        }
        for name, number in zip(names, numbers, strict=True)
    }


@TRYING
@given(inventories(), st.randoms(use_true_random=False))
def test_all_hosts_agree(inventory: dict[str, dict[str, Any]], random: Any) -> None:
    """On who has which slice, and whichever of them is asked, in whichever order they are listed."""
    shuffled = list(inventory.items())
    random.shuffle(shuffled)
    seen = {name: driver(inventory, name, {"app": network()}) for name in inventory}
    again = {name: driver(dict(shuffled), name, {"app": network()}) for name in inventory}
    assert seen == again
    slices = {name: found.own.slices[0] for name, found in seen.items()}
    assert len(set(slices.values())) == len(inventory)
    for name, found in seen.items():
        assert found.own.slices[0].subnet_of(ipaddress.IPv4Network("10.20.0.0/16"))  # type: ignore[arg-type]
        assert {peer.name: peer.slices[0] for peer in found.peers} == {k: v for k, v in slices.items() if k != name}
        assert {found.vni} == {each.vni for each in seen.values()}
        number = inventory[name]["wharf_overlay"]["index"]
        assert set(found.own.names) == {f"c{number}", f"alias-{number}"}
        usual = inventory[name]["ansible_host"]
        assert str(found.own.address) == inventory[name]["wharf_overlay"].get("address", usual)


@TRYING
@given(inventories(), st.sampled_from(NAMES), st.integers(0, 255))
def test_a_host_more_moves_no_other(inventory: dict[str, dict[str, Any]], new: str, number: int) -> None:
    """It has a slice of its own, or a problem says whose slice it would have."""
    before = {name: driver(inventory, name, {"app": network()}).own.slices for name in inventory}
    more = {**inventory, new: {"wharf_overlay": {"index": number, "address": "203.0.113.1"}}}
    others = {name: own["wharf_overlay"]["index"] for name, own in inventory.items() if name != new}
    if number in others.values():
        found = problems(more, new, {"app": network()})
        (other,) = (name for name, index in others.items() if index == number)
        assert len(found) == 1 and other in found[0] and new in found[0] and f"number {number}" in found[0]
        return
    after = {name: driver(more, name, {"app": network()}).own.slices for name in more}
    assert {name: slices for name, slices in before.items() if name != new} == {
        name: slices for name, slices in after.items() if name != new
    }


@TRYING
@given(st.lists(st.text("abcdefgh-0123", min_size=1), min_size=2, max_size=40, unique=True))
def test_without_indexes_the_names_decide(names: list[str]) -> None:
    """Where there is room; those that would have the same slice are reported, both of them."""
    inventory = {name: {"ansible_host": f"192.0.2.{number + 1}"} for number, name in enumerate(names)}
    wide = {"app": network("10.0.0.0/8", 28)}
    chosen: dict[int, list[str]] = {}
    for name in names:
        chosen.setdefault(hashed_index(name, 1 << 20), []).append(name)
    same = [sorted(each) for each in chosen.values() if len(each) > 1]
    found = problems(inventory, names[0], wide)
    assert len(found) == sum(len(each) - 1 for each in same)
    assert all(any(first in line for line in found) for first, *_others in same)
    few = problems(inventory, names[0], {"app": network()})
    assert len(few) == len(names) and all("has no index, and 256 slices are too few" in line for line in few)


@TRYING
@given(st.text(min_size=1))
def test_a_vni_is_one(name: str) -> None:
    assert FIRST_VNI <= hashed_vni(name) <= LAST_VNI
    assert hashed_vni(name) == hashed_vni(name)


HOSTS = {
    name: {"wharf_overlay": {"index": number, "address": f"192.0.2.{number}"}} for number, name in enumerate("ab", 1)
}


@pytest.mark.parametrize(
    ("variables", "host", "networks", "expected"),
    [
        (
            HOSTS,
            "a",
            {"app": {**network(), "x-wharf": {"hosts": "flet"}}},
            ['wharf_networks.app.x-wharf.hosts: "flet": is no group of the inventory; there are: fleet'],
        ),
        (
            HOSTS,
            "c",
            {"app": network()},
            ['wharf_networks.app.x-wharf.hosts: "fleet": c, on which the network is declared, is not in this group'],
        ),
        (
            {**HOSTS, "b": {"wharf_overlay": "far"}},
            "a",
            {"app": network()},
            ["wharf_overlay of b: must be a mapping, such as {address: 192.0.2.11, index: 7}"],
        ),
        (
            {**HOSTS, "b": {"wharf_overlay": {"index": 2, "slice": 25}}},
            "a",
            {"app": network()},
            ["wharf_overlay of b: slice: unknown key; known here: address, index"],
        ),
        (
            {**HOSTS, "b": {"wharf_overlay": {"index": 2}, "ansible_host": "b.example.org"}},
            "a",
            {"app": network()},
            [
                "wharf_networks.app.x-wharf.members.b.address: is missing: the others reach b at it "
                "(wharf_overlay.address, or ansible_host)"
            ],
        ),
    ],
)
def test_wrong_inventories(
    variables: dict[str, dict[str, Any]], host: str, networks: dict[str, Any], expected: list[str]
) -> None:
    assert problems(variables, host, networks) == expected


def test_members_that_are_given_by_hand_stay() -> None:
    given_by_hand = {"app": {**network(), "x-wharf": {"hosts": "other", "host": "a", "members": {}}}}
    assert completed(HOSTS, "a", given_by_hand) == given_by_hand


def test_names_of_networks_by_their_names_on_the_host() -> None:
    """A host may call the network by another key, and have containers that are wrong: it reports these itself."""
    variables = {
        "a": {"wharf_overlay": {"index": 1, "address": "192.0.2.1"}},
        "b": {
            "wharf_overlay": {"index": 2, "address": "192.0.2.2"},
            "wharf_networks": {"mine": {**network(), "name": "app"}, "other": {}},
            "wharf_containers": "{web: {networks: [mine], hostname: www, domainname: a.org}, x: {networks: [other]}}",
        },
    }
    (peer,) = driver(variables, "a", {"app": network()}).peers
    assert peer.names == ("web", "www", "www.a.org")
    variables["b"]["wharf_containers"] = {"web": {"networks": ["app"], "prots": []}, "x y": {"networks": ["app"]}}
    (peer,) = driver(variables, "a", {"app": network()}).peers
    assert peer.names == ("web",)


def test_names_that_yaml_reads_as_numbers() -> None:
    declared = {"wharf_networks": {"app": network(), 10: {}}, "wharf_containers": {8: {"networks": ["app"]}}}
    hosts = read_hosts({"h1": {}}, lambda _name: declared, [Path.cwd()])
    assert hosts["h1"]["names"] == {"app": ["8"]}


def test_the_hosts_are_read_once(tmp_path: Path) -> None:
    reads = []

    def read() -> dict[str, Any]:
        reads.append(1)
        return {"a": {"overlay": {}, "names": {"app": ["é"]}}}

    assert [once(tmp_path, "task fleet", read) for _time in range(3)] == [read()] * 3
    assert len(reads) == 2
    once(tmp_path, "task other", read)
    assert len(reads) == 3


def test_ports_that_all_hosts_publish_are_sent() -> None:
    """By the network that the container leaves by, whichever it is beside, and with all ports of a range."""
    ports = [
        {"target": "80-81", "published": "8080-8081", "x-wharf": {"ingress": True}},
        {"target": 53, "published": 53, "protocol": "udp", "x-wharf": {"ingress": True}},
        {"target": 82, "published": 82},
    ]
    own = {"wharf_overlay": {"address": "192.0.2.1", "index": 1}}
    declared = {"wharf_networks": {"app": network(), "side": {}}}
    attached = {"side": {}, "app": {"gw_priority": 1}}
    variables = {
        "h1": {**own, **declared, "wharf_containers": {"web": {"networks": attached, "ports": ports}}},
        "h2": {**declared, "wharf_overlay": {"address": "192.0.2.2", "index": 2}},
    }
    sent = {"8080/tcp": "web", "8081/tcp": "web", "53/udp": "web"}
    found = completed(variables, "h2", {"app": network()})["app"]["x-wharf"]["members"]
    assert found["h1"]["ingress"] == sent and "ingress" not in found["h2"]
    assert {str(port): port.container for port in driver(variables, "h2", {"app": network()}).peers[0].ingress} == sent
    attached["side"] = {"gw_priority": 2}
    assert "ingress" not in completed(variables, "h2", {"app": network()})["app"]["x-wharf"]["members"]["h1"]


# Keys of encrypted networks


def test_keys_are_known_to_the_later_tasks_of_a_run(tmp_path: Path) -> None:
    """Also where a worker notes one while another one reads, and of hosts with names that no file can have."""
    assert noted_keys(tmp_path, check=False) == {}
    note_key(tmp_path, "a/b", "one")
    note_key(tmp_path, "c", "")
    note_key(tmp_path, "a/b", "two")
    assert noted_keys(tmp_path, check=True) == {"a/b": "two", "c": ""}
    # One that only a check would have made is none.
    assert noted_keys(tmp_path, check=False) == {"a/b": "two"}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"driver": "overlay", "driver_opts": {"encrypted": ""}}, True),
        ({"driver": "overlay", "driver_opts": {"encrypted": None}}, True),
        ({"driver": "overlay", "driver_opts": {"com.docker.network.driver.mtu": 1400}}, False),
        ({"driver": "overlay"}, False),
        ({"driver": "bridge", "driver_opts": {"encrypted": ""}}, False),
        (None, False),
        ({"driver": "overlay", "driver_opts": ["encrypted"]}, False),
        ({"driver": "overlay", "driver_opts": ["com.docker.network.driver.mtu=1400", "encrypted="]}, True),
        ({"driver": "overlay", "driver_opts": "encrypted=true"}, True),
    ],
)
def test_hosts_are_asked_for_keys_where_a_network_is_encrypted(entry: Any, expected: bool) -> None:
    assert declares_encrypted({"app": entry}) == may_encrypt({"wharf_networks": {"app": entry}}) == expected
    assert may_encrypt({"wharf_networks": {"app": entry}, "wharf_compose_files": ["compose.yml"]})


def test_hosts_that_differ_about_encryption_report_each_other() -> None:
    """On both sides, also where only a Compose file declares it. Who does not declare the network sends nothing."""
    variables = {
        name: {"ansible_host": f"192.0.2.{number}", "wharf_overlay": {"index": number}, "wharf_networks": networks}
        for number, (name, networks) in enumerate(
            {
                "h1": {"app": network(driver_opts={"encrypted": ""})},
                "h2": {"app": network()},
                "h3": {},
                "h4": {"it": {**network(), "name": "app"}},
            }.items(),
            1,
        )
    }
    remedy = "declare driver_opts.encrypted on all of its hosts, or on none"
    path = "wharf_networks.app.x-wharf.members"
    clear = "on {0} the network is in clear text, and here it is encrypted"
    assert problems(variables, "h1", variables["h1"]["wharf_networks"]) == [
        f"{path}.{name}.encrypted: false: {clear.format(name)}: {remedy}" for name in ("h2", "h4")
    ]
    assert problems(variables, "h2", variables["h2"]["wharf_networks"]) == [
        f"{path}.h1.encrypted: true: on h1 the network is encrypted, and here it is in clear text: {remedy}"
    ]
    # What is wrong only where a host is read by itself does not hide it.
    reserved = {"config": [{"subnet": "10.20.0.0/16", "aux_addresses": {"router": "10.20.0.1"}}]}
    variables["h2"]["wharf_networks"] = {"app": network(ipam=reserved)}
    assert len(problems(variables, "h1", variables["h1"]["wharf_networks"])) == 2
    variables["h1"]["wharf_networks"] = {"app": network()}
    assert problems(variables, "h2", variables["h2"]["wharf_networks"]) == []


def test_hosts_that_differ_about_the_port_report_each_other() -> None:
    """However it is written, and where one of them leaves it out. That it is no port is reported by its own host."""

    def with_port(port: Any, **more: Any) -> dict[str, Any]:
        found = network(**more)
        return {"app": {**found, "x-wharf": {**found["x-wharf"], "data_path_port": port}}}

    encrypted = {"driver_opts": {"encrypted": ""}}
    variables = {
        name: {"ansible_host": f"192.0.2.{number}", "wharf_overlay": {"index": number}, "wharf_networks": networks}
        for number, (name, networks) in enumerate(
            {
                "h1": {"app": network()},
                "h2": with_port("4789"),
                "h3": with_port("8472"),
                "h4": with_port("vxlan"),
                "h5": with_port(""),
                "h6": {},
            }.items(),
            1,
        )
    }
    differs = "wharf_networks.app.x-wharf.members.{0}.data_path_port: {1}: {0} has this for the network, and this host "
    remedy = "declare the same x-wharf.data_path_port on all of its hosts"
    for host in ("h1", "h2", "h5"):
        found = problems(variables, host, variables[host]["wharf_networks"])
        assert found == [f"{differs.format('h3', 8472)}has 4789: {remedy}"]
    assert problems(variables, "h3", variables["h3"]["wharf_networks"]) == [
        f"{differs.format(other, 4789)}has 8472: {remedy}" for other in ("h1", "h2", "h5")
    ]
    assert problems(variables, "h4", variables["h4"]["wharf_networks"]) == [
        'wharf_networks.app.x-wharf.data_path_port: "vxlan": must be a whole number'
    ]
    # An encrypted network has another one.
    of_encrypted = {name: {"app": network(**encrypted)} for name in ("h1", "h2", "h4", "h5")}
    of_encrypted["h3"] = with_port(51821, **encrypted)
    for name, networks in of_encrypted.items():
        variables[name]["wharf_networks"] = networks
    assert problems(variables, "h1", of_encrypted["h1"]) == [f"{differs.format('h3', 51821)}has 51820: {remedy}"]


def test_hosts_that_differ_about_their_addresses_or_routes_report_each_other() -> None:
    """As each of them has it, with its default. What means nothing for a network is not compared."""
    vni = "com.docker.network.driver.overlay.vxlanid_list"

    def having(**extension: Any) -> dict[str, Any]:
        entry = network()
        return {"app": {**entry, "x-wharf": {"hosts": "fleet", **extension}}}

    declared = {
        "h1": {"app": network()},
        "h2": having(slice=25),
        "h3": having(direct="true"),
        "h4": {"app": network(driver_opts={vni: 77})},
        "h5": {"app": network("10.21.0.0/16")},
        "h6": having(slice={"ipv4": "24", "ipv6": 64}, direct=False),
        "h7": {"app": network("10.22.0.0/33", slice_="many")},
    }
    variables = {
        name: {"ansible_host": f"192.0.2.{number}", "wharf_overlay": {"index": number}, "wharf_networks": networks}
        for number, (name, networks) in enumerate(declared.items(), 1)
    }
    path, known = "wharf_networks.app.x-wharf.members", "has this for the network, and this host has"
    same = "declare the same {0} on all of its hosts"
    default = hashed_vni("app")
    found = problems(variables, "h1", declared["h1"])
    assert found == [
        f"{path}.h2.slice: ipv4 25: h2 {known} ipv4 24: {same.format('x-wharf.slice')}",
        f"{path}.h3.direct: true: h3 {known} false: {same.format('x-wharf.direct')}",
        f"{path}.h4.vxlanid_list: 77: h4 {known} {default}: {same.format(f'driver_opts.{vni}')}",
        f"{path}.h5.subnets: 10.21.0.0/16: h5 {known} 10.20.0.0/16: {same.format('ipam.config')}",
    ]
    assert [line.partition(": ")[0] for line in problems(variables, "h3", declared["h3"])] == [
        f"{path}.{place}" for place in ("h1.direct", "h2.direct", "h2.slice", "h4.direct", "h5.direct", "h5.subnets")
    ] + [f"{path}.h6.direct"]
    # The options may be texts.
    declared = {"h1": {"app": network(driver_opts=[f"{vni}=77"])}, "h2": {"app": network(driver_opts=["encrypted="])}}
    variables = {name: {**variables[name], "wharf_networks": networks} for name, networks in declared.items()}
    assert [line.partition(": ")[0] for line in problems(variables, "h1", declared["h1"])] == [f"{path}.h2.encrypted"]
    # What a play declares is not known to the other hosts.
    of_play = {"app": network(slice_=25, driver_opts=[f"{vni}=77"])}
    assert problems(variables, "h1", of_play) == [
        f"{path}.h1.slice: ipv4 24: the other hosts get this for h1, which is this host, and it declares ipv4 25: "
        "declare x-wharf.slice in the inventory, where they read it, and not in a play"
    ]
    # By WireGuard there is no identifier.
    options = {"encrypted": ""}
    declared = {"h1": {"app": network(driver_opts=options)}, "h2": {"app": network(driver_opts={**options, vni: 77})}}
    variables = {name: {**variables[name], "wharf_networks": networks} for name, networks in declared.items()}
    assert problems(variables, "h1", declared["h1"]) == problems(variables, "h2", declared["h2"]) == []


KEY = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"public_key": KEY, "changed": False}, {"h1": KEY}),
        ({"public_key": None, "changed": True}, {"h1": ""}),
        ({"public_key": None, "changed": False}, {}),
        ({"public_key": "short", "changed": False}, None),
        ({"public_key": [KEY], "changed": True}, None),
        ({"public_key": f"{KEY} ", "changed": False}, None),
    ],
)
def test_what_a_host_sends_is_a_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: dict[str, Any], expected: dict[str, str] | None
) -> None:
    """Whoever is root on one host says what it likes, and must not make the runs of all others fail."""
    monkeypatch.setattr(overlay_key.constants, "DEFAULT_LOCAL_TMP", str(tmp_path), raising=False)
    monkeypatch.setattr(overlay_key.ActionModule, "run_module", lambda *_arguments: dict(sent))
    task = Task()
    task.action, task.args = "wharf.network.overlay_key", {"networks": {"app": network(driver_opts={"encrypted": ""})}}
    loader = DataLoader()
    action = overlay_key.ActionModule(task, Mock(), Mock(), loader, Templar(loader), Mock())
    result = action.run(task_vars={"inventory_hostname": "h1"})
    assert noted_keys(tmp_path, check=True) == (expected or {})
    assert bool(result.get("failed")) == (expected is None), result
    if expected is None:
        assert result["msg"].startswith("the public key of h1: ") and "must be a " in result["msg"]
