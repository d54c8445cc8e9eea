# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks over several hosts: as hosts come and go, as what is declared changes, and as somebody breaks something.

How a network is made is the same for all backends of the firewall; test_overlay.py has their rules.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from host_state import assert_same, host_state
from hosts import ABSENT, EXACT, LEDGER, EngineError
from runners import ENGINE
from several_hosts import (
    STRANGER,
    SUBNETS,
    UNDERLAY,
    SeveralHosts,
    address,
    container_address,
    declare,
    members,
    open_to,
    resolved,
)

VERIFY = """
import json
from engine.verification import Request, verify
print("\\n".join(verify(Request()).as_data()["report"]))
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[SeveralHosts]:
    with SeveralHosts.started(3) as started, ExitStack() as stack:
        for name, words in declare(started).items():
            stack.enter_context(started[name].declared(words))
        yield started


def test_an_address_that_changes_changes_nothing_elsewhere(hosts: SeveralHosts) -> None:
    other, words = hosts["h2"], declare(hosts)["h2"]
    words["containers"]["c2"] = {"networks": {"app": {"ipv4_address": "10.20.2.77"}}}
    other.converge(words)
    assert "10.20.2.77" in resolved(hosts["h1"], "c1", "c2")
    other.converge(declare(hosts)["h2"])
    words["containers"]["c2"] = {"networks": {"app": {"ipv4_address": container_address(2)}}}
    other.converge(words)
    assert container_address(2) in resolved(hosts["h1"], "c1", "c2")
    other.converge(declare(hosts)["h2"])


def test_verify_asks_the_other_hosts(hosts: SeveralHosts) -> None:
    """By small packets and by the largest, which do not pass where something on the way is not as large."""
    host = hosts["h1"]
    said = host.run(shlex.join([*ENGINE, "-c", VERIFY]))
    assert said.count("host h2, of network app") == 4 and "✗" not in said, said
    assert "10.20.2.1/ping of 1450 bytes" in said
    hosts.first.run("ip link set h2 mtu 1400", UNDERLAY)
    wrong = [line for line in host.run(shlex.join([*ENGINE, "-c", VERIFY])).splitlines() if line.startswith("✗")]
    hosts.first.run("ip link set h2 mtu 1500", UNDERLAY)
    assert len(wrong) == 2 and all("host h2, of network app, by its MTU" in line for line in wrong), wrong


def test_explain_goes_as_far_as_the_tunnel(hosts: SeveralHosts) -> None:
    """The rest is asked of the other host, where a packet that did not come by the tunnel is another one."""
    explain = shlex.join([*ENGINE, "-m", "engine.command", "explain"])
    said = hosts["h1"].run(f"{explain} c1 {container_address(2)}:80")
    assert said.startswith("open: ") and "the packet leaves the host by vx-app, to 10.20.2.0" in said, said
    assert "closed: " in hosts["h1"].run(f"{explain} o1 {container_address(2)}:80 || true")
    # Its resolver answers whoever is on the network.
    assert "open: c1 -> c2:80 ([fd00:20:0:2::2]:80/tcp): " in hosts["h1"].run(f"{explain} c1 c2:80")
    assert '"c2": is a container of host h2, on network app' in hosts["h1"].run(f"{explain} o1 c2:80 2>&1 || true")
    assert hosts["h2"].run(f"{explain} {container_address(1)} c2:80").startswith("open: ")


def test_what_an_admin_breaks_is_mended(hosts: SeveralHosts) -> None:
    """Exactly what was taken away, as check mode predicts."""
    host, words = hosts["h1"], declare(hosts)["h1"]
    tunnel = ("bridge", "update", "tunnel", "vx-app")
    forward = host.json("bridge -j fdb show dev vx-app")[0]
    for broken, fields in {
        "ip link set vx-app down": "routes,neighbours,up",
        "ip link set vx-app mtu 1300": "mtu",
        "ip route del 10.20.2.0/24": "routes",
        "ip neigh del 10.20.2.0 dev vx-app": "neighbours",
        f"bridge fdb del {forward['mac']} dst {forward['dst']} dev vx-app": "forwards",
        f"bridge fdb append 02:00:00:00:00:99 dst {address(9)} dev vx-app": "forwards",
    }.items():
        host.run(broken)
        made = host.converge(words)
        assert [each[:4] for each in made] == [tunnel], broken
        assert set(made[0][4].split(",")) >= set(fields.split(",")), (broken, made)
        assert open_to(host, "c1", f"{container_address(2)}/ping"), broken
    host.run("ip route del unreachable 10.20.0.0/16")
    assert host.converge(words) == [("bridge", "create", "route", "10.20.0.0/16")]
    host.run("ip link del vx-app")
    assert host.converge(words) == [("bridge", "create", "tunnel", "vx-app")]
    assert open_to(host, "c1", f"{container_address(2)}/ping")


def test_nothing_leaves_elsewhere_while_the_tunnel_is_down(hosts: SeveralHosts) -> None:
    host = hosts["h1"]
    count = "nft add table inet c; nft add chain inet c p '{ type filter hook prerouting priority raw; }'; "
    for place in ("outside", STRANGER):
        host.run(f"{count} nft add rule inet c p ip daddr 10.20.0.0/16 counter", place)
    host.run("ip link set vx-app down")
    host.run(f"ip netns exec c1 ping -c2 -i0.2 -W1 {container_address(2)} || true")
    host.run(f"ping -c2 -i0.2 -W1 {container_address(2)} || true")
    for place in ("outside", STRANGER):
        assert "packets 0 " in host.run("nft list table inet c", place), place
        host.run("nft delete table inet c", place)
    host.converge(declare(hosts)["h1"])


def test_a_host_comes_and_goes(hosts: SeveralHosts) -> None:
    """Of the others' objects, only what they have of it changes; their containers are not touched."""
    host, words = hosts["h1"], declare(hosts)["h1"]
    more = members(3) | {"h9": {"address": address(9), "index": 9, "names": ["c9"]}}
    words["networks"]["app"]["x-wharf"]["members"] = more
    made = host.converge(words)
    assert {each[:3] for each in made} <= {
        ("bridge", "update", "tunnel"),
        ("docker_chains", "update", "rules"),
        ("docker_chains", "update", "iptables_rules"),
        ("dnsmasq", "update", "file"),
        ("dnsmasq", "update", "dnsmasq"),
    }
    assert "10.20.9.0/24" in host.run("ip route")
    host.converge(declare(hosts)["h1"])
    assert "10.20.9.0/24" not in host.run("ip route")
    assert address(9) not in host.run("bridge fdb show dev vx-app")


