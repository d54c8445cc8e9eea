# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layer `boot` alone, as the module `boot` makes it, without Ansible."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from hosts import EngineError, ThrowawayHost
from runners import ENGINE

COMMAND = "/usr/local/sbin/wharf"


def installed(
    host: ThrowawayHost, remove: bool = False, services: bool | None = None, **settings: Any
) -> list[tuple[str, str, str]]:
    """Foreseen is what is done, and then nothing is left to do.

    Raises:
        EngineError: it refused.
    """
    boot = None if remove else settings if services is None else {"services": services, **settings}
    given = f"boot={boot}, state={'absent' if remove else 'present'!r}"
    foreseen, made, left = (_run(host, f"{given}, check={check}") for check in (True, False, False))
    assert foreseen == made
    assert left == []
    return made


def _run(host: ThrowawayHost, given: str) -> list[tuple[str, str, str]]:
    script = f"""
import json
from engine.converge import converge
from engine.declaration.declared import Call
from engine.layers import BOOT
made = converge(Call({given}, scopes=frozenset(["boot"])), [BOOT]).changes
print(json.dumps([[change.action, change.subject.kind, change.subject.name] for change in made]))
"""
    ran = subprocess.run([*host.enter(), *ENGINE, "-c", script], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise EngineError(ran.stderr)
    return [tuple(change) for change in json.loads(ran.stdout)]
