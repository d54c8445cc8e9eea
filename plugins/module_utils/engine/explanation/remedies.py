# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a packet does not pass, in the words of the declaration, and what would let it pass. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import List, Optional, Tuple

from ..declaration.model import ISOLATED, NONE_MODE, ROUTED, Container, Network
from ..declaration.section import Address
from ..planning.accepted_ports import accepted_at
from ..planning.plan import Plan
from ..planning.publications import Publication, gateway_attachment
from ..third_party.drops import NFT, ThirdPartyDrop, remedy
from ..third_party.required_flows import INPUT, RequiredFlow
from ..third_party.rule_evaluation import End, SomeAddress
from .headers import PING, Header, spelt
from .owners import ADMIN_BY_HAND, ADMIN_DECLARED, WHARF, holder, network_at, origin
from .stacks import HOST, Base
from .steps import (
    ABSENT,
    DOWN,
    ISOLATED_PORT,
    LOST_ANSWER,
    MISSED,
    NO_ROUTE,
    NOBODY,
    NOT_FORWARDED,
    NOT_LISTENED,
    NOT_TAKEN,
    OTHER_VLAN,
    OWN_PARENT,
    PRIVATE_LINK,
    RULE,
    SILENT,
    Cause,
)

_LOOPBACK6 = ipaddress.IPv6Address("::1")

_BESIDE_PARENT = "put the container on a network with a bridge, too, and use its address there"
APPLY = "`wharf apply` brings the host back to what is declared"


@dataclass(frozen=True)
class Advice:
    """Why, in the words of the declaration, where that is known; and what would let the packet pass, each by itself."""

    why: str = ""
    remedies: Tuple[str, ...] = ()


