# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service of Compose may have, `wharf_containers` knows as well, and each key is one thing only."""

from __future__ import annotations

import pytest
from planning import problems

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.vocabulary import (
    SERVICE_KEYS,
    SERVICE_KEYS_ABOUT_NETWORKING,
    SERVICE_KEYS_PASSED_OVER,
    SERVICE_KEYS_THAT_DECIDE,
    resembles_extension,
    without_passed_over,
)


def test_a_container_may_have_every_key_of_a_service() -> None:
    assert problems({"containers": {"web": dict.fromkeys(sorted(SERVICE_KEYS))}}) == []


def test_each_key_is_of_one_kind() -> None:
    kinds = (SERVICE_KEYS_ABOUT_NETWORKING, SERVICE_KEYS_PASSED_OVER, SERVICE_KEYS_THAT_DECIDE)
    assert sum(map(len, kinds)) == len(SERVICE_KEYS)


def test_what_is_passed_over_and_values_of_what_is_unknown_are_left_away() -> None:
    declaration = {
        "host": {"mtu": 1400, "log-opts": {"splunk-token": "secret"}, "mut": 1},
        "networks": {"app": {"labels": ["secret"], "x-wharf": {"icmp": True}}, "plain": None, "wrong": "text"},
        "containers": {
            "web": {"ports": ["80"], "command": "secret", "x-mine": "secret", "prots": 1, "x-warf": 1, "profiles": []},
            "db": {"deploy": {"replicas": 1, "labels": "secret", "replica": 1}, "x-source": "compose.yml"},
            "wrong": ["text"],
        },
        "docker_user": [{"comment": "kept"}],
    }
    assert without_passed_over(declaration) == {
        "host": {"mtu": 1400, "mut": 1},
        "networks": {"app": {"x-wharf": {"icmp": True}}, "plain": None, "wrong": "text"},
        "containers": {
            "web": {"ports": ["80"], "prots": None, "x-warf": None},
            "db": {"deploy": {"replicas": 1, "replica": None}, "x-source": "compose.yml"},
            "wrong": ["text"],
        },
        "docker_user": [{"comment": "kept"}],
    }


@pytest.mark.parametrize(
    "key",
    "x-warf x-whraf x-wharff x-wahrf x-harf x-whar x-whaf x_wharf xwharf X-Wharf X-WHARF x--wharf x-wharf-net x-wharfs "
    "x-wharg x-dharf x-hwarf x-wraf x-whrf x-wherf x-hwafr x-ｗｈａｒｆ x-w-h-a-r-f x-wafrh x-warf-network x-my-wharf "
    "x-mywharf x-wharf_icmp x-network.warf x-wharf2 x-allow_from x-allow-from x-AllowFrom x-alow_from".split(),
)
def test_what_may_be_meant_to_be_x_wharf(key: str) -> None:
    assert resembles_extension(key)


@pytest.mark.parametrize(
    "key",
    "x-common x-logging x-aws x-share x-shared x-chart x-charm x-harbor x-warnings x-podman x-env x- x-wsl x-war "
    "x-warn x-hard x-what x-whatever x-hardware x-warehouse x-warm x-ward x-half x-hash x-where x-whale x-scarf "
    "x-shard x-warp x-wrap x-swarm x-web x-allow x-from x-flow x-share-from x-default-worker x-allow-list".split(),
)
def test_what_may_not(key: str) -> None:
    assert not resembles_extension(key)
