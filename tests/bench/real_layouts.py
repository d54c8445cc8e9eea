# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds the layouts against what a real dockerd and a real netavark write for two networks."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from dockerd import Dockerd
from hosts import ThrowawayHost
from layouts import Net, Ports, Published, docker_iptables, netavark_id, netavark_nftables

NETAVARK = "/usr/lib/podman/netavark"
AARDVARK = "/usr/lib/podman/aardvark-dns"
PORTS_EACH = 20

Rules = dict[str, list[str]]


class LayoutError(Exception):
    """The real program writes other rules than those that are laid out here."""


def load(host: ThrowawayHost, rules: str) -> None:
    program = "iptables-restore" if rules.startswith("*") else "nft -f -"
    # Given as a file: a command line has no room for 10,000 ports.
    host.write("/run/layout", rules)
    host.run(f"{program} < /run/layout")


def hold_docker() -> None:
    """
    Raises:
        LayoutError: the layout is not what dockerd writes.
    """
    nets = [net_of(f"br-{name}", subnet) for name, subnet in (("one", "172.18.0.0/16"), ("two", "172.19.0.0/16"))]
    # Of one container, the last is matched first.
    ports = [port for number, net in enumerate(nets) for port in reversed(_ports(number, net))]
    networks = {net.bridge: {"driver_opts": {"com.docker.network.bridge.name": net.bridge}} for net in nets}
    containers = {
        f"on-{net.bridge}": {"networks": [net.bridge], "ports": [_mapping(port) for port in ports if port.net == net]}
        for net in nets
    }
    words = {"networks": networks, "containers": containers}
    with ThrowawayHost.started() as host, Dockerd.started(host, words) as dockerd:
        dockerd.make(words)
        written = _saved(host)
    _compare("dockerd", written, docker_iptables(nets, ports), _saved)


def hold_netavark() -> None:
    """
    Raises:
        FileNotFoundError: there is none.
        LayoutError: the layout is not what netavark writes.
    """
    if not Path(NETAVARK).exists():
        raise FileNotFoundError(f"{NETAVARK} is missing")
    nets = [net_of(f"br-{number}", f"10.88.{number}.0/24") for number in (1, 2)]
    by_net = [_ports(number, net) for number, net in enumerate(nets)]
    with ThrowawayHost.started() as host:
        host.run("mkdir /run/netavark")
        for number, (net, ports) in enumerate(zip(nets, by_net, strict=True), 1):
            set_up_by_netavark(host, netavark_options(number, net, f"on-{net.bridge}", ports))
        written = _listed(host)
    _compare("netavark", written, netavark_nftables(nets, [port for ports in by_net for port in ports]), _listed)


def netavark_options(number: int, net: Net, name: str, ports: Ports = (), dns: bool = False) -> dict[str, Any]:
    """What Podman would give netavark for a container on the network of this number."""
    gateway = str(next(net.subnet.hosts()))
    network = {
        "name": f"net{number}", "id": netavark_id(number), "driver": "bridge", "network_interface": net.bridge,
        "subnets": [{"subnet": str(net.subnet), "gateway": gateway}], "ipv6_enabled": False, "internal": False,
        "dns_enabled": dns, "ipam_options": {"driver": "host-local"},
    }  # fmt: skip
    attachment = {"static_ips": [str(net.container)], "interface_name": "eth0", "aliases": [name]}
    mappings = [
        {"container_port": p.port, "host_port": p.port, "host_ip": "", "protocol": p.protocol, "range": 1}
        for p in ports
    ]
    return {
        "container_id": name.encode().hex().ljust(64, "0"),
        "container_name": name,
        "networks": {f"net{number}": attachment},
        "network_info": {f"net{number}": network},
        "port_mappings": mappings,
    }


def set_up_by_netavark(host: ThrowawayHost, options: dict[str, Any]) -> None:
    host.run(setting_up_by_netavark(host, options))


def setting_up_by_netavark(host: ThrowawayHost, options: dict[str, Any]) -> str:
    """Make the container's namespace, and return the command that has it connected."""
    name = options["container_name"]
    host.run(f"ip netns add {name}")
    host.write(f"/run/netavark/{name}.json", json.dumps(options))
    return (
        f"NETAVARK_FW=nftables {NETAVARK} --config /run/netavark --aardvark-binary {AARDVARK} "
        f"--file /run/netavark/{name}.json setup /run/netns/{name} >/dev/null"
    )


def net_of(bridge: str, subnet: str) -> Net:
    network = IPv4Network(subnet)
    return Net(bridge, network, IPv4Address(int(network.network_address) + 2))


def _ports(number: int, net: Net) -> Sequence[Published]:
    return [Published(net, 10000 + number * PORTS_EACH + each) for each in range(PORTS_EACH)]


def _mapping(port: Published) -> str:
    return f"{port.port}:{port.port}/{port.protocol}"


def _compare(who: str, written: Rules, layout: str, listed: Callable[[ThrowawayHost], Rules]) -> None:
    with ThrowawayHost.started() as host:
        load(host, layout)
        laid_out = listed(host)
    for chain in sorted({*written, *laid_out}):
        theirs, here = written.get(chain), laid_out.get(chain)
        if theirs != here:
            raise LayoutError(f"chain {chain}: {who} writes {theirs}, and laid out is {here}")


def _saved(host: ThrowawayHost) -> Rules:
    """The rules and the policy of each chain of iptables, in their order."""
    rules: Rules = defaultdict(list)
    table = ""
    for line in re.sub(r" ?\[\d+:\d+\]", "", host.run("iptables-save")).splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith((":", "-A ")):
            chain, _space, rule = line.removeprefix("-A ").removeprefix(":").partition(" ")
            rules[f"{table} {chain}"].append(rule)
    # Those that iptables makes for itself, or not.
    return {chain: lines for chain, lines in rules.items() if lines != ["ACCEPT"]}


def _listed(host: ThrowawayHost) -> Rules:
    """The rules of each chain and map of nftables, in their order."""
    rules: Rules = {}
    for block in host.run("nft --stateless list ruleset").split("\n\n"):
        *_table, name = [line for line in block.splitlines() if line.endswith("{")] or [""]
        rules[name.strip(" \t{")] = [line.strip() for line in block.splitlines() if not line.endswith(("{", "}"))]
    return rules
