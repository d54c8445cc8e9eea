# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine does while it follows a host: files change with the host's, but for those that somebody has edited,
containers that others start are connected, and rules that are flushed are loaded again.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dockerd import Dockerd
from hosts import ABSENT, EXACT, FILES, ThrowawayHost
from machines import USERS, Machines
from runners import ENGINE

WORDS: dict[str, Any] = {
    "networks": {"app": {}},
    "containers": {"plain": {}, "edited": {}, "own": {"dns": "192.0.2.99"}, "web": {"networks": ["app"]}},
}

EDITED = "/etc/netns/edited/resolv.conf"


@pytest.fixture(scope="module")
def host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as started, started.declared(WORDS):
        yield started
        started.write("/etc/resolv.conf", FILES["/etc/resolv.conf"])


@contextmanager
def following(host: ThrowawayHost, *options: str, is_confined: bool = True) -> Iterator[subprocess.Popen[str]]:
    """The engine, once it watches, with no more capabilities than its service has."""
    command = host.engine_command("-m", "engine.command", "follow", *options, by=confined() if is_confined else [])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        heard(process)
        try:
            yield process
        finally:
            process.terminate()


def confined() -> list[str]:
    script = "from engine.planning.boot_systemd import SERVICES; print(*SERVICES.files())"
    units = subprocess.run([*ENGINE, "-c", script], check=True, capture_output=True, text=True).stdout
    names = re.findall(r"CAP_(\w+)", units)
    assert names
    allowed = ",".join(f"+{name.lower()}" for name in names)
    return ["setpriv", f"--bounding-set=-all,{allowed}", "--no-new-privs"]


def heard(process: subprocess.Popen[str]) -> dict[str, set[str]]:
    reported = _report(process)
    assert not reported.pop("problem")
    return {key: set(value) for key, value in reported.items()}


def problem(process: subprocess.Popen[str]) -> str:
    return str(_report(process)["problem"])


