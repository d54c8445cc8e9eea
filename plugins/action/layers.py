# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of every layer module: reads Compose files and texts, then runs the module `layers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean

from ..module_utils.engine.declaration.declared import ABSENT
from ..module_utils.engine.declaration.places import Places
from ..module_utils.engine.errors import ModelError, Problem, ProblemCollector
from ..modules.layers import ARGUMENT_SPEC
from ..plugin_utils.confirming import confirm_by_new_connection, play
from ..plugin_utils.declaration import DECLARING, Declaration, gather, is_blank
from ..plugin_utils.engine_action import EngineAction
from ..plugin_utils.overlay import READ, Hosts, complete, noted_keys, once, overlay_groups, read_hosts

# Whatever the layer, it is this module that runs on the host.
_MODULE = "layers"

# What it takes, but for `layers`, which the name of any other module says.
OPTIONS = tuple(option for option in ARGUMENT_SPEC if option != "layers")

# These options are read on the controller. The module on the host gets the parts of the declaration instead.
READ_HERE = (*DECLARING, "runtime")


class ActionModule(EngineAction):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = {name: value for name, value in self._task.args.items() if name in DECLARING or not is_blank(value)}
        module = self.module_name
        try:
            _refuse_unknown(self._task.args, module)
            if module != _MODULE:
                arguments["layers"] = [module]
            prefix = str(arguments.get("variable_prefix") or "")
            places = Places(prefix, prefix)
            declaration = self._with_overlays(gather(arguments, self.bases(task_vars), places), task_vars, places)
        except ModelError as error:
            return {**result, "failed": True, **_described(error.problems)}
        arguments = {name: value for name, value in arguments.items() if name not in READ_HERE}
        keys = noted_keys(Path(constants.DEFAULT_LOCAL_TMP), check=bool(self._task.check_mode))
        peer_keys = {"peer_keys": keys} if keys else {}
        module_args = {"by": play(task_vars), **peer_keys, **arguments, **declaration.parts}
        result.update(self._converge(module_args, task_vars))
        if declaration.warnings:
            result["warnings"] = [*result.get("warnings", []), *map(str, declaration.warnings)]
            if result.get("problems"):
                result.update(_described(declaration.explained(Problem(**problem) for problem in result["problems"])))
        return result

    def _converge(self, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run the module, and confirm its changes if it says that they are to be confirmed now."""
        try:
            result = self.run_module(_MODULE, module_args, task_vars)
        except AnsibleConnectionFailure as error:
            if "confirm" not in module_args:
                raise
            reverted = f"its changes are reverted after {module_args['confirm']} seconds"
            raise AnsibleConnectionFailure(f"{error}; this run will not be confirmed, so {reverted}") from error
        unconfirmed = result.get("unconfirmed")
        if not unconfirmed or result.get("failed") or boolean(module_args.get("confirm_later", False), strict=False):
            return result
        confirmed = confirm_by_new_connection(
            lambda: self.run_module("confirm", {"run": unconfirmed["id"]}, task_vars),
            self._connection,
            unconfirmed["seconds"],
        )
        result["warnings"] = [*result.get("warnings", []), *confirmed.pop("warnings", [])]
        if confirmed.get("failed"):
            until = f"the changes of this run will be reverted at {unconfirmed['until']}"
            return {**result, "failed": True, "msg": f"{confirmed['msg']}; {until}"}
        return {**result, "unconfirmed": None}

    def _with_overlays(self, declaration: Declaration, task_vars: dict[str, Any], places: Places) -> Declaration:
        """The declaration, in which each overlay network has its hosts by the inventory.

        Raises:
            ModelError: with what is wrong with them.
        """
        networks = declaration.parts.get("networks")
        if self._task.args.get("state") == ABSENT or not any(overlay_groups(networks)):
            return declaration
        host, groups = self._task.delegate_to or task_vars["inventory_hostname"], task_vars["groups"]

        def hosts_of(group: str) -> Hosts:
            return once(
                Path(constants.DEFAULT_LOCAL_TMP),
                f"{self._task._uuid} {group}",
                lambda: read_hosts(groups[group], lambda name: _variables(task_vars, name), self.bases(task_vars)),
            )

        completed = complete(networks, host, groups, hosts_of, places)
        return replace(declaration, parts={**declaration.parts, "networks": completed})


def _variables(task_vars: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Those of a host that the others of its overlay networks need.

    Raises:
        ModelError: they cannot be templated.
    """
    known = task_vars["hostvars"][host]
    try:
        return {name: known[name] for name in READ if name in known}
    except AnsibleError as error:
        raise ModelError.at(f"variables of {host}", str(error)) from error


def _described(problems: Sequence[Problem]) -> dict[str, Any]:
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
            problems.add(option, f"is no option of wharf.network.{module}: these are {', '.join(known)}")
    problems.raise_if_any()
