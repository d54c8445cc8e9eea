# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes and changes endpoints: veth pairs that connect containers to bridges, or links on a link of the host."""

from __future__ import annotations

import errno
import socket
import time
import zlib
from contextlib import contextmanager, suppress
from typing import Callable, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ...diff import Change
from ...errors import ApplyError
from ...kernel import announce, conntrack, namespaces, proc_sys, rtnetlink
from ...kernel.links import DONE, UNDONE_PORTS, doing, error_number, forgiving, set_addresses
from ...kernel.rtnetlink import LinkInfo, PortInfo
from ...kernel.rtnetlink_changes import LinkEnd, Rtnetlink
from ...planning.ipam import ETHERNET_MTU
from ...state import Endpoint, EndpointKey, Key, Object, SandboxRef, State, state_of
from ..resource import Observation
from . import parameters, sublinks
from .endpoint_ends import (
    Snapshot,
    Wanted,
    leave_default_routes,
    observe_endpoints,
    read_all_stacks,
    read_snapshot,
    why_blocked,
    without_parent,
)
from .endpoint_routes import add_routes, remove_routes, with_networks
from .link_resource import LinkResource
from .marks import MARK, marked_for
from .parameters import AS_MADE, MTU_OF_IPV6, Before
from .rates import links_of, set_rates
from .sandboxes import is_new, not_kept, refusal
from .stacks import StackReader, is_awaited, is_unreadable, sandbox_path
from .vlans import set_vlans

# An endpoint before and after a change; None before, if it has to be made.
Step = Tuple[Optional[Endpoint], Endpoint]

_ON_THE_HOST = ("host_interface", "port", "ingress", "egress")
# The kernel's errors where, since the observation, a name was taken, a container ended, or its veth was deleted.
_MEANWHILE = (errno.EEXIST, errno.ENOENT, errno.ESRCH, errno.ENODEV)
# A change of one of these fields needs a new link.
_MADE_WITH = ("sandbox", "interface", "host_interface")
_OF_THE_PORT = ("port", "mtu", "ingress", "egress")
_LARGEST_MTU = 65535
# Seconds.
_READY_WITHIN, _LOOK_AGAIN_AFTER = 1.0, 0.005


