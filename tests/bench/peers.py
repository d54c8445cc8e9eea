# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What else connects containers: each adds and removes one container with a published port, and says how long it took.

All have the same to do: container N is on network N modulo `NETWORKS`, has an address of both families, answers on port
80 by port 10000 + N of the host, and gets the names of its neighbours where the peer can do that. Its network
namespace exists before the clock starts; Docker, which makes its own, is measured as the difference to a container
without a network.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pytest
from dockerd import IMAGE, IMPORT_IMAGE, SOCKET, Dockerd, commands
from hosts import ThrowawayHost
from stopwatch import CommandError, Stopwatch

NETWORKS = 20
FIRST_PORT = 10000


class Peer(Protocol):
    """`grow` makes containers FIRST to LAST-1 exist; `add` and `remove` return seconds."""

    name: str

    def grow(self, first: int, last: int) -> None: ...

    def add(self, number: int) -> float: ...

    def remove(self, number: int) -> float: ...

    def again(self, number: int) -> str:
        """What it says if it is to add once more a container that is there; empty if that is well."""

    def memory(self) -> float:
        """MiB of the largest process of it."""


class Missing(Exception):
    """A peer cannot be measured here, and why."""


class _InNamespaces:
    """Peers that connect a network namespace that is there."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._peak = 0.0

    def namespaces(self, first: int, last: int) -> None:
        self._stopwatch.shell("\n".join(f"ip netns add c{number}" for number in range(first, last)))

    def grow(self, first: int, last: int) -> None:
        self.namespaces(first, last)
        for number in range(first, last):
            self.connect(number)

    def add(self, number: int) -> float:
        self.namespaces(number, number + 1)
        return self.connect(number)

    def connect(self, number: int) -> float:
        raise NotImplementedError

    def again(self, number: int) -> str:
        return _said(lambda: self.connect(number))

    def memory(self) -> float:
        return self._peak

    def _seconds(self, command: Sequence[str], given: Any, environment: dict[str, str]) -> tuple[float, str]:
        ran = self._stopwatch.run(command, json.dumps(given), environment)
        self._peak = max(self._peak, ran.peak)
        return ran.seconds, ran.output


class Netavark(_InNamespaces):
    """Debian's netavark, as Podman calls it, with aardvark-dns for the names."""

    name = "netavark, nftables"
    folder = Path("/usr/lib/podman")

    def connect(self, number: int) -> float:
        return self._call("setup", number)

    def remove(self, number: int) -> float:
        return self._call("teardown", number)

    def _call(self, what: str, number: int) -> float:
        binaries = [str(self.folder / name) for name in ("netavark", "aardvark-dns")]
        command = [binaries[0], "--config", "/run/nv", "--aardvark-binary", binaries[1], what, f"/run/netns/c{number}"]
        self._stopwatch.shell("mkdir -p /run/nv")
        return self._seconds(command, self._asked(number), {"NETAVARK_FW": "nftables"})[0]

    def _asked(self, number: int) -> Any:
        network, host = number % NETWORKS, number // NETWORKS + 2
        name, identifier = f"net{network}", f"{network:064x}"
        subnets = [
            {"subnet": f"10.89.{network}.0/24", "gateway": f"10.89.{network}.1"},
            {"subnet": f"fd00:89:{network:x}::/64", "gateway": f"fd00:89:{network:x}::1"},
        ]
        endpoint = {
            "static_ips": [f"10.89.{network}.{host}", f"fd00:89:{network:x}::{host:x}"],
            "interface_name": "eth0",
            "aliases": [f"c{number}"],
        }
        info = {
            "name": name, "id": identifier, "driver": "bridge", "network_interface": f"podman{network}",
            "subnets": subnets, "ipv6_enabled": True, "internal": False, "dns_enabled": True,
            "ipam_options": {"driver": "host-local"},
        }  # fmt: skip
        port = {"container_port": 80, "host_port": FIRST_PORT + number, "host_ip": "", "protocol": "tcp", "range": 1}
        return {
            "container_id": f"{number:064x}",
            "container_name": f"c{number}",
            "networks": {name: endpoint},
            "network_info": {name: info},
            "port_mappings": [port],
        }


