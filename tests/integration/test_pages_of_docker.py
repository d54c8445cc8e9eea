# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The how-to pages about Docker, block by block, on the host of a real dockerd, with a real ufw and firewalld."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from controller import CHECKOUT
from dockerd import Dockerd
from foreign_firewalls import firewalld, have_programs_of_others, skipping, start_ufw
from hosts import ABSENT, NEIGHBOUR, OUTSIDE, EngineError, ThrowawayHost, need_busybox
from test_follow import following, heard
from test_living_with_others import needs_root
from test_pages import assert_printed
from test_tutorial import commands

PLACES = {"# on another machine": OUTSIDE, "# on a third machine": NEIGHBOUR}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n|^((?: {4}[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
DOCKERS_DEFAULTS = {"host": {"userland-proxy": True}, "networks": {}}
# What a run needs on such a host.
BESIDE_DOCKER = {"host": {"bridge": "none", "x-wharf": {"accept-in-iptables-forward": True}}, "networks": {"app": {}}}

INDEX = "echo '<title>Welcome to nginx!</title>' > /run/image/www/index.html"
# In the place of an nginx: busybox serves a page by HTTP.
IMPORT_NGINX = f"""
mkdir -p /run/image/bin /run/image/etc /run/image/www
cp {shutil.which("busybox")} /run/image/bin/busybox
for each in cat httpd ip wget; do ln -s busybox /run/image/bin/$each; done
{INDEX}
tar c -C /run/image . |
    docker import --change 'CMD ["/bin/httpd", "-f", "-h", "/www"]' --change 'STOPSIGNAL KILL' - nginx:alpine
"""


@dataclass
class Reader:
    """Who goes through a page: each block of variables is added to those of the blocks before it."""

    host: ThrowawayHost
    page: str
    variables: dict[str, Any] = field(default_factory=dict)
    scope: Sequence[str] = ()

    def read(self, heading: str) -> None:
        """Declare the variables of a section, run its commands, and compare what they print."""
        for language, fenced, indented in BLOCK.findall(self.section(heading)):
            if language == "yaml":
                self._add(self.variables_of(fenced))
                self.run_playbook()
            elif language == "text":
                for command, expected in commands(fenced):
                    self._assert_printed(command, expected)
            else:
                self.run_commands(textwrap.dedent(indented))

    def variables_of(self, block: str) -> Any:
        return yaml.safe_load(block)

    def run_commands(self, script: str) -> None:
        self.host.run(script)

    def run_playbook(self) -> None:
        self.host.converge(self.variables, scope=self.scope)

    def section(self, heading: str) -> str:
        """To the next heading of the same level, or a higher one."""
        text = (CHECKOUT / f"docs/how-to/{self.page}.md").read_text(encoding="utf-8")
        begun = text.partition(f"\n{heading}\n")[2]
        assert begun, heading
        level = heading.index(" ")
        return re.split(rf"^#{{2,{level}}} ", begun, maxsplit=1, flags=re.MULTILINE)[0]

    def _add(self, variables: Any) -> None:
        for name, value in variables.items():
            key = name.removeprefix("wharf_")
            by_name = key in ("networks", "containers")
            self.variables[key] = {**self.variables.get(key, {}), **value} if by_name else value

    def _assert_printed(self, command: str, expected: str) -> None:
        if not command.startswith("curl "):
            assert_printed(self.host, command, expected)
            return
        _curl, address, *_comment = command.split()
        [place] = [place for comment, place in PLACES.items() if comment in command]
        fetched = self.fetched(place, address, not expected.startswith("curl: ("))
        assert expected in fetched or (not fetched and expected.startswith("curl: (")), command

    def is_reached(self, place: str, address: str, expected: bool) -> bool:
        return bool(self.fetched(place, address, expected))

    def fetched(self, place: str, address: str, expected: bool) -> str:
        """What is served there, nothing if nobody answers; a container that has just started may take a moment."""
        for _attempt in range(5 if expected else 1):
            with suppress(subprocess.CalledProcessError):
                return self.host.run(f"busybox wget -T 1 -qO- {address}", place)
            time.sleep(0.1)
        return ""


@contextmanager
def docker(host: ThrowawayHost, words: Any) -> Iterator[Dockerd]:
    need_busybox()
    with Dockerd.started(host, words) as started, host.engine_among(started.pid):
        started.run(IMPORT_NGINX)
        yield started


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """Of the page on Docker. The tests go through it from its beginning to its end."""
    with ThrowawayHost.started() as host:
        # Before dockerd starts, whose containers keep what was mounted before.
        with suppress(subprocess.CalledProcessError):
            have_programs_of_others(host)
        with docker(host, DOCKERS_DEFAULTS):
            yield Reader(host, "docker")


def test_a_port_of_a_live_container(reader: Reader) -> None:
    reader.read("## Start the container without a network")
    started = "docker inspect --format '{{.State.StartedAt}}' web"
    began = reader.host.run(started)
    assert reader.host.run("docker port web") == ""
    reader.read("## Change the port")
    reader.read("## What the container sees")
    assert reader.host.run(started) == began


def test_a_container_that_restarts(reader: Reader) -> None:
    """At once by the service, and otherwise by the next run."""
    port = "http://192.0.2.10:8081"
    with following(reader.host, is_confined=False) as process:
        reader.host.run("docker restart --time 0 web")
        assert heard(process)["connected"] == {"docker:web"}
        assert reader.is_reached(OUTSIDE, port, True)
    reader.host.run("docker rm --force web; docker run --detach --name web --network none nginx:alpine")
    assert not reader.is_reached(OUTSIDE, port, False)
    reader.run_playbook()
    assert reader.is_reached(OUTSIDE, port, True)
    reader.read("## What the container sees")


def test_a_container_on_a_network_of_docker(reader: Reader) -> None:
    reader.read("## Add a port to a container on a Docker network")
    strict = "net.ipv4.conf.all.rp_filter"
    for value, expected in ("1", False), ("2", True):
        reader.host.run(f"sysctl -qw {strict}={value}")
        assert reader.is_reached(OUTSIDE, "http://192.0.2.10:8082", expected) == expected
    reader.host.run(f"sysctl -qw {strict}=0")
    taken = {**reader.variables["containers"]["shop"], "ports": ["9000:80"]}
    with pytest.raises(EngineError, match="port 9000/tcp is taken by a process of the host"):
        reader.host.apply({**reader.variables, "containers": {"shop": taken}})


@needs_root
def test_docker_bypasses_ufw(reader: Reader) -> None:
    with skipping():
        reader.host.run("command -v ufw || exit 77")
    start_ufw(reader.host)
    reader.read("## Stop Docker from bypassing ufw and firewalld")


@needs_root
def test_docker_bypasses_firewalld() -> None:
    with ThrowawayHost.started() as host:
        with skipping():
            have_programs_of_others(host)
        with firewalld(host), docker(host, DOCKERS_DEFAULTS):
            alone = Reader(host, "docker", scope=["docker_user"])
            assert "9000" not in host.run("firewall-cmd --list-all")
            host.run("docker run --detach --name shop --publish 9000:80 nginx:alpine")
            assert alone.is_reached(NEIGHBOUR, "http://192.0.2.10:9000", True)
            before = host.run("firewall-cmd --list-all-policies; firewall-cmd --list-all-zones")
            alone.read("### Restrict ports that Docker publishes")
            assert host.run("firewall-cmd --list-all-policies; firewall-cmd --list-all-zones") == before
            host.run("docker run --detach --name web --network none nginx:alpine")
            Reader(host, "docker", copy.deepcopy(BESIDE_DOCKER)).read("### Publish with `allow_from`")


def test_docker_without_rules(host: ThrowawayHost) -> None:
    words = {**DOCKERS_DEFAULTS, "host": {"userland-proxy": True, "iptables": False, "ip6tables": False}}
    with docker(host, words) as dockerd:
        host.run("sysctl -qw net.ipv4.ip_forward=1; iptables -P INPUT DROP; iptables -A INPUT -i lo -j ACCEPT")
        host.run(
            "docker network create own; docker run --detach --name own --network own --publish 8085:81 nginx:alpine"
        )
        container = "docker inspect --format {{.State.Pid}} own"
        host.name_place("own", f"{dockerd.processes}/proc/{host.run(container).strip()}/ns/net")
        host.serve("own", "81/tcp")
        host.serve(OUTSIDE, "82/tcp")
        assert not host.probe(OUTSIDE, "192.0.2.10:8085/tcp", False).is_open
        host.run("iptables -A INPUT -p tcp --dport 8085 -j ACCEPT; iptables -A INPUT -i br-+ -j ACCEPT")
        gateway = "docker inspect --format '{{.NetworkSettings.Networks.own.Gateway}}' own"
        assert host.probe(OUTSIDE, "192.0.2.10:8085/tcp").sees == host.run(gateway).strip()
        address = host.run(gateway.replace("Gateway", "IPAddress")).strip()
        assert host.probe("own", "192.0.2.1:82/tcp").sees == address
        host.run("docker run --detach --name web --network none nginx:alpine")
        web = {"networks": ["app"], "ports": ["8080:80"], "x-wharf": {"sandbox": "docker:web"}}
        reader = Reader(host, "docker", {**BESIDE_DOCKER, "host": {"bridge": "none"}, "containers": {"web": web}})
        reader.run_playbook()
        assert reader.is_reached(OUTSIDE, "http://192.0.2.10:8080", True)


@pytest.fixture(scope="module")
def migration() -> Iterator[Reader]:
    with ThrowawayHost.started() as host, docker(host, DOCKERS_DEFAULTS):
        yield Reader(host, "migrate")


def test_containers_move_one_by_one(migration: Reader) -> None:
    migration.read("## Move one container at a time")
    migration.host.run("docker restart web")
    assert migration.host.run("docker inspect --format '{{len .NetworkSettings.Networks}}' web") == "0\n"
    clean_up(migration)


def test_a_network_moves_as_a_whole_and_back(migration: Reader) -> None:
    migration.read("## Move a whole network at once")
    migration.host.converge({}, ABSENT)
    migration.read("## Go back")
    clean_up(migration)


def test_a_container_joins_a_network_of_docker(migration: Reader) -> None:
    migration.variables = copy.deepcopy(BESIDE_DOCKER)
    migration.read("## Join a Docker network that stays")
    at_old = copy.deepcopy(migration.variables)
    at_old["containers"]["new"]["networks"] = ["old"]
    [warning] = migration.host.apply(at_old).warnings
    assert "published port 8082/tcp of new" in warning
    assert not migration.is_reached(OUTSIDE, "http://192.0.2.10:8082", False)


def clean_up(reader: Reader) -> None:
    reader.host.converge({}, ABSENT)
    reader.host.run("docker rm --force $(docker ps --all --quiet); docker network prune --force")
    reader.variables = {}
