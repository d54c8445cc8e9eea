# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes on a live host: each is what check mode says, hurts nobody else, and can be undone to the last byte."""

from __future__ import annotations

import copy
import ipaddress
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hosts import ABSENT, EXACT, LEDGER, EngineError, ThrowawayHost, differences

HOST_ADDRESS = "192.0.2.10"

WORDS: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True}, "back": {}},
    "containers": {
        "web": {"networks": ["front"], "ports": ["8080:80", "8080:80/udp"]},
        "app": {"networks": ["front", "back"]},
        "db": {"networks": ["back"]},
        # On the default network, and no concern of any test but that of the default network.
        "calm": {"ports": ["9090:90"]},
    },
}


def changed(change: Any, words: Any = None) -> Any:
    """The words, or those of all tests, after a change to them."""
    after = copy.deepcopy(words or WORDS)
    change(after)
    return after


def subnet_of(subnet: str) -> dict[str, Any]:
    return {"ipam": {"config": [{"subnet": subnet}]}}


def connection(host: ThrowawayHost, place: str, address: str, port: int) -> int:
    held: int = host.agent.call("hold", place=host.path(place), address=address, port=port)
    assert lives(host, held)
    return held


def lives(host: ThrowawayHost, held: int) -> bool:
    return bool(host.agent.call("say", held=held, text="still there?\n", timeout=1.0) == "still there?")


def kinds(changes: list[tuple[str, ...]]) -> set[tuple[str, str, str]]:
    return {(action, kind, name) for _layer, action, kind, name, *_fields in changes}


@pytest.fixture(scope="module")
def lasting_host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as started, started.declared(WORDS):
        yield started


@pytest.fixture
def live(lasting_host: ThrowawayHost) -> Iterator[ThrowawayHost]:
    """A host on which the words are declared, as they are again after the test."""
    yield lasting_host
    lasting_host.agent.call("stop_all")
    lasting_host.apply({"host": {}, **WORDS}, EXACT)


@pytest.fixture
def bystanders(live: ThrowawayHost) -> Iterator[None]:
    """Connections to and from a container that a test does not concern; they outlive it."""
    live.serve("calm", "90/tcp")
    live.serve("outside", "7007/tcp")
    held = [connection(live, "outside", HOST_ADDRESS, 9090), connection(live, "calm", "192.0.2.1", 7007)]
    yield
    assert all(lives(live, each) for each in held)


