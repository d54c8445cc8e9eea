# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks over several hosts: who reaches whom, who does not, and what happens as hosts come and go."""

from __future__ import annotations

import re
import shlex
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from typing import Any

import pytest
from hosts import ABSENT, ENGINE, EXACT, LEDGER, EngineError, ThrowawayHost
from several_hosts import STRANGER, UNDERLAY, SeveralHosts, address
from standing import assert_same, standing

SUBNETS = ["10.20.0.0/16", "fd00:20::/48"]
NETWORK: dict[str, Any] = {"enable_ipv6": True, "ipam": {"config": [{"subnet": each} for each in SUBNETS]}}
VNI = 4097
WITH_VNI = {**NETWORK, "driver_opts": {"com.docker.network.driver.overlay.vxlanid_list": str(VNI)}}
BACKENDS = ["nftables", "iptables"]


def members(count: int, version: int = 4) -> dict[str, Any]:
    return {
        f"h{number}": {"address": address(number, version), "index": number, "names": [f"c{number}"]}
        for number in range(1, count + 1)
    }


def declare(hosts: SeveralHosts, network: dict[str, Any] = WITH_VNI, version: int = 4, **more: Any) -> dict[str, Any]:
    """The words of each host, which has one container on the network, and one on a network of its own."""
    others = {"networks": {"other": {"x-wharf": {"dns": False}}}}
    return {
        name: hosts.words(
            name,
            members(len(hosts.by_name), version),
            network,
            **{key: dict(value) for key, value in others.items()},
            containers={f"c{name[1:]}": {"networks": ["app"]}, f"o{name[1:]}": {"networks": ["other"]}},
            **more,
        )
        for name in hosts.by_name
    }


def container_address(number: int, version: int = 4) -> str:
    return f"10.20.{number}.2" if version == 4 else f"fd00:20:0:{number}::2"


@pytest.fixture(scope="module", params=BACKENDS)
def hosts(request: pytest.FixtureRequest) -> Iterator[SeveralHosts]:
    with SeveralHosts.started(3, backend=request.param) as started, ExitStack() as stack:
        for name, words in declare(started).items():
            stack.enter_context(started[name].declared(words))
        yield started


def open_to(host: ThrowawayHost, place: str, target: str, expected: bool = True) -> bool:
    return host.probe(place, target, expected).is_open


def test_containers_reach_each_other_as_themselves(hosts: SeveralHosts) -> None:
    """By address in both families, on all hosts, and nobody puts another address in the place of theirs."""
    for number, host in enumerate(hosts.by_name.values(), 1):
        host.serve(f"c{number}", "8000/tcp")
        for version in (4, 6):
            for other in {1, 2, 3} - {number}:
                asking = list(hosts.by_name.values())[other - 1]
                target = f"[{container_address(number, version)}]:8000/tcp"
                answer = asking.probe(f"c{other}", target)
                assert answer.by == f"c{number}", (asking, target, str(answer))
                seen, _colon, _port = answer.sees.rpartition(":")
                assert container_address(other, version) in answer.sees, seen
        host.agent.call("stop_all")


def test_the_host_itself_reaches_them(hosts: SeveralHosts) -> None:
    hosts["h2"].serve("c2", "8000/tcp")
    answer = hosts["h1"].probe("host", f"{container_address(2)}:8000/tcp")
    assert answer.by == "c2" and "10.20.1.1" in answer.sees, str(answer)
    hosts["h2"].agent.call("stop_all")


def test_nobody_else_reaches_them(hosts: SeveralHosts) -> None:
    """Neither other networks of any host, nor neighbours of its LANs that route the network by a host."""
    host, other = hosts["h1"], hosts["h2"]
    host.serve("c1", "8000/tcp")
    other.serve("c2", "8000/tcp")
    for version in (4, 6):
        first, second = container_address(1, version), container_address(2, version)
        subnet = SUBNETS[version == 6]
        by = f"ip route replace {subnet} via {address(1, version)}"
        host.run(by, STRANGER)
        for target in (first, second):
            for place in ("neighbour", "outside", STRANGER):
                assert not open_to(host, place, f"[{target}]:8000/tcp", False), (place, target)
    for target in (container_address(1), container_address(2)):
        assert not open_to(host, "o1", f"{target}:8000/tcp", False), target
    for each in (host, other):
        each.agent.call("stop_all")


