# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuses unknown and invalid variables of the roles and playbooks of this collection, on the controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from ..module_utils.engine.errors import ModelError, ProblemCollector
from ..plugin_utils.overlay import may_encrypt
from ..plugin_utils.variables import KNOWN, read_declaring, read_settings, refuse_unknown


class ActionModule(ActionBase):
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        problems = ProblemCollector()
        try:
            with problems.collect():
                refuse_unknown(variables.keys(), load_extra_vars(self._loader).keys())
            given = self._values(variables, problems)
            with problems.collect():
                settings = read_settings(given, lambda patterns: self._hosts(patterns, variables.get("groups", {})))
            with problems.collect():
                declaring = read_declaring(given)
            problems.raise_if_any()
        except ModelError as error:
            described = [vars(problem) for problem in error.problems]
            return {**result, "failed": True, "msg": str(error), "problems": described}
        known = {"declaring": declaring, "encrypts": may_encrypt(given), "settings": settings}
        return {**result, "changed": False, **known}

    def _values(self, variables: Mapping[str, Any], problems: ProblemCollector) -> dict[str, Any]:
        """
        Raises:
            ModelError: a value cannot be templated, and there are problems that may be the reason.
        """
        try:
            return {name: self._templar.template(variables[name]) for name in sorted(KNOWN & variables.keys())}
        except AnsibleError:
            problems.raise_if_any()
            raise

    def _hosts(self, patterns: list[str], groups: Mapping[str, list[str]]) -> list[str]:
        """The hosts that match patterns, by the rules of a play's `hosts`."""
        if not patterns:
            return []
        inventory = InventoryManager(self._loader, parse=False)
        for group, names in groups.items():
            inventory.add_group(group)
            for name in names:
                inventory.add_host(name, group=group)
        return [host.name for host in inventory.get_hosts(pattern=patterns)]
