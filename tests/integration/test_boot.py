# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role `boot`, and the command and the services that it installs.

No systemd runs a throwaway host. So the calls of systemctl are looked at, and what systemd would say of the units.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from boot_layer import COMMAND, installed
from controller import CHECKOUT, WORDS, Controller
from host_state import assert_same, host_state
from hosts import ABSENT, EngineError, ThrowawayHost, differences

APPLY, FOLLOW = "wharf.service", "wharf-follow.service"
UNITS = "/etc/systemd/system"
SYSTEMD = "/usr/lib/systemd/systemd"
ROLE = {"roles": ["wharf.network.boot"]}

# It logs its arguments, and remembers what is enabled and runs.
_SYSTEMCTL = f"""#!/bin/sh
echo "$@" >> /run/systemctl.log
verb=$1
shift
for unit in "$@"; do
    case $verb$unit in
    *--*) [ $unit != --now ] || now=1 ;;
    show*) [ -e /run/running/$unit ] && echo ActiveState=active || echo ActiveState=inactive; echo ;;
    enable*) mkdir -p {UNITS}/multi-user.target.wants; ln -sf {UNITS}/$unit {UNITS}/multi-user.target.wants/$unit ;;
    disable*) rm {UNITS}/multi-user.target.wants/$unit ${{now:+/run/running/$unit}} ;;
    start*) : > /run/running/$unit ;;
    esac
done
"""


@pytest.fixture
def words() -> dict[str, Any]:
    return WORDS


def boot_with_systemd(host: ThrowawayHost) -> None:
    host.write("/run/systemctl", _SYSTEMCTL)
    host.run(
        f"""
        chmod 755 /run/systemctl; mount --bind /run/systemctl /usr/bin/systemctl
        mkdir -p /run/systemd/system /run/running {UNITS}
        """
    )


def systemctl_calls(host: ThrowawayHost) -> list[str]:
    """The calls of systemctl since this was last asked, but for `show`."""
    lines = host.run("cat /run/systemctl.log; : > /run/systemctl.log").splitlines()
    return [line for line in lines if not line.startswith("show")]


def test_without_systemd_there_is_the_command(controller: Controller) -> None:
    host = controller.host
    before = host.snapshot()
    assert controller.converge(ROLE) == [("create", "program", COMMAND)]
    assert host.run(f"{COMMAND} --version").startswith("wharf ")
    assert controller.converge(ROLE, {"wharf_state": "absent"}) == [("delete", "program", COMMAND)]
    assert differences(before, host.snapshot()) == ""


def test_the_command_has_all_of_the_engine_that_it_needs(controller: Controller) -> None:
    """Ansible sends what the module imports, and that is what is installed: as it stands here, file by file."""
    controller.play(ROLE)
    content = controller.host.agent.call("read_files", folders=["/usr/local/sbin/"])[COMMAND].encode("latin-1")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        packed = {name: archive.read(name).decode() for name in archive.namelist()}
    engine = CHECKOUT / "plugins/module_utils/engine"
    there = {f"engine/{path.relative_to(engine)}": path.read_text(encoding="utf-8") for path in engine.rglob("*.py")}
    assert packed.pop("__main__.py")
    assert packed == there


def test_after_a_reboot_the_command_makes_all_of_it_again(host: ThrowawayHost, words: dict[str, Any]) -> None:
    host.apply(words)
    installed(host)
    before = host_state(host)
    host.run(
        """
        kill $(cat /run/wharf/running/*.pid)
        nft flush ruleset; ip -all netns del; umount -R /run/netns; rm -r /run/netns /run/wharf /run/wharf.lock
        for each in br-front br-back docker0; do ip link del $each; done
        sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 net.ipv6.conf.default.forwarding=0
        """
    )
    foreseen = changes(host, "diff")
    assert ("create", "bridge", "br-front") in foreseen
    assert changes(host, "apply") == foreseen
    assert changes(host, "diff") == []
    assert_same(before, lambda: host_state(host))
    assert "br-front" in host.run(f"{COMMAND} show")
    host.serve("web", "80/tcp")
    assert host.probe("outside", "192.0.2.10:8080/tcp").is_open


def changes(host: ThrowawayHost, command: str) -> list[tuple[str, str, str]]:
    """What the installed command changes, or would change; `diff` ends with 2 for that."""
    made = json.loads(host.run(f"{COMMAND} {command} --json || [ $? = 2 ]"))["changes"]
    return [(change["action"], change["kind"], change["name"]) for change in made]


@pytest.mark.parametrize("words", [{}, {"docker_user": [{"source": "192.0.2.66", "action": "drop"}]}])
def test_the_command_declares_nothing(host: ThrowawayHost, words: dict[str, Any]) -> None:
    """Where the networks are somebody else's, a boot does not make them ours."""
    if words:
        host.apply(words, scope=["docker_user"])
    installed(host)
    before = host.snapshot()
    assert changes(host, "diff") == []
    host.run("nft flush ruleset")
    made = changes(host, "apply")
    assert {kind for _action, kind, _name in made} <= {"chain", "set"}
    assert bool(made) == bool(words)
    assert differences(before, host.snapshot()) == ""


