# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks over several hosts: who reaches whom, and who does not."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address

import pytest
from hosts import EXACT, ThrowawayHost
from several_hosts import (
    STRANGER,
    SUBNETS,
    VNI,
    WITH_VNI,
    SeveralHosts,
    address,
    container_address,
    declare,
    open_to,
    resolved,
)

BACKENDS = ["nftables", "iptables"]


@pytest.fixture(scope="module", params=BACKENDS)
def hosts(request: pytest.FixtureRequest) -> Iterator[SeveralHosts]:
    with SeveralHosts.started(3, backend=request.param) as started, ExitStack() as stack:
        for name, words in declare(started).items():
            stack.enter_context(started[name].declared(words))
        yield started


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


def test_names_answer_across_hosts(hosts: SeveralHosts) -> None:
    """Short and in the network's domain, in both families, and the other way around; the owner answers."""
    host = hosts["h1"]
    both = {container_address(2), container_address(2, 6)}
    assert resolved(host, "c1", "c2") == resolved(host, "c1", "c2.app") == both
    assert resolved(host, "c1", "nobody") == set()
    for version in (4, 6):
        script = f'import socket; print(socket.gethostbyaddr("{container_address(2, version)}")[0])'
        assert host.run(f"ip netns exec c1 python3 -c '{script}'").strip() == "c2.app"
    # Who is on other networks learns no name here.
    assert resolved(host, "c1", "o2") == set()


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


def test_largest_packets(hosts: SeveralHosts) -> None:
    """1450 bytes, since VXLAN costs 50: they pass unfragmented, and one more does not."""
    host = hosts["h1"]
    for version, payload in ((4, 1422), (6, 1402)):
        ping = f"ip netns exec c1 ping -c1 -W1 -M do {container_address(2, version)} -s"
        host.run(f"{ping} {payload}")
        assert "1 received" not in host.run(f"{ping} {payload + 1} || true")


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
@pytest.mark.parametrize(("version", "underlay"), [(4, 4), (6, 6), (4, 6)])
def test_plain_routes(backend: str, version: int, underlay: int) -> None:
    """On one LAN without a tunnel: as themselves, at the full MTU, and nobody else. The hosts may have IPv6 alone."""
    families = {"enable_ipv4": version == 4, "enable_ipv6": underlay == 6}
    ipam = {"ipam": {"config": [{"subnet": each} for each in SUBNETS[version == 6 : 1 + (underlay == 6)]]}}
    network = {**families, **ipam, "x-wharf": {"direct": True}}
    with SeveralHosts.started(3, backend=backend) as hosts, ExitStack() as stack:
        for name, words in declare(hosts, network, underlay).items():
            stack.enter_context(hosts[name].declared(words))
        assert "vxlan" not in hosts["h1"].run("ip -d link")
        hosts["h2"].serve("c2", "8000/tcp")
        target = f"[{container_address(2, version)}]:8000/tcp"
        answer = hosts["h1"].probe("c1", target)
        assert answer.by == "c2" and container_address(1, version) in answer.sees, str(answer)
        hosts["h1"].run(f"ip netns exec c1 ping -c1 -W1 -M do -s {1472 if underlay == 4 else 1452} c2")
        hosts["h1"].run(f"ip route add {SUBNETS[version == 6]} via {address(2, version)}", STRANGER)
        for place in (STRANGER, "o1", "neighbour"):
            assert not open_to(hosts["h1"], place, target, False), place
        if version == 4:
            # Of a container of another network that says it is one of another host, nothing comes either.
            before = came(hosts["h1"], "c1")
            hosts["h1"].run("ip netns exec o1 ip addr add 10.20.2.9/32 dev lo")
            script = 'import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("10.20.2.9", 0)); '
            hosts["h1"].run(f'python3 -c \'{script} s.sendto(b"x", ("10.20.1.2", 9999))\'; sleep 0.1', "o1")
            assert came(hosts["h1"], "c1") == before
            hosts["h2"].run(f'python3 -c \'{script.replace("2.9", "2.2")} s.sendto(b"x", ("10.20.1.2", 9999))\'', "c2")
            hosts["h1"].run("sleep 0.1")
            assert came(hosts["h1"], "c1") == before + 1
        for place in ("c1", "host"):
            explained = hosts["h1"].engine(["explain", place, target])
            assert explained.startswith("open: "), explained
        # Then routes to the others' slices change their source alone.
        words = declare(hosts, network, underlay)["h1"]
        words["networks"]["app"]["x-wharf"]["members"]["h1"]["index"] = 7
        hosts["h1"].converge(words)
        routes = hosts["h1"].run(f"ip -{version} route show proto 119 via inet6 {address(2, 6)} || true")
        assert hosts["h1"].converge(words) == [], routes
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
