# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network modes, sandboxes of other makers, and what a container's interfaces are like."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hosts import ABSENT, EXACT, EngineError, ThrowawayHost, differences


def default_route(host: ThrowawayHost, place: str, version: int = 4) -> tuple[str, str] | None:
    found = host.json(f"ip -j -{version} route show default", place)
    return (found[0]["gateway"], found[0]["dev"]) if found else None


def interfaces(host: ThrowawayHost, place: str) -> list[str]:
    return [link["ifname"] for link in host.json("ip -j link", place) if link["ifname"] != "lo"]


def addresses(host: ThrowawayHost, place: str, interface: str) -> set[str]:
    found = host.json(f"ip -j addr show {interface}", place)[0]["addr_info"]
    return {f"{each['local']}/{each['prefixlen']}" for each in found if each.get("protocol") != "kernel_ll"}


def link(host: ThrowawayHost, place: str, interface: str) -> Any:
    return host.json(f"ip -j -d link show {interface}", place)[0]


def gateway(host: ThrowawayHost, network: str, version: int = 4) -> str:
    gateways = host.ledger()["allotted"]["networks"][network].values()
    return next(str(each) for each in gateways if (":" in each) == (version == 6))


def same_stack(host: ThrowawayHost, *names: str) -> bool:
    return len(set(host.run(f"stat -L -c %i {' '.join(f'/run/netns/{name}' for name in names)}").split())) == 1


def test_all_modes_side_by_side(host: ThrowawayHost) -> None:
    words = {
        "networks": {"front": {}},
        "containers": {
            "on-bridge": {"network_mode": "bridge"},
            "by-default": {},
            "on-front": {"network_mode": "front"},
            "web": {"networks": ["front"]},
            "side": {"network_mode": "service:web"},
            "third": {"network_mode": "container:side"},
            "mon": {"network_mode": "host"},
            "watch": {"network_mode": "container:mon"},
            "job": {"network_mode": "none"},
            "beside-job": {"network_mode": "service:job"},
        },
    }
    with host.declared(words):
        for name, network in [("on-bridge", "bridge"), ("by-default", "bridge"), ("on-front", "front")]:
            assert interfaces(host, name) == ["eth0"]
            assert default_route(host, name) == (gateway(host, network), "eth0")
        assert same_stack(host, "web", "side", "third")
        assert same_stack(host, "job", "beside-job")
        assert not same_stack(host, "web", "job")
        assert interfaces(host, "mon") == interfaces(host, "watch") == interfaces(host, "host")
        assert interfaces(host, "job") == []
        assert "UP" in host.json("ip -j link show lo", "job")[0]["flags"]
        host.serve("web", "80/tcp")
        assert host.probe("side", "127.0.0.1:80/tcp").by == "web"
        assert host.probe("third", "127.0.0.1:80/tcp").by == "web"
        host.serve("host", "127.0.0.1:7000/tcp")
        assert host.probe("watch", "127.0.0.1:7000/tcp").by == "host"
        assert not host.probe("job", "127.0.0.1:7000/tcp", False).is_open


def test_a_container_changes_its_mode(host: ThrowawayHost) -> None:
    def words(mode: str) -> Any:
        return {"containers": {"web": {}, "job": {"network_mode": mode}}}

    with host.declared(words("none")):
        for mode in ("bridge", "host", "service:web", "none", "service:web", "host", "bridge"):
            host.converge(words(mode))
            assert same_stack(host, "job", "web") == (mode == "service:web")
            assert (interfaces(host, "job") == interfaces(host, "host")) == (mode == "host")
            assert (default_route(host, "job") is None) == (mode == "none")


@pytest.mark.parametrize("order", [("web", "side"), ("side", "web")])
def test_who_owns_a_shared_stack_may_change(host: ThrowawayHost, order: tuple[str, str]) -> None:
    first, second = order
    both = {first: {}, second: {"network_mode": f"service:{first}"}}
    turned = {second: {}, first: {"network_mode": f"service:{second}"}}
    with host.declared({"containers": both}):
        host.converge({"containers": turned})
        assert same_stack(host, first, second)
        assert interfaces(host, first) == ["eth0"]
        assert host.address(second, "bridge") in str(addresses(host, first, "eth0"))


