# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets from any place of a throwaway host to any address: who answers, and whom does that one see?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AGENT = Path(__file__).with_name("agent.py")

# Seconds. Whatever is open answers within milliseconds; what should be and does not gets a second chance, so
# that a packet lost for other reasons (a neighbour's address is being asked for) does not fail a test.
CLOSED_AFTER = 0.4
SURELY_CLOSED_AFTER = 2.5


@dataclass(frozen=True)
class Probe:
    """One attempt to reach an address: `place` is the path of a network namespace, `protocol` tcp, udp or ping."""

    place: str
    protocol: str
    address: str
    port: int = 0
    source: str = ""
    source_port: int = 0


@dataclass(frozen=True)
class Answer:
    """`by` is the server that answered, empty if none did; `sees` is whom that server sees; `why` nobody answered.

    `heard_by` is the server to which a datagram came, whether an answer came back or not.
    """

    by: str = ""
    sees: str = ""
    why: str = ""
    heard_by: str = ""

    @property
    def is_open(self) -> bool:
        return bool(self.by)

    def __str__(self) -> str:
        heard = f", though {self.heard_by} has heard it" if self.heard_by else ""
        return f"{self.by}, seeing {self.sees}" if self.is_open else f"closed: {self.why}{heard}"


class Conversation:
    """A process that answers each line of JSON by a line. It ends when nobody can ask it any more.

    It has a session of its own: a signal that ends the tests' process group leaves it the time to clear up.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.pid = self._process.pid

    def ask(self, question: Any) -> Any:
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return self.listen()

    def listen(self) -> Any:
        """
        Raises:
            RuntimeError: the process has ended instead.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended: {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate(timeout=60)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


class Agent(Conversation):
    """The process that holds a throwaway host; `prefix` is the command that makes its namespaces.

    Until it says where its own network namespace is, it may still be in those of this machine.
    """

    def __init__(self, prefix: Sequence[str]) -> None:
        super().__init__([*prefix, sys.executable, "-I", "-S", str(AGENT), os.readlink("/proc/self/ns/mnt")])
        self.own_place = str(self.listen()["result"])

    def call(self, function: str, **arguments: Any) -> Any:
        """Have a function of the agent called."""
        answer = self.ask([function, arguments])
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def probe(self, probes: Sequence[Probe], timeout: float = CLOSED_AFTER) -> list[Answer]:
        """All at once, in one timeout."""
        found = self.call("probe", attempts=[vars(probe) for probe in probes], timeout=timeout)
        return [_answer(*each) for each in found]

    def probe_patiently(
        self, probes: Sequence[Probe], expected_open: Sequence[bool], closed_after: float = CLOSED_AFTER
    ) -> list[Answer]:
        """As `probe`, and once more, slowly, for those that should be open and are not."""
        answers = self.probe(probes, closed_after)
        again = [n for n, (a, expected) in enumerate(zip(answers, expected_open, strict=True)) if expected > a.is_open]
        for n, answer in zip(again, self.probe([probes[n] for n in again], SURELY_CLOSED_AFTER), strict=True):
            answers[n] = answer
        return answers


def _answer(line: str, why: str, heard_by: str) -> Answer:
    by, _space, sees = line.partition(" ")
    return Answer(by, sees, why, heard_by)
