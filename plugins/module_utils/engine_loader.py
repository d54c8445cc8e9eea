# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module by the engine that is on the host already, or that the controller sends where it is not.

A module imports nothing of the engine, or Ansible would pack all of it for each call.

If the Python of the module lacks a library of the engine, another Python of the host runs the engine. Ansible's own
`respawn_module` cannot: it writes the module and its options to a pipe before a process reads from it, and so waits
forever if they have more than 64 KiB, as the engine or a large declaration has.
"""

from __future__ import annotations

import base64
import glob
import importlib.util
import json
import os
import stat
import subprocess
from typing import Any, Dict, Iterator

from ansible.module_utils.basic import AnsibleModule

from .engine.archive import SENT, Archive, read_of_root

# What the controller's `EngineAction` adds to the options of each module.
ENGINE, SENT_ENGINE = "_engine", "_sent_engine"
# What a module returns on a host that has another engine, or none.
MISSING = "engine_is_missing"

# The folder of the archive that is imported.
PACKAGE = "wharf_network"

# What the engine imports that is not in Python's standard library.
_LIBRARIES = ("pyroute2", "netaddr")
# The Pythons of a host that may have them, the preferred ones first.
_PYTHONS = tuple(
    f"{folder}/{name}"
    for name in ("python3", "platform-python", "python3.[0-9][0-9]", "python3.[0-9]")
    for folder in ("/usr/bin", "/usr/local/bin", "/usr/libexec")
)
# A process that has not printed this line has done nothing: its Python lacks them too, is too old, or is broken.
_BEGUN = "wharf.network begins"
_PROGRAM = f"""
import sys
if sys.version_info < (3, 9):
    sys.exit(1)
sys.path.insert(0, sys.argv[1])
from {PACKAGE}.engine.archive import Archive
with open(sys.argv[1], "rb") as archive:
    Archive(archive.read(), {PACKAGE!r}, {SENT!r}, is_sent=sys.argv[1] != {SENT!r}).install()
for name in [name for name in sys.modules if name.partition(".")[0] == {PACKAGE!r}]:
    del sys.modules[name]
from {PACKAGE}.host_process import has_libraries, main
if not has_libraries():
    sys.exit(1)
print({_BEGUN!r}, flush=True)
main()
"""


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
    if not all(map(importlib.util.find_spec, _LIBRARIES)):
        _run_by_another_python(module, name)
    Archive(archive, PACKAGE, SENT, is_sent=bool(module.sent)).install()
    getattr(importlib.import_module(f"{PACKAGE}.host_modules"), name)(module)


def _run_by_another_python(module: _Module, name: str) -> None:
    """Leave with the result of a Python that has the libraries; return if there is none."""
    path = SENT
    if module.sent:
        path = os.path.join(module.tmpdir, "engine")
        with open(path, "wb") as file:
            file.write(module.sent)
    given = {"name": name, "params": module.params, "check_mode": module.check_mode, "diff": module._diff}
    for python in _pythons():
        try:
            # Python imports from its working directory, which should be root's alone.
            ran = subprocess.run(  # pylint: disable=ansible-bad-function
                [python, "-c", _PROGRAM, path],
                input=json.dumps(given),
                cwd="/",
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except OSError:
            continue
        # A Python may print lines of its own when it starts.
        _before, begun, printed = ran.stdout.partition(f"{_BEGUN}\n")
        if not begun:
            continue
        if ran.returncode:
            module.fail_json(msg=f"{python} ended with {ran.returncode}: {ran.stderr.strip()}")
        answer = json.loads(printed)
        for warning in answer["warnings"]:
            module.warn(warning)
        getattr(module, answer["method"])(**answer["result"])


def _pythons() -> Iterator[str]:
    """Each one once, by the first of its names. Root runs no program that somebody else may change."""
    found = (path for pattern in _PYTHONS for path in sorted(glob.glob(pattern), reverse=True))
    by_file: Dict[str, str] = {}
    for path in found:
        if os.access(path, os.X_OK) and _is_of_root(path):
            by_file.setdefault(os.path.realpath(path), path)
    yield from by_file.values()


def _is_of_root(path: str) -> bool:
    status = os.stat(path)
    return stat.S_ISREG(status.st_mode) and status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
