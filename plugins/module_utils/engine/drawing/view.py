# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was observed of a host, and what packets have shown, as the values that pictures are drawn of."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..declaration.model import HOST_MODE, NONE_MODE
from .limits import limits
from .ports import Ports, joined

# As `network_info` returns it.
Seen = Mapping[str, Any]

# What a probe says. Untried: none was sent. Unproven: it was inconclusive.
GOOD, BAD, UNPROVEN, UNTRIED = "good", "bad", "unproven", "untried"
_WORST_FIRST = (BAD, UNPROVEN, GOOD)
_STATUS = {True: GOOD, False: BAD, None: UNPROVEN}

# Of a network and of an endpoint, what is drawn in a way of its own. Whatever else there is, is drawn as it is called.
_OF_NETWORK = frozenset(
    "driver bridge parent external state mtu mac gateways subnets internal icc".split()
    + "gateway_modes masquerade endpoints".split()
)
_OF_ENDPOINT = frozenset("interface host_interface bridge parent mac mtu addresses routes vlan rate".split())

# The probes of this host, and those of others.
_SENT = ("probes", "from_others")


@dataclass(frozen=True)
class SentProbe:
    """A probe that was sent: what was expected of it, and what was seen."""

    source: str
    target: str
    expected: str
    seen: str
    status: str
    name: str
    why: str

    def __str__(self) -> str:
        name = f": {self.name}" if self.name else ""
        return f"{self.source} → {self.target} is {self.seen}, expected {self.expected}{name}"


@dataclass(frozen=True)
class PublishedPorts:
    """Ports of the host that lead to an endpoint, with what packets say of them.

    `stands` if they lead there now; `is_awaited` if they will when the container runs.
    """

    ports: Ports
    stands: bool
    is_awaited: bool
    probes: Tuple[SentProbe, ...]

    @property
    def status(self) -> str:
        if self.stands:
            return worst(self.probes)
        return UNPROVEN if self.is_awaited else BAD


@dataclass(frozen=True)
class Row:
    """A container on a network. `reason` says why it is not connected; empty if it is. `notes` are further settings."""

    container: str
    sharers: Tuple[str, ...]
    addresses: Tuple[str, ...]
    links: str
    reason: str
    notes: Tuple[str, ...]
    ports: Tuple[PublishedPorts, ...]
    probes: Tuple[SentProbe, ...]

    @property
    def status(self) -> str:
        """Inconclusive probes, as those to a container that does not run, say nothing of the others."""
        proven = worst(probe for probe in self.probes if probe.status != UNPROVEN)
        return worst(self.probes) if proven == UNTRIED else proven


@dataclass(frozen=True)
class NetworkView:
    """`link` is its bridge, or the link of the host that it is on.

    `whole_subnets` are those of the network where it spans several hosts, of which this one has a part. `marks` are
    what is unusual about it, and `notes` are further settings, as they are called.
    """

    name: str
    driver: str
    link: str
    subnets: Tuple[str, ...]
    whole_subnets: Tuple[str, ...]
    gateways: Tuple[str, ...]
    mtu: int
    is_up: bool
    marks: Tuple[str, ...]
    notes: Tuple[str, ...]
    rows: Tuple[Row, ...]


@dataclass(frozen=True)
class HostView:
    """`error` says why nothing is known of the host. `segments` are the subnets that other hosts may be on, too, and
    `probes_in` the probes from other hosts. `verified` says when packets were sent, and `is_outdated` that
    something has been changed since.
    """

    name: str
    error: str = ""
    interfaces: Tuple[str, ...] = ()
    segments: Tuple[str, ...] = ()
    networks: Tuple[NetworkView, ...] = ()
    containers: int = 0
    beside: Tuple[Tuple[str, Tuple[str, ...]], ...] = ()
    trouble: Tuple[str, ...] = ()
    drift: Tuple[str, ...] = ()
    pending: Tuple[str, ...] = ()
    probes: Tuple[SentProbe, ...] = ()
    probes_in: Tuple[SentProbe, ...] = ()
    verified: str = ""
    is_outdated: bool = False
    last_change: str = ""

    @property
    def published(self) -> int:
        return sum(len(row.ports) for network in self.networks for row in network.rows)

    @property
    def wrong(self) -> Tuple[SentProbe, ...]:
        """The probes that are not as declared, and then the inconclusive ones."""
        return tuple(probe for status in (BAD, UNPROVEN) for probe in self.probes if probe.status == status)

    @property
    def status(self) -> str:
        """The worst of all that is known of the host."""
        if self.error or self.drift or any(probe.status == BAD for probe in self.probes):
            return BAD
        return UNPROVEN if self.trouble or self.pending else GOOD


def worst(probes: Iterable[SentProbe]) -> str:
    found = {probe.status for probe in probes}
    return next((status for status in _WORST_FIRST if status in found), UNTRIED)


