# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever is root in one container, and may change its network stack, keeps nothing else from converging."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from host_state import assert_same, host_state
from hosts import ABSENT, EXACT, LEDGER, EngineError, ThrowawayHost, differences
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from manipulations import scripts
from test_follow import following, heard

HOST_ADDRESS = "192.0.2.10"

WORDS: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True}},
    "containers": {"web": {"networks": ["front"], "ports": ["8080:80"]}, "db": {"networks": ["front"]}, "idle": {}},
}
WITHOUT_WEB = {**WORDS, "containers": {name: each for name, each in WORDS["containers"].items() if name != "web"}}

MARKS = ["", "mine", "wharf:db"]


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_that_is_changed_is_drift(host: ThrowawayHost, mark: str) -> None:
    with host.declared(WORDS):
        host.run(f"ip link set lo alias '{mark}'", "web")
        assert host.converge(WORDS) == [("veth", "update", "sandbox", "netns:web", "container")]
        assert host.json("ip -j link show lo", "web")[0]["ifalias"] == "wharf:web"


def wait_until_web_is_gone(host: ThrowawayHost) -> None:
    """The kernel takes a namespace apart a moment after it is deleted, and the host's ends of its links with it."""
    host.run("while ip link show type veth | grep -q wharf:web/; do sleep 0.05; done")


@pytest.mark.parametrize("mark", MARKS)
def test_a_stack_whose_mark_is_changed_goes_all_the_same(host: ThrowawayHost, mark: str) -> None:
    with host.declared(WORDS):
        host.run(f"ip link set lo alias '{mark}'", "web")
        host.converge(WITHOUT_WEB, EXACT)
        assert set(host.run("ls /run/netns").split()) == {"db", "idle"}
        host.run(f"ip link set lo alias '{mark}'", "db")


def test_a_stack_that_was_made_anew_is_set_up_as_declared(host: ThrowawayHost) -> None:
    with host.declared(WORDS):
        host.run("ip netns del web; ip netns add web")
        wait_until_web_is_gone(host)
        host.converge(WORDS)
        host.serve("web", "80/tcp")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"


def test_a_stack_that_was_made_anew_by_somebody_else_does_not_go(host: ThrowawayHost) -> None:
    host.apply(WORDS)
    host.run("ip netns del web; ip netns add web; ip -n web link add mine type bridge")
    wait_until_web_is_gone(host)
    host.converge(WITHOUT_WEB, EXACT)
    assert "mine" in host.run("ip -br link", "web")


# What makes the interface `eth0` somebody else's, and what takes that back.
IN_THE_WAY = {
    "ours has another name": (
        "ip link set eth0 down; ip link set eth0 name mine; ip link add eth0 type bridge",
        "ip link delete eth0",
    ),
    "ours is gone": ("ip link delete eth0; ip link add eth0 type bridge", "ip link delete eth0"),
    "it is another name": (
        "ip link delete eth0; ip link property add dev lo altname eth0",
        "ip link property del dev lo altname eth0",
    ),
    "the mark is changed": (
        "ip link delete eth0; ip link add eth0 type bridge; ip link set lo alias wharf:db",
        "ip link delete eth0",
    ),
}
LEFT_ALONE = (
    "wharf_containers.web.networks.front: web/front is pending: an interface eth0 that wharf.network does not manage "
    "is in /run/netns/web: delete it there, or take that name from it"
)


@pytest.mark.parametrize("way", IN_THE_WAY)
def test_an_interface_in_the_way_of_ours_is_reported_and_all_else_converges(host: ThrowawayHost, way: str) -> None:
    other = {**WORDS["containers"]["db"], "ports": ["8081:80"]}
    words = {**WORDS, "containers": {**WORDS["containers"], "db": other, "new": {"networks": ["front"]}}}
    done, undone = IN_THE_WAY[way]
    with host.declared(WORDS):
        host.run(done, "web")
        for run in (host.diff, host.apply):
            results = run(words)
            assert results.pending == ["web/front"]
            assert results.warnings == {LEFT_ALONE}
        assert host.observed()["pending"] == ["web/front"]
        host.serve("db", "80/tcp")
        assert host.probe("outside", f"{HOST_ADDRESS}:8081/tcp").by == "db"
        assert host.probe("new", f"{host.address('db', 'front')}:80/tcp").by == "db"
        host.converge(WORDS, EXACT)
        assert not host.probe("outside", f"{HOST_ADDRESS}:8081/tcp", False).is_open
        host.run(undone, "web")
        host.converge(WORDS)
        host.serve("web", "80/tcp")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"


