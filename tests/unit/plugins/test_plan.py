# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter wharf.network.plan, called as a function; test_templates calls it as templates do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.wharf.network.plugins.filter.plan import FilterModule, plan

LAYERS = ["bridge", "docker_chains", "forwarding", "veth", "dns_files", "dnsmasq"]


def names(planned: dict[str, Any], layer: str, kind: str) -> list[str]:
    return [thing["name"] for thing in planned["layers"][layer] if thing["kind"] == kind]


def test_all_layers_are_planned() -> None:
    planned = plan({"networks": {"front": None}, "containers": {"web": {"networks": ["front"], "ports": ["8080:80"]}}})
    assert list(planned) == ["allotted", "layers", "warnings"]
    assert list(planned["layers"]) == LAYERS
    assert planned["allotted"]["networks"]["front"] == {"172.18.0.0/16": "172.18.0.1"}
    assert names(planned, "bridge", "bridge") == ["docker0", "br-front"]
    assert names(planned, "veth", "endpoint") == ["web/front"]
    assert names(planned, "docker_chains", "rules") == ["network bridge", "network front", "container web"]
    assert "/etc/netns/web/hosts" in names(planned, "dns_files", "file")


def test_nothing_is_the_default_network() -> None:
    assert names(plan({}), "bridge", "bridge") == ["docker0"]


def test_the_host_is_known_by_its_mtu_and_id() -> None:
    declaration = {"networks": {"front": {"enable_ipv6": True}}}
    one, other = (plan(declaration, mtu=1400, machine_id=host) for host in ("one", "other"))
    assert {bridge["mtu"] for bridge in one["layers"]["bridge"]} == {1400}
    assert one["allotted"] != other["allotted"]
    assert plan(declaration, mtu=1400, machine_id="one")["allotted"] == one["allotted"]


def test_texts_and_compose_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compose.yml").write_text("name: shop\nservices: {web: {hostname: $NOBODY}}")
    monkeypatch.chdir(tmp_path)
    planned = plan({"compose_files": "compose.yml", "containers": "ssh: {ports: [22:22]}"})
    assert names(planned, "veth", "endpoint") == ["shop-web-1/shop_default", "ssh/bridge"]
    assert len(planned["warnings"]) == 1


def test_a_controller_without_netaddr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "netaddr", None)
    with pytest.raises(AnsibleFilterError, match="^netaddr: is needed on this host .*: install python3-netaddr"):
        plan({})
    assert names(plan({"host": {"bip": "10.0.0.1/24"}}), "bridge", "bridge") == ["docker0"]


@pytest.mark.parametrize("declaration", [[], "", None, {"network": {}}, {"wharf_networks": {}}])
def test_what_is_no_declaration(declaration: Any) -> None:
    with pytest.raises(
        AnsibleFilterError, match="a dictionary with compose_files, containers, docker_user, host, networks"
    ):
        plan(declaration)


def test_every_problem_is_in_the_message() -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        plan({"host": {"mtu": 1}, "networks": {"a": {"internal": 7}}, "containers": {"b": {"prots": []}}})
    assert str(caught.value).splitlines() == [
        "host.mtu: 1: an MTU is from 68 to 65535 bytes",
        "networks.a.internal: 7: must be true or false",
        "containers.b.prots: unknown key; did you mean ports?",
    ]


def test_a_variable_that_is_not_set_is_reported_with_what_comes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell in which Ansible runs may well have it: that is what people expect, and Compose does."""
    services = """
    web: {ports: ["80:80", "${PORT}:80"], networks: [front]}
    db: {ports: ["x:80"], hostname: $PORT}
    """
    front = "{ipam: {config: [{subnet: $SUBNET, gateway: 10.0.0.1}]}}"
    (tmp_path / "compose.yml").write_text(f"name: shop\nservices: {services}\nnetworks: {{front: {front}}}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "8080")
    with pytest.raises(AnsibleFilterError) as caught:
        plan({"compose_files": "compose.yml"})
    remedy = "set it in .env, or in environment beside files: the environment of the controller is not read"
    unset = f"is not set, an empty string takes its place; {remedy}"
    form = "must be [[HOST_IP:][PUBLISHED]:]TARGET[/PROTOCOL], an IPv6 address in brackets"
    assert str(caught.value).splitlines() == [
        "compose.yml: networks.front.ipam.config[0]: subnet is missing: IPAM settings belong to a subnet; "
        f"the variable SUBNET {unset}",
        f'compose.yml: services.web.ports[1]: ":80": {form}; the variable PORT {unset}',
        f'compose.yml: services.db.ports[0]: "x:80": {form}',
    ]


def test_a_variable_that_is_not_set_does_not_publish_to_everybody(tmp_path: Path) -> None:
    port = '{target: 80, published: 80, x-wharf: {allow_from: "${LAN}"}}'
    (tmp_path / "compose.yml").write_text(f"name: shop\nservices: {{web: {{ports: [{port}]}}}}")
    with pytest.raises(AnsibleFilterError) as caught:
        plan({"compose_files": str(tmp_path / "compose.yml")})
    assert "services.web.ports[0].x-wharf.allow_from: has no value, and so " in str(caught.value)
    assert "; the variable LAN is not set, " in str(caught.value)


def test_its_name() -> None:
    assert FilterModule().filters() == {"plan": plan}
