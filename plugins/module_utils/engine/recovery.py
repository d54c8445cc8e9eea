# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new ledger for a host that has lost its own, made from the marks of what wharf.network has made there."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Collection, Dict, FrozenSet, Iterator, List, Set, Tuple

from .declaration.declared import (
    CONTAINERS,
    DOCKER_USER,
    USER_NETWORKS,
    Call,
    Declared,
    declare,
    known,
    real_name,
)
from .declaration.parse_model import read_model
from .declaration.section import Address, Interface
from .errors import ConflictError, ModelError, ProblemCollector, WharfError
from .kernel import disk, namespaces, proc_sys, rtnetlink
from .kernel.proc_sys import of_interface
from .kernel.rtnetlink import AddressInfo, LinkInfo
from .layers import BOOT, DNS_FILES, DOCKER_CHAINS, FORWARDING, LAYERS
from .ledger import PATH, REMEDY, Ledger
from .planning.allotments import Allotments, EndpointAllotment, PoolAllotment, Pools
from .planning.dnsmasq_files import RUN_FOLDER
from .planning.facts import Facts
from .planning.host_files import CONTAINER_FILES, NETNS_FILES
from .planning.overlays import encrypted
from .planning.plan import ARP_IGNORE, ROUTE_LOCALNET, SEND_REDIRECTS, SYSCTL_FILE, Plan
from .planning.publications import Translation
from .planning.resolvers import DNS_PORT
from .resources.files import dnsmasq
from .resources.files.files import ABSENT
from .resources.links.marks import (
    endpoint_of,
    is_managed_bridge,
    is_managed_port,
    is_managed_wireguard,
    marked_for,
    network_of,
)
from .resources.links.sandboxes import marks
from .resources.links.shims import marked_shims
from .resources.links.stacks import Stack, StackReader, Stacks, all_stacks, is_present, sandbox_path
from .resources.links.wireguard import WireGuardLinks
from .rules.network_rules_iptables import FAMILIES, WHARF_FORWARD
from .rules.rules_iptables import possible_skeleton
from .rules.rules_nftables import DECLARED_CHAIN, NOT_A_ROUTER, UPLINKED
from .rules.translations import translations
from .state import (
    DEFAULT_NETWORK,
    Chain,
    ChainRef,
    EndpointKey,
    File,
    IptablesChain,
    Key,
    Object,
    Rules,
    Sandbox,
    SandboxRef,
    State,
    WireGuard,
    state_of,
)

_FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
_ALSO_FORWARDING = {"net.ipv6.conf.default.forwarding": _FORWARDING[6]}


@dataclass(frozen=True)
class Marked:
    """The networks and containers that marks on the host name, and the chain of the admin's declared rules, if any."""

    networks: FrozenSet[str]
    containers: FrozenSet[str]
    docker_user: FrozenSet[str]

    def __str__(self) -> str:
        return "; ".join(f"{kind} {', '.join(sorted(found))}" for kind, found in vars(self).items() if found)

    def refuse_losses(self, call: Call) -> None:
        """
        Raises:
            ConflictError: the call would remove what it does not declare, since no ledger declares it either.
        """
        problems = ProblemCollector()
        words = known(declare(Declared(), call), call)
        given = {
            "networks": (USER_NETWORKS, words.networks),
            "containers": (CONTAINERS, words.containers),
            "docker_user": (DOCKER_USER, dict.fromkeys(self.docker_user if words.docker_user else ())),
        }
        for kind, (scope, declared) in given.items():
            names = {real_name(*entry) for entry in declared.items()}
            missing = getattr(self, kind) - {DEFAULT_NETWORK} - names
            if missing and not call.removes_rest(scope):
                undeclared = ", ".join(sorted(missing))
                path = call.places.part(kind)
                state = call.places.option("state")
                remedy = f"declare them too, or give {path} without them, and exact as {state}"
                problems.add(path, f"wharf.network made these, and they are not declared: {undeclared}: {remedy}")
        problems.raise_if_any(ConflictError)


def recover(ledger: Ledger, call: Call, plan: Callable[[], Plan]) -> None:
    """Fill the new ledger of a host with the objects that are managed by wharf.network, which it may have all the same.

    `plan` plans what is declared and given with what this ledger has by then.

    Raises:
        ConflictError: there are, and the call does not ask to recover the ledger, or does not declare all of them.
    """
    find_marked(ledger, call)
    if ledger.owned.keys() - {BOOT.name}:
        # The run makes the same plan, and reports its errors.
        with suppress(ModelError):
            _claim(ledger, plan())


