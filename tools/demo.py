# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job, on a host of Linux namespaces that nobody needs: converge, look, probe, change, tear down.

Nothing of this machine changes, and no root is needed where user namespaces are allowed: the demo runs itself again
inside namespaces of its own, which are gone when it ends.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
BIN = CHECKOUT / ".venv/bin"
ENGINE = CHECKOUT / "plugins/module_utils"
PROBE = CHECKOUT / "tools/probe.py"

HOST, OUTSIDE = "192.0.2.10", "192.0.2.20"
HOST6, OUTSIDE6 = "2001:db8::10", "2001:db8::20"

GREEN, RED, DIM, BOLD, PLAIN = ("\033[32m", "\033[31m", "\033[2m", "\033[1m", "\033[0m")
if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
    GREEN = RED = DIM = BOLD = PLAIN = ""


def main() -> int:
    if "--inside" not in sys.argv:
        namespaces = [
            "--user",
            "--map-root-user",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]
        os.execvp("unshare", ["unshare", *namespaces, sys.executable, __file__, "--inside"])
    began = time.monotonic()
    step("A throwaway host with one uplink, and another host outside; this machine is not touched")
    build_host()
    before = snapshot()
    step("ansible-playbook wharf.network.demo: the application of playbooks/files/shop.compose.yml")
    play("demo")
    step("What stands now")
    print(engine("show"), end="")
    step("What the packets say")
    with servers():
        good = probe(expectations(8080))
        step("The same again changes nothing")
        good &= says(play("demo"), "changed=0")
        step("The web tier moves from port 8080 to 8081, live: first --check --diff")
        play("demo", "-e", "demo_web_port=8081", "--check", "--diff", verbose=True)
        with kept_connection() as alive:
            step("… and then for real, while a client stays connected to port 8443")
            play("demo", "-e", "demo_web_port=8081")
            good &= alive()
        good &= probe(expectations(8081)[:3] + [Expectation("outside", HOST, 8080, "closed", "the old port")])
    step("ansible-playbook wharf.network.teardown: the host is what it was")
    play("teardown", "-e", '{"wharf_host": {}}')
    good &= unchanged(before)
    print(f"\n{verdict(good)} in {time.monotonic() - began:.0f} s")
    return 0 if good else 1


def step(text: str) -> None:
    print(f"\n{BOLD}▶ {text}{PLAIN}", flush=True)


# The throwaway host


def build_host() -> None:
    """Folders of its own; an uplink `eth0`, whose other end is in the namespace `outside`."""
    run("mount", "--make-rprivate", "/")
    for folder in ("/run", "/var/lib", "/usr/local/sbin"):
        run("mount", "-t", "tmpfs", "tmpfs", folder)
    for folder in ("etc", "netns", "ansible"):
        os.mkdir(f"/run/{folder}")
    # A copy, since not even an overlay lets us write where the files belong to the root outside; some we cannot read.
    subprocess.run(["cp", "-r", "/etc/.", "/run/etc"], stderr=subprocess.DEVNULL, check=False)
    run("mount", "--bind", "/run/etc", "/etc")
    Path("/etc/resolv.conf").unlink(missing_ok=True)
    Path("/etc/resolv.conf").write_text("nameserver 192.0.2.53\nsearch example.org\n", encoding="ascii")
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


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


def engine(command: str) -> str:
    return run("env", f"PYTHONPATH={ENGINE}", sys.executable, "-m", "engine.command", command)


SEEN = (
    "ip -br link",
    "ip -br addr",
    "ip route",
    "ip -6 route",
    "ip netns",
    "nft list ruleset",
    "find /etc/netns /var/lib",
)
SYSCTLS = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/eth0/accept_ra")


def snapshot() -> dict[str, str]:
    seen = {
        command: subprocess.run(command.split(), capture_output=True, text=True, check=False).stdout for command in SEEN
    }
    return seen | {name: Path("/proc/sys", name).read_text(encoding="ascii") for name in SYSCTLS}


def unchanged(before: dict[str, str]) -> bool:
    after = snapshot()
    for what in before:
        same = before[what] == after[what]
        print(f"  {mark(same)} {what}" + ("" if same else f"\n{before[what]}---\n{after[what]}"))
    return before == after


# Ansible


