# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The how-to page on other runtimes: each section's command starts what its variables connect."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from subprocess import DEVNULL
from typing import Any

import pytest
import yaml
from hosts import ABSENT, OUTSIDE, ThrowawayHost, need_busybox
from machines import Machines
from test_pages_of_docker import BLOCK, INDEX, Reader
from test_runtimes import podman_in

# The number of a process on the page.
A_NUMBER = "4711"


@dataclass
class ReaderOfRuntimes(Reader):
    """`started` ends the programs that commands of the page start."""

    started: ExitStack = field(default_factory=ExitStack)
    number: int = 0

    def variables_of(self, block: str) -> Any:
        return yaml.safe_load(block.replace(A_NUMBER, str(self.number)))

    def run_commands(self, script: str) -> None:
        """In silence: what watches over a container of Podman goes on to hold its standard error."""
        command = [*self.host.enter(), "sh", "-c", f"exec {script}"]
        process = subprocess.Popen(command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
        if "httpd -f" in script:
            self.started.callback(_end, process)
            self.number = process.pid
        else:
            assert process.wait(timeout=30) == 0, script


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.fixture
def reader(host: ThrowawayHost) -> Iterator[ReaderOfRuntimes]:
    need_busybox()
    # Not on this machine: the host has mounts of its own.
    host.run("mount -t tmpfs none /srv; mkdir /srv/www; echo 'It works' > /srv/www/index.html")
    with ExitStack() as started:
        yield ReaderOfRuntimes(host, "runtimes", {"networks": {"app": {}}}, started=started)


def test_podman(reader: ReaderOfRuntimes) -> None:
    with podman_in(reader.host) as podman:
        reader.host.run(f"ln -s busybox /run/image/bin/httpd; mkdir /run/image/www; {INDEX}")
        given = "tar c -C /run/image . |"
        podman.run("""import --change 'CMD ["/bin/httpd", "-f", "-h", "/www"]' - nginx:alpine""", given)
        reader.read("## Podman")


def test_machines(reader: ReaderOfRuntimes) -> None:
    """By the option of the page. The scenario `nodocker` on VMs has its file, too."""
    section = reader.section("## systemd-nspawn")
    assert " --private-network " in section
    [words] = [yaml.safe_load(fenced) for language, fenced, _indented in BLOCK.findall(section) if language == "yaml"]
    with Machines.started(reader.host) as machines:
        reader.variables["containers"] = words["wharf_containers"]
        assert "machine:web" in reader.host.apply(reader.variables).pending
        machines.start("web")
        reader.run_playbook()
        reader.host.serve(machines.place("web"), "80/tcp", name="web")
        assert reader.host.probe(OUTSIDE, "192.0.2.10:8080/tcp").by == "web"
        assert machines.run("web", "cat /etc/resolv.conf").startswith("nameserver 172.18.0.1\n")


@pytest.mark.parametrize("heading", ["## A named namespace", "## A process", "## A namespace at a path"])
def test_other_namespaces(reader: ReaderOfRuntimes, heading: str) -> None:
    reader.read(heading)
    files = {f"pid:{reader.number}:/etc/{name}" for name in ("hosts", "hostname", "resolv.conf")}
    assert {*reader.host.apply({}).pending} == (files if "process" in heading else set())
    reader.host.converge({}, ABSENT)
    assert ("theirs" in reader.host.run("ip netns list")) == ("path" in heading)


@pytest.mark.parametrize("sandbox", ["podman:web", "path:/run/netns/theirs", f"pid:{2**22 - 1}"])
def test_what_is_not_there_is_pending(reader: ReaderOfRuntimes, sandbox: str) -> None:
    web = {"networks": ["app"], "x-wharf": {"sandbox": sandbox}}
    assert sandbox in reader.host.apply({**reader.variables, "containers": {"web": web}}).pending
