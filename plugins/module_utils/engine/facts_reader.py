# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the facts of a host; changes nothing."""

from __future__ import annotations

import grp
import ipaddress
import os
import pwd
import re
import socket
from contextlib import suppress
from typing import Dict, Iterable, Iterator, List, Optional, Set, Tuple

from .declaration.section import Interface, Subnet
from .kernel import disk, proc_sys, rtnetlink, selinux
from .kernel.init_systems import INIT_SYSTEMS
from .kernel.listeners import listeners
from .ledger import Ledger
from .planning.facts import Facts, HostLink, ThirdPartyBridge
from .planning.resolv_conf import ResolvConf
from .planning.resolvers import DNS_PORT
from .resources.links.marks import is_managed, is_managed_port
from .resources.links.stacks import HostStack

_RESOLVED_STUB = "127.0.0.53"
_FIREWALLD = ("/usr/sbin/firewalld", "/usr/bin/firewalld")


def read_facts(ledger: Ledger, own: HostStack) -> Facts:
    """`own` is the host's own stack, which the resources of a run read as well."""
    links = {link.index: link for link in own.links}
    managed = {link.name for link in links.values() if is_managed(link)}
    routes = [route for route in own.routes if route.protocol != rtnetlink.RTPROT_WHARF]
    names = {index: link.name for index, link in links.items()}
    addresses = own.addresses
    on_bridges = [info.address.partition("/")[0] for info in addresses if names.get(info.index) in managed]
    third_party_links = [link for link in links.values() if link.name not in managed and _is_plain(link.name)]
    default = _default_interface(routes, links)
    resolv_conf = _resolv_conf()
    user, group = _dnsmasq_user()
    init_system, starts_services = _init_system()
    first, last = (proc_sys.read("net.ipv4.ip_local_port_range") or "32768 60999").split()
    return Facts(
        default_interface=default.name if default else "",
        default_interface_mtu=default.mtu if default else 0,
        addresses=tuple(sorted(info.address.partition("/")[0] for info in addresses)),
        taken_subnets=(*_on_link(routes, names, managed), *_nameservers(resolv_conf, on_bridges)),
        routed_subnets=tuple(_by_gateway(routes, names, managed)),
        machine_id=disk.content_of("/etc/machine-id").strip() or socket.gethostname(),
        hosts=disk.content_of("/etc/hosts"),
        resolv_conf=resolv_conf,
        nameservers=len(ResolvConf(disk.content_of("/etc/resolv.conf")).nameservers),
        local_ports=(int(first), int(last)),
        reserved_ports=tuple(_ranges(proc_sys.read("net.ipv4.ip_local_reserved_ports") or "")),
        listeners=tuple(sorted(set(listeners()) - set(_managed_listeners(ledger, on_bridges)))),
        forwards_ipv4=_prior_value(ledger, "net.ipv4.ip_forward") == "1",
        forwards_ipv6=_prior_value(ledger, "net.ipv6.conf.all.forwarding") == "1",
        accepts_ra=tuple(_accepts_ra(ledger, sorted({*names.values()} - managed), _default_interfaces(routes, names))),
        ipv6=os.path.isdir("/proc/sys/net/ipv6/conf"),
        # Only the machine's own network namespace has it.
        max_backlog=int(proc_sys.read("net.core.netdev_max_backlog") or 0),
        mtus=tuple(
            (each.address.partition("/")[0], links[each.index].mtu) for each in addresses if each.index in links
        ),
        firewalld=_has_firewalld(ledger),
        bridge_netfilter=os.path.isdir("/proc/sys/net/bridge"),
        third_party_bridges=tuple(_bridges([link for link in third_party_links if link.kind == "bridge"], addresses)),
        third_party_links=tuple(sorted(link.name for link in third_party_links if link.kind != "bridge")),
        links=tuple(_host_links(links, addresses, managed)),
        dnsmasq_user=user,
        dnsmasq_group=group,
        dnsmasq_selinux_type=selinux.readable_type(),
        init_system=init_system,
        starts_services=starts_services,
    )


