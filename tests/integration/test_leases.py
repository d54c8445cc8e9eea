# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, routes and files to boot for whoever asks on a network: real clients on a bridge, declared or not."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hosts import ABSENT, EngineError, ThrowawayHost, differences
from test_service_discovery import Reply, ask, upstream

WORDS: dict[str, Any] = {
    "networks": {
        "lan": {
            "enable_ipv6": True,
            "ipam": {"config": [{"subnet": "10.7.0.0/24"}, {"subnet": "fd00:7::/64"}]},
            "driver_opts": {"com.docker.network.driver.mtu": "1400"},
            "x-wharf": {
                "dns": {"domain": "lan.example"},
                "dhcp": {
                    "range": ["10.7.0.2-10.7.0.3", "fd00:7::100-fd00:7::1ff"],
                    "lease_time": "2h",
                    "options": {
                        "classless-static-route": "10.9.0.0/16,10.7.0.1,0.0.0.0/0,10.7.0.1",
                        "root-path": 'nfs "srv" #1 \\ end',
                        "tzdb-timezone": ["#UTC", "a, b"],
                    },
                },
                "ra": "slaac",
                "boot": {
                    "tftp_root": "/run/tftp",
                    "file": "pxe.0",
                    "files": {"efi64": "grub.efi", "arm64": "grubaa64.efi", "http_efi64": "http://10.7.0.9/grub.efi"},
                },
            },
        },
        # It has no domain, and its name might be one of the public DNS.
        "home": {"ipam": {"config": [{"subnet": "10.6.0.0/24"}]}, "x-wharf": {"dhcp": {"range": "10.6.0.128/25"}}},
        "deep": {
            "internal": True,
            "enable_ipv6": True,
            "ipam": {"config": [{"subnet": "10.8.0.0/24"}, {"subnet": "fd00:8::/64"}]},
            "x-wharf": {"dhcp": True, "ra": "stateful", "dns": False},
        },
        "alone": {"enable_ipv6": True, "x-wharf": {"ra": True, "dns": False}},
        "rest": {"enable_ipv6": True, "x-wharf": {"ra": {"mode": "stateless"}}},
        "other": {},
    },
    "containers": {
        "web": {"networks": ["lan"]},
        "cook": {"networks": ["home", "other"]},
        "both": {"networks": ["lan", "other"]},
        "picky": {"networks": ["lan"], "dns": ["192.0.2.53"]},
        "vm": {"networks": {"deep": {"ipv4_address": "10.8.0.50", "ipv6_address": "fd00:8::50"}}},
    },
}

# What a client got, as shell variables.
_REPORT = '#!/bin/sh\n[ "$1" = bound ] && set\ntrue\n'


@pytest.fixture(scope="module")
def host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as started:
        prepare(started)
        with started.declared(WORDS):
            for guest, bridge, mac in (
                ("guest", "br-lan", "02:00:00:00:00:21"),
                ("late", "br-lan", "02:00:00:00:00:22"),
                ("visitor", "br-home", "02:00:00:00:00:23"),
                ("diver", "br-deep", "02:00:00:00:00:24"),
            ):
                plug_in(started, guest, bridge, mac)
            yield started
            for guest in ("guest", "late", "visitor", "diver"):
                unplug(started, guest)


def prepare(host: ThrowawayHost) -> None:
    """What clients run when they get something, and files to boot."""
    host.write("/run/report", _REPORT)
    host.run("chmod 755 /run/report; mkdir /run/tftp")
    for file, machines in (("pxe.0", "BIOS"), ("grub.efi", "UEFI"), ("grubaa64.efi", "ARM")):
        host.write(f"/run/tftp/{file}", f"for {machines}\n")


