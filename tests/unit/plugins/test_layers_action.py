# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written twice, since a module imports nothing of the engine, is the same."""

from __future__ import annotations

from ansible_collections.wharf.network.plugins.action.layers import OPTIONS
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.declared import SCOPES, STATES
from ansible_collections.wharf.network.plugins.module_utils.engine.layers import LAYERS
from ansible_collections.wharf.network.plugins.module_utils.engine.reachability.probes import EXPECTED, PROTOCOLS
from ansible_collections.wharf.network.plugins.module_utils.engine.state import RUNTIMES
from ansible_collections.wharf.network.plugins.modules.layers import ARGUMENT_SPEC
from ansible_collections.wharf.network.plugins.modules.probe import PROBE_SPEC


def test_the_action_knows_all_options_of_the_module() -> None:
    assert {*OPTIONS, "layers"} == set(ARGUMENT_SPEC)


def test_the_modules_have_the_choices_of_the_engine() -> None:
    assert ARGUMENT_SPEC["layers"]["choices"] == [layer.name for layer in LAYERS]
    assert ARGUMENT_SPEC["scope"]["choices"] == [*SCOPES]
    assert ARGUMENT_SPEC["state"]["choices"] == [*STATES]
    assert ARGUMENT_SPEC["runtime"]["choices"] == ["netns", *RUNTIMES]
    assert PROBE_SPEC["protocol"]["choices"] == [*PROTOCOLS]
    assert PROBE_SPEC["expected"]["choices"] == [*EXPECTED]
