# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit of files that a process has open."""

from __future__ import annotations

import resource

# What a run has open at one time beside what it keeps open: sockets, files, modules that are imported.
_SPARE = 200


def allow(kept: int) -> bool:
    """Whether this process can keep so many files open, with others to spare. Raises its soft limit if it must.

    Programs that this process starts have the same limit, and some of them close each number up to it. So the limit is
    not raised without need.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or kept + _SPARE <= soft:
        return True
    if hard != resource.RLIM_INFINITY and kept + _SPARE > hard:
        return False
    wanted = 2 * (kept + _SPARE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    return True
