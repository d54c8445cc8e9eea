# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a link shows that wharf.network made it: by its alias or, while it is half made or half deleted, by its group."""

from __future__ import annotations

from ...kernel.links import UNDONE_BRIDGES, UNDONE_PORTS
from ...kernel.rtnetlink import LinkInfo

# The alias of a bridge and of a tunnel is `wharf:NETWORK`, that of a veth's end on the host `wharf:CONTAINER/NETWORK`.
MARK = "wharf:"


def marked_for(link: LinkInfo) -> str:
    """What the alias of a link names, if wharf.network gave it."""
    return link.alias[len(MARK) :] if link.alias.startswith(MARK) else ""


def is_managed(link: LinkInfo) -> bool:
    return is_managed_bridge(link) or is_managed_tunnel(link) or is_managed_port(link)


def is_managed_bridge(link: LinkInfo) -> bool:
    name = marked_for(link)
    return link.kind == "bridge" and ((name and "/" not in name) or link.group == UNDONE_BRIDGES)


def is_managed_tunnel(link: LinkInfo) -> bool:
    """Whether this is the link of an overlay network to its other hosts."""
    name = marked_for(link)
    return link.kind == "vxlan" and ((name and "/" not in name) or link.group == UNDONE_BRIDGES)


def is_managed_port(link: LinkInfo) -> bool:
    """Whether this is the end on the host of an endpoint's veth pair."""
    return link.kind == "veth" and ("/" in marked_for(link) or link.group == UNDONE_PORTS)
