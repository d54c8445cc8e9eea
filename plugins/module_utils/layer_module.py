# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only code on the host that knows Ansible: runs the engine, or an observation, as a module."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Any, Dict, FrozenSet, Iterator, NoReturn, Sequence

from ansible.module_utils.basic import AnsibleModule

from .engine.confirmation import confirm
from .engine.converge import converge
from .engine.declaration.declared import ABSENT, PARTS, PRESENT, SCOPES, STATES, Call
from .engine.declaration.places import SOURCE, Places
from .engine.errors import ProblemsError, WharfError
from .engine.layers import BOOT, LAYERS
from .engine.report import describe, diffs, summary, visible
from .engine.state import RUNTIMES

_NAMES = [layer.name for layer in LAYERS]

ARGUMENT_SPEC = {
    "host": {"type": "raw"},
    "networks": {"type": "raw"},
    "containers": {"type": "raw"},
    "docker_user": {"type": "raw"},
    "boot": {"type": "raw"},
    "compose_files": {"type": "raw"},
    "runtime": {"type": "str", "choices": ["netns", *RUNTIMES]},
    "state": {"type": "str", "choices": list(STATES), "default": PRESENT},
    "scope": {"type": "list", "elements": "str", "choices": list(SCOPES), "default": list(SCOPES)},
    "layers": {"type": "list", "elements": "str", "choices": _NAMES, "default": _NAMES},
    "recover": {"type": "bool", "default": False},
    "confirm": {"type": "int"},
    "confirm_later": {"type": "bool", "default": False},
    "by": {"type": "str", "default": "a module"},
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


def run_layers() -> None:
    """Converge the layers that the options name; leave with the result."""
    module = Module(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    for option in ("compose_files", "runtime"):
        if module.params[option]:
            module.fail_json(msg=f"{option} is read on the controller: call this module by its full name")
    given = {part: module.params[part] for part in PARTS.values()}
    _run(module, module.params["layers"], frozenset(module.params["scope"]), given)


def run_boot() -> None:
    """Converge what brings the networks back when the host boots; leave with the result."""
    spec = {
        "services": {"type": "bool"},
        "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
        "variable_prefix": {"type": "str", "default": ""},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    boot: Dict[str, Any] = {SOURCE: f"{module.params['variable_prefix']}services"}
    if module.params["services"] is not None:
        boot["services"] = module.params["services"]
    _run(module, [BOOT.name], frozenset([BOOT.name]), {"boot": boot})


def run_confirm() -> None:
    """Confirm the changes of a run; leave with the result."""
    spec = {"run": {"type": "str", "default": ""}, "timeout": {"type": "int", "default": 60}}
    module = Module(argument_spec=spec, supports_check_mode=True)
    confirmed = None
    with reporting_errors(module):
        # In check mode there is nothing to confirm: what earlier tasks of the play would change has not been changed.
        if not module.check_mode:
            confirmed = confirm(module.params["run"])
    module.exit_json(changed=confirmed is not None, confirmed=confirmed.as_data() if confirmed else None)


def _run(module: AnsibleModule, names: Sequence[str], scopes: FrozenSet[str], given: Dict[str, Any]) -> None:
    prefix = module.params.get("variable_prefix", "")
    with reporting_errors(module):
        call = Call(
            **given,
            state=module.params["state"],
            scopes=scopes,
            check=module.check_mode,
            recover=module.params.get("recover", False),
            confirm=module.params.get("confirm"),
            by=module.params.get("by", ""),
            places=Places(prefix, prefix),
        )
        result = converge(call, [layer for layer in LAYERS if layer.name in names], tell=module.warn)
    report = describe(result)
    for warning in report.pop("warnings"):
        module.warn(warning)
    if result.reverted:
        module.warn(str(result.reverted))
    awaited = ", ".join(name for (_kind, name), reason in result.pending.items() if not reason)
    if awaited:
        module.warn(f"pending until their containers run: {awaited}")
    if module._diff:
        report["diff"] = diffs(result)
    module.exit_json(msg=summary(result), **report)


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
