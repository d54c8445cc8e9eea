# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters: files below /proc/sys, those of the network namespace that the thread is in."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from functools import cache
from typing import Iterable, Optional, Tuple

from ..errors import ApplyError
from . import namespaces

ROOT = "/proc/sys/"
SWAP_SEPARATORS = str.maketrans("./", "/.")

Parameters = Tuple[Tuple[str, str], ...]

_REFUSALS = {
    errno.ENOENT: "there is no such parameter on this host's kernel: leave it out",
    errno.EINVAL: "the kernel does not take this value: give another one",
}


def of_interface(interface: str, key: str) -> str:
    """`ipv6.accept_ra` of eth0.5 -> `net.ipv6.conf.eth0/5.accept_ra`"""
    family, _dot, parameter = key.partition(".")
    return f"net.{family}.conf.{interface.translate(SWAP_SEPARATORS)}.{parameter}"


def of_new_interface(name: str) -> str:
    """`net.ipv6.conf.eth0/5.accept_ra` -> `net.ipv6.conf.default.accept_ra`; any other name is returned as it is."""
    return re.sub(r"^(net\.ipv[46]\.conf)\.[^.]+\.", r"\1.default.", name)


def read(name: str) -> Optional[str]:
    """The value, or None where the kernel has no such parameter."""
    try:
        with open(_path(name)) as file:
            return file.read().strip()
    except OSError:
        return None


def write(name: str, value: str) -> None:
    """
    Raises:
        ApplyError: there is no such parameter, or the kernel refuses the value.
    """
    reason = refusal(name, value)
    if reason:
        raise ApplyError(f"sysctl {name}={value}: {reason}")


def refusal(name: str, value: str) -> str:
    """Write, and return why the kernel refuses it, and what to do; nothing where it does not."""
    try:
        # In one call: the kernel takes each write as a value of its own.
        with open(_path(name), "w") as file:
            file.write(value)
    except OSError as error:
        number = error.errno or 0
        return _REFUSALS.get(number, os.strerror(number))
    return ""


def set_ipv6(interface: str, on: bool) -> None:
    """Switch IPv6 on or off; an interface that cannot have any has it off already.

    Raises:
        ApplyError: there is no IPv6 to switch on, since the kernel has none or the MTU is below 1280.
    """
    name = of_interface(interface, "ipv6.disable_ipv6")
    if on or os.path.exists(_path(name)):
        write(name, "0" if on else "1")


def observe(wanted: Parameters, interface: str = "") -> Parameters:
    """Those of `wanted` that there are, as they are; their names are keys of `interface`, if given."""
    found = ((key, value, _value(key, value, interface)) for key, value in wanted)
    return tuple(
        (key, value if _means(of_interface("default", key) if interface else key, value, now) else now)
        for key, value, now in found
        if now is not None
    )


def apply(wanted: Iterable[Tuple[str, str]], interface: str = "") -> None:
    """
    Raises:
        ApplyError: there is no such parameter, or the kernel refuses the value.
    """
    for key, value in wanted:
        if not _is_moot(key, interface):
            write(of_interface(interface, key) if interface else key, value)


def _value(key: str, wanted: str, interface: str) -> Optional[str]:
    if _is_moot(key, interface):
        return wanted
    return read(of_interface(interface, key) if interface else key)


def _is_moot(key: str, interface: str) -> bool:
    """Whether this would restrain an interface's IPv6 where it has none: with an MTU below 1280, or by the kernel."""
    return key.startswith("ipv6.") and not os.path.exists(f"{ROOT}net/ipv6/conf/{interface}")


def _means(name: str, wanted: str, found: str) -> bool:
    """Whether the kernel spells `wanted` as it was found: it separates values by tabs, and lists 80,81,82 as 80-82."""
    return wanted.split() == found.split() or as_read(name, wanted) == found


@cache
def as_read(name: str, value: str) -> Optional[str]:
    """How the kernel would list the value, tried out in an empty network stack; None where it does not take it."""
    # Without the right to make a stack, nobody can have set anything in one.
    with suppress(OSError), namespaces.scratch():
        return None if refusal(name, value) else read(name)
    return None


def _path(name: str) -> str:
    path = name.translate(SWAP_SEPARATORS)
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ApplyError(f"sysctl {name}: leads out of {ROOT}")
    return ROOT + path
