# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes the link of WireGuard by which encrypted networks reach their other hosts: its key, and of each
other host the key, where it is reached, and a route for each slice that is behind it.
"""

from __future__ import annotations

import errno
import socket
import time
from dataclasses import replace
from typing import Dict, FrozenSet, Iterable, Optional, Sequence

from ...errors import ConflictError
from ...kernel import proc_sys
from ...kernel.links import DONE, UNDONE_BRIDGES, in_order_of
from ...kernel.rtnetlink import LinkInfo, RouteInfo
from ...kernel.rtnetlink_changes import Rtnetlink
from ...kernel.wireguard import PeerInfo, WireGuardNetlink, is_known, require_wireguard
from ...state import Digest, Key, State, WireGuard, WireGuardPeer, state_of
from ..resource import Observation
from . import wireguard_key
from .host_routes import peer_routes, refuse_third_party_routes, set_peer_routes
from .link_resource import HostLinks
from .marks import MARK, is_managed_wireguard
from .stacks import StackReader

_LACKING = (
    "the kernel of this host has no WireGuard, or cannot load its module: install a kernel that has it, such as "
    "Debian's linux-image-amd64"
)

# Seconds. Both ends let a session go by then, and agree on another one as long as they reach each other.
SESSION = 180


class PeerEndpoints:
    """The endpoints of peers, as the kernel was given them. It then follows a peer that sends from elsewhere, as from
    behind a NAT, and a peer that it has a session with is where it says.

    `before` has what earlier runs gave it, and what a killed run was about to give it.
    """

    def __init__(self, before: Sequence[Digest] = ()) -> None:
        given = [frozenset(each.content.split()) for each in before]
        self._before = frozenset.intersection(*given) if given else frozenset()
        self._now: Dict[str, str] = {}

    def note(self, peers: Iterable[WireGuardPeer]) -> None:
        """These are what the kernel was given in this run."""
        self._now.update({peer.public_key: peer.endpoint for peer in peers})

    def observed(self, found: PeerInfo, wanted: Sequence[WireGuardPeer]) -> WireGuardPeer:
        """The peer, where it is declared to be if the kernel was given that endpoint."""
        peer = WireGuardPeer(found.public_key, found.address, found.port, tuple(sorted(found.allowed)), found.keepalive)
        same = next((each for each in wanted if each.public_key == found.public_key), peer)
        if self._was_given(same, found.handshake):
            return replace(peer, address=same.address, port=same.port)
        return peer

    def _was_given(self, peer: WireGuardPeer, handshake: int) -> bool:
        if peer.public_key in self._now:
            return self._now[peer.public_key] == peer.endpoint
        return _text(peer) in self._before and time.time() - handshake < SESSION


def _text(peer: WireGuardPeer) -> str:
    return f"{peer.public_key}@{peer.endpoint}"


class WireGuardLinks(HostLinks[WireGuard]):
    """Observes and changes the one link of WireGuard whose alias is `wharf:` and its own name. `given` is what the
    ledger has of its peers.
    """

    kinds = frozenset(["wireguard"])
    goes_first = True
    type = WireGuard
    remedies = {
        errno.EADDRINUSE: "a third party has its UDP port: give all encrypted networks another x-wharf.data_path_port"
    }

    def __init__(self, stacks: Optional[StackReader] = None, given: Sequence[Digest] = ()) -> None:
        super().__init__(stacks)
        self._endpoints = PeerEndpoints(given)
        self._has_made_key = False

    def require(self, new: State) -> None:
        for wanted in (each for each in new.values() if isinstance(each, WireGuard)):
            try:
                require_wireguard()
            except OSError as error:
                raise ConflictError.at(
                    wanted.place, f"is to be encrypted, and {_LACKING}, or leave encrypted out on all hosts"
                ) from error

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        wanted = {thing.name: thing for thing in desired.values() if isinstance(thing, WireGuard)}
        links = self._stacks.host.links
        self._refuse_third_party(wanted, is_managed_wireguard, "delete it, or rename it")
        slices = (route for link in wanted.values() for route in link.routes)
        refuse_third_party_routes(self._stacks.host, {route.destination: route.place for route in slices})
        managed = [link for link in links if is_managed_wireguard(link)]
        if not managed and desired.keys() & owned and not is_known():
            # The kernel has lost it, by an update, say. All else can be there, and nothing is sent another way.
            return Observation({}, {}, pending={each.key: _pending(each) for each in wanted.values()})
        routes = self._stacks.host.routes if managed else []
        current = state_of([
            self._observed(link, routes, wanted.get(link.name)) for link in managed
        ])  # fmt: skip
        return Observation(
            current,
            desired,
            partial=frozenset(current.keys() - desired.keys()),
            digests={name: Digest(" ".join(map(_text, each.peers))) for name, each in wanted.items()},
        )

    def _observed(self, link: LinkInfo, routes: Sequence[RouteInfo], wanted: Optional[WireGuard]) -> WireGuard:
        with WireGuardNetlink() as netlink:
            device = netlink.device(link.index)
        declared = wanted or WireGuard(link.name, 0, 0)
        peers = (self._endpoints.observed(each, declared.peers) for each in device.peers)
        return WireGuard(
            link.name,
            port=device.port,
            mtu=link.mtu,
            peers=in_order_of(declared.peers, peers),
            routes=in_order_of(declared.routes, peer_routes(link.index, routes)),
            has_kept_key=device.private_key == wireguard_key.read(),
            public_key=device.public_key,
            is_marked=link.group != UNDONE_BRIDGES,
            up=link.up,
            sysctls=in_order_of(declared.sysctls, proc_sys.observe(declared.sysctls, link.name)),
        )

    def _make(self, netlink: Rtnetlink, before: Optional[WireGuard], after: WireGuard) -> None:
        """The peers are there before the link is up, and the routes come last."""
        if before is None:
            netlink.add_link("wireguard", after.name, UNDONE_BRIDGES, after.mtu)
        index = socket.if_nametoindex(after.name)
        with WireGuardNetlink() as wireguard:
            self._set_device(wireguard, index, after)
        netlink.set_link(index, mtu=after.mtu)
        proc_sys.apply(after.sysctls, after.name)
        netlink.set_link(index, up=after.up)
        set_peer_routes(netlink, index, after.routes)
        netlink.set_link(index, alias=MARK + after.name, group=DONE)

    def _set_device(self, wireguard: WireGuardNetlink, index: int, after: WireGuard) -> None:
        """What stays of the peers is not touched, so that their sessions go on, and each is reached where it is now."""
        device = wireguard.device(index)
        self._has_made_key = self._has_made_key or not wireguard_key.found()
        private = wireguard_key.kept()
        known = {each.public_key: self._endpoints.observed(each, after.peers) for each in device.peers}
        keys = {each.public_key for each in after.peers}
        wireguard.set_device(
            index,
            private_key=private if private != device.private_key else b"",
            port=after.port if device.port != after.port else 0,
            peers=[
                as_info(each, known.get(each.public_key)) for each in after.peers if each != known.get(each.public_key)
            ],
            gone=[each.public_key for each in device.peers if each.public_key not in keys],
        )
        self._endpoints.note(after.peers)

    def _delete(self, netlink: Rtnetlink, thing: WireGuard) -> None:
        super()._delete(netlink, thing)
        if self._has_made_key:
            # The run is rolled back, and no other host has the key.
            wireguard_key.remove()
            self._has_made_key = False


def _pending(link: WireGuard) -> str:
    return f"link {link.name} is pending, and nothing is sent to other hosts of encrypted networks: {_LACKING}"


def as_info(peer: WireGuardPeer, before: Optional[WireGuardPeer]) -> PeerInfo:
    """Without an endpoint where the kernel was given that one: the peer may have moved since."""
    stays = before is not None and before.endpoint == peer.endpoint
    address, port = ("", 0) if stays else (peer.address, peer.port)
    return PeerInfo(peer.public_key, address, port, peer.slices, peer.keepalive)