@pytest.mark.parametrize("others", [("web", "side"), ("side",), ()])
def test_a_named_stack_passes_to_another_container(host: ThrowawayHost, others: tuple[str, ...]) -> None:
    """And who shared it with the former one gets a stack of its own in the same run, or goes."""
    own = {"network_mode": "none"}
    named = {**own, "x-wharf": {"sandbox": "netns:box"}}
    with host.declared({"containers": {"web": named, "side": {"network_mode": "service:web"}}}):
        host.converge({"containers": {"next": named, **dict.fromkeys(others, own)}}, EXACT)
        assert host.run("ls /run/netns").split() == sorted(["box", *others])
        assert not any(same_stack(host, "box", each) for each in others)


ORDERED = {
    "networks": {
        "alpha": {},
        "beta": {"enable_ipv6": True},
        "gamma": {"internal": True},
        "delta": {"enable_ipv6": True},
    },
    "containers": {
        # Both families before one, then by name.
        "by-name": {"networks": ["gamma", "delta", "beta", "alpha"]},
        "by-priority": {"networks": {"alpha": {"gw_priority": 1}, "beta": {}, "gamma": {"gw_priority": 9}}},
        "in-order": {"networks": {"alpha": {"priority": 1}, "beta": {"priority": 5}, "delta": {}}},
        "called": {"networks": {"alpha": {"interface_name": "lan0"}, "beta": {}, "gamma": {"interface_name": "eth0"}}},
        "cut-off": {"networks": ["gamma"]},
    },
}


def test_several_networks(host: ThrowawayHost) -> None:
    with host.declared(ORDERED):
        networks = {name: host.run(f"ip -br addr show eth{n}", "by-name") for n, name in enumerate("abdg")}
        for network, short in [("alpha", "a"), ("beta", "b"), ("delta", "d"), ("gamma", "g")]:
            assert host.address("by-name", network) in networks[short]
        assert default_route(host, "by-name") == (gateway(host, "beta"), "eth1")
        assert default_route(host, "by-name", 6) == (gateway(host, "beta", 6), "eth1")
        assert default_route(host, "by-priority") == (gateway(host, "alpha"), "eth0")
        assert default_route(host, "by-priority", 6) == (gateway(host, "beta", 6), "eth1")
        assert host.address("in-order", "beta") in host.run("ip -br addr show eth0", "in-order")
        assert host.address("in-order", "alpha") in host.run("ip -br addr show eth1", "in-order")
        assert {*interfaces(host, "called")} == {"lan0", "eth0", "eth1"}
        assert host.address("called", "gamma") in host.run("ip -br addr show eth0", "called")
        assert default_route(host, "called") == (gateway(host, "beta"), "eth1")
        assert default_route(host, "cut-off") is None


def test_gateway_follows_gw_priority_on_a_live_container(host: ThrowawayHost) -> None:
    def words(priority: int) -> Any:
        networks = {"alpha": {}, "beta": {"gw_priority": priority}}
        return {"networks": {"alpha": {}, "beta": {}}, "containers": {"web": {"networks": networks}}}

    with host.declared(words(0)):
        host.serve("outside", "80/tcp")
        assert default_route(host, "web") == (gateway(host, "alpha"), "eth0")
        host.converge(words(5))
        assert default_route(host, "web") == (gateway(host, "beta"), "eth1")
        assert host.probe("web", "203.0.113.1:80/tcp").is_open
        host.converge(words(-5))
        assert default_route(host, "web") == (gateway(host, "alpha"), "eth0")
        assert host.probe("web", "203.0.113.1:80/tcp").is_open


