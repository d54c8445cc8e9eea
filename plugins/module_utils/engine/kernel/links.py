# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bridges and endpoints have in common; the only place that imports pyroute2."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import socket
import sys
from contextlib import contextmanager, suppress
from functools import cache
from types import MappingProxyType
from typing import Any, Iterable, Iterator, Mapping, Optional, Tuple, Type, TypeVar

from ..errors import ApplyError, ConflictError
from . import proc_sys, rtnetlink
from .rtnetlink import AddressInfo
from .rtnetlink_changes import Rtnetlink

T = TypeVar("T")

# Links in these groups are managed by wharf.network and half made, or half deleted. The mark of a link is its alias,
# but in the message that creates a link the kernel ignores an alias, and sets the group. So a link is made in such a
# group, and leaves it in the one message that also sets its alias.
UNDONE_PORTS = 0x77686172
UNDONE_BRIDGES = 0x77686173
UNDONE_PARENTS = 0x77686174
UNDONE_SHIMS = 0x77686175
DONE = 0

# Earlier versions are untried.
_FIRST_PYROUTE2 = (0, 6, 10)

# The error of a kernel that does not know this kind of link.
_UNKNOWN_KIND = (errno.EOPNOTSUPP,)


@contextmanager
def opened() -> Iterator[Any]:
    """A pyroute2 IPRoute of the network namespace that the thread is in.

    Raises:
        ConflictError: the host has no pyroute2, or one that is too old.
    """
    with _pyroute2().IPRoute() as netlink:
        yield netlink


def index_of(name: str) -> Optional[int]:
    """The number of a link; None where there is none of this name."""
    with suppress(OSError):
        return socket.if_nametoindex(name)
    return None


def delete_link(netlink: Rtnetlink, kind: str, name: str) -> None:
    """Delete a link, unless it is gone already, as with the link that it was made on. Messages call it a `kind`.

    Raises:
        ApplyError: the kernel refused.
    """
    index = index_of(name)
    if index:
        with doing(f"{kind} {name}: deleting"), forgiving(errno.ENODEV):
            netlink.delete_link(index)


@contextmanager
def doing(what: str, remedies: Mapping[int, str] = MappingProxyType({})) -> Iterator[None]:
    """Say what was being done if the block fails, and what to do about it, by the error's number.

    Raises:
        ApplyError: the kernel refused something in the block.
    """
    try:
        yield
    except ApplyError as error:
        raise ApplyError(f"{what}: {error}") from error
    except _refusals() as error:
        code = error_number(error)
        why = getattr(error, "strerror", "") or (str(error) if isinstance(error, OSError) else os.strerror(code))
        lacking = ", which needs a module that this kernel lacks or cannot load" if code in _UNKNOWN_KIND else ""
        remedy = f": {remedies[code]}" if code in remedies else ""
        raise ApplyError(f"{what}: {why}{lacking}{remedy}") from error


def error_number(error: Optional[BaseException]) -> int:
    """What the kernel answered to what led to this error; 0 where it was not the kernel."""
    if isinstance(error, OSError):
        return error.errno or 0
    if isinstance(error, ApplyError):
        return error_number(error.__cause__)
    return int(getattr(error, "code", 0))


@contextmanager
def forgiving(*codes: int) -> Iterator[None]:
    """Pass over these errors: what was to go is gone already."""
    try:
        yield
    except _refusals() as error:
        if error_number(error) not in codes:
            raise


def _refusals() -> Tuple[Type[Exception], ...]:
    """What is raised where the kernel refuses something. Unless pyroute2 is loaded, that is none of its errors."""
    pyroute2 = sys.modules.get("pyroute2")
    return (OSError, pyroute2.NetlinkError) if pyroute2 else (OSError,)


def require_pyroute2() -> None:
    """
    Raises:
        ConflictError: the host has no pyroute2, or one that is too old or broken.
    """
    _pyroute2()


def _pyroute2() -> Any:
    if importlib.util.find_spec("pyroute2") is None:
        raise ConflictError.at(
            "pyroute2",
            "is needed on this host to change bridges: install python3-pyroute2 "
            "(or pip install 'pyroute2>=0.6.10,<0.10')",
        )
    version = _version_of_pyroute2()
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if numbers and numbers < _FIRST_PYROUTE2:
        raise ConflictError.at(
            "pyroute2",
            f"{version} on this host is too old to change bridges: pip install 'pyroute2>=0.6.10,<0.10', or take a "
            "python3-pyroute2 of 0.6.10 or later",
        )
    try:
        import pyroute2
    except Exception as error:
        raise ConflictError.at("pyroute2", f"is broken on this host: {error}: reinstall python3-pyroute2") from error
    return pyroute2


@cache
def _version_of_pyroute2() -> str:
    """Empty where it is not known, as of one that was installed by its files alone. Importing it would take longer."""
    from importlib import metadata

    try:
        return metadata.version("pyroute2") or ""
    except (ImportError, KeyError, OSError, ValueError):
        return ""


def in_order_of(wanted: Tuple[T, ...], found: Iterable[T]) -> Tuple[T, ...]:
    """What was found, as it was declared where that is the same: the kernel keeps no such order."""
    there = set(found)
    return wanted if there == set(wanted) else tuple(sorted(there, key=str))


def declared_addresses(wanted: Tuple[str, ...], found: Iterable[AddressInfo]) -> Tuple[str, ...]:
    """The addresses that somebody gave: all but those that the kernel, a router or a DHCP server made."""

    def given(info: AddressInfo) -> bool:
        return str(info) in wanted or not (info.by_kernel or info.link_local6)

    return in_order_of(wanted, (str(info) for info in found if given(info)))


def set_addresses(
    netlink: Rtnetlink, interface: str, index: int, before: Tuple[str, ...], after: Tuple[str, ...]
) -> None:
    """Add what comes, then remove what goes, and keep what stays.

    What goes is removed first where it is the same address with another prefix or peer: the kernel would keep it.
    """
    gone = {*before}.difference(after)
    new = [each for each in after if each not in before]
    if gone:
        # Else the kernel drops, with the first address of a subnet, all others of that subnet.
        proc_sys.write(proc_sys.of_interface(interface, "ipv4.promote_secondaries"), "1")
    # Of those that are still there: with an MTU below 1280, the kernel has taken those of IPv6 away by itself.
    going = [info for info in rtnetlink.addresses() if info.index == index and str(info) in gone] if gone else []
    again = {_plain(each) for each in new}
    for info in (each for each in going if _plain(each.address) in again):
        _delete_address(info)
    for address in new:
        netlink.replace_address(index, address)
    for info in (each for each in going if _plain(each.address) not in again):
        _delete_address(info)


def _delete_address(info: AddressInfo) -> None:
    with forgiving(errno.EADDRNOTAVAIL):
        rtnetlink.delete_address(info)


def _plain(address: str) -> str:
    return address.partition("/")[0]
