# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What packets have shown when they were last sent: kept on the host for its picture, and for nothing else."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import Any, Dict, Mapping, Optional, Sequence

from .errors import ModelError, Problem
from .kernel import clock, disk

PATH = "/var/lib/wharf/verified.json"

# Of a probe that was sent.
_KEPT = ("from", "to", "port", "protocol", "expected", "name", "seen", "fulfilled", "why")


def keep(probes: Sequence[Mapping[str, Any]]) -> None:
    """Keep these instead of what was kept, which includes what other hosts have sent.

    Where it cannot be written, or nothing is declared on the host, nothing is kept.
    """
    _write({"at": time.time(), "probes": [_row(probe) for probe in probes], "from_others": []})


def keep_from_others(found: Mapping[str, Any]) -> None:
    """Beside what is kept: the `probes` to this host that others have sent, by the name of each.

    Raises:
        ModelError: these are no results of probes.
    """
    try:
        rows = [{**_row(probe), "from": name} for name, probes in found.items() for probe in probes]
    except (KeyError, TypeError):
        raise ModelError(
            Problem("from_others", "must be a dictionary of the `probes` that this module returned on each host")
        ) from None
    kept = _read()
    if kept is not None:
        _write({**kept, "from_others": rows})


def read() -> Optional[Dict[str, Any]]:
    """When packets were last sent (`at`, and as `time` in words), the `probes`, and those `from_others`.

    Returns:
        None where that is not known.
    """
    kept = _read()
    return kept and {**kept, "time": clock.in_words(kept["at"])}


def _row(probe: Mapping[str, Any]) -> Dict[str, Any]:
    return {key: probe[key] for key in _KEPT}


def _read() -> Optional[Dict[str, Any]]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        with open(PATH, encoding="utf-8") as file:
            found = json.load(file)
        return {key: found[key] for key in ("at", "probes", "from_others")}
    return None


def _write(content: Mapping[str, Any]) -> None:
    if os.path.isdir(os.path.dirname(PATH)):
        with suppress(OSError):
            disk.replace(PATH, json.dumps(content), 0o600)
