# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Firewalls of others: what they drop is named with what helps, and where they may be changed, they are."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import foreign_firewalls
import pytest
from hosts import ABSENT, ADDRESSES, BACKENDS, OUTSIDE, ThrowawayHost
from probes import Probe

# The older iptables reads a file that only root may, ufw looks at who calls it, a system's D-Bus changes its user.
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="programs of others need root")

WORDS: dict[str, Any] = {
    "networks": {"app": {"enable_ipv6": True}, "back": {"enable_ipv6": True}},
    "containers": {"web": {"networks": ["app"], "ports": ["8080:80"]}, "db": {"networks": ["back"]}},
}
ACCEPTING = {**WORDS, "host": {"x-wharf": {"accept-in-iptables-forward": True}}}
BOTH = (4, 6)


@pytest.fixture(scope="module")
def shared() -> Iterator[ThrowawayHost]:
    """A host with networks, which each test leaves without rules of others."""
    with ThrowawayHost.started() as host, host.declared(WORDS):
        serve(host)
        yield host


def serve(host: ThrowawayHost) -> None:
    host.serve("web", "80/tcp")
    host.serve("db", "80/tcp")
    host.serve(OUTSIDE, "80/tcp")


def passes(host: ThrowawayHost, versions: tuple[int, ...] = BOTH) -> dict[str, set[bool]]:
    """What gets through, of what should and of what should not."""
    ways = []
    for version in versions:
        own, internet = (ADDRESSES[name][version == 6] for name in ("host", "internet"))
        ways += [
            ("in", Probe(host.path(OUTSIDE), "tcp", own, 8080)),
            ("in by bridge", Probe(host.path("db"), "tcp", own, 8080)),
            ("out", Probe(host.path("db"), "tcp", internet, 80)),
            ("between networks", Probe(host.path("web"), "tcp", host.address("db", "back", version), 80)),
        ]
    answers = host.agent.probe_patiently([probe for _way, probe in ways], [False] * len(ways))
    found: dict[str, set[bool]] = {}
    for (way, _probe), answer in zip(ways, answers, strict=True):
        found.setdefault(way, set()).add(answer.is_open)
    return found


EVERYTHING = {"in": {True}, "in by bridge": {True}, "out": {True}, "between networks": {False}}
NOTHING = {"in": {False}, "in by bridge": {False}, "out": {False}, "between networks": {False}}


def warnings(host: ThrowawayHost, words: Any = None) -> list[str]:
    """The same in check mode and in a real run, in which nothing is to be done."""
    given = WORDS if words is None else words
    real = host.apply(given)
    assert real.changes == []
    assert host.diff(given).warnings == real.warnings
    return sorted(real.warnings)


def places(found: list[str]) -> list[str]:
    return [re.sub(r" drops .*", "", warning) for warning in found]


def follow(host: ThrowawayHost, found: list[str]) -> None:
    """Do as the warnings say."""
    for warning in found:
        commands = re.findall(r"`([^`]*)`", warning.partition("To let it through: ")[2])
        assert commands, warning
        host.run("\n".join(commands))


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (
            "iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP",
            [f"the policy of chain FORWARD of the {f}tables-nft table {f} filter" for f in ("ip6", "ip")],
        ),
        pytest.param(
            "iptables-legacy -A FORWARD -j REJECT; ip6tables-legacy -A FORWARD -j DROP",
            [
                "the rule `-A FORWARD -j DROP` in chain FORWARD of the ip6tables-legacy table ip6 filter",
                "the rule `-A FORWARD -j REJECT --reject-with icmp-port-unreachable` in chain FORWARD "
                "of the iptables-legacy table ip filter",
            ],
            marks=needs_root,
        ),
        (
            f"nft -f - <<'END'\n{foreign_firewalls.NFTABLES_CONF.replace('flush ruleset', '')}\nEND\n",
            ["the policy of chain forward of the nftables table inet filter"],
        ),
        (
            f"for each in ip ip6; do ${{each}}tables-nft-restore <<'END'\n{foreign_firewalls.DOCKERD}\nEND\ndone\n",
            [f"the policy of chain FORWARD of the {f}tables-nft table {f} filter" for f in ("ip6", "ip")],
        ),
    ],
    ids=["iptables policy", "legacy rules", "nftables.conf", "dockerd"],
)
def test_what_drops_is_named_and_the_remedy_helps(shared: ThrowawayHost, rules: str, named: list[str]) -> None:
    assert warnings(shared) == []
    shared.run(rules)
    try:
        found = warnings(shared)
        assert places(found) == sorted(named)
        assert passes(shared) == NOTHING
        follow(shared, found)
        assert warnings(shared) == []
        assert passes(shared) == EVERYTHING
    finally:
        without_rules_of_others(shared)


