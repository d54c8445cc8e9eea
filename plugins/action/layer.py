# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of every layer module: reads Compose files and texts, and then calls the module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError
from ansible_collections.wharf.network.plugins.module_utils.engine.state import SCOPES
from ansible_collections.wharf.network.plugins.plugin_utils.declaration import gather

ASSUMED = "wharf_assumed"


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        try:
            declaration = gather(arguments, self._bases(task_vars))
        except ModelError as error:
            raise AnsibleActionFail(str(error)) from error
        arguments.pop("compose_files", None)
        assumed = task_vars.get("ansible_facts", {}).get(ASSUMED, {}) if self._task.check_mode else {}
        result.update(
            self._execute_module(
                module_name=self._task.resolved_action or self._task.action,
                module_args={**arguments, **declaration.words, "assumed": assumed},
                task_vars=task_vars,
            )
        )
        if declaration.warnings:
            result["warnings"] = [*result.get("warnings", []), *declaration.warnings]
        if self._task.check_mode and not result.get("failed"):
            result["ansible_facts"] = {ASSUMED: {**assumed, **_assume(arguments)}}
        return result

    def _bases(self, task_vars: Mapping[str, Any]) -> list[Path]:
        """Where a relative path may begin."""
        given = [self._loader.get_basedir(), task_vars.get("inventory_dir"), Path.cwd()]
        return [Path(base) for base in given if base]


def _assume(arguments: Mapping[str, Any]) -> dict[str, str]:
    """What a check-mode call would have left: later calls of the play plan on it, as they would in a real run."""
    return dict.fromkeys(arguments.get("scope") or SCOPES, arguments.get("state") or "present")
