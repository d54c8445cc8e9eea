# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A declaration as users give it -> words: mappings, texts, Compose files, and all of these together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError
from ansible_collections.wharf.network.plugins.plugin_utils.declaration import Declaration, gather

COMPOSE = """
name: shop
services:
  web: {ports: ["22:22"], networks: [front]}
networks:
  front:
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "compose.yml").write_text(COMPOSE)
    return tmp_path


def problems(given: dict[str, Any], *bases: Path) -> list[str]:
    with pytest.raises(ModelError) as caught:
        gather(given, bases or [Path("/")])
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("given", [{}, {"host": None}, {"host": "", "networks": " \n", "compose_files": []}])
def test_nothing_is_no_words(given: dict[str, Any]) -> None:
    assert gather(given, [Path("/")]) == Declaration({}, ())


@pytest.mark.parametrize("text", ["---", "# none", "~", "null", "[]", "{}"])
def test_a_text_that_names_no_compose_files_declares_nothing(text: str) -> None:
    """Else the state exact would remove all networks and containers."""
    assert gather({"compose_files": text, "state": "exact"}, [Path("/")]) == Declaration({}, ())


@pytest.mark.parametrize("text", ["false", "0", False])
def test_what_is_neither_empty_nor_a_path_names_no_compose_files(text: Any) -> None:
    assert problems({"compose_files": text}) == [
        "wharf_compose_files[0]: must be a file's path, or a map with the key files"
    ]


EMPTY = {"networks": {}, "containers": {}, "docker_user": []}
DECLARING = ["host", *EMPTY, "compose_files"]


@pytest.mark.parametrize("blank", [None, "", " \n"], ids=repr)
@pytest.mark.parametrize("option", DECLARING)
def test_what_is_blank_names_nothing_that_is_absent(option: str, blank: Any) -> None:
    """Not even where it is the only option: a call without any names all of its scope."""
    assert gather({option: blank, "state": "absent"}, [Path("/")]).parts == EMPTY
    assert gather({option: blank, "state": "exact"}, [Path("/")]).parts == {}
    assert gather({"state": "absent"}, [Path("/")]).parts == {}


def test_what_is_empty_is_given() -> None:
    for empty in ({}, "{}"):
        assert gather({"containers": empty, "state": "exact"}, [Path("/")]).parts == {"containers": {}}
        assert gather({"host": empty, "state": "absent"}, [Path("/")]).parts == {**EMPTY, "host": {}}


@pytest.mark.parametrize("text", ["all", " all\n"])
def test_all_in_place_of_names(text: str, folder: Path) -> None:
    given = {"networks": text, "containers": text, "docker_user": text}
    whole = {"networks": "all", "containers": "all", "docker_user": "all"}
    more = {"compose_files": "compose.yml", "runtime": "docker", "state": "absent"}
    assert gather({**given, "state": "absent"}, [folder]).parts == whole
    assert gather({**given, **more}, [folder]).parts == whole
    only = '"all": is only for state absent; declare entries by their names'
    assert problems({**given, "host": text}) == [
        "wharf_host: must be a mapping, or the JSON or YAML text of one",
        *(f"wharf_{part}: {only}" for part in whole),
    ]


def test_mappings_stay_as_they_are() -> None:
    given = {"host": {"mtu": 1400}, "networks": {"a": None}, "containers": {}}
    assert gather(given, [Path("/")]).parts == given


def test_yaml_text_is_read_as_compose_reads_it() -> None:
    """AWX gives texts, and YAML 1.1 would make a number of 22:22 and a truth value of off."""
    words = gather({"containers": "web: {ports: [22:22]}\noff: {hostname: no}"}, [Path("/")]).parts
    assert words["containers"] == {"web": {"ports": ["22:22"]}, "off": {"hostname": "no"}}


def test_json_text() -> None:
    words = gather({"networks": '{"front": {"internal": true, "ipam": {"config": []}}}'}, [Path("/")]).parts
    assert words == {"networks": {"front": {"internal": True, "ipam": {"config": []}}}}


def test_containers_run_where_the_runtime_says() -> None:
    containers = {
        "web": {"container_name": "www"},
        "db": {"x-wharf": {"sandbox": "pid:7", "routes": []}},
        "app": {"x-wharf": {"routes": []}},
        "job": None,
        "bad": "words",
    }
    words = gather({"containers": containers, "runtime": "podman"}, [Path("/")]).parts
    assert words["containers"] == {
        "web": {"container_name": "www", "x-wharf": {"sandbox": "podman:www"}},
        "db": {"x-wharf": {"sandbox": "pid:7", "routes": []}},
        "app": {"x-wharf": {"sandbox": "podman:app", "routes": []}},
        "job": {"x-wharf": {"sandbox": "podman:job"}},
        "bad": "words",
    }
    assert gather({"containers": containers, "runtime": "netns"}, [Path("/")]).parts["containers"] == containers


@pytest.mark.parametrize("nothing", [None, ""])
def test_nothing_below_x_wharf_leaves_the_runtime_its_containers(nothing: Any) -> None:
    words = gather({"containers": {"web": {"x-wharf": nothing}}, "runtime": "docker"}, [Path("/")]).parts
    assert words["containers"] == {"web": {"x-wharf": {"sandbox": "docker:web"}}}


def test_a_runtime_that_is_none_without_containers() -> None:
    assert problems({"runtime": "dokcer"})[0].startswith('wharf_runtime: "dokcer": is no runtime of containers')


def test_a_place_in_a_compose_file_is_not_for_users_to_name() -> None:
    given = {"networks": {"front": {"x-source": "a"}}, "containers": "web: {x-source: b}"}
    reason = "is reserved: wharf.network notes the places of a Compose file in it; give it another name"
    assert problems(given) == [
        f"wharf_networks.front.x-source: {reason}",
        f"wharf_containers.web.x-source: {reason}",
    ]


def test_a_runtime_that_is_none() -> None:
    given = {"containers": {"web": {}}, "runtime": "dokcer"}
    known = "netns, docker, podman, machine"
    assert problems(given) == [f'wharf_runtime: "dokcer": is no runtime of containers; there are: {known}']


def test_what_is_no_mapping_is_named_all_at_once() -> None:
    given = {"host": [], "networks": "just words", "containers": "a: [", "compose_files": ["nowhere.yml"]}
    wrong_shape = "must be a mapping, or the JSON or YAML text of one"
    found = problems(given)
    assert found[:2] == [f"wharf_host: {wrong_shape}", f"wharf_networks: {wrong_shape}"]
    assert found[2].startswith("wharf_containers: line 1, column 5: ")
    assert found[3:] == ["wharf_compose_files[0]: there is no file /nowhere.yml on the controller"]


def test_the_same_key_twice_in_a_text() -> None:
    assert problems({"containers": "web: {}\nweb: {}"}) == [
        "wharf_containers: line 2, column 1: the key 'web' is given again here, first in line 1"
    ]


@pytest.mark.parametrize(
    "files",
    [
        "compose.yml",
        ["compose.yml"],
        [{"files": ["compose.yml"]}],
        [{"files": "compose.yml"}],
        '["compose.yml"]',
        "- files: [compose.yml]",
    ],
)
def test_compose_files_in_every_form(files: Any, folder: Path) -> None:
    words = gather({"compose_files": files}, [Path("/"), folder]).parts
    assert list(words) == ["networks", "containers"]
    assert list(words["networks"]) == ["shop_front"]
    assert words["containers"]["shop-web-1"]["ports"] == ["22:22"]
    assert words["containers"]["shop-web-1"]["x-source"] == "compose.yml: services.web"


def test_compose_files_beside_words(folder: Path) -> None:
    given = {
        "compose_files": "compose.yml",
        "networks": {"own": {}},
        "containers": '{"tool": {"networks": ["shop_front"]}}',
    }
    words = gather(given, [folder]).parts
    assert set(words["networks"]) == {"own", "shop_front"}
    assert set(words["containers"]) == {"tool", "shop-web-1"}


def test_one_name_in_two_places(folder: Path) -> None:
    given = {
        "compose_files": "compose.yml",
        "networks": {"shop_front": {}},
        "containers": {"shop-web-1": None},
    }
    assert problems(given, folder) == [
        "wharf_networks.shop_front: is also declared in compose.yml: networks.front: rename one",
        "wharf_containers.shop-web-1: is also declared in compose.yml: services.web: rename one",
    ]


def test_names_in_two_places_are_named_in_their_order(tmp_path: Path) -> None:
    services = ", ".join(f"s{number}: {{}}" for number in range(9))
    (tmp_path / "compose.yml").write_text(f"name: x\nservices: {{{services}}}")
    given = {"compose_files": "compose.yml", "containers": {f"x-s{number}-1": {} for number in reversed(range(9))}}
    found = [problem.partition(": ")[0] for problem in problems(given, tmp_path)]
    assert found == [f"wharf_containers.x-s{number}-1" for number in range(9)]


def test_a_network_may_be_external_in_one_of_two_places(folder: Path) -> None:
    here = gather({"compose_files": "compose.yml", "networks": {"shop_front": {"external": True}}}, [folder]).parts
    assert here["networks"] == {"shop_front": {"x-source": "compose.yml: networks.front"}}
    (folder / "compose.yml").write_text(COMPOSE.replace("front:\n", "front: {external: true, name: mine}\n"))
    there = gather({"compose_files": "compose.yml", "networks": {"mine": {"internal": True}}}, [folder]).parts
    assert there["networks"] == {"mine": {"internal": True}}
    assert list(there["containers"]["shop-web-1"]["networks"]) == ["mine"]


def test_all_problems_of_files_and_variables_come_in_one_report(tmp_path: Path) -> None:
    """Also what the planner would say of the rest; but for what may be known to the host's ledger."""
    (tmp_path / "broken.yml").write_text("services: [")
    (tmp_path / "compose.yml").write_text(
        """
        name: shop
        services:
          web: {hostname: "${NEEDED:?}", ports: ["${", "80:80/icmp", "${PORT}:81"], networks: [nowhere, front]}
          db: {scale: 2, dns: [here], networks: {front: {ipv4_address: no}}}
          own: {container_name: clash}
        networks: {front: {drivr: bridge, name: front}}
        """
    )
    given = {
        "compose_files": ["broken.yml", "compose.yml"],
        "host": {"mtu": 1},
        "networks": {"app": {"internal": 7}, "front": {}},
        "containers": {"clash": {"prots": []}, "late": {"networks": ["known-to-the-ledger"]}, "bad": "words"},
        "docker_user": [{"action": "dorp"}],
        "runtime": "dokcer",
    }
    found = problems(given, tmp_path)
    assert [problem.removeprefix("compose.yml: ").partition(": ")[0] for problem in found] == [
        "broken.yml",
        "services.web.hostname",
        "services.web.ports[0]",
        "services.db.scale",
        "services.web.networks",
        "wharf_networks.front",
        "wharf_containers.clash",
        "wharf_runtime",
        "wharf_host.mtu",
        "wharf_networks.app.internal",
        "wharf_containers.clash.prots",
        "wharf_containers.bad",
        "wharf_docker_user[0].action",
        "networks.front.drivr",
        "services.web.ports[1]",
        "services.web.ports[2]",
        "services.db.networks.front.ipv4_address",
        "services.db.dns[0]",
    ]
    assert "the variable PORT is not set" in found[-3]


def test_warnings_are_passed_on(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text("name: x\nservices: {web: {hostname: $NOBODY}}")
    assert len(gather({"compose_files": "compose.yml"}, [tmp_path]).warnings) == 1
