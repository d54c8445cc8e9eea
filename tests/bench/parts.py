# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's command with a clock at each resource; run where the engine is found.

After what the command prints comes a line of JSON: seconds by `RESOURCE.FUNCTION`, and those of the whole as `all`.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from typing import Any

_began = time.perf_counter()

from engine.command import main  # noqa: E402
from engine.layers import LAYERS  # noqa: E402
from engine.ledger import Ledger  # noqa: E402
from engine.resources.links.stacks import StackReader  # noqa: E402

_seconds: dict[str, float] = defaultdict(float)


def _clocked(kind: type, name: str) -> None:
    inner = getattr(kind, name)

    def clocked(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return inner(*arguments, **options)
        finally:
            _seconds[f"{kind.__name__}.{name}"] += time.perf_counter() - began

    setattr(kind, name, clocked)


for resource in {type(each) for layer in LAYERS for each in layer.resources(Ledger(), StackReader())}:
    for function in ("observe", "apply"):
        _clocked(resource, function)
code = main(sys.argv[1:])
_seconds["all"] = time.perf_counter() - _began
print("\n" + json.dumps(_seconds))
raise SystemExit(code)
