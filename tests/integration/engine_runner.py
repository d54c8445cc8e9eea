# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `python -m engine.command` in a throwaway host as often as asked, each time in a process of its own.

What takes most of the time of a run that changes little, Python's imports, is done once. A line of JSON on the
standard input is a run, `[ARGUMENTS, STANDARD INPUT, FATAL]`, and is answered by a line:
`[EXIT CODE, OUTPUT, ERRORS]`. With FATAL the run is killed before the FATALth thing that it does to the host; if it is
less than 0, that thing is refused instead, and what it was is the first line of the errors.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pkgutil
import sys
import traceback

import engine
from deaths import make_deadly, make_refusing
from engine.command import main
from engine.declaration import declaration_file
from engine.declaration.places import Places

# Once for all runs, which are forked off.
for name in ("netaddr", "pyroute2", *(module.name for module in pkgutil.walk_packages(engine.__path__, "engine."))):
    importlib.import_module(name)
# Tests call things by the names of variables, and declare them as if by these.
Places.of_command = classmethod(lambda cls, _path: cls())
# And declare what only variables can.
declaration_file.KEYS += ("boot",)


def run(arguments: list[str], given: str, fatal: int = 0) -> tuple[int, str, str]:
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
        os._exit(_exit_code(arguments))
    _pid, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), _read(output), _read(errors)


def _exit_code(arguments: list[str]) -> int:
    try:
        return main(arguments)
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


for line in sys.stdin:
    print(json.dumps(run(*json.loads(line))), flush=True)