@pytest.mark.parametrize("way", IN_THE_WAY)
def test_a_container_with_an_interface_in_the_way_of_ours_goes(host: ThrowawayHost, way: str) -> None:
    with host.declared(WORDS):
        host.run(IN_THE_WAY[way][0], "web")
        host.converge(WITHOUT_WEB, EXACT)
        assert set(host.run("ls /run/netns").split()) == {"db", "idle"}
        assert "wharf:web/" not in host.run("ip link show type veth")


def test_an_interface_that_is_renamed_gets_its_name_back(host: ThrowawayHost) -> None:
    with host.declared(WORDS):
        host.run("ip link set eth0 down; ip link set eth0 name mine", "web")
        (change,) = host.converge(WORDS)
        assert change[:4] == ("veth", "update", "endpoint", "web/front")
        assert "mine" not in host.run("ip -br link", "web")
        host.serve("web", "80/tcp")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"


def test_an_interface_that_is_moved_is_made_anew(host: ThrowawayHost) -> None:
    with host.declared(WORDS):
        host.run("ip -n web link set eth0 netns db name moved")
        printed = host.wharf("explain", "outside", "host:8080").output
        assert "to open: `wharf apply`, which restores endpoint web/front" in printed and "start web" not in printed
        host.converge(WORDS)
        assert "moved" not in host.run("ip -br link", "db")
        host.serve("web", "80/tcp")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"


def at(path: str) -> dict[str, Any]:
    return {"networks": {"front": {}}, "containers": {"web": {"networks": ["front"], "x-wharf": {"sandbox": path}}}}


def test_an_interface_in_the_way_of_a_new_one_is_an_error(host: ThrowawayHost) -> None:
    """Whoever declares it has to choose."""
    host.run("ip netns add box; ip -n box link add eth0 type bridge")
    before = host.snapshot()
    refused = "wharf_containers.web.networks.front: an interface eth0 is in /run/netns/box that wharf.network does not"
    with pytest.raises(EngineError, match=refused):
        host.apply(at("path:/run/netns/box"))
    assert differences(before, host.snapshot()) == ""


def test_one_that_was_declared_before_it_ran_is_no_error(host: ThrowawayHost) -> None:
    words = at("path:/run/netns/box")
    words["containers"]["db"] = {"networks": ["front"]}
    with host.declared(words):
        host.run("ip netns add box; ip -n box link add eth0 type bridge")
        assert host.apply(words).pending == ["web/front"]
        words["containers"]["new"] = {"networks": ["front"]}
        host.apply(words)
        assert host.probe("new", f"{host.address('db', 'front')}/ping").is_open
        host.run("ip -n box link delete eth0")
        host.converge(words)
        assert host.probe("new", f"{host.address('web', 'front')}/ping").is_open
        host.run("ip netns delete box; while ip link show type veth | grep -q wharf:web/; do sleep 0.05; done")


# Until the standard input is closed.
CHURN = """
    exec 3<&0 2>/dev/null
    cat <&3 &
    while kill -0 $!; do
        for _ in 1 2 3 4; do ip link del eth0; done
        ip link add eth0 type veth peer name z
    done
"""


def test_a_container_that_deletes_its_interface_all_the_time_concerns_it_alone(host: ThrowawayHost) -> None:
    with host.declared(WORDS):
        churn = host.start("web", "sh", "-c", CHURN)
        try:
            for number in range(4):
                more = {**WORDS["containers"], f"new{number}": {"networks": ["front"]}}
                results = host.apply({**WORDS, "containers": more})
                assert set(results.pending) <= {"web/front"}
                assert host.probe(f"new{number}", f"{host.address('db', 'front')}/ping").is_open
        finally:
            churn.communicate()
        host.run("ip link delete eth0 || true", "web")
        assert host.apply(WORDS, EXACT).pending == []
        assert host.probe("db", f"{host.address('web', 'front')}/ping").is_open


def test_others_are_connected_as_they_start(host: ThrowawayHost) -> None:
    late = {"networks": ["front"], "x-wharf": {"sandbox": "path:/run/netns/late"}}
    words = {**WORDS, "containers": {**WORDS["containers"], "late": late}}
    with host.declared(words), following(host) as process:
        host.run(IN_THE_WAY["ours is gone"][0], "web")
        host.run("ip netns add late")
        assert heard(process)["connected"] == {"path:/run/netns/late"}
        assert "eth0" in host.run("ip -br link", "late")
        host.run("ip netns delete late; while ip link show type veth | grep -q wharf:late/; do sleep 0.05; done")


