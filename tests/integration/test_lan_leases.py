# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers whose addresses come from a DHCP server of the LAN, which is a real dnsmasq."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from host_state import assert_same, host_state
from hosts import ABSENT, EXACT, LAN, EngineError, ThrowawayHost, differences
from test_follow import following, heard
from test_macvlan import index, spare

from ansible_collections.wharf.network.plugins.module_utils.engine.ledger import PATH as LEDGER

KINDS = ("macvlan", "uplink")
LACKS = (
    "{0}: container {1} is not connected to network lan, since it has no lease: no DHCP server of the LAN on spare has "
    "given one that can be used yet"
)
OPTIONS = "--conf-file=/dev/null --keep-in-foreground --user=root --port=0 --interface=lan --bind-dynamic --no-ping"
FORGED = (
    "ip link add eth1 address {0} type veth peer name server; ip link set eth1 up; ip link set server up; "
    "ip addr add 172.18.0.1/16 dev server"
)
RANGE = "198.51.100.100,198.51.100.150,1h"


def words(kind: str, *containers: str) -> dict[str, Any]:
    """Containers on a network of the LAN, and on one of the host's own."""
    networks = {
        "macvlan": {"driver": "macvlan", "driver_opts": {"parent": "spare"}},
        "uplink": {"x-wharf": {"uplink": "spare"}},
    }
    return {
        "host": {"bridge": "none"},
        "networks": {"lan": {**networks[kind], "ipam": {"driver": "dhcp"}}, "app": {}},
        "containers": {name: {"networks": {"app": {}, "lan": {"gw_priority": 1}}} for name in containers},
    }


@contextmanager
def serving(host: ThrowawayHost, leases: str = RANGE, *options: str) -> Iterator[None]:
    """A DHCP server on the LAN, which remembers what it has leased."""
    host.run("ip addr replace 198.51.100.1/24 dev lan", LAN)
    command = ["dnsmasq", *OPTIONS.split(), f"--dhcp-range={leases}", "--dhcp-leasefile=/run/lan.leases", *options]
    server = subprocess.Popen([*host.enter(LAN), "setpriv", "--pdeathsig", "KILL", *command])
    try:
        for _attempt in range(100):
            if host.run("ss -Hlun sport 67", LAN):
                break
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait()


def on_lan(host: ThrowawayHost, container: str) -> list[str]:
    """The container's addresses that are leased."""
    found = host.json("ip -j -4 address", container)
    return [each["local"] for link in found for each in link["addr_info"] if each["local"].startswith("198.51.")]


def age(host: ThrowawayHost, seconds: int) -> None:
    """As if the leases were older."""
    ledger = host.ledger()
    for lease in ledger["allotted"]["leases"].values():
        lease["began"] -= seconds
    host.write(LEDGER, json.dumps(ledger))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as started:
        spare(started)
        yield started


def test_leases_come_and_go(host: ThrowawayHost, kind: str) -> None:
    before = host.snapshot()
    declared = words(kind, "web", "db")
    without = host.diff(declared, EXACT)
    assert without.pending == ["db/lan", "web/lan"]
    with serving(host):
        assert host.apply(declared, EXACT).pending == []
        assert host.diff(declared, EXACT).changes == host.apply(declared, EXACT).changes == []
        (web,), (db,) = on_lan(host, "web"), on_lan(host, "db")
        assert f" {web} web " in host.run("cat /run/lan.leases")
        for place in ("web", "db", "neighbour"):
            host.serve(place, "80/tcp")
        assert host.probe("db", f"{web}:80/tcp").by == "web"
        host.run("ip addr add 198.51.100.9/24 dev eth0", "neighbour")
        assert host.probe("neighbour", f"{db}:80/tcp").by == "db"
        assert host.probe("web", "198.51.100.9:80/tcp").by == "neighbour"
        assert "via 198.51.100.1" in host.run("ip route show default", "web")
        assert f"{db}\tdb" in host.read("/etc/netns/web/hosts").replace(" ", "\t")
        assert "ask" not in host.run("ip -o link")
        host.run("ip addr del 198.51.100.9/24 dev eth0", "neighbour")
    host.agent.call("stop_all")
    host.apply({}, ABSENT)
    host.run("rm /run/lan.leases")
    assert differences(before, host.snapshot()) == ""