def find_marked(ledger: Ledger, call: Call) -> None:
    """Fill the new ledger of a host with the objects whose marks show that wharf.network made them.

    Raises:
        ConflictError: there are such objects, and the call does not say to recover them, or not all of them.
    """
    _own_marked(ledger)
    if ledger.owned:
        marked = _marked()
        if not call.recover:
            names = str(marked) or ", ".join(_owned_names(ledger))
            raise ConflictError.at(
                PATH, f"is lost, but objects of wharf.network exist on this host ({names}): {REMEDY}"
            )
        marked.refuse_losses(call)
    # An earlier version may have installed this alone, and noted it in no ledger.
    note_boot(ledger)


def _claim(ledger: Ledger, plan: Plan) -> None:
    """Own also what bears no mark but is just as it is planned, and keep the ports taken from ranges, and the keys of
    other hosts.
    """
    for layer in LAYERS:
        _own(ledger, layer.name, {thing.key for thing in layer.desired(plan) if _is_as_planned(thing)})
    _own_files_of_sandboxes(ledger)
    ledger.allotted = replace(ledger.allotted, ports=_ports(plan), peer_keys=_peer_keys(plan))


def _own_marked(ledger: Ledger) -> None:
    """Own all that has a mark of wharf.network. Changes nothing on the host."""
    usual, stacks = _usual_plan(), StackReader()
    for layer in LAYERS:
        # Neither rules alone show that a ledger is lost, nor what brings networks back when the host boots.
        if layer not in (DOCKER_CHAINS, BOOT):
            objects = layer.objects(usual)
            for resource in layer.resources(ledger, stacks):
                _own(
                    ledger,
                    layer.name,
                    resource.recover(state_of([each for each in objects if each.kind in resource.kinds])),
                )
    # Rules alone show nothing: they stay after a teardown where the admin has put third-party rules among them.
    if ledger.owned:
        rules = _existing_rules()
        _own(ledger, DOCKER_CHAINS.name, rules.keys())
        prior = {**_prior_forwarding(rules), **_prior_localnet(), **_prior_arp(), **_prior_redirects()}
        ledger.prior.update(prior)
        _own(ledger, FORWARDING.name, {("sysctl", name) for name in prior})
        _own_files_of_sandboxes(ledger)
        _own_folders_of_dnsmasq(ledger)
        ports = {name: port for name, port in dnsmasq.ports().items() if port != DNS_PORT}
        read = _stacks()
        ledger.allotted = Allotments(_pools(read), dict(_endpoints(read)), resolvers=ports, hosts=_hosts())


def note_boot(ledger: Ledger) -> None:
    """Own what an earlier version installed to bring networks back at boot, and did not note in the ledger."""
    from .resources.boot import installed

    found = installed()
    if found and ledger.declared.boot is None:
        ledger.declared = replace(ledger.declared, boot={})
        _own(ledger, BOOT.name, found)


def _usual_plan() -> Plan:
    """What is planned on a host of which nothing is known, and on which nothing is declared."""
    # With this subnet nothing has to be allotted, for which a host may lack netaddr.
    return Plan.make(read_model({"bip": "172.17.0.1/16"}, {}, {}, (), ProblemCollector()), Facts(), Allotments())


def _existing_rules() -> State:
    """The rules of wharf.network that exist, of either backend."""
    found: State = {}
    (resource,) = DOCKER_CHAINS.resources(Ledger(), StackReader())
    for possible in ([*DOCKER_CHAINS.objects(_usual_plan()), UPLINKED], possible_skeleton()):
        # A host may lack the programs of a backend, or have third-party chains of these names.
        with suppress(WharfError):
            found.update(resource.observe(state_of(possible), frozenset()).current)
    return found


def _marked() -> Marked:
    rules = _existing_rules()
    published = {thing.container for thing in rules.values() if isinstance(thing, Rules)} - {""}
    sublinks = (key for stack in _stacks().values() for key, _link in _sublinks(stack))
    attached = {container for container, _network in (*_ports_by_endpoint(), *sublinks)}
    declared = rules.get(("chain", DECLARED_CHAIN))
    return Marked(
        frozenset(_bridges_by_network()),
        frozenset({*published, *attached, *marks().values()}),
        frozenset({DECLARED_CHAIN} if isinstance(declared, Chain) and declared.rules else ()),
    )


def _published() -> Dict[str, List[Translation]]:
    """The ports that are published, by their containers."""
    published: Dict[str, List[Translation]] = {}
    for thing in _existing_rules().values():
        if isinstance(thing, Rules) and thing.container:
            published.setdefault(thing.container, []).extend(translations(thing))
    return published