class Endpoints(LinkResource):
    """Observes and changes endpoints: the veths whose end on the host has the alias `wharf:CONTAINER/NETWORK`, and the
    links of macvlan and ipvlan that have it in their sandboxes.

    `before` is what the ledger has of the parameters that were set on their interfaces. `owned` are the objects that
    an earlier run made, or began to make. `declared` has the names of the interfaces of those endpoints that an earlier
    run declared.
    """

    kinds = frozenset(["endpoint"])
    goes_first = True

    def __init__(
        self,
        before: Before,
        owned: FrozenSet[Key] = frozenset(),
        declared: Optional[Mapping[EndpointKey, str]] = None,
        stacks: Optional[StackReader] = None,
    ) -> None:
        super().__init__(stacks)
        self._before = before
        self._owned = owned
        self._declared = declared or {}

    def require(self, new: State) -> None:
        parameters.refuse_unsettable(new)

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        """A third party's default route stays, so the endpoint in the same stack gets none. A blocked endpoint stays as
        it is in its sandbox, and becomes as desired on the host.
        """
        wanted = {thing.endpoint_key: with_networks(thing) for thing in desired.values() if isinstance(thing, Endpoint)}
        snapshot = read_snapshot(wanted, self._owned | owned, self._stacks)
        wanted.update({thing.endpoint_key: thing for thing in leave_default_routes(wanted, snapshot)})
        # What connects these to anything else than their parent goes all the same.
        lacking = {wanted[name].key: why for name, why in without_parent(wanted, snapshot).items()}
        blocked = self._why_blocked(wanted, snapshot)
        awaited = {thing.key: "" for thing in wanted.values() if is_awaited(thing.sandbox)}
        pending = {**lacking, **awaited, **{wanted[name].key: why for name, why in blocked.items()}}
        unseen = {thing.key for thing in wanted.values() if is_unreadable(thing.sandbox)}
        rest = {name: thing for name, thing in wanted.items() if thing.key not in pending}
        of_blocked = {name: wanted[name] for name in blocked}
        known = parameters.by_name(self._before, "endpoint")
        found = state_of([*observe_endpoints({**rest, **of_blocked}, known, snapshot, blocked)])
        pending.update(_perhaps_left(snapshot, owned - found.keys() - {thing.key for thing in wanted.values()}))
        current = {key: thing for key, thing in found.items() if key not in unseen}
        as_desired = state_of([*rest.values()])
        as_desired.update(_desired_on_host(current, of_blocked.values(), [*as_desired.values()]))
        return Observation(
            current,
            as_desired,
            partial=frozenset(current.keys() - as_desired.keys()),
            pending=pending,
            prior=self._prior(rest.values()),
            released=parameters.released(self._before, "endpoint", frozenset(pending), as_desired, current),
        )

    def recover(self, usual: State) -> FrozenSet[Key]:
        return frozenset(thing.key for thing in observe_endpoints({}, {}, read_all_stacks(self._stacks)))

    def _why_blocked(self, wanted: Wanted, snapshot: Snapshot) -> Dict[EndpointKey, str]:
        """Endpoints whose interface's name root in the container has given to another interface, with the reason.

        In a third party's sandbox, and in a new one, a taken name that is new is a mistake in the declaration, which
        `observe_endpoints` refuses.
        """
        same = {name: thing for name, thing in wanted.items() if self._declared.get(name) == thing.interface}
        # In a managed sandbox, an endpoint that is not owned is new: its name may still be bound to another stack.
        known = {n for n, thing in same.items() if thing.key in self._owned or thing.sandbox.is_third_party}
        new = {
            name: thing
            for name, thing in wanted.items()
            if thing.sandbox.is_managed and not is_new(thing.sandbox, self._owned) and snapshot.stays_for(thing)
        }
        return why_blocked({**same, **new}, frozenset(known | new.keys()), snapshot)

    def tolerate(self, left: Sequence[Change]) -> Mapping[Key, str]:
        return {
            endpoint.key: not_kept(change, endpoint.sandbox, "its interface")
            for change in left
            for endpoint in [change.after]
            if isinstance(endpoint, Endpoint) and self._is_its_own(change, endpoint)
        }

    def _is_its_own(self, change: Change, endpoint: Endpoint) -> bool:
        """Whether root in the container can have caused the difference, which is not on the host then."""
        return not set(change.fields).intersection(_ON_THE_HOST) and not is_new(endpoint.sandbox, self._owned)

    def _prior(self, wanted: Iterable[Endpoint]) -> Dict[str, str]:
        set_here = (parameters.entry(thing, name) for thing in wanted for name, _value in thing.sysctls)
        return {name: AS_MADE for name in set_here if name not in self._before}

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        refused: Dict[Key, str] = {}
        gone, steps = _steps(changes)
        of_sublinks = {endpoint.sandbox for endpoint in gone if endpoint.sublink}
        self._stacks.forget({*of_sublinks, *(after.sandbox for _before, after in steps)}, _stacks_of(gone))
        with Rtnetlink() as netlink:
            _remove(netlink, gone)
            with suppress(OSError):
                # Without connection tracking in the kernel, there are no flows.
                conntrack.forget_addresses(_new_addresses(steps))
            without_ports = _without_ports(
                {new.port.bridge for old, new in steps if old is None or old.port.bridge != new.port.bridge} - {""}
            )
            _pin_mac_and_mtu(netlink, without_ports)
            for bridge in without_ports:
                with doing(f"bridge {bridge.name}: forgetting who had its addresses"):
                    netlink.forget_neighbours(bridge.index)
            for before, after in steps:
                with self._refusing(refused, [after], *_MEANWHILE):
                    _make_port(netlink, before, after)
        by_sandbox: Dict[SandboxRef, List[Step]] = {}
        for step in steps:
            if step[1].is_whole and step[1].key not in refused:
                by_sandbox.setdefault(step[1].sandbox, []).append(step)
        for sandbox, inside in by_sandbox.items():
            with self._refusing(refused, [after for _before, after in inside]):
                _set_inside(sandbox, inside)
        with announce.packet_sockets() as open_socket:
            # Nobody else is there yet who could know an address of a bridge that had no port.
            unknown = {bridge.name for bridge in without_ports}
            for sandbox, inside in by_sandbox.items():
                known = [step for step in inside if step[1].port.bridge not in unknown]
                _announce(sandbox, [step for step in known if step[1].key not in refused], open_socket)
        return refused

    @contextmanager
    def _refusing(self, refused: Dict[Key, str], endpoints: Sequence[Endpoint], *codes: int) -> Iterator[None]:
        """If the kernel refuses something in the block, it is these endpoints that are refused.

        With `codes`, only where it refuses by one of these error numbers. In a sandbox that this run has made nobody
        can have caused the refusal, so it fails the run.
        """
        try:
            yield
        except ApplyError as error:
            sandbox = endpoints[0].sandbox
            if is_new(sandbox, self._owned) or (codes and error_number(error) not in codes):
                places = ", ".join(each.place for each in endpoints if each.place)
                raise ApplyError(f"{places}: {error}" if places else str(error)) from error
            why = refusal([each.name for each in endpoints], sandbox, error)
            refused.update({each.key: why for each in endpoints})


