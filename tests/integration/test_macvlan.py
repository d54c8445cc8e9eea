# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers with links of macvlan on a link of the host: who reaches whom, and what becomes of the links."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from host_state import assert_same, host_state
from hosts import ABSENT, ADDRESSES, EXACT, LAN, EngineError, ThrowawayHost, differences
from test_drift import runs
from test_explain import explained
from test_follow import following, heard
from test_killed import deaths
from test_verify import rows, verify

HOST, NEIGHBOUR, INTERNET = ADDRESSES["host"], ADDRESSES["neighbour"], ADDRESSES["internet"]
OF_LAN = {
    "enable_ipv6": True,
    "ipam": {
        "config": [
            {"subnet": "192.0.2.0/24", "gateway": "192.0.2.1", "ip_range": "192.0.2.128/25"},
            {"subnet": "2001:db8::/64", "gateway": "2001:db8::1", "ip_range": "2001:db8::f000/116"},
        ]
    },
}
# Another link of the host, on the same LAN, which has no address.
SPARE = """
ip link add spare type veth peer name to-spare netns {lan}
ip link set spare up
nsenter --net={lan} ip link set to-spare master lan up
until ip -6 addr show spare | grep -q fe80; do sleep 0.02; done
"""


def lan(parent: str = "eth0", mode: str = "", **words: Any) -> dict[str, Any]:
    options = {"parent": parent, **({"macvlan_mode": mode} if mode else {})}
    return {"driver": "macvlan", "driver_opts": options, **OF_LAN, **words}


def on_lan(*containers: str, **words: Any) -> dict[str, Any]:
    """Containers on a network `lan`, and no default network."""
    return {
        "host": {"bridge": "none"},
        "networks": {"lan": lan(**words)},
        "containers": {name: {"networks": ["lan"]} for name in containers},
    }


def spare(host: ThrowawayHost) -> None:
    host.run(SPARE.format(lan=host.path(LAN)))


def ends(host: ThrowawayHost, container: str, network: str = "lan") -> tuple[str, str]:
    """The container's addresses, as they are written before a port."""
    return host.address(container, network), f"[{host.address(container, network, 6)}]"


def bracketed(addresses: tuple[str, str]) -> tuple[str, str]:
    return addresses[0], f"[{addresses[1]}]"


def index(host: ThrowawayHost, container: str, interface: str = "eth0") -> Any:
    return host.json(f"ip -j -d link show {interface}", container)[0]["ifindex"]


def refused(host: ThrowawayHost, words: Any) -> list[str]:
    """What is said, where nothing is touched."""
    before = host.snapshot()
    with pytest.raises(EngineError) as error:
        host.apply(words)
    assert differences(before, host.snapshot()) == ""
    return str(error.value).splitlines()


def question(place: str, target: str) -> tuple[str, str, bool, bool]:
    """What `wharf explain` is asked: a host of the LAN has no name for it."""
    end, _slash, protocol = target.rpartition("/")
    who = NEIGHBOUR["[" in end] if place == "neighbour" else place
    return who, end.strip("[]") if protocol == "ping" else target, protocol == "ping", False


