# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of systemd that restore a host's networks at boot."""

from __future__ import annotations

from .installed import COMMAND, HEADER, BootServices

_APPLY, _FOLLOW = "wharf.service", "wharf-follow.service"

# Services that load firewall rules, and may flush the whole ruleset when they restart.
_FIREWALLS = "nftables.service iptables.service ip6tables.service netfilter-persistent.service"

# The unit does not wait for an uplink: until there is one, the MTU stays as allotted, and the follow service updates
# nameservers afterwards. It retries for some minutes, since an external bridge, for one, may come late.
_APPLY_UNIT = f"""{HEADER}[Unit]
Description=Container networks, as declared
After={_FOLLOW} network.target {_FIREWALLS} ufw.service firewalld.service
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
ExecStart={COMMAND} {{follow}}
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

SERVICES = BootServices("/etc/systemd/system", _APPLY, _FOLLOW, _APPLY_UNIT, _FOLLOW_UNIT)
