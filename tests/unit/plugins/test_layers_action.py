# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's side of the layer modules knows of them."""

from __future__ import annotations

from ansible_collections.wharf.network.plugins.action.layers import OPTIONS
from ansible_collections.wharf.network.plugins.module_utils.layer_module import ARGUMENT_SPEC


def test_it_knows_all_their_options() -> None:
    assert {*OPTIONS, "layers"} == set(ARGUMENT_SPEC)
