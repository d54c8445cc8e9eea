# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `traffic.c`, compiled anew, in the places of throwaway hosts."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from hosts import ThrowawayHost

NEEDED = "cc"
NANO = 1e-9


class TrafficError(Exception):
    """No traffic came through."""


@dataclass(frozen=True)
class Sent:
    """How many things in how many seconds; and of those that are timed one by one, how long they took in seconds."""

    count: int
    seconds: float
    median: float = 0
    slow: float = 0

    @property
    def rate(self) -> float:
        """How many in a second."""
        return self.count / self.seconds


@dataclass(frozen=True)
class Traffic:
    program: Path

    @classmethod
    @contextmanager
    def compiled(cls) -> Iterator[Traffic]:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "traffic"
            source = Path(__file__).with_suffix(".c")
            subprocess.run([NEEDED, "-O2", "-o", program, source], check=True)
            yield cls(program)

    @contextmanager
    def serving(self, host: ThrowawayHost, place: str, how: str, port: int) -> Iterator[None]:
        """`how` is `accept`, `drain` or `hold`."""
        command = [*host.enter(place), str(self.program), how, str(port)]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout
            if server.stdout.readline() != "ready\n":
                raise TrafficError(f"traffic {how} {port} in {place} does not start")
            yield
        finally:
            server.communicate()

    def send(self, host: ThrowawayHost, place: str, *words: object) -> Sent:
        """
        Raises:
            TrafficError: nothing came through.
        """
        command = [*host.enter(place), str(self.program), *map(str, words)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if ran.returncode:
            raise TrafficError(f"traffic {' '.join(map(str, words))} in {place}: {ran.stderr.strip()}")
        count, *times = map(int, ran.stdout.split())
        return Sent(count, *(time * NANO for time in times))


def is_possible() -> bool:
    return bool(shutil.which(NEEDED))
