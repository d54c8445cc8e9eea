# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `wharf explain` says is what packets do: over the matrix, and over random declarations beside others' rules."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from controller import Controller
from declarations import declarations, prepare, trying
from hosts import ADDRESSES, BACKENDS, EXACT, ThrowawayHost, differences
from hypothesis import given
from hypothesis import strategies as st
from matrix import OPEN_TO_ALL, ROWS, WORDS, Addresses, Prober, Row, add_guests
from probes import Probe
from remedies import follow

EXPLAIN = """
import json, sys
from engine.explain import Asked, Seen
seen = Seen.read()
print(json.dumps([seen.explain(Asked(*each)) for each in json.load(sys.stdin)]))
"""

# FROM, TO, whether a ping is meant, and whether it is sent.
Asked = tuple[str, str, bool, bool]


def explained(host: ThrowawayHost, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(host.python(EXPLAIN, json.dumps(asked)))
    return found


def asking(who: str, address: str, port: int, protocol: str) -> Asked:
    if protocol == "ping":
        return who, address, True, False
    return who, f"{f'[{address}]' if ':' in address else address}:{port}/{protocol}", False, False


def wrong(asked: Sequence[Asked], answers: Sequence[dict[str, Any]], are_open: Sequence[bool]) -> str:
    """What was said otherwise than packets do."""
    lines = [
        f"{' '.join(map(str, question))}: {each['verdict']}, really {'open' if is_open else 'closed'}\n"
        f"{json.dumps(each, indent=1)}"
        for question, each, is_open in zip(asked, answers, are_open, strict=True)
        if each["verdict"] != ("open" if is_open else "closed")
    ]
    return "\n".join(lines[:5])


# The matrix

# Machines of a bridge that is not managed speak to each other without the host.
ASKED_ROWS = [row for row in ROWS if row.who != "guest"]


@pytest.mark.parametrize("bridge_nf", [0, 1])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_matrix(backend: str, bridge_nf: int) -> None:
    with ThrowawayHost.started(bridge_nf, backend) as host:
        add_guests(host)
        with host.declared(WORDS):
            addresses = Addresses.allotted(host)
            prober = Prober(host, addresses)
            asked = [_asked(row, addresses) for row in ASKED_ROWS]
            answers = explained(host, asked)
            are_open = [prober.answers[str(row)].is_open for row in ASKED_ROWS]
    assert wrong(asked, answers, are_open) == ""
    assert len(asked) > 1000


def _asked(row: Row, addresses: Addresses) -> Asked:
    who = ADDRESSES[row.who][row.version == 6] if row.who in ("outside", "neighbour", "friend") else row.who
    where, _colon, port = row.target.rpartition(":")
    return asking(who, addresses.of(where, row.version), int(port), row.protocol)


# Random declarations, beside other firewalls

# Each is a script for the host; those of nft are in tables of their own.
FOREIGN = [
    """nft -f - <<'END'
table inet mine {
    chain forward {
        type filter hook forward priority 10; policy drop;
        ct state established,related accept
        iifname { "br-n1", "br-n2" } accept
        tcp dport { 80, 90-92 } accept
    }
}
END""",
    """nft -f - <<'END'
table inet hard {
    set friends { type ipv4_addr; flags interval; elements = { 10.20.0.0/15, 192.0.2.1 }; }
    chain input {
        type filter hook input priority 0; policy drop;
        ct state vmap { established : accept, related : accept, invalid : drop }
        iif lo accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
        ip saddr @friends icmp type echo-request accept
        meta l4proto { tcp, udp } th dport vmap { 7001 : goto services, 22 : accept }
    }
    chain services { iifname "eth0" accept; meta nfproto ipv6 accept; reject; }
}
END""",
    """nft -f - <<'END'
table ip early {
    chain raw { type filter hook prerouting priority raw; ip saddr 192.0.2.66 udp dport 8000-8100 drop; }
    chain nat { type nat hook prerouting priority dstnat; tcp dport 9999 redirect to :7001; }
    chain away { type nat hook postrouting priority srcnat - 10; oifname "eth0" ip daddr 203.0.113.1 masquerade; }
}
END""",
    """nft -f - <<'END'
table inet marks {
    chain early { type filter hook prerouting priority mangle; iifname "eth0" tcp dport 8000-8100 meta mark set 0x2; }
    chain forward { type filter hook forward priority 5; tcp flags & (fin|syn|rst|ack) != syn ct state new drop; }
}
END""",
    """nft -f - <<'END'
table bridge frames {
    chain forward { type filter hook forward priority 0; ip protocol udp drop; ip6 nexthdr tcp tcp dport 81 drop; }
}
END""",
    """
iptables -P FORWARD DROP; ip6tables -P FORWARD DROP
iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
ip6tables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -p tcp -m multiport --dports 80,81 -s 10.20.0.0/15 -j ACCEPT
iptables -A FORWARD -i eth0 -m addrtype --src-type UNICAST -m conntrack --ctstate DNAT -j ACCEPT
""",
    """
iptables -N mine; iptables -I INPUT -j mine; iptables -A mine -p icmp --icmp-type 8 -s 192.0.2.0/24 -j REJECT
iptables -A mine -p udp --dport 7001 ! -i lo -j DROP
iptables -t nat -A OUTPUT -p tcp -d 192.0.2.11 --dport 9998 -j DNAT --to-destination 127.0.0.1:7001
""",
    """for name in $(ip netns list | cut -d' ' -f1); do
    ip netns exec $name nft 'add table inet own; add chain inet own in { type filter hook input priority 0; };
        add rule inet own in tcp dport 81 drop; add rule inet own in ip saddr 192.0.2.0/24 icmp type echo-request drop'
done""",
]

SERVED = (80, 81, 90, 91, 92)


@pytest.mark.parametrize("bridge_nf", [0, 1])
@trying(5)
@given(words=declarations(), foreign=st.lists(st.sampled_from(FOREIGN), max_size=3, unique=True))
def test_any_declaration_beside_any_firewall(bridge_nf: int, words: dict[str, Any], foreign: list[str]) -> None:
    with ThrowawayHost.started(bridge_nf) as host:
        prepare(host)
        host.apply(words)
        for script in foreign:
            host.run(script)
        _serve(host, words)
        ways = list(dict.fromkeys(_ways(host, words)))
        asked = [asking(*_who(who, address), port, protocol) for who, address, port, protocol in ways]
        answers = explained(host, asked)
        probes = [Probe(host.path(who), protocol, address, port) for who, address, port, protocol in ways]
        said_open = [each["verdict"] == "open" for each in answers]
        are_open = [answer.is_open for answer in host.agent.probe_patiently(probes, said_open)]
    assert wrong(asked, answers, are_open) == ""


def _serve(host: ThrowawayHost, words: dict[str, Any]) -> None:
    ports = [f"{port}/{protocol}" for port in SERVED for protocol in ("tcp", "udp")]
    for name, container in words["containers"].items():
        if container.get("network_mode", "none") == "none":
            host.serve(name, *ports)
    host.serve("outside", *ports)
    host.serve("machine", *ports)
    host.run("ip route add default via 10.5.0.1", "machine")
    host.serve("host", f"{OPEN_TO_ALL}/tcp", f"{OPEN_TO_ALL}/udp")


def _ways(host: ThrowawayHost, words: dict[str, Any]) -> Iterator[tuple[str, str, int, str]]:
    """Who asks whom: everybody each container's addresses, the host's, its published ports, and the outside."""
    ledger = host.ledger()
    endpoints = ledger["allotted"]["endpoints"].values()
    of_containers = [each[key] for each in endpoints for key in ("ipv4", "ipv6") if each.get(key)]
    gateways = [gateway for pools in ledger["allotted"]["networks"].values() for gateway in pools.values()]
    published = sorted({*ledger["allotted"]["ports"].values()})
    for who in (*words["containers"], "host", "outside", "neighbour"):
        for address in of_containers:
            yield from _at(who, address, (80, 81))
        for address in (*ADDRESSES["host"], *ADDRESSES["second"], *gateways):
            yield from _at(who, address, (OPEN_TO_ALL, 9998, 9999))
            yield from ((who, address, port, protocol) for port in published for protocol in ("tcp", "udp"))
        if who not in ("outside", "neighbour"):
            yield from (each for address in ADDRESSES["internet"] for each in _at(who, address, (80,)))
            yield from _at(who, "10.5.0.50", (80,))
        if who == "host":
            yield from ((who, "127.0.0.1", port, protocol) for port in published for protocol in ("tcp", "udp"))


def _at(who: str, address: str, ports: Sequence[int]) -> Iterator[tuple[str, str, int, str]]:
    yield who, address, 0, "ping"
    yield from ((who, address, port, protocol) for port in ports for protocol in ("tcp", "udp"))


def _who(who: str, address: str) -> tuple[str, str]:
    return ADDRESSES[who][":" in address] if who in ("outside", "neighbour") else who, address


# The command, the module, and the page

PAGE = Path(__file__).parents[2] / "docs/how-to/explain.md"
BLOCK = re.compile(r"^```(yaml|console)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def test_the_page() -> None:
    """What docs/how-to/explain.md shows is what is printed. `UPDATE_GOLDEN=1` writes it anew."""
    page = PAGE.read_text()
    blocks = BLOCK.findall(page)
    with ThrowawayHost.started() as host:
        host.write("/etc/wharf.yml", blocks[0][1])
        assert host.wharf("apply", "/etc/wharf.yml").code == 0
        before = host.snapshot()

        def printed(match: re.Match[str]) -> str:
            if match[1] == "yaml":
                return match[0]
            broken = "nft delete element" in page[: match.start()]
            if broken and "published4 { tcp . 8080 }" not in done:
                host.run("nft delete element inet wharf published4 '{ tcp . 8080 }'")
                done.append("published4 { tcp . 8080 }")
            commands = re.findall(r"^\$ wharf (.*)", match[2], re.MULTILINE)
            shown = (f"$ wharf {each}\n{host.wharf(*each.split()).output}" for each in commands)
            return f"```console\n{chr(10).join(shown)}```\n"

        done: list[str] = []
        now = BLOCK.sub(printed, page)
        assert done
        host.wharf("apply")
        assert differences(before, host.snapshot()) == ""
    if "UPDATE_GOLDEN" in os.environ:
        PAGE.write_text(now)
    assert now == page


# Broken by hand

DECLARED = {
    "networks": {
        "front": {"enable_ipv6": True},
        "back": {},
        "quiet": {"driver_opts": {"com.docker.network.bridge.enable_icc": "false"}},
        "vault": {"internal": True},
        "plain": {
            "ipam": {"config": [{"subnet": "10.99.0.0/24"}]},
            "driver_opts": {"com.docker.network.bridge.gateway_mode_ipv4": "routed"},
        },
    },
    "containers": {
        "web": {"networks": ["front"], "ports": ["8080:80", "127.0.0.1:9000:80", "8053:53/udp"]},
        "db": {"networks": {"back": {"aliases": ["postgres", "store"]}}},
        "spare": {"networks": {"back": {"aliases": ["store"]}}},
        "one": {"networks": ["quiet"]},
        "two": {"networks": ["quiet"]},
        "safe": {"networks": ["vault"]},
        "own": {"networks": {"plain": {"ipv4_address": "10.99.0.2"}}, "ports": ["8180-8181:80-81"]},
        "alone": {"network_mode": "none"},
        "late": {"networks": ["front"], "x-wharf": {"sandbox": "path:/run/late"}},
    },
    "docker_user": [
        {"source": "10.9.0.0/16", "published_port": 8080, "action": "drop"},
        {"source": "192.0.2.66", "container": "web", "action": "reject"},
    ],
}


@pytest.fixture(scope="module", params=BACKENDS[:2])
def declared_host(request: pytest.FixtureRequest) -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started(backend=request.param) as host:
        host.apply(DECLARED)
        yield host


@pytest.fixture(name="host")
def whole_host(declared_host: ThrowawayHost) -> Iterator[ThrowawayHost]:
    yield declared_host
    declared_host.run("nft delete table inet mine 2>/dev/null || true")
    declared_host.apply(DECLARED)


def explain(host: ThrowawayHost, *arguments: str) -> dict[str, Any]:
    ran = host.wharf("explain", *arguments, "--json")
    assert ran.errors == ""
    found: dict[str, Any] = json.loads(ran.output)
    assert ran.code == {"open": 0, "closed": 1, "unknown": 2}[found["verdict"]]
    return found


APPLY = "`wharf apply`"


@pytest.mark.parametrize(
    ("asked", "why", "remedies"),
    [
        (
            "web db:5432",
            "web is on front, and network back is isolated from others",
            ["networks: [front, back]", "ports"],
        ),
        ("web postgres:5432", "network back is isolated", ["networks: [front, back]", '["5432:5432"]']),
        ("203.0.113.9 db:53/udp", "by published ports only", ['["53:53/udp"]']),
        ("203.0.113.9 web:80", "by published ports only", ["use host:8080/tcp"]),
        ("db web --icmp", "is isolated from others", ["networks: [back, front]", "{icmp: true}"]),
        ("one two:80", "may not talk to each other", ["enable_icc: true", '["80:80"]']),
        ("safe 203.0.113.1:80", "all networks of safe are internal", ["not internal"]),
        ("safe web:80", "all networks of safe are internal", ["networks: [vault, front]"]),
        ("alone web:80", "network_mode none", ["networks: [front]"]),
        ("203.0.113.9 host:9000", "published on 127.0.0.1 only", ["`9000:80`"]),
        ("host [::1]:8080", "but the kernel cannot translate [::1] (wharf_containers.web.ports[0])", ["use 127.0.0.1"]),
        (
            "203.0.113.9 own:53/udp",
            "plain are reached at their published ports only",
            ['["53/udp"]` in wharf_containers.own, and use 10.99.0.2:53/udp'],
        ),
        (
            "web own:443",
            "network plain is isolated from others",
            ["[front, plain]", '["443"]` in wharf_containers.own, and use 10.99.0.2:443'],
        ),
        ("203.0.113.9 host:8181", "own is on a routed network, and no port of the host leads", ["use 10.99.0.2:81,"]),
        ("203.0.113.9 host:81", "no container publishes port 81/tcp", ['["81:PORT"]', "start a service"]),
        (
            "10.9.1.1 host:8080",
            "a rule of the admin forbids the packet (wharf_docker_user[0])",
            ["wharf_docker_user[0]"],
        ),
        ("192.0.2.66 host:8053/udp", "a rule of the admin forbids the packet", ["wharf_docker_user[1]"]),
        ("late web:80", "is not running", ["start the container: path:/run/late"]),
        (
            "web late:80",
            "late is not present",
            ["start late, so that its network stack path:/run/late exists, and run `wharf apply`"],
        ),
        ("203.0.113.9 198.51.100.7:80", "since it did not forward before", ["ip-forward-no-drop: true"]),
        (
            "203.0.113.9 safe:80",
            "network vault is internal",
            ["leave out `internal: true` in wharf_networks.vault, and "],
        ),
        (
            "outside 127.0.0.1:8080",
            "only the host itself reaches its 127.0.0.1",
            ["use host:8080, where it is published"],
        ),
        ("outside [::1]:9000", "only the host itself reaches its ::1", ["and use host:9000"]),
    ],
)
def test_why_it_is_closed_and_what_would_open_it(
    host: ThrowawayHost, asked: str, why: str, remedies: list[str]
) -> None:
    found = explain(host, *("--icmp" if word == "icmp" else word for word in asked.split()))
    assert found["verdict"] == "closed"
    assert why in found["why"]
    assert len(found["remedies"]) >= len(remedies)
    assert [each for each in remedies if not any(each in remedy for remedy in found["remedies"])] == []


# Remedies

FORWARDING6 = "net.ipv6.conf.all.forwarding"
_MODE = "com.docker.network.bridge.gateway_mode_ipv4"
_ICC = "com.docker.network.bridge.enable_icc"
CLOSED_WAYS: dict[str, Any] = {
    "networks": {
        "old": {},
        "front": {"enable_ipv6": True},
        "vault": {"internal": True},
        "plain": {"driver_opts": {_MODE: "routed"}},
        "quiet": {"driver_opts": {_ICC: "false"}},
        "cell": {"internal": True, "driver_opts": {_MODE: "isolated"}},
        "hush": {"internal": True, "driver_opts": {_ICC: "false"}},
    },
    "containers": {
        "web": {
            "networks": ["front", "vault"],
            "ports": [
                "192.0.2.10:8443:443",
                "127.0.0.1:9001:82",
                {"target": 81, "published": 8081, "x-wharf": {"allow_from": ["203.0.113.0/24"]}},
                "8082:83",
            ],
        },
        "legacy": {"networks": ["old"], "ports": ["8100:80", "1.2.3.4:8101:81", "192.0.2.10:8102:82"]},
        "safe": {"networks": ["vault"]},
        "own": {"networks": ["plain"]},
        "one": {"networks": ["quiet"]},
        "two": {"networks": ["quiet"]},
        "inner": {"networks": ["cell"]},
        "mute": {"networks": ["hush"]},
        "still": {"networks": ["hush"]},
        "alone": {"network_mode": "none"},
    },
    "docker_user": [{"source": "192.0.2.66", "published_port": 8082, "action": "drop"}],
}
CLOSED_QUESTIONS = [
    *("203.0.113.9 safe:80", "outside safe:80", "own safe:80", "own safe --icmp", "203.0.113.9 safe --icmp"),
    *("203.0.113.9 mute:80", "own mute:80", "still mute:80", "alone mute:80", "safe mute:80", "alone two:80"),
    *("203.0.113.9 inner:80", "host inner:80", "own inner:80", "mute web:80", "safe 8.8.8.8:80", "alone 8.8.8.8:80"),
    *("203.0.113.9 web:80", "own web:81", "outside web:81", "203.0.113.9 web:81", "legacy web:82", "web own:80"),
    *("one two:80", "one two --icmp", "web two:80", "203.0.113.9 own:80", "203.0.113.9 two --icmp"),
    *("outside 127.0.0.1:8100", "outside 127.0.0.1:9001", "outside [::1]:9001", "203.0.113.9 127.0.0.1 --icmp"),
    *("outside 1.2.3.4:8101", "203.0.113.9 host:8101", "203.0.113.9 host:9001", "198.51.100.9 host:8081"),
    *("2001:db8::77 host:8443", "2001:db8::77 host:8100", "2001:db8::77 host:8102", "host [::1]:8082"),
    *("192.0.2.66 host:8082", "outside 8.8.8.8:80", "legacy [2001:db8:9::9]:80"),
    *("safe [2001:db8:9::9]:80", "192.0.2.10 safe:80"),
]


def test_each_remedy_lets_the_packet_pass() -> None:
    with ThrowawayHost.started() as host:
        host.apply(CLOSED_WAYS)
        asked = [_worded(question) for question in CLOSED_QUESTIONS]
        answers = explained(host, asked)
        assert [each["why"] for each in answers if each["verdict"] != "closed"] == []
        assert [each["why"] for each in answers if not each["remedies"]] == []
        # By what is then declared, the question that is then asked, and the remedy.
        followed: dict[str, list[tuple[Asked, str]]] = {}
        for (source, target, is_ping, _send), each in zip(asked, answers, strict=True):
            for remedy in each["remedies"]:
                words, then = follow(remedy, CLOSED_WAYS, target) or ({}, "")
                if words:
                    is_then = source, then, is_ping, False
                    followed.setdefault(json.dumps(words), []).append((is_then, f"{source} {target}: {remedy}"))
        useless = []
        for declared, ways in followed.items():
            host.apply(json.loads(declared), state=EXACT)
            found = explained(host, [then for then, _remedy in ways])
            useless += [
                f"{remedy}: {each['why']}"
                for (_then, remedy), each in zip(ways, found, strict=True)
                if each["verdict"] != "open"
            ]
    assert useless == []
    assert sum(map(len, followed.values())) > len(CLOSED_QUESTIONS)


def test_a_host_on_which_nothing_is_declared() -> None:
    with ThrowawayHost.started() as host:
        for target, parameter in (("8.8.8.8:80", "net.ipv4.ip_forward"), ("[2001:db8:9::9]:80", FORWARDING6)):
            found = explain(host, "outside", target)
            assert found["why"] == f"no networks are declared on this host, and {parameter} is 0"
            assert found["remedies"] == [f"set {parameter} to 1"]
            host.run(f"sysctl -qw {parameter}=1")
            assert explain(host, "outside", target)["verdict"] == "open"


def test_a_host_that_does_not_forward() -> None:
    words: dict[str, Any] = {"host": {"ip-forward": False}, "networks": {"front": {}}}
    with ThrowawayHost.started() as host:
        host.apply(words)
        found = explain(host, "outside", "8.8.8.8:80")
        assert found["why"] == "ip-forward is false (wharf_host)"
        (remedy,) = found["remedies"]
        assert remedy == "`ip-forward: true` and `ip-forward-no-drop: true` in wharf_host"
        host.apply({**words, "host": {"ip-forward": True, "ip-forward-no-drop": True}})
        assert explain(host, "outside", "8.8.8.8:80")["verdict"] == "open"
        found = explain(host, "outside", "[2001:db8:9::9]:80")
        assert found["why"] == f"no network has IPv6, and {FORWARDING6} is 0"
        assert found["remedies"] == [f"set {FORWARDING6} to 1"]
        host.run(f"sysctl -qw {FORWARDING6}=1")
        assert explain(host, "outside", "[2001:db8:9::9]:80")["verdict"] == "open"


def test_of_a_host_address_that_is_missing(host: ThrowawayHost) -> None:
    words = {"containers": {"spare": {"networks": ["back"], "ports": ["198.51.100.10:8300:80"]}}}
    host.apply(words)
    found = explain(host, "outside", "198.51.100.10:8300")
    assert "is published, but 198.51.100.10 is no address of this host" in found["why"]
    assert found["remedies"][0] == "give the host the address 198.51.100.10"
    host.run("ip address add 198.51.100.10/32 dev eth0")
    assert explain(host, "203.0.113.9", "198.51.100.10:8300")["verdict"] == "open"
    host.run("ip address delete 198.51.100.10/32 dev eth0")


def test_what_has_no_effect_has_no_remedy(host: ThrowawayHost) -> None:
    """The rule of the admin for 192.0.2.66 keeps nobody from a container that does not run."""
    host.apply({"containers": {"late": {**DECLARED["containers"]["late"], "ports": ["8400:80"]}}})
    host.apply({"docker_user": [{"source": "192.0.2.66", "action": "drop"}]})
    found = explain(host, "outside", "host:8400")
    assert found["verdict"] == "closed"
    assert any("192.0.2.66" in each["what"] and not each["matters"] for each in found["unknown"])
    (remedy,) = found["remedies"]
    assert remedy.startswith("start late, ")


def _worded(question: str) -> Asked:
    source, target, *options = question.split()
    return source, target, "--icmp" in options, False


# An element of nftables, or the rule of iptables.
DELETED = """
nft delete element inet wharf published4 '{ tcp . 8080 }' 2>/dev/null || true
rules=$(iptables -t nat -L DOCKER-tcp-8064-8127 --line-numbers -n 2>/dev/null) || true
number=$(echo "$rules" | grep 'dpt:8080' | cut -d' ' -f1) || true
[ -z "$number" ] || iptables -t nat -D DOCKER-tcp-8064-8127 "$number"
"""


@pytest.mark.parametrize(
    ("harm", "asked", "why", "missing"),
    [
        (DELETED, "203.0.113.9 host:8080", "is declared (wharf_containers.web.ports[0]), but missing", "8080"),
        ("ip link set br-front down", "203.0.113.9 host:8080", "", ""),
        ("ip link set br-back nomaster; ip link delete br-back", "host db:80", "", "br-back"),
        ("sysctl -qw net.ipv4.ip_forward=0", "web 203.0.113.1 --icmp", "should be 1, but is not", "ip_forward = 1"),
        ("ip netns exec web ip route del default", "web 203.0.113.1:80", "has no route", "endpoint web/front"),
        ("ip netns exec db ip addr flush dev eth0", "host db:80", "db is not present", "endpoint db/back"),
        ("nft flush ruleset; iptables -F; iptables -t nat -F", "203.0.113.9 host:8080", "missing in the kernel", ""),
    ],
)
def test_what_is_missing_in_the_kernel_shows(
    host: ThrowawayHost, harm: str, asked: str, why: str, missing: str
) -> None:
    """And it is what a packet does, where this host can send it."""
    host.run(harm)
    found = explain(host, *asked.split(), *(["--send"] if not asked.startswith("203") else []))
    assert found["verdict"] == "closed"
    assert why in found["why"]
    assert any(remedy.startswith(APPLY) and missing in remedy for remedy in found["remedies"])
    assert found["sent"] is None or found["sent"]["agrees"]


def test_rules_put_there_by_hand(host: ThrowawayHost) -> None:
    by = {
        "nftables": "nft add rule inet wharf DOCKER-USER ip saddr 198.51.100.0/24 drop",
        "iptables": "iptables -A DOCKER-USER -s 198.51.100.0/24 -j DROP",
    }
    host.run(by[host.backend])
    found = explain(host, "198.51.100.7", "host:8080")
    assert found["steps"][-1]["owner"] == "the admin (chain DOCKER-USER)"
    (remedy,) = found["remedies"]
    host.run(remedy.strip("`"))
    assert explain(host, "198.51.100.7", "host:8080")["verdict"] == "open"


def test_third_party_rules_have_their_owner_and_remedy(host: ThrowawayHost) -> None:
    host.run(
        "nft add table inet mine;"
        "nft add chain inet mine forward '{ type filter hook forward priority 10; policy drop; }';"
        "nft add rule inet mine forward ct state established accept"
    )
    found = explain(host, "203.0.113.9", "host:8080")
    assert found["verdict"] == "closed"
    assert found["steps"][-1]["rule"] == "policy drop"
    assert found["steps"][-1]["owner"] == "a third party (table inet mine)"
    (remedy,) = found["remedies"]
    for command in re.findall("`(nft [^`]*)`", remedy):
        host.run(command)
    assert explain(host, "203.0.113.9", "host:8080")["verdict"] == "open"


def test_what_cannot_be_known_is_said_and_whether_it_matters(host: ThrowawayHost) -> None:
    host.run(
        "nft add table inet mine; nft add chain inet mine forward '{ type filter hook forward priority 10; }';"
        "nft add rule inet mine forward tcp dport 80 limit rate over 5/second drop"
    )
    found = explain(host, "203.0.113.9", "host:8080")
    assert found["verdict"] == "unknown"
    (unknown,) = found["unknown"]
    assert "limit rate over 5/second" in unknown["what"]
    assert unknown["matters"]
    assert found["steps"][-1]["passes"] is None
    host.run("nft add rule inet mine forward tcp dport 80 drop")
    found = explain(host, "203.0.113.9", "host:8080")
    assert found["verdict"] == "closed"
    assert [each["matters"] for each in found["unknown"]] == [False]


def test_outside_is_anybody(host: ThrowawayHost) -> None:
    found = explain(host, "outside", "host:8053/udp")
    assert found["verdict"] == "unknown"
    assert any("192.0.2.66" in each["what"] and each["matters"] for each in found["unknown"])
    assert explain(host, "outside", "host", "--icmp")["verdict"] == "open"


def test_between_two_other_hosts(host: ThrowawayHost) -> None:
    """Neither is known here, nor how the one answers the other."""
    host.apply({"host": {"ip-forward-no-drop": True}})
    for target in ("8.8.8.8:80", "[2001:db8:9::9]:80"):
        found = explain(host, "outside", target)
        assert found["verdict"] == "open"
        assert [each["what"].partition(",")[0] for each in found["unknown"]] == [
            "the network beyond eth0",
            "whether other hosts have a route back to the client",
        ]
    host.apply({"host": {"ip-forward-no-drop": False}})


# The question


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wep", "db:1"], 'FROM: "wep": is neither a declared container nor an address; did you mean web?\n'),
        (["web", "dbb:1"], 'TO: "dbb": is neither a declared container nor an address; did you mean db?\n'),
        (["store", "web:80"], 'FROM: "store": several containers have this name: db, spare: name one of them\n'),
        (["web", "db"], 'TO: "db": which port? Write db:PORT, or --icmp for a ping\n'),
        (["web", "fd00::1"], 'TO: "fd00::1": which port? Write [fd00::1]:PORT, or --icmp for a ping\n'),
        (["web", "::1:80"], 'TO: "::1:80": which port? Write [::1:80]:PORT, or [::1]:80, or --icmp for a ping\n'),
        (["web", "db:"], 'TO: "db:": which port? Write db:PORT, or --icmp for a ping\n'),
        (["web", "http://db:80/"], 'TO: "http://db:80/": write db:PORT, without http:// and a path\n'),
        (["0.0.0.0", "db:80"], 'FROM: "0.0.0.0": no packet has this address: name the address of one host\n'),
        (["web", "[::]:80"], 'TO: "[::]:80": no packet has this address: name the address of one host\n'),
        (["web", "255.255.255.255:80"], 'TO: "255.255.255.255:80": name the address of one host: broadcasts and '),
        (["web", "[ff02::1]:80"], 'TO: "[ff02::1]:80": name the address of one host: broadcasts and '),
        (["fe80::1", "db:80"], 'FROM: "fe80::1": link-local addresses are not unique: name the container, or its '),
        (["web", "db:0"], 'TO: "db:0": "0": a port is a number from 1 to 65535\n'),
        (["web", "db:http"], 'TO: "db:http": "http": a port is a number from 1 to 65535\n'),
        (["web", "db:80/tpc"], 'TO: "db:80/tpc": protocol must be tcp, udp or sctp; a ping is --icmp\n'),
        (["web", "db:80", "--icmp"], 'TO: "db:80": a ping has no port: leave out the port, or --icmp\n'),
        (["web", "outside:80"], 'TO: "outside": name an address outside of this host, such as 203.0.113.9\n'),
        (["outside", "host:80", "--send"], "--send: this host cannot send a packet from outside: "),
        (["2001:db8::9", "db:80"], 'TO: "db:80": has no IPv6 address to be reached from 2001:db8::9\n'),
        (["web"], "usage: "),
    ],
)
def test_a_question_that_makes_no_sense(host: ThrowawayHost, arguments: list[str], message: str) -> None:
    ran = host.wharf("explain", *arguments)
    assert (ran.code, ran.output) == (3, "")
    assert ran.errors.startswith(message)


