# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: what was declared, allotted and owned on this host, and what was there before wharf.network.

With it any run can finish any other.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, Iterator, Mapping, Optional, Set, Tuple

from . import history, verified
from .declaration.declared import Call, Declared
from .errors import ApplyError, ConflictError
from .kernel import disk
from .planning.allotments import Allotments
from .planning.reach import StalePorts
from .planning.wireguard_names import KEY_FILE
from .state import Digest, Key
from .unconfirmed import Former, Reverted, Unconfirmed

PATH = "/var/lib/wharf/ledger.json"
VERSION = 1
REMEDY = (
    "restore it from a backup, or recover it from the marks on the host: run the playbook once with "
    "-e wharf_recover=true (a module: recover: true; by hand: wharf apply --recover FILE, with all that was declared)"
)

# Keys that had other names before.
_FORMER_KEYS = {"found": "prior", "suspects": "stale_ports", "written": "digests"}


@dataclass
class Ledger:
    """`owned` are the objects of wharf.network that may exist, by layer; `prior` is what was there before, by its name.

    `digests` has by its name that of each file which an admin may edit, or two while the file is being written; and
    that of the peers of WireGuard, which may move.
    `stale_ports` are the ports that have changed, until the stale flows to them have been forgotten.
    `canonical` keeps how nft lists the text of rules. `knows_boot`: earlier versions did not note whether the
    networks are to come back when the host boots. `unconfirmed` are changes that somebody is to confirm; `reverted` are
    changes that nobody has confirmed, until a run has reported them.
    """

    declared: Declared = field(default_factory=Declared)
    allotted: Allotments = field(default_factory=Allotments)
    owned: Dict[str, Set[Key]] = field(default_factory=dict)
    prior: Dict[str, str] = field(default_factory=dict)
    digests: Dict[str, Tuple[Digest, ...]] = field(default_factory=dict)
    stale_ports: StalePorts = StalePorts()
    canonical: Dict[str, str] = field(default_factory=dict)
    knows_boot: bool = True
    unconfirmed: Optional[Unconfirmed] = None
    reverted: Optional[Reverted] = None
    _on_disk: str = ""
    _as_loaded: str = ""
    _replaces_broken: bool = False

    def owned_by(self, layer: str) -> FrozenSet[Key]:
        return frozenset(self.owned.get(layer, ()))

    def add_digest(self, name: str, digest: Digest) -> None:
        """Note that a file may have this content, too, while it is being written."""
        self.digests[name] = tuple(dict.fromkeys([*self.digests.get(name, ()), digest]))

    @property
    def is_empty(self) -> bool:
        is_begun = self.stale_ports or self.unconfirmed
        return self.declared.is_empty and not any(self.owned.values()) and not is_begun

    @property
    def is_new(self) -> bool:
        """Whether there was none on this host."""
        return not self._on_disk

    @classmethod
    def load(cls, broken_too: bool = False) -> Ledger:
        """The ledger of this host, or a new one; with `broken_too`, also in place of one that makes no sense.

        Raises:
            ConflictError: the file cannot be read or understood.
        """
        try:
            text = disk.text_of(PATH)
        except FileNotFoundError:
            return cls()
        except OSError as error:
            reason = f"cannot be read ({error.strerror}), and was left as it is"
            raise ConflictError.at(PATH, f"{reason}: {REMEDY}") from error
        try:
            return cls._from_data(json.loads(text), text)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if broken_too:
                return cls(_replaces_broken=True)
            reason = f"{type(error).__name__}: {error}"
            raise ConflictError.at(PATH, f"cannot be understood ({reason}), and was left as it is: {REMEDY}") from error

    @classmethod
    def load_known(cls) -> Ledger:
        """The same, for what reads it without a run that could recover it.

        Raises:
            ConflictError: the file cannot be read or understood, or is lost.
        """
        ledger = cls.load()
        if ledger.is_new:
            # Imported by the few hosts that need it: a module is compiled anew at each run.
            from .recovery import find_marked

            find_marked(cls(), Call())
        return ledger

    @classmethod
    def _from_data(cls, data: Mapping[str, Any], text: str) -> Ledger:
        data = {_FORMER_KEYS.get(key, key): value for key, value in data.items()}
        if data["version"] != VERSION:
            raise ConflictError.at(
                PATH,
                f"is of version {data['version']}, and this wharf.network reads version {VERSION}: "
                "use the one that wrote it, or a later one",
            )
        return cls(
            declared=_declared(data["declared"]),
            allotted=Allotments.from_data(data["allotted"]),
            owned=_owned(data["owned"]),
            prior=dict(data["prior"]),
            digests={name: _digests(each) for name, each in data.get("digests", {}).items()},
            stale_ports=StalePorts.from_data(data.get("stale_ports", ())),
            canonical=dict(data["canonical"]),
            knows_boot="boot" in data["declared"],
            unconfirmed=_unconfirmed(data.get("unconfirmed")),
            reverted=_reverted(data.get("reverted")),
            _on_disk=text,
            _as_loaded=text,
        )

    def _as_data(self) -> Dict[str, Any]:
        return {
            "version": VERSION,
            **_declaration_as_data(self.declared, self.allotted),
            "owned": {layer: sorted(keys) for layer, keys in self.owned.items() if keys},
            "prior": self.prior,
            "digests": self.digests,
            "stale_ports": self.stale_ports.as_data(),
            "canonical": self.canonical,
            **({"unconfirmed": _unconfirmed_as_data(self.unconfirmed)} if self.unconfirmed else {}),
            **({"reverted": vars(self.reverted)} if self.reverted else {}),
        }

    def save(self) -> None:
        """Replace the file in one step, if it differs; remove it once nothing is declared, owned, or left to be done.

        The log goes then, too, and the key that other hosts know this one by. That changes were reverted is kept until
        a run has reported it. A key that other hosts may have is kept as well, also before anything was declared.

        Raises:
            ApplyError: it cannot be written, and what to do about that; the one that was there is unchanged.
        """
        if self.is_empty:
            with _with_remedy():
                _remove_records()
                if self._as_loaded and not self.reverted:
                    disk.remove(KEY_FILE)
        ledger = Ledger(reverted=self.reverted) if self.is_empty else self
        is_needed = not self.is_empty or self.reverted
        self._replace(json.dumps(ledger._as_data(), indent=1, default=str) if is_needed else "")

    def restore(self) -> None:
        """Make the file what it was when it was loaded, as if there had been no run since. A key that other hosts may
        have by now stays also where there was no ledger.

        Raises:
            ApplyError: it cannot be written.
        """
        self._replace(self._as_loaded)

    def _replace(self, text: str) -> None:
        # A run that was killed may have left a draft, or the empty folder.
        left = os.path.exists(disk.draft(PATH)) or (not text and os.path.isdir(os.path.dirname(PATH)))
        if text == self._on_disk and not left:
            return
        with _with_remedy():
            if self._replaces_broken:
                _keep_broken_aside()
                self._replaces_broken = False
            if text:
                os.makedirs(os.path.dirname(PATH), mode=0o755, exist_ok=True)
                disk.replace(PATH, text, 0o600)
            else:
                _remove()
        self._on_disk = text


