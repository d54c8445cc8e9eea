# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must have for the declared leases and network boot, checked before anything is touched."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from contextlib import closing
from typing import Callable, Iterator

from ..declaration.model import Network
from ..declaration.services import TFTP_PORT, Boot
from ..errors import Problem
from ..planning.plan import Plan

# Where dnsmasq takes requests for leases, by the family, on all addresses.
_REQUESTS = {4: (socket.AF_INET, "0.0.0.0", 67), 6: (socket.AF_INET6, "::", 547)}


def lacking(plan: Plan) -> Iterator[Problem]:
    """What would keep dnsmasq from starting: folders of boot files that it cannot read, and ports that are taken."""
    for network in plan.model.networks.values():
        boot = network.services.boot
        why = _trying(plan, os.listdir, boot.tftp_root) if boot and boot.tftp_root else ""
        if boot and why:
            yield Problem(
                f"{boot.path}.tftp_root",
                f'"{boot.tftp_root}": dnsmasq, which runs as the user {plan.facts.dnsmasq_user}, cannot read this '
                f"folder: {why}: create it, and let everybody read it",
            )
    for network in plan.model.networks.values():
        if network.services.leases:
            yield from _taken(plan, network)


def _taken(plan: Plan, network: Network) -> Iterator[Problem]:
    anywhere = {(protocol, port) for protocol, address, port in plan.facts.listeners if address in ("0.0.0.0", "::")}
    for family, port in network.services.ports:
        taken = ("udp", port) in anywhere if port == TFTP_PORT else not _can_share(family)
        if taken:
            leasing = "ra" if family == 6 and network.services.ra else "dhcp"
            yield Problem(
                f"{network.path}.x-wharf.{'boot' if port == TFTP_PORT else leasing}",
                f"a process of the host has port {port}/udp on all addresses: "
                "let it listen on its own interfaces only, or end it",
            )


def _can_share(family: int) -> bool:
    """Whether dnsmasq could share the port of requests, as other processes of dnsmasq let it. Receives none itself."""
    kind, address, port = _REQUESTS[family]
    with closing(socket.socket(kind, socket.SOCK_DGRAM)) as trial:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            trial.setsockopt(socket.SOL_SOCKET, option, 1)
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        if kind == socket.AF_INET6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            trial.bind((address, port))
        except OSError:
            return False
    return True


def unloadable(plan: Plan) -> Iterator[str]:
    """Declared boot files that are not there, or cannot be read; they may still come."""
    for network in plan.model.networks.values():
        boot = network.services.boot
        for path, file in _served(boot) if boot else ():
            why = _trying(plan, _open, file)
            if why:
                yield f"{path}: clients cannot load {file}: {why} (as the user {plan.facts.dnsmasq_user})"


def _served(boot: Boot) -> Iterator[tuple[str, str]]:
    """What is fetched from this host by TFTP, by where it is declared."""
    if not boot.tftp_root or boot.server:
        return
    declared = [(f"{boot.path}.file", boot.file)] if boot.file else []
    declared += [(f"{boot.path}.files.{each}", file) for each, file in boot.files if not each.startswith("http_")]
    for path, file in declared:
        yield path, f"{boot.tftp_root.rstrip('/')}/{file.lstrip('/')}"


def _open(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def _trying(plan: Plan, doing: Callable[[str], object], path: str) -> str:
    """Why dnsmasq's user cannot do this with the path; empty if it can. Tried by a process that becomes it."""
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return os.strerror(code) if code else ""
    code = 1
    try:
        if plan.facts.dnsmasq_user != "root":
            user = pwd.getpwnam(plan.facts.dnsmasq_user)
            os.setgroups([])
            os.setgid(grp.getgrnam(plan.facts.dnsmasq_group).gr_gid)
            os.setuid(user.pw_uid)
        doing(path)
        code = 0
    except OSError as error:
        code = error.errno or 1
    finally:
        os._exit(code)
