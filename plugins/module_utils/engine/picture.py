# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's networks as a picture for the terminal: each bridge, its veths, whom they serve, and what is published."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Iterator, List, Mapping, Tuple

from .declaration.model import CONTAINER_MODE, HOST_MODE, NONE_MODE

Seen = Mapping[str, Any]


def draw(seen: Seen) -> str:
    """What `observation.observe` saw, as lines of text."""
    branches = [_host_stack(seen), *(_network(seen, name) for name in seen["networks"]), _unconnected(seen)]
    lines = ["host"]
    filled = [branch for branch in branches if branch[0]]
    for number, (title, leaves) in enumerate(filled, start=1):
        last = number == len(filled)
        lines += ["│", f"{'└' if last else '├'}─ {title}"]
        lines += [f"{' ' if last else '│'}   {leaf}" for leaf in _joined(leaves)]
    return "".join(f"{line}\n" for line in lines)


Branch = Tuple[str, List[str]]


def _joined(leaves: List[str]) -> Iterator[str]:
    for number, leaf in enumerate(leaves, start=1):
        yield f"{'└' if number == len(leaves) else '├'}─ {leaf}"


def _host_stack(seen: Seen) -> Branch:
    """The host's own stack: its uplinks, and the containers in mode host."""
    uplinks = [link for link in seen["interfaces"] if link["kind"] != "bridge" and link["name"] != "lo"]
    leaves = [_uplink(link) for link in uplinks if link["state"] == "up"]
    leaves += [f"{name}  (network_mode host)" for name in _in_mode(seen, HOST_MODE)]
    return "the host's own stack", leaves


def _uplink(link: Seen) -> str:
    addresses = [address for address in link["addresses"] if not address.startswith("fe80:")]
    return f"{link['name']}  {_words(addresses)}  mtu {link['mtu']}"


def _network(seen: Seen, name: str) -> Branch:
    network = seen["networks"][name]
    marks = [mark for mark, holds in _marks(network) if holds]
    title = f"{network['bridge']}  network {name}  {_words(network['gateways'])}  mtu {network['mtu']}"
    columns = [row for endpoint in network["endpoints"] for row in [_endpoint(seen, endpoint)] if row]
    return "  ".join([title, *(f"[{mark}]" for mark in marks)]), _aligned(columns)


def _marks(network: Seen) -> Iterable[Tuple[str, bool]]:
    yield "absent", network["state"] == "absent"
    yield "down", network["state"] == "down"
    yield "internal", network["internal"]
    yield "no icc", not network["icc"]
    yield "no masquerade", not network["masquerade"]


def _endpoint(seen: Seen, endpoint: str) -> List[str]:
    name, _slash, network = endpoint.partition("/")
    container = seen["containers"].get(name)
    if container is None:
        return []
    here: Dict[str, Any] = container["endpoints"][network]
    addresses = {address.partition("/")[0] for address in here["addresses"]}
    ports = _ports(port for port in container["ports"] if port["address"] in addresses)
    sharers = [f"+ {other}" for other, its in seen["containers"].items() if its["shares"] == name]
    return [
        f"{here['host_interface']} ── {here['interface']}",
        " ".join([name, *sharers]),
        _words(here["addresses"]),
        _words(ports),
    ]


PortRow = Tuple[str, str, int, int]


def _ports(published: Iterable[Seen]) -> List[str]:
    """Ports, as `*:8080→80/tcp` for both families and `*:7000-7002→7000-7002/tcp` for a run of them."""
    host_ips: Dict[Tuple[str, int, int], List[str]] = {}
    for port in published:
        host_ip = f"[{port['host_ip']}]" if ":" in port["host_ip"] else port["host_ip"]
        host_ips.setdefault((port["protocol"], port["host_port"], port["target_port"]), []).append(host_ip)
    runs: List[List[PortRow]] = []
    for row in sorted((_where(ips), *port) for port, ips in host_ips.items()):
        if runs and _follows(runs[-1][-1], row):
            runs[-1].append(row)
        else:
            runs.append([row])
    return [_run(run) for run in runs]


def _where(host_ips: List[str]) -> str:
    return "*" if sorted(host_ips) == ["0.0.0.0", "[::]"] else ",".join(host_ips)


def _follows(before: PortRow, row: PortRow) -> bool:
    return row == (*before[:2], before[2] + 1, before[3] + 1)


def _run(rows: List[PortRow]) -> str:
    (where, protocol, host_port, target), last = rows[0], rows[-1]
    if len(rows) == 1:
        return f"{where}:{host_port}→{target}/{protocol}"
    return f"{where}:{host_port}-{last[2]}→{target}-{last[3]}/{protocol}"


def _unconnected(seen: Seen) -> Branch:
    names = _in_mode(seen, NONE_MODE)
    return ("no network (network_mode none)", names) if names else ("", [])


def _in_mode(seen: Seen, mode: str) -> List[str]:
    """The containers of a mode, each with those that share its stack."""
    found = []
    for name, container in seen["containers"].items():
        if container["mode"] == mode and mode != CONTAINER_MODE:
            sharers = [f"+ {other}" for other, its in seen["containers"].items() if its["shares"] == name]
            found.append(" ".join([name, *sharers]))
    return found


def _aligned(rows: List[List[str]]) -> List[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _words(items: Iterable[str]) -> str:
    return ", ".join(items)
