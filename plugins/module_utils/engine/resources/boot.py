# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What brings a host's networks back when it boots: the command, the units of systemd, and services."""

from __future__ import annotations

import io
import os
import zipfile
from contextlib import suppress
from typing import FrozenSet, List, Mapping, Optional, Sequence

from ..diff import DELETE, Change
from ..errors import ApplyError, ConflictError
from ..kernel import disk, systemd
from ..planning.boot import COMMAND, FOLLOW, HEADER, MARK, SERVICES, UNITS_FOLDER, digest, units
from ..state import Key, Program, Service, State, state_of
from .files.files import Files, content_of
from .resource import Observation, Resource

_DRAFT = "/usr/local/sbin/.wharf.new"
_WANTED = f"{UNITS_FOLDER}/multi-user.target.wants"


class Programs(Resource):
    """Observes and changes `Program`."""

    kinds = frozenset(["program"])

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        standing = _standing() if desired or owned else None
        if desired and standing is None and os.path.lexists(COMMAND):
            raise ConflictError.at(COMMAND, "exists and is not managed by wharf.network: move it away")
        return Observation(state_of([standing] if standing else []), desired)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        for change in changes:
            if isinstance(change.after, Program):
                _write(change.after.content)
                _restart_follow()
            else:
                for path in (COMMAND, _DRAFT):
                    with suppress(FileNotFoundError):
                        os.unlink(path)
        return {}


def _standing() -> Optional[Program]:
    """The installed command, if it is wharf's; one that a killed run left unfinished is of no version."""
    with suppress(OSError, zipfile.BadZipFile):
        with open(COMMAND, "rb") as file:
            content = file.read()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            mark, _space, version = archive.comment.partition(b" ")
        if mark == MARK:
            return Program(COMMAND, version.decode(), digest(content), content)
    return Program(COMMAND, "", "") if os.path.exists(_DRAFT) and not os.path.lexists(COMMAND) else None


def _write(content: bytes) -> None:
    """By a rename, so that nobody runs half a program, nor boots with one after a power cut."""
    os.makedirs(os.path.dirname(COMMAND), exist_ok=True)
    descriptor = os.open(_DRAFT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o755)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o755)
            file.write(content)
        disk.settle(_DRAFT)
        os.replace(_DRAFT, COMMAND)
    except OSError:
        with suppress(OSError):
            os.unlink(_DRAFT)
        raise


class Units(Files):
    """Observes and changes the units of systemd, which begin with a line that says who writes them."""

    def __init__(self) -> None:
        super().__init__({})

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        return super().observe(desired, owned | (self.recover(desired) & desired.keys()))

    def recover(self, usual: State) -> FrozenSet[Key]:
        return frozenset(("file", path) for path in units() if content_of(path).startswith(HEADER))

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        super().apply(changes)
        if systemd.is_booted():
            _systemctl("daemon-reload")
            _restart_follow()
        return {}


class Services(Resource):
    """Observes and changes `Service`."""

    kinds = frozenset(["service"])

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        names = [name for name in SERVICES if ("service", name) in desired.keys() | owned]
        running = systemd.active(names) if names and systemd.is_booted() else ()
        found = [Service(name, os.path.lexists(f"{_WANTED}/{name}"), name in running) for name in names]
        return Observation(state_of([each for each in found if each.enabled or each.running]), desired)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        going = [change.subject.name for change in changes if change.action == DELETE]
        if going:
            _systemctl("disable", *(["--now"] if systemd.is_booted() else []), "--", *going)
        coming: List[str] = [change.after.name for change in changes if change.after]
        if coming:
            _systemctl("enable", "--", *coming)
            # And with it all that was done before.
            disk.settle(_WANTED)
        if systemd.is_booted():
            for name in coming:
                # One of them runs the engine, which waits for the end of this run.
                _systemctl("start", "--no-block", "--", name)
        return {}


def installed() -> FrozenSet[Key]:
    """The program, units and services on this host, by their marks, where no ledger has them."""
    units = Units().recover({})
    programs: List[Key] = [("program", COMMAND)] if _standing() else []
    services = [("service", name) for name in SERVICES if os.path.lexists(f"{_WANTED}/{name}")]
    return frozenset([*programs, *units, *services]) if programs else frozenset()


def _restart_follow() -> None:
    """A service that lasts would go on with the program, and the unit, that it was started from."""
    if systemd.is_booted() and FOLLOW in systemd.active([FOLLOW]):
        _systemctl("restart", "--", FOLLOW)


def _systemctl(*arguments: str) -> None:
    """
    Raises:
        ApplyError: systemd refused it, or the service did.
    """
    complaint = systemd.systemctl(*arguments)
    if complaint:
        raise ApplyError(f"systemctl {' '.join(arguments)}: {complaint}")
