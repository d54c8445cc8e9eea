# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan -> dnsmasq's files, and the dnsmasq processes that should run.

The names of containers change often. So they are in files of their own, one for each container and network, in one
folder a network. dnsmasq watches the folder (`hostsdir`): every resolver that answers the network's names sees a change
at once.
"""

from __future__ import annotations

import hashlib
from typing import Dict, Iterable, Iterator, List, Tuple

from ..declaration.drivers import OverlayDriver
from ..declaration.model import Attachment, Container, Network
from ..declaration.services import CNAME, HOST_RECORD, SRV, Record
from ..declaration.slices import gateway_of
from ..state import Dnsmasq, File, Object
from .lease_lines import boot_lines, dhcp_hosts, lease_lines, option_lines
from .overlays import link_to_others
from .plan import Plan
from .resolvers import Resolver

RUN_FOLDER = "/run/wharf"
FOLDER = f"{RUN_FOLDER}/dnsmasq"
NAMES_FOLDER = f"{RUN_FOLDER}/names"
RUNNING_FOLDER = f"{RUN_FOLDER}/running"
LEASES_FOLDER = "/var/lib/wharf/leases"

_HEADER = "# Written by wharf.network.\n"

# The file of declared records. No container has this name, since names of containers begin with a letter or digit.
_RECORDS = "_records"

# A label of a name in the DNS (RFC 1035).
_LONGEST_LABEL = 63

# A top-level domain consists of letters alone, or begins with this prefix (RFC 3696).
_PUNYCODE = "xn--"


# dnsmasq drops all but three of these capabilities itself, once it has opened its sockets and files and set its user.
UNIT_FILE = "/run/systemd/system/wharf-dnsmasq@.service"
_UNIT = f"""{_HEADER}[Unit]
Description=dnsmasq for container networks: %i
After=network.target
StartLimitIntervalSec=0

