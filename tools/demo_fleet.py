# SPDX-License-Identifier: GPL-3.0-or-later
"""One network over three hosts of Linux namespaces: converge them, look, probe, kill one, bring it back, tear down.

    outside 192.0.2.20 ── lan ──┬── eth0 of app1 192.0.2.11
                                ├── eth0 of app2 192.0.2.12
                                └── eth0 of app3 192.0.2.13

The inventory and the Compose file (tools/fleet) would do for real hosts. Only how Ansible reaches them differs.
Nothing of this machine changes, and no root is needed where user namespaces are allowed: the demo runs itself again
inside namespaces of its own, which are gone when it ends.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import stage
from stage import CHECKOUT, DIM, PLAIN, Expectation, mark, run, snapshot, step, verdict

FLEET = CHECKOUT / "tools/fleet"
PICTURE = CHECKOUT / "tests/output/demo-fleet.html"
ENTER = Path("/run/enter")

OUTSIDE, OUTSIDE6 = "192.0.2.20", "2001:db8::20"
HOSTS = {"app1": 11, "app2": 12, "app3": 13}
CHANGED, UNCHANGED, AWAY = "changed", "unchanged", "away"

# On which host each container is, at which port it listens, and its address: that of the only one on its slice.
CONTAINERS = {"shop-web-1": "app1", "shop-api-1": "app2", "shop-db-1": "app3", "shop-backup-1": "app3"}
PORTS = {"shop-web-1": "80", "shop-api-1": "9000", "shop-db-1": "5432"}
WEB, WEB6, API, DATABASE = "10.20.1.2", "fd00:20:0:1::2", "10.20.2.2", "10.20.3.2"


def main() -> int:
    stage.enter_namespaces()
    began = time.monotonic()
    step("Three throwaway hosts and a client on one LAN; this machine is not touched")
    build_lan()
    hosts = {name: Host.started(name) for name in HOSTS}
    print(f"  {', '.join(f'{name} {host_address(name)}' for name in HOSTS)}; outside {OUTSIDE}")
    before = {name: snapshot(inside(name)) for name in HOSTS}
    step("ansible-playbook -i tools/fleet wharf.network.site: one Compose project, a third of it on each host")
    good = site(dict.fromkeys(HOSTS, CHANGED))
    with listening("shop-web-1", "shop-api-1"):
        with listening("shop-db-1"):
            step("What packets and names say")
            good &= stage.probe(EXPECTATIONS, inside)
            step("The same play again changes nothing")
            good &= site(dict.fromkeys(HOSTS, UNCHANGED))
            step("ansible-playbook -i tools/fleet wharf.network.report: the fleet as a picture")
            good &= picture()
            step("app3 loses its power; the others go on, and so does the play")
            hosts["app3"].kill()
        good &= stage.probe([*EXPECTATIONS[:6], WITHOUT_DATABASE], inside)
        good &= site({"app1": UNCHANGED, "app2": UNCHANGED, "app3": AWAY})
        step("app3 boots with nothing but its files; the play brings its part back, and changes no other host")
        Host.started("app3")
        good &= site({"app1": UNCHANGED, "app2": UNCHANGED, "app3": CHANGED})
        with listening("shop-db-1"):
            good &= stage.probe(EXPECTATIONS, inside)
    step("ansible-playbook -i tools/fleet wharf.network.teardown: each host is what it was")
    code, _recap = play("teardown")
    good &= code == 0
    for name in HOSTS:
        good &= is_as_before(name, before[name])
    print(f"\n{verdict(good)} in {time.monotonic() - began:.0f} s. The picture of the fleet stays: {PICTURE}")
    return 0 if good else 1


# The hosts


def build_lan() -> None:
    """This namespace is the client outside. What the hosts have as disks is on a tmpfs, as all else that is written."""
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for folder in ("ansible", "enter"):
        Path("/run", folder).mkdir()
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "lan", "type", "bridge", "mcast_snooping", "0")
    run("ip", "addr", "add", f"{OUTSIDE}/24", "dev", "lan")
    run("ip", "addr", "add", f"{OUTSIDE6}/64", "dev", "lan", "nodad")
    run("ip", "link", "set", "lan", "up")
    # The client has a route to the database by its host: what stays closed to it, is closed by rules.
    run("ip", "route", "add", "10.20.0.0/16", "via", host_address("app3"))


# The host's own /run has the folder that Ansible's local connection writes to in common with the controller.
_BOOT = """
mount --bind {disk}/etc /etc
mount --bind {disk}/lib /var/lib
mount --bind {disk}/sbin /usr/local/sbin
mount -t tmpfs tmpfs {disk}/run
mkdir {disk}/run/netns {disk}/run/ansible
mount --bind /run/ansible {disk}/run/ansible
mount --rbind {disk}/run /run
ip link set lo up
echo ready
exec env --ignore-signal=CHLD cat
"""


@dataclass(frozen=True)
class Host:
    """A host as long as it has power: all of it ends with its first process."""

    name: str
    power: subprocess.Popen[bytes]

    @classmethod
    def started(cls, name: str) -> Host:
        disk = Path("/run/disks", name)
        if not disk.exists():
            stage.make_etc(disk / "etc")
            for folder in ("lib", "sbin", "run"):
                (disk / folder).mkdir()
        own = ["--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        power = subprocess.Popen(
            ["unshare", *own, "sh", "-ec", _BOOT.format(disk=disk)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert power.stdout and power.stdout.readline() == b"ready\n", f"{name} does not start"
        first = Path(f"/proc/{power.pid}/task/{power.pid}/children").read_text(encoding="ascii").strip()
        enter = ["nsenter", "-t", first, "--net", "--mount", "--pid", "--"]
        (ENTER / name).write_text(f'#!/bin/sh\nexec {shlex.join(enter)} /bin/sh "$@"\n', encoding="ascii")
        (ENTER / name).chmod(0o755)
        number = str(HOSTS[name])
        # The same card each time the host boots.
        card = ["name", "eth0", "address", f"02:00:00:00:00:{number}", "netns", first]
        run("ip", "link", "add", name, "index", number, "type", "veth", "peer", *card)
        run("ip", "link", "set", name, "master", "lan", "up")
        for address in (f"{host_address(name)}/24", f"{host_address(name, 6)}/64"):
            run(*enter, "ip", "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
        run(*enter, "ip", "link", "set", "eth0", "up")
        run(*enter, "ip", "route", "add", "default", "via", OUTSIDE)
        return cls(name, power)

    def kill(self) -> None:
        self.power.kill()
        self.power.wait()
        # Its plug goes with the other end, a moment later.
        while Path("/sys/class/net", self.name).exists():
            time.sleep(0.05)


def host_address(name: str, version: int = 4) -> str:
    return f"192.0.2.{HOSTS[name]}" if version == 4 else f"2001:db8::{HOSTS[name]}"


def inside(place: str) -> list[str]:
    """How a command gets into a host, or a container on the host that it belongs to."""
    if place in HOSTS:
        return [str(ENTER / place), "-c", 'exec "$@"', "-"]
    return [] if place == "outside" else [*inside(CONTAINERS[place]), "ip", "netns", "exec", place]


def is_as_before(name: str, before: dict[str, str]) -> bool:
    after = snapshot(inside(name))
    different = [what for what in before if before[what] != after[what]]
    print(f"  {mark(not different)} {name}: " + (", ".join(different) or f"{len(before)} listings are as before"))
    return not different


# Ansible


def site(expected: dict[str, str]) -> bool:
    """Converge the fleet, and return whether each host was reached, and changed or not, as expected."""
    code, recap = play("site")
    good = bool(code) == (AWAY in expected.values())
    for host, counts in recap.items():
        seen = AWAY if counts["unreachable"] else CHANGED if counts["changed"] else UNCHANGED
        good &= seen == expected[host]
        print(f"  {mark(seen == expected[host])} {host}: {seen}")
    return good


def play(name: str, *options: str) -> tuple[int, dict[str, dict[str, int]]]:
    """Run a playbook on the fleet as its inventory has it, by the shells that enter the hosts."""
    began = time.monotonic()
    connection = ["-c", "local", "-e", f"ansible_shell_executable={ENTER}/{{{{ inventory_hostname }}}}"]
    code, output = stage.play(
        "-i", str(FLEET / "inventory.yml"), *connection, f"wharf.network.{name}", *options, show=_shown
    )
    found = re.findall(r"^(\w+) +: (ok=.*)$", output, re.MULTILINE)
    recap = {host: {key: int(n) for key, n in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in found}
    print(f"  {DIM}{stage.seconds_since(began)}{PLAIN}")
    if recap.keys() != HOSTS.keys() or any(each["failed"] for each in recap.values()):
        sys.exit(output)
    return code, recap


def _shown(lines: Iterator[str]) -> Iterator[str]:
    """Pass the lines on, showing on the way what is changed, and where."""
    task = ""
    for line in lines:
        yield line
        task = stage.task_of(line) or task
        if found := re.match(r"(changed|fatal|failed): \[(\w+)", line):
            what = AWAY if "UNREACHABLE" in line else found[1]
            print(f"  {what:8} {found[2]}  {task.strip()}", flush=True)


def picture() -> bool:
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.unlink(missing_ok=True)
    code, _recap = play("report", "-e", f"wharf_report_file={PICTURE}")
    good = code == 0 and PICTURE.exists()
    page = PICTURE.read_text(encoding="utf-8") if good else ""
    shows = all(name in page for name in (*HOSTS, *CONTAINERS))
    print(f"  {mark(shows)} {PICTURE} shows all hosts and containers; open it in a browser")
    return good and shows


# Packets


EXPECTATIONS = [
    Expectation("outside", host_address("app1"), 8080, "open", "the published port, which sees who comes", OUTSIDE),
    Expectation("outside", host_address("app1", 6), 8080, "open", "the same by IPv6", OUTSIDE6),
    Expectation("outside", host_address("app2"), 8080, "open", "the same by a host that has not got it", OUTSIDE),
    Expectation("outside", host_address("app2", 6), 8080, "open", "the same by IPv6", OUTSIDE6),
    Expectation("shop-web-1", "api", 9000, "open", "another host's container, by name; it sees who comes", WEB6),
    Expectation("shop-web-1", API, 9000, "open", "the same by its IPv4 address", WEB),
    Expectation("shop-api-1", "postgres", 5432, "open", "the database, by its alias on the network"),
    Expectation("shop-web-1", "db", 5432, "open", "the same, by the name of its service"),
    Expectation("outside", DATABASE, 5432, "closed", "a container's own address, past the tunnel"),
    Expectation("shop-backup-1", DATABASE, 5432, "closed", "the database, from another network of its own host"),
    Expectation("shop-backup-1", API, 9000, "closed", "a container elsewhere, from there"),
]
WITHOUT_DATABASE = Expectation("shop-web-1", DATABASE, 5432, "closed", "the database, which is down")


def listening(*containers: str) -> AbstractContextManager[None]:
    return stage.servers({name: [PORTS[name]] for name in containers}, inside)


if __name__ == "__main__":
    sys.exit(main())