def _bridges(bridges: List[rtnetlink.LinkInfo], addresses: List[rtnetlink.AddressInfo]) -> Iterator[ThirdPartyBridge]:
    vlans = rtnetlink.vlans() if any(link.bridge and link.bridge.vlan_filtering for link in bridges) else {}
    for link in sorted(bridges, key=lambda link: link.name):
        info = link.bridge
        has_vlans = info is not None and info.vlan_filtering
        own_vlan = next((each.vlan for each in vlans.get(link.index, ()) if each.pvid), 0)
        default_vlan = info.default_vlan if info else 0
        own = tuple(_given(info for info in addresses if info.index == link.index))
        filtered = _is_filtered(link)
        yield ThirdPartyBridge(link.name, link.mtu, link.mac, link.up, own, filtered, has_vlans, own_vlan, default_vlan)


def _host_links(
    links: Dict[int, rtnetlink.LinkInfo], addresses: List[rtnetlink.AddressInfo], managed: Set[str]
) -> Iterator[HostLink]:
    nothing = rtnetlink.LinkInfo(0, "", "", 0, False)
    for link in sorted(links.values(), key=lambda link: link.name):
        if not is_managed_port(link):
            master = links.get(link.master, nothing)
            lower = links.get(link.link, nothing) if link.link_netnsid == rtnetlink.NO_NAMESPACE_ID else nothing
            yield HostLink(
                link.name,
                link.index,
                link.kind,
                link.mtu,
                link.mac,
                link.up,
                master.name,
                master.kind,
                lower.name,
                link.name in managed,
                tuple(_own(info for info in addresses if info.index == link.index)),
            )


def _is_filtered(link: rtnetlink.LinkInfo) -> bool:
    """Whether the rules of both families see bridged packets, by the bridge's own setting or by that of all bridges."""
    own = link.bridge
    return own is not None and all(
        is_set or _is_called(name)
        for name, is_set in (("iptables", own.nf_call_iptables), ("ip6tables", own.nf_call_ip6tables))
    )


def _is_called(name: str) -> bool:
    return proc_sys.read(f"net.bridge.bridge-nf-call-{name}") == "1"


def _given(addresses: Iterable[rtnetlink.AddressInfo]) -> Iterator[Interface]:
    """Those that a network can be built on. What a router advertised will change; an IPv4 lease is as good as given."""
    for info in addresses:
        address = ipaddress.ip_interface(info.address)
        if not address.is_link_local and not (address.version == 6 and info.by_kernel):
            yield address


def _own(infos: Iterable[rtnetlink.AddressInfo]) -> Iterator[Interface]:
    """All by which others may reach the host, whoever gave them."""
    found = (ipaddress.ip_interface(info.address) for info in infos)
    return (address for address in found if not address.is_link_local)


def _has_firewalld(ledger: Ledger) -> bool:
    if not any(map(os.path.exists, _FIREWALLD)):
        return False
    if any(kind == "firewalld" for kind, _name in ledger.owned_by("docker_chains")):
        return True
    from .resources.firewall.firewalld import is_running

    return is_running()


def _dnsmasq_user() -> Tuple[str, str]:
    """The user and group of dnsmasq's package, else nobody's; in a user namespace that has but one user, this one."""
    # One id alone is mapped: no other one can be taken.
    if disk.content_of("/proc/self/uid_map").split()[2:] == ["1"]:
        return "root", ""
    for name in ("dnsmasq", "nobody"):
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return name, grp.getgrgid(user.pw_gid).gr_name
    return "root", ""


def _default_interface(
    routes: List[rtnetlink.RouteInfo], links: Dict[int, rtnetlink.LinkInfo]
) -> Optional[rtnetlink.LinkInfo]:
    """The link of the default route, IPv4's first; of several the one with the smallest metric."""
    default = [route for route in routes if _is_default(route) and route.index in links]
    best = min(default, key=lambda route: (route.family, route.priority), default=None)
    return links[best.index] if best else None


def _is_default(route: rtnetlink.RouteInfo) -> bool:
    return route.destination in ("0.0.0.0/0", "::/0")


def _is_half_of_all(route: rtnetlink.RouteInfo) -> bool:
    """Or all: a VPN has two such routes where it leaves the default route as it is."""
    return route.destination.rpartition("/")[2] in ("0", "1")