[Service]
Type=forking
PIDFile={RUNNING_FOLDER}/%i.pid
ExecStart=dnsmasq --conf-file={FOLDER}/%i.conf
ExecReload=kill -HUP $MAINPID
Restart=on-failure
RestartSec=1
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SETUID CAP_SETGID CAP_CHOWN CAP_DAC_OVERRIDE
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={RUNNING_FOLDER} {LEASES_FOLDER}
ProtectHome=read-only
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
PrivateDevices=yes
PrivateTmp=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
"""


def dnsmasq(plan: Plan) -> List[Object]:
    names = _NamesByNetwork(plan)
    objects: List[Object] = list(names.files())
    if plan.facts.systemd and plan.resolvers.all:
        objects.append(File(UNIT_FILE, _UNIT))
    for resolver in plan.resolvers.all:
        objects += _resolver(plan, resolver, names)
    return objects


def config_path(resolver: str) -> str:
    return f"{FOLDER}/{resolver}.conf"


def pid_path(resolver: str) -> str:
    return f"{RUNNING_FOLDER}/{resolver}.pid"


def hosts_path(resolver: str) -> str:
    return f"{FOLDER}/{resolver}.hosts"


def claims_path(resolver: str) -> str:
    return f"{FOLDER}/{resolver}.servers"


def lease_path(resolver: str) -> str:
    return f"{LEASES_FOLDER}/{resolver}"


def read_paths(resolver: str) -> Tuple[str, str, str]:
    """The files that a process reads when it starts. On SIGHUP it reads all but the first one again."""
    return config_path(resolver), claims_path(resolver), hosts_path(resolver)


def digests(config: str, reread: Iterable[str]) -> Tuple[str, str]:
    """The digest of the configuration, and that of the files that are read again on SIGHUP."""
    return _digest(config), _digest("".join(reread))


def _resolver(plan: Plan, resolver: Resolver, names: _NamesByNetwork) -> Iterator[Object]:
    config = _HEADER + "".join(f"{line}\n" for line in _config(plan, resolver))
    reread = {}
    if _has_servers_file(plan, resolver):
        lines = [*_claims(plan, resolver, names), *_remote_names(plan, resolver)]
        reread[claims_path(resolver.name)] = "".join(lines)
    if resolver.is_networks_own and plan.model.networks[resolver.name].services.dhcp:
        reread[hosts_path(resolver.name)] = "".join(dhcp_hosts(plan, plan.model.networks[resolver.name]))
    place = ", ".join(plan.model.networks[name].path for name in resolver.networks)
    selinux_type = plan.facts.dnsmasq_selinux_type
    places = tuple(_declared_lines(plan, resolver))
    yield File(config_path(resolver.name), config, selinux_type, place=place, places=places)
    for path, content in reread.items():
        yield File(path, content, selinux_type, place=place)
    config_digest, reread_digest = digests(config, reread.values())
    yield Dnsmasq(
        resolver.name,
        config=config_digest,
        reread=reread_digest,
        listens=tuple((str(address), resolver.port) for address in resolver.addresses if resolver.serves_dns),
        watches=_names_folders(resolver),
        place=place,
    )


def _declared_lines(plan: Plan, resolver: Resolver) -> Iterator[Tuple[str, str]]:
    """The lines that dnsmasq may refuse, since users write a part of them, each with its place in the declaration."""
    if resolver.is_networks_own:
        network = plan.model.networks[resolver.name]
        yield from ((line, f"{network.path}.x-wharf.dhcp.options") for line in option_lines(network))
        yield from ((line, f"{network.path}.x-wharf.boot") for line in boot_lines(network))


def _names_folders(resolver: Resolver) -> Tuple[str, ...]:
    return tuple(f"{NAMES_FOLDER}/{network}" for network in resolver.networks) if resolver.has_names else ()


def _config(plan: Plan, resolver: Resolver) -> Iterator[str]:
    """The process listens on the bridges of its networks only, runs as dnsmasq's user, and reads none of the host's
    configuration.
    """
    networks = [plan.model.networks[name] for name in resolver.networks]
    yield f"user={plan.facts.dnsmasq_user}"
    # dnsmasq's default group may not exist in a user namespace.
    yield f"group={plan.facts.dnsmasq_group}"
    yield f"pid-file={pid_path(resolver.name)}"
    yield f"port={resolver.port if resolver.serves_dns else 0}"
    yield "bind-dynamic"
    yield from _places(resolver, networks)
    if resolver.is_networks_own and networks[0].services.leases:
        yield from lease_lines(plan, networks[0], lease_path(resolver.name), hosts_path(resolver.name))
    yield "no-hosts"
    if not resolver.has_names:
        yield "cache-size=0"
        yield from _upstreams(plan, resolver, networks)
        return
    yield "cache-size=1000"
    for folder in _names_folders(resolver):
        yield f"hostsdir={folder}"
    yield from _local_domains(plan, resolver, networks)
    yield from _upstreams(plan, resolver, networks)
    yield from _records(networks)


def _places(resolver: Resolver, networks: List[Network]) -> Iterator[str]:
    """Where the process listens: a network's own resolver on the bridge, any other one at its address alone.

    With `interface`, dnsmasq refuses queries that come by another interface, even without firewall rules; leases need
    it, too. A resolver that only a redirect leads to must not listen on all addresses of a bridge. An external bridge
    may have addresses that are not for containers.
    """
    if resolver.is_networks_own and not networks[0].external:
        yield f"interface={networks[0].bridge}"
        if isinstance(networks[0].driver, OverlayDriver):
            # The other hosts' resolvers ask for the names of containers here.
            if link_to_others(networks[0]):
                yield f"interface={link_to_others(networks[0])}"
            else:
                yield from (f"listen-address={address}" for address in resolver.addresses)
        # The host's own queries to these addresses are still answered.
        yield "except-interface=lo"
    else:
        for address in resolver.addresses:
            yield f"listen-address={address}"


def _local_domains(plan: Plan, resolver: Resolver, networks: Iterable[Network]) -> Iterator[str]:
    """The domains for which no nameserver outside is asked: names without a dot, those in the networks' domains, and
    reverse lookups in their subnets.

    Only the network's own resolver has the names of DHCP clients, so the other resolvers ask it for them.
    """
    own = {other.name: other.address for other in plan.resolvers.all if other.name != resolver.name}
    servers = {n.name: str(own[n.name]) for n in networks if n.services.dhcp and n.name in own}
    # Of several networks with leases, only the DHCP clients of the first one are found by a name without a domain.
    yield f"server=//{next(iter(servers.values()), '')}"
    for network in networks:
        for domain in _authoritative_domains(network):
            yield f"server=/{domain}/{servers.get(network.name, '')}"
        for pool in plan.allotted.networks[network.name]:
            yield ",".join(filter(None, [f"rev-server={pool.subnet}", servers.get(network.name, "")]))


def _domains(network: Network) -> List[str]:
    """The domains in which the names of containers are answered, too, the declared one first."""
    return list(dict.fromkeys(filter(None, [network.services.names.domain, network.name.lower()])))


def _authoritative_domains(network: Network) -> List[str]:
    """The domains of which no nameserver outside is asked any name. With DHCP that includes the first domain, since the
    names of DHCP clients are not known beforehand.
    """
    domains = _domains(network)
    first = domains[:1] if network.services.names.domain or network.services.dhcp else []
    return list(dict.fromkeys([*first, *(domain for domain in domains if not _may_be_public(domain))]))


def _may_be_public(domain: str) -> bool:
    """Whether the public DNS may have names in this domain: `app` is a top-level domain, `shop_front` cannot be one."""
    top = domain.rpartition(".")[2]
    return "." in domain or top.isalpha() or top.startswith(_PUNYCODE)


def _upstreams(plan: Plan, resolver: Resolver, networks: Iterable[Network]) -> Iterator[str]:
    """The nameservers for other names, in order. Answers with addresses of these networks are rejected."""
    if not resolver.forwards:
        yield "no-resolv"
        yield "local=/#/"
        if _has_servers_file(plan, resolver):
            yield f"servers-file={claims_path(resolver.name)}"
        return
    claims = [f"servers-file={claims_path(resolver.name)}"] if _has_servers_file(plan, resolver) else []
    if resolver.forwarder:
        yield from claims
        # Only the forwarder detects loops: a process that detects one stops using the nameserver until it changes.
        yield "no-resolv"
        yield f"server={resolver.forwarder.address}#{resolver.forwarder.port}"
        return
    declared = resolver.upstreams or [each for network in networks for each in network.services.names.upstreams]
    declared = declared or plan.model.host.dns
    if (len(set(declared)) or plan.facts.nameservers) > 1:
        # With strict-order, dnsmasq 2.91 does not answer at all if the last nameserver refuses or fails. So a single
        # nameserver goes without it.
        yield "strict-order"
    yield "dns-loop-detect"
    yield from claims
    if declared:
        yield "no-resolv"
        for address in dict.fromkeys(declared):
            yield f"server={address}"
    else:
        yield "resolv-file=/etc/resolv.conf"
    for network in networks:
        for pool in plan.allotted.networks[network.name]:
            yield f"bogus-nxdomain={pool.subnet}"


def _records(networks: Iterable[Network]) -> Iterator[str]:
    """The declared records other than addresses. Where two networks have a CNAME of one name, the first one counts."""
    aliases: Dict[str, str] = {}
    for network in networks:
        for record in network.services.names.records:
            for name in _record_names(network, record):
                if record.type == CNAME:
                    aliases.setdefault(name, f"cname={name},{_absolute(record.data[0])}")
                elif record.type == SRV:
                    priority, weight, port, target = record.data
                    yield f"srv-host={name},{_absolute(target)},{port},{priority},{weight}"
                elif record.type != HOST_RECORD:
                    yield f'txt-record={name},"{_escaped(record.data[0])}"'
    yield from aliases.values()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\")


def _absolute(name: str) -> str:
    return name.rstrip(".")


def _record_names(network: Network, record: Record) -> List[str]:
    """The names under which a record is answered: a relative name also in the network's domain."""
    if record.name.endswith("."):
        return [_absolute(record.name)]
    domain = network.services.names.domain
    return [record.name, f"{record.name}.{domain}"] if domain else [record.name]


