# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sandboxes, bridges and endpoints on a real kernel, looked at with iproute2."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from kernel_sandbox import on_a_host_of_its_own

from ansible_collections.wharf.network.plugins.module_utils.engine.diff import Change, diff
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ApplyError, ConflictError
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import namespaces, proc_sys, rtnetlink
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links import endpoints as endpoints_module
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links.bridges import Bridges
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links.endpoints import Endpoints
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links.sandboxes import Sandboxes
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links.stacks import StackReader
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.resource import Resource
from ansible_collections.wharf.network.plugins.module_utils.engine.state import (
    HOST_STACK,
    NETNS,
    NO_SANDBOX,
    PATH,
    PID,
    Bridge,
    Endpoint,
    Key,
    Object,
    Port,
    Route,
    Sandbox,
    SandboxRef,
    State,
    state_of,
)

ETH_P_ALL, ND_NEIGHBOR_ADVERT = 3, 136

BRIDGE = Bridge(
    "br-app", network="app", mtu=1400, mac="02:00:00:00:00:01", addresses=("172.20.0.1/16", "fd00:20::1/64"),
    sysctls=(("ipv6.accept_ra", "0"), ("ipv6.disable_ipv6", "0")),
)  # fmt: skip
OTHER_BRIDGE = Bridge(
    "br-db", network="db", mtu=1400, mac="02:00:00:00:00:02", addresses=("172.21.0.1/16",),
    sysctls=(("ipv6.disable_ipv6", "1"),),
)  # fmt: skip
WEB = Sandbox(SandboxRef(NETNS, "web"), "web")
DB = Sandbox(SandboxRef(NETNS, "db"), "db")
ENDPOINT = Endpoint(
    "web", "app", sandbox=WEB.ref, interface="eth0", host_interface="veth0web", port=Port("br-app"), mtu=1400,
    mac="02:00:00:00:01:02", addresses=("172.20.0.2/16", "fd00:20::2/64"), ipv6=True,
    routes=(Route("0.0.0.0/0", "172.20.0.1"), Route("::/0", "fd00:20::1")),
    sysctls=(("ipv6.accept_ra", "0"),),
)  # fmt: skip
SECOND = Endpoint(
    "web", "db", sandbox=WEB.ref, interface="eth1", host_interface="veth1web", port=Port("br-db"), mtu=1400,
    mac="02:00:00:00:01:03", addresses=("172.21.0.2/16",),
)  # fmt: skip


def converge(*objects: Object, owned: frozenset[Key] = frozenset()) -> list[Change]:
    """What a run does: what goes, goes in reverse order, then the rest; and then nothing may be left to do."""
    desired = state_of([*objects])
    # As in each run, new ones: they remember what they have read.
    of_run: dict[Resource, str] = {Bridges(): "bridge", Sandboxes({}): "sandbox", Endpoints({}): "endpoint"}

    def observed() -> list[Change]:
        seen = {resource: resource.observe(_of(kind, desired), owned) for resource, kind in of_run.items()}
        return [change for each in seen.values() for change in diff(each.current, each.desired)]

    changes = observed()
    goes = [change for change in changes if not change.after]
    for part, resources in ((goes, reversed(of_run.items())), ([c for c in changes if c.after], of_run.items())):
        for resource, kind in resources:
            of_kind = [change for change in part if change.subject.kind == kind]
            if of_kind:
                resource.apply(of_kind)
    owned |= desired.keys()
    assert observed() == []
    return changes


def _of(kind: str, state: State) -> State:
    return {key: thing for key, thing in state.items() if key[0] == kind}


def summary(changes: list[Change]) -> list[tuple[str, ...]]:
    return [(change.action, change.subject.name, *change.fields) for change in changes]


def ip(*arguments: str, netns: str = "") -> Any:
    where = ["-n", netns] if netns else []
    command = ["ip", "-d", "-j", *where, *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout or "[]")


def run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def link(name: str, netns: str = "") -> Any:
    return ip("link", "show", name, netns=netns)[0]


