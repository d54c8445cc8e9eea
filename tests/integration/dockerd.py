# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real dockerd in a throwaway host, and the commands by which it makes what our words declare.

It has the host's namespaces and its /run, /var/lib and /etc, and a namespace of processes of its own, with which it
and all that it starts is gone. Of this machine it has the cgroups only; those that it makes are removed again.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hosts import ThrowawayHost
from matrix import Addresses

Words = Mapping[str, Any]

COMMANDS = ("dockerd", "containerd", "runc", "docker", "tar", "setpriv", "unshare")
ENGINE = "26.1"
SOCKET = "unix:///run/docker.sock"
LOG = "/run/dockerd.log"
CGROUPS = Path("/sys/fs/cgroup")

# Seconds. It takes one or two.
STARTED_WITHIN = 30

# Containers are run from this machine's own programs, read-only.
IMAGE = "machine"
IMPORT_IMAGE = f"cd / && tar c $(ls -d bin lib* sbin) | docker import - {IMAGE}"

# Words of today's Docker that Engine 26.1 does not know.
LATER_OPTIONS = frozenset(
    {
        "com.docker.network.bridge.gateway_mode_ipv4",
        "com.docker.network.bridge.gateway_mode_ipv6",
        "com.docker.network.bridge.trusted_host_interfaces",
    }
)


# The commands


def daemon_json(words: Words) -> dict[str, Any]:
    """dockerd's own file: the words of `host`, and what Engine 26.1 needs for the same to hold in IPv6."""
    by_default = {"userland-proxy": False, "experimental": True, "ip6tables": True}
    # Not below /var/lib, all files of which are read to see what has changed.
    private = {"exec-opts": ["native.cgroupdriver=cgroupfs"], "hosts": [SOCKET], "data-root": "/run/docker-data"}
    host = words.get("host", {})
    ipv6 = {"fixed-cidr-v6": "fd00:26::/64"} if host.get("ipv6") else {}
    return {**by_default, **ipv6, **host, **private}


def commands(words: Words) -> Iterator[list[str]]:
    """`docker network create` and `docker run` for each network and container."""
    for number, (name, network) in enumerate(words["networks"].items()):
        yield ["docker", "network", "create", *_network_options(network or {}, number), name]
    for name, container in words["containers"].items():
        options = ["--detach", "--name", name, *_container_options(container or {})]
        yield ["docker", "run", *options, "--volume", "/usr:/usr:ro", IMAGE, "sleep", "infinity"]


def _network_options(network: Words, number: int) -> Iterator[str]:
    for key, value in network.items():
        if key == "driver":
            yield from ["--driver", value]
        elif key == "ipam":
            for pool in value["config"]:
                options = {"subnet": "--subnet", "gateway": "--gateway", "ip_range": "--ip-range"}
                yield from (word for each, said in pool.items() for word in (options[each], said))
        elif key == "enable_ipv6" and "ipam" in network:
            yield from ["--ipv6"] if value else []
        elif key == "enable_ipv6":
            # Engine 26.1 has no pool of IPv6 subnets.
            subnet = f"fd00:26:{number + 1:x}::"
            yield from ["--ipv6", "--subnet", f"{subnet}/64", "--gateway", f"{subnet}1"] if value else []
        elif key == "internal":
            yield from ["--internal"] if value else []
        elif key == "driver_opts":
            yield from (word for option in value.items() for word in ("--opt", "=".join(option)))
        else:
            raise ValueError(f"nobody has said yet what {key} is to `docker network create`")


def _container_options(container: Words) -> Iterator[str]:
    for key, value in container.items():
        if key == "networks":
            yield from (word for network in value for word in ("--network", network))
        elif key == "network_mode":
            yield from ["--network", value.replace("service:", "container:")]
        elif key == "ports":
            yield from (word for port in value for word in ("--publish", port))
        else:
            raise ValueError(f"nobody has said yet what {key} is to `docker run`")


# The daemon