def test_what_does_not_meet_our_traffic_is_not_named(shared: ThrowawayHost) -> None:
    shared.run(
        f"""
        nft -f - <<'END'
        {foreign_firewalls.LIBVIRT}
        table inet careful {{
            chain pre {{
                type filter hook prerouting priority raw; policy accept;
                fib saddr . iif oif missing drop
                tcp flags syn tcp option maxseg size 1-500 drop
            }}
            chain later {{
                type filter hook prerouting priority mangle; policy accept;
                ct state invalid drop
            }}
            chain forward {{
                type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname {{ "br-*", "docker0" }} accept
                iifname "eth0" oifname "br-app" tcp dport 80 accept
                oifname "docker0" accept
            }}
        }}
END
        """
    )
    try:
        assert warnings(shared) == []
        assert passes(shared) == EVERYTHING
    finally:
        without_rules_of_others(shared)


@pytest.mark.parametrize("priority", [-400, 400])
def test_no_priority_makes_an_accept_final(shared: ThrowawayHost, priority: int) -> None:
    """Not a fact of ours, but what the remedies rest on."""
    shared.run(
        f"""
        nft -f - <<'END'
        table inet accepting {{
            chain forward {{
                type filter hook forward priority {priority}; policy accept;
                accept
            }}
        }}
        {foreign_firewalls.NFTABLES_CONF.replace("flush ruleset", "")}
END
        """
    )
    try:
        assert passes(shared, (4,)) == NOTHING
    finally:
        without_rules_of_others(shared)


def without_rules_of_others(host: ThrowawayHost) -> None:
    host.run(
        """
        nft list tables | grep -v 'inet wharf' | while read -r line; do nft delete $line; done
        for each in ip ip6; do
            ${each}tables-legacy -P FORWARD ACCEPT; ${each}tables-legacy -F FORWARD
        done
        """
    )


@needs_root
def test_iptables_forward_lets_through_on_demand(host: ThrowawayHost) -> None:
    foreign = """
        iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -s 10.99.0.0/16 -j ACCEPT
        iptables-nft -A FORWARD -j LOG; ip6tables-nft -A FORWARD -j REJECT
        iptables-legacy -P FORWARD DROP; iptables-legacy -A FORWARD -d 10.99.0.0/16 -j DROP
    """
    save = "for each in iptables-nft ip6tables-nft iptables-legacy; do $each-save -t filter | grep -v '^#'; done"
    host.run(foreign)
    without_counters = re.compile(r"\[\d+:\d+\]")
    before = without_counters.sub("", host.run(save))
    with host.declared(ACCEPTING):
        serve(host)
        assert warnings(host, ACCEPTING) == []
        assert passes(host) == EVERYTHING
        assert ours_gone(without_counters.sub("", host.run(save))) == before

        # Somebody else's reload, and a jump that was put in twice.
        host.run(
            """
            iptables-nft -F FORWARD; iptables-nft -A FORWARD -s 10.99.0.0/16 -j ACCEPT; iptables-nft -A FORWARD -j LOG
            ip6tables-nft -I FORWARD -m comment --comment "wharf, accept" -j WHARF-ACCEPT
            iptables-legacy -D WHARF-ACCEPT 1
            """
        )
        changed = host.converge(ACCEPTING)
        assert {change[:3] for change in changed} == {("docker_chains", "update", "accept")}
        assert passes(host) == EVERYTHING
        assert ours_gone(without_counters.sub("", host.run(save))) == before

        # A network that goes takes its rules along, and the option what it had brought.
        host.converge({**ACCEPTING, "networks": {"app": WORDS["networks"]["app"]}, "containers": {}}, "exact")
        assert "br-back" not in host.run(save)
        host.converge(ACCEPTING)
        changed = host.converge({**WORDS, "host": {}})
        assert {change[:3] for change in changed} == {("docker_chains", "delete", "accept")}
        assert without_counters.sub("", host.run(save)) == before
        assert len(warnings(host, {**WORDS, "host": {}})) == 3
        host.converge(ACCEPTING)
    assert without_counters.sub("", host.run(save)) == before


def ours_gone(save: str) -> str:
    return "".join(line for line in save.splitlines(keepends=True) if "WHARF-ACCEPT" not in line)


