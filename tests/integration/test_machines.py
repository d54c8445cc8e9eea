# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines of systemd-nspawn: connected, named, left alone while they do not run, and given back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hosts import EXACT, ThrowawayHost
from machines import USERS, Machines
from obstacles import assert_concerns_one_alone

HOST_ADDRESS = "192.0.2.10"
FILES = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")

WORDS: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True}},
    "containers": {
        "web": {"networks": ["front"], "ports": ["8080:80"], "x-wharf": {"sandbox": "machine:web"}},
        "app": {"networks": ["front"]},
    },
}


@pytest.fixture
def machines(host: ThrowawayHost) -> Iterator[Machines]:
    with Machines.started(host) as started:
        yield started


ETC = "cd /run/machine-web/etc; stat -c '%n %A %u:%g' *; cat *"


@pytest.mark.parametrize("users", USERS)
def test_a_machine_is_connected_and_named(host: ThrowawayHost, machines: Machines, users: str) -> None:
    machines.start("web", *USERS[users])
    found = host.run(ETC)
    with host.declared(WORDS):
        place = machines.place("web")
        host.serve(place, "80/tcp", name="web")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
        assert host.probe("app", f"[{host.address('web', 'front', 6)}]:80/tcp").by == "web"
        assert host.probe(place, "203.0.113.1/ping").is_open
        assert f"{host.address('app', 'front')}\tapp" in machines.run("web", "cat /etc/hosts")
        assert machines.run("web", "cat /etc/hostname") == "web\n"
        gateway = host.address("web", "front").rpartition(".")[0] + ".1"
        assert machines.run("web", "cat /etc/resolv.conf").startswith(f"nameserver {gateway}\n")
        assert {machines.run("web", f"stat -c %u:%g {path}") for path in FILES} == {"0:0\n"}
    assert host.run(ETC) == found


@pytest.mark.parametrize("users", USERS)
def test_a_machine_that_does_not_run_has_its_own_files_again_when_it_is_let_go(
    host: ThrowawayHost, machines: Machines, users: str
) -> None:
    machines.start("web", *USERS[users])
    found = host.run(ETC)
    with host.declared(WORDS):
        machines.stop("web")
        assert host.run(ETC) != found
        host.converge({**WORDS, "containers": {"app": WORDS["containers"]["app"]}}, EXACT)
        assert host.run(ETC) == found


def test_a_tree_that_took_the_place_of_a_machines_is_left_alone(host: ThrowawayHost, machines: Machines) -> None:
    machines.start("web")
    with host.declared(WORDS):
        machines.stop("web")
        host.run("cd /run/machine-web/etc; rm hostname hosts resolv.conf; echo new > hostname")
        found = host.run(ETC)
    assert host.run(ETC) == found


def test_a_program_in_the_place_of_a_file_concerns_that_one_alone(host: ThrowawayHost, machines: Machines) -> None:
    machines.start("web")
    host.write("/run/machine-web/etc/hosts", "as it was\n")
    assert_concerns_one_alone(host, WORDS, "machine:web", "/run/machine-web/etc/hosts")


def test_a_machine_whose_tree_has_gone_is_let_go(host: ThrowawayHost, machines: Machines) -> None:
    machines.start("web")
    with host.declared(WORDS):
        machines.stop("web")
        host.run("rm -r /run/machine-web")


def test_a_machine_that_does_not_run_is_pending_and_connected_once_it_does(
    host: ThrowawayHost, machines: Machines
) -> None:
    with host.declared(WORDS):
        pending = {"machine:web", "web/front", *(f"machine:web:{path}" for path in FILES)}
        assert set(host.apply(WORDS).pending) == pending
        assert host.probe("app", "203.0.113.1/ping").is_open
        assert not host.probe("outside", f"{HOST_ADDRESS}:8080/tcp", False).is_open
        machines.start("web")
        host.converge(WORDS)
        machines.stop("web")
        written = host.run(ETC)
        assert set(host.apply(WORDS).pending) == pending
        assert host.run(ETC) == written
        machines.start("web")
        host.converge(WORDS)
        host.serve(machines.place("web"), "80/tcp", name="web")
        assert host.probe("outside", f"{HOST_ADDRESS}:8080/tcp").by == "web"
    assert machines.run("web", "cat /etc/hostname") == "distributions-own\n"
