# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `wharf`, as an admin types it on a host: what it prints, and with which code it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from controller import Controller
from hosts import ABSENT, HOST, LEDGER, ThrowawayHost, differences

WORDS = """\
networks:
  front: {}
containers:
  web: {networks: [front], ports: ["8080:80"]}
  late: {networks: [front], x-wharf: {sandbox: "path:/run/late/ns"}}
"""


@pytest.fixture(scope="module")
def lasting_host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as host:
        host.write("/run/words.yml", WORDS)
        yield host


@pytest.fixture(name="host")
def lasting(lasting_host: ThrowawayHost) -> Iterator[ThrowawayHost]:
    yield lasting_host
    lasting_host.engine(["apply", "--state", ABSENT, "--recover"])


def test_apply_says_in_one_line_what_it_did(host: ThrowawayHost) -> None:
    ran = host.wharf("apply", "/run/words.yml")
    assert (ran.code, ran.errors) == (0, "")
    (line,) = ran.output.splitlines()
    count, _colon, kinds = line.partition(": ")
    assert count.endswith(" changes")
    assert "2 bridges" in kinds
    assert "1 endpoint," in kinds
    assert line.endswith("; pending: late/front, path:/run/late/ns")
    again = host.wharf("apply")
    assert (again.code, again.output) == (0, "nothing to change; pending: late/front, path:/run/late/ns\n")


def test_diff_shows_what_ansible_shows_and_says_by_its_code_whether_anything_differs(host: ThrowawayHost) -> None:
    before = host.wharf("diff", "/run/words.yml")
    assert before.code == 2
    assert "--- before: bridge: bridge br-front\n+++ after: bridge: bridge br-front\n@@ -0,0 " in before.output
    assert "\n+network: front\n" in before.output
    assert "\x1b" not in before.output
    applied = host.wharf("apply", "/run/words.yml")
    assert before.output.splitlines()[-1] == applied.output.strip()
    assert host.wharf("diff").code == 0
    assert host.wharf("diff", "/run/words.yml").output.startswith("nothing differs from what is declared")
    host.run("ip link set br-front mtu 1400")
    drifted = host.wharf("diff")
    assert drifted.code == 2
    assert drifted.output.startswith("--- before: bridge: bridge br-front\n+++ after: bridge: bridge br-front\n")
    assert "-mtu: 1400\n+mtu: 1500\n" in drifted.output
    assert drifted.output.splitlines()[-1] == "1 change: 1 bridge; pending: late/front, path:/run/late/ns"


def test_an_output_that_nobody_reads_ends_it_silently(host: ThrowawayHost) -> None:
    """Also where it is that of the errors, too."""
    host.wharf("apply", "/run/words.yml")
    for arguments in (["log"], ["explain", "web", "host:8080"], ["explain", "wep", "host:8080"], ["apply"]):
        reader, writer = os.pipe()
        os.close(reader)
        errors = writer if "wep" in arguments else subprocess.PIPE
        command = host.engine_command("-m", "engine.command", *arguments)
        ran = subprocess.run(command, stdout=writer, stderr=errors, text=True, check=False)
        os.close(writer)
        assert (ran.returncode, ran.stderr or "") == (141, "")


def test_for_machines_there_is_one_document(host: ThrowawayHost) -> None:
    words = [host.wharf(command, "/run/words.yml", "--json") for command in ("diff", "apply", "apply", "diff")]
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
            ("/run/wrong.yml", "networks: {app: {mtu: 1}}\n", "/run/wrong.yml: networks.app.mtu: unknown key; known"),
            ("/run/wrong.yml", "host:\n  mtu: .inf\n", "/run/wrong.yml: line 2, column 8: .inf: must be a finite"),
        ):
            if content:
                host.write(path, content)
            ran = host.wharf(command, path)
            assert (ran.code, ran.output) == (1, "")
            assert ran.errors.startswith(message)
            assert ran.errors.count("\n") == 1
    # An option that is none is an error, too, and not a difference.
    assert host.wharf("diff", "--nonsense").code == 1


def test_what_is_refused_rolls_back_the_whole_run(host: ThrowawayHost) -> None:
    before = host.snapshot()
    host.run("mkdir -p /run/nft; mount --bind /run/nft /etc/sysctl.d; mount -o remount,bind,ro /etc/sysctl.d")
    try:
        ran = host.wharf("apply", "/run/words.yml")
    finally:
        host.run("umount /etc/sysctl.d")
    assert (ran.code, ran.output) == (1, "")
    assert ran.errors.endswith("Read-only file system: mount it for writing; all changes of this run were taken back\n")
    assert differences(before, host.snapshot()) == ""


