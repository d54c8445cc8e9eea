# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that somebody else runs: connected, named, left alone while they do not run, and given back."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dockerd import IMAGE, Dockerd
from hosts import EXACT, EngineError, ThrowawayHost, differences
from obstacles import assert_concerns_one_alone

HOST_ADDRESS = "192.0.2.10"

WORDS: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True}},
    "containers": {
        "web": {"networks": ["front"], "ports": ["8080:80"], "x-wharf": {"sandbox": "podman:web"}},
        "app": {"networks": ["front"]},
    },
}


_STORAGE = '[storage]\ndriver = "vfs"\nrunroot = "{home}/run"\ngraphroot = "{home}/graph"\n'
_ALL_FILES_ARE_ONES_OWN = '[storage.options.vfs]\nignore_chown_errors = "true"'
# By runc where it is installed: crun refuses to start where control groups of both versions are mounted.
_RUNTIME = "runc" if shutil.which("runc") else "crun"
_SETTINGS = f'[engine]\nruntime = "{_RUNTIME}"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"'


class Podman:
    """Podman in a throwaway host, of root or another user, with one image of nothing but busybox."""

    def __init__(self, host: ThrowawayHost, user: int = 0) -> None:
        self._host = host
        # Not below /var/lib, all files of which are read to see what has changed.
        home = f"/run/podman-{user}"
        self._log = f"{home}/log"
        self._program = f"{_as_user(user, home) if user else ''} podman"
        settings = f"{home}/.config/containers" if user else "/etc/containers"
        host.run(
            f"""
            mkdir -p /run/image/bin /run/image/etc {settings}
            cp {shutil.which("busybox")} /run/image/bin/busybox
            echo '{{"default": [{{"type": "insecureAcceptAnything"}}]}}' > {settings}/policy.json
            echo '{_STORAGE.format(home=home)}{_ALL_FILES_ARE_ONES_OWN if user else ""}' > {settings}/storage.conf
            echo '{_SETTINGS}' > {settings}/containers.conf
            for each in sh sleep cat; do ln -sf busybox /run/image/bin/$each; done
            mkdir -p {home}/user; chmod 700 {home}/user; chown -R {user}:{user} {home}
            """
        )
        self.run("import - tiny", "tar c -C /run/image . |")

    def run(self, arguments: str, before: str = "") -> str:
        # What watches over a container goes on to hold its standard error.
        log = f"2>{self._log} || {{ cat {self._log} >&2; exit 1; }}"
        return self._host.run(f"{before} {self._program} {arguments} {log}")

    def start(self, name: str, network: str = "none") -> None:
        self.run(f"run --detach --name {name} --network {network} tiny /bin/sleep 1000 </dev/null >/dev/null")

    def namespace(self, name: str) -> str:
        return f"/proc/{self.run(f'inspect --format {{{{.State.Pid}}}} {name}').strip()}/ns/net"

    def read(self, name: str, path: str) -> str:
        return self.run(f"exec {name} /bin/cat {path}")

    def end(self) -> None:
        """All containers, and the process that keeps the namespaces of a user who is not root."""
        self.run("rm --all --force --time 0")
        self.run("system migrate")


def _as_user(user: int, home: str) -> str:
    return f"setpriv --reuid {user} --regid {user} --clear-groups env HOME={home} XDG_RUNTIME_DIR={home}/user"


@contextmanager
def podman_in(host: ThrowawayHost) -> Iterator[Podman]:
    """With no container left at the end."""
    if not (Path("/usr/bin/podman").exists() and shutil.which("busybox")):
        pytest.skip("podman and a static busybox are not installed here")
    started = Podman(host)
    try:
        yield started
    finally:
        started.run("rm --all --force --time 0")


