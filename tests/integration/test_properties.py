# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From any declaration to any other: the host becomes what it would have become had it never had the former.

Check mode predicts each time exactly what is then done, and a second run does nothing.

`WHARF_EXAMPLES` is the number of random pairs, and more than usual are also shrunk where they fail.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hosts import ABSENT, EXACT, ThrowawayHost
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from standing import assert_same, standing

USUAL = 16
EXAMPLES = int(os.environ.get("WHARF_EXAMPLES", USUAL))
PHASES = [Phase.explicit, Phase.generate, *([Phase.shrink] if EXAMPLES > USUAL else [])]

NETWORKS = ("n1", "n2", "n3")
CONTAINERS = ("c1", "c2", "c3", "c4")
_OPTION = "com.docker.network."

# Who has one keeps it, as with all that is allotted, but here it cannot be declared.
_RESOLVERS_PORT = re.compile(r"\b20[0-5]\d\d\b")


@st.composite
def declarations(draw: st.DrawFn) -> dict[str, Any]:
    """With all addresses and names of interfaces in them: what was allotted once is kept, on purpose."""
    networks = {name: draw(_networks(number)) for number, name in enumerate(NETWORKS) if draw(st.booleans())}
    names = [name for name in CONTAINERS if draw(st.booleans())]
    host = draw(_hosts())
    containers: dict[str, Any] = {}
    for number, name in enumerate(names):
        stacks = [each for each, words in containers.items() if "networks" in words]
        modes = ["networks", "networks", "none", "host", *(f"service:{each}" for each in stacks)]
        mode = draw(st.sampled_from(modes if networks else modes[2:]))
        words = draw(_attached(networks, number)) if mode == "networks" else {"network_mode": mode}
        # What shares a stack shares its owner's names.
        containers[name] = words if mode.startswith("service:") else words | draw(_names())
    # One at most is on the default network, where addresses cannot be chosen.
    if names and host.get("bridge") != "none" and draw(st.booleans()):
        containers[draw(st.sampled_from(names))] = {"networks": {"bridge": {"interface_name": "if-bridge"}}}
    return {"host": host, "networks": networks, "containers": containers}


def _hosts() -> st.SearchStrategy[dict[str, Any]]:
    flag = st.booleans()
    return st.one_of(
        st.just({"bridge": "none"}),
        st.fixed_dictionaries(
            {"bip": st.sampled_from(["10.30.0.1/24", "10.31.0.1/24"])},
            optional={"icc": flag, "ip-masq": flag, "mtu": st.sampled_from([1300, 1400])},
        ),
    )


@st.composite
def _networks(draw: st.DrawFn, number: int) -> dict[str, Any]:
    subnet = f"10.{20 + number}.{draw(st.sampled_from([0, 1]))}"
    config = [{"subnet": f"{subnet}.0/24", "gateway": f"{subnet}.{draw(st.sampled_from([1, 254]))}"}]
    words: dict[str, Any] = {"enable_ipv6": draw(st.booleans()), "ipam": {"config": config}}
    if words["enable_ipv6"]:
        config.append({"subnet": f"fd00:{number}::/64"})
    words["driver_opts"] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                f"{_OPTION}driver.mtu": st.sampled_from(["1280", "1400"]),
                f"{_OPTION}bridge.enable_icc": st.sampled_from(["true", "false"]),
                f"{_OPTION}bridge.enable_ip_masquerade": st.sampled_from(["true", "false"]),
            },
        )
    )
    if draw(st.integers(0, 3)) == 0:
        words["internal"] = True
    return words


@st.composite
def _attached(draw: st.DrawFn, networks: dict[str, Any], number: int) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(sorted(networks)), min_size=1, max_size=2, unique=True))
    attachments = {name: draw(_attachment(networks[name], name, number)) for name in chosen}
    parameters = {"net.core.somaxconn": st.just("99"), f"net.ipv4.conf.if-{chosen[0]}.arp_ignore": st.just("1")}
    sysctls = draw(st.fixed_dictionaries({}, optional=parameters))
    words: dict[str, Any] = {"networks": attachments, "sysctls": sysctls}
    if not any(networks[name].get("internal") for name in chosen):
        port = 8000 + 10 * number
        ports = [f"{port}:80", f"{port}:80/udp", f"127.0.0.1:{port + 1}:81", f"192.0.2.10:{port + 2}-{port + 3}:90-91"]
        words["ports"] = draw(st.lists(st.sampled_from(ports), unique=True))
    return words


@st.composite
def _attachment(draw: st.DrawFn, network: dict[str, Any], name: str, number: int) -> dict[str, Any]:
    host = 10 + 10 * number + draw(st.sampled_from([0, 1]))
    config = network["ipam"]["config"]
    words: dict[str, Any] = {
        "interface_name": f"if-{name}",
        "ipv4_address": config[0]["subnet"].replace("0/24", str(host)),
    }
    if network["enable_ipv6"]:
        words["ipv6_address"] = config[1]["subnet"].replace("/64", f"{host:x}")
    options = {
        "aliases": st.just(["alias"]),
        "mac_address": st.just(f"02:00:00:00:{number:02x}:{int(name[1:]):02x}"),
        "gw_priority": st.just(1),
        "driver_opts": st.just({f"{_OPTION}endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"}),
    }
    return words | draw(st.fixed_dictionaries({}, optional=options))


def _names() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional={"extra_hosts": st.just(["db:192.0.2.9"]), "dns": st.just(["192.0.2.54"])}
    )


@pytest.fixture(scope="module")
def host() -> Iterator[ThrowawayHost]:
    """A host on which something once was: what lasts of that is no difference."""
    with ThrowawayHost.started() as host:
        host.apply({"networks": {"n1": {"enable_ipv6": True}}, "containers": {"c1": {}}})
        host.apply({}, ABSENT)
        yield host


@settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
@given(former=declarations(), latter=declarations())
def test_a_host_forgets_what_was_declared_before(host: ThrowawayHost, former: Any, latter: Any) -> None:
    nothing = standing(host)
    try:
        host.converge(former, EXACT)
        host.converge(latter, EXACT)
        found = kept(host)
        host.apply({}, ABSENT)
        assert_same(nothing, lambda: standing(host))
        host.converge(latter, EXACT)
        assert_same(found, lambda: kept(host))
    finally:
        host.apply({}, ABSENT)
    assert_same(nothing, lambda: standing(host))


def kept(host: ThrowawayHost) -> dict[str, Any]:
    """What stands, but for the ledger, which knows more."""
    lasting = {key: value for key, value in standing(host).items() if not key.startswith("/var/lib/")}
    return {key: _RESOLVERS_PORT.sub("PORT", each) if isinstance(each, str) else each for key, each in lasting.items()}
