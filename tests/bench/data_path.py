# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a packet pays on its way from outside through the host to a container: with our rules, and with those of others.

    outside 198.51.100.1 to .8 ── wire ── 198.51.100.254 host ── bridge 20 of 20 ── container

Each host has the same 20 networks, with a container on each, made by our engine; the hosts differ by their rules alone.
All packets of a flow pass on one CPU, that of the sender.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import pytest
from hosts import EXACT, OUTSIDE, ThrowawayHost
from layouts import Net, Ports, Published, docker_iptables, docker_nftables, netavark_nftables
from real_layouts import LayoutError, hold_docker, hold_netavark, load
from report import Chart, Measurements, Notify, Section, Table, at_least, figure
from traffic import NEEDED, Sent, Traffic, is_possible

NETWORKS = 20
FIRST_PORT = 10000
HOST_ADDRESS = "198.51.100.254"
SOURCES = [f"198.51.100.{number}" for number in range(1, 9)]

# So that no resolvers run, which are no part of this.
NAMELESS = {"x-wharf": {"dns": False}}

NONE = "no firewall"
NFT, IPTABLES = "wharf.network, nftables", "wharf.network, iptables"
DOCKER_IPTABLES, DOCKER_NFT = "Docker 26.1, iptables", "Docker 29, nftables"
NETAVARK = "netavark, nftables"

OURS = {NFT: "nftables", IPTABLES: "iptables"}
LAYOUTS: Mapping[str, Callable[[Sequence[Net], Ports], str]] = {
    DOCKER_IPTABLES: lambda nets, ports: docker_iptables(nets[::-1], ports),
    DOCKER_NFT: docker_nftables,
    NETAVARK: netavark_nftables,
}
PUBLISHING = (*OURS, *LAYOUTS)
ALL = (NONE, *PUBLISHING)


@dataclass(frozen=True)
class Settings:
    """`length` of a measurement in milliseconds."""

    sizes: Sequence[int]
    rounds: int
    length: int

    @classmethod
    def of(cls, quick: bool) -> Settings:
        return cls((1, 1000), 1, 200) if quick else cls((1, 100, 1000, 10_000), 3, 400)


@dataclass(frozen=True)
class Site:
    """A host with one candidate's rules. Its last container is reached from outside at `address` and `port`."""

    host: ThrowawayHost
    container: str
    address: str
    port: int

    def forget_flows(self) -> None:
        """So that the next measurement finds the table of connections as empty as this one did."""
        self.host.run("conntrack --flush 2>/dev/null")

    def received(self) -> int:
        """Packets that have come to the container."""
        line = self.host.run("grep eth0: /proc/net/dev", self.container)
        return int(line.split(":")[1].split()[1])


def site(started: ExitStack, candidate: str, ports: int, protocols: Sequence[str] = ("tcp",)) -> Site:
    host = started.enter_context(ThrowawayHost.started(backend=OURS.get(candidate, "nftables")))
    names = [f"c{number:02}" for number in range(NETWORKS)]
    mappings: dict[str, list[str]] = {name: [] for name in names}
    # Dealt out in turn, so that the last port is of the last container.
    for number in range(ports):
        port = FIRST_PORT + number
        mappings[names[(number - ports) % NETWORKS]] += [f"{port}:{port}/{protocol}" for protocol in protocols]
    ours = candidate in OURS
    containers = {
        name: {"networks": [f"n{name[1:]}"], "ports": mappings[name]} if ours else {"networks": [f"n{name[1:]}"]}
        for name in names
    }
    words: dict[str, Any] = {"networks": {f"n{name[1:]}": NAMELESS for name in names}, "containers": containers}
    host.apply(words if ours else {**words, "host": {"iptables": False}}, EXACT)
    nets = [_net(host, name) for name in names]
    if not ours:
        # Also without rules for IPv4 there are some for IPv6, which have connections tracked.
        host.run("nft flush ruleset")
    if candidate in LAYOUTS:
        load(host, LAYOUTS[candidate](nets, list(_published(nets, mappings))))
    _wire(host)
    last = names[-1]
    host.run("sysctl -qw net.core.somaxconn=65535", last)
    address = str(nets[-1].container) if candidate == NONE else HOST_ADDRESS
    return Site(host, last, address, FIRST_PORT + ports - 1)


def _net(host: ThrowawayHost, container: str) -> Net:
    bridge = f"br-n{container[1:]}"
    [address] = host.json(f"ip -j -4 addr show {bridge}")[0]["addr_info"]
    subnet = IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False)
    return Net(bridge, subnet, IPv4Address(host.address(container, f"n{container[1:]}")))


def _published(nets: Sequence[Net], mappings: Mapping[str, Sequence[str]]) -> Sequence[Published]:
    return [
        Published(net, int(mapping.split(":")[0]), mapping.split("/")[1])
        for net, of_container in zip(nets, mappings.values(), strict=True)
        for mapping in of_container
    ]


