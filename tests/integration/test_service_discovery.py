# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What answers containers get when they ask for names: a real dnsmasq, asked by dig from inside the sandboxes."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hosts import ABSENT, ADDRESSES, EXACT, FILES, HOST, OUTSIDE, EngineError, ThrowawayHost

UPSTREAM, OTHER_UPSTREAM = "192.0.2.53", "192.0.2.54"

WORDS: dict[str, Any] = {
    "networks": {
        "app": {"enable_ipv6": True},
        "shop_db": {"internal": True},
        "six": {"enable_ipv4": False, "enable_ipv6": True},
        "corp": {
            "x-wharf": {
                "dns": {
                    "domain": "corp.example",
                    "upstreams": [OTHER_UPSTREAM],
                    "records": {
                        "printer": {"A": ["10.9.8.7", "10.9.8.6"], "AAAA": "fd00:9::7", "TXT": "second floor, left"},
                        "docs": {"CNAME": "wiki"},
                        "_ldap._tcp": {"SRV": "0 5 389 wiki"},
                        "absolute.example.": {"A": "10.9.8.5"},
                    },
                }
            }
        },
        "mute": {"x-wharf": {"dns": False}},
        "leased": {"x-wharf": {"dhcp": True}},
    },
    "containers": {
        "web": {"networks": {"app": {"aliases": ["www", "Front-End"]}}},
        "web2": {"networks": {"app": {"aliases": ["www"]}}},
        "mail": {"networks": ["app"], "hostname": "mx", "domainname": "example.org"},
        "both": {"networks": ["app", "shop_db"]},
        "pg": {"networks": {"shop_db": {"aliases": ["postgres"]}}},
        "picky": {"networks": ["app"], "dns": [OTHER_UPSTREAM]},
        "stubborn": {"networks": ["app"], "dns": ["127.0.0.1"]},
        "lone": {"networks": ["six"]},
        "wiki": {"networks": ["corp"]},
        "quiet": {"networks": ["mute"]},
        "tenant": {"networks": ["app", "leased"]},
        "plain": {},
    },
}

CONFIG, RUNNING = "/run/wharf/dnsmasq", "/run/wharf/running"
DNSMASQ = "/usr/sbin/dnsmasq"


@dataclass(frozen=True)
class Reply:
    """`status` is that of the DNS, or `closed`; `data` of the answer section, sorted."""

    status: str
    data: tuple[str, ...] = ()


CLOSED = Reply("closed")


def ask(host: ThrowawayHost, place: str, name: str, kind: str = "A", *options: str) -> Reply:
    """Ask as a program in the container would, of whom its `resolv.conf` names."""
    inside = "" if place in (HOST, OUTSIDE) else f"ip netns exec {place}"
    question = f"-x {name}" if kind == "PTR" else f"-q {name} -t {kind}"
    command = f"{inside} dig +noall +comments +answer +tries=1 +time=2 {' '.join(options)} {question} || true"
    return parse_dig(host.run(command, OUTSIDE if place == OUTSIDE else HOST))


def parse_dig(output: str) -> Reply:
    status = re.search(r"status: (\w+)", output)
    answers = [line.split(None, 4) for line in output.splitlines() if line and not line.startswith(";")]
    return Reply(status[1], tuple(sorted(line[4] for line in answers))) if status else CLOSED


@contextmanager
def upstream(host: ThrowawayHost, address: str, answer: str) -> Iterator[str]:
    """A nameserver outside that has one address for all names; yields the file in which it notes what it was asked."""
    log = f"/run/upstream-{address}"
    host.run(f"ip addr add {address}/24 dev eth0; touch {log}; chmod 666 {log}", OUTSIDE)
    options = f"--listen-address={address} --bind-interfaces --no-hosts --no-resolv --address=/#/{answer} --user=root"
    command = ["dnsmasq", "-C", "/dev/null", "--keep-in-foreground", "--group=", *options.split(), "--pid-file"]
    command += ["--log-queries", f"--log-facility={log}", "--local=/2.0.192.in-addr.arpa/"]
    process = subprocess.Popen([*host.enter(OUTSIDE), *command])
    try:
        yield log
    finally:
        process.kill()
        process.wait()
        host.run(f"ip addr del {address}/24 dev eth0", OUTSIDE)


