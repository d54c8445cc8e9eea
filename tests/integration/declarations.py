# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random declarations of the whole vocabulary, each of which holds together.

They say all addresses and names of interfaces, since what was allotted once is kept, on purpose. `prepare` makes what a
host must have for them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hosts import ThrowawayHost
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

NETWORKS = ("n1", "n2", "n3")
CONTAINERS = ("c1", "c2", "c3", "c4")
# Beside these, a network on a bridge of the admin's, and two containers on the default network that a link joins.
ADOPTED, LINKING, LINKED = "lan", "d1", "d2"

_OPTION = "com.docker.network."
_BRIDGE = f"{_OPTION}bridge."
_FLAGS = st.sampled_from(["true", "false"])
# Fast enough for probes, which are many at once.
_RATES = st.sampled_from(
    [{"ingress": "500mbit"}, {"egress": "400mbit"}, {"ingress": "1gbit", "egress": "300mbit", "burst": "256kb"}]
)
_OF_STACK = "net.core.somaxconn"
MODES = ("nat", "nat-unprotected", "routed", "isolated")
FAMILIES = ((4,), (4, 6), (6,))

Words = dict[str, Any]


def trying(usual: int) -> settings:
    """So many examples, the same in each run. `WHARF_EXAMPLES` tries more, which are then shrunk where they fail."""
    examples = int(os.environ.get("WHARF_EXAMPLES", usual))
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if examples > usual else [])],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )


def prepare(host: ThrowawayHost) -> None:
    """A bridge with a machine on it, and an interface that is trusted."""
    host.run(
        """
        ip link add br-lan type bridge
        ip addr add 10.5.0.1/24 dev br-lan; ip addr add fd00:5::1/64 dev br-lan nodad
        ip netns add machine; ip link add tap0 type veth peer name eth0 netns machine
        ip link set tap0 master br-lan up; ip link set br-lan up
        ip link add to-friend type veth peer name eth1 netns machine; ip link set to-friend up
        """
    )
    host.run("ip link set lo up; ip link set eth0 up; ip addr add 10.5.0.50/24 dev eth0", "machine")
    host.run("until ip -6 addr show br-lan scope link | grep -q inet6; do sleep 0.05; done")


@st.composite
def declarations(draw: st.DrawFn) -> Words:
    networks = {name: draw(_networks(number)) for number, name in enumerate(NETWORKS) if draw(st.booleans())}
    if draw(st.integers(0, 3)) == 0:
        networks[ADOPTED] = draw(_adopted())
    host = draw(_hosts())
    names = [name for name in CONTAINERS if draw(st.booleans())]
    containers: Words = {}
    for number, name in enumerate(names):
        # Who shares a stack and then gets one of its own keeps what the other one had set there for the whole stack.
        stacks = [
            each for each, words in containers.items() if "networks" in words and _OF_STACK not in words["sysctls"]
        ]
        modes = ["networks", "networks", "networks", "none", "host", *(f"service:{each}" for each in stacks)]
        mode = draw(st.sampled_from(modes if networks else modes[3:]))
        words = draw(_attached(networks, number)) if mode == "networks" else {"network_mode": mode}
        # What shares a stack shares its owner's names.
        containers[name] = words if mode.startswith("service:") else words | draw(_names())
    if host.get("bridge") != "none":
        containers |= draw(_on_the_default_network(names))
    rules = draw(st.lists(_rules(networks, containers), max_size=3))
    return {"host": host, "networks": networks, "containers": containers, "docker_user": rules}


def _hosts() -> st.SearchStrategy[Words]:
    flag = st.booleans()
    optional = {
        "allow-direct-routing": flag,
        "bridge-accept-fwmark": st.just("0x2/0x3"),
        "ip-forward-no-drop": flag,
        "firewall-backend": st.sampled_from(["nftables", "iptables"]),
    }
    of_default = {
        "icc": flag,
        "ip-masq": flag,
        "ip": st.just("192.0.2.11"),
        "mtu": st.sampled_from([1300, 1400]),
        "fixed-cidr-v6": st.just("fd00:30::/64"),
    }
    bip = st.sampled_from(["10.30.0.1/24", "10.31.0.1/24"])
    with_default = st.fixed_dictionaries({"bip": bip}, optional={**optional, **of_default})
    return st.one_of(
        st.fixed_dictionaries({"bridge": st.just("none")}, optional=optional),
        with_default.map(lambda words: {**words, "ipv6": "fixed-cidr-v6" in words}),
    )