@pytest.fixture
def podman(host: ThrowawayHost) -> Iterator[Podman]:
    with podman_in(host) as started:
        yield started


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
        assert host.observed()["published"] == []
        podman.start("web")
        host.converge(WORDS)
        host.serve(podman.namespace("web"), "80/tcp", name="web")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        assert {each["container"] for each in host.observed()["published"]} == {"web"}
        host.agent.call("stop_all")
        podman.run("rm --force --time 0 web")
        # The kernel takes a namespace apart a moment later.
        host.run("while ip link show type veth | grep -q wharf:web/; do sleep 0.05; done")


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
        assert any(each.startswith("podman:web:/etc/resolv.conf: this file was edited") for each in warnings)
        assert podman.read("web", "/etc/resolv.conf") == "nameserver 192.0.2.1\n"
        podman.run("restart --time 0 web")
        assert not [each for each in host.apply(WORDS).warnings if "edited" in each]
        assert "192.0.2.1\n" not in podman.read("web", "/etc/resolv.conf")


def test_a_program_in_the_place_of_a_file_concerns_that_one_alone(host: ThrowawayHost, podman: Podman) -> None:
    podman.start("web")
    path = podman.run("inspect --format {{.HostsPath}} web").strip()
    assert_concerns_one_alone(host, WORDS, "podman:web", path)


def with_web_at(sandbox: str) -> dict[str, Any]:
    web = {**WORDS["containers"]["web"], "x-wharf": {"sandbox": sandbox}}
    return {**WORDS, "containers": {**WORDS["containers"], "web": web}}


def test_a_container_without_root_is_refused(
    host: ThrowawayHost, podman: Podman, request: pytest.FixtureRequest
) -> None:
    """Root's Podman does not know it; it can be connected by its number, though."""
    if os.geteuid():
        pytest.skip("only root can be another user")
    podman.start("of-root")
    host.run("echo 'alice:x:1000:1000::/:/bin/sh' >> /etc/passwd")
    of_alice = Podman(host, 1000)
    request.addfinalizer(of_alice.end)
    # Tests that run beside this one see the same processes.
    of_alice.start("of-alice")
    before = host.snapshot()
    refused = "wharf_containers.web: podman:of-alice is run by alice, without root, and root's"
    with pytest.raises(EngineError, match=refused):
        host.apply(with_web_at("podman:of-alice"))
    assert differences(before, host.snapshot()) == ""
    number = of_alice.run("inspect --format {{.State.Pid}} of-alice").strip()
    with host.declared(with_web_at(f"pid:{number}")):
        host.serve(of_alice.namespace("of-alice"), "80/tcp", name="web")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        assert f"{host.address('app', 'front')}\tapp" in of_alice.read("of-alice", "/etc/hosts")


def test_who_is_in_a_container_cannot_pass_for_podmans_watcher(host: ThrowawayHost, podman: Podman) -> None:
    """He would keep the whole host from being changed."""
    disguised = "echo -n conmon > /proc/self/comm; /bin/sleep 1000; exit"
    podman.run(f"run -d --name other --user 1000 --network none tiny /bin/sh -c '{disguised}' -n web </dev/null")
    assert podman.read("other", "/proc/1/comm") == "conmon\n"
    with host.declared(WORDS):
        assert "podman:web" in host.apply(WORDS).pending


def test_the_hosts_own_stack_is_no_sandbox(host: ThrowawayHost, podman: Podman) -> None:
    podman.start("web", network="host")
    before = host.snapshot()
    with pytest.raises(EngineError, match="wharf_containers.web: podman:web has no network stack of its own"):
        host.apply(WORDS)
    assert differences(before, host.snapshot()) == ""


def test_a_link_does_not_lead_out_of_a_container(host: ThrowawayHost, podman: Podman) -> None:
    podman.start("web")
    podman.run("exec web /bin/busybox ln -s /run/elsewhere /etc/resolv.conf")
    host.run("echo mine > /run/elsewhere")
    with host.declared(WORDS):
        assert podman.read("web", "/etc/resolv.conf").startswith("nameserver ")
        assert host.read("/run/elsewhere") == "mine\n"
    assert podman.run("exec web /bin/busybox readlink /etc/resolv.conf") == "/run/elsewhere\n"


