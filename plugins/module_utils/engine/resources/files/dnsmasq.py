# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes dnsmasq: its files, and the processes that read them."""

from __future__ import annotations

import glob
import json
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Collection, Dict, FrozenSet, List, Mapping, Optional, Sequence, Set, Tuple

from ...diff import DELETE, Change
from ...errors import ApplyError, ConflictError, ProblemCollector
from ...kernel import disk, programs, selinux, systemd
from ...kernel.listeners import listening_sockets
from ...kernel.processes import open_sockets, start_ticks, start_time, stat_fields
from ...planning.dnsmasq_files import (
    FOLDER,
    LEASES_FOLDER,
    NAMES_FOLDER,
    RUNNING_FOLDER,
    UNIT_FILE,
    config_path,
    digests,
    lease_path,
    pid_path,
    read_paths,
)
from ...state import Dnsmasq, File, Key, State, state_of
from ..resource import Observation, Resource
from .dnsmasq_needs import program, refuse_taken, refuse_too_old, refuse_without_inotify
from .files import Files

# How long a process may take to end, in seconds, until it is made to.
_PATIENCE = 5.0

# In its command line, by which a process is found.
_CONFIG_OPTION = "--conf-file="

# The SELinux types of the folder in which dnsmasq may make its pid file, and of the files that it may write leases to.
_RUNNING_SELINUX_TYPE = "var_run_t"
_LEASES_SELINUX_TYPE = "dnsmasq_lease_t"


class DnsmasqFiles(Files):
    """The files that dnsmasq reads. Nothing is touched before dnsmasq has found each configuration good."""

    def require(self, new: State) -> None:
        problems = ProblemCollector()
        for thing in new.values():
            if isinstance(thing, File) and thing.name.endswith(".conf"):
                with problems.collect():
                    _test(thing)
        problems.raise_if_any(ConflictError)

    def recover(self, usual: State) -> FrozenSet[Key]:
        """All files in the folders of wharf.network."""
        return frozenset(("file", path) for path in files())


def files() -> List[str]:
    return [path for pattern in (f"{FOLDER}/*", f"{NAMES_FOLDER}/*/*", UNIT_FILE) for path in glob.glob(pattern)]


def configured() -> List[str]:
    """The names of the resolvers that have a configuration."""
    return [os.path.basename(path)[: -len(".conf")] for path in glob.glob(config_path("*"))]


def ports() -> Dict[str, int]:
    """The port of each resolver that runs and answers, by the resolver's name. The kernel reports it: dnsmasq listens
    by TCP for questions only.
    """
    by_inode = {each.inode: each.port for each in listening_sockets() if each.protocol == "tcp"}
    search = _Search()
    pids = {name: search.pid(name) for name in configured()}
    heard = {name: by_inode.keys() & open_sockets(pid) for name, pid in pids.items() if pid}
    return {name: by_inode[min(inodes)] for name, inodes in heard.items() if inodes}


def _test(config: File) -> None:
    """
    Raises:
        ConflictError: dnsmasq would not take it.
    """
    tested = programs.run([program(), "--test", "--conf-file=-"], config.content)
    if not tested.returncode:
        return
    complaint = re.search(r"dnsmasq: (.+) at line (\d+) of", tested.stderr)
    line = config.content.splitlines()[int(complaint[2]) - 1] if complaint else ""
    place = dict(config.places).get(line)
    if complaint and place:
        remedy = "see dnsmasq --help dhcp"
        raise ConflictError.at(place, f'"{line}": dnsmasq refuses this line ({complaint[1]}): {remedy}')
    raise ConflictError.at(config.place, f"dnsmasq refuses {config.name}: {programs.complaint(tested)}")


class Processes(Resource):
    """Observes and changes `Dnsmasq`."""

    kinds = frozenset(["dnsmasq"])

    def require(self, new: State) -> None:
        if not new:
            return
        refuse_too_old()
        resolvers = [thing for thing in new.values() if isinstance(thing, Dnsmasq)]
        refuse_without_inotify(resolvers, _Search().is_running)

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        wanted = {thing.name: thing for thing in desired.values() if isinstance(thing, Dnsmasq)}
        names = dict.fromkeys([*wanted, *(name for kind, name in sorted(owned) if kind == "dnsmasq")])
        search = _Search()
        running = {name: process for name in names for process in [search.find(name)] if process}
        new = [thing for name, thing in wanted.items() if name not in running]
        refuse_taken(new, _sockets_of_resolvers(search) if new else set())
        ended = [name for name in names if name not in wanted and name not in running and _has_left_files(name)]
        left = [Dnsmasq(name, config="", reread="") for name in ended]
        return Observation(state_of([*(process.observed for process in running.values()), *left]), desired)

    def recover(self, usual: State) -> FrozenSet[Key]:
        """The processes that the configurations in the folder of wharf.network are of."""
        return frozenset(("dnsmasq", name) for name in configured())

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        try:
            self._apply(changes)
        except OSError as error:
            raise ApplyError(f"dnsmasq: {error.filename or 'running it'}: {disk.reason(error)}") from error
        return {}

    def _apply(self, changes: Sequence[Change]) -> None:
        """A process that only has to read files again goes on; all others are started anew, at once."""
        rereading = [change for change in changes if change.fields == ("reread",)]
        others = [change for change in changes if change not in rereading]
        coming = [change.after for change in others if isinstance(change.after, Dnsmasq)]
        search = _Search()
        refuse_without_inotify(coming, search.is_running)
        _stop([process for change in others for process in [search.find(change.subject.name)] if process])
        _start(coming)
        for change in others:
            if change.action == DELETE:
                _forget(change.subject.name)
        search = _Search()
        for change in rereading:
            process = search.find(change.subject.name)
            if process and isinstance(change.after, Dnsmasq):
                os.kill(process.pid, signal.SIGHUP)
                _note(change.after, process.pid)


