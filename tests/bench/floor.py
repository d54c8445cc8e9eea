# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor: what the kernel alone takes for what a run makes, by as few system calls as it can be made with.

    python floor.py CONTAINERS NETWORKS [keep]

run in a throwaway host, prints seconds as JSON, and leaves the network namespaces; with `keep` also the links. All
messages are packed before the clock starts, so that Python takes no part in it: `links` is the kernel, and some ten
system calls a container. `test_floor.py` holds that these are the links that the engine makes.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NETNS = "/run/netns"
CLONE_NEWNET, MS_BIND = 0x40000000, 0x1000
NLMSG_ERROR, NLM_F_REQUEST, NLM_F_ACK, NLM_F_NEW = 2, 0x1, 0x4, 0x600
RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 17, 20, 24
NLMSG_DONE, NLM_F_DUMP, RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE = 3, 0x300, 18, 22, 26
IFF_UP, IFA_F_NODAD, RTPROT_STATIC, RTN_UNICAST, RT_TABLE_MAIN = 1, 2, 4, 1, 254
# Attributes of links, of addresses and of routes.
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_IFALIAS = 1, 3, 4, 10, 18, 20
IFLA_AF_SPEC, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 26, 27, 28, 31, 32
INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA, VETH_INFO_PEER = 1, 2, 4, 5, 1
BR_MCAST_SNOOPING, BRPORT_MODE, INET6_ADDR_GEN_MODE, ADDR_GEN_MODE_NONE = 23, 4, 8, 1
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, RTA_OIF, RTA_GATEWAY = 1, 2, 8, 4, 5

HEADER = struct.Struct("=IHHII")
LOOPBACK, IN_SANDBOX, FIRST_BRIDGE, FIRST_VETH, GROUP, MTU = 1, 2, 100, 1000, 7, 1500
# Containers whose messages go in one send.
BATCH = 33

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# Messages


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 0, 0) + body


def link(index: int, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, flags, flags)


def mac(first: int, number: int) -> bytes:
    return attribute(IFLA_ADDRESS, struct.pack("!HI", first, number))


def bridge(network: int, snooping: int) -> bytes:
    info = text(INFO_KIND, "bridge") + attribute(INFO_DATA, attribute(BR_MCAST_SNOOPING, bytes([snooping])))
    return attribute(IFLA_LINKINFO, info)


def new_bridge(network: int) -> bytes:
    body = link(FIRST_BRIDGE + network) + text(IFLA_IFNAME, f"br-net{network}")
    return message(RTM_NEWLINK, body + mac(0x0242, network) + number(IFLA_MTU, MTU) + bridge(network, 0), NLM_F_NEW)


def bridge_up(network: int) -> bytes:
    """Only a filled bridge listens for multicast: each message of a new port would go to all others."""
    index = FIRST_BRIDGE + network
    up = link(index, IFF_UP) + text(IFLA_IFALIAS, f"wharf:net{network}")
    return message(RTM_NEWLINK, up) + message(RTM_NEWLINK, link(index) + bridge(network, 1))


def new_veth(number_: int, network: int) -> bytes:
    """The pair, whose other end is in the sandbox at once; the place of the descriptor of that is left empty."""
    both = number(IFLA_MTU, MTU) + number(IFLA_NUM_TX_QUEUES, 1) + number(IFLA_NUM_RX_QUEUES, 1)
    there = link(IN_SANDBOX) + number(IFLA_NET_NS_FD, 0) + text(IFLA_IFNAME, "eth0") + mac(0x0244, number_)
    data = attribute(INFO_DATA, attribute(VETH_INFO_PEER, there + both))
    here = (
        text(IFLA_IFNAME, f"veth{number_:x}")
        + both
        + number(IFLA_MASTER, FIRST_BRIDGE + network)
        + number(IFLA_GROUP, GROUP)
        + mac(0xFE44, number_)
    )
    info = attribute(IFLA_LINKINFO, text(INFO_KIND, "veth") + data)
    # The descriptor comes first of all that is behind this, so that it is found again.
    return message(RTM_NEWLINK, link(FIRST_VETH + number_) + info + here, NLM_F_NEW)