def _perhaps_left(snapshot: Snapshot, owned: FrozenSet[Key]) -> Dict[Key, str]:
    """The `owned` endpoints, which were not found, if they may be in a stack whose links could not be listed; each
    with the reason.
    """
    paths = ", ".join(sandbox_path(ref) for ref in snapshot.unlisted)
    why = f"its interface may still be in {paths}, whose links keep changing while they are read"
    remedy = "stop the program that changes them"
    return {key: f"{key[1]} is pending: {why}: {remedy}" for key in owned if paths and key[0] == Endpoint.kind}


def _desired_on_host(current: State, desired: Iterable[Endpoint], others: List[Object]) -> State:
    """The desired endpoints that exist: as they are in their sandboxes, and as desired on the host. An endpoint whose
    link must go is left out.
    """
    found = ((thing.key, thing, current[thing.key]) for thing in desired if thing.key in current)
    kept = ((key, now.after_refusal(thing, others)) for key, thing, now in found)
    return {key: thing for key, thing in kept if thing}


def _stacks_of(endpoints: Sequence[Endpoint]) -> Set[int]:
    """The host's numbers of the stacks that these endpoints lead into."""
    names = {endpoint.host_interface for endpoint in endpoints} - {""}
    return {link.link_netnsid for link in rtnetlink.links() if link.name in names} if names else set()


def _new_addresses(steps: Iterable[Step]) -> Set[str]:
    """The addresses that endpoints get. Another container may have had them before, and flows by them."""
    return {
        address.partition("/")[0]
        for before, after in steps
        for address in after.addresses
        if before is None or address not in before.addresses
    }


def _steps(changes: Sequence[Change]) -> Tuple[List[Endpoint], List[Step]]:
    """The endpoints to remove, and then the steps. What cannot be changed in place is removed and made anew; so is a
    link on a parent whose MAC goes to another link there, which the kernel would refuse until then.
    """
    gone: List[Endpoint] = []
    steps: List[Step] = []
    coming = [change.after for change in changes if isinstance(change.after, Endpoint)]
    holders = {(each.sublink.parent, each.mac): each.name for each in coming if each.sublink}
    for change in changes:
        before, after = change.before, change.after
        anew = isinstance(before, Endpoint) and (
            not isinstance(after, Endpoint) or _is_made_anew(before, after) or _gives_up_mac(before, holders)
        )
        if isinstance(before, Endpoint) and anew:
            gone.append(before)
        if isinstance(after, Endpoint):
            steps.append((before if isinstance(before, Endpoint) and not anew else None, after))
    return gone, steps


def _gives_up_mac(before: Endpoint, holders: Mapping[Tuple[str, str], str]) -> bool:
    if before.sublink is None or not before.mac:
        return False
    return holders.get((before.sublink.parent, before.mac), before.name) != before.name


def _is_made_anew(before: Endpoint, after: Endpoint) -> bool:
    changed = Change(before, after).fields
    return any(field in changed for field in _MADE_WITH) or sublinks.is_made_anew(before.sublink, after.sublink)


def _remove(netlink: Rtnetlink, gone: Sequence[Endpoint]) -> None:
    """Delete veths in one message, by the group of their links: one by one, each would take 20 ms."""
    sublinks.remove([endpoint for endpoint in gone if endpoint.sublink])
    endpoints = [endpoint for endpoint in gone if not endpoint.sublink]
    if not endpoints:
        return
    with doing(f"deleting endpoints {', '.join(endpoint.name for endpoint in endpoints)}"):
        indexes = {name: index for index, name in socket.if_nameindex()}
        for endpoint in endpoints:
            # The kernel deletes a veth some time after the sandbox that its other end is in.
            for name in (each for each in links_of(endpoint) if each in indexes):
                with forgiving(errno.ENODEV):
                    netlink.set_link(indexes[name], group=UNDONE_PORTS)
        with forgiving(errno.ENODEV):
            netlink.delete_links(UNDONE_PORTS)


