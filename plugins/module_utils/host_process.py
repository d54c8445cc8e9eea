# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module in a process without Ansible, for a module whose own Python lacks the libraries."""

from __future__ import annotations

import json
import sys
from typing import Any, Dict, List, NoReturn

from . import host_modules
from .engine.errors import ConflictError
from .engine.kernel.links import require_pyroute2
from .engine.planning.address_sets import require_netaddr


class _Module:
    """The part of an AnsibleModule that `host_modules.py` uses. Its result is JSON on the standard output."""

    def __init__(self, params: Dict[str, Any], check_mode: bool, diff: bool) -> None:
        self.params = params
        self.check_mode = check_mode
        self._diff = diff
        self._warnings: List[str] = []

    def warn(self, warning: str) -> None:
        self._warnings.append(warning)

    def exit_json(self, **result: Any) -> NoReturn:
        self._leave("exit_json", result)

    def fail_json(self, **result: Any) -> NoReturn:
        self._leave("fail_json", result)

    def _leave(self, method: str, result: Dict[str, Any]) -> NoReturn:
        json.dump({"warnings": self._warnings, "method": method, "result": result}, sys.stdout)
        sys.exit()  # pylint: disable=ansible-bad-function


def has_libraries() -> bool:
    try:
        require_pyroute2()
        require_netaddr()
    except ConflictError:
        return False
    return True


def main() -> None:
    """Run the module that the standard input names."""
    given = json.load(sys.stdin)
    getattr(host_modules, given.pop("name"))(_Module(**given))