def view(name: str, seen: Seen, verified: Optional[Seen] = None) -> HostView:
    """`verified` is what packets have shown, as `verified.read` returns it."""
    own, from_others = ([(sent, _probe(sent)) for sent in (verified or {}).get(key, ())] for key in _SENT)
    sorter = _Sorter(seen, [*own, *from_others])
    last = seen.get("last_change")
    return HostView(
        name=name,
        interfaces=tuple(_interface(link) for link in _interfaces(seen)),
        segments=tuple(dict.fromkeys(each for link in _interfaces(seen) for each in _segments(link))),
        networks=tuple(_network(seen, network, sorter) for network in seen["networks"]),
        containers=len(seen["containers"]),
        beside=tuple(each for each in _beside(seen) if each[1]),
        trouble=(*seen.get("problems", ()), *seen["trouble"]),
        drift=tuple(_change(each) for changes in seen["drift"].values() for each in changes),
        pending=tuple(sorted({each["sandbox"] for each in seen["containers"].values()}.intersection(seen["pending"]))),
        probes=tuple(probe for _sent, probe in (*own, *from_others)),
        probes_in=tuple(probe for _sent, probe in from_others),
        verified=verified["time"] if verified else "",
        is_outdated=bool(verified and last and last["at"] > verified["at"]),
        last_change=f"{last['time']}, {last['by'] or last['origin']}" if last else "",
    )


def _probe(sent: Seen) -> SentProbe:
    to, port = sent["to"], sent["port"]
    target = f"{f'[{to}]' if ':' in to else to}:{port}/{sent['protocol']}" if port else f"{to}/{sent['protocol']}"
    return SentProbe(
        sent["from"], target, sent["expected"], sent["seen"], _STATUS[sent["fulfilled"]],
        sent.get("name") or "", sent.get("why") or "",
    )  # fmt: skip


class _Sorter:
    """Finds the probes that concern a published port, or a container on a network."""

    def __init__(self, seen: Seen, probes: Sequence[Tuple[Seen, SentProbe]]) -> None:
        self._of_address: Dict[str, List[Tuple[Seen, SentProbe]]] = {}
        self._of_source: Dict[str, List[Tuple[Seen, SentProbe]]] = {}
        self._of_port: Dict[Tuple[str, int], List[Tuple[Seen, SentProbe]]] = {}
        in_containers = {
            _bare(address)
            for container in seen["containers"].values()
            for endpoint in container["endpoints"].values()
            for address in endpoint["addresses"]
        }
        self.published = {_key(each) for each in seen["published"]}
        for sent, probe in probes:
            self._of_source.setdefault(sent["from"], []).append((sent, probe))
            if sent["to"] in in_containers:
                self._of_address.setdefault(sent["to"], []).append((sent, probe))
            elif sent["port"]:
                self._of_port.setdefault((sent["protocol"], sent["port"]), []).append((sent, probe))

    def of_ports(self, ports: Ports) -> Tuple[SentProbe, ...]:
        found: Dict[SentProbe, None] = {}
        for each in ports.publications:
            wildcard = "::" if ":" in each["host_ip"] else "0.0.0.0"
            for sent, probe in self._of_port.get((each["protocol"], each["host_port"]), ()):
                same_family = (":" in sent["to"]) == (":" in each["host_ip"])
                if same_family and each["host_ip"] in (wildcard, sent["to"]):
                    found[probe] = None
        return tuple(found)

    def of_endpoint(self, container: str, endpoint: Seen, subnets: Sequence[Any]) -> Tuple[SentProbe, ...]:
        """To the container's addresses on the network, and from it to what it reaches by that network."""
        own = [_bare(address) for address in endpoint["addresses"]]
        to_it = [probe for address in own for _probe, probe in self._of_address.get(address, ())]
        is_way_out = any(route["to"] in ("0.0.0.0/0", "::/0") for route in endpoint["routes"])
        from_it = [
            probe
            for sent, probe in self._of_source.get(container, ())
            if _is_in(sent["to"], subnets) or (is_way_out and sent["to"] not in self._of_address)
        ]
        return tuple(dict.fromkeys([*to_it, *from_it]))


def _is_in(address: str, networks: Sequence[Any]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in networks)


def _bare(address: str) -> str:
    return address.partition("/")[0]


def _key(publication: Seen) -> Tuple[Any, ...]:
    return tuple(publication[each] for each in ("container", "host_ip", "host_port", "protocol"))


def _network(seen: Seen, name: str, sorter: _Sorter) -> NetworkView:
    network = seen["networks"][name]
    shared = _sharers(seen)
    rows = [
        _row(seen, owner, name, shared.get(owner, ()), sorter)
        for owner, container in seen["containers"].items()
        if name in container["endpoints"] or name in container["unconnected"]
    ]
    rows.sort(key=lambda row: (not row.ports, row.container))
    return NetworkView(
        name=name,
        driver=network.get("driver") or "bridge",
        link=network.get("bridge") or network.get("parent") or "",
        subnets=tuple(network["subnets"]),
        whole_subnets=tuple(network.get("whole_subnets") or network["subnets"]),
        gateways=tuple(network["gateways"]),
        mtu=network["mtu"],
        is_up=network["state"] == "up",
        marks=tuple(_marks(network)),
        notes=tuple(_others(network, _OF_NETWORK)),
        rows=tuple(rows),
    )