def test_without_a_server_all_else_goes_on(host: ThrowawayHost, kind: str) -> None:
    declared = words(kind, "web")
    # They need what is not known yet.
    declared["containers"]["web"]["x-wharf"] = {"routes": [{"to": "203.0.113.0/24", "via": "198.51.100.1"}]}
    result = host.apply(declared, EXACT)
    assert result.warnings == {LACKS.format("wharf_containers.web.networks.lan", "web")}
    assert result.pending == ["web/lan"]
    assert host.address("web", "app")
    assert on_lan(host, "web") == []
    assert "it has no lease" in host.wharf("show").output
    with serving(host):
        assert host.apply(declared, EXACT).pending == []
        assert "via 198.51.100.1" in host.run("ip route show 203.0.113.0/24", "web")


def test_nothing_is_advised_that_is_refused_with_leases(host: ThrowawayHost) -> None:
    with serving(host):
        host.apply(words("macvlan", "web"), EXACT)
    host.run("ip addr add 198.51.100.8/24 dev spare")
    output = host.wharf("explain", "host", f"{on_lan(host, 'web')[0]}:80").output
    assert "the kernel passes no packets between spare" in output
    assert "to open: put the container on a network with a bridge" in output
    assert "host_access" not in output


def test_follow_asks_where_no_server_has_answered(host: ThrowawayHost, kind: str) -> None:
    host.apply(words(kind, "web"), EXACT)
    with serving(host), following(host) as follow:
        assert heard(follow)["connected"] == {"netns:web"}
        (web,) = on_lan(host, "web")
        assert host.apply(words(kind, "web"), EXACT).changes == []
        assert web in host.read("/etc/netns/web/hosts")


def test_a_lease_is_renewed_by_the_interface_that_has_it(host: ThrowawayHost, kind: str) -> None:
    declared = words(kind, "web")
    with serving(host):
        host.apply(declared, EXACT)
        former, interface = on_lan(host, "web"), index(host, "web", "eth1")
        age(host, 1900)
        assert host.apply(declared, EXACT).changes == []
        assert time.time() - host.ledger()["allotted"]["leases"]["web/lan"]["began"] < 60
        assert (on_lan(host, "web"), index(host, "web", "eth1")) == (former, interface)
    age(host, 1900)
    # It is still good, and the next run asks again.
    assert host.apply(declared, EXACT).warnings == set()
    host.run("rm /run/lan.leases")
    with serving(host, "198.51.100.200,198.51.100.210,1h"):
        assert host.apply(declared, EXACT).changes
        (web,) = on_lan(host, "web")
        assert web.startswith("198.51.100.2")
        assert index(host, "web", "eth1") == interface


def test_follow_changes_an_address_that_has_moved(host: ThrowawayHost, kind: str) -> None:
    """Also while it connects what is on a link that has come, as all links have when it begins."""
    with serving(host):
        host.apply(words(kind, "web"), EXACT)
    age(host, 1900)
    host.run("rm /run/lan.leases")
    with serving(host, "198.51.100.200,198.51.100.210,1h"), following(host) as follow:
        assert "netns:web" in heard(follow)["connected"]
        (web,) = on_lan(host, "web")
        assert web.startswith("198.51.100.2")


def test_a_lease_that_is_over_takes_its_address_away(host: ThrowawayHost, kind: str) -> None:
    declared = words(kind, "web")
    with serving(host):
        host.apply(declared, EXACT)
    age(host, 3700)
    result = host.apply(declared, EXACT)
    assert result.pending == ["web/lan"]
    assert on_lan(host, "web") == []
    with serving(host):
        assert host.apply(declared, EXACT).pending == []
        assert on_lan(host, "web")