def test_what_an_interface_is_like(host: ThrowawayHost) -> None:
    endpoint = {
        "mac_address": "02:00:00:00:00:42",
        "ipv4_address": "172.30.0.9",
        "ipv6_address": "fd00:30::9",
        "link_local_ips": ["169.254.8.8", "fe80::42"],
        "driver_opts": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"},
    }
    words = {
        "networks": {
            "front": {
                "enable_ipv6": True,
                "ipam": {"config": [{"subnet": "172.30.0.0/24"}, {"subnet": "fd00:30::/64"}]},
            }
        },
        "containers": {
            "web": {
                "networks": {"front": endpoint},
                "sysctls": {"net.ipv4.ip_unprivileged_port_start": "0", "net.core.somaxconn": 1024},
                "x-wharf": {"routes": [{"to": "198.51.100.0/24", "via": "172.30.0.200"}]},
            },
            "other": {"networks": ["front"]},
            "four": {"mac_address": "02:00:00:00:00:43"},
        },
    }
    with host.declared(words):
        assert link(host, "web", "eth0")["address"] == "02:00:00:00:00:42"
        assert link(host, "four", "eth0")["address"] == "02:00:00:00:00:43"
        assert addresses(host, "web", "eth0") == {
            "172.30.0.9/24", "fd00:30::9/64", "169.254.8.8/16", "fe80::42/64",
        }  # fmt: skip
        assert host.sysctl("net.ipv4.ip_unprivileged_port_start", "web") == "0"
        assert host.sysctl("net.core.somaxconn", "web") == "1024"
        assert host.sysctl("net.ipv4.conf.eth0.log_martians", "web") == "1"
        assert host.sysctl("net.ipv6.conf.eth0.accept_ra", "web") == "0"
        assert host.sysctl("net.ipv6.conf.eth0.disable_ipv6", "four") == "1"
        assert "198.51.100.0/24 via 172.30.0.200" in host.run("ip route", "web")
        assert host.probe("other", "172.30.0.9/ping").is_open
        assert host.probe("other", "fd00:30::9/ping").is_open


def test_mtu_is_the_uplinks_at_both_ends(host: ThrowawayHost) -> None:
    host.run("ip link set eth0 mtu 1400")
    jumbo = {"driver_opts": {"com.docker.network.driver.mtu": "9000"}}
    words = {
        "networks": {"front": {}, "big": jumbo, "small": {"driver_opts": {"com.docker.network.driver.mtu": 1280}}},
        "containers": {name: {"networks": [name]} for name in ("front", "big", "small")},
    }
    with host.declared(words):
        for network, mtu in [("front", 1400), ("big", 9000), ("small", 1280)]:
            ports = host.json(f"ip -j link show master br-{network}")
            assert [port["mtu"] for port in ports] == [mtu]
            assert link(host, network, "eth0")["mtu"] == link(host, "host", f"br-{network}")["mtu"] == mtu
        assert any("9000" in warning and "1400" in warning for warning in host.apply(words).warnings)
        host.run("ip link set eth0 mtu 1300")
        changes = host.converge(words)
        assert ("bridge", "update", "bridge", "br-front", "mtu") in changes
        assert ("veth", "update", "endpoint", "front/front", "mtu") in changes
        assert link(host, "front", "eth0")["mtu"] == 1300
        host.run("ip link set eth0 mtu 1400")
        host.apply(words)
    host.run("ip link set eth0 mtu 1500")