def test_explain_says_that_a_container_has_no_default_route(host: ThrowawayHost) -> None:
    with host.declared(WORDS):
        host.run("ip route del default", "web")
        printed = host.wharf("explain", "outside", "host:8080").output
        assert printed.startswith("closed: outside -> host:8080 ") and "web has no route to the outside" in printed


# What is mended by the next run, as what is run in the container.
MENDED = {
    "an IPv6 address with another prefix length": "ip addr del $A6/64 dev eth0; ip addr add $A6/128 dev eth0 nodad",
    "an IPv4 address with another prefix length": "ip addr del $A4/16 dev eth0; ip addr add $A4/32 dev eth0",
    "our address with a peer": "ip addr del $A4/16 dev eth0; ip addr add $A4 peer 192.0.2.200/32 dev eth0",
    "our address with a peer in its network": "ip addr del $A4/16 dev eth0; ip addr add $A4 peer $G4/16 dev eth0",
    "our IPv6 address with a peer": "ip addr del $A6/64 dev eth0; ip addr add $A6 peer fd99::1/128 dev eth0 nodad",
    "another address with a peer": "ip addr add 192.0.2.200 peer 192.0.2.201/32 dev eth0",
    "another IPv6 address with a peer": "ip addr add fd99::2 peer fd99::1/128 dev eth0",
    "a default route with two next hops": "ip route replace default nexthop via $G4 nexthop via $B4",
    "an IPv6 default route with two next hops": "ip -6 route replace default nexthop via $G6 nexthop via $B6",
    "a default route by a nexthop group": (
        "ip nexthop add id 1 via $G4 dev eth0; ip nexthop add id 2 via $B4 dev eth0; ip nexthop add id 3 group 1/2; "
        "ip route replace default nhid 3"
    ),
    "an IPv6 default route by a nexthop": "ip nexthop add id 9 via $G6 dev eth0; ip -6 route replace default nhid 9",
    "another route by a nexthop": (
        "ip nexthop add id 1 via $G4 dev eth0; ip route add 192.0.2.0/28 nhid 1; "
        "ip nexthop add id 2 via $G6 dev eth0; ip -6 route add fd98::/64 nhid 2"
    ),
    "a route by a nexthop that is not reported": (
        "sysctl -qw net.ipv4.nexthop_compat_mode=0; "
        "ip nexthop add id 1 via $G4 dev eth0; ip route replace default nhid 1"
    ),
    "a route with a tos": "ip route add 192.0.2.0/28 via $G4 tos 0x10",
    "a default route with a tos beside ours": "ip route add default via $G4 tos 0x10",
    "a default route with a tos instead of ours": "ip route del default; ip route add default via $G4 tos 0x10",
    "an IPv6 route with a source": "ip -6 route add fd98::/64 from fd97::/64 via $G6",
    "a default route with another metric": "ip route del default; ip route add default via $G4 metric 7",
    "an IPv6 default route with another metric": "ip -6 route del default; ip -6 route add default via $G6 metric 7",
    "a default route of another protocol": "ip route replace default via $G4 proto 99",
    "a default route with a source": (
        "ip addr add 192.0.2.77/32 dev eth0; ip route replace default via $G4 src 192.0.2.77"
    ),
    "a default route that lets few bytes through": "ip route replace default via $G4 mtu 600",
    "a default route to nowhere": "ip route replace blackhole default; ip -6 route replace blackhole default",
    "the networks' own routes": "ip route del $N4; ip -6 route del $N6",
    "a parameter": "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1",
    "an MTU without IPv6": "ip link set eth0 mtu 1000",
}


@pytest.fixture(scope="module")
def peopled() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as host, host.declared(WORDS):
        yield host


def variables(host: ThrowawayHost, name: str = "web") -> str:
    """For a script in a container: its addresses and networks, its gateways, and the addresses of `db`."""
    networks = host.observed()["networks"]["front"]["subnets"]
    found = {
        "A4": host.address(name, "front"), "A6": host.address(name, "front", 6),
        "L4": "169.254.7.7", "L6": "fe80::7", "N4": networks[0], "N6": networks[1],
        "B4": host.address("db", "front"), "B6": host.address("db", "front", 6),
        "G4": host.json("ip -j route show default", "db")[0]["gateway"],
        "G6": host.json("ip -j -6 route show default", "db")[0]["gateway"],
    }  # fmt: skip
    return "".join(f"{key}={value}; " for key, value in found.items())


SEEN = "ip -j route; ip -j -6 route show table main; ip -j addr show eth0"