def test_a_port_in_base_60_is_a_port_mapping(host: ThrowawayHost) -> None:
    ran = host.wharf("apply", "-", "--json", given="containers: {web: {ports: [22:22]}}\n")
    assert (ran.code, ran.errors) == (0, "")
    assert "0.0.0.0:22→22/tcp" in host.wharf("show").output


def test_the_codes_are_documented() -> None:
    with ThrowawayHost.started() as host:
        for command, code in (("diff", "2: it differs"), ("apply", "1: an error"), ("show", "0: drawn")):
            assert code in host.wharf(command, "--help").output


# What `show` must not hide


def trouble(host: ThrowawayHost) -> list[str]:
    """The lines of trouble of a picture that is drawn all the same, by a command that waits for no lock."""
    ran = host.wharf("show")
    assert (ran.code, ran.errors) == (0, "")
    assert "\nhost\n" in f"\n{ran.output}"
    return [line[2:] for line in ran.output.splitlines() if line.startswith("! ")]


MEND = "`wharf diff` shows the differences from the declaration, and `wharf apply` repairs them"
PENDING = "container late is pending: its network stack path:/run/late/ns is not there"


@pytest.mark.parametrize(
    ("harm", "gone", "row"),
    [
        ("true", [], ""),
        (
            "ip link delete br-front",
            ["network front: its bridge br-front is gone, so containers on it are disconnected"],
            "web  (not connected: the bridge is gone)",
        ),
        (
            "ip netns exec web ip link delete eth0",
            ["container web is not connected to network front: its veth is gone"],
            "web  (not connected: its veth is gone)",
        ),
        (
            'ip link set "$(ip -br link show master br-front | sed s/@.*//)" nomaster',
            ["container web is not connected to network front: its veth is no port of the bridge br-front"],
            "web  (not connected: its veth is no port of the bridge)",
        ),
        (
            "nft delete table inet wharf",
            ["the rules are gone (table inet wharf): no port is published, and nothing protects containers"],
            "",
        ),
        (
            "nft flush chain inet wharf raw-prerouting; nft delete chain inet wharf raw-prerouting",
            ["the rules are incomplete: 1 chain of table inet wharf is missing: raw-prerouting"],
            "",
        ),
        (
            "nft flush chain inet wharf forward",
            ["the rules are incomplete: 1 chain of table inet wharf is changed: forward"],
            "",
        ),
        ("sysctl -qw net.ipv4.ip_forward=0", ["the host does not forward: net.ipv4.ip_forward is 0"], ""),
        ("ip link set br-front mtu 1400", ["1 object differs: bridge br-front"], "mtu 1400"),
    ],
    ids=["nothing", "bridge", "veth", "port", "table", "chain", "rules", "forwarding", "mtu"],
)
def test_show_names_what_is_gone(host: ThrowawayHost, harm: str, gone: list[str], row: str) -> None:
    assert host.wharf("apply", "/run/words.yml").code == 0
    host.run(harm)
    assert trouble(host) == [PENDING, *gone, *([MEND] if gone else [])]
    shown = host.wharf("show").output
    assert row in shown
    assert "late  (pending: path:/run/late/ns is not there)" in shown
    assert host.wharf("apply").code == 0
    assert trouble(host) == [PENDING]


def test_show_reports_a_port_whose_translation_is_gone(host: ThrowawayHost) -> None:
    assert host.wharf("apply", "/run/words.yml").code == 0
    assert "web  172.18.0.3/16  0.0.0.0:8080→80/tcp" in host.wharf("show").output
    host.run("nft delete element inet wharf published4 '{ tcp . 8080 }'")
    assert "web  172.18.0.3/16  (not published: 0.0.0.0:8080→80/tcp)" in host.wharf("show").output
    assert "\nwharf_published_ports 0\n" in host.wharf("metrics").output
    assert host.wharf("apply").code == 0
    assert "web  172.18.0.3/16  0.0.0.0:8080→80/tcp" in host.wharf("show").output


def test_show_says_for_whom_ports_are_open(host: ThrowawayHost) -> None:
    port = '{target: 80, published: "8080", x-wharf: {allow_from: [10.0.0.0/8, 192.0.2.66]}}'
    given = f"containers: {{web: {{ports: [{port}]}}}}\n"
    assert host.wharf("apply", "-", given=given).code == 0
    assert "0.0.0.0:8080→80/tcp (from 10.0.0.0/8, 192.0.2.66/32)" in host.wharf("show").output


def test_show_leaves_out_only_the_veths_of_containers(host: ThrowawayHost) -> None:
    assert host.wharf("apply", "/run/words.yml").code == 0
    host.run("ip link add rack type veth peer name rack-end")
    host.run("ip link set rack up alias 'rack 4/port 2'; ip link set rack-end up")
    shown = host.wharf("show").output
    host.run("ip link delete rack")
    interfaces = [line.split()[2] for line in shown.splitlines() if "mtu" in line and "network" not in line]
    assert sorted(interfaces) == ["eth0", "rack", "rack-end"]


