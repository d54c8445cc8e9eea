# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that are no layer have in common: their attributes, requirements and authors."""

from __future__ import annotations


class ModuleDocFragment:
    READ_ONLY = r"""
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: N/A
    description: There is nothing to change.
  idempotent:
    support: full
    description: Changes nothing.
"""

    LINUX = r"""
attributes:
  platform:
    support: full
    description: The systems that this runs on.
    platforms: linux
requirements:
  - Python 3.9 or later
  - root on the target
author:
  - The wharf.network authors (@wharf)
"""