@pytest.mark.parametrize("way", MENDED)
def test_addresses_and_routes_become_again_what_is_declared(peopled: ThrowawayHost, way: str) -> None:
    before = settled(peopled.run(SEEN, "web"))
    peopled.run(variables(peopled) + MENDED[way], "web")
    changes = peopled.converge(WORDS)
    assert [change[:4] for change in changes] == [("veth", "update", "endpoint", "web/front")]
    assert settled(peopled.run(SEEN, "web")) == before
    peopled.run("ip nexthop flush; sysctl -qw net.ipv4.nexthop_compat_mode=1", "web")


def settled(listed: str) -> set[str]:
    """Routes and addresses, but for link-local ones and what the kernel numbers."""
    found = [each for line in listed.splitlines() for each in json.loads(line)]
    routes = [each for each in found if "dst" in each]
    addresses = [each for link in found for each in link.get("addr_info", [])]
    lasting = [
        each for each in (*routes, *addresses) if not str(each.get("dst", each.get("local"))).startswith("fe80:")
    ]
    return {
        json.dumps({k: v for k, v in each.items() if k not in ("flags", "metrics")}, sort_keys=True) for each in lasting
    }


# What is run in the container, with what undoes it, what remains pending, and what the warning says.
NOT_MENDED = {
    "a route to the gateway that leads nowhere": (
        "ip route add blackhole $G4 scope link; ip route del default", "ip route del blackhole $G4", "web/front",
        "endpoint web/front: adding the route 0.0.0.0/0 via .*: Invalid argument",
    ),
    "the gateway's own IPv6 address": (
        "ip addr add $G6/128 dev lo; ip -6 route del default", "ip addr del $G6/128 dev lo", "web/front",
        "endpoint web/front: adding the route ::/0 via .*: Invalid argument",
    ),
    "a parameter that keeps another from being set": (
        "sysctl -qw net.ipv4.ip_unprivileged_port_start=0 net.ipv4.ip_local_port_range='90 1000'",
        "sysctl -qw net.ipv4.ip_local_port_range='32768 60999'", "netns:web",
        "sysctl net.ipv4.ip_unprivileged_port_start=1024: the kernel does not take this value",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", NOT_MENDED)
def test_what_cannot_be_mended_in_a_container_concerns_it_alone(host: ThrowawayHost, way: str) -> None:
    done, undone, pending, why = NOT_MENDED[way]
    web = {**WORDS["containers"]["web"], "sysctls": {"net.ipv4.ip_unprivileged_port_start": "1024"}}
    words = {**WORDS, "containers": {**WORDS["containers"], "web": web}}
    more = {**words, "containers": {**words["containers"], "new": {"networks": ["front"]}}}
    with host.declared(words):
        script = variables(host)
        host.run(script + done, "web")
        for changes in ({"web", "new"}, set()):
            results = host.apply(more)
            assert results.pending == [pending]
            (warning,) = results.warnings
            said = rf"{pending} is pending: .*{why}.*: look for what else is set in /run/netns/web; "
            assert re.match(rf"wharf_containers\.web(\.networks\.front)?: {said}", warning)
            names = {change[3].split(":")[-1].split("/")[0] for change in results.changes if change[0] == "veth"}
            assert names == changes - {"web"}
        assert host.probe("new", f"{host.address('db', 'front')}/ping").is_open
        host.run(script + undone, "web")
        assert [change[3] for change in host.converge(more)] == [pending]
        assert host.probe("new", f"{host.address('web', 'front')}/ping").is_open


LEADS_NOWHERE = NOT_MENDED["a route to the gateway that leads nowhere"]
RATE = {"rate": {"ingress": "8mbit", "egress": "8mbit"}}
# What becomes of the network, and of web on it, in a run that has to mend the container's default route as well.
CHANGED_IN_PART: dict[str, Any] = {
    "at both ends": ({"driver_opts": {"com.docker.network.driver.mtu": "1400"}}, {}),
    "into a new link": ({}, {"interface_name": "eth7"}),
}


@pytest.mark.parametrize("how", CHANGED_IN_PART)
def test_an_endpoint_that_is_refused_is_what_it_was(host: ThrowawayHost, how: str) -> None:
    done, undone, pending, why = LEADS_NOWHERE
    network, attachment = CHANGED_IN_PART[how]
    web = {**WORDS["containers"]["web"], "networks": {"front": attachment}}
    words = {
        "networks": {"front": {**WORDS["networks"]["front"], **network}},
        "containers": {**WORDS["containers"], "web": web, "new": {"networks": ["front"]}},
    }
    with host.declared(WORDS):
        script = variables(host)
        host.run(script + done, "web")
        before = of("web", host_state(host))
        for _time in range(2):
            results = host.apply(words)
            assert results.pending == [pending]
            (warning,) = results.warnings
            assert re.search(rf"{pending} is pending: .*{why}.*; the next run tries again$", warning)
            assert pending not in [change[3] for change in results.changes]
            assert_same(before, lambda: of("web", host_state(host)))
            assert host.probe("new", f"{host.address('db', 'front')}/ping").is_open
        host.run(script + undone, "web")
        assert [change[3] for change in host.converge(words)] == [pending]
        assert host.probe("new", f"{host.address('web', 'front')}/ping").is_open


OPTIONS = {"com.docker.network.bridge.enable_icc": "false", "com.docker.network.bridge.name": "br-other"}
# Of the endpoint of `web` all that is on the host differs.
OTHER_ON_HOST = {
    "networks": {"front": {**WORDS["networks"]["front"], "driver_opts": OPTIONS}},
    "containers": {**WORDS["containers"], "web": {"networks": {"front": {"x-wharf": RATE}}}},
}


def is_other_on_host(host: ThrowawayHost) -> bool:
    veths = host.json("ip -d -j link show type veth")
    (link,) = (each for each in veths if each.get("ifalias") == "wharf:web/front")
    found = (link["master"], link["linkinfo"]["info_slave_data"]["isolated"])
    return found == ("br-other", True) and "rate 8Mbit" in host.run(f"tc qdisc show dev {link['ifname']}")


def test_who_has_a_change_refused_evades_nothing_that_the_host_sets_on_its_own_side(host: ThrowawayHost) -> None:
    """Else root in a container could keep what an admin takes away, for as long as it likes."""
    done, undone, pending, _why = LEADS_NOWHERE
    with host.declared(WORDS):
        script = variables(host)
        host.run(script + done, "web")
        for _time in range(2):
            assert host.apply(OTHER_ON_HOST).pending == [pending]
            assert is_other_on_host(host)
        host.run(script + undone, "web")
        assert [change[3] for change in host.converge(OTHER_ON_HOST)] == [pending]


def test_who_has_an_interface_in_the_way_evades_nothing_that_the_host_sets_on_its_own_side(host: ThrowawayHost) -> None:
    done, undone = IN_THE_WAY["ours has another name"]
    with host.declared(WORDS):
        host.run(done, "web")
        # The first time around the ledger learns what it then keeps.
        for words in (OTHER_ON_HOST, WORDS):
            host.apply(words, EXACT)
        before = host_state(host)
        for number in itertools.count(1, 5):
            refusal = host.refused(number, OTHER_ON_HOST, EXACT)
            if not refusal.failed or "all changes were made" in refusal.said:
                host.apply(WORDS, EXACT)
            assert_same(before, lambda: host_state(host), f"after {refusal.what} was refused, {refusal.said}")
            if not refusal.what:
                break
        predicted, results = host.diff(OTHER_ON_HOST), host.apply(OTHER_ON_HOST)
        assert results.pending == predicted.pending == ["web/front"]
        assert results.changes == predicted.changes
        of_web = [("veth", "update", "endpoint", "web/front", "port,ingress,egress")]
        assert [each for each in results.changes if each[3] == "web/front"] == of_web
        assert is_other_on_host(host)
        assert host.apply(OTHER_ON_HOST).changes == []
        host.run(undone, "web")
        host.converge(OTHER_ON_HOST)
        assert is_other_on_host(host)


def test_who_has_a_change_refused_does_not_keep_an_address_that_another_container_has_now(host: ThrowawayHost) -> None:
    done, undone, pending, why = LEADS_NOWHERE
    former = {"ipv4_address": "172.18.5.5"}
    before = {**WORDS, "containers": {**WORDS["containers"], "web": {"networks": {"front": former}}}}
    given = {"web": {"networks": {"front": {"ipv4_address": "172.18.7.7"}}}, "new": {"networks": {"front": former}}}
    words = {**WORDS, "containers": {**WORDS["containers"], **given}}
    with host.declared(before):
        script = variables(host)
        host.run(script + done, "web")
        results = host.apply(words)
        assert results.pending == [pending]
        (warning,) = results.warnings
        gone = r"not all of it was taken back: \S+: endpoint web/front was removed, since its link .*"
        assert re.search(rf"{pending} is pending: .*{why}.*; {gone}$", warning)
        assert "eth0" not in host.run("ip -br link", "web")
        assert host.probe("db", "172.18.5.5/ping").is_open
        host.run(script + undone, "web")
        assert [change[3] for change in host.converge(words)] == [pending]
        assert host.probe("new", "172.18.7.7/ping").is_open


def test_who_has_an_interface_in_the_way_does_not_keep_an_address_that_another_has_now(host: ThrowawayHost) -> None:
    done, undone = IN_THE_WAY["ours has another name"]
    former = {"ipv4_address": "172.18.5.5"}
    before = {**WORDS, "containers": {**WORDS["containers"], "web": {"networks": {"front": former}}}}
    given = {"web": {"networks": {"front": {"ipv4_address": "172.18.7.7"}}}, "new": {"networks": {"front": former}}}
    words = {**WORDS, "containers": {**WORDS["containers"], **given}}
    with host.declared(before):
        host.run(f"{done}; ip link set mine up", "web")
        assert host.observed()["containers"]["web"]["endpoints"]["front"]["addresses"][0] == "172.18.5.5/16"
        predicted, results = host.diff(words), host.apply(words)
        assert results.pending == predicted.pending == ["web/front"]
        assert results.changes == predicted.changes
        assert "mine" not in host.run("ip -br link", "web")
        assert host.probe("db", "172.18.5.5/ping").is_open
        assert host.apply(words).changes == []
        host.run(undone, "web")
        host.converge(words)
        assert host.probe("new", "172.18.7.7/ping").is_open


def test_an_interface_in_the_way_that_a_run_takes_away_itself(host: ThrowawayHost) -> None:
    """Of two interfaces of a container, one has the other's name as an alternative one; it is removed meanwhile."""
    networks = {**WORDS["networks"], "back": {}}
    both = {"networks": networks, "containers": {"web": {"networks": ["front", "back"]}}}
    one = {"networks": networks, "containers": {"web": {"networks": {"back": {"interface_name": "eth1"}}}}}
    with host.declared(both):
        names = {name: host.ledger()["allotted"]["endpoints"][f"web/{name}"]["interface"] for name in ("front", "back")}
        host.run(
            f"ip link set {names['back']} down; ip link set {names['back']} name mine; ip link set mine up; "
            f"ip link property add dev {names['front']} altname {names['back']}",
            "web",
        )
        one["containers"]["web"]["networks"]["back"]["interface_name"] = names["back"]
        results = host.apply(one, EXACT)
        assert set(results.pending) <= {"web/back"}
        host.converge(one, EXACT)
        links = host.run("ip -br link", "web")
        assert names["back"] in links and "mine" not in links and names["front"] not in links


# The container's own stack goes just before it is changed.
ENDS = """
import subprocess, sys
from engine.command import main
from engine.resources.links.sandboxes import Sandboxes

change = Sandboxes.apply

def apply(sandboxes, changes):
    subprocess.run(["ip", "netns", "del", "box"])
    return change(sandboxes, changes)

Sandboxes.apply = apply
sys.exit(main(["apply", "-", "--json"]))
"""


def test_a_stack_of_somebody_else_that_ends_before_it_is_changed_concerns_it_alone(host: ThrowawayHost) -> None:
    host.run("ip netns add box")
    words = at("path:/run/netns/box")
    words["containers"]["web"]["sysctls"] = {"net.core.somaxconn": "2048"}
    words["containers"]["db"] = {"networks": ["front"]}
    result = json.loads(host.python(ENDS, json.dumps(words)))
    assert {"path:/run/netns/box", "web/front"} <= {*result["pending"]}
    assert host.apply(words).changes == []
    host.run("ip netns add box; ip -n box link set lo up")
    host.converge(words)
    assert host.probe("db", f"{host.address('web', 'front')}/ping").is_open
    host.run("ip netns del box")
    wait_until_web_is_gone(host)
    host.apply({}, ABSENT)


def test_who_has_a_change_refused_does_not_keep_the_address_of_the_gateway(host: ThrowawayHost) -> None:
    """But a MAC that has long been another container's on another network."""
    done, undone, pending, _why = LEADS_NOWHERE
    mac = "02:42:ac:00:00:77"
    subnets = [{"subnet": "172.18.0.0/16", "gateway": "172.18.0.1"}, {"subnet": "fd00:18::/64"}]
    front = {**WORDS["networks"]["front"], "ipam": {"config": subnets}}
    web = {"ipv4_address": "172.18.5.5", "mac_address": mac}
    others = {**WORDS["containers"], "far": {"networks": {"back": {"mac_address": mac}}}}
    before = {"networks": {"front": front, "back": {}}, "containers": {**others, "web": {"networks": {"front": web}}}}

    def words(attachment: Any, gateway: str = "172.18.0.1") -> Any:
        config = [{**subnets[0], "gateway": gateway}, subnets[1]]
        networks = {**before["networks"], "front": {**front, "ipam": {"config": config}}}
        return {"networks": networks, "containers": {**others, "web": {"networks": {"front": attachment}}}}

    with host.declared(before):
        script = variables(host)
        host.run(script + done, "web")
        given_up = words({"ipv4_address": "172.18.5.5"})
        assert host.apply(given_up).pending == [pending]
        assert mac in host.run("ip -br link show eth0", "web")
        moved = words({"ipv4_address": "172.18.7.7"}, gateway="172.18.5.5")
        host.run("ip route add blackhole 172.18.5.5 scope link", "web")
        assert host.apply(moved).pending == [pending]
        assert "eth0" not in host.run("ip -br link", "web")
        host.run(f"{script}{undone}; ip route del blackhole 172.18.5.5", "web")
        host.converge(moved)
        assert host.probe("db", "172.18.7.7/ping").is_open


def test_a_stack_in_which_one_parameter_is_refused_has_all_as_they_were(host: ThrowawayHost) -> None:
    """In the stack of a third party also where they are to be given back."""
    done, undone, _pending, why = NOT_MENDED["a parameter that keeps another from being set"]
    sysctls = {"net.core.somaxconn": "2048", "net.ipv4.ip_unprivileged_port_start": "1024"}
    box = {"x-wharf": {"sandbox": "path:/run/netns/box"}}
    host.run("ip netns add box")
    lower = {**sysctls, "net.ipv4.ip_unprivileged_port_start": "80"}
    words = {"containers": {"web": {}, "box": {**box, "sysctls": lower}}}
    changed = {"containers": {"web": {"sysctls": sysctls}, "box": box}}
    with host.declared(words):
        before = {}
        for name in ("web", "box"):
            host.run(done + "; ip link set lo down", name)
            before[name] = parameters(host, name)
        for _time in range(2):
            results = host.apply(changed, EXACT)
            assert {*results.pending} == {"netns:web", "path:/run/netns/box"}
            assert len(results.warnings) == len([each for each in results.warnings if re.search(why, each)]) == 2
            for name in ("web", "box"):
                assert parameters(host, name) == before[name]
        for name in ("web", "box"):
            host.run(undone, name)
        host.converge(changed, EXACT)
        assert parameters(host, "web") == {**dict(sysctls), "lo": True}
    host.run("ip netns delete box")


def parameters(host: ThrowawayHost, name: str) -> dict[str, Any]:
    """Of a container, those that the tests of this file declare, and whether its loopback is up."""
    names = ("net.core.somaxconn", "net.ipv4.ip_unprivileged_port_start")
    (loopback,) = host.json("ip -j link show lo", name)
    return {**{each: host.sysctl(each, name) for each in names}, "lo": "UP" in loopback["flags"]}


def test_a_container_in_which_nothing_can_be_set_goes_all_the_same(host: ThrowawayHost) -> None:
    with host.declared(WORDS):
        host.run(variables(host) + NOT_MENDED["a route to the gateway that leads nowhere"][0], "web")
        host.converge(WITHOUT_WEB, EXACT)


def test_a_stack_of_somebody_else_in_which_nothing_can_be_set_goes_without(host: ThrowawayHost) -> None:
    """Its endpoint is rolled back, so that no half of it is left; the parameter that cannot be given back waits."""
    words = at("path:/run/netns/box")
    words["containers"]["db"] = {"networks": ["front"]}
    host.run("ip netns add box")
    blocked = "ip route add blackhole {} scope link"
    with host.declared(at("path:/run/netns/box")):
        gateway = host.json("ip -j route show default", "box")[0]["gateway"]
    host.run(blocked.format(gateway), "box")
    with host.declared({**words, "containers": {"db": words["containers"]["db"]}}):
        results = host.apply(words)
        assert results.pending == ["web/front"]
        assert "eth0" not in host.run("ip -br link", "box")
        assert host.apply(words).changes == []
        host.run(f"ip route del blackhole {gateway}", "box")
        assert [change[1:4] for change in host.converge(words)] == [("create", "endpoint", "web/front")]
        host.converge(words)
        host.run("ip netns delete box; while ip link show type veth | grep -q wharf:web/; do sleep 0.05; done")


def test_routes_that_are_flushed_come_back(host: ThrowawayHost) -> None:
    """Also those to the networks, by which all others lead."""
    seen = "ip -j route; ip -j -6 route show table main"
    with host.declared(WORDS):
        before = host.run(seen, "web")
        host.run("ip route flush dev eth0; ip -6 route flush dev eth0", "web")
        assert host.converge(WORDS) == [("veth", "update", "endpoint", "web/front", "routes")]
        assert routes_of_ours(host.run(seen, "web")) == routes_of_ours(before)
        assert host.probe("web", f"{host.address('db', 'front')}/ping").is_open
        assert host.probe("web", f"[{host.address('db', 'front', 6)}]/ping").is_open


def routes_of_ours(listed: str) -> set[str]:
    """All but those to link-local addresses."""
    found = [route for line in listed.splitlines() for route in json.loads(line)]
    return {json.dumps(route, sort_keys=True) for route in found if not route["dst"].startswith("fe80:")}


USUAL = 6
EXAMPLES = int(os.environ.get("WHARF_EXAMPLES", USUAL))
PHASES = [Phase.explicit, Phase.generate, *([Phase.shrink] if EXAMPLES > USUAL else [])]

BOTH = {
    "front": {"interface_name": "eth0", "link_local_ips": ["169.254.7.7", "fe80::7"]},
    "back": {"interface_name": "eth1", "link_local_ips": ["169.254.8.8"]},
}
SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "1024", "net.ipv6.conf.eth0.mtu": "1300"}
PEOPLED: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True}, "back": {}},
    "containers": {
        "web": {"networks": BOTH, "sysctls": SYSCTLS, "ports": ["8080:80"]},
        "box": {"networks": BOTH, "sysctls": SYSCTLS, "x-wharf": {"sandbox": "path:/run/netns/box"}},
        "db": {"networks": ["front"]},
    },
}
CHANGED: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True, "driver_opts": {"com.docker.network.driver.mtu": "1400"}}, "back": {}},
    "containers": {**PEOPLED["containers"], "db": {"networks": ["front"], "ports": ["8081:80"]}, "new": {}},
}