def within_a_second(check: Callable[[], bool]) -> None:
    """What is to follow at once; a machine that is busy with other things is given more time to show it."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < 5
        time.sleep(0.02)


def soon_answered_outside(host: ThrowawayHost, place: str, expected: Reply, *options: str) -> None:
    """Asked each time for a name that no resolver can remember."""
    within_a_second(lambda: ask(host, place, f"{time.monotonic()}.example.com", "A", *options) == expected)


@pytest.fixture(scope="module")
def host() -> Iterator[ThrowawayHost]:
    with (
        ThrowawayHost.started() as started,
        upstream(started, UPSTREAM, "203.0.113.53"),
        upstream(started, OTHER_UPSTREAM, "203.0.113.54"),
        started.declared(WORDS),
    ):
        yield started


def pid(host: ThrowawayHost, resolver: str) -> str:
    return host.read(f"{RUNNING}/{resolver}.pid").strip()


def pids(host: ThrowawayHost) -> dict[str, str]:
    """Of all resolvers that run, by their names."""
    return {name: pid(host, name) for name in host.run(f"cd {RUNNING}; ls *.pid | sed 's/.pid$//'").split()}


def changed(**containers: Any) -> dict[str, Any]:
    words = copy.deepcopy(WORDS)
    words["containers"].update(containers)
    return words


# What is answered


@pytest.mark.parametrize(
    ("place", "name", "kind", "expected"),
    [
        ("web", "web", "A", "web/app"),
        ("web", "web.app", "A", "web/app"),
        ("web", "WEB.App", "A", "web/app"),
        ("web", "front-end", "A", "web/app"),
        ("web", "web2", "AAAA", "web2/app"),
        ("web", "mail", "A", "mail/app"),
        ("web", "mx", "A", "mail/app"),
        ("web", "mx.app", "AAAA", "mail/app"),
        ("web", "mx.example.org", "A", "mail/app"),
        ("both", "pg", "A", "pg/shop_db"),
        ("both", "postgres.shop_db", "A", "pg/shop_db"),
        ("both", "web", "A", "web/app"),
        ("both", "both.shop_db", "A", "both/shop_db"),
        ("pg", "both", "A", "both/shop_db"),
        ("picky", "web", "A", "web/app"),
        ("tenant", "web.app", "A", "web/app"),
        ("tenant", "tenant.leased", "A", "tenant/leased"),
        ("lone", "lone.six", "AAAA", "lone/six"),
        ("wiki", "wiki.corp.example", "A", "wiki/corp"),
        ("wiki", "wiki.corp", "A", "wiki/corp"),
    ],
)
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_names(host: ThrowawayHost, place: str, name: str, kind: str, expected: str, transport: str) -> None:
    container, _slash, network = expected.partition("/")
    address = host.address(container, network, 4 if kind == "A" else 6)
    assert ask(host, place, name, kind, transport) == Reply("NOERROR", (address,))


def test_an_alias_of_two_has_both_addresses_in_turn(host: ThrowawayHost) -> None:
    both = tuple(sorted(host.address(name, "app") for name in ("web", "web2")))
    assert ask(host, "mail", "www") == Reply("NOERROR", both)
    firsts = {host.run("ip netns exec mail dig +short www").split()[0] for _time in range(4)}
    assert firsts == set(both)
    # Also for programs, which look into the hosts file first.
    found = host.run("ip netns exec mail getent ahostsv4 www").splitlines()
    assert {line.split()[0] for line in found} == set(both)
    files = host.run("ip netns exec mail cat /etc/hosts; ip netns exec web cat /etc/hosts")
    assert "www" not in files and "web2" in files


@pytest.mark.parametrize(
    ("place", "name", "kind", "status"),
    [
        # A name that is known, in a family or of a type that it does not have.
        ("pg", "both", "AAAA", "NOERROR"),
        ("both", "pg.shop_db", "AAAA", "NOERROR"),
        ("lone", "lone", "A", "NOERROR"),
        ("lone", "lone.six", "A", "NOERROR"),
        ("web", "web", "MX", "NOERROR"),
        ("web", "web.app", "MX", "NOERROR"),
        ("tenant", "web.app", "MX", "NOERROR"),
        # A name that nobody has, or nobody on the networks of who asks.
        ("web", "nobody", "A", "NXDOMAIN"),
        ("web", "pg", "A", "NXDOMAIN"),
        ("pg", "web", "A", "NXDOMAIN"),
        ("picky", "pg", "A", "NXDOMAIN"),
        ("tenant", "pg", "A", "NXDOMAIN"),
        ("tenant", "nobody.leased", "A", "NXDOMAIN"),
        ("lone", "web", "A", "NXDOMAIN"),
        ("wiki", "web", "A", "NXDOMAIN"),
        ("wiki", "nobody.corp.example", "A", "NXDOMAIN"),
        ("both", "nobody.shop_db", "A", "NXDOMAIN"),
        # Nobody answers the names of containers of the default bridge.
        ("web", "plain", "A", "NXDOMAIN"),
    ],
)
def test_nothing_is_answered_by_nothing(host: ThrowawayHost, place: str, name: str, kind: str, status: str) -> None:
    assert ask(host, place, name, kind) == Reply(status)


def test_addresses_have_names(host: ThrowawayHost) -> None:
    for version in (4, 6):
        assert ask(host, "web2", host.address("web", "app", version), "PTR") == Reply("NOERROR", ("web.app.",))
    assert ask(host, "wiki", host.address("wiki", "corp"), "PTR") == Reply("NOERROR", ("wiki.corp.example.",))
    assert ask(host, "web", host.address("pg", "shop_db"), "PTR").data != ("pg.shop_db.",)
    unused = host.address("web", "app").rpartition(".")[0] + ".250"
    assert ask(host, "web", unused, "PTR") == Reply("NXDOMAIN")


def test_declared_records(host: ThrowawayHost) -> None:
    for name in ("printer", "printer.corp.example"):
        assert ask(host, "wiki", name) == Reply("NOERROR", ("10.9.8.6", "10.9.8.7"))
        assert ask(host, "wiki", name, "AAAA") == Reply("NOERROR", ("fd00:9::7",))
        assert ask(host, "wiki", name, "TXT") == Reply("NOERROR", ('"second floor, left"',))
    address = host.address("wiki", "corp")
    assert ask(host, "wiki", "docs.corp.example") == Reply("NOERROR", tuple(sorted((address, "wiki."))))
    assert ask(host, "wiki", "_ldap._tcp.corp.example", "SRV") == Reply("NOERROR", ("0 5 389 wiki.",))
    assert ask(host, "wiki", "absolute.example") == Reply("NOERROR", ("10.9.8.5",))
    assert ask(host, "web", "printer") == Reply("NXDOMAIN")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("web", "203.0.113.53"),
        ("both", "203.0.113.53"),
        ("picky", "203.0.113.54"),
        ("wiki", "203.0.113.54"),
        ("quiet", "203.0.113.53"),
        ("tenant", "203.0.113.53"),
        ("plain", "203.0.113.53"),
    ],
)
def test_other_names_are_asked_of_the_nameservers_in_charge(host: ThrowawayHost, place: str, expected: str) -> None:
    assert ask(host, place, "elsewhere.example.com") == Reply("NOERROR", (expected,))


def test_internal_networks_ask_nobody(host: ThrowawayHost) -> None:
    assert ask(host, "pg", "elsewhere.example.com") == Reply("NXDOMAIN")
    assert ask(host, "pg", "192.0.2.1", "PTR") == Reply("NXDOMAIN")


def test_names_of_containers_are_sent_to_nobody_outside(host: ThrowawayHost) -> None:
    log = f"/run/upstream-{UPSTREAM}"
    ask(host, "web", "elsewhere.example.com")
    for name, kind in (("web.app", "TXT"), ("lone", "A"), ("mx.example.org", "MX"), ("nobody", "A"), ("web", "MX")):
        ask(host, "web", name, kind)
    asked = set(re.findall(r"query\[\w+\] (\S+) from", host.read(log)))
    assert "elsewhere.example.com" in asked
    assert not {"web", "web.app", "lone", "nobody", "mx.example.org"} & asked
    # What only ends as such a name is nobody's here.
    assert ask(host, "web", "other.example.org") == Reply("NOERROR", ("203.0.113.53",))
    assert ask(host, "web", "sub.web.app") == Reply("NOERROR", ("203.0.113.53",))


def test_nobody_outside_is_believed_about_addresses_of_the_network(host: ThrowawayHost) -> None:
    with upstream(host, "192.0.2.55", host.address("web", "app")):
        host.write("/etc/resolv.conf", "nameserver 192.0.2.55\n")
        for place in ("web", "both", "tenant"):
            soon_answered_outside(host, place, Reply("NXDOMAIN"))
        host.write("/etc/resolv.conf", FILES["/etc/resolv.conf"])
    soon_answered_outside(host, "web", Reply("NOERROR", ("203.0.113.53",)))


# Who may ask


def gateway(host: ThrowawayHost, network: str) -> str:
    return str(next(iter(host.ledger()["allotted"]["networks"][network].values())))


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_a_resolver_is_asked_on_its_network_only(host: ThrowawayHost, transport: str) -> None:
    app = gateway(host, "app")
    ports = host.ledger()["allotted"]["resolvers"]
    short = (transport, "+time=1")
    assert ask(host, "wiki", "web", "A", f"@{app}", *short) == CLOSED
    for address in (*ADDRESSES["host"], *host.ledger()["allotted"]["networks"]["app"].values()):
        assert ask(host, OUTSIDE, "web", "A", f"@{address}", *short) == CLOSED
    for resolver in ("app:shop_db", "app:leased:@outward"):
        for place in ("web", OUTSIDE):
            assert ask(host, place, "pg", "A", f"@{app}", "-p", str(ports[resolver]), *short) == CLOSED
    assert ask(host, HOST, "web", "A", f"@{app}", *short).status == "NOERROR"


def test_resolvers_listen_at_gateways_only(host: ThrowawayHost) -> None:
    networks = host.ledger()["allotted"]["networks"]
    gateways = {address for subnets in networks.values() for address in subnets.values()}
    listening = [line.split() for line in host.run("ss -Hlntup").splitlines() if "dnsmasq" in line]
    bound = {words[4].rpartition(":")[0].strip("[]") for words in listening if words[0] == "tcp"}
    # A network's own also has the address of its bridge that is good on this link only.
    on_link = {address for address in bound if address.startswith("fe80::") and "%br-" in address}
    assert gateways >= bound - on_link != set()


def test_nobody_outside_is_answered_where_no_rules_stand() -> None:
    """dnsmasq itself looks by which interface a question comes."""
    words: dict[str, Any] = {
        "host": {"iptables": False, "ip6tables": False},
        "networks": {"app": {"enable_ipv6": True}, "db": {}},
        "containers": {
            "web": {"networks": ["app"]},
            "both": {"networks": ["app", "db"]},
            "picky": {"networks": ["app"], "dns": [OTHER_UPSTREAM]},
            "pg": {"networks": ["db"]},
        },
    }
    with ThrowawayHost.started() as bare, bare.declared(words):
        web = Reply("NOERROR", (bare.address("web", "app"),))
        for transport in ("+notcp", "+tcp"):
            for place in ("both", HOST):
                assert ask(bare, place, "web", "A", f"@{gateway(bare, 'app')}", transport) == web
            for address in bare.ledger()["allotted"]["networks"]["app"].values():
                bare.run(f"ping -c1 -W5 {address}", OUTSIDE)
                assert ask(bare, OUTSIDE, "web", "A", f"@{address}", transport, "+time=1") == CLOSED
            assert ask(bare, "pg", "web", "A", f"@{gateway(bare, 'app')}", transport, "+time=1") == CLOSED
            assert ask(bare, "web", "web", "A", f"@{ADDRESSES['host'][0]}", transport, "+time=1") == CLOSED
        # Nobody would lead containers to another resolver than that of their network.
        assert bare.ledger()["allotted"]["resolvers"] == {}
        assert f"nameserver {OTHER_UPSTREAM}" in bare.read("/etc/netns/picky/resolv.conf")


def test_resolvers_have_given_up_what_they_do_not_need(host: ThrowawayHost) -> None:
    status = host.read(f"/proc/{pid(host, 'app')}/status")
    user = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)
    assert user and user[1] != "0"


def test_a_published_port_53_is_not_what_containers_ask(host: ThrowawayHost) -> None:
    host.apply(changed(pihole={"networks": ["app"], "ports": ["53:53/udp", "53:53/tcp"]}))
    host.serve("pihole", "53/udp")
    assert host.probe(OUTSIDE, "192.0.2.10:53/udp").by == "pihole"
    assert ask(host, "web", "pihole") == Reply("NOERROR", (host.address("pihole", "app"),))
    assert ask(host, "both", "pg") == Reply("NOERROR", (host.address("pg", "shop_db"),))
    host.agent.call("stop_all")
    host.converge({"containers": {"pihole": {}}}, ABSENT, ["containers"])


def test_isolated_containers_reach_their_resolver(host: ThrowawayHost) -> None:
    words = changed(one={"networks": ["apart"]}, two={"networks": ["apart", "app"]})
    words["networks"]["apart"] = {"driver_opts": {"com.docker.network.bridge.enable_icc": "false"}}
    host.apply(words)
    assert ask(host, "one", "two") == Reply("NOERROR", (host.address("two", "apart"),))
    assert ask(host, "two", "web") == Reply("NOERROR", (host.address("web", "app"),))
    host.apply({"containers": {"one": {}, "two": {}}}, ABSENT, ["containers"])
    host.apply({"networks": {"apart": {}}}, ABSENT, ["user_networks"])


# Changes


def test_the_files_name_the_resolver_or_else_the_nameservers(host: ThrowawayHost) -> None:
    def nameservers(container: str) -> list[str]:
        lines = host.run(f"ip netns exec {container} cat /etc/resolv.conf").splitlines()
        return [line.split()[1] for line in lines if line.startswith("nameserver")]

    assert nameservers("web") == nameservers("picky") == nameservers("both") == [gateway(host, "app")]
    assert nameservers("lone") == [gateway(host, "six")]
    assert nameservers("quiet") == nameservers("plain") == [UPSTREAM]
    # On the container's own loopback no process of the host can ask.
    assert nameservers("stubborn") == ["127.0.0.1"]


@contextmanager
def no_question_is_lost(host: ThrowawayHost) -> Iterator[None]:
    """Somebody asks for `web` all the while; nor does any resolver end."""
    before = pids(host)
    questions = "while [ ! -e /run/enough ]; do dig +tries=1 +time=2 +short web || echo lost; done"
    asking = subprocess.Popen(
        [*host.enter(), "ip", "netns", "exec", "web2", "sh", "-c", questions], stdout=subprocess.PIPE, text=True
    )
    try:
        yield
    finally:
        host.run("touch /run/enough")
        answers = asking.communicate(timeout=30)[0].split()
        host.run("rm /run/enough")
    assert len(answers) > 1 and set(answers) == {host.address("web", "app")}
    assert pids(host) == before


def test_who_comes_changes_and_goes_is_seen_at_once_and_no_question_is_lost(host: ThrowawayHost) -> None:
    with no_question_is_lost(host):
        host.converge(changed(late={"networks": {"app": {"aliases": ["fresh"]}}}))
        address = host.address("late", "app")
        within_a_second(lambda: ask(host, "both", "fresh").data == (address,))
        host.converge(changed(late={"networks": {"app": {"aliases": ["ripe"]}}}))
        within_a_second(lambda: ask(host, "web", "ripe").data == (address,))
        assert ask(host, "web", "fresh") == Reply("NXDOMAIN")
        host.converge({"containers": {"late": {}}}, ABSENT, ["containers"])
        within_a_second(lambda: ask(host, "web", "late").status == "NXDOMAIN")


def test_a_renamed_container_is_known_by_its_new_name_only_and_no_question_is_lost(host: ThrowawayHost) -> None:
    """One that keeps its address and its stack, and is asked for by who is on its network alone and on another, too."""
    there = {"networks": {"app": {"ipv4_address": "172.18.0.77"}}, "x-wharf": {"sandbox": "path:/run/netns/lasting"}}
    host.run("ip netns add lasting")
    host.converge(changed(old=there), EXACT)
    known, unknown = Reply("NOERROR", ("172.18.0.77",)), Reply("NXDOMAIN")

    def soon_answered(place: str, *expected: Reply) -> None:
        within_a_second(lambda: (ask(host, place, "old"), ask(host, place, "new")) == expected)

    for place in ("web", "both", "tenant"):
        soon_answered(place, known, unknown)
    with no_question_is_lost(host):
        host.converge(changed(new=there), EXACT)
        for place in ("web", "both", "tenant", "lasting"):
            soon_answered(place, unknown, known)
            assert ask(host, place, "new.app") == known
            assert ask(host, place, "172.18.0.77", "PTR") == Reply("NOERROR", ("new.app.",))
    host.converge(WORDS, EXACT)
    host.run("ip netns del lasting")


def test_who_joins_another_network_knows_its_names_at_once(host: ThrowawayHost) -> None:
    assert ask(host, "web2", "pg") == Reply("NXDOMAIN")
    words = changed()
    words["containers"]["web2"]["networks"]["shop_db"] = {}
    host.converge(words)
    assert ask(host, "web2", "pg") == Reply("NOERROR", (host.address("pg", "shop_db"),))
    host.converge(WORDS)
    assert ask(host, "web2", "pg") == Reply("NXDOMAIN")


def test_a_changed_network_restarts_its_own_resolver_only(host: ThrowawayHost) -> None:
    before = pids(host)
    words = changed()
    words["networks"]["corp"]["x-wharf"]["dns"]["records"]["docs"] = {"TXT": "gone"}
    made = host.converge(words)
    assert ("dnsmasq", "update", "dnsmasq", "corp", "config") in made
    assert ask(host, "wiki", "docs", "TXT") == Reply("NOERROR", ('"gone"',))
    assert {name for name, number in pids(host).items() if number != before[name]} == {"corp"}
    host.converge(WORDS)


def test_a_resolver_follows_its_gateway_to_another_address() -> None:
    def words(gateway: str, network: str = "app") -> dict[str, Any]:
        pool = {"subnet": "10.9.0.0/24", "gateway": gateway}
        return {
            "networks": {network: {"ipam": {"config": [pool]}}},
            "containers": {"web": {"networks": {network: {"ipv4_address": "10.9.0.9"}}}},
        }

    with ThrowawayHost.started() as bare, bare.declared(words("10.9.0.1")):
        for changed_words in (words("10.9.0.2"), words("10.9.0.2", "renamed")):
            bare.apply(changed_words, EXACT)
            assert ask(bare, "web", "web") == Reply("NOERROR", ("10.9.0.9",))
            assert bare.apply(changed_words, EXACT).changes == []


def test_resolvers_follow_the_hosts_resolv_conf(host: ThrowawayHost) -> None:
    for content, expected in (
        (f"nameserver {OTHER_UPSTREAM}\n", "203.0.113.54"),
        (FILES["/etc/resolv.conf"], "203.0.113.53"),
    ):
        host.write("/etc/resolv.conf", content)
        for place in ("web", "both", "tenant"):
            soon_answered_outside(host, place, Reply("NOERROR", (expected,)))


def test_nameservers_are_asked_in_their_order(host: ThrowawayHost) -> None:
    """The next one when one does not answer, and somebody asks again."""
    for first, second, expected in (
        (OTHER_UPSTREAM, UPSTREAM, "203.0.113.54"),
        ("192.0.2.99", OTHER_UPSTREAM, "203.0.113.54"),
        # Resolvers of ours may be named, too: they know none but those outside.
        (gateway(host, "app"), UPSTREAM, "203.0.113.53"),
    ):
        host.write("/etc/resolv.conf", f"nameserver {first}\nnameserver {second}\n")
        patient = ("+tries=3", "+time=1")
        soon_answered_outside(host, "web", Reply("NOERROR", (expected,)), *patient)
        for place in ("web", "both", "tenant"):
            assert ask(host, place, f"{time.monotonic()}.example.com", "A", *patient).data == (expected,)
    changed = {name for _layer, _action, _kind, name, *_fields in host.converge(WORDS)}
    assert "/etc/netns/plain/resolv.conf" in changed
    assert gateway(host, "app") not in host.read("/etc/netns/plain/resolv.conf")
    host.write("/etc/resolv.conf", FILES["/etc/resolv.conf"])
    host.converge(WORDS)


def test_the_stub_of_systemd_resolved_is_asked_for_what_is_outside(host: ThrowawayHost) -> None:
    stub = "dnsmasq -C /dev/null -k --user=root --group= --listen-address=127.0.0.53 --bind-interfaces --no-resolv"
    with subprocess.Popen([*host.enter(), *stub.split(), "--address=/#/203.0.113.55", "--pid-file"]) as process:
        host.write("/etc/resolv.conf", "nameserver 127.0.0.53\n")
        soon_answered_outside(host, "web", Reply("NOERROR", ("203.0.113.55",)))
        process.kill()
    host.write("/etc/resolv.conf", FILES["/etc/resolv.conf"])
    soon_answered_outside(host, "web", Reply("NOERROR", ("203.0.113.53",)))


@pytest.mark.parametrize("nameserver", ["10.1.0.1", "10.2.0.1"])
def test_resolvers_that_are_led_to_each_other_by_the_host_end_it(nameserver: str) -> None:
    """And so each of them passes on at once that its only nameserver refuses. Declared, it would be an error."""
    networks = {name: {"ipam": {"config": [{"subnet": f"10.{n}.0.0/24"}]}} for n, name in ((1, "one"), (2, "two"))}
    networks["one"]["x-wharf"] = {"dns": {"upstreams": ["10.2.0.1"]}}
    words = {"networks": networks, "containers": {f"on-{name}": {"networks": [name]} for name in networks}}
    with ThrowawayHost.started() as circular, circular.declared(words):
        circular.write("/etc/resolv.conf", f"nameserver {nameserver}\n")
        for name in networks:
            soon_answered_outside(circular, f"on-{name}", Reply("REFUSED"))
            assert ask(circular, f"on-{name}", "elsewhere.example.com", "A", "+tcp") == Reply("REFUSED")
        circular.write("/etc/resolv.conf", FILES["/etc/resolv.conf"])


def test_a_container_that_switches_ipv6_off_has_no_address_of_it_and_no_name() -> None:
    network = {"enable_ipv6": True, "ipam": {"config": [{"subnet": "10.7.0.0/24"}, {"subnet": "fd00:7::/64"}]}}
    words: dict[str, Any] = {
        "networks": {"app": network},
        "containers": {"web": {"networks": ["app"]}, "old": {"networks": ["app"], "ports": ["8080:80"]}},
    }
    off = copy.deepcopy(words)
    off["containers"]["old"]["sysctls"] = {"net.ipv6.conf.all.disable_ipv6": "1"}
    with ThrowawayHost.started() as bare, bare.declared(off):
        bare.serve("old", "80/tcp")
        for declared, answers in ((off, ()), (words, ("fd00:7::3",)), (off, ())):
            bare.converge(declared)
            assert [each for link in bare.json("ip -j -6 addr", "old") for each in link["addr_info"]] == [] or answers
            assert ask(bare, "web", "old", "AAAA") == Reply("NOERROR", answers)
            assert ask(bare, "web", "old").data == (bare.address("old", "app"),)
            assert bare.probe(OUTSIDE, f"{ADDRESSES['host'][0]}:8080/tcp").is_open


def test_a_container_may_name_a_gateway_as_its_nameserver() -> None:
    """Also another one than that of its network: the resolver there answers, and not with the names of its network."""
    words = {
        "networks": {"app": {"ipam": {"config": [{"subnet": "10.7.0.0/24"}]}}, "other": {}},
        "containers": {
            "web": {"networks": ["app"], "dns": ["10.7.0.1"]},
            "both": {"networks": ["app", "other"], "dns": ["10.7.0.1"]},
            "far": {"networks": ["other"], "dns": ["10.7.0.1"]},
        },
    }
    with ThrowawayHost.started() as bare, upstream(bare, "192.0.2.53", "203.0.113.53"), bare.declared(words):
        for name in words["containers"]:
            assert ask(bare, name, f"{name}.example.com") == Reply("NOERROR", ("203.0.113.53",))
        assert ask(bare, "web", "both").status == "NOERROR"
        assert ask(bare, "far", "web") == Reply("NXDOMAIN")


# Processes


def test_one_that_was_killed_is_started_again(host: ThrowawayHost) -> None:
    host.run(f"kill -9 {pid(host, 'app')}; while [ -e /proc/{pid(host, 'app')}/root/etc ]; do sleep 0.01; done")
    assert host.converge(WORDS) == [("dnsmasq", "create", "dnsmasq", "app")]
    assert ask(host, "web", "web2").status == "NOERROR"


def test_one_that_somebody_has_started_anew_is_left_alone(host: ThrowawayHost) -> None:
    """As systemd does with one that crashed: unless what it was to read has changed since."""
    command = host.run(f"tr '\\0' ' ' < /proc/{pid(host, 'app')}/cmdline")
    for change, changes in (("true", []), (f"touch {CONFIG}/app.conf", [("dnsmasq", "update")])):
        host.run(f"kill -9 {pid(host, 'app')}; while [ -e /proc/{pid(host, 'app')}/root/etc ]; do sleep 0.01; done")
        host.run(f"until {command}; do sleep 0.05; done; sleep 0.01; {change}")
        assert [(kind, action) for _layer, action, kind, *_fields in host.converge(WORDS)] == changes
    assert ask(host, "web", "web2").status == "NOERROR"


def test_a_pid_file_is_not_believed(host: ThrowawayHost) -> None:
    """The number may be somebody else's by now, and the process may be there without it."""
    right = pid(host, "app")
    with subprocess.Popen([*host.enter(), "sleep", "60"]) as other:
        host.write(f"{RUNNING}/app.pid", f"{other.pid}\n")
        assert host.converge(WORDS) == []
        words = changed()
        words["networks"]["app"]["x-wharf"] = {"dns": {"domain": "elsewhere.example"}}
        host.converge(words)
        assert other.poll() is None
        other.kill()
    assert not host.run(f"[ ! -e /proc/{right}/root/etc ] || cat /proc/{right}/cmdline")
    assert ask(host, "web", "web2.elsewhere.example").status == "NOERROR"
    host.converge(WORDS)