def test_the_order_of_an_inventory_changes_nothing(hosts: SeveralHosts) -> None:
    words = declare(hosts)["h1"]
    extension = words["networks"]["app"]["x-wharf"]
    extension["members"] = dict(reversed(extension["members"].items()))
    assert hosts["h1"].converge(words) == []


def test_another_identifier_and_another_slice(hosts: SeveralHosts) -> None:
    """Changed in place; back again, all is as it was."""
    host, words = hosts["h3"], declare(hosts)["h3"]
    words["networks"]["app"]["driver_opts"] = {"com.docker.network.driver.overlay.vxlanid_list": "5001"}
    host.converge(words)
    assert "vxlan id 5001" in host.run("ip -d link show vx-app")
    host.converge(declare(hosts)["h3"])
    assert open_to(host, "c3", f"{container_address(1)}/ping")


def test_a_bridge_becomes_an_overlay_and_back(hosts: SeveralHosts) -> None:
    """With the whole subnet on the bridge, to which each slice has a route instead."""
    host, words = hosts["h3"], declare(hosts)["h3"]
    network = {key: value for key, value in words["networks"]["app"].items() if key not in ("driver_opts", "x-wharf")}
    host.converge({**words, "networks": {**words["networks"], "app": {**network, "driver": "bridge"}}})
    assert "vx-app" not in host.run("ip link")
    host.converge(words)
    assert open_to(host, "c3", f"{container_address(1)}/ping")