def descriptor_place(veth: bytes) -> int:
    return veth.index(struct.pack("=HHI", 8, IFLA_NET_NS_FD, 0)) + 4


def port_up(number_: int, network: int) -> bytes:
    """Without a link-local address, of which all other ports would hear; with hairpin, for published ports.

    A link takes no alias when it is made.
    """
    index = FIRST_VETH + number_
    inet6 = attribute(socket.AF_INET6, attribute(INET6_ADDR_GEN_MODE, bytes([ADDR_GEN_MODE_NONE])))
    port = text(INFO_SLAVE_KIND, "bridge") + attribute(INFO_SLAVE_DATA, attribute(BRPORT_MODE, b"\1"))
    alias = text(IFLA_IFALIAS, f"wharf:c{number_}/net{network}")
    silent = message(RTM_NEWLINK, link(index) + alias + attribute(IFLA_AF_SPEC, inet6))
    return silent + message(RTM_NEWLINK, link(index, IFF_UP) + attribute(IFLA_LINKINFO, port))


def address(index: int, plain: str, prefix: int) -> bytes:
    family = socket.AF_INET6 if ":" in plain else socket.AF_INET
    packed = socket.inet_pton(family, plain)
    body = struct.pack("=BBBBI", family, prefix, 0, 0, index) + attribute(IFA_ADDRESS, packed)
    body += attribute(IFA_LOCAL, packed) if family == socket.AF_INET else number(IFA_FLAGS, IFA_F_NODAD)
    return message(RTM_NEWADDR, body, NLM_F_NEW)


def default_route(gateway: str) -> bytes:
    family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
    header = struct.pack("=BBBBBBBBI", family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0)
    via = attribute(RTA_GATEWAY, socket.inet_pton(family, gateway))
    return message(RTM_NEWROUTE, header + number(RTA_OIF, IN_SANDBOX) + via, NLM_F_NEW)


def address4(network: int, host: int) -> str:
    return f"10.{network}.{host // 256}.{host % 256}"


def address6(network: int, host: int) -> str:
    return f"fd00:{network:x}::{host:x}"


# Sending


def acknowledged(messages: bytes) -> bytearray:
    """The same, which asks for an acknowledgement of the last message."""
    packed, at = bytearray(messages), 0
    while True:
        length, _kind, flags, _sequence, _port = HEADER.unpack_from(packed, at)
        if at + length + -length % 4 >= len(packed):
            struct.pack_into("=H", packed, at + 6, flags | NLM_F_ACK)
            return packed
        at += length + -length % 4


def send(sock: socket.socket, messages: bytes | bytearray) -> None:
    """
    Raises:
        OSError: the kernel refused one of them.
    """
    sock.send(messages)
    answer = sock.recv(1 << 16)
    if answer[16:20] != bytes(4):
        code = -struct.unpack_from("=i", answer, 16)[0]
        raise OSError(code, os.strerror(code))


def rtnetlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)


# What is made


@dataclass(frozen=True)
class Batch:
    """Containers whose veth pairs are made by one send; `places` are those of their descriptors in it."""

    paths: Sequence[str]
    veths: bytearray
    places: Sequence[int]
    inside: Sequence[bytearray]


def packed_batch(numbers: Sequence[int], networks: int) -> Batch:
    veths, places = b"", []
    for each in numbers:
        veth = new_veth(each, each % networks)
        places.append(len(veths) + descriptor_place(veth))
        veths += veth + port_up(each, each % networks)
    paths = [f"{NETNS}/f{each}" for each in numbers]
    return Batch(paths, acknowledged(veths), places, [packed_sandbox(each, networks) for each in numbers])