@pytest.mark.parametrize("host", BACKENDS[:2], indirect=True)
@pytest.mark.parametrize("name", ["e+", 'e"'])
def test_a_bridge_whose_name_says_more_opens_nothing(host: ThrowawayHost, name: str) -> None:
    """What passes within a bridge of others is let through by its name."""
    host.run(f"ip link add '{name}' up type bridge")
    with host.declared(WORDS):
        serve(host)
        assert passes(host, (4,)) == EVERYTHING
        internet = ADDRESSES["internet"][0]
        host.run(f"ip route replace {internet} via {ADDRESSES['host'][0]}", "neighbour")
        assert not host.probe("neighbour", f"{internet}:80/tcp", False).is_open


@pytest.mark.parametrize("words", [WORDS, ACCEPTING], ids=["nftables", "accepted in FORWARD"])
def test_a_name_with_a_quote_stops_nothing(host: ThrowawayHost, words: Any) -> None:
    """`recent` takes any name and lists it as it is; a comment's quote is listed escaped."""
    host.run(
        """
        iptables-nft -A FORWARD -m recent --rcheck --name "a'b" -j DROP
        iptables-nft -A FORWARD -m comment --comment "it's \\"quoted\\"" -j ACCEPT
        """
    )
    with host.declared(words):
        assert warnings(host, words) == []
        host.run("iptables-nft -I FORWARD -m recent --rcheck --name 'a\"b' -j DROP")
        (found,) = warnings(host, words)
        assert '--name a"b' in found
        assert "cannot be read" in found
        assert host.observed()["foreign"][0]["drops"] == []
        serve(host)
        assert passes(host, (4,)) == EVERYTHING
        host.run("iptables-nft -D FORWARD -m recent --rcheck --name 'a\"b' -j DROP")


@pytest.mark.parametrize("host", BACKENDS[:2], indirect=True)
def test_a_rule_with_bytes_that_are_no_text_stops_nothing(host: ThrowawayHost) -> None:
    host.run(
        """
        iptables-nft -A INPUT -j LOG --log-prefix "$(printf 'f\\374r\\033\\013-A x')"
        iptables-nft -A FORWARD -m recent --rcheck --name "$(printf 'a\\374"b')" -j DROP
        """
    )
    host.apply(WORDS)
    assert host.apply(WORDS).changes == []
    (found,) = warnings(host, WORDS)
    assert r'--name a\xfc"b' in found
    assert host.observed()["foreign"][0]["drops"] == []
    host.apply({}, ABSENT)
    save = subprocess.run([*host.enter(), "iptables-nft-save"], capture_output=True, check=True).stdout
    assert b"f\xfcr\x1b\x0b-A x" in save


CLOSED = {
    "iptables": "iptables-nft -P INPUT DROP",
    "nft": "nft 'add table inet own; add chain inet own input { type filter hook input priority 0; policy drop; }'",
}


@pytest.mark.parametrize("tool", CLOSED)
def test_what_lets_replies_in_does_not_open_the_host(host: ThrowawayHost, tool: str) -> None:
    with host.declared(WORDS):
        host.serve("web", "80/tcp")
        host.serve("host", "2222/tcp")
        host.run(CLOSED[tool])
        web = f"{host.address('web', 'app')}:80/tcp"
        assert not host.probe("host", web, False).is_open
        follow(host, warnings(host))
        assert warnings(host) == []
        assert host.probe("host", web).is_open
        assert not host.probe("web", f"{ADDRESSES['host'][0]}:2222/tcp", False).is_open
        host.run("iptables-nft -P INPUT ACCEPT; iptables-nft -F INPUT; nft delete table inet own || true")


@needs_root
def test_ufw(host: ThrowawayHost) -> None:
    with foreign_firewalls.skipping():
        foreign_firewalls.have_programs_of_others(host)
    foreign_firewalls.start_ufw(host)
    host.converge(WORDS)
    serve(host)
    found = warnings(host)
    assert places(found) == [
        "the policy of chain FORWARD of the ip6tables-nft table ip6 filter",
        "the policy of chain FORWARD of the iptables-nft table ip filter",
        "the policy of chain INPUT of the iptables-nft table ip filter",
    ]
    assert passes(host) == NOTHING
    follow(host, found)
    assert warnings(host) == []
    assert passes(host) == EVERYTHING
    host.run("ufw reload")
    assert warnings(host) == []
    assert passes(host) == EVERYTHING