@dataclass(frozen=True)
class Process:
    """A process that runs a resolver: as it is `observed`, with empty digests where nobody knows what it has read."""

    pid: int
    start_time: str
    observed: Dnsmasq


@dataclass(frozen=True)
class _Note:
    """What a process was given when it started, or when it was made to read it again; kept as JSON beside its pid file.

    `watched` has the inode of each folder that the process watches: a folder that was removed and made anew is another
    one to it.
    """

    start_time: str
    config: str
    reread: str
    watched: Mapping[str, Optional[int]]

    @property
    def watches_what_stands(self) -> bool:
        return all(_inode(folder) == inode for folder, inode in self.watched.items())


class _Search:
    """Looks for processes that run now: by their pid files, and once among all processes, so that none is ever started
    twice.
    """

    def find(self, name: str) -> Optional[Process]:
        """The process, if it runs, with what it has read."""
        pid = self.pid(name)
        if pid is None:
            return None
        note, started = _read_note(name), start_time(pid)
        # A process that systemd started anew watches what the one before it did.
        watches = tuple(note.watched) if note else ()
        if note and note.start_time == started:
            known = (note.config, note.reread) if note.watches_what_stands else ("", "")
        elif _has_read_what_stands(name, pid):
            config, *reread = (disk.content_of(path, follow=False) for path in read_paths(name))
            known = digests(config, reread)
        else:
            known = ("", "")
        return Process(pid, started, Dnsmasq(name, *known, watches=watches))

    def pid(self, name: str) -> Optional[int]:
        path = config_path(name)
        pid = _read_number(pid_path(name))
        return pid if pid is not None and _config_of(pid) == path else self._by_config.get(path)

    def is_running(self, name: str) -> bool:
        return self.pid(name) is not None

    @property
    def pids(self) -> Set[int]:
        """Of all resolvers, those among them whose files a killed run has removed already."""
        pids = {self.pid(name) for name in configured()}
        return {pid for pid in pids if pid is not None}.union(self._by_config.values())

    @cached_property
    def _by_config(self) -> Dict[str, int]:
        """Of several the oldest: dnsmasq forks a process off for each connection by TCP."""
        pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
        running = [(start_ticks(pid) or 0, pid, config) for pid in pids for config in [_config_of(pid)] if config]
        return {config: pid for _ticks, pid, config in sorted(running, reverse=True)}


def _has_read_what_stands(name: str, pid: int) -> bool:
    """Whether all that it reads is older than its pid file: so it is if systemd, say, started it."""
    with suppress(OSError):
        began = os.stat(pid_path(name)).st_mtime_ns
        is_older = all(os.stat(path).st_mtime_ns <= began for path in read_paths(name) if os.path.exists(path))
        return is_older and _read_number(pid_path(name)) == pid
    return False


def _config_of(pid: int) -> str:
    """The configuration of the resolver that a process runs on this host; empty if it runs none.

    Another process may have got its number, and another network namespace may have a resolver of that name.
    """
    arguments = disk.content_of(f"/proc/{pid}/cmdline").split("\0")
    configs = [each[len(_CONFIG_OPTION) :] for each in arguments if each.startswith(f"{_CONFIG_OPTION}{FOLDER}/")]
    with suppress(OSError):
        if configs and os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            return configs[0]
    return ""


def _has_ended(process: Process) -> bool:
    """Whether its sockets are closed: the command line goes before they do."""
    fields = stat_fields(process.pid)
    return not fields or fields[0] in "ZX" or start_time(process.pid) != process.start_time


def _sockets_of_resolvers(search: _Search) -> Set[int]:
    """The inodes of the sockets of all resolvers that run now, also of those that are about to end."""
    return {inode for pid in search.pids for inode in open_sockets(pid)}


def _inode(path: str) -> Optional[int]:
    with suppress(OSError):
        return os.stat(path).st_ino
    return None


def _note(thing: Dnsmasq, pid: int) -> None:
    watched = {folder: _inode(folder) for folder in thing.watches}
    note = _Note(start_time(pid), thing.config, thing.reread, watched)
    with open(_note_path(thing.name), "w", encoding="ascii") as file:
        file.write(json.dumps(asdict(note)) + "\n")


def _read_note(name: str) -> Optional[_Note]:
    """None where there is none, or a killed run has written a part of it."""
    with suppress(ValueError, TypeError):
        return _Note(**json.loads(disk.content_of(_note_path(name), follow=False)))
    return None


