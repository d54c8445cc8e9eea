# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks DHCP servers of the LAN for leases, by busybox' udhcpc (ADR 29). Changes nothing on the host or in a container.

An endpoint that is connected asks by its own interface. Another one asks by a link with the same MAC and the same
parent, in an empty network namespace; afterwards that link is gone.
"""

from __future__ import annotations

import ctypes
import hashlib
import ipaddress
import os
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from .declaration.drivers import BRIDGE_MODE, MACVLAN
from .declaration.section import unusable_addresses
from .errors import Problem
from .kernel import namespaces, open_files, rtnetlink
from .kernel.links import DONE
from .kernel.programs import find
from .kernel.rtnetlink import NO_NAMESPACE_ID, LinkInfo, SublinkInfo
from .kernel.rtnetlink_changes import LinkEnd, Rtnetlink
from .planning.allotments import Lease
from .planning.lan_leases import LeaseRequest
from .resources.links.stacks import sandbox_path
from .state import EndpointKey, endpoint_name

# Five requests, a second each: a server may take three to see whether an address is in use.
_ATTEMPTS = ("-t", "5", "-T", "1")
# Seconds, after which something is wrong with the program itself.
_MOST = 30
_FOR_EVER = 0xFFFFFFFF
# A resolver of libc asks no more.
_MOST_NAMESERVERS = 3

# Files that are open while an endpoint asks: two namespaces, and what the program prints.
_OPEN_EACH = 3

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

# udhcpc runs `sh EVENT` in a folder with these scripts for the events that bring a lease. The folder may be mounted
# such that no program in it can be run. Any variable may have a line feed in it.
_EVENTS = ("bound", "renew")
_SCRIPT = "exec env -0\n"

# Those of the host, by their names.
_Links = Mapping[str, LinkInfo]


def leases(requests: Sequence[LeaseRequest]) -> Dict[EndpointKey, Lease]:
    """The leases of these endpoints: the ones they have, of which those that are due are renewed, and new ones. What is
    over and was not renewed is left out.

    None is asked for where the host lacks udhcpc.
    """
    now = time.time()
    answers = _ask([each for each in requests if each.lease is None or each.lease.is_due(now)])
    found = {each.key: answers.get(each.key, each.lease) for each in requests}
    return {key: lease for key, lease in found.items() if lease and not lease.is_over(time.time())}


def lacking(requests: Sequence[LeaseRequest]) -> Iterator[Problem]:
    """What the host lacks in order to ask."""
    if requests and not _program():
        why = '"dhcp": this host has no udhcpc to ask for leases: install busybox'
        yield Problem(f"{requests[0].network_place}.ipam.driver", why)


def _ask(requests: Sequence[LeaseRequest]) -> Dict[EndpointKey, Lease]:
    """All at once, since a server that does not answer is waited for."""
    program = _program() if requests else []
    if not program:
        return {}
    open_files.allow(_OPEN_EACH * len(requests))
    links = {link.name: link for link in rtnetlink.links()}
    with tempfile.TemporaryDirectory(prefix="wharf-dhcp-") as folder, ExitStack() as asking:
        for event in _EVENTS:
            with open(os.path.join(folder, event), "w", encoding="ascii") as file:
                file.write(_SCRIPT)
        started = []
        for request in requests:
            # Such as a parent that is in use otherwise: there is no lease then.
            with suppress(OSError):
                descriptor, interface = asking.enter_context(_interface(request, links))
                with namespaces.visiting() as enter:
                    enter(descriptor)
                    started.append((request, _start([*program, *_options(request, interface)], folder)))
        answers = [(request.key, _answer(request, process)) for request, process in started]
    return {key: lease for key, lease in answers if lease}


def _program() -> List[str]:
    """Empty where the host has none."""
    udhcpc, busybox = find("udhcpc"), find("busybox")
    if udhcpc:
        return [udhcpc]
    return [busybox, "udhcpc"] if busybox else []


def _options(request: LeaseRequest, interface: str) -> List[str]:
    """Answers are to be broadcast: an address that nobody has yet cannot be asked for a MAC."""
    former = ["-r", str(request.lease.interface.ip)] if request.lease else []
    name = ["-x", f"hostname:{request.hostname}"]
    return ["-f", "-n", "-q", "-B", *_ATTEMPTS, "-s", "/bin/sh", "-i", interface, *name, *former]


def _start(command: Sequence[str], folder: str) -> subprocess.Popen[bytes]:
    # There is no run_command in an engine that also runs without Ansible, and several run at once.
    return subprocess.Popen(  # pylint: disable=ansible-bad-function,consider-using-with,subprocess-popen-preexec-fn
        command, cwd=folder, preexec_fn=_die_with_parent,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _answer(request: LeaseRequest, process: subprocess.Popen[bytes]) -> Optional[Lease]:
    try:
        printed, _errors = process.communicate(timeout=_MOST)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _errors = process.communicate()
    pairs = (each.partition("=") for each in printed.decode("utf-8", "replace").split("\0"))
    return parse_lease({key: value for key, _equals, value in pairs}, request, int(time.time()))


def parse_lease(settings: Mapping[str, str], request: LeaseRequest, now: int) -> Optional[Lease]:
    """The lease of these settings, in udhcpc's names; None if no host of a LAN could have such an address."""
    try:
        interface = ipaddress.IPv4Interface(f"{settings['ip']}/{settings['mask']}")
        seconds = int(settings["lease"])
    except (KeyError, ValueError):
        return None
    address, subnet = interface.ip, interface.network
    is_special = address.is_loopback or address.is_multicast or address.is_reserved or address.is_unspecified
    if is_special or subnet.prefixlen < 8 or address in unusable_addresses(subnet) or seconds <= 0:
        return None
    router = next((each for each in _addresses(settings.get("router", "")) if each in subnet and each != address), None)
    nameservers = (each for each in _addresses(settings.get("dns", "")) if not (each.is_loopback or each.is_multicast))
    lasts = 0 if seconds == _FOR_EVER else seconds
    return Lease(
        interface, router, request.mac, request.parent, now, lasts, tuple(islice(nameservers, _MOST_NAMESERVERS))
    )


