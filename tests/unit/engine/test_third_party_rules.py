# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each folder of `third_party/` is what others have on a host in, and which rule of theirs drops what we accept out.

`nft.json` is what `nft -j` lists, `ip.save` and `ip6.save` are what `iptables-save` and `ip6tables-save` do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import golden
import pytest
from planning import facts_of, plan

from ansible_collections.wharf.network.plugins.module_utils.engine.planning.facts import Facts
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.plan import Plan
from ansible_collections.wharf.network.plugins.module_utils.engine.third_party.drops import (
    NFT,
    Ruleset,
    third_party_drops,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.third_party.iptables_rules import objects_of
from ansible_collections.wharf.network.plugins.module_utils.engine.third_party.required_flows import required_flows
from ansible_collections.wharf.network.plugins.module_utils.engine.third_party.rule_evaluation import Packet

HERE = Path(__file__).parent / "third_party"

WORDS = {
    "networks": {"app": {"enable_ipv6": True}},
    "containers": {"web": {"networks": ["app"], "ports": ["8080:80", "127.0.0.1:9000:90"]}},
}


@pytest.mark.parametrize("case", sorted(HERE.iterdir()), ids=lambda case: case.name)
def test_case(case: Path) -> None:
    flows = list(required_flows(_planned(), bridged=True))
    drops = [str(drop) for drop in third_party_drops(_rulesets(case), flows)]
    golden.check(case, {"drops.yml": golden.as_yaml(drops)}, given=("nft.json", "ip.save", "ip6.save"))


def test_vxlan_is_let_in_by_the_link_of_the_hosts_address() -> None:
    """Not by the network's bridge. A rule for another link, such as `lo`, does not let it in."""
    members = {f"h{number}": {"address": f"198.18.0.{number}", "index": number} for number in (1, 2)}
    network = {
        "driver": "overlay",
        "ipam": {"config": [{"subnet": "10.20.0.0/16"}]},
        "x-wharf": {"host": "h1", "members": members, "dns": False},
    }
    facts = facts_of({"addresses": ["198.18.0.1"], "links": [{"name": "eth1", "addresses": ["198.18.0.1/24"]}]})
    flows = list(required_flows(plan({"networks": {"app": network}}, facts)))
    saved = "*filter\n:INPUT DROP\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n"
    drops = [str(drop) for drop in third_party_drops([Ruleset("iptables-nft", list(objects_of(saved, "ip")))], flows)]
    assert "VXLAN packets from other hosts for network app (IPv4)" in drops[0]
    assert "-i eth1 -p udp --dport 4789 -j ACCEPT" in drops[0]


def _planned(words: Any = None) -> Plan:
    return plan(words or WORDS, Facts(default_interface="eth0"))


def _rulesets(case: Path) -> Iterator[Ruleset]:
    for family in ("ip", "ip6"):
        file = case / f"{family}.save"
        if file.exists():
            yield Ruleset(f"{family}tables-nft", list(objects_of(file.read_text(), family)))
    file = case / "nft.json"
    if file.exists():
        yield Ruleset(NFT, json.loads(file.read_text())["nftables"])


@pytest.mark.parametrize(
    ("rules", "dropped"),
    [
        ("-P", ["policy"]),
        ("-i br-app -j ACCEPT", []),
        ("-i br-+ -j ACCEPT", []),
        ("-i br-other -j ACCEPT", ["policy"]),
        ("! -i br-app -j ACCEPT", ["policy"]),
        ("! -i eth0 -j ACCEPT", []),
        ("-s 172.18.0.0/16 -j ACCEPT", []),
        ("-s 10.0.0.0/8 -j ACCEPT", ["policy"]),
        ("! -s 10.0.0.0/8 -j ACCEPT", []),
        ("-s 172.18.0.0/255.255.0.255 -j ACCEPT", []),
        ("-d 203.0.113.0/24 -j ACCEPT", []),
        ("-d 0.0.0.0/0 -j ACCEPT", []),
        ("! -d 203.0.113.0/24 -j DROP\n-A FORWARD -j ACCEPT", []),
        ("-p tcp -m tcp --dport 443 -j ACCEPT", []),
        ("-p udp -m udp --dport 53 -j ACCEPT", ["policy"]),
        ("-p 6 -j ACCEPT", []),
        ("-p icmp -j ACCEPT", ["policy"]),
        ("-m conntrack --ctstate NEW -j ACCEPT", []),
        ("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", ["policy"]),
        ("-m conntrack ! --ctstate INVALID -j ACCEPT", []),
        ("-m conntrack --ctstatus DNAT -j ACCEPT", ["policy"]),
        ("-m conntrack --ctstate DNAT -j ACCEPT", ["policy"]),
        ("-m conntrack ! --ctstate DNAT -j ACCEPT", []),
        ("-m conntrack --ctstate NEW,DNAT -j ACCEPT", []),
        ("-m conntrack --ctstate ESTABLISHED,DNAT -j DROP\n-A FORWARD -j ACCEPT", []),
        ("-m mark --mark 0x1 -j ACCEPT", []),
        ("-m limit --limit 5/sec -j ACCEPT", []),
        ("-m limit --limit 5/sec -j DROP\n-A FORWARD -j ACCEPT", []),
        ('-m comment --comment "-j ACCEPT" -j DROP', ["rule"]),
        ("-j LOG --log-prefix x", ["policy"]),
        ("-j MARK --set-xmark 0x1/0x1", ["policy"]),
        ("-j own", ["policy"]),
        ("-j own\n-A own -i br-app -j ACCEPT", []),
        ("-j own\n-A own -j REJECT\n-A FORWARD -j ACCEPT", ["rule"]),
        ("-j own\n-A own -j RETURN\n-A own -j DROP\n-A FORWARD -j ACCEPT", []),
        ("-g own\n-A FORWARD -j ACCEPT", ["policy"]),
        ("-j own\n-A own -m mark --mark 0x1 -j RETURN\n-A own -j DROP\n-A FORWARD -j ACCEPT", []),
        ("-j NFQUEUE --queue-num 0", []),
        ("-m recent --rcheck --name a'b -j ACCEPT", []),
        ("-m recent --rcheck --name a'b -j DROP\n-A FORWARD -j ACCEPT", []),
        ('-m comment --comment "it\\\'s \\"-j ACCEPT\\"" -j DROP', ["rule"]),
    ],
)
def test_a_rule_of_iptables(rules: str, dropped: list[str]) -> None:
    rule = "" if rules == "-P" else f"-A FORWARD {rules}\n"
    save = f"*filter\n:FORWARD DROP [0:0]\n:own - [0:0]\n{rule}COMMIT\n"
    # Only the request, not its reply.
    flow = next(
        flow
        for flow in required_flows(_planned())
        if flow.subject == "app" and "outside" in flow.description and flow.version == 4
    )
    there = [flow.packets[1]]
    found = third_party_drops([Ruleset("iptables-nft", list(objects_of(save, "ip")))], [_only(flow, there)])
    assert ["rule" if drop.rule else "policy" for drop in found] == dropped


@pytest.mark.parametrize(("chain", "named"), [("WHARF-USER", []), ("DOCKER-USER", ["DOCKER-USER"])])
def test_what_the_admin_declares_to_be_dropped_is_not_named(chain: str, named: list[str]) -> None:
    """With `firewall-backend: iptables` the declared rules stand among those of others."""
    save = (
        "*filter\n:FORWARD ACCEPT [0:0]\n:DOCKER-USER - [0:0]\n:WHARF-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n"
        f"-A DOCKER-USER -j WHARF-USER\n-A {chain} -o br-app -j DROP\nCOMMIT\n"
    )
    found = third_party_drops([Ruleset("iptables-nft", list(objects_of(save, "ip")))], list(required_flows(_planned())))
    assert [drop.chain for drop in found] == named


def test_a_rule_that_cannot_be_read_is_named_and_may_do_anything() -> None:
    """As `iptables-save` prints `-m recent --name 'a"b'`, which no iptables-restore takes either."""
    rule = '-A FORWARD -m recent --rcheck --name a"b -j DROP'
    save = f"*filter\n:FORWARD DROP [0:0]\n{rule}\nCOMMIT\n"
    (found,) = third_party_drops(
        [Ruleset("iptables-nft", list(objects_of(save, "ip")))], list(required_flows(_planned()))
    )
    assert str(found) == (
        f"the rule `{rule}` in chain FORWARD of the iptables-nft table ip filter cannot be read, so it is not known "
        "what it drops; a name in it has a quote, which iptables-nft-restore cannot read either: give it another name"
    )


def test_what_lets_no_answers_back_drops() -> None:
    flow = next(
        flow
        for flow in required_flows(_planned())
        if flow.subject == "app" and "outside" in flow.description and flow.version == 4
    )
    out = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i br-app -j ACCEPT\n"
    back = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
    for save, count in ((out, 1), (out + back, 0)):
        assert len(third_party_drops([Ruleset("iptables-nft", list(objects_of(save, "ip")))], [flow])) == count


@pytest.mark.parametrize(("table", "dropped"), [("raw", 4), ("mangle", 0)])
def test_what_comes_before_connections_are_tracked_has_none(table: str, dropped: int) -> None:
    rule = "-A PREROUTING -m conntrack --ctstate INVALID -j DROP"
    save = f"*{table}\n:PREROUTING ACCEPT [0:0]\n{rule}\nCOMMIT\n"
    flows = [flow for flow in required_flows(_planned()) if flow.subject == "app" and flow.version == 4]
    found = third_party_drops([Ruleset("iptables-legacy", list(objects_of(save, "ip")))], flows)
    assert [len(drop.drops) for drop in found] == [dropped] * bool(dropped)


def _only(flow: Any, steps: Any) -> Any:
    return type(flow)(flow.description, flow.subject, flow.bridge, flow.version, tuple(steps))


def test_what_drops_a_question_to_the_host() -> None:
    """As for a DNS server on a bridge of a host whose input is closed."""
    planned = _planned()
    flows = [flow for flow in required_flows(planned) if flow.service]
    (drop,) = third_party_drops([*_rulesets(HERE / "nftables_conf_workstation")], flows)
    assert (drop.hook, drop.chain, drop.rule) == ("input", "input", "")
    asked = "what containers ask of the host at 53/{}, of network app (IPv4)"
    assert drop.drops == (asked.format("udp"), asked.format("tcp"))
    insert = '`nft insert rule inet filter input iifname "br-app" {} dport 53 accept`'
    assert drop.remedy.startswith(f"{insert.format('udp')}, {insert.format('tcp')}, ")


NFT_INPUT = [
    {"table": {"family": "inet", "name": "filter"}},
    {"chain": {"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input", "prio": 0,
               "policy": "drop"}},
]  # fmt: skip
OF_REPLIES = {
    "iptables-nft": "`iptables-nft -I INPUT -i br-app -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT`",
    NFT: '`nft insert rule inet filter input iifname "br-app" ct state established,related accept`',
}


@pytest.mark.parametrize("tool", OF_REPLIES)
def test_only_replies_of_containers_are_let_in_to_the_host(tool: str) -> None:
    """A rule that accepts all of a bridge would open the whole host to its containers."""
    save = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"
    objects = NFT_INPUT if tool == NFT else [*objects_of(save, "ip")]
    flows = [flow for flow in required_flows(_planned()) if flow.bridge == "br-app" and flow.version == 4]
    (drop,) = third_party_drops([Ruleset(tool, objects)], flows)
    assert "packets from the host to containers of network app (IPv4)" in drop.drops
    assert "what containers ask of the host at 53/udp, of network app (IPv4)" in drop.drops
    assert OF_REPLIES[tool] in drop.remedy
    assert "dport 53" in drop.remedy
    assert drop.remedy.count("accept`") + drop.remedy.count("ACCEPT`") == 3


def test_the_replies_pass_once_the_remedy_is_followed() -> None:
    rule = "-A INPUT -i br-app -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    save = f"*filter\n:INPUT DROP [0:0]\n{rule}\nCOMMIT\n"
    flows = [
        flow
        for flow in required_flows(_planned())
        if flow.bridge == "br-app" and flow.version == 4 and not flow.service
    ]
    assert third_party_drops([Ruleset("iptables-nft", [*objects_of(save, "ip")])], flows) == []


def test_what_is_led_to_another_port_of_the_host() -> None:
    """A container on two networks has a resolver that knows both; what leads it there stands before input."""
    words = {"networks": {"app": {}, "back": {}}, "containers": {"web": {"networks": ["app", "back"]}}}
    save = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p udp -m udp --dport 53 -j ACCEPT\nCOMMIT\n"
    flows = [flow for flow in required_flows(_planned(words)) if flow.service]
    (drop,) = third_party_drops([Ruleset("iptables-nft", list(objects_of(save, "ip")))], flows)
    assert "what containers ask of the host at 20053/udp, of network app (IPv4)" in drop.drops
    assert "`iptables-nft -I INPUT -i br-app -p udp --dport 20053 -j ACCEPT`" in drop.remedy
    assert "-p udp --dport 53" not in drop.remedy


def test_ports_that_rules_do_not_distinguish_are_looked_at_once() -> None:
    words = {"networks": {"app": {}}, "containers": {"web": {"networks": ["app"], "ports": ["8000-8999:8000-8999"]}}}
    flows = list(required_flows(_planned(words)))
    counted = [packet for flow in flows for _hook, packet in flow.packets if isinstance(packet, Packet) and packet.read]
    assert not counted
    third_party_drops([*_rulesets(HERE / "iptables_policy")], flows)
    asked = [packet for flow in flows for _hook, packet in flow.packets if packet.read]
    assert len(flows) > 1000
    assert len(asked) < 20


def test_what_must_pass_follows_the_gateway_mode() -> None:
    mode = "com.docker.network.bridge.gateway_mode_ipv4"
    words = {
        "host": {"bridge": "none"},
        "networks": {each: {"driver_opts": {mode: each}} for each in ("routed", "nat-unprotected")},
        "containers": {each: {"networks": [each], "ports": ["8080:80"]} for each in ("routed", "nat-unprotected")},
    }
    words["networks"]["isolated"] = {"internal": True, "driver_opts": {mode: "isolated"}}
    found = {(flow.description, flow.subject) for flow in required_flows(_planned(words))}
    own = "packets between containers of network"
    assert {what for what, whom in found if whom == "isolated"} == {own}
    assert ("packets to the container's own published port", "80/tcp of routed") in found
    assert not [what for what, whom in found if "8080/tcp of routed" in whom]
    assert ("packets to containers' own addresses on network", "nat-unprotected") in found
    assert ("packets to published port", "8080/tcp of nat-unprotected") in found
