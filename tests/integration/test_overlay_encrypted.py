# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted networks over several hosts: who reaches whom, and what is seen on the way.

Where the kernel has no WireGuard, one test shows that this is said before anything is touched. The others are for VMs,
whose kernel has it (docs/testing.md).
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from host_state import host_state
from hosts import EXACT, LEDGER, EngineError, ThrowawayHost, differences
from several_hosts import (
    NETWORK,
    STRANGER,
    STRANGER_NUMBER,
    SUBNETS,
    UNDERLAY,
    SeveralHosts,
    address,
    container_address,
    declare,
    open_to,
    resolved,
)

from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.wireguard import is_known

BACKENDS = ["nftables", "iptables"]
ENCRYPTED = {**NETWORK, "driver_opts": {"encrypted": ""}}
LINK, KEY = "wg-wharf", "/var/lib/wharf/wireguard.key"

has_wireguard = is_known()
needs_wireguard = pytest.mark.skipif(not has_wireguard, reason="this kernel has no WireGuard")

# What is sent, and must never be seen.
MARKER = "536563726574"
COUNTING = """
import socket, sys, time
found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
found.bind(("lan", 0))
found.settimeout(0.1)
seen = clear = 0
print("ready", flush=True)
import select
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        frame = found.recv(65535)
    except TimeoutError:
        continue
    seen += 1
    clear += bytes.fromhex("MARKER") in frame
print(seen, clear)
""".replace("MARKER", MARKER)
TAKING = """
import socket, sys
taken = socket.socket(type=socket.SOCK_DGRAM)
taken.bind(("", 51820))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(has_wireguard, reason="this kernel has WireGuard")
def test_a_kernel_without_wireguard_is_reported() -> None:
    with SeveralHosts.started(2) as hosts:
        host = hosts["h1"]
        before = host.snapshot()
        with pytest.raises(EngineError, match=r"networks.app: is to be encrypted, and the kernel of this host has no"):
            host.apply(declare(hosts, ENCRYPTED)["h1"])
        assert host.snapshot() == before


@pytest.mark.skipif(has_wireguard, reason="this kernel has WireGuard")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_kernel_that_has_lost_wireguard(backend: str) -> None:
    """By an update, say, with which the host boots: all else comes back, and nothing is sent in clear text."""
    with SeveralHosts.started(2, backend=backend) as hosts, ExitStack() as stack:
        for name, words in declare(hosts, NETWORK).items():
            stack.enter_context(hosts[name].declared(words))
        host = hosts["h1"]
        with watched(hosts) as seen:
            assert shout(host, "c1", container_address(2))
        assert seen[1] > 0, seen
        # What another kernel has left behind.
        ledger = host.ledger()
        app = ledger["declared"]["networks"]["app"]
        app["driver_opts"] = {"encrypted": ""}
        app["x-wharf"]["members"]["h2"]["public_key"] = base64.b64encode(bytes(32)).decode()
        ledger["owned"]["forwarding"].append(["wireguard", LINK])
        host.write(LEDGER, json.dumps(ledger))
        host.run("ip link del br-app; ip link del vx-app; ip link del br-other; ip netns del c1; ip netns del o1")
        ran = host.wharf("apply")
        warning = f"networks.app: link {LINK} is pending, and nothing is sent to other hosts of encrypted networks: "
        assert ran.code == 0 and warning in ran.errors, ran
        assert "nothing" in host.engine(["diff"]) and warning in host.engine(["show"])
        with watched(hosts) as seen:
            for version in (4, 6):
                assert not shout(host, "c1", container_address(2, version))
                host.run(f"ping -c1 -W1 -p {MARKER} {container_address(2, version)} || true")
        assert seen[1] == 0, seen
        assert shout(host, "c1", "10.20.1.1") and shout(host, "o1", "192.0.2.1")


def public_key(host: ThrowawayHost) -> str:
    seen = json.loads(host.engine(["show", "--json"]))
    return str(seen["networks"]["app"]["tunnel"]["public_key"])


def with_keys(words: dict[str, Any], keys: dict[str, str], *names: str) -> dict[str, Any]:
    """The words of all hosts, with the keys of those that are named, or of all."""
    for of_host in words.values():
        extension = of_host["networks"]["app"]["x-wharf"]
        members = {
            name: {**each, **({"public_key": keys[name]} if name in (names or keys) else {})}
            for name, each in extension["members"].items()
        }
        of_host["networks"]["app"]["x-wharf"] = {**extension, "members": members}
    return words


@contextmanager
def joined(count: int, backend: str, version: int = 4, **more: Any) -> Iterator[tuple[SeveralHosts, dict[str, str]]]:
    """Hosts that have each other's keys, and let all go again."""
    with SeveralHosts.started(count, backend=backend) as hosts, ExitStack() as stack:
        for name, words in declare(hosts, ENCRYPTED, version, **more).items():
            stack.enter_context(hosts[name].declared(words))
        keys = {name: public_key(host) for name, host in hosts.by_name.items()}
        assert len(set(keys.values())) == count
        for name, words in with_keys(declare(hosts, ENCRYPTED, version, **more), keys).items():
            assert ("wireguard", LINK) in {each[2:4] for each in hosts[name].converge(words)}
        yield hosts, keys