def test_what_was_lost_of_the_files_is_made_up_for(host: ThrowawayHost) -> None:
    """Also where dnsmasq still watches a folder that is no longer there."""
    for lost in ("/run/wharf/names/app", "/run/wharf"):
        host.run(f"rm -r {lost}")
        host.converge(WORDS)
        assert ask(host, "web", "web2").status == "NOERROR"
        host.converge(changed(late={"networks": ["app"]}))
        within_a_second(lambda: ask(host, "web", "late").status == "NOERROR")
        host.converge({"containers": {"late": {}}}, ABSENT, ["containers"])


@contextmanager
def program(host: ThrowawayHost, content: str) -> Iterator[None]:
    """Another program in place of dnsmasq; an empty one that cannot be run in place of none."""
    host.write("/run/instead", content)
    host.run(f"chmod {755 if content else 644} /run/instead; mount --bind /run/instead {DNSMASQ}")
    try:
        yield
    finally:
        host.run(f"umount {DNSMASQ}; rm /run/instead")


def test_a_configuration_that_dnsmasq_refuses_leaves_the_old_one_in_force(host: ThrowawayHost) -> None:
    words = changed()
    words["networks"]["corp"]["x-wharf"]["dns"]["domain"] = "other.example"
    before = pid(host, "corp"), host.read(f"{CONFIG}/corp.conf")
    message = "networks.corp: dnsmasq refuses .*/corp.conf: bad option at line 3"
    with program(host, "#!/bin/sh\necho bad option at line 3 >&2; exit 1\n"), pytest.raises(EngineError, match=message):
        host.apply(words)
    assert (pid(host, "corp"), host.read(f"{CONFIG}/corp.conf")) == before
    assert ask(host, "wiki", "wiki.corp.example").status == "NOERROR"
    assert host.converge(WORDS)[-1:] != [("dnsmasq", "create", "dnsmasq", "corp")]