def links(netns: str = "") -> set[str]:
    return {each["ifname"] for each in ip("link", netns=netns)}


def neighbours(address: str) -> list[str]:
    """The MACs that the host has for an address."""
    return [each["lladdr"] for each in ip("neigh", "show", address) if "lladdr" in each]


def addresses(name: str, netns: str = "") -> set[str]:
    infos = ip("addr", "show", name, netns=netns)[0]["addr_info"]
    return {f"{info['local']}/{info['prefixlen']}" for info in infos if info["scope"] == "global"}


def routes(netns: str) -> set[tuple[str, str, str]]:
    found = [*ip("-4", "route", netns=netns), *ip("-6", "route", netns=netns)]
    return {(each["dst"], each["gateway"], each["dev"]) for each in found if "gateway" in each}


def parameter(name: str, netns: str = "") -> str | None:
    if not netns:
        return proc_sys.read(name)
    with namespaces.entered(namespaces.path_of(netns)):
        return proc_sys.read(name)


@on_a_host_of_its_own
def test_a_bridge_is_made_as_declared() -> None:
    assert summary(converge(BRIDGE)) == [("create", "br-app")]
    found = link("br-app")
    data = found["linkinfo"]["info_data"]
    assert (found["ifalias"], found["mtu"], found["address"]) == ("wharf:app", 1400, BRIDGE.mac)
    assert found["group"] == "default"
    assert "UP" in found["flags"]
    assert (data["stp_state"], data["forward_delay"], data["nf_call_iptables"]) == (0, 0, 0)
    assert addresses("br-app") == set(BRIDGE.addresses)
    assert parameter("net.ipv6.conf.br-app.accept_ra") == "0"
    assert converge(BRIDGE) == []


@on_a_host_of_its_own
@pytest.mark.parametrize("mtu", [1400, 1500])
def test_a_bridges_mtu_and_mac_do_not_follow_its_ports(mtu: int) -> None:
    bridge = replace(BRIDGE, mtu=mtu)
    converge(bridge)
    run("ip link add port mtu 1300 address 00:00:00:00:00:05 master br-app type veth peer name other")
    assert link("br-app")["mtu"] == mtu
    assert link("br-app")["address"] == BRIDGE.mac


@on_a_host_of_its_own
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mtu", 9000),
        ("mac", "02:00:00:00:00:09"),
        ("filtered", True),
        ("network", "renamed"),
        ("addresses", ("172.20.0.3/16", "172.20.0.9/16", "fd00:20::9/64")),
        ("sysctls", (("ipv4.route_localnet", "1"),)),
    ],
)
def test_a_bridge_is_changed_in_place(field: str, value: Any) -> None:
    first = replace(BRIDGE, addresses=("172.20.0.1/16", "172.20.0.3/16", "fd00:20::1/64"))
    converge(first)
    before = link("br-app")["ifindex"]
    changed = replace(first, **{field: value})
    assert summary(converge(changed)) == [("update", "br-app", field)]
    assert link("br-app")["ifindex"] == before
    assert addresses("br-app") == set(changed.addresses)


@on_a_host_of_its_own
def test_bridges_that_go_leave_nothing_and_foreign_ones_stay() -> None:
    run("ip link add lan type bridge")
    converge(BRIDGE, OTHER_BRIDGE)
    assert summary(converge(OTHER_BRIDGE)) == [("delete", "br-app")]
    converge()
    assert links() & {"lan", "br-app", "br-db"} == {"lan"}


@on_a_host_of_its_own
def test_all_foreign_links_with_a_bridges_name_are_reported_at_once() -> None:
    run("ip link add br-app type bridge")
    run("ip link add docker0 type veth peer name other")
    default = replace(BRIDGE, name="docker0", network="bridge", place="wharf_host")
    desired = state_of([replace(BRIDGE, place="compose.yml: networks.app"), default])
    with pytest.raises(ConflictError) as caught:
        Bridges().observe(desired, frozenset())
    assert [problem.path for problem in caught.value.problems] == ["compose.yml: networks.app", "wharf_host.bridge"]


