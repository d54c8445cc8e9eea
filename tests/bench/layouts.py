# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of other network managers, laid out for any number of ports as they lay them out for a few.

`real_layouts.py` holds two of them against what the real programs write. That of Docker's nftables backend, which no
Debian has yet, is taken from what moby's own tests of it expect (Engine 29.7: `nftabler/testdata`, hairpin by the
kernel, masquerade, no proxy).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network


@dataclass(frozen=True)
class Net:
    """A network with one container on it."""

    bridge: str
    subnet: IPv4Network
    container: IPv4Address


@dataclass(frozen=True)
class Published:
    """A port of the host, and the same port of the container of a network."""

    net: Net
    port: int
    protocol: str = "tcp"


Ports = Sequence[Published]

DOCKER0 = Net("docker0", IPv4Network("172.17.0.0/16"), IPv4Address("172.17.0.2"))


def docker_iptables(networks: Sequence[Net], ports: Ports) -> str:
    """For iptables-restore: as Engine 26.1 writes them. `networks` in the order of making, `ports` of matching."""
    # A newer network's rules are put before those of older ones, and docker0 is the oldest.
    newest_first = [*reversed(networks), DOCKER0]
    lines = [
        "*filter",
        ":FORWARD DROP",
        *(f":{chain} -" for chain in ("DOCKER", *_ISOLATION, "DOCKER-USER")),
        "-A FORWARD -j DOCKER-USER",
        f"-A FORWARD -j {_ISOLATION[0]}",
        *(line for net in newest_first for line in _docker_forward(net.bridge)),
        *map(_docker_filter, ports),
        *(f"-A {_ISOLATION[0]} -i {net.bridge} ! -o {net.bridge} -j {_ISOLATION[1]}" for net in newest_first),
        f"-A {_ISOLATION[0]} -j RETURN",
        *(f"-A {_ISOLATION[1]} -o {net.bridge} -j DROP" for net in newest_first),
        f"-A {_ISOLATION[1]} -j RETURN",
        "-A DOCKER-USER -j RETURN",
        "COMMIT",
        "*nat",
        ":DOCKER -",
        *(f"-A {chain} -m addrtype --dst-type LOCAL -j DOCKER" for chain in ("PREROUTING", "OUTPUT")),
        *(line for net in newest_first for line in _docker_masquerade(net)),
        *(f"-A POSTROUTING -s {_own(each)} -d {_own(each)} {_dport(each)} -j MASQUERADE" for each in ports),
        *(f"-A DOCKER {_dport(each)} -j DNAT --to-destination {each.net.container}:{each.port}" for each in ports),
        "COMMIT",
    ]
    return "\n".join(lines) + "\n"


_ISOLATION = ("DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2")


def _docker_forward(bridge: str) -> Iterator[str]:
    yield f"-A FORWARD -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    yield f"-A FORWARD -o {bridge} -j DOCKER"
    yield f"-A FORWARD -i {bridge} ! -o {bridge} -j ACCEPT"
    yield f"-A FORWARD -i {bridge} -o {bridge} -j ACCEPT"


def _docker_filter(each: Published) -> str:
    bridge = each.net.bridge
    return f"-A DOCKER -d {_own(each)} ! -i {bridge} -o {bridge} {_dport(each)} -j ACCEPT"


def _docker_masquerade(net: Net) -> Iterator[str]:
    yield f"-A POSTROUTING -o {net.bridge} -m addrtype --src-type LOCAL -j MASQUERADE"
    yield f"-A POSTROUTING -s {net.subnet} ! -o {net.bridge} -j MASQUERADE"


def _own(each: Published) -> str:
    return f"{each.net.container}/32"


def _dport(each: Published) -> str:
    return f"-p {each.protocol} -m {each.protocol} --dport {each.port}"


def docker_nftables(networks: Sequence[Net], ports: Ports) -> str:
    """For nft: as Engine 29's backend of that name writes them."""
    nets = [DOCKER0, *networks]
    jumps = {
        f"{hook}-{way}-jumps": [f'"{net.bridge}" : jump {hook}-{way}__{net.bridge}' for net in nets]
        for hook in ("filter-forward", "nat-postrouting")
        for way in ("in", "out")
    }
    to_local = "fib daddr type local counter jump nat-prerouting-and-output"
    chains = {
        "filter-FORWARD": [
            "type filter hook forward priority filter; policy accept;",
            "oifname vmap @filter-forward-in-jumps",
            "iifname vmap @filter-forward-out-jumps",
        ],
        "nat-OUTPUT": ["type nat hook output priority dstnat; policy accept;", to_local],
        "nat-POSTROUTING": [
            "type nat hook postrouting priority srcnat; policy accept;",
            "iifname vmap @nat-postrouting-out-jumps",
            "oifname vmap @nat-postrouting-in-jumps",
        ],
        "nat-PREROUTING": ["type nat hook prerouting priority dstnat; policy accept;", to_local],
        "nat-prerouting-and-output": [
            f'{each.protocol} dport {each.port} counter dnat to {each.net.container}:{each.port} comment "DNAT"'
            for each in ports
        ],
        "raw-PREROUTING": [
            "type filter hook prerouting priority raw; policy accept;",
            *(
                f'ip daddr {net.container} iifname != "{net.bridge}" counter drop comment "DROP DIRECT ACCESS"'
                for net in networks
            ),
        ],
    }
    for net in nets:
        chains |= _docker_chains_of(net, [each for each in ports if each.net == net])
    maps = [
        f"map {name} {{\ntype ifname : verdict\nelements = {{ {', '.join(elements)} }}\n}}"
        for name, elements in jumps.items()
    ]
    return _table("ip docker-bridges", chains, maps)


