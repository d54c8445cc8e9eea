# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of a host: what is planned for each, and which resources make it.

Each imports what only it needs when it is used: a module is compiled anew at each run, and should pay for its own
layer alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable, List, Sequence

from .declaration.model import IPTABLES, NFTABLES
from .declaration.places import Places
from .diff import Change
from .errors import ApplyError, Problem
from .ledger import Ledger
from .planning import plan
from .planning.plan import Plan
from .resources.resource import Resource
from .state import File, Object

if TYPE_CHECKING:
    from .resources.links.stacks import StackReader
    from .third_party.drops import ThirdPartyDrop


@dataclass(frozen=True)
class Layer:
    """One layer of a host: the objects of a plan, and the resources that make them, in the order of their making.
    The resources of one run share a reader of network stacks.

    `lacks` names what the host must have for the plan beside what the resources require. `warnings` looks for what may
    keep the plan from working, given the changes that are still to be made. `is_declared` says whether any object of
    the layer is declared at all. `keeps_edits` says by its name whether a file that an admin has edited is left as it
    is.
    """

    name: str
    objects: Callable[[Plan], List[Object]]
    resources: Callable[[Ledger, StackReader], Sequence[Resource]]
    warnings: Callable[[Plan, Sequence[Change]], Sequence[str]] = lambda _plan, _not_made: ()
    lacks: Callable[[Plan], Sequence[Problem]] = lambda _plan: ()
    is_declared: Callable[[Plan], bool] = lambda planned: planned.has_networks
    keeps_edits: Callable[[str], bool] = lambda _name: False

    def desired(self, planned: Plan) -> List[Object]:
        """The objects that shall exist for what is declared."""
        return self.objects(planned) if self.is_declared(planned) else []


def _forwarding_objects(planned: Plan) -> List[Object]:
    from .planning.overlays import wireguard_links

    return [*plan.forwarding(planned), *wireguard_links(planned)]


def _forwarding(ledger: Ledger, stacks: StackReader) -> Sequence[Resource]:
    from .planning.wireguard_names import WIREGUARD_LINK
    from .resources.files.files import Files
    from .resources.links.wireguard import WireGuardLinks
    from .resources.sysctl import Sysctls

    return Sysctls(ledger.prior), Files(ledger.prior), WireGuardLinks(stacks, ledger.digests.get(WIREGUARD_LINK, ()))


def _bridges(planned: Plan) -> List[Object]:
    from .planning.overlays import tunnels_and_routes

    return [*plan.bridges(planned), *tunnels_and_routes(planned)]


def _missing_addresses(planned: Plan) -> List[Problem]:
    from .planning.overlays import missing_addresses

    return list(missing_addresses(planned.model, planned.facts))


def _bridge(_ledger: Ledger, stacks: StackReader) -> Sequence[Resource]:
    from .resources.links.bridges import Bridges
    from .resources.links.routing_rules import RoutingRules
    from .resources.links.tunnels import HostRoutes, Tunnels

    return Bridges(stacks), Tunnels(stacks), RoutingRules(), HostRoutes(stacks)


def _backend(planned: Plan) -> str:
    """The backend of the rules; empty where neither family has rules of wharf.network."""
    host = planned.model.host
    return host.firewall_backend if host.iptables or host.ip6tables else ""


def _rules(planned: Plan) -> List[Object]:
    backend = _backend(planned)
    if backend == NFTABLES:
        from .rules.rules_nftables import rules
    elif backend == IPTABLES:
        from .rules.rules_iptables import rules
    else:
        return []
    from .third_party.accepts import third_party_accepts

    return [*rules(planned), *third_party_accepts(planned)]


def _docker_chains(ledger: Ledger, _stacks: StackReader) -> Sequence[Resource]:
    from .resources.firewall.firewall import Firewall

    return (Firewall(ledger.canonical, ledger.prior),)


def _lacking_ipv6(planned: Plan) -> List[Problem]:
    """With nftables, one table has the rules of both families, and needs no IPv6."""
    host = planned.model.host
    if planned.facts.ipv6 or not (planned.has_rules and host.firewall_backend == IPTABLES and host.ip6tables):
        return []
    return [Problem(f"{host.path}.ip6tables", "the kernel of this host has no IPv6: set this to false")]


def _third_party_drops(planned: Plan, not_made: Sequence[Change]) -> List[str]:
    """Those that no change which check mode has left out would solve."""
    if not _backend(planned) or not planned.has_networks:
        return []
    from .preflight.third_party_drops import read_third_party_drops

    try:
        return [str(drop) for drop in read_third_party_drops(planned) if not _is_being_solved(drop, not_made)]
    except ApplyError as error:
        return [
            f"third-party rules could not be read, so it is not known whether they drop what the networks need: {error}"
        ]


def _is_being_solved(drop: ThirdPartyDrop, not_made: Sequence[Change]) -> bool:
    kinds = {change.subject.kind for change in not_made}
    if not drop.drops:
        return False
    if drop.table == "firewalld":
        return "firewalld" in kinds
    if "iptables_chain" in kinds:
        from .preflight.third_party_drops import is_in_own_chain

        if is_in_own_chain(drop):
            # It goes, since the other backend's come.
            return True
    return drop.chain == "FORWARD" and bool({"accept", "iptables_hook"} & kinds)


