# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's networks as a picture for the terminal: each bridge, its veths, whom they serve, and what is published."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator, List, Mapping, Sequence, Tuple

from ..declaration.model import CONTAINER_MODE, HOST_MODE, NONE_MODE
from .limits import limits
from .ports import joined

Seen = Mapping[str, Any]

_NOTHING = "nothing is declared on this host"


_RED, _GREEN, _YELLOW, _BOLD = "\033[31m", "\033[32m", "\033[33m", "\033[1m"
_PLAIN = "\033[0m"


def draw(seen: Seen, problems: Sequence[str] = (), is_coloured: bool = False) -> str:
    """What `observation.observe` saw, as lines of text; first what is wrong, and what kept anything from being seen."""
    paint = _paint if is_coloured else _leave_plain
    branches = [_host_stack(seen), *(_network(seen, name, paint) for name in seen["networks"]), _unconnected(seen)]
    marked = [paint(f"! {line}", _RED) for line in (*problems, *seen["trouble"])]
    lines = [*marked, "", "host"] if marked else ["host"]
    filled = [branch for branch in branches if branch[0]]
    for number, (title, leaves) in enumerate(filled, start=1):
        last = number == len(filled)
        lines += ["│", f"{'└' if last else '├'}─ {paint(title, _BOLD)}"]
        lines += [f"{' ' if last else '│'}   {leaf}" for leaf in _joined(leaves)]
    if not seen["networks"] and not problems:
        others = ", ".join(seen["declared"])
        lines += ["", f"no network is declared on this host; declared are: {others}" if others else _NOTHING]
    return "".join(f"{line}\n" for line in lines)


Branch = Tuple[str, List[str]]
Paint = Callable[[str, str], str]


def _paint(text: str, colour: str) -> str:
    return f"{colour}{text}{_PLAIN}" if text else ""


def _leave_plain(text: str, _colour: str) -> str:
    return text


def _joined(leaves: List[str]) -> Iterator[str]:
    for number, leaf in enumerate(leaves, start=1):
        yield f"{'└' if number == len(leaves) else '├'}─ {leaf}"


def _host_stack(seen: Seen) -> Branch:
    """The host's own stack: its interfaces, and the containers in mode host."""
    tunnels = [network["tunnel"]["name"] for network in seen["networks"].values() if network.get("tunnel")]
    within = ("lo", *tunnels)
    interfaces = [link for link in seen["interfaces"] if link["kind"] != "bridge" and link["name"] not in within]
    leaves = [_interface(link) for link in interfaces if link["state"] == "up"]
    leaves += [f"{name}  (network_mode host)" for name in _in_mode(seen, HOST_MODE)]
    return "the host's own stack", leaves


def _interface(link: Seen) -> str:
    addresses = [address for address in link["addresses"] if not address.startswith("fe80:")]
    return f"{link['name']}  {_words(addresses)}  mtu {link['mtu']}"


def _network(seen: Seen, name: str, paint: Paint) -> Branch:
    network = seen["networks"][name]
    marks = [mark for mark, holds in _marks(network) if holds]
    link, ends = network["bridge"], network["gateways"]
    if network.get("parent") or network.get("uplink"):
        link, ends = network.get("parent") or link, network["subnets"]
    title = f"{link}  network {name}  {_words(ends)}  mtu {network['mtu']}"
    rows = [
        _endpoint(seen, owner, its, its["endpoints"][name])
        for owner, its in seen["containers"].items()
        if name in its["endpoints"] and name not in its["unconnected"]
    ]
    left = [f"{owner}  ({its['unconnected'][name]})" for owner, its in _containers(seen) if name in its["unconnected"]]
    # The last column is not padded.
    columns = [[*row[:-1], paint(row[-1], _GREEN)] for row in rows]
    return "  ".join([title, *(f"[{mark}]" for mark in marks)]), [
        *_aligned(columns),
        *(paint(line, _YELLOW) for line in left),
        *_aligned([*_peers(network)]),
    ]


def _peers(network: Seen) -> Iterator[List[str]]:
    """The other hosts of an overlay network, with what is behind each of them."""
    tunnel = network.get("tunnel")
    by = "a plain route"
    if tunnel:
        kind = f"VXLAN {tunnel['vni']}" if "vni" in tunnel else "WireGuard"
        by = f"{tunnel['name']} ── {kind}"
        by += f" ({tunnel['state']})" if tunnel["state"] != "up" else ""
    for name, peer in network.get("peers", {}).items():
        lacking = " (no key yet)" if peer.get("public_key", "given") is None else ""
        ports = [f"*:{each['port']}→{each['container']}/{each['protocol']}" for each in peer["ingress"]]
        yield [by + lacking, f"host {name}", _words(peer["slices"]), f"at {peer['address']}", _words(ports)]


def _containers(seen: Seen) -> Iterable[Tuple[str, Seen]]:
    """Each by its name, with those that share its stack."""
    for name, container in seen["containers"].items():
        yield _with_sharers(seen, name), container


def _with_sharers(seen: Seen, name: str) -> str:
    sharers = [f"+ {other}" for other, its in seen["containers"].items() if its["shares"] == name]
    return " ".join([name, *sharers])


def _marks(network: Seen) -> Iterable[Tuple[str, bool]]:
    yield "absent", network["state"] == "absent"
    yield "down", network["state"] == "down"
    yield "internal", network["internal"]
    if network.get("parent"):
        yield " ".join(filter(None, [network["driver"], network["mode"], network["flag"]])), True
        yield f"the host is {_words(network.get('host', ()))}", bool(network.get("host"))
    else:
        yield "no icc", not network["icc"]
        yield "no masquerade", not network["masquerade"] and not network.get("uplink")
        yield f"uplink {network.get('uplink')}", bool(network.get("uplink"))


def _endpoint(seen: Seen, name: str, container: Seen, here: Seen) -> List[str]:
    addresses = {address.partition("/")[0] for address in here["addresses"]}
    ports = [port for port in container["ports"] if port["address"] in addresses]
    missing = [port for port in ports if {"container": name, **port} not in seen["published"]]
    published = _words(map(str, joined(port for port in ports if port not in missing)))
    unpublished = f"(not published: {_words(map(str, joined(missing)))})" if missing else ""
    return [
        " ── ".join(filter(None, [here["host_interface"], here["interface"]])),
        _with_sharers(seen, name),
        _words(here["addresses"]),
        " ".join(filter(None, [published, unpublished])),
        _words(limits(here)),
    ]


def _unconnected(seen: Seen) -> Branch:
    names = _in_mode(seen, NONE_MODE)
    return ("no network (network_mode none)", names) if names else ("", [])


def _in_mode(seen: Seen, mode: str) -> List[str]:
    """The containers of a mode, each with those that share its stack."""
    return [owner for owner, its in _containers(seen) if its["mode"] == mode and mode != CONTAINER_MODE]


def _aligned(rows: List[List[str]]) -> List[str]:
    widths = [max(len(cell) for cell in column) for column in list(zip(*rows))[:-1]]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]).rstrip() for row in rows]


def _words(items: Iterable[str]) -> str:
    return ", ".join(items)
