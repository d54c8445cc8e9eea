# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the containers, networks and published ports that the admin's rules name against the model."""

from __future__ import annotations

from typing import Collection, Iterator, Optional

from ..errors import Problem
from .model import Model, Network, UserRule
from .parse_ports import PortRange, port_text
from .parse_user_rules import ICMP, versions


def ineffective_rules(model: Model, networks: Collection[str], knows_ports: bool) -> Iterator[Problem]:
    """The rules that match nothing, since what they name is not declared.

    `networks` are all declared ones, also those that the model lacks since they have problems. `knows_ports` is False
    if published ports are not known, as where a dockerd publishes them.
    """
    for rule in model.docker_user:
        yield from _container(model, rule)
        if rule.network and rule.network not in networks:
            there = ", ".join(model.networks) or "none"
            yield Problem(f"{rule.path}.network", f"network {rule.network} is not declared; there are: {there}")
        joined = model.networks.get(rule.network)
        if joined and joined.bypasses_host:
            yield Problem(f"{rule.path}.network", f"network {rule.network} {_undecided(joined)}")
        if knows_ports:
            yield from _published_ports(model, rule)


def _container(model: Model, rule: UserRule) -> Iterator[Problem]:
    if not rule.container:
        return
    path = f"{rule.path}.container"
    container = model.containers.get(rule.container)
    if container is None:
        there = ", ".join(model.containers)
        remedy = f"there are: {there}" if there else "name where the connection goes by destination or published_port"
        yield Problem(path, f"no container {rule.container} is declared; {remedy}")
        return
    # If the owner of a shared sandbox is not declared, that is reported at the container.
    owner = model.containers.get(container.shares, container)
    joined = [model.networks[a.network] for a in owner.attachments if a.network in model.networks]
    if not owner.attachments:
        yield Problem(
            path, f"{rule.container} is in network_mode {owner.mode}, and nothing is forwarded to it: leave it out"
        )
    elif joined and all(network.bypasses_host for network in joined):
        uplinked = next((network for network in joined if network.uplink), None)
        only = f"network {uplinked.name}, which {_undecided(uplinked)}" if uplinked else _OF_SUBLINKS
        yield Problem(path, f"{rule.container} is only on {only}")
    elif joined and not any(owner.has(network, version) for network in joined for version in versions(rule)):
        family = " and ".join(f"IPv{version}" for version in versions(rule))
        yield Problem(
            path,
            f"{rule.container} has no {family} address, as the rule's source would need: leave one of the two out",
        )


_UNSEEN = "and this host's rules do not see the packets of its containers: leave the rule out"
_OF_SUBLINKS = f"networks of macvlan or ipvlan, {_UNSEEN}"


def _undecided(network: Network) -> str:
    if network.uplink:
        return f"is on a LAN by its uplink {network.uplink}, beside this host's rules: leave the rule out"
    return f"is {network.driver.name}, {_UNSEEN}"


def _published_ports(model: Model, rule: UserRule) -> Iterator[Problem]:
    if rule.published_ports is None or rule.protocol == ICMP:
        return
    mappings = [mapping for container in model.containers.values() for mapping in container.ports]
    published = [(mapping.protocol, mapping.published) for mapping in mappings]
    published += [(port.protocol, (port.port, port.port)) for _network, _peer, port in model.ports_of_other_hosts()]
    if not any(_may_be_named(rule, *each) for each in published):
        ports, of = port_text(rule.published_ports), f"/{rule.protocol}" if rule.protocol else ""
        declared = sorted({f"{port_text(each)}/{protocol}" for protocol, each in published if each})
        there = ", ".join(declared[:10]) + (", …" if len(declared) > 10 else "") or "none"
        yield Problem(f"{rule.path}.published_port", f"no container publishes {ports}{of}; published are: {there}")


def _may_be_named(rule: UserRule, protocol: str, published: Optional[PortRange]) -> bool:
    """Whether the rule is about one of these ports of the host, or may be since the planner chooses the port."""
    if rule.protocol not in ("", protocol):
        return False
    if published is None or rule.published_ports is None:
        return True
    return published[0] <= rule.published_ports[1] and rule.published_ports[0] <= published[1]