def _has_left_files(name: str) -> bool:
    """Whether a process that is gone has left files, or the last one the folder of these."""
    if any(os.path.exists(path) for path in _traces(name)):
        return True
    return os.path.isdir(RUNNING_FOLDER) and not os.listdir(RUNNING_FOLDER)


def _traces(name: str) -> Tuple[str, ...]:
    """The files that a process leaves, beside those that it is given to read."""
    return pid_path(name), _note_path(name), lease_path(name)


def _forget(name: str, kept: Collection[str] = ()) -> None:
    """Remove the traces of a process that is gone, but for what is kept, such as the leases of the one before."""
    for path in set(_traces(name)).difference(kept):
        with suppress(FileNotFoundError):
            os.unlink(path)
    if os.path.isdir(RUNNING_FOLDER) and os.listdir(RUNNING_FOLDER):
        # Others run on, and each has these folders from its start.
        return
    for folder in (LEASES_FOLDER, RUNNING_FOLDER, os.path.dirname(RUNNING_FOLDER)):
        if os.path.isdir(folder) and not os.listdir(folder):
            os.rmdir(folder)


def _note_path(name: str) -> str:
    return f"{RUNNING_FOLDER}/{name}.started"


def _stop(processes: List[Process]) -> None:
    if processes and _has_systemd():
        _systemctl("stop", [process.observed for process in processes])
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE
    running = processes
    while running:
        running = [process for process in running if not _has_ended(process)]
        if running and time.monotonic() > deadline:
            for process in running:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.005 if running else 0)


def _start(things: List[Dnsmasq]) -> None:
    """All at once, since each takes its time; dnsmasq goes to the background once it has its sockets.

    Raises:
        ApplyError: with the complaint of the first one that did not start.
    """
    if not things:
        return
    before = {path for thing in things for path in _traces(thing.name) if os.path.exists(path)}
    os.makedirs(RUNNING_FOLDER, exist_ok=True)
    os.makedirs(LEASES_FOLDER, exist_ok=True)
    _let_write(things)
    try:
        if _has_systemd():
            _start_by_systemd(things)
        else:
            _start_by_itself(things)
    except ApplyError:
        search = _Search()
        for thing in things:
            if not search.is_running(thing.name):
                _forget(thing.name, before)
        raise


def _let_write(things: List[Dnsmasq]) -> None:
    """Set the SELinux types of what dnsmasq writes.

    A new folder has that of its own folder, or of the program that made it. dnsmasq makes the file of its leases with
    the right type, which the file loses if an admin restores the types of all files.
    """
    if selinux.knows(_LEASES_SELINUX_TYPE):
        selinux.set_type(RUNNING_FOLDER, _RUNNING_SELINUX_TYPE)
        for thing in things:
            if os.path.exists(lease_path(thing.name)):
                selinux.set_type(lease_path(thing.name), _LEASES_SELINUX_TYPE)


def _start_by_itself(things: List[Dnsmasq]) -> None:
    """
    Raises:
        ApplyError: one of them did not start.
    """
    starting = [
        # The process outlives this one: it makes a session of its own. It inherits the lock of the run, and closes it
        # when its command line already shows which resolver it is.
        (thing, subprocess.Popen(  # pylint: disable=ansible-bad-function
            [program(), f"{_CONFIG_OPTION}{config_path(thing.name)}"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/", close_fds=False))
        for thing in things
    ]  # fmt: skip
    failed = []
    for thing, process in starting:
        _output, errors = process.communicate()
        pid = _read_number(pid_path(thing.name))
        if process.returncode or pid is None:
            failed.append(f"{thing.title}: {errors.strip() or f'it ended with {process.returncode}'}")
        else:
            _note(thing, pid)
    if failed:
        raise ApplyError(failed[0])


def _has_systemd() -> bool:
    """Whether systemd runs this host, and the unit of resolvers is there."""
    return systemd.is_booted() and os.path.exists(UNIT_FILE)


def _start_by_systemd(things: List[Dnsmasq]) -> None:
    """
    Raises:
        ApplyError: one of them did not start.
    """
    systemd.systemctl("daemon-reload")
    complaint = _systemctl("restart", things)
    failed = []
    search = _Search()
    for thing in things:
        process = search.find(thing.name)
        if process:
            _note(thing, process.pid)
        else:
            failed.append(thing)
    if failed:
        # systemd would start them again and again.
        _systemctl("stop", failed)
        first = failed[0]
        raise ApplyError(f"{first.title}: {complaint or 'did not start'}: see journalctl -u {_unit(first)}")
    # It names the unit.
    if complaint:
        raise ApplyError(f"dnsmasq: {complaint}")


def _systemctl(verb: str, things: Sequence[Dnsmasq]) -> str:
    return systemd.systemctl(verb, "--", *map(_unit, things))


def _unit(thing: Dnsmasq) -> str:
    return f"wharf-dnsmasq@{thing.name}.service"


def _read_number(path: str) -> Optional[int]:
    text = disk.content_of(path, follow=False).strip()
    return int(text) if text.isdecimal() else None