@on_a_host_of_its_own
def test_a_bridge_left_half_made_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links import bridges

    with monkeypatch.context() as patch:
        patch.setattr(bridges, "_update", _die)
        with pytest.raises(KeyboardInterrupt):
            converge(BRIDGE, OTHER_BRIDGE)
    assert "ifalias" not in link("br-app")
    assert summary(converge(OTHER_BRIDGE)) == [("delete", "br-app"), ("create", "br-db")]

    with monkeypatch.context() as patch:
        patch.setattr(bridges, "_update", _die)
        with pytest.raises(KeyboardInterrupt):
            converge(BRIDGE, OTHER_BRIDGE)
    converge(BRIDGE, OTHER_BRIDGE)
    assert link("br-app")["ifalias"] == "wharf:app"


def _die(*arguments: object) -> None:
    raise KeyboardInterrupt


@on_a_host_of_its_own
def test_an_endpoint_is_made_as_declared() -> None:
    endpoint = replace(ENDPOINT, port=Port("br-app", hairpin=True, isolated=True))
    converge(BRIDGE, WEB, endpoint)
    port, inside = link("veth0web"), link("eth0", "web")
    assert (port["ifalias"], port["master"], port["mtu"], port["group"]) == ("wharf:web/app", "br-app", 1400, "default")
    assert (port["num_tx_queues"], port["num_rx_queues"]) == (1, 1)
    slave = port["linkinfo"]["info_slave_data"]
    assert (slave["hairpin"], slave["isolated"], slave["state"]) == (True, True, "forwarding")
    assert ip("addr", "show", "veth0web")[0]["addr_info"] == []
    assert (inside["mtu"], inside["address"], inside["operstate"]) == (1400, ENDPOINT.mac, "UP")
    assert addresses("eth0", "web") == set(ENDPOINT.addresses)
    assert routes("web") == {("default", "172.20.0.1", "eth0"), ("default", "fd00:20::1", "eth0")}
    assert parameter("net.ipv6.conf.eth0.accept_ra", "web") == "0"
    assert converge(BRIDGE, WEB, endpoint) == []
    run("ip netns exec web ping -c1 -W2 172.20.0.1")
    run("ip netns exec web ping -c1 -W2 fd00:20::1")


@on_a_host_of_its_own
def test_an_interface_of_an_ipv4_network_has_no_ipv6_address_at_all() -> None:
    converge(OTHER_BRIDGE, WEB, SECOND)
    assert {info["family"] for info in ip("addr", "show", "eth1", netns="web")[0]["addr_info"]} == {"inet"}


@on_a_host_of_its_own
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mtu", 1300),
        ("mac", "02:00:00:00:01:09"),
        ("port", Port("br-app", hairpin=True)),
        ("port", Port("br-app", isolated=True)),
        ("port", Port("br-db", hairpin=True)),
        ("addresses", ("172.20.0.9/16", "fd00:20::9/64")),
        ("addresses", ("169.254.7.7/16", "172.20.0.2/16", "fd00:20::2/64")),
        ("routes", (Route("0.0.0.0/0", "172.20.0.9"), Route("::/0", "fd00:20::1"))),
        ("routes", (Route("0.0.0.0/0", "172.20.0.1"), Route("::/0", "fd00:20::9"), Route("10.9.0.0/16", "172.20.0.8"))),
        ("routes", ()),
        ("sysctls", (("ipv4.arp_ignore", "1"),)),
    ],
)
def test_an_endpoint_is_changed_in_place(field: str, value: Any) -> None:
    converge(BRIDGE, OTHER_BRIDGE, WEB, ENDPOINT)
    before = link("eth0", "web")["ifindex"]
    changed = replace(ENDPOINT, **{field: value})
    (change,) = converge(BRIDGE, OTHER_BRIDGE, WEB, changed)
    # With an address on another network comes the route to that network.
    assert {field} <= {*change.fields} <= {field, "routes"}
    assert link("eth0", "web")["ifindex"] == before
    assert link("eth0", "web")["mtu"] == link("veth0web")["mtu"] == changed.mtu
    assert link("veth0web")["master"] == changed.port.bridge
    assert addresses("eth0", "web") == set(changed.addresses)
    expected = {
        ("default" if "/0" in route.destination else route.destination, route.gateway) for route in changed.routes
    }
    assert {(destination, gateway) for destination, gateway, _device in routes("web")} == expected