def _on_link(
    routes: List[rtnetlink.RouteInfo], names: Dict[int, str], managed: Set[str]
) -> Iterator[Tuple[Subnet, str]]:
    for route in routes:
        name = names.get(route.index, "")
        destination = ipaddress.ip_network(route.destination)
        if route.gateway or not name or name in managed or _is_half_of_all(route):
            continue
        if not destination.is_link_local and not destination.is_multicast:
            yield destination, f"the host's own network on {name}"


def _by_gateway(
    routes: List[rtnetlink.RouteInfo], names: Dict[int, str], managed: Set[str]
) -> Iterator[Tuple[Subnet, str]]:
    for route in routes:
        if route.gateway and not _is_half_of_all(route) and names.get(route.index) not in managed:
            yield ipaddress.ip_network(route.destination), f"to which the host has a route by {route.gateway}"


def _nameservers(resolv_conf: str, managed: Iterable[str]) -> Iterator[Tuple[Subnet, str]]:
    """Those that are no resolvers of wharf.network, which an admin may have the host ask."""
    for nameserver in set(ResolvConf(resolv_conf).nameservers).difference(managed):
        yield ipaddress.ip_network(nameserver.partition("%")[0]), "a nameserver of the host"


def _resolv_conf() -> str:
    """The host's `resolv.conf`; where that names systemd-resolved, the one with the nameservers which this asks."""
    content = disk.content_of("/etc/resolv.conf")
    if ResolvConf(content).nameservers == [_RESOLVED_STUB]:
        return disk.content_of("/run/systemd/resolve/resolv.conf") or content
    return content


def _init_system() -> Tuple[str, bool]:
    """The one that runs the host, else one that is installed; and whether it runs the host."""
    for name, system in INIT_SYSTEMS.items():
        if system.is_booted():
            return name, True
    return next((name for name, system in INIT_SYSTEMS.items() if system.is_installed()), ""), False


def _is_plain(name: str) -> bool:
    """Whether the name has no character that nft, iptables or dnsmasq would read as anything else."""
    return re.fullmatch(r"[A-Za-z0-9_.-]+", name) is not None


def _prior_value(ledger: Ledger, name: str) -> Optional[str]:
    """A kernel parameter as it was before wharf.network set it."""
    return ledger.prior.get(name, proc_sys.read(name))


def _default_interfaces(routes: List[rtnetlink.RouteInfo], names: Dict[int, str]) -> Set[str]:
    """The links that lead to the outside: those of a default route, and those where a router advertised one."""
    leading = [route for route in routes if _is_default(route) or route.protocol == rtnetlink.RTPROT_RA]
    return {names[route.index] for route in leading if route.index in names}


def _accepts_ra(ledger: Ledger, interfaces: Iterable[str], defaults: Set[str]) -> Iterator[str]:
    """The links whose routes come by router advertisements. One stays one while its router says nothing."""
    owned = ledger.owned_by("forwarding")
    for interface in interfaces:
        parameter = proc_sys.of_interface(interface, "ipv6.accept_ra")
        if (interface in defaults or ("sysctl", parameter) in owned) and _prior_value(ledger, parameter) == "1":
            yield interface


def _ranges(text: str) -> Iterator[Tuple[int, int]]:
    """`8080,9000-9010`, as `ip_local_reserved_ports` has it."""
    for part in filter(None, text.split(",")):
        first, _dash, last = part.partition("-")
        yield int(first), int(last or first)


def _managed_listeners(ledger: Ledger, on_bridges: Iterable[str]) -> Iterator[Tuple[str, str, int]]:
    """The sockets that resolvers of wharf.network have, or may have: also at link-local addresses of bridges."""
    if not any(kind == "dnsmasq" for kind, _name in ledger.owned_by("dnsmasq")):
        return
    gateways = (str(pool.gateway) for pools in ledger.allotted.networks.values() for pool in pools)
    for address in {*gateways, *on_bridges}:
        for port in (DNS_PORT, *ledger.allotted.resolvers.values()):
            for protocol in ("tcp", "udp"):
                yield protocol, address, port