def _wire(host: ThrowawayHost) -> None:
    """From outside right into the host: what a switch costs is not asked here."""
    host.run(
        f"ip link add wire type veth peer name wire netns {host.path(OUTSIDE)}\n"
        f"ip addr add {HOST_ADDRESS}/24 dev wire\nip link set wire up"
    )
    addresses = "\n".join(f"ip addr add {source}/24 dev wire" for source in SOURCES)
    privates = "\n".join(f"ip route replace {net} via {HOST_ADDRESS}" for net in ("172.16.0.0/12", "192.168.0.0/16"))
    host.run(f"{addresses}\nip link set wire up\n{privates}", OUTSIDE)


# New connections


@dataclass
class Connections:
    """By candidate and number of ports: connections a second, and microseconds to the answer to a first packet."""

    rates: Measurements = field(default_factory=Measurements)
    waits: Measurements = field(default_factory=Measurements)

    def add(self, case: str, sent: Sent) -> None:
        self.rates.add(case, sent.rate)
        self.waits.add(case, sent.median * 1e6)


def _case(candidate: str, ports: int) -> str:
    return f"{candidate}, {ports}"


def connections(settings: Settings, traffic: Traffic, notify: Notify) -> Connections:
    measured = Connections()
    with ExitStack() as started:
        sites: dict[str, Site] = {}
        for ports in settings.sizes:
            for candidate in PUBLISHING:
                notify(f"data path: a host with {ports} ports, {candidate}")
                sites[_case(candidate, ports)] = site(started, candidate, ports)
        sites[NONE] = site(started, NONE, 1)
        for each in sites.values():
            started.enter_context(traffic.serving(each.host, each.container, "accept", each.port))
        for turn in range(settings.rounds):
            for case, each in sites.items():
                words = ("connect", each.address, each.port, settings.length, *SOURCES)
                measured.add(case, traffic.send(each.host, OUTSIDE, *words))
                each.forget_flows()
                rate = figure(measured.rates.figures[case][-1])
                notify(f"data path, round {turn + 1}: {case} ports: {rate} connections a second")
    return measured


# Established flows


STREAM, PACKETS, UDP = "stream", "1500-byte packets", "64-byte datagrams"


def established(settings: Settings, traffic: Traffic, notify: Notify) -> dict[str, Measurements]:
    """Gbit/s of a stream as the sender's interface sends it, and in packets of 1500 bytes; thousands of datagrams/s."""
    measured: dict[str, Measurements] = defaultdict(Measurements)
    with ExitStack() as started:
        sites = {candidate: site(started, candidate, NETWORKS, ("tcp", "udp")) for candidate in ALL}
        for each in sites.values():
            started.enter_context(traffic.serving(each.host, each.container, "drain", each.port))
        for turn in range(settings.rounds):
            for candidate, each in sites.items():
                for what, segments in ((STREAM, 65535), (PACKETS, 1)):
                    each.host.run(f"ip link set wire gso_max_segs {segments}", OUTSIDE)
                    sent = traffic.send(each.host, OUTSIDE, "stream", each.address, each.port, settings.length)
                    measured[what].add(candidate, sent.rate * 8e-9)
                measured[UDP].add(candidate, _datagrams(traffic, each, settings.length))
                rates = ", ".join(f"{what} {figure(each.figures[candidate][-1])}" for what, each in measured.items())
                notify(f"data path, round {turn + 1}: {candidate}: {rates}")
    return measured


def _datagrams(traffic: Traffic, each: Site, length: int) -> float:
    """What comes to the container is counted, not what is sent."""
    with traffic.serving(each.host, each.container, "hold", each.port):
        before = each.received()
        sent = traffic.send(each.host, OUTSIDE, "datagrams", each.address, each.port, length)
        return (each.received() - before) / sent.seconds / 1000


# The sections


def held(notify: Notify) -> list[str]:
    """Whether the layouts are those of the real programs, as sentences."""
    said = []
    for what, hold in (("dockerd", hold_docker), ("netavark", hold_netavark)):
        notify(f"data path: holding the layout of {what} against what {what} writes")
        try:
            hold()
            said.append(f"In this run the layout was, rule by rule, what a real {what} wrote for two networks.")
        except LayoutError as error:
            said.append(f"**The layout is not that of this machine's {what}**: {error}.")
        except (pytest.skip.Exception, FileNotFoundError) as error:
            said.append(f"Not held against a real {what} in this run: {error}.")
    return said


def sections(quick: bool, notify: Notify) -> list[Section]:
    if not is_possible():
        text = f"Left out: the traffic is made by a program in C, and there is no `{NEEDED}` (`apt-get install gcc`)."
        return [Section("The data path", text)]
    settings = Settings.of(quick)
    said = held(notify)
    with Traffic.compiled() as traffic:
        new = connections(settings, traffic, notify)
        old = established(settings, traffic, notify)
    return [_connections_section(settings, new, said), _established_section(settings, old)]


