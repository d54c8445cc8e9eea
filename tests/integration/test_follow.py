# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's `resolv.conf` changes while the engine follows it: containers' files do, too, but for those edited."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hosts import ENGINE, FILES, ThrowawayHost

WORDS: dict[str, Any] = {
    "networks": {"app": {}},
    "containers": {"plain": {}, "edited": {}, "own": {"dns": "192.0.2.99"}, "web": {"networks": ["app"]}},
}


@pytest.fixture(scope="module")
def host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as started, started.declared(WORDS):
        yield started


@contextmanager
def following(host: ThrowawayHost) -> Iterator[subprocess.Popen[str]]:
    """The engine, once it watches."""
    command = [*host.enter(), *ENGINE, "-m", "engine", "follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        heard(process)
        try:
            yield process
        finally:
            process.terminate()


def heard(process: subprocess.Popen[str]) -> dict[str, set[str]]:
    assert process.stdout
    return {key: set(value) for key, value in json.loads(process.stdout.readline()).items()}


def nameservers(host: ThrowawayHost, container: str) -> list[str]:
    lines = host.read(f"/etc/netns/{container}/resolv.conf").splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver")]


def test_files_follow_but_for_those_that_somebody_has_edited(host: ThrowawayHost) -> None:
    with following(host) as process:
        inode = host.run("stat -c %i /etc/netns/plain/resolv.conf")
        host.run("echo 'nameserver 192.0.2.1' > /etc/netns/edited/resolv.conf")
        # As programs write it: in place, and by a rename.
        for address, write in (
            ("192.0.2.54", "cat /run/new > /etc/resolv.conf"),
            ("192.0.2.55", "cp /run/new /etc/resolv.conf.new; mv /etc/resolv.conf.new /etc/resolv.conf"),
        ):
            host.write("/run/new", f"nameserver {address}\n")
            host.run(write)
            told = heard(process)
            assert told["left"] == {"/etc/netns/edited/resolv.conf"}
            assert "/etc/netns/plain/resolv.conf" in told["changed"]
            assert nameservers(host, "plain") == [address]
            assert nameservers(host, "edited") == ["192.0.2.1"]
            assert nameservers(host, "own") == ["192.0.2.99"]
        assert host.run("stat -c %i /etc/netns/plain/resolv.conf") == inode
    # A run is not only to follow, but brings about what is declared.
    changed = host.apply(WORDS).changes
    assert changed == [("dns_files", "update", "file", "/etc/netns/edited/resolv.conf", "content")]
    host.write("/etc/resolv.conf", FILES["/etc/resolv.conf"])
    host.apply(WORDS)


def test_files_follow_what_systemd_resolved_asks(host: ThrowawayHost) -> None:
    host.run("mkdir -p /run/systemd/resolve; echo nameserver 127.0.0.53 > /run/systemd/resolve/stub-resolv.conf")
    host.write("/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.56\n")
    host.run("ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf")
    host.apply(WORDS)
    with following(host) as process:
        host.write("/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.57\n")
        assert "/etc/netns/plain/resolv.conf" in heard(process)["changed"]
        assert nameservers(host, "plain") == ["192.0.2.57"]
    host.run("rm -r /run/systemd /etc/resolv.conf")
    host.write("/etc/resolv.conf", FILES["/etc/resolv.conf"])
    host.apply(WORDS)