@pytest.mark.parametrize(("mode", "among"), [("", True), ("bridge", True), ("private", False), ("vepa", False)])
def test_who_reaches_whom(host: ThrowawayHost, mode: str, among: bool) -> None:
    """The switch of the LAN sends nothing back by the port that it came from, as vepa would need."""
    words = on_lan("web", "db", mode=mode)
    words["networks"]["front"] = {"enable_ipv6": True}
    words["containers"]["on-bridge"] = {"networks": ["front"]}
    with host.declared(words):
        for place in ("web", "neighbour", "host", "on-bridge"):
            host.serve(place, "80/tcp", "53/udp")
        others = map(bracketed, (HOST, NEIGHBOUR, INTERNET))
        for web, on_bridge, of_host, of_neighbour, of_internet in zip(
            ends(host, "web"), ends(host, "on-bridge", "front"), *others, strict=True
        ):
            expected = {
                ("db", f"{web}:80/tcp"): among,
                ("db", f"{web}:53/udp"): among,
                ("neighbour", f"{web}:80/tcp"): True,
                ("neighbour", f"{web}:53/udp"): True,
                ("outside", f"{web}:80/tcp"): True,
                ("web", f"{of_neighbour}:80/tcp"): True,
                ("web", f"{of_internet}/ping"): True,
                # The kernel passes nothing between a link and those on it.
                ("host", f"{web}:80/tcp"): False,
                ("web", f"{of_host}:80/tcp"): False,
                ("on-bridge", f"{web}:80/tcp"): False,
                ("web", f"{on_bridge}:80/tcp"): False,
            }
            assert host.reached(expected) == expected
            answers = explained(host, [question(*way) for way in expected])
            said = {way: each["verdict"] for way, each in zip(expected, answers, strict=True)}
            unknown = {("db", f"{web}:80/tcp"), ("db", f"{web}:53/udp")} if mode == "vepa" else set()
            assert said == {
                way: "unknown" if way in unknown else "open" if is_open else "closed"
                for way, is_open in expected.items()
            }
        found = verify(host)
        assert rows(found) == {}
        assert {row["why"] for row in found["probes"] if row["fulfilled"] is None} == {
            "it is up to the network behind eth0: no rule of this host is on that way",
            *(["it is up to the switch behind eth0, which must send it back (vepa)"] if mode == "vepa" else []),
        }