def test_containers_do_not_reach_other_hosts_by_it(hosts: SeveralHosts) -> None:
    """Neither another host's services, by whichever of its addresses, nor its other networks, nor what is beyond it."""
    host, other = hosts["h1"], hosts["h2"]
    other.serve("host", "8022/tcp")
    other.serve("o2", "8000/tcp")
    other.run("ip route add 172.31.0.0/24 dev lo || true")
    assert not open_to(host, "c1", "10.20.2.1:8022/tcp", False)
    beyond = other.address("o2", "other")
    # As a container could that is root on its host: its packets for another network are sent through the tunnel.
    host.run(f"ip route add {beyond}/32 via 10.20.2.0 dev vx-app onlink")
    assert not open_to(host, "c1", f"{beyond}:8000/tcp", False)
    host.run(f"ip route del {beyond}/32")
    assert open_to(host, "c1", "10.20.2.1/ping")
    other.run("ip route del 172.31.0.0/24 dev lo")
    other.agent.call("stop_all")


def resolved(host: ThrowawayHost, place: str, name: str) -> set[str]:
    script = f"import socket; print(*sorted({{each[4][0] for each in socket.getaddrinfo({name!r}, 80)}}))"
    ran = host.run(f"ip netns exec {place} python3 -c '{script.replace(chr(39), chr(34))}' 2>/dev/null || true")
    return set(ran.split())


def test_names_answer_across_hosts(hosts: SeveralHosts) -> None:
    """Short and in the network's domain, in both families, and the other way around; the owner answers."""
    host = hosts["h1"]
    both = {container_address(2), container_address(2, 6)}
    assert resolved(host, "c1", "c2") == resolved(host, "c1", "c2.app") == both
    assert resolved(host, "c1", "nobody") == set()
    for version in (4, 6):
        script = f'import socket; print(socket.gethostbyaddr("{container_address(2, version)}")[0])'
        assert host.run(f"ip netns exec c1 python3 -c '{script}'").strip() == "c2.app"
    # Who is on other networks is told of no name here.
    assert resolved(host, "c1", "o2") == set()


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


# Packets that are not the kernel's own


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def vxlan(mac: str, source: str, destination: str, port: int = 9999, vni: int = VNI) -> bytes:
    """A VXLAN packet, behind its UDP header, with a datagram to a container."""
    udp = struct.pack("!HHHH", 4242, port, 8 + 4, 0) + b"evil"
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
        IPv4Address(source).packed, IPv4Address(destination).packed,
    )  # fmt: skip
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    frame = bytes.fromhex(mac.replace(":", "")) + b"\x02\0\0\0\0\x01" + b"\x08\0" + header + udp
    return struct.pack("!II", 0x08000000, vni << 8) + frame


def send(host: ThrowawayHost, place: str, payload: bytes, to: str) -> None:
    family = "AF_INET6" if ":" in to else "AF_INET"
    script = (
        f"import socket; s = socket.socket(socket.{family}, socket.SOCK_DGRAM); "
        f"[s.sendto(bytes.fromhex('{payload.hex()}'), ('{to}', 4789)) for _ in range(3)]"
    )
    host.run(f'python3 -c "{script}"', place)


def came(host: ThrowawayHost, container: str) -> int:
    """How many datagrams came to a container at which nobody listens."""
    table = host.run(f"ip netns exec {container} cat /proc/net/snmp")
    names, values = (line.split() for line in table.splitlines() if line.startswith("Udp:"))
    return int(values[names.index("NoPorts")])


def arrives(hosts: SeveralHosts, place: str, payload: bytes, by: str = "h1", version: int = 4) -> bool:
    """Whether what is sent to the second host, from a place of another one, comes to its container."""
    before = came(hosts["h2"], "c2")
    send(hosts[by], place, payload, address(2, version))
    hosts["h2"].run("sleep 0.1")
    return came(hosts["h2"], "c2") > before


def mac_of(hosts: SeveralHosts, name: str) -> str:
    return str(hosts[name].json("ip -j link show vx-app")[0]["address"])


def test_vxlan_of_a_stranger_is_dropped(hosts: SeveralHosts) -> None:
    """Whatever it says is in it; and what a peer sends comes, or this test would prove nothing."""
    mac = mac_of(hosts, "h2")
    good = vxlan(mac, "10.20.1.9", container_address(2))
    assert arrives(hosts, "host", good)
    assert not arrives(hosts, STRANGER, good)


