# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service scripts of OpenRC (openrc-run(8)) that restore a host's networks at boot."""

from __future__ import annotations

from .installed import COMMAND, HEADER, BootServices

_APPLY, _FOLLOW = "wharf", "wharf-follow"

# Processes that a service starts stay when it stops: those of dnsmasq, and the one that reverts unconfirmed changes.
_BEGIN = f"""#!/sbin/openrc-run
{HEADER}
rc_cgroup_cleanup="no"
"""

# As in the unit of systemd, it does not wait for an uplink, and retries for some minutes. The boot goes on after the
# first attempt, and the service is inactive until another one succeeds. Those attempts must not signal the process that
# called `start` (RC_OPENRC_PID), and must go on when its terminal is closed. If rc_parallel is set, services that start
# later wait as long as the first attempt takes (-timeout).
_APPLY_SCRIPT = f"""{_BEGIN}description="Container networks, as declared"

depend()
{{
    after {_FOLLOW} net firewall nftables iptables ip6tables ufw firewalld
    before docker podman
    keyword -timeout
}}

start()
{{
    ebegin "Restoring the container networks"
    {COMMAND} apply --at-boot
    eend $? "This is tried again every 10 seconds" && return
    mark_service_inactive
    try_again | logger -t {_APPLY} >/dev/null 2>&1 &
}}

try_again()
{{
    exec 2>&1
    unset RC_OPENRC_PID
    trap "" HUP
    for attempt in $(seq 20); do
        sleep 10
        service_inactive && [ -x {COMMAND} ] || return
        if {COMMAND} apply --at-boot; then
            mark_service_started
            return
        fi
    done
    mark_service_stopped
}}
"""

_FOLLOW_SCRIPT = f"""{_BEGIN}description="Container networks, kept true to the host and to containers that start"
supervisor="supervise-daemon"
command="{COMMAND}"
command_args="{{follow}}"
respawn_delay=5
respawn_max=0
no_new_privs="yes"
output_logger="logger -t {_FOLLOW}"
error_logger="logger -t {_FOLLOW}"

depend()
{{{{
    after net
    before docker podman
}}}}
"""

SERVICES = BootServices("/etc/init.d", _APPLY, _FOLLOW, _APPLY_SCRIPT, _FOLLOW_SCRIPT, executable=True)
