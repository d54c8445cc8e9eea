# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which connections under way outlive a change: those that lead where they led, whose sender may still come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hosts import ADDRESSES, BACKENDS, EXACT, ThrowawayHost
from test_lifecycle import connection, lives

HOST4, HOST6 = ADDRESSES["host"]
SECOND4 = ADDRESSES["second"][0]
OUTSIDE4, OUTSIDE6 = ADDRESSES["outside"]
NEIGHBOUR4, NEIGHBOUR6 = ADDRESSES["neighbour"]
THIRD4 = "192.0.2.12"
TOO_MANY = 100
SCOPES = ["default_networks", "user_networks", "containers"]

# What loses its rules: all there are, or only ours, while others go on to track connections.
FLUSHED = "nft flush ruleset"
DELETED = {
    "nftables": "nft delete table inet wharf",
    "iptables": "for each in raw filter nat; do nft flush table ip $each; nft flush table ip6 $each; done",
}
# Seconds. Until then what was said last is acknowledged, which would end a connection in want of its translation.
QUIET = 0.4
OTHERS = "nft 'table inet admin { chain input { type filter hook input priority 0; ct state new accept; }; }'"


def network(subnet: int, mode: str = "nat", **options: str) -> Any:
    modes = {f"gateway_mode_ipv{version}": mode for version in (4, 6)}
    return {
        "enable_ipv6": True,
        "ipam": {"config": [{"subnet": f"10.{subnet}.0.0/24"}, {"subnet": f"fd00:{subnet}::/64"}]},
        "driver_opts": {f"com.docker.network.bridge.{key}": value for key, value in {**modes, **options}.items()},
    }


NETWORKS = {
    "front": network(1),
    "apart": network(2, enable_icc="false"),
    "plain": network(3, "nat-unprotected"),
    "wide": network(4, "routed"),
}


def only_for(sources: list[str], published: int = 8443) -> Any:
    return {"target": 80, "published": published, "x-wharf": {"allow_from": sources}}


def words(**ports: Any) -> Any:
    """With these ports of the containers `web`, `lone`, `plain` and `wide`, each on a network of another kind."""
    places = {"web": "front", "peer": "front", "lone": "apart", "mate": "apart", "plain": "plain", "wide": "wide"}
    containers = {name: {"networks": [place], "ports": ports.get(name, [])} for name, place in places.items()}
    return {"networks": NETWORKS, "containers": containers}


@pytest.fixture(scope="module", params=BACKENDS[:2])
def lasting_host(request: pytest.FixtureRequest) -> Iterator[ThrowawayHost]:
    """What has been forgotten is not taken up again by whoever sends next."""
    with ThrowawayHost.started(backend=request.param) as host:
        host.run("sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0")
        yield host


@pytest.fixture
def host(lasting_host: ThrowawayHost) -> Iterator[ThrowawayHost]:
    lasting_host.apply(words(), EXACT)
    for name in ("web", "lone", "plain", "wide"):
        lasting_host.serve(name, "80/tcp", "81/tcp", "80/udp")
    yield lasting_host
    lasting_host.agent.call("stop_all")


def lose_rules(host: ThrowawayHost, how: str) -> None:
    time.sleep(QUIET)
    host.run(how)


def held_by(host: ThrowawayHost, *ways: tuple[str, str, int]) -> dict[tuple[str, str, int], int]:
    return {way: connection(host, *way) for way in ways}


def living(host: ThrowawayHost, held: dict[tuple[str, str, int], int]) -> set[tuple[str, str, int]]:
    found = set()
    for way, each in held.items():
        try:
            if lives(host, each):
                found.add(way)
        except RuntimeError as error:
            assert "nothing came over the connection" in str(error) or "reset" in str(error).lower()
    return found


EVERYWHERE = words(
    web=["8080:80", only_for([OUTSIDE4, OUTSIDE6])],
    lone=["8081:80"],
    plain=["8082:80", only_for([OUTSIDE4], 8445)],
    wide=["8083:80", only_for([OUTSIDE4], 8444)],
)


def test_all_that_leads_where_it_led_outlives_lost_rules(host: ThrowawayHost) -> None:
    host.apply(EVERYWHERE, EXACT)
    own = {name: host.address(name, name) for name in ("plain", "wide")}
    ways = [
        *(("outside", address, port) for address in (HOST4, HOST6) for port in (8080, 8443, 8081)),
        ("outside", HOST4, 8082),
        ("outside", own["plain"], 80),
        ("neighbour", own["plain"], 81),
        ("outside", own["wide"], 80),
        ("host", "127.0.0.1", 8080),
        ("host", HOST4, 8443),
        ("peer", HOST4, 8443),
        ("mate", HOST4, 8080),
    ]
    held = held_by(host, *ways)
    for lose in (FLUSHED, f"{OTHERS}; {DELETED[host.backend]}"):
        lose_rules(host, lose)
        assert host.apply(EVERYWHERE).changes != []
        assert living(host, held) == {*ways}
    host.run("nft delete table inet admin")
    # As a play does it, role by role.
    lose_rules(host, FLUSHED)
    for scope in SCOPES:
        host.apply(EVERYWHERE, scope=[scope])
    assert living(host, held) == {*ways}


