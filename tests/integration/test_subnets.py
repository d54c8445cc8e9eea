# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A live network gets one more subnet, and loses one. Who reaches whom there, `test_options.py` tests."""

from __future__ import annotations

import copy
import ipaddress
from typing import Any

import pytest
from host_state import assert_same, host_state
from hosts import BACKENDS, EXACT, EngineError, ThrowawayHost
from test_leases import lease, plugged_in, prepare
from test_lifecycle import connection, lives
from test_verify import OUTSIDE, rows, verify

FIRST = {"subnet": "10.40.0.0/24", "gateway": "10.40.0.1", "ip_range": "10.40.0.2/31"}
FULL: dict[str, Any] = {
    "networks": {"app": {"enable_ipv6": True, "ipam": {"config": [FIRST, {"subnet": "fd00:40::/64"}]}}},
    "containers": {
        "db": {"networks": ["app"], "ports": ["8081:80"]},
        "web": {"networks": ["app"], "ports": ["8080:80"]},
    },
}
MORE = [{"subnet": "10.41.0.0/24", "ip_range": "10.41.0.128/25"}, {"subnet": "fd00:41::/64"}]


def wider() -> dict[str, Any]:
    words = copy.deepcopy(FULL)
    words["networks"]["app"]["ipam"]["config"] += MORE
    return words


def with_one_more(words: dict[str, Any], **attachment: Any) -> dict[str, Any]:
    return {**words, "containers": {**words["containers"], "yet": {"networks": {"app": attachment}}}}


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_a_full_network_gets_another_subnet_while_it_is_in_use(backend: str) -> None:
    with ThrowawayHost.started(backend=backend) as host, host.declared(FULL):
        with pytest.raises(EngineError, match="yet.networks.app: no address is left in 10.40.0.2/31: .* one more"):
            host.apply(with_one_more(FULL))
        before = {name: host.ledger()["allotted"]["endpoints"][f"{name}/app"] for name in ("db", "web")}
        for name in before:
            host.serve(name, "80/tcp")
        held = [connection(host, "db", before["web"]["ipv4"], 80), connection(host, "outside", "192.0.2.10", 8080)]
        assert {each[1:] for each in host.converge(wider())} == {
            ("update", "bridge", "br-app", "addresses"),
            ("update", "dnsmasq", "app", "config"),
            ("update", "endpoint", "db/app", "routes"),
            ("update", "endpoint", "web/app", "routes"),
            ("update", "file", "/run/wharf/dnsmasq/app.conf", "content"),
            ("update", "rules" if backend == "nftables" else "iptables_rules", "network app", "elements"),
        }
        host.converge(with_one_more(wider(), ipv6_address="fd00:41::9"))
        allotted = host.ledger()["allotted"]["endpoints"]
        assert {name: allotted[f"{name}/app"] for name in before} == before
        assert (allotted["yet/app"]["ipv4"], allotted["yet/app"]["ipv6"]) == ("10.41.0.129", "fd00:41::9")
        assert all(lives(host, each) for each in held)
        addresses = host.run("ip -br addr show br-app")
        assert all(each in addresses for each in ("10.40.0.1/24", "10.41.0.128/24", "fd00:40::1/64", "fd00:41::1/64"))
        host.serve("yet", "80/tcp")
        for address in ("10.41.0.129", "fd00:41::9"):
            assert host.probe("web", f"[{address}]:80/tcp" if ":" in address else f"{address}:80/tcp").by == "yet"
        inside = verify(host)
        assert rows(inside) == {}
        assert rows(verify(host, OUTSIDE, probes=inside["outside_probes"], derive=False)) == {}


def asked(host: ThrowawayHost, place: str, *question: str) -> list[str]:
    return host.run(f"ip netns exec {place} dig +short +tries=1 +time=2 {' '.join(question)}").split()


def test_names_are_known_in_all_subnets_and_at_all_gateways(host: ThrowawayHost) -> None:
    """Also by a resolver that is not the network's own, which the container's queries are redirected to."""
    words = with_one_more(wider())
    words["networks"]["shut"] = {"internal": True}
    words["containers"]["both"] = {"networks": {"app": {"ipv4_address": "10.41.0.200"}, "shut": {}}}
    words["containers"]["alone"] = {"networks": ["shut"]}
    with host.declared(words):
        for place in ("web", "yet", "both"):
            for gateway in ("10.40.0.1", "10.41.0.128", "fd00:40::1", "fd00:41::1"):
                assert asked(host, place, "yet", f"@{gateway}") == ["10.41.0.129"], (place, gateway)
                assert asked(host, place, "-x 10.41.0.129", f"@{gateway}") == ["yet.app."]
        assert asked(host, "both", "alone") == [host.address("alone", "shut")]
        assert asked(host, "both", "alone", "@10.41.0.128") == [host.address("alone", "shut")]