@on_a_host_of_its_own
def test_an_mtu_too_small_for_ipv6_may_grow_later() -> None:
    small, tall = ((replace(OTHER_BRIDGE, mtu=mtu), WEB, replace(SECOND, mtu=mtu)) for mtu in (1200, 1280))
    converge(*small)
    converge(*tall)
    converge(*small)
    converge(*tall)
    for interface, netns in (("br-db", ""), ("veth1web", ""), ("eth1", "web")):
        assert {info["family"] for info in ip("addr", "show", interface, netns=netns)[0]["addr_info"]} <= {"inet"}


@on_a_host_of_its_own
def test_ipv6_comes_to_an_endpoint_and_goes_again() -> None:
    without = replace(ENDPOINT, ipv6=False, addresses=ENDPOINT.addresses[:1], routes=ENDPOINT.routes[:1], sysctls=())
    converge(BRIDGE, WEB, without)
    converge(BRIDGE, WEB, ENDPOINT)
    assert addresses("eth0", "web") == set(ENDPOINT.addresses)
    converge(BRIDGE, WEB, without)
    assert addresses("eth0", "web") == {"172.20.0.2/16"}
    assert routes("web") == {("default", "172.20.0.1", "eth0")}


@on_a_host_of_its_own
def test_what_else_came_to_an_endpoint_goes() -> None:
    converge(BRIDGE, WEB, ENDPOINT)
    run("ip -n web addr add 172.20.7.7/16 dev eth0")
    run("ip -n web route add 10.0.0.0/8 via 172.20.0.9")
    run("ip -n web addr add 172.20.8.8/16 dev eth0 valid_lft 100 preferred_lft 100")
    run("ip -n web route add 11.0.0.0/8 via 172.20.0.9 proto dhcp")
    assert summary(converge(BRIDGE, WEB, ENDPOINT)) == [("update", "web/app", "addresses", "routes")]
    assert addresses("eth0", "web") == {*ENDPOINT.addresses, "172.20.8.8/16"}


@on_a_host_of_its_own
@pytest.mark.parametrize("end", ["ip link set veth0web mtu 1300", "ip -n web link set eth0 mtu 1300"])
def test_an_endpoint_whose_ends_differ_is_rolled_back(end: str) -> None:
    """What is wanted then is not what stood before: whichever end has it, the endpoint differs from what it was."""
    converge(BRIDGE, WEB, ENDPOINT)
    run(end)
    wanted = state_of([replace(ENDPOINT, mtu=1300)])
    endpoints = Endpoints({})
    changes = diff(endpoints.observe(wanted, frozenset(wanted)).current, state_of([ENDPOINT]))
    endpoints.apply([*changes])
    assert link("eth0", "web")["mtu"] == link("veth0web")["mtu"] == ENDPOINT.mtu


@on_a_host_of_its_own
@pytest.mark.parametrize(
    "damage",
    [
        "ip link set veth0web down",
        "ip link set veth0web nomaster",
        "ip link set veth0web mtu 1300",
        "ip -n web link set eth0 mtu 1300",
        "ip -n web link set eth0 down",
        "ip -n web addr flush dev eth0",
        "ip -n web route del default",
        "ip -n web link set eth0 address 02:00:00:00:09:09",
        "ip -n web link del eth0",
        "ip link del br-app",
    ],
)
def test_drift_is_repaired(damage: str) -> None:
    converge(BRIDGE, WEB, ENDPOINT)
    run(damage)
    assert converge(BRIDGE, WEB, ENDPOINT) != []
    assert routes("web") == {("default", "172.20.0.1", "eth0"), ("default", "fd00:20::1", "eth0")}
    assert addresses("eth0", "web") == set(ENDPOINT.addresses)
    run("ip netns exec web ping -c1 -W2 172.20.0.1")