def test_what_a_recreated_container_was_made_with_is_given_back(host: ThrowawayHost, podman: Podman) -> None:
    files = ("/etc/hosts", "/etc/hostname")
    podman.start("web")
    with host.declared(WORDS):
        address = host.address("web", "front")
        podman.run("rm --force --time 0 web")
        # The kernel takes a namespace apart a moment later.
        host.run("while ip link show type veth | grep -q wharf:web/; do sleep 0.05; done")
        podman.start("web")
        made_with = [podman.read("web", path) for path in files]
        host.converge(WORDS)
        assert host.address("web", "front") == address
        host.serve(podman.namespace("web"), "80/tcp", name="web")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        assert podman.read("web", "/etc/hostname") == "web\n"
    assert [podman.read("web", path) for path in files] == made_with


def test_members_of_a_pod_are_one_stack(host: ThrowawayHost, podman: Podman) -> None:
    """The stack is that of the pod's first container, which nobody gave a name."""
    podman.run("pod create --name pod --network none --infra-image tiny --infra-command '/bin/sleep 1000'")
    for name in ("web", "beside"):
        podman.run(f"run --detach --name {name} --pod pod tiny /bin/sleep 1000 </dev/null >/dev/null")
    beside = {"network_mode": "service:web", "x-wharf": {"sandbox": "podman:beside"}}
    with host.declared({**WORDS, "containers": {**WORDS["containers"], "beside": beside}}):
        place = podman.namespace("beside")
        assert "eth0" in host.run("ip -br link", place)
        host.serve(place, "80/tcp", name="beside")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "beside"
        for name in ("web", "beside"):
            assert f"{host.address('app', 'front')}\tapp" in podman.read(name, "/etc/hosts")
    podman.run("pod rm --force --time 0 pod")


def test_names_that_runtimes_allow(host: ThrowawayHost, podman: Podman) -> None:
    name = "0Web_1.x-y" + "z" * 80
    podman.start(name)
    words = {"containers": {"web": {"ports": ["8080:80"], "x-wharf": {"sandbox": f"podman:{name}"}}}}
    with host.declared(words):
        host.serve(podman.namespace(name), "80/tcp", name="web")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"


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
    found = docker.run(files)
    with host.declared(DOCKER_WORDS):
        host.serve("web", "80/tcp")
        for place, address in [("outside", HOST_ADDRESS), ("outside", "[2001:db8::10]"), ("host", "127.0.0.1")]:
            assert host.probe(place, f"{address}:8080/tcp").by == "web", place
        assert host.probe("db", f"{host.address('web', 'front')}:80/tcp").by == "web"
        assert f"{host.address('db', 'front')}\tdb" in docker.run(files)
        assert docker.run("docker exec web cat /etc/resolv.conf").startswith("nameserver ")
    assert docker.run(files) == found


def test_a_program_in_the_place_of_a_file_concerns_that_one_alone_in_docker(docker: Dockerd) -> None:
    path = docker.run("docker inspect --format {{.HostsPath}} web").strip()
    words = {**DOCKER_WORDS, "containers": {"web": DOCKER_WORDS["containers"]["web"], "app": {"networks": ["front"]}}}
    assert_concerns_one_alone(docker.host, words, "docker:web", path)


def test_docker_has_networks_of_its_own_and_we_add_one(docker: Dockerd) -> None:
    """The container keeps its way out, and the names that Docker's own resolver knows."""
    host = docker.host
    docker.run("docker network create own")
    docker.run(f"docker run --detach --name own --network own --volume /usr:/usr:ro {IMAGE} sleep infinity")
    docker.name_places(["own"])
    own = {
        "networks": {"front": {"interface_name": "eth1"}},
        "x-wharf": {"sandbox": "docker:own"},
        "ports": ["8081:80"],
    }
    words = {**DOCKER_WORDS, "containers": {**DOCKER_WORDS["containers"], "own": own}}
    seen = ["ip -br addr; ip route; ip -6 route", "cat /etc/resolv.conf /etc/hosts"]
    before = host.run(seen[0], "own"), docker.run(f"docker exec own {seen[1]}")
    with host.declared(words):
        assert "default via 172.17.0.1 dev eth0" in host.run("ip route", "own")
        assert "nameserver 127.0.0.11\n" in docker.run("docker exec own cat /etc/resolv.conf")
        assert f"{host.address('db', 'front')}\tdb\n" in docker.run("docker exec own cat /etc/hosts")
        host.serve("own", "80/tcp")
        host.serve("db", "80/tcp")
        assert host.probe("db", f"{host.address('own', 'front')}:80/tcp").by == "own"
        assert host.probe("own", f"{host.address('db', 'front')}:80/tcp").by == "db"
        assert host.probe("own", "203.0.113.1/ping").is_open
        assert host.probe("outside", f"{HOST_ADDRESS}:8081/tcp").by == "own"
    assert (host.run(seen[0], "own"), docker.run(f"docker exec own {seen[1]}")) == before
    docker.run("docker rm --force own; docker network rm own")


