# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reaches whom, from the words of a declaration alone: Docker's rules as one would explain them to somebody.

It shares nothing with the engine, on purpose. Of the words it knows what random topologies are made of, and what is
in the topology of the matrix; servers listen at 80 and 81 in each container and outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

HOST, INTERNET = "host", "internet"
FRIEND = "friend"
OTHERS = ("outside", "neighbour", FRIEND)
# Own addresses of the host by which others reach it.
OWN = ("host", "second")
CLOSED = ""

_OPTION = "com.docker.network.bridge."
# The interface by which a friend comes to the host.
_BY_FRIEND = "to-friend"
_LITERALS = {"192.0.2.10": "host", "2001:db8::10": "host"}

Words = Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    name: str
    internal: bool
    ipv6: bool
    icc: bool
    masquerade: bool
    modes: tuple[str, str]
    trusts_friend: bool
    translated: bool
    inhibited: bool

    def has(self, version: int) -> bool:
        return version == 4 or self.ipv6

    def mode(self, version: int) -> str:
        return self.modes[version == 6]

    def has_gateway(self, version: int) -> bool:
        return self.mode(version) != "isolated" and not (self.inhibited and version == 4)


@dataclass(frozen=True)
class Port:
    """`at` is empty where the port is published at all addresses."""

    at: str
    published: int
    target: int
    protocol: str


@dataclass(frozen=True)
class Container:
    name: str
    networks: tuple[str, ...]
    priorities: Mapping[str, int]
    ports: tuple[Port, ...]


class Oracle:
    def __init__(self, words: Words) -> None:
        ipv6 = words.get("host", {}).get("ipv6", False)
        declared = {"bridge": {"enable_ipv6": ipv6}, **words.get("networks", {})}
        self._networks = {name: _network(name, network or {}) for name, network in declared.items()}
        self._shares = {
            name: container["network_mode"].removeprefix("service:")
            for name, container in words.get("containers", {}).items()
            if container.get("network_mode", "none") != "none"
        }
        self._containers = {
            name: _container(name, container)
            for name, container in words.get("containers", {}).items()
            if name not in self._shares
        }

    def reached(self, who: str, to: str, port: int, protocol: str, version: int) -> str:
        """The name of who answers, or `CLOSED`; `port` is 0 with a ping."""
        who = self._shares.get(who, who)
        name, _at, network = to.partition("@")
        if network and name != "gateway":
            return name if self._reaches(who, name, self._networks[network], port, protocol, version) else CLOSED
        if to in (INTERNET, *OTHERS):
            # The host is no router for others.
            gets_there = who not in OTHERS and port in (0, 80, 81) and self._gets_out(who, version)
            return "outside" if gets_there else CLOSED
        if to == "loopback" or to[0] in "1[":
            return self._by_loopback(who, to, port, protocol, version)
        return self._by_the_host(who, to, port, protocol, version)

    def seen_as(self, who: str, to: str, version: int) -> str:
        """By whose address whoever answers knows who asked; empty where the matrix leaves that open."""
        if who in OTHERS:
            return who
        who = self._shares.get(who, who)
        if to != INTERNET or who == HOST:
            return ""
        network = self._gateway(who, version)
        if network is None:
            return ""
        masqueraded = network.masquerade and network.mode(version) in ("nat", "nat-unprotected")
        if masqueraded:
            return "second" if network.translated else HOST
        return f"{who}@{network.name}"

    # A container's own address

    def _reaches(self, who: str, name: str, network: Network, port: int, protocol: str, version: int) -> bool:
        """Whether a container's own address on a network is reached."""
        mode = network.mode(version)
        if who == HOST:
            return network.has_gateway(version)
        if who == name:
            return True
        if who not in OTHERS and network.name in self._containers[who].networks:
            return network.icc
        if network.internal or not self._gets_out(who, version):
            return False
        if mode == "nat-unprotected":
            return True
        if protocol == "ping":
            return mode == "routed"
        open_to_who = mode == "routed" or (who == FRIEND and network.trusts_friend)
        return open_to_who and self._publishes(name, port, protocol)

    def _publishes(self, name: str, target: int, protocol: str) -> bool:
        return any((each.target, each.protocol) == (target, protocol) for each in self._containers[name].ports)

    # An address of the host

    def _by_the_host(self, who: str, to: str, port: int, protocol: str, version: int) -> str:
        network = to.partition("@")[2]
        if who in self._containers and not self._gets_out(who, version):
            return self._by_the_gateway_of_an_internal_network(who, network, port, protocol, version)
        if who in self._containers and network in self._containers[who].networks and self._networks[network].internal:
            return self._by_the_gateway_of_an_internal_network(who, network, port, protocol, version)
        return self._published(to, port, protocol, version) or self._hosts_own(port, protocol)

    def _by_the_gateway_of_an_internal_network(
        self, who: str, network: str, port: int, protocol: str, version: int
    ) -> str:
        """All that is open there of the host's is what is the host's own."""
        is_there = network in self._containers[who].networks and self._networks[network].has_gateway(version)
        return self._hosts_own(port, protocol) if is_there else CLOSED

    def _hosts_own(self, port: int, protocol: str) -> str:
        return HOST if protocol == "ping" or port == 7001 else CLOSED

    def _by_loopback(self, who: str, to: str, port: int, protocol: str, version: int) -> str:
        if who != HOST or version == 6:
            return who if who != HOST and port in (0, 80, 81) else CLOSED
        return self._published(to, port, protocol, version)

    def _published(self, to: str, port: int, protocol: str, version: int) -> str:
        """The container which has published a port that leads from one of the host's addresses to it."""
        for container in self._containers.values():
            network = self._gateway(container.name, version)
            maps = network is not None and network.mode(version) in ("nat", "nat-unprotected")
            for each in container.ports if maps else ():
                if (each.published, each.protocol) == (port, protocol) and _is_at(each.at, to, version):
                    return container.name
        return CLOSED

    # Out

    def _gets_out(self, who: str, version: int) -> bool:
        network = None if who in (HOST, *OTHERS) else self._gateway(who, version)
        return who in (HOST, *OTHERS) or (network is not None and network.has_gateway(version))

    def _gateway(self, who: str, version: int) -> Network | None:
        """The network of a container's default route: never an internal one; by priority, of two families, by name."""
        container = self._containers[who]
        networks = [self._networks[name] for name in container.networks]
        out = [each for each in networks if not each.internal and each.has(version)]
        return min(out, key=lambda each: (-container.priorities[each.name], not each.ipv6, each.name), default=None)


