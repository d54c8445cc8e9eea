# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of the module `confirm`: a new connection for each attempt."""

from __future__ import annotations

from typing import Any

from ..modules.confirm import ARGUMENT_SPEC
from ..plugin_utils.confirming import confirm_by_new_connection
from ..plugin_utils.engine_action import EngineAction


class ActionModule(EngineAction):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, options = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        confirmed = confirm_by_new_connection(
            lambda: self.run_module("confirm", {"run": options["run"]}, task_vars),
            self._connection,
            options["timeout"],
        )
        return {**result, **confirmed}