def test_a_subnet_goes_when_nobody_has_an_address_there(host: ThrowawayHost) -> None:
    words = with_one_more(wider(), ipv6_address="fd00:41::9")
    narrower = {**words, "networks": FULL["networks"]}
    with host.declared(words):
        before = host_state(host)
        with pytest.raises(EngineError) as refused:
            host.apply(with_one_more(narrower))
        assert str(refused.value) == (
            "wharf_networks.app.ipam.config: subnet 10.41.0.0/24 is left out, but containers have their "
            "addresses there (yet): keep it, or give them an ipv4_address in another subnet\n"
            "wharf_networks.app.ipam.config: subnet fd00:41::/64 is left out, but containers have their "
            "addresses there (yet): keep it, or give them an ipv6_address in another subnet"
        )
        assert_same(before, lambda: host_state(host))
        host.serve("db", "80/tcp")
        held = connection(host, "web", "10.40.0.2", 80)
        host.converge(with_one_more(FULL, ipv4_address="10.40.0.9", ipv6_address="fd00:40::9"))
        assert lives(host, held)
        assert "10.41." not in host.run("ip addr; ip route; nft list ruleset; ip -n web route; ip -n yet addr")
        assert "fd00:41" not in host.run("ip addr; ip -6 route; nft list ruleset; ip -n web -6 route; ip -n yet addr")
        # Where all of its subnets are replaced, a network is renumbered.
        host.converge({**FULL, "networks": {"app": {"ipam": {"config": [{"subnet": "10.44.0.0/24"}]}}}}, EXACT)
        assert host.address("web", "app").startswith("10.44.")


def test_a_container_moves_to_another_subnet_and_back(host: ThrowawayHost) -> None:
    there = with_one_more(wider(), ipv4_address="10.41.0.200", ipv6_address="fd00:41::9")
    here = with_one_more(wider(), ipv4_address="10.40.0.200", ipv6_address="fd00:40::9")
    with host.declared(here):
        before = host_state(host)
        host.converge(there)
        host.converge(here)
        assert_same(before, lambda: host_state(host))


def test_what_root_in_a_container_did_to_its_routes_is_mended(host: ThrowawayHost) -> None:
    words = with_one_more(wider())
    with host.declared(words):
        host.run("ip route del 10.41.0.0/24; ip -6 route del fd00:41::/64; ip route del default", "web")
        assert [each[1:] for each in host.converge(words)] == [("update", "endpoint", "web/app", "routes")]
        host.serve("yet", "80/tcp")
        assert host.probe("web", "10.41.0.129:80/tcp").by == "yet"
        host.run("ip addr del 10.40.0.3/24 dev eth0", "web")
        host.converge(words)
        assert host.probe("web", "10.41.0.129:80/tcp").by == "yet"


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_a_ledger_that_is_lost_is_made_anew(backend: str) -> None:
    words = with_one_more(wider(), ipv6_address="fd00:41::9")
    with ThrowawayHost.started(backend=backend) as host, host.declared(words):
        allotted = host.ledger()["allotted"]
        host.run("rm /var/lib/wharf/ledger.json")
        host.engine(["recover", "-"], host._given(words, "present")[1])
        assert host.converge(words) == []
        assert host.ledger()["allotted"] == allotted


def test_what_is_observed_has_all_subnets(host: ThrowawayHost) -> None:
    with host.declared(wider()):
        network = host.observed()["networks"]["app"]
        assert network["subnets"] == ["10.40.0.0/24", "10.41.0.0/24", "fd00:40::/64", "fd00:41::/64"]
        assert sorted(network["gateways"]) == ["10.40.0.1/24", "10.41.0.128/24", "fd00:40::1/64", "fd00:41::1/64"]
        shown = host.engine(["show"])
        assert all(each in shown for each in ("10.40.0.1/24", "10.41.0.128/24", "fd00:41::1/64"))


def test_leases_are_given_in_a_further_subnet(host: ThrowawayHost) -> None:
    """Its gateway is the client's router and nameserver. Containers keep what is reserved for them."""
    prepare(host)
    words = wider()
    words["networks"]["app"]["x-wharf"] = {"dhcp": {"range": ["10.41.0.160/28"]}, "ra": "stateful"}
    with host.declared(words), plugged_in(host, "guest", "br-app", "02:00:00:00:00:71"):
        settings = lease(host, "guest")
        assert ipaddress.ip_address(settings["ip"]) in ipaddress.ip_network("10.41.0.160/28")
        assert (settings["router"], settings["dns"], settings["mask"]) == ("10.41.0.128", "10.41.0.128", "24")
        assert lease(host, "web")["ip"] == host.address("web", "app")