@contextmanager
def process(host: ThrowawayHost) -> Iterator[subprocess.Popen[str]]:
    """As a runtime's container would be: a process in a network namespace of its own."""
    before = {*interfaces(host, "host")}
    started = host.start("host", "unshare", "--net")
    own = host.run("readlink /proc/self/ns/net")
    try:
        eventually(lambda: host.run(f"readlink /proc/{started.pid}/ns/net") != own)
        yield started
    finally:
        started.communicate()
        # The kernel takes a namespace down some time after its last process.
        eventually(lambda: not any(name.startswith("veth") for name in {*interfaces(host, "host")} - before))


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def test_sandboxes_of_other_makers(host: ThrowawayHost) -> None:
    with process(host) as one, process(host) as two:
        host.run(f"mkdir /run/box; touch /run/box/net; mount --bind /proc/{two.pid}/ns/net /run/box/net")
        words = {
            "networks": {"front": {}},
            "containers": {
                "by-pid": {"networks": ["front"], "ports": ["8080:80"], "x-wharf": {"sandbox": f"pid:{one.pid}"}},
                "by-path": {"networks": ["front"], "x-wharf": {"sandbox": "path:/run/box/net"}},
                "beside": {"network_mode": "service:by-pid"},
            },
        }
        with host.declared(words):
            by_pid, by_path = f"/proc/{one.pid}/ns/net", "/run/box/net"
            host.serve(by_pid, "80/tcp", name="by-pid")
            assert host.probe("outside", "192.0.2.10:8080/tcp").by == "by-pid"
            assert host.probe("beside", "127.0.0.1:80/tcp").by == "by-pid"
            assert host.probe(f"/proc/{two.pid}/ns/net", f"{host.address('by-pid', 'front')}:80/tcp").by == "by-pid"
            assert "UP" in host.json("ip -j link show lo", by_pid)[0]["flags"]
            assert interfaces(host, by_path) == ["eth0"]
        # Their stacks are not ours to take away.
        assert interfaces(host, f"/proc/{one.pid}/ns/net") == []
        host.run("umount /run/box/net; rm -r /run/box")


@pytest.mark.parametrize(
    "make, remove",
    [
        ("mkdir {}", "rmdir {}"),
        ("ln -s /nowhere {}", "rm {}"),
        ("ln -s /run/notes {}; : >/run/notes", "rm {} /run/notes"),
        ("echo notes > {}", "rm {}"),
    ],
)
def test_what_is_no_namespace_is_not_taken_for_one(host: ThrowawayHost, make: str, remove: str) -> None:
    path = "/run/netns/web"
    words = {"containers": {"web": {}}}
    host.run(f"mkdir -p /run/netns; {make.format(path)}")
    before = host.snapshot()
    for run in (host.diff, host.apply):
        with pytest.raises(EngineError, match=rf"^wharf_containers.web: {path} is no network namespace: move it away$"):
            run(words)
    assert differences(before, host.snapshot()) == ""
    host.run(remove.format(path))
    # What a killed run, or another program, has left.
    host.run(f": > {path}")
    host.converge(words)
    host.converge({}, ABSENT)


def test_who_shared_a_third_partys_stack_leaves_it(host: ThrowawayHost) -> None:
    """Also where nothing in that stack is managed, so that nothing there shows whose it is."""
    theirs = {"network_mode": "none", "x-wharf": {"sandbox": "path:/run/netns/theirs"}}
    shared = {"web": theirs, "side": {"network_mode": "service:web"}}
    own = {"network_mode": "none"}
    host.run("ip netns add theirs; ip -n theirs link set lo up")
    before = host.run("ip -d link", "theirs")
    for containers in ({}, {"side": own}, {"web": own, "side": own}):
        with host.declared({"containers": shared}):
            assert same_stack(host, "theirs", "side")
            host.converge({"containers": containers}, EXACT)
            assert host.run("ls /run/netns").split() == sorted({"theirs", *containers})
            assert "side" not in containers or not same_stack(host, "theirs", "side")
            assert host.run("ip -d link", "theirs") == before
    host.run("ip netns del theirs")