def test_a_name_that_only_a_nameserver_knows() -> None:
    """It is looked up where the packet comes from."""
    records = {"printer": {"A": "192.0.2.30"}, "db": {"A": "192.0.2.31"}}
    words = {
        "networks": {"front": {"x-wharf": {"dns": {"records": records}}}, "back": {}},
        "containers": {"web": {"networks": ["front"]}, "apart": {"networks": ["back"]}},
    }
    with ThrowawayHost.started() as host:
        host.apply(words)
        for name, address in (("printer", "192.0.2.30"), ("db", "192.0.2.31")):
            found = explain(host, "web", f"{name}:80")
            assert (found["address"], found["verdict"]) == (address, "open")
        for source, why in (
            ("apart", "no nameserver of apart says an address of it"),
            ("host", "no nameserver of host says an address of it"),
            ("203.0.113.9", "what it means elsewhere is not known here: give the address"),
        ):
            ran = host.wharf("explain", source, "printer.example.org:80")
            said = f'TO: "printer.example.org": is neither a declared container nor an address; {why}\n'
            assert (ran.code, ran.errors) == (3, said)


def test_the_codes_are_documented(host: ThrowawayHost) -> None:
    assert "0: open; 1: closed; 2: it cannot be known; 3: an error" in " ".join(
        host.wharf("explain", "--help").output.split()
    )


