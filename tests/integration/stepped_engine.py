# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`stepped_engine.py`: runs the engine, and stops before and after each thing it does to the firewall.

The first line of the standard input is `[ARGUMENTS, STANDARD INPUT]` in JSON. At each stop a line says what is next,
and the engine goes on with the next line it is given; the last line is `[EXIT CODE, ERRORS]`. iptables-restore, which
commits table by table, is called for each table by itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from engine import conntrack, iptables, nftables
from engine.__main__ import main

told, heard = sys.stdout, sys.stdin


def stop(before: str) -> None:
    print(json.dumps(before), file=told, flush=True)
    heard.readline()


def stopping(module: Any, name: str) -> None:
    function = getattr(module, name)

    def call(*arguments: Any) -> Any:
        for part in parts(arguments):
            stop(f"{module.__name__}.{name}{part[:1]}")
            result = function(*part)
        return result

    setattr(module, name, call)


def parts(arguments: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The arguments for each table that a text of iptables-restore is about."""
    tables = re.findall(r"^\*.*?^COMMIT\n", str(arguments[-1]), re.MULTILINE | re.DOTALL)
    yield from ((*arguments[:-1], table) for table in tables) if tables else [arguments]


for module, name in ((iptables, "_restore"), (nftables, "_run"), (conntrack, "forget")):
    stopping(module, name)
arguments, given = json.loads(heard.readline())
errors = io.StringIO()
sys.stdin = io.StringIO(given)
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
    code = main(arguments)
stop("the end")
print(json.dumps([code, errors.getvalue()]), file=told, flush=True)