def test_nameservers_of_the_lan(host: ThrowawayHost) -> None:
    """Of a container that is on no other network, and declares none."""
    declared = words("macvlan", "web", "own", "both")
    for name in ("web", "own"):
        declared["containers"][name]["networks"] = ["lan"]
    declared["containers"]["own"]["dns"] = "192.0.2.99"
    with serving(host, RANGE, "--dhcp-option=option:dns-server,198.51.100.53,198.51.100.54"):
        host.apply(declared, EXACT)
    of_lan = ["nameserver 198.51.100.53", "nameserver 198.51.100.54"]
    for name, expected in (("web", of_lan), ("own", ["nameserver 192.0.2.99"])):
        found = host.read(f"/etc/netns/{name}/resolv.conf").splitlines()
        assert [line for line in found if line.startswith("nameserver")] == expected
    assert "198.51" not in host.read("/etc/netns/both/resolv.conf")


def test_one_address_for_two(host: ThrowawayHost) -> None:
    """A server that is wrong, or hostile."""
    with serving(host, "198.51.100.100,198.51.100.100,1h"):
        result = host.apply(words("macvlan", "web", "db"), EXACT)
    # Both ask at once, and the one that hears of it first has it.
    [pending] = result.pending
    [other] = {"web/lan", "db/lan"} - {pending}
    assert on_lan(host, other.partition("/")[0]) == ["198.51.100.100"]


def test_a_subnet_of_the_host_itself(host: ThrowawayHost) -> None:
    declared = words("macvlan", "web")
    declared["networks"]["app"] = {"ipam": {"config": [{"subnet": "198.51.100.0/24"}]}}
    with serving(host):
        result = host.apply(declared, EXACT)
        assert result.pending == ["web/lan"]
        assert "wharf_networks.lan.ipam: subnet 198.51.100.0/24 overlaps 198.51.100.0/24" in " ".join(result.warnings)
        assert host.diff(declared, EXACT).changes == host.apply(declared, EXACT).changes == []


def test_the_address_of_the_host_itself(host: ThrowawayHost) -> None:
    host.run("ip addr add 198.51.100.120/24 dev spare")
    with serving(host, "198.51.100.120,198.51.100.120,1h"):
        result = host.apply(words("macvlan", "web"), EXACT)
    assert result.pending == ["web/lan"]
    assert '"198.51.100.120": is taken' in " ".join(result.warnings)


@pytest.mark.parametrize("mask", ["255.255.255.0", "255.255.255.254", "255.255.255.255"])
def test_a_subnet_without_a_router(host: ThrowawayHost, mask: str) -> None:
    with serving(host, "198.51.100.2,198.51.100.3,1h", "--dhcp-option=3", f"--dhcp-option=1,{mask}"):
        assert host.apply(words("macvlan", "web", "db"), EXACT).pending == []
        assert "via 172." in host.run("ip route show default", "web")


def test_another_mac_has_another_lease(host: ThrowawayHost, kind: str) -> None:
    declared = words(kind, "web")
    with serving(host):
        host.apply(declared, EXACT)
        (former,), interface = on_lan(host, "web"), index(host, "web", "eth1")
        declared["containers"]["web"]["networks"]["lan"]["mac_address"] = "02:42:aa:bb:cc:dd"
        host.apply(declared, EXACT)
        (address,) = on_lan(host, "web")
        assert f" 02:42:aa:bb:cc:dd {address} " in host.run("cat /run/lan.leases")
        assert address != former
        assert index(host, "web", "eth1") == interface


def test_another_parent_has_another_lease(host: ThrowawayHost, kind: str) -> None:
    declared = words(kind, "web")
    host.run("ip link add other type veth peer name beyond; ip link set beyond up; ip link set other up")
    with serving(host):
        host.apply(declared, EXACT)
        given = declared["networks"]["lan"]
        given.update({"driver_opts": {"parent": "other"}} if kind == "macvlan" else {"x-wharf": {"uplink": "other"}})
        assert host.apply(declared, EXACT).pending == ["web/lan"]
        assert on_lan(host, "web") == []