def plug_in(host: ThrowawayHost, name: str, bridge: str, mac: str) -> None:
    """A machine on a network of which nobody has declared anything."""
    host.run(
        f"""
        ip netns add {name}
        ip netns exec {name} sysctl -qw net.ipv6.conf.default.accept_ra=1 net.ipv6.conf.default.accept_dad=0
        ip link add to-{name} type veth peer name eth0 netns {name}
        ip link set to-{name} master {bridge} up
        ip -n {name} link set eth0 address {mac} up
        """
    )


@contextmanager
def plugged_in(host: ThrowawayHost, name: str, bridge: str, mac: str) -> Iterator[None]:
    plug_in(host, name, bridge, mac)
    try:
        yield
    finally:
        unplug(host, name)


def unplug(host: ThrowawayHost, name: str) -> None:
    host.run(f"ip link del to-{name}; ip netns del {name}")


def lease(host: ThrowawayHost, place: str, *options: str) -> dict[str, str]:
    """What DHCP gives a client there, by udhcpc's names for it; nothing if nobody answers."""
    wanted = "-O mtu -O search -O staticroutes -O bootfile"
    command = f"busybox udhcpc -i eth0 -n -q -f -t 10 -T 1 -s /run/report {wanted} {' '.join(options)} || true"
    output = host.run(command, place)
    return dict(re.findall(r"^(\w+)='?(.*?)'?$", output, re.MULTILINE))


def asked(host: ThrowawayHost, place: str, question: str) -> list[str]:
    return host.run(f"ip netns exec {place} dig +short +tries=1 +time=2 {question}").split()


