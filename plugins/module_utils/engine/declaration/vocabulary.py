# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key that a service of the Compose Specification may have, by what it is to us."""

from __future__ import annotations

SERVICE_KEYS_ABOUT_NETWORKING = frozenset(
    """
    dns dns_opt dns_search domainname expose external_links extra_hosts hostname links mac_address network_mode networks
    ports sysctls
    """.split()
)
# They decide whether there is a container, under which name, and what else is said of it.
SERVICE_KEYS_THAT_DECIDE = frozenset(["container_name", "deploy", "extends", "profiles", "provider", "scale"])
SERVICE_KEYS_PASSED_OVER = frozenset(
    """
    annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs cpu_count cpu_percent
    cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec depends_on develop
    device_cgroup_rules devices entrypoint env_file environment gpus group_add healthcheck image init ipc isolation
    label_file labels logging mem_limit mem_reservation mem_swappiness memswap_limit models oom_kill_disable
    oom_score_adj pid pids_limit platform post_start pre_start pre_stop privileged pull_policy pull_refresh_after
    read_only restart runtime secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt tmpfs
    tty ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir
    """.split()
)
SERVICE_KEYS = SERVICE_KEYS_ABOUT_NETWORKING | SERVICE_KEYS_THAT_DECIDE | SERVICE_KEYS_PASSED_OVER

DEPLOY_KEYS_PASSED_OVER = frozenset(
    "endpoint_mode labels mode placement resources restart_policy rollback_config update_config".split()
)
DEPLOY_KEYS = DEPLOY_KEYS_PASSED_OVER | {"replicas"}

# Of `wharf_containers` each entry is a container, whatever makes it one in a Compose file.
CONTAINER_KEYS_PASSED_OVER = SERVICE_KEYS_PASSED_OVER | {"profiles", "provider"}
