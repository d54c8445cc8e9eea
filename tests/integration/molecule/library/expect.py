# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen from a host and its sandboxes, held against what is expected; the packets are agent.py's.

`answers` are what is to answer from now on, instead of what did before: `{in: web, tcp: 80}` does so over IPv4 and
IPv6, by the sandbox's name and whom it sees. `expectations` are asked all at once: `{in: web, tcp: "192.0.2.7:80",
gives: db sees 172.18.0.2}`. What is asked is one of `tcp`, `udp`, `ping` (an address), `run` (a command of the shell),
and `value` (what a task has found out). What it `gives` is a regular expression for all of the answer; to packets that
is `closed` if there is none, and `pong` to a ping. `in` is a named network namespace, `docker:NAME` or `machine:NAME`,
and by default the host.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from ansible.module_utils import agent
from ansible.module_utils.basic import AnsibleModule

ANSWERERS = Path("/run/expect.pid")
CLOSED_AFTER, PATIENCE = 5, 60  # seconds; emulated machines are slow
PROTOCOLS = ("tcp", "udp", "ping")


def main() -> None:
    lists = {"answers": {"type": "list", "elements": "dict"}, "expectations": {"type": "list", "elements": "dict"}}
    module = AnsibleModule(lists)
    if module.params["answers"]:
        trouble = answer_from_now_on(module.params["answers"])
        if trouble:
            module.fail_json(msg=trouble)
    expectations = module.params["expectations"] or []
    seen = [*map(checked, expectations, look(expectations))]
    module.exit_json(
        changed=False,
        proven=[line for line, proven in seen if proven],
        wrong=[line for line, proven in seen if not proven],
    )


def answer_from_now_on(answers: list[dict]) -> str:
    """Leave a process that does, in the place of the one before; what keeps it from answering, or nothing."""
    with suppress(FileNotFoundError, ProcessLookupError):
        former = int(ANSWERERS.read_text())
        while True:  # until its ports are free
            os.kill(former, signal.SIGKILL)
            time.sleep(0.1)
    reader, writer = os.pipe()
    # It is forked off before it serves: what waits for sockets would be shared otherwise.
    if not os.fork():
        attend(answers, writer)
    os.close(writer)
    with open(reader) as trouble:
        return trouble.read()


def attend(answers: list[dict], writer: int) -> NoReturn:
    """Say what keeps this process from answering, and end; or close the file, and answer for ever."""
    os.setsid()
    try:
        for answer in answers:
            serve(answer)
        ANSWERERS.write_text(str(os.getpid()))
    except Exception as error:
        os.write(writer, f"{answer}: {error}".encode())
        os._exit(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.close(writer)
    agent.attend()
    os._exit(0)


def serve(answer: dict) -> None:
    sandbox = answer.get("in", "")
    name = sandbox.rpartition(":")[2] or os.uname().nodename
    for protocol in answer.keys() & PROTOCOLS:
        agent.serve(place(sandbox), name, protocol, "0.0.0.0", int(answer[protocol]))
        agent.serve(place(sandbox), name, protocol, "::", int(answer[protocol]))


def look(expectations: list[dict]) -> list[str]:
    """What each gives."""
    seen = {n: str(e["value"]) for n, e in enumerate(expectations) if "value" in e}
    running = {n: run(e) for n, e in enumerate(expectations) if "run" in e}
    asked = {n: e for n, e in enumerate(expectations) if e.keys() & PROTOCOLS}
    seen.update(ask(asked))
    # A packet may get lost, and another host begins to answer at its own pace: until then all is closed.
    began = time.monotonic()
    silent = {n: e for n, e in asked.items() if seen[n] == "closed" != e["gives"]}
    closed = {n: e for n, e in asked.items() if e["gives"] == "closed"} if silent else {}
    while silent and time.monotonic() - began < PATIENCE:
        seen.update(ask(silent))
        silent = {n: e for n, e in silent.items() if seen[n] == "closed"}
    seen.update(ask(closed))
    seen.update((n, process.communicate()[0].strip()) for n, process in running.items())
    return [seen[n] for n in range(len(expectations))]


def ask(asked: dict[int, dict]) -> dict[int, str]:
    found = agent.probe([*map(attempt, asked.values())], CLOSED_AFTER)
    return {n: described(answer) or "closed" for n, (answer, *_why) in zip(asked, found, strict=True)}


def described(answer: str) -> str:
    """The agent's `web 192.0.2.1` as `web sees 192.0.2.1`, and `pong 192.0.2.1` as `pong`."""
    name, _space, peer = answer.partition(" ")
    return name if name == "pong" else answer and f"{name} sees {peer}"


def checked(expectation: dict, seen: str) -> tuple[str, bool]:
    proven = bool(re.fullmatch(expectation["gives"], seen, re.DOTALL))
    where = expectation.get("in", os.uname().nodename)
    what = " ".join(f"{kind} {expectation[kind]}" for kind in (*PROTOCOLS, "run") if kind in expectation)
    line = f"{where}: {what or 'value'} gives {expectation['gives']!r}"
    return (line if proven else f"{line}, and not {seen!r}"), proven


def attempt(expectation: dict) -> dict:
    protocol = next(protocol for protocol in PROTOCOLS if protocol in expectation)
    target = expectation[protocol]
    address, port = (target, "0") if protocol == "ping" else target.rsplit(":", 1)
    return {
        "place": place(expectation.get("in", "")),
        "protocol": protocol,
        "address": address.strip("[]"),
        "port": int(port),
    }


def run(expectation: dict) -> subprocess.Popen[str]:
    """In the sandbox, and by the names that it knows."""
    runtime, _colon, name = expectation.get("in", "").rpartition(":")
    if runtime:
        enter = ["nsenter", "--all", "--target", leader(runtime, name)]
    else:
        enter = ["ip", "netns", "exec", name] if name else []
    command = [*enter, "sh", "-c", expectation["run"]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def place(sandbox: str) -> str:
    runtime, _colon, name = sandbox.rpartition(":")
    if runtime:
        return f"/proc/{leader(runtime, name)}/ns/net"
    return f"/run/netns/{name}" if name else "/proc/self/ns/net"


def leader(runtime: str, name: str) -> str:
    """The process whose network is the container's."""
    asked = {
        "docker": ["docker", "inspect", "--format", "{{.State.Pid}}", name],
        "machine": ["machinectl", "show", "--property", "Leader", "--value", name],
    }[runtime]
    return subprocess.check_output(asked, text=True).strip()


if __name__ == "__main__":
    main()