@dataclass(frozen=True)
class Dockerd:
    host: ThrowawayHost
    pid: int

    @property
    def processes(self) -> str:
        """A path to its root folder, whose `proc` shows what it and its containers run."""
        return f"/proc/{self.pid}/root"

    @classmethod
    @contextmanager
    def started(cls, host: ThrowawayHost, words: Words) -> Iterator[Dockerd]:
        _skip_where_it_cannot_run(host)
        cgroup = f"wharf-{host.agent.pid}"
        host.run("mkdir -p /etc/docker")
        host.write("/etc/docker/daemon.json", json.dumps({**daemon_json(words), "cgroup-parent": f"/{cgroup}"}))
        # Whatever ends this process ends that one, too, and the kernel then all that is in its namespace.
        alone = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        logging = f"exec dockerd >{LOG} 2>&1"
        process = subprocess.Popen([*host.enter(), *alone, "sh", "-c", logging], env=environment)
        try:
            _wait_for(process, host)
            yield cls(host, _child_of(process.pid))
        finally:
            _end(process)
            remove_cgroups(cgroup)

    def make(self, words: Words) -> Addresses:
        """Have networks and containers made; the host then knows the containers' places by their names."""
        self.run(IMPORT_IMAGE)
        for command in commands(words):
            self.run(shlex.join(command))
        containers = self.name_places(words["containers"])
        return _addresses(containers, self._inspect("network", self.run("docker network ls --quiet").split()))

    def name_places(self, names: Any) -> Any:
        """Let the host know where the containers are now, and return what there is to know of them."""
        containers = self._inspect("container", names)
        for each in containers:
            self.host.name_place(each["Name"].strip("/"), f"{self.processes}/proc/{each['State']['Pid']}/ns/net")
        return containers

    def _inspect(self, kind: str, names: Any) -> Any:
        return json.loads(self.run(f"docker {kind} inspect {shlex.join(names)}"))

    def run(self, script: str) -> str:
        return self.host.run(f"export DOCKER_HOST={SOCKET}\n{script}")


def _skip_where_it_cannot_run(host: ThrowawayHost) -> None:
    missing = [name for name in COMMANDS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
    if missing:
        pytest.skip(f"this needs the Docker of Debian 13: docker.io and docker-cli. Missing: {', '.join(missing)}")
    if os.geteuid():
        pytest.skip("dockerd needs root")
    if not any(CGROUPS.glob("**/cgroup.procs")):
        pytest.skip(f"dockerd needs cgroups, and none are mounted below {CGROUPS}")
    version = host.run("dockerd --version")
    if f" {ENGINE}." not in version:
        pytest.skip(f"what is known of dockerd is known of Engine {ENGINE}, and this is {version}")


def _wait_for(process: subprocess.Popen[bytes], host: ThrowawayHost) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(subprocess.CalledProcessError):
            host.run(f"docker --host {SOCKET} version")
            return
        time.sleep(0.05)
    pytest.fail(f"dockerd does not start:\n{host.read(LOG)}")


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(IndexError, FileNotFoundError, ProcessLookupError):
        os.kill(_child_of(process.pid), 9)
    process.wait(timeout=30)


def remove_cgroups(name: str) -> None:
    """Processes that were killed may take a moment to leave theirs."""
    for top in [CGROUPS / name, *CGROUPS.glob(f"*/{name}")]:
        for folder, _folders, _files in os.walk(top, topdown=False):
            for _attempt in range(100):
                try:
                    os.rmdir(folder)
                    break
                except OSError:
                    time.sleep(0.05)


def _addresses(containers: Any, networks: Any) -> Addresses:
    pools = [(network["Name"], pool) for network in networks for pool in network["IPAM"]["Config"] or ()]
    gateways = [(network, pool["Gateway"]) for network, pool in pools if "Gateway" in pool]
    endpoints = [
        (container["Name"].strip("/"), network, has)
        for container in containers
        for network, has in container["NetworkSettings"]["Networks"].items()
    ]
    # The default bridge's IPv6 gateway is in its endpoints only.
    gateways += [(network, has[key]) for _name, network, has in endpoints for key in ("Gateway", "IPv6Gateway")]
    named = [(f"gateway@{network}", address) for network, address in gateways]
    named += [(f"{name}@{network}", has[key]) for name, network, has in endpoints for key in _OWN_ADDRESSES]
    return Addresses({(name, 6 if ":" in address else 4): address for name, address in named if address})


_OWN_ADDRESSES = ("IPAddress", "GlobalIPv6Address")
