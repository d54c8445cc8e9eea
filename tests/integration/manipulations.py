# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What root in a container can do to the container's own network stack: commands at random, by both families."""

from __future__ import annotations

from hypothesis import strategies as st

INTERFACES = ("eth0", "eth1", "lo", "other")

# `A` and `L` are addresses of the container, `B` is a neighbour's, `G` the gateway's, and `N` the network.
_ADDRESSES = {
    "-4": ("$A4", "$L4", "$B4", "$G4", "192.0.2.200", "10.9.8.7", "169.254.9.9"),
    "-6": ("$A6", "$L6", "$B6", "$G6", "fd99::9", "fe80::99", "::ffff:0:1"),
}
_PREFIXES = {"-4": ("/8", "/16", "/24", "/31", "/32"), "-6": ("/48", "/64", "/80", "/127", "/128")}
_DESTINATIONS = {
    "-4": ("default", "0.0.0.0/1", "$N4", "$B4", "$G4", "192.0.2.0/28", "224.0.0.0/4", "127.0.0.0/8"),
    "-6": ("default", "::/1", "$N6", "$B6", "$G6", "fd98::/64", "ff00::/8", "fe80::/64"),
}
_SOURCES = {"-4": ("$A4", "$L4"), "-6": ("$A6", "$L6")}

_PARAMETERS = {
    "net.ipv4.ip_forward": ("0", "1"),
    "net.ipv4.ip_unprivileged_port_start": ("0", "80", "1024", "65535"),
    "net.ipv4.ip_local_port_range": ("'90 1000'", "'32768 60999'"),
    "net.ipv4.ip_local_reserved_ports": ("''", "1-65535", "80,81,82"),
    "net.ipv4.nexthop_compat_mode": ("0", "1"),
    "net.ipv4.tcp_syncookies": ("0", "2"),
    "net.ipv4.fib_multipath_hash_policy": ("0", "1"),
    "net.core.somaxconn": ("1", "4096"),
    "net.ipv6.route.max_size": ("0", "1", "4096"),
    "net.ipv6.route.skip_notify_on_dev_down": ("0", "1"),
    **{
        f"net.ipv6.conf.{each}.{key}": values
        for each in ("all", "default", "eth0", "eth1")
        for key, values in {
            "disable_ipv6": ("0", "1"), "mtu": ("1280", "1400"), "accept_dad": ("0", "1", "2"),
            "forwarding": ("0", "1"), "accept_ra": ("0", "1", "2"), "keep_addr_on_down": ("-1", "0", "1"),
            "max_addresses": ("0", "1"), "addr_gen_mode": ("0", "1", "3"), "use_tempaddr": ("0", "2"),
            "ignore_routes_with_linkdown": ("0", "1"),
        }.items()
    },
    **{
        f"net.ipv4.conf.{each}.{key}": values
        for each in ("all", "default", "eth0", "eth1")
        for key, values in {
            "promote_secondaries": ("0", "1"), "rp_filter": ("0", "1", "2"), "arp_ignore": ("0", "8"),
            "ignore_routes_with_linkdown": ("0", "1"), "log_martians": ("0", "1"), "disable_policy": ("0", "1"),
        }.items()
    },
}  # fmt: skip


def scripts() -> st.SearchStrategy[list[str]]:
    """Some commands, one after the other; the kernel may refuse any of them."""
    return st.lists(
        st.one_of(_addresses(), _routes(), _next_hops(), _links(), _rules(), _parameters()), min_size=1, max_size=7
    )


@st.composite
def _addresses(draw: st.DrawFn) -> str:
    family = draw(st.sampled_from(("-4", "-6")))
    pick = st.sampled_from
    interface, address = draw(pick(INTERFACES)), draw(pick(_ADDRESSES[family]))
    prefix = draw(pick(_PREFIXES[family]))
    if draw(st.integers(0, 3)) == 0:
        return draw(
            pick((f"ip {family} addr flush dev {interface}", f"ip {family} addr flush dev {interface} scope global"))
        )
    # With what prefix it is there is looked up, so that it really goes.
    gone = (
        f"ip {family} -o addr show dev {interface} to {address} | while read -r _ _ _ each rest; do "
        f"ip {family} addr del $each dev {interface}; done"
    )
    peer = draw(pick(("", "", f"peer {draw(pick(_ADDRESSES[family]))}")))
    what = f"{address} {peer}{prefix}" if peer else f"{address}{prefix}"
    usual = [
        "",
        "noprefixroute",
        "metric 50",
        "preferred_lft 0",
        "valid_lft 60 preferred_lft 30",
        "scope link",
        "label eth0:1",
    ]
    options = draw(pick(usual if family == "-4" else [*usual[:-1], "nodad", "home mngtmpaddr"]))
    added = f"ip {family} addr {draw(pick(('add', 'replace', 'change')))} {what} dev {interface} {options}"
    return draw(pick((gone, added, f"{gone}; {added}")))


