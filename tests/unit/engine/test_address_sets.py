# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is free is what a search by counting up would find, in far fewer steps than that takes."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import plan, problems

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.model import Model
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.parse_model import read_model
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.section import Subnet
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ConflictError, ProblemCollector
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.address_sets import lowest_free
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.allotments import Allotments
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.facts import Facts
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.ipam import allot
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.taken_subnets import (
    TakenSubnet,
    TakenSubnets,
)

# An allotment of one network takes some 3,000 steps; counting up in any of the pools below would take millions.
FEW = 300_000

# The import takes many, too.
next(lowest_free(ipaddress.ip_network("10.0.0.0/8"), 24, ()))

few = settings(max_examples=200, deadline=None, derandomize=True)


class TooManySteps(BaseException):
    """What is measured would go on for long."""


def steps(action: Callable[[], object], most: int) -> int:
    """How many instructions of Python an action takes."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        if count > most:
            raise TooManySteps
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def test_steps_are_counted() -> None:
    assert 100 < steps(lambda: sum(1 for _number in range(100)), FEW) < 2000
    with pytest.raises(TooManySteps):
        steps(lambda: sum(1 for _number in range(100_000)), FEW)


@st.composite
def subnets(draw: st.DrawFn, base: str = "10.0.0.0/24", shortest: int = 24) -> Subnet:
    """Any within the base, from this prefix length on."""
    within = ipaddress.ip_network(base)
    length = draw(st.integers(shortest, within.max_prefixlen))
    address = int(within.network_address) + draw(st.integers(0, within.num_addresses - 1))
    return ipaddress.ip_network((address, length), strict=False)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int]:
    first, last = sorted(int(ipaddress.ip_address("10.0.0.0")) + draw(st.integers(-9, 265)) for _end in range(2))
    return first, last


@few
@given(st.integers(24, 32), st.data(), st.lists(ranges(), max_size=6))
def test_what_counting_up_would_find(length: int, data: st.DataObject, taken: list[tuple[int, int]]) -> None:
    base = ipaddress.ip_network(f"10.0.0.0/{length}")
    size = data.draw(st.integers(length, 32))
    free = [
        int(subnet.network_address)
        for subnet in base.subnets(new_prefix=size)
        if not any(first <= int(subnet[-1]) and last >= int(subnet[0]) for first, last in taken)
    ]
    assert list(lowest_free(base, size, taken)) == free


@few
@given(st.lists(subnets(), max_size=8), st.lists(subnets(), max_size=4), subnets(shortest=20))
def test_the_holder_that_comparing_with_each_would_find(
    taken: list[Subnet], routed: list[Subnet], wanted: Subnet
) -> None:
    facts = Facts(
        taken_subnets=tuple((each, "taken") for each in taken[:4]), routed_subnets=tuple((r, "") for r in routed)
    )
    found = TakenSubnets(model_of({}), facts)
    for each in taken[4:]:
        found.add(TakenSubnet(each, "taken"))
    overlapping = [TakenSubnet(each, "taken") for each in taken if each.overlaps(wanted)]
    within = [TakenSubnet(each, "") for each in routed if each.subnet_of(wanted)]
    assert found.overlapping(wanted) == next(iter([*overlapping, *within]), None)


@few
@given(st.lists(subnets("fd00::/120", 120), max_size=6), st.lists(subnets(), max_size=6), st.integers(24, 32))
def test_a_pool_gives_what_overlaps_nothing(others: list[Subnet], taken: list[Subnet], size: int) -> None:
    """And first of all the lowest."""
    facts = Facts(taken_subnets=tuple((each, "taken") for each in (*others, *taken)))
    pool = ipaddress.ip_network("10.0.0.0/24")
    words = {"host": {"bip": "10.9.0.1/24", "default-address-pools": [{"base": str(pool), "size": size}]}}
    free = (s for s in pool.subnets(new_prefix=size) if not any(s.overlaps(t) for t in taken if t.version == 4))
    wanted = next(free, None)
    found = allot(
        model_of({**words, "networks": {"a": {}}}), facts, Allotments(), ProblemCollector(), ProblemCollector()
    )
    assert [pool.subnet for pool in found.networks["a"]] == ([wanted] if wanted else [])


def model_of(words: dict[str, Any]) -> Model:
    parts = [words.get(part, {}) for part in ("host", "networks", "containers")]
    return read_model(*parts, (), ProblemCollector())


def allotted(model: Model, before: Allotments | None = None, *taken: str) -> Allotments:
    facts = Facts(taken_subnets=tuple((ipaddress.ip_network(each), "the host's") for each in taken))
    return allot(model, facts, before or Allotments(), ProblemCollector(), ProblemCollector())


def one_container(subnet: str, **pool: Any) -> dict[str, Any]:
    """On a network of this subnet, a part of which may be leased."""
    lease = pool.pop("range", None)
    network = {
        "enable_ipv4": ":" not in subnet,
        "enable_ipv6": ":" in subnet,
        "ipam": {"config": [{"subnet": subnet, **pool}]},
        **({"x-wharf": {"dhcp": {"range": lease}}} if lease else {}),
    }
    return {"networks": {"a": network}, "containers": {"web": {"networks": ["a"]}}}


LEASED = [
    pytest.param(one_container("fd00:1::/64", gateway="fd00:1::1:0:0:1", range="fd00:1::/100"), "fd00:1::1000:0"),
    pytest.param(one_container("fd00:1::/64", gateway="fd00:1::1:0:0:1", range="fd00:1::/80"), "fd00:1::1:0:0:0"),
    pytest.param(one_container("10.0.0.0/8", gateway="10.128.0.1", range="10.0.0.0/9"), "10.128.0.0"),
    pytest.param(one_container("10.0.0.0/8", range="10.0.0.2-10.255.255.253"), "10.255.255.254"),
    pytest.param(one_container("10.0.0.0/8", range=["10.0.0.2-10.99.0.0", "10.99.0.2-10.200.0.0"]), "10.99.0.1"),
    pytest.param(one_container("fd00::/9", range="fd00::2-fd7f:ffff::"), "fd7f:ffff::1"),
]


@pytest.mark.parametrize(("words", "address"), LEASED)
def test_an_address_beside_many_that_are_leased(words: dict[str, Any], address: str) -> None:
    assert problems(words) == []
    found: list[Allotments] = []
    model = model_of(words)
    steps(lambda: found.append(allotted(model)), FEW)
    assert str(next(iter(found[0].endpoints.values())).address(6 if ":" in address else 4)) == str(
        ipaddress.ip_address(address)
    )
    steps(lambda: plan(words), FEW)


@pytest.mark.parametrize("length", [8, 9, 16, 31, 48, 64, 65, 80, 100, 126, 127])
def test_any_length_of_ipv6(length: int) -> None:
    base = f"fd00::/{length}"
    words = one_container(base)
    assert problems(words) == []
    steps(lambda: plan(words), FEW)
    for size in sorted({length, 64, 127, 128}):
        if length <= size:
            pool = {"host": {"default-address-pools": [{"base": base, "size": size}], "bip": "10.9.0.1/24"}}
            model = model_of({**pool, "networks": {"a": {"enable_ipv4": False, "enable_ipv6": True}}})
            for taken in (base, f"fd00::/{min(length + 1, 128)}", "fd00::/128", "fc00::/7"):
                steps(lambda model=model, taken=taken: allotted(model, None, taken), FEW)


@pytest.mark.parametrize(
    ("base", "size", "taken", "subnet"),
    [
        ("fd00::/8", 64, ("fd00::/16",), "fd01::/64"),
        ("fd00::/8", 64, ("fd00::/8",), None),
        ("10.0.0.0/8", 28, ("10.0.0.0/8",), None),
        ("10.0.0.0/8", 28, ("10.0.0.0/9", "10.128.0.0/10"), "10.192.0.0/28"),
        ("10.0.0.0/8", 32, ("10.0.0.0/9", "10.128.0.0/32"), "10.128.0.1/32"),
    ],
)
def test_a_subnet_beside_what_the_host_has(base: str, size: int, taken: tuple[str, ...], subnet: str | None) -> None:
    host = {"default-address-pools": [{"base": base, "size": size}], "bip": "172.31.0.1/24"}
    model = model_of({"host": host, "networks": {"a": {"enable_ipv4": "." in base, "enable_ipv6": ":" in base}}})
    found: list[Allotments] = []
    steps(lambda: found.append(allotted(model, None, *taken)), FEW)
    assert [str(pool.subnet) for pool in found[0].networks["a"]] == ([subnet] if subnet else [])


def test_a_gateway_beside_many_reserved_addresses() -> None:
    reserved = {f"n{number}": f"fd00::{number:x}" for number in range(1, 2001)}
    words = one_container("fd00::/64", aux_addresses=reserved)
    model = model_of(words)
    found: list[Allotments] = []
    assert steps(lambda: found.append(allotted(model)), FEW) < FEW
    assert str(found[0].networks["a"][0].gateway) == "fd00::7d1"
    assert str(found[0].endpoints["web", "a"].ipv6) == "fd00::7d2"


def networks(count: int, containers: int = 0) -> Model:
    host = {"default-address-pools": [{"base": "10.0.0.0/8", "size": 24}]}
    on = {f"c{number:03}": {"networks": [f"n{number % count:03}"]} for number in range(containers)}
    return model_of({"host": host, "networks": {f"n{number:03}": {} for number in range(count)}, "containers": on})


def test_the_steps_grow_as_the_networks_do() -> None:
    small, large = networks(50), networks(200)
    few_steps = steps(lambda: allotted(small), FEW)
    assert steps(lambda: allotted(large), 10 * FEW) < 6 * few_steps
    everything = allotted(large)
    without_one = Allotments({name: each for name, each in everything.networks.items() if name != "n100"})
    assert steps(lambda: allotted(large, without_one), 10 * FEW) < 6 * few_steps


def test_the_steps_grow_as_the_containers_do() -> None:
    small, large = networks(25, 50), networks(100, 200)
    assert steps(lambda: allotted(large), 10 * FEW) < 6 * steps(lambda: allotted(small), FEW)


@pytest.fixture
def without_netaddr(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "netaddr", None)
    yield


NEEDED = (
    "netaddr: is needed on this host to allot subnets and addresses: install python3-netaddr "
    "(or pip install 'netaddr>=0.7.19,<2')"
)


@pytest.mark.usefixtures("without_netaddr")
class TestWithoutNetaddr:
    def test_whatever_is_new_says_so_once(self) -> None:
        with pytest.raises(ConflictError):
            list(islice(lowest_free(ipaddress.ip_network("10.0.0.0/8"), 24, []), 1))
        words = {"networks": {"a": {"enable_ipv6": True}, "b": {}}, "containers": {"c": {"networks": ["a", "b"]}}}
        assert problems(words) == [NEEDED]

    def test_also_an_address_alone(self) -> None:
        assert problems({"host": {"bip": "10.0.0.1/24"}, "containers": {"c": {}, "d": {}}}) == [NEEDED]

    def test_what_is_declared_needs_none(self) -> None:
        words = one_container("10.0.0.0/24")
        words["host"] = {"bip": "10.1.0.1/24"}
        words["containers"] = {"web": {"networks": {"a": {"ipv4_address": "10.0.0.9"}}}}
        assert problems(words) == []


def test_what_is_kept_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"networks": {"a": {"enable_ipv6": True}}, "containers": {"web": {"networks": ["a"], "ports": ["80"]}}}
    before = plan(words).allotted
    monkeypatch.setitem(sys.modules, "netaddr", None)
    assert plan(words, before=before).allotted == before
