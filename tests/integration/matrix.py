# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conformance matrix: a topology, a table of who reaches whom in it, and what probes the whole table at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hosts import ADDRESSES, ThrowawayHost
from probes import Probe

OPEN_TO_ALL, LOCAL_ONLY = 7001, 7000
# The port that spoofed datagrams come from.
SPOOFED_FROM = 4242

_PLAIN = {"enable_ipv6": True}
_PORTS = ["8080:80", "8080:80/udp", "127.0.0.1:9000:80", "127.0.0.1:9000:80/udp"]
_PORTS += ["192.0.2.10:8081:80", "192.0.2.10:8081:80/udp", "[2001:db8::10]:8081:80", "[2001:db8::10]:8081:80/udp"]
_PORTS += ["7100-7101:80-81", "7100-7101:80-81/udp"]


def _network(internal: bool = False, **options: str) -> dict[str, Any]:
    """A network of both families, with options of the bridge driver."""
    driver_opts = {f"com.docker.network.{_LONG.get(key, f'bridge.{key}')}": value for key, value in options.items()}
    return {"enable_ipv6": True, "internal": internal, "driver_opts": driver_opts}


_LONG = {"host_ipv4": "host_ipv4", "host_ipv6": "host_ipv6"}


def _in_mode(mode: str, internal: bool = False, **options: str) -> dict[str, Any]:
    return _network(internal, gateway_mode_ipv4=mode, gateway_mode_ipv6=mode, **options)


WORDS = {
    "host": {"ipv6": True},
    "networks": {
        "front": _PLAIN,
        "back": _PLAIN,
        "vault": {**_PLAIN, "internal": True},
        "lonely": _network(enable_icc="false"),
        "routed": _network(enable_ip_masquerade="false"),
        "bare": _in_mode("nat-unprotected"),
        "direct": _in_mode("routed"),
        "stern": _in_mode("routed", enable_icc="false"),
        "half": _network(gateway_mode_ipv6="routed"),
        "cell": _in_mode("isolated", internal=True),
        "friends": _network(trusted_host_interfaces="to-friend"),
        "veiled": _network(host_ipv4=ADDRESSES["second"][0], host_ipv6=ADDRESSES["second"][1]),
        "adrift": _network(inhibit_ipv4="true"),
    },
    "containers": {
        "tool": {"ports": ["8090:80", "8090:80/udp"]},
        "tool2": {},
        "web": {"networks": ["front"], "ports": _PORTS},
        "peer": {"networks": ["front"]},
        "app": {"networks": ["back"], "ports": ["8083:80", "8083:80/udp"]},
        "many": {"networks": ["front", "back", "vault"], "ports": ["8084:80", "8084:80/udp"]},
        "safe": {"networks": ["vault"]},
        "safe2": {"networks": ["vault"]},
        "lone": {"networks": ["lonely"], "ports": ["8085:80", "8085:80/udp"]},
        "lone2": {"networks": ["lonely"]},
        "naked": {"networks": ["routed"], "ports": ["8086:80", "8086:80/udp"]},
        "naked2": {"networks": ["routed"]},
        "bob": {"networks": ["bare"], "ports": ["8087:80", "8087:80/udp"]},
        "ray": {"networks": ["direct"], "ports": ["8088:80", "8088:80/udp"]},
        "ray2": {"networks": ["direct"]},
        "two": {"networks": {"front": {"gw_priority": 1}, "direct": {}}, "ports": ["8093:80", "8093:80/udp"]},
        "grim": {"networks": ["stern"], "ports": ["8094:80", "8094:80/udp"]},
        "grim2": {"networks": ["stern"]},
        "semi": {"networks": ["half"], "ports": ["8092:80", "8092:80/udp"]},
        "mute": {"networks": ["cell"]},
        "mute2": {"networks": ["cell"]},
        "pal": {"networks": ["friends"], "ports": ["8089:80", "8089:80/udp"]},
        "veil": {"networks": ["veiled"], "ports": ["8091:80", "8091:80/udp"]},
        "loose": {"networks": ["adrift"]},
        "loose2": {"networks": ["adrift"]},
        "mon": {"network_mode": "host"},
        "job": {"network_mode": "none"},
        "side": {"network_mode": "service:web"},
    },
}


