# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `wharf` on a host, and the services of systemd that run it.

The command is this engine itself, in one file: whoever runs this has its sources, wherever they were loaded from.
"""

from __future__ import annotations

import hashlib
import io
import os
import pkgutil
import sys
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from typing import Iterator, List, Optional, Sequence, Tuple

from .__main__ import main
from .converge import Result
from .diff import DELETE, Change, diff
from .doors.files import Files, content_of
from .errors import ApplyError, ConflictError, VerifyError
from .kernel import disk, systemd
from .state import CONTAINERS, SCOPES, File, Object, State, state_of
from .version import VERSION

COMMAND = "/usr/local/sbin/wharf"
_DRAFT = "/usr/local/sbin/.wharf.new"
_UNITS = "/etc/systemd/system"
_WANTED = f"{_UNITS}/multi-user.target.wants"

APPLY, FOLLOW = "wharf.service", "wharf-follow.service"
# In the order in which they start.
SERVICES = (FOLLOW, APPLY)

# What a file of ours can be told by: the archive's comment, and the first line of a unit.
_MARK = f"wharf.network {VERSION}".encode()
_MARK_OF_ANY = _MARK.split()[0]
_HEADER = "# Written by wharf.network.\n"

# It is the engine's own that Ansible finds here, and so sends all that it needs.
_MAIN = (
    f"import sys\n\nfrom engine.__main__ import {main.__name__}\n\nsys.exit({main.__name__}(sys.argv[1:]))\n".encode()
)

# Those that have rules of their own, and may flush all when they start anew.
_FIREWALLS = "nftables.service iptables.service ip6tables.service netfilter-persistent.service"

# It does not wait for an uplink: what depends on that stays as it was, and the other service mends nameservers once it
# is there. It tries again for some minutes where it lacks something, as a bridge of somebody's that comes late.
_APPLY_UNIT = f"""{_HEADER}[Unit]
Description=Container networks, as declared
After={FOLLOW} network.target {_FIREWALLS} ufw.service firewalld.service
Before=docker.service podman-restart.service
PartOf={_FIREWALLS}
ReloadPropagatedFrom={_FIREWALLS}
StartLimitIntervalSec=300
StartLimitBurst=20

[Service]
Type=oneshot
RemainAfterExit=yes
Restart=on-failure
RestartSec=10
ExecStart={COMMAND} apply
ExecReload={COMMAND} apply
TimeoutStartSec=300

[Install]
WantedBy=multi-user.target
"""

# It names network namespaces for all to see, so it cannot have mounts of its own, nor what systemd does by these.
_FOLLOW_UNIT = f"""{_HEADER}[Unit]
Description=Container networks, kept true to the host and to containers that start
After=network.target
Before=docker.service podman-restart.service

[Service]
Type=notify
ExecStart={COMMAND} follow
Restart=always
RestartSec=5
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_NET_ADMIN CAP_NET_RAW
CapabilityBoundingSet=CAP_SETGID CAP_SETUID CAP_SYS_ADMIN CAP_SYS_MODULE CAP_SYS_PTRACE
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_UNIX
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""

UNITS = {f"{_UNITS}/{APPLY}": _APPLY_UNIT, f"{_UNITS}/{FOLLOW}": _FOLLOW_UNIT}


@dataclass(frozen=True)
class Program(Object):
    """A program in one file, by the digest of that."""

    version: str
    digest: str


@dataclass(frozen=True)
class Service(Object):
    """A service of systemd's. `enabled`: it is started with the host. `running`: it has been started."""

    enabled: bool
    running: bool


def install(services: Optional[bool], check: bool) -> Result:
    """Install the command, and the services where systemd runs the host, or where `services` says so.

    Raises:
        ConflictError: something else is called so, or there is no systemd.
        ApplyError: a file cannot be written, or a service does not start.
    """
    if services and not systemd.is_installed():
        raise ConflictError.at(
            "wharf_boot_services",
            "there is no systemd on this host: leave this out, and have the host's own init system run `wharf apply` "
            "when it boots, and `wharf follow` from then on",
        )
    content = _archive()
    desired: List[Object] = [Program(COMMAND, VERSION, _digest(content))]
    if systemd.is_booted() if services is None else services:
        desired += [File(path, text) for path, text in UNITS.items()]
        desired += [Service(name, enabled=True, running=systemd.is_booted()) for name in SERVICES]
    return _converge(state_of(desired), content, check)


def remove(check: bool) -> Result:
    """Remove what `install` installs. The networks stay.

    Raises:
        ConflictError: something else is called so.
        ApplyError: the system refused something.
    """
    return _converge({}, b"", check)