@needs_root
def test_firewalld(host: ThrowawayHost) -> None:
    """Its own rules would drop what containers send; in its zone of containers they do not."""
    with foreign_firewalls.skipping():
        foreign_firewalls.have_programs_of_others(host)
    before = firewalld_files(host)
    with foreign_firewalls.firewalld(host):
        # As roles do it. What is left to the last of them, none of them warns of.
        changed = []
        for scope in ("default_networks", "user_networks", "containers"):
            assert host.diff(WORDS, scope=[scope]).warnings == set()
            changed += host.converge(WORDS, scope=[scope])
            assert host.apply(WORDS, scope=[scope]).warnings == set()
        assert {change[3] for change in changed if change[2] == "firewalld"} == {
            "zone docker", "policy docker-forwarding", "interface docker0", "interface br-app", "interface br-back",
        }  # fmt: skip
        serve(host)
        assert warnings(host) == []
        assert passes(host) == EVERYTHING

        host.run("firewall-cmd --reload")
        assert warnings(host) == []
        assert passes(host) == EVERYTHING

        host.run(
            """
            firewall-cmd --zone=docker --remove-interface=br-app
            firewall-cmd --permanent --zone=docker --remove-interface=br-back
            firewall-cmd --permanent --policy=docker-forwarding --set-target=CONTINUE
            """
        )
        assert {change[3] for change in host.converge(WORDS)} == {
            "policy docker-forwarding", "interface br-app", "interface br-back",
        }  # fmt: skip
        assert passes(host) == EVERYTHING

        # Outside of the zone it drops, and is named.
        host.run("firewall-cmd --permanent --zone=docker --set-target=default; firewall-cmd --reload")
        drops = host.observed()["foreign"]
        assert {(drop["table"], drop["base"]) for drop in drops} == {
            ("firewalld", "filter_FORWARD"), ("firewalld", "filter_INPUT"),
        }  # fmt: skip
        assert all("reject" in drop["rule"] for drop in drops)
        assert not passes(host, (4,))["out"] - {False}
        host.converge(WORDS)
        assert passes(host) == EVERYTHING

        host.converge({"networks": {"back": {}}, "containers": {"db": {}}}, ABSENT, ["user_networks", "containers"])
        assert "br-back" not in host.run("firewall-cmd --get-active-zones; cat /etc/firewalld/zones/docker.xml")

    # While it does not run: a network comes, and all go.
    host.converge(WORDS)
    assert "br-back" in host.run("cat /etc/firewalld/zones/docker.xml")
    assert passes(host, (4,)) == EVERYTHING
    host.agent.call("stop_all")
    host.converge({}, ABSENT)
    assert firewalld_files(host) == before


def firewalld_files(host: ThrowawayHost) -> str:
    """What it keeps. Of what goes it leaves an old copy, and its own commands write the default zone's file."""
    return host.run("find /etc/firewalld -type f ! -name '*.old' ! -name public.xml | sort | xargs md5sum")


@needs_root
def test_a_zone_of_somebody_else_stays(host: ThrowawayHost) -> None:
    with foreign_firewalls.skipping():
        foreign_firewalls.have_programs_of_others(host)
    with foreign_firewalls.firewalld(host):
        host.run(
            """
            firewall-cmd --permanent --new-zone=docker; firewall-cmd --permanent --zone=docker --set-target=ACCEPT
            firewall-cmd --permanent --zone=docker --add-interface=docker9; firewall-cmd --reload
            """
        )
        host.converge({"networks": {"app": {}}})
        assert "docker9" in host.run("firewall-cmd --zone=docker --list-interfaces")
        host.converge({}, ABSENT)
        assert host.run("firewall-cmd --permanent --zone=docker --list-interfaces").split() == ["docker9"]


def test_a_reload_of_nftables_conf(host: ThrowawayHost) -> None:
    """It begins by flushing everything of everybody; the next run puts ours back, and names what drops."""
    host.write("/etc/nftables.conf", foreign_firewalls.NFTABLES_CONF)
    with host.declared(WORDS):
        serve(host)
        host.run("nft -f /etc/nftables.conf")
        assert passes(host, (4,)) == NOTHING
        result = host.apply(WORDS)
        assert {change[0] for change in result.changes} == {"docker_chains"}
        (found,) = result.warnings
        follow(host, [found])
        assert passes(host) == EVERYTHING
        assert warnings(host) == []
        host.run("nft delete table inet filter")
