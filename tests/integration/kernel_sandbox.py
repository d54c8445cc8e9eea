# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a test in a host of its own: a process in network and mount namespaces that go away with it."""

from __future__ import annotations

import ctypes
import functools
import os
import pickle
import subprocess
import traceback
from collections.abc import Callable
from typing import Any

import pytest

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x4000000, 0x10000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000

_libc = ctypes.CDLL(None, use_errno=True)


def on_a_host_of_its_own(test: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(_outcome(lambda: test(*args, **kwargs)), pipe)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            report = pipe.read()
        os.waitpid(child, 0)
        outcome, text = pickle.loads(report) if report else ("failed", "the test's process was killed")
        if outcome == "skipped":
            pytest.skip(text)
        if outcome == "failed":
            pytest.fail(text, pytrace=False)

    return run


def _outcome(test: Callable[[], None]) -> tuple[str, str]:
    try:
        _unshare()
        test()
    except pytest.skip.Exception as skipped:
        return "skipped", str(skipped)
    except BaseException:
        return "failed", traceback.format_exc()
    return "passed", ""


def _unshare() -> None:
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNS | CLONE_NEWNET | (CLONE_NEWUSER if uid else 0)
    if _libc.unshare(flags):
        pytest.skip(f"namespaces cannot be made here: {os.strerror(ctypes.get_errno())}")
    if uid:
        for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{file}", "w") as mapping:
                mapping.write(text)
    _mount(b"none", b"/", None, MS_REC | MS_PRIVATE)
    _mount(b"run", b"/run", b"tmpfs", 0)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _mount(source: bytes, target: bytes, kind: bytes | None, flags: int) -> None:
    if _libc.mount(source, target, kind, ctypes.c_ulong(flags), None):
        raise OSError(ctypes.get_errno(), f"mounting {target.decode()}")