def test_a_sandbox_that_is_not_there_yet_is_pending(host: ThrowawayHost) -> None:
    words = {
        "networks": {"front": {}},
        "containers": {
            "late": {"networks": ["front"], "ports": ["8080:80"], "x-wharf": {"sandbox": "path:/run/late"}},
            "web": {"networks": ["front"]},
        },
    }
    with host.declared(words):
        files = {f"path:/run/late:/etc/{name}" for name in ("hostname", "hosts", "resolv.conf")}
        pending = {"path:/run/late", "late/front", *files}
        assert {*host.apply(words).pending} == pending
        with process(host) as started:
            host.run(f"touch /run/late; mount --bind /proc/{started.pid}/ns/net /run/late")
            made = host.converge(words)
            assert [change[:3] for change in made] == [
                ("veth", "update", "sandbox"), ("veth", "create", "endpoint"),
            ]  # fmt: skip
            host.serve("/run/late", "80/tcp", name="late")
            assert host.probe("outside", "192.0.2.10:8080/tcp").by == "late"
            host.agent.call("stop_all")
            host.run("umount /run/late; rm /run/late")
        # The container has ended.
        assert {*host.diff(words).pending} == pending
        host.converge(words)


def test_a_restarted_container_is_attached_again(host: ThrowawayHost) -> None:
    host.run("touch /run/box")
    words = {"containers": {"web": {"ports": ["8080:80"], "x-wharf": {"sandbox": "path:/run/box"}}}}
    with host.declared(words):
        for _time in range(2):
            with process(host) as started:
                host.run(f"mount --bind /proc/{started.pid}/ns/net /run/box")
                host.converge(words)
                host.serve("/run/box", "80/tcp", name="web")
                assert host.probe("outside", "192.0.2.10:8080/tcp").by == "web"
                host.agent.call("stop_all")
                host.run("umount /run/box")
    host.run("rm /run/box")


def test_a_foreign_namespace_or_interface_is_refused(host: ThrowawayHost) -> None:
    host.run("ip netns add web; ip link add br-front type bridge")
    before = host.snapshot()
    with pytest.raises(EngineError, match="/run/netns/web exists already and is not managed by wharf.network"):
        host.apply({"containers": {"web": {}}})
    host.apply({}, ABSENT)
    with pytest.raises(EngineError, match="br-front exists on this host that is not managed by wharf.network"):
        host.apply({"networks": {"front": {}}, "containers": {}})
    host.apply({}, ABSENT)
    assert differences(before, host.snapshot()) == ""


def test_an_internal_network_has_no_way_out_by_a_container_that_forwards(host: ThrowawayHost) -> None:
    words = {
        "networks": {"front": {}, "vault": {"internal": True}},
        "containers": {"many": {"networks": ["front", "vault"]}, "safe": {"networks": ["vault"]}},
    }
    with host.declared(words):
        host.run("echo 1 > /proc/sys/net/ipv4/ip_forward", place="many")
        host.run(f"ip route add default via {host.address('many', 'vault')}", place="safe")
        host.serve("outside", "80/tcp")
        assert host.probe("many", "192.0.2.1:80/tcp").by == "outside"
        assert not host.probe("safe", "192.0.2.1:80/tcp", False).is_open
        host.run("ip route del default; echo", place="safe")
        host.run("echo 0 > /proc/sys/net/ipv4/ip_forward", place="many")


def test_sysctls_that_lead_elsewhere_are_refused(host: ThrowawayHost) -> None:
    before = host.snapshot()
    for name in ("net.//.kernel.hostname", "net/../kernel/hostname", "net.ipv4..x"):
        with pytest.raises(EngineError, match="must be a parameter such as"):
            host.apply({"containers": {"a": {"sysctls": {name: "1"}}}})
    assert differences(before, host.snapshot()) == ""


def test_files_of_others_are_left_alone(host: ThrowawayHost) -> None:
    host.run("mkdir -p /etc/netns/a /etc/netns/b/hosts; echo a > /etc/netns/a/hostname")
    host.run("ln -s /etc/elsewhere /etc/netns/a/resolv.conf")
    before = host.snapshot()
    with pytest.raises(EngineError) as refused:
        host.apply({"containers": {"a": {}, "b": {}}})
    for path in ("a/hostname exists", "a/resolv.conf cannot be read", "b/hosts cannot be read"):
        assert f"/etc/netns/{path}" in str(refused.value)
    assert differences(before, host.snapshot()) == ""