def _marks(network: Seen) -> Iterator[str]:
    if network["state"] != "up":
        yield network["state"]
    if network.get("external"):
        yield "external"
    if network.get("internal"):
        yield "internal"
    if network.get("bridge"):
        # Elsewhere the driver decides that.
        if not network.get("icc", True):
            yield "no icc"
        if not (network.get("masquerade", True) or network.get("internal") or network.get("uplink")):
            yield "no masquerade"
    yield from (f"{family} {mode}" for family, mode in (network.get("gateway_modes") or {}).items() if mode != "nat")


def _others(thing: Seen, known: FrozenSet[str]) -> Iterator[str]:
    for key, value in thing.items():
        if key not in known and value not in (None, False, "", [], {}):
            yield key.replace("_", " ") if value is True else f"{key.replace('_', ' ')} {_in_words(value)}"


def _in_words(value: Any) -> str:
    """Of things by their names, the names alone."""
    if isinstance(value, Mapping):
        are_things = any(isinstance(each, Mapping) for each in value.values())
        return ", ".join(str(key) if are_things else f"{key} {each}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _sharers(seen: Seen) -> Dict[str, Tuple[str, ...]]:
    found: Dict[str, Tuple[str, ...]] = {}
    for name, container in seen["containers"].items():
        if container["shares"]:
            found[container["shares"]] = (*found.get(container["shares"], ()), name)
    return found


def _row(seen: Seen, name: str, network: str, sharers: Tuple[str, ...], sorter: _Sorter) -> Row:
    container = seen["containers"][name]
    reason = container["unconnected"].get(network, "")
    endpoint = container["endpoints"].get(network)
    subnets = [ipaddress.ip_network(subnet) for subnet in seen["networks"][network]["subnets"]]
    ports = joined(each for each in container["ports"] if _is_in(each["address"], subnets))
    is_awaited = container["sandbox"] in seen["pending"]
    published = tuple(_published(name, each, is_awaited, sorter) for each in ports)
    if endpoint is None:
        return Row(name, sharers, (), "", reason or "not connected", (), published, ())
    links = [endpoint.get("interface"), endpoint.get("host_interface")]
    return Row(
        container=name,
        sharers=sharers,
        addresses=tuple(endpoint["addresses"]),
        links=" ⇄ ".join(link for link in links if link),
        reason=reason,
        notes=(*limits(endpoint), *_others(endpoint, _OF_ENDPOINT)),
        ports=published,
        probes=sorter.of_endpoint(name, endpoint, subnets),
    )


def _published(container: str, ports: Ports, is_awaited: bool, sorter: _Sorter) -> PublishedPorts:
    stands = all(_key({"container": container, **each}) in sorter.published for each in ports.publications)
    return PublishedPorts(ports, stands, is_awaited, sorter.of_ports(ports))


def _interfaces(seen: Seen) -> List[Seen]:
    """The host's own links that lead elsewhere."""
    bridges = {network.get("bridge") for network in seen["networks"].values()}
    return [
        link
        for link in seen["interfaces"]
        if link["name"] != "lo" and link["name"] not in bridges and link["state"] == "up" and _lasting(link)
    ]


def _lasting(link: Seen) -> List[str]:
    return [address for address in link["addresses"] if not address.startswith("fe80:")]


def _interface(link: Seen) -> str:
    speed = f"  {link['speed']} Mbit/s" if link.get("speed") else ""
    return f"{link['name']}  {', '.join(_lasting(link))}  mtu {link['mtu']}{speed}"


def _segments(link: Seen) -> Iterator[str]:
    """The subnets that other hosts may be on, too: of IPv4, or else of IPv6."""
    found = [ipaddress.ip_interface(address).network for address in _lasting(link)]
    found = [network for network in found if network.num_addresses > 1]
    yield from (str(each) for each in found if each.version == 4 or all(other.version == 6 for other in found))


def _beside(seen: Seen) -> Iterator[Tuple[str, Tuple[str, ...]]]:
    """Containers that are on no network, by what they have instead."""
    shared = _sharers(seen)
    for mode, words in ((HOST_MODE, "in the host's own stack"), (NONE_MODE, "on no network")):
        names = [name for name, container in seen["containers"].items() if container["mode"] == mode]
        yield words, tuple(" + ".join([name, *shared.get(name, ())]) for name in names)


def _change(change: Seen) -> str:
    what = {"create": "is missing", "update": "is changed", "delete": "is left over"}[change["action"]]
    fields = f" ({', '.join(change['fields'])})" if change["fields"] else ""
    return f"{change['kind']} {change['name']} {what}{fields}"