class Cni(_InNamespaces):
    """Debian's CNI plugins, as a runtime calls them one after the other. They know no names of neighbours."""

    name = "CNI bridge, firewall, portmap"
    folder = Path("/usr/lib/cni")

    def connect(self, number: int) -> float:
        total, result = 0.0, None
        for plugin in self._plugins(number):
            seconds, output = self._call("ADD", number, plugin, result)
            total, result = total + seconds, json.loads(output)
        self._results[number] = result
        return total

    def remove(self, number: int) -> float:
        result = self._results.pop(number)
        return sum(self._call("DEL", number, plugin, result)[0] for plugin in reversed(self._plugins(number)))

    @cached_property
    def _results(self) -> dict[int, Any]:
        return {}

    def _call(self, what: str, number: int, plugin: dict[str, Any], previous: Any) -> tuple[float, str]:
        environment = {
            "CNI_COMMAND": what,
            "CNI_CONTAINERID": f"c{number}",
            "CNI_NETNS": f"/run/netns/c{number}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.folder),
        }
        given = {"cniVersion": "1.0.0", "name": f"net{number % NETWORKS}", **plugin}
        given |= {"prevResult": previous} if previous else {}
        command = [str(self.folder / plugin["type"])]
        try:
            return self._seconds(command, given, environment)
        except CommandError as error:
            # What changes beside it may interrupt the plugin's lists of links and addresses. Runtimes begin anew then.
            if "interrupted system call" not in str(error):
                raise
        self._seconds(command, given, {**environment, "CNI_COMMAND": "DEL"})
        return self._seconds(command, given, environment)

    def _plugins(self, number: int) -> list[dict[str, Any]]:
        network = number % NETWORKS
        subnets = (f"10.90.{network}.0/24", f"fd00:90:{network:x}::/64")
        ipam = {
            "type": "host-local",
            "ranges": [[{"subnet": subnet}] for subnet in subnets],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        }
        port = {"hostPort": FIRST_PORT + number, "containerPort": 80, "protocol": "tcp"}
        bridge = {"type": "bridge", "bridge": f"cni{network}", "isGateway": True, "ipMasq": True, "hairpinMode": True}
        return [
            {**bridge, "ipam": ipam},
            {"type": "firewall", "backend": "iptables"},
            {"type": "portmap", "runtimeConfig": {"portMappings": [port]}},
        ]


class Docker:
    """A real dockerd, without the proxies that it starts for each port by default."""

    name = "docker run"

    def __init__(self, dockerd: Dockerd, stopwatch: Stopwatch) -> None:
        self._dockerd = dockerd
        self._stopwatch = stopwatch

    def prepare(self) -> None:
        self._dockerd.run(IMPORT_IMAGE)
        networks = {f"net{n}": {"enable_ipv6": True} for n in range(NETWORKS)}
        for command in commands({"networks": networks, "containers": {}}):
            self._dockerd.run(shlex.join(command))

    def grow(self, first: int, last: int) -> None:
        """By two clients at once: nobody measures that."""
        run = " ".join(self._run("c$1", "--network net$2 --publish $3:80"))
        numbers = "\n".join(f"{n} {n % NETWORKS} {FIRST_PORT + n}" for n in range(first, last))
        script = f"xargs -P 2 -L 1 sh -c '{run} >/dev/null' run <<END\n{numbers}\nEND"
        self._stopwatch.run(["sh", "-ec", script], environment={"DOCKER_HOST": SOCKET})

    def add(self, number: int) -> float:
        options = f"--network net{number % NETWORKS} --publish {FIRST_PORT + number}:80"
        with_network = self._seconds(self._run(f"c{number}", options))
        return with_network - self._seconds(self._run(f"lone{number}", "--network none"))

    def remove(self, number: int) -> float:
        with_network = self._seconds(["docker", "rm", "--force", f"c{number}"])
        return with_network - self._seconds(["docker", "rm", "--force", f"lone{number}"])

    def connect(self, number: int) -> float:
        """Another network for a container that runs, which publishes no port."""
        return self._seconds(["docker", "network", "connect", f"net{(number + 1) % NETWORKS}", f"c{number}"])

    def again(self, number: int) -> str:
        return _said(lambda: self._seconds(self._run(f"c{number}", f"--network net{number % NETWORKS}")))

    def memory(self) -> float:
        status = Path(f"/proc/{self._dockerd.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def _seconds(self, command: Sequence[str]) -> float:
        return self._stopwatch.run(command, environment={"DOCKER_HOST": SOCKET}).seconds

    def _run(self, name: str, options: str) -> list[str]:
        line = f"docker run --detach --name {name} {options} --volume /usr:/usr:ro {IMAGE} sleep infinity"
        return line.split()


def _said(run: Callable[[], float]) -> str:
    """The words of the error, on one line."""
    try:
        run()
    except CommandError as error:
        return " ".join(error.said.split())
    return ""


@contextmanager
def started(kind: type) -> Iterator[Peer]:
    """A peer in a throwaway host of its own.

    Raises:
        Missing: it cannot be had here.
    """
    if kind is Docker:
        try:
            with ThrowawayHost.started() as host, Dockerd.started(host, {}) as dockerd, Stopwatch.inside(host) as watch:
                docker = Docker(dockerd, watch)
                docker.prepare()
                yield docker
        except pytest.skip.Exception as reason:
            raise Missing(str(reason)) from reason
        return
    if not kind.folder.is_dir():
        raise Missing(f"{kind.folder} is not there")
    if os.geteuid():
        raise Missing("it needs root")
    with Stopwatch.started() as watch:
        yield kind(watch)


PEERS: tuple[type, ...] = (Netavark, Cni, Docker)
