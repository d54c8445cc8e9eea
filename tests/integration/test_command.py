# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `wharf`, as an admin types it on a host: what it prints, and with which code it ends."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hosts import ABSENT, ThrowawayHost

WORDS = """\
networks:
  front: {}
containers:
  web: {networks: [front], ports: ["8080:80"]}
  late: {networks: [front], x-wharf: {sandbox: "path:/run/late/ns"}}
"""


@dataclass(frozen=True)
class Ran:
    code: int
    output: str
    errors: str


def wharf(host: ThrowawayHost, *arguments: str, given: str = "") -> Ran:
    command = host.engine_command("-m", "engine", *arguments)
    ran = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=60)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture(scope="module")
def lasting_host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as host:
        host.write("/run/words.yml", WORDS)
        yield host


@pytest.fixture
def host(lasting_host: ThrowawayHost) -> Iterator[ThrowawayHost]:
    yield lasting_host
    lasting_host.engine(["apply", "-", "--state", ABSENT, "--adopt"], {})


def test_apply_says_in_one_line_what_it_did(host: ThrowawayHost) -> None:
    ran = wharf(host, "apply", "/run/words.yml")
    assert (ran.code, ran.errors) == (0, "")
    (line,) = ran.output.splitlines()
    count, _colon, kinds = line.partition(": ")
    assert count.endswith(" changes")
    assert "2 bridges" in kinds
    assert "1 endpoint," in kinds
    assert line.endswith("; pending: late/front, path:/run/late/ns")
    again = wharf(host, "apply")
    assert (again.code, again.output) == (0, "nothing to change; pending: late/front, path:/run/late/ns\n")


def test_diff_shows_what_ansible_shows_and_says_by_its_code_whether_anything_differs(host: ThrowawayHost) -> None:
    before = wharf(host, "diff", "/run/words.yml")
    assert before.code == 2
    assert "--- before: bridge br-front\n+++ after: bridge br-front\n@@ -0,0 " in before.output
    assert "\n+network: front\n" in before.output
    assert "\x1b" not in before.output
    applied = wharf(host, "apply", "/run/words.yml")
    assert before.output.splitlines()[-1] == applied.output.strip()
    assert wharf(host, "diff").code == 0
    assert wharf(host, "diff", "/run/words.yml").output.startswith("nothing differs from what is declared")
    host.run("ip link set br-front mtu 1400")
    drifted = wharf(host, "diff")
    assert drifted.code == 2
    assert drifted.output.startswith("--- before: bridge br-front\n+++ after: bridge br-front\n")
    assert "-mtu: 1400\n+mtu: 1500\n" in drifted.output
    assert drifted.output.splitlines()[-1] == "1 change: 1 bridge; pending: late/front, path:/run/late/ns"


def test_for_machines_there_is_one_document(host: ThrowawayHost) -> None:
    words = [wharf(host, command, "/run/words.yml", "--json") for command in ("diff", "apply", "apply", "diff")]
    assert [ran.code for ran in words] == [2, 0, 0, 0]
    foreseen, made, *others = [json.loads(ran.output) for ran in words]
    assert foreseen == made
    assert made["changed"] is True
    assert {change["layer"] for change in made["changes"]} >= {"bridge", "docker_chains", "veth"}
    assert {
        "layer": "bridge",
        "kind": "bridge",
        "name": "br-front",
        "action": "create",
        "fields": [],
    } in made["changes"]
    assert {"path:/run/late/ns", "late/front"} <= {*made["pending"]}
    assert [each["changes"] for each in others] == [[], []]


def test_what_cannot_be_is_one_line_and_the_code_1(host: ThrowawayHost) -> None:
    for command in ("diff", "apply"):
        for path, content, message in (
            ("/run/none.yml", None, "/run/none.yml: cannot be read: No such file or directory"),
            ("/run/wrong.yml", "netwroks: {}\n", "/run/wrong.yml: netwroks: unknown key; did you mean networks?"),
            ("/run/wrong.yml", "host:\n  mtu: .inf\n", "/run/wrong.yml: line 2, column 8: .inf: must be a finite"),
        ):
            if content:
                host.write(path, content)
            ran = wharf(host, command, path)
            assert (ran.code, ran.output) == (1, "")
            assert ran.errors.startswith(message)
            assert ran.errors.count("\n") == 1
    # An option that is none is an error, too, and not a difference.
    assert wharf(host, "diff", "--nonsense").code == 1


def test_a_layer_that_is_refused_does_not_hide_what_others_did(host: ThrowawayHost) -> None:
    host.run("mkdir -p /run/nft; mount --bind /run/nft /etc/sysctl.d; mount -o remount,bind,ro /etc/sysctl.d")
    try:
        ran = wharf(host, "apply", "/run/words.yml")
    finally:
        host.run("umount /etc/sysctl.d")
    assert ran.code == 1
    assert "2 bridges" in ran.output
    assert "Read-only file system" in ran.errors


def test_a_port_in_base_60_is_a_port_mapping(host: ThrowawayHost) -> None:
    ran = wharf(host, "apply", "-", "--json", given="containers: {web: {ports: [22:22]}}\n")
    assert (ran.code, ran.errors) == (0, "")
    assert "0.0.0.0:22→22/tcp" in wharf(host, "show").output


def test_the_codes_are_documented() -> None:
    with ThrowawayHost.started() as host:
        for command, told in (("diff", "2: it differs"), ("apply", "1: an error"), ("show", "0: drawn")):
            assert told in wharf(host, command, "--help").output
