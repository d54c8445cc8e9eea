# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of `overlay_key`: whether a host has encrypted networks, and its public key for the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible import constants

from ..module_utils.engine.declaration.declared import ABSENT
from ..module_utils.engine.declaration.places import Places
from ..module_utils.engine.declaration.section import public_key
from ..module_utils.engine.errors import ModelError
from ..modules.overlay_key import ARGUMENT_SPEC
from ..plugin_utils.declaration import gather
from ..plugin_utils.engine_action import EngineAction
from ..plugin_utils.overlay import declares_encrypted, note_key


class ActionModule(EngineAction):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, options = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        if options["state"] == ABSENT or not self._declares_encrypted(task_vars):
            return {**result, "changed": False, "public_key": None}
        result.update(self.run_module(self.module_name, {}, task_vars))
        key, host = result.get("public_key"), self._task.delegate_to or task_vars["inventory_hostname"]
        try:
            # The key goes to all other hosts.
            if key:
                public_key(key, f"the public key of {host}")
        except ModelError as error:
            return {**result, "failed": True, "msg": str(error), "public_key": None}
        if key or result.get("changed"):
            note_key(Path(constants.DEFAULT_LOCAL_TMP), host, key or "")
        return result

    def _declares_encrypted(self, task_vars: dict[str, Any]) -> bool:
        given = {name: value for name, value in self._task.args.items() if name != "state"}
        try:
            parts = gather(given, self.bases(task_vars), Places()).parts
        except ModelError:
            # The task that declares it reports this problem, and all others.
            return False
        return declares_encrypted(parts.get("networks"))
