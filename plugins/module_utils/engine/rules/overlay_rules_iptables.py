# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may send to an overlay network from another host, and what, as iptables text.

This is the counterpart of `overlay_rules_nftables`. The hosts are in chains of their own, so that packets which are
neither VXLAN nor from a tunnel meet two rules, however many hosts there are.
"""

from __future__ import annotations

from typing import Iterator, List, Tuple

from ..declaration.drivers import OverlayDriver
from ..declaration.model import Network
from ..declaration.section import Address
from ..planning.ingress import MARK_BITS, entry_gateway, leads_elsewhere, returns
from ..planning.overlays import encrypted, has_tunnel, peer_addresses, tunnel_mac, tunnel_name, tunnels
from ..planning.plan import Plan
from ..planning.resolvers import DNS_PORT
from ..planning.wireguard_names import WIREGUARD_LINK
from ..state import TableChain
from .container_rules_iptables import entry_translation
from .network_rules_iptables import BRIDGE, DNS_PROTOCOLS, ICMP_ERRORS, INPUT, INTERNAL, POSTROUTING, RAW, Element

VXLAN, TUNNELS = TableChain("raw", "WHARF-VXLAN"), TableChain("raw", "WHARF-TUNNELS")
MARKS, FIRST_PACKETS = TableChain("mangle", "WHARF-PREROUTING"), TableChain("mangle", "WHARF-FIRST")
INGRESS = TableChain("filter", "WHARF-INGRESS")

_IS_MARKED = f"-m connmark ! --mark 0x0/{MARK_BITS:#x}"
TO_CLEAR_TEXT, FROM_CLEAR_TEXT = TableChain("mangle", "WHARF-POSTROUTING"), TableChain("raw", "WHARF-ENCRYPTED")

# What is forwarded from or to the link of encrypted networks, and belongs to none of them.
OF_NO_ENCRYPTED = (f"-i {WIREGUARD_LINK} -j DROP", f"-o {WIREGUARD_LINK} -j DROP")

_ICMP = {4: "-p icmp", 6: "-p ipv6-icmp"}
_ANSWERS = "-m conntrack --ctstate RELATED,ESTABLISHED"


def overlay_rules(plan: Plan, network: Network, version: int) -> Iterator[Element]:
    """The rules of an overlay network in one family, which come before all others of the network."""
    driver = network.driver
    if not isinstance(driver, OverlayDriver):
        return
    if has_tunnel(network):
        tunnel = tunnel_name(network.name)
        yield from _strangers(plan, driver, version)
        yield from _sources(plan, network, driver, version)
        yield from _marks(plan, network, driver, version)
        yield from _entries(plan, network, driver, version)
        yield from _forwarding(plan, network, tunnel)
        yield from _to_host(plan, network, tunnel, version)
    subnets = [str(subnet) for subnet in driver.subnets_of(version)] if driver.encrypted else []
    for subnet in subnets:
        yield from _never_in_clear_text(network, driver, subnet, version)
    for own in driver.own.slices_of(version):
        yield from _unchanged(plan, network, driver, str(own), version)
    for subnet in subnets:
        yield from _encrypted(subnet, version)


def _strangers(plan: Plan, driver: OverlayDriver, version: int) -> Iterator[Element]:
    """Drop VXLAN that is not from a peer, before it is unpacked, or from one of the host's own containers.

    With IPv6, whose headers may have any length, VXLAN of all identifiers at this port counts as that of the network.
    """
    if driver.own.address.version != version:
        # The kernel opens no socket for the other one.
        return
    at_port = f"-p udp -m udp --dport {driver.port}"
    of_network = f'-m u32 --u32 "0x0>>0x16&0x3c@0xc>>0x8={driver.vni:#x}" ' if version == 4 else ""
    yield RAW, f"{at_port} -j WHARF-VXLAN"
    for other in plan.model.bridged:
        yield VXLAN, f"-i {other.bridge} {at_port} {of_network}-j DROP"
    for address in peer_addresses(driver) if version == 4 else _peers_at(plan, driver.port):
        yield VXLAN, f"-s {address}/{address.max_prefixlen} {at_port} {of_network}-j RETURN"
    yield VXLAN, f"{at_port} {of_network}-j DROP"


def _peers_at(plan: Plan, port: int) -> List[Address]:
    """The hosts that send VXLAN of any network to a port, by IPv6."""
    found = {each for _n, driver, _t in tunnels(plan.model) if driver.port == port for each in peer_addresses(driver)}
    return sorted(each for each in found if each.version == 6)


def _sources(plan: Plan, network: Network, driver: OverlayDriver, version: int) -> Iterator[Element]:
    """Drop what comes by the tunnel, and has neither a source in a slice of a peer, nor is of a client of one."""
    tunnel = tunnel_name(network.name)
    yield RAW, f"-i {tunnel} -j WHARF-TUNNELS"
    for peer in driver.peers:
        for each in peer.slices_of(version):
            yield TUNNELS, f"-s {each} -i {tunnel} -j RETURN"
    if returns(plan, network.name):
        yield from ((TUNNELS, rule) for rule in _clients(plan, network, driver, version))
    yield TUNNELS, f"-i {tunnel} -j DROP"


def _clients(plan: Plan, network: Network, driver: OverlayDriver, version: int) -> Iterator[str]:
    """What clients of other hosts send to ports that all hosts publish; and errors on the way to them, of which
    connection tracking knows.
    """
    tunnel = tunnel_name(network.name)
    for own in driver.own.slices_of(version):
        yield f"-s {own} -i {tunnel} -j DROP"
    for published in plan.publications:
        if published.ingress and published.version == version:
            gateway = entry_gateway(plan, published)
            to_port = f"-p {published.protocol} -m {published.protocol} --dport {published.host_port}"
            if any(gateway in own for own in driver.own.slices_of(version)):
                yield f"-d {gateway}/{gateway.max_prefixlen} -i {tunnel} {to_port} -j RETURN"
    for error in ICMP_ERRORS[version]:
        yield f"-i {tunnel} {error} -m addrtype --dst-type LOCAL -j RETURN"


def _marks(plan: Plan, network: Network, driver: OverlayDriver, version: int) -> Iterator[Element]:
    """Note by which host each connection of a client of other hosts came, and mark replies by it."""
    found, tunnel = returns(plan, network.name), tunnel_name(network.name)
    if not found:
        return
    yield MARKS, f"-i {tunnel} -m conntrack --ctstate NEW -j WHARF-FIRST"
    copied = f"--restore-mark --nfmask {MARK_BITS:#x} --ctmask {MARK_BITS:#x}"
    yield MARKS, f"-i {network.bridge} -m conntrack --ctdir REPLY {_IS_MARKED} -j CONNMARK {copied}"
    for peer in driver.peers:
        for each in peer.slices_of(version):
            yield FIRST_PACKETS, f"-s {each} -i {tunnel} -j RETURN"
    for back in found:
        mac = tunnel_mac(network, back.host)
        mark = f"--set-xmark {back.mark:#x}/{MARK_BITS:#x}"
        yield FIRST_PACKETS, f"-i {tunnel} -m mac --mac-source {mac} -j CONNMARK {mark}"
    yield FIRST_PACKETS, f"-i {tunnel} -m connmark --mark 0x0/{MARK_BITS:#x} -j DROP"
    yield INTERNAL, f"-i {tunnel} {_IS_MARKED} -j WHARF-INGRESS"
    yield INTERNAL, f"-o {tunnel} {_ANSWERS} --ctdir REPLY {_IS_MARKED} -j ACCEPT"


def _entries(plan: Plan, network: Network, driver: OverlayDriver, version: int) -> Iterator[Element]:
    """Ports that are published for other hosts, where it is decided who may reach them."""
    found, tunnel = [each for each in plan.entries if each.network == network.name], tunnel_name(network.name)
    if not found:
        return
    for subnet in driver.subnets_of(version):
        yield INTERNAL, f"-s {subnet} ! -i {network.bridge} -o {tunnel} -j DROP"
    translated = "-m conntrack --ctstate DNAT"
    yield INTERNAL, f"-i {tunnel} {_ANSWERS} --ctdir REPLY {translated} -j ACCEPT"
    yield BRIDGE, f"-o {tunnel} -m conntrack --ctstate RELATED {translated} -j ACCEPT"
    for entry in found:
        if entry.version == version:
            to_port = f"-p {entry.port.protocol} -m {entry.port.protocol} --dport {entry.port.port}"
            yield entry_translation(entry)
            yield (
                BRIDGE,
                f"-d {entry.address}/{entry.address.max_prefixlen} -o {tunnel} {to_port} {translated} -j ACCEPT",
            )
    yield BRIDGE, f"-o {tunnel} -j DROP"
    if version == 4:
        yield POSTROUTING, f"-s 127.0.0.0/8 -o {tunnel} -j MASQUERADE"


def _forwarding(plan: Plan, network: Network, tunnel: str) -> Iterator[Element]:
    """The tunnel is one more link of the network, but leads to its bridge alone."""
    for pair in (f"-i {network.bridge} -o {tunnel}", f"-i {tunnel} -o {network.bridge}"):
        if network.icc:
            yield INTERNAL, f"{pair} -j ACCEPT"
    yield INTERNAL, f"-i {tunnel} -j DROP"
    # What is led to a port that another host publishes is not internal; of that, `_entries` has the rest.
    leading = "-m conntrack ! --ctstate DNAT " if leads_elsewhere(plan, network) else ""
    yield INTERNAL, f"-o {tunnel} {leading}-j DROP"


def _to_host(plan: Plan, network: Network, tunnel: str, version: int) -> Iterator[Element]:
    """From other hosts the host itself gets pings, errors, replies, and queries for the names of its containers."""
    for gateway, query in _queries(plan, network, version):
        yield INPUT, f"-d {gateway} -i {tunnel} {query} -j ACCEPT"
    yield INPUT, f"-i {tunnel} {_ICMP[version]} -j RETURN"
    yield INPUT, f"-i {tunnel} {_ANSWERS} -j RETURN"
    yield INPUT, f"-i {tunnel} -j DROP"


def _encrypted(subnet: str, version: int) -> Iterator[Element]:
    """The host itself gets no more than from a tunnel."""
    coming = f"-s {subnet} -i {WIREGUARD_LINK}"
    yield INPUT, f"{coming} {_ICMP[version]} -j RETURN"
    yield INPUT, f"{coming} {_ANSWERS} -j RETURN"
    yield INPUT, f"{coming} -j DROP"


def from_encrypted(plan: Plan, version: int) -> Iterator[str]:
    """These come before the rules of all networks, which let some packets on."""
    for _network, driver in encrypted(plan.model):
        for subnet in driver.subnets_of(version):
            yield f"-s {subnet} -j WHARF-ENCRYPTED"


def _never_in_clear_text(network: Network, driver: OverlayDriver, subnet: str, version: int) -> Iterator[Element]:
    """What is for the network leaves by no other link than its own, also where the host has lost the link or the
    routes, has no key of a peer, or somebody has given it other routes; and what is from the network comes by no other.
    """
    for chain, address, link in ((TO_CLEAR_TEXT, "-d", "-o"), (FROM_CLEAR_TEXT, "-s", "-i")):
        for own in driver.own.slices_of(version):
            yield chain, f"{address} {own} {link} {network.bridge} -j RETURN"
        for encrypting in ("lo", WIREGUARD_LINK):
            yield chain, f"{address} {subnet} {link} {encrypting} -j RETURN"
        yield chain, f"{address} {subnet} -j DROP"


def _queries(plan: Plan, network: Network, version: int) -> Iterator[Tuple[str, str]]:
    """The gateways at which the network's names are answered, each with a match of the queries for them."""
    for resolver in plan.resolvers.all:
        for address in resolver.addresses if resolver.name == network.name and resolver.serves_dns else ():
            for protocol in DNS_PROTOCOLS if address.version == version else ():
                query = f"-p {protocol} -m {protocol} --dport {DNS_PORT}"
                yield f"{address}/{address.max_prefixlen}", query


def _unchanged(plan: Plan, network: Network, driver: OverlayDriver, own: str, version: int) -> Iterator[Element]:
    """Between slices, containers are seen as themselves."""
    if has_tunnel(network):
        tunnel = tunnel_name(network.name)
        yield RAW, f"-d {own} -i {tunnel} -j RETURN"
        yield POSTROUTING, f"-s {own} -o {tunnel} -j RETURN"
        return
    for peer in driver.peers:
        for each in peer.slices_of(version):
            for gateway, query in _queries(plan, network, version):
                yield INPUT, f"-s {each} -d {gateway} {query} -j ACCEPT"
            yield RAW, f"-s {each} -d {own} -m rpfilter --invert -j DROP"
            yield RAW, f"-s {each} -d {own} -j RETURN"
            yield POSTROUTING, f"-s {own} -d {each} -j RETURN"
            verdict = "ACCEPT" if network.icc else "DROP"
            yield INTERNAL, f"-s {each} -d {own} -o {network.bridge} -j {verdict}"
            yield INTERNAL, f"-s {own} -d {each} -i {network.bridge} -j {verdict}"
