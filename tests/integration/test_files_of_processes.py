# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names in stacks that only a number or a path leads to: whose files are written, and what no container leads us to."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from controller import Controller
from hosts import ABSENT, DIFFERS, ThrowawayHost, need_busybox
from obstacles import OBSTACLES, Obstacle
from runners import ENGINE

FILES = ("hostname", "hosts", "resolv.conf")
ALL = "/etc/hostname, /etc/hosts, /etc/resolv.conf cannot be written"


class Boxes:
    """Processes that have a network stack and a root folder of busybox of their own, each in /run/NAME."""

    def __init__(self, host: ThrowawayHost, started: ExitStack) -> None:
        self._host = host
        self._started = started

    def start(self, name: str, tree: str = "", stack: str = "") -> int:
        """Returns its number. `tree` and `stack` are those of another one, where they are shared."""
        root = f"/run/{tree or name}"
        self._host.run(
            f"""
            mkdir -p {root}/bin {root}/etc
            [ -e {root}/bin/cat ] || cp {shutil.which("busybox")} {root}/bin/cat
            [ -e {root}/etc/hosts ] || printf 'as it was\\n' > {root}/etc/hosts
            """
        )
        alone = ["nsenter", f"--net={stack}"] if stack else ["unshare", "--net"]
        process = self._host.start("host", *alone, "chroot", root)
        self._started.callback(_end, process)
        _wait_until(lambda: self._host.run(f"readlink /proc/{process.pid}/root").strip() == root)
        return process.pid

    def etc(self, name: str) -> str:
        return self._host.run(f"cd /run/{name}/etc; ls -l --time-style=+; head -c 999 *")


def _end(process: subprocess.Popen[str]) -> None:
    process.communicate()


def _wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


@pytest.fixture
def boxes(host: ThrowawayHost) -> Iterator[Boxes]:
    need_busybox()
    with ExitStack() as started:
        yield Boxes(host, started)


def words(**sandboxes: str) -> dict[str, Any]:
    containers = {name: {"networks": ["front"], "x-wharf": {"sandbox": each}} for name, each in sandboxes.items()}
    return {"networks": {"front": {}}, "containers": {**containers, "app": {"networks": ["front"]}}}


def test_files_are_written_in_place_and_given_back(host: ThrowawayHost, boxes: Boxes) -> None:
    web, db = boxes.start("web"), boxes.start("db")
    host.run(f"touch /run/net; mount --bind /proc/{db}/ns/net /run/net")
    declared = words(web=f"pid:{web}", db="path:/run/net", again=f"path:/proc/{boxes.start('again')}/ns/net")
    before = {name: boxes.etc(name) for name in ("web", "db", "again")}
    inode = host.run("stat -c %i /run/web/etc/hosts")
    with host.declared(declared):
        for name in before:
            hosts = host.read(f"/run/{name}/etc/hosts")
            assert f"{host.address('app', 'front')}\tapp\n" in hosts
            assert f"{host.address(name, 'front')}\t{name}\n" in hosts
            assert host.read(f"/run/{name}/etc/hostname") == f"{name}\n"
            assert host.read(f"/run/{name}/etc/resolv.conf").startswith("nameserver 172.")
        assert host.run("stat -c %i /run/web/etc/hosts") == inode
        assert host.apply(declared).warnings == set()
    assert {name: boxes.etc(name) for name in before} == before
    host.run("umount /run/net")


def test_bytes_of_a_containers_files_are_printed_escaped(host: ThrowawayHost, boxes: Boxes, tmp_path: Path) -> None:
    """Root in the container chooses them. Ansible refuses a result that is not UTF-8, and a terminal obeys an ESC."""
    declared = words(web=f"pid:{boxes.start('web')}")
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    with host.declared(declared):
        host.run("printf '\\377\\033[31m\\n' > /run/web/etc/hosts")
        printed = subprocess.run(
            [*host.enter(), *ENGINE, "-m", "engine.command", "diff"], env=strict, capture_output=True, check=False
        )
        assert (printed.returncode, printed.stderr) == (DIFFERS, b"")
        assert rb"-\xff\x1b[31m" in printed.stdout
        task = {"wharf.network.dns_files": {key: declared[key] for key in ("networks", "containers")}}
        ran = Controller(host, tmp_path).play({"tasks": [task]}, "--diff")
        assert ran.returncode == 0, ran.output
        assert r"\xff\x1b[31m" in ran.output