@contextmanager
def _with_remedy() -> Iterator[None]:
    """
    Raises:
        ApplyError: within the block a file could not be written, and what to do about that.
    """
    try:
        with disk.writing(f"{PATH} cannot be written"):
            yield
    except ApplyError:
        _remove_folder()
        raise


def _digests(data: Any) -> Tuple[Digest, ...]:
    """Earlier versions wrote one text: `CONTENT@STARTED CONTENT@STARTED`."""
    if isinstance(data, str):
        data = [each.partition("@")[::2] for each in data.split()]
    return tuple(Digest(*each) for each in data)


def _declared(data: Mapping[str, Any]) -> Declared:
    """
    Raises:
        TypeError: a part is not what it is declared as.
    """
    kinds = {"host": Mapping, "networks": Mapping, "containers": Mapping, "boot": Mapping, "docker_user": list}
    optional = ("host", "boot", "docker_user")
    for part, kind in kinds.items():
        if not isinstance(data.get(part, {}), kind) and not (data.get(part) is None and part in optional):
            raise TypeError(f"{part} is {data[part]!r}")
    return Declared(**data)


def _declaration_as_data(declared: Declared, allotted: Allotments) -> Dict[str, Any]:
    return {"declared": vars(declared), "allotted": allotted.as_data()}


def _unconfirmed(data: Optional[Mapping[str, Any]]) -> Optional[Unconfirmed]:
    if not data:
        return None
    former = Former(_declared(data["former"]["declared"]), Allotments.from_data(data["former"]["allotted"]))
    numbers = {"seconds": int(data["seconds"]), "deadline": float(data["deadline"])}
    return Unconfirmed(**{**data, **numbers, "former": former})


def _reverted(data: Optional[Mapping[str, Any]]) -> Optional[Reverted]:
    return Reverted(**{**data, "at": float(data["at"])}) if data else None


def _unconfirmed_as_data(unconfirmed: Unconfirmed) -> Dict[str, Any]:
    former = unconfirmed.former
    return {**vars(unconfirmed), "former": _declaration_as_data(former.declared, former.allotted)}


def _owned(data: Mapping[str, Any]) -> Dict[str, Set[Key]]:
    owned = {layer: {(str(kind), str(name)) for kind, name in keys} for layer, keys in data.items()}
    # Before, the layer of the bridges had the parameters of external ones.
    parameters = {key for key in owned.get("bridge", ()) if key[0] == "sysctl"}
    if parameters:
        owned["bridge"] -= parameters
        owned["forwarding"] = owned.get("forwarding", set()) | parameters
    return owned


def _keep_broken_aside() -> None:
    """Give the file a second name, which it keeps when it is replaced."""
    with suppress(FileNotFoundError):
        os.link(PATH, f"{PATH}.broken-{time.strftime('%Y%m%dT%H%M%S')}")


def _remove() -> None:
    _remove_records()
    disk.remove(PATH)
    _remove_folder()


def _remove_records() -> None:
    """What was done, and seen, while something was declared."""
    disk.remove(history.PATH)
    disk.remove(verified.PATH)


def _remove_folder() -> None:
    """Unless something is in it."""
    with suppress(OSError):
        os.rmdir(os.path.dirname(PATH))


def version() -> Optional[Tuple[int, int]]:
    """Another one each time that the file is written; None where there is none."""
    with suppress(OSError):
        found = os.stat(PATH)
        return found.st_ino, found.st_mtime_ns
    return None