Lines = List[Tuple[str, List[str]]]


class _NamesByNetwork:
    """The addresses and names in each network's folder, by file: one for each container, one for declared records.

    The file of records exists even without records, so that the folder which dnsmasq watches is never removed.
    """

    def __init__(self, plan: Plan) -> None:
        self._networks = plan.model.networks
        self._selinux_type = plan.facts.dnsmasq_selinux_type
        known = dict.fromkeys(network for resolver in plan.resolvers.all for network in resolver.networks)
        self._lines: Dict[str, Dict[str, Lines]] = {
            name: {_RECORDS: _address_records(plan.model.networks[name])} for name in known
        }
        for container, attachment in plan.model.attachments:
            if attachment.network in known:
                names = _names_of(container, plan.model.networks[attachment.network], attachment)
                addresses = plan.addresses(container.name, attachment)
                self._lines[attachment.network][container.name] = [(address, names) for address in addresses]

    def files(self) -> Iterator[File]:
        for network, files in self._lines.items():
            for name, lines in files.items():
                path = f"{NAMES_FOLDER}/{network}/{name}"
                content = "".join(f"{address}\t{' '.join(names)}\n" for address, names in lines)
                place = self._networks[network].path
                yield File(path, f"{_HEADER}{content}", self._selinux_type, place=place)

    def of(self, networks: Iterable[str]) -> Iterator[str]:
        for network in networks:
            for lines in self._lines[network].values():
                for _address, names in lines:
                    yield from names