def _bridges_by_network() -> Dict[str, LinkInfo]:
    return {network_of(link): link for link in rtnetlink.links() if is_managed_bridge(link) and network_of(link)}


def _ports_by_endpoint() -> Dict[EndpointKey, LinkInfo]:
    """Of each endpoint the end on the host."""
    ports = filter(is_managed_port, rtnetlink.links())
    return {key: link for link in ports for key in [endpoint_of(link)] if key}


def _own(ledger: Ledger, layer: str, keys: Collection[Key]) -> None:
    if keys:
        ledger.owned.setdefault(layer, set()).update(keys)


def _owned(ledger: Ledger) -> Set[Key]:
    return set().union(*ledger.owned.values())


def _owned_names(ledger: Ledger) -> List[str]:
    """Without the names of rules and of kernel parameters, which alone show nothing."""
    owned = [key for layer, keys in ledger.owned.items() if layer != DOCKER_CHAINS.name for key in keys]
    return sorted({name for kind, name in owned if kind != "sysctl"})


def _own_files_of_sandboxes(ledger: Ledger) -> None:
    """Nobody else has written the files of a managed namespace: a run refuses files that it does not own."""
    for kind, name in _owned(ledger):
        sandbox = SandboxRef.parse(name)
        if kind == "sandbox" and sandbox.is_managed:
            folder = f"{NETNS_FILES}/{sandbox.name}"
            paths = {f"{folder}/{file}" for file in CONTAINER_FILES}
            _own(ledger, DNS_FILES.name, {("file", path) for path in paths if disk.content_of(path, follow=False)})
            # Who made the folders is not known. They only go when they are empty.
            ledger.prior.update({NETNS_FILES: ABSENT, folder: ABSENT})


def _own_folders_of_dnsmasq(ledger: Ledger) -> None:
    made = {str(folder) for path in dnsmasq.files() for folder in Path(path).parents}
    ledger.prior.update({folder: ABSENT for folder in made if folder.startswith(RUN_FOLDER)})


def _stacks() -> Stacks:
    """What is in each network stack but the host's."""
    return StackReader().read(all_stacks())


def _pools(stacks: Stacks) -> Dict[str, Pools]:
    """The subnets of networks: by the addresses of their bridges, else by those of containers."""
    networks = {link.index: name for name, link in _bridges_by_network().items()}
    pools: Dict[str, Pools] = {}
    for info in rtnetlink.addresses():
        if info.index in networks and _is_given(info):
            address = ipaddress.ip_interface(info.address)
            name = networks[info.index]
            pools[name] = *pools.get(name, ()), PoolAllotment(address.network, address.ip)
    for stack in stacks.values():
        for (_container, name), link in _sublinks(stack):
            for address in _addresses(stack, link):
                # The subnet's own address stands for a gateway that nothing shows.
                pool = PoolAllotment(address.network, address.network.network_address)
                if pool not in pools.get(name, ()):
                    pools[name] = *pools.get(name, ()), pool
    return pools


def _is_given(info: AddressInfo) -> bool:
    return not (info.by_kernel or info.link_local6 or info.address.startswith("169.254."))


def _hosts() -> Dict[str, Tuple[Address, ...]]:
    """The host's own addresses on networks without a bridge."""
    shims = {link.index: network_of(link) for link in marked_shims()}
    found: Dict[str, Tuple[Address, ...]] = {}
    for info in rtnetlink.addresses() if shims else ():
        if info.index in shims and _is_given(info):
            name = shims[info.index]
            found[name] = *found.get(name, ()), ipaddress.ip_interface(info.address).ip
    return found


def _endpoints(stacks: Stacks) -> Iterator[Tuple[EndpointKey, EndpointAllotment]]:
    """What each endpoint has in its sandbox, wherever that is."""
    ports = _ports_by_endpoint()
    for stack in stacks.values():
        here = {port.link: key for key, port in ports.items() if port.link_netnsid == stack.number}
        here.update({link.index: key for key, link in _sublinks(stack)})
        for link in stack.links:
            if link.index in here:
                by_version = {address.version: address.ip for address in _addresses(stack, link)}
                yield here[link.index], EndpointAllotment(link.name, link.mac, by_version.get(4), by_version.get(6))


def _sublinks(stack: Stack) -> Iterator[Tuple[EndpointKey, LinkInfo]]:
    """The endpoints in a stack whose networks have no bridge."""
    for link in stack.sublinks:
        key = endpoint_of(link)
        if key:
            yield key, link


def _addresses(stack: Stack, link: LinkInfo) -> List[Interface]:
    given = (info for info in stack.addresses if info.index == link.index and _is_given(info))
    return [ipaddress.ip_interface(info.address) for info in given]