def without(words: Mapping[str, Any], options: frozenset[str]) -> dict[str, Any]:
    """The words less the networks that have one of these options, and the containers on these networks."""
    networks = {
        name: each for name, each in words["networks"].items() if not options & each.get("driver_opts", {}).keys()
    }
    containers = {
        name: container
        for name, container in words["containers"].items()
        if all(network in networks or network == "bridge" for network in container.get("networks", ()))
    }
    return {**words, "networks": networks, "containers": containers}


def rows_about(words: Mapping[str, Any]) -> list[Row]:
    """Those rows of the matrix that speak of nothing which is not there."""
    absent = {name for kind in ("networks", "containers") for name in WORDS[kind].keys() - words[kind].keys()}
    return [row for row in ROWS if not row.names & absent]


# `NAME` is an address of the host or of others on the LAN, `NAME@NETWORK` a container's or (`gateway@…`) a
# bridge's. In the last column stands who answers and, after `seeing`, whom that one takes the client for.
MATRIX = """
# who        to                     by            reaches

# The same network: everything is open
tool         tool2@bridge:80        tcp udp ping  tool2 seeing tool@bridge
web          peer@front:80          tcp udp ping  peer seeing web@front
web          peer@front:81          tcp udp       peer seeing web@front
many         peer@front:80          tcp udp ping  peer seeing many@front
many         app@back:80            tcp udp ping  app seeing many@back
safe         safe2@vault:80         tcp udp ping  safe2 seeing safe@vault
safe         many@vault:80          tcp udp ping  many seeing safe@vault
naked        naked2@routed:80       tcp udp ping  naked2 seeing naked@routed
side         peer@front:80          tcp udp ping  peer seeing web@front

# ... unless enable_icc is false, and then only the published ports are, by the host
lone         lone2@lonely:80        tcp udp ping  closed
lone2        lone@lonely:80         tcp udp ping  closed
lone2        gateway@lonely:8085    tcp udp       lone
lone2        host:8085              tcp udp       lone
lone2        gateway@lonely:80      tcp udp       closed
lone         gateway@lonely:8085    tcp udp       lone seeing gateway@lonely
lone2        host:8080              tcp udp       web
lone2        internet:80            tcp udp ping  outside seeing host

# Other networks: closed
tool         web@front:80           tcp udp ping  closed
web          tool@bridge:80         tcp udp ping  closed
web          app@back:80            tcp udp ping  closed
app          web@front:80           tcp udp ping  closed
app          peer@front:81          tcp udp ping  closed
peer         lone@lonely:80         tcp udp ping  closed
lone         peer@front:80          tcp udp ping  closed
naked        web@front:80           tcp udp ping  closed
web          naked@routed:80        tcp udp ping  closed
web          safe@vault:80          tcp udp ping  closed
app          many@front:80          tcp udp ping  closed
tool         many@vault:80          tcp udp ping  closed

# Published ports, by every own address of the host: other networks, one's own, oneself (hairpin)
app          host:8080              tcp udp       web
app          second:8080            tcp udp       web
app          gateway@back:8080      tcp udp       web
app          gateway@front:8080     tcp udp       web
app          gateway@bridge:8080    tcp udp       web
app          gateway@vault:8080     tcp udp       web
tool         host:8080              tcp udp       web
tool         host:7100              tcp udp       web
tool         host:7101              tcp udp       web
web          host:8090              tcp udp       tool
naked        host:8080              tcp udp       web
naked        gateway@front:8080     tcp udp       web
web          host:8086              tcp udp       naked
peer         host:8080              tcp udp       web seeing gateway@front
peer         gateway@front:8080     tcp udp       web seeing gateway@front
tool2        gateway@bridge:8090    tcp udp       tool seeing gateway@bridge
naked2       host:8086              tcp udp       naked
web          host:8080              tcp udp       web seeing gateway@front
web          gateway@front:8080     tcp udp       web seeing gateway@front
tool         host:8090              tcp udp       tool seeing gateway@bridge
naked        host:8086              tcp udp       naked
many         host:8084              tcp udp       many
peer         host:8084              tcp udp       many
app          host:8084              tcp udp       many
side         host:8080              tcp udp       web
mon          host:8080              tcp udp       web

# ... at the addresses that they are published at, and nowhere else
app          host:8081              tcp udp       web
app          second:8081            tcp udp       closed
app          gateway@back:8081      tcp udp       closed
app          gateway@back:9000      tcp udp       closed
app          host:9000              tcp udp       closed
peer         gateway@front:9000     tcp udp       closed
web          gateway@front:9000     tcp udp       closed
app          host:7102              tcp udp       closed
app          host:80                tcp udp       closed

# Outside: by the host's address, unless enable_ip_masquerade is false
tool         internet:80            tcp udp ping  outside seeing host
web          internet:80            tcp udp ping  outside seeing host
web          outside:80             tcp udp ping  outside seeing host
many         internet:80            tcp udp ping  outside seeing host
side         internet:80            tcp udp ping  outside seeing host
naked        internet:80            tcp udp ping  outside seeing naked@routed
naked2       outside:80             tcp udp ping  outside seeing naked2@routed
mon          internet:80            tcp udp ping  outside seeing host

# Internal: the host and the same network, and nothing else
safe         internet:80            tcp udp ping  unreachable
safe         web@front:80           tcp udp ping  unreachable
safe         host:8080              tcp udp       unreachable
safe         gateway@front:8080     tcp udp       unreachable
safe         gateway@vault:8080     tcp udp       closed
safe         gateway@vault:7001     tcp udp ping  host seeing safe@vault
job          internet:80            tcp udp ping  unreachable
job          web@front:80           tcp udp ping  unreachable
job          loopback:80            tcp udp ping  job

# The host reaches its containers
host         web@front:80           tcp udp ping  web
host         peer@front:81          tcp udp ping  peer
host         safe@vault:80          tcp udp ping  safe
host         lone@lonely:81         tcp udp ping  lone
host         naked@routed:80        tcp udp ping  naked
host         host:8080              tcp udp       web
host         second:8080            tcp udp       web
host         gateway@front:8080     tcp udp       web
host         gateway@vault:8080     tcp udp       web
host         host:8085              tcp udp       lone
host         host:7101              tcp udp       web
host         host:8081              tcp udp       web
host         second:8081            tcp udp       closed
host         host:9000              tcp udp       closed
host         internet:80            tcp udp ping  outside seeing host

# ... by its loopback too, but for [::1], which the kernel cannot translate
host         127.0.0.1:8080         tcp udp       web seeing gateway@front
host         127.0.0.2:8080         tcp udp       web seeing gateway@front
host         127.0.0.1:8085         tcp udp       lone
host         127.0.0.1:8090         tcp udp       tool
host         127.0.0.1:9000         tcp udp       web seeing gateway@front
host         127.0.0.2:9000         tcp udp       closed
mon          127.0.0.1:9000         tcp udp       web
host         [::1]:8080             tcp udp       closed
host         127.0.0.1:8081         tcp udp       closed

# Another host: published ports, seen as itself
outside      host:8080              tcp udp       web seeing outside
outside      second:8080            tcp udp       web seeing outside
outside      host:7101              tcp udp       web seeing outside
outside      host:8081              tcp udp       web seeing outside
outside      host:8083              tcp udp       app seeing outside
outside      host:8084              tcp udp       many seeing outside
outside      host:8085              tcp udp       lone seeing outside
outside      host:8086              tcp udp       naked seeing outside
outside      host:8090              tcp udp       tool seeing outside
outside      host:7001              tcp udp ping  host seeing outside
outside      second:8081            tcp udp       closed
outside      host:9000              tcp udp       closed
outside      host:80                tcp udp       closed
outside      host:81                tcp udp       closed
outside      host:7102              tcp udp       closed
outside      host:7000              tcp udp       closed

# ... and no container directly, although it has routes there
outside      web@front:80           tcp udp ping  closed
outside      web@front:8080         tcp udp       closed
outside      peer@front:81          tcp udp ping  closed
outside      tool@bridge:80         tcp udp ping  closed
outside      safe@vault:80          tcp udp ping  closed
outside      lone@lonely:80         tcp udp ping  closed
outside      naked@routed:80        tcp udp ping  closed
outside      naked@routed:81        tcp udp ping  closed

# Gateway mode nat-unprotected: every port is open to everybody
web          bob@bare:80            tcp udp ping  bob seeing gateway@bare
web          bob@bare:81            tcp udp       bob seeing gateway@bare
naked        bob@bare:80            tcp udp ping  bob seeing naked@routed
outside      bob@bare:80            tcp udp ping  bob seeing outside
outside      bob@bare:81            tcp udp       bob seeing outside
outside      host:8087              tcp udp       bob seeing outside
app          host:8087              tcp udp       bob
host         bob@bare:81            tcp udp ping  bob
host         127.0.0.1:8087         tcp udp       bob seeing gateway@bare
bob          host:8087              tcp udp       bob seeing gateway@bare
bob          internet:80            tcp udp ping  outside seeing host
bob          web@front:80           tcp udp ping  closed
safe         bob@bare:80            tcp udp ping  unreachable
safe2        bob@bare:80            tcp udp ping  closed

# Gateway mode routed: published ports are open at the container's own address, and the host has none
web          ray@direct:80          tcp udp ping  ray seeing gateway@direct
web          ray@direct:81          tcp udp       closed
web          ray2@direct:80         tcp udp       closed
web          ray2@direct:80         ping          ray2
outside      ray@direct:80          tcp udp ping  ray seeing outside
outside      ray@direct:81          tcp udp       closed
outside      ray@direct:8088        tcp udp       closed
outside      ray2@direct:80         tcp udp       closed
outside      ray2@direct:80         ping          ray2
outside      host:8088              tcp udp       closed
app          host:8088              tcp udp       closed
ray2         host:8088              tcp udp       closed
host         host:8088              tcp udp       closed
host         127.0.0.1:8088         tcp udp       closed
host         ray@direct:81          tcp udp ping  ray
ray          ray2@direct:81         tcp udp ping  ray2 seeing ray@direct
ray          internet:80            tcp udp ping  outside seeing ray@direct
ray          host:8080              tcp udp       web
ray          web@front:80           tcp udp ping  closed
safe2        ray@direct:80          tcp udp ping  closed

# ... also where the container's default route is by another network
outside      two@direct:80          tcp udp ping  two seeing outside
outside      two@direct:81          tcp udp       closed
outside      two@front:80           tcp udp ping  closed
outside      host:8093              tcp udp       two seeing outside
two          internet:80            tcp udp ping  outside seeing host

# ... in one family, and with enable_icc false
outside      semi@half:80           tcp udp ping  v4 closed
outside      semi@half:80           tcp udp ping  v6 semi seeing outside
outside      host:8092              tcp udp       v4 semi seeing outside
outside      host:8092              tcp udp       v6 closed
semi         internet:80            tcp udp ping  v4 outside seeing host
semi         internet:80            tcp udp ping  v6 outside seeing semi@half
outside      grim@stern:80          tcp udp ping  grim seeing outside
grim         grim2@stern:80         tcp udp ping  closed

# Gateway mode isolated: the same network, and not even the host
mute         mute2@cell:80          tcp udp ping  mute2 seeing mute@cell
mute         gateway@cell:7001      tcp udp ping  closed
mute         host:7001              tcp udp ping  unreachable
mute         internet:80            tcp udp ping  unreachable
mute         bob@bare:80            tcp udp ping  unreachable
host         mute@cell:80           tcp udp ping  closed
web          mute@cell:80           tcp udp ping  closed
outside      mute@cell:80           tcp udp ping  closed

# trusted_host_interfaces: from there the published ports are open at the container's own address, too
friend       pal@friends:80         tcp udp       pal seeing friend
friend       pal@friends:80         ping          closed
friend       pal@friends:81         tcp udp       closed
friend       host:8089              tcp udp       pal seeing friend
friend       web@front:80           tcp udp ping  closed
friend       ray@direct:80          tcp udp ping  ray seeing friend
friend       internet:80            tcp udp ping  closed
outside      pal@friends:80         tcp udp ping  closed
web          pal@friends:80         tcp udp ping  closed

# host_ipv4 and host_ipv6: what leaves the network has that address, and so has what the host sends there
veil         internet:80            tcp udp ping  outside seeing second
veil         host:8080              tcp udp       web seeing second
veil         host:8091              tcp udp       veil seeing gateway@veiled
host         veil@veiled:80         tcp udp ping  veil seeing second
host         host:8091              tcp udp       veil seeing second
host         127.0.0.1:8091         tcp udp       veil seeing second
outside      host:8091              tcp udp       veil seeing outside
outside      veil@veiled:80         tcp udp ping  closed

# inhibit_ipv4: the bridge has no IPv4 address
loose        loose2@adrift:80       tcp udp ping  loose2 seeing loose@adrift
loose        gateway@adrift:7001    tcp udp ping  v4 closed
loose        gateway@adrift:7001    tcp udp ping  v6 host
loose        internet:80            tcp udp ping  v4 closed
loose        internet:80            tcp udp ping  v6 outside seeing host
host         loose@adrift:80        tcp udp ping  v4 closed
host         loose@adrift:80        tcp udp ping  v6 loose
outside      loose@adrift:80        tcp udp ping  closed

# A hostile neighbour; by spoofed routes it sends its loopback's addresses to the host
neighbour    127.0.0.1:7000         tcp udp ping  closed
neighbour    127.0.0.1:9000         tcp udp       closed
neighbour    127.0.0.1:8080         tcp udp       closed
neighbour    127.0.0.2:8080         tcp udp       closed
neighbour    web@front:80           tcp udp ping  closed
neighbour    naked@routed:80        tcp udp ping  closed
neighbour    safe@vault:80          tcp udp ping  closed
neighbour    gateway@front:9000     tcp udp       closed
neighbour    internet:80            tcp udp ping  closed
neighbour    host:8080              tcp udp       web seeing neighbour

# Hostile containers: peer and naked2 send their loopback's addresses to the host, lone2 asks the gateway
# to forward to its peers, as grim2 does, safe2 has given itself a default route, mute2 one that needs no gateway
peer         127.0.0.1:7000         tcp udp ping  closed
peer         127.0.0.1:9000         tcp udp       closed
peer         127.0.0.1:8080         tcp udp       closed
naked2       127.0.0.1:7000         tcp udp ping  closed
naked2       127.0.0.1:9000         tcp udp       closed
lone2        lone@lonely:81         tcp udp       closed
grim2        grim@stern:80          tcp udp ping  closed
grim2        grim@stern:81          tcp udp       closed
mute2        host:7001              tcp udp ping  closed
mute2        internet:80            tcp udp ping  closed
mute2        bob@bare:80            tcp udp ping  closed
safe2        internet:80            tcp udp ping  closed
safe2        outside:80             tcp udp ping  closed
safe2        web@front:80           tcp udp ping  closed
safe2        host:8080              tcp udp       closed
safe2        gateway@vault:8080     tcp udp       closed
safe2        gateway@front:8080     tcp udp       closed

# Machines on a bridge of the host that is none of ours
guest        198.51.100.2:80        tcp udp ping  guest2 seeing 198.51.100.1
guest        [2001:db8:51::2]:80    tcp udp ping  guest2 seeing 2001:db8:51::1
"""