class Others:
    """What an undisturbed host has of `PEOPLED` and `CHANGED`, and of nothing."""

    def __init__(self, host: ThrowawayHost) -> None:
        self.host = host
        host.run("ip netns add box")
        host.apply(PEOPLED)
        host.apply({}, ABSENT)
        self.nothing = host_state(host)
        host.converge(PEOPLED)
        self.variables = {name: variables(host, name) for name in ("web", "box")}
        self.peopled = host_state(host)
        host.converge(CHANGED)
        self.changed = host_state(host)
        self.leave()

    def leave(self) -> None:
        """Take everything down, and have a stack in which nobody has done anything."""
        self.host.apply({}, ABSENT)
        self.host.run("ip netns delete box; ip netns add box")
        assert_same(without("box", self.nothing), lambda: without("box", host_state(self.host)))


def without(place: str, found: dict[str, Any]) -> dict[str, Any]:
    """All that is not inside of the container, nor led into it, nor in the ledger."""
    host_parameters = [each for each in found["host parameters"] if "/veth" not in each]
    return {
        key: value
        for key, value in {**found, "host parameters": host_parameters}.items()
        if key != LEDGER and not key.startswith(f"{place} ") and f'"wharf:{place}/' not in json.dumps(value)
    }


def of(place: str, found: dict[str, Any]) -> dict[str, Any]:
    """All that is inside of the container, and the links that lead into it, with their queues."""
    besides = without(place, found).keys() - {"host queues"}
    return {key: value for key, value in found.items() if key not in besides and key != LEDGER}