def test_nothing_in_a_container_leads_out_of_it(host: ThrowawayHost, boxes: Boxes) -> None:
    """Whoever is root there puts links, a device and a pipe where its files are to be, and makes /etc itself a link."""
    evil, worse = boxes.start("evil"), boxes.start("worse")
    host.run(
        """
        echo secret > /run/shadow; mkdir -p /run/elsewhere; echo mine > /run/elsewhere/hosts
        cd /run/evil/etc; ln -s /run/shadow resolv.conf; rm hosts; mknod hosts c 1 5; mkfifo hostname
        cd /run/worse; rm -r etc; ln -s /run/elsewhere etc
        """
    )
    trees = "ls -lR --time-style=+ /run/evil /run/worse"
    before = host.run(trees)
    declared = words(evil=f"pid:{evil}", worse=f"pid:{worse}")
    with host.declared(declared):
        results = host.apply(declared)
        assert results.warnings == {
            f"wharf_containers.evil: pid:{evil}: /etc/hostname, /etc/hosts cannot be written: it is no file",
            f"wharf_containers.worse: pid:{worse}: {ALL}: it has no folder /etc of its own",
        }
        assert host.probe(f"/proc/{evil}/ns/net", "203.0.113.1/ping").is_open
        assert host.read("/run/evil/etc/resolv.conf").startswith("nameserver 172.")
        assert host.run("cat /run/shadow /run/elsewhere/*") == "secret\nmine\n"
        assert host.run("ls /run/elsewhere") == "hosts\n"
    assert host.run(trees) == before


def test_the_hosts_own_files_are_left_alone(host: ThrowawayHost, boxes: Boxes) -> None:
    process = host.start("host", "unshare", "--net", "--mount")
    _wait_until(lambda: len(set(host.run(f"readlink /proc/self/ns/net /proc/{process.pid}/ns/net").split())) == 2)
    borrowing = boxes.start("borrowing")
    host.run("mount --bind /etc/hosts /run/borrowing/etc/hosts")
    before = host.read("/etc/hosts")
    declared = words(bare=f"pid:{process.pid}", borrowing=f"pid:{borrowing}")
    with host.declared(declared):
        assert host.apply(declared).warnings == {
            f"wharf_containers.bare: pid:{process.pid}: {ALL}: its /etc is the host's own",
            f"wharf_containers.borrowing: pid:{borrowing}: /etc/hosts cannot be written: its /etc/hosts is the host's "
            "own",
        }
        assert host.read("/etc/hosts") == before
        assert host.read("/run/borrowing/etc/hostname") == "borrowing\n"
    host.run("umount /run/borrowing/etc/hosts")
    process.communicate()


def test_what_is_read_only_is_left_alone(host: ThrowawayHost, boxes: Boxes) -> None:
    host.run("mkdir /run/fixed; mount -t tmpfs none /run/fixed")
    fixed = boxes.start("fixed")
    declared = words(fixed=f"pid:{fixed}")
    host.run("mount -o remount,ro /run/fixed")
    with host.declared(declared):
        assert host.apply(declared).warnings == {f"wharf_containers.fixed: pid:{fixed}: {ALL}: it is read-only"}


def test_files_behind_a_path_are_those_of_who_lives_there(host: ThrowawayHost, boxes: Boxes) -> None:
    host.run("unshare --net mount --bind /proc/self/ns/net /run/net 2>/dev/null || (touch /run/net)")
    host.run("unshare --net sh -c 'mount --bind /proc/$$/ns/net /run/net'")
    declared = words(pod="path:/run/net")
    waiting = {f"path:/run/net:/etc/{name}" for name in FILES}
    with host.declared(declared):
        assert set(host.apply(declared).pending) == waiting
        assert host.apply(declared).warnings == set()
        first = boxes.start("first", stack="/run/net")
        boxes.start("beside", tree="first", stack="/run/net")
        host.converge(declared)
        assert host.read("/run/first/etc/hostname") == "pod\n"
        second = boxes.start("second", stack="/run/net")
        results = host.apply(declared)
        assert set(results.pending) == waiting
        assert results.warnings == {
            f"wharf_containers.pod: path:/run/net: {ALL}: several live there, each "
            f"with files of its own: say whose are meant, by one of pid:{first}, {second}"
        }
        assert boxes.etc("second").endswith("as it was\n")
    host.run("umount /run/net")


