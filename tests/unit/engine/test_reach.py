# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the ports of containers, and by whom they are reached, agrees with the rules of either backend."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import golden
import pytest
from planning import facts_of, plan

from ansible_collections.wharf.network.plugins.module_utils.engine.diff import diff
from ansible_collections.wharf.network.plugins.module_utils.engine.flows import ports_to_check
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.plan import Plan
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.reach import (
    AddressPort,
    NetworkSubnets,
    PortOfFamily,
    Reach,
    StalePorts,
    reach_of,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.rules import rules_iptables, rules_nftables
from ansible_collections.wharf.network.plugins.module_utils.engine.rules.network_rules_iptables import FAMILIES
from ansible_collections.wharf.network.plugins.module_utils.engine.state import Rules, state_of

CASES = sorted((Path(__file__).parent / "cases").iterdir())
EVERYBODY = {4: "0.0.0.0/0", 6: "::/0"}
Element = tuple[Any, Any]


@dataclass
class RulesReach:
    """What rules say. `guarded` are ports of containers that are not for all; `allowed` says who may use a port."""

    published: dict[PortOfFamily, tuple[Any, int]] = field(default_factory=dict)
    opened: set[AddressPort] = field(default_factory=set)
    guarded: set[AddressPort] = field(default_factory=set)
    allowed: dict[PortOfFamily, set[Any]] = field(default_factory=dict)
    subnets: dict[str, set[Any]] = field(default_factory=dict)
    icc: set[str] = field(default_factory=set)
    unprotected: set[tuple[str, int]] = field(default_factory=set)

    @property
    def reach(self) -> Reach:
        restricted = {(port.address.version, port) for port in self.guarded if port.address} | {
            at
            for at, (address, number) in self.published.items()
            if AddressPort(address, at[1].protocol, number) in self.guarded
        }
        networks = [
            NetworkSubnets((subnet,), bridge in self.icc, (bridge, subnet.version) in self.unprotected)
            for bridge, subnets in self.subnets.items()
            for subnet in subnets
        ]
        return Reach(
            self.published,
            {at: tuple(sorted(self.allowed.get(at, ()))) for at in restricted},
            frozenset(self.opened | self.guarded),
            tuple(sorted(networks, key=str)),
        )


# What a network's tunnel to other hosts is called by; it has the same subnets as the bridge.
TUNNEL = "vx-"


def read_nftables(elements: Iterator[Element]) -> RulesReach:
    found = RulesReach()
    for name, element in elements:
        version = 6 if name.endswith("6") else 4
        key, _colon, value = str(element).replace('"', "").partition(" : ")
        words = key.split(" . ")
        if name.startswith("published"):
            address, number = value.split(" . ")
            found.published[version, port(*words)] = ipaddress.ip_address(address), int(number)
        elif name.startswith("targets"):
            found.opened.add(port(*words))
        elif name.startswith("guarded"):
            found.guarded.add(port(*words))
        elif name.startswith("allowed"):
            found.allowed.setdefault((version, port(*words[:-1])), set()).add(ipaddress.ip_network(words[-1]))
        elif name in ("networks4", "networks6") and not words[1].startswith(TUNNEL):
            found.subnets.setdefault(words[1], set()).add(ipaddress.ip_network(words[0]))
        elif name == "icc" and words[0] == words[1]:
            found.icc.add(words[0])
        elif name == "unprotected":
            found.unprotected.add((words[1], int(words[0][-1])))
    return found


TRANSLATION = re.compile(r"(?:-d (\S+)/\d+ )?-p (\w+) -m \w+ --dport (\d+) -j DNAT --to-destination \[?(.+?)\]?:(\d+)")
TARGET = re.compile(r"-d (\S+)/\d+ -p (\w+) -m \w+ --dports? (\S+) -j ACCEPT")
GUARDED = re.compile(r"-d (\S+)/\d+ -p (\w+) -m \w+ --dport (\d+) -j (?:RETURN|DROP)")
ALLOWED = re.compile(
    r"(?:-s (\S+) )?-d \S+ -p (\w+) -m \w+ --dport \d+ -m conntrack (?:--ctstate DNAT )?(?:--ctorigdst (\S+) )?"
    r"--ctorigdstport (\d+) -j ACCEPT"
)
SUBNET = re.compile(r"-s (\S+) -o (\S+) -m conntrack --ctstate DNAT -j MASQUERADE")
MUTUAL = re.compile(r"(?:-[sd] \S+ )?-i (\S+) -o \1 -j ACCEPT")
UNPROTECTED = re.compile(r"(?:-d \S+ )?-o (\S+) -j ACCEPT")


def read_iptables(elements: Iterator[Element]) -> RulesReach:
    found = RulesReach()
    for chain, rule in elements:
        name, version = chain.at.name, 6 if chain.family == FAMILIES[6] else 4
        if match := TRANSLATION.fullmatch(rule):
            address, protocol, number, target, target_port = match.groups("")
            found.published[version, port(address, protocol, number)] = ipaddress.ip_address(target), int(target_port)
        elif match := TARGET.fullmatch(rule):
            found.opened.update(port(match[1], match[2], number) for number in numbers(match[3]))
        elif name.startswith("DOCKER") and (match := GUARDED.fullmatch(rule)):
            found.guarded.add(port(*match.groups()))
        elif match := ALLOWED.fullmatch(rule):
            source, *at = match.groups("")
            at = version, port(at[1], at[0], at[2])
            found.allowed.setdefault(at, set()).add(ipaddress.ip_network(source or EVERYBODY[version]))
        elif match := SUBNET.fullmatch(rule):
            found.subnets.setdefault(match[2], set()).add(ipaddress.ip_network(match[1]))
        elif match := MUTUAL.fullmatch(rule):
            found.icc.add(match[1])
        elif name == "DOCKER-BRIDGE" and (match := UNPROTECTED.fullmatch(rule)):
            found.unprotected.add((match[1], version))
    return found


def port(*words: str) -> AddressPort:
    """Of `[ADDRESS] PROTOCOL PORT`, in that order."""
    *address, protocol, number = words
    return AddressPort(ipaddress.ip_address(address[0]) if any(address) else None, protocol, int(number))


def numbers(text: str) -> Iterator[str]:
    for each in text.split(","):
        first, _colon, last = each.partition(":")
        yield from map(str, range(int(first), int(last or first) + 1))


BACKENDS = {"nftables": (rules_nftables, read_nftables), "iptables": (rules_iptables, read_iptables)}


def of_case(case: Path) -> Plan:
    given = case / "facts.yml"
    facts = {"default_interface": "eth0", **(golden.read_yaml(given) if given.exists() else {})}
    return plan(golden.read_yaml(case / "declaration.yml"), facts_of(facts))


@pytest.mark.parametrize("backend, read", BACKENDS.values(), ids=BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_known_is_what_the_rules_say(
    case: Path, backend: Any, read: Callable[[Iterator[Element]], RulesReach]
) -> None:
    planned = of_case(case)
    things = [thing for thing in backend.rules(planned) if isinstance(thing, Rules)]
    found = read(each for thing in things for each in thing.elements).reach
    known = reach_of(planned)
    assert dict(known.published) == found.published
    assert {at: tuple(sorted(sources)) for at, sources in known.restricted.items()} == found.restricted
    assert known.opened == found.opened
    # Rules do not say which subnets are of one network.
    each = [replace(network, subnets=(subnet,)) for network in known.networks for subnet in network.subnets]
    assert tuple(sorted(each, key=str)) == found.networks


def reach_with(*ports: Any, mode: str = "nat") -> Reach:
    return reach_of(plan_with(*ports, mode=mode))


def plan_with(*ports: Any, mode: str = "nat") -> Plan:
    """The plan for a container with these ports."""
    network = {"driver_opts": {"com.docker.network.bridge.gateway_mode_ipv4": mode}}
    subnet = {"ipam": {"config": [{"subnet": "10.1.0.0/24"}]}}
    return plan(
        {"networks": {"app": {**network, **subnet}}, "containers": {"web": {"networks": ["app"], "ports": ports}}}
    )


def only_for(*sources: str) -> Any:
    return {"target": 80, "published": 8080, "x-wharf": {"allow_from": list(sources)}}


OWN = "10.1.0.2 tcp 80"


@pytest.mark.parametrize(
    "before, after, changed",
    [
        (["8080:80"], ["8080:80"], []),
        ([], ["8080:80"], ["* tcp 8080"]),
        (["8080:80"], ["8080:81"], ["* tcp 8080", OWN]),
        (["8080:80"], ["192.0.2.10:8080:80"], ["* tcp 8080", "192.0.2.10 tcp 8080"]),
        (["8080:80", "8081:80"], ["8080:80"], ["* tcp 8081"]),
        (["8080:80"], [only_for("192.0.2.1")], ["* tcp 8080", OWN]),
        ([only_for("192.0.2.1", "192.0.2.9")], [only_for("192.0.2.1")], ["* tcp 8080", OWN]),
        ([only_for("192.0.2.1")], ["8080:80"], []),
    ],
)
def test_ports_that_changed(before: list[Any], after: list[Any], changed: list[str]) -> None:
    assert {*map(str, reach_with(*after).changed_from(reach_with(*before)))} == {*changed}


def test_ports_of_a_routed_network_are_open_at_the_containers_address() -> None:
    opened = reach_with("8080:80", mode="routed")
    assert {*map(str, reach_with(mode="routed").changed_from(opened))} == {OWN}
    assert {*map(str, opened.changed_from(reach_with(mode="routed")))} == set()


@pytest.mark.parametrize("text", ["* tcp 80", "192.0.2.10 udp 53", "2001:db8::1 sctp 9"])
def test_ports_in_the_ledger(text: str) -> None:
    assert StalePorts.from_data([text, "*"]).as_data() == ["*", text]


def test_ports_to_check() -> None:
    """Where rules are missing that should be there, flows may have begun in any way, to all that is published."""
    before, after = plan_with("8080:80", "8082:82"), plan_with("8080:80", "8081:81")
    had, has = (state_of(rules_nftables.rules(each)) for each in (before, after))
    closed = {"* tcp 8082", "* tcp 8081", "10.1.0.2 tcp 82"}
    assert {*ports_to_check(before, had, after, diff(had, has)).as_data()} == closed
    assert {*ports_to_check(before, had, after, diff({}, has)).as_data()} == {*closed, "* tcp 8080", "*"}
    assert {*ports_to_check(None, {}, after, diff({}, has)).as_data()} == {"* tcp 8080", "* tcp 8081", "*"}
    chains = [change for change in diff({}, has) if not isinstance(change.subject, Rules)]
    assert not ports_to_check(before, had, after, chains)
