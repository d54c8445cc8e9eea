# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of networks with a parent against each other and their containers: who may share a parent, and how."""

from __future__ import annotations

from typing import Dict, List

from ..errors import ProblemCollector
from .drivers import SublinkDriver
from .model import Attachment, Model, Network
from .parse_sublink import NO_RATE, parent_path


def check_parents(model: Model, problems: ProblemCollector) -> None:
    """Report networks that cannot share their parent, and containers that cannot share a network."""
    by_parent: Dict[str, List[Network]] = {}
    for network in model.networks.values():
        if network.sublinks:
            _check_containers(model, network, network.sublinks, problems)
        if network.parent:
            by_parent.setdefault(network.parent, []).append(network)
    for first, *others in by_parent.values():
        for network in others:
            why = _cannot_share(network, first)
            if why:
                what = "uplink" if first.uplink else "parent"
                problems.add(
                    parent_path(network),
                    f'"{network.parent}": is the {what} of network {first.name}, too, and {why}: name another link',
                )


def _cannot_share(network: Network, first: Network) -> str:
    """Why the kernel lets no two such networks have one parent; empty if it does."""
    driver, other = network.sublinks, first.sublinks
    if driver is None or other is None:
        return "a port of a bridge can be nothing else"
    if driver.name != other.name:
        return "no link of the host can have links of both macvlan and ipvlan"
    if driver.is_exclusive or other.is_exclusive:
        return "macvlan_mode: passthru takes the whole link"
    if driver.flag and (driver.mode, driver.flag) != (other.mode, other.flag):
        return "all links of ipvlan on one parent have one ipvlan_mode and one ipvlan_flag"
    return ""


def _check_containers(model: Model, network: Network, driver: SublinkDriver, problems: ProblemCollector) -> None:
    joined = [each for c in model.containers.values() for each in c.attachments if each.network == network.name]
    for attachment in joined if driver.shares_mac else ():
        if attachment.mac:
            what = "ipvlan" if driver.flag else "macvlan_mode: passthru"
            problems.add(
                attachment.mac_path,
                f'"{attachment.mac}": with {what}, a container has the MAC of {driver.parent}: leave this out',
            )
    for attachment in joined:
        if attachment.rates:
            problems.add(attachment.rates.path, NO_RATE.format(driver=driver.name))
    for attachment in joined[1:] if driver.is_exclusive else ():
        problems.add(attachment.path, _second(network, joined[0]))


def _second(network: Network, first: Attachment) -> str:
    taken = f"takes the whole link, which {first.path} has already"
    return f"network {network.name} is macvlan_mode: passthru, and {taken}: leave one of the two out"