def test_with_systemd_services_are_enabled_and_started(host: ThrowawayHost) -> None:
    boot_with_systemd(host)
    before = host.snapshot()
    made = installed(host)
    services = [("create", "service", name) for name in (FOLLOW, APPLY)]
    assert made == [
        ("create", "program", COMMAND),
        *(("create", "file", f"{UNITS}/{name}") for name in (APPLY, FOLLOW)),
        *services,
    ]
    starts = [f"start --no-block -- {name}" for name in (FOLLOW, APPLY)]
    assert systemctl_calls(host) == ["daemon-reload", f"enable -- {FOLLOW} {APPLY}", *starts]
    host.run(f"rm /run/running/{APPLY}")
    assert installed(host) == [("update", "service", APPLY)]
    assert systemctl_calls(host) == [f"enable -- {APPLY}", starts[1]]
    host.run(f"echo >> {UNITS}/{FOLLOW}")
    assert installed(host) == [("update", "file", f"{UNITS}/{FOLLOW}")]
    assert systemctl_calls(host) == [f"stop -- {FOLLOW}", "daemon-reload", f"restart -- {FOLLOW}"]
    only_command = installed(host, services=False)
    assert ("delete", "service", APPLY) in only_command
    assert ("delete", "program", COMMAND) not in only_command
    assert systemctl_calls(host) == [f"disable --now -- {FOLLOW} {APPLY}", "daemon-reload"]
    installed(host, remove=True)
    host.run(f"rmdir {UNITS}/multi-user.target.wants")
    assert differences(before, host.snapshot()) == ""


def test_services_in_an_image(host: ThrowawayHost) -> None:
    """systemd is there and does not run: the real systemctl enables what will be started one day."""
    if not shutil.which("systemctl"):
        pytest.skip("systemctl is not installed here")
    host.run(f"mkdir -p {UNITS}")
    before = host.snapshot()
    installed(host, services=True)
    assert host.run(f"readlink {UNITS}/multi-user.target.wants/{APPLY}") == f"{UNITS}/{APPLY}\n"
    installed(host, remove=True)
    assert differences(before, host.snapshot()) == ""


def test_services_where_there_is_no_init_system(host: ThrowawayHost) -> None:
    host.run(": > /run/none; [ ! -e /usr/bin/systemctl ] || mount --bind /run/none /usr/bin/systemctl")
    with pytest.raises(EngineError, match="wharf_boot_services: there is neither systemd nor OpenRC on this host"):
        installed(host, services=True)


def test_what_an_earlier_version_has_installed_alone(host: ThrowawayHost, words: dict[str, Any]) -> None:
    """It noted none of this in a ledger: that it is there does not mean that a ledger is lost."""
    before = host.snapshot()
    installed(host)
    host.run("rm -r /var/lib/wharf")
    host.run("sysctl -qw net.ipv4.ip_forward=1")
    assert installed(host) == []
    host.run("rm -r /var/lib/wharf")
    host.apply(words)
    host.apply({}, ABSENT)
    assert host.sysctl("net.ipv4.ip_forward") == "1"
    host.run("sysctl -qw net.ipv4.ip_forward=0")
    assert differences(before, host.snapshot()) == ""


def test_units_are_what_systemd_takes(host: ThrowawayHost, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed here")
    boot_with_systemd(host)
    installed(host)
    for name in (APPLY, FOLLOW):
        # The command is in the throwaway host alone.
        (tmp_path / name).write_text(host.read(f"{UNITS}/{name}").replace(COMMAND, "/bin/true"))
    verify = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in (APPLY, FOLLOW))]
    said = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert "wharf" not in said.stderr


def test_the_networks_come_back_after_a_failure_and_after_a_firewall(host: ThrowawayHost) -> None:
    """As systemd itself understands the units, where each of these firewalls is installed."""
    if not Path(SYSTEMD).exists() or os.geteuid():
        pytest.skip("this needs root, and systemd installed here")
    boot_with_systemd(host)
    installed(host)
    firewalls = ["nftables", "iptables", "ip6tables", "netfilter-persistent", "ufw", "firewalld"]
    for each in firewalls:
        host.write(f"{UNITS}/{each}.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n")
    # It loads and links the units, and starts nothing.
    host.run(f"setpriv --reuid 65534 --clear-groups {SYSTEMD} --test --system --unit={APPLY} >/run/units 2>/dev/null")
    output = host.read("/run/units").partition(f"Unit {APPLY}:\n")[2]
    unit: dict[str, set[str]] = {}
    for line in output[: output.index(" Unit ")].splitlines():
        key, _colon, value = line.strip().partition(": ")
        unit.setdefault(key, set()).update(value.split()[:1])
    assert unit["Restart"] == {"on-failure"}
    assert {f"{each}.service" for each in firewalls} <= unit["After"]
    # These flush what others have loaded.
    for relation in ("PartOf", "ReloadPropagatedFrom"):
        assert unit[relation] == {f"{each}.service" for each in firewalls[:4]}
    assert "docker.service" in unit["Before"]


def test_what_is_called_so_and_is_not_ours(host: ThrowawayHost) -> None:
    boot_with_systemd(host)
    host.run(f"echo mine > {COMMAND}; echo mine > {UNITS}/{APPLY}")
    before = host.snapshot()
    for where, remedy in ((COMMAND, f"rm {COMMAND}"), (f"{UNITS}/{APPLY}", "true")):
        with pytest.raises(EngineError, match=f"wharf_boot: {where} exists and is not managed by wharf.network: move"):
            installed(host)
        assert differences(before, host.snapshot()) == ""
        assert installed(host, remove=True) == []
        assert differences(before, host.snapshot()) == ""
        host.run(remedy)
        before = host.snapshot()
