# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of daemon.json and of the Compose Specification: those about networking, and those that are passed over."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any, Collection, Dict, Mapping, Set

from .places import SOURCE

# Keys of daemon.json that are not about networking.
DAEMON_KEYS_PASSED_OVER = frozenset(
    """
    allow-nondistributable-artifacts api-cors-header authorization-plugins builder cdi-spec-dirs cgroup-parent
    cluster-advertise cluster-store cluster-store-opts containerd containerd-namespace containerd-plugin-namespace
    containerd-plugins-namespace cpu-rt-period cpu-rt-runtime cri-containerd data-root debug default-cgroupns-mode
    default-init default-ipc-mode default-runtime default-shm-size default-ulimits deprecated-key-path exec-opts
    exec-root experimental features graph group hosts http-proxy https-proxy init init-path insecure-registries labels
    live-restore log-driver log-format log-level log-opts max-concurrent-downloads max-concurrent-uploads
    max-download-attempts metrics-addr min-api-version network-control-plane-mtu network-diagnostic-port
    no-new-privileges no-proxy node-generic-resources nri-opts oom-score-adjust pidfile proxies raw-logs
    registry-mirrors rootless runtimes seccomp-profile selinux-enabled shutdown-timeout storage-driver storage-opts
    swarm-default-advertise-addr swarm-raft-election-tick swarm-raft-heartbeat-tick tls tlscacert tlscert tlskey
    tlsverify userland-proxy-path userns-remap
    """.split()
)

NETWORK_KEYS_PASSED_OVER = frozenset(["attachable", "labels"])

SERVICE_KEYS_ABOUT_NETWORKING = frozenset(
    """
    dns dns_opt dns_search domainname expose external_links extra_hosts hostname links mac_address network_mode networks
    ports sysctls
    """.split()
)
# These keys decide whether a service has a container, which name it has, and from where it inherits settings.
SERVICE_KEYS_THAT_DECIDE = frozenset(["container_name", "deploy", "extends", "profiles", "provider", "scale"])
SERVICE_KEYS_PASSED_OVER = frozenset(
    """
    annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs cpu_count cpu_percent
    cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec depends_on develop
    device_cgroup_rules devices entrypoint env_file environment gpus group_add healthcheck image init ipc isolation
    label_file labels logging mem_limit mem_reservation mem_swappiness memswap_limit models oom_kill_disable
    oom_score_adj pid pids_limit platform post_start pre_start pre_stop privileged pull_policy pull_refresh_after
    read_only restart runtime secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt tmpfs
    tty ulimits umask use_api_socket user userns_mode uts volumes volumes_from working_dir
    """.split()
)
SERVICE_KEYS = SERVICE_KEYS_ABOUT_NETWORKING | SERVICE_KEYS_THAT_DECIDE | SERVICE_KEYS_PASSED_OVER

DEPLOY_KEYS_PASSED_OVER = frozenset(
    "endpoint_mode labels mode placement resources restart_policy rollback_config update_config".split()
)
DEPLOY_KEYS = DEPLOY_KEYS_PASSED_OVER | {"replicas"}

# Each entry of `wharf_containers` is a container, so the keys that decide this in a Compose file have no effect.
CONTAINER_KEYS_PASSED_OVER = SERVICE_KEYS_PASSED_OVER | {"profiles", "provider"}

# The key for settings that are neither in daemon.json nor in Compose.
EXTENSION = "x-wharf"
EXTENSION_MEANS_NOTHING = (
    f"{EXTENSION} has a meaning only in the settings of a host, a network, a container, a container's network, and a "
    "port in long form"
)
_OUR_EXTENSIONS = frozenset([EXTENSION, SOURCE])
_CONTAINER_KEYS = SERVICE_KEYS | _OUR_EXTENSIONS


def is_extension(key: str) -> bool:
    """Whether a key is an extension that Compose allows, and not a misspelt `x-wharf`."""
    return key.startswith("x-") and key != EXTENSION and not resembles_extension(key)


@cache
def resembles_extension(key: str) -> bool:
    """Whether a key may be a misspelt `x-wharf`, or `x-allow_from`, also with other words before or after it.

    Case, the width of letters, and other characters than letters make no difference.
    """
    folded = re.sub(r"^x[-_. ]*", "", unicodedata.normalize("NFKC", key).casefold())
    words = re.findall("[a-z]+", folded)
    letters = "".join(words)
    return any(
        meant in letters or any(_may_be(word, meant) for word in (letters, *words)) for meant in ("wharf", "allowfrom")
    )


def _may_be(word: str, meant: str) -> bool:
    """Whether the words differ in one letter only, or consist of the same letters, except for one at most."""
    differ_by_one = not _with_one_less(word).isdisjoint(_with_one_less(meant))
    return differ_by_one or (set(word) <= set(meant) and len(set(word)) >= len(set(meant)) - 1)


def _with_one_less(word: str) -> Set[str]:
    return {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}


def without_passed_over(declaration: Mapping[str, Any]) -> Dict[str, Any]:
    """The parts of a declaration by name, without the keys that are passed over, since their values may be secret.

    An unknown key of a container loses its value, and stays for the error message.
    """
    kept = dict(declaration)
    if "host" in kept:
        kept["host"] = _without(DAEMON_KEYS_PASSED_OVER, kept["host"])
    if isinstance(networks := kept.get("networks"), Mapping):
        kept["networks"] = {name: _without(NETWORK_KEYS_PASSED_OVER, raw) for name, raw in networks.items()}
    if isinstance(containers := kept.get("containers"), Mapping):
        kept["containers"] = {name: _container(raw) for name, raw in containers.items()}
    return kept


def _container(raw: Any) -> Any:
    kept = _known(_CONTAINER_KEYS, _without(CONTAINER_KEYS_PASSED_OVER, raw))
    if isinstance(kept, dict) and "deploy" in kept:
        kept["deploy"] = _known(DEPLOY_KEYS, _without(DEPLOY_KEYS_PASSED_OVER, kept["deploy"]))
    return kept


def _without(passed_over: Collection[str], raw: Any) -> Any:
    """A mapping without the keys that are passed over. Other values are errors, and stay for the message."""
    if not isinstance(raw, Mapping):
        return raw
    return {key: value for key, value in raw.items() if not _is_passed_over(key, passed_over)}


def _is_passed_over(key: Any, passed_over: Collection[str]) -> bool:
    return key in passed_over or (key != SOURCE and is_extension(str(key)))


def _known(keys: Collection[str], raw: Any) -> Any:
    return {key: value if key in keys else None for key, value in raw.items()} if isinstance(raw, dict) else raw