def test_who_is_in_the_way_of_a_tunnel_is_reported(hosts: SeveralHosts) -> None:
    """Also one that the host's links do not show: in another namespace, as Docker Swarm's, or at the UDP port."""
    host, words = hosts["h3"], declare(hosts)["h3"]
    app = words["networks"]["app"]
    host.run("ip netns add box; ip link add vx-admin type vxlan id 77 dstport 4789; ip link set vx-admin netns box")
    words["networks"]["app"] = {**app, "driver_opts": {"com.docker.network.driver.overlay.vxlanid_list": "77"}}
    with pytest.raises(EngineError, match=r"another one by com.*vxlanid_list; all changes of this run were taken back"):
        host.apply(words)
    host.run("ip -n box link del vx-admin; ip netns del box")
    host.run("ip link add vx-admin type vxlan external dstport 4790; ip link set vx-admin up")
    words["networks"]["app"] = {**app, "x-wharf": {**app["x-wharf"], "data_path_port": 4790}}
    with pytest.raises(EngineError, match=r"another x-wharf.data_path_port; all changes of this run were taken back"):
        host.apply(words)
    host.run("ip link del vx-admin")
    host.converge(declare(hosts)["h3"])


def test_a_route_of_a_third_party_is_reported(hosts: SeveralHosts) -> None:
    """Before anything is touched, if the kernel would have that of wharf.network in its place."""
    host, words = hosts["h3"], declare(hosts)["h3"]
    words["networks"]["app"]["x-wharf"]["members"] = members(3) | {"h9": {"address": address(9), "index": 9}}
    for route, message in {
        f"10.20.9.0/24 via {address(9)}": f"overlaps 10.20.9.0/24, to which the host has a route by {address(9)}",
        "fd00:20:0:9::/64 dev eth1": "overlaps fd00:20:0:9::/64, the host's own network on eth1",
        "unreachable 10.20.9.0/24": "networks.app: the host has a route to 10.20.9.0/24 already: remove it",
        "blackhole fd00:20:0:9::/64": "networks.app: the host has a route to fd00:20:0:9::/64 already: remove it",
    }.items():
        host.run(f"ip route add {route}")
        before = host_state(host)
        with pytest.raises(EngineError, match=message):
            host.apply(words)
        assert host_state(host) == before
        host.run(f"ip route del {route}")
    host.run("ip route add prohibit 10.20.9.0/24 metric 50")
    host.converge(words)
    host.converge(declare(hosts)["h3"])
    host.run("ip route del prohibit 10.20.9.0/24 metric 50")


def test_a_lost_ledger_is_recovered(hosts: SeveralHosts) -> None:
    host, words = hosts["h3"], declare(hosts)["h3"]
    host.apply(words)
    before = host_state(host)
    host.run("rm /var/lib/wharf/ledger.json")
    with pytest.raises(EngineError, match="is lost, but objects of wharf.network exist on this host"):
        host.apply(words)
    host.engine(["apply", "-", "--recover"], words)
    kinds = ("tunnel", "route")
    assert {tuple(each) for each in host.ledger()["owned"]["bridge"] if each[0] in kinds} == {
        ("tunnel", "vx-app"),
        *(("route", each) for each in SUBNETS),
    }
    del before[LEDGER]
    assert_same(before, lambda: {key: value for key, value in host_state(host).items() if key != LEDGER}, "than before")


def test_teardown_of_all_hosts(hosts: SeveralHosts) -> None:
    """One host's network goes, and the others stay as they are."""
    host = hosts["h3"]
    host.converge({"networks": {}, "containers": {}}, EXACT)
    assert "vx-app" not in host.run("ip link") and "10.20." not in host.run("ip route")
    assert open_to(hosts["h1"], "c1", f"{container_address(2)}/ping")
    host.converge({}, ABSENT)
    host.converge(declare(hosts)["h3"])