@pytest.mark.usefixtures("bystanders")
class TestChanges:
    """Of one thing on a host on which the rest goes on."""

    def test_a_port_more_on_a_live_container(self, live: ThrowawayHost) -> None:
        live.serve("web", "80/tcp", "81/tcp")
        before = live.run("ip -d link show; ip -d link show eth0", "web")
        others = connection(live, "outside", HOST_ADDRESS, 8080)
        assert not live.probe("outside", f"{HOST_ADDRESS}:8081/tcp", False).is_open
        more = changed(lambda words: words["containers"]["web"]["ports"].append("8081:81"))
        assert kinds(live.converge(more)) == {("update", "rules", "container web")}
        assert live.probe("outside", f"{HOST_ADDRESS}:8081/tcp").by == "web"
        assert live.probe("host", "127.0.0.1:8081/tcp").by == "web"
        assert live.probe("web", f"{HOST_ADDRESS}:8081/tcp").by == "web"
        assert live.run("ip -d link show; ip -d link show eth0", "web") == before
        live.converge(WORDS)
        assert not live.probe("outside", f"{HOST_ADDRESS}:8081/tcp", False).is_open
        assert lives(live, others)

    def test_the_first_port_of_a_live_container(self, live: ThrowawayHost) -> None:
        live.serve("db", "80/tcp")
        first = changed(lambda words: words["containers"]["db"].update(ports=["8082:80"]))
        live.converge(first)
        for place, address in [("outside", HOST_ADDRESS), ("host", "127.0.0.1"), ("db", HOST_ADDRESS)]:
            assert live.probe(place, f"{address}:8082/tcp").by == "db", place
        live.converge(WORDS)
        for place, address in [("outside", HOST_ADDRESS), ("host", "127.0.0.1"), ("db", HOST_ADDRESS)]:
            assert not live.probe(place, f"{address}:8082/tcp", False).is_open, place

    def test_a_flow_does_not_outlive_the_rule_that_made_it(self, live: ThrowawayHost) -> None:
        """NAT is decided by a flow's first packet, and a flow of UDP lives on with each packet."""
        client = {"place": "outside", "target": f"{HOST_ADDRESS}:8080/udp", "source_port": 4242}
        elsewhere = changed(
            lambda words: words["containers"]["db"].update(ports=words["containers"]["web"].pop("ports"))
        )
        nowhere = changed(lambda words: words["containers"]["web"].pop("ports"))
        for name in ("web", "db"):
            live.serve(name, "80/udp")
        assert live.probe(**client).by == "web"
        live.converge(elsewhere)
        assert live.probe(**client).by == "db"
        live.converge(nowhere)
        assert not live.probe(**client, expect_open=False).is_open
        live.converge(WORDS)
        assert live.probe(**client).by == "web"

    @pytest.mark.parametrize("former, latter", [("64", "80"), ("80", "64")])
    def test_only_the_prefix_length_of_an_ipv6_subnet(self, host: ThrowawayHost, former: str, latter: str) -> None:
        def words(length: str) -> Any:
            return {
                "host": {"ipv6": True, "fixed-cidr-v6": f"fd77::/{length}"},
                "networks": {
                    "front": {"enable_ipv6": True, "ipam": {"config": [{"subnet": f"fd78::/{length}"}]}},
                },
                "containers": {"web": {"networks": {"front": {"ipv6_address": "fd78::9"}}}, "other": {}},
            }

        with host.declared(words(former)):
            host.converge(words(latter))
            assert f"fd78::9/{latter}" in host.run("ip -6 addr show eth0", "web")
            for bridge in ("docker0", "br-front"):
                assert f"::1/{latter}" in host.run(f"ip -6 addr show {bridge}")
            assert host.probe("web", "[fd78::1]/ping").is_open
            assert host.probe("host", f"[{host.address('other', 'bridge', 6)}]/ping").is_open

    def test_ipv6_goes_together_with_an_mtu_that_it_needs(self, host: ThrowawayHost) -> None:
        def words(ipv6: bool, mtu: str) -> Any:
            front = {"enable_ipv6": ipv6, "driver_opts": {"com.docker.network.driver.mtu": mtu}}
            return {"networks": {"front": front}, "containers": {"web": {"networks": ["front"]}}}

        with host.declared(words(True, "1500")):
            host.converge(words(False, "1200"))
            assert host.run("ip -6 addr", "web").count("inet6") == 1
            host.converge(words(True, "1400"))
            assert host.probe("web", f"[{host.address('web', 'front', 6)}]/ping").is_open

    def test_a_container_moves_to_another_network(self, live: ThrowawayHost) -> None:
        for name in ("web", "db", "app"):
            live.serve(name, "80/tcp")
        others = connection(live, "app", live.address("db", "back"), 80)
        old = live.address("web", "front")
        moved = changed(lambda words: words["containers"]["web"].update(networks=["back"]))
        live.converge(moved)
        new = live.address("web", "back")
        assert live.probe("db", f"{new}:80/tcp").by == "web"
        assert live.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        assert not live.probe("app", f"{old}:80/tcp", False).is_open
        assert lives(live, others)

    def test_a_container_joins_and_leaves_a_network(self, live: ThrowawayHost) -> None:
        live.serve("web", "80/tcp")
        own = connection(live, "outside", HOST_ADDRESS, 8080)
        before = live.address("web", "front")
        live.converge(changed(lambda words: words["containers"]["web"].update(networks=["front", "back"])))
        assert live.probe("db", f"{live.address('web', 'back')}:80/tcp").by == "web"
        assert live.address("web", "front") == before
        live.converge(WORDS)
        assert live.address("web", "front") == before
        assert lives(live, own)

    def test_a_container_goes(self, live: ThrowawayHost) -> None:
        live.serve("web", "80/tcp")
        live.serve("db", "80/tcp")
        others = connection(live, "app", live.address("db", "back"), 80)
        rest = changed(lambda words: words["containers"].pop("web"))
        assert kinds(live.converge(rest, EXACT)) >= {
            ("delete", "sandbox", "netns:web"),
            ("delete", "endpoint", "web/front"),
            ("delete", "rules", "container web"),
            ("delete", "file", "/etc/netns/web/hosts"),
        }
        assert not live.probe("outside", f"{HOST_ADDRESS}:8080/tcp", False).is_open
        assert lives(live, others)

    def test_who_has_an_address_next_gets_nothing_that_was_for_another(self, live: ThrowawayHost) -> None:
        live.serve("outside", "53/udp")
        before = live.address("web", "front")
        assert live.probe("web", "192.0.2.1:53/udp", source_port=4000).is_open
        live.agent.call("stop", place=live.path("outside"))
        live.converge(changed(lambda words: words["containers"].update(web={}, heir={"networks": ["front"]})), EXACT)
        assert live.address("heir", "front") == before
        live.serve("heir", "4000/udp")
        # Where the answer to what was asked by the one that had the address came to.
        assert not live.probe("outside", f"{HOST_ADDRESS}:4000/udp", False, source_port=53).is_open

    def test_named_entries_go_and_others_stay(self, live: ThrowawayHost) -> None:
        gone = live.converge({"containers": {"web": {}}}, ABSENT, ["containers"])
        assert kinds(gone) >= {("delete", "sandbox", "netns:web")}
        assert live.run("ls /run/netns").split() == ["app", "calm", "db"]
        with pytest.raises(EngineError, match="front"):
            live.apply({"networks": {"front": {}}}, ABSENT, ["user_networks"])

    def test_mtu(self, live: ThrowawayHost) -> None:
        live.serve("web", "80/tcp")
        own = connection(live, "outside", HOST_ADDRESS, 8080)
        smaller = changed(
            lambda words: words["networks"]["front"].update(driver_opts={"com.docker.network.driver.mtu": "1400"})
        )
        assert kinds(live.converge(smaller)) == {
            ("update", "bridge", "br-front"), ("update", "endpoint", "web/front"), ("update", "endpoint", "app/front"),
        }  # fmt: skip
        assert "mtu 1400" in live.run("ip link show eth0", "web")
        assert live.probe("web", "2001:db8::1/ping").is_open
        assert lives(live, own)

    def test_internal_and_back(self, live: ThrowawayHost) -> None:
        live.serve("outside", "80/tcp")
        assert live.probe("db", "203.0.113.1:80/tcp").is_open
        live.converge(changed(lambda words: words["networks"]["back"].update(internal=True)))
        assert live.probe("db", "203.0.113.1:80/tcp", False).why == "Network is unreachable"
        live.converge(WORDS)
        assert live.probe("db", "203.0.113.1:80/tcp").is_open

    def test_ipv6_comes_and_goes(self, live: ThrowawayHost) -> None:
        live.converge(changed(lambda words: words["networks"]["back"].update(enable_ipv6=True)))
        assert live.probe("db", "2001:db8::1/ping").is_open
        live.converge(WORDS)
        assert live.sysctl("net.ipv6.conf.eth0.disable_ipv6", "db") == "1"
        none = changed(lambda words: words["networks"]["front"].update(enable_ipv6=False))
        live.converge(none)
        assert live.sysctl("net.ipv6.conf.all.forwarding") == "0"

    def test_icc_off_and_on(self, live: ThrowawayHost) -> None:
        options = {"com.docker.network.bridge.enable_icc": "false"}
        live.serve("web", "80/tcp")
        target = f"{live.address('web', 'front')}:80/tcp"
        assert live.probe("app", target).is_open
        live.converge(changed(lambda words: words["networks"]["front"].update(driver_opts=options)))
        assert not live.probe("app", target, False).is_open
        live.converge(WORDS)
        assert live.probe("app", target).is_open

    def test_another_subnet(self, live: ThrowawayHost) -> None:
        live.serve("db", "80/tcp")
        ipam = {"config": [{"subnet": "10.99.0.0/24"}]}
        live.converge(changed(lambda words: words["networks"]["back"].update(ipam=ipam)))
        assert live.address("db", "back").startswith("10.99.0.")
        assert live.probe("app", f"{live.address('db', 'back')}:80/tcp").by == "db"
        assert live.probe("db", "192.0.2.1/ping").is_open
        assert live.run("ip -br addr show br-back").count("10.99.0.1/24") == 1

    @pytest.mark.parametrize("used", ["bridge", "back"])
    def test_another_network_renumbers_no_container(self, live: ThrowawayHost, used: str) -> None:
        subnet = next(iter(live.ledger()["allotted"]["networks"][used]))
        more = changed(lambda words: words["networks"].update(more=subnet_of(subnet)))
        before = live.snapshot()
        with pytest.raises(EngineError, match=f"subnet {subnet} overlaps {subnet}, which network {used} keeps while"):
            live.apply(more)
        assert differences(before, live.snapshot()) == ""

    def test_a_network_moves_for_another_where_that_is_declared(self, live: ThrowawayHost) -> None:
        live.serve("db", "80/tcp")
        subnet = next(iter(live.ledger()["allotted"]["networks"]["back"]))
        moved = changed(
            lambda words: (
                words["networks"].update(more=subnet_of(subnet), back=subnet_of("10.98.0.0/24")),
                words["containers"].update(new={"networks": ["more"]}),
            )
        )  # fmt: skip
        live.converge(moved)
        assert live.address("db", "back").startswith("10.98.0.")
        assert live.probe("app", f"{live.address('db', 'back')}:80/tcp").by == "db"
        live.serve("new", "80/tcp")
        assert live.probe("host", f"{live.address('new', 'more')}:80/tcp").by == "new"

    def test_a_network_takes_the_subnet_of_one_that_goes(self, live: ThrowawayHost) -> None:
        subnet = next(iter(live.ledger()["allotted"]["networks"]["back"]))
        instead = changed(
            lambda words: (
                words["networks"].pop("back"),
                words["networks"].update(more=subnet_of(subnet)),
                words["containers"].update(app={"networks": ["front", "more"]}, db={"networks": ["more"]}),
            )
        )  # fmt: skip
        live.converge(instead, EXACT)
        live.serve("db", "80/tcp")
        assert live.probe("app", f"{live.address('db', 'more')}:80/tcp").by == "db"

    def test_what_the_host_has_of_late_renumbers_no_container(self, live: ThrowawayHost) -> None:
        live.serve("db", "80/tcp")
        subnet = ipaddress.ip_network(next(iter(live.ledger()["allotted"]["networks"]["back"])))
        live.run(
            f"ip link add late type veth peer name later; ip addr add {subnet[-9]}/29 dev late; ip link set late up"
        )
        try:
            result = live.apply(WORDS)
            assert result.changes == []
            assert any(f"network back keeps {subnet} while containers are on it" in each for each in result.warnings)
            assert live.probe("app", f"{live.address('db', 'back')}:80/tcp").by == "db"
        finally:
            live.run("ip link del late")

    def test_addresses_are_kept(self, live: ThrowawayHost) -> None:
        before = live.ledger()["allotted"]
        # By name both would come first.
        more = changed(
            lambda words: (
                words["networks"].update(aaa={}), words["containers"].update(aaa={"networks": ["aaa", "front"]})
            )
        )  # fmt: skip
        live.converge(more)
        after = live.ledger()["allotted"]
        assert before["networks"].items() <= after["networks"].items()
        assert before["endpoints"].items() <= after["endpoints"].items()
        live.converge(WORDS, EXACT)
        assert live.ledger()["allotted"] == before

    def test_a_port_moves_on_a_live_container(self, live: ThrowawayHost) -> None:
        live.serve("web", "80/tcp")
        moved = changed(lambda words: words["containers"]["web"].update(ports=["8089:80"]))
        assert kinds(live.converge(moved)) == {("update", "rules", "container web")}
        assert live.probe("outside", f"{HOST_ADDRESS}:8089/tcp").by == "web"
        assert not live.probe("outside", f"{HOST_ADDRESS}:8080/tcp", False).is_open

    def test_another_address_and_mac(self, live: ThrowawayHost) -> None:
        live.serve("web", "80/tcp")
        live.serve("db", "80/tcp")
        others = connection(live, "app", live.address("db", "back"), 80)
        old = live.address("web", "front")
        new = old.rpartition(".")[0] + ".99"
        # Who has talked to it before, has its MAC in mind.
        assert live.probe("app", f"{old}:80/tcp").by == "web"
        static = {"front": {"ipv4_address": new, "mac_address": "02:00:00:00:00:99"}}
        made = live.converge(changed(lambda words: words["containers"]["web"].update(networks=static)))
        assert ("veth", "update", "endpoint", "web/front", "mac,addresses") in made
        assert ("update", "rules", "container web") in kinds(made)
        assert live.probe("app", f"{new}:80/tcp").by == "web"
        assert live.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        assert live.probe("web", "203.0.113.1/ping").is_open
        assert not live.probe("app", f"{old}:80/tcp", False).is_open
        assert lives(live, others)

    def test_another_alias(self, live: ThrowawayHost) -> None:
        live.serve("web", "80/tcp")
        own = connection(live, "outside", HOST_ADDRESS, 8080)
        called = changed(lambda words: words["containers"]["web"].update(networks={"front": {"aliases": ["www"]}}))
        made = live.converge(called)
        assert {kind for _action, kind, _name in kinds(made)} <= {"file", "dnsmasq"}
        assert "www" in live.run("ip netns exec app getent hosts www")
        assert lives(live, own)

    def test_another_gateway(self, live: ThrowawayHost) -> None:
        live.serve("db", "80/tcp")
        live.serve("outside", "80/tcp")
        own = connection(live, "app", live.address("db", "back"), 80)
        networks = {"front": {}, "back": {"gw_priority": 1}}
        made = live.converge(changed(lambda words: words["containers"]["app"].update(networks=networks)))
        assert kinds(made) == {("update", "endpoint", "app/back"), ("update", "endpoint", "app/front")}
        assert live.json("ip -j route show default", "app")[0]["dev"] == "eth0"
        assert live.probe("app", "203.0.113.1:80/tcp").is_open
        assert lives(live, own)

    def test_another_name_of_a_network(self, live: ThrowawayHost) -> None:
        live.serve("db", "80/tcp")
        live.serve("web", "80/tcp")
        others = connection(live, "outside", HOST_ADDRESS, 8080)
        live.converge(changed(lambda words: words["networks"]["back"].update(name="rear")))
        links = live.run("ip -br link")
        assert "br-rear" in links
        assert "br-back" not in links
        assert live.probe("app", f"{live.address('db', 'rear')}:80/tcp").by == "db"
        assert live.probe("db", "203.0.113.1/ping").is_open
        assert lives(live, others)

    def test_another_name_of_a_bridge(self, live: ThrowawayHost) -> None:
        live.serve("db", "80/tcp")
        before = live.address("db", "back")
        published = changed(lambda words: words["containers"]["db"].update(ports=["8082:80"]))
        live.converge(published)
        options = {"com.docker.network.bridge.name": "behind"}
        live.converge(changed(lambda words: words["networks"]["back"].update(driver_opts=options), published))
        assert "br-back" not in live.run("ip -br link")
        assert live.address("db", "back") == before
        assert live.probe("app", f"{before}:80/tcp").by == "db"
        assert live.probe("db", f"{HOST_ADDRESS}:8082/tcp").by == "db"
        assert live.probe("db", "203.0.113.1/ping").is_open

    def test_a_network_goes(self, live: ThrowawayHost) -> None:
        live.serve("web", "80/tcp")
        others = connection(live, "outside", HOST_ADDRESS, 8080)

        def without_back(words: Any) -> None:
            del words["networks"]["back"]
            words["containers"]["db"]["networks"] = ["front"]
            words["containers"]["app"]["networks"] = ["front"]

        made = kinds(live.converge(changed(without_back), EXACT))
        assert made >= {("delete", "bridge", "br-back"), ("delete", "rules", "network back")}
        assert "br-back" not in live.run("ip -br link")
        assert live.probe("db", f"{live.address('web', 'front')}:80/tcp").by == "web"
        assert lives(live, others)

    def test_another_mode(self, live: ThrowawayHost) -> None:
        live.serve("web", "80/tcp")
        others = connection(live, "outside", HOST_ADDRESS, 8080)
        for mode in ("bridge", "host", "none", "service:web"):
            instead = {"network_mode": mode}
            live.converge(changed(lambda words, instead=instead: words["containers"].update(db=instead)))
            assert (live.probe("db", "203.0.113.1/ping", mode != "none").is_open) == (mode != "none")
        assert live.probe("db", "127.0.0.1:80/tcp").by == "web"
        live.converge(WORDS)
        assert live.probe("db", f"{live.address('app', 'back')}/ping").is_open
        assert lives(live, others)

    def test_default_settings(self, host: ThrowawayHost) -> None:
        other = {"networks": ["own"], "ports": ["8081:80"]}
        words = {"host": {}, "networks": {"own": {}}, "containers": {"web": {"ports": ["8080:80"]}, "other": other}}
        with host.declared(words):
            host.serve("web", "80/tcp")
            host.serve("other", "80/tcp")
            others = connection(host, "outside", HOST_ADDRESS, 8081)
            host.converge({**words, "host": {"bip": "10.98.0.1/24", "ip": "127.0.0.1", "icc": False, "mtu": 1450}})
            assert host.probe("host", "127.0.0.1:8080/tcp").by == "web"
            assert not host.probe("outside", f"{HOST_ADDRESS}:8080/tcp", False).is_open
            assert lives(host, others)
            host.converge({**words, "host": {"bridge": "none"}, "containers": {"web": {"network_mode": "none"}}})
            assert "docker0" not in host.run("ip -br link")
            host.converge(words)


