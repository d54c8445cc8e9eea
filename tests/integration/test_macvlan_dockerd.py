# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `docker network create -d macvlan` builds, and what wharf.network builds of the same words, side by side."""

from __future__ import annotations

from typing import Any

import pytest
from dockerd import Dockerd
from hosts import ADDRESSES, LAN, ThrowawayHost
from test_macvlan import SPARE, lan

IPV4 = {"ipam": {"config": [{"subnet": "192.0.2.0/24", "gateway": "192.0.2.1", "ip_range": "192.0.2.128/25"}]}}
MTU = "com.docker.network.driver.mtu"

# Option by option.
DECLARED: dict[str, dict[str, Any]] = {
    "plain": {**lan(), **IPV4, "enable_ipv6": False},
    "dual stack": lan(),
    "bridge": {**lan(mode="bridge"), **IPV4, "enable_ipv6": False},
    "private": lan(mode="private"),
    "vepa": lan(mode="vepa"),
    "passthru": lan("spare", mode="passthru"),
    "internal": lan(internal=True),
    "another parent": lan("spare"),
    "mtu": lan(driver_opts={"parent": "eth0", MTU: "1400"}),
}
# docs/conformance.md: Docker takes this option, and does nothing about it.
DOCKERS_MTU = {"mtu": 1500}


def built(host: ThrowawayHost, container: str) -> dict[str, Any]:
    """A container's interface, without what is given by chance."""
    (link,) = host.json("ip -j -d addr show eth0", container)
    routes = [route for family in ("-4", "-6") for route in host.json(f"ip -j {family} route", container)]
    given = (each for each in link["addr_info"] if each["scope"] == "global")
    return {
        "kind": link["linkinfo"]["info_kind"],
        "mode": link["linkinfo"]["info_data"]["mode"],
        "mtu": link["mtu"],
        "up": "UP" in link["flags"],
        "has the MAC of the parent": link["address"] == host.json("ip -j link show spare")[0]["address"],
        "addresses": sorted(f"{each['local']}/{each['prefixlen']}" for each in given),
        "routes": sorted(
            f"{each['dst']} by {each.get('gateway', 'itself')}" for each in routes if not each["dst"].startswith("fe80")
        ),
    }


def reached(host: ThrowawayHost, option: str, addresses: dict[str, str]) -> dict[str, bool]:
    """By packets: between containers, and between these, the host, and others on the LAN."""
    for place in (*addresses, "neighbour", "host"):
        host.serve(place, "80/tcp")
    options = DECLARED[option]["driver_opts"]
    among, by_wire = options.get("macvlan_mode", "bridge") == "bridge", options["parent"] == "spare"
    expected = {}
    for name, address in addresses.items():
        expected.update({(other, f"{address}:80/tcp"): among for other in addresses if other != name})
        expected[name, f"{ADDRESSES['host'][0]}:80/tcp"] = expected["host", f"{address}:80/tcp"] = by_wire
        expected[name, f"{ADDRESSES['neighbour'][0]}:80/tcp"] = expected["neighbour", f"{address}:80/tcp"] = True
        expected[name, f"{ADDRESSES['internet'][0]}/ping"] = option != "internal"
    return {" > ".join(way): is_open for way, is_open in host.reached(expected).items()}


def seen(host: ThrowawayHost, option: str, names: list[str]) -> dict[str, Any]:
    made = {name: built(host, name) for name in names}
    addresses = {name: each["addresses"][0].partition("/")[0] for name, each in made.items()}
    # There is no link of a container's on the host.
    links = sorted(each["ifname"] for each in host.json("ip -j link") if each["ifname"] != "docker0")
    return {"built": made, "reached": reached(host, option, addresses), "links": links}


@pytest.mark.parametrize("option", DECLARED)
def test_the_same_is_built(option: str) -> None:
    names = ["web"] if option == "passthru" else ["peer", "web"]
    containers = {name: {"networks": ["lan"]} for name in names}
    words = {"host": {}, "networks": {"lan": DECLARED[option]}, "containers": containers}
    with ThrowawayHost.started() as host:
        host.run(SPARE.format(lan=host.path(LAN)))
        with Dockerd.started(host, words) as dockerd:
            dockerd.make(words)
            theirs = seen(host, option, names)
    with ThrowawayHost.started() as host:
        host.run(SPARE.format(lan=host.path(LAN)))
        host.apply(words)
        ours = seen(host, option, names)
    if option == "mtu":
        assert {each["mtu"] for each in ours["built"].values()} == {1400}
        ours["built"] = {name: {**each, **DOCKERS_MTU} for name, each in ours["built"].items()}
    assert ours == theirs
