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

from .kernel import clock, disk

PATH = "/var/lib/wharf/verified.json"

# Of a probe that was sent.
_KEPT = ("from", "to", "port", "protocol", "expected", "name", "seen", "fulfilled", "why")


def keep(probes: Sequence[Mapping[str, Any]]) -> None:
    """Where it cannot be written, or nothing is declared on the host, nothing is kept."""
    kept = [{key: probe[key] for key in _KEPT} for probe in probes]
    if os.path.isdir(os.path.dirname(PATH)):
        with suppress(OSError):
            disk.replace(PATH, json.dumps({"at": time.time(), "probes": kept}), 0o600)


def read() -> Optional[Dict[str, Any]]:
    """When packets were last sent (`at`, and as `time` in words), and the `probes`; None where that is not known."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        with open(PATH, encoding="utf-8") as file:
            found: Dict[str, Any] = json.load(file)
        return {"at": found["at"], "time": clock.in_words(found["at"]), "probes": found["probes"]}
    return None


def remove() -> None:
    """
    Raises:
        OSError: it cannot be removed.
    """
    disk.remove(PATH)