def test_withdrawn_sysctls_are_what_they_were(host: ThrowawayHost) -> None:
    """On containers that stand, whoever made their stack; what others changed there is left alone."""
    host.run(
        """
        ip netns add theirs
        ip netns exec theirs sysctl -qw net.core.somaxconn=77 net.ipv4.tcp_syncookies=2
        """
    )

    def words(sysctls: dict[str, Any], option: str = "") -> Any:
        options = {"driver_opts": {"com.docker.network.endpoint.sysctls": option}} if option else {}
        containers = {
            "web": {"sysctls": sysctls, "networks": {"front": options}},
            "job": {"sysctls": sysctls, "networks": {"front": {}}, "x-wharf": {"sandbox": "path:/run/netns/theirs"}},
        }
        return {"networks": {"front": {"enable_ipv6": True}}, "containers": containers}

    def values() -> dict[str, list[str]]:
        return {place: [host.sysctl(name, place) for name in names] for place in ("web", "theirs")}

    names = ["net.core.somaxconn", "net.ipv4.conf.eth0.log_martians", "net.ipv4.conf.eth0.arp_ignore",
             "net.ipv6.conf.eth0.mtu", "net.ipv6.conf.eth0.accept_ra"]  # fmt: skip
    with host.declared(words({})):
        before = values()
        set_here = {"net.core.somaxconn": "1024", names[1]: "1", names[3]: "1300", names[4]: "2"}
        host.converge(words(set_here, "net.ipv4.conf.IFNAME.arp_ignore=2"))
        assert values() == {"web": ["1024", "1", "2", "1300", "2"], "theirs": ["1024", "1", "0", "1300", "2"]}
        fewer = words({names[1]: "1"})
        updates = [("veth", "update", "endpoint", f"{each}/front", "sysctls") for each in ("job", "web")]
        assert {*host.converge(fewer)} == {
            ("veth", "update", "sandbox", "netns:web", "sysctls"),
            ("veth", "update", "sandbox", "path:/run/netns/theirs", "sysctls"),
            *updates,
        }
        expected = {place: [found[0], "1", *found[2:]] for place, found in before.items()}
        assert values() == expected
        host.run("ip netns exec theirs sysctl -qw net.core.somaxconn=88")
        assert host.converge(words({})) == updates
        assert values() == {**before, "theirs": ["88", *before["theirs"][1:]]}
        host.converge(words({"net.core.somaxconn": "1024"}))
    assert host.sysctl("net.core.somaxconn", "theirs") == "88"
    assert host.sysctl("net.ipv4.tcp_syncookies", "theirs") == "2"
    host.run("ip netns del theirs")


def test_parameters_that_the_kernel_spells_otherwise_converge(host: ThrowawayHost) -> None:
    option = ",".join(f"net.{each}" for each in ("ipv4.conf.IFNAME.log_martians=01", "ipv6.conf.IFNAME.mtu=0x514"))
    sysctls = {
        "net.ipv4.ip_local_reserved_ports": "80,81,82",
        "net.core.somaxconn": "0x99",
        "net.ipv4.ping_group_range": "0  010",
        "net.ipv4.conf.eth0.arp_ignore": "0x1",
    }
    front = {"driver_opts": {"com.docker.network.endpoint.sysctls": option}}
    words = {
        "networks": {"front": {"enable_ipv6": True}},
        "containers": {"web": {"sysctls": sysctls, "networks": {"front": front}}},
    }
    with host.declared(words):
        assert host.sysctl("net.ipv4.ip_local_reserved_ports", "web") == "80-82"
        assert host.sysctl("net.ipv6.conf.eth0.mtu", "web") == "1300"
        host.run("sysctl -qw net.ipv4.ip_local_reserved_ports=80,82 net.ipv6.conf.eth0.mtu=1400", "web")
        assert [change[1:] for change in host.converge(words)] == [
            ("update", "sandbox", "netns:web", "sysctls"), ("update", "endpoint", "web/front", "sysctls"),
        ]  # fmt: skip