def test_a_container_gives_itself_no_lease(host: ThrowawayHost, kind: str) -> None:
    """Its root renames the interface, and makes one of that name and MAC that leads to a server of its own."""
    declared = words(kind, "web")
    with serving(host):
        host.apply(declared, EXACT)
        mac = host.json("ip -j link show eth1", "web")[0]["address"]
        host.run(f"ip link set eth1 down; ip link set eth1 name gone; ip link set gone up; {FORGED.format(mac)}", "web")
        command = ["dnsmasq", *OPTIONS.replace("=lan", "=server").split(), "--dhcp-range=172.18.0.50,172.18.0.50"]
        evil = subprocess.Popen([*host.enter("web"), "setpriv", "--pdeathsig", "KILL", *command])
        try:
            age(host, 1900)
            host.apply(declared, EXACT)
        finally:
            evil.terminate()
            evil.wait()
    assert host.ledger()["allotted"]["leases"]["web/lan"]["interface"].startswith("198.51.100.")
    assert time.time() - host.ledger()["allotted"]["leases"]["web/lan"]["began"] < 60


def test_a_run_that_dies_while_it_asks(host: ThrowawayHost, kind: str) -> None:
    """What it does later is as in any other run."""
    declared = words(kind, "web")
    with serving(host):
        host.apply(declared, EXACT)
        expected = _but_times(host)
        for fatal in range(1, 6):
            host.apply({}, ABSENT)
            assert host.is_killed(fatal, declared, EXACT)
            host.apply(declared, EXACT)
            assert_same(expected, lambda: _but_times(host), f"after death {fatal}")


def test_a_run_that_dies_while_it_waits(host: ThrowawayHost, kind: str) -> None:
    """What asks dies with it, and nothing is left that keeps the next run from asking."""
    declared = words(kind, "web")
    dying = threading.Thread(target=_try, args=(host, declared))
    dying.start()
    waiting = next(filter(None, (_waiting(os.getpid()) for _attempt in range(1000) if not time.sleep(0.02))))
    os.kill(waiting, signal.SIGKILL)
    dying.join()
    with serving(host):
        assert host.apply(declared, EXACT).pending == []


def test_a_lost_ledger(host: ThrowawayHost, kind: str) -> None:
    declared = words(kind, "web")
    with serving(host):
        host.apply(declared, EXACT)
        expected, interface = on_lan(host, "web"), index(host, "web", "eth1")
        host.run(f"rm {LEDGER}")
        host.engine(["apply", "-", "--recover"], declared)
        assert (on_lan(host, "web"), index(host, "web", "eth1")) == (expected, interface)


def test_a_host_without_a_client(host: ThrowawayHost) -> None:
    host.run("mount --bind /dev/null /usr/bin/busybox; ! test -e /usr/sbin/udhcpc")
    before = host.snapshot()
    with pytest.raises(EngineError, match='ipam.driver: "dhcp": this host has no udhcpc to ask for leases'):
        host.apply(words("macvlan", "web"), EXACT)
    assert differences(before, host.snapshot()) == ""


def _waiting(parent: int) -> int:
    """The process below this one whose child is udhcpc; 0 if there is none."""
    for text in Path("/proc").glob(f"{parent}/task/*/children"):
        for child in map(int, text.read_text().split()):
            with suppress(OSError):
                if b"udhcpc" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                    return parent
                found = _waiting(child)
                if found:
                    return found
    return 0


def _try(host: ThrowawayHost, declared: dict[str, Any]) -> None:
    with suppress(EngineError):
        host.apply(declared, EXACT)


def _but_times(host: ThrowawayHost) -> dict[str, Any]:
    found = host_state(host)
    for lease in found[LEDGER]["allotted"]["leases"].values():
        lease["began"] = 0
    return {path: content for path, content in found.items() if path != "/run/lan.leases"}