def _make_port(netlink: Rtnetlink, before: Optional[Endpoint], after: Endpoint) -> None:
    """Make or change the end on the host; a new veth pair comes with its other end in the sandbox.

    Without a bridge, there is only the one in the sandbox.
    """
    if after.sublink:
        if before is None:
            sublinks.create(netlink, after)
    elif before is None:
        what = f"endpoint {after.name}: creating veth {after.host_interface}"
        with doing(what):
            _create(netlink, after)
        with _unless_deleted(after, what):
            # A port of a bridge needs no link-local address of its own.
            proc_sys.set_ipv6(after.host_interface, False)
            set_rates(netlink, None, after)
            set_vlans(netlink, None, after)
            _set_port(netlink, after)
    elif any(field in Change(before, after).fields for field in _OF_THE_PORT):
        with _unless_deleted(after, f"endpoint {after.name}: changing {after.host_interface}"):
            if before.port.bridge != after.port.bridge:
                _move(netlink, after)
            set_rates(netlink, before, after)
            set_vlans(netlink, before, after)
            _set_port(netlink, after)
            proc_sys.set_ipv6(after.host_interface, False)


@contextmanager
def _unless_deleted(endpoint: Endpoint, what: str) -> Iterator[None]:
    """Name what failed. Root in a container can delete its end, and so the whole pair, at any time.

    Raises:
        ApplyError: the kernel refused something in the block; ENODEV if the pair is gone by then.
    """
    try:
        with doing(what):
            yield
    except ApplyError:
        if any(name == endpoint.host_interface for _index, name in socket.if_nameindex()):
            raise
        gone = OSError(errno.ENODEV, "the veth was deleted from inside of the container")
        raise ApplyError(f"{what}: {gone.strerror}") from gone


def _create(netlink: Rtnetlink, endpoint: Endpoint) -> None:
    end = LinkEnd(endpoint.host_interface, _port_mac(endpoint))
    peer = LinkEnd(endpoint.interface, endpoint.mac)
    with namespaces.opened(sandbox_path(endpoint.sandbox)) as sandbox:
        netlink.add_veth(end, peer, sandbox, endpoint.mtu, _bridge_index(endpoint), UNDONE_PORTS)


def _move(netlink: Rtnetlink, endpoint: Endpoint) -> None:
    """Make the link a port of another bridge. It is down meanwhile, since it is not isolated there yet."""
    index, bridge = socket.if_nametoindex(endpoint.host_interface), _bridge_index(endpoint)
    netlink.set_link(index, up=False, mac=_port_mac(endpoint))
    netlink.set_link(index, master=bridge)


def _port_mac(endpoint: Endpoint) -> str:
    """A high MAC, since an adopted bridge without a MAC of its own takes the lowest of its ports'."""
    digits = f"{zlib.crc32(endpoint.name.encode()):08x}"
    return ":".join(["fe", "ff", *(digits[i : i + 2] for i in range(0, 8, 2))])


def _without_ports(bridges: Set[str]) -> List[LinkInfo]:
    """Those of the bridges that have no port yet."""
    links = rtnetlink.links() if bridges else []
    with_ports = {link.master for link in links}
    return [link for link in links if link.name in bridges and link.index not in with_ports]


def _pin_mac_and_mtu(netlink: Rtnetlink, bridges: Sequence[LinkInfo]) -> None:
    """Set the MAC and the MTU of adopted bridges to their present values.

    Otherwise a bridge without ports takes both from its first port, and loses them with the last one.
    """
    for bridge in bridges:
        if not marked_for(bridge):
            with doing(f"bridge {bridge.name}: keeping its MAC and MTU"):
                netlink.set_link(bridge.index, mac=bridge.mac)
                if bridge.mtu != ETHERNET_MTU:
                    # Only a change makes the kernel keep an MTU: by a byte more, since below 1280 there is no IPv6.
                    netlink.set_link(bridge.index, mtu=bridge.mtu + (1 if bridge.mtu < _LARGEST_MTU else -1))
                    netlink.set_link(bridge.index, mtu=bridge.mtu)