def test_a_source_outside_the_slices_of_peers_is_dropped(hosts: SeveralHosts) -> None:
    mac = mac_of(hosts, "h2")
    for source in ("10.20.2.9", "10.20.2.1", "10.20.9.9", "192.0.2.1", "8.8.8.8", "127.0.0.1"):
        assert not arrives(hosts, "host", vxlan(mac, source, container_address(2))), source
    assert arrives(hosts, "host", vxlan(mac, "10.20.3.9", container_address(2)))


def test_a_container_cannot_send_vxlan_by_its_host(hosts: SeveralHosts) -> None:
    """Masqueraded, it would look like its host's own, which is a peer."""
    good = vxlan(mac_of(hosts, "h2"), "10.20.1.9", container_address(2))
    for container in ("c1", "o1"):
        assert not arrives(hosts, container, good), container
    if hosts["h1"].backend != "nftables":
        return
    # Without the rule it would.
    listed = hosts["h1"].run("nft -a list chain inet wharf raw-prerouting")
    handles = re.findall(r'VXLAN of a container" # handle (\d+)|VXLAN of a stranger" # handle (\d+)', listed)
    assert len(handles) == 2
    for first, second in handles:
        hosts["h1"].run(f"nft delete rule inet wharf raw-prerouting handle {first or second}")
    assert arrives(hosts, "o1", good)
    assert hosts["h1"].converge(declare(hosts)["h1"]) != []
    assert not arrives(hosts, "o1", good)


def test_vxlan_of_others_is_let_alone(hosts: SeveralHosts) -> None:
    """Another identifier at the same port: a third party's, and nobody's here to drop."""
    other = hosts["h2"]
    other.run("ip link add vx-admin type vxlan id 77 local 198.18.0.2 dstport 4789 && ip link set vx-admin up")
    before = int(other.json("ip -j -s link show vx-admin")[0]["stats64"]["rx"]["packets"])
    send(hosts.first, STRANGER, vxlan(mac_of(hosts, "h2"), "10.9.0.1", "10.9.0.2", vni=77), address(2))
    other.run("sleep 0.1")
    assert int(other.json("ip -j -s link show vx-admin")[0]["stats64"]["rx"]["packets"]) > before
    other.run("ip link del vx-admin")


# What is there, and what comes of it


def test_largest_packets(hosts: SeveralHosts) -> None:
    """1450 bytes, since VXLAN costs 50: they pass unfragmented, and one more does not."""
    host = hosts["h1"]
    for version, payload in ((4, 1422), (6, 1402)):
        ping = f"ip netns exec c1 ping -c1 -W1 -M do {container_address(2, version)} -s"
        host.run(f"{ping} {payload}")
        assert "1 received" not in host.run(f"{ping} {payload + 1} || true")


VERIFY = """
import json
from engine.verification import Request, verify
print("\\n".join(verify(Request()).as_data()["report"]))
"""


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


def test_a_lost_ledger_is_recovered(hosts: SeveralHosts) -> None:
    host, words = hosts["h3"], declare(hosts)["h3"]
    host.apply(words)
    before = standing(host)
    host.run("rm /var/lib/wharf/ledger.json")
    with pytest.raises(EngineError, match="is lost, but objects of wharf.network exist on this host"):
        host.apply(words)
    host.engine(["apply", "-", "--recover"], _with_backend(host, words))
    kinds = ("tunnel", "route")
    assert {tuple(each) for each in host.ledger()["owned"]["bridge"] if each[0] in kinds} == {
        ("tunnel", "vx-app"),
        *(("route", each) for each in SUBNETS),
    }
    del before[LEDGER]
    assert_same(before, lambda: {key: value for key, value in standing(host).items() if key != LEDGER}, "than before")


def _with_backend(host: ThrowawayHost, words: dict[str, Any]) -> dict[str, Any]:
    return {**words, "host": {"firewall-backend": host.backend}}


# Networks of other shapes