def until(check: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < 20
        time.sleep(0.05)


def test_a_declared_container_is_given_its_declared_address(host: ThrowawayHost) -> None:
    settings = lease(host, "web")
    assert settings["ip"] == host.address("web", "lan")
    # The range is left to those who are not declared.
    assert settings["ip"] not in ("10.7.0.2", "10.7.0.3")
    assert settings["mask"] == "24" or settings["subnet"] == "255.255.255.0"
    assert settings["router"] == settings["dns"] == "10.7.0.1"
    assert settings["mtu"] == "1400"
    assert settings["search"] == settings["domain"] == "lan.example"
    assert settings["staticroutes"].startswith("10.9.0.0/16 10.7.0.1")
    assert settings["lease"] == "7200"


def test_a_stranger_is_given_a_lease_whose_name_all_know_and_which_lasts(host: ThrowawayHost) -> None:
    settings = lease(host, "guest", "-x", "hostname:printer")
    assert settings["ip"] in ("10.7.0.2", "10.7.0.3")
    for place in ("web", "both", "picky"):
        for name in ("printer", "printer.lan.example"):
            assert asked(host, place, name) == [settings["ip"]]
        assert asked(host, place, f"-x {settings['ip']}") == ["printer.lan.example."]
        # In IPv6 it has made its address itself.
        until(lambda: asked(host, place, "printer.lan.example AAAA") == ["fd00:7::ff:fe00:21"])  # noqa: B023
        assert asked(host, place, "-x fd00:7::ff:fe00:21") == ["printer.lan.example."]
    assert ask(host, "cook", "printer") == Reply("NXDOMAIN")
    changed = copy.deepcopy(WORDS)
    changed["networks"]["lan"]["x-wharf"]["dhcp"]["lease_time"] = "3h"
    assert ("dnsmasq", "update", "dnsmasq", "lan", "config") in host.converge(changed)
    assert asked(host, "web", "printer") == [settings["ip"]]
    # Nor does it take an orderly end.
    pid = host.read("/run/wharf/running/lan.pid").strip()
    host.run(f"kill -9 {pid}; while [ -e /proc/{pid}/root/etc ]; do sleep 0.01; done")
    assert host.apply(changed).changes == [("dnsmasq", "create", "dnsmasq", "lan")]
    assert asked(host, "both", "printer") == [settings["ip"]]
    again = lease(host, "guest", "-r", settings["ip"])
    assert (again["ip"], again["lease"]) == (settings["ip"], "10800")
    host.apply(WORDS)


def test_a_stranger_is_kept_apart_as_containers_are(host: ThrowawayHost) -> None:
    own = lease(host, "guest")["ip"]
    host.run(f"ip addr add {own}/24 dev eth0; ip route add default via 10.7.0.1", "guest")
    for place in ("guest", "web", "outside"):
        host.serve(place, "80/tcp")
    assert host.probe("guest", "192.0.2.1:80/tcp").sees == "192.0.2.10"
    expected = {("web", f"{own}:80/tcp"): True, ("guest", f"{host.address('web', 'lan')}:80/tcp"): True}
    expected |= {(place, f"{own}:80/tcp"): False for place in ("cook", "outside")}
    assert host.reached(expected) == expected
    host.run(f"ip addr del {own}/24 dev eth0", "guest")


def test_no_stranger_is_called_as_a_container_is(host: ThrowawayHost) -> None:
    assert lease(host, "late", "-x", "hostname:web")["ip"] in ("10.7.0.2", "10.7.0.3")
    assert asked(host, "both", "web") == [host.address("web", "lan")]


def test_where_no_domain_is_declared_leases_are_called_by_the_network(host: ThrowawayHost) -> None:
    with upstream(host, "192.0.2.53", "203.0.113.53") as log:
        settings = lease(host, "visitor", "-x", "hostname:radio")
        assert settings["search"] == settings["domain"] == "home"
        for name in ("radio", "radio.home"):
            assert asked(host, "cook", name) == [settings["ip"]]
            assert asked(host, "cook", f"{name} AAAA") == asked(host, "cook", "nobody.home") == []
        assert asked(host, "cook", "elsewhere.example.com") == ["203.0.113.53"]
        assert "radio" not in host.read(log) and "home" not in host.read(log)


@pytest.mark.parametrize(
    ("answer", "kind", "believing", "unbelieving"),
    [
        ("10.7.0.9", "A", ["cook"], ["web", "both", "picky"]),
        ("fd00:7::9", "AAAA", ["cook"], ["web", "both", "picky"]),
        ("10.6.0.9", "A", ["web", "both", "picky"], ["cook"]),
        # As that of an intranet may be.
        ("10.99.0.9", "A", ["web", "both", "picky", "cook"], []),
    ],
)
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_nobody_outside_is_believed_about_addresses_where_leases_are_given(
    host: ThrowawayHost, answer: str, kind: str, believing: list[str], unbelieving: list[str], transport: str
) -> None:
    with upstream(host, "192.0.2.53", answer):
        for place in believing:
            assert ask(host, place, f"{time.monotonic()}.example.com", kind, transport) == Reply("NOERROR", (answer,))
        for place in unbelieving:
            assert ask(host, place, f"{time.monotonic()}.example.com", kind, transport) == Reply("NXDOMAIN")


def test_nobody_may_be_called_as_a_proxy_is_looked_for(host: ThrowawayHost) -> None:
    assert lease(host, "visitor", "-x", "hostname:wpad")["ip"]
    assert asked(host, "cook", "wpad") == asked(host, "cook", "wpad.home") == []


def test_a_network_without_a_range_gives_strangers_nothing(host: ThrowawayHost) -> None:
    assert lease(host, "diver") == {}


def test_a_container_that_comes_is_given_its_address_without_a_restart(host: ThrowawayHost) -> None:
    before = host.read("/run/wharf/running/lan.pid")
    changed = copy.deepcopy(WORDS)
    changed["containers"]["fresh"] = {"networks": ["lan"]}
    host.converge(changed)
    assert lease(host, "fresh")["ip"] == host.address("fresh", "lan")
    assert host.read("/run/wharf/running/lan.pid") == before
    host.converge({"containers": {"fresh": {}}}, ABSENT, ["containers"])


def test_options_are_sent_to_the_last_character(host: ThrowawayHost) -> None:
    settings = lease(host, "web", "-O rootpath -O tzdbstr")
    assert (settings["rootpath"], settings["tzdbstr"]) == ('nfs "srv" #1 \\ end', "#UTC,a, b")


def test_what_dnsmasq_takes_for_a_lease_time_or_for_none_is_a_name(host: ThrowawayHost) -> None:
    names = ["ignore", "infinite", "1h", "3600"]
    # Not addresses that others had before, whose leases last.
    containers = {name: {"networks": {"lan": {"ipv4_address": f"10.7.0.{40 + n}"}}} for n, name in enumerate(names)}
    host.converge({**WORDS, "containers": {**WORDS["containers"], **containers}})
    for name in names:
        settings = lease(host, name, "-O hostname")
        assert (settings["ip"], settings["hostname"], settings["lease"]) == (host.address(name, "lan"), name, "7200")
        assert asked(host, "web", f"-x {settings['ip']}") == [f"{name}.lan.example."]
    host.converge({"containers": containers}, ABSENT, ["containers"])


def test_an_internal_network_names_no_router(host: ThrowawayHost) -> None:
    settings = lease(host, "vm")
    assert settings["ip"] == "10.8.0.50"
    assert "router" not in settings
    # Where names are not answered, nobody is named for them.
    assert "dns" not in settings


def addresses6(host: ThrowawayHost, place: str) -> set[str]:
    return {each["local"] for link in host.json("ip -j -6 addr show dev eth0", place) for each in link["addr_info"]}


def test_hosts_make_their_addresses_of_what_is_advertised(host: ThrowawayHost) -> None:
    until(lambda: "fd00:7::ff:fe00:21" in addresses6(host, "guest"))
    until(lambda: bool(host.json("ip -j -6 route show default", "guest")))
    assert "1400" in host.run("cat /proc/sys/net/ipv6/conf/eth0/mtu", "guest")
    assert host.run("cat /proc/sys/net/ipv6/conf/eth0/accept_ra", "web").strip() == "0"


@pytest.mark.parametrize(
    ("network", "flags", "of_prefix", "lifetime"),
    [
        ("alone", "none", "onlink, auto", 1800),
        ("rest", "other stateful", "onlink, auto", 1800),
        # An address by DHCPv6 besides, since the network has a range.
        ("lan", "managed, other stateful", "onlink, auto", 1800),
        # The host of an internal network is no router.
        ("deep", "managed, other stateful", "onlink", 0),
    ],
)
def test_what_is_advertised_by_mode(
    host: ThrowawayHost, network: str, flags: str, of_prefix: str, lifetime: int
) -> None:
    """And what the kernel makes of it."""
    with plugged_in(host, "listener", f"br-{network}", "02:00:00:00:00:31"):
        # Whoever comes asks for an advertisement.
        capture = "tcpdump -lnvi any -c1 'icmp6 and ip6[40] == 134' 2>/dev/null"
        heard = host.run(f"(sleep 1; ip link set eth0 down; ip link set eth0 up) & timeout 20 {capture}", "listener")
        until(lambda: bool(host.run("ip -6 route show proto ra; ip -6 route show proto kernel", "listener")))
        has_made_one = any(each.endswith(":ff:fe00:31") for each in addresses6(host, "listener") if each[:4] != "fe80")
        has_router = bool(host.json("ip -j -6 route show default", "listener"))
    assert (has_made_one, has_router) == ("auto" in of_prefix, lifetime > 0)
    assert f"Flags [{flags}]" in heard and f"Flags [{of_prefix}]" in heard
    assert f"router lifetime {lifetime}s" in heard
    assert ("rdnss" in heard) == (network in ("rest", "lan"))


def dhcpv6_lease(host: ThrowawayHost, place: str, words: str = "", options: str = "") -> dict[str, str]:
    """What DHCPv6 gives a client there, by dhclient's names for it."""
    path = f"/run/{place}.options6"
    host.write(f"/run/{place}.conf6", words)
    host.write("/run/report6", f"#!/bin/sh\nenv | sed -n s/^new_//p >> {path}\n")
    files = f"-cf /run/{place}.conf6 -lf /run/{place}.leases6 -pf /run/{place}.pid6"
    host.run(
        f"""
        chmod 755 /run/report6; rm -f {path}; : > /run/{place}.leases6
        timeout 20 dhclient -6 -1 -d {options} -sf /run/report6 {files} eth0 2>/dev/null &
        for each in $(seq 200); do grep -q = {path} 2>/dev/null && break; sleep 0.1; done
        kill $! 2>/dev/null || true
        """,
        place,
    )
    return dict(line.split("=", 1) for line in host.read(path).splitlines())


def leased_by_dhcpv6(host: ThrowawayHost, place: str, words: str = "") -> str:
    return dhcpv6_lease(host, place, words)["ip6_address"]


def test_dhcpv6_gives_declared_and_free_addresses(host: ThrowawayHost) -> None:
    assert leased_by_dhcpv6(host, "vm") == "fd00:8::50"
    called = 'send fqdn.fqdn "scanner"; send fqdn.encoded on; send fqdn.server-update on;'
    leased = leased_by_dhcpv6(host, "late", called)
    assert leased.startswith("fd00:7::1")
    for place in ("web", "both"):
        assert asked(host, place, "scanner.lan.example AAAA") == asked(host, place, "scanner AAAA") == [leased]


def test_dhcpv6_gives_the_rest_where_hosts_make_their_addresses(host: ThrowawayHost) -> None:
    with plugged_in(host, "listener", "br-rest", "02:00:00:00:00:32"):
        settings = dhcpv6_lease(host, "listener", options="-S")
    assert settings["dhcp6_domain_search"] == "rest."
    assert settings["dhcp6_name_servers"] in gateways(host, "rest")


def gateways(host: ThrowawayHost, network: str) -> tuple[str, ...]:
    return tuple(host.ledger()["allotted"]["networks"][network].values())


@pytest.mark.parametrize(
    ("architecture", "file", "content"),
    [
        ("0000", "pxe.0", "BIOS"),
        ("0007", "grub.efi", "UEFI"),
        ("0009", "grub.efi", "UEFI"),
        ("000b", "grubaa64.efi", "ARM"),
    ],
)
def test_network_boot(host: ThrowawayHost, architecture: str, file: str, content: str) -> None:
    settings = lease(host, "web", "-x", f"0x5d:{architecture}")
    assert settings["bootfile"] == file
    server = settings.get("siaddr") or settings["serverid"]
    assert content in host.run(f"busybox tftp -g -r {settings['bootfile']} -l /dev/stdout {server}", "web")


@pytest.mark.parametrize(("architecture", "file", "content"), [(7, "grub.efi", "UEFI"), (11, "grubaa64.efi", "ARM")])
def test_network_boot_by_ipv6(host: ThrowawayHost, architecture: int, file: str, content: str) -> None:
    words = f"send dhcp6.client-arch-type {architecture}; also request dhcp6.bootfile-url;"
    assert dhcpv6_lease(host, "late", words)["dhcp6_bootfile_url"] == f"tftp://[fd00:7::1]/{file}"
    assert content in host.run(f"busybox tftp -g -r {file} -l /dev/stdout fd00:7::1", "late")


def test_boot_by_http(host: ThrowawayHost) -> None:
    """A client takes an offer for one of its own only if it is marked as such."""
    settings = lease(host, "web", "-x 0x5d:0010", "-V HTTPClient:Arch:00016:UNDI:003001")
    assert settings["bootfile"] == "http://10.7.0.9/grub.efi"
    assert settings["vendor"] == "HTTPClient"
    assert "vendor" not in lease(host, "web", "-x 0x5d:0007")


def test_nobody_elsewhere_is_served(host: ThrowawayHost) -> None:
    networks = host.ledger()["allotted"]["networks"]
    gateways = tuple(f"[{each}]" if ":" in each else f"{each}:" for net in networks.values() for each in net.values())
    listening = host.run("ss -Hlnup").splitlines()
    for line in listening:
        address = line.split()[3]
        assert "%br-" in address or address.startswith(gateways), line


def test_a_firewall_of_iptables_that_drops_input_lets_questions_through() -> None:
    words = copy.deepcopy(WORDS)
    words["host"] = {"firewall-backend": "iptables"}
    words["networks"]["six"] = {"enable_ipv4": False, "enable_ipv6": True}
    words["containers"]["lone"] = {"networks": ["six"]}
    with ThrowawayHost.started(backend="iptables") as strict:
        prepare(strict)
        with strict.declared(words):
            strict.run("iptables -P INPUT DROP; ip6tables -P INPUT DROP")
            for place in ("web", "both"):
                assert asked(strict, place, "both.lan") == [strict.address("both", "lan")]
            assert asked(strict, "lone", "lone AAAA") == [strict.address("lone", "six", 6)]
            assert lease(strict, "web")["ip"] == strict.address("web", "lan")
            for gateway in ("10.7.0.1", "fd00:7::1"):
                assert "BIOS" in strict.run(f"busybox tftp -g -r pxe.0 -l /dev/stdout {gateway}", "web")
            plug_in(strict, "guest", "br-lan", "02:00:00:00:00:21")
            until(lambda: bool(strict.json("ip -j -6 route show default", "guest")))
            assert leased_by_dhcpv6(strict, "guest").startswith("fd00:7::1")
            unplug(strict, "guest")
            for address in ("10.7.0.1", "fd00:7::1"):
                assert not strict.probe("web", f"{address}/ping", expect_open=False).is_open
            strict.run("iptables -P INPUT ACCEPT; ip6tables -P INPUT ACCEPT")


def test_what_dnsmasq_would_not_start_with_is_refused_before_anything_is_touched() -> None:
    words: dict[str, Any] = {"networks": {"lan": copy.deepcopy(WORDS["networks"]["lan"])}}
    path = "wharf_networks.lan.x-wharf"
    words["networks"]["lan"]["x-wharf"]["dhcp"]["options"] = {"no-such": 1}
    with ThrowawayHost.started() as bare:
        before = bare.snapshot()
        for make, why in (("", "No such file or directory"), ("mkdir -m 700 /run/tftp", "Permission denied")):
            bare.run(make)
            for run in (bare.diff, bare.apply):
                with pytest.raises(EngineError) as refused:
                    run(words)
                assert re.sub("user [a-z]+", "user U", str(refused.value)).splitlines() == [
                    f'{path}.boot.tftp_root: "/run/tftp": dnsmasq, which runs as the user U, cannot read this folder: '
                    f"{why}: create it, and let everybody read it",
                    f'{path}.dhcp.options: "dhcp-option=option:no-such,1": dnsmasq refuses this line '
                    "(bad dhcp-option): see dnsmasq --help dhcp",
                ]
        assert differences(before, bare.snapshot()) == ""
        bare.run("chmod 755 /run/tftp; touch /run/tftp/pxe.0")
        words["networks"]["lan"]["x-wharf"]["dhcp"]["options"] = {"ntp-server": "10.7.0.9"}
        assert {re.sub("user [a-z]+", "user U", each) for each in bare.apply(words).warnings} == {
            f"{path}.boot.files.{each}: clients cannot load /run/tftp/{file}: No such file or directory (as the user U)"
            for each, file in (("efi64", "grub.efi"), ("arm64", "grubaa64.efi"))
        }
        config = "/run/wharf/dnsmasq/lan.conf"
        # Neither is a change of what is there already begun, and what goes need not have what it needed.
        words["networks"]["lan"]["x-wharf"]["dhcp"]["options"] = {"ntp-server": "nobody"}
        before = bare.ledger(), bare.rules(), bare.read(config)
        with pytest.raises(EngineError, match=r'dhcp.options: "dhcp-option=.*ntp-server,nobody": .*bad IP address'):
            bare.apply(words)
        assert (bare.ledger(), bare.rules(), bare.read(config)) == before
        bare.run("rm -r /run/tftp")
        bare.apply({}, ABSENT)


@pytest.mark.parametrize(
    ("port", "word"), [("0.0.0.0:67", "dhcp"), ("[::]:547", "ra"), ("0.0.0.0:69", "boot"), ("127.0.0.1:69", "")]
)
def test_ports_that_others_have_are_named_before_anything_is_touched(port: str, word: str) -> None:
    words = {"networks": {"lan": WORDS["networks"]["lan"]}}
    with ThrowawayHost.started() as bare:
        prepare(bare)
        address, _colon, number = port.rpartition(":")
        before = bare.snapshot()
        with taken(bare, address.strip("[]"), int(number)):
            if word:
                with pytest.raises(EngineError) as refused:
                    bare.apply(words)
                assert str(refused.value) == (
                    f"wharf_networks.lan.x-wharf.{word}: a process of the host has port {number}/udp on all addresses: "
                    "let it listen on its own interfaces only, or end it"
                )
            else:
                bare.apply(words)
        bare.apply({}, ABSENT)
        assert differences(before, bare.snapshot()) == ""


@contextmanager
def taken(host: ThrowawayHost, address: str, port: int) -> Iterator[None]:
    """By a process that lets nobody share it."""
    script = f"import socket; s = socket.socket(socket.AF_INET{'6' * (':' in address)}, socket.SOCK_DGRAM)"
    script += f"; s.bind(({address!r}, {port})); print(flush=True); input()"
    command = [*host.enter(), sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        yield
        process.communicate()


# dnsmasq, but that it fails once it has done all but give up root's rights.
_FAILING = """#!/bin/sh
case "$*" in
*--conf-file=/*) [ ! -e /run/fails ] || { rm /run/fails; set -- "$@" --enable-tftp --tftp-root=/nowhere; } ;;
esac
exec /run/real-dnsmasq "$@"
"""


@contextmanager
def failing_once(host: ThrowawayHost) -> Iterator[None]:
    program = host.run("command -v dnsmasq").strip()
    host.write("/run/failing-dnsmasq", _FAILING)
    host.run(f"cp {program} /run/real-dnsmasq; chmod 755 /run/failing-dnsmasq; : > /run/fails")
    host.run(f"mount --bind /run/failing-dnsmasq {program}")
    try:
        yield
        assert "fails" not in host.run("ls /run").split()
    finally:
        host.run(f"umount {program}; rm /run/failing-dnsmasq /run/real-dnsmasq")


def test_a_dnsmasq_that_fails_to_start_leaves_nothing() -> None:
    """But the leases that another one gave before it."""
    network: dict[str, Any] = {
        "ipam": {"config": [{"subnet": "10.6.0.0/24"}]},
        "x-wharf": {"dhcp": {"range": "10.6.0.128/25"}},
    }
    words = {"networks": {"home": network}}
    leases = "/var/lib/wharf/leases/home"
    with ThrowawayHost.started() as host:
        with (
            failing_once(host),
            pytest.raises(EngineError, match="dnsmasq home: .*; all changes .* were taken back"),
        ):
            host.apply(words)
        assert host.run("find /run/wharf /var/lib/wharf -type f -o -empty 2>&- || true") == ""
        host.converge(words)
        host.write(leases, "1999999999 02:00:00:00:00:01 10.6.0.130 guest *\n")
        network["x-wharf"]["dhcp"]["lease_time"] = "2h"
        with (
            failing_once(host),
            pytest.raises(EngineError, match="dnsmasq home: .*; all changes .* were taken back"),
        ):
            host.apply(words)
        assert "10.6.0.130" in host.read(leases)
        host.run("kill -0 $(cat /run/wharf/running/home.pid)")
        host.converge(words)
        host.converge({}, ABSENT)
