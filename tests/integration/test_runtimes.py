# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that somebody else runs: connected, named, left alone while they do not run, and given back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dockerd import Dockerd
from hosts import EXACT, EngineError, ThrowawayHost, differences

HOST_ADDRESS = "192.0.2.10"

WORDS: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True}},
    "containers": {
        "web": {"networks": ["front"], "ports": ["8080:80"], "x-wharf": {"sandbox": "podman:web"}},
        "app": {"networks": ["front"]},
    },
}


# Not below /var/lib, all files of which are read to see what has changed.
_STORAGE = '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/run"\ngraphroot = "/run/containers/graph"'
# By runc where it is installed: crun refuses to start where control groups of both versions are mounted.
_RUNTIME = "runc" if shutil.which("runc") else "crun"
_SETTINGS = f'[engine]\nruntime = "{_RUNTIME}"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"'


class Podman:
    """Podman in a throwaway host, with one image of nothing but busybox."""

    def __init__(self, host: ThrowawayHost) -> None:
        self._host = host
        host.run(
            f"""
            mkdir -p /run/image/bin /run/image/etc
            cp {shutil.which("busybox")} /run/image/bin/busybox
            mkdir /etc/containers
            echo '{{"default": [{{"type": "insecureAcceptAnything"}}]}}' > /etc/containers/policy.json
            echo '{_STORAGE}' > /etc/containers/storage.conf
            echo '{_SETTINGS}' > /etc/containers/containers.conf
            for each in sh sleep cat; do ln -s busybox /run/image/bin/$each; done
            """
        )
        self.run("import - tiny", "tar c -C /run/image . |")

    def run(self, arguments: str, before: str = "") -> str:
        # What watches over a container goes on to hold its standard error.
        log = "2>/run/podman.log || { cat /run/podman.log >&2; exit 1; }"
        return self._host.run(f"{before} podman {arguments} {log}")

    def start(self, name: str, network: str = "none") -> None:
        self.run(f"run --detach --name {name} --network {network} tiny /bin/sleep 1000 </dev/null >/dev/null")

    def namespace(self, name: str) -> str:
        return f"/proc/{self.run(f'inspect --format {{{{.State.Pid}}}} {name}').strip()}/ns/net"

    def read(self, name: str, path: str) -> str:
        return self.run(f"exec {name} /bin/cat {path}")


@pytest.fixture
def podman(host: ThrowawayHost) -> Iterator[Podman]:
    if not (Path("/usr/bin/podman").exists() and shutil.which("busybox")):
        pytest.skip("podman and a static busybox are not installed here")
    started = Podman(host)
    yield started
    started.run("rm --all --force --time 0")


def test_a_container_is_connected_and_named(host: ThrowawayHost, podman: Podman) -> None:
    podman.start("web")
    found = {path: podman.read("web", path) for path in ("/etc/hosts", "/etc/hostname")}
    with host.declared(WORDS):
        place = podman.namespace("web")
        host.serve(place, "80/tcp", name="web")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        assert host.probe("app", f"[{host.address('web', 'front', 6)}]:80/tcp").by == "web"
        assert host.probe(place, "203.0.113.1/ping").is_open
        assert f"{host.address('app', 'front')}\tapp" in podman.read("web", "/etc/hosts")
        assert podman.read("web", "/etc/hostname") == "web\n"
        gateway = host.address("web", "front").rpartition(".")[0] + ".1"
        assert podman.read("web", "/etc/resolv.conf").startswith(f"nameserver {gateway}\n")
    assert {path: podman.read("web", path) for path in found} == found
    with pytest.raises(Exception, match="returned non-zero"):
        podman.read("web", "/etc/resolv.conf")


def test_what_does_not_run_is_pending_and_the_rest_is_not(host: ThrowawayHost, podman: Podman) -> None:
    with host.declared(WORDS):
        results = host.apply(WORDS)
        files = {f"podman:web:/etc/{name}" for name in ("hosts", "hostname", "resolv.conf")}
        assert set(results.pending) == {"podman:web", "web/front", *files}
        assert host.probe("app", "203.0.113.1/ping").is_open
        assert not host.probe("outside", f"{HOST_ADDRESS}:8080/tcp", False).is_open
        podman.start("web")
        host.converge(WORDS)
        host.serve(podman.namespace("web"), "80/tcp", name="web")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        podman.run("rm --force --time 0 web")


def test_a_restarted_container_is_connected_again(host: ThrowawayHost, podman: Podman) -> None:
    podman.start("web")
    with host.declared(WORDS):
        address = host.address("web", "front")
        host.agent.call("stop_all")
        podman.run("restart --time 0 web")
        host.converge(WORDS)
        assert host.address("web", "front") == address
        host.serve(podman.namespace("web"), "80/tcp", name="web")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        assert f"{host.address('app', 'front')}\tapp" in podman.read("web", "/etc/hosts")
        host.converge({**WORDS, "containers": {"app": {"networks": ["front"]}}}, EXACT)
        assert "eth0" not in host.run("ip -br link", podman.namespace("web"))