def _veth(ledger: Ledger, stacks: StackReader) -> Sequence[Resource]:
    from .resources.links.endpoints import Endpoints
    from .resources.links.parents import Parents
    from .resources.links.sandboxes import Sandboxes
    from .resources.links.shims import Shims
    from .resources.links.uplinks import Uplinks

    declared = {key: each.interface for key, each in ledger.allotted.endpoints.items()}
    owned = ledger.owned_by(VETH.name)
    endpoints = Endpoints(ledger.prior, owned, declared, stacks)
    # Uplinks come last: a link that has links of containers can be no port.
    return (
        Parents(stacks),
        Sandboxes(ledger.prior, owned, stacks),
        endpoints,
        Shims(stacks),
        Uplinks(stacks),
    )


def _lacking_for_endpoints(planned: Plan) -> List[Problem]:
    found: List[Problem] = []
    if planned.lease_requests:
        from .dhcp_client import lacking

        found += lacking(planned.lease_requests)
    if _has_third_party_sandboxes(planned):
        from .preflight.rootless_podman import rootless

        found += rootless(plan.sandboxes_and_endpoints(planned))
    return found


def _silences(planned: Plan, _not_made: Sequence[Change]) -> List[str]:
    if not _has_third_party_sandboxes(planned):
        return []
    from .runtimes.runtimes import silences

    return [*silences()]


def _files(planned: Plan) -> List[Object]:
    from .planning.host_files import dns_files

    return dns_files(planned)


def _dns_files(ledger: Ledger, _stacks: StackReader) -> Sequence[Resource]:
    from .resources.files.container_files import ContainerFiles
    from .resources.files.files import Files

    return Files(ledger.prior, ledger.digests), ContainerFiles(ledger.prior, ledger.digests)


def _has_third_party_sandboxes(planned: Plan) -> bool:
    return any(container.sandbox.is_third_party for container in planned.model.containers.values())


def _names(planned: Plan) -> List[Object]:
    from .planning.dnsmasq_files import dnsmasq

    return dnsmasq(planned)


def _dnsmasq(ledger: Ledger, _stacks: StackReader) -> Sequence[Resource]:
    from .resources.files.dnsmasq import DnsmasqFiles, Processes

    return DnsmasqFiles(ledger.prior), Processes()


def _lacking(planned: Plan) -> List[Problem]:
    if not any(network.services.leases for network in planned.model.networks.values()):
        return []
    from .preflight.lease_needs import lacking

    return list(lacking(planned))


def _unloadable(planned: Plan, _not_made: Sequence[Change]) -> List[str]:
    if not any(network.services.boot for network in planned.model.networks.values()):
        return []
    from .preflight.lease_needs import unloadable

    return list(unloadable(planned))


def _boot(planned: Plan) -> List[Object]:
    from .planning.boot import files_and_services
    from .program import program

    boot = planned.boot or {}
    place = Places.of_boot(boot)
    objects = files_and_services(planned.facts, boot.get("services"), boot.get("metrics", ""))
    return [
        replace(program(), place=place),
        *(replace(each, place=place) if isinstance(each, File) else each for each in objects),
    ]


def _boot_resources(_ledger: Ledger, _stacks: StackReader) -> Sequence[Resource]:
    from .resources.boot import Programs, ServiceFiles, Services

    return Programs(), ServiceFiles(), Services()


def _no_init_system(planned: Plan) -> List[Problem]:
    boot = planned.boot or {}
    if not (boot.get("services") or boot.get("metrics")) or planned.facts.init_system:
        return []
    remedy = "leave this out, and have the host's init system run `wharf apply` when it boots, and `wharf follow`"
    return [
        Problem(
            Places.of_boot(boot, "services" if boot.get("services") else "metrics"),
            f"there is neither systemd nor OpenRC on this host: {remedy}",
        )
    ]


def _unwritten_metrics(planned: Plan, _not_made: Sequence[Change]) -> List[str]:
    boot = planned.boot or {}
    metrics = boot.get("metrics")
    if not metrics:
        return []
    place = Places.of_boot(boot, "metrics")
    if not (boot.get("services") or planned.facts.starts_services):
        why = "no service writes this file, since neither systemd nor OpenRC runs this host"
        return [f"{place}: {why}: have its init system run `wharf follow --metrics {metrics}`"]
    folder = os.path.dirname(metrics)
    if not os.path.isdir(folder):
        return [f"{place}: wharf-follow cannot write this file, since there is no folder {folder}: create it"]
    return []


FORWARDING = Layer("forwarding", _forwarding_objects, _forwarding)
BRIDGE = Layer("bridge", _bridges, _bridge, lacks=_missing_addresses)
DOCKER_CHAINS = Layer(
    "docker_chains",
    _rules,
    _docker_chains,
    _third_party_drops,
    _lacking_ipv6,
    is_declared=lambda planned: planned.has_rules,
)
VETH = Layer("veth", plan.sandboxes_and_endpoints, _veth, _silences, _lacking_for_endpoints)
DNS_FILES = Layer("dns_files", _files, _dns_files, keeps_edits=lambda name: name.endswith("/resolv.conf"))
DNSMASQ = Layer("dnsmasq", _names, _dnsmasq, _unloadable, _lacking)
BOOT = Layer(
    "boot",
    _boot,
    _boot_resources,
    _unwritten_metrics,
    _no_init_system,
    is_declared=lambda planned: planned.boot is not None,
)

# In the order in which a host is built: rules come before the host forwards, and before the first endpoint exists.
LAYERS = (BRIDGE, DOCKER_CHAINS, FORWARDING, VETH, DNS_FILES, DNSMASQ, BOOT)