def test_what_is_made_in_the_container(host: ThrowawayHost) -> None:
    words = on_lan("web")
    words["containers"]["web"] |= {"networks": {"lan": {"mac_address": "02:00:00:00:00:99", "interface_name": "lan0"}}}
    with host.declared(words):
        (link,) = host.json("ip -j -d addr show lan0", "web")
        assert (link["address"], link["mtu"], link["ifalias"]) == ("02:00:00:00:00:99", 1500, "wharf:web/lan")
        assert link["linkinfo"] == {"info_kind": "macvlan", "info_data": link["linkinfo"]["info_data"]}
        assert link["linkinfo"]["info_data"]["mode"] == "bridge"
        given = {f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"] if each["scope"] == "global"}
        assert given == {"192.0.2.128/24", "2001:db8::f000/64"}
        assert [each["gateway"] for each in host.json("ip -j route show default", "web")] == ["192.0.2.1"]
        assert [each["gateway"] for each in host.json("ip -j -6 route show default", "web")] == ["2001:db8::1"]
        assert "192.0.2.128\tweb" in host.read("/etc/netns/web/hosts")
        network, container = (host.observed()[each] for each in ("networks", "containers"))
        observed = {key: network["lan"][key] for key in ("driver", "parent", "mode", "endpoints", "bridge")}
        assert observed == {
            "driver": "macvlan", "parent": "eth0", "mode": "bridge", "endpoints": ["web/lan"], "bridge": None,
        }  # fmt: skip
        assert (container["web"]["endpoints"]["lan"]["parent"], container["web"]["unconnected"]) == ("eth0", {})
        assert "eth0  network lan  192.0.2.0/24, 2001:db8::/64  mtu 1500  [macvlan bridge]" in host.engine(["show"])


def test_without_a_gateway_there_is_no_default_route(host: ThrowawayHost) -> None:
    """As in Docker. A network with a bridge has it then, and publishes ports."""
    words = on_lan("alone")
    words["networks"]["lan"]["ipam"] = {"config": [{"subnet": "192.0.2.0/24"}, {"subnet": "2001:db8::/64"}]}
    words["networks"]["front"] = {}
    words["containers"]["both"] = {"networks": ["lan", "front"], "ports": ["8080:80"]}
    with host.declared(words):
        assert host.json("ip -j route show default", "alone") == []
        assert [each["dev"] for each in host.json("ip -j route show default", "both")] == ["eth0"]
        host.serve("both", "80/tcp")
        # The neighbour is on a network of the container's own, by which it would be answered otherwise.
        expected = {(place, f"{HOST[0]}:8080/tcp"): True for place in ("neighbour", "outside", "host")}
        assert host.reached(expected) == expected


def test_internal_networks_have_no_way_out(host: ThrowawayHost) -> None:
    with host.declared(on_lan("web", "db", internal=True)):
        host.serve("neighbour", "80/tcp")
        expected = {("web", f"{NEIGHBOUR[0]}:80/tcp"): True, ("web", f"{INTERNET[0]}/ping"): False}
        assert host.reached(expected) == expected
        assert rows(verify(host)) == {}


def test_passthru_takes_the_whole_link(host: ThrowawayHost) -> None:
    spare(host)
    words = on_lan("web", parent="spare", mode="passthru")
    with host.declared(words):
        host.serve("web", "80/tcp")
        expected = {("neighbour", f"{end}:80/tcp"): True for end in ends(host, "web")}
        assert host.reached(expected) == expected
        mac = host.json("ip -j link show spare")[0]["address"]
        assert host.json("ip -j link show eth0", "web")[0]["address"] == mac
        words["containers"]["db"] = {"networks": ["lan"]}
        assert refused(host, words) == [
            "wharf_containers.web.networks.lan: network lan is macvlan_mode: passthru, and takes the whole link, which "
            "wharf_containers.db.networks.lan has already: leave one of the two out"
        ]


def test_links_of_another_host_are_left_alone(host: ThrowawayHost) -> None:
    """Such as of a machine that runs wharf.network itself: the processes of both are in one `/proc`."""
    with ThrowawayHost.started() as other:
        other.apply(on_lan("web"))
        # A process of the container, which this host sees too.
        other.serve("web", "80/tcp")
        # No ledger is lost here.
        assert host.apply({}, ABSENT).changes == []
        with host.declared(on_lan("db", "web")):
            # Gone behind its back: so it looks for it everywhere.
            host.run("ip link del eth0", "web")
            assert [change[2:] for change in host.apply(on_lan("db", "web")).changes] == [("endpoint", "web/lan")]
        assert other.diff(on_lan("web")).changes == []
        other.apply({}, ABSENT)


@pytest.mark.parametrize("mode", ["bridge", "passthru"])
def test_a_container_that_has_just_gone(host: ThrowawayHost, mode: str) -> None:
    """Its link, which has the same MAC, stays for some time after its namespace was deleted."""
    spare(host)
    words = on_lan("web", parent="spare", mode=mode)
    with host.declared(words):
        host.run("sleep 1 </run/netns/web >&- 2>&- & sleep 0.1; ip netns del web")
        assert host.apply(words).pending == []
        assert host.apply(words).changes == []


def test_changes_in_place(host: ThrowawayHost) -> None:
    """The link of a live container stays, and so does what is connected by it."""
    with host.declared(on_lan("web", "db")):
        host.serve("web", "80/tcp")
        before, web = index(host, "web"), ends(host, "web")[0]
        private = on_lan("web", "db", mode="private")
        assert [change[2:] for change in host.converge(private)] == [
            ("endpoint", "db/lan", "sublink"), ("endpoint", "web/lan", "sublink"),
        ]  # fmt: skip
        assert not host.probe("db", f"{web}:80/tcp", expect_open=False).is_open
        smaller = on_lan("web", "db", mode="bridge")
        smaller["networks"]["lan"]["driver_opts"]["com.docker.network.driver.mtu"] = "1400"
        host.converge(smaller)
        assert host.probe("db", f"{web}:80/tcp").is_open
        (link,) = host.json("ip -j -d link show eth0", "web")
        assert (link["ifindex"], link["mtu"]) == (before, 1400)
        moved = on_lan("web", "db")
        moved["containers"]["web"]["networks"] = {"lan": {"ipv4_address": "192.0.2.200"}}
        host.converge(moved)
        assert host.probe("neighbour", "192.0.2.200:80/tcp").is_open
        assert index(host, "web") == before


def test_another_parent_another_driver_and_back(host: ThrowawayHost) -> None:
    """With a bridge, and no subnet declared for it, the network has one of its own, and not that of the LAN."""
    spare(host)
    on_bridge = {**on_lan("web", "db"), "networks": {"lan": {}}}
    with host.declared(on_lan("web", "db")):
        for words in (on_lan("web", "db", parent="spare"), on_bridge, on_lan("web", "db")):
            host.converge(words)
            host.serve("web", "80/tcp")
            address = host.address("web", "lan")
            assert address.startswith("172." if words is on_bridge else "192.0.2.")
            assert host.probe("db", f"{address}:80/tcp").is_open
            host.agent.call("stop_all")
        host.converge({"networks": {}, "containers": {"web": {"network_mode": "none"}}}, EXACT)
        assert [each["ifname"] for each in host.json("ip -j link", "web")] == ["lo"]


# What is in the way


@pytest.mark.parametrize(
    ("prepare", "parent", "said"),
    [
        (
            "ip link add br-lan type bridge; ip link set spare master br-lan",
            "spare",
            '"spare": is a port of the bridge br-lan, and the kernel makes no macvlan on such a link: name br-lan, or '
            "another link",
        ),
        ("ip link add mv link spare type macvlan mode bridge", "mv", '"mv": is itself a link of macvlan: name spare'),
        ("", "lo", "\"lo\": is the kernel's own name for something else: choose another one"),
    ],
)  # fmt: skip
def test_parents_that_cannot_be(host: ThrowawayHost, prepare: str, parent: str, said: str) -> None:
    spare(host)
    host.run(prepare)
    assert refused(host, on_lan("web", parent=parent)) == [f"wharf_networks.lan.driver_opts.parent: {said}"]


def test_a_link_that_somebody_else_has_taken_whole(host: ThrowawayHost) -> None:
    """Nothing on the host shows it beforehand: the kernel refuses, and the run is rolled back."""
    spare(host)
    host.run("ip netns add other; ip link add mv link spare type macvlan mode passthru; ip link set mv netns other")
    (said,) = refused(host, on_lan("web", parent="spare"))
    assert "endpoint web/lan: creating macvlan eth0 on spare: " in said
    assert "of macvlan_mode passthru, spare can have one link and no other one: name another parent" in said
    assert "all changes of this run were taken back" in said


def test_a_parent_that_comes_later_or_is_down(host: ThrowawayHost) -> None:
    words = on_lan("web", "db", parent="spare")
    pending = "wharf_containers.{0}.networks.lan: {0}/lan is pending: its parent spare {1}"
    absent = "is not on this host: it is connected as soon as that is there"
    with host.declared(words):
        results = host.apply(words)
        assert results.pending == ["db/lan", "web/lan"]
        assert results.warnings == {pending.format(name, absent) for name in ("web", "db")}
        assert host.observed()["containers"]["web"]["unconnected"] == {"lan": "pending"}
        assert rows(verify(host)) == {}
        spare(host)
        host.run("ip link set spare down")
        assert host.apply(words).warnings == {pending.format(name, "is down: set it up") for name in ("web", "db")}
        host.run("ip link set spare up")
        assert [change[1:] for change in host.converge(words)] == [
            ("create", "endpoint", "db/lan"),
            ("create", "endpoint", "web/lan"),
        ]
        # On the former parent it stays no longer than that is declared.
        gone = on_lan("web", "db", parent="gone")
        assert [change[1:] for change in host.converge(gone)] == [
            ("delete", "endpoint", "db/lan"),
            ("delete", "endpoint", "web/lan"),
        ]
        host.converge(words)
        # The kernel deletes what is made on a link together with it.
        host.run("ip link del spare")
        assert host.apply(words).pending == ["db/lan", "web/lan"]


def test_follow_connects_once_the_parent_is_there(host: ThrowawayHost) -> None:
    words = on_lan("web", "db", parent="spare")
    with host.declared(words), following(host) as process:
        for _again in range(2):
            spare(host)
            began = time.monotonic()
            assert heard(process)["connected"] == {"netns:web", "netns:db"}
            assert time.monotonic() - began < 2
            assert (runs(host)[0]["origin"], runs(host)[0]["by"]) == ("follow", "`wharf follow`")
            host.serve("web", "80/tcp")
            expected = {(place, f"{end}:80/tcp"): True for place in ("db", "neighbour") for end in ends(host, "web")}
            assert host.reached(expected) == expected
            host.agent.call("stop_all")
            host.run("ip link del spare")


# Who dies, loses or escapes


@contextmanager
def given_back(host: ThrowawayHost) -> Iterator[None]:
    before = host.snapshot()
    yield
    assert_same(before, host.snapshot, "than before")


def test_a_killed_run(host: ThrowawayHost) -> None:
    spare(host)
    one, two = on_lan("web", "db"), on_lan("web", parent="spare", mode="private")
    host.apply(one)
    host.apply({}, ABSENT)
    with given_back(host):
        deaths(host, (one, EXACT), (two, EXACT), ({}, ABSENT))


def test_what_a_killed_run_has_half_made_is_found_anywhere(host: ThrowawayHost) -> None:
    """In the stack of a third party's container, which is no longer declared by then."""
    with host.start("host", "unshare", "--net"):
        time.sleep(0.3)
        pid = host.run("pgrep -xn cat").strip()
        words = on_lan("web")
        words["containers"]["web"]["x-wharf"] = {"sandbox": f"path:/proc/{pid}/ns/net"}
        for fatal in range(1, 100):
            is_killed = host.is_killed(fatal, words)
            host.apply({}, ABSENT)
            links = host.run(f"nsenter -t {pid} --net ip -br link").split()
            assert not any("@" in each for each in links), fatal
            if not is_killed:
                break
        assert fatal > 10


@pytest.mark.parametrize("later", ["", "path:/run/netns/later"])
def test_a_link_goes_from_the_stack_that_its_container_has_left(host: ThrowawayHost, later: str) -> None:
    """Also where the container's network has a bridge by now, and the container a stack that is not there yet."""
    host.run("ip netns add theirs; ip -n theirs link set lo up")
    words = on_lan("web")
    words["containers"]["web"]["x-wharf"] = {"sandbox": "path:/run/netns/theirs"}
    moved = {**words, "networks": {"lan": {}}, "containers": {"web": {"networks": ["lan"]}}}
    if later:
        moved["containers"]["web"]["x-wharf"] = {"sandbox": later}
    with host.declared(words):
        for fatal in range(1, 100):
            host.apply(words, EXACT)
            assert "eth0@" in host.run("ip -br link", "theirs")
            is_killed = host.is_killed(fatal, moved, EXACT)
            host.apply(moved, EXACT)
            assert "eth0@" not in host.run("ip -br link", "theirs"), fatal
            if not is_killed:
                break
        assert 10 < fatal < 99
        assert host.apply(moved, EXACT).changes == []
    host.run("ip netns del theirs")


def test_who_has_a_change_refused_keeps_no_link_that_is_to_be_another(host: ThrowawayHost) -> None:
    """Else root in a container could stay on a LAN for as long as it likes."""
    spare(host)
    with host.declared(on_lan("web", "db")):
        gateway = OF_LAN["ipam"]["config"][0]["gateway"]
        for words in (on_lan("web", "db", mode="private"), on_lan("web", "db", parent="spare")):
            host.run(f"ip route del default; ip route add blackhole {gateway} scope link", "web")
            assert host.apply(words).pending == ["web/lan"]
            assert "eth0" not in host.run("ip -br link", "web")
            host.run(f"ip route del blackhole {gateway}", "web")
            host.converge(words)
            assert host.probe("web", f"{gateway}/ping").is_open


def test_a_link_in_whose_way_another_is_comes_back_as_it_was(host: ThrowawayHost) -> None:
    """It is removed, since it is to be another one, in a run that is refused later."""
    words, others = on_lan("web", "db"), on_lan("web", "db", "new", mode="private")
    with host.declared(words):
        # The first time around the ledger learns what it then keeps.
        for each in (others, words):
            host.apply(each, EXACT)
        host.run("ip link set eth0 down; ip link set eth0 name mine; ip link set mine up", "web")
        host.run("ip link add eth0 type bridge", "web")
        before, rolled_back = host_state(host), 0
        # Before that the ledger and the log are refused, and after that what concerns `db` alone.
        for number in itertools.count(8):
            refusal = host.refused(number, others, EXACT)
            if not refusal.failed:
                break
            if "all changes were made" not in refusal.said:
                assert_same(before, lambda: host_state(host), f"after {refusal.what} was refused, {refusal.said}")
                rolled_back += "all changes of this run were taken back" in refusal.said
        assert rolled_back >= 3
        assert "mine" not in host.run("ip -br link", "web")
        host.run("ip link del eth0", "web")
        host.converge(others)


@pytest.mark.parametrize("network", [lan(), {"ipam": {"config": [{"subnet": "172.18.0.0/16"}]}}], ids=["LAN", "bridge"])
def test_who_is_refused_in_another_stack_stays_in_the_former_one(host: ThrowawayHost, network: Any) -> None:
    """Whichever that is: it is not declared any more when the next run tries again."""
    for name in ("former", "later"):
        host.run(f"ip netns add {name}; ip -n {name} link set lo up")

    def words(name: str) -> Any:
        web = {"networks": ["one"], "x-wharf": {"sandbox": f"path:/run/netns/{name}"}}
        return {"host": {"bridge": "none"}, "networks": {"one": network}, "containers": {"web": web}}

    shown = "ip -o -4 addr show scope global | cut -d' ' -f 2-7; ip route"
    with host.declared(words("former")):
        before = host.run(shown, "former")
        gateway = host.json("ip -j route show default", "former")[0]["gateway"]
        host.run(f"ip route add blackhole {gateway} scope link", "later")
        for _time in range(2):
            assert host.apply(words("later"), EXACT).pending == ["web/one"]
            assert host.run(shown, "former") == before
            assert host.probe("former", f"{gateway}/ping").is_open
            assert "eth0@" not in host.run("ip -br link", "later")
        host.run(f"ip route del blackhole {gateway}", "later")
        host.converge(words("later"), EXACT)
        assert "eth0@" not in host.run("ip -br link", "former")
        assert host.probe("later", f"{gateway}/ping").is_open
    host.run("ip netns del former; ip netns del later")


# Who is root in another stack than the host's changes there what is to be listed, all the while.
CHANGING = """
import errno, os, sys
from engine.command import main
from engine.kernel import rtnetlink

own, listed = os.readlink("/proc/thread-self/ns/net"), rtnetlink.{what}

def changing(connection=None):
    if os.readlink("/proc/thread-self/ns/net") != own:
        raise BlockingIOError(errno.EAGAIN, "keeps changing")
    return listed(connection)

rtnetlink.{what} = changing
sys.exit(main(["apply", "-", "--state", "exact", "--json"]))
"""


@pytest.mark.parametrize("what", ["addresses", "links"])
def test_who_keeps_changing_a_stack_keeps_no_link_that_is_declared_no_more(host: ThrowawayHost, what: str) -> None:
    """If its links cannot be listed, the next run tries again, and until then it is pending."""
    host.run("ip netns add theirs; ip -n theirs link set lo up")
    words = on_lan("web")
    words["containers"]["web"]["x-wharf"] = {"sandbox": "path:/run/netns/theirs"}
    with host.declared(words):
        result = json.loads(host.python(CHANGING.format(what=what), json.dumps(on_lan())))
        if what == "links":
            assert result["pending"] == ["web/lan"]
            (warning,) = result["warnings"]
            assert "web/lan is pending: its interface may still be in /run/netns/theirs," in warning
            assert warning.endswith("whose links keep changing while they are read: stop the program that changes them")
            assert [change[:4] for change in host.apply(on_lan(), EXACT).changes] == [
                ("veth", "delete", "endpoint", "web/lan")
            ]
        assert "eth0@" not in host.run("ip -br link", "theirs")
        assert host.apply(on_lan(), EXACT).pending == []
        host.converge(words)
        private = on_lan("web", mode="private")
        private["containers"] = words["containers"]
        if what == "addresses":
            result = json.loads(host.python(CHANGING.format(what=what), json.dumps(private)))
            assert result["pending"] == ["web/lan"]
            assert "eth0@" not in host.run("ip -br link", "theirs")
            host.converge(private)
    host.run("ip netns del theirs")


# Somebody takes the name in the container just before the link gets it.
TAKES_THE_NAME = """
import subprocess, sys
from engine.command import main
from engine.resources.links import sublinks

name = sublinks.name

def taken(netlink, endpoint):
    subprocess.run(["ip", "link", "add", "eth0", "type", "bridge"])
    name(netlink, endpoint)

sublinks.name = taken
sys.exit(main(["apply", "-", "--state", "exact", "--json"]))
"""


def test_a_link_whose_name_is_taken_meanwhile_leaves_nothing(host: ThrowawayHost) -> None:
    spare(host)
    words = on_lan("web", parent="spare")
    with host.declared(on_lan("web")):
        result = json.loads(host.python(TAKES_THE_NAME, json.dumps(words)))
        assert result["pending"] == ["web/lan"]
        assert "@" not in host.run("ip -br link", "web")
        host.run("ip link del eth0", "web")
        host.converge(words)
        assert "eth0@" in host.run("ip -br link", "web")


def test_macs_pass_from_one_container_to_another_in_one_run(host: ThrowawayHost) -> None:
    """On one parent, no two links may have the same at any time."""

    def of(**macs: str) -> dict[str, Any]:
        words = on_lan(*macs)
        for name, last in macs.items():
            words["containers"][name]["networks"] = {"lan": {"mac_address": f"02:00:00:00:00:{last}"}}
        return words

    with host.declared(of(one="01", two="02")):
        for macs in ({"one": "02", "two": "01"}, {"one": "03", "two": "02", "new": "01"}, {"new": "02"}):
            host.converge(of(**macs), EXACT)
            for name, last in macs.items():
                assert f"02:00:00:00:00:{last}" in host.run("ip -br link show eth0", name)


def test_recovering_a_lost_ledger(host: ThrowawayHost) -> None:
    words = on_lan("web", "db")
    words["containers"]["web"]["networks"] = {"lan": {"ipv4_address": "192.0.2.222"}}
    with host.declared(words):
        before = host_state(host)
        host.run("rm /var/lib/wharf/ledger.json")
        with pytest.raises(EngineError, match="is lost, but objects of wharf.network exist"):
            host.apply(words)
        plain = on_lan("web", "db")
        host.engine(["apply", "-", "--recover"], plain)
        assert host.address("web", "lan") == "192.0.2.222"
        assert_same(
            {key: value for key, value in before.items() if key != "/var/lib/wharf/ledger.json"},
            lambda: {key: value for key, value in host_state(host).items() if key != "/var/lib/wharf/ledger.json"},
        )
        host.apply(words)


# The host


def test_the_host_and_its_containers_by_a_link_of_the_hosts_own(host: ThrowawayHost) -> None:
    """The host and the containers reach each other at the host's address on the network, and the LAN all of them."""
    words = on_lan("web", "db")
    words["networks"]["lan"]["x-wharf"] = {"host_access": True}
    with host.declared(words):
        own4, own6 = host.ledger()["allotted"]["hosts"]["lan"]
        for place in ("web", "neighbour", "host"):
            host.serve(place, "80/tcp", "53/udp")
        for own, web, of_host, of_neighbour in zip(
            (own4, f"[{own6}]"), ends(host, "web"), bracketed(HOST), bracketed(NEIGHBOUR), strict=True
        ):
            expected = {
                ("host", f"{web}:80/tcp"): True,
                ("host", f"{web}:53/udp"): True,
                ("web", f"{own}:80/tcp"): True,
                ("web", f"{own}:53/udp"): True,
                ("db", f"{web}:80/tcp"): True,
                ("neighbour", f"{web}:80/tcp"): True,
                ("web", f"{of_neighbour}:80/tcp"): True,
                # Only at its address there.
                ("web", f"{of_host}:80/tcp"): False,
            }
            assert host.reached(expected) == expected
            assert host.probe("web", f"{own}:80/tcp").by == "host"
            answers = explained(host, [question(*way) for way in expected])
            assert {way: each["verdict"] == "open" for way, each in zip(expected, answers, strict=True)} == expected
        assert rows(verify(host)) == {}
        # The LAN finds the host's other addresses where it always found them.
        mac = host.json("ip -j link show eth0")[0]["address"]
        assert [each["lladdr"] for each in host.json(f"ip -j neigh show {HOST[0]}", "neighbour")] in ([], [mac])
        assert f"[the host is {own4}, {own6}]" in host.engine(["show"])

        fewer = {**words, "containers": {"web": words["containers"]["web"]}}
        assert ("veth", "update", "shim", "host-lan", "routes") in host.converge({**fewer}, EXACT)
        host.run("ip route flush dev host-lan; ip link set host-lan mtu 1400")
        assert host.converge(fewer, EXACT) == [("veth", "update", "shim", "host-lan", "mtu,routes")]
        assert host.probe("host", f"{ends(host, 'web')[0]}:80/tcp").is_open

        without = on_lan("web")
        assert host.converge(without, EXACT) == [("veth", "delete", "shim", "host-lan")]
        host.converge(words)
        assert host.ledger()["allotted"]["hosts"]["lan"]


def test_the_host_at_the_address_that_is_named_for_it(host: ThrowawayHost) -> None:
    words = on_lan("web")
    words["networks"]["lan"]["x-wharf"] = {"host_access": True}
    pools = [dict(pool) for pool in OF_LAN["ipam"]["config"]]
    pools[0]["aux_addresses"] = {"host": "192.0.2.128"}
    words["networks"]["lan"]["ipam"] = {"config": pools}
    with host.declared(words):
        assert host.ledger()["allotted"]["hosts"]["lan"] == ["192.0.2.128", "2001:db8::f000"]
        host.serve("web", "80/tcp")
        assert host.probe("host", f"{host.address('web', 'lan')}:80/tcp").sees == "192.0.2.128"
        host.run("rm /var/lib/wharf/ledger.json")
        del pools[0]["aux_addresses"]
        host.engine(["apply", "-", "--recover"], words)
        assert host.ledger()["allotted"]["hosts"]["lan"] == ["192.0.2.128", "2001:db8::f000"]
        host.apply(words)


def test_a_killed_run_with_a_link_of_the_hosts_own(host: ThrowawayHost) -> None:
    words = on_lan("web")
    words["networks"]["lan"]["x-wharf"] = {"host_access": True}
    host.apply(words)
    host.apply({}, ABSENT)
    with given_back(host):
        deaths(host, (words, EXACT), ({}, ABSENT))