def _is_at(published_at: str, to: str, version: int) -> bool:
    if not published_at:
        return True
    own_version = 6 if ":" in published_at else 4
    return own_version == version and _LITERALS.get(published_at, published_at) == to


def _network(name: str, words: Words) -> Network:
    options = words.get("driver_opts", {})
    return Network(
        name,
        words.get("internal", False),
        words.get("enable_ipv6", False),
        options.get(f"{_OPTION}enable_icc") != "false",
        options.get(f"{_OPTION}enable_ip_masquerade") != "false",
        (options.get(f"{_OPTION}gateway_mode_ipv4", "nat"), options.get(f"{_OPTION}gateway_mode_ipv6", "nat")),
        options.get(f"{_OPTION}trusted_host_interfaces") == _BY_FRIEND,
        "com.docker.network.host_ipv4" in options,
        options.get(f"{_OPTION}inhibit_ipv4") == "true",
    )


def _container(name: str, words: Words) -> Container:
    given = () if "network_mode" in words else words.get("networks", ["bridge"])
    priorities = {each: given[each].get("gw_priority", 0) if isinstance(given, dict) else 0 for each in given}
    return Container(
        name, tuple(given), priorities, tuple(each for port in words.get("ports", ()) for each in _ports(port))
    )


def _ports(text: str) -> Iterator[Port]:
    """`[ADDRESS:]PUBLISHED:TARGET[/PROTOCOL]`, and both of the two may be ranges."""
    mapping, _slash, protocol = text.partition("/")
    rest, _colon, target = mapping.rpartition(":")
    at, _colon, published = rest.rpartition(":")
    for one, other in zip(_range(published), _range(target), strict=True):
        yield Port(at.strip("[]"), one, other, protocol or "tcp")


def _range(text: str) -> range:
    first, _dash, last = text.partition("-")
    return range(int(first), int(last or first) + 1)