def _set_port(netlink: Rtnetlink, endpoint: Endpoint) -> None:
    netlink.set_link(
        socket.if_nametoindex(endpoint.host_interface),
        up=True,
        mtu=endpoint.port.mtu or endpoint.mtu,
        alias=MARK + endpoint.name,
        group=DONE,
        port=PortInfo(endpoint.port.hairpin, endpoint.port.isolated),
    )


def _bridge_index(endpoint: Endpoint) -> int:
    try:
        return socket.if_nametoindex(endpoint.port.bridge)
    except OSError as error:
        remedy = "a run with the layer bridge creates it"
        raise ApplyError(f"bridge {endpoint.port.bridge} does not exist: {remedy}") from error


def _set_inside(sandbox: SandboxRef, steps: Sequence[Step]) -> None:
    """Set the ends in the sandbox. All old routes are deleted first: one may come again on another interface."""
    with doing(f"sandbox {sandbox}"), namespaces.entered(sandbox_path(sandbox)), Rtnetlink() as netlink:
        for before, after in steps:
            remove_routes(before, after)
        for before, after in steps:
            with doing(f"endpoint {after.name}: setting {after.interface}"):
                _set_interface(netlink, before, after)
        for before, after in steps:
            add_routes(netlink, before, after)


def _set_interface(netlink: Rtnetlink, before: Optional[Endpoint], after: Endpoint) -> None:
    if after.sublink and before is None:
        sublinks.name(netlink, after)
    index = socket.if_nametoindex(after.interface)
    if before and before.sublink != after.sublink:
        sublinks.set_mode(netlink, after.sublink, index)
    if before and (before.mtu, before.mac) != (after.mtu, after.mac):
        netlink.set_link(index, mtu=after.mtu, mac=after.mac)
    # After the MTU, since below 1280 there are none for IPv6, and before the addresses, which depend on them.
    _set_parameters(before if before and before.mtu == after.mtu else None, after)
    if before:
        _give_back_parameters(before, after)
    set_addresses(netlink, after.interface, index, before.addresses if before else (), after.addresses)
    netlink.set_link(index, up=True)
    _set_mtu_of_ipv6(after, index)


def _set_mtu_of_ipv6(endpoint: Endpoint, index: int) -> None:
    """Set it once the interface is ready: as it becomes so, the kernel sets this parameter to the interface's MTU."""
    given = [(key, value) for key, value in endpoint.sysctls if key == MTU_OF_IPV6]
    if given:
        deadline = time.monotonic() + _READY_WITHIN
        while not rtnetlink.link(index).ready and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN_AFTER)
        proc_sys.apply(given, endpoint.interface)


def _set_parameters(before: Optional[Endpoint], after: Endpoint) -> None:
    if before is None or before.ipv6 != after.ipv6:
        # An interface of an IPv4 network must have no IPv6 address at all (CVE-2024-32473).
        proc_sys.set_ipv6(after.interface, after.ipv6)
    known = before.sysctls if before else ()
    proc_sys.apply((each for each in after.sysctls if each not in known), after.interface)


def _give_back_parameters(before: Endpoint, after: Endpoint) -> None:
    for key in parameters.gone(before.sysctls, after.sysctls):
        value = parameters.of_new_interface(key, after.mtu)
        if value is not None:
            proc_sys.apply([(key, value)], after.interface)


def _announce(sandbox: SandboxRef, steps: Sequence[Step], open_socket: Callable[[], socket.socket]) -> None:
    new = [(after, addresses) for before, after in steps for addresses in [_unannounced(before, after)] if addresses]
    # A container may have ended meanwhile.
    with suppress(OSError):
        if new:
            with namespaces.entered(sandbox_path(sandbox)):
                packets = open_socket()
                macs = {endpoint.interface: endpoint.mac or _mac_of(endpoint.interface) for endpoint, _addresses in new}
            for endpoint, addresses in new:
                announce.announce(packets, endpoint.interface, macs[endpoint.interface], addresses)


def _mac_of(interface: str) -> str:
    return rtnetlink.link(socket.if_nametoindex(interface)).mac


def _unannounced(before: Optional[Endpoint], after: Endpoint) -> List[str]:
    """The addresses of which neighbours do not know yet that they are at this MAC."""
    if before is None or (before.mac, before.port.bridge) != (after.mac, after.port.bridge):
        return [*after.addresses]
    return [address for address in after.addresses if address not in before.addresses]
