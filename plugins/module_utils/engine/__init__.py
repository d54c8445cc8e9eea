# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: what brings a host to what is declared. It knows nothing of Ansible.

Ansible sends it as a zip archive, and the command `wharf` is one. Python compiles what is in an archive at every start,
which would take half of the time of a run, and keeps nothing of it. So in an archive the engine has its own importer,
which keeps the compiled modules until the host reboots.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
import zlib
from contextlib import suppress
from types import CodeType
from typing import Dict, Optional
from zipimport import ZipImportError, zipimporter

# As much as the modules of a few versions of the engine.
_MOST_BYTES = 8 << 20


class CompiledModules:
    """The code of modules, by a hash of the source: one file for each version of Python, which root alone may write.

    A file that cannot be read, or that is damaged, counts as empty.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept = self._read()
        self._new: Dict[bytes, bytes] = {}

    def code(self, source: str, filename: str) -> CodeType:
        content = source.encode()
        # With -O, Python leaves out assertions, and with -OO the help.
        key = importlib.util.source_hash(importlib.util.MAGIC_NUMBER + bytes([sys.flags.optimize]) + content)
        if key in self._kept:
            found: CodeType = marshal.loads(self._kept[key])
            return found
        made = compile(content, filename, "exec", dont_inherit=True)
        self._new[key] = marshal.dumps(made)
        return made

    def save(self) -> None:
        """Keep what was compiled since; nothing where it cannot be written."""
        if not self._new or os.geteuid() != 0:
            return
        kept = {**self._kept, **self._new}
        data = marshal.dumps(kept if sum(map(len, kept.values())) < _MOST_BYTES else self._new)
        draft = f"{self._path}.{os.getpid()}"
        with suppress(OSError):
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                with open(descriptor, "wb") as file:
                    file.write(zlib.crc32(data).to_bytes(4, "big") + data)
                os.replace(draft, self._path)
            except OSError:
                os.unlink(draft)

    def remove(self) -> None:
        with suppress(OSError):
            os.unlink(self._path)

    def _read(self) -> Dict[bytes, bytes]:
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if status.st_uid == 0 and not status.st_mode & 0o022:
                    data = file.read()
                    if data[:4] == zlib.crc32(data[4:]).to_bytes(4, "big"):
                        kept = marshal.loads(data[4:])
                        return kept if isinstance(kept, dict) else {}
        return {}


class _Importer(zipimporter):
    """Python's own compiles a module twice: first to tell the name of its file, then to run it."""

    def __init__(self, path: str) -> None:
        if not path.startswith(__path__[0]):
            raise ZipImportError(f"{path} is not of the engine", path=path)
        super().__init__(path)

    def get_filename(self, fullname: str) -> str:
        path = f"{self.archive}/{self.prefix}{fullname.rpartition('.')[2]}"
        return f"{path}/__init__.py" if self.is_package(fullname) else f"{path}.py"

    def get_code(self, fullname: str) -> CodeType:
        kept = _compiled or CompiledModules(os.devnull)
        return kept.code(self.get_source(fullname) or "", self.get_filename(fullname))


def keep_compiled(is_needed: bool) -> None:
    """Let the next run find the modules compiled that this one has imported, if one is expected."""
    if _compiled and is_needed:
        _compiled.save()
    elif _compiled:
        _compiled.remove()


_compiled: Optional[CompiledModules] = None
# Python 3.9 does not ask an importer for the code that it runs.
if sys.version_info >= (3, 10) and __spec__ and isinstance(__spec__.loader, zipimporter):
    _compiled = CompiledModules(f"/run/wharf.{sys.implementation.cache_tag}")
    sys.path_hooks.insert(0, _Importer)