@on_a_host_of_its_own
@pytest.mark.parametrize(
    ("field", "value"), [("interface", "eth7"), ("host_interface", "veth7web"), ("sandbox", DB.ref)]
)
def test_an_endpoint_that_cannot_become_another_comes_anew(field: str, value: object) -> None:
    others = (BRIDGE, WEB, DB)
    converge(*others, ENDPOINT)
    assert summary(converge(*others, replace(ENDPOINT, **{field: value}))) == [("update", "web/app", field)] or (
        field == "sandbox"
    )
    found = replace(ENDPOINT, **{field: value})
    assert found.interface in links(found.sandbox.name)
    assert links() & {"veth0web", "veth7web"} == {found.host_interface}


@on_a_host_of_its_own
def test_the_default_route_moves_between_two_endpoints() -> None:
    here = replace(ENDPOINT, routes=ENDPOINT.routes[:1])
    there = replace(SECOND, routes=(Route("0.0.0.0/0", "172.21.0.1"),))
    stack = (BRIDGE, OTHER_BRIDGE, WEB)
    converge(*stack, here, replace(SECOND, routes=()))
    assert routes("web") == {("default", "172.20.0.1", "eth0")}
    converge(*stack, replace(here, routes=()), there)
    assert routes("web") == {("default", "172.21.0.1", "eth1")}
    converge(*stack, here, replace(SECOND, routes=()))
    assert routes("web") == {("default", "172.20.0.1", "eth0")}


@on_a_host_of_its_own
def test_endpoints_that_go_leave_nothing() -> None:
    before = links()
    run("ip netns add foreign")
    converge(BRIDGE, OTHER_BRIDGE, WEB, ENDPOINT, SECOND)
    assert len(converge(owned=frozenset({WEB.key}))) == 5
    assert links() == before
    assert os.listdir("/run/netns") == ["foreign"]


@on_a_host_of_its_own
def test_a_foreign_link_of_an_endpoints_name_is_a_conflict() -> None:
    run("ip netns add other")
    run("ip -n other link add eth0 type bridge")
    run("ip link add veth1web type bridge")
    first = replace(
        ENDPOINT, sandbox=SandboxRef(PATH, "/run/netns/other"), place="host.json: containers.web.networks.app"
    )
    second = replace(SECOND, place="compose.yml: services.web.networks.db")
    with pytest.raises(ConflictError) as caught:
        Endpoints({}).observe(state_of([first, second]), frozenset())
    paths = {problem.path for problem in caught.value.problems}
    assert paths == {first.place, second.place}


@on_a_host_of_its_own
def test_only_a_change_of_a_bridge_needs_pyroute2(monkeypatch: pytest.MonkeyPatch) -> None:
    converge(BRIDGE)
    monkeypatch.setitem(sys.modules, "pyroute2", None)
    converge(BRIDGE, WEB, ENDPOINT)
    converge(BRIDGE, WEB, replace(ENDPOINT, mtu=1300, addresses=("172.20.0.3/16",), routes=()))
    converge(BRIDGE)
    with pytest.raises(
        ConflictError, match="pyroute2: is needed on this host to change bridges: install python3-pyroute2"
    ):
        converge()


@on_a_host_of_its_own
def test_a_refusal_is_reported_without_pyroute2(monkeypatch: pytest.MonkeyPatch) -> None:
    converge(BRIDGE)
    monkeypatch.setitem(sys.modules, "pyroute2", None)
    monkeypatch.setattr(endpoints_module, "_bridge_index", lambda _endpoint: 4711)
    with pytest.raises(ApplyError, match=r"^web/app.*: endpoint web/app: creating veth veth0web: "):
        converge(BRIDGE, WEB, replace(ENDPOINT, place="web/app"))