@pytest.mark.parametrize("backend", BACKENDS)
def test_over_ipv6_with_jumbo_frames(backend: str) -> None:
    with SeveralHosts.started(2, backend=backend, mtu=9000) as hosts, ExitStack() as stack:
        for name, words in declare(hosts, version=6).items():
            stack.enter_context(hosts[name].declared(words))
        assert hosts["h1"].json("ip -j link show vx-app")[0]["mtu"] == 9000 - 70
        assert "mtu 8930" in hosts["h1"].run("ip netns exec c1 ip link show eth0")
        for version, payload in ((4, 8902), (6, 8882)):
            hosts["h1"].run(f"ip netns exec c1 ping -c1 -W1 -M do -s {payload} {container_address(2, version)}")
        good = vxlan(mac_of(hosts, "h2"), "10.20.1.9", container_address(2))
        assert arrives(hosts, "host", good, version=6)
        assert not arrives(hosts, STRANGER, good, version=6)
        assert not arrives(hosts, "c1", good, version=6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("version", [4, 6])
def test_plain_routes(backend: str, version: int) -> None:
    """On one LAN without a tunnel: as themselves, at the full MTU, and nobody else."""
    families = {"enable_ipv4": version == 4, "enable_ipv6": version == 6}
    ipam = {"ipam": {"config": [{"subnet": SUBNETS[version == 6]}]}}
    network = {**families, **ipam, "x-wharf": {"direct": True}}
    with SeveralHosts.started(2, backend=backend) as hosts, ExitStack() as stack:
        for name, words in declare(hosts, network, version).items():
            stack.enter_context(hosts[name].declared(words))
        assert "vxlan" not in hosts["h1"].run("ip -d link")
        hosts["h2"].serve("c2", "8000/tcp")
        target = f"[{container_address(2, version)}]:8000/tcp"
        answer = hosts["h1"].probe("c1", target)
        assert answer.by == "c2" and container_address(1, version) in answer.sees, str(answer)
        hosts["h1"].run(f"ip netns exec c1 ping -c1 -W1 -M do -s {1472 if version == 4 else 1452} c2")
        hosts["h1"].run(f"ip route add {SUBNETS[version == 6]} via {address(2, version)}", STRANGER)
        for place in (STRANGER, "o1", "neighbour"):
            assert not open_to(hosts["h1"], place, target, False), place
        hosts["h2"].agent.call("stop_all")


@pytest.mark.parametrize("backend", BACKENDS)
def test_internal_and_without_icc(backend: str) -> None:
    """An internal network reaches its other hosts, but nothing else; without icc nobody is reached but the resolver."""
    with SeveralHosts.started(2, backend=backend) as hosts, ExitStack() as stack:
        for name, words in declare(hosts, {**WITH_VNI, "internal": True}).items():
            stack.enter_context(hosts[name].declared(words))
        hosts["h2"].serve("c2", "8000/tcp")
        target = f"{container_address(2)}:8000/tcp"
        assert open_to(hosts["h1"], "c1", target)
        assert resolved(hosts["h1"], "c1", "c2") == {container_address(2), container_address(2, 6)}
        assert not open_to(hosts["h1"], "c1", "192.0.2.1/ping", False)
        options = {**WITH_VNI["driver_opts"], "com.docker.network.bridge.enable_icc": "false"}
        for name, words in declare(hosts, {**WITH_VNI, "driver_opts": options}).items():
            hosts[name].converge(words, EXACT)
        assert not open_to(hosts["h1"], "c1", target, False)
        assert resolved(hosts["h1"], "c1", "c2") == {container_address(2), container_address(2, 6)}
        hosts["h2"].agent.call("stop_all")


def test_a_published_port_is_reached_on_its_host_and_from_other_hosts(hosts: SeveralHosts) -> None:
    words = declare(hosts)["h2"]
    words["containers"]["c2"] = {"networks": ["app"], "ports": ["8080:80"]}
    hosts["h2"].converge(words)
    hosts["h2"].serve("c2", "80/tcp")
    assert hosts["h1"].probe(STRANGER, f"{address(2)}:8080/tcp").by == "c2"
    assert hosts["h1"].probe("c1", f"{address(2)}:8080/tcp").by == "c2"
    hosts["h2"].agent.call("stop_all")
    hosts["h2"].converge(declare(hosts)["h2"])


def test_teardown_of_all_hosts(hosts: SeveralHosts) -> None:
    """One host's network goes, and the others stay as they are."""
    host = hosts["h3"]
    host.converge({"networks": {}, "containers": {}}, EXACT)
    assert "vx-app" not in host.run("ip link") and "10.20." not in host.run("ip route")
    assert open_to(hosts["h1"], "c1", f"{container_address(2)}/ping")
    host.converge({}, ABSENT)
    host.converge(declare(hosts)["h3"])