# Of our table everything is made again, and nothing else on the host.
WHOLE_TABLE: set[str] = set()


def test_nothing_goes_that_is_not_named(live: ThrowawayHost) -> None:
    """A file of words that names nothing is not one that is not given."""
    nothing = {"networks": {}, "containers": {}, "docker_user": []}
    for words in ({}, {"containers": {}}, nothing, dict.fromkeys(nothing)):
        result = json.loads(live.engine(["apply", "-", "--json", "--state", ABSENT], words))
        assert result["changes"] == []
        assert "names nothing, so nothing is removed" in result["warnings"][0]
    only_networks = {"networks": WORDS["networks"]}
    result = json.loads(live.engine(["apply", "-", "--json", "--state", EXACT], only_networks))
    assert result["changes"] == []
    assert "wharf_containers is not given: what was declared there before stays" in result["warnings"][0]
    live.apply({"containers": "all"}, ABSENT, ["containers"])
    assert live.run("ls /run/netns") == ""
    assert {"front", "back"} <= live.ledger()["declared"]["networks"].keys()


class TestDrift:
    """What others spoil is mended, that and nothing else, and check mode says so."""

    @pytest.mark.parametrize(
        "damage, mended",
        [
            ("nft flush ruleset", WHOLE_TABLE),
            ("nft delete table inet wharf", WHOLE_TABLE),
            ("nft flush set inet wharf bridges", {"rules network back", "rules network bridge", "rules network front"}),
            ('nft add element inet wharf bridges \'{ "br-x" comment "network front" }\'', {"rules network front"}),
            ("nft insert rule inet wharf forward accept", {"chain forward"}),
            ("nft flush chain inet wharf DOCKER-FORWARD", {"chain DOCKER-FORWARD"}),
            ("nft flush chain inet wharf postrouting", {"chain postrouting"}),
            ("nft delete element inet wharf published4 '{ tcp . 8080 }'", {"rules container web"}),
            ("ip link del br-front", {"bridge br-front", "endpoint app/front", "endpoint web/front"}),
            ("ip link set br-front down", {"bridge br-front"}),
            ("ip addr flush dev br-front", {"bridge br-front"}),
            ("ip link set br-front mtu 1300", {"bridge br-front"}),
            ("ip link set br-front type bridge stp_state 1", {"bridge br-front"}),
            (
                "for each in $(ip -br link show master br-front | cut -d@ -f1); do"
                " bridge link set dev $each hairpin off isolated on; done",
                {"endpoint app/front", "endpoint web/front"},
            ),
            (
                "ip netns del web; while ip link show type veth | grep -q wharf:web/; do sleep 0.05; done",
                {"sandbox netns:web", "endpoint web/front"},
            ),
            ("ip -n web link del eth0", {"endpoint web/front"}),
            ("ip -n web addr flush dev eth0", {"endpoint web/front"}),
            ("ip -n web link set eth0 down", {"endpoint web/front"}),
            ("ip -n web route flush default; ip -n web route del default || true", {"endpoint web/front"}),
            ("ip -n web link set eth0 mtu 1300", {"endpoint web/front"}),
            ("ip -n web link set lo down", {"sandbox netns:web"}),
            ("sysctl -qw net.ipv4.ip_forward=0", {"sysctl net.ipv4.ip_forward"}),
            (
                "sysctl -qw net.ipv6.conf.all.forwarding=0",
                {"sysctl net.ipv6.conf.all.forwarding", "sysctl net.ipv6.conf.default.forwarding"},
            ),
            ("sysctl -qw net.ipv4.conf.br-front.route_localnet=0", {"bridge br-front"}),
            (
                "rm -r /etc/netns/web /etc/sysctl.d/90-wharf.conf",
                {
                    "file /etc/netns/web/hostname",
                    "file /etc/netns/web/hosts",
                    "file /etc/netns/web/resolv.conf",
                    "file /etc/sysctl.d/90-wharf.conf",
                },
            ),
            ("echo evil >> /etc/sysctl.d/90-wharf.conf", {"file /etc/sysctl.d/90-wharf.conf"}),
            ("echo 192.0.2.1 evil >> /etc/netns/web/hosts", {"file /etc/netns/web/hosts"}),
        ],
    )
    def test_is_mended(self, live: ThrowawayHost, damage: str, mended: set[str]) -> None:
        live.run(damage)
        made = live.converge(WORDS)
        assert {
            f"{kind} {name}" for _layer, _action, kind, name, *_fields in made if mended is not WHOLE_TABLE
        } == mended
        assert {layer for layer, *_change in made} == {"docker_chains"} or mended is not WHOLE_TABLE
        live.serve("web", "80/tcp")
        for place, address in [("outside", HOST_ADDRESS), ("outside", "2001:db8::10"), ("host", "127.0.0.1")]:
            assert live.probe(place, f"[{address}]:8080/tcp").by == "web", place
        assert live.probe("web", "192.0.2.1/ping").is_open
        assert not live.probe("db", f"{live.address('web', 'front')}:80/tcp", False).is_open


