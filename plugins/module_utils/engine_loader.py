# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module by the engine that is on the host already, or that the controller sends where it is not.

A module imports nothing of the engine, or Ansible would pack all of it for each call.
"""

from __future__ import annotations

import base64
import importlib
import os
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from .engine.archive import SENT, Archive, read_of_root

# What the controller's `EngineAction` adds to the options of each module.
ENGINE, SENT_ENGINE = "_engine", "_sent_engine"
# What a module returns on a host that has another engine, or none.
MISSING = "engine_is_missing"

# The folder of the archive that is imported.
PACKAGE = "wharf_network"


class _Module(AnsibleModule):  # type: ignore[misc] # Ansible has no types
    """One that takes the engine out of the options before they are checked, logged and returned."""

    def _load_params(self) -> None:
        super()._load_params()
        self.digest: str = self.params.pop(ENGINE, "")
        self.sent: bytes = base64.b64decode(self.params.pop(SENT_ENGINE, ""))


def run_by_engine(name: str, argument_spec: Dict[str, Any]) -> None:
    """Run the function of `host_modules.py` with this name; leave with the result."""
    module = _Module(argument_spec=argument_spec, supports_check_mode=True)
    if os.geteuid() != 0:
        module.fail_json(msg="changing a host's networks needs root there: set become (ansible-playbook -b)")
    if not module.digest:
        module.fail_json(msg=f"call this module by its full name, wharf.network.{name}")
    archive = module.sent or read_of_root(SENT)
    # The comment of an archive is its end.
    if not archive.endswith(module.digest.encode()):
        module.exit_json(changed=False, **{MISSING: True})
    Archive(archive, PACKAGE, SENT, is_sent=bool(module.sent)).install()
    getattr(importlib.import_module(f"{PACKAGE}.host_modules"), name)(module)
