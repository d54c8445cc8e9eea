# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job, on a host of Linux namespaces that nobody needs: converge, look, probe, change, tear down.

Nothing of this machine changes, and no root is needed where user namespaces are allowed: the demo runs itself again
inside namespaces of its own, which are gone when it ends.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import stage
from stage import CHECKOUT, DIM, GREEN, PLAIN, RED, Expectation, mark, run, snapshot, step, verdict

ENGINE = CHECKOUT / "plugins/module_utils"

HOST, OUTSIDE = "192.0.2.10", "192.0.2.20"
HOST6, OUTSIDE6 = "2001:db8::10", "2001:db8::20"


def main() -> int:
    stage.enter_namespaces()
    began = time.monotonic()
    step("A throwaway host with one uplink, and another host outside; this machine is not touched")
    build_host()
    before = snapshot()
    step("ansible-playbook wharf.network.demo: the application of playbooks/files/shop.compose.yml")
    play("demo")
    step("What stands now")
    print(engine("show"), end="")
    step("What the packets say")
    with stage.servers(LISTENING, inside):
        good = stage.probe(expectations(8080), inside)
        step("The same again changes nothing")
        good &= says(play("demo"), "changed=0")
        step("The web tier moves from port 8080 to 8081, live: first --check --diff")
        play("demo", "-e", "demo_web_port=8081", "--check", "--diff", verbose=True)
        with kept_connection() as alive:
            step("… and then for real, while a client stays connected to port 8443")
            play("demo", "-e", "demo_web_port=8081")
            good &= alive()
        good &= stage.probe(
            expectations(8081)[:3] + [Expectation("outside", HOST, 8080, "closed", "the old port")], inside
        )
    step("ansible-playbook wharf.network.teardown: the host is what it was")
    play("teardown", "-e", "{wharf_host: {}}")
    good &= stage.unchanged(before, snapshot())
    print(f"\n{verdict(good)} in {time.monotonic() - began:.0f} s")
    return 0 if good else 1


# The throwaway host


def build_host() -> None:
    """Folders of its own; an uplink `eth0`, whose other end is in the namespace `outside`."""
    for folder in ("/run", "/var/lib", "/usr/local/sbin"):
        run("mount", "-t", "tmpfs", "tmpfs", folder)
    for folder in ("netns", "ansible"):
        os.mkdir(f"/run/{folder}")
    stage.make_etc(Path("/run/etc"))
    run("mount", "--bind", "/run/etc", "/etc")
    run("ip", "netns", "add", "outside")
    run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", "outside")
    for prefix, own, own6, other, other6 in (
        ([], HOST, HOST6, OUTSIDE, OUTSIDE6),
        (["-n", "outside"], OUTSIDE, OUTSIDE6, HOST, HOST6),
    ):
        run("ip", *prefix, "link", "set", "lo", "up")
        run("ip", *prefix, "addr", "add", f"{own}/24", "dev", "eth0")
        run("ip", *prefix, "addr", "add", f"{own6}/64", "dev", "eth0", "nodad")
        run("ip", *prefix, "link", "set", "eth0", "up")
        # The outside host has routes to everywhere by our host: what stays closed to it, is closed by rules.
        run("ip", *prefix, "route", "add", "default", "via", other)
        run("ip", *prefix, "-6", "route", "add", "default", "via", other6)


def engine(command: str) -> str:
    return run("env", f"PYTHONPATH={ENGINE}", sys.executable, "-m", "engine.command", command)


# Ansible


def play(name: str, *options: str, verbose: bool = False) -> str:
    """Run a playbook of the collection on this host; print a line for each task, or all there is, and the recap."""
    began = time.monotonic()
    code, output = stage.play(
        "-i", "localhost,", "-c", "local", f"wharf.network.{name}", *options, show=lambda lines: shown(lines, verbose)
    )
    recap = next((line for line in output.splitlines() if "failed=" in line), "no recap")
    print(f"  {DIM}{' '.join(recap.split()[2:6])}   {stage.seconds_since(began)}{PLAIN}")
    if code:
        sys.exit(output)
    return recap


def shown(lines: Iterator[str], verbose: bool) -> Iterator[str]:
    """Pass the lines on, showing on the way how it goes."""
    task = ""
    for line in lines:
        yield line
        task = stage.task_of(line) or task
        if found := re.match(r"(ok|changed|failed|fatal): ", line):
            if "Validating arguments" not in task:
                print(f"  {found[1]:8}{task}", flush=True)
        elif verbose and re.match(r"[-+@ ]", line):
            colour = {"+": GREEN, "-": RED}.get(line[0], DIM)
            print(f"          {colour}{line.rstrip()}{PLAIN}", flush=True)


def says(recap: str, expected: str) -> bool:
    return expected in recap.split()


# Packets


# The web tier, the database, something on the default network, and the outside host.
LISTENING = {"shop-web-1": ["80", "443"], "shop-db-1": ["5432"], "shell": ["80"], "outside": ["7"]}


def expectations(web_port: int) -> list[Expectation]:
    web, web_front, shell = address("shop-web-1", "eth0"), address("shop-web-1", "eth1"), address("shell", "eth0")
    return [
        Expectation("outside", HOST, web_port, "open", "the published port, which sees who comes", OUTSIDE),
        Expectation("outside", HOST6, web_port, "open", "the same by IPv6", OUTSIDE6),
        Expectation("host", "127.0.0.1", web_port, "open", "the same by the host's loopback"),
        Expectation("outside", HOST, 5432, "closed", "the database, which is not published"),
        Expectation("outside", web_front, 80, "closed", "a container's own address, past its published port"),
        Expectation("shell", HOST, web_port, "open", "the published port, from another network"),
        Expectation("shell", web_front, 80, "closed", "a container of another network"),
        Expectation("shop-web-1", "postgres", 5432, "open", "the database, by its alias", web),
        Expectation("shop-web-1", HOST, web_port, "open", "itself, by its own published port"),
        Expectation("shop-web-1", OUTSIDE, 7, "open", "the outside, as if it were the host", HOST),
        Expectation("shop-db-1", OUTSIDE, 7, "closed", "the outside, from an internal network"),
        Expectation("shop-report-1", HOST, web_port, "closed", "anything, from mode none"),
        Expectation("shop-monitor-1", web_front, 80, "open", "a container, from mode host"),
        Expectation("shop-monitor-1", shell, 80, "open", "a container of the default network, from mode host"),
    ]


def address(container: str, interface: str) -> str:
    listed = run("ip", "-n", container, "-4", "-br", "addr", "show", interface)
    return listed.split()[2].partition("/")[0]


def inside(name: str) -> list[str]:
    return [] if name == "host" else ["ip", "netns", "exec", name]


@contextmanager
def kept_connection() -> Iterator[Callable[[], bool]]:
    """A connection of the host to the port that does not change, and a function that returns whether it still works."""
    with socket.create_connection((HOST, 8443), timeout=2) as connection:
        connection.recv(64)

        def alive() -> bool:
            connection.sendall(b"still there?")
            answered = connection.recv(64) == b"still there?"
            print(f"  {mark(answered)} the connection to port 8443 is still there")
            return answered

        yield alive


if __name__ == "__main__":
    sys.exit(main())