@st.composite
def _routes(draw: st.DrawFn) -> str:
    family = draw(st.sampled_from(("-4", "-6")))
    pick = st.sampled_from
    destination = draw(pick(_DESTINATIONS[family]))
    interface = draw(pick(INTERFACES))
    verb = draw(pick(("add", "replace", "append", "prepend", "change", "del", "del", "flush")))
    if verb == "flush":
        return draw(pick((
            f"ip {family} route flush dev {interface}", f"ip {family} route flush table main",
            f"ip {family} route flush proto kernel", f"ip {family} route flush table all", "ip route flush cache",
        )))  # fmt: skip
    if verb == "del" and draw(st.booleans()):
        return f"ip {family} route del {destination}"
    first, second = (draw(pick(_ADDRESSES[family])) for _each in range(2))
    way = draw(pick((
        f"via {first} dev {interface}", f"via {first}", f"dev {interface}", f"via {first} dev {interface} onlink",
        f"nexthop via {first} dev {interface} nexthop via {second} dev {interface}",
        f"nexthop via {first} dev eth0 weight 3 nexthop via {second} dev eth1", "via inet6 fe80::1 dev eth0 onlink",
        f"nhid {draw(st.integers(1, 5))}",
    )))  # fmt: skip
    kind = draw(pick(("", "", "", "", "blackhole", "unreachable", "prohibit", "throw", "local", "multicast")))
    way = "" if kind in ("blackhole", "unreachable", "prohibit", "throw") else way
    options = draw(st.lists(pick((
        "tos 0x10", "metric 5", "metric 1024", "proto 99", "proto kernel", "proto ra", "table 7", "table main",
        f"src {draw(pick(_SOURCES[family]))}", "mtu 600", "mtu lock 1300", "advmss 500", "scope link", "scope host",
        *(("from fd97::/64", "pref high", "expires 600") if family == "-6" else ("tos 4", "realm 7")),
    )), max_size=2, unique=True))  # fmt: skip
    return f"ip {family} route {verb} {kind} {destination} {way} {' '.join(options)}"


@st.composite
def _next_hops(draw: st.DrawFn) -> str:
    family = draw(st.sampled_from(("-4", "-6")))
    pick = st.sampled_from
    number = draw(st.integers(1, 5))
    return draw(pick((
        f"ip nexthop replace id {number} via {draw(pick(_ADDRESSES[family]))} dev {draw(pick(INTERFACES))}",
        f"ip nexthop replace id {number} dev {draw(pick(INTERFACES))}", f"ip nexthop replace id {number} blackhole",
        f"ip nexthop replace id {number} group {draw(st.integers(1, 5))}/{draw(st.integers(1, 5))}",
        f"ip nexthop del id {number}", "ip nexthop flush",
    )))  # fmt: skip


@st.composite
def _links(draw: st.DrawFn) -> str:
    pick = st.sampled_from
    interface = draw(pick(("eth0", "eth1", "lo")))
    return draw(pick((
        f"ip link set {interface} down", f"ip link set {interface} down; ip link set {interface} up",
        f"ip link set {interface} mtu {draw(pick((68, 576, 1279, 1280, 1500, 9000)))}",
        f"ip link set {interface} address 02:00:00:00:99:01", f"ip link set {interface} alias wharf:db/front",
        f"ip link set {interface} alias ''", f"ip link set {interface} group {0x77686172}",
        f"ip link set {interface} down; ip link set {interface} name mine", f"ip link set {interface} arp off",
        f"ip link del {interface}", f"ip link set {interface} nomaster", "ip link set eth0 multicast off",
        "ip link set eth0 down; ip link set eth1 down; ip link set eth0 name x; ip link set eth1 name eth0; "
        "ip link set x name eth1",
        "ip link add other type bridge; ip link set other up", f"ip link set {interface} master other",
        "ip link add other type veth peer name twin; ip link set other up; ip link set twin up",
        "ip link add other type vrf table 9; ip link set other up", f"ip link property add dev lo altname {interface}",
        f"ip link del {interface}; ip link add {interface} type bridge",
        f"ip link add link {interface} name {interface}.5 type vlan id 5", "ip link del other",
        f"ip neigh add {draw(pick(_ADDRESSES['-4']))} lladdr 02:00:00:00:00:99 dev {interface}",
        f"tc qdisc add dev {interface} root pfifo limit 1", f"ip link set {interface} txqueuelen 0",
    )))  # fmt: skip


@st.composite
def _rules(draw: st.DrawFn) -> str:
    family = draw(st.sampled_from(("-4", "-6")))
    return draw(st.sampled_from((
        f"ip {family} rule del pref 32766", f"ip {family} rule add pref 1 prohibit", f"ip {family} rule flush",
        f"ip {family} rule add pref 2 lookup 7", f"ip {family} rule del pref 0",
        f"ip {family} rule add iif eth0 blackhole",
        f"ip {family} route add blackhole {draw(st.sampled_from(_ADDRESSES[family]))} scope link",
        "nft 'add table inet mine; add chain inet mine out { type filter hook output priority 0; policy drop; }'",
    )))  # fmt: skip


@st.composite
def _parameters(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(_PARAMETERS)))
    return f"sysctl -qw {name}={draw(st.sampled_from(_PARAMETERS[name]))}"
