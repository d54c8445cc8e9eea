# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SELinux types of the files that dnsmasq reads.

The file through which the kernel says whether it knows a label is an ordinary one here, which takes everything, and
labels are attributes like others: these tests need no SELinux, and do not show what a policy lets dnsmasq do.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from hosts import ABSENT, ThrowawayHost

WORDS: dict[str, Any] = {
    "networks": {"app": {}, "leased": {"x-wharf": {"dhcp": True}}},
    "containers": {"web": {"networks": ["app"]}, "db": {"networks": ["app"]}},
}

TYPES = """
import json, os
found = {}
for folder, _folders, files in os.walk("/run/wharf"):
    for path in (folder, *(os.path.join(folder, file) for file in files)):
        label = os.getxattr(path, "security.selinux") if "security.selinux" in os.listxattr(path) else b""
        found[path] = label.decode()
print(json.dumps(found))
"""
# As restorecon would.
RESTORE = """
import os
for folder, _folders, files in os.walk("/run/wharf"):
    for path in (folder, *(os.path.join(folder, file) for file in files)):
        os.setxattr(path, "security.selinux", b"admin_u:object_r:var_run_t:s0\\0")
"""
OF_LEASES = """
import os
print(os.getxattr("/var/lib/wharf/leases/leased", "security.selinux").decode())
"""

READ = (
    "/run/wharf/dnsmasq/app.conf",
    "/run/wharf/dnsmasq/app.servers",
    "/run/wharf/dnsmasq/leased.conf",
    "/run/wharf/dnsmasq/leased.hosts",
    "/run/wharf/names/app/_records",
    "/run/wharf/names/app/web",
)
FOLDERS = (
    "/run/wharf",
    "/run/wharf/dnsmasq",
    "/run/wharf/names",
    "/run/wharf/names/app",
    "/run/wharf/names/leased",
)
RUNNING = "/run/wharf/running"


@pytest.fixture
def with_selinux(host: ThrowawayHost) -> Iterator[ThrowawayHost]:
    host.run("mount -t tmpfs none /sys/fs && mkdir /sys/fs/selinux && touch /sys/fs/selinux/context")
    yield host


def labels(host: ThrowawayHost) -> dict[str, str]:
    found: dict[str, str] = json.loads(host.python(TYPES))
    return found


def types(host: ThrowawayHost, paths: Collection[str]) -> set[str]:
    return {label.split(":")[2] for path, label in labels(host).items() if path in paths}


def test_files_and_folders_that_dnsmasq_reads_have_a_type_that_it_may_read(with_selinux: ThrowawayHost) -> None:
    host = with_selinux
    host.converge(WORDS)
    found = labels(host)
    assert {found[path] for path in (*READ, *FOLDERS)} == {"system_u:object_r:etc_t"}
    assert found[RUNNING] == "system_u:object_r:var_run_t"
    assert not any(label for path, label in found.items() if path.startswith(f"{RUNNING}/"))
    host.converge(WORDS, ABSENT)


def test_a_run_mends_types_that_an_admin_has_restored(with_selinux: ThrowawayHost) -> None:
    host = with_selinux
    host.converge(WORDS)
    processes = host.run("cat /run/wharf/running/*.pid")
    host.python(RESTORE)
    made = host.converge(WORDS)
    assert {("dnsmasq", "update", "file", path, "selinux_type") for path in READ} <= {*made}
    assert {change[2] for change in made} == {"file"}
    mended = labels(host)
    # The rest of a label stays.
    assert {mended[path] for path in (*FOLDERS, *READ)} == {"admin_u:object_r:etc_t:s0"}
    assert host.run("cat /run/wharf/running/*.pid") == processes


def test_a_process_that_systemd_has_started_again_goes_on(with_selinux: ThrowawayHost) -> None:
    """It has no note of what it has read, and counts as up to date if the files are older than its pid file."""
    host = with_selinux
    host.converge(WORDS)
    host.run("kill -KILL $(cat /run/wharf/running/app.pid); rm /run/wharf/running/app.pid")
    # Its port is free when the kernel has closed the sockets of the killed process.
    host.run("until dnsmasq --conf-file=/run/wharf/dnsmasq/app.conf; do sleep 0.1; done")
    process = host.run("cat /run/wharf/running/app.pid")
    host.python(RESTORE)
    assert {change[2] for change in host.converge(WORDS)} == {"file"}
    assert host.run("cat /run/wharf/running/app.pid") == process


def test_names_that_dnsmasq_could_not_read_are_read_again(with_selinux: ThrowawayHost) -> None:
    host, ask = with_selinux, "ip netns exec db dig +short +tries=1 +time=2 web"
    host.converge(WORDS)
    address = host.run(ask)
    assert address
    host.python(RESTORE)
    # As dnsmasq's own user, the process cannot read a file of this mode, as by a type.
    host.run("chmod 0 /run/wharf/names/app/web && kill -HUP $(cat /run/wharf/running/app.pid) && sleep 0.3")
    if os.geteuid() == 0:
        assert host.run(ask) == ""
    host.run("chmod 644 /run/wharf/names/app/web")
    host.converge(WORDS)
    assert host.run(ask) == address


def test_a_killed_or_refused_run_is_finished_by_the_next_one(with_selinux: ThrowawayHost) -> None:
    host, words = with_selinux, {"networks": {"app": {}}}
    host.converge(words)
    read = {path for path in labels(host) if not path.startswith(RUNNING)}
    files = {path for path in read if path not in FOLDERS}
    assert len(files) == 3
    for number in itertools.count(1):
        host.python(RESTORE)
        refusal = host.refused(number, words)
        if refusal.failed:
            # A folder may keep the new type, which lets dnsmasq read nothing that it could not read before.
            assert types(host, files) == {"var_run_t"}, refusal
        host.python(RESTORE)
        was_killed = host.is_killed(number, words)
        host.converge(words)
        assert types(host, read) == {"etc_t"}
        if not was_killed:
            break
    # Each file is opened, and its type set.
    assert number > 2 * len(files)


def test_the_file_of_leases_is_writable_when_dnsmasq_starts(with_selinux: ThrowawayHost) -> None:
    host = with_selinux
    host.converge(WORDS)
    host.run("touch /var/lib/wharf/leases/leased; kill -KILL $(cat /run/wharf/running/leased.pid)")
    host.converge(WORDS)
    assert host.python(OF_LEASES).strip() == "system_u:object_r:dnsmasq_lease_t"


def test_a_host_without_selinux_has_no_labels(host: ThrowawayHost) -> None:
    host.converge(WORDS)
    assert not any(labels(host).values())
