# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a packet does not pass, in the words of the declaration, and what would let it pass. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Iterator, List, Optional, Tuple

from ..declaration.model import ISOLATED, NONE_MODE, ROUTED, Container, Network
from ..declaration.section import Address
from ..planning.accepted_ports import accepted_at
from ..planning.plan import Plan
from ..planning.publications import Publication, gateway_attachment
from ..resources.links.stacks import is_awaited
from ..third_party.drops import NFT, ThirdPartyDrop, remedy
from ..third_party.required_flows import INPUT, RequiredFlow
from ..third_party.rule_evaluation import Outcome, SomeAddress
from .headers import PING, TCP, Header, is_loopback, spelt
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

_OTHER_VERSION = {4: 6, 6: 4}
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
        if container is None and is_loopback(cause.header.source):
            return Advice(f"no packet from {cause.header.source} leaves the host", ())
        if container is None:
            return Advice("", (f"give the host a route to {cause.header.destination}",))
        family = f"IPv{cause.header.version}"
        networks = self._networks(container)
        other = self._source if cause.header.reply else self._target
        passing = self._to_one_network(container, other) or self._to_the_outside(container)
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
        unowned = self._unowned()
        if unowned:
            return unowned
        name = "net.ipv4.ip_forward" if cause.header.version == 4 else "net.ipv6.conf.all.forwarding"
        host = self._plan.model.host
        if not self._plan.has_networks:
            return Advice(f"no networks are declared on this host, and {name} is 0", (f"set {name} to 1",))
        if not (self._network_of(cause.incoming) or network_at(self._plan, cause.header)):
            return self._router(name)
        if not host.ip_forward:
            return Advice(f"ip-forward is false ({host.path})", (f"`ip-forward: true` in {host.path}, or {name} = 1",))
        return Advice(f"{name} should be 1, but is not", (APPLY,))

    def _router(self, parameter: str = "") -> Advice:
        """That the host forwards from one other host to another; `parameter` keeps it from forwarding at all."""
        host = self._plan.model.host
        keys = [("ip-forward", host.ip_forward), ("ip-forward-no-drop", host.ip_forward_no_drop)]
        missing = " and ".join(f"`{key}: true`" for key, value in keys if not value)
        by_hand = parameter if self._asked.version == 6 and not self._plan.has_ipv6 else ""
        opened = [f"{missing} in {host.path}"] if missing else []
        opened += [f"set {by_hand} to 1"] if by_hand else []
        if not opened:
            return Advice(f"{parameter} should be 1, but is not" if parameter else "", (APPLY,))
        why = "the host forwards packets of its containers only, since it did not forward before"
        if not host.ip_forward:
            why = f"ip-forward is false ({host.path})"
        elif by_hand:
            why = f"no network has IPv6, and {by_hand} is 0"
        return Advice(why, (", and ".join(opened),))

    def _not_taken(self, cause: Cause) -> Advice:
        if is_loopback(cause.header.destination):
            return Advice() if cause.header.reply else self._loopback()
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
            return Advice(why, (self._on_all_addresses(published),))
        untranslated = self._untranslated()
        if untranslated:
            return untranslated
        other_family = self._published(_OTHER_VERSION[self._asked.version])
        if other_family:
            return self._in_other_family(other_family)
        why = f"no container publishes port {port}/{protocol} of the host"
        return Advice(why, (self._ports_of_a_container(), "start a service on that port of the host"))

    def _in_other_family(self, published: Publication) -> Advice:
        """A port that is published in the IP family only that the packet does not have."""
        model, version = self._plan.model, self._asked.version
        container = model.containers[published.container]
        attachment = gateway_attachment(model, container, published.version)
        network = model.networks[attachment.network] if attachment else None
        is_missing = network is not None and not container.has(network, version)
        without_rules = model.host.without_rules.get(version, "")
        is_elsewhere = self._binding(published) is not None or not (is_missing or without_rules)
        opened = [self._on_all_addresses(published)] if is_elsewhere else []
        if without_rules:
            opened.append(f"`{without_rules}: true` in {model.host.path}")
        if network and is_missing:
            opened.append(f"`{network.family_key(version)}: true` in {network.path}")
        at = published.host_ip or f"IPv{published.version} addresses"
        why = f"port {published.host_port}/{published.protocol} is published on {at} only ({published.path})"
        return Advice(why, (", and ".join(opened),))

    def _ports_of_a_container(self) -> str:
        port, protocol = self._asked.destination_port, self._asked.protocol
        return f'`ports: ["{port}:PORT{_suffix(protocol)}"]` of the container that is to serve it'

    def _on_all_addresses(self, published: Publication) -> str:
        """Where the declaration names no address for the port, its network or the host has one for all ports."""
        anywhere = "0.0.0.0:" if self._asked.version == 4 else "[::]:"
        default = "" if self._binding(published) or not published.host_ip else anywhere
        mapping = f"{default}{published.host_port}:{published.target_port}{_suffix(published.protocol)}"
        return f"publish it on all addresses: `{mapping}` in {published.path}"

    def _binding(self, published: Publication) -> Optional[Address]:
        """The address that the declaration names for the port."""
        ports = self._plan.model.containers[published.container].ports
        return next((mapping.host_ip for mapping in ports if mapping.path == published.path), None)

    # The host's loopback, and addresses that the host lacks

    def _loopback(self) -> Advice:
        """What other hosts send to the host's loopback."""
        port, protocol = self._asked.destination_port, self._asked.protocol
        why = f"only the host itself reaches its {self._asked.destination}"
        if protocol == PING:
            return Advice(why, ("use host",))
        use = f"use host:{port}{_suffix(protocol)}"
        published = self._published(self._asked.version) or self._published(_OTHER_VERSION[self._asked.version])
        if published is None:
            return Advice(why, (f"{self._ports_of_a_container()}, and {use}",))
        if published.host_ip is None:
            return Advice(why, (f"{use}, where it is published ({published.path})",))
        return Advice(why, (f"{self._on_all_addresses(published)}, and {use}",))

    def _unowned(self) -> Optional[Advice]:
        """A port that is published on an address which the host does not have."""
        asked = self._asked
        for each in self._plan.publications:
            same = (each.host_ip, each.host_port, each.protocol)
            if not self._is_here and same == (asked.destination, asked.destination_port, asked.protocol):
                why = f"port {each.at(each.host_port)} is published, but {each.host_ip} is no address of this host"
                use = f"use host:{each.host_port}{_suffix(each.protocol)}"
                everywhere = f"{self._on_all_addresses(each)}, and {use}"
                return Advice(f"{why} ({each.path})", (f"give the host the address {each.host_ip}", everywhere))
        return None

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
        why = f"{container.name} is not present at {cause.header.destination} ({container.path})"
        return Advice(why, (start if is_awaited(container.sandbox) else APPLY,))

    def _lost_answer(self, _cause: Cause) -> Advice:
        return Advice("the answer does not return through the stack that translated the request")

    def _missed(self, cause: Cause) -> Advice:
        network = network_at(self._plan, cause.header)
        if network and not network.has_gateway(cause.header.version):
            mode = network.gateway_mode(cause.header.version)
            reason = "gateway mode isolated" if mode == ISOLATED else "inhibit_ipv4"
            why = f"the host has no address on network {network.name} ({reason}, {network.path})"
            key = f"gateway_mode_ipv{cause.header.version}" if mode == ISOLATED else "inhibit_ipv4"
            addressed = "" if self._source else f"another com.docker.network.bridge.{key} in {network.path}"
            both = self._to_one_network(self._source, self._target)
            return Advice(why, tuple(filter(None, [both, addressed])))
        return Advice("the host has no route to that network, although the network is declared", (APPLY,))

    # Rules

    def _rule(self, cause: Cause) -> Advice:
        step = cause.step
        if step is None or step.base is None or step.end is None:
            return Advice()
        made = origin(self._plan, step)
        if made.owner == ADMIN_DECLARED:
            where = made.place or "wharf_docker_user, or docker_user of the file"
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

    def _third_party(self, cause: Cause, base: Base, end: Outcome) -> str:
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
        if is_loopback(self._asked.destination):
            return self._loopback()
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
            return self._unowned() or self._router()
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
                others = self._into_internal(network) if network == going else self._out_of_internal(network)
                return Advice(why, tuple(filter(None, [both, *others])))
        return None

    def _out_of_internal(self, network: Network) -> Iterator[str]:
        if self._source and not self._target:
            yield self._to_the_outside(self._source)
            yield f"leave out `internal: true` in {network.path}"

    def _into_internal(self, network: Network) -> Iterator[str]:
        """Also where it is not internal, a network is reached by published ports, or by pings that it allows."""
        if self._target is None:
            return
        if self._publish():
            yield self._publish()
            return
        published = self._by_publication(self._target)
        if network.gateway_mode(self._asked.version) != ISOLATED:
            yield f"leave out `internal: true` in {network.path}, and {published or self._ping(network)}"
        if published:
            yield f"{self._to_the_outside(self._target)}, and {published}"

    def _restricted(self, cause: Cause) -> Optional[Advice]:
        """A port of the host with `allow_from` that the packet asks for."""
        header = cause.header
        for each in self._plan.publications if self._is_here else ():
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
        key = _icc_key(network)
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
        networks = sorted(self._networks(target), key=lambda network: not network.icc)
        if not networks:
            return ""
        own, chosen = [network.name for network in self._networks(source)], networks[0]
        together = ", ".join(dict.fromkeys([*own, chosen.name]))
        talking = "" if chosen.icc else f", and `{_icc_key(chosen)}: true` in {chosen.path}"
        if source.mode == NONE_MODE:
            networks_only = f"`networks: [{together}]`, not network_mode, in {source.path}"
            return f"connect {source.name} to a network: {networks_only}{talking}"
        return f"connect both to one network: `networks: [{together}]` in {source.path}{talking}"

    def _having_family(self, source: Container, version: int) -> str:
        """To give a network that leads there the IP family that it lacks."""
        own = self._networks(source)
        there = self._networks(self._target) if self._target else [each for each in own if not each.internal]
        return next((f"`{each.family_key(version)}: true` in {each.path}" for each in own if each in there), "")

    def _to_the_outside(self, container: Container) -> str:
        by = "`networks`, not network_mode," if container.mode == NONE_MODE else "`networks`"
        family = " with IPv6" if self._asked.version == 6 else ""
        return f"connect {container.name} to a network{family} that is not internal, by {by} in {container.path}"

    def _publish(self) -> str:
        """To publish the port that is asked for, where the container has a network that allows it."""
        if self._target is None or gateway_attachment(self._plan.model, self._target, self._asked.version) is None:
            return ""
        return self._by_publication(self._target)

    def _by_publication(self, target: Container) -> str:
        if self._asked.protocol == PING:
            return ""
        port, protocol = self._asked.destination_port, self._asked.protocol
        for each in self._plan.publications:
            reached = (each.container, each.target_port, each.protocol) == (target.name, port, protocol)
            if reached and each.version == self._asked.version and self._is_open(each):
                at = each.host_ip or "host"
                return f"use {at}:{each.host_port}/{protocol}, where it is published ({each.path})"
        suffix = _suffix(protocol)
        routed = self._routed_address(target)
        if routed:
            return f'add `ports: ["{port}{suffix}"]` in {target.path}, and use {spelt(routed, port)}{suffix}'
        return f'add `ports: ["{port}:{port}{suffix}"]` in {target.path}, and use host:{port}{suffix}'

    def _is_open(self, published: Publication) -> bool:
        """Whether the sender may use it, at an address that the host has for others."""
        at, source = published.host_ip, self._asked.source
        own = {*(self._plan.facts.addresses or ()), *self._plan.gateways}
        if at and (str(at) not in own or at.is_loopback):
            return False
        attachment = gateway_attachment(self._plan.model, self._source, published.version) if self._source else None
        if self._source and attachment:
            source = self._plan.allotted.endpoints[self._source.name, attachment.network].address(published.version)
        if source is None or isinstance(source, SomeAddress):
            return published.allow_from is None
        return published.allows(source)

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
        return f"add `x-wharf: {{icmp: true}}` in {network.path}" if self._asked.protocol == PING else ""

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


def _removal(base: Base, end: Outcome) -> str:
    label = end.rule.label if end.rule else ""
    if base.tool == NFT:
        return f"`nft delete rule {base.family} {base.name} {end.chain} handle {label}`"
    return f"`{base.tool} -t {base.name} -D {label[len('-A ') :]}`"


def _icc_key(network: Network) -> str:
    return "icc" if network.is_default else "com.docker.network.bridge.enable_icc"


def _suffix(protocol: str) -> str:
    return "" if protocol == TCP else f"/{protocol}"