@st.composite
def _on_the_default_network(draw: st.DrawFn, names: list[str]) -> Words:
    """Where addresses cannot be chosen: one container, the two that are linked, or none."""
    who = draw(st.sampled_from(["nobody", "one", "linked"]))
    interface = {"networks": {"bridge": {"interface_name": "if-bridge"}}}
    if who == "one" and names:
        return {draw(st.sampled_from(names)): interface}
    if who == "linked":
        return {LINKING: {**interface, "links": [f"{LINKED}:db"]}, LINKED: {**interface, "expose": ["80", "81-82/udp"]}}
    return {}


@st.composite
def _networks(draw: st.DrawFn, number: int) -> Words:
    families = draw(st.sampled_from(FAMILIES))
    internal = draw(st.integers(0, 3)) == 0
    third = draw(st.sampled_from([0, 1]))
    last = draw(st.sampled_from([1, 254]))
    config = {
        4: {"subnet": f"10.{20 + number}.{third}.0/24", "gateway": f"10.{20 + number}.{third}.{last}"},
        6: {"subnet": f"fd00:{number}::/64"},
    }
    further = {4: {"subnet": f"10.{20 + number}.9.0/24"}, 6: {"subnet": f"fd00:{number}:0:9::/64"}}
    more = draw(st.lists(st.sampled_from(families), unique=True, max_size=2)) if draw(st.booleans()) else []
    words: Words = {
        "enable_ipv4": 4 in families,
        "enable_ipv6": 6 in families,
        "ipam": {"config": [*(config[version] for version in families), *(further[version] for version in more)]},
        "driver_opts": draw(_options(families, internal)),
        "x-wharf": draw(_extensions(families, internal, f"10.{20 + number}.{third}")),
    }
    return {**words, "internal": True} if internal else words


def _options(families: tuple[int, ...], internal: bool) -> st.SearchStrategy[Words]:
    options = {
        f"{_OPTION}driver.mtu": st.sampled_from(["1280", "1400"]),
        f"{_BRIDGE}enable_icc": _FLAGS,
        f"{_BRIDGE}enable_ip_masquerade": _FLAGS,
        f"{_BRIDGE}trusted_host_interfaces": st.just("to-friend"),
    }
    for version in families:
        modes = MODES if internal else MODES[:3]
        options[f"{_BRIDGE}gateway_mode_ipv{version}"] = st.sampled_from(modes)
        own = {4: "192.0.2.11", 6: "2001:db8::11"}[version]
        options[f"{_OPTION}host_ipv{version}"] = st.just(own)
    if 4 in families:
        options[f"{_BRIDGE}inhibit_ipv4"] = _FLAGS
        options[f"{_BRIDGE}host_binding_ipv4"] = st.sampled_from(["127.0.0.1", "192.0.2.10"])
    return st.fixed_dictionaries({}, optional=options)


def _extensions(families: tuple[int, ...], internal: bool, of_subnet: str) -> st.SearchStrategy[Words]:
    options: dict[str, st.SearchStrategy[Any]] = {
        "mss_clamp": st.booleans(),
        "dns": st.sampled_from([False, {"domain": "lan.example"}]),
        "masquerade": st.fixed_dictionaries({}, optional={f"ipv{version}": st.booleans() for version in families}),
    }
    if not internal:
        options["icmp"] = st.booleans()
    options["rate"] = _RATES
    return st.fixed_dictionaries({}, optional=options)


@st.composite
def _adopted(draw: st.DrawFn) -> Words:
    families = draw(st.sampled_from(FAMILIES))
    config = {4: {"subnet": "10.5.0.0/24", "ip_range": "10.5.0.128/25"}, 6: {"subnet": "fd00:5::/64"}}
    options = {f"{_BRIDGE}enable_icc": _FLAGS, f"{_BRIDGE}enable_ip_masquerade": _FLAGS}
    return {
        "external": True,
        "enable_ipv4": 4 in families,
        "enable_ipv6": 6 in families,
        "ipam": {"config": [config[version] for version in families]},
        "driver_opts": {f"{_BRIDGE}name": "br-lan", **draw(st.fixed_dictionaries({}, optional=options))},
    }


