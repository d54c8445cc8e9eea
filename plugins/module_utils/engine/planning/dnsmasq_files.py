# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan -> what dnsmasq reads, and the processes of it that are to run.

What changes from day to day, the names of containers, stands in a file for each container and network, in a folder for
each network that dnsmasq watches: a change is seen at once, and by all resolvers that know the network.
"""

from __future__ import annotations

import hashlib
from typing import Dict, Iterable, Iterator, List, Tuple

from ..declaration.model import Attachment, Container, Network
from ..declaration.services import CNAME, HOST_RECORD, SRV, Record
from ..state import Dnsmasq, File, Object
from .lease_lines import boot_lines, dhcp_hosts, lease_lines, option_lines
from .plan import Plan
from .resolvers import Resolver

RUN_FOLDER = "/run/wharf"
FOLDER = f"{RUN_FOLDER}/dnsmasq"
NAMES_FOLDER = f"{RUN_FOLDER}/names"
RUNNING_FOLDER = f"{RUN_FOLDER}/running"
LEASES_FOLDER = "/var/lib/wharf/leases"

_HEADER = "# Written by wharf.network.\n"

# No container has this name: theirs begin with a letter or digit.
_RECORDS = "_records"

# A label of a name in the DNS (RFC 1035).
_LONGEST_LABEL = 63

# Top-level domains consist of letters alone, or begin thus (RFC 3696). No other name can be one.
_PUNYCODE = "xn--"


# dnsmasq gives up all but three of these itself, once it has its sockets, its files and its user.
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
    """What a process reads when it begins; all but the first one again when it is told to."""
    return config_path(resolver), claims_path(resolver), hosts_path(resolver)


def digests(config: str, reread: Iterable[str]) -> Tuple[str, str]:
    """Which configuration it is, and which of what is read again."""
    return _digest(config), _digest("".join(reread))


def _resolver(plan: Plan, resolver: Resolver, names: _NamesByNetwork) -> Iterator[Object]:
    config = _HEADER + "".join(f"{line}\n" for line in _config(plan, resolver))
    reread = {}
    if resolver.forwards and resolver.knows:
        reread[claims_path(resolver.name)] = "".join(_claims(plan, resolver, names))
    if resolver.is_networks_own and plan.model.networks[resolver.name].services.dhcp:
        reread[hosts_path(resolver.name)] = "".join(dhcp_hosts(plan, plan.model.networks[resolver.name]))
    place = ", ".join(plan.model.networks[name].path for name in resolver.networks)
    yield File(config_path(resolver.name), config, place=place, places=tuple(_declared_lines(plan, resolver)))
    for path, content in reread.items():
        yield File(path, content, place=place)
    config_digest, reread_digest = digests(config, reread.values())
    yield Dnsmasq(
        resolver.name,
        config=config_digest,
        reread=reread_digest,
        listens=tuple((str(address), resolver.port) for address in resolver.addresses if resolver.answers),
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
    return tuple(f"{NAMES_FOLDER}/{network}" for network in resolver.networks) if resolver.knows else ()


def _config(plan: Plan, resolver: Resolver) -> Iterator[str]:
    """Nothing is answered but by the network's bridge, and by the process's own user; nothing of the host's is read."""
    networks = [plan.model.networks[name] for name in resolver.networks]
    yield f"user={plan.facts.dnsmasq_user}"
    # Without a group of its own dnsmasq would take one that a user namespace may not have.
    yield f"group={plan.facts.dnsmasq_group}"
    yield f"pid-file={pid_path(resolver.name)}"
    yield f"port={resolver.port if resolver.answers else 0}"
    yield "bind-dynamic"
    yield from _places(resolver, networks)
    if resolver.is_networks_own and networks[0].services.leases:
        yield from lease_lines(plan, networks[0], lease_path(resolver.name), hosts_path(resolver.name))
    yield "no-hosts"
    if not resolver.knows:
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
    """Where it listens. By the interface dnsmasq refuses whoever asks by another one, also where no rules stand; leases
    need that, too. A port that only rules lead to must not be on all addresses of a bridge, and those of a bridge that
    somebody else made are not all ours.
    """
    if resolver.is_networks_own and not networks[0].external:
        yield f"interface={networks[0].bridge}"
        # It still answers what the host asks of these addresses.
        yield "except-interface=lo"
    else:
        for address in resolver.addresses:
            yield f"listen-address={address}"


def _local_domains(plan: Plan, resolver: Resolver, networks: Iterable[Network]) -> Iterator[str]:
    """What is answered here or not at all: names without a dot, the networks' own, and their addresses.

    Those who got a lease are known to the network's own resolver only, which others ask for them.
    """
    own = {other.name: other.at for other in plan.resolvers.all if other.name != resolver.name}
    knows = {n.name: str(own[n.name]) for n in networks if n.services.dhcp and n.name in own}
    # Of several networks with leases the first one's are known without a domain.
    yield f"server=//{next(iter(knows.values()), '')}"
    for network in networks:
        for domain in _claimed_domains(network):
            yield f"server=/{domain}/{knows.get(network.name, '')}"
        for pool in plan.allotted.networks[network.name].values():
            yield ",".join(filter(None, [f"rev-server={pool.subnet}", knows.get(network.name, "")]))