def packed_sandbox(number_: int, networks: int) -> bytearray:
    network, host = number_ % networks, number_ // networks + 2
    addresses = address(IN_SANDBOX, address4(network, host), 16) + address(IN_SANDBOX, address6(network, host), 64)
    up = message(RTM_NEWLINK, link(IN_SANDBOX, IFF_UP))
    return acknowledged(up + addresses + default_route(address4(network, 1)) + default_route(address6(network, 1)))


def packed_bridges(networks: int) -> bytearray:
    made = b"".join(
        new_bridge(each)
        + address(FIRST_BRIDGE + each, address4(each, 1), 16)
        + address(FIRST_BRIDGE + each, address6(each, 1), 64)
        for each in range(networks)
    )
    return acknowledged(made)


def make_namespaces(count: int, own: int) -> None:
    os.makedirs(NETNS, exist_ok=True)
    loopback = acknowledged(message(RTM_NEWLINK, link(LOOPBACK, IFF_UP) + text(IFLA_IFALIAS, "wharf:container")))
    for each in range(count):
        path = f"{NETNS}/f{each}".encode()
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o444))
        _checked(_libc.unshare(CLONE_NEWNET))
        with rtnetlink() as sock:
            send(sock, loopback)
        _checked(_libc.mount(b"/proc/thread-self/ns/net", path, None, MS_BIND, None))
    _checked(_libc.setns(own, CLONE_NEWNET))


def make_links(bridges: bytearray, up: bytearray, batches: Sequence[Batch], own: int) -> None:
    with rtnetlink() as host:
        send(host, bridges)
        for batch in batches:
            descriptors = [os.open(path, os.O_RDONLY) for path in batch.paths]
            for descriptor, place in zip(descriptors, batch.places, strict=True):
                struct.pack_into("=I", batch.veths, place, descriptor)
            send(host, batch.veths)
            for descriptor, inside in zip(descriptors, batch.inside, strict=True):
                _checked(_libc.setns(descriptor, CLONE_NEWNET))
                os.close(descriptor)
                with rtnetlink() as sock:
                    send(sock, inside)
        _checked(_libc.setns(own, CLONE_NEWNET))
        send(host, up)


def look(paths: Sequence[str], own: int) -> None:
    """Have the kernel say what is in these stacks and in the host's, and read nothing of that."""
    dumps = [
        message(RTM_GETLINK, link(0), NLM_F_DUMP),
        message(RTM_GETADDR, bytes(8), NLM_F_DUMP),
        *(
            message(RTM_GETROUTE, bytes([family]) + bytes(11), NLM_F_DUMP)
            for family in (socket.AF_INET, socket.AF_INET6)
        ),
    ]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        _checked(_libc.setns(descriptor, CLONE_NEWNET))
        os.close(descriptor)
        with rtnetlink() as sock:
            for dump in dumps:
                sock.send(dump)
                while struct.unpack_from("=H", sock.recv(1 << 16), 4)[0] != NLMSG_DONE:
                    pass
    _checked(_libc.setns(own, CLONE_NEWNET))


def delete_links() -> None:
    with rtnetlink() as host:
        send(host, acknowledged(message(RTM_DELLINK, link(0) + number(IFLA_GROUP, GROUP))))


def seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main(containers: int, networks: int, keep: bool) -> None:
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    batches = [
        packed_batch(range(first, min(first + BATCH, containers)), networks) for first in range(0, containers, BATCH)
    ]
    bridges = packed_bridges(networks)
    up = acknowledged(b"".join(map(bridge_up, range(networks))))
    took = {
        "namespaces": seconds(lambda: make_namespaces(containers, own)),
        "links": seconds(lambda: make_links(bridges, up, batches, own)),
    }
    paths = ["/proc/thread-self/ns/net", *(path for batch in batches for path in batch.paths)]
    took["looking"] = seconds(lambda: look(paths, own))
    if not keep:
        took["deleting"] = seconds(delete_links)
    print(json.dumps(took))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), keep="keep" in sys.argv[3:])
