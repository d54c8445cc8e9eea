# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of the modules that read nothing on the controller: runs them by the engine."""

from __future__ import annotations

from typing import Any

from ..plugin_utils.confirming import play
from ..plugin_utils.engine_action import EngineAction


class ActionModule(EngineAction):
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if self.module_name == "boot":
            arguments.setdefault("by", play(task_vars or {}))
        return {**result, **self.run_module(self.module_name, arguments, task_vars)}
