# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules by the engine, which is sent to a host once for each version of it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ..module_utils.engine.archive import pack, sources_below
from ..module_utils.engine_loader import ENGINE, MISSING, PACKAGE, SENT_ENGINE

_MODULE_UTILS = Path(__file__).parents[1] / "module_utils"


class EngineAction(ActionBase):  # type: ignore[misc] # Ansible has no types
    _supports_check_mode = True
    _supports_diff = True

    @property
    def module_name(self) -> str:
        """The name of the module that the task calls, in this collection."""
        return str(self._task.action).rpartition(".")[2]

    def bases(self, task_vars: dict[str, Any]) -> list[Path]:
        """The folders that relative paths of Compose files are looked up in."""
        given = [self._loader.get_basedir(), task_vars.get("inventory_dir"), Path.cwd()]
        return [Path(base) for base in given if base]

    def run_module(self, name: str, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Run a module of this collection on the host; a host that has another engine is sent this one."""
        sources = _sources()
        digest = _digest(sources)
        is_async = bool(self._task.async_val)

        def run(sent: str) -> dict[str, Any]:
            result: dict[str, Any] = self._execute_module(
                module_name=f"wharf.network.{name}",
                module_args={**arguments, ENGINE: digest, SENT_ENGINE: sent},
                task_vars=task_vars,
                wrap_async=is_async,
            )
            return result

        # The result of a task in the background comes too late to send the engine after it.
        result = {MISSING: True} if is_async else run("")
        return run(_packed(sources, digest)) if result.get(MISSING) else result


def _sources() -> dict[str, bytes]:
    engine = {f"engine/{path}": source for path, source in sources_below(str(_MODULE_UTILS / "engine"))}
    around = {name: (_MODULE_UTILS / name).read_bytes() for name in ("host_modules.py", "host_process.py")}
    return {**engine, **around, "__init__.py": b""}


def _digest(sources: dict[str, bytes]) -> str:
    found = hashlib.sha256()
    for path, source in sorted(sources.items()):
        found.update(f"{path} {len(source)}\n".encode() + source)
    return found.hexdigest()


def _packed(sources: dict[str, bytes], digest: str) -> str:
    archive = pack(((f"{PACKAGE}/{path}", source) for path, source in sources.items()), digest.encode())
    return base64.b64encode(archive).decode()