class TestDefaultRoute:
    def test_while_there_is_none_all_stays_as_it_was(self, host: ThrowawayHost) -> None:
        host.run("ip link set eth0 mtu 1400; sysctl -qw net.ipv6.conf.eth0.accept_ra=1")
        with host.declared(WORDS):
            routes = {family: host.run(f"ip {family} route show default").strip() for family in ("-4", "-6")}
            host.run("ip -4 route del default; ip -6 route del default")
            assert host.converge(WORDS) == []
            assert host.json("ip -j link show docker0")[0]["mtu"] == 1400
            assert host.sysctl("net.ipv6.conf.eth0.accept_ra") == "2"
            for family, route in routes.items():
                host.run(f"ip {family} route add {route}")

    def test_one_may_be_in_two_halves(self, host: ThrowawayHost) -> None:
        host.run("ip route add 0.0.0.0/1 via 192.0.2.1; ip route add 128.0.0.0/1 dev eth0")
        host.run("ip -6 route add ::/1 via 2001:db8::1; ip -6 route add 8000::/1 dev eth0")
        with host.declared(WORDS):
            assert host.probe("web", "192.0.2.1/ping").is_open


class TestGivenBack:
    """What the admin had before."""

    def test_forwarding_of_each_interface(self, host: ThrowawayHost) -> None:
        host.run("ip link add eth1 type dummy 2>/dev/null || ip link add eth1 type veth peer name eth1-peer")
        host.run(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.eth1.forwarding=0 net.ipv4.conf.eth0.accept_redirects=1"
        )
        host.run("sysctl -qw net.ipv6.conf.eth0.forwarding=1 net.ipv6.conf.eth1.forwarding=0")
        with host.declared(WORDS):
            assert host.sysctl("net.ipv4.conf.eth1.forwarding") == "0"

    def test_forwarding_that_was_off(self, host: ThrowawayHost) -> None:
        host.run("sysctl -qw net.ipv4.conf.eth0.accept_redirects=1 net.ipv4.conf.lo.forwarding=1")
        with host.declared(WORDS):
            assert host.sysctl("net.ipv4.ip_forward") == "1"

    def test_a_router_stays_one(self, host: ThrowawayHost) -> None:
        host.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        host.run(
            "ip route add 203.0.113.1 via 192.0.2.10; ip -6 route add 2001:db8:113::1 via 2001:db8::10", "neighbour"
        )
        assert host.probe("neighbour", "203.0.113.1/ping").is_open
        with host.declared(WORDS):
            assert host.probe("neighbour", "203.0.113.1/ping").is_open
            assert host.probe("neighbour", "2001:db8:113::1/ping").is_open

    def test_router_advertisements_are_heard_on(self, host: ThrowawayHost) -> None:
        host.run("sysctl -qw net.ipv6.conf.eth0.accept_ra=1")
        with host.declared(WORDS):
            assert host.sysctl("net.ipv6.conf.eth0.accept_ra") == "2"
            host.converge(changed(lambda words: words["networks"]["front"].update(enable_ipv6=False)))
            assert host.sysctl("net.ipv6.conf.eth0.accept_ra") == "1"

    def test_foreign_tables_sets_and_files(self, host: ThrowawayHost) -> None:
        host.run(
            "nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; }';"
            "nft add rule ip filter FORWARD counter accept; nft add table inet other; mkdir -p /etc/netns/other;"
            "echo x > /etc/netns/other/hosts; echo net.ipv4.ip_forward=0 > /etc/sysctl.d/99-admin.conf"
        )
        with host.declared(WORDS):
            assert "table inet other" in host.run("nft list ruleset")

    def test_docker_user_is_the_admins(self, host: ThrowawayHost) -> None:
        host.apply(WORDS)
        host.serve("web", "80/tcp")
        host.run('nft add rule inet wharf DOCKER-USER iifname "eth0" ip saddr 192.0.2.66 drop')
        for _time in range(2):
            assert not host.probe("neighbour", f"{HOST_ADDRESS}:8080/tcp", False).is_open
            assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").is_open
            host.converge(changed(lambda words: words["containers"]["db"].update(ports=["8082:80"])))
        host.converge({}, ABSENT)
        left = host.run("nft list ruleset")
        assert "192.0.2.66" in left
        assert left.count("chain") == 1
        host.converge(WORDS)
        assert not host.probe("neighbour", f"{HOST_ADDRESS}:8080/tcp", False).is_open

    def test_what_the_admin_puts_into_our_table_stays(self, host: ThrowawayHost) -> None:
        host.apply(WORDS)
        host.run("nft add chain inet wharf mine; nft add rule inet wharf mine counter packets 0 bytes 0")
        host.run("nft add rule inet wharf DOCKER-USER jump mine")
        host.converge(changed(lambda words: words["containers"].pop("web")), EXACT)
        assert "jump mine" in host.run("nft list chain inet wharf DOCKER-USER")
        host.converge({}, ABSENT)
        assert "chain mine" in host.run("nft list ruleset")


def test_a_ledger_that_the_version_before_wrote_is_read_and_brought_up_to_date(live: ThrowawayHost) -> None:
    now = live.ledger()
    former_keys = {"prior": "found", "stale_ports": "suspects"}
    former = {former_keys.get(key, key): value for key, value in now.items()}
    former["declared"] = {key: value for key, value in former["declared"].items() if key != "boot"}
    live.write(LEDGER, json.dumps(former))
    assert live.apply(WORDS).changes == []
    assert live.ledger() == now
