# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `wharf`: this engine itself, in one file, packed from its own sources, wherever they were loaded from."""

from __future__ import annotations

import os
import sys
from functools import cache

from .archive import engine_sources, pack
from .planning.installed import COMMAND, MARK, digest
from .state import Program
from .version import VERSION

_MAIN = b"""import sys

from engine.archive import Archive

with open(sys.argv[0], "rb") as program:
    Archive(program.read(), "engine", sys.argv[0]).install()
del sys.modules["engine.archive"], sys.modules["engine"]

from engine.command import main

sys.exit(main(sys.argv[1:]))
"""


@cache
def program() -> Program:
    """The command that is this engine; the same sources give the same bytes."""
    content = _installed() or _archive()
    return Program(COMMAND, VERSION, digest(content), content)


def _installed() -> bytes:
    """The file that runs this, if it is the installed command."""
    if not __file__.startswith(f"{COMMAND}/"):
        return b""
    with open(COMMAND, "rb") as file:
        return file.read()


def _archive() -> bytes:
    """The engine as a program for the Python that runs this one; each run packs it, to compare it."""
    sources = ((f"engine/{path}", source) for path, source in engine_sources())
    packed = pack([("__main__.py", _MAIN), *sources], MARK + f" {VERSION}".encode())
    return f"#!{_interpreter()}\n".encode() + packed


def _interpreter() -> str:
    """By the name that it keeps when the distribution has its next version, where it has one."""
    lasting = os.path.join(os.path.dirname(sys.executable), "python3")
    is_same = os.path.realpath(lasting) == os.path.realpath(sys.executable)
    return lasting if is_same else sys.executable