@pytest.mark.parametrize("how", [f"rm {LEDGER}", f": > {LEDGER}"])
def test_show_says_that_the_ledger_is_lost(host: ThrowawayHost, how: str) -> None:
    assert host.wharf("apply", "/run/words.yml").code == 0
    host.run(how)
    (line,) = trouble(host)
    assert line.startswith(f"{LEDGER}: ")
    assert "restore it from a backup" in line
    if how.startswith("rm"):
        assert "networks bridge, front; containers web" in line
    host.run("rm -f /var/lib/wharf/ledger.json.broken-*")


def test_show_draws_what_is_sound_where_an_adopted_bridge_is_gone(host: ThrowawayHost) -> None:
    host.run("ip link add br-lan type bridge; ip addr add 172.30.9.1/24 dev br-lan; ip link set br-lan up")
    words = WORDS.replace("front: {}", "front: {}\n  lan: {external: true, name: br-lan}")
    assert host.wharf("apply", "-", given=words).code == 0
    host.run("ip link delete br-lan")
    found = trouble(host)
    assert found[0].startswith("standard input: networks.lan.external: ")
    assert "br-lan" in found[0]
    assert "br-front" in host.wharf("show").output
    host.run("ip link add br-lan type bridge; ip addr add 172.30.9.1/24 dev br-lan; ip link set br-lan up")
    host.engine(["apply", "--state", ABSENT])
    host.run("ip link delete br-lan")


@pytest.mark.parametrize("bridge, network", [("br-plain", "plain"), ("docker0", "bridge")])
def test_show_draws_what_is_sound_beside_a_third_party_in_the_way(
    host: ThrowawayHost, bridge: str, network: str
) -> None:
    host.apply({"networks": {"app": {}, "plain": {}}, "containers": {"web": {"networks": ["app"]}}})
    host.run(f"ip link del {bridge}; ip link add {bridge} type bridge")
    shown = json.loads(host.wharf("show", "--json").output)
    states = {name: each["state"] for name, each in shown["networks"].items()}
    assert states == {**dict.fromkeys(["app", "bridge", "plain"], "up"), network: states[network]}
    assert shown["containers"]["web"]["unconnected"] == {}
    (problem,) = shown["problems"]
    assert bridge in problem
    assert MEND not in shown["trouble"]
    host.run(f"ip link del {bridge}")
    host.apply({}, ABSENT)


def test_show_on_a_host_on_which_nothing_is_declared() -> None:
    with ThrowawayHost.started() as host:
        ran = host.wharf("show")
    assert (ran.code, ran.errors) == (0, "")
    assert ran.output.endswith("\nnothing is declared on this host\n")


def test_a_stopped_run_is_named_and_show_waits_for_nobody(host: ThrowawayHost) -> None:
    assert host.wharf("apply", "/run/words.yml").code == 0
    holder = host.start(HOST, "flock", "/run/wharf.lock")
    waiting = None
    try:
        until_locked = f'until grep -q "FLOCK.* {holder.pid} " /proc/locks; do sleep 0.05; done'
        subprocess.run(["sh", "-c", until_locked], check=True, timeout=30)
        holder.send_signal(signal.SIGSTOP)
        assert any(f"process {holder.pid} (flock /run/wharf.lock cat)" in line for line in trouble(host))
        command = host.engine_command("-m", "engine.command", "diff")
        waiting = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr
        line = waiting.stderr.readline()
        assert f"process {holder.pid} (flock /run/wharf.lock cat)" in line
        assert f"it is stopped: let it go on (kill -CONT {holder.pid})" in line
    finally:
        holder.send_signal(signal.SIGCONT)
        holder.communicate()
        assert waiting is None or waiting.wait() == 0


def test_a_module_warns_of_whom_it_has_waited_for(controller: Controller) -> None:
    """It prints nothing while it waits, so it says it afterwards."""
    host = controller.host
    with subprocess.Popen(
        [*host.enter(), "flock", "/run/wharf.lock", "sh", "-c", _HOLD_ON], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        ran = controller.play({"tasks": [{"wharf.network.network_info": {}}]})
    assert ran.returncode == 0
    assert "[WARNING]: waiting, for up to 300 seconds, for another run" in ran.output


# Until a second one has waited for this lock for some seconds, or half a minute.
_HOLD_ON = """
echo locked
export inode=$(stat -c %i /run/wharf.lock)
timeout 30 sh -c 'until grep -q -- "-> FLOCK.*:$inode 0 EOF" /proc/locks; do sleep 0.05; done'
sleep 3
"""
