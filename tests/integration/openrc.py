# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real OpenRC that runs the services of a throwaway host, as Debian packages it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hosts import ThrowawayHost

UNPACKED = Path(__file__).parents[2] / ".venv/openrc"

SCRIPTS = "/etc/init.d"
RUNLEVEL = "/etc/runlevels/default"

# The cgroups of the machine stay as they are. There are no scripts of System V, in whose order insserv would look.
_INSTALL = f"""
[ -e {UNPACKED}/usr/sbin/openrc ] || exit 77
mount -t overlay none -o lowerdir={UNPACKED}/usr:/usr /usr || exit 77
mount -t tmpfs none /usr/local/sbin
mount -t tmpfs none /sys/fs/cgroup
mount --bind /bin/true /usr/sbin/insserv
cp {UNPACKED}/etc/rc.conf /etc
echo 'rc_cgroup_mode="none"' >> /etc/rc.conf
rm -rf {SCRIPTS} /etc/runlevels
mkdir -p {SCRIPTS} {RUNLEVEL}
"""

# A firewall, which flushes all rules, and a dockerd. Both note which links there are when they start. By their names
# alone, they would start after the services of wharf.network, and before them.
_OTHERS = {
    "zone-firewall": "depend() { provide firewall; }\nstart() { ip -o link > /run/firewall-saw; nft flush ruleset; }",
    "docker": "start() { ip -o link > /run/docker-saw; }",
}


def install_openrc(host: ThrowawayHost) -> None:
    """It is unpacked by `tools/unpack`, and laid over this host's /usr. Nothing runs yet."""
    if os.geteuid():
        pytest.skip("OpenRC needs root")
    try:
        host.run(_INSTALL)
    except subprocess.CalledProcessError as error:
        if error.returncode == 77:
            pytest.skip(f"OpenRC is not here (see tools/unpack): {error.stderr}")
        raise
    for name, script in _OTHERS.items():
        host.write(f"{SCRIPTS}/{name}", f"#!/sbin/openrc-run\n{script}\n")
        host.run(f"chmod 755 {SCRIPTS}/{name}; ln -s {SCRIPTS}/{name} {RUNLEVEL}")


@contextmanager
def booted(host: ThrowawayHost) -> Iterator[None]:
    """OpenRC runs the host, but for what it does before it starts services: this would change the machine."""
    install_openrc(host)
    boot(host)
    try:
        yield
    finally:
        shut_down(host)


def boot(host: ThrowawayHost) -> None:
    host.run("mkdir /run/openrc; openrc default")


def shut_down(host: ThrowawayHost) -> None:
    """No process of a service stays, and nothing is known of services."""
    host.run("rc-service --nodeps --ifexists --ifstarted wharf-follow stop; rm -r /run/openrc")


def states(host: ThrowawayHost) -> dict[str, str]:
    """The services of wharf.network in the runlevel, each with its state."""
    lines = [line.split() for line in host.run("rc-status default").splitlines()]
    return {words[0]: words[2] for words in lines if words[0].startswith("wharf")}
