# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all resources have in common that read links of the host."""

from __future__ import annotations

from typing import Optional

from ..resource import Resource
from .stacks import StackReader


class LinkResource(Resource):
    """Reads links, addresses and routes by a reader that the resources of a run share, and that forgets the host's own
    stack before a resource changes anything.
    """

    def __init__(self, stacks: Optional[StackReader] = None) -> None:
        self._stacks = stacks or StackReader()