_SYSTEMCTL = """#!/bin/sh
echo "$@" >> /run/systemctl.log
verb=$1
for unit in "$@"; do
    name=${unit#wharf-dnsmasq@}
    name=${name%.service}
    [ "$name" != "$unit" ] || continue
    [ $verb != stop ] || kill $(cat /run/wharf/running/$name.pid)
    [ $verb != restart ] || dnsmasq --conf-file=/run/wharf/dnsmasq/$name.conf
done
"""


def test_with_systemd_units_are_started_and_stopped(tmp_path: Path) -> None:
    """There is no systemd in a throwaway host. So this tests the calls of systemctl, and systemd's view of the unit."""
    words = {"networks": {"app": {}, "db": {}}, "containers": {"both": {"networks": ["app", "db"]}}}
    with ThrowawayHost.started() as booted:
        booted.write("/run/systemctl", _SYSTEMCTL)
        booted.run("mkdir -p /run/systemd/system; chmod 755 /run/systemctl; touch /run/systemctl.log")
        booted.run("mount --bind /run/systemctl /usr/bin/systemctl")
        with booted.declared(words):
            calls = booted.read("/run/systemctl.log").splitlines()
            units = [f"wharf-dnsmasq@{name}.service" for name in ("app", "db", "app:db")]
            assert calls == ["daemon-reload", f"restart -- {' '.join(units)}"]
            unit = booted.read("/run/systemd/system/wharf-dnsmasq@.service")
            assert f"PIDFile={RUNNING}/%i.pid" in unit
            (tmp_path / "wharf-dnsmasq@app:db.service").write_text(unit)
        if shutil.which("systemd-analyze"):
            verify = ["systemd-analyze", "verify", str(tmp_path / "wharf-dnsmasq@app:db.service")]
            said = subprocess.run(verify, capture_output=True, text=True, check=False).stderr
            assert "wharf-dnsmasq@" not in said
        assert set(booted.read("/run/systemctl.log").splitlines()[-1].split()[2:]) == set(units)


