# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each folder of `explanations/` has rules as a kernel listed them, and what is explained by them, without a kernel.

`nft.json` is what `nft -j list ruleset` printed where `declaration.yml` was applied, `rules.nft` the same as text with
handles and without elements; `ip.save` and `ip6.save` are what `iptables-save` and `ip6tables-save` printed.
`questions.txt` has one question a line.
"""

from __future__ import annotations

import errno
import ipaddress
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import golden
import pytest
from planning import plan

from ansible_collections.wharf.network.plugins.module_utils.engine.diff import Change
from ansible_collections.wharf.network.plugins.module_utils.engine.explain import Asked, Seen, lines
from ansible_collections.wharf.network.plugins.module_utils.engine.explanation.choices import (
    MOST_CASES,
    Choices,
    all_cases,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.explanation.stacks import (
    HOST,
    PacketStack,
    PacketStacks,
    StackRules,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.rtnetlink import (
    AddressInfo,
    BridgeInfo,
    FoundRoute,
    LinkInfo,
    PortInfo,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.ledger import Ledger
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.facts import Facts
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.plan import Plan, host_interface
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.firewall.nft_listing import (
    parse_rule_texts,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.state import Sysctl
from ansible_collections.wharf.network.plugins.module_utils.engine.third_party.drops import NFT, Ruleset
from ansible_collections.wharf.network.plugins.module_utils.engine.third_party.iptables_rules import objects_of

HERE = Path(__file__).parent / "explanations"
GIVEN = ("declaration.yml", "questions.txt", "nft.json", "rules.nft", "ip.save", "ip6.save")

OWN = ("192.0.2.10/24", "2001:db8::10/64")
ROUTERS = ("192.0.2.1", "2001:db8::1")
PARAMETERS = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}


@pytest.mark.parametrize("case", sorted(HERE.iterdir()), ids=lambda case: case.name)
def test_case(case: Path) -> None:
    planned = plan(golden.read_yaml(case / "declaration.yml"), Facts(default_interface="eth0"))
    own = tuple(ipaddress.ip_interface(each).ip for each in OWN)
    seen = Recorded(Ledger(), planned, own, stacks_of(planned, _rules(case)))
    explained = []
    for line in (case / "questions.txt").read_text().splitlines():
        source, target, *options = line.split()
        explained += [f"$ {line}", *lines(seen.explain(Asked(source, target, icmp="--icmp" in options))), ""]
    golden.check(case, {"explained.txt": "\n".join(explained)}, GIVEN)


class Recorded(Seen):
    """Nothing is compared with what is declared; something differs that concerns no packet."""

    drift: tuple[Change, ...] = (Change(Sysctl("net.ipv4.ip_forward", "0"), None),)


def _rules(case: Path) -> StackRules:
    listing = case / "rules.nft"
    return StackRules([*_rulesets(case)], parse_rule_texts(listing.read_text()) if listing.exists() else {})


def _rulesets(case: Path) -> Iterator[Ruleset]:
    for family in ("ip", "ip6"):
        if (case / f"{family}.save").exists():
            yield Ruleset(f"{family}tables-nft", list(objects_of((case / f"{family}.save").read_text(), family)))
    if (case / "nft.json").exists():
        yield Ruleset(NFT, json.loads((case / "nft.json").read_text())["nftables"])


def stacks_of(planned: Plan, rules: StackRules) -> PacketStacks:
    """The stacks of a host that is as planned, but for its rules."""
    networks = planned.model.networks
    bridges = {name: number for number, name in enumerate(networks, start=10)}
    pairs = {key: number for number, key in enumerate(planned.allotted.endpoints, start=100)}
    links = [
        _link(2, "eth0"),
        *(
            _link(index, networks[name].bridge, kind="bridge", bridge=BridgeInfo(False, 0, False, False))
            for name, index in bridges.items()
        ),
        *(
            _link(
                index, host_interface(*key), kind="veth", link=2, master=bridges[key[1]],
                alias=f"wharf:{'/'.join(key)}", port=PortInfo(hairpin=True, isolated=not networks[key[1]].icc),
            )
            for key, index in pairs.items()
        ),
    ]  # fmt: skip
    gateways = [
        (bridges[name], pool.interface)
        for name, pools in planned.allotted.networks.items()
        for pool in pools
        if networks[name].has_gateway(pool.version)
    ]
    host = _stack(HOST, links, [*((2, each) for each in OWN), *gateways], ROUTERS, rules)

    def container(name: str) -> PacketStack | None:
        (network, index), *_others = [(key[1], number) for key, number in pairs.items() if key[0] == name]
        endpoint, pools = planned.allotted.endpoints[name, network], planned.allotted.networks[network]
        addresses = [
            (2, f"{endpoint.address(pool.version)}/{pool.subnet.prefixlen}")
            for pool in pools
            if endpoint.address(pool.version)
        ]
        routers = [] if networks[network].internal else [str(pool.gateway) for pool in pools]
        return _stack(name, [_link(2, "eth0", kind="veth", link=index)], addresses, routers, StackRules())

    return PacketStacks(host, container)


def _link(index: int, name: str, **attributes: object) -> LinkInfo:
    return LinkInfo(index, name, "", 1500, True, **attributes)  # type: ignore[arg-type]


def _stack(
    name: str, links: list[LinkInfo], addresses: list[tuple[int, str]], routers: Iterable[str], rules: StackRules
) -> PacketStack:
    own = [(index, ipaddress.ip_interface(each)) for index, each in addresses]
    hops = {ipaddress.ip_address(each).version: ipaddress.ip_address(each) for each in routers}

    def route_to(destination: str, _source: str, _incoming: int) -> FoundRoute:
        to = ipaddress.ip_address(destination)
        if to.is_loopback or any(each.ip == to for _index, each in own):
            return FoundRoute(True, 1, "", destination)
        for next_hop in (to, hops.get(to.version)):
            for index, each in own:
                if next_hop and next_hop in each.network:
                    return FoundRoute(False, index, "" if next_hop == to else str(next_hop), str(each.ip))
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    infos = [AddressInfo(index, each, 0) for index, each in addresses]
    by_index = {link.index: link for link in [_link(1, "lo"), *links]}
    return PacketStack(name, by_index, infos, lambda: rules, route_to, PARAMETERS.get, list)


# All cases of what is not known


def test_all_cases_are_tried_once() -> None:
    def run(choices: Choices) -> str:
        first = choices.take("first", "ab")
        return first + (choices.take("second", "xyz") if first == "a" else choices.take("only one", "-"))

    assert [outcome for outcome, _made in all_cases(run)] == ["ax", "ay", "az", "b-"]
    made = [[(choice.what, choice.taken) for choice in made] for _outcome, made in all_cases(run)]
    assert made == [[("first", 0), ("second", 0)], [("first", 0), ("second", 1)], [("first", 0), ("second", 2)],
                    [("first", 1)]]  # fmt: skip


def test_what_nothing_depends_on_is_noted_and_makes_no_cases() -> None:
    def run(choices: Choices) -> str:
        choices.note("a limit")
        return choices.take("which", "ab")

    found = list(all_cases(run))
    assert [outcome for outcome, _made in found] == ["a", "b"]
    assert all(made[0].what == "a limit" for _outcome, made in found)


def test_so_many_cases_and_no_more() -> None:
    found = list(all_cases(lambda choices: [choices.take(number, "ab") for number in range(20)]))
    assert len(found) == MOST_CASES
