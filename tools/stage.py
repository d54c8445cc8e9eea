# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demos have in common: they run plays, send packets, and print what was done and what was seen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
BIN = CHECKOUT / ".venv/bin"
PROBE = CHECKOUT / "tools/probe.py"

GREEN, RED, DIM, BOLD, PLAIN = ("\033[32m", "\033[31m", "\033[2m", "\033[1m", "\033[0m")
if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
    GREEN = RED = DIM = BOLD = PLAIN = ""

# The beginning of a command that runs in a place.
Inside = Callable[[str], list[str]]


def enter_namespaces() -> None:
    """Run this program inside namespaces of its own, which are gone when it ends, unless it is there already."""
    if "--inside" not in sys.argv:
        own = ["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        os.execvp("unshare", ["unshare", *own, sys.executable, sys.argv[0], "--inside"])
    run("mount", "--make-rprivate", "/")


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


def make_etc(folder: Path) -> None:
    """Copy the machine's: no overlay lets us write where files belong to the root outside; some we cannot read."""
    folder.mkdir(parents=True)
    subprocess.run(["cp", "-r", "/etc/.", str(folder)], stderr=subprocess.DEVNULL, check=False)
    (folder / "resolv.conf").unlink(missing_ok=True)
    (folder / "resolv.conf").write_text("nameserver 192.0.2.53\nsearch example.org\n", encoding="ascii")


# What is printed


def step(text: str) -> None:
    print(f"\n{BOLD}▶ {text}{PLAIN}", flush=True)


def mark(good: bool) -> str:
    return f"{GREEN}✓{PLAIN}" if good else f"{RED}✗{PLAIN}"


def verdict(good: bool) -> str:
    return f"{GREEN}All as it should be{PLAIN}" if good else f"{RED}Not as it should be{PLAIN}"


# What must be given back


SEEN = (
    "ip -br link",
    "ip -br addr",
    "ip route",
    "ip -6 route",
    "ip netns",
    "nft list ruleset",
    "find /etc/netns /var/lib",
    "cat /proc/sys/net/ipv4/ip_forward",
    "cat /proc/sys/net/ipv6/conf/all/forwarding",
    "cat /proc/sys/net/ipv6/conf/eth0/accept_ra",
)


def snapshot(inside: Sequence[str] = ()) -> dict[str, str]:
    return {
        seen: subprocess.run([*inside, *seen.split()], capture_output=True, text=True, check=False).stdout
        for seen in SEEN
    }


def unchanged(before: dict[str, str], after: dict[str, str]) -> bool:
    for what in before:
        same = before[what] == after[what]
        print(f"  {mark(same)} {what}" + ("" if same else f"\n{before[what]}---\n{after[what]}"))
    return before == after


# Ansible


def play(*arguments: str, show: Callable[[Iterator[str]], Iterator[str]]) -> tuple[int, str]:
    """Run a playbook of the collection, `show` what it prints, and return its code and all of that."""
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH") or str(CHECKOUT / ".venv/collections"),
        "ANSIBLE_HOME": "/run/ansible",
        "ANSIBLE_REMOTE_TEMP": "/run/ansible",
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    command = [str(BIN / "ansible-playbook"), *arguments, "-e", f"ansible_python_interpreter={sys.executable}"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as playing:
        output = "".join(show(iter(playing.stdout or [])))
    return playing.returncode, output


def seconds_since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"


def task_of(line: str) -> str:
    """The role and the name of the task that a line of Ansible's begins, or nothing."""
    found = re.match(r"TASK \[(?:wharf\.network\.(\S+) : )?(.+)\]", line)
    return f"{found[1] or '':17}{found[2]}" if found else ""


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


@contextmanager
def servers(listening: dict[str, list[str]], inside: Inside) -> Iterator[None]:
    """What listens at which ports in each place."""
    running = [
        subprocess.Popen([*inside(place), sys.executable, str(PROBE), "serve", *ports], stdout=subprocess.PIPE)
        for place, ports in listening.items()
    ]
    for server in running:
        assert server.stdout and server.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        for server in running:
            server.kill()
            server.wait()


def probe(wanted: list[Expectation], inside: Inside) -> bool:
    print(f"  {DIM}{'from':15} {'to':31} {'expected':9} {'seen':8} what{PLAIN}")

    def attempt(expectation: Expectation) -> str:
        target = (expectation.address, str(expectation.port))
        return run(*inside(expectation.source), sys.executable, str(PROBE), "connect", *target)

    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(attempt, wanted))
    good = True
    for expectation, answer in zip(wanted, answers, strict=True):
        good &= _show(expectation, answer)
    return good


def _show(wanted: Expectation, answer: str) -> bool:
    seen, _space, detail = answer.strip().partition(" ")
    good = seen == wanted.expected and wanted.seen_as in ("", detail)
    to = f"[{wanted.address}]:{wanted.port}" if ":" in wanted.address else f"{wanted.address}:{wanted.port}"
    comment = f"(seen as {detail})" if wanted.seen_as and seen == "open" else "" if seen == "open" else f"({detail})"
    print(
        f"{mark(good)} {wanted.source:15} {to:31} {wanted.expected:9} {seen:8} {wanted.meaning} {DIM}{comment}{PLAIN}"
    )
    return good
