# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs the engine into a zip archive, and imports it from one: as Ansible sends it, and as the command `wharf`.

Python compiles what it imports from an archive at every start, which would take half of the time of a run, and keeps
nothing of it. This importer keeps the compiled modules until the host reboots. It reads the archive once, so that the
file may be replaced while a run is under way.

This file is imported before the engine is: it imports nothing of it.
"""

from __future__ import annotations

import importlib.util
import io
import marshal
import os
import sys
import zipfile
import zlib
from contextlib import suppress
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any, Dict, Iterable, Iterator, Optional, Tuple

# The archive that Ansible has sent last, and the compiled modules of the last few versions, until the host reboots.
SENT = "/run/wharf.engine"
_COMPILED = f"/run/wharf.{sys.implementation.cache_tag}"
_MOST_BYTES = 8 << 20


class CompiledModules:
    """The code of modules, by a hash of the source: one file for each version of Python, which root alone may write.

    A file that cannot be read, or that is damaged, counts as empty.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept = self._read()
        self._new: Dict[bytes, bytes] = {}

    def code(self, source: bytes, filename: str) -> CodeType:
        # With -O, Python leaves out assertions, and with -OO the help.
        key = importlib.util.source_hash(importlib.util.MAGIC_NUMBER + bytes([sys.flags.optimize]) + source)
        if key in self._kept:
            found: CodeType = marshal.loads(self._kept[key])
            return found
        made = compile(source, filename, "exec", dont_inherit=True)
        self._new[key] = marshal.dumps(made)
        return made

    def save(self) -> None:
        """Keep what was compiled since; nothing where it cannot be written."""
        if self._new and os.geteuid() == 0:
            kept = {**self._kept, **self._new}
            data = marshal.dumps(kept if sum(map(len, kept.values())) < _MOST_BYTES else self._new)
            with suppress(OSError):
                write_for_root(self._path, zlib.crc32(data).to_bytes(4, "big") + data)

    def _read(self) -> Dict[bytes, bytes]:
        data = read_of_root(self._path)
        if data[:4] == zlib.crc32(data[4:]).to_bytes(4, "big"):
            kept = marshal.loads(data[4:])
            return kept if isinstance(kept, dict) else {}
        return {}


def read_of_root(path: str) -> bytes:
    """What a file holds that root alone may write; nothing where it is missing, or somebody else may write it."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if status.st_uid == 0 and not status.st_mode & 0o022:
                with open(descriptor, "rb", closefd=False) as file:
                    return file.read()
        finally:
            os.close(descriptor)
    return b""


def write_for_root(path: str, data: bytes) -> None:
    """Replace the file as a whole.

    Raises:
        OSError: it cannot be written.
    """
    draft = f"{path}.{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(draft, path)
    except OSError:
        os.unlink(draft)
        raise


class Archive(MetaPathFinder, InspectLoader):
    """Imports one package, and all that is in it, from an archive in which it is a folder.

    Args:
        path: The name of the archive in tracebacks.
        is_sent: Whether Ansible has just sent it, so that it is not on the host yet.
    """

    def __init__(self, content: bytes, package: str, path: str, is_sent: bool = False) -> None:
        self._content = content
        # It stays open as long as it imports.
        self._zip = zipfile.ZipFile(io.BytesIO(content))  # pylint: disable=consider-using-with
        self._names = frozenset(self._zip.namelist())
        self._package = package
        self._path = path
        self._is_sent = is_sent
        self._compiled = CompiledModules(_COMPILED)

    def install(self) -> None:
        sys.meta_path.insert(0, self)

    def find_spec(self, fullname: str, _path: Any = None, _target: Any = None) -> Optional[ModuleSpec]:
        if fullname.partition(".")[0] != self._package or self._name(fullname) not in self._names:
            return None
        spec = ModuleSpec(fullname, self, origin=self.get_filename(fullname), is_package=self.is_package(fullname))
        spec.has_location = True
        return spec

    def is_package(self, fullname: str) -> bool:
        return self._name(fullname).endswith("/__init__.py")

    def get_filename(self, fullname: str) -> str:
        return f"{self._path}/{self._name(fullname)}"

    def get_source(self, fullname: str) -> str:
        return self._zip.read(self._name(fullname)).decode()

    def get_code(self, fullname: str) -> CodeType:
        return self._compiled.code(self._zip.read(self._name(fullname)), self.get_filename(fullname))

    def sources(self, folder: str) -> Iterator[Tuple[str, bytes]]:
        """The modules in a folder of the archive, by their paths in it."""
        prefix = f"{folder}/"
        return ((name[len(prefix) :], self._zip.read(name)) for name in self._names if name.startswith(prefix))

    def keep(self, is_needed: bool) -> None:
        """Let the next run find this archive and what was compiled of it, or remove all that is kept for a next run."""
        if is_needed:
            self._compiled.save()
            if self._is_sent:
                with suppress(OSError):
                    write_for_root(SENT, self._content)
            return
        for path in (_COMPILED, SENT):
            with suppress(OSError):
                os.unlink(path)

    def _name(self, fullname: str) -> str:
        path = fullname.replace(".", "/")
        package = f"{path}/__init__.py"
        return package if package in self._names else f"{path}.py"


def keep_for_next_run(is_needed: bool) -> None:
    """Where the engine is in an archive, let the next run begin sooner, if one is expected."""
    keep = getattr(_engine().__loader__, "keep", None)
    if keep:
        keep(is_needed)


def engine_sources() -> Iterator[Tuple[str, bytes]]:
    """Each module of the engine that runs, by its path in the engine's folder."""
    engine = _engine()
    sources = getattr(engine.__loader__, "sources", None)
    return sources(engine.__name__.replace(".", "/")) if sources else sources_below(engine.__path__[0])


def sources_below(folder: str) -> Iterator[Tuple[str, bytes]]:
    """The modules in a folder of the file system, by their paths in it."""
    for parent, _folders, files in os.walk(folder):
        for file in files:
            if file.endswith(".py"):
                path = os.path.join(parent, file)
                with open(path, "rb") as source:
                    yield os.path.relpath(path, folder), source.read()


def pack(sources: Iterable[Tuple[str, bytes]], comment: bytes = b"") -> bytes:
    """An archive; the same sources give the same bytes. It is packed quickly rather than small."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, source in sorted(sources):
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, source, zipfile.ZIP_DEFLATED, compresslevel=1)
        archive.comment = comment
    return packed.getvalue()


def _engine() -> ModuleType:
    return sys.modules[__name__.rpartition(".")[0]]
