# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run a host: who waits gets a message that says for whom, and does not wait for ever."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine import run_lock
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ConflictError
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import file_lock

# It locks the file, and hands it on to a program that outlives it if asked to, as a run does to nft.
HOLD = """
import fcntl, os, subprocess, sys
descriptor = os.open(sys.argv[1], os.O_WRONLY)
fcntl.flock(descriptor, fcntl.LOCK_EX)
os.set_inheritable(descriptor, True)
if sys.argv[2:]:
    print(subprocess.Popen(sys.argv[2:], close_fds=False).pid, flush=True)
    os._exit(0)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = str(tmp_path / "wharf.lock")
    monkeypatch.setattr(run_lock, "LOCK", path)
    monkeypatch.setattr(run_lock, "NOTIFY_AFTER", 0.2)
    monkeypatch.setattr(run_lock, "GIVE_UP_AFTER", 0.4)
    with run_lock.locked():
        pass
    return path


@contextmanager
def held(path: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, path]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "locked\n"
    try:
        yield holder
    finally:
        holder.kill()
        holder.communicate()


def test_who_waits_names_the_holder(lock: str) -> None:
    messages: list[str] = []
    with held(lock) as holder, pytest.raises(ConflictError) as caught, run_lock.locked(messages.append):
        pass
    names = rf"another run, which holds the lock of this host since \d+-\d+-\d+ [\d:]+: process {holder.pid} \(.*python"
    assert len(messages) == 1
    assert re.match(f"waiting, for up to 0.4 seconds, for {names}", messages[0])
    assert re.match(f"{lock}: nothing was changed: this run has waited in vain for {names}", str(caught.value))
    assert "is stopped" not in messages[0]


def test_a_holder_that_is_stopped_is_named_with_the_remedy(lock: str) -> None:
    messages: list[str] = []
    with held(lock) as holder:
        holder.send_signal(signal.SIGSTOP)
        os.waitpid(holder.pid, os.WUNTRACED)
        with pytest.raises(ConflictError), run_lock.locked(messages.append):
            pass
    pid = holder.pid
    assert messages[0].endswith(f"; it is stopped: let it go on (kill -CONT {pid}), or end it (kill -KILL {pid})")


def test_who_is_in_time_gets_the_lock(lock: str) -> None:
    messages: list[str] = []
    with held(lock) as holder:
        threading.Timer(0.3, holder.kill).start()
        with run_lock.locked(messages.append):
            assert file_lock.is_held(lock)
    assert len(messages) == 1
    assert not file_lock.is_held(lock)


def test_a_short_wait_gives_no_message(lock: str) -> None:
    messages: list[str] = []
    with held(lock) as holder:
        threading.Timer(0.05, holder.kill).start()
        with run_lock.locked(messages.append):
            pass
    assert messages == []


def test_after_a_crash_the_program_that_goes_on_is_named(lock: str) -> None:
    """The kernel says who holds the lock, whoever took it: nothing that a run has written down can be out of date."""
    command = [sys.executable, "-c", HOLD, lock, "sleep", "60"]
    # It keeps the output open.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as crashed:
        assert crashed.stdout
        pid = int(crashed.stdout.readline())
        try:
            crashed.wait()
            assert file_lock.holders(lock) == [file_lock.Holder(pid, "sleep 60", is_stopped=False)]
        finally:
            os.kill(pid, signal.SIGKILL)


def test_who_waits_is_no_holder(lock: str) -> None:
    with held(lock) as holder:
        waiting = subprocess.Popen([sys.executable, "-c", HOLD, lock], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 10
            while f" {waiting.pid} " not in Path("/proc/locks").read_text(encoding="ascii"):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert [each.pid for each in file_lock.holders(lock)] == [holder.pid]
        finally:
            waiting.kill()
            waiting.communicate()


def test_the_alarm_of_somebody_else_is_left_as_it_was(lock: str) -> None:
    usual = signal.getsignal(signal.SIGALRM)
    with held(lock), pytest.raises(ConflictError), run_lock.locked(lambda _message: None):
        pass
    assert signal.getsignal(signal.SIGALRM) == usual
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_on_the_command_line_it_is_said_at_once(lock: str, capsys: pytest.CaptureFixture[str]) -> None:
    with held(lock), pytest.raises(ConflictError), run_lock.locked():
        pass
    assert capsys.readouterr().err.startswith("waiting, for up to ")
