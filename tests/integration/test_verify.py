# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The derived probes hold on a host that is as declared, and where it is broken exactly those fail that should."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import test_matrix
import yaml
from declarations import declarations, prepare, trying
from hosts import EXACT, OUTSIDE, ThrowawayHost
from hypothesis import given
from runners import ENGINE
from test_options import TOPOLOGIES
from test_playbooks import Controller

VERIFY = """
import json, sys
from engine.verification import Request, verify
print(json.dumps(verify(Request(**json.load(sys.stdin))).as_data()))
"""

WORDS = {
    "networks": {
        "front": {},
        "back": {},
        "vault": {"internal": True},
        "quiet": {"driver_opts": {"com.docker.network.bridge.enable_icc": "false"}},
    },
    "containers": {
        "web": {"networks": ["front"], "ports": ["8080:80", "8053:53/udp"]},
        "peer": {"networks": ["front"]},
        "app": {"networks": ["back"], "ports": ["127.0.0.1:9000:80"]},
        "safe": {"networks": ["vault"]},
        "one": {"networks": ["quiet"]},
        "two": {"networks": ["quiet"]},
    },
}

HOST, SECOND = "192.0.2.10", "192.0.2.11"


# Another host has no ledger of this one's.
WITHOUT_LEDGER = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
WITHOUT_LEDGER += ['mount -t tmpfs none /var/lib; exec "$@"', "sh"]


def verify(host: ThrowawayHost, place: str = "host", **request: Any) -> dict[str, Any]:
    """Send the probes from a place: the derived ones, unless others are asked for."""
    given = json.dumps({"timeout": 0.4, **request})
    if place == "host":
        return dict(json.loads(host.python(VERIFY, given)))
    command = [*host.enter(place), *(WITHOUT_LEDGER if place == OUTSIDE else []), *ENGINE, "-c", VERIFY]
    ran = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


def rows(found: dict[str, Any], fulfilled: bool | None = False) -> dict[str, str]:
    """What was seen of the probes that came out like this, by `FROM > TO:PORT/PROTOCOL`."""
    return {
        f"{row['from']} > {row['to']}{':' + str(row['port']) if row['port'] else ''}/{row['protocol']}": row["seen"]
        for row in found["probes"]
        if row["fulfilled"] is fulfilled
    }


@pytest.fixture
def small(host: ThrowawayHost) -> ThrowawayHost:
    host.apply(WORDS)
    return host


@pytest.mark.parametrize("bridge_nf", [0, 1])
def test_all_derived_probes_hold_for_the_matrix(bridge_nf: int) -> None:
    with ThrowawayHost.started(bridge_nf=bridge_nf) as host:
        host.apply(test_matrix.WORDS)
        inside = verify(host)
        assert len(inside["probes"]) > 300
        assert rows(inside) == rows(inside, None) == {}
        outside = verify(host, OUTSIDE, probes=inside["outside_probes"], derive=False)
        assert rows(outside) == {}
        # What refuses datagrams says so to nobody more often than the kernel lets it.
        assert all(way.endswith("/udp") for way in rows(outside, None))


@pytest.mark.parametrize("topology", sorted(TOPOLOGIES))
def test_all_derived_probes_hold_with_options(topology: str, host: ThrowawayHost) -> None:
    words, _table = TOPOLOGIES[topology]
    host.apply(words)
    inside = verify(host)
    assert rows(inside) == rows(inside, None) == {}
    outside = verify(host, OUTSIDE, probes=inside["outside_probes"], derive=False)
    assert rows(outside) == {}
    assert all(way.endswith("/udp") for way in rows(outside, None))


@pytest.fixture(scope="module")
def declared_host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as host:
        prepare(host)
        yield host


@trying(6)
@given(words=declarations())
def test_all_derived_probes_hold_for_any_declaration(declared_host: ThrowawayHost, words: dict[str, Any]) -> None:
    declared_host.apply(words, EXACT)
    inside = verify(declared_host)
    assert rows(inside) == rows(inside, None) == {}
    outside = verify(declared_host, OUTSIDE, probes=inside["outside_probes"], derive=False)
    assert rows(outside) == {}
    assert all(way.endswith("/udp") for way in rows(outside, None))


def test_services_that_run_are_reached_and_left_alone(small: ThrowawayHost) -> None:
    small.serve("web", "80/tcp", "53/udp")
    assert rows(verify(small)) == {}
    assert small.probe("outside", f"{HOST}:8080/tcp").is_open


