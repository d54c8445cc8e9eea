# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several throwaway hosts on one LAN, the underlay, beside that which each of them has for itself.

    h1 198.18.0.1 ── eth1 ──┐
    h2 198.18.0.2 ── eth1 ── underlay ── eth0 of stranger 198.18.0.66
    …

All of them are in one user namespace, so that links can lead from one to another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from hosts import BACKENDS, ThrowawayHost

UNDERLAY, STRANGER = "underlay", "stranger"
STRANGER_NUMBER = 66


def address(number: int, version: int = 4) -> str:
    """The underlay's address of a host."""
    return f"198.18.0.{number}" if version == 4 else f"2001:db8:18::{number}"


@dataclass
class SeveralHosts:
    """Hosts by their names, `h1` and so on. `first` has the underlay, too."""

    by_name: dict[str, ThrowawayHost]

    @property
    def first(self) -> ThrowawayHost:
        return self.by_name["h1"]

    def __getitem__(self, name: str) -> ThrowawayHost:
        return self.by_name[name]

    @classmethod
    @contextmanager
    def started(cls, count: int, backend: str = BACKENDS[0], mtu: int = 1500) -> Iterator[SeveralHosts]:
        with ExitStack() as stack:
            first = stack.enter_context(ThrowawayHost.started(backend=backend))
            others = [
                stack.enter_context(ThrowawayHost.started(backend=backend, beside=first)) for _each in range(count - 1)
            ]
            hosts = cls({f"h{number}": host for number, host in enumerate([first, *others], 1)})
            hosts._join(mtu)
            yield hosts

    def _join(self, mtu: int) -> None:
        first = self.first
        for place in (UNDERLAY, STRANGER):
            first.name_place(place, first.agent.call("new_place"))
        first.run("ip link add lan type bridge mcast_snooping 0; ip link set lan up", UNDERLAY)
        for number, host in enumerate(self.by_name.values(), 1):
            self._plug(host.path("host"), f"h{number}", "eth1", mtu)
            host.run(_addressed("eth1", number))
        self._plug(first.path(STRANGER), "stranger", "eth0", mtu)
        first.run(_addressed("eth0", STRANGER_NUMBER), STRANGER)

    def _plug(self, namespace: str, name: str, interface: str, mtu: int) -> None:
        self.first.run(
            f"ip link add {name} mtu {mtu} type veth peer name {interface} mtu {mtu} netns {namespace}\n"
            f"ip link set {name} master lan up",
            UNDERLAY,
        )

    def words(self, name: str, members: dict[str, Any], network: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The declaration of one host, with the network `app` over all of the members."""
        extension = {"host": name, "members": members, **network.get("x-wharf", {})}
        app = {"driver": "overlay", **network, "x-wharf": extension}
        return {"networks": {"app": app, **more.pop("networks", {})}, **more}


def _addressed(interface: str, number: int) -> str:
    return "\n".join([
        # A link-local address would come a while after the link is up.
        f"sysctl -qw net.ipv6.conf.{interface}.accept_dad=0 net.ipv6.conf.{interface}.addr_gen_mode=1",
        f"ip addr add fe80::{number}/64 dev {interface}",
        f"ip addr add {address(number)}/24 dev {interface}",
        f"ip addr add {address(number, 6)}/64 dev {interface}",
        f"ip link set {interface} up",
    ])  # fmt: skip


SUBNETS = ["10.20.0.0/16", "fd00:20::/48"]
NETWORK: dict[str, Any] = {"enable_ipv6": True, "ipam": {"config": [{"subnet": each} for each in SUBNETS]}}
VNI = 4097
WITH_VNI = {**NETWORK, "driver_opts": {"com.docker.network.driver.overlay.vxlanid_list": str(VNI)}}


def members(count: int, version: int = 4) -> dict[str, Any]:
    return {
        f"h{number}": {"address": address(number, version), "index": number, "names": [f"c{number}"]}
        for number in range(1, count + 1)
    }


def declare(
    hosts: SeveralHosts, network: dict[str, Any] | None = None, version: int = 4, **more: Any
) -> dict[str, Any]:
    """The words of each host, which has one container on the network, and one on a network of its own."""
    others = {"networks": {"other": {"x-wharf": {"dns": False}}}}
    return {
        name: hosts.words(
            name,
            members(len(hosts.by_name), version),
            WITH_VNI if network is None else network,
            **{key: dict(value) for key, value in others.items()},
            containers={f"c{name[1:]}": {"networks": ["app"]}, f"o{name[1:]}": {"networks": ["other"]}},
            **more,
        )
        for name in hosts.by_name
    }


def container_address(number: int, version: int = 4) -> str:
    return f"10.20.{number}.2" if version == 4 else f"fd00:20:0:{number}::2"


def open_to(host: ThrowawayHost, place: str, target: str, expected: bool = True) -> bool:
    return host.probe(place, target, expected).is_open


def resolved(host: ThrowawayHost, place: str, name: str) -> set[str]:
    script = f"import socket; print(*sorted({{each[4][0] for each in socket.getaddrinfo({name!r}, 80)}}))"
    ran = host.run(f"ip netns exec {place} python3 -c '{script.replace(chr(39), chr(34))}' 2>/dev/null || true")
    return set(ran.split())