@pytest.fixture(scope="module")
def others() -> Iterator[Others]:
    with ThrowawayHost.started() as host:
        yield Others(host)


@settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)  # fmt: skip
@given(place=st.sampled_from(["web", "box"]), script=scripts(), is_changed=st.booleans())
def test_whatever_root_does_in_a_container_concerns_it_alone(
    others: Others, place: str, script: list[str], is_changed: bool
) -> None:
    """Everything else becomes what is declared, and a teardown leaves nothing."""
    host = others.host
    words, expected = (CHANGED, others.changed) if is_changed else (PEOPLED, others.peopled)
    own = {f"{place}/front", f"{place}/back", f"netns:{place}", f"path:/run/netns/{place}"}
    host.apply(PEOPLED)
    try:
        commands = "".join(f"{{ {each}; }} >/dev/null 2>&1 || true\n" for each in script)
        host.run(others.variables[place] + commands, place)
        host.apply(words)
        results = host.apply(words)
        assert results.changes == []
        assert {*results.pending} <= own
        for each in results.pending:
            assert any(each in warning for warning in results.warnings)
        assert_same(without(place, expected), lambda: without(place, host_state(host)))
        assert host.probe("db", f"{host.json('ip -j route show default', 'db')[0]['gateway']}/ping").is_open
    finally:
        others.leave()