def test_a_container_is_known_by_its_name_alone(docker: Dockerd) -> None:
    """Docker takes the beginning of an id for a name, too."""
    short = docker.run("docker inspect --format '{{.Id}}' web")[:12]
    words = {"containers": {"web": {"x-wharf": {"sandbox": f"docker:{short}"}}}}
    with docker.host.declared(words):
        assert f"docker:{short}" in docker.host.apply(words).pending


def test_docker_restarts_and_we_connect_again(docker: Dockerd) -> None:
    host = docker.host
    with host.declared(DOCKER_WORDS):
        docker.run("docker stop --time 0 web")
        assert "docker:web" in host.apply(DOCKER_WORDS).pending
        docker.run("docker start web")
        docker.name_places(["web"])
        host.converge(DOCKER_WORDS)
        host.serve("web", "80/tcp")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        assert f"{host.address('db', 'front')}\tdb" in docker.run("docker exec web cat /etc/hosts")


def test_while_docker_does_not_answer_its_containers_stay_connected(docker: Dockerd) -> None:
    """They may run all the same, as those of a dockerd with live-restore that is being restarted."""
    host = docker.host
    with host.declared(DOCKER_WORDS):
        host.serve("web", "80/tcp")
        host.run("mv /run/docker.sock /run/elsewhere.sock")
        results = host.apply({**DOCKER_WORDS, "containers": {**DOCKER_WORDS["containers"], "app": {}}})
        assert {"docker:web", "web/front", "docker:web:/etc/hosts"} <= set(results.pending)
        assert not [change for change in results.changes if "delete" in change]
        assert results.warnings == {
            "the Docker Engine at /run/docker.sock does not answer ([Errno 2] No such file or directory): "
            "its containers are pending, and their links stay as they are"
        }
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        host.run("mv /run/elsewhere.sock /run/docker.sock")
        host.converge(DOCKER_WORDS, EXACT)


def test_what_parameters_were_is_known_while_docker_does_not_answer(docker: Dockerd) -> None:
    """Also where they are let go meanwhile, they become that again, as soon as it answers."""
    host, parameter = docker.host, "net.ipv4.ip_default_ttl"
    with_parameter, without_web = copy.deepcopy(DOCKER_WORDS), copy.deepcopy(DOCKER_WORDS)
    with_parameter["containers"]["web"]["sysctls"] = {parameter: "77"}
    del without_web["containers"]["web"]
    assert host.sysctl(parameter, "web") == "64"
    with host.declared(DOCKER_WORDS):
        for meanwhile, then in [
            (with_parameter, DOCKER_WORDS), (DOCKER_WORDS, DOCKER_WORDS), (without_web, without_web),
        ]:  # fmt: skip
            host.converge(with_parameter)
            assert host.sysctl(parameter, "web") == "77"
            host.run("mv /run/docker.sock /run/elsewhere.sock")
            host.apply(meanwhile, EXACT)
            host.run("mv /run/elsewhere.sock /run/docker.sock")
            host.converge(then, EXACT)
            assert host.sysctl(parameter, "web") == "64"


def test_a_name_of_dockers_stack_stays_while_docker_does_not_answer(docker: Dockerd) -> None:
    host = docker.host
    words = copy.deepcopy(DOCKER_WORDS)
    words["containers"]["side"] = {"network_mode": "service:web", "x-wharf": {"sandbox": "netns:side"}}
    with host.declared(words):
        host.run("mv /run/docker.sock /run/elsewhere.sock")
        assert host.apply(words).changes == []
        assert "eth0" in host.run(f"nsenter -t {docker.pid} --mount nsenter --net=/run/netns/side ip -br link")
        host.run("mv /run/elsewhere.sock /run/docker.sock")
