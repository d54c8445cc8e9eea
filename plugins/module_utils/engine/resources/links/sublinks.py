# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes, changes and deletes the links of endpoints whose networks have no bridge: macvlan and ipvlan, in sandboxes."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from contextlib import suppress
from typing import Optional, Sequence

from ...kernel import namespaces, rtnetlink
from ...kernel.links import DONE, UNDONE_PORTS, doing, forgiving
from ...kernel.rtnetlink import SublinkInfo
from ...kernel.rtnetlink_changes import LinkEnd, Rtnetlink
from ...state import Endpoint, Sublink
from .marks import MARK, endpoint_of, is_managed_sublink
from .stacks import sandbox_path

# The modes which a link has from its creation to its end.
_LASTING = ("passthru",)


def is_made_anew(before: Sublink, after: Sublink) -> bool:
    """Whether a link cannot be changed in place into the other one."""
    lasting = before.mode in _LASTING or after.mode in _LASTING
    return (before.kind, before.parent) != (after.kind, after.parent) or (lasting and before.mode != after.mode)


def create(netlink: Rtnetlink, endpoint: Endpoint) -> None:
    """Make the link in its sandbox. It is half made until it is named there.

    Older kernels, as the 6.12 of Debian 13, take no name for it that a link of the host has, wherever it is made.
    """
    sublink = endpoint.sublink
    end = LinkEnd(_first_name(endpoint), endpoint.mac)
    what = f"endpoint {endpoint.name}: creating {sublink.kind} {endpoint.interface} on {sublink.parent}"
    with doing(what), namespaces.opened(sandbox_path(endpoint.sandbox)) as sandbox:
        add(netlink, sublink, end, endpoint.mtu, UNDONE_PORTS, sandbox)


def add(
    netlink: Rtnetlink, sublink: Sublink, end: LinkEnd, mtu: int, group: int, namespace: Optional[int] = None
) -> None:
    """Make a link on its parent, in this network namespace or in another one.

    Raises:
        OSError: with what nothing on the host shows beforehand: how the parent may be in use.
    """
    try:
        parent = socket.if_nametoindex(sublink.parent)
        netlink.add_sublink(sublink.kind, _info(sublink), parent, end, mtu, group, namespace=namespace)
    except OSError as error:
        raise _explained(error, sublink) from error


def _first_name(endpoint: Endpoint) -> str:
    return "new-" + hashlib.sha256(endpoint.name.encode()).hexdigest()[:11]


def name(netlink: Rtnetlink, endpoint: Endpoint) -> None:
    """Give the new link its name and its mark, in the sandbox that this thread is in."""
    index = socket.if_nametoindex(_first_name(endpoint))
    netlink.set_link(index, name=endpoint.interface, alias=MARK + endpoint.name)
    # In a message of its own: the kernel would set the group even if it refuses the name, and the link had no mark.
    netlink.set_link(index, group=DONE)


def _explained(error: OSError, sublink: Sublink) -> OSError:
    if error.errno == errno.EBUSY:
        why = f"a link in a bond or in Open vSwitch, say, or with links of another kind, has none of {sublink.kind}"
    elif error.errno == errno.EINVAL:
        why = f"of macvlan_mode passthru, {sublink.parent} can have one link and no other one"
    else:
        return error
    return OSError(error.errno, f"{os.strerror(error.errno)}: {why}: name another parent")


def _info(sublink: Sublink) -> SublinkInfo:
    return SublinkInfo(sublink.mode, sublink.flag)


def set_mode(netlink: Rtnetlink, sublink: Sublink, index: int) -> None:
    netlink.set_sublink(index, sublink.kind, _info(sublink))


def remove(endpoints: Sequence[Endpoint]) -> None:
    """Delete the links of these endpoints from where they are; one that is gone meanwhile is passed over."""
    for endpoint in endpoints:
        with (
            doing(f"deleting endpoint {endpoint.name}"),
            suppress(FileNotFoundError, ProcessLookupError),
            namespaces.entered(sandbox_path(endpoint.sandbox)),
            Rtnetlink() as netlink,
        ):
            for link in rtnetlink.links(netlink):
                # Root in the container can give it another name at any time. While half made, it has no mark.
                is_its_own = endpoint_of(link) == endpoint.endpoint_key
                names = (endpoint.interface, _first_name(endpoint))
                if is_managed_sublink(link) and (is_its_own or link.name in names):
                    with forgiving(errno.ENODEV):
                        netlink.delete_link(link.index)
