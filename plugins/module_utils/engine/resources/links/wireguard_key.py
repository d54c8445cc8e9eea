# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This host's private key of WireGuard: made here, kept here, and given to nobody but the kernel of this host.

It is deleted with the last declaration of the host, not with the last encrypted network: so the next such network has
the same key.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Optional

from ...kernel import curve25519, disk, rtnetlink
from ...kernel.wireguard import KEY_SIZE, WireGuardNetlink, as_bytes, as_text
from ...planning.wireguard_names import KEY_FILE
from .marks import is_managed_wireguard


def read() -> bytes:
    """The private key that is kept, empty where there is none, or what is there is no key."""
    with suppress(FileNotFoundError, ValueError), open(KEY_FILE, encoding="ascii") as file:
        return as_bytes(file.read())
    return b""


def of_link() -> bytes:
    """That of the link, which has it where the file is lost; empty where there is no link of wharf.network."""
    for link in rtnetlink.links():
        if is_managed_wireguard(link):
            with WireGuardNetlink() as netlink:
                private = netlink.device(link.index).private_key
                return private if any(private) else b""
    return b""


def found() -> bytes:
    """The private key, wherever it is; empty where there is none yet."""
    return read() or of_link()


def kept() -> bytes:
    """The private key, made and written down where there is none.

    Raises:
        ApplyError: it cannot be written.
    """
    key = read()
    with disk.writing(f"{KEY_FILE} cannot be written"):
        if not key:
            key = of_link() or curve25519.clamped(os.urandom(KEY_SIZE))
            os.makedirs(os.path.dirname(KEY_FILE), mode=0o755, exist_ok=True)
            disk.replace(KEY_FILE, f"{as_text(key)}\n", 0o600)
        elif stat.S_IMODE(os.stat(KEY_FILE).st_mode) & 0o077:
            # Somebody has restored it from elsewhere.
            os.chmod(KEY_FILE, 0o600)
    return key


def remove() -> None:
    """
    Raises:
        OSError: it cannot be removed.
    """
    disk.remove(KEY_FILE)


def public(private: bytes) -> str:
    return as_text(curve25519.public_key(private)) if private else ""


def public_key(make: bool) -> Optional[str]:
    """This host's public key; None where it has none, and is not to make one. A lost file stays lost, since that is a
    difference from what is declared, which a run predicts.
    """
    is_lost = not read() and of_link()
    return public(kept() if make and not is_lost else found()) or None
