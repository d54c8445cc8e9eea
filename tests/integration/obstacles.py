# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What root in a container, or bad luck, puts in the way of one of the container's files of names.

Each obstacle stands while its context lasts, and has the words by which the engine names it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from hosts import ABSENT, ThrowawayHost

# An obstacle at a path, as it is called on the host.
Put = Callable[[ThrowawayHost, str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Obstacle:
    id: str
    put: Put
    reason: str


_LEASE = """
import fcntl, signal, sys
# Whoever does not answer the kernel's signal keeps the lease for as long as the kernel lets him.
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open(sys.argv[1], {"F_RDLCK": "r", "F_WRLCK": "r+"}[sys.argv[2]])
fcntl.fcntl(file, fcntl.F_SETLEASE, getattr(fcntl, sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def _held(host: ThrowawayHost, *command: str) -> Iterator[None]:
    """A process on the host, from when it says something until it is to end."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*host.enter(), *command], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "held\n"
        yield
        process.stdin.close()


@contextmanager
def program(host: ThrowawayHost, path: str) -> Iterator[None]:
    """A program is copied over the file, and runs."""
    host.run(f"cat $(command -v sh) > {path}; chmod 755 {path}")
    with _held(host, path, "-c", "echo held; read line || true"):
        yield
    host.run(f"chmod 644 {path}")


def _lease(kind: str) -> Put:
    @contextmanager
    def put(host: ThrowawayHost, path: str) -> Iterator[None]:
        host.run(f"echo of mine > {path}")
        with _held(host, sys.executable, "-c", _LEASE, path, kind):
            yield

    return put


def _by(do: str, undo: str) -> Put:
    """Commands of the shell, with `{0}` where the path is to stand."""

    @contextmanager
    def put(host: ThrowawayHost, path: str) -> Iterator[None]:
        host.run(do.format(path))
        yield
        host.run(undo.format(path))

    return put


def _flagged(flag: str) -> Put:
    return _by(f"echo of mine > {{0}}; chattr +{flag} {{0}}", f"chattr -{flag} {{0}}")


@contextmanager
def full(host: ThrowawayHost, path: str) -> Iterator[None]:
    """There is not a byte left on the file's file system, which must be small, nor room for a longer file."""
    folder = path.rpartition("/")[0]
    host.run(f": > {path}; dd if=/dev/zero of={folder}/filling bs=4k 2>/dev/null || true")
    yield
    host.run(f"rm {folder}/filling")


def _instead(make: str, unmake: str = "rm") -> Put:
    return _by(f"rm {{0}}; {make}", f"{unmake} {{0}}")


large = _by("truncate -s 3000000000 {0}", "truncate -s 0 {0}")
read_only = _by("echo of mine > {0}; mount --bind {0} {0}; mount -o remount,bind,ro {0}", "umount {0}")


@contextmanager
def of_the_kernel(host: ThrowawayHost, path: str) -> Iterator[None]:
    """A file by which a value of the kernel is set: here, what a process of nobody's is called."""
    with subprocess.Popen([*host.enter(), "sleep", "1000"]) as process:
        try:
            host.run(f"mount --bind /proc/{process.pid}/comm {path}")
            yield
            assert host.run(f"cat /proc/{process.pid}/comm") == "sleep\n"
            host.run(f"umount {path}")
        finally:
            process.kill()


OBSTACLES = (
    Obstacle("program", program, "it is a program that runs"),
    Obstacle("read-lease", _lease("F_RDLCK"), "a process holds a lease on it (see fcntl(2))"),
    Obstacle("write-lease", _lease("F_WRLCK"), "a process holds a lease on it (see fcntl(2))"),
    Obstacle("immutable", _flagged("i"), "it is immutable or append-only (see lsattr)"),
    Obstacle("append-only", _flagged("a"), "it is immutable or append-only (see lsattr)"),
    Obstacle("full", full, "its file system is full"),
    Obstacle("pipe", _instead("mkfifo {0}"), "it is no file"),
    Obstacle("device", _instead("mknod {0} c 1 5"), "it is no file"),
    Obstacle("folder", _instead("mkdir {0}", "rmdir"), "it is no file"),
    Obstacle("large", large, "it is larger than 1048576 bytes"),
    Obstacle("read-only", read_only, "it is read-only"),
    Obstacle("of-the-kernel", of_the_kernel, "it is no file on a disk, or another process writes it at the same time"),
)


def assert_concerns_one_alone(host: ThrowawayHost, words: Any, sandbox: str, path: str) -> None:
    """Of a container named web, beside one named app, whose hosts are at this path: what root in it can always do."""
    key = f"{sandbox}:/etc/hosts"
    before = host.read(path)
    host.apply(words)
    for obstacle in OBSTACLES[:3]:
        with obstacle.put(host, path):
            results = host.apply(words)
            assert results.warnings == {
                f"wharf_containers.web: {sandbox}: /etc/hosts cannot be written: {obstacle.reason}"
            }
            assert (results.pending, results.changes) == ([key], [])
            host.run("echo edited > /etc/netns/app/hosts")
            assert [change[3] for change in host.apply(words).changes] == ["/etc/netns/app/hosts"]
        assert [change[3] for change in host.apply(words).changes] == [key]
    with OBSTACLES[0].put(host, path):
        assert host.apply({}, ABSENT).pending == [key]
    host.converge({}, ABSENT)
    assert host.read(path) == before