OLD = "#!/bin/sh\n[ $1 != --version ] || echo 'Dnsmasq version 2.85  Copyright (c) 2000-2021 Simon Kelley'\n"


@pytest.mark.parametrize(
    ("installed", "refused"),
    [
        ("", "dnsmasq: is needed on this host to answer the names"),
        (OLD, "dnsmasq: version 2.85 on this host is too old to answer the names of .*: install 2.88 or later, or say"),
    ],
    ids=["none", "old"],
)
def test_without_a_dnsmasq_that_will_do_nothing_is_touched(installed: str, refused: str) -> None:
    with ThrowawayHost.started() as bare:
        before = bare.snapshot()
        with program(bare, installed):
            with pytest.raises(EngineError, match=refused):
                bare.apply({"networks": {"app": {}}})
            assert bare.snapshot() == before
            bare.apply({"containers": {"a": {}}, "networks": {"mute": {"x-wharf": {"dns": False}}}})
            bare.apply({}, ABSENT)


@pytest.mark.parametrize("port", ["0.0.0.0:53/udp", "0.0.0.0:53/tcp", "[::]:53/udp", "127.0.0.53:53/udp"])
def test_a_port_that_another_process_has_is_named_before_anything_is_touched(port: str) -> None:
    """Unless it has it at an address of its own, as systemd-resolved does."""
    words = {"networks": {"app": {}}, "containers": {"web": {"networks": ["app"]}}}
    with ThrowawayHost.started() as bare:
        before = bare.snapshot()
        bare.serve(HOST, port)
        if port.startswith("127"):
            bare.apply(words)
            assert ask(bare, "web", "web").status == "NOERROR"
        else:
            with pytest.raises(EngineError) as refused:
                bare.apply(words)
            assert str(refused.value) == (
                f"wharf_networks.app: a process of the host listens on {port} already, where names are to be answered: "
                "let it listen on its own addresses only, or say x-wharf: {dns: false} on the network"
            )
        bare.agent.call("stop_all")
        bare.apply({}, ABSENT)
        assert bare.snapshot() == before
