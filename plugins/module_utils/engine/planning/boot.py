# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What brings a host's networks back when it boots: the command `wharf`, and the services of systemd that run it."""

from __future__ import annotations

import hashlib
from typing import Iterator, Optional

from ..state import File, Object, Service
from .facts import Facts

UNITS_FOLDER = "/etc/systemd/system"
APPLY, FOLLOW = "wharf.service", "wharf-follow.service"
# In the order in which they start.
SERVICES = (FOLLOW, APPLY)

COMMAND = "/usr/local/sbin/wharf"
HEADER = "# Written by wharf.network.\n"
# The comment of the archive that the command is, before its version.
MARK = b"wharf.network"

# Those that have rules of their own, and may flush all when they start anew.
_FIREWALLS = "nftables.service iptables.service ip6tables.service netfilter-persistent.service"

# It does not wait for an uplink: what depends on that stays as it was, and the other service mends nameservers once it
# is there. It tries again for some minutes where it lacks something, as a bridge of somebody's that comes late.
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
ExecStart={COMMAND} apply
ExecReload={COMMAND} apply
TimeoutStartSec=300

[Install]
WantedBy=multi-user.target
"""

# It names network namespaces for all to see, so it cannot have mounts of its own, nor what systemd does by these.
_FOLLOW_UNIT = f"""{HEADER}[Unit]
Description=Container networks, kept true to the host and to containers that start
After=network.target
Before=docker.service podman-restart.service

[Service]
Type=notify
ExecStart={COMMAND} follow
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

UNITS = {f"{UNITS_FOLDER}/{APPLY}": _APPLY_UNIT, f"{UNITS_FOLDER}/{FOLLOW}": _FOLLOW_UNIT}


def digest(content: bytes) -> str:
    """Tells two programs from each other."""
    return hashlib.sha256(content).hexdigest()[:16]


def units_and_services(facts: Facts, services: Optional[bool]) -> Iterator[Object]:
    """`services`: whether to have them, or None for where systemd runs the host."""
    if facts.systemd if services is None else services:
        yield from (File(path, text) for path, text in UNITS.items())
        yield from (Service(name, enabled=True, running=facts.systemd) for name in SERVICES)