def _address_records(network: Network) -> Lines:
    records = [record for record in network.services.names.records if record.type == HOST_RECORD]
    return [(record.data[0], _record_names(network, record)) for record in records]


def _names_of(container: Container, network: Network, attachment: Attachment) -> List[str]:
    """All names of a container on a network. A reverse lookup answers the first one."""
    called = container.names(attachment)
    longer = [f"{name}.{domain}" for domain in _domains(network) for name in called]
    names = dict.fromkeys([*longer[:1], *called, *longer, container.full_hostname])
    return [name for name in names if all(len(label) <= _LONGEST_LABEL for label in name.split("."))]


def _claims(plan: Plan, resolver: Resolver, names: _NamesByNetwork) -> Iterator[str]:
    """The names with a dot that no nameserver outside is asked for.

    Otherwise a query for, say, the IPv6 address of a container that has none would be forwarded, and might be answered
    with the address of another host. Subdomains of these names are forwarded all the same.
    """
    if not resolver.forwards:
        return
    local = [
        f".{domain}" for network in resolver.networks for domain in _authoritative_domains(plan.model.networks[network])
    ]
    for name in sorted({name.lower() for name in names.of(resolver.networks) if "." in name}):
        if not name.endswith(tuple(local)):
            yield f"server=/{name}/\nserver=/*.{name}/#\n"


def _has_servers_file(plan: Plan, resolver: Resolver) -> bool:
    """Whether dnsmasq has names that are not in the folders of names: dnsmasq reads them again on SIGHUP."""
    spans_hosts = any(isinstance(plan.model.networks[each].driver, OverlayDriver) for each in resolver.networks)
    return resolver.has_names and (resolver.forwards or spans_hosts)


def _remote_names(plan: Plan, resolver: Resolver) -> Iterator[str]:
    """The names and addresses of an overlay network's containers on other hosts: the resolver of each owner is asked,
    at the gateway of its slice. An address that changes there changes nothing here.
    """
    for name in resolver.networks:
        network = plan.model.networks[name]
        for peer in network.driver.peers if isinstance(network.driver, OverlayDriver) else ():
            asked = gateway_of(peer.slices[0])
            for each in peer.slices:
                yield f"rev-server={each},{gateway_of(each)}\n"
            for called in sorted({called.lower() for called in peer.names}):
                for whole in (called, *(f"{called}.{domain}" for domain in _domains(network))):
                    yield f"server=/{whole}/{asked}\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
