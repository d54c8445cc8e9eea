# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner on the controller, for previews, documents and tests without a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.engine.declaration.declared import Declared
from ..module_utils.engine.declaration.places import Places
from ..module_utils.engine.errors import ModelError
from ..module_utils.engine.layers import BOOT, LAYERS
from ..module_utils.engine.planning.allotments import Allotments
from ..module_utils.engine.planning.declared_plan import make_plan
from ..module_utils.engine.planning.facts import Facts
from ..module_utils.engine.report import objects_as_data
from ..plugin_utils.declaration import gather

# The keys of the declaration.
_PLACES = Places("", "")
_KEYS = {"host", "networks", "containers", "docker_user", "compose_files", "runtime"}


def plan(declaration: Mapping[str, Any], mtu: int = 1500, machine_id: str = "") -> dict[str, Any]:
    """What is allotted and desired on a host of which nothing but its MTU and machine id is known.

    Raises:
        AnsibleFilterError: with all problems of the declaration, each with its path.
    """
    if not isinstance(declaration, Mapping) or set(declaration) - _KEYS:
        raise AnsibleFilterError(f"wharf.network.plan takes a dictionary with {', '.join(sorted(_KEYS))}")
    facts = Facts(default_interface_mtu=mtu, machine_id=machine_id)
    try:
        given = gather(declaration, [Path.cwd()], _PLACES)
    except ModelError as error:
        raise AnsibleFilterError(str(error)) from error
    parts = _PLACES.marked(given.parts)
    try:
        # A declaration of rules alone is for a host whose networks a dockerd manages.
        host = parts.pop("host", None if parts.keys() == {"docker_user"} else {})
        planned = make_plan(Declared(host, **parts), facts, Allotments(), places=_PLACES)
    except ModelError as error:
        raise AnsibleFilterError("\n".join(map(str, given.explained(error.problems)))) from None
    return {
        "allotted": planned.allotted.as_data(),
        "layers": {layer.name: objects_as_data(layer.desired(planned)) for layer in LAYERS if layer != BOOT},
        "warnings": [*map(str, given.warnings), *planned.warnings],
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"plan": plan}
