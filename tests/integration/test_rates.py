# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates of containers' traffic: what stands in the kernel, what passes, and what becomes of it when things change."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from host_state import assert_same, host_state
from hosts import EXACT, EngineError, ThrowawayHost
from test_killed import deaths

RATE = {"ingress": "16mbit", "egress": "8mbit"}
WORDS: dict[str, Any] = {
    "networks": {"app": {"enable_ipv6": True}},
    "containers": {
        "web": {"networks": {"app": {"x-wharf": {"rate": RATE}}}, "ports": ["8080:80"]},
        "db": {"networks": ["app"], "ports": ["8081:80"]},
    },
}

# Sends to whoever connects, or takes from them, so many bytes; and the client, which prints how many seconds it took.
SERVER = """
import socket, sys
server = socket.create_server(("::", 5000), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    client, _ = server.accept()
    if client.recv(1) == b"<":
        client.sendall(bytes(1 << 20))
        client.close()
    else:
        while client.recv(1 << 16):
            pass
        client.close()
"""
CLIENT = """
import socket, sys, time
client = socket.create_connection((sys.argv[1], 5000))
began = time.monotonic()
client.sendall(sys.argv[2].encode())
if sys.argv[2] == ">":
    client.sendall(bytes(1 << 20))
    client.shutdown(socket.SHUT_WR)
while client.recv(1 << 16):
    pass
print(time.monotonic() - began)
"""

# Eight packets, of which the last ones wait, by UDP: what is lost is sent once only.
RECEIVER = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 6000))
server.settimeout(20)
print("listening", flush=True)
print(len([server.recv(2000) for _ in range(8)]), flush=True)
"""
SENDER = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(8):
    client.sendto(bytes(500), (sys.argv[1], 6000))
"""


def rated(rate: Any, words: dict[str, Any] | None = None) -> dict[str, Any]:
    changed = copy.deepcopy(words or WORDS)
    changed["containers"]["web"]["networks"] = {"app": {"x-wharf": {"rate": rate}} if rate else {}}
    return changed


def queues(host: ThrowawayHost, kinds: tuple[str, ...] = ("tbf", "clsact", "ingress")) -> list[str]:
    """`LINK KIND RATE` of each queue that somebody made, without the part of a link's name that is a hash."""
    listed = json.loads(host.run("tc -j qdisc"))
    names = {_port(host, "web"): "web", _ifb(host, "web"): "ifb of web", _port(host, "db"): "db"}
    return sorted(
        " ".join(
            filter(None, [names.get(each["dev"], each["dev"]), each["kind"], str(each["options"].get("rate", ""))])
        )
        for each in listed
        if each["kind"] in kinds
    )


def _port(host: ThrowawayHost, container: str) -> str:
    links = host.json("ip -j link show type veth")
    return next((each["ifname"] for each in links if each.get("ifalias") == f"wharf:{container}/app"), "")


def _ifb(host: ThrowawayHost, container: str) -> str:
    links = host.json("ip -j link show type ifb")
    return next((each["ifname"] for each in links if each.get("ifalias") == f"wharf:{container}/app"), "")


def redirections(host: ThrowawayHost, container: str) -> int:
    return host.run(f"tc filter show dev {_port(host, container)} ingress").count("mirred")