def _report(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout
    reported: dict[str, Any] = json.loads(process.stdout.readline())
    return reported


def nameservers(host: ThrowawayHost, container: str) -> list[str]:
    lines = host.read(f"/etc/netns/{container}/resolv.conf").splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver")]


def files(*containers: str) -> set[str]:
    return {f"/etc/netns/{container}/resolv.conf" for container in containers}


def ask_elsewhere(host: ThrowawayHost, address: str) -> None:
    host.write("/etc/resolv.conf", resolv_conf(address))


def resolv_conf(address: str) -> str:
    """With another one, which is of no use to containers here: so resolvers keep their order, and go on."""
    return f"nameserver {address}\nnameserver 2001:db8::53\n"


def test_files_follow_within_a_second(host: ThrowawayHost) -> None:
    with following(host) as process:
        inode = host.run("stat -c %i /etc/netns/plain/resolv.conf")
        # As programs write it: in place, and by a rename. The first time, domains and options go, too.
        for address, write, changed in (
            ("192.0.2.54", "cat /run/new > /etc/resolv.conf", files("plain", "edited", "own", "web")),
            ("192.0.2.55", "cp /run/new /etc/new; mv /etc/new /etc/resolv.conf", files("plain", "edited")),
        ):
            host.write("/run/new", resolv_conf(address))
            began = time.monotonic()
            host.run(write)
            assert heard(process) == {"changed": changed, "left": set(), "connected": set(), "rules": set()}
            assert time.monotonic() - began < 1
            assert nameservers(host, "plain") == [address]
            assert nameservers(host, "own") == ["192.0.2.99"]
        assert host.run("stat -c %i /etc/netns/plain/resolv.conf") == inode
    assert host.apply(WORDS).changes == []


def test_what_changed_while_nobody_followed_is_made_up_for(host: ThrowawayHost) -> None:
    ask_elsewhere(host, "192.0.2.58")
    with following(host) as process:
        assert heard(process)["changed"] == files("plain", "edited")
        assert nameservers(host, "plain") == ["192.0.2.58"]


def test_a_file_that_somebody_has_edited_is_left_alone_and_reported(host: ThrowawayHost) -> None:
    """By who follows, and by each run, also where what is declared changes; until it is emptied."""
    warning = f"{EDITED}: this file was edited by hand and is left as it is"
    with following(host) as process:
        host.run("ip netns exec edited sh -c 'echo nameserver 192.0.2.1 > /etc/resolv.conf'")
        ask_elsewhere(host, "192.0.2.59")
        reported = heard(process)
        assert (reported["changed"], reported["left"]) == (files("plain"), {EDITED})
    words = {**WORDS, "containers": {**WORDS["containers"], "edited": {"dns_search": "example.net"}}}
    for run in (host.diff, host.apply, host.apply):
        results = run(words)
        assert results.changes == []
        assert [each.startswith(warning) for each in results.warnings] == [True]
    assert nameservers(host, "edited") == ["192.0.2.1"]
    seen = host.observed()
    assert (seen["edited"], seen["drift"]) == ([EDITED], {})
    host.run(f": > {EDITED}")
    assert host.converge(words) == [("dns_files", "update", "file", EDITED, "content")]
    assert nameservers(host, "edited") == ["192.0.2.59"]
    assert (host.apply(WORDS).warnings, host.observed()["edited"]) == (set(), [])


def test_other_files_that_are_edited_are_mended_by_a_run_and_not_before(host: ThrowawayHost) -> None:
    paths = {f"/etc/netns/edited/{name}" for name in ("hosts", "hostname")}
    host.run("".join(f"echo 192.0.2.1 mine >> {path};" for path in paths))
    with following(host) as process:
        assert heard(process)["left"] == paths
        ask_elsewhere(host, "192.0.2.60")
        reported = heard(process)
        assert (reported["changed"], reported["left"]) == (files("plain", "edited"), paths)
    assert {name for _layer, _action, _kind, name, *_fields in host.converge(WORDS)} == paths


def test_files_follow_what_systemd_resolved_asks(host: ThrowawayHost) -> None:
    host.run("mkdir -p /run/systemd/resolve; echo nameserver 127.0.0.53 > /run/systemd/resolve/stub-resolv.conf")
    host.write("/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.56\n")
    host.run("ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf")
    host.apply(WORDS)
    with following(host) as process:
        # As systemd-resolved does: nobody ever reads half of it.
        host.write("/run/systemd/resolve/new", "nameserver 192.0.2.57\n")
        host.run("mv /run/systemd/resolve/new /run/systemd/resolve/resolv.conf")
        assert "/etc/netns/plain/resolv.conf" in heard(process)["changed"]
        assert nameservers(host, "plain") == ["192.0.2.57"]
    host.run("rm -r /run/systemd /etc/resolv.conf")
    host.write("/etc/resolv.conf", FILES["/etc/resolv.conf"])
    host.apply(WORDS)


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_rules_that_are_flushed_are_loaded_again(backend: str) -> None:
    published = {"web": {"networks": ["app"], "ports": ["8080:80"]}}
    words = {"host": {"firewall-backend": backend}, "networks": {"app": {}}, "containers": published}
    with ThrowawayHost.started() as host, host.declared(words):
        host.serve("web", "80/tcp")
        rules = host.run("nft -s list ruleset")
        host.run("nft flush ruleset")
        with following(host) as process:
            # While it did not run.
            assert heard(process)["rules"] == {backend}
            for flush in ("nft flush ruleset", "nft -f -  <<'END'\nflush ruleset\ntable inet filter {}\nEND"):
                host.run(flush)
                began = time.monotonic()
                assert heard(process)["rules"] == {backend}
                assert time.monotonic() - began < 2
                assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").is_open
            host.run("nft delete table inet filter")
            assert host.run("nft -s list ruleset") == rules

            # What runs do themselves, and tables of others, are no reason to do anything.
            other = "iptables" if backend == "nftables" else "nftables"
            host.converge({**words, "host": {"firewall-backend": other}})
            host.converge(words)
            host.converge(words, ABSENT)
            host.converge(words)
            ask_elsewhere(host, "192.0.2.61")
            assert heard(process) == {"changed": files("web"), "left": set(), "connected": set(), "rules": set()}
        host.write("/etc/resolv.conf", FILES["/etc/resolv.conf"])


def test_rules_that_nobody_has_loaded_since_the_boot_are_left_to_the_run_at_boot() -> None:
    with ThrowawayHost.started() as host, host.declared(WORDS):
        host.run("nft flush ruleset; rm /run/wharf.lock")
        with following(host) as process:
            ask_elsewhere(host, "192.0.2.61")
            assert heard(process)["rules"] == set()
        host.write("/etc/resolv.conf", FILES["/etc/resolv.conf"])
        host.apply(WORDS)


_FAILING_NFT = """#!/bin/sh
case "$*" in
*-f*) [ ! -e /run/refuse ] || { echo refused >&2; exit 1; } ;;
esac
exec /run/real-nft "$@"
"""


def test_rules_that_could_not_be_loaded_again_are_loaded_later() -> None:
    words = {"networks": {"app": {}}}
    with ThrowawayHost.started() as host, host.declared(words):
        nft = host.run("command -v nft").strip()
        host.write("/run/failing-nft", _FAILING_NFT)
        host.run(f"cp {nft} /run/real-nft; chmod 755 /run/failing-nft; mount --bind /run/failing-nft {nft}")
        rules = host.run("nft -s list ruleset")
        with following(host) as process:
            host.run(": > /run/refuse; /run/real-nft flush ruleset")
            assert "refused" in problem(process)
            host.run("rm /run/refuse")
            patiently(lambda: host.run("nft -s list ruleset") == rules)
        host.run(f"umount {nft}")


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_bridges_of_others_are_let_through(backend: str) -> None:
    """And what else somebody has changed stays as it is."""
    words = {"host": {"firewall-backend": backend}, "networks": {"app": {}}}
    with ThrowawayHost.started() as host, host.declared(words):
        host.run("ip link add virbr0 type bridge; ip link set br-app mtu 1400")
        with following(host) as process:
            assert heard(process)["rules"] == {backend}
            different = [("bridge", "update", "bridge", "br-app", "mtu")]
            assert host.diff(words).changes == different
            host.run("ip link del virbr0; ip link add virbr1 type bridge")
            patiently(lambda: host.diff(words).changes == different)
        rules = host.rules()
        assert "virbr1" in rules and "virbr0" not in rules
        host.run("ip link del virbr1")
        host.apply(words)


def patiently(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


HOST_ADDRESS = "192.0.2.10"


def of_others(runtime: str) -> dict[str, Any]:
    sandbox = {"x-wharf": {"sandbox": f"{runtime}:web"}}
    return {
        "networks": {"front": {}},
        "containers": {"web": {"networks": ["front"], "ports": ["8080:80"], **sandbox}, "app": {"networks": ["front"]}},
    }


def test_machines_that_start_are_connected() -> None:
    words = of_others("machine")
    with ThrowawayHost.started() as host, Machines.started(host) as machines, host.declared(words):
        host.run("echo 192.0.2.1 edited > /etc/netns/app/hosts")
        with following(host) as process:
            assert heard(process)["left"] == {"/etc/netns/app/hosts"}
            for again in (False, True):
                # Whose root is another one than the host's.
                machines.start("web", *USERS["of its own"])
                reported = heard(process)
                assert reported["connected"] == {"machine:web"}
                assert host.serve(machines.place("web"), "80/tcp", name="web") is None
                assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web", again
                assert machines.run("web", "cat /etc/hostname") == "web\n"
                assert machines.run("web", "stat -c %u:%g /etc/hosts") == "0:0\n"
                # What listens in a stack would keep it.
                host.agent.call("stop_all")
                machines.stop("web")
            machines.start("web", *USERS["of its own"])
            assert heard(process)["connected"] == {"machine:web"}
        assert host.read("/etc/netns/app/hosts") == "192.0.2.1 edited\n"
        host.apply(words)


def test_containers_that_docker_starts_are_connected() -> None:
    words = of_others("docker")
    alone = {"host": {"iptables": False, "ip6tables": False, "bridge": "none"}, "networks": {}}
    with (
        ThrowawayHost.started() as host,
        Dockerd.started(host, alone) as docker,
        host.engine_among(docker.pid),
        host.declared(words),
        following(host) as process,
    ):
        docker.make({**alone, "containers": {"web": {"network_mode": "none"}}})
        for start in ("true", "docker restart --time 0 web"):
            docker.run(start)
            assert heard(process)["connected"] == {"docker:web"}
            docker.name_places(["web"])
            host.serve("web", "80/tcp")
            assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web", start
            assert f"{host.address('app', 'front')}\tapp" in docker.run("docker exec web cat /etc/hosts")


def test_a_bridge_without_which_nothing_is_connected_is_named_by_its_place(host: ThrowawayHost) -> None:
    late = {"networks": ["app"], "x-wharf": {"sandbox": "path:/run/late/net"}}
    host.run("mkdir /run/late")
    host.apply({**WORDS, "containers": {**WORDS["containers"], "late": late}})
    # As after a boot, before the first run.
    host.run("ip link delete br-app; rm /run/wharf.lock")
    with following(host) as process:
        host.run(": > /run/late/net; unshare --net=/run/late/net true")
        assert problem(process).startswith("wharf_networks.app: bridge br-app is missing, so no container is connected")
    host.apply(WORDS, EXACT)
    host.run("umount /run/late/net; rm -r /run/late")


def test_nothing_is_connected_before_the_rules_stand(host: ThrowawayHost) -> None:
    late = {"networks": ["app"], "x-wharf": {"sandbox": "path:/run/late/net"}}
    words = {**WORDS, "containers": {**WORDS["containers"], "late": late}}
    host.run("mkdir /run/late")
    host.apply(words)
    # As after a boot, before the first run.
    host.run("nft list table inet wharf > /run/rules; nft delete table inet wharf; rm /run/wharf.lock")
    with following(host) as process:
        host.run(": > /run/late/net; unshare --net=/run/late/net true")
        assert problem(process).endswith("is missing, so no container is connected: run `wharf apply`")
        assert "eth0" not in host.run("nsenter --net=/run/late/net ip -br link")
        host.run("nft -f /run/rules")
        assert heard(process)["connected"] == {"path:/run/late/net"}
        assert "eth0" in host.run("nsenter --net=/run/late/net ip -br link")
    host.apply(WORDS, EXACT)
    host.run("umount /run/late/net; rm -r /run/late")


def test_one_is_connected_while_the_stack_of_another_that_has_ended_still_stands(host: ThrowawayHost) -> None:
    """Whatever still listens there keeps it, and with it the interface on the host."""
    words = {**WORDS, "containers": {**WORDS["containers"], **{name: at_a_path(name) for name in ("ended", "late")}}}
    host.run("mkdir /run/stacks; : > /run/stacks/ended; unshare --net=/run/stacks/ended true")
    host.apply(words)
    with following(host) as process:
        host.serve("/run/stacks/ended", "80/tcp")
        host.run("umount /run/stacks/ended; rm /run/stacks/ended")
        host.run(": > /run/stacks/late; unshare --net=/run/stacks/late true")
        assert heard(process)["connected"] == {"path:/run/stacks/late"}
        assert "wharf:ended/app" in host.run("ip link show type veth")
    host.agent.call("stop_all")
    host.apply(WORDS, EXACT)
    host.run("umount /run/stacks/late; rm -r /run/stacks")


def at_a_path(name: str) -> dict[str, Any]:
    return {"networks": ["app"], "x-wharf": {"sandbox": f"path:/run/stacks/{name}"}}


def test_one_is_connected_where_the_bridge_of_another_network_is_missing(host: ThrowawayHost) -> None:
    """As docker0 is, after a dockerd has started that is told to have no bridge."""
    words = {**WORDS, "containers": {**WORDS["containers"], "late": at_a_path("late")}}
    host.run("mkdir /run/stacks")
    host.apply(words)
    host.run("ip link delete docker0")
    with following(host) as process:
        host.run(": > /run/stacks/late; unshare --net=/run/stacks/late true")
        assert heard(process)["connected"] == {"path:/run/stacks/late"}
        assert host.run("ip link show docker0 2>&1 || true").endswith("does not exist.\n")
    host.apply(WORDS, EXACT)
    host.run("umount /run/stacks/late; rm -r /run/stacks")


_DEADLY = """
import sys
sys.path.append(sys.argv[1])
from deaths import make_deadly
from engine.command import main
make_deadly(int(sys.argv[2]))
main(["follow"])
"""
# What is done to connect a container is less than this, and every second thing is where it ends.
THINGS, STEP = 50, 2


def test_whoever_follows_next_finishes_what_a_killed_one_began(host: ThrowawayHost) -> None:
    """A container is not taken for connected before it has its names."""
    late = {"networks": ["app"], "x-wharf": {"sandbox": "path:/run/netns/late"}}
    words = {**WORDS, "containers": {**WORDS["containers"], "late": late}}

    def is_connected() -> bool:
        names = host.run("cat /etc/netns/late/hosts 2>&- || true")
        return "\tweb\n" in names and "eth0" in host.run("ip -br link", "late")

    for fatal in range(1, THINGS, STEP):
        host.run("ip netns del late 2>&- && rm -r /etc/netns/late || true")
        host.apply(words)
        host.run("ip netns add late")
        command = host.engine_command("-c", _DEADLY, str(Path(__file__).parent), str(fatal))
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            patiently(lambda: process.poll() is not None or is_connected())
            process.kill()
        if is_connected():
            break
        with following(host):
            patiently(is_connected)
    assert fatal > 2 * STEP
    host.apply(WORDS, EXACT)
    host.run("ip netns del late")
