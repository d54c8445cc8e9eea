# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parser of public keys of WireGuard, which are declared, or which hosts have told."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

from .section import text, wrong

# In bytes.
_SIZE = 32


def public_key(value: Any, path: str) -> str:
    with suppress(ValueError):
        key = base64.b64decode(text(value, path), validate=True)
        if len(key) == _SIZE and base64.b64encode(key).decode() == value:
            return str(value)
    raise wrong(path, value, "must be a public key of WireGuard: 44 characters, as `wg pubkey` prints")
