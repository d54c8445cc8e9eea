# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for changes that the kernel reports."""

from __future__ import annotations

import select
import time
from typing import Sequence, Set, Union

from .inotify import Watch
from .notifications import Notifications

Source = Union[Watch, Notifications]

# In seconds, until a change counts as complete: a file may be removed, and be written anew after that.
_SETTLED_AFTER = 0.05


def wait(sources: Sequence[Source], timeout: float) -> Set[Source]:
    """Wait until something has changed and nothing more follows at once, or until the timeout, in seconds.

    Returns:
        The sources that have reported a change.
    """
    changed: Set[Source] = set()
    until = time.monotonic() + timeout
    while True:
        left = until - time.monotonic()
        ready = select.select(sources, [], [], left)[0] if left > 0 else []
        if not ready:
            return changed
        news = {source for source in ready if source.read()}
        if news:
            changed |= news
            until = time.monotonic() + _SETTLED_AFTER