HOSTILE = {
    "neighbour": "ip route add {internet4} via {host4}; ip -6 route add {internet6} via {host6}",
    "peer": "",
    "naked2": "",
    "lone2": "ip route add {lone4} via {gateway4}; ip -6 route add {lone6} via {gateway6}",
    "grim2": "ip route add {grim4} via {gateway4}; ip -6 route add {grim6} via {gateway6}",
    "mute2": "ip route add default dev eth0; ip -6 route add default dev eth0",
    "safe2": "ip route add default via {gateway4}; ip -6 route add default via {gateway6}",
}

_NETWORK_OF_HOSTILE = {"lone2": "lonely", "grim2": "stern", "safe2": "vault", "peer": "front", "naked2": "routed"}

LOOPBACK_BY_HOST = """
sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.eth0.route_localnet=1
ip addr del 127.0.0.1/8 dev lo
ip route add 127.0.0.0/8 via {}
"""

FRIEND = """
ip netns add friend
ip link add to-friend type veth peer name eth0 netns friend
ip link set to-friend up; ip addr add 198.51.100.129/25 dev to-friend; ip addr add 2001:db8:f::1/64 dev to-friend nodad
"""
BY_HOST = """
ip link set lo up; ip link set eth0 up
ip addr add {}/25 dev eth0; ip addr add {}/64 dev eth0 nodad
ip route add default via 198.51.100.129; ip -6 route add default via 2001:db8:f::1
"""