@contextmanager
def running(host: ThrowawayHost, place: str, script: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has printed its first line, when it is ready."""
    command = [*host.enter(place), "python3", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            assert process.stdout.readline().strip() == "listening"
            yield process
        finally:
            process.kill()


# 16 and 8 Mbit/s, as tc counts: bytes.
WHOLE = ["ifb of web tbf 1000000", "web clsact", "web tbf 2000000"]


def seconds(host: ThrowawayHost, client: str, address: str, direction: str) -> float:
    return float(host.run(f"python3 -c '{CLIENT}' {address} '{direction}'", client))


@pytest.mark.parametrize("version", [4, 6])
def test_traffic_passes_at_the_declared_rate(host: ThrowawayHost, version: int) -> None:
    """1 MiB takes 1 s at 8 Mbit/s, half of that at 16, the burst aside. Without a rate it takes a few hundredths."""
    with host.declared(WORDS):
        db = host.address("db", "app", version)
        with running(host, "db", SERVER):
            sent, received = seconds(host, "web", db, ">"), seconds(host, "web", db, "<")
            assert 0.6 < sent < 8, sent
            assert 0.3 < received < 8, received
            # What others send and receive is not limited, nor is web once it has no rate.
            host.converge(rated(None))
            assert seconds(host, "web", db, ">") < 0.5
            assert seconds(host, "web", db, "<") < 0.3
            host.converge(rated({"egress": "8mbit"}))
            assert seconds(host, "web", db, ">") > 0.6
            assert seconds(host, "web", db, "<") < 0.3


def test_a_published_port_is_limited_as_well(host: ThrowawayHost) -> None:
    with host.declared(rated({"ingress": "8mbit"})), running(host, "web", SERVER.replace("5000", "80")):
        client = CLIENT.replace("5000", "8080")
        took = float(host.run(f"python3 -c '{client}' 192.0.2.10 '>'", "outside"))
        assert 0.6 < took < 8, took


def test_a_rate_changes_in_place_and_nothing_that_waits_is_lost(host: ThrowawayHost) -> None:
    slow = rated({"ingress": "128kbit", "egress": "128kbit", "burst": "4kb"})
    with host.declared(slow):
        assert queues(host) == ["ifb of web tbf 16000", "web clsact", "web tbf 16000"]
        with running(host, "db", RECEIVER) as receiver:
            # More than the burst: some of them wait for a fraction of a second, in which the run changes the rate.
            host.run(f"python3 -c '{SENDER}' {host.address('db', 'app')}", "web")
            faster = rated({"ingress": "1gbit", "egress": "512kbit", "burst": "4kb"})
            assert [each[1:] for each in host.converge(faster)] == [("update", "endpoint", "web/app", "ingress,egress")]
            assert receiver.stdout
            assert receiver.stdout.readline().strip() == "8"
        drops = [each["drops"] for each in json.loads(host.run("tc -s -j qdisc")) if each["kind"] == "tbf"]
        assert drops == [0, 0]
        assert queues(host) == ["ifb of web tbf 64000", "web clsact", "web tbf 125000000"]


def test_what_is_declared_stands_whatever_was_before(host: ThrowawayHost) -> None:
    left: list[tuple[Any, list[str]]] = [
        (RATE, WHOLE),
        ({"ingress": "16mbit"}, ["web tbf 2000000"]),
        ({"egress": "8mbit"}, ["ifb of web tbf 1000000", "web clsact"]),
        (None, []),
    ]
    with host.declared(rated(None)):
        for before in (None, {"ingress": "1gbit"}, {"egress": "1gbit"}, {"ingress": "2mbit", "egress": "3mbit"}):
            for rate, expected in left:
                host.apply(rated(before))
                host.converge(rated(rate))
                assert queues(host) == expected
                assert redirections(host, "web") == ("egress" in (rate or {}))
                assert bool(_ifb(host, "web")) == ("egress" in (rate or {}))


HARMS = [
    "tc qdisc del dev {port} root",
    "tc qdisc change dev {port} handle 5748: root tbf rate 1gbit burst 64kb limit 1mb",
    "tc qdisc del dev {ifb} root",
    "tc filter del dev {port} ingress",
    "tc qdisc del dev {port} clsact",
    "ip link del {ifb}",
    "ip link set {ifb} down",
    "tc filter add dev {port} ingress pref 22344 protocol all u32 match u32 0 0 action mirred egress redirect dev lo",
]


def test_what_somebody_took_away_is_mended(host: ThrowawayHost) -> None:
    with host.declared(WORDS):
        for harm in HARMS:
            host.run(harm.format(port=_port(host, "web"), ifb=_ifb(host, "web")))
            assert [each[1:-1] for each in host.converge(WORDS)] == [("update", "endpoint", "web/app")], harm
            assert queues(host) == WHOLE
            assert redirections(host, "web") == 1


def test_queues_and_filters_of_third_parties_stay(host: ThrowawayHost) -> None:
    """On the uplink and on another container's link; filters on the same link, with the queue that they are in."""
    bpf = "pref 7 protocol all u32 match u32 0 0 flowid 1:1"
    with host.declared(rated(None)):
        port, other = _port(host, "web"), _port(host, "db")
        host.run(
            f"tc qdisc add dev eth0 root tbf rate 1gbit burst 64kb limit 1mb; tc qdisc add dev eth0 clsact;"
            f"tc qdisc add dev {other} root handle 7: tbf rate 1gbit burst 64kb limit 1mb;"
            f"tc qdisc add dev {port} clsact;"
            f"tc filter add dev {port} ingress {bpf}; tc filter add dev {port} egress {bpf}"
        )
        listing = f"tc qdisc; tc filter show dev {port} ingress; tc filter show dev {port} egress"
        before = host.run(listing)
        host.converge(WORDS)
        assert redirections(host, "web") == 1
        host.converge(rated(None))
        assert host.run(listing) == before
        host.run(f"tc qdisc del dev eth0 root; tc qdisc del dev eth0 clsact; tc qdisc del dev {port} clsact")
        # `ingress` instead of `clsact`: there can be one only.
        host.run(f"tc qdisc add dev {port} ingress")
        host.converge(WORDS)
        assert redirections(host, "web") == 1
        host.converge(rated(None))
        assert "qdisc ingress ffff: dev " + port in host.run("tc qdisc")


def test_a_third_partys_queue_in_the_place_is_named(host: ThrowawayHost) -> None:
    with host.declared(rated(None)):
        port = _port(host, "web")
        host.run("ip link add x type ifb")
        before = host_state(host)
        host.run(f"tc qdisc add dev {port} root handle 7: tbf rate 1gbit burst 64kb limit 1mb")
        with pytest.raises(EngineError) as refused:
            host.apply(WORDS)
        assert str(refused.value) == (
            f"wharf_containers.web.networks.app: a queue (tbf) is on {port} that wharf.network does not manage: delete "
            f"it (tc qdisc del dev {port} root), or leave rate.ingress out"
        )
        host.run(f"tc qdisc del dev {port} root; ip link set x name ifb{port.removeprefix('veth')}")
        with pytest.raises(
            EngineError, match="an interface ifb.* exists on this host that is not managed by wharf.network"
        ):
            host.apply(WORDS)
        host.run(f"ip link set ifb{port.removeprefix('veth')} name x")
        assert_same(before, lambda: host_state(host))
        host.run("ip link del x")


def test_root_in_the_container_cannot_lift_the_limit(host: ThrowawayHost) -> None:
    with host.declared(WORDS):
        host.run(
            "tc qdisc del dev eth0 root || true; tc qdisc add dev eth0 clsact; ip link set eth0 txqueuelen 1;"
            "ip link set eth0 down; ip link set eth0 up",
            "web",
        )
        assert queues(host) == WHOLE
        host.converge(WORDS)
        # It can delete its interface: the next run makes it anew, with its rates.
        host.run("ip link del eth0", "web")
        assert _port(host, "web") == ""
        host.converge(WORDS)
        assert queues(host) == WHOLE
        # What is left of a container that goes then goes as well.
        host.run("ip link del eth0", "web")
        assert _ifb(host, "web")
        without = {**WORDS, "containers": {"db": WORDS["containers"]["db"]}}
        host.converge(without, EXACT)
        assert host.run("ip -br link show type ifb").split() == []


def test_a_container_that_ends_and_starts_anew(host: ThrowawayHost) -> None:
    words = rated(RATE)
    words["containers"]["web"]["x-wharf"] = {"sandbox": "path:/run/netns/own"}
    host.run("ip netns add own")
    try:
        with host.declared(words):
            assert queues(host) == WHOLE
            host.run("ip netns del own; while ip link show type veth | grep -q wharf:web/; do sleep 0.05; done")
            assert host.converge(words) == []
            host.run("ip netns add own")
            host.converge(words)
            assert queues(host) == WHOLE
    finally:
        host.run("ip netns del own")


def test_what_a_network_declares_is_for_each_container_but_those_with_a_rate_of_their_own(host: ThrowawayHost) -> None:
    words = rated({"egress": "2mbit"})
    words["networks"]["app"]["x-wharf"] = {"rate": RATE}
    with host.declared(words):
        assert queues(host)[:3] == ["db clsact", "db tbf 2000000", "ifb of web tbf 250000"]
        observed = host.observed()["containers"]
        assert observed["web"]["endpoints"]["app"]["rate"] == {
            "ingress": None,
            "egress": {"rate": 2_000_000, "burst": 32768},
        }
        assert observed["db"]["endpoints"]["app"]["rate"]["ingress"]["rate"] == 16_000_000
        shown = host.engine(["show"])
        assert "≤2mbit" in shown
        assert "≤16mbit" in shown


def test_the_ledger_that_is_lost_is_made_anew(host: ThrowawayHost) -> None:
    with host.declared(WORDS):
        before = host_state(host)
        host.run("rm /var/lib/wharf/ledger.json")
        host.engine(["recover", "-"], WORDS)
        assert host.converge(WORDS) == []
        assert_same(
            {k: v for k, v in before.items() if "ledger" not in k},
            lambda: {k: v for k, v in host_state(host).items() if "ledger" not in k},
        )
        host.run("ip link del eth0", "web")
        host.run("rm /var/lib/wharf/ledger.json")
        host.engine(["recover", "-"], WORDS)
        host.converge(WORDS)


def test_a_rate_that_goes_after_its_veth_was_deleted_in_the_container(host: ThrowawayHost) -> None:
    with host.declared(rated(RATE)):
        host.run("ip link delete eth0", "web")
        host.converge(rated(None))
        assert queues(host) == []
        assert host.run("ip -br link show type ifb").split() == []
        host.run("ip link delete eth0", "web")
        host.converge(rated(RATE))
        assert _ifb(host, "web")


def test_a_run_that_is_killed_is_finished_by_the_next(host: ThrowawayHost) -> None:
    words: dict[str, Any] = {
        "host": {"bridge": "none"},
        "networks": {"app": {"x-wharf": {"dns": False}}},
        "containers": {name: {"networks": ["app"]} for name in ("web", "db", "app", "job")},
    }
    limited = copy.deepcopy(words)
    limited["networks"]["app"]["x-wharf"]["rate"] = RATE
    with host.declared(words):
        deaths(host, (limited, EXACT), (words, EXACT))