def _converge(desired: State, content: bytes, check: bool) -> Result:
    changes = diff(_observe(desired), desired, SCOPES)
    if not check and changes:
        try:
            _apply(changes, content)
        except OSError as error:
            raise ApplyError(f"{error.filename}: {error.strerror}") from error
        left = diff(_observe(desired), desired, SCOPES)
        if left:
            names = ", ".join(change.subject.name for change in left)
            raise VerifyError(f"after all changes were made, these are still to be made: {names}")
    return Result(tuple(changes))


# What is there


def _observe(desired: State) -> State:
    """What of ours is there, whether desired or not.

    Raises:
        ConflictError: something else is called so.
    """
    program = _standing_program()
    if ("program", COMMAND) in desired and program is None and os.path.lexists(COMMAND):
        raise ConflictError.at(COMMAND, "exists and is not managed by wharf.network: move it away")
    ours = {File(path, "").key for path in UNITS if content_of(path).startswith(_HEADER)}
    files = _files().observe(desired, frozenset(ours))
    running = systemd.active(SERVICES) if systemd.is_booted() else ()
    services: List[Object] = [
        Service(name, enabled, name in running)
        for name in SERVICES
        for enabled in [os.path.lexists(f"{_WANTED}/{name}")]
        if enabled or name in running
    ]
    return state_of([*([program] if program else []), *files.values(), *services])


def _files() -> Files:
    return Files({}, lambda _path: CONTAINERS)


def _standing_program() -> Optional[Program]:
    """What is installed, if that is ours; one that a run was killed over is of no version."""
    with suppress(OSError, zipfile.BadZipFile):
        with open(COMMAND, "rb") as file:
            content = file.read()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            mark, _space, version = archive.comment.partition(b" ")
        if mark == _MARK_OF_ANY:
            return Program(COMMAND, version.decode(), _digest(content))
    return Program(COMMAND, "", "") if os.path.exists(_DRAFT) and not os.path.lexists(COMMAND) else None


# What becomes of it


def _apply(changes: Sequence[Change], content: bytes) -> None:
    services = [change for change in changes if isinstance(change.subject, Service)]
    units = [change for change in changes if isinstance(change.subject, File)]
    programs = [change for change in changes if isinstance(change.subject, Program)]
    going = [change.subject.name for change in services if change.action == DELETE]
    if going:
        _tell("disable", *(["--now"] if systemd.is_booted() else []), "--", *going)
    for change in programs:
        if change.action == DELETE:
            for path in (COMMAND, _DRAFT):
                with suppress(FileNotFoundError):
                    os.unlink(path)
        else:
            _write(content)
    if units:
        _files().apply(units)
        if systemd.is_booted():
            _tell("daemon-reload")
    coming = [change.after for change in services if isinstance(change.after, Service)]
    if coming:
        _tell("enable", "--", *(service.name for service in coming))
        # And with it all that was done before.
        disk.settle(_WANTED)
    if systemd.is_booted():
        # One that lasts would go on with what it was started from.
        if (programs or units) and FOLLOW in systemd.active([FOLLOW]):
            _tell("restart", "--", FOLLOW)
        for service in coming:
            _tell("start", "--", service.name)


def _tell(*arguments: str) -> None:
    """
    Raises:
        ApplyError: systemd refused it, or the service did.
    """
    complaint = systemd.systemctl(*arguments)
    if complaint:
        raise ApplyError(f"systemctl {' '.join(arguments)}: {complaint}")


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


# The program


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _archive() -> bytes:
    """The engine as a program that the Python which runs this one runs; the same sources give the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, source in sorted([("__main__.py", _MAIN), *_sources()]):
            archive.writestr(_entry(path), source, zipfile.ZIP_DEFLATED)
        archive.comment = _MARK
    return f"#!{_interpreter()}\n".encode() + packed.getvalue()


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o644 << 16
    return entry


def _sources() -> Iterator[Tuple[str, bytes]]:
    """Each module of the engine, by its path in the archive."""
    package = sys.modules[__name__.rpartition(".")[0]]
    yield "engine/__init__.py", b""
    for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        path = each.name[len(package.__name__) + 1 :].replace(".", "/") + ("/__init__" if each.ispkg else "")
        yield f"engine/{path}.py", pkgutil.get_data(package.__name__, f"{path}.py") or b""


def _interpreter() -> str:
    """By the name that it keeps when the distribution has its next version, where it has one."""
    lasting = os.path.join(os.path.dirname(sys.executable), "python3")
    is_same = os.path.realpath(lasting) == os.path.realpath(sys.executable)
    return lasting if is_same else sys.executable