FOREIGN_BRIDGE = """
ip link add br-guests type bridge mcast_snooping 0
ip link set br-guests up
for each in guest guest2; do
    ip link add $each type veth peer name eth0 netns $each
    ip link set $each master br-guests up
done
"""


@dataclass(frozen=True)
class Row:
    """One line of the matrix, by one protocol, in one family. `by` is empty where nobody is reached."""

    who: str
    target: str
    protocol: str
    version: int
    by: str = ""
    sees: str = ""
    unreachable: bool = False

    def __str__(self) -> str:
        return f"{self.who} > {self.target} {self.protocol} v{self.version}"

    @property
    def outcome(self) -> str:
        """Who answers, and whom that one sees; or that nobody does. The table's last column says it."""
        if not self.by:
            return "unreachable" if self.unreachable else "closed"
        return f"{self.by} seeing {self.sees}" if self.sees else self.by

    @property
    def names(self) -> set[str]:
        """All that must be there for the row to mean something."""
        return {
            name for word in (self.who, self.target.rpartition(":")[0], self.by, self.sees) for name in word.split("@")
        }

    def agrees(self, cell: str) -> bool:
        """Whether what has come of the probe is what the table says."""
        if not self.by:
            return cell == "unreachable" or (cell == "closed" and not self.unreachable)
        if self.protocol == "ping":
            return cell == "open"
        by, _seeing, sees = cell.partition(" seeing ")
        return by == self.by and self.sees in ("", sees)


