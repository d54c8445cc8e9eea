# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may send to an overlay network from another host, and what, as nftables text.

The kernel accepts VXLAN from anybody, and forwards what was in it. So what is not from a peer is dropped before it is
unpacked; and of what was unpacked, what has no source in a slice of a peer.
"""

from __future__ import annotations

from typing import Iterator, List, Tuple

from ..planning.ingress import MARK_BITS, MARK_SHIFT, returns
from ..planning.overlays import encrypted, has_tunnel, overlays, tunnel_mac, tunnel_name, tunnels
from ..planning.plan import Plan
from ..planning.resolvers import DNS_PORT
from ..planning.wireguard_names import WIREGUARD_LINK
from ..state import Chain, ElementSet
from .elements_nftables import FAMILIES, peers_set

# The VNI: behind the UDP header, 8 bytes, VXLAN's flags and reserved bits, 4 bytes (RFC 7348).
_VNI = "@th,96,24"

_ERRORS = {
    4: "icmp type { destination-unreachable, time-exceeded, parameter-problem }",
    6: "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }",
}
FIRST_PACKETS, REPLIES, INGRESS = "WHARF-FIRST-PACKETS", "WHARF-REPLIES", "WHARF-INGRESS"
# All but pings, errors and replies.
_OTHERS = "meta l4proto != { icmp, icmpv6 } ct state != { established, related }"


def overlay_sets(plan: Plan) -> Iterator[ElementSet]:
    """The tunnels, the slices that are behind each of them, and who sends VXLAN of which network; the pairs of slices,
    of another host and of this one, that plain routes or WireGuard join; and the subnets of encrypted networks. All are
    named: nft lists the elements of a set that has no name in an order of its own.

    nft has no set of addresses and VNIs together in all of its versions, so each network has a set of its own.
    """
    if any(tunnels(plan.model)):
        yield ElementSet("tunnels", ("type ifname",))
        for version, _family in FAMILIES:
            yield ElementSet(f"slices{version}", (f"type ipv{version}_addr . ifname", "flags interval"))
    for version, _family in FAMILIES:
        address, port = f"ipv{version}_addr", "inet_proto . inet_service"
        if plan.entries:
            yield ElementSet(f"entries{version}", (f"type {address} . {port}",))
        if returns(plan):
            yield ElementSet(f"ingress{version}", (f"type {address} . {port}",))
    for version, _family in _joined_families(plan):
        yield ElementSet(f"joined{version}", (f"type ipv{version}_addr . ipv{version}_addr", "flags interval"))
    for version, _family in FAMILIES if encrypted(plan.model) else ():
        yield ElementSet(f"encrypted{version}", (f"type ipv{version}_addr", "flags interval"))
    for _network, driver, _tunnel in tunnels(plan.model):
        yield ElementSet(peers_set(driver), (f"type ipv{driver.own.address.version}_addr",))


def overlay_sources(plan: Plan) -> Iterator[str]:
    """Drop VXLAN of these networks that is not from a peer, or from one of the host's own containers, whose packets
    would get the host's address, and so would be a peer's to the others; and what no peer has sent.
    """
    for _network, driver, _tunnel in tunnels(plan.model):
        vxlan = f"udp dport {driver.port} {_VNI} {driver.vni:#x}"
        yield f'iifname @bridges {vxlan} drop comment "VXLAN of a container"'
        family = dict(FAMILIES)[driver.own.address.version]
        yield f'{vxlan} {family} saddr != @{peers_set(driver)} drop comment "VXLAN of a stranger"'
    for version, family in FAMILIES if any(tunnels(plan.model)) else ():
        strangers = f"{family} saddr . iifname != @slices{version}"
        if returns(plan):
            # Clients of other hosts, and errors on the way to them, of which connection tracking knows.
            yield f"iifname @tunnels {_ERRORS[version]} fib daddr type local accept"
            strangers += f" {family} daddr . meta l4proto . th dport != @ingress{version}"
            own = f"{family} saddr . iifname @networks{version}"
            yield f'iifname @tunnels {own} drop comment "of this host\'s own slice"'
        yield f'iifname @tunnels {strangers} drop comment "of no slice of another host"'


def ingress_marks(plan: Plan) -> Iterator[Chain]:
    """Note by which host each connection of a client of other hosts came, and mark replies by it, bit by bit: nft can
    neither copy some bits of a mark alone, nor take them from a map.
    """
    found = returns(plan)
    if not found:
        return
    others = 0xFFFFFFFF ^ MARK_BITS
    yield Chain(
        "mangle-prerouting",
        (
            f"iifname @tunnels ct state new jump {FIRST_PACKETS}",
            f"iifname @bridges ct direction reply ct mark & {MARK_BITS:#x} != 0 jump {REPLIES}",
        ),
        "type filter hook prerouting priority mangle; policy accept;",
    )
    macs = {
        (network.name, peer.name): tunnel_mac(network, peer)
        for network, driver, _t in tunnels(plan.model)
        for peer in driver.peers
    }
    yield Chain(
        FIRST_PACKETS,
        (
            *(f"{family} saddr . iifname @slices{version} return" for version, family in FAMILIES),
            *(
                f'iifname "{tunnel_name(back.network)}" ether saddr {macs[back.network, back.host.name]} '
                f"ct mark set ct mark & {others:#x} | {back.mark:#x}"
                for back in found
            ),
            f'ct mark & {MARK_BITS:#x} == 0 drop comment "of no other host"',
        ),
    )
    bits = [1 << bit for bit in range(MARK_SHIFT, 32)]
    yield Chain(
        REPLIES,
        (
            f"meta mark set meta mark & {others:#x}",
            *(f"ct mark & {bit:#x} == {bit:#x} meta mark set meta mark | {bit:#x}" for bit in bits),
        ),
    )
    yield Chain(
        INGRESS,
        (
            "ct state established,related accept",
            "ct status dnat jump DOCKER-TARGETS",
            'drop comment "ingress"',
        ),
    )


def ingress_forwarded(plan: Plan) -> Iterator[str]:
    """From clients of other hosts to ports that are published here, as `allow_from` says; and from clients here to
    those that are published elsewhere, which is where that is decided.
    """
    if returns(plan):
        yield f"iifname @tunnels ct mark & {MARK_BITS:#x} != 0 jump {INGRESS}"
        yield f"oifname @tunnels ct direction reply ct mark & {MARK_BITS:#x} != 0 ct state established,related accept"
    if plan.entries:
        yield "iifname @tunnels ct direction reply ct status dnat ct state established,related accept"
        yield "iifname != @internal oifname @tunnels ct status dnat ct state related accept"
        for version, family in FAMILIES:
            for known in ("slices", "networks"):
                spoofed = f"iifname != @bridges {family} saddr . oifname @{known}{version}"
                yield f'oifname @tunnels {spoofed} drop comment "of no container of the network"'
            entry = f"{family} daddr . meta l4proto . th dport @entries{version}"
            yield f'iifname != @internal oifname @tunnels ct status dnat {entry} accept comment "ingress"'


def entered(plan: Plan) -> Iterator[str]:
    """Containers of a network are seen as themselves also where they ask for a port of their own host."""
    for version, family in FAMILIES if plan.entries else ():
        yield f"oifname @tunnels {family} saddr . oifname @networks{version} accept"


def overlay_input(plan: Plan) -> Iterator[str]:
    """From other hosts the host itself gets pings, errors, replies, and queries for the names of its containers."""
    for version, family in _joined_families(plan):
        query = f"{family} saddr . {family} daddr @joined{version} {family} daddr @resolvers{version}"
        yield f"{query} meta l4proto {{ tcp, udp }} th dport {DNS_PORT} accept"
    if any(tunnels(plan.model)):
        for version, family in FAMILIES:
            own = f"{family} daddr . iifname @networks{version} {family} daddr @resolvers{version}"
            yield f"iifname @tunnels {own} meta l4proto {{ tcp, udp }} th dport {DNS_PORT} accept"
        yield f'iifname @tunnels {_OTHERS} drop comment "from other hosts"'
    if encrypted(plan.model):
        yield f'iifname "{WIREGUARD_LINK}" {_OTHERS} drop comment "from other hosts"'


def direct_access(plan: Plan) -> Iterator[str]:
    """Let on what the other hosts' containers send, where the hosts have plain routes to each other, or WireGuard: by
    the link of these routes, and so not by the bridge of another network, whose containers could say that they are
    those.
    """
    for version, family in _joined_families(plan):
        between = f"{family} saddr . {family} daddr @joined{version}"
        yield f'{between} fib saddr . iif oif missing drop comment "of no other host"'
        yield f'{between} accept comment "of another host"'


def directly_forwarded(plan: Plan) -> Iterator[str]:
    """Between containers of the network on this host and on others, unless it is without icc."""
    for version, family in _joined_families(plan):
        coming = f"{family} daddr . oifname @networks{version} {family} saddr . {family} daddr @joined{version}"
        going = f"{family} saddr . iifname @networks{version} {family} daddr . {family} saddr @joined{version}"
        for link, between in (("oifname", coming), ("iifname", going)):
            yield f'{between} {link} . {link} @icc accept comment "between containers of a network"'
            yield f'{between} drop comment "between containers of a network"'
    for direction in ("iifname", "oifname") if encrypted(plan.model) else ():
        yield f'{direction} "{WIREGUARD_LINK}" drop comment "of no encrypted network"'


def never_in_clear_text() -> Iterator[str]:
    """Drop what is for an encrypted network and would leave by another link than its own: the host may have lost the
    link or the routes, may have no key of a peer, or somebody may have given it other routes.
    """
    yield from _in_clear_text("daddr", "oifname")


def never_from_clear_text(plan: Plan) -> Iterator[str]:
    """Drop what says that it is from an encrypted network, and comes by another link than that network's own, whatever
    the routes of the host say.
    """
    if encrypted(plan.model):
        yield from _in_clear_text("saddr", "iifname")


def _in_clear_text(address: str, link: str) -> Iterator[str]:
    for version, family in FAMILIES:
        elsewhere = f'{link} != {{ "lo", "{WIREGUARD_LINK}" }} {family} {address} . {link} != @networks{version}'
        yield f'{family} {address} @encrypted{version} {elsewhere} drop comment "in clear text"'


def directly_sent(plan: Plan) -> Iterator[str]:
    """Between slices, containers are seen as themselves."""
    for version, family in _joined_families(plan):
        yield f"{family} daddr . {family} saddr @joined{version} accept"


def _joined_families(plan: Plan) -> List[Tuple[int, str]]:
    """The families in which slices are joined without a tunnel of their network's own."""
    joined = {
        subnet.version
        for network, driver in overlays(plan.model)
        if not has_tunnel(network)
        for subnet in driver.subnets
    }
    return [(version, family) for version, family in FAMILIES if version in joined]
