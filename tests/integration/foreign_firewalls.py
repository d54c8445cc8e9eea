# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Firewalls of others in a throwaway host: ufw and firewalld themselves, and rule sets as others leave them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hosts import HOST, ThrowawayHost

UNPACKED = Path(__file__).parents[2] / ".venv/foreign-firewalls"

NFTABLES_CONF = """
flush ruleset
table inet filter {
    chain input {
        type filter hook input priority filter; policy accept;
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
    }
}
"""

# As libvirt's backend for nftables makes them for its default network.
LIBVIRT = """
table ip libvirt_network {
    chain forward {
        type filter hook forward priority filter; policy accept;
        jump guest_cross
        jump guest_input
        jump guest_output
    }
    chain guest_cross {
        iifname "virbr0" oifname "virbr0" counter accept
    }
    chain guest_input {
        oifname "virbr0" ip daddr 192.168.122.0/24 ct state established,related counter accept
        oifname "virbr0" counter reject
    }
    chain guest_output {
        ip saddr 192.168.122.0/24 iifname "virbr0" counter accept
        iifname "virbr0" counter reject
    }
}
"""

# As Engine 26 makes them for its docker0, on a host where it has turned forwarding on.
DOCKERD = """
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker9 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker9 -j DOCKER
-A FORWARD -i docker9 ! -o docker9 -j ACCEPT
-A FORWARD -i docker9 -o docker9 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker9 ! -o docker9 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker9 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""


def have_programs_of_others(host: ThrowawayHost) -> None:
    """ufw and firewalld, unpacked by `tools/unpack` and laid over this host's /usr."""
    host.run(
        f"""
        [ -e {UNPACKED}/usr/sbin/ufw ] || [ -e /usr/sbin/ufw ] || exit 77
        mount -t overlay none -o lowerdir={UNPACKED}/usr:/usr /usr || exit 77
        mount -t tmpfs none /var/log
        # Nobody starts others on demand here, and whoever asks for them would wait.
        mount -t tmpfs none /usr/share/dbus-1/system-services
        cp -a {UNPACKED}/etc/. /etc
        """
    )


@contextmanager
def skipping() -> Iterator[None]:
    try:
        yield
    except subprocess.CalledProcessError as error:
        if error.returncode == 77:
            pytest.skip(f"ufw and firewalld are not here (see tools/unpack): {error.stderr}")
        raise


def start_ufw(host: ThrowawayHost) -> None:
    host.run(
        """
        mkdir -p /etc/ufw /etc/default
        cp /usr/share/ufw/iptables/*.rules /usr/share/ufw/ufw.conf /usr/share/ufw/*.init /etc/ufw
        ufw --force enable
        """
    )


@contextmanager
def firewalld(host: ThrowawayHost) -> Iterator[None]:
    """A firewalld in the host, with a D-Bus of its own."""
    host.run("mkdir -p /run/dbus")
    with ExitStack() as started:
        started.enter_context(_running(host, "dbus-daemon", "--system", "--nofork", "--nopidfile"))
        _wait(host, "[ -S /run/dbus/system_bus_socket ]")
        started.enter_context(_running(host, "firewalld", "--nofork", "--nopid"))
        _wait(host, "nft list table inet firewalld && firewall-cmd --state")
        yield


@contextmanager
def _running(host: ThrowawayHost, *command: str) -> Iterator[None]:
    path = ["env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    with subprocess.Popen(
        [*host.enter(HOST), *path, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.terminate()


def _wait(host: ThrowawayHost, condition: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            host.run(condition)
            return
        except subprocess.CalledProcessError:
            assert time.monotonic() < deadline, condition
            time.sleep(0.1)