def parse(table: str) -> Iterator[Row]:
    for line in table.splitlines():
        words = line.split()
        if not words or words[0] == "#":
            continue
        protocols = [word for word in words[2:] if word in ("tcp", "udp", "ping")]
        families = [word for word in words[2:] if word in ("v4", "v6")]
        outcome = words[2 + len(protocols) + len(families) :]
        for version in [int(family[1]) for family in families] or _versions(words[1]):
            for protocol in protocols:
                yield _row(words[0], words[1], protocol, version, outcome)


def _versions(target: str) -> tuple[int, ...]:
    if target.startswith("["):
        return (6,)
    return (4,) if target[0].isdigit() else (4, 6)


def _row(who: str, target: str, protocol: str, version: int, outcome: list[str]) -> Row:
    if outcome == ["closed"]:
        return Row(who, target, protocol, version)
    if outcome == ["unreachable"]:
        return Row(who, target, protocol, version, unreachable=True)
    return Row(who, target, protocol, version, outcome[0], outcome[2] if len(outcome) > 1 else "")


ROWS = list(parse(MATRIX))


@dataclass(frozen=True)
class Addresses:
    """What the names in the table stand for, by name and family."""

    by_name: Mapping[tuple[str, int], str]

    @classmethod
    def allotted(cls, host: ThrowawayHost) -> Addresses:
        """Those of a host which the engine has made."""
        allotted = host.ledger()["allotted"]
        by_name: dict[tuple[str, int], str] = {}
        for network, pools in allotted["networks"].items():
            for gateway in pools.values():
                first, second = (f"gateway@{network}", _version(gateway)), (f"gateway2@{network}", _version(gateway))
                by_name[second if first in by_name else first] = gateway
        for endpoint, has in allotted["endpoints"].items():
            container, _slash, network = endpoint.partition("/")
            addresses = [has[key] for key in ("ipv4", "ipv6") if has.get(key)]
            by_name |= {(f"{container}@{network}", _version(address)): address for address in addresses}
        return cls(by_name)

    def of(self, name: str, version: int) -> str:
        if name.startswith("[") or name[0].isdigit():
            return name.strip("[]")
        return self.by_name[name, version] if "@" in name else ADDRESSES[name][version == 6]

    def name(self, address: str) -> str:
        """The name of whoever has an address, or the address itself."""
        known = {**{each: name for name, both in ADDRESSES.items() for each in both}, **self._names}
        return known.get(address, address)

    @cached_property
    def _names(self) -> dict[str, str]:
        return {address: name for (name, _version), address in self.by_name.items()}


