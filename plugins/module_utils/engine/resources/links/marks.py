# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a link shows that wharf.network made it: by its alias or, while it is half made or half deleted, by its group."""

from __future__ import annotations

from typing import Optional

from ...kernel.links import UNDONE_BRIDGES, UNDONE_PARENTS, UNDONE_PORTS, UNDONE_SHIMS
from ...kernel.rtnetlink import LinkInfo
from ...state import EndpointKey, endpoint_key

# The alias of a bridge and of a tunnel is `wharf:NETWORK`, that of a veth's end on the host `wharf:CONTAINER/NETWORK`.
# Where a network has no bridge, its containers' own interfaces have the latter, and a parent that is made for them has
# `wharf:PARENT`.
MARK = "wharf:"


def marked_for(link: LinkInfo) -> str:
    """What the alias of a link names, if wharf.network gave it."""
    return link.alias[len(MARK) :] if link.alias.startswith(MARK) else ""


def network_of(link: LinkInfo) -> str:
    """The network that the alias of a link names, if wharf.network gave it."""
    name = marked_for(link)
    return "" if "/" in name else name


def endpoint_of(link: LinkInfo) -> Optional[EndpointKey]:
    """The endpoint that the alias of a link names, if wharf.network gave it."""
    name = marked_for(link)
    return endpoint_key(name) if "/" in name else None


def is_managed(link: LinkInfo) -> bool:
    of_networks = (is_managed_bridge, is_managed_tunnel, is_managed_wireguard, is_managed_parent, is_managed_shim)
    return any(is_kind(link) for is_kind in (*of_networks, is_managed_port, is_managed_ifb))


def is_managed_parent(link: LinkInfo) -> bool:
    """Whether wharf.network made this link of the host for links of containers; its alias names it itself."""
    return link.kind in ("dummy", "vlan") and (bool(marked_for(link)) or link.group == UNDONE_PARENTS)


def is_managed_bridge(link: LinkInfo) -> bool:
    return link.kind == "bridge" and (bool(network_of(link)) or link.group == UNDONE_BRIDGES)


def is_managed_tunnel(link: LinkInfo) -> bool:
    """Whether this is the link of an overlay network to its other hosts."""
    return link.kind == "vxlan" and (bool(network_of(link)) or link.group == UNDONE_BRIDGES)


def is_managed_wireguard(link: LinkInfo) -> bool:
    """Whether this is the link of all encrypted networks to their other hosts; its alias names it itself."""
    return link.kind == "wireguard" and (marked_for(link) == link.name or link.group == UNDONE_BRIDGES)


def is_managed_port(link: LinkInfo) -> bool:
    """Whether this is the end on the host of an endpoint's veth pair."""
    return link.kind == "veth" and _is_of_an_endpoint(link)


def is_managed_sublink(link: LinkInfo) -> bool:
    """Whether this is the interface of an endpoint whose network has no bridge, in the endpoint's own sandbox."""
    return link.sublink is not None and _is_of_an_endpoint(link)


def is_managed_shim(link: LinkInfo) -> bool:
    """Whether this is the host's own link on a parent."""
    return link.sublink is not None and (bool(network_of(link)) or link.group == UNDONE_SHIMS)


def is_managed_ifb(link: LinkInfo) -> bool:
    """Whether the traffic from an endpoint passes this link, which limits it."""
    return link.kind == "ifb" and _is_of_an_endpoint(link)


def _is_of_an_endpoint(link: LinkInfo) -> bool:
    return endpoint_of(link) is not None or link.group == UNDONE_PORTS