@on_a_host_of_its_own
def test_what_the_kernel_refuses_is_reported_of_its_object() -> None:
    run("ip netns add other")
    run("ip -n other link add eth0 type bridge")
    endpoint = replace(ENDPOINT, sandbox=SandboxRef(PATH, "/run/netns/other"))
    converge(BRIDGE)
    refused = Endpoints({}).apply([Change(None, endpoint)])
    assert "endpoint web/app: creating veth veth0web: File exists" in refused[endpoint.key]
    converge(BRIDGE, WEB, ENDPOINT)


@on_a_host_of_its_own
def test_a_missing_bridge_is_named() -> None:
    with pytest.raises(ApplyError, match="web/app.*bridge br-app does not exist: a run with the layer bridge "):
        converge(WEB, ENDPOINT)


@on_a_host_of_its_own
def test_an_adopted_bridge_that_has_just_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    run("ip link add br-app type bridge")
    there = rtnetlink.links()
    run("ip link del br-app")
    monkeypatch.setattr(rtnetlink, "links", lambda: there)
    with pytest.raises(ApplyError, match="bridge br-app: keeping its MAC and MTU: No such device"):
        Endpoints({}).apply([Change(None, ENDPOINT)])


@on_a_host_of_its_own
@pytest.mark.parametrize("death", ["_set_port", "_set_inside", "_set_interface", "add_routes"])
@pytest.mark.parametrize("wanted", [True, False])
def test_an_endpoint_left_half_made_is_finished_or_goes(
    monkeypatch: pytest.MonkeyPatch, death: str, wanted: bool
) -> None:
    converge(BRIDGE, WEB)
    with monkeypatch.context() as patch:
        patch.setattr(endpoints_module, death, _die)
        with pytest.raises(KeyboardInterrupt):
            converge(BRIDGE, WEB, ENDPOINT)
    assert "veth0web" in links()
    converge(BRIDGE, WEB, *([ENDPOINT] if wanted else []))
    assert ("veth0web" in links()) is wanted
    assert routes("web") == (
        {("default", "172.20.0.1", "eth0"), ("default", "fd00:20::1", "eth0")} if wanted else set()
    )


@on_a_host_of_its_own
def test_an_endpoint_left_half_deleted_is_no_endpoint() -> None:
    converge(BRIDGE, WEB, ENDPOINT)
    run(f"ip link set veth0web group {0x77686172}")
    assert summary(converge(BRIDGE, WEB, ENDPOINT))[0][:2] == ("update", "web/app")
    assert link("veth0web")["group"] == "default"


@on_a_host_of_its_own
def test_new_addresses_are_announced() -> None:
    converge(BRIDGE, WEB, ENDPOINT)
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    listener.bind(("br-app", ETH_P_ALL))
    listener.settimeout(2)
    others = [replace(ENDPOINT, network=f"{n}", interface=f"eth{n}", host_interface=f"v{n}", routes=(),
                      addresses=(f"172.20.1.{n}/16", f"fd00:20::1:{n:x}/64"), mac=f"02:00:00:00:02:{n:02x}")
              for n in range(1, 30)]  # fmt: skip
    converge(BRIDGE, WEB, ENDPOINT, *others, owned=frozenset({WEB.key}))
    arp, advertisements = set(), set()
    while (len(arp), len(advertisements)) != (29, 29):
        frame = listener.recv(2000)
        if frame[12:14] == b"\x08\x06" and frame[28:32] == frame[38:42]:
            arp.add(frame[28:32])
        if frame[12:14] == b"\x86\xdd" and frame[54] == ND_NEIGHBOR_ADVERT:
            advertisements.add(frame[62:78])