class Adviser:
    """Advises about one question: `source` and `target` are the containers at its ends, None for anything else.

    `asked` is the packet as it was sent; `is_here`: it was sent to the host itself.
    """

    def __init__(
        self, plan: Plan, source: Optional[Container], target: Optional[Container], asked: Header, is_here: bool
    ) -> None:
        self._plan = plan
        self._source = source
        self._target = target
        self._asked = asked
        self._is_here = is_here

    def advise(self, cause: Cause) -> Advice:
        by_kind = {
            ABSENT: self._absent,
            NO_ROUTE: self._no_route,
            NOT_FORWARDED: self._not_forwarded,
            NOT_TAKEN: self._not_taken,
            RULE: self._rule,
            ISOLATED_PORT: self._isolated_port,
            NOT_LISTENED: self._not_listened,
            SILENT: self._silent,
            DOWN: self._down,
            NOBODY: self._nobody,
            LOST_ANSWER: self._lost_answer,
            MISSED: self._missed,
            PRIVATE_LINK: self._private_link,
            OWN_PARENT: self._own_parent,
            OTHER_VLAN: self._other_vlan,
        }
        return by_kind[cause.kind](cause)

    # By kind

    def _absent(self, cause: Cause) -> Advice:
        container = self._plan.model.containers.get(cause.stack)
        return Advice("", (f"start the container: {container.sandbox} does not exist",) if container else ())

    def _no_route(self, cause: Cause) -> Advice:
        container = self._plan.model.containers.get(cause.stack)
        if container is None:
            return Advice("", (f"give the host a route to {cause.header.destination}",))
        family = f"IPv{cause.header.version}"
        networks = self._networks(container)
        passing = self._to_one_network(container, self._target) or self._to_the_outside(container)
        if container.mode == NONE_MODE:
            why = f"{container.name} has network_mode none ({container.path})"
        elif not any(container.has(network, cause.header.version) for network in networks):
            why = f"{container.name} has no {family} address on its networks ({container.path})"
            passing = self._having_family(container, cause.header.version) or passing
        elif all(network.internal for network in networks):
            why = f"all networks of {container.name} are internal, and lead to no other network ({container.path})"
        else:
            return Advice("", (APPLY,))
        return Advice(why, (passing,))

    def _not_forwarded(self, cause: Cause) -> Advice:
        container = self._plan.model.containers.get(cause.stack)
        if container is not None:
            return Advice(f"{container.name} got a packet for another address")
        name = "net.ipv4.ip_forward" if cause.header.version == 4 else "net.ipv6.conf.all.forwarding"
        host = self._plan.model.host
        if not host.ip_forward:
            return Advice(f"ip-forward is false ({host.path})", (f"`ip-forward: true` in {host.path}, or {name} = 1",))
        return Advice(f"{name} should be 1, but is not", (APPLY,))

    def _not_taken(self, cause: Cause) -> Advice:
        return Advice("", (f"check rp_filter of {cause.incoming}, and the host's route back to the sender",))

    def _isolated_port(self, cause: Cause) -> Advice:
        network = self._network_of(cause.outgoing)
        return self._without_icc(network) if network and not network.icc else Advice("", (APPLY,))

    def _private_link(self, cause: Cause) -> Advice:
        network = self._network_on(cause.outgoing)
        if network is None or not network.sublinks:
            return Advice("", (APPLY,))
        key = "ipvlan_flag" if network.sublinks.flag else "macvlan_mode"
        why = f"containers of network {network.name} do not reach each other directly ({network.path}.driver_opts)"
        return Advice(why, (f"`{key}: bridge` in {network.path}.driver_opts",))

    def _other_vlan(self, cause: Cause) -> Advice:
        network = self._network_of(cause.outgoing)
        if network is None:
            return Advice("", (APPLY,))
        return Advice(
            "", (f"`x-wharf: {{vlan: …}}` in {network.path}, or of the containers, so that both are in one VLAN",)
        )

    def _own_parent(self, cause: Cause) -> Advice:
        network = self._network_on(cause.outgoing)
        why = f"the kernel passes no packets between {cause.outgoing} and the links on it"
        access = []
        if network and not network.leased:
            access = [f"`x-wharf: {{host_access: true}}` in {network.path}, and the host's address there"]
        if network and network.sublinks and network.sublinks.host_access:
            own = self._plan.allotted.hosts.get(network.name, ())
            access = [f"use {' or '.join(map(str, own))}, the host's own address on network {network.name}"]
        return Advice(f"{why} ({network.path})" if network else why, (*access, _BESIDE_PARENT))

    def _network_on(self, parent: str) -> Optional[Network]:
        """The network of the container, of those on this parent."""
        networks = [each for c in (self._source, self._target) if c for each in self._networks(c)]
        return next((each for each in networks if each.sublinks and each.sublinks.parent == parent), None)

    def _not_listened(self, cause: Cause) -> Advice:
        published = self._published(self._asked.version)
        port, protocol = self._asked.destination_port, self._asked.protocol
        elsewhere = (self._published(4) or published) if self._asked.destination == _LOOPBACK6 else None
        if elsewhere:
            why = f"port {port}/{protocol} is published, but the kernel cannot translate [::1] ({elsewhere.path})"
            other = elsewhere.host_ip or ("127.0.0.1" if elsewhere.version == 4 else "the address of an interface")
            return Advice(why, (f"use {other} instead of ::1",))
        if published:
            at = published.host_ip
            if at is None or at == self._asked.destination:
                missing = f"port {port}/{protocol} is declared ({published.path}), but missing in the kernel"
                return Advice(missing, (APPLY,))
            why = f"port {port}/{protocol} is published on {at} only ({published.path})"
            return Advice(why, (f"publish it on all addresses: `{_short(published, port)}` in {published.path}",))
        untranslated = self._untranslated()
        if untranslated:
            return untranslated
        why = f"no container publishes port {port}/{protocol} of the host"
        suffix = "" if protocol == "tcp" else f"/{protocol}"
        opened = f'`ports: ["{port}:PORT{suffix}"]` of the container that is to serve it'
        return Advice(why, (opened, "start a service on that port of the host"))

    def _silent(self, cause: Cause) -> Advice:
        name = "net.ipv4.icmp_echo_ignore_all" if cause.header.version == 4 else "net.ipv6.icmp.echo_ignore_all"
        return Advice("", (f"set {name} to 0 in {cause.stack}",))

    def _down(self, cause: Cause) -> Advice:
        return Advice("", (APPLY,))

    def _nobody(self, cause: Cause) -> Advice:
        who = holder(self._plan, cause.header.destination)
        container = self._plan.model.containers.get(who)
        if container is None:
            return Advice("", ())
        start = f"start {container.name}, so that its network stack {container.sandbox} exists, and run `wharf apply`"
        return Advice(f"{container.name} is not present at {cause.header.destination} ({container.path})", (start,))

    def _lost_answer(self, _cause: Cause) -> Advice:
        return Advice("the answer does not return through the stack that translated the request")

    def _missed(self, cause: Cause) -> Advice:
        network = network_at(self._plan, cause.header)
        if network and not network.has_gateway(cause.header.version):
            mode = network.gateway_mode(cause.header.version)
            reason = "gateway mode isolated" if mode == ISOLATED else "inhibit_ipv4"
            why = f"the host has no address on network {network.name} ({reason}, {network.path})"
            return Advice(why, tuple(filter(None, [self._to_one_network(self._source, self._target)])))
        return Advice("the host has no route to that network, although the network is declared", (APPLY,))

    # Rules

    def _rule(self, cause: Cause) -> Advice:
        step = cause.step
        if step is None or step.base is None or step.end is None:
            return Advice()
        made = origin(self._plan, step)
        if made.owner == ADMIN_DECLARED:
            where = made.place or "wharf_docker_user"
            return Advice(
                f"a rule of the admin forbids the packet ({where})", (f"change or remove the rule at {where}",)
            )
        if made.owner == ADMIN_BY_HAND:
            return Advice(
                "a rule that was added to DOCKER-USER by hand forbids the packet", (_removal(step.base, step.end),)
            )
        if made.owner == WHARF and cause.header.reply:
            return Advice(f"wharf.network drops unsolicited packets to {cause.header.to}", ())
        if made.owner == WHARF:
            return self._by_declaration(cause)
        if cause.stack != HOST:
            return Advice(f"the rules of {made.owner} forbid the packet", (f"change the rules in {cause.stack}",))
        return Advice(f"{made.owner} forbids the packet", (self._third_party(cause, step.base, step.end),))

    def _third_party(self, cause: Cause, base: Base, end: End) -> str:
        label = end.rule.label if end.rule else ""
        hook = "" if base.family == "bridge" else base.chain.hook
        drop = ThirdPartyDrop(base.tool, base.family, base.name, base.chain.name, end.chain, label, hook)
        if hook == INPUT and cause.header.protocol == PING and not cause.header.reply:
            return f"accept the packet before that rule, in chain {base.chain.name}"
        bridge = cause.outgoing if self._network_of(cause.outgoing) else cause.incoming or cause.outgoing
        port = cause.header.destination_port
        service = (cause.header.protocol, port) if isinstance(port, int) and not cause.header.reply else None
        return remedy(drop, base.table, [RequiredFlow("", "", bridge, cause.header.version, (), service)])

    def _by_declaration(self, cause: Cause) -> Advice:
        """Why a rule of wharf.network drops the packet: the first option of the declaration that says so."""
        coming, going = self._network_of(cause.incoming), self._network_of(cause.outgoing)
        going = going or network_at(self._plan, cause.header)
        for found in (
            self._isolated(coming),
            self._internal(coming, going),
            self._restricted(cause),
            self._without_icc(going) if coming == going and going and not going.icc else None,
            self._isolation(going),
        ):
            if found:
                return found
        if not going and not coming:
            host = self._plan.model.host
            why = "the host forwards packets of its containers only, since it did not forward before"
            return Advice(why, (f"`ip-forward-no-drop: true` in {host.path}",))
        return Advice()

    def _isolated(self, coming: Optional[Network]) -> Optional[Advice]:
        if coming and coming.gateway_mode(self._asked.version) == ISOLATED:
            why = f"network {coming.name} is isolated, also from the host ({coming.path})"
            key = f"com.docker.network.bridge.gateway_mode_ipv{self._asked.version}"
            return Advice(why, (f"another {key} in {coming.path}",))
        return None

    def _internal(self, coming: Optional[Network], going: Optional[Network]) -> Optional[Advice]:
        if coming == going:
            return None
        for network in (coming, going):
            if network and network.internal:
                why = f"network {network.name} is internal ({network.path})"
                both = self._to_one_network(self._source, self._target)
                out = self._to_the_outside(self._source) if self._source and not self._target else ""
                opened = f"leave out `internal: true` in {network.path}"
                return Advice(why, tuple(filter(None, [both, out, opened])))
        return None

    def _restricted(self, cause: Cause) -> Optional[Advice]:
        """A port with `allow_from`, by which the packet came, or to which it goes."""
        header = cause.header
        for each in self._plan.publications:
            same = (each.address, each.target_port, each.protocol)
            if each.allow_from is None or same != (header.destination, header.destination_port, header.protocol):
                continue
            source = header.source
            if source is None or isinstance(source, SomeAddress) or not each.allows(source):
                whom = "the client's address" if source is None or isinstance(source, SomeAddress) else str(source)
                allowed = ", ".join(map(str, each.allow_from)) or "nobody"
                why = f"port {each.host_port}/{each.protocol} is for {allowed} only ({each.path})"
                return Advice(why, (f"add {whom} to `x-wharf: {{allow_from: […]}}` in {each.path}",))
        return None

    def _without_icc(self, network: Network) -> Advice:
        key = "icc" if network.is_default else "com.docker.network.bridge.enable_icc"
        why = f"containers of network {network.name} may not talk to each other ({key} is false, {network.path})"
        return Advice(why, tuple(filter(None, [f"`{key}: true` in {network.path}", self._publish()])))

    def _isolation(self, going: Optional[Network]) -> Optional[Advice]:
        if going is None:
            return None
        if self._source is None:
            is_routed = going.gateway_mode(self._asked.version) == ROUTED
            only = (
                "at their published ports only" if is_routed else "by published ports only, not at their own addresses"
            )
            why = f"containers of network {going.name} are reached {only}"
            return Advice(f"{why} ({going.path})", tuple(filter(None, [self._publish(), self._ping(going)])))
        names = ", ".join(network.name for network in self._networks(self._source))
        why = f"{self._source.name} is on {names or 'no network'}, and network {going.name} is isolated from others"
        both = self._to_one_network(self._source, self._target)
        return Advice(f"{why} ({going.path})", tuple(filter(None, [both, self._publish(), self._ping(going)])))

    # What would let it pass

    def _to_one_network(self, source: Optional[Container], target: Optional[Container]) -> str:
        if source is None or target is None:
            return ""
        networks = [network for network in self._networks(target) if network.gateway_mode(4) != ISOLATED]
        if not networks:
            return ""
        own = [network.name for network in self._networks(source)]
        together = ", ".join(dict.fromkeys([*own, networks[0].name]))
        if source.mode == NONE_MODE:
            return f"connect {source.name} to a network: `networks: [{together}]`, not network_mode, in {source.path}"
        return f"connect both to one network: `networks: [{together}]` in {source.path}"

    def _having_family(self, source: Container, version: int) -> str:
        """To give a network that leads there the IP family that it lacks."""
        own = self._networks(source)
        there = self._networks(self._target) if self._target else [each for each in own if not each.internal]
        return next((f"`{each.family_key(version)}: true` in {each.path}" for each in own if each in there), "")

    def _to_the_outside(self, source: Optional[Container]) -> str:
        if source is None:
            return ""
        return f"connect {source.name} to a network that is not internal, by `networks` in {source.path}"

    def _publish(self) -> str:
        if self._target is None or self._asked.protocol == PING:
            return ""
        port, protocol = self._asked.destination_port, self._asked.protocol
        for each in self._plan.publications:
            reached = (each.container, each.target_port, each.protocol) == (self._target.name, port, protocol)
            if reached and each.version == self._asked.version:
                at = each.host_ip or "host"
                return f"use {at}:{each.host_port}/{protocol}, where it is published ({each.path})"
        suffix = "" if protocol == "tcp" else f"/{protocol}"
        routed = self._routed_address(self._target)
        if routed:
            return f'`ports: ["{port}{suffix}"]` in {self._target.path}, and use {spelt(routed, port)}{suffix}'
        return f'`ports: ["{port}:{port}{suffix}"]` in {self._target.path}, and use host:{port}{suffix}'

    def _routed_address(self, container: Container) -> Optional[Address]:
        """The container's own address at which its published ports are reached, if no port of the host leads to it."""
        version = self._asked.version
        attachment = gateway_attachment(self._plan.model, container, version)
        if attachment is None or self._plan.model.networks[attachment.network].gateway_mode(version) != ROUTED:
            return None
        return self._plan.allotted.endpoints[container.name, attachment.network].address(version)

    def _untranslated(self) -> Optional[Advice]:
        """A port of the host that a container publishes on a routed network, where ports of the host lead nowhere."""
        port, model = self._asked.destination_port, self._plan.model
        for container in model.containers.values():
            for mapping in container.ports:
                target = mapping.target_of(port) if isinstance(port, int) else None
                accepted = accepted_at(model, self._plan.allotted, container, mapping)
                own = next((each for each in accepted if each.version == self._asked.version), None)
                if target and own and mapping.protocol == self._asked.protocol:
                    why = (
                        f"{container.name} is on a routed network, and no port of the host leads there ({mapping.path})"
                    )
                    return Advice(why, (f"use {spelt(own, target)}, the container's own address",))
        return None

    def _ping(self, network: Network) -> str:
        return f"`x-wharf: {{icmp: true}}` in {network.path}" if self._asked.protocol == PING else ""

    def _published(self, version: int) -> Optional[Publication]:
        if not self._is_here:
            return None
        return next(
            (
                each
                for each in self._plan.publications
                if (each.host_port, each.protocol, each.version)
                == (self._asked.destination_port, self._asked.protocol, version)
            ),
            None,
        )

    def _networks(self, container: Container) -> List[Network]:
        return [self._plan.model.networks[each.network] for each in container.attachments]

    def _network_of(self, bridge: str) -> Optional[Network]:
        return next((each for each in self._plan.model.networks.values() if bridge and each.bridge == bridge), None)


def _removal(base: Base, end: End) -> str:
    label = end.rule.label if end.rule else ""
    if base.tool == NFT:
        return f"`nft delete rule {base.family} {base.name} {end.chain} handle {label}`"
    return f"`{base.tool.partition('-')[0]} -t {base.name} -D {label[len('-A ') :]}`"


def _short(published: Publication, port: object) -> str:
    suffix = "" if published.protocol == "tcp" else f"/{published.protocol}"
    return f"{port}:{published.target_port}{suffix}"
