# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service of Compose may have, `wharf_containers` knows as well, and each key is one thing only."""

from __future__ import annotations

from planning import problems

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.vocabulary import (
    SERVICE_KEYS,
    SERVICE_KEYS_ABOUT_NETWORKING,
    SERVICE_KEYS_PASSED_OVER,
    SERVICE_KEYS_THAT_DECIDE,
)


def test_a_container_may_have_every_key_of_a_service() -> None:
    assert problems({"containers": {"web": dict.fromkeys(sorted(SERVICE_KEYS))}}) == []


def test_each_key_is_of_one_kind() -> None:
    kinds = (SERVICE_KEYS_ABOUT_NETWORKING, SERVICE_KEYS_PASSED_OVER, SERVICE_KEYS_THAT_DECIDE)
    assert sum(map(len, kinds)) == len(SERVICE_KEYS)
