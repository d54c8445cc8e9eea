# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""External networks: they take their name, MTU and addresses from a third-party bridge, which stays as it is."""

from __future__ import annotations

from dataclasses import replace

from ..declaration.model import Model, Network, Pool
from ..declaration.section import is_within
from ..errors import ProblemCollector
from .facts import Facts, ThirdPartyBridge


def adopt(model: Model, facts: Facts, problems: ProblemCollector) -> Model:
    """The model in which external networks have the name, MTU, subnets and gateways of their bridges.

    It is a problem if there is no such bridge, if two networks name the same one, or if it lacks addresses. Where
    nothing is known of the host, external networks are planned like all others.
    """
    networks = dict(model.networks)
    paths = {network.bridge: network.path for network in model.bridged if not network.external}
    external = [network for network in networks.values() if network.external]
    for network in sorted(external, key=lambda network: not network.is_default):
        adopted = _adopted(network, facts, problems)
        path = paths.setdefault(adopted.bridge, network.path)
        if path == network.path:
            networks[network.name] = adopted
        else:
            problems.add(_path(network), f"{adopted.bridge} is also the bridge of {path}: name another one")
    return replace(model, networks=networks)


def _adopted(network: Network, facts: Facts, problems: ProblemCollector) -> Network:
    if facts.third_party_bridges is None:
        return network
    bridges = {bridge.name: bridge for bridge in facts.third_party_bridges}
    bridge = next((bridges[name] for name in network.adopts if name in bridges), None)
    if bridge is None:
        problems.add(_path(network), _missing(network, facts))
        return network
    if network.mtu not in (None, bridge.mtu):
        key = "mtu" if network.is_default else "driver_opts.com.docker.network.driver.mtu"
        remedy = f"the MTU of {bridge.name} is {bridge.mtu}, and wharf.network does not change it: leave this out"
        problems.add(f"{network.path}.{key}", f"{network.mtu}: {remedy}")
    pools = tuple(_pool(network, pool, bridge, problems) for pool in network.pools)
    return replace(network, bridge=bridge.name, mtu=bridge.mtu, pools=pools)


def _path(network: Network) -> str:
    return f"{network.path}.{'bridge' if network.is_default else 'external'}"


def _missing(network: Network, facts: Facts) -> str:
    names = " or ".join(network.adopts)
    other = next((name for name in network.adopts if name in (facts.third_party_links or ())), None)
    stands = (
        f"{other} exists on this host, but is not a bridge"
        if other
        else f"there is no bridge {names} that is managed by a third party"
    )
    if network.is_default:
        return f"{stands}: make it before, or leave this out"
    return (
        f"{stands}: make it before, say its name in driver_opts (com.docker.network.bridge.name), "
        "or declare the network without external"
    )


def _pool(network: Network, pool: Pool, bridge: ThirdPartyBridge, problems: ProblemCollector) -> Pool:
    """The pool, with subnet and gateway from the bridge's address: the one in its declared subnet, else the first."""
    addresses = [each for each in bridge.addresses if each.version == pool.version]
    own = next((each for each in addresses if not pool.subnet or each.ip in pool.subnet), None)
    subnet = pool.subnet or (own.network if own else None)
    gateway = pool.gateway or (own.ip if own else None)
    if subnet is None or gateway is None:
        problems.add(_path(network), _without_address(network, pool, bridge.name))
        return pool
    if pool.ip_range and not is_within(pool.ip_range, subnet):
        problems.add(pool.path, f'"{pool.ip_range}": lies outside {subnet}, the subnet of {bridge.name}')
        return pool
    if not pool.ip_range and bridge.is_of_docker:
        problems.add(
            _path(network),
            f"{bridge.name} is a dockerd's by its name, which gives out addresses there, too: "
            "give ipam.config an ip_range that the dockerd leaves alone",
        )
    others = tuple(each.ip for each in addresses if each.ip in subnet and each.ip != gateway)
    return replace(pool, subnet=subnet, gateway=gateway, reserved=(*pool.reserved, *others))


def _without_address(network: Network, pool: Pool, bridge: str) -> str:
    family = f"IPv{pool.version}"
    if network.is_default:
        return f"{bridge} has no {family} address, which would be the gateway: give it one"
    subnet = f" in {pool.subnet}" if pool.subnet else ""
    return (
        f"{bridge} has no {family} address{subnet}, which would be the gateway: give it one, "
        f"or say subnet and gateway in ipam.config, or enable_ipv{pool.version}: false"
    )
