# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What brings a host's networks back when it boots: the command, the files of services, and services."""

from __future__ import annotations

import io
import os
import zipfile
from contextlib import contextmanager, suppress
from typing import FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..diff import Change
from ..errors import ConflictError
from ..kernel import disk
from ..kernel.init_systems import INIT_SYSTEMS, InitSystem
from ..planning.boot import SERVICES
from ..planning.installed import COMMAND, HEADER, MARK, BootServices, digest
from ..state import File, Key, Program, Service, State, state_of
from .files.files import Files
from .resource import Observation, Resource


class Programs(Resource):
    """Observes and changes `Program`."""

    kinds = frozenset(["program"])

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        installed_program = _installed_program() if desired or owned else None
        for program in desired.values():
            if installed_program is None and os.path.lexists(COMMAND):
                message = f"{COMMAND} exists and is not managed by wharf.network: move it away"
                raise ConflictError.at(program.place, message)
        return Observation(state_of([installed_program] if installed_program else []), desired)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        for change in changes:
            with disk.writing(COMMAND):
                if isinstance(change.after, Program):
                    with _follow_stopped():
                        os.makedirs(os.path.dirname(COMMAND), exist_ok=True)
                        disk.replace(COMMAND, change.after.content, 0o755)
                else:
                    disk.remove(COMMAND)
        return {}


def _installed_program() -> Optional[Program]:
    """The installed command, if it is wharf's; one that a killed run left unfinished is of no version."""
    with suppress(OSError, zipfile.BadZipFile):
        with open(COMMAND, "rb") as file:
            content = file.read()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            mark, _space, version = archive.comment.partition(b" ")
        if mark == MARK:
            return Program(COMMAND, version.decode(), digest(content), content)
    is_begun = os.path.exists(disk.draft(COMMAND)) and not os.path.lexists(COMMAND)
    return Program(COMMAND, "", "") if is_begun else None


class ServiceFiles(Files):
    """Observes and changes the files of services. One of their first lines says who writes them."""

    def __init__(self) -> None:
        super().__init__({})

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        return super().observe(desired, owned | (self.recover(desired) & desired.keys()))

    def recover(self, usual: State) -> FrozenSet[Key]:
        files = (file for services in SERVICES.values() for file in services.files())
        return frozenset(
            file.key for file in files if disk.content_of(file.name, follow=False).startswith(_beginning(file))
        )

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        with _follow_stopped():
            super().apply(changes)
            for system, _services in _booted():
                system.read_files()
        return {}


def _beginning(file: File) -> str:
    before, header, _after = file.content.partition(HEADER)
    return before + header


class Services(Resource):
    """Observes and changes `Service`."""

    kinds = frozenset(["service"])

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        found: List[Service] = []
        for name, services in SERVICES.items():
            system = INIT_SYSTEMS[name]
            names = [each for each in services.names if ("service", each) in desired.keys() | owned]
            running = system.running(names) if names and system.is_booted() else ()
            found += [Service(each, system.is_enabled(each), each in running) for each in names]
        return Observation(state_of([each for each in found if each.enabled or each.running]), desired)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        for name, services in SERVICES.items():
            system = INIT_SYSTEMS[name]
            own = [change for change in changes if change.subject.name in services.names]
            going = [change.subject.name for change in own if not change.after]
            coming = [change.after.name for change in own if change.after]
            if going:
                system.disable(going)
            if coming:
                system.enable(coming)
            for each in coming if system.is_booted() else ():
                system.start(each)
        return {}


def installed() -> FrozenSet[Key]:
    """The program, files and services on this host, by their marks, where no ledger has them."""
    programs: List[Key] = [("program", COMMAND)] if _installed_program() else []
    names = [(INIT_SYSTEMS[name], each) for name, services in SERVICES.items() for each in services.names]
    enabled = [("service", each) for system, each in names if system.is_enabled(each)]
    return frozenset([*programs, *ServiceFiles().recover({}), *enabled]) if programs else frozenset()


@contextmanager
def _follow_stopped() -> Iterator[None]:
    """A service that lasts would go on with the program, and the file, that it was started from.

    If this run is killed meanwhile, the next one finds that the service does not run, and starts it.
    """
    follow = [(system, services.follow) for system, services in _booted()]
    stopped = [service for system, service in follow if system.running([service])]
    for system, service in follow:
        if service in stopped:
            system.stop(service)
    try:
        yield
    finally:
        for system, service in follow:
            # Where its script was broken, nobody could say before whether it runs.
            if service in stopped or system.running([service]):
                system.restart(service)


def _booted() -> Iterator[Tuple[InitSystem, BootServices]]:
    """The init system that runs this host, and its services."""
    for name, services in SERVICES.items():
        if INIT_SYSTEMS[name].is_booted():
            yield INIT_SYSTEMS[name], services
