# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `wharf`: this engine itself, in one file, packed from its own sources, wherever they were loaded from."""

from __future__ import annotations

import io
import os
import pkgutil
import sys
import zipfile
from functools import cache
from typing import TYPE_CHECKING, Iterator, Tuple

from .planning.boot import COMMAND, MARK, digest
from .state import Program
from .version import VERSION

if TYPE_CHECKING:
    # Ansible sends the modules that are imported anywhere, also where that is never done: so all the command needs.
    from . import __main__  # noqa: F401

_MAIN = b"import sys\n\nfrom engine.__main__ import main\n\nsys.exit(main(sys.argv[1:]))\n"


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
    """The engine as a program that the Python which runs this one runs; the same sources give the same bytes.

    Each run packs it, to see whether the installed one is the same: so quickly rather than small.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, source in sorted([("__main__.py", _MAIN), *_sources()]):
            archive.writestr(_entry(path), source, zipfile.ZIP_DEFLATED, compresslevel=1)
        archive.comment = MARK + f" {VERSION}".encode()
    return f"#!{_interpreter()}\n".encode() + packed.getvalue()


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o644 << 16
    return entry


def _sources() -> Iterator[Tuple[str, bytes]]:
    """Each module of the engine, by its path in the archive."""
    package = sys.modules[__name__.rpartition(".")[0]]
    yield "engine/__init__.py", pkgutil.get_data(package.__name__, "__init__.py") or b""
    for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        path = each.name[len(package.__name__) + 1 :].replace(".", "/") + ("/__init__" if each.ispkg else "")
        yield f"engine/{path}.py", pkgutil.get_data(package.__name__, f"{path}.py") or b""


def _interpreter() -> str:
    """By the name that it keeps when the distribution has its next version, where it has one."""
    lasting = os.path.join(os.path.dirname(sys.executable), "python3")
    is_same = os.path.realpath(lasting) == os.path.realpath(sys.executable)
    return lasting if is_same else sys.executable
