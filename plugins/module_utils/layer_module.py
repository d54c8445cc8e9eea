# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only code that knows Ansible: runs one layer, or the observation, as a module."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Any, Iterator, NoReturn

from ansible.module_utils.basic import AnsibleModule

from .engine.converge import Layer, converge
from .engine.declaration.declared import PRESENT, STATES, Call
from .engine.declaration.places import Places
from .engine.errors import ProblemsError, WharfError
from .engine.facts_reader import read_facts
from .engine.layers import LAYERS
from .engine.report import describe, diffs, visible
from .engine.state import RUNTIMES, SCOPES

ARGUMENT_SPEC = {
    "host": {"type": "raw"},
    "networks": {"type": "raw"},
    "containers": {"type": "raw"},
    "docker_user": {"type": "raw"},
    "compose_files": {"type": "raw"},
    "runtime": {"type": "str", "choices": ["netns", *RUNTIMES]},
    "state": {"type": "str", "choices": list(STATES), "default": PRESENT},
    "scope": {"type": "list", "elements": "str", "choices": list(SCOPES), "default": list(SCOPES)},
    "adopt": {"type": "bool", "default": False},
    "assumed": {"type": "dict", "default": {}},
    "variable_prefix": {"type": "str", "default": ""},
}


class Module(AnsibleModule):
    """One that escapes, in all that it tells, what is not printable: Ansible refuses a result that is not UTF-8."""

    def warn(self, warning: str, **options: Any) -> None:
        super().warn(visible(warning), **options)

    def exit_json(self, **result: Any) -> NoReturn:
        super().exit_json(**visible(result))
        raise AssertionError

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        super().fail_json(visible(msg), **visible(result))
        raise AssertionError


def run_layer(layer: Layer) -> None:
    """Converge one layer of this host, or say what would change, and leave with the result."""
    _run(Module(argument_spec=ARGUMENT_SPEC, supports_check_mode=True), layer)


def run_named_layer() -> None:
    """The same, of the layer that the option `layer` names."""
    layers = {layer.name: layer for layer in LAYERS}
    option = {"type": "str", "required": True, "choices": list(layers)}
    module = Module(argument_spec={**ARGUMENT_SPEC, "layer": option}, supports_check_mode=True)
    _run(module, layers[module.params["layer"]])


def _run(module: Module, layer: Layer) -> None:
    for option in ("compose_files", "runtime"):
        if module.params[option]:
            module.fail_json(msg=f"{option} is read on the controller: call this module by its full name")
    call = Call(
        host=module.params["host"],
        networks=module.params["networks"],
        containers=module.params["containers"],
        docker_user=module.params["docker_user"],
        state=module.params["state"],
        scopes=frozenset(module.params["scope"]),
        check=module.check_mode,
        adopt=module.params["adopt"],
        assumed=module.params["assumed"].get("scopes", {}),
        predicted=module.params["assumed"].get("changes", {}),
        places=Places(module.params["variable_prefix"], module.params["variable_prefix"]),
    )
    with reporting_errors(module):
        result = converge(layer, call, read_facts, LAYERS, module.warn)
    report = describe(result)
    for warning in report.pop("warnings"):
        module.warn(warning)
    if result.pending:
        names = ", ".join(result.pending)
        module.warn(f"pending until their containers run and can be changed: {names}")
    if module.check_mode:
        report["predictions"] = result.predictions
    if module._diff:
        report["diff"] = diffs(result)
    module.exit_json(**report)


@contextmanager
def reporting_errors(module: Module) -> Iterator[None]:
    """Leave with an error of the engine as the module's own; `problems` has those that the user can solve."""
    if os.geteuid() != 0:
        module.fail_json(msg="changing a host's networks needs root there: set become (ansible-playbook -b)")
    try:
        yield
    except ProblemsError as error:
        problems: list[dict[str, Any]] = [vars(problem) for problem in error.problems]
        module.fail_json(msg=str(error), problems=problems)
    except (WharfError, OSError) as error:
        module.fail_json(msg=str(error))