def _prior_forwarding(rules: State) -> Dict[str, str]:
    """Whether the host forwarded before wharf.network made it forward. Only the rules show that.

    Where the rules are gone, too, the value is 0: so the host does not become a router for its neighbours.
    """
    written = _parameters(disk.content_of(SYSCTL_FILE, follow=False))
    before = {}
    for version, name in _FORWARDING.items():
        dropped = _drops_third_party(rules, version)
        if name in written or (dropped and proc_sys.read(name) == "1"):
            before[name] = "0" if dropped or not rules else "1"
    before.update({name: before[like] for name, like in _ALSO_FORWARDING.items() if name in written and like in before})
    # Only one that was 1 is set to 2.
    before.update({name: "1" for name, value in written.items() if name.endswith(".accept_ra") and value == "2"})
    return before


def _prior_localnet() -> Dict[str, str]:
    """The prior value of the one parameter that is set on external bridges to which containers are attached.

    Nothing shows it. It is set to 0, the kernel's default: so nobody there reaches the host's loopback.
    """
    links = {link.index: link for link in rtnetlink.links()}
    bridges = {links[port.master] for port in _ports_by_endpoint().values() if port.master in links}
    names = [of_interface(bridge.name, ROUTE_LOCALNET) for bridge in bridges if not marked_for(bridge)]
    return {name: "0" for name in names if proc_sys.read(name) == "1"}


def _prior_arp() -> Dict[str, str]:
    """The prior value of the parameter by which bridges with an uplink answer nobody: that of new interfaces."""
    names = [of_interface(link.name, ARP_IGNORE) for link in _bridges_by_network().values()]
    usual = proc_sys.read(of_interface("default", ARP_IGNORE)) or "0"
    return {name: usual for name in names if proc_sys.read(name) not in (None, usual)}


def _prior_redirects() -> Dict[str, str]:
    """The prior value of the parameter that the kernel sets with a link of WireGuard: that of new interfaces."""
    usual = proc_sys.read(proc_sys.of_new_interface(SEND_REDIRECTS)) or "1"
    is_set = any(map(is_managed_wireguard, rtnetlink.links())) and proc_sys.read(SEND_REDIRECTS) != usual
    return {SEND_REDIRECTS: usual} if is_set else {}


def _drops_third_party(rules: State, version: int) -> bool:
    """Whether the host is kept from being a router for its neighbours."""
    forward = rules.get(("chain", "forward"))
    if isinstance(forward, Chain):
        return NOT_A_ROUTER[version] in forward.rules
    rest = rules.get(("iptables_chain", str(ChainRef(FAMILIES[version], WHARF_FORWARD))))
    return isinstance(rest, IptablesChain) and "-j DROP" in rest.rules


def _parameters(text: str) -> Dict[str, str]:
    lines = (line.partition(" = ") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, _equals, value in lines}


def _is_as_planned(thing: Object) -> bool:
    if isinstance(thing, File):
        return disk.content_of(thing.name, follow=False) == thing.content
    if isinstance(thing, Sandbox) and thing.of and is_present(thing.ref) and is_present(thing.of):
        return namespaces.identity(sandbox_path(thing.ref)) == namespaces.identity(sandbox_path(thing.of))
    return False


def _peer_keys(plan: Plan) -> Dict[str, str]:
    """The keys by which the link of WireGuard knows other hosts, which their slices distinguish."""
    links = WireGuardLinks().observe({}, frozenset()).current.values()
    keys = {
        each: peer.public_key
        for link in links
        if isinstance(link, WireGuard)
        for peer in link.peers
        for each in peer.slices
    }
    peers = [peer for _network, driver in encrypted(plan.model) for peer in driver.peers]
    return {peer.name: keys[str(peer.slices[0])] for peer in peers if str(peer.slices[0]) in keys}


def _ports(plan: Plan) -> Dict[str, int]:
    """For each port that the declaration leaves to choose, the one that is published now, or else the planned one."""
    published = _published()
    ports: Dict[str, int] = {}
    taken: Set[Translation] = set()
    for each in plan.publications:
        first, last = each.candidates
        if first != last and each.key not in ports:
            existing = [
                translation
                for translation in published.get(each.container, [])
                if translation not in taken
                and translation.host_ip == each.translation.host_ip
                and (translation.protocol, translation.target_port) == (each.protocol, each.target_port)
                and first <= translation.host_port <= last
            ]
            found = min(existing, key=lambda translation: translation.host_port, default=each.translation)
            taken.add(found)
            ports[each.key] = found.host_port
    return ports
