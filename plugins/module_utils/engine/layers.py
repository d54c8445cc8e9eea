# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of a host: what is planned for each, and by which doors it is brought about.

Each imports what only it needs when it is used: a module is compiled anew at each run, and should pay for its own
layer alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Sequence

from .converge import Layer
from .declaration.model import IPTABLES, NFTABLES
from .diff import Change
from .doors.door import Door, Doors
from .errors import ApplyError, Problem
from .ledger import Ledger
from .planning import plan
from .planning.plan import Plan
from .state import CONTAINERS, DEFAULT_NETWORKS, Object

if TYPE_CHECKING:
    from .foreign.foreign_rules import ForeignDrop


def _forwarding(ledger: Ledger) -> Door:
    from .doors.files import Files
    from .doors.sysctl import Sysctls

    return Doors({"sysctl": Sysctls(ledger.found), "file": Files(ledger.found, lambda _path: DEFAULT_NETWORKS)})


def _bridge(ledger: Ledger) -> Door:
    from .doors.bridges import Bridges
    from .doors.sysctl import Sysctls

    return Doors({"bridge": Bridges(), "sysctl": Sysctls(ledger.found)})


def _backend(planned: Plan) -> str:
    """What makes the rules; empty where they are left to others in both families."""
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
    from .foreign.let_through import let_through

    return [*rules(planned), *let_through(planned)]


def _docker_chains(ledger: Ledger) -> Door:
    from .doors.firewall import Firewall

    return Firewall(ledger.canonical, ledger.found, ledger.suspects)


def _foreign_drops(planned: Plan, left: Sequence[Change]) -> List[str]:
    """Those that are not about to be told to let our packets through, by changes that check mode leaves."""
    if not _backend(planned) or planned.only_docker_user:
        return []
    from .doors.foreign_reader import read_foreign_drops

    try:
        return [str(drop) for drop in read_foreign_drops(planned) if not _is_being_solved(drop, left)]
    except ApplyError as error:
        return [f"whether rules of others drop what these accept could not be seen: {error}"]


def _is_being_solved(drop: ForeignDrop, left: Sequence[Change]) -> bool:
    kinds = {change.subject.kind for change in left}
    if not drop.drops:
        return False
    if drop.table == "firewalld":
        return "firewalld" in kinds
    return drop.chain == "FORWARD" and bool({"accept", "iptables_hook"} & kinds)


def _veth(ledger: Ledger) -> Door:
    from .doors.endpoints import Endpoints
    from .doors.sandboxes import Sandboxes

    declared = {"/".join(key): each.interface for key, each in ledger.allotted.endpoints.items()}
    owned = ledger.owned_by(VETH.name)
    sandboxes = Sandboxes(ledger.found, owned)
    return Doors({"sandbox": sandboxes, "endpoint": Endpoints(ledger.found, owned, declared)})


def _silences(planned: Plan, _left: Sequence[Change]) -> List[str]:
    if not _has_sandboxes_of_others(planned):
        return []
    from .doors.runtimes import silences

    return [*silences()]


def _files(planned: Plan) -> List[Object]:
    from .planning.host_files import dns_files

    return dns_files(planned)


def _dns_files(ledger: Ledger) -> Door:
    from .doors.container_files import ContainerFiles
    from .doors.files import Files

    files = Files(ledger.found, lambda _path: CONTAINERS, ledger.written)
    return Doors({"file": files, "container_file": ContainerFiles(ledger.found, ledger.written)})


def _has_sandboxes_of_others(planned: Plan) -> bool:
    return any(not container.sandbox.startswith("netns:") for container in planned.model.containers.values())


def _names(planned: Plan) -> List[Object]:
    from .planning.dnsmasq_files import dnsmasq

    return dnsmasq(planned)


def _dnsmasq(ledger: Ledger) -> Door:
    from .doors.dnsmasq import DnsmasqDoor

    return DnsmasqDoor(ledger.found)


def _lacking(planned: Plan) -> List[Problem]:
    if not any(network.services.leases for network in planned.model.networks.values()):
        return []
    from .doors.leases import lacking

    return list(lacking(planned))


def _unloadable(planned: Plan, _left: Sequence[Change]) -> List[str]:
    if not any(network.services.boot for network in planned.model.networks.values()):
        return []
    from .doors.leases import unloadable

    return list(unloadable(planned))


FORWARDING = Layer("forwarding", plan.forwarding, _forwarding)
BRIDGE = Layer("bridge", plan.bridges, _bridge)
DOCKER_CHAINS = Layer("docker_chains", _rules, _docker_chains, _foreign_drops, publishes=True)
VETH = Layer("veth", plan.sandboxes_and_endpoints, _veth, _silences)
DNS_FILES = Layer("dns_files", _files, _dns_files, leaves=lambda name: name.endswith("/resolv.conf"))
DNSMASQ = Layer("dnsmasq", _names, _dnsmasq, _unloadable, _lacking)

# In the order in which a host is built: the rules stand before the host forwards, and before the first endpoint exists.
LAYERS = (BRIDGE, DOCKER_CHAINS, FORWARDING, VETH, DNS_FILES, DNSMASQ)
