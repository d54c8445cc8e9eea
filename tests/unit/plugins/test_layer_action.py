# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's side of the layer modules knows of them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wharf.network.plugins.action.layer import OPTIONS, Assumed
from ansible_collections.wharf.network.plugins.module_utils.engine.state import SCOPES
from ansible_collections.wharf.network.plugins.module_utils.layer_module import ARGUMENT_SPEC


def test_it_knows_all_their_options() -> None:
    assert set(OPTIONS) == set(ARGUMENT_SPEC)


@pytest.mark.parametrize(
    ("given", "scopes"),
    [
        ({"scope": ["containers"]}, ["containers"]),
        ({"scope": "containers"}, ["containers"]),
        ({"scope": "user_networks,containers"}, ["user_networks", "containers"]),
        ({"scope": []}, []),
        ({"scope": None}, list(SCOPES)),
        ({}, list(SCOPES)),
    ],
    ids=str,
)
def test_it_takes_scopes_as_ansible_takes_a_list(given: dict[str, Any], scopes: list[str]) -> None:
    assert Assumed("run").after("bridge", given, {}).scopes == dict.fromkeys(scopes, "present")