def _domains(network: Network) -> List[str]:
    """What follows the names of containers in longer ones, the declared domain first."""
    return list(dict.fromkeys(filter(None, [network.services.names.domain, network.name.lower()])))


def _claimed_domains(network: Network) -> List[str]:
    """Those in which all names are the network's: of who gets a lease nobody knows beforehand what he is called."""
    domains = _domains(network)
    first = domains[:1] if network.services.names.domain or network.services.dhcp else []
    return list(dict.fromkeys([*first, *(domain for domain in domains if not _may_be_public(domain))]))


def _may_be_public(domain: str) -> bool:
    """Whether names of the public DNS may end so: `app` is a top-level domain, `shop_front` cannot be one."""
    top = domain.rpartition(".")[2]
    return "." in domain or top.isalpha() or top.startswith(_PUNYCODE)


def _upstreams(plan: Plan, resolver: Resolver, networks: Iterable[Network]) -> Iterator[str]:
    """Whom to ask for the rest, in their order. Nobody outside is believed about addresses in these networks."""
    if not resolver.forwards:
        yield "no-resolv"
        yield "local=/#/"
        return
    claims = [f"servers-file={claims_path(resolver.name)}"] if resolver.knows else []
    if resolver.asks:
        yield from claims
        # It alone looks for loops: whoever finds itself in one asks no more until its nameservers change.
        yield "no-resolv"
        yield f"server={resolver.asks.at}#{resolver.asks.port}"
        return
    declared = resolver.upstreams or [each for network in networks for each in network.services.names.upstreams]
    declared = declared or plan.model.host.dns
    if (len(set(declared)) or plan.facts.nameservers) > 1:
        # When the last one in the order refuses or fails, dnsmasq 2.91 answers nothing: not so where there is but one.
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
        for pool in plan.allotted.networks[network.name].values():
            yield f"bogus-nxdomain={pool.subnet}"


def _records(networks: Iterable[Network]) -> Iterator[str]:
    """The declared records but for addresses. Where two networks have one name, the first one's record counts."""
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
    """A relative name is known as such, and in the network's domain."""
    if record.name.endswith("."):
        return [_absolute(record.name)]
    domain = network.services.names.domain
    return [record.name, f"{record.name}.{domain}"] if domain else [record.name]


Lines = List[Tuple[str, List[str]]]


class _NamesByNetwork:
    """The addresses and names in each network's folder, by file: one for each container, one for declared records.

    That one is there even if there are none, since dnsmasq watches the folder, which must not go.
    """

    def __init__(self, plan: Plan) -> None:
        self._networks = plan.model.networks
        known = dict.fromkeys(network for resolver in plan.resolvers.all for network in resolver.networks)
        self._lines: Dict[str, Dict[str, Lines]] = {
            name: {_RECORDS: _address_records(plan.model.networks[name])} for name in known
        }
        for container in plan.model.containers.values():
            for attachment in container.attachments:
                if attachment.network in known:
                    names = _names_of(container, plan.model.networks[attachment.network], attachment)
                    addresses = plan.addresses(container.name, attachment)
                    self._lines[attachment.network][container.name] = [(address, names) for address in addresses]

    def files(self) -> Iterator[File]:
        for network, files in self._lines.items():
            for name, lines in files.items():
                path = f"{NAMES_FOLDER}/{network}/{name}"
                content = "".join(f"{address}\t{' '.join(names)}\n" for address, names in lines)
                yield File(path, f"{_HEADER}{content}", place=self._networks[network].path)

    def of(self, networks: Iterable[str]) -> Iterator[str]:
        for network in networks:
            for lines in self._lines[network].values():
                for _address, names in lines:
                    yield from names


def _address_records(network: Network) -> Lines:
    records = [record for record in network.services.names.records if record.type == HOST_RECORD]
    return [(record.data[0], _record_names(network, record)) for record in records]


def _names_of(container: Container, network: Network, attachment: Attachment) -> List[str]:
    """The first one is what the container's address is called."""
    called = container.names(attachment)
    longer = [f"{name}.{domain}" for domain in _domains(network) for name in called]
    names = dict.fromkeys([*longer[:1], *called, *longer, container.full_hostname])
    return [name for name in names if all(len(label) <= _LONGEST_LABEL for label in name.split("."))]


def _claims(plan: Plan, resolver: Resolver, names: _NamesByNetwork) -> Iterator[str]:
    """Which names with a dot are answered here alone: else a nameserver outside would be asked for those that have,
    say, no IPv6 address here, and might give one that is somebody else's. Names below them are not ours.
    """
    if not resolver.forwards:
        return
    local = [f".{domain}" for network in resolver.networks for domain in _claimed_domains(plan.model.networks[network])]
    for name in sorted({name.lower() for name in names.of(resolver.networks) if "." in name}):
        if not name.endswith(tuple(local)):
            yield f"server=/{name}/\nserver=/*.{name}/#\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