def play(name: str, *options: str, verbose: bool = False) -> str:
    """Run a playbook of the collection on this host; print a line for each task, or all there is, and the recap."""
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH") or str(CHECKOUT / ".venv/collections"),
        "ANSIBLE_HOME": "/run/ansible",
        "ANSIBLE_REMOTE_TEMP": "/run/ansible",
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    command = [str(BIN / "ansible-playbook"), "-i", "localhost,", "-c", "local", f"wharf.network.{name}", *options]
    command += ["-e", f"ansible_python_interpreter={sys.executable}"]
    began = time.monotonic()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as playing:
        output = list(shown(playing.stdout or [], verbose))
    recap = next((line for line in output if "failed=" in line), "no recap")
    print(f"  {DIM}{' '.join(recap.split()[2:6])}   {time.monotonic() - began:.1f} s{PLAIN}")
    if playing.returncode:
        sys.exit("".join(output))
    return recap


def shown(lines: Iterator[str] | list[str], verbose: bool) -> Iterator[str]:
    """Pass the lines on, showing on the way how it goes."""
    task = ""
    for line in lines:
        yield line
        if found := re.match(r"TASK \[(?:wharf\.network\.(\S+) : )?(.+)\]", line):
            task = f"{found[1] or '':17}{found[2]}"
        elif found := re.match(r"(ok|changed|failed|fatal): ", line):
            if "Validating arguments" not in task:
                print(f"  {found[1]:8}{task}", flush=True)
        elif verbose and re.match(r"[-+@ ]", line):
            colour = {"+": GREEN, "-": RED}.get(line[0], DIM)
            print(f"          {colour}{line.rstrip()}{PLAIN}", flush=True)


def says(recap: str, expected: str) -> bool:
    return expected in recap.split()


# Packets


@dataclass(frozen=True)
class Expectation:
    """What a connection should come to; `seen_as` is the address that the server should see."""

    source: str
    address: str
    port: int
    expected: str
    meaning: str
    seen_as: str = ""


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


@contextmanager
def servers() -> Iterator[None]:
    """What listens: the web tier, the database, something on the default network, and the outside host."""
    listening = {"shop-web-1": ["80", "443"], "shop-db-1": ["5432"], "shell": ["80"], "outside": ["7"]}
    running = [
        subprocess.Popen([*inside(name), sys.executable, str(PROBE), "serve", *ports], stdout=subprocess.PIPE)
        for name, ports in listening.items()
    ]
    for server in running:
        assert server.stdout and server.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        for server in running:
            server.kill()
            server.wait()


def inside(name: str) -> list[str]:
    return [] if name == "host" else ["ip", "netns", "exec", name]


def probe(wanted: list[Expectation]) -> bool:
    print(f"  {DIM}{'from':15} {'to':31} {'expected':9} {'seen':8} what{PLAIN}")
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(attempt, wanted))
    good = True
    for expectation, answer in zip(wanted, answers, strict=True):
        good &= show(expectation, answer)
    return good


def attempt(expectation: Expectation) -> str:
    target = (expectation.address, str(expectation.port))
    return run(*inside(expectation.source), sys.executable, str(PROBE), "connect", *target)


def show(wanted: Expectation, answer: str) -> bool:
    seen, _space, detail = answer.strip().partition(" ")
    good = seen == wanted.expected and wanted.seen_as in ("", detail)
    to = f"[{wanted.address}]:{wanted.port}" if ":" in wanted.address else f"{wanted.address}:{wanted.port}"
    comment = f"seen as {detail}" if wanted.seen_as and seen == "open" else "" if seen == "open" else detail
    print(
        f"{mark(good)} {wanted.source:15} {to:31} {wanted.expected:9} {seen:8} {wanted.meaning} {DIM}{comment}{PLAIN}"
    )
    return good


@contextmanager
def kept_connection() -> Iterator[object]:
    """A connection of the host to the port that does not change, and a function that tells whether it still works."""
    with socket.create_connection((HOST, 8443), timeout=2) as connection:
        connection.recv(64)

        def alive() -> bool:
            connection.sendall(b"still there?")
            answered = connection.recv(64) == b"still there?"
            print(f"  {mark(answered)} the connection to port 8443 is still there")
            return answered

        yield alive


def mark(good: bool) -> str:
    return f"{GREEN}✓{PLAIN}" if good else f"{RED}✗{PLAIN}"


def verdict(good: bool) -> str:
    return f"{GREEN}All as it should be{PLAIN}" if good else f"{RED}Not as it should be{PLAIN}"


if __name__ == "__main__":
    sys.exit(main())