@on_a_host_of_its_own
def test_on_a_bridge_without_ports_nobody_knows_where_an_address_was() -> None:
    converge(BRIDGE, WEB, ENDPOINT)
    addresses = ["172.20.0.2", "fd00:20::2"]
    for address in addresses:
        run(f"ping -c 1 -W 2 {address}")
        assert ENDPOINT.mac in neighbours(address)
    run("ip neigh add 172.20.0.9 lladdr 02:00:00:00:00:09 dev br-app nud permanent")
    converge(BRIDGE, WEB, owned=frozenset({WEB.key}))
    converge(BRIDGE, WEB, replace(ENDPOINT, mac="02:00:00:00:00:77"), owned=frozenset({WEB.key}))
    for address in addresses:
        assert not neighbours(address)
        run(f"ping -c 1 -W 2 {address}")
    assert neighbours("172.20.0.9")


@on_a_host_of_its_own
def test_a_sandbox_is_made_as_declared() -> None:
    sandbox = replace(WEB, sysctls=(("net.ipv4.ip_local_port_range", "2000 3000"),))
    assert summary(converge(sandbox)) == [("create", "netns:web")]
    assert link("lo", "web")["ifalias"] == "wharf:web"
    assert "UP" in link("lo", "web")["flags"]
    assert parameter("net.ipv4.ip_local_port_range", "web") == "2000\t3000"
    assert converge(sandbox, owned=frozenset({WEB.key})) == []
    run("ip -n web link set lo down")
    assert summary(converge(sandbox)) == [("update", "netns:web", "loopback_up")]
    assert summary(converge(replace(sandbox, container="shop"))) == [("update", "netns:web", "container")]


@on_a_host_of_its_own
def test_a_name_is_bound_to_another_stack_and_becomes_its_own_again() -> None:
    side = Sandbox(SandboxRef(NETNS, "side"), "side", of=WEB.ref)
    third = Sandbox(SandboxRef(NETNS, "third"), "third", of=side.ref)
    owned = frozenset({WEB.key, side.key, third.key})
    for first, target in ((WEB.ref, "web"), (HOST_STACK, ""), (WEB.ref, "web"), (NO_SANDBOX, "side")):
        converge(third, replace(side, of=first), WEB, owned=owned)
        assert converge(third, replace(side, of=first), WEB, owned=owned) == []
        path = namespaces.path_of(target) if target else namespaces.OWN
        assert namespaces.identity("/run/netns/side") == namespaces.identity(path)
        assert namespaces.identity("/run/netns/third") == namespaces.identity(path)
    converge(WEB, owned=owned)
    assert os.listdir("/run/netns") == ["web"]


@on_a_host_of_its_own
def test_a_container_leaves_the_hosts_stack_for_its_own_interface() -> None:
    run("ip link add eth0 type bridge")
    owned = frozenset({WEB.key})
    converge(replace(WEB, of=HOST_STACK), owned=owned)
    desired = state_of([WEB, ENDPOINT])
    assert Endpoints({}).observe(desired, owned).current == {}
    converge(BRIDGE, WEB, ENDPOINT, owned=owned)
    assert "eth0" in links() & links("web")


@on_a_host_of_its_own
def test_foreign_namespaces_are_conflicts_reported_at_once() -> None:
    run("ip netns add web")
    run("ip netns add side")
    mine = Sandbox(SandboxRef(NETNS, "mine"), "mine")
    converge(mine)
    run("mount --bind /run/netns/mine /run/netns/side")
    web = replace(WEB, place="compose.yml: services.web")
    side = Sandbox(SandboxRef(NETNS, "side"), "side", of=mine.ref, place="containers.side")
    with pytest.raises(ConflictError) as caught:
        Sandboxes({}).observe(state_of([web, side, mine]), frozenset())
    assert [problem.path for problem in caught.value.problems] == [web.place, side.place]
    assert "x-wharf: {sandbox: path:/run/netns/web}" in str(caught.value)