BIND = """
import socket
for _ in range(1000):
    socket.create_server(("", 80)).close()
    socket.create_server(("::", 80), family=socket.AF_INET6).close()
    with socket.socket(type=socket.SOCK_DGRAM) as opened:
        opened.bind(("", 53))
"""


def test_a_port_is_free_while_it_is_probed(small: ThrowawayHost) -> None:
    binding = 0
    with subprocess.Popen(
        [*small.enter(), *ENGINE, "-c", VERIFY], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as verifying:
        assert verifying.stdin
        verifying.stdin.write(json.dumps({"timeout": 1}))
        verifying.stdin.close()
        while verifying.poll() is None:
            subprocess.run([*small.enter("web"), sys.executable, "-c", BIND], check=True)
            binding += 1
    assert verifying.returncode == 0
    assert binding > 1


def test_without_rules(small: ThrowawayHost) -> None:
    small.run("nft flush ruleset")
    failed = rows(verify(small))
    assert failed["host > 127.0.0.1:8080/tcp"] == failed[f"host > {HOST}:8080/tcp"] == "refused"
    assert failed[f"app > {HOST}:8080/tcp"] == "refused"
    web, app = small.address("web", "front"), small.address("app", "back")
    assert failed[f"app > {web}:80/tcp"] == failed[f"web > {app}:80/tcp"] == "open"
    one, two = small.address("one", "quiet"), small.address("two", "quiet")
    # Their ports are isolated, which needs no rules.
    assert not {f"one > {two}:9/tcp", f"two > {one}:9/tcp"} & failed.keys()
    assert not [way for way in failed if way.endswith("/ping")]


def test_without_the_element_of_a_port(small: ThrowawayHost) -> None:
    outside = verify(small)["outside_probes"]
    small.run("nft delete element inet wharf published4 '{ tcp . 8080 }'")
    failed = rows(verify(small))
    assert set(failed) == {
        *(f"host > {address}:8080/tcp" for address in ("127.0.0.1", HOST, SECOND)),
        *(f"{user} > {HOST}:8080/tcp" for user in ("web", "peer", "app")),
    }
    assert set(failed.values()) == {"refused"}
    failed = rows(verify(small, OUTSIDE, probes=outside, derive=False))
    assert failed == {f"host > {address}:8080/tcp": "refused" for address in (HOST, SECOND)}


def test_without_the_default_route_of_a_container(small: ThrowawayHost) -> None:
    small.run("ip netns exec app ip route del default")
    failed = rows(verify(small))
    assert f"app > {HOST}/ping" in failed
    assert {way.partition(" ")[0] for way in failed} == {"app"}
    assert set(failed.values()) == {"closed"}


def test_a_foreign_chain_that_drops(small: ThrowawayHost) -> None:
    small.run(
        "nft add table inet mine; nft add chain inet mine forward '{ type filter hook forward priority 10; }';"
        "nft add rule inet mine forward tcp dport 80 drop"
    )
    failed = rows(verify(small))
    assert set(failed) == {f"{user} > {HOST}:8080/tcp" for user in ("web", "peer", "app")}
    assert set(failed.values()) == {"closed"}


NEIGHBOUR_DISCOVERY = "nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert"


@pytest.mark.parametrize("refusal", ["drop", "reject"])
def test_a_host_that_lets_nothing_in_that_it_need_not(small: ThrowawayHost, refusal: str) -> None:
    """Whether the host answers pings is its own affair: what is proved is that they come to it."""
    small.apply({**WORDS, "networks": {**WORDS["networks"], "front": {"enable_ipv6": True}}})
    accepted = ["ct state established,related", "iif lo", "tcp dport 22", f"icmpv6 type {{ {NEIGHBOUR_DISCOVERY} }}"]
    small.run(
        "\n".join(
            [
                "nft add table inet hard",
                "nft add chain inet hard input '{ type filter hook input priority 0; }'",
                *(f"nft add rule inet hard input '{match} accept'" for match in accepted),
                f"nft add rule inet hard input {refusal}",
            ]
        )
    )
    found = verify(small)
    assert rows(found) == rows(found, None) == {}
    gateway, gateway6 = small.ledger()["allotted"]["networks"]["front"].values()
    pings = {way: seen for way, seen in rows(found, True).items() if way.endswith("/ping") and "web > " in way}
    assert pings == {f"web > {at}/ping": "one-way" for at in (gateway, gateway6, HOST, "2001:db8::10")}
    # Who asks for an answer learns that there is none.
    asked = [{"from": "web", "to": gateway, "protocol": "ping", "expected": each} for each in ("open", "closed")]
    seen = [row["fulfilled"] for row in verify(small, probes=asked, derive=False)["probes"]]
    assert seen == [False, True]
    # What does not come to the host at all still fails.
    small.run(f"ip netns exec web ip neigh replace {gateway} lladdr 02:00:00:00:00:99 dev eth0")
    assert f"web > {gateway}/ping" in rows(verify(small))


def test_answers_that_do_not_come_back(small: ThrowawayHost) -> None:
    """A closed way on which packets arrive is not closed, though nobody gets an answer."""
    app = small.address("app", "back")
    small.run(
        "nft flush chain inet wharf raw-prerouting; nft insert rule inet wharf DOCKER-FORWARD accept;"
        "nft add table inet mine; nft add chain inet mine forward '{ type filter hook forward priority 10; }';"
        f"nft add rule inet mine forward ip saddr {app} drop"
    )
    failed = rows(verify(small))
    to_app = {seen for way, seen in failed.items() if f"> {app}:" in way}
    assert to_app == {"one-way"}


def test_somebody_else_answers(small: ThrowawayHost) -> None:
    small.run("nft delete element inet wharf published4 '{ tcp . 8080 }'")
    small.run("nft insert rule inet wharf DOCKER tcp dport 8080 dnat ip to 127.0.0.1:7777")
    small.serve("host", "127.0.0.1:7777/tcp")
    assert rows(verify(small))["host > 127.0.0.1:8080/tcp"] == "elsewhere"


def test_a_sandbox_that_is_gone(small: ThrowawayHost) -> None:
    small.run("ip netns del peer")
    failed = rows(verify(small))
    assert failed[f"peer > {HOST}/ping"] == "absent"
    assert all("peer" in way or small.address("peer", "front") in way for way in failed)


LATE = {"x-wharf": {"sandbox": "path:/run/late"}, "networks": ["front"], "ports": ["8081:80"]}


def test_a_sandbox_that_is_not_there_yet(host: ThrowawayHost) -> None:
    late = {"late": LATE, "beside": {"network_mode": "service:late"}}
    host.apply({**WORDS, "containers": {**WORDS["containers"], **late}})
    found = verify(host)
    assert found["pending"] == ["beside", "late"]
    assert rows(found) == {}
    untried = rows(found, None)
    assert len(untried) == found["unproven_probes"]
    address = host.address("late", "front")
    (gateway,) = host.ledger()["allotted"]["networks"]["front"].values()
    assert untried.keys() >= {
        f"late > {HOST}/ping",
        f"beside > {gateway}/ping",
        f"host > {address}:9/tcp",
        *(f"host > {at}:8081/tcp" for at in ("127.0.0.1", HOST, SECOND)),
    }
    assert {row["why"] for row in found["probes"] if row["fulfilled"] is None} == {"path:/run/late is not there yet"}
    assert not [row for row in found["probes"] if row["fulfilled"] and ("late" in row["name"] or row["port"] == 8081)]
    assert not [probe for probe in found["outside_probes"] if probe["port"] == 8081]
    assert rows(verify(host, OUTSIDE, probes=found["outside_probes"], derive=False)) == {}


def test_given_probes(small: ThrowawayHost) -> None:
    small.apply({"containers": {"db": {"networks": {"front": {"aliases": ["postgres"]}}}}})
    probes = [
        {"from": "web", "to": "postgres", "port": 5432},
        {"from": "netns:web", "to": "db", "port": 5432, "protocol": "udp"},
        {"from": "web", "to": "app", "port": 80, "expected": "closed"},
        {"from": "web", "to": "host", "protocol": "ping"},
        {"from": "safe", "to": "192.0.2.1", "protocol": "ping", "expected": "closed"},
        {"to": "127.0.0.1", "port": 1},
        {"to": "192.0.2.1", "port": 1, "protocol": "udp", "expected": "closed"},
    ]
    found = verify(small, probes=probes, derive=False)
    assert rows(found) == {"host > 127.0.0.1:1/tcp": "refused"}
    assert [row["seen_as"] for row in found["probes"][:2]] == [small.address("web", "front")] * 2


def test_a_given_probe_replaces_the_derived_one(small: ThrowawayHost) -> None:
    small.run("nft add rule inet wharf DOCKER-USER ip saddr 172.16.0.0/12 ct original proto-dst 8080 drop")
    closed = [{"from": user, "to": HOST, "port": 8080, "expected": "closed"} for user in ("web", "peer", "app")]
    assert rows(verify(small, derive=True)) == {
        f"{user} > {HOST}:8080/tcp": "closed" for user in ("web", "peer", "app")
    }
    assert rows(verify(small, derive=True, probes=closed)) == {}


def test_hosts_beyond(small: ThrowawayHost) -> None:
    found = verify(small, beyond=["192.0.2.1", "203.0.113.1:9", "[2001:db8::1]:9"])
    refused = [way for way, seen in rows(found).items() if "203.0.113.1" in way and seen == "refused"]
    assert refused
    small.serve("outside", "9/tcp")
    assert rows(verify(small, beyond=["192.0.2.1", "203.0.113.1:9"])) == {}
    small.run("nft flush chain inet wharf postrouting")
    small.run("ip route del 172.16.0.0/12", place=OUTSIDE)
    failed = rows(verify(small, beyond=["192.0.2.1"]))
    assert {way for way in failed if way.endswith("192.0.2.1/ping")} == {
        f"{name} > 192.0.2.1/ping" for name in ("web", "peer", "app", "one", "two")
    }


def test_from_a_host_whose_own_addresses_are_those_of_containers(small: ThrowawayHost) -> None:
    outside = verify(small)["outside_probes"]
    small.run(f"ip addr add {small.address('web', 'front')}/16 dev lo", place=OUTSIDE)
    small.serve("outside", "80/tcp")
    found = verify(small, OUTSIDE, probes=outside, derive=False)
    assert rows(found) == {}
    assert [row["why"] for row in found["probes"] if row["to"] == small.address("web", "front")] == [
        "this host reaches it without a router, so it is the address of another machine here"
    ]


def test_a_refusal_from_a_host_that_answers_no_ping(small: ThrowawayHost) -> None:
    outside = verify(small)["outside_probes"]
    small.run("sysctl -qw net.ipv4.icmp_echo_ignore_all=1")
    found = verify(small, OUTSIDE, probes=outside, derive=False)
    assert rows(found) == {}
    assert rows(found, None)[f"host > {HOST}:8080/tcp"] == "unknown"
    small.serve("web", "80/tcp")
    assert rows(verify(small, OUTSIDE, probes=outside, derive=False), True)[f"host > {HOST}:8080/tcp"] == "open"


# The playbook

INVENTORY = """
wharf:
  hosts:
    localhost:
others:
  hosts:
    other:
      ansible_shell_executable: {shell}
"""

ENTER = """#!/bin/sh
# A host of its own has no ledger of ours.
exec nsenter --net={path} -- unshare --mount --propagation private \\
    sh -c 'mount -t tmpfs none /var/lib; exec sh "$@"' sh "$@"
"""

PLAYED = {
    "networks": {"front": {"enable_ipv6": True}, "back": {"internal": True}},
    "containers": {"web": {"networks": ["front"], "ports": ["8080:80"]}, "db": {"networks": ["back"]}},
}
VARIABLES = {f"wharf_{name}": words for name, words in PLAYED.items()}


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    with ThrowawayHost.started() as host:
        shell = tmp_path / "enter"
        shell.write_text(ENTER.format(path=host.path(OUTSIDE)), encoding="utf-8")
        shell.chmod(0o755)
        (tmp_path / "others.yml").write_text(INVENTORY.format(shell=shell), encoding="utf-8")
        yield Controller(host, tmp_path)


def lines(output: str) -> list[str]:
    return re.findall(r'^ +"([✓✗?] .+)",?$', output, re.MULTILINE)


def test_playbook(controller: Controller) -> None:
    """In check mode, as otherwise: see the two tests that follow."""
    others = ["-i", str(controller.folder / "others.yml"), "--limit", "wharf", "--check"]
    variables = {**VARIABLES, "wharf_verify_from": ["others"], "wharf_verify_timeout": 0.4}
    controller.host.apply(PLAYED)
    controller.host.run("nft delete element inet wharf published6 '{ tcp . 8080 }'")
    red = controller.play("wharf.network.verify", *others, variables=variables)
    assert red.returncode == 2
    failed = [line for line in lines(red.output) if line.startswith("✗")]
    assert {line.split()[3].partition("]")[0] for line in failed} == {"[2001:db8::10", "[2001:db8::11"}
    assert all(", expected open: " in line for line in failed)
    assert len(set(failed)) == len({line for line in failed if red.output.count(line) <= 2}) > 0
    assert f"{len(failed)} of {len(lines(red.output))} probes are not as expected" in red.output
    controller.host.apply(PLAYED)
    before = controller.host.snapshot()
    green = controller.play("wharf.network.verify", *others, variables=variables)
    assert green.returncode == 0, green.output
    assert any("db -> " in line for line in lines(green.output))
    assert "from other" in green.output
    assert controller.host.snapshot() == before
    kept = json.loads(controller.host.read("/var/lib/wharf/verified.json"))["from_others"]
    assert {(probe["from"], probe["fulfilled"]) for probe in kept} == {("other", True)}
    assert '<td class="">other</td>' in controller.host.wharf("show", "--html").output


def test_playbook_asks_what_it_is_to(controller: Controller) -> None:
    """The gate is red for each: a probe, a host beyond, and what another host sees by the addresses that are given."""
    controller.host.apply(PLAYED)
    controller.host.run(
        "nft add table inet mine; nft add chain inet mine early '{ type filter hook prerouting priority -400; }';"
        "nft add rule inet mine early iifname eth0 tcp dport 8080 drop"
    )
    variables = {
        "wharf_verify_from": "others",
        "wharf_verify_addresses": HOST,
        "wharf_verify_beyond": "203.0.113.1:9",
        "wharf_verify_probes": '[{"to": "127.0.0.1", "port": 9, "name": "discard"}]',
        "wharf_verify_timeout": "0.4",
    }
    others = ["-i", str(controller.folder / "others.yml"), "--limit", "wharf"]
    red = controller.play("wharf.network.verify", *others, variables={**VARIABLES, **variables})
    assert red.returncode == 2
    assert [" ".join(line.split()) for line in lines(red.output) if line.startswith("✗")] == [
        "✗ host -> 127.0.0.1:9/tcp refused, expected open: discard",
        "✗ web -> 203.0.113.1:9/tcp refused, expected open: a host beyond this one",
        f"✗ host -> {HOST}:8080/tcp closed (no answer), expected open: port 80 of web, published",
    ]
    alone = {**variables, "wharf_verify_beyond": "", "wharf_verify_probes": ""}
    red = controller.play("wharf.network.verify", *others, variables={**VARIABLES, **alone})
    assert red.returncode == 2
    wrong = {**VARIABLES, "wharf_verify_beyond": ["192.0.2.1", "192.0.2.300"]}
    played = controller.play("wharf.network.verify", variables=wrong)
    assert 'wharf_verify_beyond[1]: "192.0.2.300"' in played.output


def test_playbook_in_a_site(controller: Controller) -> None:
    (controller.folder / "site.yml").write_text(
        yaml.safe_dump([{"import_playbook": f"wharf.network.{name}"} for name in ("site", "verify")]), encoding="utf-8"
    )
    played = controller.play(str(controller.folder / "site.yml"), variables=VARIABLES)
    assert played.returncode == 0, played.output


def test_playbook_where_a_container_does_not_run(controller: Controller) -> None:
    controller.host.apply({**PLAYED, "containers": {**PLAYED["containers"], "late": LATE}})
    played = controller.play("wharf.network.verify", variables=VARIABLES)
    assert played.returncode == 0, played.output
    assert re.search(
        rf"\? host -> {HOST}:8081/tcp +unknown \(path:/run/late is not there yet\), expected open: port 80 of late",
        played.output,
    )
    assert "[WARNING]: nothing is proven of containers that are not there yet: late" in played.output
    red = controller.play("wharf.network.verify", variables={**VARIABLES, "wharf_verify_fail_on": "unproven"})
    assert red.returncode == 2
    assert "probes are not as expected: see the lines above that begin with ✗ or ?" in red.output


def test_module_as_a_gate(controller: Controller) -> None:
    controller.host.apply(PLAYED)
    controller.host.run("ip netns exec web ip -4 route del default")
    failed = controller.play({"tasks": [{"wharf.network.probe": {"timeout": 0.4}}]}).results[-1]
    assert failed["failed_probes"] == failed["msg"].count("\n") + 1 > 1
    assert f"web -> {HOST}/ping should be reached, is closed (network is unreachable)" in failed["msg"]


def test_problems_of_probes_come_in_one_report(controller: Controller) -> None:
    probes = [
        {"from": "wep", "to": "192.0.2.1", "protocol": "ping"},
        {"to": "nobody", "port": 80},
        {"to": "192.0.2.1"},
        {"to": "192.0.2.1", "port": 80, "protocol": "ping"},
    ]
    controller.host.apply(PLAYED)
    failed = controller.play({"tasks": [{"wharf.network.probe": {"probes": probes}}]}).results[-1]
    assert {problem["path"] for problem in failed["problems"]} == {
        "probes[0].from",
        "probes[1].to",
        "probes[2].port",
        "probes[3].port",
    }
    assert '"wep": is not known here; did you mean web?' in failed["msg"]