_LAID_OUT = """
From outside, through the host, to the last of 20 containers, each on a network of its own. All hosts have the same
links, made by wharf.network; they differ by their rules. Those of wharf.network are set up by the engine. Docker's and
netavark's are laid out for many ports as dockerd and netavark lay them out for a few; the port that is asked for is
matched last. Docker is without its proxy. Docker's nftables backend is in no Debian yet: its layout is what moby's own
tests of Engine 29.7 expect.
"""


def _connections_section(settings: Settings, new: Connections, said: Sequence[str]) -> Section:
    text = (
        f"{_LAID_OUT.strip()}\n{' '.join(said)}\n\nOne client connects, is answered, and resets the connection, again "
        f"and again, for {settings.length} ms; a first packet's latency is the time from its SYN to the SYN/ACK. "
        f"Figures are medians of {settings.rounds} rounds, by turns. With no firewall, to the container's own address: "
        f"{figure(new.rates.median(NONE))} connections a second, {figure(new.waits.median(NONE))} µs."
    )
    columns = ["published ports", *map(str, settings.sizes)]

    def table(measured: Measurements, note: str) -> Table:
        rows = [[c, *(figure(measured.median(_case(c, size))) for size in settings.sizes)] for c in PUBLISHING]
        return Table(columns, rows, note)

    tables = [
        table(new.rates, "New connections a second to the last published port."),
        table(new.waits, "Microseconds from a first packet to the answer, to the last published port."),
        _connection_targets(settings, new.rates),
    ]
    charts = [
        _chart(settings, "connections", "New connections a second to the last port", "connections a second", new.rates),
        _chart(settings, "first-packets", "First packet to the last port", "µs", new.waits),
    ]
    return Section("New connections to published ports", text, tables, charts)


def _connection_targets(settings: Settings, rates: Measurements) -> Table:
    few, many = settings.sizes[0], settings.sizes[-1]
    compared = [
        (f"nftables, {many:,} ports to {few}", _case(NFT, many), _case(NFT, few), 0.9),
        *((f"nftables to {other}, {many:,} ports", _case(NFT, many), _case(other, many), 15) for other in LAYOUTS),
        (f"iptables to {DOCKER_IPTABLES}, {many:,} ports", _case(IPTABLES, many), _case(DOCKER_IPTABLES, many), 5),
    ]
    rows = [[what, *_held_to(rates.ratio(case, other), most)] for what, case, other, most in compared]
    note = "" if many == 10_000 else f"The targets are those of 10,000 ports; this was a quick run with {many:,}."
    return Table(["new connections", "ratio", "target"], rows, note)


def _held_to(ratio: float, target: float) -> tuple[str, str]:
    return figure(ratio), at_least(ratio, target)


def _chart(settings: Settings, name: str, title: str, y_label: str, measured: Measurements) -> Chart:
    series = {c: [(size, measured.median(_case(c, size))) for size in settings.sizes] for c in PUBLISHING}
    return Chart(name, title, "published ports", y_label, series, log_x=True, log_y=True)


def _established_section(settings: Settings, old: Mapping[str, Measurements]) -> Section:
    text = (
        "One flow from outside to the container of the last of 20 networks, each of which publishes a port: with no "
        "firewall to the container's own address, else to the published port of the host. A stream is sent in packets "
        "as large as virtual links take (64 KiB), and once more in packets of 1500 bytes. Datagrams fill Ethernet's "
        "smallest frame, 64 bytes; those that come to the container are counted. Sending one costs much the same as "
        f"the way through the host, so no figure is that of rules alone. Medians of {settings.rounds} rounds, by turns."
    )
    columns = ["through the last of 20 networks", "Gbit/s", "Gbit/s in 1500-byte packets", "64-byte packets, 1000/s"]
    rows = [[c, *(figure(old[what].median(c)) for what in (STREAM, PACKETS, UDP))] for c in ALL]
    udp = old[UDP]
    compared = [
        (NFT, NONE, 0.8), (IPTABLES, NONE, 0), (NFT, DOCKER_IPTABLES, 1.5), (NFT, DOCKER_NFT, 1.5), (NFT, NETAVARK, 0),
    ]  # fmt: skip
    targets = [
        [f"{case} to {other}", ratio, target if most else ""]
        for case, other, most in compared
        for ratio, target in [_held_to(udp.ratio(case, other), most)]
    ]
    tables = [Table(columns, rows), Table(["64-byte packets", "ratio", "target"], targets)]
    return Section("Established flows", text, tables)


def main() -> None:
    from report import markdown

    quick = "--quick" in sys.argv
    print(markdown(sections(quick, lambda line: print(line, file=sys.stderr, flush=True)), "."))


if __name__ == "__main__":
    main()
