# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files and services that restore a host's networks at boot: the command `wharf`, and systemd units that run it."""

from __future__ import annotations

import hashlib
from typing import Dict, Iterator, Optional

from ..state import File, Object, Service
from .facts import Facts

UNITS_FOLDER = "/etc/systemd/system"
APPLY, FOLLOW = "wharf.service", "wharf-follow.service"
# In the order in which they start.
SERVICES = (FOLLOW, APPLY)

COMMAND = "/usr/local/sbin/wharf"
HEADER = "# Written by wharf.network.\n"
# The command is a zip archive. Its comment is this mark, and then the version.
MARK = b"wharf.network"

# Services that load firewall rules, and may flush the whole ruleset when they restart.
_FIREWALLS = "nftables.service iptables.service ip6tables.service netfilter-persistent.service"

# The unit does not wait for an uplink: until there is one, the MTU stays as allotted, and the follow service updates
# nameservers afterwards. It retries for some minutes, since an external bridge, for one, may come late.
_APPLY_UNIT = f"""{HEADER}[Unit]
Description=Container networks, as declared
After={FOLLOW} network.target {_FIREWALLS} ufw.service firewalld.service
Before=docker.service podman-restart.service
PartOf={_FIREWALLS}
ReloadPropagatedFrom={_FIREWALLS}
StartLimitIntervalSec=300
StartLimitBurst=20

[Service]
Type=oneshot
RemainAfterExit=yes
Restart=on-failure
RestartSec=10
ExecStart={COMMAND} apply --at-boot
ExecReload={COMMAND} apply --at-boot
TimeoutStartSec=300

[Install]
WantedBy=multi-user.target
"""

# The service binds names of network namespaces below /run/netns, which all processes must see. So it cannot have a
# mount namespace of its own, nor any option of systemd that implies one.
_FOLLOW_UNIT = f"""{HEADER}[Unit]
Description=Container networks, kept true to the host and to containers that start
After=network.target
Before=docker.service podman-restart.service

[Service]
Type=notify
ExecStart={COMMAND} follow{{metrics}}
Restart=always
RestartSec=5
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_NET_ADMIN CAP_NET_RAW
CapabilityBoundingSet=CAP_SETGID CAP_SETUID CAP_SYS_ADMIN CAP_SYS_MODULE CAP_SYS_PTRACE
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_UNIX
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def units(metrics: str = "") -> Dict[str, str]:
    """The files of the units, by their paths. `metrics` is the file in which metrics are kept, empty for none."""
    follow = _FOLLOW_UNIT.format(metrics=f" --metrics {metrics}" if metrics else "")
    return {f"{UNITS_FOLDER}/{APPLY}": _APPLY_UNIT, f"{UNITS_FOLDER}/{FOLLOW}": follow}


def digest(content: bytes) -> str:
    """The digest by which two versions of the program are compared."""
    return hashlib.sha256(content).hexdigest()[:16]


def units_and_services(facts: Facts, services: Optional[bool], metrics: str = "") -> Iterator[Object]:
    """The objects of the layer `boot`. `services`: whether to install services; None: where systemd runs the host."""
    if facts.systemd if services is None else services:
        yield from (File(path, text) for path, text in units(metrics).items())
        yield from (Service(name, enabled=True, running=facts.systemd) for name in SERVICES)
