# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads and sets the SELinux types of files.

A label is `USER:ROLE:TYPE`, and `USER:ROLE:TYPE:RANGE` with a policy that has ranges. The policy says which types the
program of a type may read, write and watch.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from typing import Union

# By the policies of Debian and of Fedora, nft, iptables and dnsmasq may read files of this type, and dnsmasq may watch
# folders of it.
_READABLE = "etc_t"

_ATTRIBUTE = "security.selinux"

# The kernel refuses a label that is written here if its policy does not know it.
_CHECK = "/sys/fs/selinux/context"


@cache
def readable_type() -> str:
    """The type of files that confined programs should read; empty on a host without SELinux."""
    return _READABLE if knows(_READABLE) else ""


def knows(type_: str) -> bool:
    """Whether the policy of this host has the type. A host without SELinux has no policy."""
    with suppress(OSError), open(_CHECK, "r+b", buffering=0) as file:
        file.write(with_type(_label("/"), type_).encode())
        return True
    return False


def type_of(path: str) -> str:
    """Empty if the file has no label."""
    return (_label(path).split(":") + [""] * 3)[2]


def set_type(file: Union[str, int], type_: str) -> None:
    """Set the type of a file, by its path or descriptor, and keep the rest of its label. An empty type changes nothing.

    Raises:
        OSError: the policy refuses it.
    """
    if not type_:
        return
    before = _label(file)
    after = with_type(before, type_)
    if after != before:
        os.setxattr(file, _ATTRIBUTE, after.encode())


def with_type(label: str, type_: str) -> str:
    """The label with another type; one of the system, without a range, if there is no label, or a kernel without a
    policy has given a name instead.
    """
    user, role, _type, *level = label.split(":", 3) if label.count(":") > 1 else ("system_u", "object_r", "")
    return ":".join([user, role, type_, *level])


def _label(file: Union[str, int]) -> str:
    with suppress(OSError):
        return os.getxattr(file, _ATTRIBUTE).decode("ascii", "replace").rstrip("\0")
    return ""