def _addresses(text: str) -> Iterator[ipaddress.IPv4Address]:
    for each in text.split():
        with suppress(ValueError):
            address = ipaddress.IPv4Address(each)
            if not address.is_unspecified:
                yield address


@contextmanager
def _interface(request: LeaseRequest, links: _Links) -> Iterator[Tuple[int, str]]:
    """A network namespace, as an open descriptor, and the interface there by which to ask. `links` are the host's.

    Raises:
        OSError: there is none, nor can one be made.
    """
    with ExitStack() as stack:
        connected = stack.enter_context(_own_interface(request, links))
        yield connected or stack.enter_context(_like_its_own(request, links))


@contextmanager
def _own_interface(request: LeaseRequest, links: _Links) -> Iterator[Optional[Tuple[int, str]]]:
    """That of an endpoint which is connected to this LAN, whatever its name. Root in the container can make links that
    look like it; but what those are made on is no link of the host.
    """
    path = sandbox_path(request.sandbox)
    if not namespaces.is_namespace(path):
        yield None
        return
    parent, bridge = links.get(request.parent), links.get(request.bridge)
    lowers = {parent.index} if parent else set()
    if bridge and _is_plugged(parent, bridge):
        lowers |= {link.index for link in links.values() if link.master == bridge.index}
    with namespaces.opened(path) as descriptor, namespaces.opened(namespaces.OWN) as own:
        with namespaces.visiting() as enter:
            enter(descriptor)
            host = rtnetlink.namespace_id(own)
            names = [
                link.name
                for link in rtnetlink.links()
                if link.up and link.mac == request.mac and link.link in lowers
                if link.link_netnsid == host != NO_NAMESPACE_ID
            ]
        yield (descriptor, names[0]) if names else None


@contextmanager
def _like_its_own(request: LeaseRequest, links: _Links) -> Iterator[Tuple[int, str]]:
    """A link in a namespace of its own: on the parent, or a port of the bridge that has the parent as a port.

    It bears no mark of wharf.network: if the run is killed, udhcpc is too, and with it goes the namespace.
    """
    parent, bridge = links.get(request.parent), links.get(request.bridge)
    if not parent or not parent.up:
        raise OSError(f"{request.parent} is not there, or down")
    is_plugged = _is_plugged(parent, bridge)
    # One of a run that was killed just now may still be there.
    digest = hashlib.sha256(f"{endpoint_name(request.key)}/{os.getpid()}".encode()).hexdigest()[:11]
    name, port = f"ask-{digest}", f"vask{digest}"
    with Rtnetlink() as host:
        with namespaces.scratch(), Rtnetlink() as inside:
            descriptor = os.open(namespaces.OWN, os.O_RDONLY | os.O_CLOEXEC)
            if is_plugged:
                end = LinkEnd(port, "fe" + request.mac[2:])
                host.add_veth(end, LinkEnd(name, request.mac), descriptor, parent.mtu, parent.master, DONE)
            else:
                info = SublinkInfo(BRIDGE_MODE)
                host.add_sublink(MACVLAN, info, parent.index, LinkEnd(name, request.mac), 0, DONE, descriptor)
            index = socket.if_nametoindex(name)
            inside.set_link(index, up=True)
        try:
            if is_plugged:
                host.set_link(socket.if_nametoindex(port), up=True)
            yield descriptor, name
        finally:
            # Not left to the end of the namespace, which comes some time later: the parent is to be free.
            with namespaces.visiting() as enter, suppress(OSError):
                enter(descriptor)
                with Rtnetlink() as there:
                    there.delete_link(index)
            os.close(descriptor)


def _is_plugged(parent: Optional[LinkInfo], bridge: Optional[LinkInfo]) -> bool:
    return parent is not None and bridge is not None and parent.master == bridge.index