@contextmanager
def watched(hosts: SeveralHosts) -> Iterator[list[int]]:
    """How many frames pass the underlay meanwhile, and in how many of them the marker is."""
    found: list[int] = []
    # Else frames from port to port are not its own.
    hosts.first.run("ip link set lan promisc on", UNDERLAY)
    command = [*hosts.first.enter(UNDERLAY), "python3", "-c", COUNTING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield found
        output, _errors = process.communicate("\n")
        found += map(int, output.split())


def shout(host: ThrowawayHost, container: str, target: str, count: int = 2) -> bool:
    """Send the marker, in pings; whether an answer comes."""
    ping = f"ip netns exec {container} ping -c{count} -i0.2 -W1 -p {MARKER} {target}"
    return " 0% packet loss" in host.run(f"{ping} || true")


def no_ports(host: ThrowawayHost, container: str) -> int:
    """How many datagrams have come to a container, to ports at which nobody listens."""
    table = host.run(f"ip netns exec {container} cat /proc/net/snmp")
    names, values = (line.split() for line in table.splitlines() if line.startswith("Udp:"))
    return int(values[names.index("NoPorts")])


def sending(source: str, target: str) -> str:
    """A script that sends such a datagram."""
    return (
        f'import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("{source}", 0)); '
        f's.sendto(b"x", ("{target}", 9999))'
    )


def endpoints(host: ThrowawayHost) -> dict[str, str]:
    """Where the kernel takes each peer to be, by its key."""
    script = (
        "import json, socket; from engine.kernel.wireguard import WireGuardNetlink; "
        f"peers = WireGuardNetlink().device(socket.if_nametoindex({LINK!r})).peers; "
        "print(json.dumps({each.public_key: each.address for each in peers}))"
    )
    found = subprocess.run(host.engine_command("-c", script), check=True, capture_output=True, text=True)
    return dict(json.loads(found.stdout))


@pytest.fixture(scope="module", params=BACKENDS)
def fleet(request: pytest.FixtureRequest) -> Iterator[tuple[SeveralHosts, dict[str, str]]]:
    if not has_wireguard:
        pytest.skip("this kernel has no WireGuard")
    with joined(3, request.param) as found:
        yield found


@pytest.fixture
def hosts(fleet: tuple[SeveralHosts, dict[str, str]]) -> SeveralHosts:
    return fleet[0]


@pytest.fixture
def words(fleet: tuple[SeveralHosts, dict[str, str]]) -> dict[str, Any]:
    return with_keys(declare(fleet[0], ENCRYPTED), fleet[1])


def test_containers_reach_each_other_as_themselves(hosts: SeveralHosts) -> None:
    for number, host in enumerate(hosts.by_name.values(), 1):
        host.serve(f"c{number}", "8000/tcp")
        for version in (4, 6):
            for other in {1, 2, 3} - {number}:
                target = f"[{container_address(number, version)}]:8000/tcp"
                answer = hosts[f"h{other}"].probe(f"c{other}", target)
                assert answer.by == f"c{number}", (other, target, str(answer))
                assert container_address(other, version) in answer.sees
        host.agent.call("stop_all")


def test_names_answer_across_hosts(hosts: SeveralHosts) -> None:
    both = {container_address(2), container_address(2, 6)}
    assert resolved(hosts["h1"], "c1", "c2") == resolved(hosts["h1"], "c1", "c2.app") == both


def test_largest_packets(hosts: SeveralHosts) -> None:
    host = hosts["h1"]
    assert host.json(f"ip -j link show {LINK}")[0]["mtu"] == 1420
    for version, payload in ((4, 1392), (6, 1372)):
        ping = f"ip netns exec c1 ping -c1 -W2 -M do {container_address(2, version)} -s"
        assert "1 received" in host.run(f"{ping} {payload} || true")
        assert "1 received" not in host.run(f"{ping} {payload + 1} || true")


def test_nobody_else_reaches_them(hosts: SeveralHosts) -> None:
    for number, host in ((1, hosts["h1"]), (2, hosts["h2"])):
        host.serve(f"c{number}", "8000/tcp")
    for version in (4, 6):
        hosts["h1"].run(f"ip route replace {SUBNETS[version == 6]} via {address(1, version)}", STRANGER)
        for number in (1, 2):
            target = f"[{container_address(number, version)}]:8000/tcp"
            for place in ("o1", "neighbour", "outside", STRANGER):
                assert not open_to(hosts["h1"], place, target, False), (place, target)
    for name in ("h1", "h2"):
        hosts[name].agent.call("stop_all")


def test_containers_do_not_reach_other_hosts_by_it(hosts: SeveralHosts) -> None:
    other = hosts["h2"]
    other.serve("host", "8022/tcp")
    other.serve("o2", "8000/tcp")
    for target in ("10.20.2.1:8022/tcp", f"{address(2)}:8022/tcp"):
        hosts["h1"].run(f"ip route replace {address(2)}/32 dev {LINK} src 10.20.1.1")
        assert not open_to(hosts["h1"], "c1", target, False), target
        hosts["h1"].run(f"ip route del {address(2)}/32 dev {LINK}")
    assert open_to(hosts["h1"], "c1", "10.20.2.1/ping")
    other.agent.call("stop_all")


def test_a_container_of_another_network_cannot_send_as_one_of_it(hosts: SeveralHosts) -> None:
    """It takes an address of the network, and sends to another host by its own."""
    before = no_ports(hosts["h2"], "c2")
    hosts["h1"].run("ip netns exec o1 ip addr add 10.20.1.9/32 dev lo")
    hosts["h1"].run(f"python3 -c '{sending('10.20.1.9', container_address(2))}'; sleep 0.3", "o1")
    assert no_ports(hosts["h2"], "c2") == before
    hosts["h1"].run(f"python3 -c '{sending(container_address(1), container_address(2))}'; sleep 0.3", "c1")
    assert no_ports(hosts["h2"], "c2") == before + 1
    hosts["h1"].run("ip netns exec o1 ip addr del 10.20.1.9/32 dev lo")


def test_nothing_is_seen_on_the_way(hosts: SeveralHosts, words: dict[str, Any]) -> None:
    """While all is well, and while the link is down, or gone, or its routes are, or somebody gives others."""
    host = hosts["h1"]
    with watched(hosts) as seen:
        for version in (4, 6):
            assert shout(host, "c1", container_address(2, version))
    assert seen[0] > 0 and seen[1] == 0, seen
    breaks = {
        "down": f"ip link set {LINK} down",
        "gone": f"ip link del {LINK}",
        "elsewhere": "; ".join([
            f"ip link del {LINK}",
            f"ip route add 10.20.2.0/24 via {address(2)}",
            f"ip route add fd00:20:0:2::/64 via {address(2, 6)}",
        ]),
        "beside": "; ".join([
            f"ip route add 10.20.2.0/25 via {address(2)}",
            f"ip route add fd00:20:0:2::/72 via {address(2, 6)}",
        ]),
    }  # fmt: skip
    for name, command in breaks.items():
        host.run(command)
        with watched(hosts) as seen:
            for version in (4, 6):
                assert not shout(host, "c1", container_address(2, version)), name
                script = f"ping -c1 -W1 -p {MARKER} {container_address(2, version)} || true"
                host.run(script)
        assert seen[1] == 0, (name, seen)
        if name in ("elsewhere", "beside"):
            host.run("ip route del 10.20.2.0/24 via 198.18.0.2; ip -6 route del fd00:20:0:2::/64 via 2001:db8:18::2"
                     if name == "elsewhere" else
                     "ip route del 10.20.2.0/25; ip -6 route del fd00:20:0:2::/72")  # fmt: skip
        host.converge(words["h1"])
        assert shout(host, "c1", container_address(2)), name
    # What this test holds is not that nothing is ever seen: by plain routes it would be.
    host.run("nft list ruleset > /tmp/rules; nft flush ruleset || true; iptables -t mangle -F; ip6tables -t mangle -F")
    host.run(breaks["beside"])
    with watched(hosts) as seen:
        shout(host, "c1", container_address(2), 1)
        host.run(f"ping -c1 -W1 -p {MARKER} {container_address(2)} || true")
    assert seen[1] > 0, seen
    host.run("ip route del 10.20.2.0/25; ip -6 route del fd00:20:0:2::/72")
    host.apply(words["h1"])


def test_nothing_of_it_is_taken_that_comes_in_clear_text(hosts: SeveralHosts, words: dict[str, Any]) -> None:
    """Also where the host has a route to its sender by the link that it comes by."""
    host, came = hosts["h1"], no_ports(hosts["h1"], "c1")
    host.run(f"ip route add 10.20.2.128/25 via {address(STRANGER_NUMBER)}")
    hosts.first.run(
        f"ip addr add 10.20.2.200/32 dev lo; ip route replace 10.20.1.0/24 via {address(1)} src 10.20.2.200", STRANGER
    )
    with watched(hosts) as seen:
        hosts.first.run(f"python3 -c '{sending('10.20.2.200', container_address(1))}'; sleep 0.3", STRANGER)
        ping = f"ping -c1 -W1 -p {MARKER} -I 10.20.2.200 {container_address(1)}"
        assert "100% packet loss" in hosts.first.run(f"{ping} || true", STRANGER)
    assert seen[1] > 0, seen
    assert no_ports(host, "c1") == came
    # The route goes with it.
    hosts.first.run("ip addr del 10.20.2.200/32 dev lo", STRANGER)
    host.run(f"ip route del 10.20.2.128/25 via {address(STRANGER_NUMBER)}")


def test_a_host_that_sends_from_elsewhere(hosts: SeveralHosts, words: dict[str, Any]) -> None:
    """WireGuard answers it there, and a run leaves that as it is, unless it is declared to be elsewhere."""
    host, other = hosts["h1"], hosts["h2"]
    assert shout(host, "c1", container_address(2))
    other.run(f"ip addr del {address(2)}/24 dev eth1; ip addr add {address(77)}/24 dev eth1")
    assert shout(other, "c2", container_address(1))
    assert address(77) in endpoints(host).values()
    assert host.apply(words["h1"]).changes == []
    # What else changes leaves its session alone.
    networks = words["h1"]["networks"]
    narrower = {**networks["app"], "driver_opts": {"encrypted": "", "com.docker.network.driver.mtu": "1400"}}
    host.converge({**words["h1"], "networks": {**networks, "app": narrower}})
    assert address(77) in endpoints(host).values() and shout(host, "c1", container_address(2))
    host.converge(words["h1"])
    # Back where it is declared to be, it is followed again.
    other.run(f"ip addr del {address(77)}/24 dev eth1; ip addr add {address(2)}/24 dev eth1")
    assert shout(other, "c2", container_address(1))
    assert host.apply(words["h1"]).changes == []
    moved = json.loads(json.dumps(words["h1"]).replace(f'"{address(2)}"', f'"{address(77)}"'))
    assert [each[2:] for each in host.apply(moved).changes] == [("wireguard", LINK, "peers")]
    assert shout(other, "c2", container_address(1))
    host.converge(words["h1"])
    assert shout(host, "c1", container_address(2))


def test_a_host_that_has_another_key(
    fleet: tuple[SeveralHosts, dict[str, str]], hosts: SeveralHosts, words: dict[str, Any]
) -> None:
    """It is reached again once the others know of it, and they lose nobody else."""
    hosts["h3"].run(f"rm {KEY}; ip link del {LINK}")
    hosts["h3"].converge(words["h3"])
    assert (key := public_key(hosts["h3"])) != fleet[1]["h3"]
    with watched(hosts) as seen:
        assert not shout(hosts["h1"], "c1", container_address(3), 1)
    assert seen[1] == 0
    assert shout(hosts["h1"], "c1", container_address(2))
    fleet[1]["h3"] = key
    for name, each in with_keys(declare(hosts, ENCRYPTED), fleet[1]).items():
        hosts[name].converge(each)
    assert shout(hosts["h1"], "c1", container_address(3)) and shout(hosts["h3"], "c3", container_address(2))


def test_a_key_that_comes_meanwhile_outlives_changes_that_lapse(
    fleet: tuple[SeveralHosts, dict[str, str]], hosts: SeveralHosts, words: dict[str, Any]
) -> None:
    """What goes back is what is declared: a host that has another key by then is not cut off."""
    host, without_keys = hosts["h1"], declare(hosts, ENCRYPTED)
    host.apply(without_keys["h1"])
    hosts["h3"].run(f"rm {KEY}; ip link del {LINK}")
    hosts["h3"].converge(words["h3"])
    fleet[1]["h3"] = public_key(hosts["h3"])
    words_with_keys = with_keys(declare(hosts, ENCRYPTED), fleet[1])
    hosts["h2"].converge(words_with_keys["h2"])
    more = {**words_with_keys["h1"]["containers"], "later": {"networks": ["app"]}}
    given = json.dumps({**words_with_keys["h1"], "containers": more})
    assert host.wharf("apply", "-", "--confirm", "600", given=given).code == 0
    assert shout(host, "later", container_address(3))
    assert host.wharf("revert").code == 0
    assert "later" not in host.run("ip netns")
    assert shout(host, "c1", container_address(3)) and shout(host, "c1", container_address(2))
    assert host.apply(without_keys["h1"]).changes == []


def test_a_key_that_is_not_given_again_stays(hosts: SeveralHosts) -> None:
    """As of a host that a play does not reach."""
    host = hosts["h1"]
    assert host.apply(declare(hosts, ENCRYPTED)["h1"]).changes == []
    assert shout(host, "c1", container_address(2))


def test_the_private_key_is_given_to_nobody(hosts: SeveralHosts) -> None:
    host = hosts["h1"]
    assert host.run(f"stat -c %a {KEY}").strip() == "600"
    private = host.read(KEY).strip()
    assert len(private) == 44
    for path in ("/var/lib/wharf/ledger.json", "/var/lib/wharf/log.json"):
        assert private not in host.run(f"cat {path} 2>/dev/null || true")
    assert private not in host.engine(["show", "--json"])
    host.run(f"ip link del {LINK}")
    assert private not in host.engine(["diff"])
    host.engine(["apply"])


def test_a_lost_ledger_is_recovered_with_all_keys(hosts: SeveralHosts, words: dict[str, Any]) -> None:
    host = hosts["h1"]
    host.apply(words["h1"])
    before = host_state(host)
    host.run(f"rm {LEDGER} {KEY}")
    settings = {"host": {"firewall-backend": host.backend}}
    host.engine(["apply", "-", "--recover"], {**settings, **declare(hosts, ENCRYPTED)["h1"]})
    assert ["wireguard", LINK] in host.ledger()["owned"]["forwarding"]
    # The fixture sees whether a teardown then gives back what was before.
    different = differences(before, {**host_state(host), LEDGER: before[LEDGER]})
    assert not different, different
    assert shout(host, "c1", container_address(2))
    host.apply(words["h1"])


def test_a_network_becomes_encrypted_and_clear_again(hosts: SeveralHosts, words: dict[str, Any]) -> None:
    clear = declare(hosts, NETWORK)
    for name, host in hosts.by_name.items():
        host.converge(clear[name], EXACT)
    with watched(hosts) as seen:
        assert shout(hosts["h1"], "c1", container_address(2))
    assert seen[1] > 0
    assert LINK not in hosts["h1"].run("ip link")
    for name, host in hosts.by_name.items():
        host.converge(words[name], EXACT)
    with watched(hosts) as seen:
        assert shout(hosts["h1"], "c1", container_address(2))
    assert seen[1] == 0
    assert "vx-app" not in hosts["h1"].run("ip link")


def test_two_encrypted_networks_are_kept_apart(hosts: SeveralHosts, words: dict[str, Any]) -> None:
    for name, host in hosts.by_name.items():
        more = {
            **words[name]["networks"]["app"],
            "enable_ipv6": False,
            "ipam": {"config": [{"subnet": "10.30.0.0/16"}]},
        }
        networks = {**words[name]["networks"], "second": more}
        containers = {**words[name]["containers"], f"s{name[1]}": {"networks": ["second"]}}
        host.converge({**words[name], "networks": networks, "containers": containers})
    hosts["h2"].serve("s2", "8000/tcp")
    hosts["h2"].serve("c2", "8000/tcp")
    assert hosts["h1"].probe("s1", "10.30.2.2:8000/tcp").by == "s2"
    assert not open_to(hosts["h1"], "c1", "10.30.2.2:8000/tcp", False)
    assert not open_to(hosts["h1"], "s1", f"{container_address(2)}:8000/tcp", False)
    hosts["h2"].agent.call("stop_all")
    for name, host in hosts.by_name.items():
        host.converge({**words[name], "networks": {**words[name]["networks"]}}, EXACT)
        assert host.run("ip link show wg-wharf")


@needs_wireguard
def test_over_ipv6() -> None:
    with joined(2, BACKENDS[0], version=6) as (hosts, _keys):
        with watched(hosts) as seen:
            for version in (4, 6):
                assert shout(hosts["h1"], "c1", container_address(2, version))
        assert seen[0] > 0 and seen[1] == 0
        assert "mtu 1420" in hosts["h1"].run("ip netns exec c1 ip link show eth0")


@needs_wireguard
def test_without_a_key_nothing_is_sent() -> None:
    """A warning says so, and all else works."""
    with SeveralHosts.started(2) as hosts, ExitStack() as stack:
        for name, words in declare(hosts, ENCRYPTED).items():
            stack.enter_context(hosts[name].declared(words))
        warnings = hosts["h1"].apply(declare(hosts, ENCRYPTED)["h1"]).warnings
        no_key = "networks.app: nothing is sent to h2, of which no public key"
        assert any(no_key in each for each in warnings), warnings
        assert "(no key yet)" in hosts["h1"].engine(["show"])
        with watched(hosts) as seen:
            for version in (4, 6):
                assert not shout(hosts["h1"], "c1", container_address(2, version), 1)
        assert seen[1] == 0


@needs_wireguard
def test_a_third_party_in_the_way_is_reported() -> None:
    with SeveralHosts.started(2) as hosts:
        host, words = hosts["h1"], declare(hosts, ENCRYPTED)["h1"]
        before_all = host.snapshot()
        host.run(f"ip link add {LINK} type wireguard")
        before = host.snapshot()
        with pytest.raises(EngineError, match="wg-wharf exists on this host that is not managed by wharf.network"):
            host.apply(words)
        assert host.snapshot() == before
        host.run(f"ip link del {LINK}")
        command = [*host.enter(), "python3", "-c", TAKING]
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert other.stdout and other.stdout.readline() == "ready\n"
        with pytest.raises(
            EngineError, match=r"another x-wharf.data_path_port; all changes of this run were taken back"
        ):
            host.apply(words)
        app = {**words["networks"]["app"]}
        moved = {**app, "x-wharf": {**app["x-wharf"], "data_path_port": 51821}}
        assert host.snapshot() == before_all
        with host.declared({**words, "networks": {**words["networks"], "app": moved}}):
            assert public_key(host)
        other.kill()
        other.wait()