def _version(address: str) -> int:
    return 6 if ":" in address else 4


class Prober:
    """All rows of the matrix, probed at once on a host on which the topology stands."""

    def __init__(
        self,
        host: ThrowawayHost,
        addresses: Addresses,
        rows: Sequence[Row] = (),
        words: Mapping[str, Any] | None = None,
    ) -> None:
        rows, words = rows or ROWS, words or WORDS
        self._host = host
        self._addresses = addresses
        self.places = {*words["containers"], *ADDRESSES}
        self._serve(words["containers"])
        self._turn_hostile(words["containers"])
        answers = host.agent.probe_patiently([self._probe(row) for row in rows], [bool(row.by) for row in rows])
        self._rows = rows
        self.answers = {
            str(row): replace(answer, sees=addresses.name(answer.sees))
            for row, answer in zip(rows, answers, strict=True)
        }

    def _serve(self, containers: Mapping[str, Any]) -> None:
        own_stack = [name for name, words in containers.items() if words.get("network_mode", "none") == "none"]
        for name in [*own_stack, "outside"]:
            self._host.serve(name, "80/tcp", "81/tcp", "80/udp", "81/udp")
        self._host.serve("host", f"{OPEN_TO_ALL}/tcp", f"{OPEN_TO_ALL}/udp")
        for loopback in ("127.0.0.1", "[::1]"):
            self._host.serve("host", f"{loopback}:{LOCAL_ONLY}/tcp", f"{loopback}:{LOCAL_ONLY}/udp")

    def _turn_hostile(self, containers: Mapping[str, Any]) -> None:
        addresses = {f"{name}{v}": self.address(name, v) for name in ("internet", "host") for v in (4, 6)}
        for name, at in (("lone", "lone@lonely"), ("grim", "grim@stern")):
            addresses |= {f"{name}{v}": self.address(at, v) for v in (4, 6) if name in containers}
        for name in [each for each in HOSTILE if each in {*containers, "neighbour"}]:
            network = _NETWORK_OF_HOSTILE.get(name)
            gateways = {f"gateway{v}": self.address(f"gateway@{network}", v) for v in (4, 6) if network}
            self._host.run(HOSTILE[name].format(**addresses, **gateways), place=name)
            if name in ("peer", "naked2", "neighbour"):
                self._host.run(LOOPBACK_BY_HOST.format(gateways.get("gateway4", addresses["host4"])), place=name)

    def _probe(self, row: Row) -> Probe:
        where, _colon, port = row.target.rpartition(":")
        address = self.address(where, row.version)
        return Probe(self._host.path(row.who), row.protocol, address, 0 if row.protocol == "ping" else int(port))

    def cell(self, row: Row) -> str:
        """What has come of a probe, as the table would say it."""
        answer = self.answers[str(row)]
        if not answer.is_open:
            return "unreachable" if answer.why == "Network is unreachable" else "closed"
        if row.protocol == "ping":
            return "open"
        return f"{answer.by} seeing {answer.sees}"

    def disagreements(self) -> list[str]:
        """The rows of which something else has come than the table says; where it is closed, nothing may arrive."""
        return [
            f"{row}: {answer}, instead of {row.outcome}"
            for row, answer in zip(self._rows, self.answers.values(), strict=True)
            if not row.agrees(self.cell(row)) or (answer.heard_by and not row.by)
        ]

    def send_spoofed(self, who: str, source: str, target: str, port: int, text: str, version: int = 4) -> None:
        self._host.agent.call(
            "send_spoofed", place=self._host.path(who), text=text,
            source=self.address(source, version), destination=self.address(target, version), port=port,
        )  # fmt: skip

    def begin_flow(self, who: str, target: str, port: int, version: int) -> bool:
        """By a datagram from the port that spoofed ones come from, too."""
        probe = Probe(self._host.path(who), "udp", self.address(target, version), port, source_port=SPOOFED_FROM)
        return self._host.agent.probe([probe])[0].is_open

    def heard(self, text: str) -> list[str]:
        """What has come to the UDP servers with this text."""
        self._host.agent.probe([self._probe(ROWS[0])], 0.1)
        return [line for line in self._host.agent.call("heard") if text in line]

    def address(self, name: str, version: int) -> str:
        return self._addresses.of(name, version)


def add_guests(host: ThrowawayHost) -> None:
    """Two machines on a bridge that is not ours, and a host behind an interface of its own."""
    _add_machines(host)
    host.run(FRIEND)
    host.run(BY_HOST.format(*ADDRESSES["friend"]), place="friend")
    _await_link(host, "to-friend")


def _add_machines(host: ThrowawayHost) -> None:
    host.run("ip netns add guest; ip netns add guest2")
    host.run(FOREIGN_BRIDGE)
    for number, name in enumerate(("guest", "guest2"), 1):
        host.run(
            f"ip link set lo up; ip link set eth0 up; ip addr add 198.51.100.{number}/24 dev eth0;"
            f"ip addr add 2001:db8:51::{number}/64 dev eth0 nodad",
            place=name,
        )
        host.serve(name, "80/tcp", "80/udp")
        _await_link(host, name)


def _await_link(host: ThrowawayHost, name: str) -> None:
    """What comes by itself once a link is up must be there before anybody remembers how it was."""
    host.run(f"until ip link show {name} | grep -q LOWER_UP; do sleep 0.05; done")
    host.run(f"until ip -6 addr show {name} scope link | grep -q inet6; do sleep 0.05; done")