def test_what_began_without_rules_does_not_go_on(host: ThrowawayHost) -> None:
    ports = ["8080:80/udp", "8080:80"]
    host.apply(words(web=ports), EXACT)
    host.run(f"{OTHERS}; {DELETED[host.backend]}")
    assert not host.probe("outside", f"{HOST4}:8080/udp", False, source_port=4242).is_open
    host.apply(words(web=ports))
    assert host.probe("outside", f"{HOST4}:8080/udp", source_port=4242).by == "web"
    host.run("nft delete table inet admin")


def test_what_is_withdrawn_while_rules_are_lost_does_not_go_on(host: ThrowawayHost) -> None:
    host.apply(words(web=["8080:80", "8081:80", only_for([OUTSIDE4, NEIGHBOUR4])]), EXACT)
    goes, narrowed, stays = ("outside", HOST4, 8080), ("neighbour", HOST4, 8443), ("outside", HOST4, 8081)
    held = held_by(host, goes, narrowed, stays)
    lose_rules(host, FLUSHED)
    host.apply(words(web=["8081:80", only_for([OUTSIDE4])]), EXACT)
    assert living(host, held) == {stays}


def test_the_same_port_of_another_address_is_not_concerned(host: ThrowawayHost) -> None:
    host.run(f"ip addr add {THIRD4}/24 dev eth0")
    host.serve("host", f"{THIRD4}:8080/tcp", "127.0.0.1:8080/tcp")
    first = {"web": [f"{HOST4}:8080:80"]}
    second = {**first, "lone": [f"{SECOND4}:8080:80"]}
    host.apply(words(**first), EXACT)
    ways = [("outside", HOST4, 8080), ("outside", THIRD4, 8080), ("host", "127.0.0.1", 8080)]
    held = held_by(host, *ways)
    host.converge(words(**second))
    held.update(held_by(host, ("outside", SECOND4, 8080)))
    assert living(host, held) == {*ways, ("outside", SECOND4, 8080)}
    host.converge(words(**first), EXACT)
    assert living(host, held) == {*ways}
    host.run(f"ip addr del {THIRD4}/24 dev eth0")


def test_who_is_on_the_containers_network_is_no_stranger(host: ThrowawayHost) -> None:
    """But where containers of a network do not reach each other."""
    host.apply(words(web=["8080:80"], lone=["8081:80"]), EXACT)
    stays = [("peer", HOST4, 8080), ("outside", HOST4, 8080), ("outside", HOST4, 8081), ("host", HOST4, 8081)]
    held = held_by(host, *stays, ("mate", HOST4, 8080), ("mate", HOST4, 8081))
    host.converge(words(web=[only_for([OUTSIDE4], 8080)], lone=[only_for([OUTSIDE4], 8081)]))
    assert living(host, held) == {*stays}


def test_what_is_withdrawn_where_all_ports_are_open_is_closed_at_the_host_only(host: ThrowawayHost) -> None:
    host.apply(EVERYWHERE, EXACT)
    own = {name: host.address(name, name) for name in ("plain", "wide")}
    stays = ("neighbour", own["plain"], 81)
    held = held_by(host, stays, ("outside", own["plain"], 80), ("outside", own["wide"], 80), ("outside", HOST4, 8082))
    host.converge(words(), EXACT)
    assert living(host, held) == {stays, ("outside", own["plain"], 80)}


def test_what_could_not_be_forgotten_is_reported_and_made_up_for(host: ThrowawayHost) -> None:
    both, one = words(web=[only_for([OUTSIDE4, NEIGHBOUR4])]), words(web=[only_for([OUTSIDE4])])
    host.apply(both, EXACT)
    flows = ("outside", HOST4, 8443), ("neighbour", HOST4, 8443)
    held = held_by(host, *flows)
    for number in range(1, TOO_MANY):
        refusal = host.refused(number, one)
        said = refusal.said
        if "connection tracking" in said or not refusal.what:
            break
        host.apply(both, EXACT)
        if not refusal.failed:
            # The run could do without, as it can without its line in the log; it has forgotten one of the flows.
            held = held_by(host, *flows)
    assert "refused; all changes were made, and the next run does the rest" in said
    assert living(host, held) == {*held}
    assert host.apply(one).changes == []
    assert living(host, held) == {("outside", HOST4, 8443)}
    assert host.ledger()["stale_ports"] == []