def test_files_of_a_namespace_with_a_name_are_where_ip_netns_looks_for_them(host: ThrowawayHost) -> None:
    host.run("ip netns add theirs; mkdir -p /etc/netns/theirs; echo as it was > /etc/netns/theirs/hosts")
    declared = words(web="path:/run/netns/theirs", late="path:/run/netns/late")
    with host.declared(declared):
        assert host.run("ip netns exec theirs cat /etc/hostname") == "web\n"
        assert f"{host.address('app', 'front')}\tapp\n" in host.run("ip netns exec theirs cat /etc/hosts")
        assert host.run("ls /etc/netns") == "app\ntheirs\n"
        host.run("ip netns add late")
        host.converge(declared)
        assert host.run("ip netns exec late cat /etc/hostname") == "late\n"
    assert host.run("cat /etc/netns/*/*; ls /etc/netns/*") == "as it was\nhosts\n"
    host.run("ip netns del theirs; ip netns del late")


# Seconds. To open a file of which another process holds a lease takes 45, and to open a pipe takes for ever.
SOON = 30


@pytest.mark.parametrize("place", ["process", "named"])
def test_what_is_in_the_way_of_one_file_concerns_that_one_alone(host: ThrowawayHost, boxes: Boxes, place: str) -> None:
    """All else is brought to what is declared, and given back. What is left is reported, and the next run without the
    obstacle makes it.
    """
    good = boxes.start("good")
    evil = {each: _place(host, boxes, place, each) for each in OBSTACLES}
    declared = words(good=f"pid:{good}", **{each.id: sandbox for each, (sandbox, _path) in evil.items()})
    keys = {f"{sandbox}:/etc/hosts" for sandbox, _path in evil.values()}
    reasons = {each.id: f"{evil[each][0]}: /etc/hosts cannot be written: {each.reason}" for each in OBSTACLES}
    paths = " ".join(path for _sandbox, path in evil.values())

    def files() -> str:
        return host.run(f"ls -l --time-style=+ {paths}; cat {paths}") + boxes.etc("good")

    before = host.snapshot(), files()
    began = time.monotonic()
    host.apply(declared)
    with _in_the_way(host, evil):
        for _again in range(2):
            results = host.apply(declared)
            assert results.warnings == {f"wharf_containers.{name}: {reason}" for name, reason in reasons.items()}
            assert set(results.pending) == keys
            for each, (_sandbox, path) in evil.items():
                assert host.read(path.replace("hosts", "hostname")) == f"{each.id}\n"
            assert f"{host.address('app', 'front')}\tapp\n" in host.read("/run/good/etc/hosts")
            assert host.read("/etc/netns/app/hostname") == "app\n"
        assert results.changes == []
        # Whether there is room shows when something is written.
        seen = host.observed()
        assert {*seen["pending"], *(change["name"] for change in seen["drift"]["dns_files"])} == keys
    assert {change[3] for change in host.apply(declared).changes} <= keys
    for _sandbox, path in evil.values():
        assert f"{host.address('app', 'front')}\tapp\n" in host.read(path)
    assert host.converge(declared) == []
    with _in_the_way(host, evil):
        for _again in range(2):
            results = host.apply({}, ABSENT)
            assert results.warnings == {*reasons.values()}
            assert set(results.pending) == keys
            assert boxes.etc("good") in before[1]
            assert {name for _kind, name in host.ledger()["owned"]["dns_files"]} == keys
        assert results.changes == []
    host.converge({}, ABSENT)
    assert time.monotonic() - began < SOON
    assert (host.snapshot(), files()) == before


def _place(host: ThrowawayHost, boxes: Boxes, place: str, obstacle: Obstacle) -> tuple[str, str]:
    """A container with little room for files, by the name of its sandbox, and where its hosts are."""
    name = obstacle.id
    root, sandbox = {
        "process": (f"/run/{name}", ""),
        "named": (f"/etc/netns/{name}", f"path:/run/netns/{name}"),
    }[place]
    etc = root if sandbox else f"{root}/etc"
    host.run(f"mkdir -p {root}; mount -t tmpfs -o size=3m none {root}; mkdir -p {etc}")
    host.run(f"for each in {' '.join(FILES)}; do echo as it was > {etc}/$each; done")
    if sandbox:
        host.run(f"ip netns add {name}")
    return sandbox or f"pid:{boxes.start(name)}", f"{etc}/hosts"


@contextmanager
def _in_the_way(host: ThrowawayHost, evil: dict[Obstacle, tuple[str, str]]) -> Iterator[None]:
    with ExitStack() as obstacles:
        for each, (_sandbox, path) in evil.items():
            obstacles.enter_context(each.put(host, path))
        yield
