# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of every layer module: reads Compose files and texts, then calls the module of all."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.common.validation import check_type_list
from ansible.plugins.action import ActionBase

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.places import Places
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import (
    ModelError,
    Problem,
    ProblemCollector,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.state import SCOPES
from ansible_collections.wharf.network.plugins.plugin_utils.declaration import DECLARING, gather, is_blank

# Whatever the layer, it is this module that runs on the host: so Ansible packs the engine once for all of a play.
_MODULE = "wharf.network.layer"

# What it takes, but for `layer`, which only who calls it by its own name says. The list that it has itself takes longer
# to load than all that a task needs here.
OPTIONS = (
    "adopt",
    "assumed",
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

# The host gets the words that these lead to, or nothing.
READ_HERE = (*DECLARING, "runtime")

# Not by the prefix of variables, since somebody may set those.
_ASSUMED = "_wharf_assumed"
_SUMMARY = "_wharf_summary"

# What is to be in them is pending, too: `CONTAINER/NETWORK`, `SANDBOX:/etc/FILE`.
_SANDBOX = re.compile(r"\w+:(?!.*:/etc/).+")


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
                arguments["layer"] = module.rpartition(".")[2]
            prefix = str(arguments.get("variable_prefix") or "")
            declaration = gather(arguments, self._bases(task_vars), Places(prefix, prefix))
        except ModelError as error:
            return {**result, "failed": True, **_told(error.problems)}
        arguments = {name: value for name, value in arguments.items() if name not in READ_HERE}
        layer = str(arguments.get("layer"))
        assumed = Assumed.read(task_vars) if self._task.check_mode else Assumed("")
        result.update(
            self._execute_module(
                module_name=_MODULE,
                module_args={**arguments, **declaration.words, "assumed": assumed.for_layer(layer)},
                task_vars=task_vars,
            )
        )
        if declaration.warnings:
            result["warnings"] = [*result.get("warnings", []), *map(str, declaration.warnings)]
            if result.get("problems"):
                result.update(_told(declaration.explained(Problem(**problem) for problem in result["problems"])))
        predictions = result.pop("predictions", {})
        if not result.get("failed"):
            result["ansible_facts"] = Summary.read(task_vars).after(result).as_facts()
            if self._task.check_mode:
                result["ansible_facts"].update(assumed.after(layer, arguments, predictions).as_facts())
        return result

    def _bases(self, task_vars: Mapping[str, Any]) -> list[Path]:
        """Where a relative path may begin."""
        given = [self._loader.get_basedir(), task_vars.get("inventory_dir"), Path.cwd()]
        return [Path(base) for base in given if base]


def _told(problems: Sequence[Problem]) -> dict[str, Any]:
    return {"msg": "\n".join(map(str, problems)), "problems": [vars(problem) for problem in problems]}


def _refuse_unknown(arguments: Mapping[str, Any], module: str) -> None:
    """By the name that the play calls the module by; what runs on the host would give its own.

    Raises:
        ModelError: there are options that no layer has.
    """
    known = (*OPTIONS, "layer") if module == _MODULE else OPTIONS
    problems = ProblemCollector()
    for option in arguments:
        if option not in known:
            problems.add(option, f"is no option of {module}: these are {', '.join(known)}")
    problems.raise_if_any()


@dataclass(frozen=True)
class Assumed:
    """What the calls of a check-mode play so far would have done to a host: scopes by state, changes by layer.

    It goes from call to call as a fact. `run` tells this run of ansible-playbook from those whose facts a cache kept.
    """

    run: str
    scopes: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, task_vars: Mapping[str, Any]) -> Assumed:
        found = cls(**task_vars.get("ansible_facts", {}).get(_ASSUMED, {"run": ""}))
        return found if found.run == _this_run() else cls(_this_run())

    def for_layer(self, layer: str) -> dict[str, Any]:
        return {"scopes": self.scopes, "changes": self.changes.get(layer, {})}

    def after(self, layer: str, arguments: Mapping[str, Any], predictions: Mapping[str, str]) -> Assumed:
        scope = arguments.get("scope")
        scopes = SCOPES if scope is None else check_type_list(scope)
        declared = dict.fromkeys(scopes, arguments.get("state") or "present")
        made = {**self.changes.get(layer, {}), **predictions}
        return Assumed(self.run, {**self.scopes, **declared}, {**self.changes, layer: made})

    def as_facts(self) -> dict[str, Any]:
        return {_ASSUMED: vars(self)}


@dataclass(frozen=True)
class Summary:
    """What the calls of a run so far have changed on a host, or would have: how many objects, and the sandboxes that
    were not there yet.

    It goes from call to call as a fact, like `Assumed`, and is small enough for the artifacts of a job.
    """

    run: str
    changed: int = 0
    pending: Sequence[str] = ()

    @classmethod
    def read(cls, task_vars: Mapping[str, Any]) -> Summary:
        found = cls(**task_vars.get("ansible_facts", {}).get(_SUMMARY, {"run": ""}))
        return found if found.run == _this_run() else cls(_this_run())

    def after(self, result: Mapping[str, Any]) -> Summary:
        sandboxes = {name for name in result["pending"] if _SANDBOX.fullmatch(name)}
        return Summary(self.run, self.changed + len(result["changes"]), sorted({*self.pending, *sandboxes}))

    def as_facts(self) -> dict[str, Any]:
        return {_SUMMARY: vars(self)}


def _this_run() -> str:
    """The process that this worker was forked from, and when that one began."""
    parent = os.getppid()
    try:
        began = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        # A controller without /proc; there the number must do.
        began = ""
    return f"{parent} {began}".strip()
