"""The ledger: what was declared, allotted, owned and found on this host, so that any run can finish any other."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, Iterator, Mapping, Set

from .allotments import Allotments
from .declared import Declared
from .errors import ApplyError, ConflictError
from .state import Key

PATH = "/var/lib/wharf/ledger.json"
_NEW = f"{PATH}.new"
LOCK = "/run/wharf.lock"
VERSION = 1


@dataclass
class Ledger:
    """`owned` is what of ours may be in the kernel, by layer. `found` is what was there before us, by its name.

    `canonical` keeps what the kernel makes of our rules' text.
    """

    declared: Declared = field(default_factory=Declared)
    allotted: Allotments = field(default_factory=Allotments)
    owned: Dict[str, Set[Key]] = field(default_factory=dict)
    found: Dict[str, str] = field(default_factory=dict)
    canonical: Dict[str, str] = field(default_factory=dict)
    _on_disk: str = ""

    def owned_by(self, layer: str) -> FrozenSet[Key]:
        return frozenset(self.owned.get(layer, ()))

    @property
    def is_empty(self) -> bool:
        return self.declared.is_empty and not any(self.owned.values())

    @classmethod
    def load(cls) -> Ledger:
        """
        Raises:
            ConflictError: the file cannot be understood.
        """
        try:
            with open(PATH, encoding="utf-8") as file:
                text = file.read()
            return cls._from_words(json.loads(text), text)
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConflictError.at(
                PATH,
                f"cannot be understood ({error}): restore it from a backup, or move it away and declare all anew",
            ) from error

    @classmethod
    def _from_words(cls, words: Mapping[str, Any], text: str) -> Ledger:
        if words["version"] != VERSION:
            raise ValueError(f"version {words['version']}, and this is written for version {VERSION}")
        return cls(
            declared=Declared(**words["declared"]),
            allotted=Allotments.from_words(words["allotted"]),
            owned={layer: {(str(kind), str(name)) for kind, name in keys} for layer, keys in words["owned"].items()},
            found=dict(words["found"]),
            canonical=dict(words["canonical"]),
            _on_disk=text,
        )

    def _as_words(self) -> Dict[str, Any]:
        return {
            "version": VERSION,
            "declared": vars(self.declared),
            "allotted": self.allotted.as_words(),
            "owned": {layer: sorted(keys) for layer, keys in self.owned.items()},
            "found": self.found,
            "canonical": self.canonical,
        }

    def save(self) -> None:
        """Replace the file in one step, if it differs; remove it once nothing is declared and nothing ours is left."""
        text = "" if self.is_empty else json.dumps(self._as_words(), indent=1, default=str)
        # A run that was killed may have left a draft, or the empty folder.
        left = os.path.exists(_NEW) or (not text and os.path.isdir(os.path.dirname(PATH)))
        if text == self._on_disk and not left:
            return
        if text:
            _replace(text)
        else:
            _remove()
        self._on_disk = text


def _replace(text: str) -> None:
    try:
        _write(text)
    except OSError as error:
        with suppress(OSError):
            os.unlink(_NEW)
        raise ApplyError(f"{PATH}: {error.strerror}, so nothing was changed: make room for it there") from error


def _write(text: str) -> None:
    os.makedirs(os.path.dirname(PATH), mode=0o755, exist_ok=True)
    descriptor = os.open(_NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(_NEW, PATH)


def _remove() -> None:
    for path in (PATH, _NEW):
        with suppress(FileNotFoundError):
            os.unlink(path)
    with suppress(OSError):
        os.rmdir(os.path.dirname(PATH))


@contextmanager
def locked() -> Iterator[None]:
    """One run a host at a time; a second one waits for the first, and then sees what that one left."""
    descriptor = os.open(LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
