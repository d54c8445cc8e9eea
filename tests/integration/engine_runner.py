# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the engine in throwaway hosts as often as asked, each time in a process of its own.

What takes most of the time of a run that changes little, Python's imports, is done once. A line of JSON is a run, the
arguments of `run`, and is answered by a line: `[EXIT CODE, OUTPUT, ERRORS]`.

By itself it answers its standard input on its standard output. With the argument `hosts` its standard input is a
socket: each message has the namespaces of a host, `[[PATH, KIND]]`, and one end of another socket, whose lines a
process in that host answers until it is closed.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import IO

import engine
from deaths import make_deadly, make_refusing
from engine.command import main
from engine.declaration import declaration_file
from engine.declaration.places import Places

# Once for all runs, which are forked off.
for name in (
    "importlib.metadata",
    "netaddr",
    "pyroute2",
    *(module.name for module in pkgutil.walk_packages(engine.__path__, "engine.")),
):
    importlib.import_module(name)
# What a fork's collector of garbage does not visit, stays shared.
gc.freeze()

_libc = ctypes.CDLL(None, use_errno=True)


def run(arguments: Sequence[str], given: str, fatal: int = 0, program: str = "") -> tuple[int, str, str]:
    """The command of the tests, which calls things by the names of variables and declares what only these can.

    With `fatal` the run is killed before the `fatal`th thing that it does to the host; if it is less than 0, that
    thing is refused instead, and what it was is the first line of the errors. `program` is run instead: `wharf`, the
    command as an admin has it, or the text of a program.
    """
    output, errors = os.memfd_create("output"), os.memfd_create("errors")
    child = os.fork()
    if not child:
        os.dup2(output, 1)
        os.dup2(errors, 2)
        sys.stdin = io.TextIOWrapper(io.BytesIO(given.encode()))
        if fatal > 0:
            make_deadly(fatal)
        elif fatal:
            make_refusing(-fatal, lambda what: print(f"refused: {what}", file=sys.stderr, flush=True))
        os._exit(_exit_code(lambda: _main(arguments, program)))
    _pid, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), _read(output), _read(errors)


def _main(arguments: Sequence[str], program: str) -> int:
    if program == "wharf":
        return main(arguments)
    if program:
        exec(program, {"__name__": "__main__"})
        return 0
    Places.of_command = classmethod(lambda cls, _path: cls())
    declaration_file.KEYS += ("boot",)
    return main(arguments)


def _exit_code(program: Callable[[], int]) -> int:
    try:
        return program()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _read(descriptor: int) -> str:
    with open(descriptor, encoding="utf-8") as file:
        file.seek(0)
        return file.read()


def answer(questions: IO[str], answers: IO[str]) -> None:
    for line in questions:
        print(json.dumps(run(**json.loads(line))), file=answers, flush=True)


def answer_in_hosts(asked: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _flags, _address = socket.recv_fds(asked, 4096, 1)
        if not message:
            return
        if not os.fork():
            asked.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor, kind in [(os.open(path, os.O_RDONLY), kind) for path, kind in json.loads(message)]:
                if _libc.setns(descriptor, kind):
                    raise OSError(ctypes.get_errno(), "entering a throwaway host")
                os.close(descriptor)
            with socket.socket(fileno=descriptors[0]) as line:
                answer(line.makefile("r"), line.makefile("w"))
            os._exit(0)
        os.close(descriptors[0])


if sys.argv[1:] == ["hosts"]:
    answer_in_hosts(socket.socket(fileno=os.dup(0)))
else:
    answer(sys.stdin, sys.stdout)
