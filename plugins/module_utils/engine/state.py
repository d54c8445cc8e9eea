# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host holds, as values: the same words for what is desired and for what is there.

Every object has a `kind` and a `name`, which together are its `key`. Two objects of one key that are equal need no
change. `place`, where an object that is desired has one, is where it is declared, for messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

DEFAULT_NETWORK = "bridge"

# Who else runs containers: the Docker Engine, Podman, systemd-nspawn.
DOCKER, PODMAN, MACHINE = "docker", "podman", "machine"
RUNTIMES = (DOCKER, PODMAN, MACHINE)

Key = Tuple[str, str]


@dataclass(frozen=True)
class Object:
    """Anything that can be declared on a host, compared with what is there, and changed."""

    name: str

    @property
    def kind(self) -> str:
        return type(self).__name__.lower()

    @property
    def key(self) -> Key:
        return self.kind, self.name

    @property
    def is_whole(self) -> bool:
        """Whether it could be made from what is known of it."""
        return True


@dataclass(frozen=True)
class Sysctl(Object):
    """A kernel parameter. `name` is dotted, and a slash stands for a dot within an interface's name."""

    value: str


@dataclass(frozen=True)
class File(Object):
    """A whole file; `name` is its path.

    `in_place`: the file may be bind-mounted into a container, which holds its inode, so it is
    rewritten and never renamed over. `places` are pairs of a line and where it is declared, for messages.
    """

    content: str
    in_place: bool = field(default=False, compare=False)
    places: Tuple[Tuple[str, str], ...] = field(default=(), compare=False)


class Digest(NamedTuple):
    """Of the content of a file as it was written, and when its container had started; empty for files of the host."""

    content: str
    started: str = ""


@dataclass(frozen=True)
class ContainerFile(Object):
    """A file in a container that somebody else runs; `name` is `SANDBOX:/etc/FILE`, as in `docker:web:/etc/hosts`."""

    content: str

    @property
    def kind(self) -> str:
        return "container_file"

    @property
    def place(self) -> Tuple[str, str]:
        """The sandbox, and the path in the container."""
        sandbox, _colon, path = self.name.rpartition(":")
        return sandbox, path


@dataclass(frozen=True)
class Bridge(Object):
    """A network's bridge; `name` is the interface, marked in its `ifalias` as `wharf:NETWORK`.

    `mtu` is in bytes. `addresses` are the gateway's, as `ADDRESS/PREFIX`, sorted. `sysctls` are
    parameters below `net.ipv4.conf.BRIDGE` and `net.ipv6.conf.BRIDGE`, as `ipv6.accept_ra`.
    `filtered`: bridged frames pass the IP rules too, whatever `bridge-nf-call-iptables` says
    for all bridges of the host.
    """

    network: str
    mtu: int
    mac: str
    addresses: Tuple[str, ...]
    filtered: bool = False
    stp: bool = False
    forward_delay: int = 0
    up: bool = True
    sysctls: Tuple[Tuple[str, str], ...] = ()
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class Sandbox(Object):
    """The network stack of a container; `name` is `netns:NAME`, `pid:N` or `path:/run/…`.

    `of` is empty for a stack of its own, `host` for a name bound to the host's stack, or the name of
    the sandbox it shares. `sysctls` are the container's `net.*` parameters.
    """

    container: str
    of: str = ""
    loopback_up: bool = True
    sysctls: Tuple[Tuple[str, str], ...] = ()
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class Route:
    """A route inside a sandbox. `destination` is a prefix; the default route is `0.0.0.0/0` or `::/0`.

    `gateway` is empty for a network that the interface itself is on. What is declared has no `details`: these tell
    another route to the same destination from it, as `metric 5`.
    """

    destination: str
    gateway: str = ""
    details: Tuple[str, ...] = ()

    def __str__(self) -> str:
        by = f"via {self.gateway}" if self.gateway else "by the interface itself"
        return " ".join([self.destination, by, *self.details])


@dataclass(frozen=True)
class Port:
    """A port of a bridge; none where `bridge` is empty.

    `hairpin`: it may send a frame back to where it came from. `isolated`: it exchanges frames with the host only, not
    with other isolated ports. Neither lasts longer than the port does, so that all of it is one.
    """

    bridge: str
    hairpin: bool = False
    isolated: bool = False

    def __str__(self) -> str:
        told = {"hairpin": self.hairpin, "isolated": self.isolated}
        return ", ".join([self.bridge or "none", *(name for name, is_so in told.items() if is_so)])


