# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of every layer module: reads Compose files and texts, then runs the module `layers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ..module_utils.engine.declaration.places import Places
from ..module_utils.engine.errors import ModelError, Problem, ProblemCollector
from ..plugin_utils.declaration import DECLARING, gather, is_blank

# Whatever the layer, it is this module that runs on the host: so Ansible packs the engine once for all of a play.
_MODULE = "wharf.network.layers"

# What it takes, but for `layers`, which the name of any other module says. To load its own list takes longer than all
# that a task needs here.
OPTIONS = (
    "recover",
    "boot",
    "compose_files",
    "containers",
    "docker_user",
    "host",
    "networks",
    "runtime",
    "scope",
    "state",
    "variable_prefix",
)

# These options are read on the controller. The module on the host gets the parts of the declaration instead.
READ_HERE = (*DECLARING, "runtime")


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = {name: value for name, value in self._task.args.items() if name in DECLARING or not is_blank(value)}
        module = self._task.resolved_action or self._task.action
        try:
            _refuse_unknown(self._task.args, module)
            if module != _MODULE:
                arguments["layers"] = [module.rpartition(".")[2]]
            prefix = str(arguments.get("variable_prefix") or "")
            declaration = gather(arguments, self._bases(task_vars), Places(prefix, prefix))
        except ModelError as error:
            return {**result, "failed": True, **_told(error.problems)}
        arguments = {name: value for name, value in arguments.items() if name not in READ_HERE}
        module_args = {**arguments, **declaration.parts}
        result.update(self._execute_module(module_name=_MODULE, module_args=module_args, task_vars=task_vars))
        if declaration.warnings:
            result["warnings"] = [*result.get("warnings", []), *map(str, declaration.warnings)]
            if result.get("problems"):
                result.update(_told(declaration.explained(Problem(**problem) for problem in result["problems"])))
        return result

    def _bases(self, task_vars: Mapping[str, Any]) -> list[Path]:
        """The folders that relative paths are looked up in."""
        given = [self._loader.get_basedir(), task_vars.get("inventory_dir"), Path.cwd()]
        return [Path(base) for base in given if base]


def _told(problems: Sequence[Problem]) -> dict[str, Any]:
    return {"msg": "\n".join(map(str, problems)), "problems": [vars(problem) for problem in problems]}


def _refuse_unknown(arguments: Mapping[str, Any], module: str) -> None:
    """Refuse unknown options here, since the module on the host would report them under another name than the play's.

    Raises:
        ModelError: with all unknown options.
    """
    known = (*OPTIONS, "layers") if module == _MODULE else OPTIONS
    problems = ProblemCollector()
    for option in arguments:
        if option not in known:
            problems.add(option, f"is no option of {module}: these are {', '.join(known)}")
    problems.raise_if_any()
