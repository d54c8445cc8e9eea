# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs the engine in throwaway hosts: see engine_runner.py."""

from __future__ import annotations

import functools
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probes import Conversation

ENGINE_FOLDER = Path(__file__).parents[2] / "plugins/module_utils"
ENGINE = ["env", f"PYTHONPATH={ENGINE_FOLDER}", sys.executable]
_ENGINE_RUNNER = [*ENGINE, str(Path(__file__).with_name("engine_runner.py"))]

WHARF = "wharf"

# A path of a namespace, and the flag of its kind.
Namespace = tuple[str, int]


@dataclass(frozen=True)
class Ran:
    code: int
    output: str
    errors: str


class Runner:
    """Runs the engine where a conversation with engine_runner.py leads: that of one host, or one by a command."""

    def __init__(self, conversation: HostConversation | Conversation) -> None:
        self._conversation = conversation
        self.close = conversation.close

    @classmethod
    def by_command(cls, prefix: Sequence[str]) -> Runner:
        return cls(Conversation([*prefix, *_ENGINE_RUNNER]))

    def run(self, arguments: Sequence[str], given: str = "", fatal: int = 0, program: str = "") -> Ran:
        """As `engine_runner.run` says.

        Raises:
            RuntimeError: the process that runs the engine has ended.
        """
        question = {"arguments": [*arguments], "given": given, "fatal": fatal, "program": program}
        return Ran(*self._conversation.ask(question))


class HostConversation:
    """With a process that is forked off into the namespaces of a host."""

    def __init__(self, namespaces: Sequence[Namespace]) -> None:
        own, others = socket.socketpair()
        with others:
            socket.send_fds(_hosts_runner(), [json.dumps(namespaces).encode()], [others.fileno()])
        self._socket = own
        self._lines = own.makefile("rw")

    def ask(self, question: Any) -> Any:
        print(json.dumps(question), file=self._lines, flush=True)
        line = self._lines.readline()
        if not line:
            raise RuntimeError("what runs the engine has ended")
        return json.loads(line)

    def close(self) -> None:
        """Until the process has ended."""
        self._socket.shutdown(socket.SHUT_WR)
        self._lines.read()
        self._lines.close()
        self._socket.close()


@functools.cache
def _hosts_runner() -> socket.socket:
    """One process for all hosts of these tests, since the engine's imports take a second. It ends with the tests."""
    own, others = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with others:
        subprocess.Popen([*_ENGINE_RUNNER, "hosts"], stdin=others.fileno())
    return own