@dataclass(frozen=True)
class Endpoint(Object):
    """A container's place on a network; `name` is `CONTAINER/NETWORK`.

    `host_interface` (marked `wharf:CONTAINER/NETWORK`) is the `port` of a bridge, its peer is `interface`
    in `sandbox`. `addresses` are those of `interface`, as `ADDRESS/PREFIX`, sorted; a link-local IPv6
    address that the kernel made is none of them. `mtu`, in bytes, holds at both ends.
    """

    sandbox: str
    interface: str
    host_interface: str
    port: Port
    mtu: int
    mac: str
    addresses: Tuple[str, ...]
    routes: Tuple[Route, ...] = ()
    ipv6: bool = False
    sysctls: Tuple[Tuple[str, str], ...] = ()
    place: str = field(default="", compare=False)

    @property
    def is_whole(self) -> bool:
        return bool(self.sandbox and self.interface)


@dataclass(frozen=True)
class Chain(Object):
    """A chain of our nftables table: its hook line, if any, and its rules, as nft writes them."""

    rules: Tuple[str, ...]


@dataclass(frozen=True)
class ElementSet(Object):
    """A set or map of our nftables table, without its elements: those belong to networks and containers."""

    declaration: Tuple[str, ...]

    @property
    def kind(self) -> str:
        return "set"


@dataclass(frozen=True)
class Rules(Object):
    """The elements that one network or container has in our sets and maps.

    `name` is `network NAME` or `container NAME`, which is also each element's comment in the kernel.
    An element is its set's name and its text: `("published4", "tcp . 8080 : 172.17.0.2 . 80")`.
    """

    elements: Tuple[Tuple[str, str], ...]


@dataclass(frozen=True)
class IptablesChain(Object):
    """A chain of ours in a table of iptables; `name` is `FAMILY TABLE CHAIN`, as `ip filter DOCKER`.

    `rules` are those that belong to no network or container, as iptables-save writes them after the chain's name. They
    stand before all others.
    """

    rules: Tuple[str, ...]

    @property
    def kind(self) -> str:
        return "iptables_chain"


@dataclass(frozen=True)
class IptablesHook(Object):
    """Our marked jumps in a chain that iptables has by itself, or in DOCKER-USER; `name` is `ip filter FORWARD`, say.

    `first` stand before all other rules of that chain, `last` behind them, or else they are not `in_place`.
    """

    first: Tuple[str, ...]
    last: Tuple[str, ...] = ()
    in_place: bool = True

    @property
    def kind(self) -> str:
        return "iptables_hook"


@dataclass(frozen=True)
class IptablesRules(Rules):
    """The same as `Rules`, with iptables: an element is its chain's name and its text without the comment.

    `name` may also be `groups`: these rules lead to the chains that published ports and their targets are grouped in.
    """

    @property
    def kind(self) -> str:
        return "iptables_rules"


@dataclass(frozen=True)
class ThirdPartyAccept(Object):
    """Rules that let our packets through where somebody else's iptables would drop them.

    `name` is `FORWARD`, for what leads to them, `network NAME`, or `bridges of others`, for what is left to those. Each
    rule is the name of its kind of iptables, as `ip6tables-nft`, and its text.
    """

    rules: Tuple[Tuple[str, str], ...]

    @property
    def kind(self) -> str:
        return "accept"


@dataclass(frozen=True)
class Firewalld(Object):
    """A setting of firewalld: `name` is `zone NAME`, `policy NAME` or `interface NAME`.

    Of a zone and a policy there are the permanent settings, of an interface the zone that it is in now (`runtime`)
    and after firewalld starts anew (`permanent`).
    """

    settings: Tuple[Tuple[str, str], ...]

    @property
    def subject(self) -> Tuple[str, str]:
        """What it is a setting of: `zone`, `policy` or `interface`, and the name."""
        what, _space, name = self.name.partition(" ")
        return what, name


@dataclass(frozen=True)
class Dnsmasq(Object):
    """A process of dnsmasq that runs; `name` is its resolver's, which for a network's own is the network's name.

    `config` and `reread` are digests of the files that it read when it began, and of those that it reads again when
    told to. `listens` are the sockets that it needs for itself, each an address and a port. `watches` are the folders
    of names that it watches.
    """

    config: str
    reread: str
    listens: Tuple[Tuple[str, int], ...] = field(default=(), compare=False)
    watches: Tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Program(Object):
    """A program in one file, by the digest of its content."""

    version: str
    digest: str
    content: bytes = field(default=b"", compare=False, repr=False)

    @property
    def is_whole(self) -> bool:
        return bool(self.content)


@dataclass(frozen=True)
class Service(Object):
    """A service of systemd's. `enabled`: it is started with the host. `running`: it has been started."""

    enabled: bool
    running: bool


State = Dict[Key, Object]


def state_of(objects: List[Object]) -> State:
    return {thing.key: thing for thing in objects}


FieldValue = Union[str, int, bool, Port, Tuple[object, ...]]


def field_values(thing: Optional[Object]) -> Dict[str, FieldValue]:
    """The fields that make two objects differ, by name; none of an object that is not there."""
    if thing is None:
        return {}
    return {f.name: getattr(thing, f.name) for f in fields(thing) if f.compare and f.name != "name"}