@on_a_host_of_its_own
def test_a_sandbox_of_somebody_else_is_only_configured() -> None:
    process = subprocess.Popen(["unshare", "-n", "sleep", "60"])
    try:
        while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        sandbox = Sandbox(SandboxRef(PID, str(process.pid)), "job", sysctls=(("net.ipv4.tcp_syncookies", "0"),))
        endpoint = replace(ENDPOINT, container="job", sandbox=sandbox.ref)
        converge(BRIDGE, sandbox, endpoint)
        assert converge(BRIDGE, sandbox, endpoint) == []
        with namespaces.entered(f"/proc/{process.pid}/ns/net"):
            assert "UP" in link("lo")["flags"]
            assert "ifalias" not in link("lo")
    finally:
        process.kill()
        process.wait()
    assert Sandboxes({}).observe(state_of([sandbox]), frozenset({sandbox.key})).current == {}


@on_a_host_of_its_own
def test_a_sandbox_left_half_made_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(namespaces, "_mount", _die)
        with pytest.raises(KeyboardInterrupt):
            converge(WEB)
    with open("/run/netns/web", "w"):
        pass
    converge(WEB)
    assert link("lo", "web")["ifalias"] == "wharf:web"


@on_a_host_of_its_own
def test_a_stack_is_not_taken_for_one_that_is_gone() -> None:
    """The kernel gives the number of a namespace that is gone to the next one, as here the name to the same one."""
    former, later = (SandboxRef(PATH, f"/run/netns/{name}") for name in ("former", "later"))
    reader = StackReader()
    run("ip netns add former")
    assert not reader.read([former])[former].loopback.up
    run("touch /run/netns/later")
    run("mount --bind /run/netns/former /run/netns/later")
    run("ip netns del former")
    run("ip -n later link set lo up")
    assert reader.read([later])[later].loopback.up


@pytest.mark.parametrize("at", ["stat", "open"])
@on_a_host_of_its_own
def test_a_process_that_ends_while_its_stack_is_read(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """The kernel says then that its namespace may not be opened."""
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as process:
        ref = SandboxRef(PATH, f"/proc/{process.pid}/ns/net")
        while not namespaces.is_namespace(ref.name) or namespaces.identity(ref.name) == namespaces.identity(
            namespaces.OWN
        ):
            time.sleep(0.01)
        function, seen = getattr(os, at), []

        def ends(path: Any, *arguments: Any, **options: Any) -> Any:
            """At the second time, when it has been found to be there."""
            seen.extend([path] * (path == ref.name))
            if len(seen) == 2 and path == ref.name:
                process.kill()
                process.wait()
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return function(path, *arguments, **options)

        monkeypatch.setattr(os, at, ends)
        assert StackReader().read([ref]) == {}
        assert process.returncode is not None


@on_a_host_of_its_own
def test_two_hundred_endpoints() -> None:
    sandboxes = [Sandbox(SandboxRef(NETNS, f"c{n}"), f"c{n}") for n in range(200)]
    endpoints = [
        replace(
            ENDPOINT, container=f"c{n}", sandbox=SandboxRef(NETNS, f"c{n}"), host_interface=f"v{n}",
            addresses=(f"172.20.1.{n}/16", f"fd00:20::1:{n:x}/64"), mac=f"02:00:00:00:02:{n:02x}",
        )
        for n in range(200)
    ]  # fmt: skip
    converge(BRIDGE)
    for resource, objects in ((Sandboxes({}), sandboxes), (Endpoints({}), endpoints)):
        desired = state_of([*objects])
        with timed(f"{type(resource).__name__}: create"):
            resource.apply(diff({}, desired))
        with timed(f"{type(resource).__name__}: observe"):
            seen = resource.observe(desired, frozenset(desired))
        assert diff(seen.current, seen.desired) == []
    with timed("Endpoints: delete"):
        Endpoints({}).apply(diff(seen.current, {}))
    assert not any(name.startswith("v") for name in links())


class timed:
    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(self, *exception: object) -> None:
        print(f"{self._what}: {(time.monotonic() - self._start) * 1000 / 200:.2f} ms each of 200")