@st.composite
def _attached(draw: st.DrawFn, networks: Words, number: int) -> Words:
    chosen = draw(st.lists(st.sampled_from(sorted(networks)), min_size=1, max_size=3, unique=True))
    attachments = {name: draw(_attachment(networks[name], name, number)) for name in chosen}
    parameters: dict[str, st.SearchStrategy[Any]] = {_OF_STACK: st.just("99")}
    parameters[f"net.ipv4.conf.if-{chosen[0]}.arp_ignore"] = st.just("1")
    words: Words = {"networks": attachments, "sysctls": draw(st.fixed_dictionaries({}, optional=parameters))}
    out = [networks[name] for name in chosen if not networks[name].get("internal")]
    ports = draw(st.lists(_ports(8000 + 20 * number), unique_by=_published, max_size=4))
    # What cannot be published is refused.
    words["ports"] = [port for port in ports if _can_be_published(port, out)]
    via = next((each["ipv4_address"] for each in attachments.values() if "ipv4_address" in each), "")
    if via and draw(st.integers(0, 3)) == 0:
        words["x-wharf"] = {"routes": [{"to": "198.51.100.0/24", "via": f"{via.rpartition('.')[0]}.200"}]}
    return words


def _ports(first: int) -> st.SearchStrategy[Any]:
    guarded = {"target": 80, "published": first + 5}
    sources = [[], ["192.0.2.1", "2001:db8::1"], ["10.20.0.0/15", "fd00::/32"]]
    return st.sampled_from(
        [
            f"{first}:80",
            f"{first}:80/udp",
            f"127.0.0.1:{first + 1}:81",
            f"192.0.2.10:{first + 2}-{first + 3}:90-91",
            f"[2001:db8::10]:{first + 4}:80/udp",
            f"{first + 7}-{first + 9}:92",
            *({**guarded, "x-wharf": {"allow_from": each}} for each in sources[: 2 + first % 2]),
        ]
    )


def _published(port: Any) -> str:
    return port if isinstance(port, str) else str(port["published"])


def _can_be_published(port: Any, out: list[Words]) -> bool:
    """Of what family the address is on which a port is published, that must a network be which is not internal."""
    text = port if isinstance(port, str) else ""
    bindings = [str(each["driver_opts"].get(f"{_BRIDGE}host_binding_ipv4", "")) for each in out]
    versions = (6,) if text.startswith("[") else (4,) if text.count(":") > 1 or any(bindings) else (4, 6)
    return any(each[f"enable_ipv{version}"] for each in out for version in versions)


@st.composite
def _attachment(draw: st.DrawFn, network: Words, name: str, number: int) -> Words:
    host = 140 + 10 * number + draw(st.sampled_from([0, 1]))
    subnets = [each["subnet"] for each in network["ipam"]["config"]]
    # In either order, so that a container is in the first or the last subnet of a family.
    subnets = draw(st.sampled_from([subnets, subnets[::-1]]))
    by_family = {"ipv6_address" if ":" in each else "ipv4_address": each for each in subnets}
    words: Words = {"interface_name": f"if-{name}"}
    for key, subnet in by_family.items():
        words[key] = subnet.replace("/64", f"{host:x}").replace("0/24", str(host))
    last = [*NETWORKS, ADOPTED].index(name)
    options = {
        "aliases": st.just(["alias"]),
        "mac_address": st.just(f"02:00:00:00:{number:02x}:{last:02x}"),
        "gw_priority": st.just(1),
        "priority": st.just(9),
        "driver_opts": st.just({f"{_OPTION}endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"}),
        "x-wharf": st.fixed_dictionaries({"rate": _RATES}),
    }
    return words | draw(st.fixed_dictionaries({}, optional=options))


def _names() -> st.SearchStrategy[Words]:
    return st.fixed_dictionaries(
        {}, optional={"extra_hosts": st.just(["db:192.0.2.9"]), "dns": st.just(["192.0.2.54"])}
    )


def _simple_ports(containers: Mapping[str, Any]) -> list[str]:
    ports = [port for words in containers.values() for port in words.get("ports", ()) if isinstance(port, str)]
    return [port.partition(":")[0] for port in ports if port.count(":") == 1 and "-" not in port]


def _rules(networks: Mapping[str, Any], containers: Mapping[str, Any]) -> st.SearchStrategy[Words]:
    """Rules of the admin's, about what is there."""
    rules: list[Words] = [
        {"source": "192.0.2.66", "action": "drop"},
        {"source": ["203.0.113.0/24", "2001:db8:113::/48"], "action": "accept", "comment": "of the internet"},
        {"in_interface": "to-fr+", "destination": "10.99.0.0/16", "action": "log", "limit": "3/minute"},
        *({"published_port": port, "source": "10.20.0.0/15", "action": "reject"} for port in _simple_ports(containers)),
        *({"network": name, "in_interface": "eth0", "state": "new", "action": "drop"} for name in networks),
        *(
            {"container": name, "protocol": "udp", "action": "return"}
            for name, words in containers.items()
            if "networks" in words
        ),
    ]
    return st.sampled_from(rules)
