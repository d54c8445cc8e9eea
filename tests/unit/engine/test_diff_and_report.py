# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two states -> changes -> the words in which they are reported."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.converge import Result
from ansible_collections.wharf.network.plugins.module_utils.engine.diff import Change, diff
from ansible_collections.wharf.network.plugins.module_utils.engine.report import (
    describe,
    diffs,
    objects_as_data,
    summary,
    unified,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.state import (
    NETNS,
    Bridge,
    Chain,
    ChainRef,
    ContainerFile,
    Dnsmasq,
    ElementSet,
    Endpoint,
    File,
    IptablesChain,
    MapElement,
    Object,
    Owner,
    Port,
    Route,
    Sandbox,
    SandboxRef,
    SetElements,
    State,
    Sysctl,
    state_of,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.visible import visible

MAC = "02:42:00:00:00:01"


def bridge(name: str, network: str = "front", mtu: int = 1500) -> Bridge:
    return Bridge(name, network=network, mtu=mtu, mac=MAC, addresses=("10.0.0.1/24",))


def endpoint(**fields: object) -> Endpoint:
    given = {
        "sandbox": SandboxRef(NETNS, "web"),
        "interface": "eth0",
        "host_interface": "veth1",
        "port": Port("br-front"),
        "mtu": 1500,
        "mac": MAC,
        "addresses": ("10.0.0.2/24",),
        **fields,
    }
    return Endpoint("web", "front", **given)  # type: ignore[arg-type]


def states(*things: Object) -> State:
    return state_of(list(things))


def words(changes: list[Change]) -> list[str]:
    return [f"{each.action} {each.subject.name} {','.join(each.fields)}".strip() for each in changes]


def test_nothing_differs_from_itself() -> None:
    same = states(bridge("br-a"), Sysctl("net.ipv4.ip_forward", "1"), endpoint())
    assert diff(same, dict(same)) == []


def test_what_goes_comes_first_and_the_rest_in_its_order() -> None:
    current = states(bridge("br-z"), bridge("br-b", mtu=1400), bridge("br-a"))
    desired = states(bridge("br-d"), bridge("br-a"), bridge("br-b"), bridge("br-c"))
    assert words(diff(current, desired)) == ["delete br-z", "create br-d", "update br-b mtu", "create br-c"]


def test_how_a_file_is_written_makes_no_difference() -> None:
    assert File("/etc/a", "x", in_place=True) == File("/etc/a", "x")
    assert diff(states(File("/etc/a", "x")), states(File("/etc/a", "x", in_place=True))) == []


def test_a_set_and_a_chain_of_one_name_are_two() -> None:
    assert len(states(ElementSet("DOCKER", ()), Chain("DOCKER", ()))) == 2


def test_the_fields_of_an_update() -> None:
    after = endpoint(mtu=1400, routes=(Route("0.0.0.0/0", "10.0.0.1"),), port=Port("br-front", hairpin=True))
    assert Change(endpoint(), after).fields == ("port", "mtu", "routes")
    assert Change(None, after).fields == Change(after, None).fields == ()


def test_a_change_of_nothing_is_none() -> None:
    with pytest.raises(ValueError):
        assert Change(None, None).subject


def test_a_result_is_plain_data() -> None:
    changes = Change(None, bridge("br-a"), "bridge"), Change(endpoint(), endpoint(mtu=1400), "veth")
    result = Result(changes, ("large",), {("sandbox", "pid:1"): ""}, edited=("/etc/netns/web/resolv.conf",))
    assert describe(result) == {
        "changed": True,
        "changes": [
            {"layer": "bridge", "kind": "bridge", "name": "br-a", "action": "create", "fields": []},
            {"layer": "veth", "kind": "endpoint", "name": "web/front", "action": "update", "fields": ["mtu"]},
        ],
        "warnings": ["large"],
        "pending": ["pid:1"],
        "edited": ["/etc/netns/web/resolv.conf"],
        "published": [],
        "unconfirmed": None,
        "reverted": None,
    }
    assert describe(Result(()))["changed"] is False


def test_objects_are_plain_data() -> None:
    (data,) = objects_as_data(
        [
            endpoint(
                port=Port("br-front", hairpin=True),
                routes=(Route("0.0.0.0/0", "10.0.0.1"),),
                sysctls=(("ipv6.accept_ra", "0"),),
            )
        ]
    )
    assert data["kind"] == "endpoint"
    assert data["name"] == "web/front"
    assert data["addresses"] == ["10.0.0.2/24"]
    assert data["routes"] == ["0.0.0.0/0 via 10.0.0.1"]
    assert data["sysctls"] == [["ipv6.accept_ra", "0"]]
    assert data["port"] == "br-front, hairpin"
    assert data["mtu"] == 1500


def test_a_difference_for_each_object() -> None:
    file = Change(File("/etc/hosts", "a\nb\n"), File("/etc/hosts", "a\nc"), "dns_files")
    after = endpoint(routes=(Route("0.0.0.0/0", "10.0.0.1"),), sysctls=(("ipv6.accept_ra", "0"),))
    shown = diffs(Result((file, Change(None, after, "veth"), Change(Sysctl("a", "1"), None, "forwarding"))))
    assert shown == [
        {
            "before_header": "dns_files: file /etc/hosts",
            "after_header": "dns_files: file /etc/hosts",
            "before": "a\nb\n",
            "after": "a\nc\n",
        },
        {
            "before_header": "veth: endpoint web/front",
            "after_header": "veth: endpoint web/front",
            "before": "",
            "after": "sandbox: netns:web\n"
            "interface: eth0\n"
            "host_interface: veth1\n"
            "port: br-front\n"
            "mtu: 1500\n"
            f"mac: {MAC}\n"
            "addresses: 10.0.0.2/24\n"
            "routes: 0.0.0.0/0 via 10.0.0.1\n"
            "sysctls: ipv6.accept_ra 0\n",
        },
        {
            "before_header": "forwarding: sysctl a",
            "after_header": "forwarding: sysctl a",
            "before": "value: 1\n",
            "after": "",
        },
    ]


def test_an_empty_list_is_said_to_be_none() -> None:
    (shown,) = diffs(Result((Change(Chain("DOCKER-USER", ()), Chain("DOCKER-USER", ("accept",))),)))
    assert (shown["before"], shown["after"]) == ("rules: none\n", "rules:\n  accept\n")


def skeleton(sets: int, chains: int) -> list[Object]:
    named = [ElementSet(f"a_set_of_a_long_name_{number}", ("type ipv4_addr",)) for number in range(sets)]
    return [*named, *(Chain(f"a_chain_of_a_long_name_{number}", ("accept",)) for number in range(chains))]


def test_the_skeleton_of_the_rules_is_one_difference() -> None:
    """As in a first run: what is the same on each host is counted, what was declared is shown."""
    coming = [Change(None, thing, "docker_chains") for thing in (*skeleton(41, 22), Chain("WHARF-USER", ("drop",)))]
    shown = diffs(Result(tuple(coming)))
    assert [each["after_header"] for each in shown] == [
        "docker_chains: table inet wharf",
        "docker_chains: chain WHARF-USER",
    ]
    assert (shown[0]["before"], shown[0]["after"]) == ("", "41 sets\n22 chains\n")
    assert len(describe(Result(tuple(coming)))["changes"]) == 64


def test_what_one_program_needs_is_one_difference() -> None:
    files = [File(f"/run/wharf/dnsmasq/front.{each}", "port=53\n") for each in ("conf", "servers")]
    things = [*files, Dnsmasq("front", "1", "2"), File("/etc/tuned.conf", "127.0.0.1 localhost\n")]
    shown = diffs(Result(tuple(Change(None, thing, "dnsmasq") for thing in things)))
    assert [(each["after_header"], each["after"]) for each in shown] == [
        (
            "dnsmasq: names by dnsmasq, in /run/wharf",
            "2 files: /run/wharf/dnsmasq/front.conf, /run/wharf/dnsmasq/front.servers\n1 dnsmasq process: front\n",
        ),
        ("dnsmasq: file /etc/tuned.conf", "127.0.0.1 localhost\n"),
    ]
    (update,) = diffs(Result((Change(files[0], File(files[0].name, "port=54\n"), "dnsmasq"),)))
    assert update["after_header"] == "dnsmasq: file /run/wharf/dnsmasq/front.conf"


def test_network_stacks_are_one_difference_but_for_those_with_parameters() -> None:
    stacks = [Sandbox(SandboxRef(NETNS, name), name) for name in ("db", "web")]
    tuned = Sandbox(SandboxRef(NETNS, "tuned"), "tuned", sysctls=(("net.core.somaxconn", "9"),))
    shown = diffs(Result(tuple(Change(thing, None, "veth") for thing in [*stacks, tuned])))
    assert [(each["before_header"], each["before"]) for each in shown] == [
        ("veth: network stacks", "2 network stacks: netns:db, netns:web\n"),
        ("veth: sandbox netns:tuned", "container: tuned\nloopback_up: True\nsysctls: net.core.somaxconn 9\n"),
    ]


def test_a_long_list_has_a_line_for_each_item() -> None:
    elements = tuple(("published4", MapElement(f"tcp . {port}", "172.17.0.2 . 80")) for port in range(8080, 8084))
    (shown,) = diffs(Result((Change(None, SetElements(Owner("container", "web"), elements)),)))
    assert shown["after"].startswith("elements:\n  published4 tcp . 8080 : 172.17.0.2 . 80\n")


def test_a_part_of_the_skeleton_is_named() -> None:
    """What goes while the other backend's comes, and a single one that somebody has deleted."""
    layer = "docker_chains"
    gone = Change(Chain("DOCKER", ()), None, layer)
    come = Change(None, IptablesChain(ChainRef.parse("ip nat DOCKER"), ("-j RETURN",)), layer)
    update = Change(Chain("forward", ("accept",)), Chain("forward", ()), layer)
    shown = diffs(Result((gone, Change(None, ElementSet("bridges", ("type ifname",)), layer), update, come)))
    assert [(each["after_header"], each["before"], each["after"]) for each in shown] == [
        ("docker_chains: table inet wharf", "1 chain: DOCKER\n", "1 set: bridges\n"),
        ("docker_chains: chain forward", "rules:\n  accept\n", "rules: none\n"),
        ("docker_chains: tables of iptables", "", "1 chain: ip nat DOCKER\n"),
    ]


CHANGES = (
    Change(None, bridge("br-a")),
    Change(bridge("br-b"), None),
    *(Change(None, SetElements(Owner("network", name), ())) for name in "abc"),
    Change(endpoint(), endpoint(mtu=1400), "veth"),
)


def test_a_run_in_one_line() -> None:
    sandbox, file = ("sandbox", "docker:web"), ("container_file", "docker:web:/etc/hosts")
    pending = dict.fromkeys([sandbox, file, ("endpoint", "web/front")], "")
    line = "6 changes: 2 bridges, 3 rule groups, 1 endpoint; pending: docker:web, web/front"
    assert summary(Result(CHANGES, pending=pending), "nothing to change") == line
    assert summary(Result((), pending={file: ""}), "nothing to change") == "nothing to change"
    assert summary(Result((), pending={sandbox: ""}), "nothing") == "nothing; pending: docker:web"
    assert summary(Result(CHANGES[:1]), "") == "1 change: 1 bridge"


def test_the_differences_of_a_run_as_text() -> None:
    plain = [*unified(Result(CHANGES[-1:]))]
    assert plain[:3] == [
        "--- before: veth: endpoint web/front",
        "+++ after: veth: endpoint web/front",
        "@@ -2,7 +2,7 @@",
    ]
    assert {"-mtu: 1500", "+mtu: 1400"} <= {*plain}
    coloured = [*unified(Result(CHANGES[-1:]), is_coloured=True)]
    assert {"\x1b[31m-mtu: 1500\x1b[0m", "\x1b[32m+mtu: 1400\x1b[0m"} <= {*coloured}


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("│ br-app\tüñ ✓\n", "│ br-app\tüñ ✓\n"),
        ("\udcff\udc80", r"\xff\x80"),
        ("\x1b[31m\x07\x7f\x9b\r\x0b", r"\x1b[31m\x07\x7f\x9b\r\x0b"),
        ("\u2028\u202e", r"\u2028\u202e"),
        ({"a\udcff": ("\x1b", ["\x1b", 1, None, True])}, {r"a\xff": [r"\x1b", [r"\x1b", 1, None, True]]}),
    ],
)
def test_what_is_shown_is_printable(text: object, seen: object) -> None:
    assert visible(text) == seen


def test_a_difference_shows_bytes_and_control_characters_of_a_file() -> None:
    file = ContainerFile.named("pid:7:/etc/hosts")
    change = Change(replace(file, content="a\r\n\udcff\x1b[31m\n"), replace(file, content="a\n"))
    result = Result((change,))
    assert visible(diffs(result))[0]["before"] == "a\\r\n\\xff\\x1b[31m\n"
    assert {"-a\\r", "-\\xff\\x1b[31m", "+a"} <= {*unified(result)}