def test_a_resolv_conf_that_is_edited_in_a_container_stays_until_it_starts_anew(
    host: ThrowawayHost, podman: Podman
) -> None:
    """Its runtime may then have made the file anew."""
    podman.start("web")
    with host.declared(WORDS):
        podman.run("exec web /bin/sh -c 'echo nameserver 192.0.2.1 > /etc/resolv.conf'")
        warnings = host.apply(WORDS).warnings
        assert any(each.startswith("podman:web:/etc/resolv.conf: somebody has edited this") for each in warnings)
        assert podman.read("web", "/etc/resolv.conf") == "nameserver 192.0.2.1\n"
        podman.run("restart --time 0 web")
        assert not [each for each in host.apply(WORDS).warnings if "edited" in each]
        assert "192.0.2.1\n" not in podman.read("web", "/etc/resolv.conf")


def test_the_hosts_own_stack_is_no_sandbox(host: ThrowawayHost, podman: Podman) -> None:
    podman.start("web", network="host")
    before = host.snapshot()
    with pytest.raises(EngineError, match="wharf_containers.web: podman:web has no network stack of its own"):
        host.apply(WORDS)
    assert differences(before, host.snapshot()) == ""


def test_a_link_does_not_lead_out_of_a_container(host: ThrowawayHost, podman: Podman) -> None:
    podman.start("web")
    podman.run("exec web /bin/sh -c 'rm -r /etc && /bin/busybox ln -s /run/elsewhere /etc' || true")
    podman.run("exec web /bin/busybox ln -s /run/elsewhere /etc/resolv.conf || true")
    host.run("mkdir /run/elsewhere; echo mine > /run/elsewhere/resolv.conf")
    with pytest.raises(EngineError, match="podman:web:/etc/resolv.conf: cannot be read as a file"):
        host.apply(WORDS)
    assert host.read("/run/elsewhere/resolv.conf") == "mine\n"


DOCKER_WORDS: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True}},
    "containers": {
        "web": {"networks": ["front"], "ports": ["8080:80"], "x-wharf": {"sandbox": "docker:web"}},
        "db": {"networks": ["front"], "x-wharf": {"sandbox": "docker:db"}},
    },
}


@pytest.fixture(scope="module")
def docker() -> Iterator[Dockerd]:
    """As DESIGN.md has it: a dockerd with no rules and no bridge, whose containers have no network."""
    words = {"host": {"iptables": False, "ip6tables": False, "bridge": "none"}, "networks": {}}
    with (
        ThrowawayHost.started() as host,
        Dockerd.started(host, words) as dockerd,
        host.engine_among(dockerd.pid),
    ):
        dockerd.make({**words, "containers": {name: {"network_mode": "none"} for name in ("web", "db")}})
        yield dockerd


def test_docker_runs_and_we_connect(docker: Dockerd) -> None:
    host = docker.host
    files = "docker exec web cat /etc/hosts /etc/resolv.conf /etc/hostname"
    found = docker.tell(files)
    with host.declared(DOCKER_WORDS):
        host.serve("web", "80/tcp")
        for place, address in [("outside", HOST_ADDRESS), ("outside", "[2001:db8::10]"), ("host", "127.0.0.1")]:
            assert host.probe(place, f"{address}:8080/tcp").by == "web", place
        assert host.probe("db", f"{host.address('web', 'front')}:80/tcp").by == "web"
        assert f"{host.address('db', 'front')}\tdb" in docker.tell(files)
        assert docker.tell("docker exec web cat /etc/resolv.conf").startswith("nameserver ")
    assert docker.tell(files) == found


def test_docker_restarts_and_we_connect_again(docker: Dockerd) -> None:
    host = docker.host
    with host.declared(DOCKER_WORDS):
        docker.tell("docker stop --time 0 web")
        assert "docker:web" in host.apply(DOCKER_WORDS).pending
        docker.tell("docker start web")
        docker.name_places(["web"])
        host.converge(DOCKER_WORDS)
        host.serve("web", "80/tcp")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        assert f"{host.address('db', 'front')}\tdb" in docker.tell("docker exec web cat /etc/hosts")


def test_while_docker_does_not_answer_its_containers_stay_connected(docker: Dockerd) -> None:
    """They may run all the same, as those of a dockerd with live-restore that is being restarted."""
    host = docker.host
    with host.declared(DOCKER_WORDS):
        host.serve("web", "80/tcp")
        host.run("mv /run/docker.sock /run/elsewhere.sock")
        results = host.apply({**DOCKER_WORDS, "containers": {**DOCKER_WORDS["containers"], "app": {}}})
        assert {"docker:web", "web/front", "docker:web:/etc/hosts"} <= set(results.pending)
        assert not [change for change in results.changes if "delete" in change]
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        host.run("mv /run/elsewhere.sock /run/docker.sock")
        host.converge(DOCKER_WORDS, EXACT)