def test_what_is_sent_comes_out_as_explained(host: ThrowawayHost) -> None:
    asked = [
        *("web host:8080", "db host:8080", "db 127.0.0.1:80", "host db:5432", "host db:53/udp", "web db:80"),
        *("db web:53/udp", "one two:80", "db host:8053/udp", "host 127.0.0.1:9000", "db host --icmp", "host host:99"),
        *("web 203.0.113.1 --icmp", "web [2001:db8::10]:8080", "safe 203.0.113.1:80"),
    ]
    before = host.snapshot()
    ways = [(*each.split()[:2], "--icmp" in each, True) for each in asked]
    answers = dict(zip(asked, explained(host, ways), strict=True))
    assert differences(before, host.snapshot()) == ""
    assert [each for each in asked if answers[each]["sent"]["agrees"] is not True] == []
    if host.backend == "nftables":
        # The rules that decide are those that the kernel itself says that the packet met.
        rules = {each: _rules_of_the_host(answers[each]) for each in asked}
        assert [each for each in asked if not rules[each] <= {*answers[each]["sent"]["trace"]}] == []
        assert sum(map(len, rules.values())) > len(asked)


def _rules_of_the_host(found: dict[str, Any]) -> set[str]:
    steps = [step for step in found["steps"] if step["rule"] and step["where"] == "host" and not step["answer"]]
    return {f"{step['chain']}: {step['rule']}" for step in steps}


def test_the_module_returns_the_same(tmp_path: Path) -> None:
    with ThrowawayHost.started() as host:
        host.apply(DECLARED)
        controller = Controller(host, tmp_path)
        tasks = [
            {"wharf.network.explain": {"from": "web", "to": "db:5432"}},
            {"wharf.network.explain": {"from": "203.0.113.9", "to": "host:8080"}},
            {"wharf.network.explain": {"from": "wep", "to": "db"}, "ignore_errors": True},
        ]
        by_command = [explain(host, "web", "db:5432"), explain(host, "203.0.113.9", "host:8080")]
        played = controller.play([{"tasks": tasks}, {"tasks": tasks, "check_mode": True}])
        assert played.returncode == 0, played.output
        for *returned, failed in (played.results[:3], played.results[3:]):
            for each, expected in zip(returned, by_command, strict=True):
                assert each["changed"] is False
                assert {key: each[key] for key in expected} == expected
                assert each["report"][0].startswith(f"{expected['verdict']}: ")
            assert failed["problems"][0]["path"] == "from"