def _docker_chains_of(net: Net, ports: Ports) -> dict[str, list[str]]:
    bridge, own = net.bridge, net.container
    return {
        f"filter-forward-in__{bridge}": [
            "ct state established,related counter accept",
            f'iifname "{bridge}" counter accept comment "ICC"',
            *(f"ip daddr {own} {each.protocol} dport {each.port} counter accept" for each in ports),
            'counter drop comment "UNPUBLISHED PORT DROP"',
        ],
        f"filter-forward-out__{bridge}": [
            "ct state established,related counter accept",
            'counter accept comment "OUTGOING"',
        ],
        f"nat-postrouting-in__{bridge}": [
            'fib saddr type local counter masquerade comment "MASQUERADE FROM HOST"',
            *(
                f"ip saddr {own} ip daddr {own} {each.protocol} dport {each.port} counter masquerade "
                'comment "MASQ TO OWN PORT"'
                for each in ports
            ),
        ],
        f"nat-postrouting-out__{bridge}": [
            f'oifname != "{bridge}" ip saddr {net.subnet} counter masquerade comment "MASQUERADE"'
        ],
    }


def netavark_nftables(networks: Sequence[Net], ports: Ports) -> str:
    """For nft: as netavark 1.14 writes them."""
    named = [(net, _netavark_chain(number, net)) for number, net in enumerate(networks, 1)]
    of_net = dict(named)
    to_local = "fib daddr type local jump NETAVARK-HOSTPORT-DNAT"
    chains = {
        "INPUT": [
            "type filter hook input priority filter; policy accept;",
            *(f"ip saddr {net.subnet} meta l4proto {{ tcp, udp }} th dport 53 accept" for net in networks),
        ],
        "FORWARD": [
            "type filter hook forward priority filter; policy accept;",
            "ct state invalid drop",
            "jump NETAVARK-ISOLATION-1",
            *(line for net in networks for line in _netavark_forward(net)),
        ],
        "POSTROUTING": [
            "type nat hook postrouting priority srcnat; policy accept;",
            "meta mark & 0x00002000 == 0x00002000 masquerade",
            *(f"ip saddr {net.subnet} jump {chain}" for net, chain in named),
        ],
        "PREROUTING": ["type nat hook prerouting priority dstnat; policy accept;", to_local],
        "OUTPUT": ["type nat hook output priority dstnat; policy accept;", to_local],
        "NETAVARK-HOSTPORT-DNAT": [f"{each.protocol} dport {each.port} jump {of_net[each.net]}_dnat" for each in ports],
        _SETMARK: ["meta mark set meta mark | 0x00002000"],
        "NETAVARK-ISOLATION-1": [],
        "NETAVARK-ISOLATION-2": [],
        "NETAVARK-ISOLATION-3": [
            *(f'oifname "{net.bridge}" drop' for net in reversed(networks)),
            "jump NETAVARK-ISOLATION-2",
        ],
    }
    by_net: dict[Net, list[Published]] = {net: [] for net in networks}
    for each in ports:
        by_net[each.net].append(each)
    for net, chain in named:
        chains[chain] = [f"ip daddr {net.subnet} accept", "ip daddr != 224.0.0.0/4 masquerade"]
        if by_net[net]:
            chains[f"{chain}_dnat"] = [line for each in by_net[net] for line in _netavark_dnat(each)]
    return _table("inet netavark", chains)


_SETMARK = "NETAVARK-HOSTPORT-SETMARK"


def netavark_id(number: int) -> str:
    """That of the network of this number, as Podman would make it."""
    return f"{number:064x}"[::-1]


def _netavark_chain(number: int, net: Net) -> str:
    return f"nv_{netavark_id(number)[:8]}_{str(net.subnet).replace('.', '_').replace('/', '_nm')}"


def _netavark_forward(net: Net) -> Iterator[str]:
    yield f"ip daddr {net.subnet} ct state established,related accept"
    yield f"ip saddr {net.subnet} accept"


def _netavark_dnat(each: Published) -> Iterator[str]:
    port = f"{each.protocol} dport {each.port}"
    yield f"ip saddr {each.net.subnet} {port} jump {_SETMARK}"
    yield f"ip saddr 127.0.0.1 {port} jump {_SETMARK}"
    yield f"{port} dnat ip to {each.net.container}:{each.port}"


def _table(name: str, chains: dict[str, list[str]], before: Iterable[str] = ()) -> str:
    """Chains that others jump to stand before all rules and maps."""
    empty = [f"add chain {name} {chain}" for chain, rules in chains.items() if not rules or "hook" not in rules[0]]
    full = ["\n".join([f"chain {chain} {{", *rules, "}"]) for chain, rules in chains.items()]
    return "\n".join([f"add table {name}", *empty, f"table {name} {{", *before, *full, "}"]) + "\n"
