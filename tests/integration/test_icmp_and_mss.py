# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network may say of ICMP and of the size of TCP segments, and which ICMP errors come through anyhow."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hosts import ADDRESSES, BACKENDS, NEIGHBOUR, OUTSIDE, ThrowawayHost

SMALL_MTU = 1300

# The option that every TCP segment has (RFC 7323), in bytes.
TIMESTAMPS = 12

# A host beyond `outside`, which lets only small packets through to it.
FAR = ("198.51.100.1", "2001:db8:51::1")


def a_far_host(host: ThrowawayHost) -> None:
    host.run("ip netns add far; ip -n far link set lo up")
    host.run(
        f"""
        sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        ip link add far type veth peer name eth0 netns {host.path("far")}
        ip link set far up; ip addr add 198.51.100.254/32 dev far; ip addr add fe80::1/64 dev far nodad
        ip route add {FAR[0]} dev far mtu lock {SMALL_MTU}
        ip -6 route add {FAR[1]} via fe80::2 dev far mtu lock {SMALL_MTU}
        """,
        OUTSIDE,
    )
    host.run(
        f"""
        ip link set eth0 up; ip addr add {FAR[0]}/32 dev eth0; ip addr add {FAR[1]}/128 dev eth0 nodad
        ip addr add fe80::2/64 dev eth0 nodad
        ip route add default via 198.51.100.254 dev eth0 onlink; ip -6 route add default via fe80::1 dev eth0
        """,
        "far",
    )


_SERVER = """
import socket
server = socket.create_server(("::", 7070), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
connection, _peer = server.accept()
print(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), flush=True)
"""

_CLIENT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 7070), timeout=10)
print(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
"""

# Sends large packets that must not be broken up, until the kernel knows how much goes through to there.
_PATH_MTU = """
import socket, sys, time
address, ipv6 = sys.argv[1], ":" in sys.argv[1]
family, level = (socket.AF_INET6, socket.IPPROTO_IPV6) if ipv6 else (socket.AF_INET, socket.IPPROTO_IP)
MTU_DISCOVER, DO, MTU = 23 if ipv6 else 10, 2, 24 if ipv6 else 14
with socket.socket(family, socket.SOCK_DGRAM) as sender:
    sender.setsockopt(level, MTU_DISCOVER, DO)
    sender.connect((address, 9))
    deadline = time.monotonic() + 5
    while sender.getsockopt(level, MTU) == 1500 and time.monotonic() < deadline:
        try:
            sender.send(bytes(1400))
        except OSError:
            pass  # An error that came in for an earlier one.
        time.sleep(0.05)
    print(sender.getsockopt(level, MTU))
"""


@pytest.mark.parametrize("host", BACKENDS, indirect=True)
def test_a_network_that_says_so_answers_pings(host: ThrowawayHost) -> None:
    plain, pinged = {"enable_ipv6": True}, {"enable_ipv6": True, "x-wharf": {"icmp": True}}
    words = {
        "networks": {"plain": plain, "pinged": pinged, "vault": {**plain, "internal": True}},
        "containers": {
            "web": {"networks": ["pinged"], "ports": ["8080:80"]},
            "app": {"networks": ["plain"]},
            "safe": {"networks": ["vault"]},
        },
    }
    with host.declared(words):
        host.serve("web", "80/tcp", "80/udp")
        for version in (4, 6):
            web, app = (host.address(name, network, version) for name, network in (("web", "pinged"), ("app", "plain")))
            assert host.probe(OUTSIDE, f"{web}/ping").is_open
            assert host.probe(NEIGHBOUR, f"{web}/ping").is_open
            assert host.probe("app", f"{web}/ping").is_open
            assert not host.probe("safe", f"{web}/ping", False).is_open
            for place in (OUTSIDE, "web"):
                assert not host.probe(place, f"{app}/ping", False).is_open
            for protocol in ("tcp", "udp"):
                target = f"[{web}]:80/{protocol}"
                assert not host.probe(OUTSIDE, target, False).is_open
                assert not host.probe("app", target, False).is_open
        words["networks"]["pinged"] = plain
        (change,) = host.converge(words)
        assert change[1:] in {("update", kind, "network pinged", "elements") for kind in ("rules", "iptables_rules")}
        assert not host.probe(OUTSIDE, f"{host.address('web', 'pinged')}/ping", False).is_open


@pytest.mark.parametrize("masquerade", ["true", "false"])
def test_what_is_too_large_is_reported(host: ThrowawayHost, masquerade: str) -> None:
    """A container learns how much goes through, whatever its network says of ICMP."""
    a_far_host(host)
    with host.declared(_words({"com.docker.network.bridge.enable_ip_masquerade": masquerade})):
        for address in FAR:
            assert _run_in(host, "web", _PATH_MTU, address) == SMALL_MTU


def test_a_large_answer_to_a_ping_comes_through() -> None:
    """The first one is lost; that it was too large must be reported to the container, by its own address.

    Without bridge-nf-call-ip6tables, under which the kernel puts fragments together and forgets that they were some.
    """
    with ThrowawayHost.started(bridge_nf=0) as host:
        a_far_host(host)
        with host.declared(_words({}, icmp=True)):
            ping = f"ping -6 -q -c 1 -W 1 -s 1400 {host.address('web', 'app', 6)}"
            host.run(f"for n in $(seq 9); do ! {ping} || exit 0; done; exit 1", "far")


@pytest.mark.parametrize(("host", "clamped"), [(b, True) for b in BACKENDS] + [(BACKENDS[0], False)], indirect=["host"])
def test_tcp_segments_fit_where_a_network_says_so(host: ThrowawayHost, clamped: bool) -> None:
    a_far_host(host)
    with host.declared(_words({}, mss_clamp=clamped)):
        for gateway, way in zip(ADDRESSES["outside"], FAR, strict=True):
            # By this host's own knowledge of the way, and not by that of either end.
            host.run(f"ip route add {way} via {gateway} mtu lock {SMALL_MTU}")
        for headers, far, own in zip((40, 60), FAR, ADDRESSES["host"], strict=True):
            size = (SMALL_MTU if clamped else 1500) - headers - TIMESTAMPS
            assert _segments(host, "web", "far", far) == [size, size]
            assert _segments(host, "far", "web", own) == [size, size]
        for way in FAR:
            host.run(f"ip route del {way}")


def _words(options: dict[str, str], **extension: bool) -> dict[str, Any]:
    given = {"com.docker.network.driver.mtu": "1500", **options}
    network = {"enable_ipv6": True, "driver_opts": given, "x-wharf": extension}
    return {"networks": {"app": network}, "containers": {"web": {"networks": ["app"], "ports": ["7070:7070"]}}}


def _segments(host: ThrowawayHost, client: str, server: str, address: str) -> list[int]:
    """The largest segments, in bytes, that the client and the server of a connection send."""
    command = [*host.enter(server), sys.executable, "-c", _SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout
            assert serving.stdout.readline() == "ready\n"
            return [_run_in(host, client, _CLIENT, address), int(serving.stdout.readline())]
        finally:
            serving.kill()


def _run_in(host: ThrowawayHost, place: str, program: str, address: str) -> int:
    command = [*host.enter(place), sys.executable, "-c", program, address]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout)
