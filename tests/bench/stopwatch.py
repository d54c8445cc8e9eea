# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in a throwaway host, each timed where it runs, so that getting there costs nothing.

Run as a program, it is the end of a conversation that sits in the host: a line of JSON is a command, `[ARGUMENTS,
STANDARD INPUT, ENVIRONMENT]`, and is answered by a line, the fields of `Ran`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ != "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

    from hosts import ThrowawayHost
    from probes import Conversation
    from runners import ENGINE_FOLDER


@dataclass(frozen=True)
class Ran:
    """`seconds` of the clock, `cpu` seconds of the process and what it waited for, its `peak` memory in MiB."""

    code: int
    seconds: float
    cpu: float
    peak: float
    output: str
    errors: str


class CommandError(Exception):
    """A command has failed; `said` is what it printed."""

    def __init__(self, command: Sequence[str], said: str) -> None:
        super().__init__(f"{' '.join(command)[:200]}: {said[-2000:]}")
        self.said = said


# All that a command of the host leaves running, such as dnsmasq, ends with the conversation.
_ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")


class Stopwatch:
    """Runs commands in a throwaway host, in a namespace of processes and mounts of its own."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Stopwatch]:
        with ThrowawayHost.started() as host, cls.inside(host) as stopwatch:
            yield stopwatch

    @classmethod
    @contextmanager
    def inside(cls, host: ThrowawayHost) -> Iterator[Stopwatch]:
        conversation = Conversation([*host.enter(), *_ALONE, sys.executable, __file__])
        try:
            yield cls(conversation)
        finally:
            conversation.close()

    def run(self, command: Sequence[str], given: str = "", environment: Mapping[str, str] | None = None) -> Ran:
        """
        Raises:
            CommandError: the command failed, with what it said.
        """
        ran = Ran(*self._conversation.ask([list(command), given, dict(environment or {})]))
        if ran.code:
            raise CommandError(command, ran.errors.strip() or ran.output.strip())
        return ran

    def shell(self, script: str) -> str:
        return self.run(["sh", "-ec", script]).output

    def python(self, file: Path, *arguments: str, given: str = "") -> Ran:
        """A program of this folder, by the Python of the tests, which finds the engine."""
        return self.run([sys.executable, str(file), *arguments], given, {"PYTHONPATH": str(ENGINE_FOLDER)})

    def engine(self, *arguments: str, words: Any = None) -> Ran:
        """The engine as its command runs it."""
        given = "" if words is None else json.dumps(words)
        return self.run([sys.executable, "-m", "engine.command", *arguments], given, {"PYTHONPATH": str(ENGINE_FOLDER)})


# In the host


def _run(command: list[str], given: str, environment: dict[str, str]) -> list[Any]:
    streams = [os.memfd_create(name) for name in ("input", "output", "errors")]
    os.write(streams[0], given.encode())
    os.lseek(streams[0], 0, os.SEEK_SET)
    places = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(streams)]
    began = time.perf_counter()
    process = os.posix_spawnp(command[0], command, {**os.environ, **environment}, file_actions=places)
    _pid, status, used = os.wait4(process, 0)
    seconds = time.perf_counter() - began
    said = [_read(descriptor) for descriptor in streams[1:]]
    os.close(streams[0])
    return [os.waitstatus_to_exitcode(status), seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, *said]


def _read(descriptor: int) -> str:
    with open(descriptor, encoding="utf-8", errors="replace") as file:
        file.seek(0)
        return file.read()


def _answer() -> None:
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    # The engine keeps what Python compiles.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for line in sys.stdin:
        print(json.dumps(_run(*json.loads(line))), flush=True)


if __name__ == "__main__":
    _answer()
