# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of a host, as values. Desired objects and current ones have the same types.

The `kind` and the `name` of an object together are its `key`. Where the desired and the current object of a key are
equal, nothing needs to change. The `place` of a desired object is where it is declared, for messages; it is empty where
the object follows from all that is declared, as a chain does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Tuple, Union

DEFAULT_NETWORK = "bridge"

# The runtimes whose containers can be connected: the Docker Engine, Podman, and systemd-nspawn.
DOCKER, PODMAN, MACHINE = "docker", "podman", "machine"
RUNTIMES = (DOCKER, PODMAN, MACHINE)

# The init systems that can restore a host's networks at boot.
SYSTEMD, OPENRC = "systemd", "openrc"

# The other kinds of sandboxes.
NETNS, PID, PATH, HOST = "netns", "pid", "path", "host"

Key = Tuple[str, str]

# A container and a network that it is connected to.
EndpointKey = Tuple[str, str]

# Of a field that few objects have: where it is empty, nothing is said of it.
_RARE = {"rare": True}


@dataclass(frozen=True, order=True)
class SandboxRef:
    """Where a network stack is found, as text such as `netns:web`; an empty one stands for no sandbox.

    `netns` is a named network namespace, which wharf.network makes and deletes. `host`, without a name, is the host's
    own stack. Third parties make all others: containers of a runtime (`docker:web`), namespaces of processes
    (`pid:4711`), and namespaces that are mounted at a path (`path:/run/…`).
    """

    kind: str = ""
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> SandboxRef:
        kind, _colon, name = text.partition(":")
        return cls(kind, name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    def __bool__(self) -> bool:
        return bool(self.kind)

    @property
    def key(self) -> Key:
        """The key of the sandbox among the objects of a host."""
        return "sandbox", str(self)

    @property
    def is_managed(self) -> bool:
        """Whether wharf.network makes and deletes it. It may be no more than another name for a third party's stack."""
        return self.kind == NETNS

    @property
    def is_third_party(self) -> bool:
        return self.kind not in ("", HOST, NETNS)

    @property
    def has_runtime(self) -> bool:
        """Whether a runtime has to be asked where the stack is."""
        return self.kind in RUNTIMES


@dataclass(frozen=True, order=True)
class Owner:
    """Whose rules, or elements of sets, these are, as text such as `network app`, which is their comment in the kernel.

    `groups`, without a name, has the rules of iptables that lead to the chains in which published ports and targets are
    grouped.
    """

    kind: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Owner:
        kind, _space, name = text.partition(" ")
        return cls(kind, name)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else self.kind


OF_NETWORK, OF_CONTAINER, GROUPS = "network", "container", "groups"


class TableChain(NamedTuple):
    """A chain in a table of iptables, in both IP families."""

    table: str
    name: str


@dataclass(frozen=True, order=True)
class ChainRef:
    """A chain of iptables in one IP family (`ip` or `ip6`), as text such as `ip filter DOCKER`."""

    family: str
    at: TableChain

    @classmethod
    def parse(cls, text: str) -> ChainRef:
        family, _space, at = text.partition(" ")
        table, _space, name = at.partition(" ")
        return cls(family, TableChain(table, name))

    def __str__(self) -> str:
        return f"{self.family} {self.at.table} {self.at.name}"


NO_SANDBOX = SandboxRef()
HOST_STACK = SandboxRef(HOST)


@dataclass(frozen=True)
class Object:
    """Anything that can be declared on a host, compared with what is there, and changed.

    Its `kind` is the name of its class, unless the class says another one.
    """

    kind: ClassVar[str]
    name: str

    def __init_subclass__(cls, kind: str = "") -> None:
        cls.kind = kind or cls.__name__.lower()

    @property
    def key(self) -> Key:
        return self.kind, self.name

    @property
    def place(self) -> str:
        return ""

    @property
    def title(self) -> str:
        """What an error calls it: by its place, as far as that is known, and by its name on the host."""
        return self.placed(f"{self.kind} {self.name}")

    def placed(self, message: str) -> str:
        """A message about it, behind its place, as far as that is known."""
        return f"{self.place}: {message}" if self.place else message

    @property
    def is_whole(self) -> bool:
        """Whether enough is known of it to make it."""
        return True

    def after_refusal(self, desired: Object, _others: Iterable[Object]) -> Optional[Object]:
        """What this object is to be again, once it was refused inside its sandbox to make it the desired one. None if
        it cannot be there beside the others that are desired.
        """
        return self


@dataclass(frozen=True)
class Sysctl(Object):
    """A kernel parameter. `name` is dotted, and a slash stands for a dot within an interface's name."""

    value: str


@dataclass(frozen=True)
class File(Object):
    """A whole file; `name` is its path. `executable`: it is a program, or a script.

    `in_place`: the file is rewritten, and never replaced by another, since it may be bind-mounted into a container,
    which would keep the old one. `places` are pairs of a line and where that line is declared, for messages.
    `selinux_type` is that of the file and of its folders below /run, empty where it is left to SELinux's policy.
    """

    content: str
    selinux_type: str = field(default="", metadata=_RARE)
    in_place: bool = field(default=False, compare=False)
    executable: bool = field(default=False, metadata=_RARE)
    place: str = field(default="", compare=False)
    places: Tuple[Tuple[str, str], ...] = field(default=(), compare=False)


class Digest(NamedTuple):
    """Of the content of a file as it was written, and when its container had started; empty for files of the host.

    Of a link of WireGuard it has the endpoints of the peers that the kernel was given.
    """

    content: str
    started: str = ""


@dataclass(frozen=True)
class ContainerFile(Object, kind="container_file"):
    """A file in a third party's container; `name` is `SANDBOX:PATH`, such as `docker:web:/etc/hosts`."""

    name: str = field(init=False)
    sandbox: SandboxRef = field(compare=False)
    path: str = field(compare=False)
    content: str
    place: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.sandbox}:{self.path}")

    @classmethod
    def named(cls, name: str) -> ContainerFile:
        """The file of this name, as the ledger has it, without its content."""
        sandbox, _colon, path = name.rpartition(":")
        return cls(SandboxRef.parse(sandbox), path, "")


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
class PeerRoute:
    """The route to a slice of another host: by an address that stands for that host on the tunnel. WireGuard knows the
    slices of each host, and needs none.

    In a `table` other than the main one, which is 0 here, it is the route of replies to clients of that host.
    """

    destination: str
    gateway: str
    source: str
    table: int = 0
    place: str = field(default="", compare=False)

    def __str__(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        where = f" table {self.table}" if self.table else f" src {self.source}"
        return f"{self.destination}{via}{where}"


@dataclass(frozen=True)
class PermanentNeighbour:
    """Which MAC has the address that stands for another host."""

    address: str
    mac: str

    def __str__(self) -> str:
        return f"{self.address} is {self.mac}"


@dataclass(frozen=True)
class Forward:
    """To which host the frames for a MAC are sent."""

    mac: str
    address: str

    def __str__(self) -> str:
        return f"{self.mac} to {self.address}"


@dataclass(frozen=True)
class Tunnel(Object):
    """The VXLAN link of an overlay network to its other hosts; `name` is the interface, marked as the bridge is.

    `local` is the host's address that packets are sent from, to the UDP port `port`. `mtu` is in bytes. `sysctls` are
    as of a bridge. `addresses` are `ADDRESS/PREFIX`.
    """

    network: str
    vni: int
    local: str
    port: int
    mtu: int
    mac: str
    routes: Tuple[PeerRoute, ...] = ()
    neighbours: Tuple[PermanentNeighbour, ...] = ()
    forwards: Tuple[Forward, ...] = ()
    up: bool = True
    sysctls: Tuple[Tuple[str, str], ...] = ()
    addresses: Tuple[str, ...] = field(default=(), metadata=_RARE)
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class WireGuardPeer:
    """Another host: its public key, where it is reached, and the slices that are behind it. Packets with any other
    source are none of its. After `keepalive` seconds without a packet to it one is sent, so that it knows where this
    host sends from, and that this host lives.
    """

    public_key: str
    address: str
    port: int
    slices: Tuple[str, ...]
    keepalive: int

    @property
    def endpoint(self) -> str:
        at = f"[{self.address}]" if ":" in self.address else self.address
        return f"{at}:{self.port}"

    def __str__(self) -> str:
        key, of_slices = self.public_key or "a key that this run makes", " ".join(self.slices)
        return f"{key} at {self.endpoint}, each {self.keepalive} seconds, for {of_slices}"


@dataclass(frozen=True)
class WireGuard(Object):
    """The link by which all encrypted networks reach their other hosts; `name` is the interface, marked by an alias.

    `has_kept_key`: its private key is the one that the host keeps in its file. `public_key` is that of the link. `port`
    is the UDP port, `mtu` is in bytes. `sysctls` are as of a bridge.
    """

    port: int
    mtu: int
    peers: Tuple[WireGuardPeer, ...] = ()
    routes: Tuple[PeerRoute, ...] = ()
    has_kept_key: bool = True
    public_key: str = field(default="", compare=False)
    is_marked: bool = True
    up: bool = True
    sysctls: Tuple[Tuple[str, str], ...] = ()
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class RoutingRule(Object, kind="routing_rule"):
    """A rule of policy routing for packets with a mark; `name` is the whole rule as text.

    Packets that come by `interface` with this mark are routed by `table`. With `goto` they go on at the rule of that
    priority, which has neither.
    """

    name: str = field(init=False)
    version: int
    priority: int
    interface: str = ""
    mark: Optional[int] = None
    mask: int = 0
    table: int = 0
    goto: int = 0
    place: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        words = [f"ipv{self.version} {self.priority}:"]
        words += [f"iif {self.interface}"] if self.interface else []
        words += [f"fwmark {self.mark:#x}/{self.mask:#x}"] if self.mark is not None else []
        words += [f"lookup {self.table}"] if self.table else [f"goto {self.goto}"] if self.goto else ["nop"]
        object.__setattr__(self, "name", " ".join(words))


@dataclass(frozen=True)
class HostRoute(Object, kind="route"):
    """A route of the host's main table that an overlay network needs; `name` is its destination.

    `gateway` is the other host that has this slice; without one, packets that no other route fits are refused.
    """

    gateway: str = ""
    source: str = ""
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class Sandbox(Object):
    """The network stack of a container; `name` is its `ref` as text.

    `of` is the sandbox whose stack it shares, which may be the host's; empty for a stack of its own. `sysctls` are the
    container's `net.*` parameters.
    """

    name: str = field(init=False)
    ref: SandboxRef = field(compare=False)
    container: str
    of: SandboxRef = NO_SANDBOX
    loopback_up: bool = True
    sysctls: Tuple[Tuple[str, str], ...] = ()
    place: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", str(self.ref))


@dataclass(frozen=True)
class Route:
    """A route inside a sandbox. `destination` is a prefix; the default route is `0.0.0.0/0` or `::/0`.

    `gateway` is empty for a network that the interface itself is on. `details`, such as `metric 5`, distinguish several
    routes to one destination; a declared route has none.
    """

    destination: str
    gateway: str = ""
    details: Tuple[str, ...] = ()

    def __str__(self) -> str:
        by = f"via {self.gateway}" if self.gateway else "by the interface itself"
        return " ".join([self.destination, by, *self.details])


@dataclass(frozen=True)
class Vlans:
    """VLANs of a port: the one of its frames without a tag, 0 for none, and those with a tag. `clean`: frames of each
    come in and go out alike.
    """

    untagged: int = 0
    tagged: Tuple[int, ...] = ()
    clean: bool = True

    def __str__(self) -> str:
        parts = {f"{self.untagged} untagged": self.untagged, f"{', '.join(map(str, self.tagged))} tagged": self.tagged}
        return f"VLAN {' and '.join(text for text, is_so in parts.items() if is_so) or 'none'}"


@dataclass(frozen=True)
class Port:
    """A port of a bridge; none where `bridge` is empty.

    `hairpin`: it may send a frame back to where it came from. `isolated`: it exchanges frames with the host only, not
    with other isolated ports. `vlans` are None where it has those that the bridge gives to a new port. All of this is
    lost with the port, so it is one value. `mtu`: in bytes, where it is not that of the other end; else 0.
    """

    bridge: str
    hairpin: bool = False
    isolated: bool = False
    mtu: int = 0
    vlans: Optional[Vlans] = None

    def __bool__(self) -> bool:
        return bool(self.bridge)

    def __str__(self) -> str:
        parts = {
            "hairpin": self.hairpin,
            "isolated": self.isolated,
            f"mtu {self.mtu}": self.mtu,
            str(self.vlans): self.vlans,
        }
        return ", ".join([self.bridge or "none", *(name for name, is_so in parts.items() if is_so)])


@dataclass(frozen=True)
class Sublink:
    """A link that is made on another one of the host, its `parent`; none where `kind` is empty.

    `kind` is macvlan or ipvlan. The kernel says by `mode`, and of ipvlan by `flag`, whom it reaches. `made`:
    wharf.network makes the parent.
    """

    kind: str = ""
    parent: str = ""
    mode: str = ""
    flag: str = ""
    made: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return ", ".join(filter(None, [f"{self.kind} on {self.parent}", self.mode, self.flag])) if self.kind else "none"

    def __bool__(self) -> bool:
        return bool(self.kind)


@dataclass(frozen=True)
class Shaper:
    """What lets packets pass by a link at a `rate` in bits a second. `burst` bytes may pass at once, and up to `limit`
    bytes wait; what exceeds that is dropped. A rate of 0 is no limit; if not `whole`, a part of what limits is missing.
    """

    rate: int = 0
    burst: int = 0
    limit: int = 0
    whole: bool = True

    def __bool__(self) -> bool:
        return self != UNLIMITED

    def __str__(self) -> str:
        limited = f"{self.rate} bit/s, burst {self.burst} bytes, queue {self.limit} bytes"
        return (limited if self.rate else "unlimited") if self.whole else "not whole"


UNLIMITED = Shaper()


@dataclass(frozen=True)
class Endpoint(Object):
    """The connection of a container to a network; `name` is `CONTAINER/NETWORK`.

    `host_interface` (marked `wharf:CONTAINER/NETWORK`) is the `port` of a bridge, its peer is `interface` in `sandbox`.
    Where the network has no bridge, both are empty, and `interface` is the `sublink`, which has the mark; `mac` is
    empty where that has the MAC of its parent. `addresses` are those of `interface`, as `ADDRESS/PREFIX`, sorted; a
    link-local IPv6 address that the kernel made is none of them. `mtu`, in bytes, holds at both ends. `ingress`
    limits the traffic to the container, `egress` that from it. `sysctl_places` are where the declared ones among the
    `sysctls` are declared, by their keys.
    """

    name: str = field(init=False)
    container: str = field(compare=False)
    network: str = field(compare=False)
    sandbox: SandboxRef
    interface: str
    host_interface: str
    port: Port
    mtu: int
    mac: str
    addresses: Tuple[str, ...]
    routes: Tuple[Route, ...] = ()
    ipv6: bool = False
    sysctls: Tuple[Tuple[str, str], ...] = ()
    sublink: Sublink = field(default=Sublink(), metadata=_RARE)
    ingress: Shaper = field(default=UNLIMITED, metadata=_RARE)
    egress: Shaper = field(default=UNLIMITED, metadata=_RARE)
    place: str = field(default="", compare=False)
    sysctl_places: Tuple[Tuple[str, str], ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", endpoint_name(self.endpoint_key))

    @property
    def endpoint_key(self) -> EndpointKey:
        return self.container, self.network

    @property
    def is_whole(self) -> bool:
        return bool(self.sandbox and self.interface)

    @property
    def identities(self) -> FrozenSet[str]:
        """Its addresses, and its MAC if it has one of its own: what no other endpoint of its network has."""
        macs = [self.mac] if self.mac else []
        return frozenset([*macs, *(address.partition("/")[0] for address in self.addresses)])

    def after_refusal(self, desired: Object, others: Iterable[Object]) -> Optional[Object]:
        """The same endpoint, but with the port and the rates as desired: the host sets these on its own side, and root
        in the container must not evade them. None if the link is to be another one, or if the gateway or another
        endpoint of the network has the former address or MAC now.
        """
        if not isinstance(desired, Endpoint):
            return self
        neighbours = (each for each in others if isinstance(each, Endpoint) and each.network == self.network)
        taken = {route.gateway for route in desired.routes}.union(*(each.identities for each in neighbours))
        if self.sublink != desired.sublink or (self.identities - desired.identities) & taken:
            return None
        return replace(self, port=desired.port, ingress=desired.ingress, egress=desired.egress)

    def place_of(self, sysctl: str) -> str:
        """Where a kernel parameter of the interface is declared."""
        return dict(self.sysctl_places).get(sysctl, self.place)


@dataclass(frozen=True)
class Parent(Object):
    """A link of the host on which links of containers are made, where wharf.network makes it, too.

    It is the VLAN of the number `vlan` on the link `lower`; or, where both are empty, a link that leads nowhere.
    """

    lower: str = ""
    vlan: int = 0
    up: bool = True
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class Uplink(Object):
    """A link of the host as a port of a network's bridge. `made`: wharf.network makes the link, too."""

    bridge: str
    made: bool = field(default=False, compare=False)
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class Shim(Object):
    """The host's own link on a parent, by which it reaches the containers that have links there.

    `name` is the link, marked in its `ifalias` as `wharf:NETWORK`. `addresses` are single ones, as `ADDRESS/32`, and
    `routes` the containers' addresses as such prefixes. `mac` is empty where it has the MAC of its parent.
    """

    network: str
    sublink: Sublink
    mtu: int
    mac: str
    addresses: Tuple[str, ...]
    routes: Tuple[str, ...] = ()
    sysctls: Tuple[Tuple[str, str], ...] = ()
    up: bool = True
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class Chain(Object):
    """A chain of the nftables table of wharf.network: its rules, and the line of its hook, if any, as nft writes it."""

    rules: Tuple[str, ...]
    hook: str = field(default="", metadata=_RARE)


@dataclass(frozen=True)
class ElementSet(Object, kind="set"):
    """A set of that table, without its elements: those belong to networks and containers."""

    declaration: Tuple[str, ...]


@dataclass(frozen=True)
class ElementMap(ElementSet, kind="set"):
    """A map of that table, without its elements."""


@dataclass(frozen=True, order=True)
class MapElement:
    """The text of an element of a map: `tcp . 8080 : 172.17.0.2 . 80`."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key} : {self.value}"


# The name of a set, and the text of an element: ("protected4", "172.17.0.0/16").
SetElement = Tuple[str, Union[str, MapElement]]

# A chain of iptables, and a rule as iptables-save writes it after the chain's name, without a comment.
ChainRule = Tuple[ChainRef, str]


@dataclass(frozen=True)
class Rules(Object):
    """What one network or container has in the rules; `name` is its `owner` as text. A set's element, or a rule of
    iptables, is a pair: what it is in, and its text.
    """

    name: str = field(init=False)
    owner: Owner = field(compare=False)
    elements: Tuple[Union[SetElement, ChainRule], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", str(self.owner))

    @property
    def container(self) -> str:
        """The container that owns them; empty for those of a network, or of none."""
        return self.owner.name if self.owner.kind == OF_CONTAINER else ""


@dataclass(frozen=True)
class SetElements(Rules, kind="rules"):
    """The elements that one network or container has in the sets and maps of the nftables table."""

    elements: Tuple[SetElement, ...]


@dataclass(frozen=True)
class IptablesChain(Object, kind="iptables_chain"):
    """A chain that wharf.network makes in a table of iptables; `name` is its `ref` as text.

    `rules` are those that belong to no network or container, as iptables-save writes them after the chain's name. They
    come before the rules of networks and containers.
    """

    name: str = field(init=False)
    ref: ChainRef = field(compare=False)
    rules: Tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", str(self.ref))


@dataclass(frozen=True)
class IptablesHook(Object, kind="iptables_hook"):
    """The jumps of wharf.network in a built-in chain of iptables, or in DOCKER-USER; `name` is as of a chain.

    `in_place`: the `first` jumps come before all other rules of that chain, and the `last` ones after these.
    """

    name: str = field(init=False)
    ref: ChainRef = field(compare=False)
    first: Tuple[str, ...]
    last: Tuple[str, ...] = ()
    in_place: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", str(self.ref))


@dataclass(frozen=True)
class IptablesRules(Rules, kind="iptables_rules"):
    """The rules that one network or container has in the chains of iptables."""

    elements: Tuple[ChainRule, ...]


@dataclass(frozen=True, order=True)
class FilterRule:
    """A rule in a chain of the table filter, as iptables-save writes it. `is_first`: before all others of the chain."""

    chain: str
    text: str
    is_first: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"-A {self.chain} {self.text}"


@dataclass(frozen=True)
class ThirdPartyAccept(Object, kind="accept"):
    """Rules that accept packets of containers where third-party rules of iptables would drop them.

    `name` is `FORWARD` for the jump to them, `network NAME`, or `third-party bridges` for the rules for packets to
    these. Each rule is the name of its variant of iptables, such as `ip6tables-nft`, and the rule itself.
    """

    rules: Tuple[Tuple[str, FilterRule], ...]


@dataclass(frozen=True)
class Zones:
    """Zones of firewalld that a policy is for, by their names."""

    names: Tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.names)


@dataclass(frozen=True)
class Firewalld(Object):
    """The settings of a zone, a policy or an interface (`what`) of firewalld, with its `own_name`; `name` has both.

    `settings` are the permanent ones of a zone or policy; of an interface, the zone that it is in now (`runtime`), and
    the zone that it will be in when firewalld starts again (`permanent`).
    """

    name: str = field(init=False)
    what: str = field(compare=False)
    own_name: str = field(compare=False)
    settings: Tuple[Tuple[str, Union[str, Zones]], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.what} {self.own_name}")

    @classmethod
    def named(cls, name: str) -> Firewalld:
        """The one of this name, as the ledger has it, without its settings."""
        what, _space, own_name = name.partition(" ")
        return cls(what, own_name)


@dataclass(frozen=True)
class Dnsmasq(Object):
    """A process of dnsmasq; `name` is that of its resolver: the network's name, if it is a network's own.

    `config` is the digest of the files that it reads when it starts, `reread` that of the files that it reads again on
    SIGHUP. `listens` are the addresses and ports that it listens on, `watches` the folders of names that it watches.
    """

    config: str
    reread: str
    listens: Tuple[Tuple[str, int], ...] = field(default=(), compare=False)
    watches: Tuple[str, ...] = field(default=(), compare=False)
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class Program(Object):
    """A program in one file, by the digest of its content."""

    version: str
    digest: str
    content: bytes = field(default=b"", compare=False, repr=False)
    place: str = field(default="", compare=False)

    @property
    def is_whole(self) -> bool:
        return bool(self.content)


@dataclass(frozen=True)
class Service(Object):
    """A service of systemd or OpenRC. `enabled`: it starts when the host boots. `running`: it has been started."""

    enabled: bool
    running: bool


State = Dict[Key, Object]


def endpoint_name(key: EndpointKey) -> str:
    return "/".join(key)


def endpoint_key(name: str) -> EndpointKey:
    container, _slash, network = name.partition("/")
    return container, network


def state_of(objects: List[Object]) -> State:
    return {thing.key: thing for thing in objects}


FieldValue = Union[str, int, bool, Port, Sublink, Shaper, SandboxRef, Tuple[object, ...]]


def field_values(thing: Optional[Object]) -> Dict[str, FieldValue]:
    """The fields in which two objects of one key can differ, by name; none for no object. Empty rare ones are left
    out.
    """
    if thing is None:
        return {}
    values = ((f, getattr(thing, f.name)) for f in fields(thing) if f.compare and f.name != "name")
    return {f.name: value for f, value in values if value or not f.metadata.get("rare")}
